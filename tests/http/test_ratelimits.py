"""
L{meshproxy.http.ratelimits}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section, sectionFromYAML
from meshproxy.config.supported import supported
from meshproxy.http.ratelimits import Descriptor, compileRateLimits
from meshproxy.net.address import Address
from tests.filters.http.support import FakeStream, connection, routed

RATE_LIMIT = "envoy.config.route.v3.RateLimit"


def descriptors(stream: FakeStream, *actions: str) -> list[Descriptor]:
    """
    The descriptors of a request, by one rate limit with some actions.
    """
    section = sectionFromYAML(RATE_LIMIT, f"actions: [{', '.join(actions)}]")
    supported.check(section)
    make = compileRateLimits([section])
    section.report.raiseIfAny()
    return make(stream, stream.requestHeaders)


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
            compileRateLimits(sections)(stream, stream.requestHeaders),
            [(("generic_key", "a"), ("remote_address", "192.0.2.7")), (("generic_key", "b"),)],
        )

    def test_refused(self) -> None:
        """
        An action that is not implemented is refused.
        """
        for action in ("source_cluster", "extension"):
            section = Section.of(RATE_LIMIT, {"actions": [{action: {}}]})
            compileRateLimits([section])
            self.assertEqual([error.path for error in section.report.errors], [f"actions[0].{action}"])
