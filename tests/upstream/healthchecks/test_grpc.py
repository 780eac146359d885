"""
L{meshproxy.upstream.healthchecks.grpc}: in a cluster, over a network in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.grpc.framing import encodeFrame
from meshproxy.testing import MemoryProxy
from meshproxy.upstream.healthchecks.grpc import readStatus
from tests.codec.http2.frames import data, headers
from tests.http.http2backend import HTTP2Backend, Seen, ServiceConnection
from tests.upstream.healthchecks.support import TIMES, CheckedCase

_HEAD = [(b":status", b"200"), (b"content-type", b"application/grpc")]
_HTTP2: dict[str, Any] = {"http2_protocol_options": {}}
_SERVING = encodeFrame(b"\x08\x01")


def said(body: bytes, status: bytes = b"0", head: list[tuple[bytes, bytes]] = _HEAD) -> Callable[..., None]:
    """
    Answers with a body and trailers.
    """

    def respond(connection: ServiceConnection, request: Seen) -> None:
        connection.write(headers(request.streamId, head, False))
        if body:
            connection.write(data(request.streamId, body, False))
        connection.write(headers(request.streamId, [(b"grpc-status", status)], True))

    return respond


class GRPCTests(CheckedCase):
    """
    Checks by gRPC.
    """

    def setUp(self) -> None:
        super().setUp()
        self.service = HTTP2Backend(cast(MemoryProxy, self), "192.0.2.1:80")
        self.service.respond = said(_SERVING)

    def check(self, **fields: Any) -> Any:
        """
        The endpoint of a cluster whose check this is.
        """
        return self.make({**TIMES, "grpc_health_check": fields}, **_HTTP2).endpoints[0]

    def test_request(self) -> None:
        """
        What is asked, on one connection.
        """
        added = [{"header": {"key": "x-a", "value": "b"}}]
        endpoint = self.check(service_name="mesh.Service", initial_metadata=added)
        self.reactor.advance(10.0)
        self.assertEqual((self.flags(endpoint), len(self.service.connections)), ("healthy", 1))
        seen = self.service.requests[1]
        self.assertEqual(seen.body, encodeFrame(b"\x0a\x0cmesh.Service"))
        self.assertEqual(
            dict(seen.fields),
            {
                b":method": b"POST",
                b":scheme": b"http",
                b":authority": b"c",
                b":path": b"/grpc.health.v1.Health/Check",
                b"content-type": b"application/grpc",
                b"te": b"trailers",
                b"grpc-timeout": b"1000m",
                b"user-agent": b"Envoy/HC",
                b"x-a": b"b",
            },
        )

    def test_answers(self) -> None:
        """
        Only one that serves is healthy. Whatever else it says fails at once.
        """
        endpoint = self.check(authority="a.example")
        self.assertEqual(self.service.requests[0].get(b":authority"), b"a.example")
        self.assertEqual(self.service.requests[0].body, encodeFrame(b""))
        plain = [(b":status", b"200"), (b"content-type", b"text/plain")]
        bad = [
            said(encodeFrame(b"\x08\x02")),
            said(encodeFrame(b"")),
            said(b""),
            said(_SERVING, b"5"),
            said(_SERVING + _SERVING),
            said(encodeFrame(b"\xff")),
            said(b"\x07\x00\x00\x00\x01a"),
            said(_SERVING, head=[(b":status", b"503")]),
            said(_SERVING, head=plain),
            lambda connection, seen: connection.write(headers(seen.streamId, [*_HEAD, (b"grpc-status", b"12")], True)),
            lambda connection, seen: connection.write(
                headers(seen.streamId, _HEAD, False) + data(seen.streamId, _SERVING, True)
            ),
        ]
        for number, respond in enumerate(bad, 1):
            endpoint.flags = 0
            self.service.respond = respond
            self.reactor.advance(10.0)
            self.assertEqual((number, self.flags(endpoint)), (number, "/failed_active_hc"))
        self.assertEqual(self.stats("failure", "network_failure"), (len(bad), 0))
        self.service.respond = said(_SERVING)
        self.reactor.advance(10.0)
        self.reactor.advance(10.0)
        self.assertEqual((self.flags(endpoint), len(self.service.connections)), ("healthy", 1))

    def test_late(self) -> None:
        """
        No answer in time ends the stream, and keeps the connection.
        """
        self.service.respond = lambda connection, seen: None
        self.check()
        self.reactor.advance(1.0)
        self.assertEqual((self.service.requests[0].resetCode, self.stats("network_failure")), (8, (1,)))
        self.service.respond = said(_SERVING)
        self.reactor.advance(10.0)
        self.assertEqual((len(self.service.connections), self.stats("success")), (1, (1,)))

    def test_needsHTTP2(self) -> None:
        """
        A cluster that does not speak HTTP/2 cannot be checked so.
        """
        refused = self.refused({**TIMES, "grpc_health_check": {}})
        self.assertIn("c cluster must support HTTP/2 for gRPC healthchecking", refused)


class StatusTests(SynchronousTestCase):
    """
    L{readStatus}.
    """

    def test_messages(self) -> None:
        """
        The status is a number; what is not known is skipped; what is cut off is no message.
        """
        for message, expected in (
            (b"", 0),
            (b"\x08\x01", 1),
            (b"\x08\x81\x01", 129),
            (b"\x12\x02ab\x08\x01", 1),
            (b"\x10\x05\x08\x01", 1),
            (b"\x1d1234\x08\x01", 1),
            (b"\x1912345678", 0),
            (b"\x08", None),
            (b"\x12\x05ab", None),
            (b"\x0b", None),
            (b"\x00\x01", None),
            (b"\xff" * 11, None),
        ):
            self.assertEqual((message, readStatus(message)), (message, expected))
