# -*- test-case-name: tests.grpc.test_framing -*-
"""
Messages within a body: a byte that tells of compression, four of length, the message.
"""

from __future__ import annotations

import struct
import zlib

from meshproxy.grpc.status import GRPCError, Status

__all__ = ["ACCEPTED", "ENCODINGS", "MAX_MESSAGE", "FrameCounter", "MessageReader", "encodeFrame"]

MAX_MESSAGE = 4 * 1024 * 1024
"""
Bytes of a message by default, as in gRPC's own libraries.
"""

ACCEPTED = b"identity, gzip"
"""
What C{grpc-accept-encoding} says.
"""

ENCODINGS = frozenset(ACCEPTED.split(b", "))
"""
What C{grpc-encoding} may say.
"""

_HEAD = struct.Struct(">BL")


def encodeFrame(message: bytes) -> bytes:
    """
    A message as it is sent, not compressed.
    """
    return _HEAD.pack(0, len(message)) + message


class MessageReader:
    """
    Bytes of a body to messages, however they are cut.

    A message that is longer than allowed is refused when its length is read. After an error it takes no more data.
    """

    __slots__ = ("_encoding", "_error", "_limit", "_pieces", "_size")

    def __init__(self, limit: int = MAX_MESSAGE, encoding: bytes = b"identity") -> None:
        """
        @param limit: The most bytes of a message, decompressed.
        @param encoding: The C{grpc-encoding}: C{identity} or C{gzip}.
        """
        self._limit = limit
        self._encoding = encoding
        self._pieces: list[bytes] = []
        self._size = 0
        self._error: GRPCError | None = None

    @property
    def isEmpty(self) -> bool:
        """
        Whether nothing of a message waits for its rest.
        """
        return not self._size

    def receiveData(self, data: bytes) -> list[bytes]:
        """
        @return: The messages that these bytes complete.

        @raise GRPCError: If a message is too long, or cannot be decompressed.
        """
        if self._error is not None:
            raise self._error
        try:
            if self._size:
                self._pieces.append(data)
                self._size += len(data)
                # Joined when there is enough, so that bytes that come singly are not copied again and again.
                if self._size < self._needed():
                    return []
                data = b"".join(self._pieces)
            messages, position = self._split(data)
        except GRPCError as error:
            self._error = error
            raise
        self._pieces = [data[position:]] if position < len(data) else []
        self._size = len(data) - position
        return messages

    def _needed(self) -> int:
        head = self._pieces[0]
        if len(head) < 5:
            # The first piece may be shorter than a head; put together they tell.
            self._pieces = [b"".join(self._pieces)]
            head = self._pieces[0]
            if len(head) < 5:
                return 5
        length = int.from_bytes(head[1:5], "big")
        self._check(length)
        return 5 + length

    def _check(self, length: int) -> None:
        if length > self._limit:
            why = f"a message of {length} bytes, at most {self._limit} are taken"
            raise GRPCError(Status.RESOURCE_EXHAUSTED, why)

    def _split(self, data: bytes) -> tuple[list[bytes], int]:
        messages: list[bytes] = []
        position = 0
        size = len(data)
        while size - position >= 5:
            compressed, length = _HEAD.unpack_from(data, position)
            self._check(length)
            if compressed > 1:
                raise GRPCError(Status.INTERNAL, f"a message whose compressed flag is {compressed}")
            end = position + 5 + length
            if end > size:
                break
            message = data[position + 5 : end]
            messages.append(self._decompress(message) if compressed else message)
            position = end
        return messages, position

    def _decompress(self, message: bytes) -> bytes:
        if self._encoding != b"gzip":
            raise GRPCError(Status.INTERNAL, f"a compressed message, and grpc-encoding is {self._encoding[:32]!r}")
        unpacker = zlib.decompressobj(31)
        try:
            unpacked = unpacker.decompress(message, self._limit + 1)
        except zlib.error as error:
            raise GRPCError(Status.INTERNAL, "a message that cannot be decompressed") from error
        # What is longer than the limit was not unpacked, however little it takes.
        if len(unpacked) > self._limit:
            raise GRPCError(Status.RESOURCE_EXHAUSTED, f"a message of more than {self._limit} bytes, decompressed")
        if not unpacker.eof:
            raise GRPCError(Status.INTERNAL, "a compressed message without an end")
        return unpacked


# The end of a stream of Connect says why in JSON; nobody needs a page for that.
_LONGEST_END = 65536


class FrameCounter:
    """
    Counts the messages in a body without reading them, however it is cut. As in Envoy, one counts from its first byte
    on.

    @ivar count: How many there were.
    """

    __slots__ = ("_end", "_endFlag", "_head", "_left", "count")

    def __init__(self, endFlag: int = 0) -> None:
        """
        @param endFlag: The bit of a message's first byte that says that it is no message but the end of them; 0 for
            none.
        """
        self.count = 0
        self._end: bytearray | None = None
        self._endFlag = endFlag
        self._head = b""
        self._left = 0

    def receiveData(self, data: bytes) -> int:
        """
        @return: How many messages begin in these bytes.
        """
        before = self.count
        position, size = 0, len(data)
        if (
            size >= 5
            and not (self._left or self._head)
            and self._end is None
            and int.from_bytes(data[1:5], "big") == size - 5
            and not data[0] & self._endFlag
        ):
            # The usual one: all of a message, and nothing else.
            self.count = before + 1
            return 1
        while position < size:
            if self._left:
                step = min(self._left, size - position)
                if self._end is not None and len(self._end) <= _LONGEST_END:
                    self._end += data[position : position + step]
                self._left -= step
                position += step
                continue
            if self._end is not None and not self._head:
                break
            if not self._head:
                if data[position] & self._endFlag:
                    self._end = bytearray()
                else:
                    self.count += 1
            head = self._head + data[position : position + 5 - len(self._head)]
            position += len(head) - len(self._head)
            if len(head) == 5:
                self._left = int.from_bytes(head[1:], "big")
                head = b""
            self._head = head
        return self.count - before

    @property
    def end(self) -> bytes | None:
        """
        What the message holds that is the end of them, where it came, and came whole. It does not count.
        """
        if self._end is None or self._left or self._head or len(self._end) > _LONGEST_END:
            return None
        return bytes(self._end)
