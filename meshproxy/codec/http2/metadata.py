# -*- test-case-name: tests.codec.http2.test_metadata -*-
"""
METADATA frames, an extension of HTTP/2 that Envoy has (C{allow_metadata}): pairs of names and values on a stream that
are no part of its message. Nobody announces it; who does not know it overlooks such frames (RFC 9113, 4.1).

A block of pairs is HPACK whose dynamic table begins empty, in one frame or more.
"""

from __future__ import annotations

from collections.abc import Iterable

from meshproxy.codec.http2.frames import ErrorCode, encodeFrame
from meshproxy.codec.http2.hpack import Decoder, Field, encodeLiteral
from meshproxy.errors import RemoteProtocolError

__all__ = ["END_METADATA", "METADATA", "MetadataReader", "metadataFrames"]

METADATA = 0x4D
"""The type of the frames."""

END_METADATA = 0x4
"""The flag of the last frame of a block."""

# So many pairs are in a block at most; Envoy has no limit but the one of bytes.
_MOST_PAIRS = 1000


class MetadataReader:
    """
    Puts the blocks of one connection together.
    """

    def __init__(self, limit: int) -> None:
        """
        @param limit: How many bytes of blocks that are not whole may be here, of all streams together, and how long a
            block may be when it is decoded.
        """
        self._limit = limit
        self._size = 0
        self._parts: dict[int, list[bytes]] = {}

    def read(self, streamId: int, payload: bytes, ends: bool) -> list[Field]:
        """
        A frame came.

        @param ends: Whether it ends its block.

        @return: The pairs of the block, in order, where it is whole.

        @raise RemoteProtocolError: If it cannot be read, or is too long.
        """
        parts = self._parts.setdefault(streamId, [])
        parts.append(payload)
        self._size += len(payload)
        if self._size > self._limit or len(parts) > _MOST_PAIRS:
            raise self._tooMuch()
        if not ends:
            return []
        self.forget(streamId)
        decoder = Decoder(4096, self._limit, _MOST_PAIRS)
        fields = decoder.decode(b"".join(parts))
        if decoder.overflowed:
            raise self._tooMuch()
        return fields

    def forget(self, streamId: int) -> None:
        """
        What came of a block is of no use any more.
        """
        self._size -= sum(map(len, self._parts.pop(streamId, ())))

    def keep(self, streamIds: Iterable[int]) -> None:
        """
        Forget what came on all streams but these.
        """
        for streamId in set(self._parts).difference(streamIds):
            self.forget(streamId)

    @staticmethod
    def _tooMuch() -> RemoteProtocolError:
        return RemoteProtocolError("too much METADATA", h2Code=ErrorCode.ENHANCE_YOUR_CALM)


def metadataFrames(streamId: int, fields: Iterable[Field], largest: int) -> list[bytes]:
    """
    The frames of a block.

    @param largest: How long a frame may be.
    """
    block = b"".join(map(encodeLiteral, fields))
    pieces = [block[start : start + largest] for start in range(0, len(block), largest)] or [b""]
    last = len(pieces) - 1
    return [
        encodeFrame(METADATA, END_METADATA if number == last else 0, streamId, piece)
        for number, piece in enumerate(pieces)
    ]
