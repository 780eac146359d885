"""
Messages that were published as attacks on proxies, and what is to become of each: what the answer is, what counts it,
and what the upstream may see of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.codec.http2.frames import data, headers, request, reset

__all__ = ["MESSAGES", "SMUGGLED", "Message"]

#: What no upstream may ever see as a request of its own.
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"

_PROTOCOL = "http.front.downstream_cx_protocol_error"
_DENIED = "http.front.rbac.denied"
_REJECTED = "http.front.downstream_rq_failed_path_normalization"


@dataclass(frozen=True)
class Message:
    """
    One of them.

    @ivar name: The vulnerability, by its number, and the attack.
    @ivar wire: What is sent, in HTTP/1.1 or as frames of HTTP/2.
    @ivar statuses: Of the answers; 0 for a stream or connection that ends without one.
    @ivar counter: What goes up, as far as Envoy has a counter for it.
    @ivar sees: What the upstream gets to see of it.
    @ivar never: What it does not, in lower case.
    @ivar body: What the answer holds.
    @ivar keeps: What the answer does not hold.
    @ivar isHTTP2: Whether it is in HTTP/2.
    """

    name: str
    wire: bytes
    statuses: tuple[int, ...] = (400,)
    counter: str = ""
    sees: bytes = b""
    never: bytes = b"smuggled"
    body: bytes = b""
    keeps: bytes = b"\0"
    isHTTP2: bool = False


def _first(name: str, head: str, body: bytes = b"", **more: Any) -> Message:
    """
    In HTTP/1.1.
    """
    more.setdefault("counter", _PROTOCOL if more.get("statuses", (400,)) == (400,) else "")
    return Message(name, head.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n" + body, **more)


def _get(name: str, path: str = "/", *lines: str, **more: Any) -> Message:
    return _first(name, "\n".join((f"GET {path} HTTP/1.1", "host: a", *lines)), **more)


def _post(name: str, *lines: str, body: bytes = SMUGGLED, **more: Any) -> Message:
    return _first(name, "\n".join(("POST / HTTP/1.1", "host: a", *lines)), body, **more)


def _second(name: str, *fields: tuple[bytes, bytes], body: bytes = b"", tail: bytes = b"", **more: Any) -> Message:
    """
    In HTTP/2, on stream 1.
    """
    pseudo = {key[1:].decode(): value for key, value in fields if key[:1] == b":"}
    others = [field for field in fields if field[0][:1] != b":"]
    wire = headers(1, request(*others, **pseudo), not body)
    whole = wire + (data(1, body, True) if body else b"") + tail
    return Message(name, whole, isHTTP2=True, **more)


MESSAGES = (
    # What a head may hold
    _get("CVE-2019-9900: NUL in a value", "/", "x: a\0b"),
    _get("CVE-2019-9900: a lone CR in a value", "/", "x: a\rx-role: admin"),
    Message(
        "CVE-2022-24801: a lone LF ends a line",
        b"GET / HTTP/1.1\r\nhost: a\nx-role: admin\r\n\r\n",
        counter=_PROTOCOL,
    ),
    _get("CVE-2019-18802: a blank behind a value", "/", "x-role: admin \t ", statuses=(403,), counter=_DENIED),
    _first("CVE-2019-18838: no host", "GET / HTTP/1.1\nx: y", counter=""),
    _get("CVE-2019-15226: thousands of fields", "/", *["a:"] * 5000, statuses=(431,), counter=""),
    _get("CVE-2021-40346: a name longer than any", "/", "n" * 70000 + ": x", statuses=(431,), counter=""),
    _get("CVE-2023-25725: an empty name", "/", ": x"),
    _get("CVE-2021-39214: a blank before the colon", "/", "content-length : 38"),
    _get("CVE-2019-12387: a line end in the request line", "/ HTTP/1.1\rx:"),
    _get("CVE-2026-71554: two hosts", "/", "host: b"),
    # One reading of a length
    _post("CVE-2020-10108: two lengths", "content-length: 0", "content-length: 38"),
    _post(
        "CVE-2020-10109: a length and chunks",
        "content-length: 4",
        "transfer-encoding: chunked",
        body=b"0\r\n\r\n" + SMUGGLED,
    ),
    _post("CVE-2022-24801: a length with a sign", "content-length: +0"),
    _post("CVE-2023-47627: a length with underscores", "content-length: 3_8"),
    _post("CVE-2023-40225: an empty length", "content-length: "),
    _post("CVE-2019-18277: chunks behind a vertical tab", "transfer-encoding: \x0bchunked", "content-length: 0"),
    _post("CVE-2019-18277: an encoding that nobody knows", "transfer-encoding: xchunked", statuses=(501,), counter=""),
    _post(
        "CVE-2022-24801: a chunk size with 0x",
        "transfer-encoding: chunked",
        body=b"0x5\r\nhello\r\n0\r\n\r\n" + SMUGGLED,
    ),
    _post(
        "CVE-2025-43859: anything behind a chunk", "transfer-encoding: chunked", body=b"1\r\naXX0\r\n\r\n" + SMUGGLED
    ),
    _post(
        "CVE-2022-24801: a LF in a chunk extension",
        "transfer-encoding: chunked",
        body=b"1;a\nb\r\na\r\n0\r\n\r\n" + SMUGGLED,
    ),
    _post(
        "CVE-2019-20372: what follows a refused request is none",
        "content-length: 38",
        "x-role: admin",
        statuses=(403,),
        counter=_DENIED,
    ),
    _post(
        "CVE-2024-23326, CVE-2026-73548: bytes before a tunnel",
        "upgrade: websocket",
        "connection: upgrade",
        "content-length: 38",
    ),
    _first(
        "CVE-2026-73548: pipelined behind an upgrade that is refused",
        "GET /plain HTTP/1.1\nhost: a\nupgrade: websocket\nconnection: upgrade",
        SMUGGLED,
        statuses=(403,),
        counter="",
    ),
    # Paths, and rules on them
    _get("CVE-2019-9901: dots before a rule", "/info/../admin", statuses=(403,), counter=_DENIED),
    _get("CVE-2019-9901: what is rewritten is what goes on", "/a/./b//c", statuses=(200,), sees=b"GET /a/b/c HTTP/1.1"),
    _get("CVE-2021-29492: escaped slashes", "/info%2f..%2fadmin", counter=_REJECTED),
    _get("CVE-2021-29492: escaped backslashes", "/info%5c..%5cadmin", counter=_REJECTED),
    _get("CVE-2026-73551: parameters behind dots", "/user/..;x=y/admin", statuses=(403,), counter=_DENIED),
    _get("CVE-2021-32779, CVE-2023-45539: a fragment", "/a#/../admin", counter=""),
    _get(
        "CVE-2019-15225: a regular expression that goes back and forth",
        "/regex/" + "a" * 20000 + "!",
        statuses=(200,),
    ),
    # Who says what
    _get(
        "CVE-2020-25017: a rule and the second of two fields",
        "/",
        "x-role: no",
        "x-role: admin",
        statuses=(403,),
        counter=_DENIED,
    ),
    _get(
        "CVE-2026-26308: a rule and the first of two fields",
        "/",
        "x-role: admin",
        "x-role: no",
        statuses=(403,),
        counter=_DENIED,
    ),
    _get(
        "CVE-2023-27487: x-envoy-original-path",
        "/",
        "x-envoy-original-path: /admin",
        statuses=(200,),
        never=b"x-envoy-original-path",
    ),
    _get(
        "CVE-2024-45806: orders from outside",
        "/",
        "x-envoy-max-retries: 100",
        "x-envoy-internal: true",
        "x-envoy-upstream-rq-timeout-ms: 1",
        statuses=(200,),
        never=b"x-envoy-max-retries",
    ),
    _get(
        "CVE-2024-45806: a claim to be internal",
        "/",
        "x-envoy-internal: true",
        statuses=(200,),
        never=b"x-envoy-internal",
    ),
    Message(
        "CVE-2022-39348: a host with markup",
        b"GET /none HTTP/1.1\r\nhost: a<script>\r\n\r\n",
        keeps=b"<script>",
    ),
    _first(
        "CVE-2023-35944: a scheme in any case",
        "GET HTTP://a/plain HTTP/1.1\nhost: a",
        statuses=(403,),
        counter=_DENIED,
    ),
    _second(
        "CVE-2023-35944: a scheme in any case",
        (b":scheme", b"htTp"),
        (b":path", b"/plain"),
        statuses=(403,),
        counter=_DENIED,
    ),
    _get(
        "CVE-2021-28682: a deadline of no end",
        "/grpc",
        "te: trailers",
        "content-type: application/grpc",
        "grpc-timeout: 99999999999999999999H",
        statuses=(200,),
    ),
    _second(
        "CVE-2021-28682: a deadline of no end",
        (b":method", b"POST"),
        (b":path", b"/grpc"),
        (b"content-type", b"application/grpc"),
        (b"grpc-timeout", b"99999999999999999999H"),
        body=b"\0\0\0\0\0",
        statuses=(200,),
    ),
    # Local replies in the middle
    _get(
        "CVE-2021-43825: a response over what is gathered",
        "/gathered/large",
        statuses=(500,),
        counter="http.front.downstream_rq_5xx",
    ),
    _second(
        "CVE-2021-43825: a response over what is gathered",
        (b":path", b"/gathered/large"),
        statuses=(500,),
        counter="http.front.rs_too_large",
    ),
    _second(
        "CVE-2026-26311: a reset while a filter waits",
        (b":method", b"POST"),
        (b":path", b"/gathered/reset"),
        body=b"x",
        tail=reset(1) + data(1, b"late"),
        statuses=(0,),
        counter="http.front.downstream_rq_rx_reset",
        never=b"/gathered/reset",
    ),
    # Lines that would be others in HTTP/1.1
    _second(
        "CVE-2019-19330, CVE-2025-57804: a line end in a value",
        (b"x", b"y\r\n\r\nGET /smuggled"),
        statuses=(0,),
        counter="http2.rx_messaging_error",
    ),
    _second(
        "CVE-2026-42926: a path with a line in it",
        (b":path", b"/ HTTP/1.1\r\nhost: b\r\n\r\nGET /smuggled"),
        statuses=(0,),
        counter="http2.rx_messaging_error",
    ),
    _second(
        "CVE-2021-39242: a host that is not the authority",
        (b"host", b"b"),
        statuses=(0,),
        counter="http2.rx_messaging_error",
        never=b"host: b",
    ),
)
