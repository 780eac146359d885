# -*- test-case-name: tests.codec.http1.test_framing -*-
"""
Where the body of a message ends (RFC 9112, 6.3), and what its Connection field asks for.
"""

from __future__ import annotations

from meshproxy.codec.http1.grammar import parseLength
from meshproxy.codec.http1.interfaces import Http1Options
from meshproxy.errors import RemoteProtocolError
from meshproxy.headers import HeaderMap, RequestHeaders

__all__ = ["CHUNKED", "NO_LENGTH", "bodyLength", "connectionTokens", "takeUpgrade", "wantsClose"]

CHUNKED = -1
"""The body is chunked."""
NO_LENGTH = -2
"""The message says nothing of its length."""

_NO_TOKENS: frozenset[bytes] = frozenset()


def connectionTokens(headers: HeaderMap) -> frozenset[bytes]:
    """
    The options of the Connection field, in lower case.
    """
    value = headers.joined(b"connection")
    if value is None:
        return _NO_TOKENS
    return frozenset(token.strip(b" \t") for token in value.lower().split(b","))


def wantsClose(headers: HeaderMap, isHTTP10: bool) -> bool:
    """
    Whether a message asks to close its connection after it (RFC 9112, 9.3). As in Envoy, the C{Proxy-Connection}
    of old clients counts too.
    """
    tokens = connectionTokens(headers)
    if isHTTP10 and b"keep-alive" not in tokens:
        return True
    return b"close" in tokens or (headers.get(b"proxy-connection") or b"").lower() == b"close"


def bodyLength(headers: HeaderMap, isHTTP10: bool, options: Http1Options) -> int:
    """
    How many bytes the body of a message has: a number, L{CHUNKED} or L{NO_LENGTH}.

    @raise RemoteProtocolError: If the message does not say one thing.
    """
    first = headers.first
    lengthText = first.get(b"content-length")
    coding = first.get(b"transfer-encoding")
    if headers.more is not None and b"content-length" in headers.more:
        # RFC 9112, 6.3 allows to take equal values for one; Envoy does not, and neither do we.
        raise RemoteProtocolError("more than one Content-Length")
    if coding is not None:
        return _codedLength(headers, isHTTP10, options)
    if lengthText is None:
        return NO_LENGTH
    length = parseLength(lengthText)
    if length is None:
        raise RemoteProtocolError("a Content-Length that is not a number")
    return length


def _codedLength(headers: HeaderMap, isHTTP10: bool, options: Http1Options) -> int:
    isChunked = (
        headers.values(b"transfer-encoding") != []
        and (headers.joined(b"transfer-encoding") or b"").lower() == b"chunked"
    )
    if headers.get(b"content-length") is not None:
        # RFC 9112, 6.1: such a message might be an attempt at request smuggling.
        if not (isChunked and options.allowChunkedLength):
            raise RemoteProtocolError(
                "both Content-Length and Transfer-Encoding", 400, "http1.content_length_and_chunked_not_allowed"
            )
        headers.remove(b"content-length")
    if not isChunked:
        raise RemoteProtocolError("a Transfer-Encoding other than chunked", 501, "http1.invalid_transfer_encoding")
    if isHTTP10:
        # RFC 9112, 6.1: its framing is faulty, even if a Content-Length is there.
        raise RemoteProtocolError("Transfer-Encoding in HTTP/1.0")
    return CHUNKED


def takeUpgrade(headers: RequestHeaders) -> bool:
    """
    Whether a request asks for another protocol on its connection.

    An offer of h2c is taken out of the request: as in Envoy, it is not for a proxy to take up.
    """
    upgrade = headers.first.get(b"upgrade")
    if upgrade is None:
        return False
    tokens = connectionTokens(headers)
    if b"upgrade" not in tokens:
        return False
    if upgrade.lower() != b"h2c":
        return True
    headers.remove(b"upgrade")
    headers.remove(b"http2-settings")
    left = [
        token
        for token in (part.strip(b" \t") for part in (headers.joined(b"connection") or b"").split(b","))
        if token.lower() not in (b"upgrade", b"http2-settings")
    ]
    headers.remove(b"connection")
    if left:
        headers.set(b"connection", b",".join(left))
    return False
