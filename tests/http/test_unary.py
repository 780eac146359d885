"""
Calls of gRPC that take the short way: that must not be seen from outside.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred

from meshproxy.errors import LocalProtocolError
from meshproxy.http import unary
from meshproxy.http.filter import HTTPFilter
from meshproxy.testing.bootstraps import BACKEND
from tests.codec.http2.client import Exchange
from tests.codec.http2.frames import PREFACE, data, framesIn, goAway, headers, request, reset, settings, windowUpdate
from tests.http.http2backend import HTTP2Backend, Seen, ServiceConnection
from tests.http.http2support import HTTP2Case, HTTP2Peer
from tests.http.support import scripted

_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_GRPC = [(b"content-type", b"application/grpc"), (b"te", b"trailers")]
_MESSAGE = b"\0\0\0\0\5hello"
_ANSWER = b"\0\0\0\0\6answer"
_HEAD = [(b":status", b"200"), (b"content-type", b"application/grpc"), (b"date", b"today")]
_END = [(b"grpc-status", b"0"), (b"grpc-message", b"")]


class Whole(NamedTuple):
    """
    All that can be seen of a call.
    """

    client: Exchange
    asked: Seen | None
    log: list[str]
    stats: dict[str, int]


class _Silent(HTTP2Peer):
    """
    Says what it is told to, and not a byte between.
    """

    def connectionMade(self) -> None:
        pass

    def dataReceived(self, data: bytes) -> None:
        self.reading.feed(data)


def _cut(answered: Callable[[int], bytes], cut: int) -> Callable[[int], list[bytes]]:
    """
    What gives the pieces of an answer that is cut.
    """
    return lambda number: [piece for piece in (answered(number)[:cut], answered(number)[cut:]) if piece]


def _answer(status: bytes, end: list[tuple[bytes, bytes]], number: int) -> bytes:
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
            "typed_extension_protocol_options": {_OPTIONS: {"@type": f"type.googleapis.com/{_OPTIONS}", **protocol}},
            **config.pop("cluster", {}),
        }
        route = config.pop("route", {"max_stream_duration": {"grpc_timeout_header_max": "0s"}})
        config.setdefault("accessLog", self.log)
        self.start(*filters, cluster=cluster, manager=manager, route=route, **config)
        self.backend.stop()
        self.serve()
        warm = self.connect()
        for _ in range(2):
            self.get(warm, *_GRPC, body=_MESSAGE, method=b"POST")
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
        return headers(streamId, _HEAD, False) + data(streamId, _ANSWER) + headers(streamId, _END)

    def call(self, *more: tuple[bytes, bytes], streamId: int = 1, message: bytes = _MESSAGE) -> bytes:
        """
        The frames of a call.
        """
        return headers(streamId, request(*_GRPC, *more, method=b"POST"), False) + data(streamId, message, True)

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
        client = _Silent()
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
                seen = self.exchange([asked], _cut(answered, cut), wait)
                self.assertSeen(seen, expected, f"answer cut at {cut}")
        pieces = [bytes((byte,)) for byte in asked]
        seen = self.exchange(pieces, lambda number: [bytes((byte,)) for byte in answered(number)], wait)
        self.assertSeen(seen, expected, "byte by byte")
        return expected


class SplitTests(UnaryCase):
    """
    A call in whole reads, and the same one cut at every place.
    """

    def test_call(self) -> None:
        """
        The usual call.
        """
        self.make()
        seen = self.assertSame()
        self.assertEqual(self.wasShort, 1)
        self.assertEqual((seen.client.status, seen.client.body, seen.client.trailers), (200, _ANSWER, _END))
        assert seen.asked is not None
        self.assertEqual((seen.asked.body, seen.asked.ended, seen.asked.get(b"te")), (_MESSAGE, True, b"trailers"))
        self.assertEqual(
            seen.log,
            [f"HTTP/2 200 via_upstream - 10 11 250 0 250 0 {BACKEND} backend 1 - trailers application/grpc 0 OK 250"],
        )
        self.assertEqual(seen.stats["cluster.backend.upstream_rq_200"], 1)
        self.assertEqual(seen.stats["http.test.downstream_rq_2xx"], 1)

    def test_deadline(self) -> None:
        """
        A deadline goes on, as the route has it, and time-outs are told of.
        """
        for route, deadline, expected in (
            ({"timeout": "20s"}, b"3S", b"20000"),
            ({"timeout": "0s", "max_stream_duration": {"grpc_timeout_header_max": "0s"}}, b"3000m", None),
            ({"timeout": "20s", "max_stream_duration": {"grpc_timeout_header_max": "2s"}}, b"2000m", None),
            ({"timeout": "0s", "max_stream_duration": {"max_stream_duration": "5s"}}, b"5000m", None),
        ):
            self.make(route=route)
            seen = self.assertSame(self.call((b"grpc-timeout", b"3S")))
            assert seen.asked is not None
            self.assertEqual(self.wasShort, 1)
            told = seen.asked.get(b"grpc-timeout"), seen.asked.get(b"x-envoy-expected-rq-timeout-ms")
            self.assertEqual(told, (deadline, expected))

    def test_late(self) -> None:
        """
        A deadline that passes while the service thinks ends the call with a status, and resets it there.
        """
        self.make()
        seen = self.assertSame(self.call((b"grpc-timeout", b"100m")))
        self.assertEqual(dict(seen.client.headers or ()).get(b"grpc-status"), b"4")
        assert seen.asked is not None
        self.assertEqual(seen.asked.resetCode, 8)
        self.make(route={"timeout": "0.2s"})
        seen = self.assertSame()
        self.assertEqual(seen.stats["cluster.backend.upstream_rq_timeout"], 1)

    def test_length(self) -> None:
        """
        Lengths are held to on both sides.
        """
        self.make()
        self.assertSame(self.call((b"content-length", b"10")))
        self.assertEqual(self.wasShort, 1)
        self.assertSame(self.call((b"content-length", b"9")))

    def test_kinds(self) -> None:
        """
        What is no gRPC takes the same ways; statuses of both kinds count.
        """
        self.make()
        plain = headers(1, request((b"x-a", b"1"), method=b"POST"), False) + data(1, b"x", True)
        (endpoint,) = self.proxy.server.context.clusters.byName["backend"].endpoints
        ends = ([(b"grpc-status", b"0")], [(b"grpc-status", b"14")], [(b"t", b"1")])
        for status, end, asked in product((b"200", b"404", b"503"), ends, (self.call(), plain)):
            answered = partial(_answer, status, end)
            # Trailers are remembered from the first time on.
            self.exchange([asked], _cut(answered, 0))
            short = self.short
            expected = self.exchange([asked], _cut(answered, 0))
            self.assertEqual(self.short, short + 1)
            judged = endpoint.rqSuccess.value, endpoint.rqError.value
            for cut in range(1, len(answered(1)), 7):
                seen = self.exchange([asked], _cut(answered, cut))
                self.assertSeen(seen, expected, f"{status!r} {end} {asked!r} {cut}")
            isGood = status != b"503" and (asked is plain or end[0][1] in (b"0",) and status != b"503")
            now = endpoint.rqSuccess.value, endpoint.rqError.value
            count = sum(now) - sum(judged)
            self.assertEqual(now[0] - judged[0], count if isGood else 0, f"{status!r} {end} {asked!r}")

    def test_trailersOnly(self) -> None:
        """
        An answer that is a head alone, and one that has no trailers.
        """
        self.make()
        self.assertSame(None, lambda number: headers(number, [*_HEAD, *_END]))
        self.assertSame(None, lambda number: headers(number, _HEAD, False) + data(number, _ANSWER, True))
        self.assertEqual(self.wasShort, 0)

    def test_answerReset(self) -> None:
        """
        A service that resets the call in the middle of its answer, or as nginx does, when it is over.
        """
        self.make()
        head, message = headers(1, _HEAD, False), data(1, _ANSWER)
        for place in (0, len(head), len(head) + len(message)):
            seen = self.assertSame(None, partial(self.broken, place))
            self.assertEqual(seen.client.trailers, None)
        self.assertEqual(self.wasShort, 0)
        seen = self.assertSame(None, lambda number: self.answer(number) + reset(number, 0))
        self.assertEqual((self.wasShort > 0, seen.client.trailers), (True, _END))

    def broken(self, place: int, number: int) -> bytes:
        """
        An answer that breaks off.
        """
        return self.answer(number)[:place] + reset(number, 2)

    def test_callReset(self) -> None:
        """
        A client that resets its call between head and message, or behind both.
        """
        self.make()
        head = headers(1, request(*_GRPC, method=b"POST"), False)
        for asked in (head + reset(1), self.call() + reset(1)):
            # What is known of a call that came and went in one read is the same; how far it went is not.
            for cut in range(len(head), len(asked)):
                seen = self.exchange([asked[:cut], asked[cut:]])
                self.assertEqual(seen.stats["http.test.downstream_rq_rx_reset"], 1)
                self.assertEqual(seen.stats["cluster.backend.upstream_rq_tx_reset"], 1)
                assert seen.asked is not None
                self.assertEqual(seen.asked.resetCode, 8)
                self.assertEqual(len(seen.log), 1)

    def test_filters(self) -> None:
        """
        Filters that look at heads, messages and trailers, and change them, see the same each time.
        """

        def heads(stream: Any, headers: Any, end: bool) -> None:
            headers.set(b"x-seen", b"%d %d" % (end, stream.requestEnded))

        def note(stream: Any, payload: Any, end: bool = False) -> None:
            stream.responseHeaders.set(b"x-noted", b"1")

        def trailers(stream: Any, trailers: Any) -> None:
            trailers.set(b"x-seen", b"1")

        for methods, isShort in (
            ({"requestHeaders": heads}, True),
            ({"requestHeaders": heads, "responseHeaders": heads}, True),
            ({"requestData": lambda stream, data, end: stream.requestHeaders.set(b"x-b", b"%d" % end)}, False),
            ({"responseData": note}, False),
            ({"responseTrailers": trailers}, False),
        ):
            chosen = scripted(**methods)
            chosen.shared = True
            self.make(chosen)
            seen = self.assertSame()
            self.assertEqual((self.wasShort == 1, seen.client.body), (isShort, _ANSWER), methods)

    def test_filterAnswers(self) -> None:
        """
        A filter that answers in the stead of the router, or of the service.
        """

        def reply(stream: Any, payload: Any, end: bool) -> object:
            return stream.reply(418, b"instead")

        for event in ("requestHeaders", "requestData"):
            self.make(scripted(**{event: reply}))
            seen = self.exchange([self.call()])
            self.assertEqual((seen.client.status, seen.asked is None), (200, True))
            self.assertEqual(dict(seen.client.headers or ()).get(b"grpc-status"), b"2")
            self.assertEqual(self.exchange([self.call()]).client, seen.client)
        self.make(scripted(responseHeaders=reply))
        seen = self.exchange([self.call()])
        cut = len(headers(1, _HEAD, False)) + 3
        other = self.exchange([self.call()], lambda number: [self.answer(number)[:cut], self.answer(number)[cut:]])
        self.assertEqual((seen.client, seen.log), (other.client, other.log))

    def test_filterWaits(self) -> None:
        """
        A filter that holds the head for a while: the message waits, too.
        """
        waiting: list[Deferred[None]] = []

        async def wait(stream: Any, headers: Any, end: bool) -> None:
            waiting.append(Deferred())
            await waiting[-1]

        self.start(scripted(requestHeaders=wait), cluster=_cluster(), manager={"generate_request_id": False})
        self.backend.stop()
        self.serve()
        client = self.connect()
        streamId = client.ask(*_GRPC, body=_MESSAGE, method=b"POST")
        self.proxy.settle()
        self.assertEqual(self.service.requests, [])
        waiting.pop().callback(None)
        self.proxy.settle()
        (asked,) = self.service.requests
        self.assertEqual((asked.body, asked.ended), (_MESSAGE, True))
        self.assertEqual((client.of(streamId).body, client.of(streamId).trailers), (_ANSWER, _END))

    def test_filterRaises(self) -> None:
        """
        A head that a filter made unwritable is answered here, and nothing goes on.
        """
        self.make(scripted(requestHeaders=lambda stream, headers, end: headers.set(b"x-a", b"a\r\nb")))
        expected = None
        for cut in (0, len(self.call()) - 5):
            asked = [self.call()] if not cut else [self.call()[:cut], self.call()[cut:]]
            before = len(self.service.requests)
            client = self.connect()
            for piece in asked:
                client.write(piece)
                self.proxy.settle()
            seen = client.of(1)
            # The message, where it comes late, is not wanted.
            seen.resetCode = None
            expected = expected or seen
            self.assertEqual(seen, expected)
            self.assertEqual(len(self.service.requests), before)
            self.assertEqual(dict(seen.headers or ()).get(b"grpc-status"), b"2")
            client.close()
            self.proxy.settle()
            self.assertQuiet()
        self.assertEqual(len(self.flushLoggedErrors(LocalProtocolError)), 4)

    def test_unusualRoutes(self) -> None:
        """
        Routes that ask for more take the long way, and lead to the same.
        """
        self.make()
        usual = self.exchange([self.call()])
        routes: list[dict[str, Any]] = [
            {"retry_policy": {"retry_on": "unavailable", "per_try_timeout": "1s"}},
            {"retry_policy": {"retry_on": "unavailable"}, "hedge_policy": {"hedge_on_per_try_timeout": True}},
            {"hash_policy": [{"header": {"header_name": "te"}}]},
            {"internal_redirect_policy": {}},
        ]
        for route in routes:
            self.make(route=route)
            seen = self.exchange([self.call()])
            self.assertEqual((self.short, seen.client, seen.log), (0, usual.client, usual.log))

    def test_viewers(self) -> None:
        """
        Filters that let all pass see message, answer and trailers of a call that takes the short way, in order, and may
        change the trailers; one that raises ends its stream as ever.
        """
        seen: list[Any] = []

        def viewed(stream: Any, payload: Any, end: bool | None = None) -> None:
            seen.append((payload if isinstance(payload, bytes) else dict(payload.first), end, stream.requestEnded))

        def trailers(stream: Any, trailers: Any) -> None:
            viewed(stream, trailers)
            trailers.set(b"x-seen", b"%d" % stream.responseCode)

        viewer = scripted(requestData=viewed, responseData=viewed, responseTrailers=trailers)
        viewer.shared = viewer.passesAll = True
        self.make(viewer)
        result = self.exchange([self.call()])
        expected = [(_MESSAGE, True, True), (_ANSWER, False, True), (dict(_END), None, True)]
        self.assertEqual((self.short, seen[-3:]), (1, expected))
        self.assertEqual(result.client.trailers, [*_END, (b"x-seen", b"200")])
        self.assertSame()

        def fail(stream: Any, *event: Any) -> None:
            if b"x-fail" in stream.requestHeaders.first:
                raise ValueError("an error of a filter")

        for methods in ({"requestData": fail}, {"responseData": fail}, {"responseTrailers": fail}):
            failing = scripted(**methods)
            failing.shared = failing.passesAll = True
            self.make(failing)
            client = self.connect()
            client.write(self.call((b"x-fail", b"1")))
            self.proxy.settle()
            seenByClient = client.of(1)
            code = dict(seenByClient.headers or ()).get(b"grpc-status")
            self.assertEqual((code, seenByClient.resetCode), (b"2", None) if "requestData" in methods else (None, 2))
            client.close()
            self.proxy.settle()
            self.assertQuiet()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 3)


class RetryTests(UnaryCase):
    """
    Calls to routes that try again take the short way, and are tried again as any.
    """

    def tried(self, asked: list[bytes], *answers: Callable[[int], list[bytes]]) -> tuple[Any, ...]:
        """
        Send the pieces of a call that each of these answers, then a good one.
        """
        proxy = self.proxy
        before, logged, count = proxy.stats(), len(proxy.accessLog), len(self.service.requests)

        def respond(connection: ServiceConnection, asked: Seen) -> None:
            number = len(self.service.requests) - count - 1
            pieces = answers[number](asked.streamId) if number < len(answers) else [self.answer(asked.streamId)]
            for piece in pieces:
                connection.write(piece)
                proxy.settle()

        self.service.respond = respond
        client = _Silent()
        proxy.connect(client)
        client.write(PREFACE + settings())
        proxy.settle()
        for piece in asked:
            client.write(piece)
            proxy.settle()
        proxy.advance(1)
        proxy.settle()
        exchange = client.of(1)
        told = (b"date", b"x-envoy-upstream-service-time")
        exchange.headers = [field for field in exchange.headers or () if field[0] not in told]
        client.close()
        proxy.settle()
        self.assertQuiet()
        stats = {
            name: value - before.get(name, 0)
            for name, value in proxy.stats().items()
            if value != before.get(name, 0)
            and not name.startswith("server.")
            and not name.endswith(("_bytes_total", "_time", "_ms"))
        }
        tries = [(seen.fields, seen.body, seen.ended) for seen in self.service.requests[count:]]
        return exchange, tries, [line.split()[1:4] for line in proxy.accessLog[logged:]], stats

    def route(self, **policy: Any) -> dict[str, Any]:
        """
        A route that tries again.
        """
        return {"max_stream_duration": {"grpc_timeout_header_max": "0s"}, "retry_policy": policy}

    def test_answered(self) -> None:
        """
        Where nothing goes wrong, a call takes the short way both ways, however it is cut; but for the answer, where
        any may be tried again.
        """
        for policy, short in (
            ({"retry_on": "unavailable,5xx", "num_retries": 2}, 1),
            ({"retry_on": "retriable-status-codes", "retriable_status_codes": [503]}, 1),
            ({"retry_on": "retriable-status-codes", "retriable_status_codes": [200, 503], "num_retries": 0}, 0),
            ({"retry_on": "retriable-headers", "retriable_headers": [{"name": "x-again"}]}, 0),
            ({}, 1),
        ):
            self.make(route=self.route(**policy))
            self.assertSame()
            self.assertEqual(self.wasShort, short, policy)

    def test_triedAgain(self) -> None:
        """
        Whatever makes a call be tried again, its message is sent again, and it counts, is logged and answered as one
        that took the long way from its beginning.
        """
        head = [*_HEAD, (b"grpc-status", b"14")]
        limited = [*_HEAD, (b"x-envoy-ratelimited", b"true")]
        unavailable = [(b":status", b"503"), *_HEAD[1:]]
        policy: dict[str, Any] = {"retry_on": "unavailable,refused-stream,5xx,envoy-ratelimited", "num_retries": 2}
        avoiding = {
            "retry_host_predicate": [
                {
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3."
                        "PreviousHostsPredicate"
                    },
                }
            ],
            "host_selection_retry_max_attempts": 3,
        }
        bad: list[Callable[[int], bytes]] = [
            lambda number: reset(number, 7),
            lambda number: headers(number, head),
            lambda number: headers(number, head, False) + data(number, b"x") + headers(number, _END),
            lambda number: headers(number, limited, False) + data(number, b"x") + headers(number, _END),
            lambda number: headers(number, unavailable, False) + data(number, b"x") + headers(number, _END),
            lambda number: headers(number, unavailable),
        ]
        asked = self.call((b"grpc-timeout", b"20S"))
        for more in ({}, avoiding):
            self.make(route=self.route(**policy, **more))
            for answered in bad:
                self.tried([asked], _cut(answered, 0))
                self.short = 0
                seen = self.tried([asked], _cut(answered, 0))
                self.assertEqual((len(seen[1]), seen[1][1][1]), (2, _MESSAGE))
                self.assertEqual(seen[0].body, _ANSWER)
                self.assertEqual(self.tried([asked[:20], asked[20:]], _cut(answered, 0)), seen)
                for cut in range(1, len(answered(1)), 5):
                    self.assertEqual(self.tried([asked], _cut(answered, cut)), seen, f"{answered(1)!r} {cut}")
        twice = [_cut(bad[0], 0)] * 4
        seen = self.tried([asked], *twice)
        self.assertEqual((len(seen[1]), dict(seen[0].headers)[b"grpc-status"]), (3, b"14"))
        self.assertEqual(self.tried([asked[:20], asked[20:]], *twice), seen)

    def test_tooLong(self) -> None:
        """
        A message too long to be kept is sent once, and not again.
        """
        self.make(route=self.route(retry_on="refused-stream"), virtualHost={"per_request_buffer_limit_bytes": 5})
        asked = self.call()
        seen = self.tried([asked], lambda number: [reset(number, 7)])
        self.assertEqual(len(seen[1]), 1)
        self.assertEqual(self.tried([asked[:20], asked[20:]], lambda number: [reset(number, 7)]), seen)


def _cluster(**options: Any) -> dict[str, Any]:
    protocol = {"explicit_http_config": {"http2_protocol_options": options}}
    return {"typed_extension_protocol_options": {_OPTIONS: {"@type": f"type.googleapis.com/{_OPTIONS}", **protocol}}}


class FlowTests(UnaryCase):
    """
    Windows, limits and pauses.
    """

    def test_manyCalls(self) -> None:
        """
        Calls whose heads come before all messages, more than once over the windows of both sides; each has its answer.
        """
        self.make(manager={"http2_protocol_options": {"initial_connection_window_size": 65535}})
        client = self.connect()
        message = b"\0\0\0\1\0" + b"m" * 256
        for turn in range(30):
            numbers = range(client.nextId, client.nextId + 32, 2)
            client.nextId += 32
            heads = [headers(number, request(*_GRPC, method=b"POST"), False) for number in numbers]
            client.write(b"".join([*heads, *(data(number, message, True) for number in numbers)]))
            self.proxy.settle()
            for number in numbers:
                seen = client.of(number)
                self.assertEqual((seen.status, seen.body, seen.trailers), (200, _ANSWER, _END), f"{turn} {number}")
        self.assertEqual(self.short, 480)
        self.assertQuiet()

    def test_noCredit(self) -> None:
        """
        A service that gives credit for half of a message gets the rest with the next credit, and may answer before.
        """
        for early in (False, True):
            self.giveHalf(early)

    def giveHalf(self, early: bool) -> None:
        """
        Call a service with a small window.

        @param early: Whether it answers the head.
        """
        self.start(cluster=_cluster(), manager={"generate_request_id": False}, accessLog=self.log)
        self.backend.stop()
        self.serve((4, 4))
        self.service.credits = False
        self.service.early = early
        client = self.connect()
        # The first one finds no connection, and knows no settings.
        client.write(self.call())
        self.proxy.settle()
        self.assertEqual(client.of(1).trailers, _END)
        for number in (3, 5):
            client.write(self.call(streamId=number))
            self.proxy.settle()
            asked = self.service.requests[-1]
            self.assertEqual((asked.body, asked.ended), (_MESSAGE[:4], False))
            if early:
                self.assertEqual((client.of(number).body, client.of(number).trailers), (_ANSWER, _END))
                self.assertEqual(asked.resetCode, 0)
                continue
            self.assertEqual(client.of(number).headers, None)
            self.service.connections[0].write(windowUpdate(asked.streamId, 3))
            self.proxy.settle()
            self.assertEqual((asked.body, asked.ended), (_MESSAGE[:7], False))
            self.service.connections[0].write(windowUpdate(asked.streamId, 3))
            self.proxy.settle()
            self.assertEqual((asked.body, asked.ended), (_MESSAGE, True))
            self.assertEqual((client.of(number).body, client.of(number).trailers), (_ANSWER, _END))
        client.close()
        self.proxy.settle()
        self.assertQuiet()

    def test_noCreditDownstream(self) -> None:
        """
        A client that gives credit for half of an answer gets message and trailers when it gives the rest.
        """
        self.make()
        client = _Silent()
        self.proxy.connect(client)
        client.write(PREFACE + settings((4, 4)) + self.call())
        self.proxy.settle()
        self.assertEqual((client.of(1).body, client.of(1).trailers), (_ANSWER[:4], None))
        client.write(windowUpdate(1, 100))
        self.proxy.settle()
        self.assertEqual((client.of(1).body, client.of(1).trailers, client.of(1).ended), (_ANSWER, _END, True))
        # What it never reads of is given up with it.
        client.write(self.call(streamId=3) + self.call(streamId=5))
        self.proxy.settle()
        client.abort()
        self.proxy.settle()
        self.assertQuiet()

    def test_longMessages(self) -> None:
        """
        Messages longer than a frame, and longer than the window of a stream, or of the connection.
        """
        self.make()
        for length in (16000, 16384, 16385, 70000, 300000):
            message = b"x" * length

            def respond(connection: ServiceConnection, asked: Seen, message: bytes = message) -> None:
                self.assertEqual(asked.body, message)
                pieces = [message[start : start + 16384] for start in range(0, len(message), 16384)]
                wire = b"".join(data(asked.streamId, piece) for piece in pieces)
                connection.write(headers(asked.streamId, _HEAD, False) + wire + headers(asked.streamId, _END))

            self.service.respond = respond
            client = self.connect()
            seen = self.get(client, *_GRPC, body=message, method=b"POST", wait=1.0)
            self.assertEqual((seen.body, seen.trailers, seen.ended), (message, _END, True), length)
            client.close()
            self.proxy.settle()
            self.assertQuiet()

    def test_fewStreams(self) -> None:
        """
        A service that takes two calls at a time is given two; the others wait for their turn.
        """
        self.start(cluster=_cluster(), manager={"generate_request_id": False}, accessLog=self.log)
        self.backend.stop()
        self.serve((3, 2))
        pending: list[tuple[ServiceConnection, Seen]] = []
        self.service.respond = lambda connection, asked: pending.append((connection, asked))
        warm = self.connect()
        warm.write(self.call())
        self.proxy.settle()
        connection, asked = pending.pop()
        connection.write(self.answer(asked.streamId))
        self.proxy.settle()
        client = self.connect()
        client.write(b"".join(self.call(streamId=number) for number in range(1, 15, 2)))
        self.proxy.settle()
        answered = 0
        while pending:
            self.assertLessEqual(len(pending), 2 * len(self.service.connections))
            connection, asked = pending.pop(0)
            connection.write(self.answer(asked.streamId))
            answered += 1
            self.proxy.settle()
        self.assertEqual(answered, 7)
        self.assertEqual([client.of(number).trailers for number in range(1, 15, 2)], [_END] * 7)
        self.assertQuiet()

    def test_breaker(self) -> None:
        """
        Calls beyond what the circuit breaker allows are answered here.
        """
        self.make(cluster={"circuit_breakers": {"thresholds": [{"max_requests": 2}]}})
        self.service.respond = lambda connection, asked: None
        client = self.connect()
        client.write(b"".join(self.call(streamId=number) for number in (1, 3, 5)))
        self.proxy.settle()
        self.assertEqual([client.of(number).ended for number in (1, 3, 5)], [False, False, True])
        self.assertEqual(dict(client.of(5).headers or ()).get(b"grpc-status"), b"14")
        client.abort()
        self.proxy.settle()
        self.assertQuiet()

    def test_goAway(self) -> None:
        """
        A service that takes only the first of two calls: the other one is told so, and further ones take another
        connection.
        """
        self.make()
        self.service.respond = lambda connection, asked: None
        client = self.connect()
        client.write(self.call() + self.call(streamId=3))
        self.proxy.settle()
        connection = self.service.connections[-1]
        first = min(number for number, asked in connection.seen.items() if not asked.trailers and number > 4)
        connection.write(goAway(first) + self.answer(first))
        self.proxy.settle()
        self.assertEqual(client.of(1).trailers, _END)
        self.assertEqual(dict(client.of(3).headers or ()).get(b"grpc-status"), b"14")
        self.service.respond = lambda connection, asked: connection.write(self.answer(asked.streamId))
        client.write(self.call(streamId=5))
        self.proxy.settle()
        self.assertEqual(client.of(5).trailers, _END)
        self.assertEqual(len(self.service.connections), 2)

    def test_oneWrite(self) -> None:
        """
        A call goes on in one write of two frames, and its answer in one of three; no credit is given for each.
        """
        self.make()
        client = self.connect()
        connection = self.service.connections[-1]
        for turn in range(3):
            before, count = len(client.received), len(connection.frames)
            client.write(self.call(streamId=1 + 2 * turn))
            self.proxy.settle()
            self.assertEqual([frame[0] for frame in connection.frames[count:]], [1, 0])
            self.assertEqual([frame[0] for frame in framesIn(bytes(client.received)[before:])], [1, 0, 1])
        self.assertEqual(self.short, 3)

    def test_drains(self) -> None:
        """
        A connection manager that drains tells so with the answer to a call.
        """
        self.make()
        client = self.connect()
        self.get(client, *_GRPC, body=_MESSAGE, method=b"POST")
        connection: Any = next(iter(self.proxy.server.listeners.byName["front"].connections))
        connection._inner.manager.draining = True
        seen = self.get(client, *_GRPC, body=_MESSAGE, method=b"POST")
        self.assertEqual(seen.trailers, _END)
        self.assertEqual(client.reading.goAways[0], (2**31 - 1, 0))

    def test_stats(self) -> None:
        """
        The filter C{grpc_stats} counts the same of calls in any cut.
        """
        config = {
            "name": "envoy.filters.http.grpc_stats",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
                "stats_for_all_methods": True,
                "enable_upstream_stats": True,
            },
        }
        router = {
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
        }
        self.make(manager={"http_filters": [config, router]})
        asked = headers(1, request(*_GRPC, method=b"POST", path=b"/s.S/M"), False) + data(1, _MESSAGE, True)
        seen = self.assertSame(asked)
        self.assertEqual(seen.stats["cluster.backend.grpc.s.S.M.success"], 1)
        self.assertEqual(seen.stats["cluster.backend.grpc.s.S.M.request_message_count"], 1)
