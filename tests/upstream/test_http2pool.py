"""
L{meshproxy.upstream.http2pool} and L{meshproxy.upstream.http2connection}: requests that share connections, through a
whole proxy in memory.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Protocol

from meshproxy.testing import Peer
from meshproxy.testing.bootstraps import BACKEND
from meshproxy.testing.network import parseAddress
from tests.codec.http2.frames import data, frame, goAway, headers, ping, reset, settings, windowUpdate
from tests.http.http2backend import HTTP2Backend, Seen, ServiceConnection, answer
from tests.http.http2support import HTTP2Case

OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def protocolOptions(**fields: Any) -> dict[str, Any]:
    """
    The cluster's C{typed_extension_protocol_options}.
    """
    return {"typed_extension_protocol_options": {OPTIONS: {"@type": f"type.googleapis.com/{OPTIONS}", **fields}}}


def http2(**options: Any) -> dict[str, Any]:
    """
    A cluster that speaks HTTP/2.
    """
    return protocolOptions(explicit_http_config={"http2_protocol_options": options})


def hang(connection: ServiceConnection, request: Seen) -> None:
    """
    No answer.
    """


class UpstreamCase(HTTP2Case):
    """
    A proxy whose service speaks HTTP/2.
    """

    service: HTTP2Backend

    def begin(
        self, *pairs: tuple[int, int], options: dict[str, Any] | None = None, cluster: Any = None, **config: Any
    ) -> HTTP2Backend:
        """
        Make both.

        @param pairs: The settings of the service.
        """
        merged = {**http2(**(options or {})), **(cluster or {})}
        self.start(cluster=merged, **config)
        self.backend.stop()
        self.service = HTTP2Backend(self.proxy, BACKEND, *pairs)
        return self.service


class RequestTests(UpstreamCase):
    """
    Requests and responses.
    """

    def test_http1Downstream(self) -> None:
        """
        An HTTP/1.1 request goes on in HTTP/2: no field of the connection, the authority in its place, lower case.
        """
        self.begin(accessLog="%UPSTREAM_PROTOCOL% %RESPONSE_CODE%")
        self.service.respond = answer(b"hello", (b"x-a", b"b"))
        client = self.proxy.client()
        response = client.request("POST", "/p", {"TE": "trailers", "Keep-Alive": "5", "X-Q": "1"}, b"body")
        self.assertEqual((response.status, response.body, response.header("x-a")), (200, b"hello", "b"))
        seen = self.service.requests[0]
        pseudo = [name for name, _ in seen.fields if name[:1] == b":"]
        self.assertEqual(pseudo, [b":method", b":scheme", b":authority", b":path"])
        self.assertEqual(seen.get(b":authority"), b"example.com")
        self.assertEqual((seen.body, seen.get(b"content-length"), seen.get(b"x-q")), (b"body", b"4", b"1"))
        self.assertFalse({b"connection", b"keep-alive", b"host", b"transfer-encoding"} & {n for n, _ in seen.fields})
        self.assertEqual(self.proxy.accessLog, ["HTTP/2 200"])
        self.assertEqual(self.clusterStat("upstream_cx_http2_total"), 1)
        self.assertEqual(self.clusterStat("upstream_cx_http1_total"), 0)
        self.assertQuiet()

    def test_shared(self) -> None:
        """
        Many requests share one connection.
        """
        self.begin()
        peer = self.connect()
        streams = [peer.ask() for _ in range(50)]
        self.proxy.settle()
        self.assertEqual({peer.of(streamId).status for streamId in streams}, {200})
        self.assertEqual(len(self.service.connections), 1)
        self.assertEqual(self.clusterStat("upstream_rq_total"), 50)
        self.assertQuiet()

    def test_trailers(self) -> None:
        """
        Trailers, both ways, from end to end.
        """
        self.begin()

        def respond(connection: ServiceConnection, request: Seen) -> None:
            connection.write(headers(request.streamId, [(b":status", b"200")], False))
            connection.write(data(request.streamId, b"x") + headers(request.streamId, [(b"t", b"1")]))

        self.service.respond = respond
        peer = self.connect()
        got = self.get(peer, method=b"POST", body=b"b", trailers=[(b"r", b"2")])
        self.assertEqual((got.body, got.trailers), (b"x", [(b"t", b"1")]))
        self.assertEqual(self.service.requests[0].trailers, [(b"r", b"2")])

    def test_interim(self) -> None:
        """
        Interim responses pass.
        """
        self.begin()

        def respond(connection: ServiceConnection, request: Seen) -> None:
            connection.write(headers(request.streamId, [(b":status", b"103"), (b"link", b"x")], False))
            answer()(connection, request)

        self.service.respond = respond
        got = self.get(self.connect())
        self.assertEqual((len(got.interim), got.body), (1, b"ok"))

    def test_early(self) -> None:
        """
        A response before the request's end: the rest is called off on both sides.
        """
        self.begin()
        self.service.early = True
        got = self.get(self.connect(), method=b"POST", body=b"x", endStream=False)
        self.assertEqual((got.body, got.ended, got.resetCode), (b"ok", True, 0))
        self.assertEqual(self.service.requests[0].resetCode, 0)
        self.assertEqual(len([c for c in self.service.connections if not c.isLost]), 1)
        self.assertQuiet()

    def test_head(self) -> None:
        """
        The length of an answer to HEAD is not the length of its body.
        """
        self.begin()
        self.service.respond = answer(b"", (b"content-length", b"5"))
        got = self.get(self.connect(), method=b"HEAD")
        self.assertEqual((got.status, got.header(b"content-length"), got.ended), (200, b"5", True))


class LimitTests(UpstreamCase):
    """
    The peer's limits.
    """

    def test_maxConcurrent(self) -> None:
        """
        More requests than an upstream allows wait, or get another connection.
        """
        self.begin((3, 2))
        self.service.respond = hang
        peer = self.connect()
        first = peer.ask()
        self.proxy.settle()
        streams = [first, *(peer.ask() for _ in range(4))]
        self.proxy.settle()
        for connection in self.service.connections:
            self.assertLessEqual(len(connection.seen), 2)
        self.assertEqual(len(self.service.requests), 5)
        for connection in self.service.connections:
            for seen in list(connection.seen.values()):
                answer()(connection, seen)
        self.proxy.settle()
        self.assertEqual({peer.of(streamId).status for streamId in streams}, {200})
        self.assertQuiet()

    def test_none(self) -> None:
        """
        CVE-2021-32780: an upstream that goes away and allows no streams meanwhile, in any order, is survived.
        """
        for frames in (
            goAway(0) + settings((3, 0)),
            settings((3, 0)) + goAway(0),
            settings((3, 0)) + settings((3, 100)),
            settings((3, 0)) + goAway(2**31 - 1) + settings((3, 5)) + goAway(0),
        ):
            self.begin(route={"retry_policy": {"retry_on": "refused-stream,connect-failure", "num_retries": 3}})
            first = True

            def respond(connection: ServiceConnection, request: Seen, frames: bytes = frames) -> None:
                nonlocal first
                if first:
                    first = False
                    connection.write(frames)
                    if frames.endswith(settings((3, 100))):
                        answer()(connection, request)
                else:
                    answer()(connection, request)

            self.service.respond = respond
            peer = self.connect()
            streamId = peer.ask()
            self.proxy.advance(5.0)
            self.assertEqual(peer.of(streamId).status, 200)
            self.assertEqual(self.get(peer, wait=1.0).status, 200)
            self.assertQuiet()

    def test_goAway(self) -> None:
        """
        What an upstream that goes away does not serve is tried again elsewhere; what it serves ends there.
        """
        self.begin(route={"retry_policy": {"retry_on": "refused-stream", "num_retries": 1}})
        self.service.respond = hang
        peer = self.connect()
        streams = [peer.ask() for _ in range(3)]
        self.proxy.settle()
        old = self.service.connections[0]
        self.service.respond = answer(b"new")
        old.write(goAway(1))
        self.proxy.advance(1.0)
        self.assertEqual([peer.of(streamId).body for streamId in streams], [b"", b"new", b"new"])
        self.assertEqual(self.clusterStat("upstream_cx_close_notify"), 1)
        answer(b"old")(old, old.seen[1])
        self.proxy.settle()
        self.assertEqual(peer.of(streams[0]).body, b"old")
        self.assertTrue(old.isLost)
        self.assertQuiet()

    def test_refused(self) -> None:
        """
        C{REFUSED_STREAM} may be tried again, by C{refused-stream}; without, it is a 503.
        """
        self.begin(route={"retry_policy": {"retry_on": "refused-stream", "num_retries": 1}})
        calls = []

        def respond(connection: ServiceConnection, request: Seen) -> None:
            calls.append(request)
            if len(calls) == 1:
                connection.write(reset(request.streamId, 7))
            else:
                answer()(connection, request)

        self.service.respond = respond
        self.assertEqual(self.get(self.connect(), wait=1.0).status, 200)
        self.assertEqual(self.clusterStat("upstream_rq_retry"), 1)
        self.begin()
        self.service.respond = lambda connection, request: connection.write(reset(request.streamId, 7))
        got = self.get(self.connect())
        self.assertEqual(got.status, 503)
        self.assertEqual(
            self.proxy.accessLog, ["503 upstream_reset_before_response_started{remote_refused_stream_reset} UR"]
        )
        self.assertQuiet()

    def test_maxRequests(self) -> None:
        """
        C{max_requests_per_connection}.
        """
        self.begin(cluster={"max_requests_per_connection": 2})
        peer = self.connect()
        for _ in range(5):
            self.assertEqual(self.get(peer).status, 200)
        self.assertEqual([len(connection.seen) for connection in self.service.connections], [2, 2, 1])
        self.assertEqual([connection.isLost for connection in self.service.connections], [True, True, False])

    def test_idle(self) -> None:
        """
        An idle connection is closed, with a GOAWAY.
        """
        self.begin(cluster={"common_http_protocol_options": {"idle_timeout": "10s"}})
        self.assertEqual(self.get(self.connect()).status, 200)
        self.proxy.advance(9.0)
        self.assertFalse(self.service.connections[0].isLost)
        self.proxy.advance(1.5)
        self.assertTrue(self.service.connections[0].isLost)
        self.assertEqual(self.service.connections[0].frames[-1][0], 7)
        self.assertEqual(self.clusterStat("upstream_cx_idle_timeout"), 1)

    def test_maxDuration(self) -> None:
        """
        C{max_connection_duration}: one that is busy closes with its last request.
        """
        self.begin(cluster={"common_http_protocol_options": {"max_connection_duration": "5s"}})
        self.service.respond = hang
        peer = self.connect()
        streamId = peer.ask()
        self.proxy.advance(6.0)
        old = self.service.connections[0]
        self.service.respond = answer()
        self.assertEqual(self.get(peer).status, 200)
        self.assertEqual(len(self.service.connections), 2)
        answer()(old, old.seen[1])
        self.proxy.settle()
        self.assertEqual(peer.of(streamId).status, 200)
        self.assertTrue(old.isLost)

    def test_breakers(self) -> None:
        """
        C{max_requests} of the circuit breakers counts streams.
        """
        self.begin(cluster={"circuit_breakers": {"thresholds": [{"max_requests": 2}]}})
        self.service.respond = hang
        peer = self.connect()
        first = peer.ask()
        self.proxy.settle()
        streams = [first, *(peer.ask() for _ in range(3))]
        self.proxy.settle()
        self.assertEqual([peer.of(streamId).status for streamId in streams], [0, 0, 503, 503])
        self.assertEqual(self.clusterStat("upstream_rq_pending_overflow"), 2)


class FailureTests(UpstreamCase):
    """
    Upstreams that break.
    """

    def test_lost(self) -> None:
        """
        A connection that is lost fails all of its requests; the next ones get another.
        """
        self.begin()
        self.service.respond = hang
        peer = self.connect()
        streams = [peer.ask() for _ in range(3)]
        self.proxy.settle()
        transport: Any = self.service.connections[0].transport
        transport.abortConnection()
        self.proxy.settle()
        self.assertEqual([peer.of(streamId).status for streamId in streams], [503] * 3)
        self.service.respond = answer()
        self.assertEqual(self.get(peer).status, 200)
        self.assertEqual(self.clusterStat("upstream_cx_destroy_remote_with_active_rq"), 1)
        self.assertQuiet()

    def test_protocolError(self) -> None:
        """
        One that breaks the protocol is told so; its requests get a 502.
        """
        self.begin()
        self.service.respond = lambda connection, request: connection.write(ping(bytes(7)))
        got = self.get(self.connect())
        self.assertEqual(got.status, 502)
        self.assertEqual(self.service.connections[0].frames[-1][0], 7)
        self.assertEqual(self.clusterStat("upstream_cx_protocol_error"), 1)
        self.assertQuiet()

    def test_malformed(self) -> None:
        """
        A malformed response is a 502, and never reaches the client.
        """
        for fields in (
            [(b":status", b"200"), (b"connection", b"close")],
            [(b":status", b"200"), (b"x", b"a\r\nb")],
            [(b":status", b"101")],
        ):
            self.begin(options={"override_stream_error_on_invalid_http_message": True})

            def respond(connection: ServiceConnection, request: Seen, fields: Any = fields) -> None:
                connection.write(headers(request.streamId, fields, False))

            self.service.respond = respond
            peer = self.connect()
            self.assertEqual(self.get(peer).status, 502, fields)
            self.assertFalse(self.service.connections[0].isLost)
            self.assertQuiet()

    def test_wrongLength(self) -> None:
        """
        A response that is not as long as it says never ends as if it were whole.
        """
        for body in (b"123", b"1234567"):
            self.begin()
            self.service.respond = answer(body, (b"content-length", b"5"))
            got = self.get(self.connect())
            self.assertTrue(got.status == 502 or not got.ended, body)
            self.assertQuiet()

    def test_resetWithin(self) -> None:
        """
        A reset within a response resets the client's stream.
        """
        self.begin()

        def respond(connection: ServiceConnection, request: Seen) -> None:
            connection.write(headers(request.streamId, [(b":status", b"200")], False))
            connection.write(data(request.streamId, b"half") + reset(request.streamId, 2))

        self.service.respond = respond
        got = self.get(self.connect())
        self.assertEqual((got.body, got.ended, got.resetCode), (b"half", False, 2))
        self.assertEqual(self.clusterStat("upstream_rq_rx_reset"), 1)

    def test_clientLeaves(self) -> None:
        """
        A client that leaves ends its stream, not the connection.
        """
        self.begin()
        self.service.respond = hang
        peer = self.connect()
        streamId = peer.ask()
        self.proxy.settle()
        peer.write(reset(streamId))
        self.proxy.settle()
        self.assertEqual(self.service.requests[0].resetCode, 8)
        self.assertFalse(self.service.connections[0].isLost)
        self.assertEqual(self.clusterStat("upstream_rq_tx_reset"), 1)
        self.assertQuiet()

    def test_notThere(self) -> None:
        """
        No upstream is a 503 for all that wait.
        """
        self.start(cluster=http2())
        self.backend.stop()
        got = self.get(self.connect())
        self.assertEqual(got.status, 503)
        self.assertQuiet()

    def test_speaksHTTP1(self) -> None:
        """
        One that speaks HTTP/1 after all is a protocol error.
        """
        self.start(cluster=http2())
        self.backend.stop()

        class Old(Protocol):
            def dataReceived(self, data: bytes) -> None:
                transport: Any = self.transport
                transport.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

        self.proxy.network.listen(parseAddress(BACKEND), lambda peer: Old())
        got = self.get(self.connect())
        self.assertEqual(got.status, 502)
        self.assertQuiet()

    def test_noneForLong(self) -> None:
        """
        An upstream that allows no streams is not dialed again and again: requests wait for their time-out.
        """
        self.begin((3, 0), route={"timeout": "3s"})
        self.service.respond = lambda connection, request: connection.write(reset(request.streamId, 7))
        peer = self.connect()
        streams = [peer.ask() for _ in range(5)]
        self.proxy.advance(1.0)
        self.assertLess(len(self.service.connections), 3)
        self.proxy.advance(3.0)
        self.assertEqual({peer.of(streamId).status for streamId in streams} - {503, 504}, set())
        self.assertQuiet()

    def test_keepalive(self) -> None:
        """
        Pings find out that an upstream is gone.
        """
        self.begin(options={"connection_keepalive": {"interval": "5s", "timeout": "1s"}}, chance=lambda: 0.0)
        self.assertEqual(self.get(self.connect()).status, 200)
        self.proxy.advance(11.0)
        self.assertFalse(self.service.connections[0].isLost)
        self.service.answersPings = False
        self.proxy.advance(6.5)
        self.assertTrue(self.service.connections[0].isLost)
        self.assertEqual(self.clusterStat("http2.keepalive_timeout"), 1)


class PressureTests(UpstreamCase):
    """
    Windows towards the upstream.
    """

    capacity = 65536

    def test_slowUpstream(self) -> None:
        """
        An upstream that gives no credit for one stream stops that stream's client; another one goes on.
        """
        self.begin(
            listener={"per_connection_buffer_limit_bytes": 50000},
            manager={"http2_protocol_options": {"initial_stream_window_size": 65535}},
            cluster={"per_connection_buffer_limit_bytes": 50000},
        )
        self.service.credits = False
        peer = self.connect()
        streamId = peer.ask(method=b"POST", body=b"", endStream=False)
        for _ in range(8):
            peer.write(data(streamId, bytes(8000)))
            self.proxy.settle()
        self.service.connections[0].write(windowUpdate(0, 1 << 20))
        self.assertEqual(self.get(peer).status, 200)
        self.assertLess(len(self.service.requests[0].body), 65536)
        self.assertGreaterEqual(self.proxy.stat("http2.rx_reset"), 0)

    def test_slowDownstream(self) -> None:
        """
        A client that gives no credit leaves the upstream without credit for that stream.
        """
        self.begin(
            options={"initial_stream_window_size": 65535},
            listener={"per_connection_buffer_limit_bytes": 20000},
        )

        def respond(connection: ServiceConnection, request: Seen) -> None:
            connection.write(headers(request.streamId, [(b":status", b"200")], False))

        self.service.respond = respond
        peer = self.connect(credits=False)
        streamId = peer.ask()
        self.proxy.settle()
        service = self.service.connections[0]
        sent = credit = 0
        while sent + 16384 <= 65535 + credit and sent < 2000000:
            service.write(data(1, bytes(16384)))
            sent += 16384
            self.proxy.settle()
            credit = sum(int.from_bytes(each[3], "big") for each in service.frames if each[0] == 8 and each[2] == 1)
        self.assertLess(sent, 300000)
        self.service.respond = answer()
        self.assertEqual(self.get(peer).status, 200)
        for _ in range(10):
            peer.write(windowUpdate(0, 100000) + windowUpdate(streamId, 100000))
            self.proxy.settle()
        self.assertEqual(len(peer.of(streamId).body), sent)
        service.write(data(1, b"end", True))
        self.proxy.settle()
        self.assertTrue(peer.of(streamId).ended)
        self.assertQuiet()


class TunnelTests(UpstreamCase):
    """
    Upgrades over HTTP/2.
    """

    upgrades = [{"upgrade_type": "websocket"}, {"upgrade_type": "CONNECT"}]

    def test_fromHTTP1(self) -> None:
        """
        An upgrade of HTTP/1.1 becomes an extended CONNECT, and its 200 a 101 (RFC 8441).
        """
        self.begin((8, 1), manager={"upgrade_configs": self.upgrades}, options={"allow_connect": True})
        self.service.early = True

        def respond(connection: ServiceConnection, request: Seen) -> None:
            connection.write(headers(request.streamId, [(b":status", b"200")], False))
            connection.write(data(request.streamId, b"hi"))

        self.service.respond = respond
        client = self.proxy.client()
        key = {"sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="}
        client.send(headers={"connection": "upgrade", "upgrade": "websocket", **key})
        self.proxy.settle()
        self.assertIn(b"HTTP/1.1 101", client.received)
        # The service has no need to send it (RFC 8441, 5), and the client asks for it.
        self.assertIn(b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", client.received)
        self.assertTrue(client.received.endswith(b"hi"))
        seen = self.service.requests[0]
        self.assertEqual((seen.get(b":method"), seen.get(b":protocol")), (b"CONNECT", b"websocket"))
        client.write(b"ho")
        self.proxy.settle()
        self.assertEqual(seen.body, b"ho")

    def test_fromHTTP2(self) -> None:
        """
        An extended CONNECT from end to end.
        """
        self.begin(
            (8, 1),
            manager={"upgrade_configs": self.upgrades, "http2_protocol_options": {"allow_connect": True}},
            options={"allow_connect": True},
        )
        self.service.early = True
        self.service.respond = lambda connection, request: connection.write(
            headers(request.streamId, [(b":status", b"200")], False) + data(request.streamId, b"hi")
        )
        peer = self.connect()
        streamId = peer.ask((b":protocol", b"websocket"), method=b"CONNECT", endStream=False)
        peer.write(data(streamId, b"ho"))
        self.proxy.settle()
        self.assertEqual((peer.of(streamId).status, peer.of(streamId).body), (200, b"hi"))
        self.assertEqual(self.service.requests[0].body, b"ho")
        peer.write(data(streamId, b"", True))
        self.service.connections[0].write(data(1, b"", True))
        self.proxy.settle()
        self.assertTrue(peer.of(streamId).ended)
        self.assertQuiet()

    def test_connectEnds(self) -> None:
        """
        A service that ends its side of a CONNECT ends the whole of it for a client of HTTP/1.1, once all was sent.
        """
        self.begin(
            manager={"upgrade_configs": self.upgrades},
            routes=[{"match": {"connect_matcher": {}}, "route": {"cluster": "backend"}}],
        )
        self.service.early = True
        self.service.respond = lambda connection, request: connection.write(
            headers(request.streamId, [(b":status", b"200")], False) + data(request.streamId, b"bye", True)
        )
        client = Peer()
        self.proxy.connect(client)
        client.write(b"CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n")
        self.proxy.settle()
        self.assertTrue(client.received.endswith(b"\r\n\r\nbye"))
        self.assertTrue(client.closed)
        self.assertQuiet()

    def test_socketEnds(self) -> None:
        """
        So it is with an upgrade: HTTP/1.1 has no end of one direction alone.
        """
        self.begin((8, 1), manager={"upgrade_configs": self.upgrades}, options={"allow_connect": True})
        self.service.early = True
        self.service.respond = lambda connection, request: connection.write(
            headers(request.streamId, [(b":status", b"200")], False) + data(request.streamId, b"bye", True)
        )
        client = self.proxy.client()
        client.send(headers={"connection": "upgrade", "upgrade": "websocket", "sec-websocket-key": "x"})
        self.proxy.settle()
        self.assertTrue(client.received.endswith(b"\r\n\r\nbye"))
        self.assertTrue(client.closed)
        self.assertQuiet()

    def test_connect(self) -> None:
        """
        CONNECT from end to end.
        """
        self.begin(
            manager={"upgrade_configs": self.upgrades},
            routes=[{"match": {"connect_matcher": {}}, "route": {"cluster": "backend"}}],
        )
        self.service.early = True
        self.service.respond = lambda connection, request: connection.write(
            headers(request.streamId, [(b":status", b"200")], False) + data(request.streamId, b"hi")
        )
        peer = self.connect()
        streamId = peer.nextId
        fields = [(b":method", b"CONNECT"), (b":authority", b"a:443")]
        peer.write(headers(streamId, fields, False) + data(streamId, b"ho"))
        self.proxy.settle()
        self.assertEqual((peer.of(streamId).status, peer.of(streamId).body), (200, b"hi"))
        seen = self.service.requests[0]
        self.assertEqual((seen.get(b":method"), seen.get(b":path"), seen.body), (b"CONNECT", None, b"ho"))


class ChoiceTests(UpstreamCase):
    """
    Which protocol a cluster speaks.
    """

    def test_older(self) -> None:
        """
        The cluster's own C{http2_protocol_options}.
        """
        self.start(cluster={"http2_protocol_options": {}})
        self.backend.stop()
        service = HTTP2Backend(self.proxy, BACKEND)
        self.assertEqual(self.proxy.request().status, 200)
        self.assertEqual(len(service.requests), 1)

    def test_downstreams(self) -> None:
        """
        C{use_downstream_protocol_config}: each request goes on as it came.
        """
        self.start(cluster=protocolOptions(use_downstream_protocol_config={"http2_protocol_options": {}}))
        for _ in range(2):
            self.assertEqual(self.proxy.request().status, 200)
        self.assertEqual(len(self.backend.requests), 2)
        self.backend.stop()
        service = HTTP2Backend(self.proxy, BACKEND)
        peer = self.connect()
        for _ in range(2):
            self.assertEqual(self.get(peer).status, 200)
        self.assertEqual(len(service.requests), 2)

    def test_unusedFrame(self) -> None:
        """
        A frame of an unknown type is overlooked.
        """
        self.begin()

        def respond(connection: ServiceConnection, request: Seen) -> None:
            connection.write(frame(0x77, 0, 0, b"x"))
            answer()(connection, request)

        self.service.respond = respond
        self.assertEqual(self.get(self.connect()).status, 200)
