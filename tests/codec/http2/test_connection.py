"""
What both roles have in common.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.codec.http2 import DownstreamCodec
from meshproxy.errors import RemoteProtocolError
from meshproxy.headers import ResponseHeaders
from tests.codec.http2.frames import (
    PREFACE,
    block,
    continuation,
    data,
    frame,
    framesIn,
    goAway,
    headers,
    ping,
    priority,
    request,
    settings,
)
from tests.codec.http2.helpers import RecordingSink, downstream, splits

CONVERSATION = b"".join(
    [
        PREFACE,
        settings((1, 100), (3, 5)),
        headers(1, request((b"a", b"b"))),
        priority(1, 3),
        ping(b"12345678"),
        headers(3, block(request(method=b"POST"))[:9], False, False),
        continuation(3, block(request(method=b"POST"))[9:]),
        data(3, b"hello", padding=3),
        frame(0x77, 0, 3, b"unknown"),
        headers(5, request(), padding=2, dependsOn=3),
        data(3, b" world"),
        headers(3, [(b"x-end", b"1")]),
        goAway(0, 0, b"bye"),
    ]
)


class SplitTests(SynchronousTestCase):
    """
    L{ConnectionCodec.receiveData<meshproxy.codec.http2.connection.ConnectionCodec.receiveData>}.
    """

    def test_everySplit(self) -> None:
        """
        How the bytes are cut changes neither what is told nor what is answered.
        """
        seen = set()
        for pieces in splits(CONVERSATION):
            sink = RecordingSink()
            codec = DownstreamCodec(sink)
            for piece in pieces:
                codec.receiveData(piece)
            seen.add((repr(sink.transcript), codec.dataToSend()))
        self.assertEqual(len(seen), 1)
        transcript, answers = seen.pop()
        self.assertIn("('data', 3, b' world', False), ('trailers', 3, [(b'x-end', b'1')])", transcript)
        self.assertEqual([frame[:3] for frame in framesIn(answers)[2:]], [(4, 1, 0), (6, 1, 0)])

    def test_announcement(self) -> None:
        """
        The first frames are the settings and the connection's window.
        """
        codec = DownstreamCodec(RecordingSink())
        frames = framesIn(codec.dataToSend())
        self.assertEqual([frame[0] for frame in frames], [4, 8])
        self.assertEqual(frames[0][3], bytes.fromhex("000300000400000401000000"))
        self.assertEqual(int.from_bytes(frames[1][3], "big"), 24 * 1024 * 1024 - 65535)


class FailureTests(SynchronousTestCase):
    """
    The end of a connection.
    """

    def test_terminal(self) -> None:
        """
        After a fault every call fails the same way, and one GOAWAY says which stream was the last.
        """
        codec, _, counters = downstream()
        codec.receiveData(headers(7, request()))
        for _ in range(3):
            with self.assertRaises(RemoteProtocolError) as caught:
                codec.receiveData(ping(bytes(7)))
            self.assertEqual(caught.exception.h2Code, 6)
        self.assertEqual(framesIn(codec.dataToSend()), [(7, 0, 0, bytes.fromhex("0000000700000006"))])
        self.assertEqual(counters.goawaySent.value, 1)

    def test_stopped(self) -> None:
        """
        A connection that is closed on this side reads nothing more, in the middle of what came.
        """
        codec, sink, _ = downstream()
        sink.during = lambda stream: codec.stop()
        codec.receiveData(headers(1, request()) + headers(3, request()))
        codec.receiveData(headers(5, request()))
        self.assertEqual([entry[1] for entry in sink.transcript], [1])

    def test_noSettings(self) -> None:
        """
        A client's first frame is SETTINGS, and no acknowledgement.
        """
        for first in (ping(), settings(ack=True), headers(1, request())):
            codec = DownstreamCodec(RecordingSink())
            self.assertRaises(RemoteProtocolError, codec.receiveData, PREFACE + first)

    def test_preface(self) -> None:
        """
        What is no preface is refused at its first wrong byte.
        """
        for wrong in (b"G", PREFACE[:10] + b"x", b"PRI * HTTP/2.0\r\n\r\nXX"):
            codec = DownstreamCodec(RecordingSink())
            self.assertRaises(RemoteProtocolError, codec.receiveData, wrong)


class FairnessTests(SynchronousTestCase):
    """
    One connection does not keep the others waiting.
    """

    def test_rest(self) -> None:
        """
        After some dozens of requests, the rest is left for later; nothing of it is lost, nor what comes meanwhile.
        """
        codec, sink, _ = downstream()
        sink.during = lambda stream: stream.sendHeaders(ResponseHeaders(204), True)
        requests = [headers(2 * number + 1, request()) for number in range(300)]
        codec.receiveData(b"".join(requests[:250]))
        self.assertTrue(codec.hasRest)
        self.assertLess(len(sink.transcript), 100)
        codec.receiveData(b"".join(requests[250:]))
        turns = 0
        while codec.hasRest:
            codec.resume()
            turns += 1
        self.assertEqual([entry[1] for entry in sink.transcript], list(range(1, 600, 2)))
        self.assertGreater(turns, 3)

    def test_windowsOfMany(self) -> None:
        """
        Settings that touch each of many streams take more of a turn.
        """
        codec, _, _ = downstream()
        codec.receiveData(b"".join(headers(2 * number + 1, request()) for number in range(1000)))
        while codec.hasRest:
            codec.resume()
        codec.receiveData(b"".join(settings((4, 65535 + number % 2)) for number in range(100)))
        self.assertTrue(codec.hasRest)


class WriteTests(SynchronousTestCase):
    """
    What goes out.
    """

    def test_longHead(self) -> None:
        """
        A head longer than a frame is continued.
        """
        codec, sink, _ = downstream()
        codec.receiveData(headers(1, request()))
        sink.streams[0].sendHeaders(ResponseHeaders(200, [(b"a", b"x" * 40000)]), True)
        frames = framesIn(codec.dataToSend())
        self.assertEqual([(kind, flags) for kind, flags, _, _ in frames], [(1, 1), (9, 0), (9, 4)])

    def test_bounded(self) -> None:
        """
        A stream that may send a lot gives it in pieces, so that the transport can say when it has enough.
        """
        codec, sink, _ = downstream()
        codec.receiveData(settings((4, 1 << 24)) + frame(8, 0, 0, (1 << 24).to_bytes(4, "big")))
        codec.receiveData(headers(1, request()))
        sink.streams[0].sendHeaders(ResponseHeaders(200), False)
        sink.streams[0].sendData(bytes(1000000), True)
        sizes = []
        while data := codec.dataToSend():
            sizes.append(len(data))
        self.assertGreater(len(sizes), 5)
        self.assertLess(max(sizes), 160000)
