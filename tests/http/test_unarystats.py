"""
Calls of gRPC that take the short way, and are counted by C{grpc_stats} on it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from meshproxy.config.pool import typeURL
from meshproxy.grpc.framing import encodeFrame
from tests.codec.http2.frames import data, headers, request, reset
from tests.http.unarysupport import ANSWER, END, GRPC, HEAD, MESSAGE, UnaryCase, Whole, cutAt

_STATS = "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig"
_ROUTER = "envoy.extensions.filters.http.router.v3.Router"

PREFIX = "cluster.backend.grpc."

COMPRESSED = b"\1\0\0\0\3zip"

#: What is counted of a call that ends well, besides messages.
GOOD = {"0": 1, "success": 1, "total": 1, "upstream_rq_time": 1}

#: Bodies, and how many messages begin in them.
BODIES = [
    (MESSAGE, 1),
    (COMPRESSED, 1),
    (encodeFrame(b""), 1),
    (MESSAGE + MESSAGE, 2),
    (encodeFrame(b"") + COMPRESSED, 2),
    (MESSAGE[:3], 1),
    (MESSAGE[:-1], 1),
    (MESSAGE + b"\0\0", 2),
]


def answerOf(body: bytes, end: list[tuple[bytes, bytes]], streamId: int) -> bytes:
    """
    An answer.
    """
    return headers(streamId, HEAD, False) + data(streamId, body) + headers(streamId, end)


class StatsTests(UnaryCase):
    """
    Whatever comes, however it is cut, the figures are the same.
    """

    def start(self, *filters: Any, manager: dict[str, Any] | None = None, **config: Any) -> Any:
        """
        With the filter, once for each configuration.
        """
        typed: list[tuple[str, dict[str, Any]]] = [(_STATS, config) for config in self.configs]
        chain = [
            {"name": f"f{number}", "typed_config": {"@type": typeURL(name), **fields}}
            for number, (name, fields) in enumerate([*typed, (_ROUTER, {})])
        ]
        return super().start(manager={"http_filters": chain, **(manager or {})}, **config)

    def count(self, *configs: dict[str, Any], **config: Any) -> None:
        """
        Make a proxy that counts.
        """
        self.configs = [{"stats_for_all_methods": True, "enable_upstream_stats": True, **given} for given in configs]
        self.make(**config)

    def call(self, *more: tuple[bytes, bytes], streamId: int = 1, message: bytes = MESSAGE) -> bytes:
        """
        See L{UnaryCase.call}: to a method.
        """
        asked = request(*GRPC, *more, method=b"POST", path=b"/t.T/M")
        return headers(streamId, asked, False) + data(streamId, message, True)

    def exchange(
        self, asked: list[bytes], answered: Callable[[int], list[bytes]] | None = None, wait: float = 0.25
    ) -> Whole:
        """
        See L{UnaryCase.exchange}: with the times that were recorded.
        """
        before = self.times()
        whole = super().exchange(asked, answered, wait)
        after = self.times()
        for lower in after:
            whole.stats[f"times {lower}"] = after[lower] - before.get(lower, 0)
        return whole

    def times(self) -> dict[float, int]:
        """
        How often the upstream took how long.
        """
        histogram = self.proxy.server.context.store.histograms.get(f"{PREFIX}t.T.M.upstream_rq_time")
        return {} if histogram is None else histogram.bins.copy()

    def assertCounted(self, seen: Whole, expected: dict[str, int]) -> None:
        """
        This is what was counted of one call; once for each filter.
        """
        counted = {
            name.removeprefix(f"{PREFIX}t.T.M."): value for name, value in seen.stats.items() if name.startswith(PREFIX)
        }
        self.assertEqual(counted, {name: len(self.configs) * value for name, value in expected.items() if value})

    def test_bodies(self) -> None:
        """
        Messages are counted one by one, those that are compressed, empty or broken off among them.
        """
        self.count({})
        self.exchange([self.call()])
        for body, number in BODIES:
            for asked, answered, counts in (
                (self.call(message=body), self.answer, (number, 1)),
                (self.call(), partial(answerOf, body, END), (1, number)),
            ):
                self.short = 0
                seen = self.assertSame(asked, answered)
                self.assertEqual(self.wasShort, 1)
                self.assertCounted(
                    seen,
                    GOOD | {"request_message_count": counts[0], "response_message_count": counts[1]},
                )
                self.assertEqual(seen.stats["times 250"], 1)

    def test_statuses(self) -> None:
        """
        So are statuses: those of gRPC, those that somebody made up, and none at all.
        """
        self.count({})
        for status in (b"0", b"14", b"0", b"00", b"99", b"x", None):
            end: list[tuple[bytes, bytes]] = [(b"grpc-message", b"m") if status is None else (b"grpc-status", status)]
            answered = partial(answerOf, ANSWER, end)
            self.exchange([self.call()], cutAt(answered, 0))
            self.short = 0
            seen = self.assertSame(None, answered)
            self.assertEqual(self.wasShort, 1)
            counts = {"request_message_count": 1, "response_message_count": 1, "upstream_rq_time": 1}
            if status is not None:
                counts |= {status.decode(): 1, "success": status == b"0", "failure": status != b"0", "total": 1}
            self.assertCounted(seen, counts)

    def test_pieces(self) -> None:
        """
        An answer whose pieces are messages, one whose are not, and messages that come one by one.
        """
        self.count({})
        self.exchange([self.call()])
        counts = GOOD | {"request_message_count": 1, "response_message_count": 3}
        for pieces in (
            [ANSWER, COMPRESSED, ANSWER],
            [ANSWER + ANSWER[:4], ANSWER[4:], ANSWER],
            [ANSWER, ANSWER[:7], ANSWER[7:] + ANSWER],
        ):
            answered = partial(self.inPieces, pieces)
            seen = self.assertSame(None, answered)
            self.assertCounted(seen, counts)
        first = headers(1, request(*GRPC, method=b"POST", path=b"/t.T/M"), False)
        for messages in ([MESSAGE, COMPRESSED, MESSAGE], [MESSAGE, MESSAGE[:2], MESSAGE[2:] + MESSAGE]):
            asked = first + b"".join(data(1, piece) for piece in messages) + data(1, b"", True)
            counts |= {"request_message_count": 3, "response_message_count": 1}
            self.assertCounted(self.assertSame(asked), counts)

    def inPieces(self, pieces: list[bytes], streamId: int) -> bytes:
        """
        An answer of several frames.
        """
        frames = b"".join(data(streamId, piece) for piece in pieces)
        return headers(streamId, HEAD, False) + frames + headers(streamId, END)

    def test_bothWays(self) -> None:
        """
        A message that comes in pieces after the head of the answer, and then the rest of that.
        """
        self.count({})
        client = self.connect()
        before = self.proxy.stats(PREFIX)
        self.service.respond = lambda connection, asked: None
        client.write(headers(1, request(*GRPC, method=b"POST", path=b"/t.T/M"), False) + data(1, MESSAGE))
        self.proxy.settle()
        (asked,) = self.service.requests[-1:]
        (service,) = self.service.connections
        for send, piece in (
            (service, headers(asked.streamId, HEAD, False) + data(asked.streamId, ANSWER)),
            (client, data(1, MESSAGE[:6])),
            (service, data(asked.streamId, ANSWER)),
            (client, data(1, MESSAGE[6:], True)),
            (service, headers(asked.streamId, END)),
        ):
            send.write(piece)
            self.proxy.settle()
        counted = self.proxy.stats(PREFIX)
        names = ("request_message_count", "response_message_count", "success")
        grown = [counted[f"{PREFIX}t.T.M.{name}"] - before.get(f"{PREFIX}t.T.M.{name}", 0) for name in names]
        self.assertEqual(grown, [2, 2, 1])

    def test_ends(self) -> None:
        """
        Calls that end otherwise: with a head alone, with a head that tells the status as trailers do, as another kind
        of response, reset on either side, or late.
        """
        self.count({})
        self.exchange([self.call()])
        asked = {"request_message_count": 1}
        both = asked | {"response_message_count": 1}

        def other(head: list[tuple[bytes, bytes]], streamId: int) -> bytes:
            return headers(streamId, head, False) + data(streamId, ANSWER) + headers(streamId, END)

        html = [(b":status", b"200"), (b"content-type", b"text/html")]
        for answered, counts in (
            (lambda number: headers(number, [*HEAD, *END]), asked | GOOD),
            (partial(other, [*HEAD, (b"grpc-status", b"5")]), both | GOOD | {"5": 1, "failure": 1, "total": 2}),
            (partial(other, html), asked | GOOD),
            (partial(other, [(b":status", b"404"), *HEAD[1:]]), asked | GOOD),
            (lambda number: headers(number, HEAD, False) + data(number, ANSWER) + reset(number, 2), both),
        ):
            self.assertCounted(self.assertSame(None, answered), counts)
        seen = self.exchange([self.call() + reset(1)])
        self.assertCounted(seen, asked)
        seen = self.assertSame(self.call((b"grpc-timeout", b"100m")))
        self.assertCounted(seen, asked | {"4": 1, "failure": 1, "total": 1})

    def test_noCall(self) -> None:
        """
        What is no call, or to no method, is not counted.
        """
        self.count({})
        for asked in (
            headers(1, request((b"content-type", b"application/grpc-web"), path=b"/t.T/M"), False),
            headers(1, request(*GRPC, path=b"/t.T"), False),
        ):
            for _ in range(2):
                self.assertCounted(self.assertSame(asked + data(1, MESSAGE, True)), {})

    def test_severalFilters(self) -> None:
        """
        Each filter of a chain counts for itself, those that show what they count among them.
        """
        several: list[tuple[dict[str, Any], ...]] = [
            ({}, {}),
            ({}, {"emit_filter_state": True}),
            ({"emit_filter_state": True}, {}),
        ]
        for configs in several:
            self.count(*configs)
            self.exchange([self.call()])
            counts = GOOD | {"request_message_count": 2, "response_message_count": 1}
            self.assertCounted(self.assertSame(self.call(message=MESSAGE + MESSAGE)), counts)
            counts["request_message_count"] = 1
            self.assertCounted(self.assertSame(), counts)

    def test_retried(self) -> None:
        """
        Of a call that is tried again, messages are counted once, and the last answer.
        """
        policy = {"retry_on": "unavailable", "num_retries": 2}
        self.count({}, route={"retry_policy": policy, "max_stream_duration": {"grpc_timeout_header_max": "0s"}})
        before = self.proxy.stats(PREFIX)
        count = len(self.service.requests)

        def respond(connection: Any, asked: Any) -> None:
            isFirst = len(self.service.requests) == count + 1
            refused = headers(asked.streamId, [*HEAD, (b"grpc-status", b"14")])
            connection.write(refused if isFirst else self.answer(asked.streamId))

        self.service.respond = respond
        client = self.connect()
        client.write(self.call())
        self.proxy.settle()
        self.proxy.advance(1)
        counted = self.proxy.stats(PREFIX)
        names = ("request_message_count", "response_message_count", "success", "total")
        grown = [counted[f"{PREFIX}t.T.M.{name}"] - before.get(f"{PREFIX}t.T.M.{name}", 0) for name in names]
        self.assertEqual((len(self.service.requests), grown), (count + 2, [1, 1, 1, 1]))
