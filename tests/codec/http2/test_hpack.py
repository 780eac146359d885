"""
HPACK: the examples of RFC 7541, its errors, and round trips with the package C{hpack}.
"""

from __future__ import annotations

from random import Random

import hpack
from hpack.table import HeaderTable
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.codec.http2.hpack import STATIC_TABLE, Decoder, Encoder, Field
from meshproxy.errors import RemoteProtocolError
from tests.codec.http2.frames import block

# RFC 7541, C.3 and C.4 (requests), without and with Huffman coding.
_FIRST = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"www.example.com")]
_SECOND = [*_FIRST, (b"cache-control", b"no-cache")]
_THIRD = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":path", b"/index.html"),
    (b":authority", b"www.example.com"),
    (b"custom-key", b"custom-value"),
]
REQUESTS = [
    [
        ("828684410f7777772e6578616d706c652e636f6d", _FIRST),
        ("828684be58086e6f2d6361636865", _SECOND),
        ("828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565", _THIRD),
    ],
    [
        ("828684418cf1e3c2e5f23a6ba0ab90f4ff", _FIRST),
        ("828684be5886a8eb10649cbf", _SECOND),
        ("828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf", _THIRD),
    ],
]

# C.5 and C.6 (responses) with a table of 256 bytes, so that entries are evicted.
_DATE1 = b"Mon, 21 Oct 2013 20:13:21 GMT"
_DATE2 = b"Mon, 21 Oct 2013 20:13:22 GMT"
_LOCATION = (b"location", b"https://www.example.com")
_PRIVATE = (b"cache-control", b"private")
_COOKIE = b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"
_ANSWERS = [
    [(b":status", b"302"), _PRIVATE, (b"date", _DATE1), _LOCATION],
    [(b":status", b"307"), _PRIVATE, (b"date", _DATE1), _LOCATION],
    [
        (b":status", b"200"),
        _PRIVATE,
        (b"date", _DATE2),
        _LOCATION,
        (b"content-encoding", b"gzip"),
        (b"set-cookie", _COOKIE),
    ],
]
RESPONSES = [
    [
        "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a2f2f77"
        "77772e6578616d706c652e636f6d",
        "4803333037c1c0bf",
        "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b48514b425a"
        "584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
    ],
    [
        "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
        "4883640effc1c0bf",
        "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f36"
        "72c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
    ],
]


class StaticTableTests(SynchronousTestCase):
    """
    L{STATIC_TABLE}.
    """

    def test_entries(self) -> None:
        """
        It has the entries that the package C{hpack} has.
        """
        self.assertEqual(STATIC_TABLE, tuple(HeaderTable.STATIC_TABLE))


class DecoderTests(SynchronousTestCase):
    """
    L{Decoder}.
    """

    def test_literals(self) -> None:
        """
        RFC 7541, C.2: one field, in each representation.
        """
        for coded, field in (
            ("400a637573746f6d2d6b65790d637573746f6d2d686561646572", (b"custom-key", b"custom-header")),
            ("040c2f73616d706c652f70617468", (b":path", b"/sample/path")),
            ("100870617373776f726406736563726574", (b"password", b"secret")),
            ("82", (b":method", b"GET")),
        ):
            self.assertEqual(Decoder().decode(bytes.fromhex(coded)), [field])

    def test_requests(self) -> None:
        """
        RFC 7541, C.3 and C.4.
        """
        for sequence in REQUESTS:
            decoder = Decoder()
            for coded, fields in sequence:
                self.assertEqual(decoder.decode(bytes.fromhex(coded)), fields)

    def test_responses(self) -> None:
        """
        RFC 7541, C.5 and C.6.
        """
        for sequence in RESPONSES:
            decoder = Decoder(256)
            for coded, fields in zip(sequence, _ANSWERS, strict=True):
                self.assertEqual(decoder.decode(bytes.fromhex(coded)), fields)

    def test_cut(self) -> None:
        """
        A section cut anywhere but between fields is refused, and never anything else raised.
        """
        whole = bytes.fromhex(REQUESTS[1][0][0])
        for cut in range(len(whole)):
            try:
                fields = Decoder().decode(whole[:cut])
            except RemoteProtocolError as error:
                self.assertEqual(error.h2Code, 9)
            else:
                self.assertEqual(fields, _FIRST[: len(fields)])
                self.assertLess(cut, 4)

    def test_wrong(self) -> None:
        """
        Indexes beyond the tables, integers without end, size updates out of place or too large.
        """
        for coded in (b"\x80", b"\xbe", b"\xff\xff\xff\xff\xff\xff\x0f", b"\x82\x20", b"\x3f\xe2\x1f", b"\x40\x01a"):
            with self.assertRaises(RemoteProtocolError) as caught:
                Decoder().decode(coded)
            self.assertEqual(caught.exception.h2Code, 9)

    def test_version(self) -> None:
        """
        The version stays where a section left the table alone, and changes with each change.
        """
        decoder = Decoder()
        decoder.decode(block([(b"a", b"b")]) + b"\x82")
        self.assertEqual(decoder.version, 0)
        decoder.decode(block([(b"a", b"b")], 0x40))
        self.assertEqual(decoder.version, 1)
        decoder.decode(b"\xbe")
        self.assertEqual(decoder.version, 1)
        decoder.decode(b"\x20\x82")
        self.assertEqual(decoder.version, 2)
        self.assertRaises(RemoteProtocolError, decoder.decode, b"\xbe")

    def test_tooLargeForTheTable(self) -> None:
        """
        RFC 7541, 4.4: an entry larger than the table empties it.
        """
        decoder = Decoder(64)
        decoder.decode(block([(b"a", b"b")], 0x40))
        decoder.decode(block([(b"a", b"b" * 40)], 0x40))
        self.assertRaises(RemoteProtocolError, decoder.decode, b"\xbe")

    def test_apart(self) -> None:
        """
        A section that looks at nothing in the table is remembered, and still fills the table each time: what comes
        between finds the entries where another decoder, that never saw a section twice, has them.
        """
        # ":status: 200" of the static table; "server: x" and "date: y" into the dynamic one.
        filling = bytes.fromhex("88760178610179")
        fields = [(b":status", b"200"), (b"server", b"x"), (b"date", b"y")]
        decoder, other = Decoder(tableSize=200), Decoder(tableSize=200)
        for turn in range(8):
            self.assertEqual(decoder.decode(filling), fields)
            other._apart.clear()
            self.assertEqual(other.decode(filling), fields)
            self.assertEqual(decoder._entries, other._entries)
            # The newest entries, and one that another section put there meanwhile.
            self.assertEqual(decoder.decode(b"\xbf\xbe"), [fields[1], fields[2]])
            for each in (decoder, other):
                self.assertEqual(each.decode(b"\x76\x01%d" % turn), [(b"server", b"%d" % turn)])
            self.assertEqual(decoder.decode(b"\xbe\xbf"), [(b"server", b"%d" % turn), fields[2]])
        self.assertIn(filling, decoder._apart)

    def test_apartSettles(self) -> None:
        """
        Where the same section fills the table over and over, each time leaves it as it is in the end: bytes that were
        read with it then mean the same. Anything else that changes it is noticed.
        """
        filling = [bytes.fromhex("88760178610179"), bytes.fromhex("887601786102797a5f017a")]
        # The entry put in between is there to be named for a while, and never again.
        between = [b"", b"\xbe", b"\x76\x02ab", b"\x20\x3f\x81\x01", b"\x3f\x20", b"\x76\x7f\x64" + b"a" * 227]
        for size in (0, 40, 100, 200, 333):
            for each in filling:
                for other in between:
                    decoder, plain = Decoder(tableSize=size), Decoder(tableSize=size)
                    steps = [*[each] * 20, other, *[each] * 20, other, filling[0], each, *[each] * 20]
                    for step in steps:
                        outcomes = []
                        for one in (decoder, plain):
                            one._cycleVersion = one._cycleVersion if one is decoder else -1
                            try:
                                outcomes.append(one.decode(step))
                            except RemoteProtocolError as error:
                                outcomes.append([(error.why.encode(), b"")])
                        self.assertEqual(*outcomes)
                        self.assertEqual(decoder._entries, plain._entries)
                        self.assertEqual(decoder._size, plain._size)
                    version = decoder.version
                    decoder.decode(each)
                    self.assertEqual(decoder.version, version)
                    plain.decode(each)
                    self.assertGreater(plain.version, version)

    def test_apartLimits(self) -> None:
        """
        Many such sections, or long ones, do not fill the memory; one over the limits is counted each time.
        """
        decoder = Decoder(maxBytes=100)
        for number in range(500):
            decoder.decode(b"\x76\x04%04d" % number)
        self.assertLess(len(decoder._apart), 100)
        for _ in range(3):
            decoder.decode(b"\x76\x7f\x01" + b"a" * 128)
            self.assertTrue(decoder.overflowed)
        decoder.decode(b"\x76\x01x")
        self.assertFalse(decoder.overflowed)

    def test_sizeUpdates(self) -> None:
        """
        RFC 7541, 4.2: the table's size may be told twice before a section, not over and over.
        """
        decoder = Decoder()
        self.assertEqual(decoder.decode(b"\x20\x3f\xe1\x1f\x82"), [(b":method", b"GET")])
        self.assertRaises(RemoteProtocolError, Decoder().decode, b"\x20\x3f\xe1\x1f\x20\x82")

    def test_overflow(self) -> None:
        """
        What is over the limits is counted, not kept, and the table is right afterwards.
        """
        decoder = Decoder(4096, 100, 3)
        self.assertEqual(len(decoder.decode(block([(b"a", b"b" * 60)], 0x40) + b"\xbe")), 1)
        self.assertTrue(decoder.overflowed)
        self.assertEqual(len(decoder.decode(b"\x82" * 4)), 3)
        self.assertTrue(decoder.overflowed)
        self.assertEqual(decoder.decode(b"\xbe"), [(b"a", b"b" * 60)])
        self.assertFalse(decoder.overflowed)

    def test_bomb(self) -> None:
        """
        One large entry named sixteen thousand times makes no list of sixty megabytes.
        """
        decoder = Decoder()
        fields = decoder.decode(block([(b"a", b"b" * 4000)], 0x40) + b"\xbe" * 16000)
        self.assertTrue(decoder.overflowed)
        self.assertLessEqual(sum(len(name) + len(value) for name, value in fields), 60 * 1024)


class EncoderTests(SynchronousTestCase):
    """
    L{Encoder}.
    """

    def test_secondTime(self) -> None:
        """
        A field enters the table when it comes again, and is one byte after that; one that is unique never does.
        """
        encoder = Encoder()
        sizes = [len(encoder.encode(((b"x-name", b"value"), (b"x-id", b"%d" % number)))) for number in range(4)]
        self.assertGreater(sizes[0], sizes[2])
        self.assertEqual(sizes[2], sizes[3])
        self.assertEqual(sizes[2], 1 + len(block([(b"x-id", b"0")])))

    def test_withoutHuffman(self) -> None:
        """
        Strings are written as they are, if that is asked for, and only then.
        """
        for huffman in (True, False):
            encoder = Encoder(4096, huffman)
            blocks = [encoder.encode(((b"x-name", b"a value"),)) for _ in range(2)]
            self.assertEqual(b"x-name" in blocks[1] and b"a value" in blocks[1], not huffman)
            decoder = Decoder()
            self.assertEqual([decoder.decode(each) for each in blocks], [[(b"x-name", b"a value")]] * 2)

    def test_sensitive(self) -> None:
        """
        RFC 7541, 7.1.3: credentials are never indexed.
        """
        encoder = Encoder()
        for _ in range(3):
            coded = encoder.encode(((b"authorization", b"secret"),))
            self.assertEqual(coded[0] & 0xF0, 0x10)

    def test_smallerTable(self) -> None:
        """
        A peer that allows less is told so in the next section, the smallest size first (RFC 7541, 4.2).
        """
        encoder = Encoder()
        encoder.peerAllows(0)
        encoder.peerAllows(100)
        self.assertEqual(encoder.encode(((b":method", b"GET"),)), b"\x20\x3f\x45\x82")
        self.assertEqual(encoder.encode(((b":method", b"GET"),)), b"\x82")

    def test_roundTrips(self) -> None:
        """
        The package C{hpack} reads what this writes, and this what that writes, through changes of the table's size.
        """
        random = Random(1)
        ours, theirs = Encoder(), hpack.Encoder()
        readOurs, readTheirs = hpack.Decoder(), Decoder()
        names = [b"x-%d" % number for number in range(20)] + [b"date", b"cookie", b":status"]
        for _ in range(2000):
            fields: tuple[Field, ...] = tuple(
                (random.choice(names), b"v%d" % random.randrange(12) * random.randrange(20))
                for _ in range(random.randrange(8))
            )
            if random.random() < 0.02:
                readOurs.max_allowed_table_size = size = random.randrange(4096)
                ours.peerAllows(size)
                theirs.header_table_size = random.randrange(4096)
            read = readOurs.decode(ours.encode(fields), raw=True)
            self.assertEqual([(bytes(name), bytes(value)) for name, value in read], list(fields))
            self.assertEqual(readTheirs.decode(theirs.encode(list(fields))), list(fields))
