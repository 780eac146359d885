"""
How connections of HTTP/2 end: with what is under way, in time, and with a word before.
"""

from __future__ import annotations

from meshproxy.testing import Answer, httpBootstrap
from tests.codec.http2.frames import framesIn, goAway, headers, ping
from tests.http.http2support import HTTP2Case


class DrainTests(HTTP2Case):
    """
    How connections end.
    """

    def test_drain(self) -> None:
        """
        Two GOAWAYs: the first says that there will be another one, the second comes when the client has seen the first,
        and what came in between is served.
        """
        self.start()
        self.backend.answer(Answer(200, b"late", delay=3.0))
        peer = self.connect()
        peer.reading.answersPings = False
        streamId = peer.ask()
        self.proxy.settle()
        connection = next(iter(self.proxy.server.listeners.byName["front"].connections))
        connection._inner.drain()
        self.proxy.settle()
        self.assertEqual(peer.reading.goAways, [(2**31 - 1, 0)])
        other = peer.ask()
        self.proxy.settle()
        self.assertEqual(peer.of(other).status, 200)
        peer.write(ping(b"draining", True))
        self.proxy.settle()
        self.assertEqual(peer.reading.goAways, [(2**31 - 1, 0), (other, 0)])
        ignored = peer.ask()
        self.proxy.advance(4.0)
        self.assertEqual(peer.of(streamId).body, b"late")
        self.assertFalse(peer.of(ignored).done)
        self.assertTrue(peer.closed)
        self.assertQuiet()

    def test_silentClient(self) -> None:
        """
        A client that answers no ping has the C{drain_timeout}.
        """
        self.start(manager={"drain_timeout": "3s", "common_http_protocol_options": {"idle_timeout": "10s"}})
        peer = self.connect()
        peer.reading.answersPings = False
        self.proxy.advance(10.1)
        self.assertEqual(peer.reading.goAways, [(2**31 - 1, 0)])
        self.proxy.advance(3.1)
        self.assertEqual(peer.reading.goAways, [(2**31 - 1, 0), (0, 0)])
        self.assertTrue(peer.closed)
        self.assertEqual(self.stat("downstream_cx_idle_timeout"), 1)

    def test_idle(self) -> None:
        """
        A connection with a stream is not idle; one without is closed.
        """
        self.start(route={"timeout": "0s"}, manager={"common_http_protocol_options": {"idle_timeout": "10s"}})
        self.backend.answer(Answer(200, b"ok", delay=15.0))
        peer = self.connect()
        streamId = peer.ask()
        self.proxy.advance(12.0)
        self.assertFalse(peer.closed)
        self.proxy.advance(4.0)
        self.assertEqual(peer.of(streamId).body, b"ok")
        self.proxy.advance(8.0)
        self.assertFalse(peer.closed)
        self.proxy.advance(2.5)
        self.assertTrue(peer.closed)

    def test_maxRequests(self) -> None:
        """
        C{max_requests_per_connection}: the last one begins the end.
        """
        self.start(manager={"common_http_protocol_options": {"max_requests_per_connection": 2}})
        peer = self.connect()
        self.assertEqual(self.get(peer).status, 200)
        self.assertEqual(peer.reading.goAways, [])
        self.assertEqual(self.get(peer).status, 200)
        self.proxy.settle()
        self.assertEqual([last for last, _ in peer.reading.goAways][0], 2**31 - 1)
        self.assertTrue(peer.closed)
        self.assertEqual(self.stat("downstream_cx_max_requests_reached"), 1)

    def test_maxDuration(self) -> None:
        """
        C{max_connection_duration}: a connection that is busy is drained, and cut in the end.
        """
        self.start(manager={"drain_timeout": "1s", "common_http_protocol_options": {"max_connection_duration": "5s"}})
        self.backend.answer(Answer(200, b"ok", delay=8.0))
        peer = self.connect()
        streamId = peer.ask()
        self.proxy.advance(5.1)
        self.assertEqual(len(peer.reading.goAways), 2)
        self.proxy.advance(4.0)
        self.assertEqual(peer.of(streamId).body, b"ok")
        self.assertTrue(peer.closed)
        self.assertEqual(self.stat("downstream_cx_max_duration_reached"), 1)

    def test_stop(self) -> None:
        """
        A proxy that stops lets streams end, and tells their connections.
        """
        self.start()
        self.backend.answer(Answer(200, b"ok", delay=2.0))
        peer, idle = self.connect(), self.connect()
        streamId = peer.ask()
        self.proxy.settle()
        self.proxy.stop()
        self.assertEqual(peer.of(streamId).body, b"ok")
        self.assertTrue(peer.closed and idle.closed)

    def test_keepalive(self) -> None:
        """
        C{connection_keepalive}: pings that are answered go on; one that is not is the end.
        """
        self.start(
            chance=lambda: 0.0,
            manager={"http2_protocol_options": {"connection_keepalive": {"interval": "10s", "timeout": "2s"}}},
        )
        peer = self.connect()
        self.proxy.advance(35.0)
        self.assertFalse(peer.closed)
        peer.reading.answersPings = False
        self.proxy.advance(12.1)
        self.assertTrue(peer.closed)
        self.assertEqual(self.proxy.stat("http2.keepalive_timeout"), 1)

    def test_streamIdle(self) -> None:
        """
        C{stream_idle_timeout} is each stream's own.
        """
        self.start(manager={"stream_idle_timeout": "5s"})
        self.backend.answer(Answer.hang(), Answer(200, b"ok", delay=4.0))
        peer = self.connect()
        first = peer.ask()
        self.proxy.advance(2.0)
        second = peer.ask()
        self.proxy.advance(3.5)
        self.assertEqual((peer.of(first).status, peer.of(second).status), (504, 0))
        self.proxy.advance(1.0)
        self.assertEqual(peer.of(second).status, 200)

    def test_withinHead(self) -> None:
        """
        C{request_headers_timeout}: a head that does not come to its end is the end of the connection.
        """
        self.start(manager={"request_headers_timeout": "5s"})
        peer = self.connect()
        peer.write(headers(1, b"\x82", True, False))
        self.proxy.advance(6.0)
        self.assertTrue(peer.closed)
        self.assertEqual(self.stat("downstream_rq_header_timeout"), 1)

    def test_brokenHead(self) -> None:
        """
        One that breaks off ends the connection, and is not late besides while that closes.
        """
        self.start(manager={"request_headers_timeout": "1s", "delayed_close_timeout": "5s"})
        peer = self.connect()
        peer.write(headers(1, b"\x82", True, False))
        self.proxy.settle()
        peer.write(ping())
        self.proxy.advance(3.0)
        self.assertEqual((len(self.proxy.accessLog), len(peer.reading.goAways)), (1, 1))
        self.assertEqual(self.stat("downstream_rq_header_timeout"), 0)

    def test_reload(self) -> None:
        """
        The next stream of a connection runs under the new configuration, the one under way under the old.
        """
        self.start()
        self.backend.answer(Answer(200, b"old", delay=2.0))
        peer = self.connect()
        streamId = peer.ask()
        self.proxy.settle()
        new = httpBootstrap(routes=[{"match": {"prefix": "/"}, "direct_response": {"status": 203}}])
        self.assertTrue(self.proxy.reload(new))
        self.assertEqual(self.get(peer).status, 203)
        self.proxy.advance(3.0)
        self.assertEqual(peer.of(streamId).body, b"old")

    def test_goAwayOfClient(self) -> None:
        """
        A client that goes away gets the answers that are due.
        """
        self.start()
        self.backend.answer(Answer(200, b"ok", delay=1.0))
        peer = self.connect()
        streamId = peer.ask()
        peer.write(goAway(0))
        self.proxy.advance(2.0)
        self.assertEqual(peer.of(streamId).body, b"ok")

    def test_options(self) -> None:
        """
        What the options say is what the client is told.
        """
        self.start(
            manager={
                "http2_protocol_options": {
                    "hpack_table_size": 1024,
                    "max_concurrent_streams": 7,
                    "initial_stream_window_size": 70000,
                    "initial_connection_window_size": 80000,
                    "allow_connect": True,
                    "custom_settings_parameters": [{"identifier": 99, "value": 5}],
                }
            }
        )
        peer = self.connect()
        self.assertEqual(peer.reading.settings, {1: 1024, 3: 7, 4: 70000, 8: 1, 99: 5})
        self.assertIn((8, 0, 0, (80000 - 65535).to_bytes(4, "big")), framesIn(peer.received))
