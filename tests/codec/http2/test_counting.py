"""
L{meshproxy.codec.http2.counting}: codecs that count, held against the frames that are on the wire.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.codec.http2 import Http2Options
from meshproxy.codec.http2.counting import (
    CountingDownstreamCodec,
    CountingUpstreamCodec,
    MeasuringDownstreamCodec,
    MeasuringUpstreamCodec,
    WireTally,
)
from meshproxy.errors import RemoteProtocolError
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from tests.codec.http2.frames import (
    PREFACE,
    block,
    continuation,
    data,
    framesIn,
    headers,
    priority,
    request,
    reset,
    settings,
    windowUpdate,
)
from tests.codec.http2.helpers import RecordingSink, StreamSink, Transcript, splits

_SECTION = (1, 9)


def onWire(wire: bytes, streamId: int, kinds: tuple[int, ...] = tuple(range(10))) -> int:
    """
    How many bytes the frames of a stream take.
    """
    return sum(9 + len(payload) for kind, _, of, payload in framesIn(wire) if of == streamId and kind in kinds)


def figures(tally: WireTally | None) -> tuple[int, int, int, int]:
    """
    What it counted: received, of that heads, sent, of that heads.
    """
    assert tally is not None
    return tally.received, tally.headReceived, tally.sent, tally.headSent


class DownstreamTests(SynchronousTestCase):
    """
    L{CountingDownstreamCodec}.
    """

    def codec(self) -> tuple[CountingDownstreamCodec, RecordingSink]:
        """
        One after its handshake.
        """
        sink = RecordingSink()
        codec = CountingDownstreamCodec(sink, Http2Options(streamErrorOnInvalidMessage=True))
        codec.receiveData(PREFACE + settings())
        codec.dataToSend()
        return codec, sink

    def test_received(self) -> None:
        """
        What came is counted with its padding and frame headers, however it is cut; a field section that came in several
        frames as if it were one; and nothing that only speaks about the stream.
        """
        section = block(request(method=b"POST"))
        wires = {
            headers(1, section, False) + data(1, b"abc") + data(1, b"", True): 2 * 9 + 3,
            headers(1, section, False) + data(1, b"abc", True, padding=7): 9 + 3 + 8,
            headers(1, section, False) + windowUpdate(1, 5) + priority(1) + data(1, b"abc", True): 9 + 3,
            headers(1, section, False) + data(1, b"abc") + reset(1): 9 + 3 + 13,
        }
        for wire, body in wires.items():
            for pieces in splits(wire):
                codec, _ = self.codec()
                for piece in pieces:
                    codec.receiveData(piece)
                self.assertEqual(figures(codec.tallyOf(1))[:2], (9 + len(section) + body, 9 + len(section)))
        codec, _ = self.codec()
        codec.receiveData(headers(1, section[:9], True, False) + continuation(1, section[9:]))
        self.assertEqual(figures(codec.tallyOf(1))[:2], (9 + len(section),) * 2)
        codec.receiveData(headers(3, section, False, padding=3, dependsOn=0) + headers(3, [(b"x-t", b"v")]))
        head = 9 + len(section) + 5 + 4 + 9 + len(block([(b"x-t", b"v")]))
        self.assertEqual(figures(codec.tallyOf(3))[:2], (head, head))

    def test_sent(self) -> None:
        """
        What goes out is counted as it is on the wire, by the short way of a whole response as well, and however it
        waits for credit.
        """
        codec, sink = self.codec()
        wire = b""
        for streamId in (1, 3, 5):
            codec.receiveData(headers(streamId, request()))
            answer = ResponseHeaders(200)
            answer.add(b"server", b"x")
            sink.streams[-1].sendResponse(answer, b"hello")
            out = codec.dataToSend()
            wire += out
            tally = codec.tallyOf(streamId)
            self.assertEqual(figures(tally)[2:], (onWire(out, streamId), onWire(out, streamId, _SECTION)))
        codec.receiveData(headers(7, request()))
        answer = ResponseHeaders(200)
        answer.add(b"x-long", b"v" * 40000)
        sink.streams[-1].sendHeaders(answer, False)
        sink.streams[-1].sendData(b"x" * 100_000, False)
        out = codec.dataToSend()
        self.assertLess(onWire(out, 7, (0,)), 100_000)
        codec.receiveData(windowUpdate(0, 1_000_000) + windowUpdate(7, 1_000_000))
        out += codec.dataToSend()
        trailers = HeaderMap()
        trailers.add(b"x-t", b"v")
        sink.streams[-1].sendTrailers(trailers)
        out += codec.dataToSend()
        self.assertEqual(
            figures(codec.tallyOf(7))[2:], (onWire(out, 7), onWire(out, 7, _SECTION)), "several frames of each kind"
        )
        self.assertGreater(onWire(out, 7, (9,)), 9)

    def test_forgotten(self) -> None:
        """
        Of streams that are over, or were refused, nothing stays.
        """
        codec, sink = self.codec()
        codec.receiveData(headers(1, request()) + headers(3, [(b":path", b"/")]))
        self.assertIsNone(codec.tallyOf(3))
        codec.forgetTally(1)
        sink.streams[0].sendHeaders(ResponseHeaders(200), True)
        codec.forgetTally(1)
        self.assertIsNone(codec.tallyOf(1))
        codec, sink = self.codec()
        sink.during = lambda stream: stream.sendHeaders(ResponseHeaders(204), True)
        codec.receiveData(headers(1, request()))
        self.assertIsNone(codec.tallyOf(1))


class UpstreamTests(SynchronousTestCase):
    """
    L{CountingUpstreamCodec}.
    """

    def sink(self, tally: WireTally | None) -> Any:
        """
        A sink that wants its bytes counted, or not.
        """

        class Sink:
            def __getattr__(self, name: str) -> Any:
                return lambda *args: None

        sink = Sink()
        if tally is not None:
            sink.tally = tally  # type: ignore[attr-defined]  # what the codec looks for
        else:
            sink.tally = None  # type: ignore[attr-defined]
        return sink

    def test_counted(self) -> None:
        """
        A request and its response; two that share a tally add up, and one without has none.
        """
        codec = CountingUpstreamCodec(RecordingSink())
        codec.receiveData(settings())
        codec.dataToSend()
        tally = WireTally()
        wire = b""
        for each in (tally, None, tally):
            asked = RequestHeaders(b"POST", b"/")
            asked.authority = b"a"
            stream = codec.request(self.sink(each), asked, False)
            stream.sendData(b"abc", True)
            wire += codec.dataToSend()
        sent = onWire(wire, 1) + onWire(wire, 5)
        sections = onWire(wire, 1, _SECTION) + onWire(wire, 5, _SECTION)
        head = headers(1, [(b":status", b"200")], False)
        for streamId in (1, 3):
            codec.receiveData(headers(streamId, [(b":status", b"200")], False) + data(streamId, b"xy", True))
        self.assertEqual(figures(tally), (len(head) + 11, len(head), sent, sections))
        codec.receiveData(reset(5))
        self.assertEqual(tally.received, len(head) + 11 + 13)
        self.assertEqual(codec._tallies, {})


def sizeOf(fields: Sequence[tuple[bytes, bytes]]) -> int:
    """
    Bytes of names and values.
    """
    return sum(len(name) + len(value) for name, value in fields)


class MeasuringTests(SynchronousTestCase):
    """
    L{MeasuringDownstreamCodec} and L{MeasuringUpstreamCodec}.
    """

    def test_downstream(self) -> None:
        """
        Names and values count as they are before they are packed, each time anew; so do cookies in their pieces, and
        trailers.
        """
        sink = RecordingSink()
        codec = MeasuringDownstreamCodec(sink, Http2Options())
        codec.receiveData(PREFACE + settings())
        fields = request((b"cookie", b"a=b"), (b"cookie", b"c=d"), method=b"POST")
        trailers = [(b"x-t", b"v")]
        for streamId in (1, 3, 5, 7):
            codec.receiveData(headers(streamId, fields, False) + headers(streamId, trailers))
            answer = ResponseHeaders(200)
            answer.add(b"server", b"some server")
            stream = sink.streams[-1]
            if streamId == 7:
                stream.sendHeaders(answer, False)
                stream.sendTrailers(HeaderMap())
            else:
                stream.sendResponse(answer, b"hello")
            tally = codec.tallyOf(streamId)
            assert tally is not None
            self.assertEqual(tally.fieldsReceived, sizeOf(fields) + sizeOf(trailers))
            self.assertEqual(tally.fieldsSent, sizeOf([(b":status", b"200"), (b"server", b"some server")]))

    def test_upstream(self) -> None:
        """
        The same for requests, of which several may have one tally.
        """
        codec = MeasuringUpstreamCodec(RecordingSink(), Http2Options())
        tally = WireTally()
        sink: Any = StreamSink(Transcript(), 1)
        sink.tally = tally
        head = RequestHeaders(b"GET", b"/a/path")
        head.authority, head.scheme = b"example.com", b"http"
        head.add(b"x-a", b"value")
        once = sizeOf(request((b"x-a", b"value"), path=b"/a/path", authority=b"example.com"))
        for count in (1, 2, 3):
            codec.request(sink, head.copy(), True)
            self.assertEqual(tally.fieldsSent, count * once)
        codec.receiveData(settings() + headers(1, [(b":status", b"103"), (b"link", b"x")], False))
        codec.receiveData(headers(1, [(b":status", b"200")], False) + headers(1, [(b"x-t", b"v")]))
        self.assertEqual(tally.fieldsReceived, 10 + 5 + 10 + 4)

    def test_broken(self) -> None:
        """
        What is no HPACK ends the connection as ever.
        """
        codec = MeasuringDownstreamCodec(RecordingSink(), Http2Options())
        with self.assertRaises(RemoteProtocolError):
            codec.receiveData(PREFACE + settings() + headers(1, b"\xff\xff\xff\xff\xff\xff"))
