# -*- test-case-name: tests.codec.http1.test_framing -*-
"""
Where the body of a message ends (RFC 9112, 6.3), and what its Connection field asks for.
"""

from __future__ import annotations

from collections.abc import Callable

from meshproxy.codec.http1.grammar import parseLength
from meshproxy.codec.http1.interfaces import Http1Options
from meshproxy.errors import RemoteProtocolError
from meshproxy.headers import HeaderMap, RequestHeaders

__all__ = ["CHUNKED", "KEEP_ALIVE", "NO_LENGTH", "bodyLength", "connectionTokens", "takeUpgrade", "wantsClose"]

CHUNKED = -1
"""The body is chunked."""
NO_LENGTH = -2
"""The message says nothing of its length."""

KEEP_ALIVE = frozenset({b"keep-alive", b"Keep-Alive", b"Keep-alive", b"keep-Alive"})
"""Values of a Connection field that say what is so in HTTP/1.1 anyway. Browsers send one with each request."""

_NO_TOKENS: frozenset[bytes] = frozenset()


def _split(value: bytes) -> frozenset[bytes]:
    return frozenset(token.strip(b" \t") for token in value.lower().split(b","))


# What nearly all messages say that say something. A fixed table: a peer cannot make it grow.
_USUAL = {
    value: _split(value)
    for value in (b"keep-alive", b"Keep-Alive", b"close", b"Close", b"upgrade", b"Upgrade", b"keep-alive, Upgrade")
}


def connectionTokens(headers: HeaderMap) -> frozenset[bytes]:
    """
    The options of the Connection field, in lower case.
    """
    value = headers.first.get(b"connection")
    if value is None:
        return _NO_TOKENS
    if headers.more is None:
        return _USUAL.get(value) or _split(value)
    return _split(headers.joined(b"connection") or b"")


def wantsClose(headers: HeaderMap, isHTTP10: bool) -> bool:
    """
    Whether a message asks to close its connection after it (RFC 9112, 9.3). As in Envoy, the C{Proxy-Connection}
    of old clients counts too.
    """
    tokens = connectionTokens(headers)
    if isHTTP10 and b"keep-alive" not in tokens:
        return True
    if b"close" in tokens:
        return True
    return headers.first.get(b"proxy-connection", b"").lower() == b"close"


def bodyLength(headers: HeaderMap, isHTTP10: bool, options: Http1Options) -> int:
    """
    How many bytes the body of a message has: a number, L{CHUNKED} or L{NO_LENGTH}.

    @raise RemoteProtocolError: If the message does not say one thing.
    """
    first = headers.first
    if headers.more is not None and b"content-length" in headers.more:
        # RFC 9112, 6.3 allows to take equal values for one; Envoy does not, and neither do we.
        raise RemoteProtocolError("more than one Content-Length")
    if b"transfer-encoding" in first:
        return _codedLength(headers, isHTTP10, options)
    text = first.get(b"content-length")
    if text is None:
        return NO_LENGTH
    length = parseLength(text)
    if length is None:
        raise RemoteProtocolError("a Content-Length that is not a number")
    return length


def _codedLength(headers: HeaderMap, isHTTP10: bool, options: Http1Options) -> int:
    isChunked = (headers.joined(b"transfer-encoding") or b"").lower() == b"chunked"
    if b"content-length" in headers.first:
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


def takeUpgrade(headers: RequestHeaders, ignored: Callable[[bytes], bool] | None = None) -> bool:
    """
    Whether a request asks for another protocol on its connection.

    An offer of h2c is taken out of the request: as in Envoy, it is not for a proxy to take up.

    @param ignored: Which other offers are taken out as well; RFC 9110, 7.8 lets a server ignore them.
    """
    upgrade = headers.first.get(b"upgrade")
    if upgrade is None:
        return False
    tokens = connectionTokens(headers)
    if b"upgrade" not in tokens:
        return False
    if ignored is not None:
        offers = [offer.strip(b" \t") for offer in upgrade.split(b",")]
        left = [offer for offer in offers if not ignored(offer)]
        if left and len(left) < len(offers):
            upgrade = b",".join(left)
            headers.set(b"upgrade", upgrade)
    else:
        left = [upgrade]
    if left and upgrade.lower() != b"h2c":
        return True
    headers.remove(b"upgrade")
    headers.remove(b"http2-settings")
    options = [option.strip(b" \t") for option in (headers.joined(b"connection") or b"").split(b",")]
    kept = [option for option in options if option.lower() not in (b"upgrade", b"http2-settings")]
    headers.remove(b"connection")
    if kept:
        headers.set(b"connection", b",".join(kept))
    return False
