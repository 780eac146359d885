"""
The cases of h2spec (github.com/summerwind/h2spec), which asks servers whether they keep to RFC 9113 and RFC 7541: what
it sends, and what it takes for an answer. A case's name is its section there and its place in it.

Whoever runs them plays the server: it answers each request with 200 and a body of 12 bytes. See L{Case}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tests.codec.http2.frames import (
    PREFACE,
    block,
    continuation,
    data,
    frame,
    goAway,
    headers,
    ping,
    priority,
    pushPromise,
    request,
    reset,
    settings,
    windowUpdate,
)

__all__ = ["CASES", "Case", "Frame", "isAnswered"]

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

_H2SPEC = b"h2spec\0\0"
_GET = headers(1, request())
_OPEN = headers(1, request(method=b"POST"), endStream=False)
_DUMMY = [(b"x-dummy0", b"x" * 100)]
_BIG = [(b"x-dummy%d" % number, b"x" * 4000) for number in range(5)]
_NO_WINDOW = settings((4, 0))
_UNKNOWN = frame(0x16, 0, 0, bytes(8))


def _hpack(raw: bytes) -> bytes:
    return headers(1, block(request()) + raw)


def _malformed(*more: tuple[bytes, bytes], **changes: Any) -> bytes:
    return headers(1, request(*more, **changes))


def _group(section: str, *cases: tuple[str, list[bytes | Wait], Callable[[Frame | None], bool]]) -> list[Case]:
    return [
        Case(f"{section}/{place}", description, tuple(steps), expected, PREFACE not in steps)
        for place, (description, steps, expected) in enumerate(cases, 1)
    ]


GENERIC = [
    *_group("generic/1", ("Sends a client connection preface", [PREFACE, settings((4, 65535))], ownSettings)),
    *_group(
        "generic/2",
        ("Sends a PRIORITY frame on idle stream", [priority(1), ping()], pong()),
        (
            "Sends a WINDOW_UPDATE frame on half-closed (remote) stream",
            [_NO_WINDOW, _GET, windowUpdate(1, 1)],
            kind(0),
        ),
        (
            "Sends a PRIORITY frame on half-closed (remote) stream",
            [_NO_WINDOW, _GET, priority(1), windowUpdate(1, 1)],
            kind(0),
        ),
        ("Sends a RST_STREAM frame on half-closed (remote) stream", [_GET, reset(1), ping()], pongOrClosed()),
        ("Sends a PRIORITY frame on closed stream", [_GET, streamClosed, priority(1), ping()], pong()),
    ),
    *_group(
        "generic/3.1",
        ("Sends a DATA frame", [_OPEN, data(1, b"test", True)], answered),
        ("Sends multiple DATA frames", [_OPEN, data(1, b"test"), data(1, b"test", True)], answered),
        ("Sends a DATA frame with padding", [_OPEN, data(1, b"test", True, 5)], answered),
    ),
    *_group(
        "generic/3.2",
        ("Sends a HEADERS frame", [_GET], answered),
        ("Sends a HEADERS frame with padding", [headers(1, request(), padding=8)], answered),
        ("Sends a HEADERS frame with priority", [headers(1, request(), dependsOn=0)], answered),
    ),
    *_group(
        "generic/3.3",
        ("Sends a PRIORITY frame with priority 1", [priority(1, weight=0), _GET], answered),
        ("Sends a PRIORITY frame with priority 256", [priority(1, weight=255), _GET], answered),
        ("Sends a PRIORITY frame with stream dependency", [priority(3, 1, 0), _GET], answered),
        ("Sends a PRIORITY frame with exclusive", [priority(1, 0, 0, True), _GET], answered),
        (
            "Sends a PRIORITY frame for an idle stream, then send a HEADER frame for a lower stream ID",
            [priority(3), _GET],
            answered,
        ),
    ),
    *_group("generic/3.4", ("Sends a RST_STREAM frame", [_OPEN, reset(1), ping()], pongOrClosed())),
    *_group(
        "generic/3.5",
        (
            "Sends a SETTINGS frame",
            [settings((1, 4096), (2, 1), (3, 100), (4, 65535), (5, 16384), (6, 100))],
            settingsAck,
        ),
    ),
    *_group("generic/3.7", ("Sends a PING frame", [ping(_H2SPEC)], pong(_H2SPEC))),
    *_group("generic/3.8", ("Sends a GOAWAY frame", [goAway(0, 0, b"h2spec"), ping(_H2SPEC)], pongOrClosed(_H2SPEC))),
    *_group(
        "generic/3.9",
        ("Sends a WINDOW_UPDATE frame with stream ID 0", [windowUpdate(0, 1), ping()], pong()),
        ("Sends a WINDOW_UPDATE frame with stream ID 1", [_GET, windowUpdate(1, 1)], answered),
    ),
    *_group(
        "generic/3.10",
        (
            "Sends a CONTINUATION frame",
            [headers(1, block(request())[:5], True, False), continuation(1, block(request())[5:])],
            answered,
        ),
        (
            "Sends multiple CONTINUATION frames",
            [
                headers(1, block(request())[:5], True, False),
                continuation(1, block(request())[5:10], False),
                continuation(1, block(request())[10:]),
            ],
            answered,
        ),
    ),
    *_group(
        "generic/4",
        ("Sends a GET request", [_GET], answered),
        ("Sends a HEAD request", [headers(1, request(method=b"HEAD"))], answered),
        ("Sends a POST request", [_OPEN, data(1, b"test", True)], answered),
        (
            "Sends a POST request with trailers",
            [
                headers(1, request((b"trailer", b"x-test"), method=b"POST"), False),
                data(1, b"test"),
                headers(1, [(b"x-test", b"ok")]),
            ],
            answered,
        ),
    ),
    *_group(
        "generic/5",
        ("Sends a indexed header field representation", [_hpack(b"\xba")], answered),
        (
            "Sends a literal header field with incremental indexing - indexed name",
            [_hpack(bytes.fromhex("4087b505b161cc5a93849c48aca4"))],
            answered,
        ),
        (
            "Sends a literal header field with incremental indexing - indexed name (with Huffman coding)",
            [_hpack(b"\x40\x0auser-agent\x06h2spec")],
            answered,
        ),
        (
            "Sends a literal header field with incremental indexing - new name",
            [_hpack(b"\x40\x06x-test\x06h2spec")],
            answered,
        ),
        (
            "Sends a literal header field with incremental indexing - new name (with Huffman coding)",
            [_hpack(bytes.fromhex("4085f2b24a84ff849c48aca4"))],
            answered,
        ),
        (
            "Sends a literal header field without indexing - indexed name",
            [_hpack(b"\x00\x0auser-agent\x06h2spec")],
            answered,
        ),
        (
            "Sends a literal header field without indexing - indexed name (with Huffman coding)",
            [_hpack(bytes.fromhex("0087b505b161cc5a93849c48aca4"))],
            answered,
        ),
        ("Sends a literal header field without indexing - new name", [_hpack(b"\x00\x06x-test\x06h2spec")], answered),
        (
            "Sends a literal header field without indexing - new name (huffman encoded)",
            [_hpack(bytes.fromhex("0085f2b24a84ff849c48aca4"))],
            answered,
        ),
        (
            "Sends a literal header field never indexed - indexed name",
            [_hpack(b"\x10\x0auser-agent\x06h2spec")],
            answered,
        ),
        (
            "Sends a literal header field never indexed - indexed name (huffman encoded)",
            [_hpack(bytes.fromhex("1087b505b161cc5a93849c48aca4"))],
            answered,
        ),
        ("Sends a literal header field never indexed - new name", [_hpack(b"\x10\x06x-test\x06h2spec")], answered),
        (
            "Sends a literal header field never indexed - new name (huffman encoded)",
            [_hpack(bytes.fromhex("1085f2b24a84ff849c48aca4"))],
            answered,
        ),
        ("Sends a dynamic table size update", [headers(1, b"\x3f\x61" + block(request(), 0x40))], answered),
        (
            "Sends multiple dynamic table size update",
            [headers(1, b"\x3f\x61\x3f\xe1\x1f" + block(request(), 0x40))],
            answered,
        ),
    ),
]

HTTP2 = [
    *_group(
        "http2/3.5",
        ("Sends client connection preface", [PREFACE, settings((4, 65535))], ownSettings),
        (
            "Sends invalid connection preface",
            [b"INVALID CONNECTION PREFACE\r\n\r\n", PREFACE],
            connectionError(PROTOCOL_ERROR),
        ),
    ),
    *_group(
        "http2/4.1",
        ("Sends a frame with unknown type", [_UNKNOWN, ping()], pong()),
        ("Sends a frame with undefined flag", [frame(6, 0x16, 0, bytes(8))], kind(6)),
        ("Sends a frame with reserved field bit", [frame(6, 0x16, 0x80000000, bytes(8))], kind(6)),
    ),
    *_group(
        "http2/4.2",
        ("Sends a DATA frame with 2^14 octets in length", [_OPEN, data(1, bytes(16384), True)], answered),
        (
            "Sends a large size DATA frame that exceeds the SETTINGS_MAX_FRAME_SIZE",
            [_OPEN, data(1, bytes(16385), True)],
            streamError(FRAME_SIZE_ERROR),
        ),
        (
            "Sends a large size HEADERS frame that exceeds the SETTINGS_MAX_FRAME_SIZE",
            [headers(1, request(*_BIG))],
            connectionError(FRAME_SIZE_ERROR),
        ),
    ),
    *_group(
        "http2/4.3",
        ("Sends invalid header block fragment", [headers(1, b"\x40")], connectionError(COMPRESSION_ERROR)),
        (
            "Sends a PRIORITY frame while sending the header blocks",
            [headers(1, request(), False, False), priority(1), continuation(1, _DUMMY)],
            connectionError(PROTOCOL_ERROR),
        ),
        (
            "Sends a HEADERS frame to another stream while sending the header blocks",
            [headers(1, request(), False, False), headers(3, request()), continuation(1, _DUMMY)],
            connectionError(PROTOCOL_ERROR),
        ),
    ),
    *_group(
        "http2/5.1",
        ("idle: Sends a DATA frame", [data(1, b"test", True)], streamError(PROTOCOL_ERROR, STREAM_CLOSED)),
        ("idle: Sends a RST_STREAM frame", [reset(1)], connectionError(PROTOCOL_ERROR)),
        ("idle: Sends a WINDOW_UPDATE frame", [windowUpdate(1, 100)], connectionError(PROTOCOL_ERROR)),
        ("idle: Sends a CONTINUATION frame", [continuation(1, request())], connectionError(PROTOCOL_ERROR)),
        (
            "half closed (remote): Sends a DATA frame",
            [_NO_WINDOW, _GET, data(1, b"test", True)],
            streamError(STREAM_CLOSED),
        ),
        ("half closed (remote): Sends a HEADERS frame", [_NO_WINDOW, _GET, _GET], streamError(STREAM_CLOSED)),
        (
            "half closed (remote): Sends a CONTINUATION frame",
            [_NO_WINDOW, _GET, continuation(1, request())],
            streamError(STREAM_CLOSED, PROTOCOL_ERROR),
        ),
        (
            "closed: Sends a DATA frame after sending RST_STREAM frame",
            [_OPEN, reset(1), data(1, b"test", True)],
            streamError(STREAM_CLOSED),
        ),
        (
            "closed: Sends a HEADERS frame after sending RST_STREAM frame",
            [_OPEN, reset(1), _GET],
            streamError(STREAM_CLOSED),
        ),
        (
            "closed: Sends a CONTINUATION frame after sending RST_STREAM frame",
            [_OPEN, reset(1), continuation(1, _DUMMY)],
            streamError(STREAM_CLOSED, PROTOCOL_ERROR),
        ),
        ("closed: Sends a DATA frame", [_GET, streamClosed, data(1, b"test", True)], streamError(STREAM_CLOSED)),
        ("closed: Sends a HEADERS frame", [_GET, streamClosed, _GET], connectionError(STREAM_CLOSED)),
        (
            "closed: Sends a CONTINUATION frame",
            [_GET, streamClosed, continuation(1, _DUMMY)],
            connectionError(STREAM_CLOSED, PROTOCOL_ERROR),
        ),
    ),
    *_group(
        "http2/5.1.1",
        ("Sends even-numbered stream identifier", [headers(2, request())], connectionError(PROTOCOL_ERROR)),
        (
            "Sends stream identifier that is numerically smaller than previous",
            [headers(5, request()), headers(3, request())],
            connectionError(PROTOCOL_ERROR),
        ),
    ),
    *_group(
        "http2/5.1.2",
        (
            "Sends HEADERS frames that causes their advertised concurrent stream limit to be exceeded",
            [_NO_WINDOW, *(headers(2 * number + 1, request()) for number in range(1025))],
            streamError(PROTOCOL_ERROR, REFUSED_STREAM),
        ),
    ),
    *_group(
        "http2/5.3.1",
        (
            "Sends HEADERS frame that depends on itself",
            [headers(1, request(), dependsOn=1)],
            streamError(PROTOCOL_ERROR),
        ),
        ("Sends PRIORITY frame that depend on itself", [priority(1, 1)], streamError(PROTOCOL_ERROR)),
    ),
    *_group(
        "http2/5.4.1",
        ("Sends an invalid PING frame for connection close", [ping(streamId=3)], closed),
        ("Sends an invalid PING frame to receive GOAWAY frame", [ping(streamId=3)], kind(7)),
    ),
    *_group(
        "http2/5.5",
        ("Sends an unknown extension frame", [_UNKNOWN, ping()], pong()),
        (
            "Sends an unknown extension frame in the middle of a header block",
            [headers(1, request(), True, False), _UNKNOWN],
            connectionError(PROTOCOL_ERROR),
        ),
    ),
    *_group(
        "http2/6.1",
        ("Sends a DATA frame with 0x0 stream identifier", [data(0, b"test", True)], connectionError(PROTOCOL_ERROR)),
        (
            'Sends a DATA frame on the stream that is not in "open" or "half-closed (local)" state',
            [_NO_WINDOW, headers(1, request(method=b"POST")), data(1, b"test", True)],
            streamError(STREAM_CLOSED),
        ),
        (
            "Sends a DATA frame with invalid pad length",
            [
                headers(1, request((b"content-length", b"4"), method=b"POST"), False),
                frame(0, 9, 1, b"\x06\x54\x65\x73\x74"),
            ],
            connectionError(PROTOCOL_ERROR),
        ),
    ),
    *_group(
        "http2/6.2",
        (
            "Sends a HEADERS frame without the END_HEADERS flag, and a PRIORITY frame",
            [headers(1, request(), False, False), priority(1), continuation(1, _DUMMY)],
            connectionError(PROTOCOL_ERROR),
        ),
        (
            "Sends a HEADERS frame to another stream while sending a HEADERS frame",
            [headers(1, request(), False, False), headers(3, request()), continuation(1, _DUMMY)],
            connectionError(PROTOCOL_ERROR),
        ),
        (
            "Sends a HEADERS frame with 0x0 stream identifier",
            [headers(0, request())],
            connectionError(PROTOCOL_ERROR),
        ),
        (
            "Sends a HEADERS frame with invalid pad length",
            [frame(1, 0x0D, 1, bytes((len(block(request())) + 2,)) + block(request()))],
            streamError(PROTOCOL_ERROR),
        ),
    ),
    *_group(
        "http2/6.3",
        ("Sends a PRIORITY frame with 0x0 stream identifier", [priority(0)], connectionError(PROTOCOL_ERROR)),
        (
            "Sends a PRIORITY frame with a length other than 5 octets",
            [_GET, frame(2, 0, 1, b"\x80\x00\x00\x01")],
            streamError(FRAME_SIZE_ERROR),
        ),
    ),
    *_group(
        "http2/6.4",
        ("Sends a RST_STREAM frame with 0x0 stream identifier", [reset(0)], connectionError(PROTOCOL_ERROR)),
        ("Sends a RST_STREAM frame on a idle stream", [reset(1)], connectionError(PROTOCOL_ERROR)),
        (
            "Sends a RST_STREAM frame with a length other than 4 octets",
            [_GET, frame(3, 0, 1, bytes(3))],
            streamError(FRAME_SIZE_ERROR),
        ),
    ),
    *_group(
        "http2/6.5",
        (
            "Sends a SETTINGS frame with ACK flag and payload",
            [frame(4, 1, 0, b"\0")],
            connectionError(FRAME_SIZE_ERROR),
        ),
        (
            "Sends a SETTINGS frame with a stream identifier other than 0x0",
            [frame(4, 0, 1, b"\x00\x03\x00\x00\x00\x64")],
            connectionError(PROTOCOL_ERROR),
        ),
        (
            "Sends a SETTINGS frame with a length other than a multiple of 6 octets",
            [frame(4, 0, 0, b"\x00\x03\x00")],
            streamError(PROTOCOL_ERROR, FRAME_SIZE_ERROR),
        ),
    ),
    *_group(
        "http2/6.5.2",
        (
            "SETTINGS_ENABLE_PUSH (0x2): Sends the value other than 0 or 1",
            [settings((2, 2))],
            connectionError(PROTOCOL_ERROR),
        ),
        (
            "SETTINGS_INITIAL_WINDOW_SIZE (0x4): Sends the value above the maximum flow control window size",
            [settings((4, 2147483648))],
            connectionError(FLOW_CONTROL_ERROR),
        ),
        (
            "SETTINGS_MAX_FRAME_SIZE (0x5): Sends the value below the initial value",
            [settings((5, 16383))],
            connectionError(PROTOCOL_ERROR),
        ),
        (
            "SETTINGS_MAX_FRAME_SIZE (0x5): Sends the value above the maximum allowed frame size",
            [settings((5, 16777216))],
            connectionError(PROTOCOL_ERROR),
        ),
        ("Sends a SETTINGS frame with unknown identifier", [settings((0xFF, 1)), ping()], pong()),
    ),
    *_group(
        "http2/6.5.3",
        (
            "Sends multiple values of SETTINGS_INITIAL_WINDOW_SIZE",
            [settings((4, 100), (4, 1)), acknowledged, _GET],
            dataOf(1),
        ),
        ("Sends a SETTINGS frame without ACK flag", [settings((2, 0))], settingsAck),
    ),
    *_group(
        "http2/6.7",
        ("Sends a PING frame", [ping(_H2SPEC)], pong(_H2SPEC)),
        ("Sends a PING frame with ACK", [ping(b"invalid\0", True), ping(_H2SPEC)], pong(_H2SPEC)),
        (
            "Sends a PING frame with a stream identifier field value other than 0x0",
            [ping(streamId=1)],
            connectionError(PROTOCOL_ERROR),
        ),
        (
            "Sends a PING frame with a length field value other than 8",
            [ping(bytes(6))],
            connectionError(FRAME_SIZE_ERROR),
        ),
    ),
    *_group(
        "http2/6.8",
        (
            "Sends a GOAWAY frame with a stream identifier other than 0x0",
            [goAway(0, streamId=1)],
            connectionError(PROTOCOL_ERROR),
        ),
    ),
    *_group(
        "http2/6.9",
        (
            "Sends a WINDOW_UPDATE frame with a flow control window increment of 0",
            [windowUpdate(0, 0)],
            connectionError(PROTOCOL_ERROR),
        ),
        (
            "Sends a WINDOW_UPDATE frame with a flow control window increment of 0 on a stream",
            [_OPEN, windowUpdate(1, 0)],
            streamError(PROTOCOL_ERROR),
        ),
        (
            "Sends a WINDOW_UPDATE frame with a length other than 4 octets",
            [frame(8, 0, 0, b"\x00\x00\x01")],
            connectionError(FRAME_SIZE_ERROR),
        ),
    ),
    *_group(
        "http2/6.9.1",
        (
            "Sends SETTINGS frame to set the initial window size to 1 and sends HEADERS frame",
            [settings((4, 1)), acknowledged, _GET],
            dataOf(1),
        ),
        (
            "Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1",
            [windowUpdate(0, 2147483647), windowUpdate(0, 2147483647)],
            exactly(7, FLOW_CONTROL_ERROR),
        ),
        (
            "Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1 on a stream",
            [_OPEN, windowUpdate(1, 2147483647), windowUpdate(1, 2147483647)],
            exactly(3, FLOW_CONTROL_ERROR),
        ),
    ),
    *_group(
        "http2/6.9.2",
        (
            "Changes SETTINGS_INITIAL_WINDOW_SIZE after sending HEADERS frame",
            [_NO_WINDOW, acknowledged, _GET, settings((4, 1))],
            dataOf(1),
        ),
        (
            "Sends a SETTINGS frame for window size to be negative",
            [settings((4, 3)), acknowledged, _GET, someData, settings((4, 2)), acknowledged, windowUpdate(1, 2)],
            dataOf(1),
        ),
        (
            "Sends a SETTINGS_INITIAL_WINDOW_SIZE settings with an exceeded maximum window size value",
            [settings((4, 0x80000000))],
            connectionError(FLOW_CONTROL_ERROR),
        ),
    ),
    *_group(
        "http2/6.10",
        (
            "Sends multiple CONTINUATION frames preceded by a HEADERS frame",
            [headers(1, request(), True, False), continuation(1, _DUMMY, False), continuation(1, _DUMMY)],
            answered,
        ),
        (
            "Sends a CONTINUATION frame followed by any frame other than CONTINUATION",
            [headers(1, request(), False, False), continuation(1, _DUMMY, False), data(1, b"test", True)],
            connectionError(PROTOCOL_ERROR),
        ),
        (
            "Sends a CONTINUATION frame with 0x0 stream identifier",
            [headers(1, request(), True, False), continuation(0, _DUMMY)],
            connectionError(PROTOCOL_ERROR),
        ),
        (
            "Sends a CONTINUATION frame preceded by a HEADERS frame with END_HEADERS flag",
            [_GET, continuation(1, _DUMMY)],
            connectionError(PROTOCOL_ERROR),
        ),
        (
            "Sends a CONTINUATION frame preceded by a CONTINUATION frame with END_HEADERS flag",
            [headers(1, request(), True, False), continuation(1, _DUMMY), continuation(1, _DUMMY)],
            connectionError(PROTOCOL_ERROR),
        ),
        (
            "Sends a CONTINUATION frame preceded by a DATA frame",
            [
                headers(1, request(method=b"POST"), False, False),
                data(1, b"test", True),
                continuation(1, _DUMMY, False),
                continuation(0, _DUMMY),
            ],
            connectionError(PROTOCOL_ERROR),
        ),
    ),
    *_group(
        "http2/7",
        (
            "Sends a GOAWAY frame with unknown error code",
            [goAway(0, 0xFF), ping(_H2SPEC)],
            pongOrClosed(_H2SPEC),
        ),
        ("Sends a RST_STREAM frame with unknown error code", [_OPEN, reset(1, 0xFF), ping()], pongOrClosed()),
    ),
    *_group(
        "http2/8.1",
        (
            "Sends a second HEADERS frame without the END_STREAM flag",
            [_OPEN, data(1, b"test"), headers(1, [(b"x-test", b"ok")], False)],
            streamError(PROTOCOL_ERROR),
        ),
    ),
    *_group(
        "http2/8.1.2",
        (
            "Sends a HEADERS frame that contains the header field name in uppercase letters",
            [_malformed((b"X-TEST", b"ok"))],
            streamError(PROTOCOL_ERROR),
        ),
    ),
    *_group(
        "http2/8.1.2.1",
        (
            "Sends a HEADERS frame that contains a unknown pseudo-header field",
            [_malformed((b":test", b"ok"))],
            streamError(PROTOCOL_ERROR),
        ),
        (
            "Sends a HEADERS frame that contains the pseudo-header field defined for response",
            [_malformed((b":status", b"200"))],
            streamError(PROTOCOL_ERROR),
        ),
        (
            "Sends a HEADERS frame that contains a pseudo-header field as trailers",
            [_OPEN, data(1, b"test"), headers(1, [(b":method", b"POST")], True)],
            streamError(PROTOCOL_ERROR),
        ),
        (
            "Sends a HEADERS frame that contains a pseudo-header field that appears in a header block after a regular "
            "header field",
            [headers(1, [(b"x-test", b"ok"), *request()])],
            streamError(PROTOCOL_ERROR),
        ),
    ),
    *_group(
        "http2/8.1.2.2",
        (
            "Sends a HEADERS frame that contains the connection-specific header field",
            [_malformed((b"connection", b"keep-alive"))],
            streamError(PROTOCOL_ERROR),
        ),
        (
            'Sends a HEADERS frame that contains the TE header field with any value other than "trailers"',
            [_malformed((b"trailers", b"test"), (b"te", b"trailers, deflate"))],
            streamError(PROTOCOL_ERROR),
        ),
    ),
    *_group(
        "http2/8.1.2.3",
        (
            'Sends a HEADERS frame with empty ":path" pseudo-header field',
            [_malformed(path=b"")],
            streamError(PROTOCOL_ERROR),
        ),
        (
            'Sends a HEADERS frame that omits ":method" pseudo-header field',
            [headers(1, request()[1:])],
            streamError(PROTOCOL_ERROR),
        ),
        (
            'Sends a HEADERS frame that omits ":scheme" pseudo-header field',
            [_malformed(scheme=None)],
            streamError(PROTOCOL_ERROR),
        ),
        (
            'Sends a HEADERS frame that omits ":path" pseudo-header field',
            [_malformed(path=None)],
            streamError(PROTOCOL_ERROR),
        ),
        (
            'Sends a HEADERS frame with duplicated ":method" pseudo-header field',
            [_malformed((b":method", b"GET"))],
            streamError(PROTOCOL_ERROR),
        ),
        (
            'Sends a HEADERS frame with duplicated ":scheme" pseudo-header field',
            [_malformed((b":scheme", b"http"))],
            streamError(PROTOCOL_ERROR),
        ),
        (
            'Sends a HEADERS frame with duplicated ":path" pseudo-header field',
            [_malformed((b":path", b"/"))],
            streamError(PROTOCOL_ERROR),
        ),
    ),
    *_group(
        "http2/8.1.2.6",
        (
            'Sends a HEADERS frame with the "content-length" header field which does not equal the DATA frame payload '
            "length",
            [headers(1, request((b"content-length", b"1"), method=b"POST"), False), data(1, b"test", True)],
            streamError(PROTOCOL_ERROR),
        ),
        (
            'Sends a HEADERS frame with the "content-length" header field which does not equal the sum of the multiple '
            "DATA frames payload length",
            [
                headers(1, request((b"content-length", b"5"), method=b"POST"), False),
                data(1, b"test"),
                data(1, b"test", True),
            ],
            streamError(PROTOCOL_ERROR),
        ),
    ),
    *_group(
        "http2/8.2",
        ("Sends a PUSH_PROMISE frame", [pushPromise(1, 3, request())], connectionError(PROTOCOL_ERROR)),
    ),
]

HPACK = [
    *_group(
        "hpack/2.3.3",
        (
            "Sends a indexed header field representation with invalid index",
            [_hpack(b"\xc6")],
            connectionError(COMPRESSION_ERROR),
        ),
        (
            "Sends a literal header field representation with invalid index",
            [_hpack(b"\x7f\x07\x00")],
            connectionError(COMPRESSION_ERROR),
        ),
    ),
    *_group(
        "hpack/4.2",
        (
            "Sends a dynamic table size update at the end of header block",
            [_hpack(b"\x21")],
            connectionError(COMPRESSION_ERROR),
        ),
    ),
    *_group(
        "hpack/5.2",
        (
            "Sends a Huffman-encoded string literal representation with padding longer than 7 bits",
            [_hpack(bytes.fromhex("0085f2b24a84ff8449509fff"))],
            connectionError(COMPRESSION_ERROR),
        ),
        (
            "Sends a Huffman-encoded string literal representation padded by zero",
            [_hpack(bytes.fromhex("0085f2b24a84ff83495090"))],
            connectionError(COMPRESSION_ERROR),
        ),
        (
            "Sends a Huffman-encoded string literal representation containing the EOS symbol",
            [_hpack(bytes.fromhex("0085f2b24a84ff874951fffffffa7f"))],
            connectionError(COMPRESSION_ERROR),
        ),
    ),
    *_group(
        "hpack/6.1",
        (
            "Sends a indexed header field representation with index 0",
            [_hpack(b"\x80")],
            connectionError(COMPRESSION_ERROR),
        ),
    ),
    *_group(
        "hpack/6.3",
        (
            "Sends a dynamic table size update larger than the value of SETTINGS_HEADER_TABLE_SIZE",
            [headers(1, b"\x3f\xe2\x1f" + block(request()))],
            connectionError(COMPRESSION_ERROR),
        ),
    ),
]

CASES = [*GENERIC, *HTTP2, *HPACK]
