"""
Responses that are complete here, and that their downstream is slow to take.
"""

from __future__ import annotations

from typing import Any

from meshproxy.testing import Answer
from tests.codec.http2.frames import ping, settings, windowUpdate
from tests.http.http2support import HTTP2Case, HTTP2Peer

_BODY = b"x" * 200000


class SlowPeer(HTTP2Peer):
    """
    Reads once whenever it is told to.
    """

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        self.pause()


class FlushTests(HTTP2Case):
    """
    L{Flush<meshproxy.http.flush.Flush>}.
    """

    capacity = 65536

    def ask(self, **config: Any) -> tuple[HTTP2Peer, int]:
        """
        A client that gives no credit, and its stream, of which the proxy has the whole response.
        """
        config.setdefault("manager", {"stream_idle_timeout": "10s"})
        self.start(**config)
        self.backend.answer(Answer(200, _BODY))
        peer = self.connect(credits=False)
        streamId = peer.ask()
        self.proxy.settle()
        self.assertEqual(len(peer.of(streamId).body), 65535)
        self.assertEqual(self.stat("downstream_rq_active"), 0)
        self.assertEqual(self.proxy.stat("http2.streams_active"), 1)
        return peer, streamId

    def assertReset(self, peer: HTTP2Peer, streamId: int) -> None:
        """
        The stream was given up, and nothing is left of it; the connection goes on.
        """
        self.assertEqual(peer.of(streamId).resetCode, 2)
        self.assertEqual(self.proxy.stat("http2.tx_flush_timeout"), 1)
        self.assertEqual(self.proxy.stat("http2.pending_send_bytes"), 0)
        self.assertEqual(self.proxy.stat("http2.streams_active"), 0)
        peer.write(windowUpdate(0, 1000000))
        self.assertEqual(self.get(peer).status, 200)

    def test_noCredit(self) -> None:
        """
        CVE-2020-12604: the rest of a response waits for credit as long as its stream might be idle, not longer.
        """
        peer, streamId = self.ask()
        self.proxy.advance(9.9)
        self.assertIsNone(peer.of(streamId).resetCode)
        self.proxy.advance(0.2)
        self.assertReset(peer, streamId)

    def test_littleCredit(self) -> None:
        """
        Credit in crumbs does not make it longer.
        """
        peer, streamId = self.ask()
        for _ in range(4):
            self.proxy.advance(2.0)
            peer.write(windowUpdate(0, 1) + windowUpdate(streamId, 1))
        self.proxy.advance(2.1)
        self.assertEqual(len(peer.of(streamId).body), 65535 + 4)
        self.assertReset(peer, streamId)

    def test_byRoute(self) -> None:
        """
        A route has a time of its own, or none.
        """
        peer, streamId = self.ask(route={"idle_timeout": "3s"})
        self.proxy.advance(3.1)
        self.assertReset(peer, streamId)
        peer, streamId = self.ask(route={"idle_timeout": "0s"})
        self.proxy.advance(100.0)
        self.assertIsNone(peer.of(streamId).resetCode)

    def test_ownTime(self) -> None:
        """
        C{stream_flush_timeout} goes over how long streams may be idle, the C{flush_timeout} of a route over that.
        """
        manager = {"stream_idle_timeout": "10s", "stream_flush_timeout": "2s"}
        for route in ({}, {"idle_timeout": "50s"}):
            peer, streamId = self.ask(manager=manager, route=route)
            self.proxy.advance(1.9)
            self.assertIsNone(peer.of(streamId).resetCode)
            self.proxy.advance(0.2)
            self.assertReset(peer, streamId)
        peer, streamId = self.ask(manager=manager, route={"flush_timeout": "20s"})
        self.proxy.advance(19.0)
        self.assertIsNone(peer.of(streamId).resetCode)
        self.proxy.advance(1.1)
        self.assertReset(peer, streamId)
        peer, streamId = self.ask(manager=manager, route={"flush_timeout": "0s"})
        self.proxy.advance(100.0)
        self.assertIsNone(peer.of(streamId).resetCode)

    def test_credit(self) -> None:
        """
        Who gives credit in time gets all of it, and the time-out is forgotten.
        """
        peer, streamId = self.ask()
        self.proxy.advance(9.0)
        peer.write(windowUpdate(0, 1000000) + windowUpdate(streamId, 1000000))
        self.proxy.advance(5.0)
        self.assertEqual(peer.of(streamId).body, _BODY)
        self.assertEqual(self.proxy.stat("http2.tx_flush_timeout"), 0)
        self.assertEqual(self.get(peer).status, 200)

    def test_slowReader(self) -> None:
        """
        Who has credit and reads slowly is given up when nothing at all moves.
        """
        self.start(manager={"stream_idle_timeout": "10s"}, listener={"per_connection_buffer_limit_bytes": 400000})
        body = b"x" * 1500000
        self.backend.answer(Answer(200, body))
        peer = SlowPeer(False)
        self.proxy.connect(peer)
        self.proxy.settle()
        peer.write(settings((4, 1 << 24)) + windowUpdate(0, 1 << 24))
        streamId = peer.ask()
        for _ in range(200):
            # Settings and the like came before.
            peer.resume()
            self.proxy.settle()
            if self.stat("downstream_rq_active") == 0 and peer.of(streamId).body:
                break
        for _ in range(2):
            self.proxy.advance(6.0)
            peer.resume()
            self.proxy.settle()
        self.assertGreater(self.proxy.stat("http2.pending_send_bytes"), 0)
        self.assertEqual(self.proxy.stat("http2.tx_flush_timeout"), 0)
        self.assertLess(len(peer.of(streamId).body), len(body))
        self.proxy.advance(21.0)
        self.assertEqual(self.proxy.stat("http2.tx_flush_timeout"), 1)
        self.assertEqual(self.proxy.stat("http2.pending_send_bytes"), 0)

    def test_drain(self) -> None:
        """
        A connection that drains, or is idle otherwise, does not close before the last bytes have left.
        """
        idle = {"idle_timeout": "4s"}
        peer, streamId = self.ask(
            manager={"stream_idle_timeout": "60s", "drain_timeout": "1s", "common_http_protocol_options": idle}
        )
        self.proxy.advance(8.0)
        self.assertFalse(peer.closed)
        connection = next(iter(self.proxy.server.listeners.byName["front"].connections))
        connection._inner.drain()
        peer.write(ping(b"draining", True))
        self.proxy.advance(3.0)
        self.assertFalse(peer.closed)
        peer.write(windowUpdate(0, 1000000) + windowUpdate(streamId, 1000000))
        self.proxy.settle()
        self.assertEqual(peer.of(streamId).body, _BODY)
        self.assertTrue(peer.of(streamId).ended)
        self.assertTrue(peer.closed)
        self.assertQuiet()

    def test_leaves(self) -> None:
        """
        A client that leaves takes it along.
        """
        peer, _ = self.ask()
        peer.abort()
        self.proxy.settle()
        self.assertEqual(self.proxy.stat("http2.pending_send_bytes"), 0)
        self.assertEqual(self.proxy.stat("http2.streams_active"), 0)
        self.proxy.advance(20.0)
        self.assertEqual(self.proxy.stat("http2.tx_flush_timeout"), 0)
        self.assertQuiet()
