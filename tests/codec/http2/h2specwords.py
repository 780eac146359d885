"""
What the cases of h2spec are made of: what is sent, what is waited for, and what is taken for an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tests.codec.http2.frames import (
    PREFACE,
    block,
    frame,
    headers,
    request,
    settings,
)

__all__ = [
    "BIG",
    "COMPRESSION_ERROR",
    "Case",
    "DUMMY",
    "FLOW_CONTROL_ERROR",
    "FRAME_SIZE_ERROR",
    "Frame",
    "GET",
    "H2SPEC",
    "NO_WINDOW",
    "OPEN",
    "PROTOCOL_ERROR",
    "REFUSED_STREAM",
    "STREAM_CLOSED",
    "UNKNOWN",
    "Wait",
    "acknowledged",
    "answered",
    "closed",
    "connectionError",
    "dataOf",
    "exactly",
    "group",
    "hpack",
    "isAnswered",
    "kind",
    "malformed",
    "ownSettings",
    "pong",
    "pongOrClosed",
    "settingsAck",
    "someData",
    "streamClosed",
    "streamError",
]


Frame = tuple[int, int, int, bytes]

PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, COMPRESSION_ERROR = (
    1,
    3,
    5,
    6,
    7,
    9,
)


@dataclass(frozen=True)
class Wait:
    """
    Wait until a frame came that fits.
    """

    what: Callable[[Frame], bool]


@dataclass(frozen=True)
class Case:
    """
    @ivar name: For example C{http2/5.1/3}.
    @ivar description: In h2spec's words.
    @ivar steps: What is sent after the handshake, and what is waited for between.
    @ivar handshake: Whether preface and settings were exchanged before; else they are among the steps.
    @ivar expected: Whether a frame, or C{None} for the end of the connection, is the answer that passes.
    """

    name: str
    description: str
    steps: tuple[bytes | Wait, ...]
    expected: Callable[[Frame | None], bool]
    handshake: bool = True


def isAnswered(case: Case, frames: Iterable[Frame], isClosed: bool) -> bool:
    """
    Whether the frames that came after the last wait have the answer among them.
    """
    return any(map(case.expected, frames)) or (isClosed and case.expected(None))


def _code(frame: Frame) -> int:
    kind, _, _, payload = frame
    return int.from_bytes(payload[4:8] if kind == 7 else payload[:4], "big")


def connectionError(*codes: int) -> Callable[[Frame | None], bool]:
    """
    GOAWAY with one of these codes, or the end.
    """
    return lambda frame: frame is None or (frame[0] == 7 and _code(frame) in codes)


def streamError(*codes: int) -> Callable[[Frame | None], bool]:
    """
    RST_STREAM or GOAWAY with one of these codes, or the end.
    """
    return lambda frame: frame is None or (frame[0] in (3, 7) and _code(frame) in codes)


def closed(frame: Frame | None) -> bool:
    """
    The end.
    """
    return frame is None


def kind(number: int) -> Callable[[Frame | None], bool]:
    """
    A frame of this type.
    """
    return lambda frame: frame is not None and frame[0] == number


def exactly(number: int, code: int) -> Callable[[Frame | None], bool]:
    """
    GOAWAY or RST_STREAM with this code, and nothing less.
    """
    return lambda frame: frame is not None and frame[0] == number and _code(frame) == code


def dataOf(length: int) -> Callable[[Frame | None], bool]:
    """
    DATA of so many bytes.
    """
    return lambda frame: frame is not None and frame[0] == 0 and len(frame[3]) == length


def pong(opaque: bytes = bytes(8)) -> Callable[[Frame | None], bool]:
    """
    The answer to a ping.
    """
    return lambda frame: frame is not None and frame[0] == 6 and frame[1] == 1 and frame[3] == opaque


def pongOrClosed(opaque: bytes = bytes(8)) -> Callable[[Frame | None], bool]:
    """
    The answer to a ping, or the end.
    """
    return lambda frame: frame is None or pong(opaque)(frame)


def settingsAck(frame: Frame | None) -> bool:
    """
    The acknowledgement of settings.
    """
    return frame is not None and frame[0] == 4 and frame[1] == 1


def ownSettings(frame: Frame | None) -> bool:
    """
    The server's own settings.
    """
    return frame is not None and frame[0] == 4 and frame[1] == 0


answered = kind(1)

streamClosed = Wait(lambda frame: frame[0] == 3 or (frame[0] in (0, 1) and bool(frame[1] & 1)))
acknowledged = Wait(settingsAck)
someData = Wait(lambda frame: frame[0] == 0)

H2SPEC = b"h2spec\0\0"
GET = headers(1, request())
OPEN = headers(1, request(method=b"POST"), endStream=False)
DUMMY = [(b"x-dummy0", b"x" * 100)]
BIG = [(b"x-dummy%d" % number, b"x" * 4000) for number in range(5)]
NO_WINDOW = settings((4, 0))
UNKNOWN = frame(0x16, 0, 0, bytes(8))


def hpack(raw: bytes) -> bytes:
    """
    A request whose block goes on like this.
    """
    return headers(1, block(request()) + raw)


def malformed(*more: tuple[bytes, bytes], **changes: Any) -> bytes:
    """
    A request with other fields.
    """
    return headers(1, request(*more, **changes))


def group(section: str, *cases: tuple[str, list[bytes | Wait], Callable[[Frame | None], bool]]) -> list[Case]:
    """
    The cases of a section.
    """
    return [
        Case(f"{section}/{place}", description, tuple(steps), expected, PREFACE not in steps)
        for place, (description, steps, expected) in enumerate(cases, 1)
    ]
