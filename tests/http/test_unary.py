"""
Calls of gRPC that take the short way: that must not be seen from outside.
"""

from __future__ import annotations

from functools import partial
from itertools import product
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.errors import LocalProtocolError
from meshproxy.headers import RequestHeaders
from meshproxy.http.unary import CallDeadlines
from meshproxy.testing.bootstraps import BACKEND
from tests.codec.http2.frames import data, headers, request, reset
from tests.http.support import scripted
from tests.http.unarysupport import ANSWER, END, GRPC, HEAD, MESSAGE, UnaryCase, answerWith, clusterOf, cutAt


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
        self.assertEqual((seen.client.status, seen.client.body, seen.client.trailers), (200, ANSWER, END))
        assert seen.asked is not None
        self.assertEqual((seen.asked.body, seen.asked.ended, seen.asked.get(b"te")), (MESSAGE, True, b"trailers"))
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
            answered = partial(answerWith, status, end)
            # Trailers are remembered from the first time on.
            self.exchange([asked], cutAt(answered, 0))
            short = self.short
            expected = self.exchange([asked], cutAt(answered, 0))
            self.assertEqual(self.short, short + 1)
            judged = endpoint.rqSuccess.value, endpoint.rqError.value
            for cut in range(1, len(answered(1)), 7):
                seen = self.exchange([asked], cutAt(answered, cut))
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
        self.assertSame(None, lambda number: headers(number, [*HEAD, *END]))
        self.assertSame(None, lambda number: headers(number, HEAD, False) + data(number, ANSWER, True))
        self.assertEqual(self.wasShort, 0)

    def test_answerReset(self) -> None:
        """
        A service that resets the call in the middle of its answer, or as nginx does, when it is over.
        """
        self.make()
        head, message = headers(1, HEAD, False), data(1, ANSWER)
        for place in (0, len(head), len(head) + len(message)):
            seen = self.assertSame(None, partial(self.broken, place))
            self.assertEqual(seen.client.trailers, None)
        self.assertEqual(self.wasShort, 0)
        seen = self.assertSame(None, lambda number: self.answer(number) + reset(number, 0))
        self.assertEqual((self.wasShort > 0, seen.client.trailers), (True, END))

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
        head = headers(1, request(*GRPC, method=b"POST"), False)
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
            self.assertEqual((self.wasShort == 1, seen.client.body), (isShort, ANSWER), methods)

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
        cut = len(headers(1, HEAD, False)) + 3
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

        self.start(scripted(requestHeaders=wait), cluster=clusterOf(), manager={"generate_request_id": False})
        self.backend.stop()
        self.serve()
        client = self.connect()
        streamId = client.ask(*GRPC, body=MESSAGE, method=b"POST")
        self.proxy.settle()
        self.assertEqual(self.service.requests, [])
        waiting.pop().callback(None)
        self.proxy.settle()
        (asked,) = self.service.requests
        self.assertEqual((asked.body, asked.ended), (MESSAGE, True))
        self.assertEqual((client.of(streamId).body, client.of(streamId).trailers), (ANSWER, END))

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
        expected = [(MESSAGE, True, True), (ANSWER, False, True), (dict(END), None, True)]
        self.assertEqual((self.short, seen[-3:]), (1, expected))
        self.assertEqual(result.client.trailers, [*END, (b"x-seen", b"200")])
        self.assertSame()
        # Of several, all see the message before any sees the trailers, each what the others did to these.
        self.make(viewer, viewer)
        seen.clear()
        self.exchange([self.call()])
        ends = [dict(END), {**dict(END), b"x-seen": b"200"}]
        self.assertEqual([payload for payload, _, _ in seen], [MESSAGE, MESSAGE, ANSWER, ANSWER, *ends])
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


class CallDeadlinesTests(SynchronousTestCase):
    """
    L{CallDeadlines}.
    """

    def test_bounded(self) -> None:
        """
        However many deadlines clients ask for, and however long they write them, little is remembered.
        """
        action: Any = SimpleNamespace(maxStreamDuration=3.0, grpcTimeoutHeaderMax=None)
        router: Any = SimpleNamespace(durations={3.0: "queue"})
        deadlines = CallDeadlines(router, action)
        for isGRPC, memory in ((True, deadlines.grpc), (False, deadlines.others)):
            for text in (*(b"%dm" % number for number in range(600)), b"1" * 5000):
                pairs = [(b"grpc-timeout", text)] + [(b"content-type", b"application/grpc")] * isGRPC
                self.assertEqual(deadlines.heed(RequestHeaders(b"POST", b"/", b"a", pairs), isGRPC), "queue")
            self.assertLessEqual(len(memory), 256)
            self.assertLessEqual(max(len(text or b"") for text in memory), 9)
            deadlines.heed(RequestHeaders(b"POST", b"/", b"a", []), isGRPC)
            self.assertIn(None, memory)
