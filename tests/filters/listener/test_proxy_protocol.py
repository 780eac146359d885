"""
L{meshproxy.filters.listener.proxy_protocol}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.codec.hellos import hello
from tests.codec.test_proxyprotocol import ADDRESSES, V1, tlv, v2
from tests.filters.listener.test_tls_inspector import chain
from tests.filters.network.support import TCP, FilterProxy, accessLog

LOG = accessLog(
    "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_LOCAL_ADDRESS% "
    "%DYNAMIC_METADATA(envoy.filters.listener.proxy_protocol)%\n"
)
TOLD = "192.0.2.1:56324 127.0.0.1 198.51.100.2:443"


class ProxyProtocolTests(SynchronousTestCase):
    """
    The header is believed and taken away.
    """

    def proxy(self, **fields: Any) -> FilterProxy:
        """
        A proxy that passes bytes on.
        """
        return FilterProxy(("tcp_proxy", {**TCP, "access_log": LOG}), before=[("proxy_protocol", fields)])

    def passed(self, *pieces: bytes, **fields: Any) -> tuple[list[bytes], bool]:
        """
        What the upstream got, and whether the client was closed.
        """
        proxy = self.proxy(**fields)
        peer = proxy.talk(*pieces)
        return proxy.backend.received, peer.closed

    def test_everySplit(self) -> None:
        """
        Wherever the bytes are cut, the upstream gets what follows the header, no byte more and no byte less.
        """
        for header in (V1, v2(ADDRESSES + tlv(1, b"h2"))):
            wire = header + b"payload"
            for cut in range(1, len(wire)):
                self.assertEqual(self.passed(wire[:cut], wire[cut:]), ([b"payload"], False), cut)

    def test_addresses(self) -> None:
        """
        The client is who the header says; the socket's peer stays known. C{LOCAL} and C{UNKNOWN} change nothing.
        """
        for wire, told in (
            (V1, TOLD),
            (v2(), TOLD),
            (v2(b"", 0x20), None),
            (b"PROXY UNKNOWN\r\n", None),
        ):
            proxy = self.proxy()
            proxy.talk(wire + b"x").abort()
            [line] = proxy.log
            if told is None:
                self.assertRegex(line, r"^127\.0\.0\.1:\d+ 127\.0\.0\.1 127\.0\.0\.1:10000 -$")
            else:
                self.assertEqual(line, told + " -")

    def test_chains(self) -> None:
        """
        Filter chains are matched by the addresses of the header.
        """
        chains = [
            chain(
                "there", destination_port=443, source_prefix_ranges=[{"address_prefix": "192.0.2.0", "prefix_len": 24}]
            ),
            chain("direct", direct_source_prefix_ranges=[{"address_prefix": "127.0.0.0", "prefix_len": 8}]),
        ]
        proxy = FilterProxy(before=[("proxy_protocol", {})], chains=chains)
        self.assertEqual(proxy.talk(V1).received, b"there")
        self.assertEqual(proxy.talk(b"PROXY UNKNOWN\r\n").received, b"direct")

    def test_beforeTLS(self) -> None:
        """
        What follows is for the next listener filter.
        """
        proxy = FilterProxy(
            before=[("proxy_protocol", {}), ("tls_inspector", {})],
            chains=[chain("a", server_names=["a.example"]), chain("other")],
        )
        wire = V1 + hello(b"a.example")
        self.assertEqual(proxy.talk(wire).received, b"a")
        self.assertEqual(proxy.talk(wire[:10], wire[10:60], wire[60:]).received, b"a")

    def test_refused(self) -> None:
        """
        Without a header, or with a wrong one, the connection closes and is counted; nothing of it reaches the upstream.
        """
        for wire, name in (
            (b"GET / HTTP/1.1\r\n", "not_found_disallowed"),
            (b"PROXY TCP4 x\r\n", "versions.v1.error"),
            (v2(ADDRESSES + tlv(1, b"ab", 3)) + b"more", "versions.v2.error"),
        ):
            proxy = self.proxy()
            self.assertTrue(proxy.talk(wire).closed)
            self.assertEqual(proxy.backend.peers, [])
            self.assertEqual(proxy.stat(f"proxy_proto.{name}"), 1)
            self.assertEqual(proxy.stat("downstream_cx_proxy_proto_error"), 1)

    def test_optional(self) -> None:
        """
        With C{allow_requests_without_proxy_protocol} what is no header passes from its first byte; a broken header
        still does not.
        """
        fields = {"allow_requests_without_proxy_protocol": True, "stat_prefix": "p"}
        self.assertEqual(self.passed(b"hello", **fields), ([b"hello"], False))
        self.assertEqual(self.passed(b"P", b"ROX", b"x", **fields), ([b"PROXx"], False))
        self.assertEqual(self.passed(V1 + b"hello", **fields), ([b"hello"], False))
        self.assertEqual(self.passed(b"PROXY TCP4 x\r\n", **fields), ([], True))
        proxy = self.proxy(**fields)
        proxy.talk(b"hello")
        self.assertEqual(proxy.stat("proxy_proto.p.not_found_allowed"), 1)

    def test_versions(self) -> None:
        """
        A version that is not allowed closes the connection, or counts as none where none is needed.
        """
        for version, (bad, good) in {"V1": (V1, v2()), "V2": (v2(), V1)}.items():
            fields = {"disallowed_versions": [version]}
            self.assertEqual(self.passed(bad + b"x", **fields), ([], True))
            self.assertEqual(self.passed(good + b"x", **fields), ([b"x"], False))
            proxy = self.proxy(**fields)
            proxy.talk(bad)
            self.assertEqual(proxy.stat(f"proxy_proto.versions.{version.lower()}.disallowed"), 1)
            optional = {**fields, "allow_requests_without_proxy_protocol": True}
            self.assertEqual(self.passed(bad + b"x", **optional), ([bad + b"x"], False))

    def test_rules(self) -> None:
        """
        TLVs become dynamic metadata: the first of a type, in the filter's namespace or another, readable whatever the
        bytes are.
        """
        rules = [
            {"tlv_type": 1, "on_tlv_present": {"key": "alpn"}},
            {"tlv_type": 2, "on_tlv_present": {"metadata_namespace": "other", "key": "name"}},
            {"tlv_type": 3, "on_tlv_present": {"key": "absent"}},
        ]
        proxy = self.proxy(rules=rules)
        proxy.talk(v2(ADDRESSES + tlv(1, b"h2") + tlv(1, b"x") + tlv(2, b"n")) + b"x").abort()
        proxy.talk(v2(ADDRESSES + tlv(1, b"\xff")) + b"x").abort()
        self.assertEqual(proxy.log, [TOLD + ' {"alpn":"h2"}', TOLD + ' {"alpn":"!"}'])

    def test_waits(self) -> None:
        """
        A header that does not come is waited for until the listener's time is over.
        """
        proxy = self.proxy()
        peer = proxy.talk(V1[:20])
        self.assertFalse(peer.closed)
        proxy.proxy.advance(15)
        self.assertTrue(peer.closed)
        self.assertEqual(proxy.stat("listener.127.0.0.1_10000.downstream_pre_cx_timeout"), 1)
