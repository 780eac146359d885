# -*- test-case-name: tests.net.test_listenerfilter -*-
"""
The base class of listener filters, and what they are given to work with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from meshproxy.config import Section
from meshproxy.interfaces import IIncomingConnection, IListenerFilter
from meshproxy.stats import Scope, Store

if TYPE_CHECKING:
    from meshproxy.runtime import Runtime

__all__ = ["ListenerFilter", "ListenerFilterContext"]


@dataclass(frozen=True, slots=True)
class ListenerFilterContext:
    """
    What the listener filters of one listener are given.

    @ivar listenerScope: C{listener.ADDRESS.}.
    @ivar store: All metrics. Most of Envoy's listener filters do not count by listener, and have a scope of their own
        that they close in C{stop}.
    @ivar proxy: What all filters of the process share. Its type is L{meshproxy.http.context.ProxyContext}; it stands
        left of this room.
    """

    listenerScope: Scope
    store: Store
    clock: IReactorTime
    random: Callable[[], float]
    runtime: Runtime
    proxy: Any


@implementer(IListenerFilter)
class ListenerFilter:
    """
    A filter that sees the beginning of each connection before its filter chain is known::

        class Knock(ListenerFilter):
            maxBytes = 6

            def inspect(self, connection, data):
                if not b"sesame".startswith(data):
                    connection.close("knocked wrongly")
                elif len(data) < 6:
                    return MORE
                else:
                    connection.consume(6)

    @cvar configType: The full name of its message; empty for one that takes a C{TypedStruct}.
    @cvar maxBytes: See L{IListenerFilter}.
    """

    configType: ClassVar[str] = ""
    maxBytes: int = 0

    def __init__(self, section: Section, context: ListenerFilterContext) -> None:
        """
        @param section: The configuration; faults are told by its C{refuse}.
        """

    def inspect(self, connection: IIncomingConnection, data: bytes) -> object:
        """
        See L{IListenerFilter.inspect}.
        """
        raise NotImplementedError  # pragma: no cover

    def stop(self) -> None:
        """
        See L{IListenerFilter.stop}.
        """
