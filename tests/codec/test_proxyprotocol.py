"""
L{meshproxy.codec.proxyprotocol}.
"""

from __future__ import annotations

import random
import struct

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.codec.proxyprotocol import (
    LONGEST_HEADER,
    ProxyHeader,
    encodeV1,
    encodeV2,
    mayBegin,
    parseProxyHeader,
    versionOf,
)
from meshproxy.errors import ProtocolError, RemoteProtocolError

SOURCE, DESTINATION = ("192.0.2.1", 56324), ("198.51.100.2", 443)
SOURCE6, DESTINATION6 = ("2001:db8::1", 56324), ("2001:db8::2", 443)
V1 = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
ADDRESSES = bytes([192, 0, 2, 1, 198, 51, 100, 2]) + struct.pack("!HH", 56324, 443)


def v2(rest: bytes = ADDRESSES, command: int = 0x21, family: int = 0x11, length: int | None = None) -> bytes:
    """
    A header of version 2.
    """
    size = len(rest) if length is None else length
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", size) + rest


def tlv(kind: int, value: bytes, length: int | None = None) -> bytes:
    """
    A TLV, with a length of its own or the right one.
    """
    return bytes([kind]) + struct.pack("!H", len(value) if length is None else length) + value


class ParseTests(SynchronousTestCase):
    """
    Headers as they should be.
    """

    def test_everySplit(self) -> None:
        """
        Until a header is whole more is asked for, and what follows is left alone.
        """
        wires = [
            V1,
            b"PROXY UNKNOWN\r\n",
            v2(),
            v2(ADDRESSES + tlv(1, b"h2")),
            v2(b"", 0x20, 0),
            v2(b"left aside", 0x20),
        ]
        for wire in wires:
            for cut in range(len(wire)):
                self.assertIsNone(parseProxyHeader(wire[:cut]), wire[:cut])
            found = parseProxyHeader(wire + b"rest")
            assert found is not None
            self.assertEqual(found.size, len(wire))
            self.assertEqual(found, parseProxyHeader(wire))

    def test_v1(self) -> None:
        """
        Both families, and a client that nothing is known of.
        """
        self.assertEqual(parseProxyHeader(V1), ProxyHeader(1, len(V1), SOURCE, DESTINATION))
        line = b"PROXY TCP6 2001:db8::1 2001:DB8:0::2 56324 443\r\n"
        self.assertEqual(parseProxyHeader(line), ProxyHeader(1, len(line), SOURCE6, DESTINATION6))
        mapped = parseProxyHeader(b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c633:6402 1 0\r\n")
        assert mapped is not None
        self.assertEqual((mapped.source, mapped.destination), (("::ffff:192.0.2.1", 1), ("::ffff:198.51.100.2", 0)))
        self.assertEqual(parseProxyHeader(b"PROXY UNKNOWN what ever\r\n"), ProxyHeader(1, 25))

    def test_v2(self) -> None:
        """
        Both families, streams and datagrams, and the sender's own connections.
        """
        self.assertEqual(parseProxyHeader(v2()), ProxyHeader(2, 28, SOURCE, DESTINATION))
        self.assertEqual(parseProxyHeader(v2(family=0x12)), ProxyHeader(2, 28, SOURCE, DESTINATION))
        packed = bytes.fromhex("20010db800000000000000000000000120010db8000000000000000000000002")
        wire = v2(packed + struct.pack("!HH", 56324, 443), family=0x21)
        self.assertEqual(parseProxyHeader(wire), ProxyHeader(2, 52, SOURCE6, DESTINATION6))
        self.assertEqual(parseProxyHeader(v2(ADDRESSES, 0x20)), ProxyHeader(2, 28))

    def test_tlvs(self) -> None:
        """
        In their order, empty ones and several of a type among them, to the longest header there is.
        """
        found = parseProxyHeader(v2(ADDRESSES + tlv(1, b"h2") + tlv(2, b"") + tlv(1, b"x")))
        assert found is not None
        self.assertEqual(found.tlvs, ((1, b"h2"), (2, b""), (1, b"x")))
        wire = v2(ADDRESSES + tlv(9, b"x" * (65535 - 15)))
        longest = parseProxyHeader(wire)
        assert longest is not None
        self.assertEqual((longest.size, len(wire)), (LONGEST_HEADER, LONGEST_HEADER))

    def test_begins(self) -> None:
        """
        Which version some bytes are, and which they may become.
        """
        self.assertEqual([versionOf(wire) for wire in (V1, v2(), b"PROXY", b"GET /")], [1, 2, 0, 0])
        self.assertEqual(
            [mayBegin(b"", 1), mayBegin(b"PRO", 1), mayBegin(V1, 1), mayBegin(b"PRx", 1)], [True] * 3 + [False]
        )
        self.assertEqual([mayBegin(b"\r\n", 2), mayBegin(v2(), 2), mayBegin(b"\n", 2)], [True, True, False])


class RefuseTests(SynchronousTestCase):
    """
    Headers as they must not be.
    """

    def test_v1(self) -> None:
        """
        Strictly as section 2.1 has it.
        """
        for words in (
            b"UDP4 192.0.2.1 198.51.100.2 1 2",
            b"TCP4 192.0.2.1 198.51.100.2 1",
            b"TCP4 192.0.2.1 198.51.100.2 1 2 3",
            b" TCP4 192.0.2.1 198.51.100.2 1 2",
            b"TCP4 192.0.2.1 198.51.100.2 1 2 ",
            b"TCP4 192.0.2.1 198.51.100.2 1 70000",
            b"TCP4 192.0.2.1 198.51.100.2 1 0080",
            b"TCP4 192.0.2.1 198.51.100.2 1 +8",
            b"TCP4 192.0.2.1 198.51.100.2 1 -8",
            b"TCP4 192.0.2.1 198.51.100.2 1 \xd9\xa1",
            b"TCP4 192.0.2.1 198.51.100.2  2",
            b"TCP4 ::1 ::2 1 2",
            b"TCP6 192.0.2.1 198.51.100.2 1 2",
            b"TCP6 fe80::1%lo fe80::2 1 2",
            b"TCP6 [2001:db8::1] [2001:db8::2] 1 2",
            b"TCP4 a.example 198.51.100.2 1 2",
            b"TCP4 0192.0.2.1 198.51.100.2 1 2",
            b"TCP4 224.0.0.1 198.51.100.2 1 2",
            b"TCP4 192.0.2.1 255.255.255.255 1 2",
            b"TCP4 0.0.0.0 198.51.100.2 1 2",
            b"TCP6 :: 2001:db8::2 1 2",
            b"TCP6 ff02::1 2001:db8::2 1 2",
            b"",
            b"UNKNOWNX",
        ):
            self.assertRaises(RemoteProtocolError, parseProxyHeader, b"PROXY " + words + b"\r\n")

    def test_longLine(self) -> None:
        """
        A line ends within 108 bytes.
        """
        self.assertIsNotNone(parseProxyHeader(b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n"))
        self.assertIsNone(parseProxyHeader(b"PROXY UNKNOWN " + b"x" * 93))
        self.assertRaises(RemoteProtocolError, parseProxyHeader, b"PROXY UNKNOWN " + b"x" * 94)
        self.assertRaises(RemoteProtocolError, parseProxyHeader, b"PROXY UNKNOWN " + b"x" * 93 + b"\r\n")

    def test_v2(self) -> None:
        """
        Versions, commands, families and lengths that do not fit.
        """
        for wire in (
            v2(command=0x31),
            v2(command=0x22),
            v2(family=0x00),
            v2(family=0x31, rest=b"x" * 216),
            v2(family=0x10),
            v2(family=0x13),
            v2(length=11),
            v2(family=0x21),
            v2(b"\xe0" + ADDRESSES[1:]),
            v2(b"\0\0\0\0" + ADDRESSES[4:]),
        ):
            self.assertRaises(RemoteProtocolError, parseProxyHeader, wire)

    def test_tlvLength(self) -> None:
        """
        A TLV whose length does not fit what the header says is left is refused, by one byte as well as by many: what
        belongs to the header and what to the connection is never guessed (CVE-2026-47692).
        """
        for tail in (tlv(1, b"ab", 3), tlv(1, b"ab", 65535), tlv(1, b"a") + b"\2", tlv(1, b"a") + b"\2\0", b"\1\0"):
            self.assertRaises(RemoteProtocolError, parseProxyHeader, v2(ADDRESSES + tail) + b"more of the connection")
        # With a shorter one, the rest is read as the next TLV, and that does not fit.
        self.assertRaises(RemoteProtocolError, parseProxyHeader, v2(ADDRESSES + tlv(1, b"ab", 1)))

    def test_others(self) -> None:
        """
        What is no header is refused with its first wrong byte.
        """
        for start in (b"G", b"proxy", b"PROXYT", b"\r\n\r\n\0\r\nQUIT\r", b"\n"):
            self.assertRaises(RemoteProtocolError, parseProxyHeader, start)

    def test_mutations(self) -> None:
        """
        Whatever bytes come, there is an answer, or nothing but a L{ProtocolError}; a header is never longer than what
        came.
        """
        chance = random.Random(7)
        samples = [V1, v2(), v2(ADDRESSES + tlv(1, b"h2") + tlv(4, b"")), v2(b"abc", 0x20), b"PROXY UNKNOWN\r\n"]
        outcomes: set[type] = set()
        for number in range(8000):
            wire = bytearray(samples[number % len(samples)])
            for _ in range(chance.randint(1, 3)):
                place = chance.randrange(len(wire))
                action = chance.randrange(3)
                if action == 0:
                    wire[place] = chance.randrange(256)
                elif action == 1 and len(wire) > 4:
                    del wire[place : place + 2]
                else:
                    wire[place:place] = chance.randbytes(2)
            data = bytes(wire[: chance.randint(0, 2 * len(wire))])
            try:
                found = parseProxyHeader(data)
            except ProtocolError:
                outcomes.add(ProtocolError)
            else:
                outcomes.add(type(found))
                if found is not None:
                    self.assertLessEqual(found.size, len(data))
        self.assertEqual(outcomes, {type(None), ProxyHeader, ProtocolError})


class EncodeTests(SynchronousTestCase):
    """
    Headers that are written.
    """

    def test_v1(self) -> None:
        """
        What is written is what is read; ends that cannot be told are unknown.
        """
        self.assertEqual(encodeV1(SOURCE, DESTINATION), V1)
        found = parseProxyHeader(encodeV1(SOURCE6, DESTINATION6))
        assert found is not None
        self.assertEqual((found.source, found.destination), (SOURCE6, DESTINATION6))
        for source, destination in ((None, None), (SOURCE, DESTINATION6)):
            self.assertEqual(encodeV1(source, destination), b"PROXY UNKNOWN\r\n")

    def test_v2(self) -> None:
        """
        What is written is what is read, TLVs too.
        """
        tlvs = ((1, b"h2"), (4, b""), (0xE0, b"x" * 300))
        for source, destination in ((SOURCE, DESTINATION), (SOURCE6, DESTINATION6)):
            wire, left = encodeV2(source, destination, tlvs)
            self.assertEqual(left, [])
            self.assertEqual(parseProxyHeader(wire), ProxyHeader(2, len(wire), source, destination, tlvs))
        self.assertEqual(parseProxyHeader(encodeV2(None, None, tlvs)[0]), ProxyHeader(2, 16))

    def test_mixed(self) -> None:
        """
        Ends of two families are both written as IPv6.
        """
        found = parseProxyHeader(encodeV2(SOURCE, DESTINATION6)[0])
        assert found is not None
        self.assertEqual((found.source, found.destination), (("::ffff:192.0.2.1", 56324), DESTINATION6))

    def test_tooMany(self) -> None:
        """
        TLVs that do not fit are left out whole, and the length is that of what is left in: no byte of them reaches the
        connection (CVE-2026-47692).
        """
        for size in (65535 - 12 - 3, 65535 - 12 - 3 - 4, 40000):
            wire, left = encodeV2(SOURCE, DESTINATION, [(1, b"a" * size), (2, b"b" * 40000), (3, b"c")])
            found = parseProxyHeader(wire)
            assert found is not None
            self.assertEqual(found.size, len(wire))
            self.assertEqual(len(wire) - 16, int.from_bytes(wire[14:16], "big"))
            self.assertIn((2, b"b" * 40000), left)
            self.assertEqual(sorted([*found.tlvs, *left]), [(1, b"a" * size), (2, b"b" * 40000), (3, b"c")])
