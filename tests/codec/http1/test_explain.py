"""
L{meshproxy.codec.http1.explain}: what is refused, and that the slow way agrees with the fast one.
"""

from __future__ import annotations

from unittest.mock import patch

from meshproxy.codec.http1 import DownstreamCodec, Http1Counters, Http1Options, UnderscoreAction, UpstreamCodec
from meshproxy.errors import RemoteProtocolError
from tests.codec.http1.helpers import CodecTestCase, RecordingSink, Transcript, downstream, upstream

# Every head here is legal. Some of them the fast pattern takes, some it does not.
REQUESTS = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /p?q=1 HTTP/1.1\r\nHost: a:80\r\nUser-Agent: x y\r\nAccept: */*\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    b"DELETE /x HTTP/1.1\r\nA: 1\r\nHost: a\r\nB: 2\r\n\r\n",
    b"GET / HTTP/1.1\r\nCookie: a\r\nHost: a\r\nX: y\r\nCookie: b\r\ncookie: c\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: \xff\xfe\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: b\tc\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost:a\r\nX: \t b \t\r\nY:\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX_Y: 1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: \r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"PURGE / HTTP/1.1\r\nHost: a\r\n\r\n",
]
RESPONSES = [
    b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 404\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 204 \r\nX: 1\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nSet-Cookie: a\r\nETag: b\r\nset-cookie: c\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length:0\r\nX: \r\n\r\n",
]


def transcriptOf(codec: DownstreamCodec | UpstreamCodec, sink: RecordingSink, wire: bytes) -> tuple[Transcript, bool]:
    """
    What the sink is told, and whether the connection may go on.
    """
    codec.receiveData(wire)
    return sink.transcript, codec.keepAlive


class AgreementTests(CodecTestCase):
    """
    The fast way is a short cut and nothing else.
    """

    def test_requests(self) -> None:
        """
        With the fast pattern put out of action, each request reads the same.
        """
        for wire in REQUESTS:
            usual = transcriptOf(*downstream(), wire)
            with patch.object(DownstreamCodec, "_matchHead", staticmethod(lambda data, position=0: None)):
                self.assertEqual(transcriptOf(*downstream(), wire), usual, wire)

    def test_responses(self) -> None:
        """
        So does each response.
        """
        for wire in RESPONSES:
            usual = transcriptOf(*upstream(), wire)
            with patch.object(UpstreamCodec, "_matchHead", staticmethod(lambda data, position=0: None)):
                self.assertEqual(transcriptOf(*upstream(), wire), usual, wire)

    def test_fastWayIsTaken(self) -> None:
        """
        The usual head does not come to the slow parser at all.
        """
        with patch("meshproxy.codec.http1.requests.explainRequest", side_effect=AssertionError):
            transcriptOf(*downstream(), REQUESTS[1])
            transcriptOf(*downstream(), REQUESTS[4])
        with patch("meshproxy.codec.http1.upstream.explainResponse", side_effect=AssertionError):
            transcriptOf(*upstream(), RESPONSES[0])

    def test_everySplit(self) -> None:
        """
        However the head is cut, it reads the same.
        """
        for wire in REQUESTS:
            self.assertEverySplit(downstream, wire)
        for wire in RESPONSES:
            self.assertEverySplit(upstream, wire)


class RequestLineTests(CodecTestCase):
    """
    Request lines that are refused, with Envoy's answers.
    """

    def assertLineRefused(self, line: bytes, status: int = 400, details: str = "http1.codec_error") -> str:
        """
        A request line is refused with an otherwise legal head, in every split.
        """
        return self.assertRefused(downstream, line + b"\r\nHost: a\r\n\r\n", status, details)

    def test_methods(self) -> None:
        """
        Methods that Envoy does not know.
        """
        for method in (b"FOO", b"get", b"G!", b"M-SEARCH", b"PRI", b"A" * 200):
            self.assertIn("method", self.assertLineRefused(method + b" / HTTP/1.1"))

    def test_garbage(self) -> None:
        """
        What begins no request is refused at once, without waiting for the end of a line.
        """
        for wire in (b"\x16\x03\x01\x00", b" GET", b"(", b"\xe4", b"\n", b"\rG", b"\r\n\r\n "):
            self.assertRefused(downstream, wire)

    def test_spaces(self) -> None:
        """
        One space on each side of the target, where Envoy takes more, and tabs.
        """
        for line in (
            b"GET  / HTTP/1.1",
            b"GET /  HTTP/1.1",
            b"GET / HTTP/1.1 ",
            b"GET\t/ HTTP/1.1",
            b"GET /a b HTTP/1.1",
        ):
            self.assertLineRefused(line)

    def test_versions(self) -> None:
        """
        426 for a version that is not served, 400 for what is no version.
        """
        for version in (b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/0.9"):
            self.assertLineRefused(b"GET / " + version, 426, "low_version")
        self.assertLineRefused(b"GET /", 426, "low_version")
        for version in (
            b"http/1.1",
            b"HTTP/1.10",
            b"HTTPS/1.1",
            b"RTSP/1.0",
            b"HTTP/01.1",
            b"HTTP/1",
            b"HTTP/1,1",
            b"X",
        ):
            self.assertLineRefused(b"GET / " + version)

    def test_targets(self) -> None:
        """
        Targets that mean nothing.
        """
        for target in (b"a", b"?a", b"x:80", b"/\xe4", b"http:/x", b":a"):
            self.assertLineRefused(b"GET %b HTTP/1.1" % target)
        for target in (b"*", b"http:///y", b"http://?y", b"http://x:/", b"http://x:99999/", b"http://a,b/"):
            self.assertLineRefused(b"GET %b HTTP/1.1" % target, 400, "http1.invalid_url")
        for target in (b"ftp://x/y", b"ws://x/y"):
            self.assertLineRefused(b"GET %b HTTP/1.1" % target, 400, "http1.invalid_scheme")
        for target in (b"/#a", b"/a#", b"http://x/#a", b"http://x#a"):
            self.assertLineRefused(b"GET %b HTTP/1.1" % target, 400, "path_normalization_failed")

    def test_controls(self) -> None:
        """
        Control characters have details of their own.
        """
        for line in (b"G\0T / HTTP/1.1", b"GET /\x01 HTTP/1.1", b"GET /\x7f HTTP/1.1", b"GET\x0b/ HTTP/1.1"):
            self.assertLineRefused(line, 400, "http1.invalid_characters")

    def test_connect(self) -> None:
        """
        CONNECT takes a host with a port.
        """
        for target in (b"x", b"http://x/", b"/x", b"*", b"x:80/y", b"x:", b":80", b"x:65536"):
            self.assertLineRefused(b"CONNECT %b HTTP/1.1" % target, 400, "http1.invalid_url")


class TargetTests(CodecTestCase):
    """
    The forms of a target (RFC 9112, 3.2).
    """

    def head(self, wire: bytes, **options: object) -> dict[bytes, bytes]:
        """
        The head of a request, pseudo-header fields included.
        """
        return dict(self.assertEverySplit(lambda: downstream(**options), wire)[0][1])

    def test_absolute(self) -> None:
        """
        Authority and path come from the target; the Host is ignored, whatever it says.
        """
        for target, authority, path in (
            (b"http://x/y", b"x", b"/y"),
            (b"http://x", b"x", b"/"),
            (b"HTTP://x:80/?a", b"x:80", b"/?a"),
            (b"http://u:p@x/", b"x", b"/"),
            (b"http://[::1]:8//y", b"[::1]:8", b"//y"),
        ):
            for host in (b"", b"Host: a\r\n", b"Host: a b\r\n"):
                head = self.head(b"GET %b HTTP/1.1\r\n%b\r\n" % (target, host))
                self.assertEqual((head[b":authority"], head[b":path"]), (authority, path))
                self.assertEqual(head[b":scheme"], b"http")
                self.assertNotIn(b"host", head)
        self.assertEqual(self.head(b"GET https://x/ HTTP/1.1\r\n\r\n")[b":scheme"], b"https")

    def test_absoluteNotAllowed(self) -> None:
        """
        C{allow_absolute_url: false}.
        """
        wire = b"GET http://x/y HTTP/1.1\r\nHost: h\r\n\r\n"
        self.assertEqual(self.head(wire, allowAbsoluteURL=False)[b":path"], b"http://x/y")

    def test_asterisk(self) -> None:
        """
        C{OPTIONS *} is told as it is.
        """
        self.assertEqual(self.head(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")[b":path"], b"*")

    def test_origin(self) -> None:
        """
        Octets that Envoy takes in a path, and passes on as they are.
        """
        for path in (b"/%00", b'/"<>\\^`{|}', b"//x/y", b"/a%", b"/*"):
            self.assertEqual(self.head(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path)[b":path"], path)

    def test_scheme(self) -> None:
        """
        The scheme is that of the transport.
        """
        self.assertEqual(self.head(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", scheme=b"https")[b":scheme"], b"https")

    def test_http10(self) -> None:
        """
        C{accept_http_10} with its default host.
        """
        options = {"acceptHTTP10": True, "defaultHost": b"dflt"}
        self.assertEqual(self.head(b"GET / HTTP/1.0\r\n\r\n", **options)[b":authority"], b"dflt")
        self.assertEqual(self.head(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n", **options)[b":authority"], b"x")
        self.assertEqual(self.head(b"GET / HTTP/1.0\r\n\r\n", acceptHTTP10=True)[b":authority"], b"")


class FieldTests(CodecTestCase):
    """
    Fields that are refused.
    """

    def assertFieldRefused(self, line: bytes, details: str = "http1.codec_error") -> str:
        """
        A line is refused as the first one, as the last one and in a response.
        """
        self.assertRefused(downstream, b"GET / HTTP/1.1\r\n" + line + b"\r\nHost: a\r\n\r\n", 400, details)
        self.assertRefused(upstream, b"HTTP/1.1 200 OK\r\n" + line + b"\r\n\r\n", 400, details)
        return self.assertRefused(downstream, b"GET / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\n", 400, details)

    def test_names(self) -> None:
        """
        Names that are no tokens, and none at all.
        """
        for line in (
            b"a b: c",
            b"a(: c",
            b"a/b: c",
            b'a"b: c',
            b"a[b: c",
            b"a@b: c",
            b"a{b: c",
            b"a\\b: c",
            b"\xe4: c",
        ):
            self.assertIn("field name", self.assertFieldRefused(line))
        self.assertIn("empty", self.assertFieldRefused(b": b"))
        self.assertIn("colon", self.assertFieldRefused(b"ab"))

    def test_whiteSpace(self) -> None:
        """
        Before the colon, and before the name: line folding.
        """
        for line in (b"a : b", b"a\t: b", b"Transfer-Encoding : chunked"):
            self.assertIn("white space", self.assertFieldRefused(line))
        for line in (b" a: b", b"\ta: b", b"a: b\r\n c: d", b"a: b\r\n\tc"):
            self.assertIn("folded", self.assertFieldRefused(line))

    def test_lineEnds(self) -> None:
        """
        A bare LF or CR, which Envoy takes.
        """
        for line in (b"a: b\nc: d", b"a: b\n\r\nc: d", b"\n"):
            self.assertIn("bare LF", self.assertFieldRefused(line))
        for line in (b"a: b\rc", b"a: b\r", b"a\rb: c", b"\ra: b"):
            self.assertIn("bare CR", self.assertFieldRefused(line))

    def test_wholeHeadWithBareLF(self) -> None:
        """
        A head that has no CRLF at all is refused at its first line.
        """
        self.assertRefused(downstream, b"GET / HTTP/1.1\nHost: a\n\n")
        self.assertRefused(upstream, b"HTTP/1.1 200 OK\n\n")

    def test_controls(self) -> None:
        """
        Every control character but tab, in names and in values.
        """
        for octet in (*range(0x20), 0x7F):
            if octet not in (9, 10, 13):
                self.assertFieldRefused(b"a: b%bc" % bytes([octet]), "http1.invalid_characters")
                self.assertFieldRefused(b"a%b: c" % bytes([octet]), "http1.invalid_characters")

    def test_valueIsNotTold(self) -> None:
        """
        The log gets no value: it may be a secret.
        """
        why = self.assertFieldRefused(b"authorization: Basic s3cret\0", "http1.invalid_characters")
        self.assertNotIn("s3cret", why)


class HostTests(CodecTestCase):
    """
    The Host of a request.
    """

    def test_missing(self) -> None:
        """
        The head goes on without one; the connection manager refuses it.
        """
        codec, sink = downstream()
        codec.receiveData(b"GET / HTTP/1.1\r\nA: b\r\n\r\n")
        self.assertIn((b":authority", b""), sink.transcript[0][1])

    def test_several(self) -> None:
        """
        More than one is refused, equal or not, where Envoy joins them (RFC 9112, 3.2).
        """
        for other in (b"a", b"b", b""):
            for target in (b"/", b"http://x/"):
                wire = b"GET %b HTTP/1.1\r\nHost: a\r\nX: y\r\nHost: %b\r\n\r\n" % (target, other)
                self.assertRefused(downstream, wire, 400, "http.invalid_authority")

    def test_octets(self) -> None:
        """
        What Envoy takes in an authority, and what it does not, octet by octet.
        """
        taken = b"-._~%!$&'()*+,;=:@[]0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
        for octet in range(0x21, 0x100):
            if octet != 0x7F:
                wire = b"GET / HTTP/1.1\r\nHost: a%bb\r\n\r\n" % bytes([octet])
                codec, sink = downstream()
                if octet in taken:
                    codec.receiveData(wire)
                    self.assertEqual(sink.transcript[0][1][2], (b":authority", b"a%bb" % bytes([octet])))
                else:
                    self.assertRefused(downstream, wire, 400, "http.invalid_authority")
        self.assertRefused(downstream, b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "http.invalid_authority")


class LimitTests(CodecTestCase):
    """
    The limits of a head.
    """

    def test_count(self) -> None:
        """
        As many fields as allowed, Host included, and one more; equal names count each.
        """
        for name in (b"a%d", b"a%.0d"):
            lines = [name % number + b": b\r\n" for number in range(1, 100)]
            codec, sink = downstream()
            codec.receiveData(b"GET / HTTP/1.1\r\nHost: h\r\n" + b"".join(lines) + b"\r\n")
            self.assertEqual(len(sink.transcript), 1)
            codec, _ = downstream()
            wire = b"GET / HTTP/1.1\r\nHost: h\r\n" + b"".join(lines) + b"z: b\r\n\r\n"
            self.assertRefusedWhole(codec, wire, "http1.too_many_headers")

    def assertRefusedWhole(self, codec: DownstreamCodec | UpstreamCodec, wire: bytes, details: str) -> None:
        """
        A sample that is too long for every split is refused whole, with 431.
        """
        error = self.assertRaises(RemoteProtocolError, codec.receiveData, wire)
        self.assertEqual((error.statusHint, error.details), (431, details))

    def test_bytes(self) -> None:
        """
        A head of just the bytes that are allowed, and one more; in any split, its end seen or not.
        """
        wire = b"GET / HTTP/1.1\r\nHost: h\r\nX: %b\r\n\r\n"
        limit = len(wire) + 20

        def limited() -> tuple[DownstreamCodec, RecordingSink]:
            return downstream(maxHeadBytes=limit)

        self.assertEverySplit(limited, wire % (b"x" * 22))
        self.assertRefused(limited, wire % (b"x" * 23), 431, "http1.headers_too_large")
        self.assertRefused(limited, b"GET /" + b"x" * limit, 431, "http1.headers_too_large")
        self.assertRefused(
            lambda: upstream(maxHeadBytes=30),
            b"HTTP/1.1 200 OK\r\nX: 89012345678901234\r\n\r\n",
            431,
            "http1.headers_too_large",
        )

    def test_responseCount(self) -> None:
        """
        A response has the same limit.
        """
        lines = b"".join(b"a%d: b\r\n" % number for number in range(101))
        self.assertRefusedWhole(upstream()[0], b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n", "http1.too_many_headers")

    def test_emptyLines(self) -> None:
        """
        Empty lines before a request are skipped, any number of them, without being kept.
        """
        codec, sink = downstream()
        for _ in range(1000):
            codec.receiveData(b"\r\n" * 100)
        codec.receiveData(b"\r")
        codec.receiveData(b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(len(sink.transcript), 1)
        self.assertEverySplit(downstream, b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")


class UnderscoreTests(CodecTestCase):
    """
    C{headers_with_underscores_action}.
    """

    wire = b"POST / HTTP/1.1\r\nHost: a\r\ncontent_length: 3\r\nb: c_d\r\n\r\n"

    def test_allow(self) -> None:
        """
        By default such a field is one like others.
        """
        codec, sink = downstream()
        codec.receiveData(self.wire)
        self.assertIn((b"content_length", b"3"), sink.transcript[0][1])

    def test_drop(self) -> None:
        """
        Dropped and counted; values do not matter.
        """
        counters, sink = Http1Counters(), RecordingSink()
        codec = DownstreamCodec(sink, Http1Options(underscores=UnderscoreAction.DROP), counters)
        codec.receiveData(self.wire)
        self.assertEqual([name for name, _ in sink.transcript[0][1]][4:], [b"b"])
        self.assertEqual(counters.droppedHeadersWithUnderscores.value, 1)

    def test_reject(self) -> None:
        """
        Rejected and counted.
        """
        counters = Http1Counters()

        def make() -> tuple[DownstreamCodec, RecordingSink]:
            sink = RecordingSink()
            return DownstreamCodec(sink, Http1Options(underscores=UnderscoreAction.REJECT), counters), sink

        self.assertRefused(make, self.wire, 400, "http1.unexpected_underscore")
        self.assertEqual(counters.requestsRejectedWithUnderscoresInHeaders.value, len(self.wire) + 1)


class CustomMethodTests(CodecTestCase):
    """
    C{allow_custom_methods}.
    """

    def test_token(self) -> None:
        """
        Any token is a method then, whatever it begins with; what is none is refused all the same.
        """

        def make() -> tuple[DownstreamCodec, RecordingSink]:
            sink = RecordingSink()
            return DownstreamCodec(sink, Http1Options(customMethods=True)), sink

        for method in (b"FOO", b"get", b"!#$%&'*+-.^_`|~1", b"1x"):
            codec, sink = make()
            codec.receiveData(method + b" / HTTP/1.1\r\nhost: a\r\n\r\n")
            self.assertEqual(sink.transcript[0][1][0], (b":method", method))
        self.assertRefused(make, b"F(O / HTTP/1.1\r\nhost: a\r\n\r\n", 400, "http1.codec_error")


class StatusLineTests(CodecTestCase):
    """
    Status lines.
    """

    def test_refused(self) -> None:
        """
        What is none.
        """
        for line in (
            b"HTTP/1.1 20 OK",
            b"HTTP/1.1 2000 OK",
            b"HTTP/1.1 099 OK",
            b"HTTP/2 200 OK",
            b"HTTP/1.2 200 OK",
            b"http/1.1 200 OK",
            b"HTTP/1.1 abc",
            b"ICY 200 OK",
            b"HTTP/1.1 200OK",
            b"HTTP/1.1 +20 OK",
            b"HTTP/1.1  200 OK",
            b" HTTP/1.1 200 OK",
            b"\r\nHTTP/1.1 200 OK",
        ):
            self.assertRefused(upstream, line + b"\r\ncontent-length: 0\r\n\r\n")
        self.assertRefused(upstream, b"HTTP/1.1 200 a\x01b\r\n\r\n", 400, "http1.invalid_characters")

    def test_taken(self) -> None:
        """
        Every status of three digits, HTTP/1.0 too.
        """
        for line, status in ((b"HTTP/1.0 200 OK", b"200"), (b"HTTP/1.1 999 x", b"999"), (b"HTTP/1.1 299", b"299")):
            told = self.assertEverySplit(upstream, line + b"\r\ncontent-length: 0\r\n\r\n")
            self.assertEqual(told[0][1][0], (b":status", status))
