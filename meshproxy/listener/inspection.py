# -*- test-case-name: tests.listener.test_inspection -*-
"""
What happens to a connection before its filter chain is known: the listener filters look at its first bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from meshproxy.accesslog.streaminfo import ConnectionInfo
from meshproxy.config import Section
from meshproxy.http.discoveredfilters import MISSING, findFilter
from meshproxy.interfaces import MORE, STOP, IAcceptedSocket, IIncomingConnection, IListenerFilter
from meshproxy.listener.matching import ConnectionFacts
from meshproxy.net.address import Address
from meshproxy.net.deadlines import Deadlines
from meshproxy.net.listenerfilter import ListenerFilter, ListenerFilterContext
from meshproxy.net.originaldst import originalDestination

if TYPE_CHECKING:
    from meshproxy.listener.listener import Listener
    from meshproxy.listener.port import BoundPort

__all__ = ["Inspection", "InspectionSettings", "PlacedFilter", "compileInspection"]

# What the first look takes. Most beginnings are shorter, and the kernel copies only what is there.
_FIRST_LOOK = 4096


class PlacedFilter(NamedTuple):
    """
    A listener filter at its place.

    @ivar filter: The filter.
    @ivar isDisabled: Whether it is left out for a connection; L{None} never does.
    """

    filter: IListenerFilter
    isDisabled: Callable[[ConnectionInfo], bool] | None = None


class InspectionSettings:
    """
    The listener filters of a listener.

    @ivar filters: In their order.
    @ivar goesOn: Whether a connection gets its chain all the same when the time is over
        (C{continue_on_listener_filters_timeout}).
    """

    def __init__(self, filters: Sequence[PlacedFilter], clock: IReactorTime, seconds: float, goesOn: bool) -> None:
        """
        @param seconds: The C{listener_filters_timeout}; 0 for none.
        """
        self.filters = tuple(filters)
        self.goesOn = goesOn
        self._deadlines = Deadlines(clock, seconds, Inspection.timedOut) if seconds else None

    def start(self, inspection: Inspection) -> None:
        """
        A connection begins to wait.
        """
        if self._deadlines is not None:
            self._deadlines.start(inspection)

    def end(self, inspection: Inspection) -> None:
        """
        It does not wait any more.
        """
        if self._deadlines is not None:
            self._deadlines.cancel(inspection)

    def stop(self) -> None:
        """
        Give up what is held.
        """
        if self._deadlines is not None:
            self._deadlines.stop()
        for placed in self.filters:
            placed.filter.stop()


def compileInspection(section: Section, context: ListenerFilterContext) -> InspectionSettings | None:
    """
    Make the listener filters of a C{Listener} message.

    @return: L{None} if there are none.
    """
    for name in ("extension_config_missing", "network_extension_config_missing"):
        # Counted by what stands in for filters without configuration.
        context.listenerScope.counter(name)
    filters = []
    for item in [*section.children("listener_filters"), *_olderFilters(section)]:
        found = findFilter(context.proxy, "listener", item)
        if found is MISSING:
            filters.append(PlacedFilter(_MissingFilter(context)))
        elif found is not None:
            made = found.filterClass(found.config, context)
            if made is not None:
                disabled = item.child("filter_disabled")
                filters.append(PlacedFilter(made, None if disabled is None else _compilePredicate(disabled)))
    if not filters and not section.wrapped("use_original_dst", False):
        return None
    seconds = section.seconds("listener_filters_timeout", 15.0) or 0.0
    goesOn: bool = section.get("continue_on_listener_filters_timeout")
    return InspectionSettings(filters, context.clock, seconds, goesOn)


class _MissingFilter(ListenerFilter):
    """
    Stands in the place of one whose configuration has not come, and closes each connection.
    """

    def __init__(self, context: ListenerFilterContext) -> None:
        self._missing = context.listenerScope.counter("extension_config_missing")

    def inspect(self, connection: IIncomingConnection, data: bytes) -> object:
        """
        See L{IListenerFilter.inspect}.
        """
        self._missing.value += 1
        connection.close()
        return None


def _olderFilters(section: Section) -> list[Section]:
    """
    The filter that the first chain of a listener asks for by C{use_proxy_proto}: as in Envoy, behind all others.
    """
    chains = section.children("filter_chains")
    if not chains or not chains[0].wrapped("use_proxy_proto", False):
        return []
    name = "envoy.filters.listener.proxy_protocol"
    config = {"@type": "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"}
    return [Section.of("envoy.config.listener.v3.ListenerFilter", {"name": name, "typed_config": config})]


def _compilePredicate(section: Section) -> Callable[[ConnectionInfo], bool]:
    """
    Compile a C{ListenerFilterChainMatchPredicate}.
    """
    for name, decide in (("or_match", any), ("and_match", all)):
        rules = section.child(name)
        if rules is not None:
            several = [_compilePredicate(rule) for rule in rules.children("rules")]
            return lambda info, several=several, decide=decide: decide(  # type: ignore[misc]  # bound as defaults
                rule(info) for rule in several
            )
    inverted = section.child("not_match")
    if inverted is not None:
        rule = _compilePredicate(inverted)
        return lambda info: not rule(info)
    if section.get("any_match"):
        return lambda info: True
    ports = section.childOrEmpty("destination_port_range")
    wanted = range(ports.get("start"), ports.get("end"))
    return lambda info: info.localAddress is not None and info.localAddress.port in wanted


@implementer(IIncomingConnection)
class Inspection:
    """
    One connection that has no filter chain yet.

    @ivar info: See L{IIncomingConnection}.
    @ivar facts: See L{IIncomingConnection}.
    @ivar state: See L{IIncomingConnection}.
    """

    log = Logger()

    def __init__(
        self,
        listener: Listener,
        accepted: IAcceptedSocket,
        info: ConnectionInfo,
        port: BoundPort | None = None,
        mayHandOver: bool = False,
    ) -> None:
        """
        @param port: Where it came in; its listener of the moment when the filters are through gives the chain.
        @param mayHandOver: Whether it goes to the listener of the address that it was meant for.
        """
        assert listener.inspection is not None
        self.info = info
        self.facts = ConnectionFacts(info)
        self.state: Any = None
        self._port = port
        self._listener = listener
        self._settings: InspectionSettings = listener.inspection
        self._accepted = accepted
        self._number = 0
        self._size = 0
        self._seen = 0
        self._isWatching = False
        self._isOver = False
        self._isHeld = False
        self._mayHandOver = mayHandOver

    def begin(self) -> None:
        """
        Ask the first filter.
        """
        listener = self._listener
        listener.inspecting.add(self)
        listener.preCxActive.value += 1
        self._settings.start(self)
        self._look(False)

    @property
    def isIdle(self) -> bool:
        """
        Whether nothing came of it yet.
        """
        return not self._seen

    # Asking the filters

    def _look(self, ended: bool) -> None:
        """
        Ask the filters that can be asked now.

        @param ended: Whether the peer finished, or is gone: more will not come.
        """
        try:
            self._ask(ended)
        except OSError:
            self._listener.filterError.value += 1
            self._leave(False)
        except Exception:
            self.log.failure("{listener}: a listener filter raised", listener=self._listener.name)
            self._leave(True)

    def _ask(self, ended: bool) -> None:
        filters = self._settings.filters
        while not self._isOver and self._number < len(filters):
            placed = filters[self._number]
            if placed.isDisabled is not None and placed.isDisabled(self.info):
                self._number += 1
                continue
            most = placed.filter.maxBytes
            data = b""
            if most:
                self._size = self._size or min(most, _FIRST_LOOK)
                peeked = self._accepted.peek(self._size)
                if not peeked:
                    # An empty peek says that the peer finished, and none that nothing came yet.
                    self._wait(ended or peeked is not None)
                    return
                data = peeked
                self._seen = max(self._seen, len(data))
            answer = placed.filter.inspect(self, data)
            if answer is MORE:
                if len(data) == self._size < most:
                    self._size = min(most, 4 * self._size)
                    continue
                self._wait(ended)
                return
            if answer is STOP:
                self._isHeld = True
                return
            self._next()
        if not self._isOver:
            if self._mayHandOver and self.info.localAddress == self.info.directLocalAddress:
                # As in Envoy, use_original_dst is the filter original_dst behind all others.
                self.info.localAddress = self.originalDestination() or self.info.localAddress
            self._finish()

    def _next(self) -> None:
        self._number += 1
        self._size = 0
        self.state = None

    def _wait(self, ended: bool) -> None:
        if ended:
            self._listener.filterRemoteClose.value += 1
            self._leave(False)
        elif not self._isWatching:
            self._isWatching = True
            self._accepted.watch(self._arrived)

    def _arrived(self, ended: bool) -> None:
        if self._isHeld:
            # Bytes do not help it on; a peer that finished is found out by who reads.
            return
        self._look(ended)

    def resume(self) -> None:
        """
        See L{IIncomingConnection.resume}.
        """
        if self._isHeld and not self._isOver:
            self._isHeld = False
            self._next()
            self._look(False)

    def originalDestination(self) -> Address | None:
        """
        See L{IIncomingConnection.originalDestination}.
        """
        return originalDestination(self._accepted.socket)

    def consume(self, size: int) -> None:
        """
        See L{IIncomingConnection.consume}.
        """
        self._accepted.consume(size)

    # Ending

    def _end(self) -> None:
        self._isOver = True
        listener = self._listener
        self._settings.end(self)
        self._accepted.forget()
        listener.inspecting.discard(self)
        listener.preCxActive.value -= 1

    def _finish(self) -> None:
        """
        All filters are through: the connection gets its chain.
        """
        self._end()
        listener = self._listener if self._port is None else self._port.listener
        meant = self.info.localAddress
        other = None
        if self._mayHandOver and meant is not None and meant != self.info.directLocalAddress:
            other = listener.findFor(meant)
        try:
            if other is not None:
                other.receive(self._accepted, self.info, mayHandOver=False)
            else:
                listener.serve(self._accepted, self.info, self.facts)
        except Exception:
            self.log.failure("{listener}: a connection cannot be served", listener=listener.name)
            self._accepted.close(True)
        self._listener.checkEmpty()

    def timedOut(self) -> None:
        """
        The time is over.
        """
        self._listener.preCxTimeout.value += 1
        if self._settings.goesOn:
            self._finish()
        else:
            self._leave(False)

    def close(self, details: str = "") -> None:
        """
        See L{IIncomingConnection.close}.
        """
        self.info.terminationDetails = details
        self._leave(False)

    def abort(self) -> None:
        """
        Close with a reset.
        """
        self._leave(True)

    def _leave(self, withReset: bool) -> None:
        if self._isOver:
            return
        self._end()
        self._accepted.close(withReset)
        self.info.requestedServerName = self.facts.serverName
        self._listener.logUnserved(self.info)
        self._listener.checkEmpty()
