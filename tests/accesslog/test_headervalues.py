"""
Tests for L{meshproxy.accesslog.headervalues}. The expected values are Envoy's for the same request.
"""

from __future__ import annotations

from meshproxy.accesslog.commands import FormatError
from meshproxy.accesslog.headervalues import grpcStatusOf
from meshproxy.accesslog.streaminfo import StreamInfo
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from tests.accesslog.streams import sampleStream
from tests.accesslog.test_operators import OperatorCase, value


class HeaderTests(OperatorCase):
    """
    Fields of requests, responses and trailers.
    """

    def test_fields(self) -> None:
        """
        The first value, in any case of letters, by every alias.
        """
        self.check(
            {
                "REQ(User-Agent)": "curl/8",
                "REQUEST_HEADER(user-agent)": "curl/8",
                "REQ(X-Multi)": "one",
                "REQ(missing)": None,
                "RESP(server)": "envoy",
                "RESPONSE_HEADER(server)": "envoy",
                "TRAILER(x-end)": "yes",
                "RESPONSE_TRAILER(x-end)": "yes",
            }
        )

    def test_pseudo(self) -> None:
        """
        Pseudo-header fields, and host for the authority.
        """
        self.check(
            {
                "REQ(:METHOD)": "GET",
                "REQ(:PATH)": "/p%20q?a=x%41y&b=&a=2&c",
                "REQ(:AUTHORITY)": "example.com",
                "REQ(Host)": "example.com",
                "REQ(:SCHEME)": "http",
                "RESP(:STATUS)": "200",
            }
        )
        info = StreamInfo()
        info.requestHeaders = RequestHeaders(b"GET", b"/")
        self.check({"REQ(:AUTHORITY)": None}, info)

    def test_alternative(self) -> None:
        """
        The second name where the first is missing; with a length too.
        """
        self.check(
            {
                "REQ(missing?user-agent)": "curl/8",
                "REQ(user-agent?x-multi)": "curl/8",
                "REQ(missing?:PATH):3": "/p%",
                "REQ(user-agent):4": "curl",
                "REQ(missing?other)": None,
                "REQ(:AUTHORITY?user-agent)": "example.com",
            }
        )

    def test_cleaned(self) -> None:
        """
        A value that would end the line does not.
        """
        info = sampleStream()
        assert info.requestHeaders is not None
        info.requestHeaders.set(b"x", b"a\nb")
        self.check({"REQ(x)": "a\\x0ab"}, info)

    def test_faults(self) -> None:
        """
        Three names, and names that are none.
        """
        for text in ("REQ(a?b?c)", "REQ(\xe5)", "PATH(X)", "PATH(WQ:X)", "QUERY_PARAMS(X)", "GRPC_STATUS(X)",
                     "REQUEST_HEADERS_BYTES(x)"):  # fmt: skip
            self.assertRaises(FormatError, value, text)

    def test_clientCertificate(self) -> None:
        """
        Of the elements of C{x-forwarded-client-cert}, the first that has the key, without its quotes; of what follows a
        quote that does not end, none.
        """
        info = StreamInfo()
        info.requestHeaders = headers = RequestHeaders(b"GET", b"/")
        told = {
            b"Hash=ab;URI=spiffe://a/b": "spiffe://a/b",
            b"By=x,URI=one;By=y,URI=two": "one",
            b"By=x; uri = spaced \t": "spaced",
            b'By=x;URI="a,b;c=\\"d\\\\"': 'a,b;c="d\\',
            b'Subject="URI=no";URI=yes': "yes",
            b'URI=before,By="x': "before",
            b'By="x,URI=within': None,
            b'By="x;URI=within': None,
            b'By="\\",URI=in";URI=out': "out",
            b"URI": "",
            b"URI=\\": "\\",
            b'URI="': None,
            b"": None,
            b"By=x": None,
        }
        for field, expected in told.items():
            headers.set(b"x-forwarded-client-cert", field)
            self.check({"XFCC_VALUE(Uri)": expected, "XFCC_VALUE(uri):1": expected}, info)
        headers.set(b"x-forwarded-client-cert", b"By=x")
        headers.add(b"x-forwarded-client-cert", b"URI=second")
        self.check({"XFCC_VALUE(uri)": "second", "XFCC_VALUE(hash)": None}, info)
        self.check({"XFCC_VALUE(uri)": None}, StreamInfo())
        for wrong in ("XFCC_VALUE", "XFCC_VALUE()", "XFCC_VALUE(issuer)"):
            self.assertRaises(FormatError, value, wrong)

    def test_sizes(self) -> None:
        """
        Bytes of names and values, pseudo-header fields included.
        """
        info = sampleStream()
        assert info.responseHeaders is not None
        self.check({"RESPONSE_HEADERS_BYTES": info.responseHeaders.byteSize(), "RESPONSE_TRAILERS_BYTES": 8}, info)
        self.check({"REQUEST_HEADERS_BYTES": 0}, StreamInfo())


class PathTests(OperatorCase):
    """
    Paths and queries.
    """

    def test_path(self) -> None:
        """
        With and without the query; the original path by default, where it was rewritten.
        """
        info = sampleStream()
        assert info.requestHeaders is not None
        self.check({"PATH(NQ:ORIG)": None, "PATH": "/p%20q?a=x%41y&b=&a=2&c"}, info)
        info.requestHeaders.set(b"x-envoy-original-path", b"/old?q")
        self.check(
            {
                "PATH": "/old?q",
                "PATH(NQ)": "/old",
                "PATH(NQ:PATH)": "/p%20q",
                "PATH(WQ:PATH):3": "/p%",
                "PATH(WQ:ORIG)": "/old?q",
                "REQ_WITHOUT_QUERY(x-envoy-original-path?:path)": "/old",
                "REQ_WITHOUT_QUERY(:path)": "/p%20q",
            },
            info,
        )

    def test_query(self) -> None:
        """
        The first value of a parameter, decoded; the query whole.
        """
        self.check(
            {
                "QUERY_PARAM(a)": "xAy",
                "QUERY_PARAM(a):2": "xA",
                "QUERY_PARAM(b)": "",
                "QUERY_PARAM(zz)": None,
                "QUERY_PARAMS(ORIG)": "a=x%41y&b=&a=2&c",
                "QUERY_PARAMS(DECODED)": "a=xAy&b=&a=2&c",
            }
        )

    def test_decodedControls(self) -> None:
        """
        What hides behind percent signs is cleaned after decoding, or stays behind them.
        """
        info = StreamInfo()
        info.requestHeaders = RequestHeaders(b"GET", b"/?a=x%0ay")
        self.check({"QUERY_PARAM(a)": "x\\x0ay", "QUERY_PARAMS(DECODED)": "a=x%0ay"}, info)

    def test_rewritten(self) -> None:
        """
        The query is that of the path as it is now; the path that of before.
        """
        info = StreamInfo()
        info.requestHeaders = RequestHeaders(b"GET", b"/new?a=2", b"a", [(b"x-envoy-original-path", b"/old?a=1")])
        self.check({"PATH": "/old?a=1", "PATH(NQ:PATH)": "/new", "QUERY_PARAM(a)": "2", "QUERY_PARAMS": "a=2"}, info)


class GRPCTests(OperatorCase):
    """
    The gRPC status.
    """

    def stream(self, status: bytes | None, inTrailers: bool = True, code: int = 200) -> StreamInfo:
        """
        A gRPC stream that ended so.
        """
        info = StreamInfo()
        info.requestHeaders = RequestHeaders(b"POST", b"/a/b", b"x", [(b"content-type", b"application/grpc+proto")])
        info.responseHeaders = ResponseHeaders(code)
        info.responseCode = code
        fields = [] if status is None else [(b"grpc-status", status)]
        if inTrailers:
            info.responseTrailers = HeaderMap(fields)
        else:
            info.responseHeaders = ResponseHeaders(code, fields)
        return info

    def test_forms(self) -> None:
        """
        Three ways to write it.
        """
        self.check(
            {
                "GRPC_STATUS": "DeadlineExceeded",
                "GRPC_STATUS(SNAKE_STRING)": "DEADLINE_EXCEEDED",
                "GRPC_STATUS(NUMBER)": 4,
                "GRPC_STATUS_NUMBER": 4,
            },
            self.stream(b"4"),
        )
        self.check({"GRPC_STATUS": "Canceled", "GRPC_STATUS(SNAKE_STRING)": "CANCELLED"}, self.stream(b"1"))

    def test_where(self) -> None:
        """
        In the trailers, in the head, or implied by the HTTP status.
        """
        self.assertEqual(grpcStatusOf(self.stream(b"7", inTrailers=False)), 7)
        self.assertEqual(grpcStatusOf(self.stream(None, code=503)), 14)
        self.assertEqual(grpcStatusOf(self.stream(None)), 2)

    def test_none(self) -> None:
        """
        No gRPC, no status; what is no number is -1, and an unknown number stays one.
        """
        self.assertIsNone(grpcStatusOf(sampleStream()))
        self.assertEqual(grpcStatusOf(self.stream(b"4a")), -1)
        self.assertEqual(grpcStatusOf(self.stream(b"9" * 30)), -1)
        self.assertEqual(grpcStatusOf(self.stream(b"+4")), 4)
        self.check({"GRPC_STATUS": "-1", "GRPC_STATUS(SNAKE_STRING)": "-1"}, self.stream(b"abc"))
        self.check({"GRPC_STATUS": "77"}, self.stream(b"77"))
