"""
L{meshproxy.upstream.healthchecks.tcp}: in a cluster, over a network in memory.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Protocol

from meshproxy.testing.network import parseAddress
from meshproxy.testing.peers import Peer
from tests.upstream.healthchecks.support import TIMES, CheckedCase


class TCPTests(CheckedCase):
    """
    Checks by TCP.
    """

    def setUp(self) -> None:
        super().setUp()
        self.peers: list[Peer] = []

    def serve(self) -> None:
        """
        Listen.
        """
        self.network.listen(parseAddress("192.0.2.1:80"), self._build)

    def _build(self, address: Any) -> Protocol:
        self.peers.append(Peer())
        return self.peers[-1]

    def check(self, times: dict[str, Any] | None = None, **fields: Any) -> Any:
        """
        The endpoint of a cluster whose check this is.
        """
        return self.make({**TIMES, **(times or {}), "tcp_health_check": fields}).endpoints[0]

    def test_connects(self) -> None:
        """
        A connection is all it takes. It is closed at once, and nothing is sent.
        """
        self.serve()
        endpoint = self.check(send={"text": "00"})
        self.assertEqual(self.flags(endpoint), "healthy")
        self.reactor.advance(10.0)
        self.assertEqual([(peer.received, peer.closed) for peer in self.peers], [(b"", True)] * 2)
        self.assertEqual(self.stats("attempt", "success"), (2, 2))

    def test_refused(self) -> None:
        """
        None is a failure of the network.
        """
        endpoint = self.check()
        self.assertEqual((self.flags(endpoint), self.stats("network_failure")), ("/failed_active_hc", (1,)))

    def test_answer(self) -> None:
        """
        Something is said, and something has to be answered, however it comes; on one connection, again and again.
        """
        self.serve()
        endpoint = self.check(send={"text": b"PING".hex()}, receive=[{"text": b"PO".hex()}, {"text": b"NG".hex()}])
        [peer] = self.peers
        self.assertEqual((peer.received, self.flags(endpoint)), (b"PING", "/failed_active_hc"))
        for piece in (b"P", b"O-", b"N", b"G"):
            self.assertEqual(self.flags(endpoint), "/failed_active_hc")
            peer.write(piece)
            self.reactor.settle()
        self.assertEqual(self.flags(endpoint), "healthy")
        self.reactor.advance(10.0)
        self.assertEqual((peer.received, len(self.peers)), (b"PINGPING", 1))
        peer.write(b"PONG")
        self.reactor.settle()
        self.assertEqual(self.stats("success"), (2,))

    def test_late(self) -> None:
        """
        The wrong answer is none, and its connection ends.
        """
        self.serve()
        endpoint = self.check({"unhealthy_threshold": 1}, receive=[{"text": "00"}])
        self.peers[0].write(b"\x01")
        self.reactor.advance(1.0)
        self.assertEqual(self.flags(endpoint), "/failed_active_hc/active_hc_timeout")
        self.assertTrue(self.peers[0].closed)
        self.reactor.advance(10.0)
        self.assertEqual(len(self.peers), 2)

    def test_closed(self) -> None:
        """
        An endpoint that closes the connection fails, be it while it is asked or not, as in Envoy.
        """
        self.serve()
        endpoint = self.check({"unhealthy_threshold": 1}, receive=[{"text": "00"}])
        self.peers[0].write(b"\x00")
        self.reactor.settle()
        self.assertEqual(self.flags(endpoint), "healthy")
        self.peers[0].close()
        self.reactor.settle()
        self.assertEqual((self.flags(endpoint), self.stats("network_failure")), ("/failed_active_hc", (1,)))
        self.reactor.advance(9.0)
        self.assertEqual(len(self.peers), 1)
        self.reactor.advance(1.0)
        self.assertEqual(len(self.peers), 2)

    def test_notReused(self) -> None:
        """
        Each check may have its own connection.
        """
        self.serve()
        self.check({"reuse_connection": False}, receive=[{"text": "00"}])
        self.peers[0].write(b"\x00")
        self.reactor.settle()
        self.assertTrue(self.peers[0].closed)
        self.assertEqual(self.stats("success", "failure"), (1, 0))

    def test_header(self) -> None:
        """
        A check may begin with a header of the PROXY protocol.
        """
        self.serve()
        self.check(receive=[{"text": "00"}], proxy_protocol_config={"version": "V2"}, send={"text": "0a"})
        self.assertEqual(self.peers[0].received, b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00\x0a")

    def test_stop(self) -> None:
        """
        A cluster that is gone asks no more, and its connection is gone as well.
        """
        self.serve()
        cluster = self.make({**TIMES, "tcp_health_check": {"receive": [{"text": "00"}]}})
        cluster.drain()
        self.reactor.advance(100.0)
        self.assertEqual([peer.closed for peer in self.peers], [True])
