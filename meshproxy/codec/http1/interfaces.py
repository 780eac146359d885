# -*- test-case-name: tests.codec.http1.test_interfaces -*-
"""
What an HTTP/1 codec is told, and whom it tells.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from zope.interface import Interface

from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders

__all__ = ["Http1Counters", "Http1Options", "ICount", "IRequestSink", "IResponseSink", "UnderscoreAction"]


class IRequestSink(Interface):
    """
    Where a L{DownstreamCodec<meshproxy.codec.http1.DownstreamCodec>} tells what came.

    Every method may call the codec back, and answer the whole request, before it returns.
    """

    def requestReceived(headers: RequestHeaders, endStream: bool) -> None:
        """
        The head of a request came.

        @param headers: The caller's to keep and to change.
        @param endStream: Whether that is the whole request.
        """

    def callReceived(headers: RequestHeaders, body: bytes) -> bool:
        """
        The head of a request came in one read with its body, which is not chunked.

        @param headers: The caller's to keep and to change.

        @return: Whether the body was taken as well, and with it the request's end. Else they are told by
            L{dataReceived}.
        """

    def dataReceived(data: bytes, endStream: bool) -> None:
        """
        A piece of the body came, or of what follows in a tunnel.

        @param data: Empty only where there is nothing but the end to tell.
        """

    def trailersReceived(trailers: HeaderMap) -> None:
        """
        Trailers came; they end the request.
        """


class IResponseSink(Interface):
    """
    Where an L{UpstreamCodec<meshproxy.codec.http1.UpstreamCodec>} tells what came.
    """

    def informationalReceived(headers: ResponseHeaders) -> None:
        """
        A response before the response came: 100, 102, 103 ..., never 101.
        """

    def responseReceived(headers: ResponseHeaders, endStream: bool) -> None:
        """
        The head of the response came; 101 or the 2xx to a CONNECT makes what follows a tunnel.
        """

    def wholeReceived(headers: ResponseHeaders, body: bytes) -> None:
        """
        A whole response came at once: the same as C{responseReceived(headers, False)} and
        C{dataReceived(body, True)}. The codec may tell either.

        @param body: At least one byte.
        """

    def dataReceived(data: bytes, endStream: bool) -> None:
        """
        A piece of the body came, or of what follows in a tunnel.
        """

    def trailersReceived(trailers: HeaderMap) -> None:
        """
        Trailers came; they end the response.
        """


class UnderscoreAction(Enum):
    """
    C{headers_with_underscores_action}: some servers take C{a_b} and C{a-b} for the same name.
    """

    ALLOW = "ALLOW"
    REJECT = "REJECT_REQUEST"
    DROP = "DROP_HEADER"


class ICount(Protocol):
    """
    Something that counts, such as a counter of L{meshproxy.stats}.
    """

    value: int


class _Count:
    """
    A count that nobody reads.
    """

    def __init__(self) -> None:
        self.value = 0


class Http1Counters:
    """
    What a codec counts, as Envoy names it below C{http1.}.
    """

    __slots__ = ("droppedHeadersWithUnderscores", "metadataNotSupported", "requestsRejectedWithUnderscoresInHeaders")

    def __init__(
        self,
        droppedHeadersWithUnderscores: ICount | None = None,
        requestsRejectedWithUnderscoresInHeaders: ICount | None = None,
        metadataNotSupported: ICount | None = None,
    ) -> None:
        self.droppedHeadersWithUnderscores = droppedHeadersWithUnderscores or _Count()
        self.requestsRejectedWithUnderscoresInHeaders = requestsRejectedWithUnderscoresInHeaders or _Count()
        self.metadataNotSupported = metadataNotSupported or _Count()


@dataclass(frozen=True, slots=True)
class Http1Options:
    """
    Settings of a codec, compiled once and shared by its connections.

    @ivar maxHeadBytes: The most bytes of a head, and of the trailers; beyond, 431. Envoy's
        C{max_request_headers_kb}, and C{max_response_headers_kb} for an upstream codec.
    @ivar maxHeaderCount: The most fields of a head, and of the trailers (C{max_headers_count}).
    @ivar maxChunkExtensionBytes: The most bytes that the chunk extensions of one message may take. Envoy knows
        no such limit; without one a peer can send gigabytes that carry nothing.
    @ivar allowAbsoluteURL: C{allow_absolute_url}: take authority and path from an absolute request target.
    @ivar acceptHTTP10: C{accept_http_10}: serve HTTP/1.0 instead of answering 426.
    @ivar defaultHost: C{default_host_for_http_10}, where an HTTP/1.0 request names none.
    @ivar enableTrailers: C{enable_trailers}: pass trailers on. They are checked either way.
    @ivar allowChunkedLength: C{allow_chunked_length}: drop a Content-Length beside chunked instead of
        rejecting the message.
    @ivar underscores: What to do with requests whose field names have underscores.
    @ivar sendFullyQualifiedURL: C{send_fully_qualified_url}: an upstream codec writes absolute targets.
    @ivar properCase: C{header_key_format}, C{proper_case_words}: write C{Content-Type} for peers that insist.
    @ivar customMethods: C{allow_custom_methods}: take any token for a method.
    @ivar ignoredUpgrades: C{ignore_http_11_upgrade}: whether an offer of another protocol is taken out of the request;
        L{None} for h2c alone.
    @ivar preservesCase: C{header_key_format}, C{preserve_case}: heads that come in remember how their names were
        written. With C{properCase}, names that they have not are written in proper case.
    @ivar forwardsReason: C{forward_reason_phrase}: an upstream's reason phrases go on.
    @ivar passesFragments: Whether the connection manager is to answer a request whose target has a fragment, so that
        the connection may go on after it.
    @ivar scheme: The C{:scheme} of requests whose target has none.
    """

    maxHeadBytes: int = 60 * 1024
    maxHeaderCount: int = 100
    maxChunkExtensionBytes: int = 16 * 1024
    allowAbsoluteURL: bool = True
    acceptHTTP10: bool = False
    defaultHost: bytes = b""
    enableTrailers: bool = False
    allowChunkedLength: bool = False
    underscores: UnderscoreAction = UnderscoreAction.ALLOW
    sendFullyQualifiedURL: bool = False
    properCase: bool = False
    customMethods: bool = False
    ignoredUpgrades: Callable[[bytes], bool] | None = None
    preservesCase: bool = False
    forwardsReason: bool = False
    passesFragments: bool = False
    scheme: bytes = b"http"
