"""
The cases of h2spec that ask for no more than any client does, and those of RFC 7541.
"""

from __future__ import annotations

from tests.codec.http2.frames import (
    PREFACE,
    block,
    continuation,
    data,
    goAway,
    headers,
    ping,
    priority,
    request,
    reset,
    settings,
    windowUpdate,
)
from tests.codec.http2.h2specwords import (
    COMPRESSION_ERROR,
    GET,
    H2SPEC,
    NO_WINDOW,
    OPEN,
    answered,
    connectionError,
    group,
    hpack,
    kind,
    ownSettings,
    pong,
    pongOrClosed,
    settingsAck,
    streamClosed,
)

__all__ = ["GENERIC", "HPACK"]


GENERIC = [
    *group("generic/1", ("Sends a client connection preface", [PREFACE, settings((4, 65535))], ownSettings)),
    *group(
        "generic/2",
        ("Sends a PRIORITY frame on idle stream", [priority(1), ping()], pong()),
        (
            "Sends a WINDOW_UPDATE frame on half-closed (remote) stream",
            [NO_WINDOW, GET, windowUpdate(1, 1)],
            kind(0),
        ),
        (
            "Sends a PRIORITY frame on half-closed (remote) stream",
            [NO_WINDOW, GET, priority(1), windowUpdate(1, 1)],
            kind(0),
        ),
        ("Sends a RST_STREAM frame on half-closed (remote) stream", [GET, reset(1), ping()], pongOrClosed()),
        ("Sends a PRIORITY frame on closed stream", [GET, streamClosed, priority(1), ping()], pong()),
    ),
    *group(
        "generic/3.1",
        ("Sends a DATA frame", [OPEN, data(1, b"test", True)], answered),
        ("Sends multiple DATA frames", [OPEN, data(1, b"test"), data(1, b"test", True)], answered),
        ("Sends a DATA frame with padding", [OPEN, data(1, b"test", True, 5)], answered),
    ),
    *group(
        "generic/3.2",
        ("Sends a HEADERS frame", [GET], answered),
        ("Sends a HEADERS frame with padding", [headers(1, request(), padding=8)], answered),
        ("Sends a HEADERS frame with priority", [headers(1, request(), dependsOn=0)], answered),
    ),
    *group(
        "generic/3.3",
        ("Sends a PRIORITY frame with priority 1", [priority(1, weight=0), GET], answered),
        ("Sends a PRIORITY frame with priority 256", [priority(1, weight=255), GET], answered),
        ("Sends a PRIORITY frame with stream dependency", [priority(3, 1, 0), GET], answered),
        ("Sends a PRIORITY frame with exclusive", [priority(1, 0, 0, True), GET], answered),
        (
            "Sends a PRIORITY frame for an idle stream, then send a HEADER frame for a lower stream ID",
            [priority(3), GET],
            answered,
        ),
    ),
    *group("generic/3.4", ("Sends a RST_STREAM frame", [OPEN, reset(1), ping()], pongOrClosed())),
    *group(
        "generic/3.5",
        (
            "Sends a SETTINGS frame",
            [settings((1, 4096), (2, 1), (3, 100), (4, 65535), (5, 16384), (6, 100))],
            settingsAck,
        ),
    ),
    *group("generic/3.7", ("Sends a PING frame", [ping(H2SPEC)], pong(H2SPEC))),
    *group("generic/3.8", ("Sends a GOAWAY frame", [goAway(0, 0, b"h2spec"), ping(H2SPEC)], pongOrClosed(H2SPEC))),
    *group(
        "generic/3.9",
        ("Sends a WINDOW_UPDATE frame with stream ID 0", [windowUpdate(0, 1), ping()], pong()),
        ("Sends a WINDOW_UPDATE frame with stream ID 1", [GET, windowUpdate(1, 1)], answered),
    ),
    *group(
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
    *group(
        "generic/4",
        ("Sends a GET request", [GET], answered),
        ("Sends a HEAD request", [headers(1, request(method=b"HEAD"))], answered),
        ("Sends a POST request", [OPEN, data(1, b"test", True)], answered),
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
    *group(
        "generic/5",
        ("Sends a indexed header field representation", [hpack(b"\xba")], answered),
        (
            "Sends a literal header field with incremental indexing - indexed name",
            [hpack(bytes.fromhex("4087b505b161cc5a93849c48aca4"))],
            answered,
        ),
        (
            "Sends a literal header field with incremental indexing - indexed name (with Huffman coding)",
            [hpack(b"\x40\x0auser-agent\x06h2spec")],
            answered,
        ),
        (
            "Sends a literal header field with incremental indexing - new name",
            [hpack(b"\x40\x06x-test\x06h2spec")],
            answered,
        ),
        (
            "Sends a literal header field with incremental indexing - new name (with Huffman coding)",
            [hpack(bytes.fromhex("4085f2b24a84ff849c48aca4"))],
            answered,
        ),
        (
            "Sends a literal header field without indexing - indexed name",
            [hpack(b"\x00\x0auser-agent\x06h2spec")],
            answered,
        ),
        (
            "Sends a literal header field without indexing - indexed name (with Huffman coding)",
            [hpack(bytes.fromhex("0087b505b161cc5a93849c48aca4"))],
            answered,
        ),
        ("Sends a literal header field without indexing - new name", [hpack(b"\x00\x06x-test\x06h2spec")], answered),
        (
            "Sends a literal header field without indexing - new name (huffman encoded)",
            [hpack(bytes.fromhex("0085f2b24a84ff849c48aca4"))],
            answered,
        ),
        (
            "Sends a literal header field never indexed - indexed name",
            [hpack(b"\x10\x0auser-agent\x06h2spec")],
            answered,
        ),
        (
            "Sends a literal header field never indexed - indexed name (huffman encoded)",
            [hpack(bytes.fromhex("1087b505b161cc5a93849c48aca4"))],
            answered,
        ),
        ("Sends a literal header field never indexed - new name", [hpack(b"\x10\x06x-test\x06h2spec")], answered),
        (
            "Sends a literal header field never indexed - new name (huffman encoded)",
            [hpack(bytes.fromhex("1085f2b24a84ff849c48aca4"))],
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

HPACK = [
    *group(
        "hpack/2.3.3",
        (
            "Sends a indexed header field representation with invalid index",
            [hpack(b"\xc6")],
            connectionError(COMPRESSION_ERROR),
        ),
        (
            "Sends a literal header field representation with invalid index",
            [hpack(b"\x7f\x07\x00")],
            connectionError(COMPRESSION_ERROR),
        ),
    ),
    *group(
        "hpack/4.2",
        (
            "Sends a dynamic table size update at the end of header block",
            [hpack(b"\x21")],
            connectionError(COMPRESSION_ERROR),
        ),
    ),
    *group(
        "hpack/5.2",
        (
            "Sends a Huffman-encoded string literal representation with padding longer than 7 bits",
            [hpack(bytes.fromhex("0085f2b24a84ff8449509fff"))],
            connectionError(COMPRESSION_ERROR),
        ),
        (
            "Sends a Huffman-encoded string literal representation padded by zero",
            [hpack(bytes.fromhex("0085f2b24a84ff83495090"))],
            connectionError(COMPRESSION_ERROR),
        ),
        (
            "Sends a Huffman-encoded string literal representation containing the EOS symbol",
            [hpack(bytes.fromhex("0085f2b24a84ff874951fffffffa7f"))],
            connectionError(COMPRESSION_ERROR),
        ),
    ),
    *group(
        "hpack/6.1",
        (
            "Sends a indexed header field representation with index 0",
            [hpack(b"\x80")],
            connectionError(COMPRESSION_ERROR),
        ),
    ),
    *group(
        "hpack/6.3",
        (
            "Sends a dynamic table size update larger than the value of SETTINGS_HEADER_TABLE_SIZE",
            [headers(1, b"\x3f\xe2\x1f" + block(request()))],
            connectionError(COMPRESSION_ERROR),
        ),
    ),
]
