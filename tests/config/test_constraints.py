# -*- test-case-name: tests.config.test_constraints -*-
"""
Tests for L{meshproxy.config.constraints} and L{meshproxy.config.rules}.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import constraints
from meshproxy.config.pool import messageClass, messageType, newMessage, packAny, typeNames
from meshproxy.config.report import Report
from meshproxy.config.rules import UnknownRule, readsRule, scalarRules
from meshproxy.config.section import Section
from meshproxy.config.yamltext import parseYAML

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor

HTTP = "envoy.extensions.filters.http."


def faults(typeName: str, text: str) -> list[str]:
    """
    C{path: why} of each fault of a text whose fields are right.
    """
    report = Report()
    section = Section.read(typeName, parseYAML(text or "{}"), report)
    report.raiseIfAny()
    constraints.checkConstraints(section)
    return [str(error) for error in report.errors]


class ConstraintTests(SynchronousTestCase):
    """
    The rules that Envoy's protos declare, on messages that declare them.
    """

    def holds(self, typeName: str, *texts: str) -> None:
        """
        Assert that texts have no fault.
        """
        for text in texts:
            self.assertEqual(faults(typeName, text), [], text)

    def fails(self, typeName: str, cases: dict[str, str]) -> None:
        """
        Assert that each text has just the fault beside it.
        """
        for text, expected in cases.items():
            self.assertEqual(faults(typeName, text), [expected], text)

    def test_minLength(self) -> None:
        """
        C{string.min_len}, on a field of proto3 that is simply not there too.
        """
        name = "envoy.config.core.v3.Extension"
        self.holds(name, "")
        self.fails("envoy.config.core.v3.TransportSocket", {"": "name: must not be empty"})

    def test_maxBytes(self) -> None:
        """
        C{string.max_bytes} counts bytes, not characters.
        """
        name = "envoy.config.core.v3.HeaderValue"
        self.holds(name, f"key: {'a' * 16384}")
        long = "é" * 8193
        found = faults(name, f"key: {long}")
        self.assertEqual(len(found), 1)
        self.assertTrue(found[0].endswith("is longer than 16384 bytes"))
        self.assertLess(len(found[0]), 200, "a long value is cut in the message")

    def test_pattern(self) -> None:
        """
        C{string.pattern}.
        """
        name = "envoy.config.route.v3.RouteMatch"
        self.holds(name, "path_separated_prefix: /a")
        self.fails(
            name, {"path_separated_prefix: /a/": "path_separated_prefix: '/a/' is not of the form ^[^?#]+[^?#/]$"}
        )

    def test_prefixAndSuffix(self) -> None:
        """
        C{string.prefix} and C{string.suffix}, and that an empty string passes where C{ignore_empty} says so.
        """
        name = "envoy.config.route.v3.RateLimit.HitsAddend"
        self.holds(name, "", 'format: "%X%"')
        found = faults(name, "format: X")
        self.assertEqual(found, ["format: 'X' does not begin with '%'", "format: 'X' does not end with '%'"])

    def test_headerName(self) -> None:
        """
        C{string.well_known_regex}: lax ones refuse NUL, CR and LF, strict ones all that no header has.
        """
        self.holds("envoy.config.core.v3.HeaderValue", "key: a b")
        self.fails(
            "envoy.config.core.v3.HeaderValue",
            {'key: "a\\nb"': "key: 'a\\nb' is not a header name: it holds NUL, CR or LF"},
        )
        strict = "envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig"
        self.holds(strict, "header_name: x-user", 'header_name: ":path"')
        self.fails(strict, {"header_name: a b": "header_name: 'a b' is not a header name"})

    def test_stringIn(self) -> None:
        """
        C{string.in}, here on the items of a list.
        """
        name = HTTP + "router.v3.Router"
        self.holds(name, "strict_check_headers: [x-envoy-retry-on]")
        found = faults(name, "strict_check_headers: [x-envoy-retry-on, x-foo]")
        self.assertEqual(len(found), 1)
        self.assertTrue(found[0].startswith("strict_check_headers[1]: 'x-foo' is not one of 'x-envoy-"), found)

    def test_numbers(self) -> None:
        """
        Ranges of numbers, open and closed; wrappers only when they are set.
        """
        address = "envoy.config.core.v3.SocketAddress"
        self.holds(address, "{address: a, port_value: 65535}")
        self.fails(address, {"{address: a, port_value: 65536}": "port_value: 65536 is not at most 65535"})
        manager = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
        base = "stat_prefix: x\nrds: {config_source: {ads: {}}, route_config_name: r}\n"
        self.holds(manager, base, base + "max_request_headers_kb: 8192")
        self.fails(
            manager,
            {base + "max_request_headers_kb: 0": "max_request_headers_kb: 0 is not more than 0 and at most 8192"},
        )
        self.fails("envoy.type.v3.Percent", {"value: 100.5": "value: 100.5 is not at least 0 and at most 100"})

    def test_durations(self) -> None:
        """
        Ranges of durations, and durations that are required.
        """
        cluster = "envoy.config.cluster.v3.Cluster"
        self.holds(cluster, "{name: c}", "{name: c, connect_timeout: 0.001s}")
        self.fails(
            cluster,
            {
                "{name: c, connect_timeout: 0s}": "connect_timeout: 0s is not more than 0s",
                "{name: c, connect_timeout: -1s}": "connect_timeout: -1s is not more than 0s",
                "{name: c, cleanup_interval: 0s}": "cleanup_interval: 0s is not more than 0s",
            },
        )
        backOff = "envoy.config.route.v3.RetryPolicy.RetryBackOff"
        self.fails(backOff, {"": "base_interval: is required, and not set"})

    def test_enumerations(self) -> None:
        """
        C{enum.defined_only} and C{enum.not_in}.
        """
        found = faults("envoy.config.cluster.v3.Cluster", "{name: c, lb_policy: 77}")
        self.assertTrue(found[0].startswith("lb_policy: 77 is not the number of one of ROUND_ROBIN, "), found)
        self.fails("envoy.type.v3.HttpStatus", {"code: 0": "code: Empty is not allowed"})
        self.holds("envoy.type.v3.HttpStatus", "code: OK")

    def test_numbersWithoutName(self) -> None:
        """
        A number that no value of an enumeration has is refused, also where Envoy's protos do not ask for it.
        """
        name, field = "envoy.config.core.v3.HttpProtocolOptions", "headers_with_underscores_action"
        told = f"{field}: 3 is not the number of one of ALLOW, REJECT_REQUEST, DROP_HEADER"
        self.fails(name, {f"{field}: 3": told})
        self.holds(name, f"{field}: 2", f"{field}: drop_header", "")

    def test_boolean(self) -> None:
        """
        C{bool.const}, which only counts in a oneof when that member is set.
        """
        name = "envoy.config.rbac.v3.Permission"
        self.holds(name, "any: true", "{url_path: {path: {exact: x}}}")
        self.fails(name, {"any: false": "any: False is not True"})

    def test_required(self) -> None:
        """
        C{message.required}, and below a message that is there.
        """
        self.fails("envoy.config.accesslog.v3.ComparisonFilter", {"": "value: is required, and not set"})
        self.fails(
            "envoy.config.accesslog.v3.StatusCodeFilter",
            {"comparison: {}": "comparison.value: is required, and not set"},
        )

    def test_requiredAny(self) -> None:
        """
        C{any.required}.
        """
        name = "envoy.config.core.v3.TypedExtensionConfig"
        self.fails(name, {"name: x": "typed_config: is required, and not set"})

    def test_oneof(self) -> None:
        """
        C{oneof.required} names the members, at the message.
        """
        name = "envoy.config.core.v3.Address"
        told = "one of socket_address, pipe, envoy_internal_address is required"
        self.fails(name, {"": told})
        self.fails("envoy.config.endpoint.v3.Endpoint", {"address: {}": f"address: {told}"})

    def test_lists(self) -> None:
        """
        C{repeated.min_items}, C{max_items} and C{unique}.
        """
        self.fails(
            "envoy.config.accesslog.v3.AndFilter",
            {
                "filters: [{duration_filter: {comparison: {value: {runtime_key: x}}}}]": (
                    "filters: needs at least 2 items, and has 1"
                )
            },
        )
        name = "envoy.config.route.v3.InternalRedirectPolicy"
        self.holds(name, "response_headers_to_copy: [a, b]")
        self.fails(
            name, {"response_headers_to_copy: [a, b, a]": "response_headers_to_copy[2]: 'a' stands at [0] already"}
        )
        many = ", ".join(["301"] * 6)
        self.assertIn("may have at most 5 items, and has 6", faults(name, f"redirect_response_codes: [{many}]")[0])

    def test_items(self) -> None:
        """
        Rules on the items of a list, numbers here.
        """
        name = "envoy.config.listener.v3.FilterChainMatch"
        self.holds(name, "source_ports: [1, 65535]")
        self.fails(name, {"source_ports: [1, 0]": "source_ports[1]: 0 is not at least 1 and at most 65535"})

    def test_maps(self) -> None:
        """
        Rules on the keys of a map, and messages in its values.
        """
        name = "envoy.config.core.v3.Metadata"
        self.holds(name, "filter_metadata: {a: {}}")
        self.fails(name, {'filter_metadata: {"": {}}': 'filter_metadata[""]: must not be empty'})
        self.fails("xds.type.matcher.v3.Matcher.MatcherTree.MatchMap", {"": "map: needs at least 1 entry, and has 0"})

    def test_mapValues(self) -> None:
        """
        Rules on the values of a map.
        """
        name = "udpa.data.orca.v1.OrcaLoadReport"
        self.holds(name, "utilization: {a: 0.5}")
        self.fails(name, {"utilization: {a: 2}": 'utilization["a"]: 2 is not at least 0 and at most 1'})

    def test_bytes(self) -> None:
        """
        C{bytes.max_len}.
        """
        text = base64.b64encode(b"x" * 16385).decode()
        self.assertIn(
            "is longer than 16384 bytes",
            faults("envoy.config.core.v3.HeaderValue", f"{{key: a, raw_value: {text}}}")[0],
        )

    def test_descendsIntoAny(self) -> None:
        """
        What is packed in an Any is checked at the path of the Any, and an Any in it too.
        """
        manager = (
            "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
        )
        router = f"type.googleapis.com/{HTTP}router.v3.Router"
        text = (
            f'name: h\ntyped_config:\n  "@type": {manager}\n  route_config: {{}}\n  http_filters:\n'
            f'  - typed_config: {{"@type": {router}, strict_check_headers: [x]}}\n'
        )
        found = [fault.partition(":")[0] for fault in faults("envoy.config.listener.v3.Filter", text)]
        self.assertEqual(
            found,
            [
                "typed_config.stat_prefix",
                "typed_config.http_filters[0].name",
                "typed_config.http_filters[0].typed_config.strict_check_headers[0]",
            ],
        )

    def test_brokenAny(self) -> None:
        """
        What an Any over xDS holds may be unknown or no message at all; whoever unpacks it says so.
        """
        told: list[str] = []
        for url, value in (("x/no.Such", b""), ("x/envoy.config.core.v3.Address", b"\xff"), ("", b"")):
            packed = newMessage("google.protobuf.Any")
            packed.type_url = url  # type: ignore[attr-defined]  # a dynamic message
            packed.value = value  # type: ignore[attr-defined]  # likewise
            constraints.findFaults(packed, "p", lambda path, why: told.append(path))
            self.assertEqual(told, [])
        empty = packAny(newMessage("envoy.config.core.v3.Address"))
        constraints.findFaults(empty, "p", lambda path, why: told.append(path))
        self.assertEqual(told, ["p"])

    def test_silentWhereSpoiled(self) -> None:
        """
        A field whose value could not be read is not called missing as well.
        """
        report = Report()
        section = Section.read("envoy.config.core.v3.TransportSocket", parseYAML("nme: x"), report)
        constraints.checkConstraints(section)
        self.assertEqual([error.path for error in report.errors], ["nme"])


class CoverageTests(SynchronousTestCase):
    """
    The interpreter against the whole API.
    """

    def allTypes(self) -> Iterator[Descriptor]:
        """
        Every message of the pool, nested ones too.
        """
        waiting = [messageType(name) for name in typeNames()]
        while waiting:
            descriptor = waiting.pop()
            yield descriptor
            waiting += [nested for nested in descriptor.nested_types if not nested.GetOptions().map_entry]

    def test_everyRuleIsKnown(self) -> None:
        """
        Every rule that any message declares can be compiled, and an empty message can be checked.
        """
        count = 0
        for descriptor in self.allTypes():
            constraints.findFaults(messageClass(descriptor.full_name)(), "", lambda path, why: None)
            count += 1
        self.assertGreater(count, 1000)

    def test_unknownRule(self) -> None:
        """
        A rule that the interpreter does not know stops it, so that it cannot be overlooked.
        """
        rules = newMessage("validate.StringRules")
        rules.email = True  # type: ignore[attr-defined]  # a dynamic message
        self.assertRaises(UnknownRule, scalarRules, "string", rules)
        self.assertFalse(readsRule("string", "email"))
        self.assertTrue(readsRule("string", "min_len"))

    def test_outsideRange(self) -> None:
        """
        Bounds the wrong way round, which no message of Envoy's has today, mean what is outside of them.
        """
        rules = newMessage("validate.UInt32Rules")
        rules.gt = 10  # type: ignore[attr-defined]  # a dynamic message
        rules.lt = 5  # type: ignore[attr-defined]  # likewise
        (rule,) = scalarRules("uint32", rules)
        self.assertEqual([rule(value) is None for value in (4, 5, 7, 10, 11)], [True, False, False, False, True])

    def test_constAndIn(self) -> None:
        """
        C{const}, C{in} and C{not_in} of numbers.
        """
        rules = newMessage("validate.UInt32Rules")
        getattr(rules, "in").extend([1, 2])
        rules.not_in.append(2)  # type: ignore[attr-defined]  # a dynamic message
        found = scalarRules("uint32", rules)
        told = {value: [why for why in (rule(value) for rule in found) if why] for value in (1, 2, 3)}
        self.assertEqual(told, {1: [], 2: ["2 is not allowed"], 3: ["3 is not one of 1, 2"]})

    def test_text(self) -> None:
        """
        C{contains} and C{not_contains}, C{max_len} and C{min_bytes}.
        """
        rules = newMessage("validate.StringRules")
        rules.contains = "a"  # type: ignore[attr-defined]  # a dynamic message
        rules.not_contains = "b"  # type: ignore[attr-defined]  # likewise
        rules.max_len = 3  # type: ignore[attr-defined]  # likewise
        rules.min_bytes = 2  # type: ignore[attr-defined]  # likewise
        found = scalarRules("string", rules)
        for value, count in (("ca", 0), ("éa", 0), ("cc", 1), ("ab", 1), ("aaaa", 1), ("a", 1)):
            self.assertEqual(len([why for why in (rule(value) for rule in found) if why]), count, value)
