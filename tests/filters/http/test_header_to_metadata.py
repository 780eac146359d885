"""
L{meshproxy.filters.http.header_to_metadata}.
"""

from __future__ import annotations

from base64 import b64encode

from google.protobuf.struct_pb2 import Value
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.errors import ConfigErrors
from meshproxy.filters.http.header_to_metadata import HeaderToMetadata
from meshproxy.headers import ResponseHeaders
from tests.filters.http.support import FakeStream, compiled, makeContext, makeFilter, routed

RULE = "request_rules: [{header: x-a, on_header_present: {metadata_namespace: ns, key: k, %s}}]"


class RuleTests(SynchronousTestCase):
    """
    One rule and one request.
    """

    def noted(self, text: str, *fields: tuple[bytes, bytes]) -> object:
        """
        What is noted as C{k} of C{ns}.
        """
        stream = FakeStream(fields)
        makeFilter(HeaderToMetadata, text).requestHeaders(stream, stream.requestHeaders, True)
        return (stream.dynamicMetadata or {}).get("ns", {}).get("k", "nothing")

    def test_text(self) -> None:
        """
        A value is noted as it is; several of one name are joined; an empty one is not noted.
        """
        rule = RULE % "type: STRING"
        self.assertEqual(self.noted(rule, (b"x-a", b"v")), "v")
        self.assertEqual(self.noted(rule, (b"x-a", b"v"), (b"x-a", b"w")), "v,w")
        self.assertEqual(self.noted(rule, (b"x-a", b"")), "nothing")
        self.assertEqual(self.noted(rule, (b"x-a", b"\xff")), "\udcff")

    def test_missing(self) -> None:
        """
        Without the header, there is a value for that.
        """
        rule = "request_rules: [{header: x-a, on_header_missing: {metadata_namespace: ns, key: k, value: none}}]"
        self.assertEqual(self.noted(rule), "none")
        self.assertEqual(self.noted(rule, (b"x-a", b"v")), "nothing")

    def test_fixed(self) -> None:
        """
        A value of the rule's own takes the place of the header's.
        """
        self.assertEqual(self.noted(RULE % "value: mine", (b"x-a", b"v")), "mine")

    def test_numbers(self) -> None:
        """
        A number is one, or it is not noted.
        """
        rule = RULE % "type: NUMBER"
        for value, expected in {b"42": 42, b" -1.5e3 ": -1500, b".5": 0.5, b"4x": "nothing", b"nan": "nothing"}.items():
            self.assertEqual(self.noted(rule, (b"x-a", value)), expected)
        self.assertEqual(self.noted(rule, (b"x-a", "٣".encode())), "nothing")

    def test_base64(self) -> None:
        """
        An encoded value is decoded, with padding or without, or not noted.
        """
        rule = RULE % "encode: BASE64"
        for value, expected in {
            b"YWI=": "ab",
            b"YWI": "ab",
            b"!": "nothing",
            b"YWJjY": "nothing",
            b"YQ=a": "nothing",
        }.items():
            self.assertEqual(self.noted(rule, (b"x-a", value)), expected)

    def test_protobuf(self) -> None:
        """
        An encoded C{google.protobuf.Value} is any value there is.
        """
        rule = RULE % "encode: BASE64, type: PROTOBUF_VALUE"
        value = Value()
        value.struct_value.update({"a": [1, True, None]})
        self.assertEqual(self.noted(rule, (b"x-a", b64encode(value.SerializeToString()))), {"a": [1, True, None]})
        self.assertEqual(self.noted(rule, (b"x-a", b64encode(b"\x0a"))), "nothing")

    def test_rewrite(self) -> None:
        """
        What a regular expression makes of a value is noted.
        """
        rule = RULE % r"regex_value_rewrite: {pattern: {regex: '^v(.*)$'}, substitution: '\1'}"
        self.assertEqual(self.noted(rule, (b"x-a", b"v2")), "2")
        self.assertEqual(self.noted(rule, (b"x-a", b"v")), "nothing")

    def test_cookie(self) -> None:
        """
        A cookie is a value as well; an empty one is missing.
        """
        rule = (
            "request_rules: [{cookie: c, on_header_present: {metadata_namespace: ns, key: k},"
            " on_header_missing: {metadata_namespace: ns, key: k, value: none}}]"
        )
        self.assertEqual(self.noted(rule, (b"cookie", b"b=1; c=2")), "2")
        self.assertEqual(self.noted(rule, (b"cookie", b"c=")), "none")

    def test_longest(self) -> None:
        """
        A value of 8 KiB is too long.
        """
        rule = RULE % "type: STRING"
        self.assertEqual(self.noted(rule, (b"x-a", b"v" * 8192)), "nothing")
        self.assertEqual(self.noted(rule, (b"x-a", b"v" * 8191)), "v" * 8191)


class HeaderToMetadataTests(SynchronousTestCase):
    """
    L{HeaderToMetadata}.
    """

    def test_remove(self) -> None:
        """
        A header may be taken away, also where its value is not noted; a later rule does not see it.
        """
        text = (
            "request_rules: [{header: x-a, remove: true, on_header_missing: {key: k, value: v}},"
            " {header: x-a, on_header_missing: {key: later, value: gone}}]"
        )
        stream = FakeStream([(b"x-a", b"1"), (b"x-b", b"2")])
        makeFilter(HeaderToMetadata, text).requestHeaders(stream, stream.requestHeaders, True)
        self.assertEqual(list(stream.requestHeaders.fields()), [(b"x-b", b"2")])
        self.assertEqual(stream.dynamicMetadata, {"envoy.filters.http.header_to_metadata": {"later": "gone"}})

    def test_response(self) -> None:
        """
        Rules for responses see those.
        """
        stream = FakeStream()
        headers = ResponseHeaders(200, [(b"x-a", b"1")])
        text = "response_rules: [{header: x-a, on_header_present: {metadata_namespace: ns, key: k}}]"
        makeFilter(HeaderToMetadata, text).responseHeaders(stream, headers, True)
        self.assertEqual(stream.dynamicMetadata, {"ns": {"k": "1"}})

    def test_counters(self) -> None:
        """
        With a C{stat_prefix} there are counters under Envoy's name for them.
        """
        context = makeContext()
        text = (
            "{stat_prefix: p, request_rules: ["
            "{header: x-a, on_header_present: {key: k, encode: BASE64}, on_header_missing: {key: k, value: dg==}},"
            "{header: x-b, on_header_present: {key: k, regex_value_rewrite: {pattern: {regex: b}, substitution: ''}}}]}"
        )
        made = makeFilter(HeaderToMetadata, text, context)
        for fields in ([(b"x-a", b"!!")], [(b"x-a", b"YQ")], [], [(b"x-a", b"a" * 9000)], [(b"x-b", b"b")]):
            stream = FakeStream(fields)
            made.requestHeaders(stream, stream.requestHeaders, True)
        counters = context.store.scope("http_filter_name.p.")
        expected = {"request_rules_processed": 10, "request_metadata_added": 3, "request_header_not_found": 2}
        expected |= {"base64_decode_failed": 1, "header_value_too_long": 1, "regex_substitution_failed": 1}
        self.assertEqual({name: counters.counter(name).value for name in expected}, expected)

    def test_route(self) -> None:
        """
        A route's rules take the place of the filter's, and must be some.
        """
        context = makeContext()
        mine = compiled(HeaderToMetadata, RULE % "value: route", context, True)
        stream = FakeStream([(b"x-a", b"1")], route=routed(mine))
        makeFilter(HeaderToMetadata, RULE % "value: filter", context).requestHeaders(
            stream, stream.requestHeaders, True
        )
        self.assertEqual(stream.dynamicMetadata, {"ns": {"k": "route"}})
        self.assertRaises(ConfigErrors, compiled, HeaderToMetadata, "{}", context, True)

    def test_refused(self) -> None:
        """
        Rules that make no sense are told, all of them.
        """
        text = (
            "request_rules: [{header: a, cookie: b, on_header_present: {key: k}}, {header: a},"
            " {cookie: a, remove: true, on_header_present: {key: k}}, {header: a, on_header_missing: {key: k}},"
            " {header: a, on_header_present: {key: k, value: v, regex_value_rewrite: {pattern: {regex: a}}}}]"
        )
        with self.assertRaises(ConfigErrors) as caught:
            makeFilter(HeaderToMetadata, text)
        self.assertEqual(
            [error.path for error in caught.exception.errors],
            [
                "request_rules[0]",
                "request_rules[1]",
                "request_rules[2].remove",
                "request_rules[3].on_header_missing.value",
                "request_rules[4].on_header_present.value",
            ],
        )
