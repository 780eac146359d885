# -*- test-case-name: tests.filters.http.test_router -*-
"""
C{envoy.filters.http.router}: does with a request what its route says. The engine is L{meshproxy.http.router}.
"""

from __future__ import annotations

from typing import Any

from meshproxy.config import Section
from meshproxy.config.supported import declare
from meshproxy.headers import HeaderMap, RequestHeaders
from meshproxy.http.filter import FilterContext, HTTPFilter
from meshproxy.http.router import Router as RouterEngine
from meshproxy.http.upstreamlog import UpstreamLogs
from meshproxy.net.localaddress import findLocalAddress

__all__ = ["Router"]

_MESSAGE = "envoy.extensions.filters.http.router.v3.Router"

declare(_MESSAGE, "suppress_envoy_headers", "suppress_grpc_request_failure_code_stats")
declare(_MESSAGE, "upstream_log", "upstream_log_options")
declare(_MESSAGE + ".UpstreamAccessLogOptions", "flush_upstream_log_on_upstream_stream", "upstream_log_flush_interval")
declare(_MESSAGE, "strict_check_headers", "respect_expected_rq_timeout", "dynamic_stats", "upstream_http_filters")


def _upstreamLogs(section: Section, context: FilterContext) -> UpstreamLogs | None:
    """
    The logs of tries, if there are any.
    """
    logs = section.children("upstream_log")
    options = section.childOrEmpty("upstream_log_options")
    return (
        UpstreamLogs(
            context.openLogs(logs),
            context.clock,
            options.get("flush_upstream_log_on_upstream_stream"),
            options.seconds("upstream_log_flush_interval", 0.0),
        )
        if logs
        else None
    )


class Router(HTTPFilter):
    """
    The terminal filter of nearly every chain.
    """

    shared = True
    terminal = True
    hasRouteConfig = False
    configType = _MESSAGE

    @classmethod
    def compileConfig(cls, section: Section, context: FilterContext) -> RouterEngine:
        """
        See L{HTTPFilter.compileConfig}.
        """
        return RouterEngine(
            context.clusters.byName,
            context.clock,
            context.random,
            section.get("suppress_envoy_headers"),
            section.get("suppress_grpc_request_failure_code_stats"),
            [name.lower().encode("utf-8") for name in section.scalars("strict_check_headers")],
            section.get("respect_expected_rq_timeout"),
            section.wrapped("dynamic_stats", True),
            findLocalAddress(),
            context.store,
            _upstreamLogs(section, context),
            context.compileUpstream(section, "upstream_http_filters"),
        )

    def __init__(self, config: RouterEngine, context: FilterContext) -> None:
        super().__init__(config, context)
        # The engine takes the head itself; a method of this class in between would cost a call on each request.
        self.requestHeaders = config.route  # type: ignore[method-assign]  # the same signature

    def requestHeaders(self, stream: Any, headers: RequestHeaders, endStream: bool) -> object:
        """
        Route the request.
        """
        return self.config.route(stream, headers, endStream)

    def requestData(self, stream: Any, data: bytes, endStream: bool) -> object:
        """
        Send on a piece of its body.
        """
        if stream.upstream is not None:
            stream.upstream.sendData(data, endStream)
        return None

    def requestTrailers(self, stream: Any, trailers: HeaderMap) -> object:
        """
        Send on its trailers.
        """
        if stream.upstream is not None:
            stream.upstream.sendTrailers(trailers)
        return None
