"""
Tests of L{meshproxy.codec.http2.shapes}: a codec that takes heads from memory tells the same as one that does not.
"""

from __future__ import annotations

import random
from typing import Any
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.codec.http1.interfaces import UnderscoreAction
from meshproxy.codec.http2 import DownstreamCodec
from meshproxy.codec.http2.huffman import huffmanEncode
from meshproxy.codec.http2.shapes import cut
from meshproxy.errors import RemoteProtocolError
from tests.codec.http2.frames import block, headers, integer
from tests.codec.http2.helpers import downstream

KEPT = [(b":authority", b"test"), (b"accept", b"*/*"), (b"x-kept", b"1"), (b"cookie", b"a=1"), (b"cookie", b"b=2")]

# GET, http and the authority, and what else of KEPT is in the dynamic table.
INDEXES = b"\x82\x86\xc2"
REST = b"\xc1\xc0\xbf\xbe"


def literal(head: bytes, value: bytes, coded: bool = False) -> bytes:
    """
    A literal whose name has an index.
    """
    if coded:
        value = huffmanEncode(value)
    return head + integer(len(value), 127, 0x80 if coded else 0) + value


def path(value: bytes, coded: bool = False) -> bytes:
    """
    A path that is not to be indexed.
    """
    return literal(b"\x04", value, coded)


class ShapesTests(SynchronousTestCase):
    """
    Heads that differ in their literals only.
    """

    def codec(self, hasShapes: bool = True, **options: Any) -> tuple[DownstreamCodec, list[Any]]:
        """
        A codec that has seen enough to know shapes, if it may.
        """
        codec, sink, _ = downstream(**options)
        codec.receiveData(headers(1, b"\x82\x86\x84" + block(KEPT, 0x40)))
        if not hasShapes:
            self.patch(codec, "_remember", lambda *args: None)
        return codec, sink.transcript

    def tell(self, blocks: list[bytes], hasShapes: bool, endStream: bool = True, **options: Any) -> list[Any]:
        """
        What a codec tells of these sections, and with what it fails.
        """
        codec, transcript = self.codec(hasShapes, **options)
        for number, each in enumerate(blocks):
            try:
                codec.receiveData(headers(3 + 2 * number, each, endStream))
            except RemoteProtocolError as error:
                return [transcript, error.why, error.details, error.h2Code]
        return [transcript, codec.dataToSend()]

    def assertAlike(self, *blocks: bytes, **options: Any) -> list[Any]:
        """
        Both tell the same.

        @return: What they tell.
        """
        told = self.tell(list(blocks), True, **options)
        self.assertEqual(told, self.tell(list(blocks), False, **options))
        return told

    def test_taken(self) -> None:
        """
        From the third request of a shape on nothing but the literals is looked at, and each has its own head.
        """
        codec, transcript = self.codec()
        made = [INDEXES + path(b"/%d" % n) + literal(b"\x1f\x2b", b"me %d" % n, True) + REST for n in range(5)]
        for number, each in enumerate(made):
            if number == 2:
                self.patch(codec, "_headOf", lambda *args: self.fail("the slow way"))
            codec.receiveData(headers(3 + 2 * number, each, number % 2 == 0))
        for number, told in enumerate(transcript[1:]):
            self.assertEqual(
                told[2],
                [
                    (b":method", b"GET"),
                    (b":scheme", b"http"),
                    (b":authority", b"test"),
                    (b":path", b"/%d" % number),
                    (b"user-agent", b"me %d" % number),
                    (b"accept", b"*/*"),
                    (b"x-kept", b"1"),
                    (b"cookie", b"a=1; b=2"),
                ],
            )
            self.assertEqual(told[3], number % 2 == 0)
        self.assertEqual(len(transcript), 6)

    def test_tableChanged(self) -> None:
        """
        Once the table is another one, the same indexes mean something else.
        """
        usual = [b"\x82\x86" + path(b"/%d" % n) + literal(b"\x01", b"test") + b"\xbe" for n in range(4)]
        told = self.assertAlike(*usual, usual[0] + b"\x40\x01n\x01v", usual[1], usual[2], usual[3])
        self.assertEqual([each[0] for each in told[0]], ["request"] * 9)
        self.assertNotEqual(told[0][1][2][-1], told[0][6][2][-1])

    def test_unusual(self) -> None:
        """
        What is illegal in a literal, over a limit, twice or broken off is refused as ever after any number of usual
        ones.
        """
        agent = b"\x0f\x2b"
        usual = [INDEXES + path(b"/%d" % n) + literal(agent, b"me") for n in range(4)]
        for odd in (
            INDEXES + path(b"/ a") + literal(agent, b"me"),
            INDEXES + path(b"") + literal(agent, b"me"),
            INDEXES + path(b"*") + literal(agent, b"me"),
            INDEXES + path(b"a") + literal(agent, b"me"),
            INDEXES + path(b"/") + literal(agent, b" me"),
            INDEXES + path(b"/") + literal(agent, b"m\ne"),
            INDEXES + path(b"/") + literal(agent, b""),
            INDEXES + path(b"/") + literal(agent, b"m\x00e"),
            INDEXES + path(b"/") + literal(agent, b"x" * 126),
            INDEXES + path(b"/") + literal(agent, b"x" * 127),
            INDEXES + path(b"/" + b"x" * 200) + literal(agent, b"me"),
            INDEXES + path(b"/") + agent,
            INDEXES + path(b"/") + agent + b"\x05abc",
            INDEXES + path(b"/") + agent + b"\x84\xff\xff\xff\xff",
            INDEXES + path(b"/") + agent + b"\x81\x00",
            INDEXES + path(b"/") + literal(agent, b"me") + path(b"/"),
            INDEXES + path(b"/") + literal(agent, b"me") + literal(agent, b"me"),
            INDEXES + path(b"/") + literal(agent, b"me") + b"\xff",
            INDEXES + literal(agent, b"me") + path(b"/"),
        ):
            for options in ({}, {"streamErrorOnInvalidMessage": True}, {"maxHeadBytes": 220}):
                self.assertAlike(*usual, odd, odd, usual[0], **options)

    def test_unusualPaths(self) -> None:
        """
        The same where there is no literal but the path, for which there is a shorter way.
        """
        usual = [INDEXES + path(b"/%d" % n) + REST for n in range(4)]
        for odd in (
            INDEXES + path(b"/ a") + REST,
            INDEXES + path(b"/a", True) + REST,
            INDEXES + path(b"") + REST,
            INDEXES + path(b"*") + REST,
            INDEXES + path(b"a") + REST,
            INDEXES + path(b"/" + b"x" * 125) + REST,
            INDEXES + path(b"/" + b"x" * 126) + REST,
            INDEXES + path(b"/" + b"x" * 200) + REST,
            INDEXES + b"\x04" + REST,
            INDEXES + b"\x04",
            INDEXES + b"\x04\x05/" + REST,
            INDEXES + b"\x04\x01/" + path(b"/") + REST,
            INDEXES + b"\x04\x84\xff\xff\xff\xff" + REST,
            INDEXES + path(b"/") + literal(b"\x0f\x2b", b"me") + REST,
            INDEXES + path(b"/") + REST + b"\xff",
            INDEXES + path(b"/") + REST + b"\x40\x01n\x01v",
            INDEXES[1:] + path(b"/") + REST,
            REST + path(b"/") + INDEXES,
        ):
            for options in ({}, {"streamErrorOnInvalidMessage": True}, {"maxHeadBytes": 160}):
                self.assertAlike(*usual, odd, odd, usual[0], **options)

    def test_shapesInTurn(self) -> None:
        """
        A client whose requests have one shape, then another one, and so on.
        """
        one = [INDEXES + path(b"/%d" % n, True) + REST for n in range(8)]
        other = [INDEXES + path(b"/%d" % n) + literal(b"\x0f\x2b", b"me") + REST for n in range(8)]
        third = [b"\x83" + INDEXES[1:] + path(b"/%d" % n) + REST for n in range(8)]
        self.assertAlike(*(each for group in zip(one, other, third, strict=True) for each in group))

    def test_judged(self) -> None:
        """
        Fields that a head is judged by are judged each time.
        """
        for head, values in (
            (b"\x0f\x0d", (b"0", b"0", b"0", b"5", b"x")),
            (b"\x0f\x17", (b"test", b"test", b"test", b"other", b"test")),
            (b"\x01", (b"test", b"test", b"other", b"a b", b"test")),
            (b"\x02", (b"GET", b"GET", b"PUT", b"CONNECT", b"G T")),
            (b"\x06", (b"http", b"http", b"https", b"0", b"http")),
            (b"\x0f\x30", (b"trailers", b"trailers", b"trailers", b"gzip", b"trailers")),
        ):
            for indexes in (INDEXES, b"\x82\x86\xc2", b"\x86\xc2", b"\x82\xc2", b"\x82\x86"):
                for endStream in (True, False):
                    for order in (0, 1):
                        blocks = [indexes + path(b"/") + literal(head, value) for value in values]
                        if order:
                            blocks = [indexes[:1] + literal(head, value) + indexes[1:] + path(b"/") for value in values]
                        self.assertAlike(*blocks, endStream=endStream, streamErrorOnInvalidMessage=True)

    def test_calls(self) -> None:
        """
        Calls of gRPC, whose C{te} is in the table, differ in path and deadline.
        """
        codec, sink, _ = downstream()
        kept = [(b":authority", b"test"), (b"te", b"trailers"), (b"grpc-timeout", b"9S")]
        codec.receiveData(headers(1, b"\x83\x86\x84" + block(kept, 0x40), False))
        expected = []
        for number in range(6):
            section = b"\x83\x86\xc0" + path(b"/s/%d" % number) + b"\xbf" + literal(b"\x0f\x2f", b"%dS" % number)
            codec.receiveData(headers(3 + 2 * number, section, False))
            expected.append({b":path": b"/s/%d" % number, b"te": b"trailers", b"grpc-timeout": b"%dS" % number})
        self.assertEqual(len(codec._shapes), 1)
        seen = [{name: value for name, value in told[2] if name in expected[0]} for told in sink.transcript[1:]]
        self.assertEqual(seen, expected)

    def test_underscores(self) -> None:
        """
        A name that is dropped is dropped each time.
        """
        for action in UnderscoreAction:
            codec, sink, _ = downstream(underscores=action)
            codec.receiveData(headers(1, b"\x82\x86\x84" + block([(b":authority", b"test"), (b"a_b", b"1")], 0x40)))
            for number in range(4):
                codec.receiveData(headers(3 + 2 * number, b"\x82\x86\xbf" + path(b"/%d" % number) + b"\xbe"))
            self.assertEqual({len(told) for told in sink.transcript[1:]}, {len(sink.transcript[1])})
            if action is not UnderscoreAction.REJECT:
                names = [[name for name, _ in told[2]] for told in sink.transcript]
                self.assertEqual(names[1:], [names[0]] * 4)

    def test_mutated(self) -> None:
        """
        Whatever is changed about a section of a known shape, both tell the same of it.
        """
        draw = random.Random(20)
        alone = INDEXES + path(b"/%d", True) + REST
        others = INDEXES + path(b"/%d", True) + literal(b"\x0f\x2b", b"me") + literal(b"\x13", b"x") + REST
        for number in range(800):
            usual = others if number % 2 else alone
            odd = bytearray(usual)
            for _ in range(draw.randint(1, 3)):
                position = draw.randrange(len(odd))
                action = draw.randrange(3)
                if action == 0:
                    odd[position] = draw.randrange(256)
                elif action == 1:
                    odd[position : position + draw.randint(1, 4)] = b""
                else:
                    odd[position:position] = draw.randbytes(draw.randint(1, 3))
                if not odd:
                    odd += usual
            self.assertAlike(usual, usual, usual, bytes(odd), bytes(odd), usual, streamErrorOnInvalidMessage=True)

    def test_bounded(self) -> None:
        """
        However many shapes there are, few are kept.
        """
        codec, _ = self.codec()
        indexes = list(range(0xBE, 0xC2))
        for number in range(300):
            order = [indexes[number >> shift & 3] for shift in (0, 2, 4, 6)]
            codec.receiveData(headers(3 + 4 * number, b"\x82\x86\xc2" + path(b"/") + bytes(order)))
            codec.receiveData(headers(5 + 4 * number, b"\x82\x86\xc2" + path(b"/a") + bytes(order)))
            for stream in list(codec.streams.values()):
                stream.reset(0)
        self.assertLessEqual(len(codec._shapes), 16)
        self.assertLessEqual(len(codec._once), 64)

    def test_cut(self) -> None:
        """
        Where a section is cut, and which ones are not.
        """
        self.assertEqual(cut(b"\x82\x04\x01/\x86"), (b"\x82\x04\x86", [b"\x01/"]))
        self.assertEqual(cut(b"\x0f\x2b\x00\x1f\x00\x02ab"), (b"\x0f\x2b\x1f\x00", [b"\x00", b"\x02ab"]))
        for wire in (b"", b"\x82", b"\x04\x02/", b"\x44\x01/", b"\x04\x7f\x00" + b"x" * 127, b"\x04\x00" * 5):
            self.assertIsNone(cut(wire))

    def test_forgotten(self) -> None:
        """
        A shape that made room for another one is learned again.
        """
        with patch("meshproxy.codec.http2.downstream._MOST_SHAPES", 1):
            usual = [INDEXES + path(b"/%d" % n) for n in range(4)]
            others = [INDEXES + path(b"/%d" % n) + REST for n in range(4)]
            self.assertAlike(*usual, *others, *usual)
