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
from meshproxy.http.wirecount import (
    CountingHTTP1Connection,
    CountingHTTP2Connection,
    MeasuringHTTP1Connection,
    MeasuringHTTP2Connection,
)
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
        http1: type[HTTP1Connection] = HTTP1Connection
        http2: type[HTTP2Connection] = HTTP2Connection
        if self.slot.current.measuresHeads:
            http1, http2 = MeasuringHTTP1Connection, MeasuringHTTP2Connection
        elif self.slot.current.countsBytes:
            http1, http2 = CountingHTTP1Connection, CountingHTTP2Connection
        return http2(self.slot, info) if codecType == "HTTP2" else http1(self.slot, info, codecType == "AUTO")

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
