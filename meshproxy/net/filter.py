# -*- test-case-name: tests.net.test_filter -*-
"""
The base class of network filters, and what they are given to work with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet.interfaces import IProtocol, IReactorTime
from zope.interface import implementer

from meshproxy.config import Section
from meshproxy.interfaces import INetwork, INetworkConnection, INetworkFilter
from meshproxy.stats import Scope, Store

if TYPE_CHECKING:
    from meshproxy.runtime import Runtime

__all__ = ["ConnectionFilter", "NetworkFilter", "NetworkFilterContext", "PassingFilter"]


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

    def streams(self) -> Iterable[Any]:
        """
        The HTTP streams under way, each a L{meshproxy.http.stream.Stream}.
        """
        return ()

    def turnedAway(self, info: Any) -> None:
        """
        A filter before this one closed a connection before it came here.
        """

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


class PassingFilter:
    """
    A network filter that stands before the terminal one: what it makes of its configuration builds a filter for each
    connection.

    @cvar configType: The full name of its message.
    """

    configType: ClassVar[str] = ""

    def __init__(self, section: Section, context: NetworkFilterContext) -> None:
        """
        @param section: The configuration; faults are told by its C{refuse}.
        """

    def buildFilter(self, info: Any) -> INetworkFilter | None:
        """
        The filter of a connection, or L{None} where it has nothing to do with it.

        @param info: Its L{meshproxy.accesslog.streaminfo.ConnectionInfo}.
        """
        raise NotImplementedError  # pragma: no cover

    def foresee(self, info: Any) -> Any:
        """
        What the filter would do with a connection that nobody made: a L{meshproxy.http.filter.Foreseen}, or L{None} if
        it has nothing to say to that. Nothing is counted or noted by it.

        @param info: What is known of it, as for L{buildFilter}.
        """
        return None

    def stop(self) -> None:
        """
        Give up what is held, when the last connection is gone.
        """


@implementer(INetworkFilter)
class ConnectionFilter:
    """
    The least that a connection's network filter is: it lets everything pass.

    @ivar seesData: See L{INetworkFilter}.
    """

    seesData = False

    def connectionMade(self, connection: INetworkConnection) -> object:
        """
        See L{INetworkFilter.connectionMade}.
        """
        return None

    def dataReceived(self, data: bytes) -> object:
        """
        See L{INetworkFilter.dataReceived}.
        """
        return None

    def readConnectionLost(self) -> None:
        """
        See L{INetworkFilter.readConnectionLost}.
        """

    def connectionLost(self, reason: Any) -> None:
        """
        See L{INetworkFilter.connectionLost}.
        """
