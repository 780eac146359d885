# -*- test-case-name: tests.http.test_storm -*-
"""
Thousands of exchanges at random, of which nearly everything goes wrong: what is left afterwards is nothing, and nobody
ever got what was for somebody else.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.http.filter import HTTPFilter
from meshproxy.interfaces import STOP
from meshproxy.net.transport import SocketTransport
from meshproxy.testing import (
    Answer,
    HTTPClient,
    MemoryNetwork,
    MemoryProxy,
    Request,
    VirtualReactor,
    httpBootstrap,
    typedStruct,
)
from meshproxy.testing.bootstraps import BACKEND

LIMIT = 8192

_RETRY = {"retry_on": "5xx,reset,connect-failure", "num_retries": 2, "per_try_timeout": "0.3s"}
_BACKENDS = ("backend", "other")
_ROUTES: dict[str, dict[str, Any]] = {
    "/plain/": {"route": {"cluster": "backend"}},
    "/other/": {"route": {"cluster": "other", "timeout": "0s"}},
    "/short/": {"route": {"cluster": "backend", "timeout": "0.2s"}},
    "/retry/": {"route": {"cluster": "backend", "timeout": "2s", "retry_policy": _RETRY}},
    "/again/": {"route": {"cluster": "other", "retry_policy": {"retry_on": "5xx", "num_retries": 5}}},
    "/nobody/": {"route": {"cluster": "nobody", "retry_policy": _RETRY}},
    "/idle/": {"route": {"cluster": "other", "idle_timeout": "1s"}},
    "/here/": {"direct_response": {"status": 200, "body": {"inline_string": "h" * 500}}},
}
_PLACES = [*_ROUTES, "/nowhere/"]


class ChaosError(Exception):
    """
    What the filter of this test raises.
    """


class Storm:
    """
    One proxy, and what happens to it.
    """

    def __init__(self, seed: int) -> None:
        self.random = random = Random(seed)
        self.reactor = VirtualReactor()
        self.readSize = random.choice((0, 0, 0, 33, 500))
        network = MemoryNetwork(
            self.reactor,
            latency=random.choice((0.0, 0.0, 0.01)),
            readSize=self.readSize,
            capacity=random.choice((0, 1000, 5000)),
        )
        thresholds = [{"max_connections": 6, "max_pending_requests": 6, "max_requests": 8, "max_retries": 2}]
        self.proxy = MemoryProxy(
            httpBootstrap(
                [{"name": name, "typed_config": typedStruct("chaos")} for name in ("first", "second")],
                routes=[{"match": {"prefix": prefix}, **route} for prefix, route in _ROUTES.items()],
                manager={
                    "stream_idle_timeout": "20s",
                    "request_timeout": "10s",
                    "request_headers_timeout": "5s",
                    "http_protocol_options": {"enable_trailers": True},
                },
                cluster={
                    "per_connection_buffer_limit_bytes": LIMIT,
                    "circuit_breakers": {"thresholds": thresholds},
                    "connect_timeout": "0.5s",
                },
                clusters={"other": "127.0.0.1:9001", "nobody": "127.0.0.1:9002"},
                listener={"per_connection_buffer_limit_bytes": LIMIT},
            ),
            network,
            {"chaos": self.filter()},
            random.random,
        )
        self.timersBefore = len(self.reactor.getDelayedCalls())
        self.backends = [self.proxy.backend(at, self.answer) for at in (BACKEND, "127.0.0.1:9001")]
        self.clients: list[tuple[HTTPClient, list[bytes]]] = []
        self.number = 0
        self.most = 0

    # Filters

    def filter(self) -> type[HTTPFilter]:
        """
        A filter that does at random what filters may do.
        """
        storm = self
        random = self.random

        def verdict(stream: Any, resume: Callable[[], None]) -> object:
            chance = random.random()
            if chance < 0.9:
                return None
            if chance < 0.92:
                raise ChaosError
            if chance < 0.94:
                return stream.reply(random.choice((403, 503)), b"no")
            if chance < 0.97:
                return deferLater(storm.reactor, random.choice((0.0, 0.05, 0.5)), lambda: None)
            if chance < 0.975:
                return Deferred()  # for ever
            if chance < 0.98:
                stream.reset()
                return STOP
            storm.reactor.callLater(random.choice((0.0, 0.1, 1.0)), resume)
            return STOP

        class Chaos(HTTPFilter):
            async def _readRequest(self, stream: Any) -> None:
                body = await stream.requestBody()
                if random.random() < 0.5:
                    stream.replaceRequestBody(body + b"!")

            async def _readResponse(self, stream: Any) -> None:
                stream.replaceResponseBody(await stream.responseBody())

            def requestHeaders(self, stream: Any, headers: Any, endStream: bool) -> object:
                if not endStream and random.random() < 0.05:
                    return self._readRequest(stream)
                return verdict(stream, stream.resumeRequest)

            def requestData(self, stream: Any, data: bytes, endStream: bool) -> object:
                return verdict(stream, stream.resumeRequest) if random.random() < 0.2 else None

            def responseHeaders(self, stream: Any, headers: Any, endStream: bool) -> object:
                if not endStream and random.random() < 0.05:
                    return self._readResponse(stream)
                return verdict(stream, stream.resumeResponse)

            def responseData(self, stream: Any, data: bytes, endStream: bool) -> object:
                return verdict(stream, stream.resumeResponse) if random.random() < 0.1 else None

            def streamEnded(self, stream: Any) -> None:
                if random.random() < 0.01:
                    raise ChaosError

        return Chaos

    # Upstreams

    def answer(self, request: Request) -> Answer:
        """
        Something that names the request that it answers, unless it is broken.
        """
        random = self.random
        name = request.path.rpartition(b"/")[2]
        own = [(b"x-number", name)]
        body = name * random.choice((1, 10, 1000, 20000))
        delay = random.choice((0.0, 0.0, 0.0, 0.01, 0.15, 0.4))
        kinds: list[Callable[[], Answer]] = [
            lambda: Answer(200, body, own, delay=delay),
            lambda: Answer(200, body, own, delay=delay),
            lambda: Answer(200, [body] * random.choice((1, 3)), own, delay=delay),
            lambda: Answer(200, body, own, trailers=[(b"x-end", b"1")], delay=delay),
            lambda: Answer(random.choice((500, 503, 404, 204, 304)), b"", own, delay=delay),
            lambda: Answer(200, body, own, interim=[(random.choice((100, 103)), ())] * random.choice((1, 200))),
            lambda: Answer(200, body, [*own, (b"x-cut", b"1")], delay=delay, then="close"),
            lambda: Answer(200, body, [*own, (b"connection", b"close")], delay=delay),
            lambda: Answer(200, body, [*own, (b"x-cut", b"1")], then="reset"),
            lambda: Answer.hang(),
            lambda: Answer.close(delay=delay),
            lambda: Answer.reset(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n123", delay=delay),
            # As in Envoy, where the end of the connection is that of the body, its loss is an end like any other.
            lambda: Answer.close(b"HTTP/1.1 200 OK\r\nx-number: %b\r\nx-cut: 1\r\n\r\n" % name + body, delay=delay),
            lambda: Answer(raw=random.randbytes(40)),
            lambda: Answer(raw=b"\0"),
            lambda: Answer(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n12"),
        ]
        return random.choice(kinds)()

    # Downstreams

    def act(self) -> None:
        """
        One thing happens.
        """
        random = self.random
        chance = random.random()
        if chance < 0.5 or not self.clients:
            if not self.clients or (len(self.clients) < 12 and random.random() < 0.3):
                self.clients.append((self.proxy.client(), []))
            self.send(*random.choice(self.clients))
        elif chance < 0.62:
            client, _ = random.choice(self.clients)
            random.choice((client.pause, client.resume, client.resume))()
        elif chance < 0.70:
            entry = random.choice(self.clients)
            self.clients.remove(entry)
            self.check(*entry)
            random.choice((entry[0].abort, entry[0].close, entry[0].finish))()
        elif chance < 0.8:
            connections = [each for backend in self.backends for each in backend.connections if each.lost is None]
            if connections:
                one = random.choice(connections)
                random.choice((one.pause, one.resume, one.resume, one.abort, one.close))()
        else:
            self.proxy.advance(random.choice((0.0, 0.01, 0.1, 0.3, 1.0)))
        if random.random() < 0.7:
            self.proxy.settle()
        for transport in {*self.reactor.getReaders(), *self.reactor.getWriters()}:
            # The peers' own buffers are the peers'.
            protocol = getattr(transport, "protocol", None)
            if isinstance(transport, SocketTransport) and protocol and "testing" not in type(protocol).__module__:
                self.most = max(self.most, transport.unsent)

    def send(self, client: HTTPClient, names: list[bytes]) -> None:
        """
        A request, or a few at once, perhaps not to its end.
        """
        random = self.random
        for _ in range(random.choice((1, 1, 1, 2, 6))):
            if client.closed or (names and names[-1] == b"unfinished"):
                return
            self.number += 1
            name = b"n%d" % self.number
            path = random.choice(_PLACES).encode() + name
            method = random.choice((b"GET", b"GET", b"HEAD", b"POST", b"PUT"))
            names.append(name)
            body = None
            if method in (b"POST", b"PUT"):
                body = b"b" * random.choice((0, 10, 5000, 60000))
                if random.random() < 0.1:
                    client.send(method, path, [(b"content-length", b"100000")], body, whole=False)
                    names.append(b"unfinished")
                    return
            chunked = [(b"transfer-encoding", b"chunked")] if body and random.random() < 0.5 else []
            expects = [(b"expect", b"100-continue")] if body and random.random() < 0.1 else []
            client.send(method, path, [*chunked, *expects], body)

    def check(self, client: HTTPClient, names: list[bytes]) -> None:
        """
        See that each response that names a request is to that one.
        """
        for number, response in enumerate(client.responses):
            named = response.headers.get(b"x-number")
            if named is None:
                continue
            if named != names[number]:
                raise AssertionError(f"response {number} to {names[number]!r} is that to {named!r}")
            if response.body.replace(named, b""):
                cut = response.body.replace(named, b"")
                isWhole = response.complete and response.headers.get(b"x-cut") is None
                if isWhole or not named.startswith(cut):
                    raise AssertionError(f"the response to {named!r} has {cut[:40]!r} in it")

    def calm(self) -> None:
        """
        Everybody goes, and time passes.
        """
        for client, names in self.clients:
            self.proxy.settle()
            self.check(client, names)
            client.abort()
        self.clients.clear()
        self.proxy.advance(60.0)
        for backend in self.backends:
            for connection in backend.connections:
                if connection.lost is None:
                    connection.resume()
        self.proxy.advance(7300.0)

    def left(self) -> dict[str, int]:
        """
        What is not zero that should be.
        """
        stats = self.proxy.stats()
        left = {
            name: value
            for name, value in stats.items()
            if value and name.endswith(("_rq_active", "_pending_active", "_cx_active", "_open", "http1_active"))
        }
        for cluster in self.proxy.server.context.clusters.byName.values():
            breaker = cluster.breaker("DEFAULT")
            for kind in ("connections", "pending", "requests", "retries"):
                used = getattr(breaker, kind).used
                if used:
                    left[f"{cluster.name} breaker {kind}"] = used
        timers = len(self.reactor.getDelayedCalls()) - self.timersBefore
        if timers > 0:
            left["timers"] = timers
        return left


class StormTests(SynchronousTestCase):
    """
    Storms of some seeds.
    """

    def storm(self, seed: int, length: int) -> None:
        """
        Let one pass.
        """
        storm = Storm(seed)
        for _ in range(length):
            storm.act()
        storm.calm()
        self.flushLoggedErrors(ChaosError)
        self.assertEqual(self.flushLoggedErrors(), [], f"seed {seed}")
        self.assertEqual(storm.left(), {}, f"seed {seed}")
        # A read more than the limit, or what one turn gathers.
        self.assertLess(storm.most, 3 * LIMIT, f"seed {seed}")
        served = storm.proxy.stat("http.test.downstream_rq_total")
        self.assertGreater(served, length // 10)
        storm.proxy.stop()

    def test_storms(self) -> None:
        """
        No stream, connection, place, timer or error is left behind, and each response is to its own request.
        """
        for seed in range(12):
            self.storm(seed, 150)
