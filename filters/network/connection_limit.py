# -*- test-case-name: tests.filters.network.test_connection_limit -*-
"""
C{envoy.filters.network.connection_limit}: how many connections a filter chain has at a time.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IDelayedCall

from meshproxy.config import Section
from meshproxy.config.supported import declare
from meshproxy.interfaces import STOP, INetworkConnection, INetworkFilter
from meshproxy.net.filter import ConnectionFilter, NetworkFilterContext, PassingFilter
from meshproxy.stats import statName

__all__ = ["ConnectionLimit", "CountedConnection"]

_MESSAGE = "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit"

declare(_MESSAGE, "stat_prefix", "max_connections", "delay", "runtime_enabled")


class ConnectionLimit(PassingFilter):
    """
    The limit of one filter chain, in this process.

    @ivar most: How many connections may be there.
    @ivar delay: After how many seconds one too many is closed.
    @ivar isEnabled: Says whether connections are counted now.
    @ivar connections: How many there are, those that wait to be closed left out.
    """

    configType = _MESSAGE

    def __init__(self, section: Section, context: NetworkFilterContext) -> None:
        self.most: int = section.wrapped("max_connections", 0)
        self.delay = section.seconds("delay", 0.0) or 0.0
        self.isEnabled = context.runtime.featureFlag(section.child("runtime_enabled"), True)
        self.clock = context.clock
        self.connections = 0
        self._scope = context.store.scope(f"connection_limit.{statName(section.get('stat_prefix'))}.")
        self.active = self._scope.gauge("active_connections")
        self.limited = self._scope.counter("limited_connections")

    def buildFilter(self, info: Any) -> INetworkFilter | None:
        """
        See L{PassingFilter.buildFilter}.
        """
        return CountedConnection(self) if self.isEnabled() else None

    def stop(self) -> None:
        """
        See L{PassingFilter.stop}.
        """
        self._scope.close()


class CountedConnection(ConnectionFilter):
    """
    One connection.
    """

    _timer: IDelayedCall | None = None
    _counts = False

    def __init__(self, limit: ConnectionLimit) -> None:
        self._limit = limit

    def connectionMade(self, connection: INetworkConnection) -> object:
        """
        See L{INetworkFilter.connectionMade}.
        """
        limit = self._limit
        limit.active.value += 1
        if limit.connections < limit.most:
            limit.connections += 1
            self._counts = True
            return None
        limit.limited.value += 1
        if limit.delay:
            # One that is turned away at once is back at once.
            self._timer = limit.clock.callLater(limit.delay, self._refuse, connection)
        else:
            self._refuse(connection)
        return STOP

    def _refuse(self, connection: INetworkConnection) -> None:
        self._timer = None
        connection.close("over_connection_limit")

    def connectionLost(self, reason: Any) -> None:
        """
        See L{INetworkFilter.connectionLost}.
        """
        limit = self._limit
        limit.active.value -= 1
        limit.connections -= self._counts
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
