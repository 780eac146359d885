# -*- test-case-name: tests.filters.http.test_dynamic_forward_proxy -*-
"""
C{envoy.filters.http.dynamic_forward_proxy}: looks up the host that a request asks for, before it goes there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from meshproxy.config import Section
from meshproxy.config.supported import declare
from meshproxy.flags import ResponseFlag
from meshproxy.headers import RequestHeaders
from meshproxy.http.authorization.conditions import UPSTREAM_ADDRESS
from meshproxy.http.filter import FilterContext, HTTPFilter
from meshproxy.interfaces import Stop
from meshproxy.upstream.dnscache import CachedHost, DNSCache
from meshproxy.upstream.forwardproxy import DYNAMIC_FORWARD_PROXY

__all__ = ["DynamicForwardProxy"]

_PACKAGE = "envoy.extensions.filters.http.dynamic_forward_proxy.v3."

declare(_PACKAGE + "FilterConfig", "dns_cache_config", "save_upstream_address")
declare(_PACKAGE + "PerRouteConfig", "host_rewrite_literal", "host_rewrite_header")


@dataclass(frozen=True, slots=True)
class _Settings:
    """
    @ivar saves: Whether later filters are told where the request goes.
    """

    cache: DNSCache | None
    saves: bool


@dataclass(frozen=True, slots=True)
class _Rewrite:
    """
    @ivar literal: The host to ask for; empty for that of the request.
    @ivar header: The field that has it; empty for none.
    """

    literal: bytes
    header: bytes


class DynamicForwardProxy(HTTPFilter):
    """
    One instance serves all streams. Requests for clusters of other kinds pass.
    """

    shared = True
    configType = _PACKAGE + "FilterConfig"
    routeConfigType = _PACKAGE + "PerRouteConfig"

    @classmethod
    def compileConfig(cls, section: Section, context: FilterContext) -> _Settings:
        return _Settings(context.clusters.dnsCaches.compile(section), section.get("save_upstream_address"))

    @classmethod
    def compileRouteConfig(cls, section: Section, context: FilterContext) -> _Rewrite:
        header = section.get("host_rewrite_header").lower()
        return _Rewrite(section.get("host_rewrite_literal").encode("utf-8"), header.encode("utf-8"))

    def requestHeaders(self, stream: Any, headers: RequestHeaders, endStream: bool) -> Any:
        route = stream.route
        if route is None or route.action is None:
            return None
        cluster = self.context.clusters.byName.get(route.action.cluster)
        if cluster is None or cluster.kind != DYNAMIC_FORWARD_PROXY:
            return None
        cache: DNSCache | None = self.config.cache
        if cache is None:
            return None
        if not cache.mayWait():
            return stream.reply(
                503,
                b"Dynamic forward proxy pending request overflow",
                details="dynamic_forward_proxy_pending_request_overflow",
            )
        rewrite: _Rewrite | None = stream.routeConfig(self.context.name)
        if rewrite is not None:
            found = rewrite.literal or (headers.get(rewrite.header) if rewrite.header else None)
            if found:
                headers.authority = found
        host = cache.load(headers.authority.decode("latin-1"), cluster.transports.defaultPort)
        if host is None:
            return stream.reply(503, b"DNS cache overflow", details="dns_cache_overflow")
        return self._loaded(stream, host) if host.isResolved else self._load(stream, cache, host)

    async def _load(self, stream: Any, cache: DNSCache, host: CachedHost) -> Stop | None:
        await cache.wait(host)
        return self._loaded(stream, host)

    def _loaded(self, stream: Any, host: CachedHost) -> Stop | None:
        if host.address is None:
            why = host.failure.replace(" ", "_")
            reply: Stop = stream.reply(
                503,
                b"DNS resolution failure",
                details=f"dns_resolution_failure{{{why}}}",
                flags=ResponseFlag.DNS_RESOLUTION_FAILED,
            )
            return reply
        if self.config.saves:
            stream.filterState[UPSTREAM_ADDRESS] = host.address
        return None
