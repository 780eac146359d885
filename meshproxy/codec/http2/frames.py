# -*- test-case-name: tests.codec.http2.test_frames -*-
"""
Frames, settings and error codes by their numbers (RFC 9113, 4 to 7).

They are plain integers: an C{IntEnum} would cost more than all else that is done for a frame.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable

__all__ = [
    "DEFAULT_WINDOW",
    "LARGEST_FRAME",
    "LARGEST_WINDOW",
    "PREFACE",
    "SMALLEST_FRAME",
    "ErrorCode",
    "Flag",
    "FrameType",
    "Setting",
    "encodeFrame",
    "encodeSettings",
    "frameHead",
    "packSection",
]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""
What a client's side of a connection begins with (RFC 9113, 3.4).
"""

DEFAULT_WINDOW = 65535
"""
What a window is before anyone says otherwise (RFC 9113, 6.9.2).
"""

LARGEST_WINDOW = 2**31 - 1
"""
What no window may exceed (RFC 9113, 6.9.1).
"""

SMALLEST_FRAME = 16384
"""
The longest payload that everyone takes: no SETTINGS_MAX_FRAME_SIZE may be smaller (RFC 9113, 6.5.2), or larger than
L{LARGEST_FRAME}.
"""

LARGEST_FRAME = 2**24 - 1
"""
The longest payload of which a frame can tell the length.
"""


class FrameType:
    """
    RFC 9113, 6.
    """

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Flag:
    """
    The flags of frames; C{ACK} is of SETTINGS and PING, C{END_STREAM} of DATA and HEADERS.
    """

    ACK = 0x1
    END_STREAM = 0x1
    END_HEADERS = 0x4
    PADDED = 0x8
    PRIORITY = 0x20


class Setting:
    """
    RFC 9113, 6.5.2, and RFC 8441, 3.
    """

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6
    ENABLE_CONNECT_PROTOCOL = 8


class ErrorCode:
    """
    RFC 9113, 7.
    """

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


_head = struct.Struct(">HBBBL").pack

# Sections of most lengths never come again.
_MOST_PACKERS = 256


def frameHead(length: int, kind: int, flags: int, streamId: int) -> bytes:
    """
    The nine bytes before a frame's payload.
    """
    return _head(length >> 8, length & 0xFF, kind, flags, streamId)


class _SectionPackers(dict[int, Callable[..., bytes]]):
    """
    What packs HEADERS with a section of a length and the head of the DATA frame behind it: the length and type of the
    one, as a number of four bytes, its flags, its stream, the section, and the first three of the other.
    """

    def __missing__(self, size: int) -> Callable[..., bytes]:
        pack = struct.Struct(f">LBL{size}sLBL").pack
        if len(self) < _MOST_PACKERS:
            self[size] = pack
        return pack


packSection = _SectionPackers()


def encodeFrame(kind: int, flags: int, streamId: int, payload: bytes = b"") -> bytes:
    """
    A whole frame.
    """
    length = len(payload)
    return _head(length >> 8, length & 0xFF, kind, flags, streamId) + payload


def encodeSettings(settings: Iterable[tuple[int, int]]) -> bytes:
    """
    A SETTINGS frame.
    """
    return encodeFrame(FrameType.SETTINGS, 0, 0, b"".join(struct.pack(">HL", name, value) for name, value in settings))
