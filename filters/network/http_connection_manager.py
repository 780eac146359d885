# -*- test-case-name: tests.filters.network.test_http_connection_manager -*-
"""
C{envoy.filters.network.http_connection_manager}: makes streams of bytes. The engine is L{meshproxy.http}.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.interfaces import IProtocol

from meshproxy.config import Section
from meshproxy.http.config import compileConnectionManager
from meshproxy.http.downstream import HTTP1Connection
from meshproxy.http.http2 import HTTP2Connection
from meshproxy.http.slot import ManagerSlot
from meshproxy.http.wirecount import CountingHTTP1Connection, CountingHTTP2Connection
from meshproxy.net.filter import NetworkFilter, NetworkFilterContext

__all__ = ["HTTPConnectionManager"]


class HTTPConnectionManager(NetworkFilter):
    """
    The network filter for HTTP.
    """

    configType = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    _isSucceeded = False

    def __init__(self, section: Section, context: NetworkFilterContext) -> None:
        manager = compileConnectionManager(section, context.proxy, context.listenerScope, context.bufferLimit)
        self.slot = ManagerSlot(manager)

    def buildProtocol(self, info: Any) -> IProtocol:
        """
        See L{NetworkFilter.buildProtocol}.
        """
        codecType = self.slot.current.settings.codecType
        counts = self.slot.current.countsBytes
        if codecType == "HTTP2":
            return (CountingHTTP2Connection if counts else HTTP2Connection)(self.slot, info)
        kind = CountingHTTP1Connection if counts else HTTP1Connection
        return kind(self.slot, info, codecType == "AUTO")

    def streams(self) -> Iterable[Any]:
        """
        See L{NetworkFilter.streams}.
        """
        return [stream for connection in self.slot.connections for stream in connection.activeStreams]

    def succeed(self, old: NetworkFilter) -> None:
        """
        See L{NetworkFilter.succeed}: the next stream of a live connection runs under the new routes and filters.
        """
        if isinstance(old, HTTPConnectionManager):
            old.slot.replace(self.slot.current)
            self.slot = old.slot
            old._isSucceeded = True

    def drain(self) -> None:
        """
        See L{NetworkFilter.drain}.
        """
        self.slot.drain()

    def closeGently(self, closing: bool) -> None:
        """
        See L{NetworkFilter.closeGently}.
        """
        self.slot.current.draining = closing

    def stop(self) -> None:
        """
        See L{NetworkFilter.stop}.
        """
        if not self._isSucceeded:
            self.slot.retire()
