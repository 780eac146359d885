# -*- test-case-name: tests.codec.http1.test_chunked -*-
"""
The chunked transfer coding (RFC 9112, 7.1), in any split of its bytes.
"""

from __future__ import annotations

from enum import Enum

from meshproxy.codec.http1.explain import checkLine, parseFieldLine, tooLarge, tooMany
from meshproxy.codec.http1.grammar import matchChunkLine, matchChunkSize, matchNextChunkSize
from meshproxy.codec.http1.interfaces import Http1Options
from meshproxy.errors import RemoteProtocolError
from meshproxy.headers import HeaderMap

__all__ = ["ChunkState", "ChunkedBody", "wholeChunked"]

# How many chunks are taken at once.
_FEW = 16


# RFC 9110, 6.5.1: framing, routing and the connection are settled by the head. A recipient that merges trailers into
# the head must not find them here.
_NOT_IN_TRAILERS = frozenset(
    b"connection content-length host keep-alive proxy-connection te trailer transfer-encoding upgrade".split()
)


class ChunkState(Enum):
    """
    What the next byte of a chunked body belongs to.
    """

    SIZE = "size"
    DATA = "data"
    DATA_END = "end of chunk"
    TRAILERS = "trailers"
    DONE = "done"


class ChunkedBody:
    """
    Takes one chunked body apart.

    @ivar state: Where in the body it is.
    @ivar pieces: Data that came and was not taken yet. Taking it is the caller's part: once per read, so that
        a body of tiny chunks costs as many calls as reads.
    @ivar trailers: The fields of the trailer section, when it is L{ChunkState.DONE}.
    """

    __slots__ = ("_line", "_options", "_remaining", "_spentExtensions", "_spentTrailers", "pieces", "state", "trailers")

    def __init__(self, options: Http1Options) -> None:
        self.state = ChunkState.SIZE
        self.pieces: list[bytes] = []
        self.trailers: list[tuple[bytes, bytes]] = []
        self._options = options
        # The beginning of a line whose end has not come yet.
        self._line = bytearray()
        self._remaining = 0
        self._spentExtensions = 0
        self._spentTrailers = 0

    def receive(self, data: bytes, position: int) -> int:
        """
        Take what belongs to the body.

        @param data: Bytes, of which the body's begin at C{position}.

        @return: Where the rest begins; less than C{len(data)} only if the body is L{ChunkState.DONE}.

        @raise RemoteProtocolError: If the coding is broken.
        """
        end = len(data)
        while position < end:
            state = self.state
            if state is ChunkState.DATA:
                position = self._receiveData(data, position)
            elif state is ChunkState.DATA_END:
                position = self._receiveDataEnd(data, position)
            elif state is ChunkState.SIZE:
                position = self._receiveSize(data, position)
            elif state is ChunkState.TRAILERS:
                position = self._receiveTrailer(data, position)
            else:
                break
        return position

    def takeData(self) -> bytes:
        """
        The data that came since the last call, in one piece.
        """
        pieces = self.pieces
        self.pieces = []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _receiveData(self, data: bytes, position: int) -> int:
        stop = position + self._remaining
        piece = data[position:stop]
        self.pieces.append(piece)
        self._remaining -= len(piece)
        if not self._remaining:
            self.state = ChunkState.DATA_END
        return position + len(piece)

    def _receiveDataEnd(self, data: bytes, position: int) -> int:
        if not self._line:
            match = matchNextChunkSize(data, position)
            if match is not None:
                self._begin(int(match[1], 16))
                return match.end()
        needed = 2 - len(self._line)
        piece = data[position : position + needed]
        self._line += piece
        if not b"\r\n".startswith(self._line):
            # RFC 9112, 7.1. A parser that skips whatever stands here can be led astray.
            raise RemoteProtocolError("no CRLF after the data of a chunk")
        if len(self._line) == 2:
            self._line.clear()
            self.state = ChunkState.SIZE
        return position + len(piece)

    def _receiveSize(self, data: bytes, position: int) -> int:
        if not self._line:
            match = matchChunkSize(data, position)
            if match is not None:
                self._begin(int(match[1], 16))
                return match.end()
        line, position = self._takeLine(data, position, self._options.maxChunkExtensionBytes + 32)
        if line is None:
            return position
        match = matchChunkLine(checkLine(line))
        if match is None:
            raise RemoteProtocolError("an illegal chunk size or chunk extension")
        self._spentExtensions += len(match[2])
        if self._spentExtensions > self._options.maxChunkExtensionBytes:
            raise RemoteProtocolError(f"more than {self._options.maxChunkExtensionBytes} bytes of chunk extensions")
        self._begin(int(match[1], 16))
        return position

    def _begin(self, size: int) -> None:
        self._remaining = size
        self.state = ChunkState.DATA if size else ChunkState.TRAILERS

    def _receiveTrailer(self, data: bytes, position: int) -> int:
        line, position = self._takeLine(data, position, self._options.maxHeadBytes - self._spentTrailers + 2)
        if line is None:
            return position
        self._spentTrailers += len(line)
        text = checkLine(line)
        if not text:
            self.state = ChunkState.DONE
        else:
            self.trailers.append(parseFieldLine(text))
            if len(self.trailers) > self._options.maxHeaderCount:
                raise tooMany("trailer section", self._options.maxHeaderCount)
        return position

    def _takeLine(self, data: bytes, position: int, limit: int) -> tuple[bytes | None, int]:
        """
        The next line with its end, or L{None} while that has not come.
        """
        stop = data.find(b"\n", position) + 1
        piece = data[position : stop or len(data)]
        if len(self._line) + len(piece) > limit:
            if self.state is ChunkState.TRAILERS:
                raise tooLarge("a trailer section", self._options.maxHeadBytes)
            raise RemoteProtocolError("a chunk extension that does not end")
        if not stop:
            self._line += piece
            return None, len(data)
        if not self._line:
            return piece, stop
        line = bytes(self._line) + piece
        self._line.clear()
        return line, stop

    def trailerMap(self) -> HeaderMap:
        """
        The trailers as a header map, without those fields that must not stand there.
        """
        return HeaderMap(field for field in self.trailers if field[0] not in _NOT_IN_TRAILERS)


def wholeChunked(data: bytes, start: int) -> bytes | None:
    """
    The body of a message that ends with C{data}: a short way for few chunks without extensions or trailers.

    @param start: Where its first chunk begins.

    @return: At least one byte, or L{None} if it is anything else, which is for L{ChunkedBody}.
    """
    pieces: list[bytes] = []
    match = matchChunkSize(data, start)
    for _ in range(_FEW):
        if match is None:
            return None
        size, begin = int(match[1], 16), match.end()
        if not size:
            return b"".join(pieces) if pieces and begin + 2 == len(data) and data.endswith(b"\r\n") else None
        end = begin + size
        pieces.append(data[begin:end])
        match = matchNextChunkSize(data, end)
    return None
