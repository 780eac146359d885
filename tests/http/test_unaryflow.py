"""
Calls of gRPC that take the short way, where somebody is slow or leaves, or a filter has its say.
"""

from __future__ import annotations

from typing import Any

from tests.codec.http2.frames import PREFACE, data, framesIn, goAway, headers, request, settings, windowUpdate
from tests.http.http2backend import Seen, ServiceConnection
from tests.http.unarysupport import ANSWER, END, GRPC, HEAD, MESSAGE, Silent, UnaryCase, clusterOf


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
            heads = [headers(number, request(*GRPC, method=b"POST"), False) for number in numbers]
            client.write(b"".join([*heads, *(data(number, message, True) for number in numbers)]))
            self.proxy.settle()
            for number in numbers:
                seen = client.of(number)
                self.assertEqual((seen.status, seen.body, seen.trailers), (200, ANSWER, END), f"{turn} {number}")
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
        self.start(cluster=clusterOf(), manager={"generate_request_id": False}, accessLog=self.log)
        self.backend.stop()
        self.serve((4, 4))
        self.service.credits = False
        self.service.early = early
        client = self.connect()
        # The first one finds no connection, and knows no settings.
        client.write(self.call())
        self.proxy.settle()
        self.assertEqual(client.of(1).trailers, END)
        for number in (3, 5):
            client.write(self.call(streamId=number))
            self.proxy.settle()
            asked = self.service.requests[-1]
            self.assertEqual((asked.body, asked.ended), (MESSAGE[:4], False))
            if early:
                self.assertEqual((client.of(number).body, client.of(number).trailers), (ANSWER, END))
                self.assertEqual(asked.resetCode, 0)
                continue
            self.assertEqual(client.of(number).headers, None)
            self.service.connections[0].write(windowUpdate(asked.streamId, 3))
            self.proxy.settle()
            self.assertEqual((asked.body, asked.ended), (MESSAGE[:7], False))
            self.service.connections[0].write(windowUpdate(asked.streamId, 3))
            self.proxy.settle()
            self.assertEqual((asked.body, asked.ended), (MESSAGE, True))
            self.assertEqual((client.of(number).body, client.of(number).trailers), (ANSWER, END))
        client.close()
        self.proxy.settle()
        self.assertQuiet()

    def test_noCreditDownstream(self) -> None:
        """
        A client that gives credit for half of an answer gets message and trailers when it gives the rest.
        """
        self.make()
        client = Silent()
        self.proxy.connect(client)
        client.write(PREFACE + settings((4, 4)) + self.call())
        self.proxy.settle()
        self.assertEqual((client.of(1).body, client.of(1).trailers), (ANSWER[:4], None))
        client.write(windowUpdate(1, 100))
        self.proxy.settle()
        self.assertEqual((client.of(1).body, client.of(1).trailers, client.of(1).ended), (ANSWER, END, True))
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
                connection.write(headers(asked.streamId, HEAD, False) + wire + headers(asked.streamId, END))

            self.service.respond = respond
            client = self.connect()
            seen = self.get(client, *GRPC, body=message, method=b"POST", wait=1.0)
            self.assertEqual((seen.body, seen.trailers, seen.ended), (message, END, True), length)
            client.close()
            self.proxy.settle()
            self.assertQuiet()

    def test_fewStreams(self) -> None:
        """
        A service that takes two calls at a time is given two; the others wait for their turn.
        """
        self.start(cluster=clusterOf(), manager={"generate_request_id": False}, accessLog=self.log)
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
        self.assertEqual([client.of(number).trailers for number in range(1, 15, 2)], [END] * 7)
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
        self.assertEqual(client.of(1).trailers, END)
        self.assertEqual(dict(client.of(3).headers or ()).get(b"grpc-status"), b"14")
        self.service.respond = lambda connection, asked: connection.write(self.answer(asked.streamId))
        client.write(self.call(streamId=5))
        self.proxy.settle()
        self.assertEqual(client.of(5).trailers, END)
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
        self.get(client, *GRPC, body=MESSAGE, method=b"POST")
        connection: Any = next(iter(self.proxy.server.listeners.byName["front"].connections))
        connection._inner.manager.draining = True
        seen = self.get(client, *GRPC, body=MESSAGE, method=b"POST")
        self.assertEqual(seen.trailers, END)
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
        asked = headers(1, request(*GRPC, method=b"POST", path=b"/s.S/M"), False) + data(1, MESSAGE, True)
        seen = self.assertSame(asked)
        self.assertEqual(seen.stats["cluster.backend.grpc.s.S.M.success"], 1)
        self.assertEqual(seen.stats["cluster.backend.grpc.s.S.M.request_message_count"], 1)
