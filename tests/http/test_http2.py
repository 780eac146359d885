"""
L{meshproxy.http.http2} and L{meshproxy.http.streamside}: a client's HTTP/2 connection, through a whole proxy in memory.
"""

from __future__ import annotations

from typing import Any

from meshproxy.interfaces import STOP
from meshproxy.testing import Answer, Peer
from tests.codec.http2.frames import PREFACE, data, framesIn, headers, ping, request, reset, windowUpdate
from tests.http.http2support import HTTP2Case, HTTP2Peer
from tests.http.support import recorder, scripted


class ExchangeTests(HTTP2Case):
    """
    Requests and responses.
    """

    def test_get(self) -> None:
        """
        A request goes on in HTTP/1.1, and its response comes back.
        """
        self.start(accessLog="%PROTOCOL% %RESPONSE_CODE% %REQ(:AUTHORITY)% %BYTES_SENT%")
        self.backend.respond(200, b"hello", {"x-a": "b"})
        answer = self.get(self.connect(), (b"x-in", b"1"), path=b"/p?q")
        self.assertEqual((answer.status, answer.body, answer.ended), (200, b"hello", True))
        self.assertEqual(answer.header(b"x-a"), b"b")
        seen = self.backend.last
        self.assertEqual((seen.method, seen.path, seen.header("host")), (b"GET", b"/p?q", "test"))
        self.assertEqual(seen.header("x-in"), "1")
        self.assertEqual(self.proxy.accessLog, ["HTTP/2 200 test 5"])
        for name in ("cx_http2_total", "cx_http2_active", "rq_http2_total", "cx_total", "rq_total"):
            self.assertEqual(self.stat(f"downstream_{name}"), 1, name)
        for name in ("cx_http1_total", "cx_http1_active", "rq_http1_total", "rq_active"):
            self.assertEqual(self.stat(f"downstream_{name}"), 0, name)

    def test_codecType(self) -> None:
        """
        With C{codec_type: HTTP2} nothing else is understood.
        """
        self.start(manager={"codec_type": "HTTP2"})
        self.assertEqual(self.get(self.connect()).status, 200)
        other = Peer()
        self.proxy.connect(other)
        other.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        self.proxy.settle()
        self.assertTrue(other.closed)
        self.assertEqual(self.stat("downstream_cx_protocol_error"), 1)

    def test_detected(self) -> None:
        """
        C{AUTO} tells by the first bytes, however they are cut, and never takes C{POST} for a preface.
        """
        for size in (0, 1, 5):
            self.readSize = size
            self.start()
            self.assertEqual(self.get(self.connect()).status, 200)
            self.assertEqual(self.proxy.client().request("POST", body=b"x").status, 200)
            self.assertEqual(self.stat("downstream_cx_http1_total"), 1)
            self.assertEqual(self.stat("downstream_cx_http2_total"), 1)

    def test_only1(self) -> None:
        """
        With C{codec_type: HTTP1} a preface is a bad request.
        """
        self.start(manager={"codec_type": "HTTP1"})
        peer = Peer()
        self.proxy.connect(peer)
        peer.write(PREFACE)
        self.proxy.settle()
        self.assertTrue(peer.received.startswith(b"HTTP/1.1 400"))

    def test_bodies(self) -> None:
        """
        A body with a length, one without, trailers both ways, an empty one.
        """
        log: list[str] = []
        self.start(recorder(log), manager={"http_protocol_options": {"enable_trailers": True}})
        peer = self.connect()
        self.get(peer, (b"content-length", b"5"), method=b"POST", body=b"hello")
        self.assertEqual((self.backend.last.body, self.backend.last.header("content-length")), (b"hello", "5"))
        self.get(peer, method=b"POST", body=b"x" * 40000)
        self.assertEqual(self.backend.last.body, b"x" * 40000)
        self.assertEqual(self.backend.last.header("transfer-encoding"), "chunked")
        self.backend.answer(Answer(200, [b"a", b"b"], trailers={"x-t": "2"}))
        answer = self.get(peer, method=b"POST", body=b"x", trailers=[(b"x-r", b"1")])
        self.assertEqual((answer.body, answer.trailers, answer.ended), (b"ab", None, True))
        self.assertIn("requestTrailers x-r", log)
        answer = self.get(peer, method=b"POST", body=b"")
        self.assertEqual(answer.status, 200)

    def test_responseTrailers(self) -> None:
        """
        Trailers of a filter, or of an upstream, end a response.
        """
        self.start(
            manager={"http_protocol_options": {"enable_trailers": True}},
            cluster={
                "typed_extension_protocol_options": {
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                        "explicit_http_config": {"http_protocol_options": {"enable_trailers": True}},
                    }
                }
            },
        )
        self.backend.answer(Answer(200, [b"a", b"b"], trailers={"x-t": "2"}))
        answer = self.get(self.connect())
        self.assertEqual((answer.body, answer.trailers, answer.ended), (b"ab", [(b"x-t", b"2")], True))

    def test_interim(self) -> None:
        """
        1xx pass, and C{expect} is answered here.
        """
        self.start()
        self.backend.answer(Answer(200, b"ok", interim=[(103, {"link": "x"})]))
        answer = self.get(self.connect(), (b"expect", b"100-continue"), method=b"POST", body=b"x")
        self.assertEqual([dict(fields)[b":status"] for fields in answer.interim], [b"100", b"103"])
        self.assertEqual(answer.body, b"ok")

    def test_head(self) -> None:
        """
        A response to HEAD keeps its length and has no body.
        """
        self.start()
        self.backend.respond(200, b"x" * 100)
        answer = self.get(self.connect(), method=b"HEAD")
        self.assertEqual((answer.status, answer.body, answer.ended), (200, b"", True))

    def test_hopByHop(self) -> None:
        """
        What HTTP/1 says of its connection does not go into HTTP/2.
        """
        self.start()
        self.backend.respond(200, b"x", {"connection": "keep-alive, x-hop", "keep-alive": "timeout=5", "x-hop": "1"})
        answer = self.get(self.connect())
        names = {name for name, _ in answer.headers or ()}
        self.assertFalse(names & {b"connection", b"keep-alive", b"transfer-encoding"})

    def test_cookies(self) -> None:
        """
        Crumbs of a cookie are one field in HTTP/1.1.
        """
        self.start()
        self.get(self.connect(), (b"cookie", b"a=1"), (b"cookie", b"b=2"))
        self.assertEqual(self.backend.last.header("cookie"), "a=1; b=2")

    def test_localReplies(self) -> None:
        """
        A reply of this proxy: of a filter, for a missing route, for a fragment.
        """
        self.start(
            scripted(requestHeaders=lambda s, h, e: s.reply(418, b"tea") if h.path == b"/tea" else None),
            routes=[{"match": {"prefix": "/tea"}, "route": {"cluster": "backend"}}],
        )
        peer = self.connect()
        answer = self.get(peer, path=b"/tea")
        self.assertEqual((answer.status, answer.body), (418, b"tea"))
        answer = self.get(peer, path=b"/other")
        self.assertEqual((answer.status, answer.header(b"content-length"), answer.ended), (404, None, True))
        self.assertEqual(self.get(peer, path=b"/tea#x").status, 400)
        self.assertEqual(self.get(peer, path=b"/tea").status, 418)

    def test_many(self) -> None:
        """
        Streams are answered in whatever order their upstreams answer.
        """
        self.start()
        self.backend.answer(*(Answer(200, b"%d" % number, delay=1.0 - number / 100) for number in range(50)))
        peer = self.connect()
        streams = [peer.ask(path=b"/%d" % number) for number in range(50)]
        self.proxy.advance(2.0)
        self.assertEqual({peer.of(streamId).status for streamId in streams}, {200})
        self.assertEqual(sorted(int(peer.of(streamId).body) for streamId in streams), list(range(50)))
        self.assertQuiet()

    def test_unwritable(self) -> None:
        """
        A field that a filter made and nobody may send ends its stream, not the connection.
        """
        self.start(scripted(responseHeaders=lambda s, h, e: h.set(b"x", b"a\r\nb")))
        self.backend.respond(200, b"x")
        peer = self.connect()
        self.assertEqual(self.get(peer).resetCode, 2)
        self.assertFalse(peer.closed)
        self.assertQuiet()
        self.proxy.stop()
        self.flushLoggedErrors()

    def test_wrongLength(self) -> None:
        """
        So does a body that a filter made shorter than its head says.
        """
        self.start(scripted(responseData=lambda s, d, e: d[:2]))
        self.backend.respond(200, b"12345", {"content-length": "5"})
        peer = self.connect()
        answer = self.get(peer)
        self.assertFalse(answer.ended)
        self.assertEqual(answer.resetCode, 2)
        self.assertFalse(peer.closed)
        self.assertQuiet()
        self.flushLoggedErrors()


class EndTests(HTTP2Case):
    """
    How streams end before their time.
    """

    def test_clientResets(self) -> None:
        """
        A reset ends the upstream's work, and says so in the log.
        """
        self.start()
        self.backend.answer(Answer.hang())
        peer = self.connect()
        streamId = peer.ask()
        self.proxy.settle()
        peer.write(reset(streamId))
        self.proxy.settle()
        self.assertEqual(self.proxy.accessLog, ["0 http2.remote_reset DR"])
        self.assertQuiet()
        self.assertEqual(self.proxy.stat("http2.rx_reset"), 1)
        self.assertEqual(self.get(peer).status, 200)

    def test_clientLeaves(self) -> None:
        """
        A connection that is lost ends all of its streams.
        """
        self.start()
        self.backend.answer(*[Answer.hang()] * 3)
        peer = self.connect()
        for _ in range(3):
            peer.ask()
        self.proxy.settle()
        peer.abort()
        self.proxy.settle()
        self.assertEqual(self.proxy.accessLog, ["0 downstream_remote_disconnect DC"] * 3)
        self.assertQuiet()
        self.assertEqual(self.stat("downstream_cx_destroy_remote_active_rq"), 1)
        self.assertEqual(self.proxy.stat("http2.streams_active"), 0)

    def test_early(self) -> None:
        """
        A response before the request's end: the rest is called off with C{NO_ERROR} (RFC 9113, 8.1).
        """
        self.start(scripted(requestHeaders=lambda s, h, e: s.reply(200, b"enough")))
        peer = self.connect()
        answer = self.get(peer, method=b"POST", body=b"x", endStream=False)
        self.assertEqual((answer.body, answer.ended, answer.resetCode), (b"enough", True, 0))
        peer.write(data(1, b"more", True))
        self.proxy.settle()
        self.assertEqual(self.get(peer).body, b"enough")
        self.assertEqual(self.stat("downstream_rq_response_before_rq_complete"), 1)

    def test_upstreamBreaks(self) -> None:
        """
        An upstream that breaks off within its body makes a reset, never a whole response.
        """
        self.start()
        self.backend.answer(Answer.close(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"))
        answer = self.get(self.connect())
        self.assertEqual((answer.body, answer.ended, answer.resetCode), (b"half", False, 2))

    def test_protocolError(self) -> None:
        """
        One that breaks the protocol is told why, and its streams end.
        """
        self.start()
        self.backend.answer(Answer.hang())
        peer = self.connect()
        peer.ask()
        self.proxy.settle()
        peer.write(ping(bytes(7)))
        self.proxy.settle()
        self.assertEqual(peer.reading.goAways, [(1, 6)])
        self.assertTrue(peer.closed)
        self.assertEqual(self.proxy.accessLog, ["0 codec_error:protocol_error DPE"])
        self.assertEqual(self.stat("downstream_cx_protocol_error"), 1)
        self.assertQuiet()

    def test_malformed(self) -> None:
        """
        A malformed request has its line in the log, and ends its connection; or its stream, where that is configured.
        """
        self.start()
        peer = self.connect()
        peer.ask((b"A", b"b"))
        self.proxy.settle()
        self.assertTrue(peer.closed)
        self.assertEqual(self.proxy.accessLog, ["0 http2.invalid.header.field DPE"])
        self.start(manager={"http2_protocol_options": {"override_stream_error_on_invalid_http_message": True}})
        peer = self.connect()
        self.assertEqual(self.get(peer, (b"A", b"b")).resetCode, 1)
        self.assertEqual(self.get(peer).status, 200)
        self.assertEqual(len(self.backend.requests), 1)

    def test_contentLength(self) -> None:
        """
        A body that is not as long as it says never becomes a whole request upstream (CVE-2026-48743).
        """
        for body in (b"1234", b"123456"):
            self.start()
            peer = self.connect()
            answer = self.get(peer, (b"content-length", b"5"), method=b"POST", body=body)
            self.assertEqual(answer.resetCode, 1)
            self.assertEqual(self.backend.requests, [])
            self.assertEqual(self.get(peer).status, 200)
            self.assertQuiet()

    def test_tooLarge(self) -> None:
        """
        A head over C{max_request_headers_kb}, or with too many fields, ends its stream.
        """
        self.start(manager={"max_request_headers_kb": 1})
        peer = self.connect()
        self.assertEqual(self.get(peer, (b"x", b"y" * 2000)).resetCode, 2)
        self.assertEqual(self.get(peer).status, 200)
        self.assertEqual(self.proxy.stat("http2.header_list_size_too_large"), 1)
        self.assertEqual(self.get(peer, *[(b"x", b"")] * 100).resetCode, 2)
        self.assertEqual(self.proxy.stat("http2.header_overflow"), 1)

    def test_manyUnread(self) -> None:
        """
        Where all responses of a connection together are more than is kept, each keeps little of its own, and stops its
        upstream until that is gone.
        """
        self.start(manager={"stream_idle_timeout": "0s"})
        self.backend.default = lambda request: Answer(200, bytes(1000000))
        peer = self.connect(credits=False)
        peer.write(windowUpdate(0, 1 << 30))
        streams = [peer.ask() for _ in range(40)]
        self.proxy.settle()
        # Alone, each might have a megabyte here: together they had four before they were told, and of that their
        # windows let 64 KiB each go; from then on each has what one short read brought.
        kept = self.proxy.stat("http2.pending_send_bytes")
        self.assertGreater(kept, (4 << 20) - 40 * 65536)
        self.assertLess(kept, (5 << 20) + 40 * 25000)
        for streamId in streams:
            peer.write(windowUpdate(streamId, 1000000))
        self.proxy.settle()
        self.assertEqual({len(peer.of(streamId).body) for streamId in streams}, {1000000})
        self.assertQuiet()

    def test_rapidReset(self) -> None:
        """
        CVE-2023-44487: one that resets most of its streams at once is put off; CVE-2025-8671: so is one that makes the
        proxy do it.
        """
        for ending in (lambda streamId: reset(streamId), lambda streamId: windowUpdate(streamId, 0)):
            self.start()
            self.backend.default = lambda request: Answer.hang()
            peer = self.connect()
            for streamId in range(1, 1001, 2):
                if peer.closed:
                    break
                peer.write(headers(streamId, request()) + ending(streamId))
                self.proxy.settle()
            self.assertTrue(peer.closed)
            self.assertEqual(self.stat("downstream_rq_too_many_premature_resets"), 1)
            self.assertLess(self.stat("downstream_rq_total"), 252)
            self.assertQuiet()

    def test_resetRate(self) -> None:
        """
        So many RST_STREAM as C{stream_reset_burst} says may come at once, and then C{stream_reset_rate} in a second,
        also for streams that were answered already.
        """
        options = {"stream_reset_burst": 5, "stream_reset_rate": 1}
        for answer in (Answer(200, b"x"), Answer.hang()):
            self.start(manager={"http2_protocol_options": options})
            self.backend.default = lambda request, answer=answer: answer
            peer = self.connect()
            for streamId in range(1, 11, 2):
                peer.write(headers(streamId, request(), endStream=False))
                self.proxy.settle()
                peer.write(reset(streamId))
            self.proxy.advance(1.0)
            peer.write(headers(11, request()) + reset(11))
            self.proxy.settle()
            self.assertFalse(peer.closed)
            peer.write(headers(13, request()) + reset(13))
            self.proxy.settle()
            self.assertTrue(peer.closed)
            self.assertEqual(self.stat("downstream_cx_protocol_error"), 1)
            self.assertQuiet()


class ManyTests(HTTP2Case):
    """
    Hundreds of streams that end at the same time (CVE-2021-32778).
    """

    def ask(self, **manager: Any) -> HTTP2Peer:
        """
        A client with streams that an upstream does not answer.
        """
        breakers = {"thresholds": [{"max_requests": 2000, "max_connections": 2000, "max_pending_requests": 2000}]}
        self.start(manager=manager, accessLog="%RESPONSE_FLAGS%", cluster={"circuit_breakers": breakers})
        self.backend.default = lambda request: Answer.hang()
        peer = self.connect()
        for _ in range(300):
            peer.ask()
        self.proxy.settle()
        self.assertEqual(self.stat("downstream_rq_active"), 300)
        return peer

    def test_leaves(self) -> None:
        """
        A client that leaves ends all of them, here and upstream.
        """
        peer = self.ask()
        peer.abort()
        self.proxy.settle()
        self.assertQuiet()
        self.assertEqual(self.proxy.accessLog, ["DC"] * 300)

    def test_breaks(self) -> None:
        """
        So does one that breaks the protocol, and the log says why for each.
        """
        peer = self.ask()
        peer.write(ping(bytes(7)))
        self.proxy.settle()
        self.assertQuiet()
        self.assertEqual(self.proxy.accessLog, ["DPE"] * 300)

    def test_idle(self) -> None:
        """
        All are ended in the same moment for being idle, and the connection goes on.
        """
        peer = self.ask(stream_idle_timeout="5s")
        self.proxy.advance(5.0)
        self.assertEqual(self.stat("downstream_rq_idle_timeout"), 300)
        self.assertEqual({peer.of(2 * number + 1).status for number in range(300)}, {504})
        self.backend.default = lambda request: Answer(200, b"again")
        self.assertEqual(self.get(peer).body, b"again")
        self.assertQuiet()

    def test_idleAndGone(self) -> None:
        """
        A client that leaves while they are being ended.
        """
        peer = self.ask(stream_idle_timeout="5s")
        self.proxy.reactor.callLater(5.0, peer.abort)
        self.proxy.advance(20.0)
        self.assertQuiet()


class PressureTests(HTTP2Case):
    """
    Windows from end to end.
    """

    capacity = 65536

    def test_slowDownstream(self) -> None:
        """
        A stream without credit stops its upstream, while another one on the same connection goes on.
        """
        self.start(listener={"per_connection_buffer_limit_bytes": 100000})
        self.backend.answer(Answer(200, b"x" * 1000000), Answer(200, b"small"))
        peer = self.connect(credits=False)
        streamId = peer.ask()
        self.proxy.settle()
        self.assertEqual(len(peer.of(streamId).body), 65535)
        self.assertLess(self.proxy.stat("http2.pending_send_bytes"), 300000)
        self.assertEqual(self.stat("downstream_flow_control_paused_reading_total"), 1)
        peer.write(windowUpdate(0, 1000000))
        self.proxy.settle()
        self.assertEqual(self.get(peer).body, b"small")
        while not peer.of(streamId).ended:
            peer.write(windowUpdate(streamId, 100000))
            self.proxy.settle()
        self.assertEqual(peer.of(streamId).body, b"x" * 1000000)
        self.assertEqual(self.proxy.stat("http2.pending_send_bytes"), 0)
        self.assertQuiet()

    def test_slowUpstream(self) -> None:
        """
        An upstream that does not read leaves the client without credit for that stream.
        """
        self.start(
            listener={"per_connection_buffer_limit_bytes": 32768},
            cluster={"per_connection_buffer_limit_bytes": 32768},
            manager={"http2_protocol_options": {"initial_stream_window_size": 65535}},
        )
        peer = self.connect()
        streamId = peer.ask(method=b"POST", body=b"", endStream=False)
        self.proxy.settle()
        self.backend.connections[0].pause()
        sent = credit = 0
        while sent < 65535 + credit - 16384 and sent < 2000000:
            peer.write(data(streamId, bytes(16384)))
            sent += 16384
            self.proxy.settle()
            updates = [frame for frame in framesIn(peer.received) if frame[0] == 8 and frame[2] == streamId]
            credit = sum(int.from_bytes(frame[3], "big") for frame in updates)
        self.assertLess(sent, 300000)
        self.assertEqual(self.get(peer).status, 200)

    def test_neverReads(self) -> None:
        """
        Pings and settings of a client that reads no answers are counted, and it is put off.
        """
        self.start()
        peer = self.connect()
        peer.pause()
        for _ in range(200):
            if peer.closed:
                break
            peer.write(ping() * 100)
            self.proxy.settle()
        self.assertEqual(self.proxy.stat("http2.outbound_control_flood"), 1)
        self.assertEqual(self.stat("downstream_cx_active"), 1)
        self.proxy.advance(2.0)
        self.assertEqual(self.stat("downstream_cx_active"), 0)

    def test_holdsWithinFilter(self) -> None:
        """
        A filter that holds the request keeps the client from sending more than the window.
        """
        self.start(
            scripted(requestHeaders=lambda s, h, e: STOP),
            manager={"http2_protocol_options": {"initial_stream_window_size": 65535}},
            listener={"per_connection_buffer_limit_bytes": 30000},
        )
        peer = self.connect()
        streamId = peer.ask(method=b"POST", endStream=False)
        peer.write(data(streamId, bytes(16000)) * 4)
        self.proxy.settle()
        self.assertFalse(any(frame[0] == 8 and frame[2] == streamId for frame in framesIn(peer.received)))
