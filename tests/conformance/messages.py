"""
A plain reader of HTTP/1.1 messages, to look at what went over a wire.

It is on purpose another one than the proxy's own, and forgives everything: what it does not understand it hands back.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field

import brotli
import zstandard

__all__ = ["Message", "readRequests", "readResponses"]

_HEAD_END = re.compile(rb"\r\n\r\n")
# A cookie has commas of its own; of these others there must not be two.
_NOT_JOINED = (b"set-cookie", b"content-length", b"transfer-encoding", b"host")
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})")
_SIZE = re.compile(rb"([0-9a-fA-F]+)[^\r\n]*\r\n")


@dataclass
class Message:
    """
    One message as it was read.

    @ivar start: Its first line.
    @ivar fields: Its fields, names in lower case.
    @ivar written: The same, with names as they came.
    @ivar complete: Whether its end was seen.
    """

    start: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    complete: bool = True
    written: list[tuple[bytes, bytes]] = field(default_factory=list)

    @property
    def status(self) -> int:
        """
        The status, 0 for a request.
        """
        found = _STATUS.match(self.start)
        return int(found[1]) if found else 0

    @property
    def isFinal(self) -> bool:
        """
        Whether it is a whole response and not an interim one.
        """
        return self.complete and (self.status >= 200 or self.status == 101)

    def get(self, name: bytes) -> bytes | None:
        """
        The values of a field, joined.
        """
        values = [value for key, value in self.fields if key == name]
        return b", ".join(values) if values else None

    def describe(self, what: str) -> list[str]:
        """
        Lines to compare and to show: fields of different names in the order of their names, for it has no meaning.
        """
        lines = [f"{what}: {_text(self.start)}"]
        written = {name.lower(): name for name, _ in reversed(self.written)}
        lines += [f"  {_text(written[name])}: {_text(value)}" for name, value in sorted(_joined(self.fields))]
        body = _decoded(self.get(b"content-encoding"), self.body)
        if body is not self.body:
            lines.append(f"  body in its coding {_text(body)!r}")
        elif self.body:
            shown = _text(self.body) if len(self.body) <= 300 else f"{len(self.body)} bytes, {hash(self.body):x}"
            lines.append(f"  body {shown!r}")
        lines += [f"  trailer {_text(name)}: {_text(value)}" for name, value in self.trailers]
        if not self.complete:
            lines.append("  (incomplete)")
        return lines


def _joined(fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """
    Fields of one name as one, since that means the same (RFC 9110, 5.3), but for those to which it does not.
    """
    found: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        found.setdefault(name, []).append(value)
    joined = []
    for name, values in found.items():
        if name in _NOT_JOINED:
            joined += [(name, value) for value in values]
        else:
            joined.append((name, b",".join(values)))
    return joined


def _decoded(coding: bytes | None, body: bytes) -> bytes:
    """
    What a body in a content coding stands for: two libraries may write the same in different bytes.
    """
    try:
        if coding == b"gzip":
            return zlib.decompress(body, 31)
        if coding == b"br":
            return bytes(brotli.decompress(body))
        if coding == b"zstd":
            return zstandard.ZstdDecompressor().decompressobj().decompress(body)
    except (zlib.error, brotli.error, zstandard.ZstdError):
        pass
    return body


def _text(data: bytes) -> str:
    return data.decode("latin-1")


def _fields(lines: list[bytes]) -> list[tuple[bytes, bytes]]:
    pairs = []
    for line in lines:
        name, _, value = line.partition(b":")
        pairs.append((name, value.strip(b" \t")))
    return pairs


def _head(data: bytes) -> tuple[Message, bytes] | None:
    end = _HEAD_END.search(data)
    if end is None:
        return None
    lines = data[: end.start()].split(b"\r\n")
    written = _fields(lines[1:])
    return Message(lines[0], [(name.lower(), value) for name, value in written], written=written), data[end.end() :]


def _readChunked(message: Message, data: bytes) -> bytes:
    """
    Read a chunked body into a message.

    @return: What is left.
    """
    while True:
        size = _SIZE.match(data)
        if size is None:
            break
        length = int(size[1], 16)
        if length == 0:
            if data.startswith(b"\r\n", size.end()):
                return data[size.end() + 2 :]
            end = _HEAD_END.search(data, size.end())
            if end is None:
                break
            fields = _fields(data[size.end() : end.start()].split(b"\r\n"))
            message.trailers = [(name.lower(), value) for name, value in fields]
            return data[end.end() :]
        begin = size.end()
        message.body += data[begin : begin + length]
        if len(data) < begin + length + 2:
            data = b""
            break
        data = data[begin + length + 2 :]
    message.complete = False
    return data


def _readBody(message: Message, data: bytes) -> bytes:
    coding = message.get(b"transfer-encoding")
    length = message.get(b"content-length")
    if coding is not None and coding.lower().endswith(b"chunked"):
        return _readChunked(message, data)
    if length is not None and length.isdigit():
        message.body, data = data[: int(length)], data[int(length) :]
        message.complete = len(message.body) == int(length)
    return data


def readResponses(data: bytes, methods: list[bytes], ended: bool) -> tuple[list[Message], bytes]:
    """
    Read all responses on a connection.

    @param methods: The methods of the requests, in order; GET for more of them.
    @param ended: Whether the connection was ended.

    @return: The responses, and the bytes that are none: what a tunnel carries, or garbage.
    """
    found: list[Message] = []
    asked = 0
    while data:
        head = _head(data) if _STATUS.match(data) else None
        if head is None:
            return found, data
        message, data = head
        found.append(message)
        method = methods[asked] if asked < len(methods) else b"GET"
        if message.status == 101 or (method == b"CONNECT" and 200 <= message.status < 300):
            return found, data
        if message.status < 200:
            continue
        asked += 1
        if method == b"HEAD" or message.status in (204, 304):
            continue
        if message.get(b"content-length") is None and message.get(b"transfer-encoding") is None:
            message.body, data = data, b""
            message.complete = ended
        else:
            data = _readBody(message, data)
    return found, data


def readRequests(data: bytes) -> tuple[list[Message], bytes]:
    """
    Read all requests on a connection.

    @return: The requests, and the bytes that are none.
    """
    found: list[Message] = []
    while data:
        head = _head(data)
        if head is None:
            return found, data
        message, data = head
        found.append(message)
        if message.start.startswith(b"CONNECT ") or message.get(b"upgrade") is not None:
            return found, data
        data = _readBody(message, data)
    return found, data
