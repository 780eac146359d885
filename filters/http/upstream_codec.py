# -*- test-case-name: tests.filters.http.test_upstream_codec -*-
"""
C{envoy.filters.http.upstream_codec}: the end of a chain of upstream filters, from where a try of a request goes to its
upstream connection. The engine is L{meshproxy.http.filteredtry}.
"""

from __future__ import annotations

from typing import Any

from meshproxy.config.supported import declare
from meshproxy.headers import HeaderMap, RequestHeaders
from meshproxy.http.filter import HTTPFilter

__all__ = ["UpstreamCodec"]

_MESSAGE = "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"

declare(_MESSAGE)


class UpstreamCodec(HTTPFilter):
    """
    The terminal filter of every such chain.
    """

    shared = True
    terminal = True
    servesDownstream = False
    servesUpstream = True
    hasRouteConfig = False
    configType = _MESSAGE

    def requestHeaders(self, stream: Any, headers: RequestHeaders, endStream: bool) -> object:
        """
        Send the head, as soon as there is a connection.
        """
        return stream.filteredTry.encodeHeaders(headers, endStream)

    def requestData(self, stream: Any, data: bytes, endStream: bool) -> object:
        """
        Send a piece of the body.
        """
        return stream.filteredTry.encodeData(data, endStream)

    def requestTrailers(self, stream: Any, trailers: HeaderMap) -> object:
        """
        Send the trailers.
        """
        return stream.filteredTry.encodeTrailers(trailers)
