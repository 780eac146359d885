"""
L{meshproxy.codec.http1.framing}: where bodies end.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.codec.http1.framing import CHUNKED, NO_LENGTH, bodyLength, connectionTokens, takeUpgrade, wantsClose
from meshproxy.codec.http1.interfaces import Http1Options
from meshproxy.errors import RemoteProtocolError
from meshproxy.headers import HeaderMap, RequestHeaders

OPTIONS = Http1Options()


def lengthOf(*pairs: tuple[bytes, bytes], isHTTP10: bool = False, options: Http1Options = OPTIONS) -> int:
    """
    The length that fields say.
    """
    return bodyLength(HeaderMap(pairs), isHTTP10, options)


class LengthTests(SynchronousTestCase):
    """
    L{bodyLength}.
    """

    def test_lengths(self) -> None:
        """
        A number, chunked, or nothing.
        """
        self.assertEqual(lengthOf((b"content-length", b"007")), 7)
        self.assertEqual(lengthOf((b"transfer-encoding", b"CHUNKed")), CHUNKED)
        self.assertEqual(lengthOf((b"a", b"b"), (b"a", b"c")), NO_LENGTH)

    def assertWrong(self, status: int, details: str, *pairs: tuple[bytes, bytes], isHTTP10: bool = False) -> None:
        """
        Fields that contradict each other or mean nothing.
        """
        error = self.assertRaises(RemoteProtocolError, lengthOf, *pairs, isHTTP10=isHTTP10)
        self.assertEqual((error.statusHint, error.details), (status, details), pairs)

    def test_badLengths(self) -> None:
        """
        Lists and repetitions too, equal or not.
        """
        for value in (b"", b"+3", b"-3", b"0x3", b"3,3", b"3, 3", b"3a", b"3 3", b"1_0", b"9" * 19, b"3.0"):
            self.assertWrong(400, "http1.codec_error", (b"content-length", value))
        for value in (b"3", b"4", b""):
            self.assertWrong(400, "http1.codec_error", (b"content-length", b"3"), (b"content-length", value))

    def test_codings(self) -> None:
        """
        Anything but chunked is 501, chunked twice too.
        """
        for value in (
            b"gzip",
            b"gzip, chunked",
            b"chunked, chunked",
            b"identity",
            b"",
            b"xchunked",
            b'"chunked"',
            b"chunked;a",
        ):
            self.assertWrong(501, "http1.invalid_transfer_encoding", (b"transfer-encoding", value))
        for one, other in ((b"chunked", b"chunked"), (b"identity", b"chunked"), (b"chunked", b""), (b"", b"chunked")):
            self.assertWrong(
                501, "http1.invalid_transfer_encoding", (b"transfer-encoding", one), (b"transfer-encoding", other)
            )

    def test_both(self) -> None:
        """
        A length beside a coding, whatever they say.
        """
        for length in (b"3", b"0", b"", b"x"):
            for coding in (b"chunked", b"identity"):
                self.assertWrong(
                    400,
                    "http1.content_length_and_chunked_not_allowed",
                    (b"content-length", length),
                    (b"transfer-encoding", coding),
                )

    def test_bothAllowed(self) -> None:
        """
        C{allow_chunked_length} takes the length away.
        """
        headers = HeaderMap([(b"content-length", b"3"), (b"transfer-encoding", b"chunked")])
        self.assertEqual(bodyLength(headers, False, Http1Options(allowChunkedLength=True)), CHUNKED)
        self.assertNotIn(b"content-length", headers)

    def test_http10(self) -> None:
        """
        HTTP/1.0 knows no codings.
        """
        self.assertWrong(400, "http1.codec_error", (b"transfer-encoding", b"chunked"), isHTTP10=True)


class ConnectionTests(SynchronousTestCase):
    """
    The Connection field.
    """

    def test_tokens(self) -> None:
        """
        Of all its lines, in lower case.
        """
        self.assertEqual(connectionTokens(HeaderMap()), frozenset())
        headers = HeaderMap([(b"connection", b"Keep-Alive , x"), (b"connection", b"CLOSE")])
        self.assertEqual(connectionTokens(headers), {b"keep-alive", b"x", b"close"})
        self.assertEqual(connectionTokens(HeaderMap([(b"connection", b"Close")])), {b"close"})

    def test_close(self) -> None:
        """
        HTTP/1.1 stays open unless told, HTTP/1.0 closes unless told.
        """
        for isHTTP10, pairs, expected in (
            (False, [], False),
            (True, [], True),
            (False, [(b"connection", b"close")], True),
            (True, [(b"connection", b"keep-alive")], False),
            (True, [(b"connection", b"keep-alive, close")], True),
            (False, [(b"connection", b"closed")], False),
            (False, [(b"proxy-connection", b"Close")], True),
            (False, [(b"a", b"1"), (b"a", b"2"), (b"connection", b"x"), (b"connection", b"close")], True),
        ):
            self.assertEqual(wantsClose(HeaderMap(pairs), isHTTP10), expected, pairs)


class UpgradeTests(SynchronousTestCase):
    """
    L{takeUpgrade}.
    """

    def request(self, *pairs: tuple[bytes, bytes]) -> RequestHeaders:
        """
        A request with fields.
        """
        return RequestHeaders(b"GET", b"/", b"a", pairs)

    def test_asked(self) -> None:
        """
        It takes both fields.
        """
        self.assertTrue(takeUpgrade(self.request((b"connection", b"x, Upgrade"), (b"upgrade", b"websocket"))))
        self.assertFalse(takeUpgrade(self.request((b"upgrade", b"websocket"))))
        self.assertFalse(takeUpgrade(self.request((b"connection", b"upgrade"))))
        self.assertFalse(takeUpgrade(self.request((b"connection", b"close"), (b"upgrade", b"websocket"))))

    def test_ignored(self) -> None:
        """
        Other offers are taken out as well where that is configured; those that are left stand.
        """

        def ignored(offer: bytes) -> bool:
            return offer in (b"one", b"two")

        headers = self.request((b"connection", b"upgrade, x"), (b"upgrade", b"one , two"))
        self.assertFalse(takeUpgrade(headers, ignored))
        self.assertEqual(list(headers.fields()), [(b"connection", b"x")])
        headers = self.request((b"connection", b"upgrade"), (b"upgrade", b"one, other"))
        self.assertTrue(takeUpgrade(headers, ignored))
        self.assertEqual(headers.get(b"upgrade"), b"other")
        self.assertTrue(takeUpgrade(self.request((b"connection", b"upgrade"), (b"upgrade", b"other")), ignored))

    def test_h2c(self) -> None:
        """
        An offer of h2c is taken out, and with it what belongs to it.
        """
        fields = [(b"upgrade", b"h2c"), (b"http2-settings", b"AAA"), (b"a", b"b")]
        headers = self.request((b"connection", b"Upgrade, HTTP2-Settings"), *fields)
        self.assertFalse(takeUpgrade(headers))
        self.assertEqual(list(headers.fields()), [(b"a", b"b")])
        headers = self.request((b"connection", b"Upgrade, x, HTTP2-Settings"), *fields)
        self.assertFalse(takeUpgrade(headers))
        self.assertEqual(headers.get(b"connection"), b"x")
