# -*- test-case-name: tests.testing.test_messages -*-
"""
HTTP/1.1 messages as a test sees them: read from the bytes by a parser of its own, so that a codec's fault is not hidden
by the same fault on the other side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from meshproxy.headers import HeaderMap

__all__ = ["Fields", "Message", "MessageReader", "Request", "Response", "headerMap", "toBytes"]

#: Header fields as tests write them: pairs or a mapping, text or bytes.
Fields = Iterable[tuple[str | bytes, str | bytes]] | Mapping[str, str] | Mapping[bytes, bytes]


def toBytes(text: str | bytes) -> bytes:
    """
    Text of a test as bytes of the wire.
    """
    return text if isinstance(text, bytes) else text.encode("utf-8")


def headerMap(fields: Fields) -> HeaderMap:
    """
    Fields as filters see them, their names in lower case.
    """
    pairs = fields.items() if isinstance(fields, Mapping) else fields
    return HeaderMap((toBytes(name).lower(), toBytes(value)) for name, value in pairs)


@dataclass
class Message:
    """
    What requests and responses have in common.

    @ivar headers: The fields of the head; C{host} of a request is among them.
    @ivar head: The head as it came, without the empty line that ends it.
    @ivar body: The body as far as it came, its coding undone.
    @ivar trailers: Those that came.
    @ivar complete: Whether it came to its end.
    """

    headers: HeaderMap = field(default_factory=HeaderMap)
    head: bytes = b""
    body: bytes = b""
    trailers: HeaderMap = field(default_factory=HeaderMap)
    complete: bool = False

    def header(self, name: str | bytes) -> str | None:
        """
        The values of a field as text, with commas between them; L{None} where it is absent.
        """
        value = self.headers.joined(toBytes(name).lower())
        return None if value is None else value.decode("utf-8", "backslashreplace")


@dataclass
class Request(Message):
    """
    A request that a backend saw.
    """

    method: bytes = b""
    path: bytes = b""

    @property
    def host(self) -> bytes:
        """
        Whom it was sent to.
        """
        return self.headers.get(b"host") or b""


@dataclass
class Response(Message):
    """
    A response that a client got.

    @ivar status: 0 where the connection ended without one.
    @ivar interim: The 1xx responses before it.
    """

    status: int = 0
    interim: list[Response] = field(default_factory=list)


class MessageReader:
    """
    Reads the messages of one direction of a connection.

    @ivar message: The one that is being read, or L{None} between two.
    @ivar tunnel: What came after the head that made the connection a tunnel; L{None} before.
    """

    def __init__(
        self,
        make: Callable[[bytes], Message],
        began: Callable[[Message], object],
        ended: Callable[[Message], object],
        framing: Callable[[Message], str | None],
    ) -> None:
        """
        @param make: Makes a message of its first line.
        @param began: Told of a message when its head came.
        @param ended: Told of it when it is complete.
        @param framing: Says what no header does: C{"none"} for no body, C{"close"} for one to the end of the
            connection, C{"tunnel"}, C{"interim"} for a 1xx; L{None} for what the headers say.
        """
        self.message: Message | None = None
        self.tunnel: bytes | None = None
        self._make = make
        self._began = began
        self._ended = ended
        self._framing = framing
        self._rest = b""
        self._state = self._readHead
        self._left = 0

    def feed(self, data: bytes) -> None:
        """
        Take bytes.
        """
        self._rest += data
        while self._state():
            pass

    def finish(self) -> None:
        """
        The connection ended.
        """
        if self.message is not None and self._state == self._readToClose:
            self._end()

    def _line(self) -> bytes | None:
        line, found, rest = self._rest.partition(b"\r\n")
        if not found:
            return None
        self._rest = rest
        return line

    def _readHead(self) -> bool:
        head, found, rest = self._rest.partition(b"\r\n\r\n")
        if not found:
            return False
        self._rest = rest
        firstLine, _, lines = head.partition(b"\r\n")
        message = self.message = self._make(firstLine)
        message.head = head
        message.headers = _fields(lines.split(b"\r\n") if lines else ())
        kind = self._framing(message) or _framingOf(message)
        self._began(message)
        if kind == "chunked":
            self._state = self._readChunkSize
        elif kind == "close":
            self._state = self._readToClose
        elif kind == "tunnel":
            self.tunnel = b""
            self._state = self._readTunnel
        elif kind in ("none", "interim"):
            self._end()
        else:
            self._left = int(kind)
            self._state = self._readLength
        return True

    def _readLength(self) -> bool:
        assert self.message is not None
        piece, self._rest = self._rest[: self._left], self._rest[self._left :]
        self.message.body += piece
        self._left -= len(piece)
        if self._left:
            return False
        self._end()
        return True

    def _readChunkSize(self) -> bool:
        line = self._line()
        if line is None:
            return False
        self._left = int(line.partition(b";")[0], 16)
        self._state = self._readChunk if self._left else self._readTrailers
        return True

    def _readChunk(self) -> bool:
        assert self.message is not None
        if len(self._rest) < self._left + 2:
            return False
        self.message.body += self._rest[: self._left]
        assert self._rest[self._left : self._left + 2] == b"\r\n", self._rest[:20]
        self._rest = self._rest[self._left + 2 :]
        self._state = self._readChunkSize
        return True

    def _readTrailers(self) -> bool:
        assert self.message is not None
        if self._rest.startswith(b"\r\n"):
            self._rest = self._rest[2:]
        else:
            lines, found, rest = self._rest.partition(b"\r\n\r\n")
            if not found:
                return False
            self._rest = rest
            self.message.trailers = _fields(lines.split(b"\r\n"))
        self._end()
        return True

    def _readToClose(self) -> bool:
        assert self.message is not None
        self.message.body += self._rest
        self._rest = b""
        return False

    def _readTunnel(self) -> bool:
        assert self.tunnel is not None
        self.tunnel += self._rest
        self._rest = b""
        return False

    def _end(self) -> None:
        message, self.message = self.message, None
        assert message is not None
        message.complete = True
        self._state = self._readHead
        self._ended(message)


def _fields(lines: Iterable[bytes]) -> HeaderMap:
    pairs = (line.partition(b":") for line in lines)
    return HeaderMap((name.lower(), value.strip()) for name, _, value in pairs)


def _framingOf(message: Message) -> str:
    """
    RFC 9112, 6.3, for messages that are not out to deceive: C{"chunked"}, C{"none"}, or a length.
    """
    if message.headers.get(b"transfer-encoding") is not None:
        return "chunked"
    length = message.headers.get(b"content-length")
    if length is None:
        return "none" if isinstance(message, Request) else "close"
    return length.decode("ascii") if int(length) else "none"
