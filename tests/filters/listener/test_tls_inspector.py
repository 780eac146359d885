"""
L{meshproxy.filters.listener.tls_inspector}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.testing import Peer
from tests.codec.hellos import COMMON, extension, hello, message, records, serverName
from tests.filters.network.support import FilterProxy, accessLog, filterOf

LOG = accessLog(
    "%FILTER_CHAIN_NAME% %REQUESTED_SERVER_NAME% %TLS_JA4_FINGERPRINT% "
    "%DYNAMIC_METADATA(envoy.filters.listener.tls_inspector:failure_reason)%\n"
)


def chain(name: str, **match: Any) -> dict[str, Any]:
    """
    A filter chain that answers with its name.
    """
    response = {"response": {"inline_string": name}}
    return {"name": name, "filter_chain_match": match, "filters": [filterOf("direct_response", response)]}


CHAINS = [
    chain("a", server_names=["a.example"]),
    chain("wild", server_names=["*.w.example"]),
    chain("h2", application_protocols=["h2"], transport_protocol="tls"),
    chain("tls", transport_protocol="tls"),
    chain("raw", transport_protocol="raw_buffer"),
]


class TLSInspectorTests(SynchronousTestCase):
    """
    The C{ClientHello} chooses the chain; nothing of it is taken away.
    """

    def proxy(self, **fields: Any) -> FilterProxy:
        """
        A proxy with a chain for each kind of client.
        """
        return FilterProxy(before=[("tls_inspector", fields)], chains=CHAINS, access_log=LOG)

    def answer(self, *pieces: bytes, **fields: Any) -> bytes:
        """
        The chain that a client gets.
        """
        return self.proxy(**fields).talk(*pieces).received

    def test_chains(self) -> None:
        """
        By server name, by protocol, by being TLS or not.
        """
        for wire, name in (
            (hello(b"A.example"), b"a"),
            (hello(b"x.w.example"), b"wild"),
            (hello(b"other.example", [b"h2"]), b"h2"),
            (hello(b"other.example"), b"tls"),
            (b"GET / HTTP/1.1\r\n\r\n", b"raw"),
        ):
            self.assertEqual(self.answer(wire), name)

    def test_everySplit(self) -> None:
        """
        No chain is chosen before server name and protocols are known, wherever the bytes are cut.
        """
        wire = hello(b"a.example", [b"h2"])
        proxy = self.proxy()
        for cut in range(1, len(wire)):
            peer = Peer()
            proxy.proxy.connect(peer)
            peer.write(wire[:cut])
            proxy.proxy.settle()
            self.assertEqual(peer.received, b"")
            peer.write(wire[cut:])
            proxy.proxy.settle()
            self.assertEqual(peer.received, b"a")
            peer.abort()
        fragments = records(message(serverName(b"a.example"), COMMON), [1] * 90)
        self.assertEqual(proxy.talk(*(bytes([each]) for each in fragments), limit=0).received, b"a")

    def test_stats(self) -> None:
        """
        What was found and what was not.
        """
        proxy = self.proxy()
        for wire in (hello(b"a.example", [b"h2"]), hello(), b"hello there"):
            proxy.talk(wire)
        names = ("tls_found", "tls_not_found", "alpn_found", "alpn_not_found", "sni_found", "sni_not_found")
        self.assertEqual([proxy.stat(f"tls_inspector.{name}") for name in names], [2, 1, 1, 1, 1, 1])

    def test_tooLarge(self) -> None:
        """
        One that is longer than C{max_client_hello_size} is not guessed at: the connection closes.
        """
        size = len(hello(b"a.example", [], (), extension(21, b"")))
        exact = hello(b"a.example", [], (), extension(21, b"\0" * (400 - size)))
        self.assertEqual(self.answer(exact, max_client_hello_size=400), b"a")
        proxy = self.proxy(max_client_hello_size=399)
        peer = proxy.talk(exact)
        self.assertEqual((peer.received, peer.closed), (b"", True))
        self.assertEqual(proxy.stat("tls_inspector.client_hello_too_large"), 1)
        self.assertEqual(proxy.log, ["- - - ClientHelloTooLarge"])

    def test_default(self) -> None:
        """
        The usual limit is 16 KiB.
        """
        self.assertEqual(self.answer(hello(b"a.example", [], (), extension(21, b"\0" * 15000))), b"a")
        peer = self.proxy().talk(hello(b"a.example", [], (), extension(21, b"\0" * 16500)))
        self.assertEqual((peer.received, peer.closed), (b"", True))

    def test_closesOthers(self) -> None:
        """
        With C{close_connection_on_client_hello_parsing_errors} who speaks no TLS is closed.
        """
        proxy = self.proxy(close_connection_on_client_hello_parsing_errors=True)
        peer = proxy.talk(b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual((peer.received, peer.closed), (b"", True))
        self.assertEqual(proxy.log, ["- - - ClientHelloNotDetected"])

    def test_oldVersions(self) -> None:
        """
        SSL 3.0 and what nobody knows gets no chain, not even that for cleartext.
        """
        for version in (0x0200, 0x0300, 0x0305):
            proxy = self.proxy()
            peer = proxy.talk(records(message(serverName(b"a.example"), COMMON, version=version)))
            self.assertEqual((peer.received, peer.closed), (b"", True))
            self.assertEqual(proxy.stat("tls_inspector.tls_not_found"), 1)
            self.assertEqual(proxy.log, ["- a.example - ClientHelloInvalidTlsVersion"])

    def test_goodbye(self) -> None:
        """
        A client whose first word is C{close_notify} is closed.
        """
        peer = self.proxy().talk(b"\x15\3\1\0\2\1\0")
        self.assertEqual((peer.received, peer.closed), (b"", True))

    def test_fingerprints(self) -> None:
        """
        JA4 for the log, if it is asked for.
        """
        wire = hello(b"a.example", [b"h2", b"http/1.1"])
        for wanted, shown in ((True, "t12d0405h2_e00fd9ffaebd_38660d1a2b28"), (False, "-")):
            proxy = self.proxy(enable_ja4_fingerprinting=wanted, enable_ja3_fingerprinting=wanted)
            proxy.talk(wire).abort()
            self.assertEqual(proxy.log, [f"a a.example {shown} -"])

    def test_passThrough(self) -> None:
        """
        Behind tcp_proxy the upstream gets the very bytes of the client.
        """
        wire = hello(b"a.example", [b"h2"]) + b"rest"
        proxy = FilterProxy(("tcp_proxy", {"stat_prefix": "t", "cluster": "backend"}), before=[("tls_inspector", {})])
        proxy.talk(wire[:50], wire[50:])
        self.assertEqual(proxy.backend.received, [wire])
