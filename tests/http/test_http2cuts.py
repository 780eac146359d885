"""
Conversations in HTTP/2 on both sides of a proxy in memory that stop, break off, go on late or come in another order, at
the boundary of each frame and within its head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any, ClassVar

from meshproxy.testing.bootstraps import BACKEND
from tests.codec.http2.frames import (
    PREFACE,
    block,
    continuation,
    data,
    frame,
    headers,
    ping,
    priority,
    request,
    settings,
    windowUpdate,
)
from tests.http.http2backend import HTTP2Backend, Seen, ServiceConnection
from tests.http.http2support import HTTP2Case, HTTP2Peer

_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_HTTP2 = {
    "typed_extension_protocol_options": {
        _OPTIONS: {"@type": f"type.googleapis.com/{_OPTIONS}", "explicit_http_config": {"http2_protocol_options": {}}}
    }
}

_POST = request(method=b"POST")
_SECTION = block(request(path=b"/continued"))

# One client's frames.
_FIRST = [headers(3, _POST, False), data(3, b"he"), data(3, b"llo", True)]
_SECOND = [headers(7, _POST, False), data(7, b"x", padding=5), headers(7, [(b"t", b"1")])]
_BEGIN = [PREFACE, settings((4, 100000)), settings(ack=True)]
_FRAMES = [
    *_BEGIN,
    headers(1, request()),
    *_FIRST,
    ping(),
    headers(5, _SECTION[:20], True, False),
    continuation(5, _SECTION[20:]),
    windowUpdate(0, 100),
    *_SECOND,
    priority(1),
    frame(0x77, 0, 7, b"unknown"),
]

# And one service's, to a request.
_ANSWER: list[Callable[[int], bytes]] = [
    lambda n: headers(n, [(b":status", b"103"), (b"link", b"x")], False),
    lambda n: headers(n, [(b":status", b"200")], False),
    lambda n: data(n, b"ab"),
    lambda n: ping(),
    lambda n: data(n, b"cd"),
    lambda n: headers(n, [(b"t", b"1")]),
]


def _cuts(frames: list[bytes]) -> Iterator[int]:
    """
    Where frames end, and where they are cut within their heads and before their payloads.
    """
    start = 0
    for each in frames:
        yield from sorted({start, start + 4, start + min(9, len(each) - 1)})
        start += len(each)


class CutCase(HTTP2Case):
    """
    A proxy between HTTP/2 and HTTP/2.
    """

    def setUp(self) -> None:
        self.start(
            cluster=_HTTP2,
            route={"timeout": "20s"},
            manager={"stream_idle_timeout": "30s", "http2_protocol_options": {"initial_stream_window_size": 65535}},
        )
        self.backend.stop()
        self.service = HTTP2Backend(self.proxy, BACKEND)
        self.service.respond = self.respond

    def respond(self, connection: ServiceConnection, asked: Seen) -> None:
        """
        Say what was asked.
        """
        told = b"%b %b %d" % (asked.get(b":path") or b"", asked.body, asked.ended)
        connection.write(headers(asked.streamId, [(b":status", b"200")], False))
        connection.write(data(asked.streamId, told) + headers(asked.streamId, [(b"t", b"1")]))

    def client(self) -> HTTP2Peer:
        """
        A client that has not said anything.
        """
        peer = _Silent()
        self.proxy.connect(peer)
        self.proxy.settle()
        return peer

    def assertNothingLeft(self) -> None:
        """
        Neither here nor upstream is anything under way.
        """
        self.assertQuiet()
        for gauge in ("http2.streams_active", "http2.pending_send_bytes"):
            self.assertEqual(self.proxy.stat(gauge), 0)
            self.assertEqual(self.clusterStat(gauge), 0)
        self.assertEqual(self.flushLoggedErrors(), [])


class _Silent(HTTP2Peer):
    """
    Says what it is told to, and not a byte between.
    """

    def connectionMade(self) -> None:
        pass

    def dataReceived(self, data: bytes) -> None:
        self.reading.feed(data)


_EXPECTED: dict[int, tuple[int, bytes, bool]] = {
    1: (200, b"/  1", True),
    3: (200, b"/ hello 1", True),
    5: (200, b"/continued  1", True),
    7: (200, b"/ x 1", True),
}


def _seen(peer: HTTP2Peer) -> dict[int, tuple[int, bytes, bool]]:
    return {
        streamId: (exchange.status, exchange.body, exchange.ended)
        for streamId, exchange in sorted(peer.reading.exchanges.items())
    }


class DownstreamTests(CutCase):
    """
    What comes from a client.
    """

    def test_delayed(self) -> None:
        """
        However its bytes are cut, and however late the rest comes, the answers are the same.
        """
        wire = b"".join(_FRAMES)
        for cut in _cuts(_FRAMES):
            peer = self.client()
            peer.write(wire[:cut])
            self.proxy.advance(1.0)
            peer.write(wire[cut:])
            self.proxy.settle()
            self.assertEqual(_seen(peer), _EXPECTED, f"cut at {cut}")
            self.assertEqual(peer.reading.goAways, [])
            peer.close()
        self.proxy.settle()
        self.assertNothingLeft()

    def test_oneByOne(self) -> None:
        """
        Frame by frame, each read on its own.
        """
        peer = self.client()
        for each in _FRAMES:
            peer.write(each)
            self.proxy.settle()
        self.assertEqual(_seen(peer), _EXPECTED)

    def test_reordered(self) -> None:
        """
        The frames of two streams in each order that keeps that of each stream.
        """
        count = len(_FIRST) + len(_SECOND)
        orders = 0
        for places in combinations(range(1, count), len(_SECOND)):
            first, second = iter(_FIRST), iter(_SECOND)
            peer = self.client()
            peer.write(b"".join(_BEGIN))
            for place in range(count):
                peer.write(next(second if place in places else first))
                self.proxy.settle()
            self.assertEqual(_seen(peer), {n: _EXPECTED[n] for n in (3, 7)}, f"{places}")
            peer.close()
            orders += 1
        self.assertEqual(orders, 10)
        self.proxy.settle()
        self.assertNothingLeft()

    def test_vanishes(self) -> None:
        """
        A client that is gone leaves nothing, here or upstream.
        """
        wire = b"".join(_FRAMES)
        for cut in _cuts(_FRAMES):
            peer = self.client()
            peer.write(wire[:cut])
            self.proxy.settle()
            peer.abort()
            self.proxy.settle()
            self.assertNothingLeft()
            self.assertEqual(self.stat("downstream_cx_active"), 0)

    def test_halfClosed(self) -> None:
        """
        A client that finishes writing has ended its connection, as in Envoy, wherever it stops.
        """
        wire = b"".join(_FRAMES)
        for cut in _cuts(_FRAMES):
            peer = self.client()
            peer.write(wire[:cut])
            peer.finish()
            self.proxy.advance(2.0)
            self.assertNothingLeft()
            self.assertTrue(peer.closed, f"cut at {cut}")
            self.assertEqual(self.stat("downstream_cx_active"), 0)

    def test_silent(self) -> None:
        """
        A client that says nothing more and does not leave is ended by time-outs: its streams first.
        """
        wire = b"".join(_FRAMES)
        for cut in _cuts(_FRAMES):
            peer = self.client()
            peer.write(wire[:cut])
            self.proxy.advance(31.0)
            self.assertEqual(self.stat("downstream_rq_active"), 0, f"cut at {cut}")
            peer.abort()
        self.proxy.settle()
        self.assertNothingLeft()


class UpstreamTests(CutCase):
    """
    What comes from an upstream.
    """

    def answered(self, cut: int, then: Callable[[ServiceConnection], object], late: bytes = b"") -> Any:
        """
        What a client gets of an answer that is cut somewhere.

        @param then: What the upstream does then.
        """

        def respond(connection: ServiceConnection, asked: Seen) -> None:
            wire = b"".join(make(asked.streamId) for make in _ANSWER)
            connection.write(wire[:cut])
            self.proxy.reactor.callLater(0.5, then, connection)
            self.proxy.reactor.callLater(1.0, lambda: connection.write(wire[cut:]) if not connection.isLost else None)

        self.service.respond = respond
        peer = self.connect()
        exchange = self.get(peer, wait=3.0)
        peer.close()
        self.proxy.settle()
        self.assertNothingLeft()
        return exchange

    @property
    def frames(self) -> list[bytes]:
        """
        The answer's frames.
        """
        return [make(1) for make in _ANSWER]

    def test_delayed(self) -> None:
        """
        The rest comes late, wherever the answer was cut.
        """
        for cut in _cuts(self.frames):
            exchange = self.answered(cut, lambda connection: None)
            self.assertEqual((exchange.status, exchange.body, exchange.ended), (200, b"abcd", True), f"cut at {cut}")
            self.assertEqual(len(exchange.interim), 1)
            self.assertEqual(exchange.trailers, [(b"t", b"1")])

    def test_vanishes(self) -> None:
        """
        An upstream that is gone, or finishes writing: the client is told, by a status as long as there was none, by a
        reset after that.
        """

        def gone(connection: ServiceConnection) -> None:
            transport: Any = connection.transport
            transport.abortConnection()

        def finished(connection: ServiceConnection) -> None:
            transport: Any = connection.transport
            transport.loseWriteConnection()

        frames = self.frames
        head = len(frames[0]) + len(frames[1])
        for then in (gone, finished):
            for cut in _cuts(frames):
                exchange = self.answered(cut, then)
                if cut < head:
                    self.assertEqual((exchange.status, exchange.ended), (503, True), f"cut at {cut}")
                else:
                    self.assertEqual((exchange.status, exchange.ended), (200, False), f"cut at {cut}")
                    self.assertIsNotNone(exchange.resetCode)

    def test_silent(self) -> None:
        """
        An upstream that says nothing more and does not leave: the route's time-out tells the client, and ends the
        stream upstream alone.
        """
        frames = self.frames
        head = len(frames[0]) + len(frames[1])
        for cut in _cuts(frames):
            self.service.respond = (
                lambda connection, asked, cut=cut: connection.write(  # type: ignore[misc]  # bound now
                    b"".join(make(asked.streamId) for make in _ANSWER)[:cut]
                )
            )
            peer = self.connect()
            exchange = self.get(peer, wait=21.0)
            if cut < head:
                self.assertEqual((exchange.status, exchange.ended), (504, True), f"cut at {cut}")
            else:
                self.assertEqual((exchange.status, exchange.ended), (200, False), f"cut at {cut}")
                self.assertIsNotNone(exchange.resetCode)
            peer.close()
            self.proxy.settle()
            self.assertNothingLeft()
            # The rest of a frame never comes: whoever asks next needs another connection.
            transport: Any = self.service.connections[-1].transport
            transport.abortConnection()
            self.proxy.settle()

    def test_reordered(self) -> None:
        """
        The answers to two streams of one connection, their frames in each order that keeps that of each stream.
        """
        count = len(_ANSWER)
        for places in combinations(range(2 * count), count):
            asked: list[int] = []

            def respond(
                connection: ServiceConnection,
                seen: Seen,
                asked: list[int] = asked,
                places: tuple[int, ...] = places,
            ) -> None:
                asked.append(seen.streamId)
                if len(asked) == 2:
                    rests = {streamId: [make(streamId) for make in _ANSWER] for streamId in asked}
                    for place in range(2 * count):
                        connection.write(rests[asked[place not in places]].pop(0))
                        self.proxy.settle()

            self.service.respond = respond
            peer = self.connect()
            streams = [peer.ask() for _ in range(2)]
            self.proxy.settle()
            for streamId in streams:
                exchange = peer.of(streamId)
                self.assertEqual(
                    (exchange.status, exchange.body, exchange.trailers, len(exchange.interim)),
                    (200, b"abcd", [(b"t", b"1")], 1),
                    places,
                )
            peer.close()
            self.proxy.settle()
        self.assertEqual(len(self.service.connections), 1)
        self.assertNothingLeft()


class CrumbTests(CutCase):
    """
    Sockets that give and take little at a time.
    """

    sizes: ClassVar[tuple[tuple[int, int], ...]] = ((1, 0), (7, 0), (9, 20), (0, 1), (0, 13), (3, 5))

    def test_sizes(self) -> None:
        """
        Reads of few bytes, and writes of few: the answers are the same.
        """
        for readSize, capacity in self.sizes:
            self.readSize, self.capacity = readSize, capacity
            self.setUp()
            peer = self.client()
            peer.write(b"".join(_FRAMES))
            self.proxy.settle()
            self.assertEqual(_seen(peer), _EXPECTED, f"{readSize} {capacity}")
            peer.close()
            self.proxy.settle()
            self.assertNothingLeft()

    def test_pauses(self) -> None:
        """
        A client that stops reading after each read, and goes on much later.
        """
        self.capacity, self.readSize = 40, 11
        self.setUp()
        peer = _Reluctant()
        self.proxy.connect(peer)
        peer.write(b"".join(_FRAMES))
        for _ in range(200):
            self.proxy.advance(0.01)
            if peer.lost is None:
                peer.resume()
        self.proxy.settle()
        self.assertEqual(_seen(peer), _EXPECTED)


class _Reluctant(_Silent):
    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        self.pause()
