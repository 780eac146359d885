# -*- test-case-name: tests.filters.listener.test_original_dst -*-
"""
C{envoy.filters.listener.original_dst}: asks the kernel where a connection was made to before a rule of its packet
filter sent it here.
"""

from __future__ import annotations

from meshproxy.config import Section
from meshproxy.config.supported import declare
from meshproxy.interfaces import IIncomingConnection
from meshproxy.net.listenerfilter import ListenerFilter, ListenerFilterContext

__all__ = ["OriginalDst"]

_MESSAGE = "envoy.extensions.filters.listener.original_dst.v3.OriginalDst"

declare(_MESSAGE)


class OriginalDst(ListenerFilter):
    """
    The listener filter. It reads nothing.
    """

    configType = _MESSAGE

    def __init__(self, section: Section, context: ListenerFilterContext) -> None:
        """
        There is nothing to configure.
        """

    def inspect(self, connection: IIncomingConnection, data: bytes) -> object:
        """
        See L{IListenerFilter.inspect}.
        """
        found = connection.originalDestination()
        if found is not None:
            connection.info.localAddress = found
        return None
