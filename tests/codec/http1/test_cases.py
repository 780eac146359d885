"""
Tests for L{meshproxy.codec.http1.cases}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.codec.http1 import Http1Options, makeDownstreamCodec, makeUpstreamCodec
from meshproxy.codec.http1.cases import CasePreservingDownstreamCodec, CasePreservingUpstreamCodec
from meshproxy.headers import RequestHeaders, ResponseHeaders
from tests.codec.http1.helpers import RecordingSink

PRESERVING = Http1Options(preservesCase=True)
REQUEST = b"GET /x HTTP/1.1\r\nHOST: a\r\nX-aB: 1\r\nx-Ab: 2\r\nX-Gone: 3\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 Fine by me\r\nConTent-Length: 2\r\nX-uP: 1\r\n\r\nok"


class _HeadSink(RecordingSink):
    """
    Keeps heads themselves.
    """

    def __init__(self) -> None:
        super().__init__()
        self.heads: list[RequestHeaders | ResponseHeaders] = []

    def requestReceived(self, headers: RequestHeaders, endStream: bool) -> None:
        """
        Keep it.
        """
        self.heads.append(headers)

    def responseReceived(self, headers: ResponseHeaders, endStream: bool) -> None:
        """
        Keep it.
        """
        self.heads.append(headers)


def request(wire: bytes, cut: int = 0, options: Http1Options = PRESERVING) -> RequestHeaders:
    """
    The head that a downstream codec reads, in two pieces.
    """
    sink = _HeadSink()
    codec = makeDownstreamCodec(sink, options)
    for piece in filter(None, (wire[:cut], wire[cut:])):
        codec.receiveData(piece)
    head = sink.heads[0]
    assert isinstance(head, RequestHeaders)
    return head


def response(wire: bytes, cut: int = 0, options: Http1Options = PRESERVING) -> ResponseHeaders:
    """
    Likewise for an upstream codec.
    """
    sink = _HeadSink()
    codec = makeUpstreamCodec(sink, options)
    codec.encodeHeaders(RequestHeaders(b"GET", b"/", b"a", [(b"x", b"y")]), True)
    for piece in filter(None, (wire[:cut], wire[cut:])):
        codec.receiveData(piece)
    head = sink.heads[0]
    assert isinstance(head, ResponseHeaders)
    return head


def written(headers: RequestHeaders, options: Http1Options | None = None) -> bytes:
    """
    The head that an upstream codec writes.
    """
    return makeUpstreamCodec(RecordingSink(), options or Http1Options()).encodeHeaders(headers, True)


def answered(headers: ResponseHeaders, options: Http1Options | None = None) -> bytes:
    """
    The response that a downstream codec writes, the short way too.
    """
    answers = []
    for short in (False, True):
        codec = makeDownstreamCodec(RecordingSink(), options or Http1Options())
        codec.receiveData(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        if short:
            answers.append(codec.encodeResponse(headers, b"ok"))
        else:
            answers.append(codec.encodeHeaders(headers, False) + codec.encodeData(b"ok", True))
    assert answers[0] == answers[1], answers
    return answers[0]


class ChoiceTests(SynchronousTestCase):
    """
    Who does not ask for it does not pay for it.
    """

    def test_choice(self) -> None:
        """
        The usual codecs, and those that remember.
        """
        sink = RecordingSink()
        self.assertNotIsInstance(makeDownstreamCodec(sink, Http1Options()), CasePreservingDownstreamCodec)
        self.assertIsInstance(makeDownstreamCodec(sink, PRESERVING), CasePreservingDownstreamCodec)
        self.assertNotIsInstance(makeUpstreamCodec(sink, Http1Options()), CasePreservingUpstreamCodec)
        self.assertIsInstance(makeUpstreamCodec(sink, PRESERVING), CasePreservingUpstreamCodec)


class RequestTests(SynchronousTestCase):
    """
    Requests.
    """

    def test_everySplit(self) -> None:
        """
        However the head comes, its names go on as they came; the first of several ways to write one counts. Inside
        they are in lower case, and fields may come and go.
        """
        for cut in range(len(REQUEST)):
            headers = request(REQUEST, cut)
            self.assertEqual(headers.values(b"x-ab"), [b"1", b"2"])
            headers.remove(b"x-gone")
            headers.set(b"x-new", b"4")
            self.assertEqual(written(headers), b"GET /x HTTP/1.1\r\nHOST: a\r\nX-aB: 1\r\nX-aB: 2\r\nx-new: 4\r\n\r\n")

    def test_copies(self) -> None:
        """
        A copy, for a second try, remembers as well.
        """
        self.assertIn(b"\r\nX-aB: 1\r\n", written(request(REQUEST).copy()))

    def test_others(self) -> None:
        """
        Names that did not come are in lower case, or in proper case if the downstream side says so; what the upstream
        side says counts for heads that remember nothing.
        """
        proper = Http1Options(preservesCase=True, properCase=True)
        for options, upstream, expected in (
            (PRESERVING, Http1Options(), b"\r\nx-new: 4\r\n"),
            (PRESERVING, Http1Options(properCase=True), b"\r\nx-new: 4\r\n"),
            (proper, Http1Options(), b"\r\nX-New: 4\r\n"),
            (Http1Options(), Http1Options(properCase=True), b"\r\nX-New: 4\r\n"),
            (Http1Options(), PRESERVING, b"\r\nx-new: 4\r\n"),
            (Http1Options(), proper, b"\r\nx-new: 4\r\n"),
        ):
            headers = request(REQUEST, 0, options)
            headers.set(b"x-new", b"4")
            self.assertIn(expected, written(headers, upstream))


class ResponseTests(SynchronousTestCase):
    """
    Responses.
    """

    def test_everySplit(self) -> None:
        """
        Their names go on likewise; the reason phrase is the proxy's own, if nothing else is said.
        """
        for cut in range(len(RESPONSE) - 2):
            self.assertEqual(
                answered(response(RESPONSE, cut)), b"HTTP/1.1 200 OK\r\nConTent-Length: 2\r\nX-uP: 1\r\n\r\nok"
            )

    def test_reason(self) -> None:
        """
        C{forward_reason_phrase}, also where there is none.
        """
        options = Http1Options(preservesCase=True, forwardsReason=True)
        self.assertTrue(answered(response(RESPONSE, 0, options)).startswith(b"HTTP/1.1 200 Fine by me\r\nConTent"))
        bare = RESPONSE.replace(b" Fine by me", b"")
        self.assertTrue(answered(response(bare, 0, options)).startswith(b"HTTP/1.1 200 \r\nConTent"))
