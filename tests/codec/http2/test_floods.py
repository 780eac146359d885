"""
Frames that are cheap to send and dear to take.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.codec.http2 import DownstreamCodec
from meshproxy.errors import RemoteProtocolError
from tests.codec.http2.frames import (
    continuation,
    data,
    headers,
    ping,
    priority,
    request,
    settings,
    windowUpdate,
)
from tests.codec.http2.helpers import downstream


class FloodTests(SynchronousTestCase):
    """
    L{Floods<meshproxy.codec.http2.floods.Floods>}.
    """

    def assertEnds(self, codec: DownstreamCodec, wire: bytes, code: int = 11) -> None:
        """
        These bytes end the connection with C{ENHANCE_YOUR_CALM}.
        """

        def receive() -> None:
            codec.receiveData(wire)
            while codec.hasRest:
                codec.resume()

        error = self.assertRaises(RemoteProtocolError, receive)
        self.assertEqual(error.h2Code, code)

    def test_answers(self) -> None:
        """
        A peer that does not read its answers, to pings or settings, is put off at 1,000; one that reads them is not.
        """
        for wire in (ping(), settings()):
            codec, _, counters = downstream()
            self.assertEnds(codec, wire * 1001)
            self.assertEqual(counters.outboundControlFlood.value, 1)
            codec, _, counters = downstream()
            for _ in range(30):
                codec.receiveData(wire * 100)
                codec.dataToSend()
                codec.sent()
            self.assertEqual(counters.outboundControlFlood.value, 0)

    def test_resets(self) -> None:
        """
        MadeYouReset: so is one that makes this side reset stream after stream.
        """
        codec, _, counters = downstream()
        wire = b"".join(headers(2 * number + 1, request()) + windowUpdate(2 * number + 1, 0) for number in range(1001))
        self.assertEnds(codec, wire)
        self.assertEqual(counters.outboundControlFlood.value, 1)
        self.assertGreater(counters.txReset.value, 999)

    def test_frames(self) -> None:
        """
        However they come to be, no more than so many frames wait.
        """
        codec, sink, counters = downstream(maxOutboundFrames=100)
        codec.receiveData(headers(1, request()))
        for _ in range(101):
            sink.streams[0].sendData(b"x", False)
        self.assertEnds(codec, ping())
        self.assertEqual(counters.outboundFlood.value, 1)

    def test_empty(self) -> None:
        """
        A second empty frame in a row is one too many, be it of a body or of a head.
        """
        begin = headers(1, request(), False)
        for wire in (
            begin + data(1, b"") * 2,
            begin + data(1, b"", padding=10) * 2,
            headers(1, b"", True, False) + continuation(1, b"", False),
        ):
            codec, _, counters = downstream()
            self.assertEnds(codec, wire)
            self.assertEqual(counters.inboundEmptyFramesFlood.value, 1)
        codec, _, counters = downstream()
        codec.receiveData(begin + (data(1, b"") + data(1, b"x")) * 10 + data(1, b"", True))
        self.assertEqual(counters.inboundEmptyFramesFlood.value, 0)

    def test_priority(self) -> None:
        """
        A hundred PRIORITY frames for each stream, and a hundred beside them.
        """
        codec, _, counters = downstream()
        codec.receiveData(priority(1) * 100 + headers(1, request()) + priority(3) * 100)
        self.assertEnds(codec, priority(1))
        self.assertEqual(counters.inboundPriorityFramesFlood.value, 1)

    def test_windowUpdates(self) -> None:
        """
        Credit in crumbs that is out of proportion to what was sent.
        """
        codec, sink, counters = downstream()
        codec.receiveData(headers(1, request()))
        sink.streams[0].sendData(b"x", False)
        codec.receiveData(windowUpdate(1, 1) * 27)
        self.assertEnds(codec, windowUpdate(0, 1))
        self.assertEqual(counters.inboundWindowUpdateFramesFlood.value, 1)

    def test_continuations(self) -> None:
        """
        CVE-2024-27919 and CVE-2024-30255: a head that does not end, in large pieces or in small ones; also on a stream
        that is closed (CVE-2024-28182).
        """
        for piece, most in ((b"\x00\x01a\x7f\xb1\x1e" + bytes(b"x" * 4000), 40), (b"\x82", 40)):
            codec, _, counters = downstream()
            self.assertEnds(codec, headers(1, b"\x82", True, False) + continuation(1, piece, False) * most)
            self.assertEqual(counters.headerOverflow.value, 1)
        codec, sink, _ = downstream()
        codec.receiveData(headers(1, request(), False))
        sink.streams[0].reset()
        self.assertEnds(codec, headers(1, b"\x82", True, False) + continuation(1, b"\x82", False) * 40)

    def test_manySettings(self) -> None:
        """
        CVE-2020-11080: SETTINGS with hundreds of entries.
        """
        codec, _, _ = downstream()
        codec.receiveData(settings(*[(3, 1)] * 32))
        self.assertEnds(codec, settings(*[(3, 1)] * 33))
