"""
L{meshproxy.codec.http1.receiver}: what both roles share, and that it is linear.
"""

from __future__ import annotations

from unittest.mock import patch

from meshproxy.codec.http1 import DownstreamCodec
from meshproxy.codec.http1.grammar import matchChunkLine, matchFields
from meshproxy.errors import RemoteProtocolError
from tests.codec.http1.helpers import CodecTestCase, downstream


class Searched(bytearray):
    """
    Bytes that count how many of them were searched.
    """

    work = 0

    def find(self, sub: bytes, start: int = 0, *rest: int) -> int:  # type: ignore[override]  # bytes are enough here
        found = super().find(sub, start, *rest)
        Searched.work += (found if found >= 0 else len(self)) - start
        return found


class LinearTests(CodecTestCase):
    """
    A peer that sends single bytes costs no more than its bytes.
    """

    def setUp(self) -> None:
        Searched.work = 0

    def codec(self) -> DownstreamCodec:
        """
        A codec whose unfinished head counts.
        """
        codec, _ = downstream()
        codec._head = Searched()
        return codec

    def test_head(self) -> None:
        """
        A head byte by byte is searched some times, and not once for each byte.
        """
        wire = (
            b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"a%d: %b\r\n" % (n, b"b" * 200) for n in range(50)) + b"\r\n"
        )
        judged: list[int] = []

        def counting(head: bytearray, position: int) -> object:
            match = matchFields(head, position)
            assert match is not None
            judged.append(match.end() - position)
            return match

        codec = self.codec()
        with patch("meshproxy.codec.http1.receiver.matchFields", counting):
            for place in range(len(wire)):
                codec.receiveData(wire[place : place + 1])
        self.assertLess(Searched.work, 16 * len(wire))
        self.assertLess(sum(judged), 2 * len(wire))

    def test_longLine(self) -> None:
        """
        One line that does not end is not judged again for each byte.
        """
        codec = self.codec()
        with patch("meshproxy.codec.http1.receiver.matchFields") as judge:
            for _ in range(5000):
                codec.receiveData(b"G")
        self.assertEqual(judge.call_count, 0)
        self.assertLess(Searched.work, 16 * 5000)

    def test_chunkLines(self) -> None:
        """
        A chunk extension or trailer byte by byte is put together once.
        """
        codec, sink = downstream(maxChunkExtensionBytes=5000)
        codec.receiveData(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        with patch("meshproxy.codec.http1.chunked.matchChunkLine", side_effect=matchChunkLine) as match:
            for byte in b"1;" + b"x" * 4000 + b"\r\nz\r\n0\r\na: " + b"b" * 4000 + b"\r\n\r\n":
                codec.receiveData(bytes([byte]))
        self.assertEqual((match.call_count, sink.transcript[-1]), (2, ("data", b"z", True)))


class TerminalTests(CodecTestCase):
    """
    After an error.
    """

    def test_failsTheSameWay(self) -> None:
        """
        Whatever comes then fails the same way, and nothing is kept.
        """
        codec, sink = downstream()
        first = self.assertRaises(RemoteProtocolError, codec.receiveData, b"GET / HTTP/1.1\r\nA : b\r\n\r\n")
        for data in (b"x", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"):
            again = self.assertRaises(RemoteProtocolError, codec.receiveData, data)
            self.assertEqual((again.why, again.statusHint, again.details), (first.why, first.statusHint, first.details))
        self.assertEqual((sink.transcript, codec.bufferedBytes), ([], 0))
        codec.receiveData(b"")

    def test_sinkThatFails(self) -> None:
        """
        An exception of the sink is the sink's: it comes out, and the codec is where it was.
        """
        codec, sink = downstream()

        def during(name: str) -> None:
            raise ZeroDivisionError

        sink.during = during
        self.assertRaises(ZeroDivisionError, codec.receiveData, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        codec.receiveData(b"GET")
        self.assertEqual(codec.bufferedBytes, 3)
