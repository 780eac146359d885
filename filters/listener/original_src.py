# -*- test-case-name: tests.filters.listener.test_original_src -*-
"""
C{envoy.filters.listener.original_src}: lets connections to upstreams come from the address of the client.
"""

from __future__ import annotations

from meshproxy.config import Section
from meshproxy.config.supported import accept, declare
from meshproxy.interfaces import IIncomingConnection
from meshproxy.net.address import Address
from meshproxy.net.dial import Source
from meshproxy.net.listenerfilter import ListenerFilter, ListenerFilterContext

__all__ = ["OriginalSrc"]

_MESSAGE = "envoy.extensions.filters.listener.original_src.v3.OriginalSrc"

declare(_MESSAGE, "mark")
accept(_MESSAGE, "bind_port", "Envoy does not heed it either: the port is the kernel's choice")


class OriginalSrc(ListenerFilter):
    """
    The listener filter. It reads nothing.
    """

    configType = _MESSAGE

    def __init__(self, section: Section, context: ListenerFilterContext) -> None:
        """
        See L{ListenerFilter}.
        """
        self._mark: int = section.get("mark")

    def inspect(self, connection: IIncomingConnection, data: bytes) -> object:
        """
        See L{IListenerFilter.inspect}.
        """
        client = connection.info.remoteAddress
        if client is not None and client.isIP:
            connection.info.upstreamSource = Source(Address(client.host, 0), self._mark)
        return None
