"""
Tests for L{meshproxy.grpc.status}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.grpc.status import (
    GRPCError,
    Status,
    decodeMessage,
    encodeMessage,
    isServerError,
    ofHTTPStatus,
    ofReset,
    ofTrailers,
)
from meshproxy.headers import HeaderMap


class StatusTests(SynchronousTestCase):
    """
    How calls end.
    """

    def test_messages(self) -> None:
        """
        Messages survive the way, whatever they hold; what goes out is printable ASCII.
        """
        for text in ("", "plain text", "50% ä\n\0\u2028", "%41"):
            encoded = encodeMessage(text)
            self.assertTrue(all(0x20 <= byte < 0x7F for byte in encoded))
            self.assertEqual(decodeMessage(encoded), text)
        self.assertEqual(encodeMessage("a%b\n"), b"a%25b%0A")

    def test_brokenMessages(self) -> None:
        """
        A peer's message that is encoded wrongly is read as far as it can be.
        """
        self.assertEqual(decodeMessage(b"%zz%4"), "%zz%4")
        self.assertEqual(decodeMessage(b"%ff"), "\ufffd")

    def test_longMessages(self) -> None:
        """
        A message does not fill a head.
        """
        self.assertTrue(len(encodeMessage("ä" * 100_000)) < 20_000)

    def test_trailers(self) -> None:
        """
        Trailers to statuses; what is none is unknown.
        """

        def told(*fields: tuple[bytes, bytes]) -> tuple[Status, str] | None:
            error = ofTrailers(HeaderMap(fields))
            return None if error is None else (error.status, error.message)

        self.assertIsNone(told((b"grpc-status", b"0")))
        self.assertEqual(told((b"grpc-status", b"5"), (b"grpc-message", b"a%20b")), (Status.NOT_FOUND, "a b"))
        for value in (b"17", b"99", b"-1", b"", b"x", b"1" * 5000, b"\xd9\xa1"):
            error = told((b"grpc-status", value))
            assert error is not None
            self.assertEqual(error[0], Status.UNKNOWN, value)
        self.assertEqual(told()[0], Status.UNKNOWN)  # type: ignore[index]  # it is no OK

    def test_others(self) -> None:
        """
        What HTTP's statuses and HTTP/2's codes stand for.
        """
        self.assertEqual([ofHTTPStatus(code) for code in (404, 503, 418)], [12, 14, 2])
        self.assertEqual([ofReset(code) for code in (7, 8, 11, 2)], [14, 1, 8, 13])

    def test_words(self) -> None:
        """
        An error is told in words.
        """
        self.assertEqual(str(GRPCError(Status.NOT_FOUND, "no a")), "NOT_FOUND: no a")
        self.assertEqual(str(GRPCError(Status.ABORTED)), "ABORTED")


class ServerErrorTests(SynchronousTestCase):
    """
    L{isServerError} tells whose fault it is.
    """

    def test_statuses(self) -> None:
        """
        Six statuses are the server's fault, and so is what nobody knows.
        """
        self.assertEqual([code for code in range(-1, 19) if isServerError(code)], [-1, 2, 4, 12, 13, 14, 15, 17, 18])
