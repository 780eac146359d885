# -*- test-case-name: tests.config.test_supported -*-
"""
Tests for L{meshproxy.config.supported}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section
from meshproxy.config.supported import Support, Supported, deprecatedFields

CLUSTER = "envoy.config.cluster.v3.Cluster"
SOCKET = "envoy.config.core.v3.TransportSocket"
RAW = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"

_HTTP_FILTER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter"
_FILTER_CONFIG = "envoy.config.route.v3.FilterConfig"


class SupportedTests(SynchronousTestCase):
    """
    L{Supported} refuses what nobody has declared.
    """

    def setUp(self) -> None:
        """
        A registry of our own.
        """
        self.registry = Supported()

    def check(self, value: dict[str, object], allowUnknown: bool = False) -> tuple[list[str], list[str]]:
        """
        The faults and the warnings of a cluster.
        """
        section = Section.of(CLUSTER, value)
        self.registry.check(section, allowUnknown)
        return [str(error) for error in section.report.errors], [str(each) for each in section.report.warnings]

    def test_declared(self) -> None:
        """
        A declared field passes, another is refused with its path.
        """
        self.registry.declare(CLUSTER, "name")
        self.assertEqual(
            self.check({"name": "a", "alt_stat_name": "b"}), (["alt_stat_name: not implemented by meshproxy"], [])
        )

    def test_defaultPasses(self) -> None:
        """
        A field set to its default is as good as unset.
        """
        self.assertEqual(self.check({"alt_stat_name": "", "lb_policy": "ROUND_ROBIN"}), ([], []))

    def test_wrapperOfDefault(self) -> None:
        """
        A wrapper that holds zero is set all the same: the default of what it wraps is not known here.
        """
        faults, _warnings = self.check({"per_connection_buffer_limit_bytes": 0})
        self.assertEqual(len(faults), 1)

    def test_allowUnknown(self) -> None:
        """
        Fields may be ignored on demand, with a warning.
        """
        self.assertEqual(
            self.check({"alt_stat_name": "b"}, allowUnknown=True),
            ([], ["alt_stat_name: not implemented by meshproxy, and ignored"]),
        )

    def test_declined(self) -> None:
        """
        A field can be refused for a reason, which is told; on demand it is ignored as others are.
        """
        self.registry.decline(CLUSTER, "alt_stat_name", "there is no other name")
        told = "alt_stat_name: not implemented by meshproxy: there is no other name"
        self.assertEqual(self.check({"alt_stat_name": "b"}), ([told], []))
        self.assertEqual(self.check({"alt_stat_name": "b"}, allowUnknown=True), ([], [f"{told}, and ignored"]))

    def test_declarationsAddUp(self) -> None:
        """
        Another line adds fields, and lifts a limit.
        """
        self.registry.declare(CLUSTER, "name")
        self.registry.only(CLUSTER, "lb_policy", "RANDOM")
        self.registry.declare(CLUSTER, "alt_stat_name", "lb_policy")
        self.assertEqual(self.check({"name": "a", "alt_stat_name": "b", "lb_policy": "MAGLEV"}), ([], []))

    def test_onlyEnumeration(self) -> None:
        """
        Some values of an enumeration, by name; others are refused even where fields may be ignored.
        """
        self.registry.only(CLUSTER, "lb_policy", "ROUND_ROBIN", "RANDOM")
        self.assertEqual(self.check({"lb_policy": "RANDOM"}), ([], []))
        told: tuple[list[str], list[str]] = (
            ["lb_policy: MAGLEV is not implemented by meshproxy, only ROUND_ROBIN, RANDOM"],
            [],
        )
        self.assertEqual(self.check({"lb_policy": "MAGLEV"}), told)
        self.assertEqual(self.check({"lb_policy": "MAGLEV"}, allowUnknown=True), told)

    def test_onlyWrapper(self) -> None:
        """
        Some values of a wrapper.
        """
        self.registry.only(CLUSTER, "per_connection_buffer_limit_bytes", 7)
        self.assertEqual(self.check({"per_connection_buffer_limit_bytes": 7}), ([], []))
        self.assertEqual(len(self.check({"per_connection_buffer_limit_bytes": 8})[0]), 1)

    def test_onlyList(self) -> None:
        """
        Some values of each item of a list.
        """
        name = "envoy.config.listener.v3.FilterChainMatch"
        self.registry.only(name, "application_protocols", "http/1.1")
        section = Section.of(name, {"application_protocols": ["http/1.1", "h2"]})
        self.registry.check(section)
        self.assertEqual(
            [str(error) for error in section.report.errors],
            ["application_protocols: h2 is not implemented by meshproxy, only http/1.1"],
        )

    def test_accepted(self) -> None:
        """
        What is accepted is not looked into.
        """
        self.registry.accept(CLUSTER, "metadata", "nothing reads it")
        self.assertEqual(self.check({"metadata": {"filter_metadata": {"a": {}}}}), ([], []))

    def test_descends(self) -> None:
        """
        Messages, lists and maps of them are checked in turn, with whole paths.
        """
        self.registry.declare(CLUSTER, "health_checks", "metadata", "load_assignment")
        faults, _warnings = self.check(
            {
                "health_checks": [{}, {"timeout": "1s"}],
                "metadata": {"filter_metadata": {"a": {}}},
                "load_assignment": {},
            }
        )
        self.assertEqual(
            faults,
            [
                "health_checks[1].timeout: not implemented by meshproxy",
                "metadata.filter_metadata: not implemented by meshproxy",
            ],
        )

    def transport(self) -> dict[str, object]:
        """
        A cluster with a transport socket.
        """
        return {"transport_socket": {"name": "x", "typed_config": {"@type": f"type.googleapis.com/{RAW}"}}}

    def test_any(self) -> None:
        """
        A type that nobody has declared is refused; to ignore it would be to do something else.
        """
        self.registry.declare(CLUSTER, "transport_socket")
        self.registry.declare(SOCKET, "name", "typed_config")
        told: tuple[list[str], list[str]] = (
            [f"transport_socket.typed_config: {RAW} is not implemented by meshproxy"],
            [],
        )
        self.assertEqual(self.check(self.transport()), told)
        self.assertEqual(self.check(self.transport(), allowUnknown=True), told)
        self.registry.declare(RAW)
        self.assertEqual(self.check(self.transport()), ([], []))

    def test_optional(self) -> None:
        """
        What may be unknown is not looked at here if it is; if it is known, its fields are as those of any other. An
        HTTP filter that is switched off must be known.
        """
        for message, field, spared in ((_HTTP_FILTER, "typed_config", False), (_FILTER_CONFIG, "config", True)):
            self.registry.declare(message, "is_optional", "disabled", field)
            held = {"@type": f"type.googleapis.com/{SOCKET}", "name": "x"}
            for told, more in (
                (f"{field}: {SOCKET} is not implemented by meshproxy", {}),
                ("", {"is_optional": True}),
                ("" if spared else f"{field}: {SOCKET} is not implemented by meshproxy", {"disabled": True}),
            ):
                section = Section.of(message, {field: held, **more})
                self.registry.check(section)
                self.assertEqual([str(error) for error in section.report.errors], [told] if told else [])
            unknown = Section.of(message, {field: held, "is_optional": True})
            getattr(unknown.message, field).type_url = "type.googleapis.com/no.such.Filter"
            self.registry.check(unknown)
            self.assertEqual(unknown.report.errors, [])
        self.registry.declare(SOCKET)
        known = Section.of(_FILTER_CONFIG, {"config": held, "is_optional": True})
        self.registry.check(known)
        self.assertEqual([str(error) for error in known.report.errors], ["config.name: not implemented by meshproxy"])

    def test_mapOfAny(self) -> None:
        """
        The same for each entry of a map.
        """
        self.registry.declare(CLUSTER, "typed_extension_protocol_options")
        faults, _warnings = self.check(
            {"typed_extension_protocol_options": {"a": {"@type": f"type.googleapis.com/{RAW}"}}}
        )
        self.assertEqual(faults, [f'typed_extension_protocol_options["a"]: {RAW} is not implemented by meshproxy'])

    def test_resolver(self) -> None:
        """
        Whoever keeps the filters is asked for a type before it is refused, and may load what declares it.
        """
        self.registry.declare(CLUSTER, "transport_socket")
        self.registry.declare(SOCKET, "name", "typed_config")
        asked: list[str] = []

        def resolve(typeName: str) -> None:
            asked.append(typeName)
            self.registry.declare(typeName)

        self.registry.addResolver(resolve)
        self.registry.addResolver(resolve)
        self.assertEqual(self.check(self.transport()), ([], []))
        self.assertEqual(self.check(self.transport()), ([], []))
        self.assertEqual(asked, [RAW])

    def test_deprecated(self) -> None:
        """
        Fields that Envoy's API calls deprecated give a warning.
        """
        self.assertIn("dns_refresh_rate", deprecatedFields(CLUSTER))
        self.registry.declare(CLUSTER, "dns_refresh_rate")
        self.assertEqual(self.check({"dns_refresh_rate": "5s"}), ([], ["dns_refresh_rate: deprecated in Envoy's API"]))
        self.assertEqual(deprecatedFields("no.Such"), frozenset())

    def test_reading(self) -> None:
        """
        What is declared can be listed, and copied without being shared.
        """
        self.registry.declare(RAW)
        self.registry.accept(CLUSTER, "metadata", "why")
        self.assertEqual(list(self.registry.types()), [CLUSTER, RAW])
        self.assertEqual(self.registry.fields(CLUSTER), {"metadata": Support(reason="why")})
        twin = self.registry.copy()
        self.registry.declare(CLUSTER, "name")
        self.assertEqual(set(twin.fields(CLUSTER)), {"metadata"})
