# -*- test-case-name: tests.config.test_walker -*-
"""
Tests for L{meshproxy.config.walker}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.pool import messageClass, newMessage
from meshproxy.config.report import Report
from meshproxy.config.walker import Places, Walker, fieldsOf, keyPath
from meshproxy.config.yamltext import parseYAML

CLUSTER = "envoy.config.cluster.v3.Cluster"
HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


class WalkerTestCase(SynchronousTestCase):
    """
    Reads YAML into messages, and keeps the report and the places.
    """

    def walk(self, typeName: str, text: str, allowUnknown: bool = False) -> Any:
        """
        Read a text, whatever faults it has.
        """
        self.report = Report()
        self.places: Places = {}
        message = newMessage(typeName)
        Walker(self.report, self.places, allowUnknown).fill(parseYAML(text, "f"), message, "")
        return message

    def read(self, typeName: str, text: str) -> Any:
        """
        Read a text that has no faults.
        """
        message = self.walk(typeName, text)
        self.assertEqual([str(error) for error in self.report.errors], [])
        return message

    def faults(self, typeName: str, text: str) -> list[str]:
        """
        The faults of a text.
        """
        self.walk(typeName, text)
        return [str(error) for error in self.report.errors]


class FieldTests(WalkerTestCase):
    """
    Fields of ordinary messages.
    """

    def test_names(self) -> None:
        """
        A field goes by its name in the proto, and in camel case.
        """
        self.assertEqual(self.read(CLUSTER, "alt_stat_name: x").alt_stat_name, "x")
        self.assertEqual(self.read(CLUSTER, "altStatName: x").alt_stat_name, "x")
        self.assertIs(fieldsOf(CLUSTER)["altStatName"], fieldsOf(CLUSTER)["alt_stat_name"])

    def test_unknown(self) -> None:
        """
        An unknown field has the place of its key, and a near name.
        """
        self.assertEqual(
            self.faults(CLUSTER, "name: x\nconect_timeout: 1s\n"),
            [f"f:2:1  conect_timeout: 'conect_timeout' is not a field of {CLUSTER}; did you mean connect_timeout?"],
        )

    def test_allowUnknown(self) -> None:
        """
        Where they are allowed, unknown fields give a warning, and the rest is read.
        """
        message = self.walk(CLUSTER, "nme: x\nalt_stat_name: other", allowUnknown=True)
        self.assertEqual(message.alt_stat_name, "other")
        self.assertEqual(self.report.errors, [])
        self.assertEqual([warning.path for warning in self.report.warnings], ["nme"])

    def test_all(self) -> None:
        """
        One fault hides no other.
        """
        text = "name: 5\nlb_policy: foo\nload_assignment: {endpoints: [{priority: x}, 7]}\nmetadata: []\n"
        self.walk(CLUSTER, text)
        self.assertEqual(
            [error.path for error in self.report.ordered()],
            ["name", "lb_policy", "load_assignment.endpoints[0].priority", "load_assignment.endpoints[1]", "metadata"],
        )

    def test_null(self) -> None:
        """
        Null leaves a field unset, whatever its kind.
        """
        message = self.read(CLUSTER, "name: ~\nmetadata: null\nhealth_checks:\nconnect_timeout: null\n")
        self.assertEqual(message.ListFields(), [])

    def test_emptyMessageIsSet(self) -> None:
        """
        An empty mapping sets a message.
        """
        self.assertTrue(self.read(CLUSTER, "metadata: {}").HasField("metadata"))

    def test_oneof(self) -> None:
        """
        Two members of one oneof are refused; which counts must not depend on the order.
        """
        self.assertEqual(
            self.faults(CLUSTER, "type: STATIC\ncluster_type: {name: x}"),
            ["f:2:1  cluster_type: 'cluster_type' stands beside 'type', and only one of them may be set"],
        )

    def test_bothNames(self) -> None:
        """
        One field under both of its names: the last counts, as in Envoy, and there is a warning.
        """
        self.assertEqual(self.read(CLUSTER, "altStatName: x\nalt_stat_name: z").alt_stat_name, "z")
        self.assertEqual([warning.line for warning in self.report.warnings], [2])

    def test_list(self) -> None:
        """
        A single value stands for a list of one.
        """
        virtualHost = "envoy.config.route.v3.VirtualHost"
        self.assertEqual(list(self.read(virtualHost, 'domains: "*"').domains), ["*"])
        self.assertEqual(len(self.read(CLUSTER, "health_checks: {timeout: 1s}").health_checks), 1)
        self.assertEqual(self.places["health_checks[0].timeout"].column, 26)

    def test_nullInList(self) -> None:
        """
        An empty item of a list is refused, and what follows keeps its index.
        """
        faults = self.faults(CLUSTER, "health_checks:\n-\n- {timeout: x}\n")
        self.assertEqual(faults[0], "f:2:2  health_checks[0]: null is not allowed in a list")
        self.assertIn("health_checks[1].timeout", faults[1])

    def test_map(self) -> None:
        """
        Maps have their keys in the path, and messages or scalars as values.
        """
        message = self.read(CLUSTER, "metadata: {filter_metadata: {a.b: {c: 1}}}")
        self.assertEqual(message.metadata.filter_metadata["a.b"]["c"], 1)
        self.assertIn('metadata.filter_metadata["a.b"].c', self.places)
        self.assertEqual(
            self.faults(CLUSTER, "metadata: {filter_metadata: {a: 5, b: ~}}"),
            [
                'f:1:33  metadata.filter_metadata["a"]: the number 5 is not a mapping',
                'f:1:39  metadata.filter_metadata["b"]: null is not allowed in a map',
            ],
        )
        self.assertEqual(
            self.faults(CLUSTER, "metadata: {filter_metadata: []}"),
            ["f:1:29  metadata.filter_metadata: a list is not a mapping"],
        )

    def test_scalarMap(self) -> None:
        """
        A map of scalars reads its values by their type.
        """
        name = "udpa.data.orca.v1.OrcaLoadReport"
        self.assertEqual(dict(self.read(name, "request_cost: {a: 1, b: '2.5'}").request_cost), {"a": 1.0, "b": 2.5})
        self.assertEqual(
            self.faults(name, "request_cost: {a: x}"), ["f:1:19  request_cost[\"a\"]: 'x' is not a number"]
        )

    def test_notAMapping(self) -> None:
        """
        A message that is no mapping is told its type.
        """
        self.assertEqual(
            self.faults(CLUSTER, "metadata: 5"),
            ["f:1:11  metadata: the number 5 is not a mapping (envoy.config.core.v3.Metadata)"],
        )
        self.assertEqual(self.faults(CLUSTER, "- a"), [f"f:1:1  a list is not a mapping ({CLUSTER})"])

    def test_keyPath(self) -> None:
        """
        Words are joined by dots, other keys stand in brackets.
        """
        self.assertEqual(keyPath("a", "b_c-d"), "a.b_c-d")
        self.assertEqual(keyPath("", "b"), "b")
        self.assertEqual(keyPath("a", "b.c"), 'a["b.c"]')


class WellKnownTests(WalkerTestCase):
    """
    Messages that have a form of their own.
    """

    def test_wrapper(self) -> None:
        """
        A wrapper is its value, and set even to the default; the mapping that it is passes too.
        """
        message = self.read(CLUSTER, "per_connection_buffer_limit_bytes: 0")
        self.assertTrue(message.HasField("per_connection_buffer_limit_bytes"))
        message = self.read(CLUSTER, "per_connection_buffer_limit_bytes: {value: 7}")
        self.assertEqual(message.per_connection_buffer_limit_bytes.value, 7)
        self.assertEqual(
            self.faults(CLUSTER, "per_connection_buffer_limit_bytes: x"),
            ["f:1:36  per_connection_buffer_limit_bytes: 'x' is not a whole number"],
        )

    def test_duration(self) -> None:
        """
        A duration is seconds with an s, or the mapping.
        """
        duration = self.read(CLUSTER, "connect_timeout: 1.5s").connect_timeout
        self.assertEqual((duration.seconds, duration.nanos), (1, 500_000_000))
        self.assertEqual(self.read(CLUSTER, "connect_timeout: {seconds: 2}").connect_timeout.seconds, 2)
        self.assertEqual(
            self.faults(CLUSTER, "connect_timeout: 1ms"),
            ["f:1:18  connect_timeout: '1ms' is not a duration such as 1.5s; did you mean 0.001s?"],
        )

    def test_timestamp(self) -> None:
        """
        A time is RFC 3339's text, which YAML leaves a string.
        """
        name = "envoy.admin.v3.BootstrapConfigDump"
        self.assertEqual(self.read(name, "last_updated: 1970-01-01T00:01:00Z").last_updated.seconds, 60)
        self.assertIn("is not a time such as", self.faults(name, "last_updated: yesterday")[0])
        self.assertIn("is not a time such as", self.faults(name, "last_updated: 5")[0])

    def test_struct(self) -> None:
        """
        Free-form data keeps its values, and each has its place.
        """
        text = "metadata:\n  filter_metadata:\n    x:\n      a: [1, 2.5, y e s, true, ~, {b: c}]\n"
        struct = self.read(CLUSTER, text).metadata.filter_metadata["x"]
        self.assertEqual(len(struct["a"]), 6)
        self.assertEqual([struct["a"][index] for index in range(5)], [1, 2.5, "y e s", True, None])
        self.assertEqual(self.places['metadata.filter_metadata["x"].a[5].b'], ("f", 4, 39))

    def test_valueNull(self) -> None:
        """
        Null is a value where any value may stand.
        """
        value = self.read("google.protobuf.Value", "~")
        self.assertEqual(value.WhichOneof("kind"), "null_value")

    def test_listValue(self) -> None:
        """
        A list of values, and nothing else.
        """
        self.assertEqual(len(self.read("google.protobuf.ListValue", "[1, [], {}]").values), 3)
        self.assertEqual(self.faults("google.protobuf.ListValue", "{}"), ["f:1:1  a mapping is not a list"])


class AnyTests(WalkerTestCase):
    """
    C{typed_config}.
    """

    def transport(self, config: str) -> str:
        """
        A cluster with a transport socket.
        """
        return f"transport_socket:\n  name: x\n  typed_config: {config}\n"

    def test_inner(self) -> None:
        """
        The message within is read at the path of its field.
        """
        text = f'name: x\ntyped_config:\n  "@type": {HCM}\n  stat_prefix: other\n  stat_prefx: z\n'
        message = self.walk("envoy.config.listener.v3.Filter", text)
        inner = messageClass(HCM.rpartition("/")[2]).FromString(message.typed_config.value)
        self.assertEqual(getattr(inner, "stat_prefix"), "other")  # noqa: B009  # a dynamic message
        self.assertEqual(message.typed_config.type_url, HCM)
        self.assertEqual(self.places["typed_config.stat_prefix"].line, 4)
        self.assertEqual([error.path for error in self.report.errors], ["typed_config.stat_prefx"])

    def test_unknownType(self) -> None:
        """
        An unknown type finds those that are near.
        """
        url = "type.googleapis.com/envoy.extensions.transport_sockets.raw_bufer.v3.RawBufer"
        self.assertEqual(
            self.faults(CLUSTER, self.transport(f'{{"@type": {url}}}')),
            [
                f"f:3:27  transport_socket.typed_config[\"@type\"]: '{url}' is not a type that is known here; "
                "did you mean envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer?"
            ],
        )

    def test_malformed(self) -> None:
        """
        No type, no URL, no text, no mapping.
        """
        raw = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
        for config, told in (
            ("{}", "'@type' is missing"),
            ("{a: b}", "'@type' is missing"),
            (f'{{"@type": {raw}}}', "is not a type URL"),
            ('{"@type": 5}', "the number 5 is not a type URL"),
            ("5", "is not a mapping with an @type"),
        ):
            faults = self.faults(CLUSTER, self.transport(config))
            self.assertEqual(len(faults), 1, config)
            self.assertIn(told, faults[0])

    def test_valueType(self) -> None:
        """
        A well-known type has its value under C{value}, and nothing beside it.
        """
        struct = '"@type": type.googleapis.com/google.protobuf.Struct'
        message = self.read("google.protobuf.Any", f"{{{struct}, value: {{a: 1}}}}")
        self.assertEqual(messageClass("google.protobuf.Struct").FromString(message.value)["a"], 1)  # type: ignore[index]
        self.assertIn("value.a", self.places)
        self.assertIn("'a' stands beside @type", self.faults("google.protobuf.Any", f"{{{struct}, a: 1}}")[0])

    def test_nested(self) -> None:
        """
        An Any within a message within an Any.
        """
        router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
        text = (
            f'"@type": {HCM}\nhttp_filters:\n- name: r\n  typed_config:\n    "@type": {router}\n'
            "    dynamic_stats: maybe\n"
        )
        self.walk("google.protobuf.Any", text)
        self.assertEqual([error.path for error in self.report.errors], ["http_filters[0].typed_config.dynamic_stats"])
