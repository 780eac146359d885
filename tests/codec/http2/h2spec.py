"""
The cases of h2spec (github.com/summerwind/h2spec), which asks servers whether they keep to RFC 9113 and RFC 7541: what
it sends, and what it takes for an answer. A case's name is its section there and its place in it.

Whoever runs them plays the server: it answers each request with 200 and a body of 12 bytes. See L{Case}.
"""

from __future__ import annotations

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
from tests.codec.http2.h2specgeneric import GENERIC, HPACK
from tests.codec.http2.h2specwords import (
    BIG,
    COMPRESSION_ERROR,
    DUMMY,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GET,
    H2SPEC,
    NO_WINDOW,
    OPEN,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    STREAM_CLOSED,
    UNKNOWN,
    acknowledged,
    answered,
    closed,
    connectionError,
    dataOf,
    exactly,
    group,
    kind,
    malformed,
    ownSettings,
    pong,
    pongOrClosed,
    settingsAck,
    someData,
    streamClosed,
    streamError,
)

__all__ = ["CASES", "HTTP2"]

HTTP2 = [
    *group(
        "http2/3.5",
        ("Sends client connection preface", [PREFACE, settings((4, 65535))], ownSettings),
        (
            "Sends invalid connection preface",
            [b"INVALID CONNECTION PREFACE\r\n\r\n", PREFACE],
            connectionError(PROTOCOL_ERROR),
        ),
    ),
    *group(
        "http2/4.1",
        ("Sends a frame with unknown type", [UNKNOWN, ping()], pong()),
        ("Sends a frame with undefined flag", [frame(6, 0x16, 0, bytes(8))], kind(6)),
        ("Sends a frame with reserved field bit", [frame(6, 0x16, 0x80000000, bytes(8))], kind(6)),
    ),
    *group(
        "http2/4.2",
        ("Sends a DATA frame with 2^14 octets in length", [OPEN, data(1, bytes(16384), True)], answered),
        (
            "Sends a large size DATA frame that exceeds the SETTINGS_MAX_FRAME_SIZE",
            [OPEN, data(1, bytes(16385), True)],
            streamError(FRAME_SIZE_ERROR),
        ),
        (
            "Sends a large size HEADERS frame that exceeds the SETTINGS_MAX_FRAME_SIZE",
            [headers(1, request(*BIG))],
            connectionError(FRAME_SIZE_ERROR),
        ),
    ),
    *group(
        "http2/4.3",
        ("Sends invalid header block fragment", [headers(1, b"\x40")], connectionError(COMPRESSION_ERROR)),
        (
            "Sends a PRIORITY frame while sending the header blocks",
            [headers(1, request(), False, False), priority(1), continuation(1, DUMMY)],
            connectionError(PROTOCOL_ERROR),
        ),
        (
            "Sends a HEADERS frame to another stream while sending the header blocks",
            [headers(1, request(), False, False), headers(3, request()), continuation(1, DUMMY)],
            connectionError(PROTOCOL_ERROR),
        ),
    ),
    *group(
        "http2/5.1",
        ("idle: Sends a DATA frame", [data(1, b"test", True)], streamError(PROTOCOL_ERROR, STREAM_CLOSED)),
        ("idle: Sends a RST_STREAM frame", [reset(1)], connectionError(PROTOCOL_ERROR)),
        ("idle: Sends a WINDOW_UPDATE frame", [windowUpdate(1, 100)], connectionError(PROTOCOL_ERROR)),
        ("idle: Sends a CONTINUATION frame", [continuation(1, request())], connectionError(PROTOCOL_ERROR)),
        (
            "half closed (remote): Sends a DATA frame",
            [NO_WINDOW, GET, data(1, b"test", True)],
            streamError(STREAM_CLOSED),
        ),
        ("half closed (remote): Sends a HEADERS frame", [NO_WINDOW, GET, GET], streamError(STREAM_CLOSED)),
        (
            "half closed (remote): Sends a CONTINUATION frame",
            [NO_WINDOW, GET, continuation(1, request())],
            streamError(STREAM_CLOSED, PROTOCOL_ERROR),
        ),
        (
            "closed: Sends a DATA frame after sending RST_STREAM frame",
            [OPEN, reset(1), data(1, b"test", True)],
            streamError(STREAM_CLOSED),
        ),
        (
            "closed: Sends a HEADERS frame after sending RST_STREAM frame",
            [OPEN, reset(1), GET],
            streamError(STREAM_CLOSED),
        ),
        (
            "closed: Sends a CONTINUATION frame after sending RST_STREAM frame",
            [OPEN, reset(1), continuation(1, DUMMY)],
            streamError(STREAM_CLOSED, PROTOCOL_ERROR),
        ),
        ("closed: Sends a DATA frame", [GET, streamClosed, data(1, b"test", True)], streamError(STREAM_CLOSED)),
        ("closed: Sends a HEADERS frame", [GET, streamClosed, GET], connectionError(STREAM_CLOSED)),
        (
            "closed: Sends a CONTINUATION frame",
            [GET, streamClosed, continuation(1, DUMMY)],
            connectionError(STREAM_CLOSED, PROTOCOL_ERROR),
        ),
    ),
    *group(
        "http2/5.1.1",
        ("Sends even-numbered stream identifier", [headers(2, request())], connectionError(PROTOCOL_ERROR)),
        (
            "Sends stream identifier that is numerically smaller than previous",
            [headers(5, request()), headers(3, request())],
            connectionError(PROTOCOL_ERROR),
        ),
    ),
    *group(
        "http2/5.1.2",
        (
            "Sends HEADERS frames that causes their advertised concurrent stream limit to be exceeded",
            [NO_WINDOW, *(headers(2 * number + 1, request()) for number in range(1025))],
            streamError(PROTOCOL_ERROR, REFUSED_STREAM),
        ),
    ),
    *group(
        "http2/5.3.1",
        (
            "Sends HEADERS frame that depends on itself",
            [headers(1, request(), dependsOn=1)],
            streamError(PROTOCOL_ERROR),
        ),
        ("Sends PRIORITY frame that depend on itself", [priority(1, 1)], streamError(PROTOCOL_ERROR)),
    ),
    *group(
        "http2/5.4.1",
        ("Sends an invalid PING frame for connection close", [ping(streamId=3)], closed),
        ("Sends an invalid PING frame to receive GOAWAY frame", [ping(streamId=3)], kind(7)),
    ),
    *group(
        "http2/5.5",
        ("Sends an unknown extension frame", [UNKNOWN, ping()], pong()),
        (
            "Sends an unknown extension frame in the middle of a header block",
            [headers(1, request(), True, False), UNKNOWN],
            connectionError(PROTOCOL_ERROR),
        ),
    ),
    *group(
        "http2/6.1",
        ("Sends a DATA frame with 0x0 stream identifier", [data(0, b"test", True)], connectionError(PROTOCOL_ERROR)),
        (
            'Sends a DATA frame on the stream that is not in "open" or "half-closed (local)" state',
            [NO_WINDOW, headers(1, request(method=b"POST")), data(1, b"test", True)],
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
    *group(
        "http2/6.2",
        (
            "Sends a HEADERS frame without the END_HEADERS flag, and a PRIORITY frame",
            [headers(1, request(), False, False), priority(1), continuation(1, DUMMY)],
            connectionError(PROTOCOL_ERROR),
        ),
        (
            "Sends a HEADERS frame to another stream while sending a HEADERS frame",
            [headers(1, request(), False, False), headers(3, request()), continuation(1, DUMMY)],
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
    *group(
        "http2/6.3",
        ("Sends a PRIORITY frame with 0x0 stream identifier", [priority(0)], connectionError(PROTOCOL_ERROR)),
        (
            "Sends a PRIORITY frame with a length other than 5 octets",
            [GET, frame(2, 0, 1, b"\x80\x00\x00\x01")],
            streamError(FRAME_SIZE_ERROR),
        ),
    ),
    *group(
        "http2/6.4",
        ("Sends a RST_STREAM frame with 0x0 stream identifier", [reset(0)], connectionError(PROTOCOL_ERROR)),
        ("Sends a RST_STREAM frame on a idle stream", [reset(1)], connectionError(PROTOCOL_ERROR)),
        (
            "Sends a RST_STREAM frame with a length other than 4 octets",
            [GET, frame(3, 0, 1, bytes(3))],
            streamError(FRAME_SIZE_ERROR),
        ),
    ),
    *group(
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
    *group(
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
    *group(
        "http2/6.5.3",
        (
            "Sends multiple values of SETTINGS_INITIAL_WINDOW_SIZE",
            [settings((4, 100), (4, 1)), acknowledged, GET],
            dataOf(1),
        ),
        ("Sends a SETTINGS frame without ACK flag", [settings((2, 0))], settingsAck),
    ),
    *group(
        "http2/6.7",
        ("Sends a PING frame", [ping(H2SPEC)], pong(H2SPEC)),
        ("Sends a PING frame with ACK", [ping(b"invalid\0", True), ping(H2SPEC)], pong(H2SPEC)),
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
    *group(
        "http2/6.8",
        (
            "Sends a GOAWAY frame with a stream identifier other than 0x0",
            [goAway(0, streamId=1)],
            connectionError(PROTOCOL_ERROR),
        ),
    ),
    *group(
        "http2/6.9",
        (
            "Sends a WINDOW_UPDATE frame with a flow control window increment of 0",
            [windowUpdate(0, 0)],
            connectionError(PROTOCOL_ERROR),
        ),
        (
            "Sends a WINDOW_UPDATE frame with a flow control window increment of 0 on a stream",
            [OPEN, windowUpdate(1, 0)],
            streamError(PROTOCOL_ERROR),
        ),
        (
            "Sends a WINDOW_UPDATE frame with a length other than 4 octets",
            [frame(8, 0, 0, b"\x00\x00\x01")],
            connectionError(FRAME_SIZE_ERROR),
        ),
    ),
    *group(
        "http2/6.9.1",
        (
            "Sends SETTINGS frame to set the initial window size to 1 and sends HEADERS frame",
            [settings((4, 1)), acknowledged, GET],
            dataOf(1),
        ),
        (
            "Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1",
            [windowUpdate(0, 2147483647), windowUpdate(0, 2147483647)],
            exactly(7, FLOW_CONTROL_ERROR),
        ),
        (
            "Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1 on a stream",
            [OPEN, windowUpdate(1, 2147483647), windowUpdate(1, 2147483647)],
            exactly(3, FLOW_CONTROL_ERROR),
        ),
    ),
    *group(
        "http2/6.9.2",
        (
            "Changes SETTINGS_INITIAL_WINDOW_SIZE after sending HEADERS frame",
            [NO_WINDOW, acknowledged, GET, settings((4, 1))],
            dataOf(1),
        ),
        (
            "Sends a SETTINGS frame for window size to be negative",
            [settings((4, 3)), acknowledged, GET, someData, settings((4, 2)), acknowledged, windowUpdate(1, 2)],
            dataOf(1),
        ),
        (
            "Sends a SETTINGS_INITIAL_WINDOW_SIZE settings with an exceeded maximum window size value",
            [settings((4, 0x80000000))],
            connectionError(FLOW_CONTROL_ERROR),
        ),
    ),
    *group(
        "http2/6.10",
        (
            "Sends multiple CONTINUATION frames preceded by a HEADERS frame",
            [headers(1, request(), True, False), continuation(1, DUMMY, False), continuation(1, DUMMY)],
            answered,
        ),
        (
            "Sends a CONTINUATION frame followed by any frame other than CONTINUATION",
            [headers(1, request(), False, False), continuation(1, DUMMY, False), data(1, b"test", True)],
            connectionError(PROTOCOL_ERROR),
        ),
        (
            "Sends a CONTINUATION frame with 0x0 stream identifier",
            [headers(1, request(), True, False), continuation(0, DUMMY)],
            connectionError(PROTOCOL_ERROR),
        ),
        (
            "Sends a CONTINUATION frame preceded by a HEADERS frame with END_HEADERS flag",
            [GET, continuation(1, DUMMY)],
            connectionError(PROTOCOL_ERROR),
        ),
        (
            "Sends a CONTINUATION frame preceded by a CONTINUATION frame with END_HEADERS flag",
            [headers(1, request(), True, False), continuation(1, DUMMY), continuation(1, DUMMY)],
            connectionError(PROTOCOL_ERROR),
        ),
        (
            "Sends a CONTINUATION frame preceded by a DATA frame",
            [
                headers(1, request(method=b"POST"), False, False),
                data(1, b"test", True),
                continuation(1, DUMMY, False),
                continuation(0, DUMMY),
            ],
            connectionError(PROTOCOL_ERROR),
        ),
    ),
    *group(
        "http2/7",
        (
            "Sends a GOAWAY frame with unknown error code",
            [goAway(0, 0xFF), ping(H2SPEC)],
            pongOrClosed(H2SPEC),
        ),
        ("Sends a RST_STREAM frame with unknown error code", [OPEN, reset(1, 0xFF), ping()], pongOrClosed()),
    ),
    *group(
        "http2/8.1",
        (
            "Sends a second HEADERS frame without the END_STREAM flag",
            [OPEN, data(1, b"test"), headers(1, [(b"x-test", b"ok")], False)],
            streamError(PROTOCOL_ERROR),
        ),
    ),
    *group(
        "http2/8.1.2",
        (
            "Sends a HEADERS frame that contains the header field name in uppercase letters",
            [malformed((b"X-TEST", b"ok"))],
            streamError(PROTOCOL_ERROR),
        ),
    ),
    *group(
        "http2/8.1.2.1",
        (
            "Sends a HEADERS frame that contains a unknown pseudo-header field",
            [malformed((b":test", b"ok"))],
            streamError(PROTOCOL_ERROR),
        ),
        (
            "Sends a HEADERS frame that contains the pseudo-header field defined for response",
            [malformed((b":status", b"200"))],
            streamError(PROTOCOL_ERROR),
        ),
        (
            "Sends a HEADERS frame that contains a pseudo-header field as trailers",
            [OPEN, data(1, b"test"), headers(1, [(b":method", b"POST")], True)],
            streamError(PROTOCOL_ERROR),
        ),
        (
            "Sends a HEADERS frame that contains a pseudo-header field that appears in a header block after a regular "
            "header field",
            [headers(1, [(b"x-test", b"ok"), *request()])],
            streamError(PROTOCOL_ERROR),
        ),
    ),
    *group(
        "http2/8.1.2.2",
        (
            "Sends a HEADERS frame that contains the connection-specific header field",
            [malformed((b"connection", b"keep-alive"))],
            streamError(PROTOCOL_ERROR),
        ),
        (
            'Sends a HEADERS frame that contains the TE header field with any value other than "trailers"',
            [malformed((b"trailers", b"test"), (b"te", b"trailers, deflate"))],
            streamError(PROTOCOL_ERROR),
        ),
    ),
    *group(
        "http2/8.1.2.3",
        (
            'Sends a HEADERS frame with empty ":path" pseudo-header field',
            [malformed(path=b"")],
            streamError(PROTOCOL_ERROR),
        ),
        (
            'Sends a HEADERS frame that omits ":method" pseudo-header field',
            [headers(1, request()[1:])],
            streamError(PROTOCOL_ERROR),
        ),
        (
            'Sends a HEADERS frame that omits ":scheme" pseudo-header field',
            [malformed(scheme=None)],
            streamError(PROTOCOL_ERROR),
        ),
        (
            'Sends a HEADERS frame that omits ":path" pseudo-header field',
            [malformed(path=None)],
            streamError(PROTOCOL_ERROR),
        ),
        (
            'Sends a HEADERS frame with duplicated ":method" pseudo-header field',
            [malformed((b":method", b"GET"))],
            streamError(PROTOCOL_ERROR),
        ),
        (
            'Sends a HEADERS frame with duplicated ":scheme" pseudo-header field',
            [malformed((b":scheme", b"http"))],
            streamError(PROTOCOL_ERROR),
        ),
        (
            'Sends a HEADERS frame with duplicated ":path" pseudo-header field',
            [malformed((b":path", b"/"))],
            streamError(PROTOCOL_ERROR),
        ),
    ),
    *group(
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
    *group(
        "http2/8.2",
        ("Sends a PUSH_PROMISE frame", [pushPromise(1, 3, request())], connectionError(PROTOCOL_ERROR)),
    ),
]

CASES = [*GENERIC, *HTTP2, *HPACK]
