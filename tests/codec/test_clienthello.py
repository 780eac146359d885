"""
L{meshproxy.codec.clienthello}.
"""

from __future__ import annotations

import random
import ssl
from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.codec.clienthello import ClientHello, ClientHelloParser, ja3, ja4, parseClientHello
from meshproxy.errors import ProtocolError, RemoteProtocolError
from tests.codec.hellos import COMMON, alpn, extension, hello, message, records, serverName, versions

WIRE = hello(b"A.Example", [b"h2", b"http/1.1"])


def realHello(name: str, *protocols: str) -> bytes:
    """
    What OpenSSL sends.
    """
    context = ssl.create_default_context()
    if protocols:
        context.set_alpn_protocols(list(protocols))
    read, write = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(read, write, server_hostname=name)
    try:
        session.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return write.read()


class _CountedBytes:
    """
    Bytes that come bit by bit, and count how often they are looked at.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.end = 0
        self.slices = 0

    def __len__(self) -> int:
        return self.end

    def __getitem__(self, place: slice) -> bytes:
        self.slices += 1
        return self._data[: self.end][place]


class ParseTests(SynchronousTestCase):
    """
    What is read.
    """

    def parsed(self, wire: bytes) -> ClientHello:
        """
        A whole one.
        """
        found = parseClientHello(wire)
        assert found is not None
        return found

    def test_fields(self) -> None:
        """
        Each field that chains, logs and fingerprints are made of.
        """
        self.assertEqual(
            self.parsed(WIRE),
            ClientHello(
                0x0303,
                "a.example",
                ("h2", "http/1.1"),
                (0x1301, 0x1302, 0xC02B, 0xC02F),
                (0, 16, 10, 11, 13),
                (),
                (0x1D, 0x17),
                (0,),
                (0x0403, 0x0804, 0x0401),
            ),
        )
        self.assertEqual(self.parsed(hello(b"", (), (), versions(0x0304, 0x0303))).versions, (0x0304, 0x0303))

    def test_openSSL(self) -> None:
        """
        What a real client sends.
        """
        found = self.parsed(realHello("service.example", "h2"))
        self.assertEqual((found.serverName, found.applicationProtocols), ("service.example", ("h2",)))
        self.assertIn(0x0304, found.versions)
        self.assertEqual(self.parsed(realHello("service.example")).applicationProtocols, ())

    def test_everyCut(self) -> None:
        """
        Until all is there more is asked for, at every cut; what follows is nobody's business.
        """
        for cut in range(len(WIRE)):
            self.assertIsNone(parseClientHello(WIRE[:cut]), cut)
        self.assertEqual(self.parsed(WIRE + b"more"), self.parsed(WIRE))

    def test_everyFragmentation(self) -> None:
        """
        Records may cut the message anywhere, in two and into single bytes, and some may be empty; it stays the same,
        so that nobody passes by with an unusual cut.
        """
        whole = message(serverName(b"a.example"), COMMON)
        expected = self.parsed(records(whole))
        for cut in range(1, len(whole)):
            self.assertEqual(self.parsed(records(whole, [cut])), expected)
        single = records(whole, [1] * len(whole))
        self.assertEqual(self.parsed(single), expected)
        for cut in range(len(single)):
            self.assertIsNone(parseClientHello(single[:cut]))
        self.assertEqual(self.parsed(records(whole, [0, 5, 0, 0, 7])), expected)

    def test_parser(self) -> None:
        """
        A parser that is shown ever more finds the same, and looks at each record once: a hello in thousands of
        records that come one by one costs no more than their number.
        """
        whole = message(serverName(b"a.example"), COMMON, extension(21, b"\0" * 2000))
        wire = records(whole, [1] * len(whole))
        parser = ClientHelloParser()
        shown = _CountedBytes(wire)
        found = None
        for end in range(0, len(wire) + 1, 6):
            shown.end = end
            found = parser.look(shown)  # type: ignore[arg-type]  # as much of bytes as is needed
        self.assertEqual(found, self.parsed(wire))
        self.assertLess(shown.slices, 4 * len(whole))

    def test_emptyRecords(self) -> None:
        """
        Empty records do not go on for ever.
        """
        whole = message(serverName(b"a.example"), COMMON)
        self.assertEqual(self.parsed(records(whole, [5] + [0] * 32)).serverName, "a.example")
        self.assertRaises(RemoteProtocolError, parseClientHello, records(whole, [5] + [0] * 33))

    def test_withoutExtensions(self) -> None:
        """
        TLS 1.0 had none.
        """
        self.assertEqual(self.parsed(records(message())).extensions, ())

    def test_badALPN(self) -> None:
        """
        A broken list of protocols is for TLS to refuse, as in Envoy; it counts as none.
        """
        for broken in (alpn(b"h2", b""), extension(16, b"\0\5\2h"), extension(16, b""), extension(16, b"\0\0\0")):
            self.assertEqual(self.parsed(records(message(broken, COMMON))).applicationProtocols, ())


class RefuseTests(SynchronousTestCase):
    """
    What is no C{ClientHello}.
    """

    def test_atOnce(self) -> None:
        """
        What cannot become one is refused with its first wrong byte.
        """
        for start in (b"G", b"\x15", b"\x17", b"\x80", b"\x16\x02", b"\x16\3\1\x7f\0", b"\x16\3\1\0\5\2"):
            self.assertRaises(RemoteProtocolError, parseClientHello, start)

    def test_message(self) -> None:
        """
        Lengths that do not fit, lists that are empty, extensions that are there twice.
        """
        wrong = [
            message(COMMON, tail=b"x"),
            message(COMMON, ciphers=b""),
            message(COMMON, ciphers=b"\x13\x01\x13"),
            message(COMMON, session=b"s" * 33),
            message(COMMON, compressions=b""),
            message(serverName(b"a"), serverName(b"a")),
            message(serverName(b"a", 1)),
            message(serverName(b"")),
            message(serverName(b"a\0b")),
            message(serverName(b"a" * 256)),
            message(extension(0, b"\0\4\0\0\2a")),
            message(extension(0, b"")),
            message(versions()),
            message(extension(43, b"\3\3\4\3")),
            message(extension(10, b"\0\1\0")),
            b"\1\0\0\0",
            b"\1\x7f\0\0" + b"x" * 100,
        ]
        for each in wrong:
            self.assertRaises(RemoteProtocolError, parseClientHello, records(each))

    def test_mutations(self) -> None:
        """
        Whatever bytes come, there is an answer, or nothing but a L{ProtocolError}.
        """
        chance = random.Random(20)
        samples = [WIRE, hello(b"a.example", [b"h2"], [1, 2, 3]), realHello("a.example", "h2")]
        outcomes: set[type] = set()
        for number in range(6000):
            wire = bytearray(samples[number % len(samples)])
            for _ in range(chance.randint(1, 4)):
                place = chance.randrange(len(wire))
                action = chance.randrange(3)
                if action == 0:
                    wire[place] = chance.randrange(256)
                elif action == 1:
                    del wire[place : place + chance.randint(1, 5)]
                else:
                    wire[place:place] = chance.randbytes(chance.randint(1, 5))
            try:
                found = parseClientHello(bytes(wire[: chance.randint(0, 2 * len(wire))]))
                outcomes.add(type(found))
                if found is not None:
                    ja3(found)
                    ja4(found)
            except ProtocolError:
                outcomes.add(ProtocolError)
        self.assertEqual(outcomes, {type(None), ClientHello, ProtocolError})


class FingerprintTests(SynchronousTestCase):
    """
    JA3 and JA4, the values as real Envoy computes them.
    """

    def test_known(self) -> None:
        """
        One that Envoy gave.
        """
        found = parseClientHello(WIRE)
        assert found is not None
        self.assertEqual(ja3(found), "680ad602be3e29093fdfef98979b8373")
        self.assertEqual(ja4(found), "t12d0405h2_e00fd9ffaebd_38660d1a2b28")

    def test_grease(self) -> None:
        """
        What clients put in at random changes nothing (RFC 8701).
        """
        plain = ClientHello(0x0303, ciphers=(0x1301,), extensions=(10,), versions=(0x0304,), groups=(0x1D,))
        greased = replace(
            plain,
            ciphers=(0x0A0A, 0x1301),
            extensions=(0x1A1A, 10, 0xFAFA),
            versions=(0x2A2A, 0x0304),
            groups=(0xDADA, 0x1D),
        )
        self.assertEqual((ja3(greased), ja4(greased)), (ja3(plain), ja4(plain)))

    def test_edges(self) -> None:
        """
        No ciphers, no extensions, protocols that are no letters, versions that nobody knows.
        """
        self.assertEqual(ja4(ClientHello(0x0303)), "t12i000000_000000000000_000000000000")
        odd = ClientHello(0x9999, applicationProtocols=("\xaa\xbb",))
        self.assertEqual(ja4(odd), "t00i0000ab_000000000000_000000000000")
