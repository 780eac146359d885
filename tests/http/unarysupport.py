"""
Calls of gRPC between a client and a service whose connection is there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from meshproxy.http import unary
from meshproxy.http.filter import HTTPFilter
from meshproxy.testing.bootstraps import BACKEND
from tests.codec.http2.client import Exchange
from tests.codec.http2.frames import PREFACE, data, headers, request, settings
from tests.http.http2backend import HTTP2Backend, Seen, ServiceConnection
from tests.http.http2support import HTTP2Case, HTTP2Peer

__all__ = [
    "ANSWER",
    "END",
    "GRPC",
    "HEAD",
    "MESSAGE",
    "OPTIONS",
    "Silent",
    "UnaryCase",
    "Whole",
    "answerWith",
    "clusterOf",
    "cutAt",
]


OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
GRPC = [(b"content-type", b"application/grpc"), (b"te", b"trailers")]
MESSAGE = b"\0\0\0\0\5hello"
ANSWER = b"\0\0\0\0\6answer"
HEAD = [(b":status", b"200"), (b"content-type", b"application/grpc"), (b"date", b"today")]
END = [(b"grpc-status", b"0"), (b"grpc-message", b"")]


class Whole(NamedTuple):
    """
    All that can be seen of a call.
    """

    client: Exchange
    asked: Seen | None
    log: list[str]
    stats: dict[str, int]


class Silent(HTTP2Peer):
    """
    Says what it is told to, and not a byte between.
    """

    def connectionMade(self) -> None:
        pass

    def dataReceived(self, data: bytes) -> None:
        self.reading.feed(data)


def cutAt(answered: Callable[[int], bytes], cut: int) -> Callable[[int], list[bytes]]:
    """
    What gives the pieces of an answer that is cut.
    """
    return lambda number: [piece for piece in (answered(number)[:cut], answered(number)[cut:]) if piece]


def answerWith(status: bytes, end: list[tuple[bytes, bytes]], number: int) -> bytes:
    """
    An answer with a byte of a body.
    """
    return headers(number, [(b":status", status)], False) + data(number, b"x") + headers(number, end)


class UnaryCase(HTTP2Case):
    """
    A proxy between a client and a service of gRPC, whose connection is there.
    """

    maxDiff = None
    log = (
        "%PROTOCOL% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% "
        "%REQUEST_DURATION% %RESPONSE_DURATION% %RESPONSE_TX_DURATION% %UPSTREAM_HOST% %UPSTREAM_CLUSTER% "
        "%UPSTREAM_REQUEST_ATTEMPT_COUNT% %ROUTE_NAME% %REQ(TE)% %RESP(CONTENT-TYPE)% %TRAILER(GRPC-STATUS)% "
        "%GRPC_STATUS% %COMMON_DURATION(DS_RX_BEG:US_RX_END:ms)%"
    )

    def setUp(self) -> None:
        plain = unary.UnaryRequest.answerReceived
        self.short = 0

        def answerReceived(*args: Any) -> None:
            self.short += 1
            plain(*args)

        self.patch(unary.UnaryRequest, "answerReceived", answerReceived)

    def make(self, *filters: type[HTTPFilter], options: dict[str, Any] | None = None, **config: Any) -> None:
        """
        Make them.

        @param options: Of HTTP/2 towards the service.
        """
        manager = {"generate_request_id": False, **config.pop("manager", {})}
        protocol = {"explicit_http_config": {"http2_protocol_options": options or {}}}
        cluster = {
            "typed_extension_protocol_options": {OPTIONS: {"@type": f"type.googleapis.com/{OPTIONS}", **protocol}},
            **config.pop("cluster", {}),
        }
        route = config.pop("route", {"max_stream_duration": {"grpc_timeout_header_max": "0s"}})
        config.setdefault("accessLog", self.log)
        self.start(*filters, cluster=cluster, manager=manager, route=route, **config)
        self.backend.stop()
        self.serve()
        warm = self.connect()
        for _ in range(2):
            self.get(warm, *GRPC, body=MESSAGE, method=b"POST")
        warm.close()
        self.proxy.settle()
        self.short = 0

    def serve(self, *pairs: tuple[int, int]) -> None:
        """
        Run the service. By default it answers at once.
        """
        self.service = HTTP2Backend(self.proxy, BACKEND, *pairs)
        self.service.respond = lambda connection, asked: connection.write(self.answer(asked.streamId))

    def answer(self, streamId: int) -> bytes:
        """
        The answer to a call.
        """
        return headers(streamId, HEAD, False) + data(streamId, ANSWER) + headers(streamId, END)

    def call(self, *more: tuple[bytes, bytes], streamId: int = 1, message: bytes = MESSAGE) -> bytes:
        """
        The frames of a call.
        """
        return headers(streamId, request(*GRPC, *more, method=b"POST"), False) + data(streamId, message, True)

    def exchange(
        self, asked: list[bytes], answered: Callable[[int], list[bytes]] | None = None, wait: float = 0.25
    ) -> Whole:
        """
        Send the pieces of a call; answer with the pieces of an answer after a while.
        """
        proxy = self.proxy
        before, logged, count = proxy.stats(), len(proxy.accessLog), len(self.service.requests)
        pending: list[tuple[ServiceConnection, Seen]] = []
        self.service.respond = lambda connection, seen: pending.append((connection, seen))
        client = Silent()
        proxy.connect(client)
        client.write(PREFACE + settings())
        proxy.settle()
        for piece in asked:
            client.write(piece)
            proxy.settle()
        proxy.advance(wait)
        for connection, seen in pending:
            for piece in answered(seen.streamId) if answered is not None else [self.answer(seen.streamId)]:
                connection.write(piece)
                proxy.settle()
        exchange = client.of(1)
        if exchange.headers is not None:
            # A reply of this side tells when it was made.
            exchange.headers = [field for field in exchange.headers if field[0] != b"date"]
        client.close()
        proxy.settle()
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertQuiet()
        for gauge in ("http2.streams_active", "http2.pending_send_bytes"):
            self.assertEqual((proxy.stat(gauge), self.clusterStat(gauge)), (0, 0))
        stats = {
            name: value - before.get(name, 0)
            for name, value in proxy.stats().items()
            # The service's table is another one with each request.
            if value != before.get(name, 0) and not name.startswith("server.") and "_tx_bytes_total" not in name
        }
        requests = self.service.requests[count:]
        for seen in requests:
            seen.streamId = 0
        return Whole(exchange, requests[0] if requests else None, proxy.accessLog[logged:], stats)

    def assertSeen(self, seen: Whole, expected: Whole, where: str) -> None:
        """
        Compare part by part.
        """
        for name, one, other in zip(Whole._fields, seen, expected, strict=True):
            self.assertEqual(one, other, f"{name}, {where}")

    def assertSame(
        self, asked: bytes | None = None, answered: Callable[[int], bytes] | None = None, wait: float = 0.25
    ) -> Whole:
        """
        However a call and its answer are cut, what is seen is what is seen of them whole.
        """
        asked = self.call() if asked is None else asked
        answered = self.answer if answered is None else answered
        expected = self.exchange([asked], lambda number: [answered(number)], wait)
        self.wasShort = self.short
        for cut in range(1, len(asked)):
            seen = self.exchange([asked[:cut], asked[cut:]], lambda number: [answered(number)], wait)
            self.assertSeen(seen, expected, f"call cut at {cut}")
        if expected.asked is not None:
            for cut in range(1, len(answered(1))):
                seen = self.exchange([asked], cutAt(answered, cut), wait)
                self.assertSeen(seen, expected, f"answer cut at {cut}")
        pieces = [bytes((byte,)) for byte in asked]
        seen = self.exchange(pieces, lambda number: [bytes((byte,)) for byte in answered(number)], wait)
        self.assertSeen(seen, expected, "byte by byte")
        return expected


def clusterOf(**options: Any) -> dict[str, Any]:
    """
    The options of a cluster that speaks HTTP/2.
    """
    protocol = {"explicit_http_config": {"http2_protocol_options": options}}
    return {"typed_extension_protocol_options": {OPTIONS: {"@type": f"type.googleapis.com/{OPTIONS}", **protocol}}}
