"""
HTTP/2: what a client sends in frames, what comes back, and what the upstream sees of it in HTTP/1.1.
"""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from tests.codec.http2.frames import (
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
from tests.conformance.bootstrap import Manager
from tests.conformance.case import Case, Do, Pause, Script, Step, Until, get, ok
from tests.conformance.comparison import Comparison, compared

Field = tuple[bytes, bytes]

_HTTP2 = "codec_type: HTTP2"
_UPSTREAM = "[{match: {prefix: /}, route: {cluster: %s}}]"
_OPTIONS = (
    "typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"
    '"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, %s}}'
)
_TO_LISTENER = (
    "load_assignment: {cluster_name: x, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: "
    '{address: $ADDRESS, port_value: "$PORT_plain"}}}}]}]}'
)

LISTENERS = {
    "plain": Manager(_HTTP2),
    "auto": Manager("codec_type: AUTO"),
    "streamErrors": Manager(
        "{codec_type: HTTP2, http2_protocol_options: {override_stream_error_on_invalid_http_message: true}}"
    ),
    "small": Manager(
        "{codec_type: HTTP2, max_request_headers_kb: 2, common_http_protocol_options: {max_headers_count: 8}}"
    ),
    "underscores": Manager(
        "{codec_type: HTTP2, common_http_protocol_options: {headers_with_underscores_action: REJECT_REQUEST}}"
    ),
    "dropped": Manager(
        "{codec_type: HTTP2, common_http_protocol_options: {headers_with_underscores_action: DROP_HEADER}}"
    ),
    "trailers": Manager(_HTTP2, _UPSTREAM % "trailers"),
    "direct": Manager(_HTTP2, "[{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: hello}}}]"),
    "none": Manager(_HTTP2, "[]"),
    "redirect": Manager(_HTTP2, "[{match: {prefix: /}, redirect: {path_redirect: /other}}]"),
    "edge": Manager("{codec_type: HTTP2, use_remote_address: true, via: gate, normalize_path: true}"),
    "sockets": Manager(
        "{codec_type: HTTP2, upgrade_configs: [{upgrade_type: websocket}], "
        "http2_protocol_options: {allow_connect: true}}"
    ),
    "connect": Manager(
        "{codec_type: HTTP2, upgrade_configs: [{upgrade_type: CONNECT}], "
        "http2_protocol_options: {allow_connect: true}}",
        "[{match: {connect_matcher: {}}, route: {cluster: backend}}, {match: {prefix: /}, route: {cluster: backend}}]",
    ),
    "ends": Manager(
        "codec_type: HTTP2",
        "[{match: {connect_matcher: {}}, route: {cluster: backend, upgrade_configs: [{upgrade_type: CONNECT, "
        "connect_config: {}}]}}]",
    ),
    "closed": Manager(_HTTP2, _UPSTREAM % "closed"),
    "continues": Manager("{codec_type: HTTP2, proxy_100_continue: true}"),
    "few": Manager("{codec_type: HTTP2, common_http_protocol_options: {max_requests_per_connection: 2}}"),
    "onward": Manager("codec_type: AUTO", _UPSTREAM % "onward"),
    "asItCame": Manager("codec_type: AUTO", _UPSTREAM % "asItCame"),
}

CLUSTERS = {
    "trailers": _OPTIONS % "explicit_http_config: {http_protocol_options: {enable_trailers: true}}",
    "onward": "{" + _TO_LISTENER + ", " + _OPTIONS % "explicit_http_config: {http2_protocol_options: {}}" + "}",
    "asItCame": _OPTIONS % "use_downstream_protocol_config: {}",
}


_OPEN = headers(1, request(method=b"POST"), False)
_OPEN_9 = headers(1, request((b"content-length", b"9"), method=b"POST"), False)
_OPEN_1 = headers(1, request((b"content-length", b"1"), method=b"POST"), False)


def _h2(
    name: str,
    intent: str,
    send: bytes | list[Step],
    listener: str = "plain",
    replies: tuple[Script, ...] = (ok(),),
    responses: int = 1,
    limit: float = 1.0,
) -> Case:
    for head in (_OPEN, _OPEN_9, _OPEN_1):
        if isinstance(send, bytes) and send.startswith(head) and len(send) > len(head):
            # Both are to have sent the head on by the time the rest comes.
            rest = send[len(head) :]
            piece = data(1, b"x")
            if rest.startswith(piece) and rest != piece:
                send = [head, Do.REST, piece, Do.REST, rest[len(piece) :]]
            else:
                send = [head, Do.REST, rest]
            break
    return Case(name, intent, send, replies, listener, responses=responses, limit=limit, http2=True)


def _get(*more: Field, path: bytes = b"/", **fields: bytes | None) -> bytes:
    return headers(1, request(*more, path=path, **fields))  # type: ignore[arg-type]  # pseudo-header fields only


def _post(*more: Field, body: bytes = b"hello", **fields: bytes) -> bytes:
    return headers(1, request(*more, method=b"POST", **fields), False) + data(1, body, True)


_LONG = (b"x-long", b"y" * 3000)

VALID = [
    _h2("get", "A GET.", _get()),
    _h2("getQuery", "A query.", _get(path=b"/a/b?c=d&e")),
    _h2("getFields", "Fields.", _get((b"accept", b"*/*"), (b"x-a", b"1"), (b"x-a", b"2"), (b"x-empty", b""))),
    _h2("getAuto", "Found out by its preface.", _get(), "auto"),
    _h2("head", "HEAD.", _get(method=b"HEAD"), replies=(ok(body=""),)),
    _h2("delete", "DELETE.", _get(method=b"DELETE")),
    _h2("options", "OPTIONS.", _get(method=b"OPTIONS")),
    _h2("custom", "A method nobody knows.", _get(method=b"FROB")),
    _h2("post", "A body without a length.", _post()),
    _h2("postLength", "A body with its length.", _post((b"content-length", b"5"))),
    _h2("postEmpty", "An empty body.", _post(body=b"")),
    _h2("postZero", "A length of 0.", headers(1, request((b"content-length", b"0"), method=b"POST"))),
    _h2("postFrames", "A body in frames.", _OPEN + data(1, b"ab") + data(1, b"cd") + data(1, b"", True)),
    _h2("postPadded", "A padded body.", _OPEN + data(1, b"ab", padding=20) + data(1, b"c", True, 1)),
    _h2("postTrailers", "Trailers of a request end here.", _OPEN + data(1, b"x") + headers(1, [(b"t", b"1")])),
    _h2("trailersPass", "Or go on.", _OPEN + data(1, b"x") + headers(1, [(b"t", b"1")]), "trailers"),
    _h2(
        "trailersBack",
        "Trailers of a response.",
        _get(),
        "trailers",
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nt: 1\r\n\r\n",),
    ),
    _h2("cookies", "Crumbs of a cookie.", _get((b"cookie", b"a=1"), (b"cookie", b"b=2"), (b"cookie", b"c=3"))),
    _h2("hostInstead", "host in place of :authority.", _get((b"host", b"other"), authority=None)),
    _h2("hostSame", "host beside :authority.", _get((b"host", b"test"))),
    _h2("te", "te: trailers.", _get((b"te", b"trailers"))),
    _h2("schemeHTTPS", "https in the clear.", _get(scheme=b"https")),
    _h2("priority", "A HEADERS frame with priority.", headers(1, request(), dependsOn=0)),
    _h2("padded", "A padded one.", headers(1, request(), padding=30)),
    _h2(
        "continued",
        "One that is continued.",
        headers(1, block(request())[:9], True, False) + continuation(1, block(request())[9:]),
    ),
    _h2("indexed", "Fields that are indexed.", headers(1, block(request((b"a", b"b")), 0x40) + b"\xbe")),
    _h2("never", "Fields that are never indexed.", headers(1, block(request((b"a", b"b")), 0x10))),
    _h2("ping", "A ping before.", ping() + _get()),
    _h2("unknownFrame", "An unknown frame before.", frame(0x77, 0xFF, 1, b"x") + _get()),
    _h2("unknownSetting", "An unknown setting.", settings((0x77, 1)) + _get()),
    _h2("idlePriority", "PRIORITY of idle streams.", priority(9) + priority(1, 9) + _get()),
    _h2(
        "three",
        "Three at a time.",
        b"".join(headers(n, request(path=b"/%d" % n)) for n in (1, 3, 5)),
        "direct",
        responses=3,
    ),
    _h2("skipped", "An identifier is left out.", headers(5, request())),
    _h2("goAwayBefore", "A client that goes away.", _get() + goAway(0)),
    _h2("expect", "expect: 100-continue.", _post((b"expect", b"100-continue"))),
    _h2(
        "expectPasses",
        "One that goes on.",
        _post((b"expect", b"100-continue")),
        "continues",
        ([Do.EARLY, b"HTTP/1.1 100 Continue\r\n\r\n", Do.BODY, ok()],),
    ),
    _h2("direct", "A direct response.", _get(), "direct"),
    _h2("directHead", "To HEAD.", _get(method=b"HEAD"), "direct"),
    _h2("directEarly", "Before the request's end.", _OPEN + data(1, b"x"), "direct"),
    _h2("notFound", "No route.", _get(), "none"),
    _h2("redirected", "A redirect.", _get(), "redirect"),
    _h2("refusing", "An upstream that refuses.", _get(), "closed"),
    _h2("edge", "What an edge adds.", _get((b"x-forwarded-for", b"1.2.3.4"), (b"x-envoy-max-retries", b"9")), "edge"),
    _h2("edgePath", "A path that is normalized.", _get(path=b"/a/../b//c/%2e/d"), "edge"),
    _h2(
        "tunnelRefused",
        "CONNECT where it is not allowed.",
        headers(1, [(b":method", b"CONNECT"), (b":authority", b"a:1")]),
    ),
    _h2("few", "The last request of a connection.", _get(), "few"),
]

_RESPONSES: tuple[tuple[str, str, Script], ...] = (
    ("hopByHop", "Fields of the connection.", ok("Connection: keep-alive, x-q", "x-q: 1", "keep-alive: 1")),
    ("upgrade", "An offer to upgrade.", ok("Connection: upgrade", "Upgrade: h2c")),
    ("mixedCase", "Names in any case.", ok("X-MiXed: Value", "Set-Cookie: a", "set-cookie: b")),
    ("noContent", "204.", b"HTTP/1.1 204 No Content\r\n\r\n"),
    ("notModified", "304.", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\netag: x\r\n\r\n"),
    ("early", "103.", [b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", ok()]),
    ("chunked", "Chunks.", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"),
    ("untilClose", "A body that ends with its connection.", [b"HTTP/1.1 200 OK\r\n\r\nabc", Do.CLOSE]),
    ("nothing", "A closed connection.", [Do.CLOSE]),
    ("cut", "A body that breaks off.", [b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", Do.REST, Do.CLOSE]),
    ("badHead", "No HTTP.", b"HELLO\r\n\r\n"),
)

RESPONSES = [
    _h2(f"answer_{name}", intent, _get(), replies=(script,), listener="plain") for name, intent, script in _RESPONSES
]

_MALFORMED: tuple[tuple[str, str, bytes], ...] = (
    ("upperCase", "A name in upper case.", _get((b"X-A", b"b"))),
    ("emptyName", "An empty name.", _get((b"", b"b"))),
    ("nameBlank", "A blank in a name.", _get((b"x a", b"b"))),
    ("nameColon", "A colon in a name.", _get((b"x:a", b"b"))),
    ("nameLF", "A line feed in a name.", _get((b"x\na", b"b"))),
    ("nameHigh", "A name beyond ASCII.", _get((b"x\xe4", b"b"))),
    ("valueNUL", "NUL in a value.", _get((b"x-a", b"b\0c"))),
    ("valueCR", "CR in a value.", _get((b"x-a", b"b\rc"))),
    ("valueLF", "LF in a value.", _get((b"x-a", b"b\nc: d"))),
    ("valueControl", "A control character.", _get((b"x-a", b"b\x01"))),
    ("valueDelete", "DEL.", _get((b"x-a", b"b\x7f"))),
    ("noMethod", "No :method.", headers(1, request()[1:])),
    ("noScheme", "No :scheme.", _get(scheme=None)),
    ("noPath", "No :path.", _get(path=None)),  # type: ignore[arg-type]  # left out
    ("emptyPath", "An empty :path.", _get(path=b"")),
    ("pathBlank", "A blank in :path.", _get(path=b"/a b")),
    ("pathLF", "A line feed in :path.", _get(path=b"/a\r\nx: y")),
    ("methodBlank", "A blank in :method.", _get(method=b"GET /x HTTP/1.1")),
    ("methodEmpty", "An empty :method.", _get(method=b"")),
    ("schemeOdd", "A :scheme that is none.", _get(scheme=b"h t")),
    ("authorityBlank", "A blank in :authority.", _get(authority=b"a b")),
    ("authoritySlash", "A slash in it.", _get(authority=b"a/b")),
    ("twiceMethod", ":method twice.", headers(1, [*request(), (b":method", b"GET")])),
    ("twicePath", ":path twice.", headers(1, [*request(), (b":path", b"/x")])),
    ("unknownPseudo", "An unknown pseudo-header field.", headers(1, [*request(), (b":x", b"y")])),
    ("statusPseudo", ":status.", headers(1, [*request(), (b":status", b"200")])),
    ("latePseudo", "A pseudo-header field after others.", headers(1, [(b"a", b"b"), *request()])),
    ("connection", "connection.", _get((b"connection", b"close"))),
    ("keepAlive", "keep-alive.", _get((b"keep-alive", b"1"))),
    ("proxyConnection", "proxy-connection.", _get((b"proxy-connection", b"close"))),
    ("transferEncoding", "transfer-encoding.", _get((b"transfer-encoding", b"chunked"))),
    ("upgradeField", "upgrade.", _get((b"upgrade", b"h2c"))),
    ("teOther", "te of another kind.", _get((b"te", b"gzip"))),
    ("lengthWord", "A content-length that is no number.", _get((b"content-length", b"x"))),
    ("lengthSigned", "A sign in it.", _post((b"content-length", b"+5"))),
    ("lengthTwice", "Two that differ.", _post((b"content-length", b"5"), (b"content-length", b"6"))),
    ("lengthNoBody", "A length without a body.", _get((b"content-length", b"5"))),
    ("connectPath", "CONNECT with a path.", _get(method=b"CONNECT")),
    ("protocolUnasked", ":protocol where it is not allowed.", _get((b":protocol", b"websocket"), method=b"CONNECT")),
    ("trailersPseudo", "A pseudo-header field in trailers.", _OPEN + data(1, b"x") + headers(1, [(b":path", b"/")])),
    ("trailersUpper", "A capital in trailers.", _OPEN + data(1, b"x") + headers(1, [(b"T", b"1")])),
    ("trailersOpen", "Trailers without an end.", _OPEN + data(1, b"x") + headers(1, [(b"t", b"1")], False)),
)

MALFORMED = [_h2(f"bad_{name}", intent, send, limit=0.5) for name, intent, send in _MALFORMED]
MALFORMED += [
    _h2(
        f"stream_{name}",
        f"{intent} Its stream ends.",
        send + headers(7, request()),
        "streamErrors",
        limit=0.5,
        responses=2,
    )
    for name, intent, send in _MALFORMED
    if name in ("upperCase", "valueLF", "noPath", "twicePath", "connection", "lengthNoBody", "pathBlank")
]

_FRAMES: tuple[tuple[str, str, bytes], ...] = (
    (
        "lengthShort",
        "A body shorter than its length.",
        _OPEN_9 + data(1, b"x", True),
    ),
    ("lengthLong", "A longer one.", _OPEN_1 + data(1, b"xyz", True)),
    ("zeroIncrement", "A WINDOW_UPDATE of 0.", _OPEN + windowUpdate(1, 0)),
    ("zeroIncrementAll", "One of the connection.", windowUpdate(0, 0)),
    ("windowOverflow", "A window too large.", _OPEN + windowUpdate(1, 2**31 - 1)),
    ("selfDependent", "A stream that depends on itself.", headers(1, request(), dependsOn=1)),
    ("evenStream", "An even stream.", headers(2, request())),
    ("streamZero", "Stream 0.", headers(0, request())),
    ("dataIdle", "DATA on an idle stream.", data(1, b"x")),
    ("resetIdle", "RST_STREAM on one.", reset(1)),
    ("shortPing", "A PING of 7 bytes.", ping(bytes(7))),
    ("pingOnStream", "One on a stream.", ping(streamId=1)),
    ("push", "PUSH_PROMISE.", pushPromise(1, 2, request())),
    ("interleaved", "A frame within a head.", headers(1, request(), True, False) + ping()),
    ("strayContinuation", "CONTINUATION of nothing.", continuation(1, request())),
    ("longFrame", "A frame that is too long.", _OPEN + data(1, bytes(16385))),
    ("badIndex", "An index beyond the tables.", headers(1, b"\xff\x00")),
    ("badHuffman", "Bad Huffman coding.", headers(1, block(request()) + bytes.fromhex("0085f2b24a84ff8449509fff"))),
    ("tableTooLarge", "A table that is too large.", headers(1, b"\x3f\xe2\x1f" + block(request()))),
    ("oddSettings", "SETTINGS of 5 bytes.", frame(4, 0, 0, bytes(5))),
    ("badWindowSetting", "A window beyond the largest.", settings((4, 2**31))),
    ("badFrameSetting", "A frame size below the smallest.", settings((5, 1))),
    ("padding", "Padding longer than its frame.", _OPEN + frame(0, 8, 1, b"\x09abc")),
    ("emptyFrames", "Empty frames.", _OPEN + data(1, b"") * 3),
)

FRAMES = [_h2(f"frame_{name}", intent, send, limit=0.5) for name, intent, send in _FRAMES]

LIMITS = [
    _h2("headTooLong", "A head over the limit.", _get(_LONG), "small", limit=0.5),
    _h2("headTooMany", "Too many fields.", _get(*((b"x-%d" % n, b"") for n in range(9))), "small", limit=0.5),
    _h2("crumbsTooMany", "Too many crumbs.", _get(*((b"cookie", b"a=%d" % n) for n in range(9))), "small", limit=0.5),
    _h2("headLongest", "One within it.", _get((b"x", b"y" * 1500)), "small"),
    _h2("underscoresRejected", "A name with an underscore.", _get((b"a_b", b"c")), "underscores", limit=0.5),
    _h2("underscoresDropped", "One that is dropped.", _get((b"a_b", b"c"), (b"d", b"e")), "dropped"),
    _h2("noAuthority", "No authority at all.", _get(authority=None), limit=0.5),
    _h2("hostOther", "host that differs.", _get((b"host", b"other")), limit=0.5),
    _h2("valueBlanks", "Blanks around a value.", _get((b"x-a", b" b ")), limit=0.5),
    _h2("fragment", "A fragment in :path.", _get(path=b"/a#b"), limit=0.5),
    _h2("starGet", "A star.", _get(path=b"*"), limit=0.5),
    _h2("absolute", "A path without its slash.", _get(path=b"a"), limit=0.5),
]

_ACCEPT = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
_SOCKET = headers(1, [(b":protocol", b"websocket"), *request(method=b"CONNECT")], False)
_KEY = [(b":protocol", b"websocket"), (b"sec-websocket-key", b"x")]
_SOCKET_KEY = headers(1, [*_KEY, *request(method=b"CONNECT")], False)
_TUNNEL = headers(1, [(b":method", b"CONNECT"), (b":authority", b"a:1")], False)

TUNNELS = [
    _h2(
        "socket",
        "An extended CONNECT becomes an upgrade.",
        [_SOCKET, Do.REST, data(1, b"ping", True)],
        "sockets",
        ([_ACCEPT + b"hi", Until(b"ping"), Do.REST, Do.CLOSE],),
    ),
    _h2(
        "socketKey",
        "One that has a key and gets the answer to it.",
        [_SOCKET_KEY, Do.REST, data(1, b"ping", True)],
        "sockets",
        ([_ACCEPT[:-2] + b"sec-websocket-accept: x\r\n\r\nhi", Pause(0.2), Do.CLOSE],),
    ),
    _h2(
        "socketRefused",
        "One that is refused.",
        [_SOCKET],
        "sockets",
        (b"HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno",),
    ),
    _h2(
        "socketOther",
        "One that is not configured.",
        [_SOCKET.replace(b"websocket", b"otherthng")],
        "sockets",
        limit=0.5,
    ),
    _h2(
        "connected",
        "CONNECT goes on.",
        [_TUNNEL, Do.REST, data(1, b"ping", True)],
        "connect",
        ([b"HTTP/1.1 200 OK\r\n\r\nhi", Until(b"ping"), Do.REST, Do.CLOSE],),
    ),
    _h2(
        "connectEnds",
        "CONNECT that ends here: its bytes go to the upstream as they are.",
        [_TUNNEL, Do.REST, data(1, b"hello\r\n\r\n"), Do.REST, data(1, b"", True)],
        "ends",
        ([b"hi", Pause(0.2), Do.CLOSE],),
    ),
    _h2(
        "connectEndsEarly", "Bytes that come along.", [_TUNNEL + data(1, b"hello\r\n\r\n")], "ends", (b"hi",), limit=0.4
    ),
    _h2(
        "connectEarly",
        "Bytes before the answer wait for it.",
        [_TUNNEL + data(1, b"GET /in HTTP/1.1\r\nhost: in\r\n\r\n"), Do.REST, data(1, b"", True)],
        "connect",
        ([Do.REST, b"HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno"],),
    ),
]


def _h1(name: str, intent: str, send: bytes, listener: str, replies: tuple[Script, ...] = (ok(),)) -> Case:
    return Case(name, intent, send, replies, listener)


ONWARD = [
    _h1("onward_get", "HTTP/1.1 to HTTP/2.", get("/x", "TE: trailers", "Keep-Alive: 1", "X-A: b"), "onward"),
    _h1("onward_hop", "Fields of the connection.", get("/x", "Connection: x-a", "X-A: b", "Upgrade: h2c"), "onward"),
    _h1(
        "onward_post",
        "A body with its length.",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        "onward",
    ),
    _h1(
        "onward_chunked",
        "A chunked one.",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "onward",
    ),
    _h1("onward_head", "HEAD.", b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", "onward", (ok(body=""),)),
    _h1("onward_cookie", "A cookie.", get("/", "Cookie: a=1; b=2"), "onward"),
    _h1(
        "onward_failed",
        "A body that breaks off.",
        get(),
        "onward",
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", Do.REST, Do.CLOSE],),
    ),
    _h1("onward_204", "204.", get(), "onward", (b"HTTP/1.1 204 No\r\n\r\n",)),
    _h2("onward_h2", "HTTP/2 to HTTP/2.", _post((b"x-a", b"b")), "onward"),
    _h2(
        "onward_h2Length",
        "A length that is wrong.",
        _OPEN_9 + data(1, b"x", True),
        "onward",
        limit=0.5,
    ),
    _h1("asItCame_1", "HTTP/1.1 as it came.", get(), "asItCame"),
    _h1(
        "upgradeH2C",
        "An offer to go on in HTTP/2.",
        get("/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
        "auto",
    ),
    _h1(
        "upgradeH2COther",
        "Together with another one.",
        get("/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c, websocket", "HTTP2-Settings: AAMAAABk"),
        "auto",
    ),
    _h1(
        "upgradeH2CBody",
        "With a body.",
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABk\r\nContent-Length: 2\r\n\r\nab",
        "auto",
    ),
    _h1("prefaceOdd", "A preface that is none.", b"PRI * HTTP/1.1\r\n\r\nSM\r\n\r\n", "auto"),
]

CASES = [*VALID, *RESPONSES, *MALFORMED, *FRAMES, *LIMITS, *TUNNELS, *ONWARD]


# The words of a parser.
_WORDS = [(re.compile(r"(?<=details=codec_error:)\S+"), "(words)")]


@compared(Comparison(LISTENERS, CASES, CLUSTERS, _WORDS))
class HTTP2Tests(SynchronousTestCase):
    """
    This proxy does as Envoy does.
    """
