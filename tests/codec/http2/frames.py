"""
Frames as tests write them: field by field, and wrong where a test wants them wrong. Nothing here is of the codec that
is tested.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

__all__ = [
    "PREFACE",
    "block",
    "continuation",
    "data",
    "frame",
    "framesIn",
    "goAway",
    "headers",
    "ping",
    "priority",
    "pushPromise",
    "request",
    "reset",
    "settings",
    "windowUpdate",
]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

Fields = Iterable[tuple[bytes, bytes]]


def frame(kind: int, flags: int, streamId: int, payload: bytes = b"", length: int | None = None) -> bytes:
    """
    A frame; C{length} may lie.
    """
    size = len(payload) if length is None else length
    return struct.pack(">L", size)[1:] + bytes((kind, flags)) + struct.pack(">L", streamId) + payload


def integer(value: int, prefix: int, pattern: int = 0) -> bytes:
    """
    RFC 7541, 5.1.
    """
    if value < prefix:
        return bytes((pattern | value,))
    parts = bytearray((pattern | prefix,))
    value -= prefix
    while value >= 128:
        parts.append(value & 127 | 128)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def block(fields: Fields, pattern: int = 0) -> bytes:
    """
    A field section of plain literals: 0 without indexing, 0x10 never indexed, 0x40 with indexing.
    """
    parts = []
    for name, value in fields:
        parts += [bytes((pattern,)), integer(len(name), 127), name, integer(len(value), 127), value]
    return b"".join(parts)


REQUEST = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"test")]


def request(*more: tuple[bytes, bytes], method: bytes = b"GET", **changes: bytes | None) -> list[tuple[bytes, bytes]]:
    """
    The fields of a usual request.

    @param changes: C{path=b"/x"}, or L{None} to leave that pseudo-header field out.
    """
    fields = []
    for name, value in REQUEST:
        changed = changes.get(name[1:].decode(), method if name == b":method" else value)
        if changed is not None:
            fields.append((name, changed))
    return [*fields, *more]


def headers(
    streamId: int,
    fields: Fields | bytes,
    endStream: bool = True,
    endHeaders: bool = True,
    padding: int | None = None,
    dependsOn: int | None = None,
) -> bytes:
    """
    HEADERS.
    """
    payload = fields if isinstance(fields, bytes) else block(fields)
    flags = (1 if endStream else 0) | (4 if endHeaders else 0)
    if dependsOn is not None:
        payload = struct.pack(">LB", dependsOn, 255) + payload
        flags |= 0x20
    if padding is not None:
        payload = bytes((padding,)) + payload + bytes(padding)
        flags |= 8
    return frame(1, flags, streamId, payload)


def continuation(streamId: int, fields: Fields | bytes, endHeaders: bool = True) -> bytes:
    """
    CONTINUATION.
    """
    return frame(9, 4 if endHeaders else 0, streamId, fields if isinstance(fields, bytes) else block(fields))


def data(streamId: int, body: bytes, endStream: bool = False, padding: int | None = None) -> bytes:
    """
    DATA.
    """
    if padding is not None:
        return frame(0, (1 if endStream else 0) | 8, streamId, bytes((padding,)) + body + bytes(padding))
    return frame(0, 1 if endStream else 0, streamId, body)


def priority(streamId: int, dependsOn: int = 0, weight: int = 255, exclusive: bool = False) -> bytes:
    """
    PRIORITY.
    """
    return frame(2, 0, streamId, struct.pack(">LB", dependsOn | (0x80000000 if exclusive else 0), weight))


def reset(streamId: int, code: int = 8) -> bytes:
    """
    RST_STREAM.
    """
    return frame(3, 0, streamId, struct.pack(">L", code))


def settings(*pairs: tuple[int, int], ack: bool = False) -> bytes:
    """
    SETTINGS.
    """
    return frame(4, 1 if ack else 0, 0, b"".join(struct.pack(">HL", name, value) for name, value in pairs))


def pushPromise(streamId: int, promised: int, fields: Fields) -> bytes:
    """
    PUSH_PROMISE.
    """
    return frame(5, 4, streamId, struct.pack(">L", promised) + block(fields))


def ping(opaque: bytes = bytes(8), ack: bool = False, streamId: int = 0) -> bytes:
    """
    PING.
    """
    return frame(6, 1 if ack else 0, streamId, opaque)


def goAway(lastStreamId: int, code: int = 0, debug: bytes = b"", streamId: int = 0) -> bytes:
    """
    GOAWAY.
    """
    return frame(7, 0, streamId, struct.pack(">LL", lastStreamId, code) + debug)


def windowUpdate(streamId: int, increment: int) -> bytes:
    """
    WINDOW_UPDATE.
    """
    return frame(8, 0, streamId, struct.pack(">L", increment))


def framesIn(wire: bytes) -> list[tuple[int, int, int, bytes]]:
    """
    The frames in what a codec sent, as type, flags, stream and payload.
    """
    found = []
    position = 0
    while position < len(wire):
        length = int.from_bytes(wire[position : position + 3], "big")
        kind, flags = wire[position + 3], wire[position + 4]
        streamId = int.from_bytes(wire[position + 5 : position + 9], "big")
        stop = position + 9 + length
        if stop > len(wire):
            raise AssertionError("a frame that is cut off")
        found.append((kind, flags, streamId, wire[position + 9 : stop]))
        position = stop
    return found
