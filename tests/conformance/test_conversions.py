"""
Requests and responses that cross between HTTP/1.1 and HTTP/2, at each stage of which something may go wrong.

The upstream speaks HTTP/2 here, frame by frame as a case says; L{tests.conformance.test_http2} has the other direction,
and L{tests.conformance.test_http2upstreams} upstreams that break the protocol.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from tests.codec.http2.frames import data, headers, request, reset, settings, windowUpdate
from tests.conformance.bootstrap import Manager
from tests.conformance.case import Case, Do, Pause, Step, Until, get
from tests.conformance.case import request as request1
from tests.conformance.comparison import Comparison, compared

_TO = "[{match: {prefix: /}, route: {cluster: http2, %s}}]"
_HTTP1 = "{codec_type: HTTP1, http_protocol_options: {enable_trailers: true}, %s}"
_HTTP2 = "codec_type: HTTP2"

LISTENERS = {
    "one": Manager(_HTTP1 % "", _TO % "timeout: 1s"),
    "two": Manager(_HTTP2, _TO % "timeout: 1s"),
    "continues": Manager(_HTTP1 % "proxy_100_continue: true", _TO % "timeout: 1s"),
    "idle": Manager(_HTTP1 % "stream_idle_timeout: 0.2s", _TO % "timeout: 0s"),
    "sockets": Manager(_HTTP1 % "upgrade_configs: [{upgrade_type: websocket}]", _TO % "timeout: 1s"),
    "connect": Manager(
        _HTTP1 % "upgrade_configs: [{upgrade_type: CONNECT}]",
        "[{match: {connect_matcher: {}}, route: {cluster: http2, timeout: 1s}}]",
    ),
}

_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
CLUSTERS = {
    "http2": "typed_extension_protocol_options: {%s: {'@type': type.googleapis.com/%s, common_http_protocol_options:"
    # Each case has a connection of its own.
    " {max_requests_per_connection: 1}, explicit_http_config: {http2_protocol_options: {allow_connect: true}}}}"
    % (_OPTIONS, _OPTIONS)
}

_BEGIN = settings((8, 1)) + settings(ack=True)
_POST = request1("POST /", "content-length: 5", body="hello")


def _head(*fields: tuple[bytes, bytes], status: bytes = b"200", ends: bool = False, on: int = 1) -> bytes:
    return headers(on, [(b":status", status), *fields], ends)


def _case(
    name: str,
    intent: str,
    send: bytes | Sequence[Step],
    *reply: Step,
    listener: str = "one",
    limit: float = 1.5,
) -> Case:
    """
    A case whose upstream says its settings, waits for the request, and does what it is told.
    """
    script = [Do.EARLY, _BEGIN, Do.REST, *reply, Do.DRAIN]
    return Case(name, intent, send, [script], listener, limit=limit, http2=listener == "two")


_GET2 = headers(1, request(), True)
_POST2 = headers(1, request((b"content-length", b"5"), method=b"POST"), False) + data(1, b"hello", True)

# What comes back; each to a client of HTTP/1.1 and to one of HTTP/2.
_RESPONSES: list[tuple[str, str, tuple[Step, ...]]] = [
    ("length", "A body with its length.", (_head((b"content-length", b"2")) + data(1, b"ok", True),)),
    ("noLength", "One without.", (_head() + data(1, b"o") + data(1, b"k", True),)),
    ("noBody", "None.", (_head(ends=True),)),
    ("emptyEnd", "An end by itself.", (_head((b"content-length", b"2")) + data(1, b"ok"), data(1, b"", True))),
    ("trailers", "Trailers.", (_head() + data(1, b"ok") + headers(1, [(b"x-sum", b"7")], True),)),
    ("trailersOnly", "Nothing but trailers.", (_head() + headers(1, [(b"x-sum", b"7")], True),)),
    ("status204", "204.", (_head(status=b"204", ends=True),)),
    ("status304", "304 with a length.", (_head((b"content-length", b"9"), status=b"304", ends=True),)),
    ("status205", "205.", (_head(status=b"205", ends=True),)),
    ("cookies", "Two cookies to set.", (_head((b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), ends=True),)),
    ("ownFields", "Fields of its own.", (_head((b"server", b"x"), (b"date", b"y"), (b"x-a", b"b"), ends=True),)),
    ("early100", "100 first.", (_head(status=b"100"), _head(ends=True))),
    ("tooLong", "More than its length.", (_head((b"content-length", b"1")), Do.REST, data(1, b"ok", True))),
    ("tooShort", "Less than its length.", (_head((b"content-length", b"5")), Do.REST, data(1, b"ok", True))),
    ("resetFirst", "Reset before the head.", (reset(1, 8),)),
    ("refusedStream", "Refused.", (reset(1, 7),)),
    ("resetHead", "Reset behind the head.", (_head(), Do.REST, reset(1, 8))),
    ("resetBody", "Reset within the body.", (_head() + data(1, b"o"), Do.REST, reset(1, 2))),
    ("goneFirst", "Gone before the head.", (Do.CLOSE,)),
    ("goneBody", "Gone within the body.", (_head() + data(1, b"o"), Do.REST, Do.CLOSE)),
    ("cutBody", "Cut off within the body.", (_head() + data(1, b"o"), Do.REST, Do.RESET)),
]

RESPONSES = [
    _case(f"{name}_{listener}", intent, send, *reply, listener=listener)
    for name, intent, reply in _RESPONSES
    for listener, send in (("one", get()), ("two", _GET2))
]

_CHUNKS = request1("POST /", "transfer-encoding: chunked")
_SOCKET = get("/", "connection: upgrade", "upgrade: websocket", "sec-websocket-key: x", "sec-websocket-version: 13")
_CONNECT = request1("CONNECT a:1", "host: a:1")
_OK = _head(ends=True)

REQUESTS = [
    _case("post_one", "A body.", _POST, _OK),
    _case("post_two", "A body.", _POST2, _OK, listener="two"),
    _case(
        "head_one", "HEAD: a length without a body.", request1("HEAD /"), _head((b"content-length", b"9"), ends=True)
    ),
    _case(
        "head_two",
        "HEAD: a length without a body.",
        headers(1, request(method=b"HEAD"), True),
        _head((b"content-length", b"9"), ends=True),
        listener="two",
    ),
    _case("chunks", "Chunks, and trailers.", _CHUNKS + b"5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n", _OK),
    _case("te", "te: trailers goes on, and nothing else of it.", get("/", "te: gzip, trailers", "connection: te"), _OK),
    _case(
        "nominated", "Fields that Connection names.", get("/", "connection: x-a, close", "x-a: 1", "keep-alive: 5"), _OK
    ),
    _case(
        "h2c",
        "An offer to upgrade.",
        get("/", "connection: upgrade, http2-settings", "upgrade: h2c", "http2-settings: AA"),
        _OK,
    ),
    _case("cookies_request", "Two cookies.", get("/", "cookie: a=1", "cookie: b=2"), _OK),
    _case("absolute_request", "A target with a host.", request1("GET http://there/x", "host: here"), _OK),
    _case(
        "expect_request",
        "expect: 100-continue.",
        request1("POST /", "expect: 100-continue", "content-length: 5", body="hello"),
        _OK,
    ),
    _case(
        "expect_passes",
        "Where it goes on.",
        [request1("POST /", "expect: 100-continue", "content-length: 5"), Until(b"100"), b"hello"],
        _head(status=b"100"),
        Do.REST,
        _OK,
        listener="continues",
    ),
    _case(
        "early103", "103 where that passes.", get(), _head((b"link", b"x"), status=b"103"), _OK, listener="continues"
    ),
    _case(
        "earlyAnswer",
        "An answer before the request's end.",
        [_CHUNKS, b"5\r\nhello\r\n"],
        _head() + data(1, b"ok", True),
    ),
    _case(
        "earlyAnswer_two",
        "An answer before the request's end.",
        [headers(1, request(method=b"POST"), False) + data(1, b"hello")],
        _head() + data(1, b"ok", True),
        listener="two",
    ),
    _case("idleStream", "Nothing for too long.", get(), _head() + data(1, b"o"), listener="idle"),
    _case("clientGone_head", "The client leaves before an answer.", [get(), Do.REST, Do.CLOSE]),
    _case("clientGone_body", "Within it.", [get(), Until(b"o\r\n"), Do.CLOSE], _head() + data(1, b"o")),
    _case("clientGone_request", "Within its request.", [_CHUNKS + b"5\r\nhello\r\n", Do.REST, Do.CLOSE]),
    _case(
        "clientReset_two",
        "A client resets its stream.",
        [_GET2, Do.REST, reset(1, 8), Do.REST],
        listener="two",
    ),
    _case(
        "clientResetBody_two",
        "Within the response.",
        [_GET2, Do.REST, reset(1, 8), Do.REST],
        _head() + data(1, b"o"),
        listener="two",
    ),
    _case(
        "backPressure",
        "A body for which there is credit late.",
        [request1("POST /", "content-length: 200000") + b"x" * 200000],
        Pause(0.1),
        windowUpdate(0, 1 << 20) + windowUpdate(1, 1 << 20),
        Pause(0.2),
        _OK,
    ),
    _case(
        "backPressure_two",
        "From a client of HTTP/2.",
        [headers(1, request(method=b"POST"), False) + data(1, b"x" * 16000) * 5 + data(1, b"", True)],
        Pause(0.1),
        windowUpdate(0, 1 << 20) + windowUpdate(1, 1 << 20),
        Pause(0.2),
        _OK,
        listener="two",
    ),
    _case("large", "A large response.", get(), _head() + data(1, b"x" * 16000) * 3 + data(1, b"", True)),
    _case(
        "socket_onward",
        "A WebSocket goes on as extended CONNECT.",
        [_SOCKET, Until(b"hi"), b"ping"],
        _head((b"sec-websocket-accept", b"y")) + data(1, b"hi"),
        Until(b"ping"),
        data(1, b"", True),
        listener="sockets",
    ),
    _case("socketRefused_onward", "Refused.", _SOCKET, _head(status=b"403") + data(1, b"no", True), listener="sockets"),
    _case(
        "socketReset_onward",
        "It is reset.",
        [_SOCKET, Until(b"hi")],
        _head((b"sec-websocket-accept", b"y")) + data(1, b"hi"),
        Do.REST,
        reset(1, 8),
        listener="sockets",
    ),
    _case(
        "connect_onward",
        "CONNECT goes on.",
        [_CONNECT, Until(b"hi"), b"ping"],
        _head() + data(1, b"hi"),
        Until(b"ping"),
        data(1, b"", True),
        listener="connect",
    ),
    _case(
        "connectRefused_onward", "Refused.", _CONNECT, _head(status=b"403") + data(1, b"no", True), listener="connect"
    ),
]


@compared(Comparison(LISTENERS, [*RESPONSES, *REQUESTS], CLUSTERS))
class ConversionTests(SynchronousTestCase):
    """
    Both proxies make the same of it.
    """
