# -*- test-case-name: tests.config.test_section -*-
"""
Tests for L{meshproxy.config.section}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Report, Section, sectionFromYAML
from meshproxy.config.nodes import NOWHERE, Place
from meshproxy.config.pool import newMessage
from meshproxy.config.section import placeAt
from meshproxy.errors import ConfigErrors

ROUTES = """\
name: main
virtual_hosts:
- name: a
  domains: ["*", "b"]
  require_tls: ALL
  routes:
  - match: {prefix: /}
    route:
      cluster: c
      timeout: 1.5s
      idle_timeout: 0s
      retry_policy: {num_retries: 0, retriable_status_codes: [502, 503]}
    typed_per_filter_config:
      first:
        "@type": type.googleapis.com/xds.type.v3.TypedStruct
        type_url: example
        value: {depth: {x: 1}}
      second:
        "@type": type.googleapis.com/google.protobuf.Struct
        value: {a: b}
"""


class SectionTestCase(SynchronousTestCase):
    """
    Reads a route configuration.
    """

    def setUp(self) -> None:
        """
        The parts that the tests look at.
        """
        self.top = sectionFromYAML("envoy.config.route.v3.RouteConfiguration", ROUTES, "r.yaml")
        self.host = self.top.children("virtual_hosts")[0]
        self.route = self.host.children("routes")[0]
        self.action = self.route.childOrEmpty("route")


class ReadTests(SectionTestCase):
    """
    What a section tells of its message.
    """

    def test_scalars(self) -> None:
        """
        Scalars by value, enumerations by name, defaults where unset.
        """
        self.assertEqual(self.top.get("name"), "main")
        self.assertEqual(self.host.get("require_tls"), "ALL")
        self.assertEqual(self.action.get("priority"), "DEFAULT")
        self.assertEqual(self.action.get("prefix_rewrite"), "")
        self.assertEqual(self.host.scalars("domains"), ["*", "b"])

    def test_has(self) -> None:
        """
        Presence of messages, members of oneofs, lists and plain scalars.
        """
        self.assertTrue(self.action.has("idle_timeout"))
        self.assertFalse(self.action.has("max_stream_duration"))
        self.assertTrue(self.action.has("cluster"))
        self.assertFalse(self.action.has("cluster_header"))
        self.assertTrue(self.host.has("domains"))
        self.assertFalse(self.host.has("retry_policy"))
        self.assertFalse(self.host.has("include_request_attempt_count"))

    def test_oneof(self) -> None:
        """
        The member that is set.
        """
        self.assertEqual(self.action.oneof("cluster_specifier"), "cluster")
        self.assertIsNone(self.action.oneof("host_rewrite_specifier"))

    def test_seconds(self) -> None:
        """
        Durations; a zero is not the same as none.
        """
        self.assertEqual(self.action.seconds("timeout"), 1.5)
        self.assertEqual(self.action.seconds("idle_timeout", 300.0), 0.0)
        self.assertEqual(self.action.seconds("flush_timeout", 300.0), 300.0)
        self.assertIsNone(self.action.seconds("flush_timeout"))

    def test_wrapped(self) -> None:
        """
        Wrappers; again a zero is not the same as none.
        """
        policy = self.action.childOrEmpty("retry_policy")
        self.assertEqual(policy.wrapped("num_retries", 1), 0)
        self.assertIs(self.action.wrapped("auto_host_rewrite", False), False)
        self.assertEqual(policy.scalars("retriable_status_codes"), [502, 503])

    def test_children(self) -> None:
        """
        Messages have their path; what is unset is L{None}, or empty for whoever asks so.
        """
        self.assertEqual(self.route.path, "virtual_hosts[0].routes[0]")
        self.assertEqual(self.action.path, "virtual_hosts[0].routes[0].route")
        self.assertIsNone(self.route.child("redirect"))
        empty = self.route.childOrEmpty("redirect")
        self.assertEqual((empty.path, list(empty.setFields())), ("virtual_hosts[0].routes[0].redirect", []))
        self.assertFalse(self.route.has("redirect"))

    def test_setFields(self) -> None:
        """
        The names of all that is set.
        """
        self.assertEqual(set(self.host.setFields()), {"name", "domains", "require_tls", "routes"})

    def test_entries(self) -> None:
        """
        Maps of messages give sections, maps of scalars give scalars.
        """
        self.assertEqual(set(self.route.entries("typed_per_filter_config")), {"first", "second"})
        costs = Section.of("udpa.data.orca.v1.OrcaLoadReport", {"request_cost": {"a": 1.5}})
        self.assertEqual(costs.entries("request_cost"), {"a": 1.5})

    def test_wrongName(self) -> None:
        """
        A field that the message does not have is a mistake of the program.
        """
        for ask in (self.top.get, self.top.has, self.top.child, self.top.children, self.top.entries, self.top.seconds):
            error = self.assertRaises(KeyError, ask, "nme")
            self.assertIn("RouteConfiguration has no field 'nme'", str(error))


class UnpackTests(SectionTestCase):
    """
    Messages of a type that the configuration chooses.
    """

    def test_typedStruct(self) -> None:
        """
        A TypedStruct comes as it is, at the path of its field.
        """
        inner = self.route.entries("typed_per_filter_config")["first"].unpack()
        self.assertEqual((inner.typeName, inner.get("type_url")), ("xds.type.v3.TypedStruct", "example"))
        self.assertEqual(inner.path, 'virtual_hosts[0].routes[0].typed_per_filter_config["first"]')
        self.assertEqual(inner.placeOf("value.depth.x"), Place("r.yaml", 17, 28))

    def test_valueType(self) -> None:
        """
        A well-known type stands under C{value} in the text, and so in the path.
        """
        inner = self.route.entries("typed_per_filter_config")["second"].unpack()
        self.assertEqual(inner.path, 'virtual_hosts[0].routes[0].typed_per_filter_config["second"].value')
        self.assertEqual(inner.placeOf("a").line, 20)

    def test_any(self) -> None:
        """
        A field that is an Any, set and unset.
        """
        router = '"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router'
        text = f"name: r\ntyped_config: {{{router}, suppress_envoy_headers: true}}"
        name = "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter"
        inner = sectionFromYAML(name, text).any("typed_config")
        assert inner is not None
        self.assertIs(inner.get("suppress_envoy_headers"), True)
        self.assertIsNone(sectionFromYAML(name, "name: r").any("typed_config"))

    def broken(self, url: str, value: bytes) -> list[str]:
        """
        The faults of an Any as it may come over xDS.
        """
        packed: Any = newMessage("google.protobuf.Any")
        packed.type_url = url
        packed.value = value
        section = Section(packed, "resources[0]")
        self.assertIsNone(section.unpack())
        return [str(error) for error in section.report.errors]

    def test_unknownType(self) -> None:
        """
        A type that the pool does not hold.
        """
        faults = self.broken("type.googleapis.com/envoy.config.cluster.v3.Clustr", b"")
        self.assertEqual(len(faults), 1)
        self.assertIn("resources[0].@type: 'type.googleapis.com/envoy.config.cluster.v3.Clustr' is not", faults[0])
        self.assertIn("did you mean envoy.config.cluster.v3.Cluster?", faults[0])

    def test_badBytes(self) -> None:
        """
        Bytes that are no such message.
        """
        url = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
        faults = self.broken(url, b"\xff\xff")
        self.assertEqual(faults, ["resources[0]: these bytes are no envoy.config.cluster.v3.Cluster"])

    def test_empty(self) -> None:
        """
        An empty Any is nothing, and no fault.
        """
        self.assertEqual(self.broken("", b""), [])


class FaultTests(SectionTestCase):
    """
    Faults have their place.
    """

    def test_places(self) -> None:
        """
        A message is where its key stands, an item where it begins, a scalar where its value does.
        """
        self.assertEqual(self.host.place, Place("r.yaml", 3, 3))
        self.assertEqual(self.action.place, Place("r.yaml", 8, 5))
        self.assertEqual(self.action.placeOf("timeout"), Place("r.yaml", 10, 16))

    def test_unsetField(self) -> None:
        """
        What is not in the text is at the nearest thing around it.
        """
        self.assertEqual(self.action.placeOf("priority"), self.action.place)
        self.assertEqual(placeAt({"": Place("f", 1, 1)}, 'a["b.c[0]"].d'), Place("f", 1, 1))
        self.assertEqual(placeAt({"a": Place("f", 2, 1)}, 'a["b.c[0]"].d'), Place("f", 2, 1))
        self.assertEqual(placeAt({}, "a.b"), NOWHERE)

    def test_refuse(self) -> None:
        """
        A fault is recorded in the report of the whole configuration.
        """
        self.host.refuse("'b' is unknown", "domains[1]", near=["c"])
        self.assertEqual(
            [str(error) for error in self.top.report.errors],
            ["r.yaml:4:18  virtual_hosts[0].domains[1]: 'b' is unknown; did you mean c?"],
        )

    def test_warn(self) -> None:
        """
        So is a warning.
        """
        self.action.warn("odd", "cluster")
        warnings = [str(warning) for warning in self.top.report.warnings]
        self.assertEqual(warnings, ["r.yaml:9:16  virtual_hosts[0].routes[0].route.cluster: odd"])

    def test_error(self) -> None:
        """
        Or it comes as an exception, and is not recorded.
        """
        error = self.action.error("wrong")
        self.assertEqual(str(error), "r.yaml:8:5  virtual_hosts[0].routes[0].route: wrong")
        self.assertEqual(self.top.report.errors, [])

    def test_withoutText(self) -> None:
        """
        A section that comes from no text has a path and no place.
        """
        section = Section.of("envoy.config.cluster.v3.Cluster", {"name": "x"})
        self.assertEqual(str(section.error("wrong", "name")), "name: wrong")
        self.assertRaises(ConfigErrors, Section.of, "envoy.config.cluster.v3.Cluster", {"nme": "x"})

    def test_repr(self) -> None:
        """
        A section shows what it is, and nothing of what is in it.
        """
        self.assertEqual(repr(self.host), "<Section envoy.config.route.v3.VirtualHost at virtual_hosts[0]>")
        self.assertIn("at the top", repr(self.top))

    def test_sharedReport(self) -> None:
        """
        A report can be brought along.
        """
        report = Report()
        section = Section(newMessage("envoy.config.cluster.v3.Cluster"), "c", report)
        section.refuse("wrong")
        self.assertEqual([error.path for error in report.errors], ["c"])
