"""
L{meshproxy.filters.listener.http_inspector}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.filters.listener.http_inspector import _protocolOf
from meshproxy.testing import Peer
from tests.codec.hellos import hello
from tests.filters.listener.test_tls_inspector import chain
from tests.filters.network.support import FilterProxy

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CHAINS = [
    chain("h1", application_protocols=["http/1.1"]),
    chain("h10", application_protocols=["http/1.0"]),
    chain("h2c", application_protocols=["h2c"]),
    chain("other"),
]


class HTTPInspectorTests(SynchronousTestCase):
    """
    The first line chooses the chain.
    """

    def setUp(self) -> None:
        self.proxy = FilterProxy(before=[("http_inspector", {})], chains=CHAINS)

    def answer(self, *pieces: bytes) -> bytes:
        """
        The chain that a client gets.
        """
        return self.proxy.talk(*pieces).received

    def test_protocols(self) -> None:
        """
        Each as Envoy takes it.
        """
        for line, name in (
            (b"GET / HTTP/1.1\r\n", b"h1"),
            (b"FOO /x HTTP/1.1\n", b"h1"),
            (b"GET * HTTP/1.1\r\n", b"h1"),
            (b"GET http://a/ HTTP/1.1\r\n", b"h1"),
            (b"CONNECT a:1 HTTP/1.1\r\n", b"h1"),
            (b"GET / HTTP/1.0\r\n", b"h10"),
            (b"GET / HTTP/2.0\r\n", b"h10"),
            (b"GET /\r\n", b"h10"),
            (PREFACE, b"h2c"),
            (b"PRI * HTTP/2.0\r\nfoo", b"h10"),
            (b"hello world\r\n", b"other"),
            (b"GET world HTTP/1.1\r\n", b"other"),
            (b"GET / HTTP/1.1 x\r\n", b"other"),
            (b"GET /\xff HTTP/1.1\r\n", b"other"),
            (b"\r\n", b"other"),
        ):
            self.assertEqual(self.answer(line), name, line)

    def test_everySplit(self) -> None:
        """
        A line is waited for, however it comes.
        """
        for wire, name in ((b"GET / HTTP/1.1\r\n", b"h1"), (PREFACE, b"h2c")):
            for cut in range(1, len(wire)):
                peer = Peer()
                self.proxy.proxy.connect(peer)
                peer.write(wire[:cut])
                self.proxy.proxy.settle()
                self.assertEqual(peer.received, b"", wire[:cut])
                peer.write(wire[cut:])
                self.proxy.proxy.settle()
                self.assertEqual(peer.received, name)

    def test_atOnce(self) -> None:
        """
        What cannot become a request line is not waited for.
        """
        for start in (b"\x16\x03\x01", b"G@", b" GET"):
            self.assertEqual(self.answer(start), b"other")

    def test_linear(self) -> None:
        """
        A hostile line costs no more than its length: 64 KiB of any one byte are judged at once.
        """
        for byte in (b"\0", b" ", b"\t", b"A", b"/", b":", b"\x7f"):
            for end in (b"\n", b" x\n", b"\x80\n"):
                for start in (b"GET /", b"GET ", b"GET a", b""):
                    self.assertIn(_protocolOf(start + byte * 60000 + end), ("", "http/1.0"))
        self.assertEqual(self.answer(b"A" * 300), b"other")

    def test_stats(self) -> None:
        """
        What was found, and what was not.
        """
        for line in (b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.0\r\n", PREFACE, b"\0"):
            self.answer(line)
        names = ("http11_found", "http10_found", "http2_found", "http_not_found")
        self.assertEqual([self.proxy.stat(f"http_inspector.{name}") for name in names], [1] * 4)

    def test_endless(self) -> None:
        """
        A line that does not end within 64 KiB closes the connection.
        """
        peer = self.proxy.talk(b"GET /" + b"a" * 70000)
        self.assertEqual((peer.received, peer.closed), (b"", True))
        self.assertEqual(self.proxy.stat("http_inspector.read_error"), 1)

    def test_behindTLS(self) -> None:
        """
        What tls_inspector found to be TLS is left alone.
        """
        proxy = FilterProxy(before=[("tls_inspector", {}), ("http_inspector", {})], chains=CHAINS)
        self.assertEqual(proxy.talk(hello(b"a", [b"http/1.1"])).received, b"h1")
        self.assertEqual(proxy.talk(hello(b"a")).received, b"other")
        self.assertEqual(proxy.stat("http_inspector.http_not_found"), 0)
        self.assertEqual(proxy.talk(PREFACE).received, b"h2c")
