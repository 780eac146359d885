# -*- test-case-name: tests.upstream.test_tcpsession -*-
"""
What a connection of tcp_proxy has to say about its endpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from meshproxy.accesslog.streaminfo import ConnectionInfo
from meshproxy.upstream.balancers.base import Origin
from meshproxy.upstream.forwardproxy import DYNAMIC_PORT

if TYPE_CHECKING:
    from meshproxy.upstream.balancers.priorities import Loads
    from meshproxy.upstream.endpoint import Endpoint

__all__ = ["TCPChoice"]


class TCPChoice:
    """
    See the module; it is a L{meshproxy.upstream.balancers.base.IChoice}.

    @ivar attempts: See L{meshproxy.upstream.balancers.base.IChoice}.
    """

    __slots__ = ("_connection", "_key", "_labels", "attempts")

    def __init__(self, key: int | None, labels: Mapping[str, object], connection: ConnectionInfo) -> None:
        self._connection = connection
        self.attempts = 1
        self._key = key
        self._labels = labels

    def hashKey(self) -> int | None:
        """
        See L{meshproxy.upstream.balancers.base.IChoice.hashKey}.
        """
        return self._key

    def labels(self) -> Mapping[str, object]:
        """
        See L{meshproxy.upstream.balancers.base.IChoice.labels}.
        """
        return self._labels

    def origin(self) -> Origin:
        """
        See L{meshproxy.upstream.balancers.base.IChoice.origin}.
        """
        connection = self._connection
        port = (connection.filterState or {}).get(DYNAMIC_PORT)
        asked = (connection.requestedServerName, port if isinstance(port, int) else None)
        return Origin(None, connection.dynamicMetadata or {}, connection.originalDestination, asked)

    def accepts(self, endpoint: Endpoint) -> bool:
        """
        See L{meshproxy.upstream.balancers.base.IChoice.accepts}: each will do.
        """
        return True

    def loads(self, loads: Loads, available: Sequence[tuple[int, int]]) -> Loads:
        """
        See L{meshproxy.upstream.balancers.base.IChoice.loads}: as for all.
        """
        return loads
