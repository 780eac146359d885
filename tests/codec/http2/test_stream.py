"""
Windows, queues and resets of streams.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.codec.http2 import CodecStream, DownstreamCodec
from meshproxy.errors import LocalProtocolError, RemoteProtocolError
from meshproxy.headers import HeaderMap, ResponseHeaders
from tests.codec.http2.frames import data, framesIn, headers, request, reset, settings, windowUpdate
from tests.codec.http2.helpers import RecordingSink, downstream

OK = ResponseHeaders(200)


def bodies(wire: bytes) -> list[tuple[int, int, int]]:
    """
    Stream, length and flags of the DATA frames.
    """
    return [(streamId, len(payload), flags) for kind, flags, streamId, payload in framesIn(wire) if kind == 0]


def updates(wire: bytes) -> list[tuple[int, int]]:
    """
    Stream and increment of each frame, WINDOW_UPDATE all of them.
    """
    return [(streamId, int.from_bytes(payload, "big")) for _, _, streamId, payload in framesIn(wire)]


def begin(
    codec: DownstreamCodec, sink: RecordingSink, streamId: int = 1, endStream: bool = True, respond: bool = True
) -> CodecStream:
    """
    A request came, and the head of its response was sent.
    """
    codec.receiveData(headers(streamId, request(), endStream))
    stream = sink.streams[-1]
    if respond:
        stream.sendHeaders(OK, False)
        codec.dataToSend()
    return stream


class SendingTests(SynchronousTestCase):
    """
    What is sent keeps to the peer's windows.
    """

    def test_window(self) -> None:
        """
        65535 bytes go out, the rest when the peer credits both windows; the end comes with the last byte.
        """
        codec, sink, _ = downstream()
        stream = begin(codec, sink)
        stream.sendData(b"x" * 100000, True)
        self.assertEqual(sum(length for _, length, _ in bodies(codec.dataToSend())), 65535)
        self.assertEqual(codec.unsent, 100000 - 65535)
        codec.receiveData(windowUpdate(1, 50000))
        self.assertEqual(codec.dataToSend(), b"")
        codec.receiveData(windowUpdate(0, 50000))
        sent = bodies(codec.dataToSend())
        self.assertEqual(sum(length for _, length, _ in sent), 100000 - 65535)
        self.assertEqual([flags for _, _, flags in sent], [0, 0, 0, 1])
        self.assertEqual(codec.streams, {})
        self.assertEqual(codec.unsent, 0)

    def test_trailersWait(self) -> None:
        """
        Trailers come after what waits, and are the end.
        """
        codec, sink, _ = downstream()
        codec.receiveData(settings((4, 3)))
        stream = begin(codec, sink)
        stream.sendData(b"12345", False)
        stream.sendTrailers(HeaderMap([(b"a", b"b")]))
        self.assertEqual([frame[0] for frame in framesIn(codec.dataToSend())], [0])
        codec.receiveData(windowUpdate(1, 10))
        self.assertEqual([frame[:2] for frame in framesIn(codec.dataToSend())], [(0, 0), (1, 5)])
        self.assertEqual(codec.streams, {})

    def test_contentLength(self) -> None:
        """
        A body that filters made longer or shorter than its head says, or trailers that cannot be written, are this
        side's fault: nothing of it passes for a whole message.
        """
        for pieces in ((b"1234567",), (b"123", b"4567"), (b"123", None)):
            codec, sink, _ = downstream()
            stream = begin(codec, sink, respond=False)
            stream.sendHeaders(ResponseHeaders(200, [(b"content-length", b"5")]), False)
            with self.assertRaises(LocalProtocolError):
                for piece in pieces:
                    if piece is None:
                        stream.sendTrailers(HeaderMap([(b"a", b"b")]))
                    else:
                        stream.sendData(piece, piece is pieces[-1])
        codec, sink, _ = downstream()
        stream = begin(codec, sink, respond=False)
        for _ in range(3):
            self.assertRaises(
                LocalProtocolError,
                begin(codec, sink, codec.lastStreamId + 2, respond=False).sendResponse,
                ResponseHeaders(200, [(b"content-length", b"5")]),
                b"123",
            )
        stream.sendData(b"x" * 100000, False)
        self.assertRaises(LocalProtocolError, stream.sendTrailers, HeaderMap([(b"a", b"b\r\nc")]))

    def test_turns(self) -> None:
        """
        Streams that wait for the connection's window get it in turns.
        """
        codec, sink, _ = downstream()
        codec.receiveData(settings((4, 1 << 20)))
        streams = [begin(codec, sink, streamId) for streamId in (1, 3, 5)]
        codec.pauseSending()
        for stream in streams:
            stream.sendData(b"x" * 60000, True)
        self.assertEqual(codec.dataToSend(), b"")
        codec.resumeSending()
        self.assertEqual(
            [streamId for streamId, _, _ in bodies(codec.dataToSend())],
            [1, 3, 5, 1],
        )

    def test_backPressure(self) -> None:
        """
        Whoever sends more than is to wait is paused, and resumed when half of it is gone.
        """
        codec, sink, _ = downstream(sendBufferLimit=100000)
        stream = begin(codec, sink)
        stream.sendData(b"x" * 100000, False)
        self.assertNotIn(("pause", 1), sink.transcript)
        stream.sendData(b"x" * 100000, False)
        self.assertEqual(sink.transcript[-1], ("pause", 1))
        codec.dataToSend()
        codec.receiveData(windowUpdate(1, 1 << 20) + windowUpdate(0, 1 << 20))
        while codec.dataToSend():
            pass
        self.assertEqual(sink.transcript.count(("resume", 1)), 1)

    def test_crowd(self) -> None:
        """
        When all streams together keep four times what one may, each may keep little: those that keep more pause, and
        the others are told, by a pause that is over at once, that what they send comes too fast. When half of it is
        gone, a stream may keep as much as before.
        """
        codec, sink, _ = downstream(sendBufferLimit=100000)
        codec.receiveData(settings((4, 0)))
        streams = [begin(codec, sink, streamId) for streamId in range(1, 15, 2)]
        much, little, nothing = streams[:5], streams[5], streams[6]
        for stream in much:
            stream.sendData(b"x" * 79000, False)
        little.sendData(b"x" * 5000, False)
        self.assertEqual([event for event in sink.transcript if event[0] in ("pause", "resume")], [])
        little.sendData(b"x" * 1, False)
        self.assertEqual(
            [event for event in sink.transcript if event[0] in ("pause", "resume")],
            [
                *[("pause", stream.id) for stream in much],
                *[(what, stream.id) for stream in (little, nothing) for what in ("pause", "resume")],
            ],
        )
        nothing.sendData(b"x" * 8193, False)
        self.assertEqual(sink.transcript[-1], ("pause", nothing.id))
        for stream in much[:3]:
            codec.receiveData(windowUpdate(0, 79000) + windowUpdate(stream.id, 79000))
            while codec.dataToSend():
                pass
            self.assertEqual(sink.transcript[-1], ("resume", stream.id))
        before = len(sink.transcript)
        much[0].sendData(b"x" * 80000, False)
        self.assertEqual(len(sink.transcript), before)

    def test_smallPieces(self) -> None:
        """
        What waits in small pieces goes out in full frames.
        """
        codec, sink, _ = downstream()
        stream = begin(codec, sink)
        codec.pauseSending()
        for _ in range(1000):
            stream.sendData(b"x" * 10, False)
        codec.resumeSending()
        self.assertEqual(bodies(codec.dataToSend()), [(1, 10000, 0)])

    def test_negativeWindow(self) -> None:
        """
        RFC 9113, 6.9.2: a window may become negative, and is waited for.
        """
        codec, sink, _ = downstream()
        stream = begin(codec, sink)
        stream.sendData(b"x" * 1000, False)
        codec.dataToSend()
        codec.receiveData(settings((4, 500)))
        self.assertEqual(stream.sendWindow, -500)
        stream.sendData(b"y", True)
        codec.receiveData(windowUpdate(1, 500))
        self.assertEqual(bodies(codec.dataToSend()), [])
        codec.receiveData(windowUpdate(1, 1))
        self.assertEqual(bodies(codec.dataToSend()), [(1, 1, 1)])

    def test_afterReset(self) -> None:
        """
        What is written after the peer's reset goes nowhere, and what waited is forgotten.
        """
        codec, sink, counters = downstream()
        stream = begin(codec, sink)
        stream.sendData(b"x" * 100000, False)
        codec.dataToSend()
        codec.receiveData(reset(1))
        self.assertEqual(sink.transcript[-1], ("reset", 1, 8, True))
        self.assertEqual(codec.unsent, 0)
        stream.sendData(b"x", True)
        stream.sendTrailers(HeaderMap())
        stream.reset()
        codec.receiveData(windowUpdate(0, 1 << 20))
        self.assertEqual(codec.dataToSend(), b"")
        self.assertEqual((counters.rxReset.value, counters.txReset.value), (1, 0))

    def test_bodyless(self) -> None:
        """
        A head may be the end; so may an empty piece, or trailers without fields.
        """
        codec, sink, _ = downstream()
        begin(codec, sink, respond=False).sendHeaders(OK, True)
        self.assertEqual([frame[:2] for frame in framesIn(codec.dataToSend())], [(1, 5)])
        begin(codec, sink, 3).sendData(b"", True)
        self.assertEqual(bodies(codec.dataToSend()), [(3, 0, 1)])
        begin(codec, sink, 5).sendTrailers(HeaderMap())
        self.assertEqual(bodies(codec.dataToSend()), [(5, 0, 1)])
        self.assertEqual(codec.streams, {})


class ReceivingTests(SynchronousTestCase):
    """
    The peer is credited what was taken.
    """

    def test_credit(self) -> None:
        """
        Half a window is credited at a time, of the stream and of the connection.
        """
        codec, sink, _ = downstream(initialStreamWindow=65535, initialConnectionWindow=65535)
        begin(codec, sink, endStream=False, respond=False)
        codec.receiveData(data(1, bytes(16384)))
        self.assertEqual(codec.dataToSend(), b"")
        codec.receiveData(data(1, bytes(16384)))
        self.assertEqual(updates(codec.dataToSend()), [(0, 32768), (1, 32768)])

    def test_paused(self) -> None:
        """
        Who is paused is owed nothing, so that the peer comes to a stop; resuming gives all of it.
        """
        codec, sink, _ = downstream(initialStreamWindow=65535, initialConnectionWindow=65535)
        stream = begin(codec, sink, endStream=False, respond=False)
        stream.pauseReading()
        codec.receiveData(data(1, bytes(16384)) * 3 + data(1, bytes(16383)))
        self.assertEqual(codec.dataToSend(), b"")
        self.assertEqual(stream.receiveWindow, 0)
        stream.resumeReading()
        self.assertEqual(updates(codec.dataToSend()), [(0, 65535), (1, 65535)])

    def test_heldByOthers(self) -> None:
        """
        Streams that nobody reads hold most of the connection's window: what is left of it goes on being credited, so
        that the others never wait for half of it.
        """
        codec, sink, _ = downstream(initialStreamWindow=65535, initialConnectionWindow=100000)
        for streamId in (1, 3):
            begin(codec, sink, streamId, endStream=False, respond=False).pauseReading()
            codec.receiveData(data(streamId, bytes(16384)) * 2 + data(streamId, bytes(14000)))
        begin(codec, sink, 5, endStream=False, respond=False)
        left = 100000 - 2 * 46768
        credited = 0
        for _ in range(50):
            codec.receiveData(data(5, bytes(1000)))
            left -= 1000
            for streamId, increment in updates(codec.dataToSend()):
                if not streamId:
                    left += increment
                    credited += increment
            self.assertGreaterEqual(left, 1000)
        self.assertGreaterEqual(credited, 44000)

    def test_beyond(self) -> None:
        """
        More than a stream's window resets the stream.
        """
        codec, sink, counters = downstream(initialStreamWindow=65535)
        stream = begin(codec, sink, endStream=False, respond=False)
        stream.pauseReading()
        codec.receiveData(data(1, bytes(16384)) * 4)
        self.assertEqual(sink.transcript[-1], ("reset", 1, 3, False))
        self.assertEqual(counters.txReset.value, 1)
        self.assertEqual(framesIn(codec.dataToSend())[-1][0], 3)

    def test_creditOfTheDead(self) -> None:
        """
        What a stream owes when it ends is the connection's again: streams that are reset with their windows full
        leave nothing behind.
        """
        codec, sink, _ = downstream(initialStreamWindow=65535, initialConnectionWindow=65535)
        for streamId in range(1, 41, 2):
            stream = begin(codec, sink, streamId, False, False)
            stream.pauseReading()
            codec.receiveData(data(streamId, bytes(16384)) + reset(streamId))
        self.assertEqual(len(codec.streams), 0)

    def test_padding(self) -> None:
        """
        Padding counts for the windows and is given back.
        """
        codec, sink, _ = downstream(initialStreamWindow=65535, initialConnectionWindow=65535)
        begin(codec, sink, endStream=False, respond=False)
        codec.receiveData(data(1, b"x", padding=255) * 200)
        self.assertEqual(sink.transcript[-1][2], b"x" * 200)
        self.assertEqual(updates(codec.dataToSend()), [(0, 32896), (1, 32896)])

    def test_lateData(self) -> None:
        """
        What was on its way when this side reset the stream is dropped and credited.
        """
        codec, sink, _ = downstream(initialConnectionWindow=65535)
        begin(codec, sink, endStream=False, respond=False).reset()
        codec.dataToSend()
        codec.receiveData(data(1, bytes(16384)) * 2)
        self.assertEqual([frame[2] for frame in framesIn(codec.dataToSend())], [0])

    def test_bothReset(self) -> None:
        """
        After the peer's own reset nothing can be on its way any more.
        """
        codec, sink, _ = downstream()
        begin(codec, sink, endStream=False, respond=False).reset()
        codec.receiveData(data(1, b"x") + reset(1))
        error = self.assertRaises(RemoteProtocolError, codec.receiveData, data(1, b"x"))
        self.assertEqual(error.h2Code, 5)

    def test_stopReading(self) -> None:
        """
        RFC 9113, 8.1: after a whole response, the rest of the request is called off with C{NO_ERROR}.
        """
        for bodyFirst in (True, False):
            codec, sink, _ = downstream()
            stream = begin(codec, sink, endStream=False)
            if bodyFirst:
                stream.sendData(b"ok", True)
                stream.stopReading()
            else:
                stream.stopReading()
                stream.sendData(b"ok", True)
            frames = framesIn(codec.dataToSend())
            self.assertEqual([frame[0] for frame in frames], [0, 3])
            self.assertEqual(frames[1][3], bytes(4))
            self.assertEqual(codec.streams, {})
