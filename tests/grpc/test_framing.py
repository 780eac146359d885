"""
Tests for L{meshproxy.grpc.framing}.
"""

from __future__ import annotations

import gzip
import random
from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.grpc.framing import FrameCounter, MessageReader, encodeFrame
from meshproxy.grpc.status import GRPCError, Status


def compressed(message: bytes) -> bytes:
    """
    A message as gzip has it, in its frame.
    """
    packed = gzip.compress(message)
    return b"\1" + len(packed).to_bytes(4, "big") + packed


class MessageReaderTests(SynchronousTestCase):
    """
    L{MessageReader} finds messages, however the bytes come.
    """

    messages = [b"", b"a", b"hello" * 10, b"\0" * 300]

    def read(self, pieces: Sequence[bytes], encoding: bytes = b"identity") -> list[bytes]:
        """
        The messages in some pieces.
        """
        reader = MessageReader(1000, encoding)
        found = [message for piece in pieces for message in reader.receiveData(piece)]
        self.assertTrue(reader.isEmpty)
        return found

    def test_everySplit(self) -> None:
        """
        Whole, cut in two at every place, byte by byte.
        """
        wire = b"".join(map(encodeFrame, self.messages))
        for cut in range(len(wire) + 1):
            self.assertEqual(self.read([wire[:cut], wire[cut:]]), self.messages)
        self.assertEqual(self.read([wire[i : i + 1] for i in range(len(wire))]), self.messages)

    def test_gzip(self) -> None:
        """
        Compressed messages among others, at every split.
        """
        wire = compressed(b"one" * 50) + encodeFrame(b"two") + compressed(b"")
        for cut in range(len(wire) + 1):
            self.assertEqual(self.read([wire[:cut], wire[cut:]], b"gzip"), [b"one" * 50, b"two", b""])

    def refused(self, wire: bytes, encoding: bytes = b"identity") -> Status:
        """
        The status with which bytes are refused, whole and byte by byte, and then again.
        """
        statuses: set[Status] = set()
        for pieces in ([wire], [wire[i : i + 1] for i in range(len(wire))]):
            reader = MessageReader(1000, encoding)
            for _ in range(2):
                with self.assertRaises(GRPCError) as raised:
                    for piece in pieces:
                        reader.receiveData(piece)
                statuses.add(raised.exception.status)
        self.assertEqual(len(statuses), 1)
        found: Status = statuses.pop()
        return found

    def test_tooLong(self) -> None:
        """
        A message that is longer than allowed is refused by its length, before it comes.
        """
        self.assertEqual(self.refused(b"\0\xff\xff\xff\xff"), Status.RESOURCE_EXHAUSTED)
        self.assertEqual(self.read([encodeFrame(b"x" * 1000)]), [b"x" * 1000])
        self.assertEqual(self.refused(encodeFrame(b"x" * 1001)), Status.RESOURCE_EXHAUSTED)

    def test_bomb(self) -> None:
        """
        A small message that unpacks to a large one is refused without unpacking all of it.
        """
        self.assertEqual(self.refused(compressed(b"\0" * 100_000), b"gzip"), Status.RESOURCE_EXHAUSTED)

    def test_wrongCompression(self) -> None:
        """
        Compression that nobody named, or that is none, is refused.
        """
        self.assertEqual(self.refused(compressed(b"a")), Status.INTERNAL)
        self.assertEqual(self.refused(b"\1\0\0\0\1x", b"gzip"), Status.INTERNAL)
        self.assertEqual(self.refused(b"\1\0\0\0\0", b"gzip"), Status.INTERNAL)
        self.assertEqual(self.refused(b"\2\0\0\0\0"), Status.INTERNAL)

    def test_garbage(self) -> None:
        """
        Whatever comes, nothing but L{GRPCError} is raised.
        """
        chance = random.Random(3)
        for _ in range(500):
            reader = MessageReader(1000, b"gzip")
            wire = bytearray(compressed(b"one" * 20) + encodeFrame(b"two") * 3)
            for _ in range(chance.randint(1, 5)):
                wire[chance.randrange(len(wire))] = chance.randrange(256)
            try:
                while wire:
                    size = chance.randint(1, 20)
                    reader.receiveData(bytes(wire[:size]))
                    del wire[:size]
            except GRPCError:
                pass


class FrameCounterTests(SynchronousTestCase):
    """
    L{FrameCounter} counts messages that it does not keep.
    """

    wire = b"".join(map(encodeFrame, (b"", b"a", b"hello" * 10)))
    end = b"\2\0\0\0\3end"

    def count(self, pieces: Sequence[bytes]) -> tuple[int, bytes | None]:
        """
        How many messages some pieces hold, and their end.
        """
        counter = FrameCounter(endFlag=2)
        told = sum(counter.receiveData(piece) for piece in pieces)
        self.assertEqual(told, counter.count)
        return told, counter.end

    def test_everySplit(self) -> None:
        """
        Whole, cut in two at every place, byte by byte; what comes after the end does not count.
        """
        wire = self.wire + self.end + encodeFrame(b"more")
        for cut in range(len(wire) + 1):
            self.assertEqual(self.count([wire[:cut], wire[cut:]]), (3, b"end"))
        self.assertEqual(self.count([wire[i : i + 1] for i in range(len(wire))]), (3, b"end"))

    def test_begun(self) -> None:
        """
        A message counts from its first byte on; an end that is not whole is none.
        """
        self.assertEqual(self.count([self.wire, b"\0"]), (4, None))
        self.assertEqual(self.count([self.wire, self.end[:-1]]), (3, None))
        self.assertEqual(self.count([self.wire, self.end[:3]]), (3, None))

    def test_noEnd(self) -> None:
        """
        Where no flag means the end, all are messages.
        """
        counter = FrameCounter()
        self.assertEqual(counter.receiveData(self.wire + self.end * 2), 5)
        self.assertEqual(counter.end, None)

    def test_longEnd(self) -> None:
        """
        An end that is too long to be one is not kept.
        """
        size = 1 << 20
        self.assertEqual(self.count([b"\2" + size.to_bytes(4, "big"), *[bytes(1024)] * 1024]), (0, None))
