"""
Tests for L{meshproxy.http.localreply}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.flags import LocalReply
from meshproxy.headers import RequestHeaders, ResponseHeaders, isGRPC
from meshproxy.http.localreply import replyHeaders

Pair = tuple[bytes, bytes]


def request(method: bytes = b"GET", contentType: bytes | None = None) -> RequestHeaders:
    """
    A request.
    """
    return RequestHeaders(method, b"/", b"a", [] if contentType is None else [(b"content-type", contentType)])


GRPC = request(b"POST", b"application/grpc")


class GRPCTests(SynchronousTestCase):
    """
    L{isGRPC} knows gRPC by its content type.
    """

    def test_content(self) -> None:
        """
        The type itself and its subtypes, and nothing that only begins like it; grpc-web is another protocol.
        """
        for contentType in (b"application/grpc", b"application/grpc+proto", b"application/grpc+"):
            self.assertTrue(isGRPC(request(contentType=contentType)), contentType)
        for other in (None, b"", b"application/grpc-web", b"application/grpcx", b"text/plain", b"Application/grpc"):
            self.assertFalse(isGRPC(request(contentType=other)), other)


class ReplyHeadersTests(SynchronousTestCase):
    """
    L{replyHeaders} makes the head of a local reply.
    """

    def reply(
        self, status: int, body: bytes = b"", *headers: Pair, to: RequestHeaders | None = None
    ) -> ResponseHeaders:
        """
        The head.
        """
        return replyHeaders(request() if to is None else to, LocalReply(status, body, "test", 0, headers))

    def test_text(self) -> None:
        """
        A text has a length and is plain.
        """
        headers = self.reply(503, b"no healthy upstream")
        self.assertEqual(headers.status, 503)
        self.assertEqual(headers.first, {b"content-length": b"19", b"content-type": b"text/plain"})

    def test_empty(self) -> None:
        """
        Without a text it has no length: as in Envoy, the codec says that there is no body, where it has to.
        """
        self.assertEqual(self.reply(404).first, {})

    def test_headers(self) -> None:
        """
        A reply's own fields are added, all values of them; its content type replaces the usual one.
        """
        headers = self.reply(403, b"{}", (b"content-type", b"application/json"), (b"x-a", b"1"), (b"x-a", b"2"))
        self.assertEqual(headers.values(b"content-type"), [b"application/json"])
        self.assertEqual(headers.values(b"content-length"), [b"2"])
        self.assertEqual(headers.values(b"x-a"), [b"1", b"2"])

    def test_page(self) -> None:
        """
        A page tells its type though it is empty; a refusal does not.
        """
        request = RequestHeaders(b"GET", b"/")
        fields = ((b"content-type", b"text/html"),)
        for isPage, wanted in ((True, b"text/html"), (False, None)):
            headers = replyHeaders(request, LocalReply(200, b"", "", headers=fields, isPage=isPage))
            self.assertEqual((headers.get(b"content-type"), headers.get(b"content-length")), (wanted, None))

    def test_grpc(self) -> None:
        """
        gRPC clients get 200 with the gRPC status that the status means, and the text as message instead of as body.
        """
        headers = self.reply(503, b"no healthy upstream", to=GRPC)
        self.assertEqual(headers.status, 200)
        self.assertEqual(
            headers.first,
            {b"content-type": b"application/grpc", b"grpc-status": b"14", b"grpc-message": b"no healthy upstream"},
        )
        self.assertNotIn(b"grpc-message", self.reply(503, to=GRPC))

    def test_grpcStatuses(self) -> None:
        """
        Each status means one of gRPC's; those without their own are unknown.
        """
        for status, meant in ((400, b"13"), (401, b"16"), (403, b"7"), (404, b"12"), (429, b"14"), (500, b"2")):
            self.assertEqual(self.reply(status, to=GRPC).first[b"grpc-status"], meant)

    def test_ownGRPCStatus(self) -> None:
        """
        A reply may say its gRPC status itself: as such, or as a field, which has the last word.
        """
        own = replyHeaders(GRPC, LocalReply(429, b"", "test", grpcStatus=8))
        self.assertEqual(own.values(b"grpc-status"), [b"8"])
        self.assertEqual(self.reply(429, b"", (b"grpc-status", b"8"), to=GRPC).values(b"grpc-status"), [b"8"])

    def test_message(self) -> None:
        """
        What is no printable ASCII is escaped in the message, and so is the escape itself.
        """
        headers = self.reply(500, "100% \n\xe9~".encode(), to=GRPC)
        self.assertEqual(headers.first[b"grpc-message"], b"100%25 %0A%C3%A9~")

    def test_head(self) -> None:
        """
        The words are what a body would be, which HEAD does not get.
        """
        asked = RequestHeaders(b"HEAD", b"/", b"a", [(b"content-type", b"application/grpc")])
        headers = replyHeaders(asked, LocalReply(403, b"denied", "test"))
        self.assertEqual((headers.get(b"grpc-status"), headers.get(b"grpc-message")), (b"7", None))
