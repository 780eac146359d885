# -*- test-case-name: tests.codec.http2.test_metadata -*-
"""
METADATA frames (L{meshproxy.codec.http2.metadata}).
"""

from __future__ import annotations

import hpack
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.codec.http2.metadata import MetadataReader, metadataFrames
from meshproxy.errors import RemoteProtocolError
from meshproxy.headers import RequestHeaders, ResponseHeaders
from tests.codec.http2.frames import data, frame, framesIn, headers, request
from tests.codec.http2.helpers import StreamSink, downstream, splits, upstream

POST = request(method=b"POST")
PAIRS = [(b"k", b"v"), (b"Key Two", b"\0\xff"), (b"k", b"")]


def metadata(streamId: int, *pairs: tuple[bytes, bytes], largest: int = 16384) -> bytes:
    """
    A block of pairs in frames.
    """
    return b"".join(metadataFrames(streamId, pairs, largest))


class FrameTests(SynchronousTestCase):
    """
    L{metadataFrames} and L{MetadataReader}.
    """

    def test_others(self) -> None:
        """
        What is written is HPACK for others too, and what they write with a table is read.
        """
        ((_, flags, streamId, block),) = framesIn(metadata(3, *PAIRS))
        self.assertEqual((flags, streamId), (4, 3))
        self.assertEqual([tuple(pair) for pair in hpack.Decoder().decode(block, raw=True)], PAIRS)
        reader = MetadataReader(1000)
        for _ in range(2):
            # Each block stands by itself.
            self.assertEqual(reader.read(1, hpack.Encoder().encode(PAIRS), True), PAIRS)

    def test_pieces(self) -> None:
        """
        A block may be in any number of frames, those of several streams between each other.
        """
        reader = MetadataReader(1000)
        one, other = (list(framesIn(metadata(number, *PAIRS, largest=5))) for number in (1, 3))
        found = []
        for pair in zip(one, other, strict=True):
            found += [(streamId, reader.read(streamId, piece, bool(flags & 4))) for _, flags, streamId, piece in pair]
        self.assertEqual([each for each in found if each[1]], [(1, PAIRS), (3, PAIRS)])
        self.assertEqual([tuple(each) for each in framesIn(metadata(1))], [(0x4D, 4, 1, b"")])

    def test_limits(self) -> None:
        """
        Blocks that are too long, of too many pieces or pairs, or no HPACK are refused, and what waits of all streams
        together is bounded; what came on streams that are over is forgotten.
        """
        long = b"\0\1a\x7f\x00" + b"x" * 127
        cases = [
            [(1, b"x" * 101, False)],
            [(1, long, True)],
            [(1, b"\xc6" * 20, True)],
            [(number, b"x" * 51, False) for number in (1, 3)],
            [(1, b"", False)] * 1001,
        ]
        for case in cases:
            reader = MetadataReader(100)
            *before, last = case
            for streamId, payload, ends in before:
                reader.read(streamId, payload, ends)
            self.assertRaises(RemoteProtocolError, reader.read, *last)
        reader = MetadataReader(100)
        for streamId in range(1, 40, 2):
            reader.read(streamId, b"x" * 60, False)
            reader.keep([streamId + 2])


class CodecTests(SynchronousTestCase):
    """
    The codecs with such frames.
    """

    def test_received(self) -> None:
        """
        They are told in their order, however they are cut, and a message that could come whole is told in parts.
        """
        wire = headers(1, POST, False) + metadata(1, *PAIRS, largest=9) + data(1, b"a", False)
        wire += metadata(1, *PAIRS) + data(1, b"b", True)
        for pieces in splits(wire):
            codec, sink, _ = downstream(allowMetadata=True)
            for piece in pieces:
                codec.receiveData(piece)
            told = [each[2:] for each in sink.transcript if each[0] != "request"]
            self.assertEqual(told, [(PAIRS,), (b"a", False), (PAIRS,), (b"b", True)])

    def test_overlooked(self) -> None:
        """
        Without the option they are frames that nobody knows; with it they are overlooked on streams that have not begun
        or are over. Empty ones are counted.
        """
        codec, sink, counters = downstream()
        codec.receiveData(headers(1, POST, False) + metadata(1, *PAIRS) + data(1, b"a", True))
        self.assertNotIn("metadata", [each[0] for each in sink.transcript])
        codec, sink, counters = downstream(allowMetadata=True)
        codec.receiveData(metadata(0, *PAIRS) + metadata(7, *PAIRS) + headers(1, POST, True) + metadata(1, *PAIRS))
        codec.receiveData(headers(3, POST, False) + metadata(3))
        self.assertNotIn("metadata", [each[0] for each in sink.transcript])
        self.assertEqual(counters.metadataEmptyFrames.value, 1)

    def test_refused(self) -> None:
        """
        What cannot be read ends the connection, as does a flood of empty pieces.
        """
        for wire in (frame(0x4D, 4, 1, b"\xff\xff\xff\xff\xff\xff"), frame(0x4D, 0, 1) * 3):
            codec, _, _ = downstream(allowMetadata=True)
            codec.receiveData(headers(1, POST, False))
            self.assertRaises(RemoteProtocolError, codec.receiveData, wire)

    def test_sent(self) -> None:
        """
        Both roles send them, until this side of the stream has ended; without the option they send none.
        """
        for allowed in (True, False):
            server, sink, _ = downstream(allowMetadata=allowed)
            server.receiveData(headers(1, POST, True))
            answering = sink.streams[0]
            self.assertTrue(answering.sendMetadata(PAIRS))
            answering.sendHeaders(ResponseHeaders(200), True)
            self.assertTrue(answering.sendMetadata(PAIRS))
            kinds = [kind for kind, _, _, _ in framesIn(server.dataToSend())]
            self.assertEqual(kinds, [0x4D, 1] if allowed else [1])
            client, upstreamSink, _ = upstream(allowMetadata=allowed)
            asking = client.request(StreamSink(upstreamSink.transcript, 1), RequestHeaders(b"POST", b"/", b"a"), False)
            self.assertTrue(asking.sendMetadata(PAIRS))
            kinds = [kind for kind, _, _, _ in framesIn(client.dataToSend())]
            self.assertEqual(kinds, [1, 0x4D] if allowed else [1])

    def test_slowPeer(self) -> None:
        """
        Not any number waits for a peer that does not read.
        """
        server, sink, _ = downstream(allowMetadata=True, maxMetadataBytes=10000)
        server.receiveData(headers(1, POST, False))
        server.pauseSending()
        stream = sink.streams[0]
        took = [stream.sendMetadata([(b"a", b"x" * 1000)]) for _ in range(20)]
        self.assertEqual((took[:9], took[-1]), ([True] * 9, False))
        server.resumeSending()
        self.assertTrue(stream.sendMetadata([(b"a", b"x" * 1000)]))
