"""
Further tries of calls of gRPC that take the short way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.codec.http2.frames import PREFACE, data, headers, reset, settings
from tests.http.http2backend import Seen, ServiceConnection
from tests.http.unarysupport import ANSWER, END, HEAD, MESSAGE, Silent, UnaryCase, cutAt


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
        client = Silent()
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
        head = [*HEAD, (b"grpc-status", b"14")]
        limited = [*HEAD, (b"x-envoy-ratelimited", b"true")]
        unavailable = [(b":status", b"503"), *HEAD[1:]]
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
            lambda number: headers(number, head, False) + data(number, b"x") + headers(number, END),
            lambda number: headers(number, limited, False) + data(number, b"x") + headers(number, END),
            lambda number: headers(number, unavailable, False) + data(number, b"x") + headers(number, END),
            lambda number: headers(number, unavailable),
        ]
        asked = self.call((b"grpc-timeout", b"20S"))
        for more in ({}, avoiding):
            self.make(route=self.route(**policy, **more))
            for answered in bad:
                self.tried([asked], cutAt(answered, 0))
                self.short = 0
                seen = self.tried([asked], cutAt(answered, 0))
                self.assertEqual((len(seen[1]), seen[1][1][1]), (2, MESSAGE))
                self.assertEqual(seen[0].body, ANSWER)
                self.assertEqual(self.tried([asked[:20], asked[20:]], cutAt(answered, 0)), seen)
                for cut in range(1, len(answered(1)), 5):
                    self.assertEqual(self.tried([asked], cutAt(answered, cut)), seen, f"{answered(1)!r} {cut}")
        twice = [cutAt(bad[0], 0)] * 4
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
