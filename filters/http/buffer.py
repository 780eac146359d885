# -*- test-case-name: tests.filters.http.test_buffer -*-
"""
C{envoy.filters.http.buffer}: sends a request on when all of it is here.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from meshproxy.config import Section
from meshproxy.config.supported import declare
from meshproxy.headers import RequestHeaders
from meshproxy.http.filter import FilterContext, HTTPFilter
from meshproxy.interfaces import IHTTPStream

__all__ = ["Buffer"]

_PACKAGE = "envoy.extensions.filters.http.buffer.v3."

declare(_PACKAGE + "Buffer", "max_request_bytes")
declare(_PACKAGE + "BufferPerRoute", "disabled", "buffer")


class Buffer(HTTPFilter):
    """
    One instance serves all streams; its configuration is the most bytes that a body may have, 0 for any request to
    pass as it comes.
    """

    shared = True
    servesUpstream = True
    configType = _PACKAGE + "Buffer"
    routeConfigType = _PACKAGE + "BufferPerRoute"

    @classmethod
    def compileConfig(cls, section: Section, context: FilterContext) -> int:
        return section.wrapped("max_request_bytes", 0)

    @classmethod
    def compileRouteConfig(cls, section: Section, context: FilterContext) -> int:
        held = section.child("buffer")
        return 0 if held is None else cls.compileConfig(held, context)

    def requestHeaders(self, stream: IHTTPStream, headers: RequestHeaders, endStream: bool) -> Deferred[Any] | None:
        said = stream.routeConfig(self.context.name)
        limit: int = self.config if said is None else said
        if endStream or not limit:
            return None

        def complete(body: bytes) -> None:
            # As in Envoy: now that its length is known, it is told.
            if b"content-length" not in headers:
                headers.set(b"content-length", b"%d" % len(body))
                headers.remove(b"transfer-encoding")

        waiting: Deferred[Any] = stream.requestBody(limit)
        return waiting.addCallback(complete)
