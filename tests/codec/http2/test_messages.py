"""
What RFC 9113, 8 calls malformed.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.codec.http1 import UnderscoreAction
from meshproxy.codec.http2 import Http2Counters, Http2Options
from meshproxy.codec.http2.messages import (
    requestFields,
    requestFrom,
    responseFields,
    responseFrom,
    trailerFields,
    trailersFrom,
)
from meshproxy.errors import LocalProtocolError, RemoteProtocolError
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from tests.codec.http2.frames import request

Fields = list[tuple[bytes, bytes]]


def readRequest(fields: Fields, **options: object) -> tuple[RequestHeaders, bytes]:
    """
    A request of these fields.
    """
    return requestFrom(fields, Http2Options(**options), Http2Counters())  # type: ignore[arg-type]  # of tests only


class RequestTests(SynchronousTestCase):
    """
    L{requestFrom}.
    """

    def test_usual(self) -> None:
        """
        Pseudo-header fields become attributes, the rest stays in order.
        """
        headers, protocol = readRequest(request((b"a", b"1"), (b"b", b""), (b"a", b"2")))
        self.assertEqual(headers, RequestHeaders(b"GET", b"/", b"test", [(b"a", b"1"), (b"b", b""), (b"a", b"2")]))
        self.assertEqual(protocol, b"")

    def test_cookies(self) -> None:
        """
        Crumbs of a cookie are joined (RFC 9113, 8.2.3), wherever they stand.
        """
        headers, _ = readRequest(request((b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2"), (b"cookie", b"c=3")))
        self.assertEqual(list(headers.fields()), [(b"cookie", b"a=1; b=2; c=3"), (b"x", b"y")])

    def test_authority(self) -> None:
        """
        C{:authority} or C{host}, or both if they say the same.
        """
        for fields in (
            request(),
            request((b"host", b"test"), authority=None),
            request((b"host", b"test")),
            request((b"host", b"TEST")),
        ):
            headers, _ = readRequest(fields)
            self.assertEqual(headers.authority, b"test")
            self.assertEqual(len(headers), 0)

    def test_blanks(self) -> None:
        """
        White space around a value is no part of it, for rules that look at it neither.
        """
        headers, _ = readRequest(request((b"a", b" b"), (b"c", b"d\t "), (b"e", b" "), (b"te", b" trailers")))
        self.assertEqual(dict(headers.fields()), {b"a": b"b", b"c": b"d", b"e": b"", b"te": b"trailers"})
        self.assertEqual(readRequest(request(method=b"OPTIONS", path=b"*"))[0].path, b"*")

    def test_connect(self) -> None:
        """
        CONNECT has an authority and nothing else.
        """
        headers, _ = readRequest([(b":method", b"CONNECT"), (b":authority", b"a:443")])
        self.assertEqual((headers.method, headers.authority, headers.path), (b"CONNECT", b"a:443", b""))

    def test_extendedConnect(self) -> None:
        """
        It becomes an upgrade, if it is allowed at all (RFC 8441).
        """
        fields = [(b":protocol", b"websocket"), *request(method=b"CONNECT")]
        headers, protocol = readRequest(fields, allowConnect=True)
        self.assertEqual(protocol, b"websocket")
        self.assertEqual(headers.method, b"GET")
        self.assertEqual(list(headers.fields()), [(b"connection", b"upgrade"), (b"upgrade", b"websocket")])
        self.assertRaises(RemoteProtocolError, readRequest, fields)
        self.assertRaises(
            RemoteProtocolError, readRequest, [(b":protocol", b"websocket"), *request()], allowConnect=True
        )

    def test_malformed(self) -> None:
        """
        Each of these is refused.
        """
        cases: list[Fields] = [
            [],
            request(method=b""),
            request(method=b"GET /x HTTP/1.1"),
            request(method=b"G\r\nT"),
            request(path=b""),
            request(path=b"/a b"),
            request(path=b"/a\r\nb"),
            request(authority=b"user@test"),
            request(scheme=b""),
            request(scheme=b"http://evil/"),
            request(authority=b"a b"),
            request(authority=b"a/b"),
            request((b"host", b"other")),
            request((b"host", b"test"), (b"host", b"test")),
            request(method=b"CONNECT"),
            request((b"A", b"b")),
            request((b"", b"b")),
            request((b"a b", b"c")),
            request((b"a:", b"c")),
            request((b"a\r\nb", b"c")),
            request((b"a", b"b\r\nc: d")),
            request((b"a", b"b\nc")),
            request((b"a", b"b\rc")),
            request((b"a", b"b\0c")),
            request(authority=None),
            request(path=b"x"),
            request(path=b"*"),
            request(path=b"http://a/"),
            request((b"a", b"\x7f")),
            request((b"connection", b"close")),
            request((b"keep-alive", b"1")),
            request((b"proxy-connection", b"close")),
            request((b"transfer-encoding", b"chunked")),
            request((b"upgrade", b"h2c")),
            request((b"te", b"gzip")),
            request((b"te", b"trailers"), (b"te", b"trailers")),
            request((b"content-length", b"+1")),
            request((b"content-length", b"1, 1")),
            request((b"content-length", b"1"), (b"content-length", b"1")),
            request((b":path", b"/x")),
            request((b":unknown", b"x")),
            [(b"a", b"b"), *request()],
        ]
        for fields in cases:
            with self.assertRaises(RemoteProtocolError, msg=str(fields)) as caught:
                readRequest(fields)
            self.assertEqual(caught.exception.h2Code, 1)

    def test_underscores(self) -> None:
        """
        Names with underscores are let through, dropped or refused.
        """
        fields = request((b"a_b", b"1"), (b"a_b", b"2"), (b"c", b"3"))
        self.assertEqual(len(readRequest(fields)[0]), 3)
        counters = Http2Counters()
        headers, _ = requestFrom(fields, Http2Options(underscores=UnderscoreAction.DROP), counters)
        self.assertEqual(list(headers.fields()), [(b"c", b"3")])
        self.assertEqual(counters.droppedHeadersWithUnderscores.value, 2)
        with self.assertRaises(RemoteProtocolError) as caught:
            requestFrom(fields, Http2Options(underscores=UnderscoreAction.REJECT), counters)
        self.assertEqual(caught.exception.details, "http2.unexpected_underscore")
        self.assertEqual(counters.requestsRejectedWithUnderscoresInHeaders.value, 1)


class ResponseTests(SynchronousTestCase):
    """
    L{responseFrom} and L{trailersFrom}.
    """

    def test_usual(self) -> None:
        """
        A status and fields.
        """
        headers = responseFrom([(b":status", b"204"), (b"a", b"b")])
        self.assertEqual(headers, ResponseHeaders(204, [(b"a", b"b")]))

    def test_malformed(self) -> None:
        """
        Each of these is refused.
        """
        cases: list[Fields] = [
            [],
            [(b":status", b"20")],
            [(b":status", b"2000")],
            [(b":status", b"+20")],
            [(b":status", b"101")],
            [(b":status", b"200"), (b":status", b"200")],
            [(b":status", b"200"), (b":path", b"/")],
            [(b"a", b"b"), (b":status", b"200")],
            [(b":status", b"200"), (b"connection", b"close")],
            [(b":status", b"200"), (b"content-length", b"x")],
        ]
        for fields in cases:
            self.assertRaises(RemoteProtocolError, responseFrom, fields)

    def test_trailers(self) -> None:
        """
        Trailers have no pseudo-header fields and none of the connection.
        """
        self.assertEqual(trailersFrom([(b"a", b"b")]), HeaderMap([(b"a", b"b")]))
        for name in (b":status", b"connection", b"A", b"transfer-encoding"):
            self.assertRaises(RemoteProtocolError, trailersFrom, [(name, b"x")])


class WrittenTests(SynchronousTestCase):
    """
    What goes out.
    """

    def test_request(self) -> None:
        """
        Fields of the connection stay behind, C{te} unless it says trailers, and C{host} is C{:authority}.
        """
        headers = RequestHeaders(b"GET", b"/", b"test", [(b"te", b"gzip"), (b"keep-alive", b"1"), (b"a", b"b")])
        self.assertEqual(requestFields(headers)[4:], ((b"a", b"b"),))
        headers.set(b"te", b"trailers")
        self.assertIn((b"te", b"trailers"), requestFields(headers))
        self.assertEqual(requestFields(headers)[2], (b":authority", b"test"))

    def test_upgrade(self) -> None:
        """
        An upgrade goes out as an extended CONNECT, its acceptance as a 200.
        """
        headers = RequestHeaders(b"GET", b"/c", b"test", [(b"connection", b"upgrade"), (b"upgrade", b"websocket")])
        fields = dict(requestFields(headers))
        self.assertEqual((fields[b":method"], fields[b":protocol"]), (b"CONNECT", b"websocket"))
        self.assertNotIn(b"upgrade", fields)
        answer = ResponseHeaders(101, [(b"connection", b"upgrade"), (b"upgrade", b"websocket")])
        self.assertEqual(responseFields(answer, True), ((b":status", b"200"),))

    def test_connect(self) -> None:
        """
        CONNECT has no path.
        """
        headers = RequestHeaders(b"CONNECT", b"", b"a:1")
        self.assertEqual(requestFields(headers), ((b":method", b"CONNECT"), (b":authority", b"a:1")))

    def test_unwritable(self) -> None:
        """
        What another protocol, or a filter, let through is stopped here.
        """
        for headers in (
            RequestHeaders(b"G T", b"/", b"a"),
            RequestHeaders(b"GET", b"/a b", b"a"),
            RequestHeaders(b"GET", b"", b"a"),
            RequestHeaders(b"GET", b"/", b"a b"),
            RequestHeaders(b"GET", b"/", b"a", [(b"x", b"y\r\n")]),
            RequestHeaders(b"GET", b"/", b"a", [(b"x\n", b"y")]),
        ):
            self.assertRaises(LocalProtocolError, requestFields, headers)
        self.assertRaises(LocalProtocolError, trailerFields, HeaderMap([(b"a", b"\0")]))

    def test_shortWay(self) -> None:
        """
        A head whose names differ is judged at once, another one field by field: with the same outcome.
        """
        twice = [(b"t", b"1"), (b"t", b"2")]
        for field in (
            (b"x", b"y\n"),
            (b"x", b"y\r"),
            (b"x", b"\0"),
            (b"X", b"y"),
            (b"x\ny", b"z"),
            (b"", b""),
            (b":x", b"y"),
        ):
            for more in ([], twice):
                self.assertRaises(LocalProtocolError, trailerFields, HeaderMap([(b"a", b"b"), field, *more]))
        for fields in ([], [(b"a", b"")], [(b"a", b"b"), (b"c", b"\t\xff")]):
            for dropped in ([], [(b"host", b"h")], [(b"connection", b"close")]):
                for more in ([], twice):
                    written = trailerFields(HeaderMap([*fields, *dropped, *more]))
                    self.assertEqual(written, (*fields, *more))
