"""
How messages begin, end and follow each other on a connection; what is refused.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Manager
from tests.conformance.case import OK, Case, Do, Pause, get, ok, request
from tests.conformance.comparison import Comparison, compared

LISTENERS = {
    "plain": Manager(),
    "old": Manager("http_protocol_options: {accept_http_10: true}"),
    "oldDefault": Manager("http_protocol_options: {accept_http_10: true, default_host_for_http_10: old.example}"),
    "trailers": Manager(
        "http_protocol_options: {enable_trailers: true}",
        "[{match: {prefix: /}, route: {cluster: trailers}}]",
    ),
    "relative": Manager("http_protocol_options: {allow_absolute_url: false}"),
    "chunkedLength": Manager("http_protocol_options: {allow_chunked_length: true}"),
    "smallHead": Manager("max_request_headers_kb: 2"),
    "fewFields": Manager("common_http_protocol_options: {max_headers_count: 5}"),
    "twoRequests": Manager("common_http_protocol_options: {max_requests_per_connection: 2}"),
    "continues": Manager("proxy_100_continue: true"),
    "fullURL": Manager("", "[{match: {prefix: /}, route: {cluster: fullURL}}]"),
    "proper": Manager(
        "http_protocol_options: {header_key_format: {proper_case_words: {}}}",
        "[{match: {prefix: /}, route: {cluster: proper}}]",
    ),
    "tolerant": Manager("stream_error_on_invalid_http_message: true"),
}

_OPTIONS = (
    "typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"
    '"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, '
    "explicit_http_config: {http_protocol_options: {%s}}}}"
)

CLUSTERS = {
    "trailers": _OPTIONS % "enable_trailers: true",
    "fullURL": _OPTIONS % "send_fully_qualified_url: true",
    "proper": _OPTIONS % "header_key_format: {proper_case_words: {}}",
}


def _raw(*lines: str, body: str = "") -> bytes:
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode("latin-1")


_CHUNKED = "transfer-encoding: chunked"
_HOST = "Host: h"


def _post(*fields: str, body: str = "") -> bytes:
    return request("POST /p", *fields, body=body)


_REFUSED = (
    ("lengthTwice", "Two lengths.", _post("content-length: 3", "content-length: 3", body="abc")),
    ("lengthDiffers", "Two lengths that differ.", _post("content-length: 3", "content-length: 4", body="abcd")),
    ("lengthList", "A length as a list.", _post("content-length: 3, 3", body="abc")),
    ("lengthPlus", "A length with a sign.", _post("content-length: +3", body="abc")),
    ("lengthMinus", "A negative length.", _post("content-length: -3", body="abc")),
    ("lengthHex", "A length in hexadecimal.", _post("content-length: 0x3", body="abc")),
    ("lengthEmpty", "An empty length.", _post("content-length:", body="abc")),
    ("lengthHuge", "A length that no number holds.", _post("content-length: 99999999999999999999", body="abc")),
    ("lengthUnderscore", "A length as Python takes it.", _post("content-length: 1_0", body="0123456789")),
    ("lengthAndChunked", "A length and chunks.", _post("content-length: 3", _CHUNKED, body="0\r\n\r\n")),
    ("codingGzip", "A coding that is not chunked.", _post("transfer-encoding: gzip", body="abc")),
    ("codingGzipChunked", "Two codings.", _post("transfer-encoding: gzip, chunked", body="0\r\n\r\n")),
    ("codingChunkedTwice", "chunked twice.", _post(_CHUNKED, _CHUNKED, body="0\r\n\r\n")),
    ("codingIdentity", "identity.", _post("transfer-encoding: identity", body="")),
    ("codingUpper", "Capitals.", _post("transfer-encoding: CHUNKED", body="0\r\n\r\n")),
    ("codingTab", "A vertical tab before it.", _post("transfer-encoding:\x0bchunked", body="0\r\n\r\n")),
    ("codingEmpty", "An empty coding.", _post("transfer-encoding:", body="")),
    ("chunkSpace", "A blank after the size.", _post(_CHUNKED, body="2 \r\nab\r\n0\r\n\r\n")),
    ("chunkExtension", "An extension.", _post(_CHUNKED, body='2;a=b;c="d"\r\nab\r\n0\r\n\r\n')),
    ("nameSpace", "A blank before the colon.", _raw("GET / HTTP/1.1", _HOST, "x-a : 1")),
    ("nameEmpty", "A field without a name.", _raw("GET / HTTP/1.1", _HOST, ": 1")),
    ("nameIllegal", "A character that no name has.", _raw("GET / HTTP/1.1", _HOST, "x(a: 1")),
    ("nameBytes", "A name beyond ASCII.", _raw("GET / HTTP/1.1", _HOST, "x\xe4: 1")),
    ("noColon", "A line without a colon.", _raw("GET / HTTP/1.1", _HOST, "xa")),
    ("folded", "A folded line.", _raw("GET / HTTP/1.1", _HOST, "x-a: 1", " 2")),
    ("foldedFirst", "A blank before the first field.", _raw("GET / HTTP/1.1", " " + _HOST)),
    ("valueNul", "NUL in a value.", _raw("GET / HTTP/1.1", _HOST, "x-a: 1\x002")),
    ("valueCR", "A bare CR in a value.", _raw("GET / HTTP/1.1", _HOST, "x-a: 1\r2")),
    ("valueControl", "A control character in a value.", _raw("GET / HTTP/1.1", _HOST, "x-a: 1\x012")),
    ("valueDelete", "DEL in a value.", _raw("GET / HTTP/1.1", _HOST, "x-a: 1\x7f2")),
    ("lineFeeds", "Bare line feeds.", b"GET / HTTP/1.1\nHost: h\n\n"),
    ("lineFeedOne", "One bare line feed.", b"GET / HTTP/1.1\r\nHost: h\nx-a: 1\r\n\r\n"),
    ("methodIllegal", "A character that no method has.", _raw("G@T / HTTP/1.1", _HOST)),
    ("methodEmpty", "No method.", _raw(" / HTTP/1.1", _HOST)),
    ("twoBlanks", "Two blanks in the request line.", _raw("GET  / HTTP/1.1", _HOST)),
    ("blankAtEnd", "A blank at the end of it.", _raw("GET / HTTP/1.1 ", _HOST)),
    ("tabInLine", "A tab in it.", _raw("GET\t/ HTTP/1.1", _HOST)),
    ("blankInTarget", "A blank in the target.", _raw("GET /a b HTTP/1.1", _HOST)),
    ("bytesInTarget", "A target beyond ASCII.", _raw("GET /\xe4 HTTP/1.1", _HOST)),
    ("nulInTarget", "NUL in the target.", _raw("GET /\x00 HTTP/1.1", _HOST)),
    ("noTarget", "No target.", _raw("GET HTTP/1.1", _HOST)),
    ("noVersion", "HTTP/0.9.", _raw("GET /", _HOST)),
    ("versionTwo", "HTTP/2.0 in a request line.", _raw("GET / HTTP/2.0", _HOST)),
    ("versionOneTwo", "HTTP/1.2.", _raw("GET / HTTP/1.2", _HOST)),
    ("versionOld", "HTTP/0.9 by name.", _raw("GET / HTTP/0.9", _HOST)),
    ("versionLower", "http in small letters.", _raw("GET / http/1.1", _HOST)),
    ("versionLong", "A version with more digits.", _raw("GET / HTTP/1.11", _HOST)),
    ("versionGarbage", "No version.", _raw("GET / FOO", _HOST)),
    ("versionZero", "HTTP/1.0, which has to be accepted first.", _raw("GET / HTTP/1.0", _HOST)),
    ("preface", "The preface of HTTP/2.", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("handshake", "A TLS ClientHello.", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 32),
    ("garbage", "No HTTP at all.", b"\r\n\r\n\x00\x01\x02\r\n\r\n"),
    ("relativeTarget", "A target that is no path.", _raw("GET foo HTTP/1.1", _HOST)),
    ("fragment", "A fragment.", _raw("GET /a#b HTTP/1.1", _HOST)),
    ("queryFragment", "A fragment after a query.", _raw("GET /a?b#c HTTP/1.1", _HOST)),
    ("absoluteOther", "A scheme that is not HTTP's.", _raw("GET ftp://q/x HTTP/1.1", _HOST)),
    ("absoluteNoHost", "An absolute target without a host.", _raw("GET http:///x HTTP/1.1", _HOST)),
    ("absoluteBadPort", "A port that is none.", _raw("GET http://q:99999/x HTTP/1.1", _HOST)),
    ("starGet", "An asterisk that is not for OPTIONS.", _raw("GET * HTTP/1.1", _HOST)),
    ("connectPath", "CONNECT to a path.", _raw("CONNECT /a HTTP/1.1", _HOST)),
)

CASES = [
    *[Case(name, intent, data, limit=0.8) for name, intent, data in _REFUSED],
    Case("keepAlive", "Two requests after each other.", [get("/1"), Do.AWAIT, get("/2")], responses=2),
    Case("pipelined", "Three requests at once.", get("/1") + get("/2") + get("/3"), responses=3),
    Case(
        "pipelinedBodies",
        "Requests with bodies at once.",
        _post("content-length: 3", body="abc") + _post(_CHUNKED, body="2\r\nxy\r\n0\r\n\r\n") + get("/3"),
        responses=3,
    ),
    Case(
        "pipelinedSlow",
        "The answers keep their order.",
        get("/1") + get("/2"),
        ([Pause(0.1), ok(body="first")], ok(body="second")),
        responses=2,
    ),
    Case("pipelinedClose", "What follows close is not looked at.", get("/1", "Connection: close") + get("/2")),
    Case("pipelinedBad", "A bad request behind a good one.", get("/1") + b"BAD\r\n\r\n", responses=2),
    Case("closeAsked", "The client asks to close.", get("/", "Connection: close")),
    Case("closeUpper", "In capitals.", get("/", "Connection: CLOSE")),
    Case("keepAliveAsked", "The client asks to keep.", get("/", "Connection: keep-alive")),
    Case("closeUpstream", "The upstream closes; the client is kept.", get(), (ok("Connection: close"),)),
    Case(
        "closeUpstreamNext",
        "A second request finds a new connection.",
        [get("/1"), Do.AWAIT, get("/2")],
        ([ok("Connection: close"), Do.CLOSE], OK),
        responses=2,
    ),
    Case(
        "twoAllowed",
        "The last of max_requests_per_connection.",
        [get("/1"), Do.AWAIT, get("/2")],
        listener="twoRequests",
        responses=2,
    ),
    Case(
        "twoAllowedThree", "One more, at once.", get("/1") + get("/2") + get("/3"), listener="twoRequests", responses=2
    ),
    Case("emptyLines", "Empty lines before a request.", b"\r\n\r\n" + get()),
    Case("lineFeedsBefore", "Bare line feeds before a request.", b"\n\n" + get()),
    Case("emptyLinesBetween", "Empty lines between requests.", [get("/1"), Do.AWAIT, b"\r\n" + get("/2")], responses=2),
    Case(
        "headInPieces",
        "A head in pieces.",
        [b"GET / HT", Do.REST, b"TP/1.1\r\nHo", Do.REST, b"st: h\r\n\r", Do.REST, b"\n"],
    ),
    Case(
        "bodyInPieces",
        "A body in pieces.",
        [_post("content-length: 6", body="ab"), Do.REST, b"cd", Do.REST, b"ef"],
    ),
    Case(
        "halfClosedSlow",
        "One that ended it while the upstream thinks.",
        [get(), Do.REST, Do.HALF_CLOSE],
        ([Pause(0.15), OK],),
        limit=1.0,
    ),
    Case(
        "halfClosedBody",
        "One that ended it within the body.",
        [_post("content-length: 6", body="ab"), Do.REST, Do.HALF_CLOSE],
        limit=1.0,
    ),
    Case("halfClosedHead", "One that ended it within the head.", [b"GET / HTTP/1.1\r\nHo", Do.HALF_CLOSE], limit=1.0),
    Case("nothingSent", "One that sent nothing.", [Do.HALF_CLOSE], limit=1.0),
    Case("gone", "A client that goes away.", [get(), Do.REST, Do.CLOSE], ([Pause(0.15), OK],)),
    Case("goneReset", "One that resets.", [get(), Do.REST, Do.RESET], ([Pause(0.15), OK],)),
    Case(
        "goneWithin",
        "One that goes away within the response.",
        [get(), Pause(0.1), Do.CLOSE],
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", Pause(0.2)],),
    ),
    # Bodies
    Case("chunked", "A chunked body.", _post(_CHUNKED, body="2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n")),
    Case("chunkedEmpty", "An empty one.", _post(_CHUNKED, body="0\r\n\r\n")),
    Case("chunkedZeros", "Sizes with zeros before.", _post(_CHUNKED, body="0002\r\nab\r\n000\r\n\r\n")),
    Case(
        "chunkedTrailersDropped",
        "Trailers end here by default.",
        _post(_CHUNKED, "trailer: x-t", body="1\r\na\r\n0\r\nx-t: 1\r\n\r\n"),
    ),
    Case(
        "chunkedTrailers",
        "Trailers go on.",
        _post(_CHUNKED, body="1\r\na\r\n0\r\nX-T: 1\r\nx-u: 2\r\n\r\n"),
        listener="trailers",
    ),
    Case(
        "chunkedTrailersOnly",
        "Trailers without a body.",
        _post(_CHUNKED, body="0\r\nx-t: 1\r\n\r\n"),
        listener="trailers",
    ),
    Case(
        "chunkedTrailersBad",
        "A trailer that is none.",
        # Its beginning is on its way before: whether it is at all, where both come at once, is chance of connections.
        [_post(_CHUNKED, body="1\r\na\r\n"), Do.REST, b"0\r\nx t\r\n\r\n"],
        listener="trailers",
        limit=0.8,
    ),
    Case(
        "chunkedTrailersLength",
        "A trailer that says a length.",
        _post(_CHUNKED, body="1\r\na\r\n0\r\ncontent-length: 5\r\n\r\n"),
        listener="trailers",
    ),
    Case("large", "A body of 200 kB.", _post("content-length: 200000", body="x" * 200000)),
    Case("largeChunked", "One in chunks.", _post(_CHUNKED, body="186a0\r\n" + "y" * 100000 + "\r\n0\r\n\r\n")),
    Case("getBody", "GET with a body.", request("GET /", "content-length: 3", body="abc")),
    Case("getChunked", "GET with a chunked one.", request("GET /", _CHUNKED, body="1\r\na\r\n0\r\n\r\n")),
    Case("headBody", "HEAD with one.", request("HEAD /", "content-length: 3", body="abc"), (ok(body=""),)),
    Case("deleteBody", "DELETE with one.", request("DELETE /", "content-length: 3", body="abc")),
    Case(
        "chunkedLengthAllowed",
        "Length and chunks, allowed.",
        _post("content-length: 3", _CHUNKED, body="1\r\na\r\n0\r\n\r\n"),
        listener="chunkedLength",
    ),
    # HTTP/1.0
    Case("old", "HTTP/1.0 closes.", request("GET / HTTP/1.0"), listener="old"),
    Case("oldKeep", "It may ask to be kept.", request("GET / HTTP/1.0", "Connection: keep-alive"), listener="old"),
    Case("oldNoHost", "It needs a Host.", b"GET / HTTP/1.0\r\n\r\n", listener="old"),
    Case("oldNoHostRefused", "Without one, and not accepted.", b"GET / HTTP/1.0\r\n\r\n"),
    Case("oldDefault", "Or a default for it.", b"GET / HTTP/1.0\r\n\r\n", listener="oldDefault"),
    Case("oldDefaultHost", "Its own counts first.", request("GET / HTTP/1.0"), listener="oldDefault"),
    Case(
        "oldChunked",
        "It gets no chunks.",
        request("GET / HTTP/1.0"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",),
        listener="old",
    ),
    Case(
        "oldChunkedKeep",
        "Not even if it wants to be kept.",
        request("GET / HTTP/1.0", "Connection: keep-alive"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",),
        listener="old",
    ),
    Case(
        "oldPost", "Its body has a length.", request("POST / HTTP/1.0", "content-length: 3", body="abc"), listener="old"
    ),
    Case(
        "oldPostChunked",
        "And no chunks.",
        request("POST / HTTP/1.0", _CHUNKED, body="0\r\n\r\n"),
        listener="old",
        limit=0.8,
    ),
    Case("oldHead", "HEAD of HTTP/1.0.", request("HEAD / HTTP/1.0"), (ok(body=""),), listener="old"),
    Case("oldLocal", "A local reply to it.", request("GET foo HTTP/1.0"), listener="old", limit=0.8),
    Case("newOnOld", "HTTP/1.1 where 1.0 is accepted.", get(), listener="old"),
    Case(
        "oldUpstream",
        "An upstream of HTTP/1.0.",
        get(),
        ([b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", Do.CLOSE],),
    ),
    Case("oldUpstreamBare", "One without a length.", get(), ([b"HTTP/1.0 200 OK\r\n\r\nok", Do.CLOSE],)),
    # Targets
    Case("absolute", "An absolute target.", request("GET http://other.example/x?y", "Host: h")),
    Case("absolutePort", "One with a port.", request("GET http://other.example:8080/x", "Host: h")),
    Case("absoluteBare", "One without a path.", request("GET http://other.example", "Host: h")),
    Case("absoluteQuery", "One with a query only.", request("GET http://other.example?q", "Host: h"), limit=0.8),
    Case("absoluteHttps", "One of https.", request("GET https://other.example/x", "Host: h")),
    Case("absoluteUpper", "Capitals.", request("GET HTTP://OTHER.example/X", "Host: h")),
    Case("absoluteUser", "A user in it.", request("GET http://u:p@other.example/", "Host: h"), limit=0.8),
    Case(
        "absoluteRefused",
        "allow_absolute_url: false.",
        request("GET http://other.example/x", "Host: h"),
        listener="relative",
    ),
    Case("absoluteOptions", "OPTIONS of a whole host.", request("OPTIONS http://other.example", "Host: h")),
    Case("slashes", "Two slashes.", get("//a//b")),
    Case("dots", "Dots in a path, not normalized.", get("/a/../b/./c")),
    Case("percent", "Escapes.", get("/%41%2f%5c%zz")),
    Case("queryOnly", "An empty query.", get("/?")),
    Case("odd", "Characters that a path should not have.", get('/"<>^`{|}\\')),
    Case("fullURL", "The upstream gets an absolute target.", get("/x?y"), listener="fullURL"),
    Case("properCase", "Names in proper case, both ways.", get("/", "x-a-b: 1"), (ok("x-c-d: 1"),), listener="proper"),
    # Limits
    Case("headLarge", "A head above its limit.", get("/", "x-a: " + "a" * 3000), listener="smallHead"),
    Case("headLargeLine", "A request line above it.", get("/" + "a" * 3000), listener="smallHead"),
    Case("headBelow", "A head just below it.", get("/", "x-a: " + "a" * 1900), listener="smallHead"),
    Case("headDefault", "61 kB, by default too much.", get("/", *[f"x-{n}: " + "a" * 6000 for n in range(11)])),
    Case("headDefaultBelow", "54 kB.", get("/", *[f"x-{n}: " + "a" * 6000 for n in range(9)])),
    Case("fieldsMany", "101 fields.", get("/", *[f"x-{n}: 1" for n in range(101)])),
    Case("fieldsAllowed", "100 of them.", get("/", *[f"x-{n}: 1" for n in range(99)])),
    Case("fieldsFew", "max_headers_count.", get("/", *[f"x-{n}: 1" for n in range(5)]), listener="fewFields"),
    Case("fieldsFewAllowed", "As many as it allows.", get("/", *[f"x-{n}: 1" for n in range(4)]), listener="fewFields"),
    *[
        Case(
            name,
            intent,
            [_post(_CHUNKED, body="1\r\na\r\n"), Do.REST, rest.encode("latin-1")],
            listener=listener,
            limit=0.8,
        )
        for name, intent, rest, listener in (
            ("chunkBadSize", "A size that is none.", "xyz\r\nab\r\n0\r\n\r\n", "plain"),
            ("chunkExtensionLF", "A line feed in an extension.", "2;a\nb\r\nab\r\n0\r\n\r\n", "plain"),
            ("chunkHuge", "A size that no number holds.", "fffffffffffffffff\r\nab\r\n0\r\n\r\n", "plain"),
            ("chunkPrefixed", "A size with 0x.", "0x2\r\nab\r\n0\r\n\r\n", "plain"),
            ("chunkNegative", "A negative size.", "-2\r\nab\r\n0\r\n\r\n", "plain"),
            ("chunkLF", "Chunks with bare line feeds.", "2\nab\n0\n\n", "plain"),
            ("chunkNoEnd", "No line end after a chunk.", "2\r\nabXX0\r\n\r\n", "plain"),
            ("trailersBadDropped", "A trailer that is none, and would end here.", "0\r\nx t\r\n\r\n", "plain"),
            ("trailersLarge", "Trailers above the limit.", "0\r\nx-t: " + "t" * 70000 + "\r\n\r\n", "trailers"),
        )
    ],
    # Expect
    Case(
        "expect",
        "100-continue is answered here.",
        [_post("content-length: 2", "Expect: 100-continue"), Do.AWAIT, b"ab"],
    ),
    Case("expectUpper", "In capitals.", [_post("content-length: 2", "Expect: 100-Continue"), Do.AWAIT, b"ab"]),
    Case("expectAtOnce", "The body comes anyway.", _post("content-length: 2", "Expect: 100-continue", body="ab")),
    Case("expectNoBody", "There is no body.", _post("content-length: 0", "Expect: 100-continue")),
    Case("expectGet", "GET with it.", get("/", "Expect: 100-continue")),
    Case(
        "expectForwarded",
        "proxy_100_continue: the upstream answers.",
        [_post("content-length: 2", "Expect: 100-continue"), Do.AWAIT, b"ab"],
        ([Do.EARLY, b"HTTP/1.1 100 Continue\r\n\r\n", Do.BODY, OK],),
        listener="continues",
    ),
    Case(
        "expectForwardedRefused",
        "proxy_100_continue: the upstream refuses.",
        [_post("content-length: 2", "Expect: 100-continue"), Do.AWAIT],
        ([Do.EARLY, b"HTTP/1.1 417 No\r\ncontent-length: 0\r\n\r\n"],),
        listener="continues",
        settle=0.2,
    ),
    Case(
        "continueUnasked",
        "An upstream's 100 that nobody asked for.",
        _post("content-length: 2", body="ab"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", OK],),
    ),
    Case(
        "continueUnaskedForwarded",
        "One with proxy_100_continue.",
        _post("content-length: 2", body="ab"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", OK],),
        listener="continues",
    ),
    Case(
        "tolerantBad",
        "stream_error_on_invalid_http_message, of no HTTP.",
        b"BAD\r\n\r\n",
        listener="tolerant",
        limit=0.8,
    ),
    Case(
        "tolerantCoding", "Of a coding.", _post("transfer-encoding: gzip", body="abc"), listener="tolerant", limit=0.8
    ),
]


@compared(Comparison(LISTENERS, CASES, CLUSTERS))
class MessageTests(SynchronousTestCase):
    """
    Messages and connections.
    """
