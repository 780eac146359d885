"""
L{meshproxy.http.localreply}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.flags import LocalReply
from meshproxy.headers import RequestHeaders
from meshproxy.http.localreply import isGRPC, replyHeaders


def request(contentType: bytes | None = None, method: bytes = b"GET") -> RequestHeaders:
    """
    A request.
    """
    return RequestHeaders(method, b"/", b"a", [] if contentType is None else [(b"content-type", contentType)])


def reply(status: int, body: bytes = b"", headers: tuple[tuple[bytes, bytes], ...] = ()) -> LocalReply:
    """
    A reply.
    """
    return LocalReply(status, body, "details", 0, headers)


class ReplyTests(SynchronousTestCase):
    """
    The heads of local replies.
    """

    def test_body(self) -> None:
        """
        A body has a length, and is text unless the reply says otherwise.
        """
        headers = replyHeaders(request(), reply(403, b"no"))
        self.assertEqual(headers.status, 403)
        self.assertEqual(headers.first, {b"content-length": b"2", b"content-type": b"text/plain"})
        html = replyHeaders(request(), reply(403, b"no", headers=((b"content-type", b"text/html"),)))
        self.assertEqual(html.values(b"content-type"), [b"text/html"])

    def test_headers(self) -> None:
        """
        More fields are added, several values of one among them.
        """
        headers = replyHeaders(request(), reply(403, headers=((b"x", b"1"), (b"x", b"2"))))
        self.assertEqual(headers.values(b"x"), [b"1", b"2"])
        self.assertEqual(headers.get(b"content-length"), b"0")

    def test_noBody(self) -> None:
        """
        Statuses that have no body have no length either.
        """
        for status in (204, 304):
            self.assertEqual(replyHeaders(request(), reply(status)).first, {})

    def test_isGRPC(self) -> None:
        """
        C{application/grpc}, with or without what follows a plus sign.
        """
        for contentType in (b"application/grpc", b"application/grpc+proto"):
            self.assertTrue(isGRPC(request(contentType)))
        for other in (None, b"application/grpc-web", b"text/plain", b"application/grpcx"):
            self.assertFalse(isGRPC(request(other)))

    def test_grpc(self) -> None:
        """
        A gRPC client gets a 200 with the status and the message that stand for the reply.
        """
        codes = {400: b"13", 401: b"16", 403: b"7", 404: b"12", 429: b"14", 503: b"14", 500: b"2"}
        for status, code in codes.items():
            headers = replyHeaders(request(b"application/grpc"), reply(status, b"a\nb%"))
            self.assertEqual((headers.status, headers.get(b"grpc-status")), (200, code))
            self.assertEqual(headers.get(b"grpc-message"), b"a%0Ab%25")
            self.assertIsNone(headers.get(b"content-length"))
        own = replyHeaders(request(b"application/grpc"), reply(503, headers=((b"grpc-status", b"8"),)))
        self.assertEqual(own.values(b"grpc-status"), [b"8"])
