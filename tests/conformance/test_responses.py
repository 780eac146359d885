"""
What becomes of responses, good and bad.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Manager
from tests.conformance.case import OK, Case, Do, Pause, Script, Until, get, ok, request
from tests.conformance.comparison import Comparison, compared

_UPSTREAM = "[{match: {prefix: /}, route: {cluster: %s}}]"

LISTENERS = {
    "plain": Manager(),
    "ifAbsent": Manager("server_header_transformation: APPEND_IF_ABSENT"),
    "passThrough": Manager("server_header_transformation: PASS_THROUGH"),
    "named": Manager("{server_name: mesh, via: gate}"),
    "trailers": Manager("http_protocol_options: {enable_trailers: true}", _UPSTREAM % "trailers"),
    "trailersOneSide": Manager("", _UPSTREAM % "trailers"),
    "continues": Manager("proxy_100_continue: true"),
    "smallHead": Manager("", _UPSTREAM % "smallHead"),
    "fewFields": Manager("", _UPSTREAM % "fewFields"),
    "smallBuffer": Manager("", _UPSTREAM % "smallBuffer", listener="per_connection_buffer_limit_bytes: 1024"),
}

_OPTIONS = (
    "typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"
    '"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, '
    "%s explicit_http_config: {http_protocol_options: {%s}}}}"
)

CLUSTERS = {
    "trailers": _OPTIONS % ("", "enable_trailers: true"),
    "smallHead": _OPTIONS % ("common_http_protocol_options: {max_response_headers_kb: 2},", ""),
    "fewFields": _OPTIONS % ("common_http_protocol_options: {max_headers_count: 4},", ""),
    "smallBuffer": "per_connection_buffer_limit_bytes: 1024",
}

_CHUNKED = "transfer-encoding: chunked"


def _response(*lines: str, body: str = "") -> bytes:
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode("latin-1")


def _status(line: str, *fields: str, body: str = "") -> bytes:
    return _response(f"HTTP/1.1 {line}", *fields, body=body)


_FIELDS = _status(
    "200 Fine",
    "Connection: keep-alive, x-q",
    "x-q: 1",
    "keep-alive: 1",
    _CHUNKED,
    "Server: up",
    "x-envoy-upstream-service-time: 77",
    "x-envoy-foo: 1",
    "x-envoy-decorator-operation: o",
    "x-envoy-immediate-health-check-fail: 1",
    "x-envoy-upstream-canary: true",
    "x-request-id: up",
    "upgrade: q",
    "proxy-connection: z",
    "te: trailers",
    "Set-Cookie: a",
    "Set-Cookie: b",
    "Trailer: t",
    "via: q",
    "x-empty:",
    "x-twice: 1",
    "X-Twice: 2",
    body="2\r\nab\r\n0\r\nt: 1\r\n\r\n",
)

# Name, intent, what the upstream sends to a GET.
_TO_GET: tuple[tuple[str, str, Script], ...] = (
    ("created", "201.", _status("201 Created", "content-length: 0", "location: /x")),
    ("noContent", "204.", _status("204 No Content")),
    ("noContentLength", "204 with a length of 0.", _status("204 No Content", "content-length: 0")),
    ("noContentBody", "204 with a body.", _status("204 No Content", "content-length: 2", body="ab")),
    ("noContentChunked", "204 in chunks.", _status("204 No Content", _CHUNKED, body="0\r\n\r\n")),
    ("notModified", "304.", _status("304 Not Modified", "etag: x")),
    ("notModifiedLength", "304 with the length of what was not modified.", _status("304 NM", "content-length: 99")),
    ("resetContent", "205.", _status("205 Reset Content", "content-length: 0")),
    ("partial", "206.", _status("206 Partial", "content-length: 2", "content-range: bytes 0-1/9", body="ab")),
    ("redirected", "302 passes.", _status("302 Found", "content-length: 0", "location: http://x/")),
    ("failed", "503 of the upstream passes.", _status("503 Service Unavailable", "content-length: 3", body="bad")),
    ("teapot", "A status without a name.", _status("418 I am", "content-length: 0")),
    ("status599", "599.", _status("599 X", "content-length: 0")),
    ("status600", "600.", _status("600 X", "content-length: 0")),
    ("status999", "999.", _status("999 X", "content-length: 0")),
    ("status099", "099.", _status("099 X", "content-length: 0")),
    ("status20", "Two digits.", _status("20 X", "content-length: 0")),
    ("status2000", "Four digits.", _status("2000 X", "content-length: 0")),
    ("statusWord", "No digits.", _status("abc X", "content-length: 0")),
    ("noReason", "No reason phrase.", _status("200", "content-length: 0")),
    ("emptyReason", "An empty one.", _status("200 ", "content-length: 0")),
    ("oddReason", "One beyond ASCII.", _status("200 \xe4\xf6", "content-length: 0")),
    ("chunkedBody", "A chunked body.", _status("200 OK", _CHUNKED, body="2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n")),
    ("emptyChunked", "An empty one.", _status("200 OK", _CHUNKED, body="0\r\n\r\n")),
    ("extension", "An extension of a chunk.", _status("200 OK", _CHUNKED, body="2;x=y\r\nab\r\n0\r\n\r\n")),
    ("untilClose", "A body that ends with the connection.", [_status("200 OK", body="abc"), Do.CLOSE]),
    ("untilCloseNone", "An empty one.", [_status("200 OK"), Do.CLOSE]),
    ("untilCloseAsked", "One that says so.", [_status("200 OK", "connection: close", body="abc"), Do.CLOSE]),
    ("early", "103 passes.", [_status("103 Early Hints", "link: x"), OK]),
    ("processing", "102 passes.", [_status("102 Processing"), OK]),
    ("early2", "Two interim responses.", [_status("103 Early Hints", "link: x"), _status("103 Early Hints"), OK]),
    ("continued", "100 does not.", [_status("100 Continue"), OK]),
    ("switched", "101 that nobody asked for.", _status("101 Switching Protocols", "upgrade: x", "connection: upgrade")),
    ("early1xx", "199.", [_status("199 X"), OK]),
    ("empty", "The connection is closed.", [Do.CLOSE]),
    ("reset", "It is reset.", [Do.RESET]),
    ("cutStatus", "It is closed within the status line.", [b"HTTP/1.1 2", Do.CLOSE]),
    ("cutHead", "It is closed within the head.", [b"HTTP/1.1 200 OK\r\nx-a", Do.CLOSE]),
    ("cutBody", "Within a body.", [_status("200 OK", "content-length: 9", body="abc"), Do.REST, Do.CLOSE]),
    ("resetBody", "It is reset there.", [_status("200 OK", "content-length: 9", body="abc"), Do.REST, Do.RESET]),
    ("cutChunk", "Within a chunk.", [_status("200 OK", _CHUNKED, body="9\r\nabc"), Do.REST, Do.CLOSE]),
    ("cutChunks", "Between chunks.", [_status("200 OK", _CHUNKED, body="3\r\nabc\r\n"), Do.REST, Do.CLOSE]),
    ("resetUntilClose", "A reset ends a body.", [_status("200 OK", body="abc"), Do.REST, Do.RESET]),
    ("cutEarly", "Closed after an interim response.", [_status("103 Early Hints"), Do.CLOSE]),
    ("garbage", "What is no HTTP.", b"\x00\x01\x02garbage\r\n\r\n"),
    ("garbageText", "A line of text.", b"hello\r\n\r\n"),
    ("garbageLater", "No HTTP within a head.", b"HTTP/1.1 200 OK\r\nx y: 1\r\n\r\n"),
    ("version2", "HTTP/2.0 in a status line.", _response("HTTP/2.0 200 OK", "content-length: 0")),
    ("version12", "HTTP/1.2.", _response("HTTP/1.2 200 OK", "content-length: 0")),
    ("shoutcast", "Another protocol's name.", _response("ICY 200 OK", "content-length: 0")),
    ("bareLF", "Bare line feeds.", b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok"),
    ("foldedLine", "A folded line.", _status("200 OK", "x-a: 1", " 2", "content-length: 0")),
    ("nul", "NUL in a value.", _status("200 OK", "x-a: 1\x002", "content-length: 0")),
    ("nameBlank", "A blank before a colon.", _status("200 OK", "x-a : 1", "content-length: 0")),
    ("length2", "Two lengths.", _status("200 OK", "content-length: 2", "content-length: 2", body="ok")),
    ("lengthOther", "Two that differ.", _status("200 OK", "content-length: 2", "content-length: 3", body="ok!")),
    ("lengthWord", "A length that is none.", _status("200 OK", "content-length: x", body="ok")),
    ("lengthSigned", "A length with a sign.", _status("200 OK", "content-length: +2", body="ok")),
    ("lengthChunked", "A length and chunks.", _status("200 OK", "content-length: 5", _CHUNKED, body="0\r\n\r\n")),
    ("coding", "A coding that is not chunked.", [_status("200 OK", "transfer-encoding: gzip", body="x"), Do.CLOSE]),
    (
        "badChunkLater",
        "A bad chunk after a good one.",
        [_status("200 OK", _CHUNKED, body="2\r\nab\r\n"), Do.REST, b"xyz\r\n"],
    ),
    ("extra", "Bytes after the response.", ok() + b"extra"),
    ("extraResponse", "Two responses.", ok() + ok(body="evil")),
    ("extraLater", "Bytes that come later.", [ok(), Do.REST, b"extra"]),
    ("large", "A body of 300 kB.", _status("200 OK", "content-length: 300000", body="x" * 300000)),
    (
        "largeChunks",
        "One in chunks.",
        _status("200 OK", _CHUNKED, body=("3e8\r\n" + "y" * 1000 + "\r\n") * 200 + "0\r\n\r\n"),
    ),
    ("slow", "A body that comes slowly.", [_status("200 OK", "content-length: 4", body="ab"), Pause(0.1), b"cd"]),
    ("manyFields", "99 fields.", _status("200 OK", "content-length: 0", *[f"x-{n}: 1" for n in range(98)])),
    ("tooManyFields", "101 fields.", _status("200 OK", "content-length: 0", *[f"x-{n}: 1" for n in range(100)])),
    (
        "bigHead",
        "A head of 70 kB.",
        _status("200 OK", "content-length: 0", *[f"x-{n}: " + "a" * 7000 for n in range(10)]),
    ),
    (
        "tooBigHead",
        "One of 90 kB.",
        _status("200 OK", "content-length: 0", *[f"x-{n}: " + "a" * 9000 for n in range(10)]),
    ),
    ("emptyLinesFirst", "An empty line before the status line.", b"\r\n" + ok()),
)

CASES = [
    *[
        Case(
            f"reason{status}",
            "The reason phrase is the proxy's own.",
            get(),
            (_status(f"{status} X", "content-length: 0"),),
        )
        for status in (
            (208, 226, 300, 306, 308, 402, 415, 416, 421, 422, 423, 424, 425, 426, 428, 429, 431, 451, 506, 507, 508)
            + (510, 511, 512)
        )
    ],
    *[Case(f"get_{name}", intent, get(), (script,), limit=1.5) for name, intent, script in _TO_GET],
    *[
        Case(f"fields_{listener}", f"What a response may say ({listener}).", get(), (_FIELDS,), listener=listener)
        for listener in ("plain", "ifAbsent", "passThrough", "named", "trailers", "trailersOneSide")
    ],
    *[
        Case(f"server_{listener}", f"A response without Server ({listener}).", get(), (OK,), listener=listener)
        for listener in ("ifAbsent", "passThrough", "named")
    ],
    *[
        Case(f"local_{listener}", f"A local reply ({listener}).", request("GET foo"), listener=listener, limit=1.0)
        for listener in ("ifAbsent", "passThrough", "named")
    ],
    Case("dateKept", "The upstream's date is kept.", get(), (ok("Date: Sun, 06 Nov 1994 08:49:37 GMT"),)),
    Case("dateOdd", "Even one that is none.", get(), (ok("Date: xx"),)),
    Case("head", "HEAD.", request("HEAD /"), (_status("200 OK", "content-length: 9"),)),
    Case("headChunked", "HEAD to what has chunks.", request("HEAD /"), (_status("200 OK", _CHUNKED),)),
    Case("headBare", "HEAD to what has no length.", request("HEAD /"), (_status("200 OK"),)),
    Case("headBody", "A body to HEAD.", [request("HEAD /"), Do.AWAIT, get()], (ok(), OK), responses=2, limit=1.5),
    Case("headNone", "204 to HEAD.", request("HEAD /"), (_status("204 No Content"),)),
    Case(
        "headThenGet",
        "GET after HEAD.",
        [request("HEAD /"), Do.AWAIT, get()],
        (_status("200 OK", "content-length: 9"), OK),
        responses=2,
    ),
    Case(
        "reuseAfterNone",
        "A connection is used again after 204.",
        [get("/1"), Do.AWAIT, get("/2")],
        (_status("204 X"), OK),
        responses=2,
    ),
    Case(
        "reuseAfterExtra",
        "None that had bytes too many.",
        [get("/1"), Do.AWAIT, Do.REST, get("/2")],
        (ok() + ok(body="evil"), ok(body="good")),
        responses=2,
    ),
    Case(
        "reuseClosed",
        "One that the upstream closed in the meantime.",
        [get("/1"), Do.AWAIT, Pause(0.1), get("/2")],
        ([OK, Do.REST, Do.CLOSE], OK),
        responses=2,
    ),
    Case(
        "earlyAnswer",
        "A response before the request's end.",
        [request("POST /", "content-length: 6", body="ab"), Do.AWAIT],
        ([Do.EARLY, Until(b"ab"), ok(), Do.DRAIN],),
        settle=0.2,
    ),
    Case(
        "earlyAnswerChunked",
        "One to a chunked request.",
        [request("POST /", _CHUNKED, body="2\r\nab\r\n"), Do.AWAIT],
        ([Do.EARLY, Until(b"ab"), ok(), Do.DRAIN],),
        settle=0.2,
    ),
    Case(
        "earlyAnswerClose",
        "One with which the upstream closes.",
        [request("POST /", "content-length: 6", body="ab"), Do.AWAIT],
        ([Do.EARLY, Until(b"ab"), _status("413 Too Large", "content-length: 0", "connection: close"), Do.CLOSE],),
        settle=0.2,
    ),
    Case(
        "earlyThenRest",
        "The rest of the request comes while the response is on its way.",
        [request("POST /", "content-length: 6", body="ab"), Until(b"200 OK"), b"cdef"],
        ([Do.EARLY, Until(b"ab"), b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab", Do.BODY, b"cd"],),
        settle=0.2,
    ),
    Case(
        "trailers",
        "Trailers pass.",
        get(),
        (_status("200 OK", _CHUNKED, body="1\r\na\r\n0\r\nX-T: 1\r\nx-u: 2\r\n\r\n"),),
        listener="trailers",
    ),
    Case(
        "trailersDropped",
        "By default they do not.",
        get(),
        (_status("200 OK", _CHUNKED, body="1\r\na\r\n0\r\nX-T: 1\r\n\r\n"),),
    ),
    Case(
        "trailersOneSide",
        "Nor if one side alone has them.",
        get(),
        (_status("200 OK", _CHUNKED, body="1\r\na\r\n0\r\nX-T: 1\r\n\r\n"),),
        listener="trailersOneSide",
    ),
    Case(
        "trailersBad",
        "A trailer that is none.",
        get(),
        ([_status("200 OK", _CHUNKED, body="1\r\na\r\n"), Do.REST, b"0\r\nx t\r\n\r\n"],),
        listener="trailers",
        limit=1.5,
    ),
    Case("smallHead", "max_response_headers_kb.", get(), (ok("x-a: " + "a" * 3000),), listener="smallHead"),
    Case("smallHeadFits", "A head below it.", get(), (ok("x-a: " + "a" * 1900),), listener="smallHead"),
    Case(
        "fewFields",
        "max_headers_count of a cluster.",
        get(),
        (ok("a: 1", "b: 2", "c: 3", "d: 4"),),
        listener="fewFields",
    ),
    Case("fewFieldsFit", "As many as it allows.", get(), (ok("a: 1", "b: 2", "c: 3"),), listener="fewFields"),
    Case(
        "smallBuffer",
        "Small buffers hold nothing back.",
        get(),
        (_status("200 OK", "content-length: 100000", body="z" * 100000),),
        listener="smallBuffer",
    ),
    Case(
        "smallBufferUp",
        "Nor on the way up.",
        request("POST /", "content-length: 100000", body="z" * 100000),
        listener="smallBuffer",
    ),
    Case(
        "earlyForwarded",
        "proxy_100_continue passes 103 as well.",
        get(),
        ([_status("103 Early Hints", "link: x"), OK],),
        listener="continues",
    ),
]


@compared(Comparison(LISTENERS, CASES, CLUSTERS))
class ResponseTests(SynchronousTestCase):
    """
    Responses.
    """
