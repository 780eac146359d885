"""
L{meshproxy.upstream.tunneling}: TCP as the body of a CONNECT or a POST.
"""

from __future__ import annotations

from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.interfaces import INetworkFilter
from meshproxy.net.filter import PassingFilter
from meshproxy.testing import Peer
from meshproxy.upstream.tunneling import DISABLE_TUNNELING, RESPONSE_HEADERS, RESPONSE_TRAILERS, TunnelFields
from tests.codec.http2.frames import data, headers, reset, windowUpdate
from tests.http.http2backend import HTTP2Backend, Seen, ServiceConnection
from tests.upstream.tcpsupport import BACKEND, BytesProxy, Message

_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_HTTP2 = {
    "typed_extension_protocol_options": {
        _OPTIONS: {
            "@type": f"type.googleapis.com/{_OPTIONS}",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
}
_ACCEPTED = b"HTTP/1.1 200 OK\r\n\r\n"
_TUNNEL = {"hostname": "there.example:443"}


class Marking(PassingFilter):
    """
    A network filter before tcp_proxy that sees its connections, and may ask for no tunnel.
    """

    seen: ClassVar[list[Any]] = []
    value: ClassVar[str] = ""

    def buildFilter(self, info: Any) -> INetworkFilter | None:
        """
        Each connection passes.
        """
        self.seen.append(info)
        if self.value:
            info.setState(DISABLE_TUNNELING, self.value)
        return None


_MARKING = {
    "name": "marking",
    "typed_config": {
        "@type": "type.googleapis.com/xds.type.v3.TypedStruct",
        "type_url": f"python:{__name__}:Marking",
    },
}


class HTTP1Tests(SynchronousTestCase):
    """
    Tunnels of HTTP/1.1.
    """

    def begin(self, tunnel: Message | None = None, listening: bool = True, **fields: Any) -> BytesProxy:
        """
        A proxy whose connections go through tunnels.
        """
        return BytesProxy({"tunneling_config": {**_TUNNEL, **(tunnel or {})}, **fields}, listening=listening)

    def test_bothWays(self) -> None:
        """
        Nothing of the client is read before the answer; then bytes pass, whatever they look like. The cluster counts
        head and bytes once, tcp_proxy bytes alone.
        """
        proxy = self.begin()
        downstream, upstream = proxy.pair()
        downstream.write(b"GET / HTTP/1.1\r\n\r\n")
        proxy.settle()
        head = b"CONNECT there.example:443 HTTP/1.1\r\nhost: there.example:443\r\n\r\n"
        self.assertEqual(upstream.received, head)
        upstream.write(_ACCEPTED + b"220 ")
        proxy.settle()
        self.assertEqual(upstream.received, head + b"GET / HTTP/1.1\r\n\r\n")
        upstream.write(b"ready")
        proxy.settle()
        self.assertEqual(downstream.received, b"220 ready")
        downstream.close()
        proxy.settle()
        self.assertTrue(upstream.closed)
        self.assertEqual(proxy.proxy.accessLog, [f"TcpConnectionEnd - 18 9 {BACKEND} 1"])
        counted = proxy.stats("cluster.backend.upstream_")
        self.assertEqual(
            (counted["cx_tx_bytes_total"], counted["cx_rx_bytes_total"], counted["rq_total"]), (len(head) + 18, 28, 1)
        )
        self.assertFalse({"rq_active", "cx_active", "rq_pending_active"} & set(counted))

    def test_everySplit(self) -> None:
        """
        How TCP cuts the answer, and what follows it, does not matter.
        """
        wire = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nbytes"
        for cut in range(len(wire) + 1):
            proxy = self.begin()
            downstream, upstream = proxy.pair()
            for piece in (wire[:cut], wire[cut:]):
                if piece:
                    upstream.write(piece)
                    proxy.settle()
            self.assertEqual(downstream.received, b"bytes")

    def test_refused(self) -> None:
        """
        Any other answer is a failure to connect: it is tried again, on another connection, as often as is configured.
        """
        proxy = self.begin(max_connect_attempts=2, backoff_options={"base_interval": "1s"})
        downstream = proxy.connect()
        for status in (b"403 No", b"301 Elsewhere"):
            upstream = proxy.upstreams[-1]
            upstream.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 2\r\n\r\nno")
            proxy.settle()
            self.assertTrue(upstream.closed)
            proxy.proxy.advance(1.0)
        self.assertEqual(len(proxy.upstreams), 2)
        self.assertTrue(downstream.closed)
        self.assertEqual(downstream.received, b"")
        self.assertEqual(proxy.proxy.accessLog, [f"TcpConnectionEnd UF,URX 0 0 {BACKEND} 2"])

    def test_impatient(self) -> None:
        """
        A connection that ends before the answer takes the request along, and what waits for a connection too.
        """
        for answers in (True, False):
            proxy = self.begin(listening=answers)
            proxy.connect()
            for listener in proxy.proxy.server.listeners.byName.values():
                listener.abort()
            proxy.settle()
            self.assertEqual([upstream.closed for upstream in proxy.upstreams], [True] * answers)
            counted = proxy.stats("cluster.backend.upstream_")
            self.assertFalse({"rq_active", "cx_active", "rq_pending_active"} & set(counted))

    def test_silent(self) -> None:
        """
        C{idle_timeout} is over when the answer does not come as well.
        """
        proxy = self.begin(idle_timeout="10s")
        downstream, upstream = proxy.pair()
        proxy.proxy.advance(10.1)
        self.assertTrue(downstream.closed and upstream.closed)
        self.assertEqual(proxy.stats("tcp.test.")["idle_timeout"], 1)

    def test_finish(self) -> None:
        """
        A client that has no more to say ends the tunnel when all of that is sent: HTTP/1.1 has no half-closed tunnel.
        """
        proxy = self.begin()
        downstream, upstream = proxy.pair()
        upstream.write(_ACCEPTED)
        proxy.settle()
        downstream.write(b"all")
        downstream.finish()
        proxy.settle()
        self.assertTrue(upstream.received.endswith(b"\r\n\r\nall"))
        self.assertTrue(upstream.closed and downstream.closed)
        self.assertFalse(upstream.wasReset)

    def test_pressure(self) -> None:
        """
        Whoever does not read stops the other side, both ways, before much is kept; nothing is lost.
        """
        for reversed in (False, True):
            proxy = self.begin()
            downstream, upstream = proxy.pair()
            upstream.write(_ACCEPTED)
            proxy.settle()
            sender, reader = (upstream, downstream) if reversed else (downstream, upstream)
            before = len(reader.received)
            reader.pause()
            proxy.settle()
            for _ in range(64):
                sender.write(b"x" * 65536)
                proxy.settle()
            reader.resume()
            proxy.settle()
            self.assertEqual(len(reader.received) - before, 64 * 65536)
        names = ("cluster.backend.upstream_flow_control_paused_reading_total", "upstream_flow_control_backed_up_total")
        self.assertGreater(proxy.proxy.stat(names[0]), 0)

    def test_post(self) -> None:
        """
        A POST has a path, and its body is framed, so that no hop takes bytes of the tunnel for another request. Both of
        its ends end by themselves.
        """
        proxy = self.begin({"use_post": True, "post_path": "/tunnel"})
        downstream, upstream = proxy.pair()
        self.assertTrue(upstream.received.startswith(b"POST /tunnel HTTP/1.1\r\nhost: there.example:443\r\n"))
        self.assertIn(b"transfer-encoding: chunked\r\n", upstream.received)
        upstream.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
        downstream.write(b"hello")
        proxy.settle()
        downstream.finish()
        proxy.settle()
        self.assertTrue(upstream.received.endswith(b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n"))
        self.assertFalse(upstream.closed)
        upstream.write(b"3\r\ndef\r\n0\r\n\r\n")
        proxy.settle()
        self.assertEqual((downstream.received, downstream.ended), (b"abcdef", True))

    def test_made(self) -> None:
        """
        Host name and headers are made of what is known of the connection; an id goes along and is noted.
        """
        tunnel = {
            "hostname": "%DOWNSTREAM_LOCAL_PORT%.example:1",
            "headers_to_add": [{"header": {"key": "x-from", "value": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}}],
            "request_id_extension": {
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig"}
            },
            "request_id_metadata_key": "id",
        }
        proxy = BytesProxy(
            {"tunneling_config": tunnel}, format="%DYNAMIC_METADATA(envoy.filters.network.tcp_proxy:id)%"
        )
        downstream, upstream = proxy.pair()
        lines = upstream.received.split(b"\r\n")
        self.assertEqual(lines[:2], [b"CONNECT 10000.example:1 HTTP/1.1", b"host: 10000.example:1"])
        self.assertIn(b"x-from: 127.0.0.1", lines)
        upstream.write(_ACCEPTED)
        proxy.settle()
        downstream.abort()
        proxy.settle()
        self.assertIn(b"x-request-id: " + proxy.proxy.accessLog[0].encode("ascii"), lines)

    def test_unwritable(self) -> None:
        """
        A host name that cannot be written makes no request of its own: the connection fails.
        """
        proxy = self.begin({"hostname": "a b"})
        downstream, upstream = proxy.pair()
        proxy.settle()
        self.assertEqual((upstream.received, downstream.closed), (b"", True))

    def test_overflow(self) -> None:
        """
        Where no request may wait, there is no connection, and no endpoint is to blame.
        """
        breakers = {"circuit_breakers": {"thresholds": [{"max_pending_requests": 0}]}}
        proxy = BytesProxy({"tunneling_config": _TUNNEL}, cluster=breakers)
        downstream = proxy.connect()
        self.assertTrue(downstream.closed)
        self.assertEqual(proxy.proxy.accessLog, ["TcpConnectionEnd URX 0 0 - 1"])


class HTTP2Tests(SynchronousTestCase):
    """
    Tunnels that share a connection of HTTP/2.
    """

    def begin(self, tunnel: Message | None = None, **fields: Any) -> BytesProxy:
        """
        A proxy, and a service that accepts.
        """
        config = {"tunneling_config": {**_TUNNEL, **(tunnel or {})}, **fields}
        proxy = BytesProxy(config, cluster=_HTTP2, listening=False, before=(_MARKING,))
        self.service = HTTP2Backend(proxy.proxy, BACKEND)
        self.service.early = True
        self.service.respond = self.accept
        return proxy

    def accept(self, connection: ServiceConnection, request: Seen) -> None:
        """
        Agree to a tunnel.
        """
        if not request.body:
            connection.write(headers(request.streamId, [(b":status", b"200"), (b"x-proxy", b"far")], False))

    def test_shared(self) -> None:
        """
        Two connections are two CONNECTs on one, without scheme and path, and each has its own bytes.
        """
        proxy = self.begin()
        ones = [proxy.connect(), proxy.connect()]
        for index, one in enumerate(ones):
            one.write(b"from %d" % index)
        proxy.settle()
        (connection,) = self.service.connections
        self.assertEqual([seen.body for seen in self.service.requests], [b"from 0", b"from 1"])
        names = {name for name, _ in self.service.requests[0].fields if name.startswith(b":")}
        self.assertEqual(names, {b":method", b":authority"})
        for seen in reversed(self.service.requests):
            connection.write(data(seen.streamId, b"to %d" % seen.streamId, False))
        proxy.settle()
        self.assertEqual([one.received for one in ones], [b"to 1", b"to 3"])

    def test_halves(self) -> None:
        """
        Either side may end first, and the other one goes on; nothing of it is a reset.
        """
        for first in ("client", "service"):
            proxy = self.begin()
            client = proxy.connect()
            (connection,), (seen,) = self.service.connections, self.service.requests

            def finish(who: str, client: Peer = client, seen: Seen = seen, at: ServiceConnection = connection) -> None:
                if who == "client":
                    client.write(b"last")
                    client.finish()
                else:
                    at.write(data(seen.streamId, b"late", True))

            finish(first)
            proxy.settle()
            self.assertEqual((seen.ended, client.ended), (first == "client", first == "service"))
            finish("service" if first == "client" else "client")
            proxy.settle()
            self.assertEqual((seen.body, seen.ended, seen.resetCode), (b"last", True, None))
            self.assertEqual((client.received, client.ended), (b"late", True))
            self.assertEqual(proxy.stats("cluster.backend.upstream_rq_active"), {})

    def test_late(self) -> None:
        """
        A service that ends its side, and gives credit for what came before the client's end later, gets all of it.
        """
        proxy = self.begin()
        self.service.credits = False
        client = proxy.connect()
        (connection,), (seen,) = self.service.connections, self.service.requests
        client.write(b"x" * 100000)
        client.finish()
        proxy.settle()
        connection.write(data(1, b"late", True))
        proxy.settle()
        self.assertEqual((len(seen.body), seen.resetCode), (65535, None))
        connection.write(windowUpdate(0, 1 << 20) + windowUpdate(1, 1 << 20))
        proxy.settle()
        self.assertEqual((len(seen.body), seen.ended, seen.resetCode), (100000, True, None))
        self.assertEqual((client.received, client.ended), (b"late", True))

    def test_gone(self) -> None:
        """
        A client that goes away resets its stream alone.
        """
        proxy = self.begin()
        client, other = proxy.connect(), proxy.connect()
        client.abort()
        proxy.settle()
        self.assertEqual([seen.resetCode for seen in self.service.requests], [8, None])
        self.assertFalse(self.service.connections[0].isLost or other.closed)

    def test_reset(self) -> None:
        """
        A stream that is reset ends its client's connection with the flag UR.
        """
        proxy = self.begin()
        client = proxy.connect()
        self.service.connections[0].write(reset(1, 2))
        proxy.settle()
        self.assertTrue(client.closed)
        self.assertEqual(proxy.proxy.accessLog, [f"TcpConnectionEnd UR 0 0 {BACKEND} 1"])

    def test_refused(self) -> None:
        """
        200 is the one answer that is taken, and no response that is over at once.
        """
        for status, ends in ((b"201", False), (b"204", True), (b"200", True), (b"503", True)):
            proxy = self.begin()

            def respond(
                connection: ServiceConnection, request: Seen, status: bytes = status, ends: bool = ends
            ) -> None:
                connection.write(headers(request.streamId, [(b":status", status)], ends))

            self.service.respond = respond
            client = proxy.connect()
            self.assertTrue(client.closed, status)
            self.assertEqual(proxy.proxy.accessLog, [f"TcpConnectionEnd UF,URX 0 0 {BACKEND} 1"])

    def test_pressure(self) -> None:
        """
        A service that gives no credit stops its client alone; one that does not read stops its stream.
        """
        proxy = self.begin()
        self.service.credits = False
        client = proxy.connect()
        for _ in range(64):
            client.write(b"x" * 65536)
            proxy.settle()
        self.assertEqual(len(self.service.requests[0].body), 65535)
        self.assertGreater(proxy.stats("tcp.test.")["downstream_flow_control_paused_reading_total"], 0)
        self.assertLess(proxy.stats("tcp.test.")["downstream_cx_rx_bytes_total"], 64 * 65536)

    def test_propagated(self) -> None:
        """
        Headers and trailers of the response are in the filter state of the connection, where they are asked for.
        """
        for asked in (True, False):
            proxy = self.begin({"propagate_response_headers": asked, "propagate_response_trailers": asked})
            client = proxy.connect()
            self.service.connections[0].write(headers(1, [(b"x-sum", b"7")], True))
            proxy.settle()
            self.assertTrue(client.ended)
            state = Marking.seen[-1].filterState or {}
            self.assertEqual(set(state), {RESPONSE_HEADERS, RESPONSE_TRAILERS} if asked else set())
            for key, name, value in ((RESPONSE_HEADERS, b"x-proxy", b"far"), (RESPONSE_TRAILERS, b"x-sum", b"7")):
                if asked:
                    held = state[key]
                    assert isinstance(held, TunnelFields)
                    self.assertEqual(held.fields.get(name), value)
                    shown = held.typed["headers"]
                    self.assertIn({"key": name.decode(), "value": value.decode()}, shown)
                    self.assertEqual({"key": ":status", "value": "200"} in shown, key == RESPONSE_HEADERS)

    def test_disabled(self) -> None:
        """
        A network filter may ask for no tunnel.
        """
        Marking.value = "true"
        self.addCleanup(setattr, Marking, "value", "")
        proxy = self.begin()
        client = proxy.connect()
        client.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + headers(1, [(b"x", b"as it is")]))
        proxy.settle()
        self.assertEqual(self.service.requests[0].fields, [(b"x", b"as it is")])
