"""
Sections of requests that are alike.
"""

from __future__ import annotations

from itertools import product
from random import Random

import hpack
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.codec.http2.hpack import Encoder
from meshproxy.codec.http2.messages import requestFields
from meshproxy.codec.http2.requestblocks import RequestBlocks
from meshproxy.errors import LocalProtocolError
from meshproxy.headers import RequestHeaders


def call(*more: tuple[bytes, bytes], path: bytes = b"/s/m") -> RequestHeaders:
    """
    A head.
    """
    return RequestHeaders(b"POST", path, b"a", [(b"te", b"trailers"), *more])


class RequestBlocksTests(SynchronousTestCase):
    """
    L{RequestBlocks} writes what any decoder reads.
    """

    def setUp(self) -> None:
        self.encoder = Encoder()
        self.blocks = RequestBlocks(self.encoder)
        self.decoder = hpack.Decoder()

    def assertReads(self, headers: RequestHeaders) -> bytes:
        """
        A head is read as it was, and is unchanged.
        """
        before = headers.copy()
        block = self.blocks.encode(headers)
        self.assertEqual(headers, before)
        self.assertEqual(list(headers.first), list(before.first))
        fields = [(bytes(name), bytes(value)) for name, value in self.decoder.decode(block, raw=True)]
        self.assertEqual(fields, list(requestFields(headers)))
        return block

    def test_alike(self) -> None:
        """
        Heads that differ in identifier and deadline only cost these values, wherever they stand.
        """
        for order in product((0, 1), repeat=2):
            for number in range(8):
                varying = [(b"x-request-id", b"id-%032d" % number), (b"grpc-timeout", b"%dm" % number)]
                more = [(b"x-a", b"1"), *(varying if order[0] else varying[::-1])]
                block = self.assertReads(call(*more[order[1] :], *more[: order[1]]))
        self.assertLess(len(block), 80)
        self.assertIn(b"id-%032d" % 7, block)
        self.assertEqual(len(self.blocks._known), 4)

    def test_without(self) -> None:
        """
        Neither is needed, and each may be there without the other, first, last or alone, or be empty.
        """
        request, timeout = (b"x-request-id", b"1"), (b"grpc-timeout", b"2S")
        for _ in range(4):
            for more in (
                (),
                (request,),
                (timeout,),
                (request, timeout),
                ((b"z", b"z"), request),
                ((b"x-request-id", b""),),
            ):
                self.assertReads(call(*more))
            self.assertReads(RequestHeaders(b"GET", b"/", b"a", [request, (b"z", b"z")]))
            self.assertReads(RequestHeaders(b"GET", b"/", b"a", [request]))

    def test_tableChanges(self) -> None:
        """
        What changes the table, or its size, changes the bytes.
        """
        random = Random(5)
        for turn in range(400):
            if turn % 50 == 49:
                size = random.choice((0, 60, 200, 4096))
                self.encoder.peerAllows(size)
                self.decoder.max_allowed_table_size = 4096
            more = [(b"x-request-id", b"%d" % turn)] * random.randint(0, 1)
            more += [
                (b"x-%d" % random.randint(0, 3), b"%d" % random.randint(0, 2)) for _ in range(random.randint(0, 1))
            ]
            self.assertReads(call(*more, path=random.choice((b"/s/m", b"/s/m", b"/s/n"))))

    def test_long(self) -> None:
        """
        Values of any length.
        """
        for length in (0, 126, 127, 128, 254, 255, 300, 20000) * 3:
            self.assertReads(call((b"x-request-id", b"i" * length), (b"grpc-timeout", b"1S")))
        self.assertEqual(len(self.blocks._known), 1)

    def test_secrets(self) -> None:
        """
        What no table may keep is written so each time, and does not keep the rest from being remembered.
        """
        for number in range(6):
            secrets = [(b"authorization", b"Bearer %d" % number), (b"cookie", b"a=%d" % number)]
            headers = call((b"content-length", b"%d" % number), *secrets)
            self.assertReads(headers)
            decoded = self.decoder.decode(self.blocks.encode(headers), raw=True)
            kept = {type(field).__name__ for field in decoded if field[0] in (b"authorization", b"cookie")}
            self.assertEqual(kept, {"NeverIndexedHeaderTuple"})
        self.assertEqual(len(self.blocks._known), 1)

    def test_several(self) -> None:
        """
        So do heads that have a field twice, be it an identifier.
        """
        for _ in range(3):
            headers = call((b"x-request-id", b"1"))
            headers.add(b"x-request-id", b"2")
            self.assertReads(headers)

    def test_unwritable(self) -> None:
        """
        What cannot be written is refused each time, and leaves no trace.
        """
        self.assertReads(call((b"x-request-id", b"1")))
        for _ in range(3):
            for wrong in (b"a\r\nb", b"a\nb", b"\0"):
                self.assertRaises(LocalProtocolError, self.blocks.encode, call((b"x-request-id", wrong)))
                self.assertRaises(
                    LocalProtocolError, self.blocks.encode, call((b"x-a", wrong), (b"x-request-id", b"1"))
                )
            self.assertReads(call((b"x-request-id", b"1")))

    def test_bounded(self) -> None:
        """
        Many kinds of heads do not fill the memory.
        """
        for number in range(300):
            for _ in range(3):
                self.assertReads(call((b"x-request-id", b"1"), path=b"/%d" % (number % 100)))
        self.assertLess(len(self.blocks._known), 100)
