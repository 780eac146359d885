"""
L{meshproxy.routing.ratelimits}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section, sectionFromYAML
from meshproxy.config.supported import supported
from meshproxy.errors import ConfigErrors
from meshproxy.net.address import Address
from meshproxy.routing.ratelimits import Descriptor, compileRateLimits
from tests.filters.http.support import FakeStream, connection, routed

RATE_LIMIT = "envoy.config.route.v3.RateLimit"


def descriptors(stream: FakeStream, *actions: str) -> list[Descriptor]:
    """
    The descriptors of a request, by one rate limit with some actions.
    """
    section = sectionFromYAML(RATE_LIMIT, f"actions: [{', '.join(actions)}]")
    supported.check(section)
    limits = compileRateLimits([section], "here")
    section.report.raiseIfAny()
    return limits.descriptors(stream)


class ActionTests(SynchronousTestCase):
    """
    What each action makes.
    """

    def assertMakes(self, action: str, stream: FakeStream, *expected: tuple[str, str]) -> None:
        """
        One action makes one descriptor with these entries, or none.
        """
        self.assertEqual(descriptors(stream, action), [expected] if expected else [])

    def test_genericKey(self) -> None:
        """
        The same for all.
        """
        self.assertMakes("{generic_key: {descriptor_value: v}}", FakeStream(), ("generic_key", "v"))
        self.assertMakes("{generic_key: {descriptor_value: v, descriptor_key: k}}", FakeStream(), ("k", "v"))

    def test_requestHeaders(self) -> None:
        """
        The first value of a header, pseudo-header fields included.
        """
        action = "{request_headers: {header_name: X-U, descriptor_key: user}}"
        self.assertMakes(action, FakeStream([(b"x-u", b"bob"), (b"x-u", b"al")]), ("user", "bob"))
        self.assertMakes(action, FakeStream())
        self.assertMakes("{request_headers: {header_name: ':path', descriptor_key: p}}", FakeStream(), ("p", "/"))

    def test_queryParameters(self) -> None:
        """
        The first value of a parameter, decoded.
        """
        action = "{query_parameters: {query_parameter_name: q, descriptor_key: k}}"
        self.assertMakes(action, FakeStream(path=b"/?q=a%20b&q=c"), ("k", "a b"))
        self.assertMakes(action, FakeStream(path=b"/?r=1"))

    def test_skipIfAbsent(self) -> None:
        """
        What may be skipped leaves the rest of its descriptor; what may not takes all of it away.
        """
        key = "{generic_key: {descriptor_value: v}}"
        header = "{request_headers: {header_name: x, descriptor_key: k, skip_if_absent: %s}}"
        query = "{query_parameters: {query_parameter_name: q, descriptor_key: k, skip_if_absent: %s}}"
        for action in (header, query):
            self.assertEqual(descriptors(FakeStream(), key, action % "true"), [(("generic_key", "v"),)])
            self.assertEqual(descriptors(FakeStream(), key, action % "false"), [])
        self.assertEqual(descriptors(FakeStream(), header % "true"), [])

    def test_remoteAddress(self) -> None:
        """
        The client, as C{x-forwarded-for} tells it where that is believed; a unix socket has none.
        """
        stream: Any = FakeStream()
        self.assertMakes("{remote_address: {}}", stream, ("remote_address", "192.0.2.7"))
        stream.remoteAddress = Address("10.0.0.1", 0)
        self.assertMakes("{remote_address: {}}", stream, ("remote_address", "10.0.0.1"))
        info = connection()
        info.remoteAddress = Address("/run/x")
        self.assertMakes("{remote_address: {}}", FakeStream(connectedBy=info))

    def test_maskedRemoteAddress(self) -> None:
        """
        The client's network.
        """
        masks = "{masked_remote_address: {v4_prefix_mask_len: 16, v6_prefix_mask_len: 32}}"
        self.assertMakes(masks, FakeStream(), ("masked_remote_address", "192.0.0.0/16"))
        six = FakeStream(connectedBy=connection("2001:db8:1::1"))
        self.assertMakes(masks, six, ("masked_remote_address", "2001:db8::/32"))
        self.assertMakes("{masked_remote_address: {}}", FakeStream(), ("masked_remote_address", "192.0.2.7/32"))

    def test_remoteAddressMatch(self) -> None:
        """
        Something fixed or made, for clients of some networks or of all others. Compared with Envoy 1.40.
        """
        action = "{remote_address_match: {descriptor_value: '%s', %s address_matcher: {%s}}}"
        near, far = (f"ranges: [{{address_prefix: {each}, prefix_len: 24}}]" for each in ("192.0.2.0", "10.0.0.0"))
        made = ("remote_address_match", "v")
        self.assertMakes(action % ("v", "", near), FakeStream(), made)
        self.assertMakes(action % ("v", "", far), FakeStream())
        self.assertMakes(action % ("v", "descriptor_key: k,", f"invert_match: true, {far}"), FakeStream(), ("k", "v"))
        self.assertMakes(action % ("v", "", f"invert_match: true, {near}"), FakeStream())
        info = connection()
        info.remoteAddress = Address("/run/x")
        self.assertMakes(action % ("v", "", f"invert_match: true, {far}"), FakeStream(connectedBy=info))

    def test_headerValueMatch(self) -> None:
        """
        Something fixed, for requests that match, or for those that do not.
        """
        action = (
            "{header_value_match: {descriptor_value: v, expect_match: %s, headers: [{name: a, present_match: true}]}}"
        )
        with_, without = FakeStream([(b"a", b"1")]), FakeStream()
        self.assertMakes(action % "true", with_, ("header_match", "v"))
        self.assertMakes(action % "true", without)
        self.assertMakes(action % "false", with_)
        self.assertMakes(action % "false", without, ("header_match", "v"))

    def test_queryParameterValueMatch(self) -> None:
        """
        Likewise by query parameters.
        """
        action = (
            "{query_parameter_value_match: {descriptor_value: v, descriptor_key: k, expect_match: %s,"
            " query_parameters: [{name: a, string_match: {exact: '1'}}]}}"
        )
        self.assertMakes(action % "true", FakeStream(path=b"/?a=1"), ("k", "v"))
        self.assertMakes(action % "true", FakeStream(path=b"/?a=2"))
        self.assertMakes(action % "false", FakeStream(path=b"/?a=2"), ("k", "v"))

    def test_destinationCluster(self) -> None:
        """
        Where the request goes, once that is known.
        """
        stream = FakeStream(route=routed(cluster="payments"))
        self.assertMakes("{destination_cluster: {}}", stream, ("destination_cluster", "payments"))
        stream.route = None
        self.assertMakes("{destination_cluster: {}}", stream)

    def test_metadata(self) -> None:
        """
        Text in the metadata of the stream or of its route, or a default.
        """
        where = "descriptor_key: k, metadata_key: {key: f, path: [{key: a}]}"
        stream = FakeStream(route=routed(metadata={"f": {"a": "route"}}))
        self.assertMakes(f"{{metadata: {{{where}}}}}", stream)
        stream.dynamicMetadata = {"f": {"a": "dynamic"}}
        self.assertMakes(f"{{metadata: {{{where}}}}}", stream, ("k", "dynamic"))
        self.assertMakes(f"{{metadata: {{{where}, source: ROUTE_ENTRY}}}}", stream, ("k", "route"))
        for value in ("", 7, None):
            stream.dynamicMetadata = {"f": {"a": value}}
            self.assertMakes(f"{{metadata: {{{where}}}}}", stream)
            self.assertMakes(f"{{metadata: {{{where}, default_value: d}}}}", stream, ("k", "d"))

    def test_expression(self) -> None:
        """
        What an expression gives, as text; one that fails may be skipped.
        """
        kind = "type.googleapis.com/envoy.extensions.rate_limit_descriptors.expr.v3.Descriptor"

        def action(fields: str) -> str:
            return f"{{extension: {{name: e, typed_config: {{'@type': {kind}, descriptor_key: k, {fields}}}}}}}"

        for text, value in (("request.path", "/"), ("1 + 1", "2"), ("request.size == 0", "true"), ('""', "")):
            self.assertMakes(action(f"text: '{text}'"), FakeStream(), ("k", value))
        self.assertMakes(action("parsed: {const_expr: {string_value: v}}"), FakeStream(), ("k", "v"))
        key, failing = "{generic_key: {descriptor_value: v}}", "text: request.headers.none"
        self.assertEqual(descriptors(FakeStream(), key, action(failing)), [])
        skipped = descriptors(FakeStream(), key, action(failing + ", skip_if_error: true"))
        self.assertEqual(skipped, [(("generic_key", "v"),)])
        for fields in ("text: 1 +", "text: request.nosuch", "parsed: {}"):
            self.assertRaises(ConfigErrors, descriptors, FakeStream(), action(fields))
        other = action("").replace("rate_limit_descriptors.expr.v3.Descriptor", "filters.http.router.v3.Router")
        self.assertRaises(ConfigErrors, descriptors, FakeStream(), other.replace("descriptor_key: k, ", ""))

    def test_several(self) -> None:
        """
        Each rate limit makes its own descriptor, with the entries in order.
        """
        sections = [
            sectionFromYAML(RATE_LIMIT, "actions: [{generic_key: {descriptor_value: a}}, {remote_address: {}}]"),
            sectionFromYAML(RATE_LIMIT, "actions: [{request_headers: {header_name: x, descriptor_key: k}}]"),
            sectionFromYAML(RATE_LIMIT, "actions: [{generic_key: {descriptor_value: b}}]"),
        ]
        stream = FakeStream()
        self.assertEqual(
            compileRateLimits(sections).descriptors(stream),
            [(("generic_key", "a"), ("remote_address", "192.0.2.7")), (("generic_key", "b"),)],
        )

    def test_sourceCluster(self) -> None:
        """
        Who we are.
        """
        self.assertMakes("{source_cluster: {}}", FakeStream(), ("source_cluster", "here"))

    def test_dynamicMetadata(self) -> None:
        """
        The older name of metadata, which knows the stream's alone.
        """
        stream = FakeStream(route=routed(metadata={"f": {"a": "route"}}))
        action = "{dynamic_metadata: {descriptor_key: k, metadata_key: {key: f, path: [{key: a}]}}}"
        self.assertMakes(action, stream)
        stream.dynamicMetadata = {"f": {"a": "dynamic"}}
        self.assertMakes(action, stream, ("k", "dynamic"))

    def test_stage(self) -> None:
        """
        A filter asks for the limits of its own stage; those for the end of a stream are not among them.
        """
        text = "{stage: %d, apply_on_stream_done: %s, actions: [{generic_key: {descriptor_value: v%d}}]}"
        made = [(0, "false"), (2, "false"), (0, "true")]
        sections = [sectionFromYAML(RATE_LIMIT, text % (stage, done, n)) for n, (stage, done) in enumerate(made)]
        limits = compileRateLimits(sections)
        of = [limits.descriptors(FakeStream(), stage) for stage in (None, 0, 1, 2)]
        first, second = (("generic_key", "v0"),), (("generic_key", "v1"),)
        self.assertEqual(of, [[first, second], [first], [], [second]])

    def test_hits(self) -> None:
        """
        A stream counts once, or as often as a number or a header says.
        """
        stream = FakeStream([(b"x-n", b"7"), (b"x-bad", b"-3")])
        for text, expected in (
            ("", 1),
            (", hits_addend: {number: 4}", 4),
            (", hits_addend: {number: 0}", 0),
            (", hits_addend: {number: 4, is_negative_hits: true}", -4),
            (", hits_addend: {format: '%REQ(x-n)%', is_negative_hits: true}", -7),
            (", hits_addend: {format: '%REQ(x-n)%'}", 7),
            (", hits_addend: {format: '%REQ(x-bad)%'}", 1),
            (", hits_addend: {format: '%REQ(x-none)%'}", 1),
        ):
            limits = compileRateLimits([sectionFromYAML(RATE_LIMIT, f"{{actions: [{{remote_address: {{}}}}]{text}}}")])
            self.assertEqual(limits.limits[0].hits(stream), expected, text)

    def test_none(self) -> None:
        """
        Where there are none, that is plain to see.
        """
        self.assertFalse(compileRateLimits([]))
        self.assertEqual(compileRateLimits([]).descriptors(FakeStream()), [])

    def test_refused(self) -> None:
        """
        An action that is not implemented is refused.
        """
        section = Section.of(RATE_LIMIT, {"actions": [{"extension": {}}]})
        compileRateLimits([section])
        self.assertEqual([error.path for error in section.report.errors], ["actions[0].extension.typed_config"])
