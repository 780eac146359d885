# -*- test-case-name: tests.net.test_filter -*-
"""
The base class of network filters, and what they are given to work with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet.interfaces import IProtocol, IReactorTime

from meshproxy.config import Section
from meshproxy.interfaces import INetwork
from meshproxy.stats import Scope, Store

if TYPE_CHECKING:
    from meshproxy.runtime import Runtime

__all__ = ["NetworkFilter", "NetworkFilterContext"]


@dataclass(frozen=True, slots=True)
class NetworkFilterContext:
    """
    What a network filter of one filter chain is given.

    @ivar listenerScope: C{listener.ADDRESS.}.
    @ivar store: All metrics.
    @ivar bufferLimit: The listener's C{per_connection_buffer_limit_bytes}.
    @ivar proxy: What all filters of the process share: clusters, filter plugins, log files. Its type is
        L{meshproxy.http.context.ProxyContext}; it stands left of this room.
    """

    listenerScope: Scope
    store: Store
    clock: IReactorTime
    random: Callable[[], float]
    network: INetwork
    runtime: Runtime
    bufferLimit: int
    proxy: Any


class NetworkFilter:
    """
    A filter that ends a network filter chain: what it makes of its configuration builds the protocol of each
    connection.

    @cvar configType: The full name of its message.
    """

    configType: ClassVar[str] = ""

    def __init__(self, section: Section, context: NetworkFilterContext) -> None:
        """
        @param section: The configuration; faults are told by its C{refuse}.
        """

    def buildProtocol(self, info: Any) -> IProtocol:
        """
        The protocol of a connection.

        @param info: Its L{meshproxy.accesslog.streaminfo.ConnectionInfo}.
        """
        raise NotImplementedError  # pragma: no cover

    def succeed(self, old: NetworkFilter) -> None:
        """
        Take the place of the filter that stood here before a reload, as far as live connections may see that.
        """

    def drain(self) -> None:
        """
        Let connections end: no new work begins on them.
        """

    def closeGently(self, closing: bool) -> None:
        """
        Let connections end where their protocol has a way to say so, with their next response; or no longer.
        """

    def stop(self) -> None:
        """
        Give up what is held, such as log files, when the last connection is gone.
        """
