# -*- test-case-name: tests.filters.network.test_sni_dynamic_forward_proxy -*-
"""
C{envoy.filters.network.sni_dynamic_forward_proxy}: looks up the host that a TLS connection asks for, before tcp_proxy
goes there.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from meshproxy.config import Section
from meshproxy.config.supported import declare
from meshproxy.http.authorization.conditions import UPSTREAM_ADDRESS
from meshproxy.interfaces import STOP, INetworkConnection, INetworkFilter
from meshproxy.net.filter import ConnectionFilter, NetworkFilterContext, PassingFilter
from meshproxy.upstream.dnscache import CachedHost, DNSCache
from meshproxy.upstream.forwardproxy import DYNAMIC_PORT

__all__ = ["LookedUpConnection", "SNIDynamicForwardProxy"]

_MESSAGE = "envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig"

declare(_MESSAGE, "dns_cache_config", "port_value", "save_upstream_address")


class SNIDynamicForwardProxy(PassingFilter):
    """
    The network filter.
    """

    configType = _MESSAGE

    def __init__(self, section: Section, context: NetworkFilterContext) -> None:
        self._cache: DNSCache | None = context.proxy.clusters.dnsCaches.compile(section)
        self._port: int = section.get("port_value")
        self._saves: bool = section.get("save_upstream_address")

    def buildFilter(self, info: Any) -> INetworkFilter | None:
        """
        See L{PassingFilter.buildFilter}.
        """
        return None if self._cache is None else LookedUpConnection(self._cache, self._port or 443, self._saves)


class LookedUpConnection(ConnectionFilter):
    """
    One connection.
    """

    def __init__(self, cache: DNSCache, port: int, saves: bool) -> None:
        """
        @param port: Where it goes.
        @param saves: Whether later filters are told where it goes.
        """
        self._cache = cache
        self._port = port
        self._saves = saves
        self._waiting: Deferred[None] | None = None

    def connectionMade(self, connection: INetworkConnection) -> object:
        """
        See L{INetworkFilter.connectionMade}.
        """
        name = connection.info.requestedServerName
        if not name:
            return None
        host = self._cache.load(name, self._port) if self._cache.mayWait() else None
        if host is None:
            connection.close()
            return STOP
        connection.info.setState(DYNAMIC_PORT, self._port)
        if host.isResolved:
            self._loaded(connection, host)
            return None
        self._waiting = self._cache.wait(host)
        self._waiting.addCallbacks(self._cbLoaded, lambda failure: None, (connection, host))
        return STOP

    def _cbLoaded(self, found: None, connection: INetworkConnection, host: CachedHost) -> None:
        self._waiting = None
        self._loaded(connection, host)
        connection.resumeReading()

    def _loaded(self, connection: INetworkConnection, host: CachedHost) -> None:
        if self._saves and host.address is not None:
            connection.info.setState(UPSTREAM_ADDRESS, host.address)

    def connectionLost(self, reason: Any) -> None:
        """
        See L{INetworkFilter.connectionLost}.
        """
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
