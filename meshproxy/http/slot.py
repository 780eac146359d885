# -*- test-case-name: tests.http.test_manager -*-
"""
Where connections find their connection manager, and where a reload puts another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from meshproxy.http.downstream import HTTP1Connection
    from meshproxy.http.http2 import HTTP2Connection
    from meshproxy.http.manager import ConnectionManager

    AnyConnection: TypeAlias = HTTP1Connection | HTTP2Connection

__all__ = ["ManagerSlot"]

# How long the first request of a connection may be on its way when its listener goes, in seconds.
_FIRST_REQUEST = 1.0


class ManagerSlot:
    """
    Where connections find their connection manager. A reload puts a new one here: streams under way end on the old one,
    the next stream of a live connection begins on the new one.

    @ivar connections: All that are open.
    """

    __slots__ = ("connections", "current")

    def __init__(self, manager: ConnectionManager) -> None:
        self.current = manager
        self.connections: set[AnyConnection] = set()

    def replace(self, manager: ConnectionManager) -> None:
        """
        Put another one here. The old one gives up what it holds with its last stream.
        """
        self.retire()
        self.current = manager

    def retire(self) -> None:
        """
        Let the manager give up what it holds, with its last stream.
        """
        manager = self.current
        streams = (stream for connection in self.connections for stream in connection.activeStreams)
        manager.retire(sum(stream.manager is manager for stream in streams))

    def drain(self) -> None:
        """
        Close what is idle; let the rest close with its next response.

        A connection that has not asked anything yet is most often one whose first request is on its way: it gets a
        moment for that, so that a client that connects while a listener goes is answered.
        """
        manager = self.current
        manager.draining = True
        for connection in list(self.connections):
            if connection.isFresh:
                manager.clock.callLater(_FIRST_REQUEST, self._drainFresh, connection)
            else:
                connection.drain()

    def _drainFresh(self, connection: AnyConnection) -> None:
        if connection in self.connections:
            connection.drain()
