# -*- test-case-name: tests.listener.test_listeners -*-
"""
All listeners, and how a new set of them takes the place of the old one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from twisted.logger import Logger

from meshproxy.config import Section
from meshproxy.config.cidr import packAddress
from meshproxy.http.context import ProxyContext
from meshproxy.listener.filterchain import FilterChain
from meshproxy.listener.listener import Listener
from meshproxy.listener.port import BoundPort, addressMessages
from meshproxy.net.address import Address

__all__ = ["Listeners"]


def _none(section: Section) -> Listener | None:
    """
    Each is made anew.
    """
    return None


class Listeners:
    """
    The listeners of a proxy.

    @ivar byName: Those that accept.
    @ivar draining: Those that were removed and still have connections.
    @ivar former: Former versions of those that accept, which still have connections.
    @ivar closing: Whether responses tell their connections to close (C{/healthcheck/fail}).
    """

    log = Logger()

    def __init__(self, proxy: ProxyContext, drainTime: float = 10.0) -> None:
        """
        @param drainTime: Seconds that connections of what is gone may be idle before they are closed.
        """
        self._drainTime = drainTime
        self.byName: dict[str, Listener] = {}
        self._byAddress: dict[tuple[bytes, int | None], Listener] = {}
        self.draining: list[Listener] = []
        self.former: list[Listener] = []
        self.closing = False
        self._isIll = False
        self._proxy = proxy
        scope = proxy.store.scope("listener_manager.")
        self._added = scope.counter("listener_added")
        self._modified = scope.counter("listener_modified")
        self._removed = scope.counter("listener_removed")
        self._stopped = scope.counter("listener_stopped")
        self._createSuccess = scope.counter("listener_create_success")
        self._createFailure = scope.counter("listener_create_failure")
        self._inPlaceUpdated = scope.counter("listener_in_place_updated")
        self._active = scope.gauge("total_listeners_active")
        self._warming = scope.gauge("total_listeners_warming")
        self._drainingGauge = scope.gauge("total_listeners_draining")
        self._chainsDraining = scope.gauge("total_filter_chains_draining")
        scope.gauge("workers_started").value = 1

    def __iter__(self) -> Iterator[Listener]:
        return iter(self.byName.values())

    def compile(
        self, sections: Sequence[Section], kept: Callable[[Section], Listener | None] = _none
    ) -> list[Listener]:
        """
        Make listeners of C{Listener} messages; nothing is bound. Faults go to the sections' report.

        @param kept: The listener that is of a message already, or L{None} to make one.
        """
        listeners: list[Listener] = []
        names: set[str] = set()
        addresses: dict[Address, str] = {}
        for section in sections:
            with section.report.despite():
                listener = kept(section) or self._make(section)
                listeners.append(listener)
                if listener.name in names:
                    section.refuse(f"there are two listeners of the name {listener.name!r}", "name")
                names.add(listener.name)
                for address, _ in listener.addresses:
                    other = addresses.setdefault(address, listener.name)
                    if other != listener.name and address.port != 0:
                        section.refuse(f"the listener {other!r} has the address {address.text} already", "address")
        return listeners

    def _make(self, section: Section) -> Listener:
        awaited = self._proxy.awaited
        awaited.clear()
        listener = Listener(section, self._proxy)
        listener.countAll = lambda: self.connections
        listener.findFor = self.findFor
        listener.waitsFor = dict(awaited)
        return listener

    def replace(self, listeners: Sequence[Listener]) -> None:
        """
        Accept by these from now on; one that accepts already goes on as it is. Ports that both have go over; chains
        that both have keep their connections; the rest drains.

        @raise twisted.internet.error.CannotListenError: If an address cannot be bound; then nothing changed.
        """
        old = self.byName
        new = {listener.name: listener for listener in listeners}
        ports = self._bind(old, new)
        for name, listener in new.items():
            before = old.get(name)
            if before is listener:
                continue
            if before is None:
                self._added.value += 1
            else:
                if before.fingerprint != listener.fingerprint:
                    self._modified.value += 1
                else:
                    listener.updated = before.updated
                self._succeed(before, listener)
            listener.takePorts(ports[name])
        handedOver = {port for listener in new.values() for port in listener.ports}
        for name, before in old.items():
            if new.get(name) is before:
                continue
            before.ports = [port for port in before.ports if port not in handedOver]
            before.stopAccepting()
            if name not in new:
                self._removed.value += 1
                before.giveWay(self._drainTime)
                self._endLater(before.chains)
            self._leave(before, self.former if name in new else self.draining)
        self.byName = new
        self._byAddress = _byAddress(new.values())
        if self.closing:
            self.closeGently(True, isIll=self._isIll)
        self._active.value = len(new)

    def findFor(self, address: Address) -> Listener | None:
        """
        The listener that has an address, or else its port of every address.
        """
        packed = packAddress(address.host)
        if packed is None:
            return None
        for host in (packed, bytes(len(packed))):
            found = self._byAddress.get((host, address.port))
            if found is not None and not found.isStopped:
                return found
        return None

    def _leave(self, listener: Listener, leaving: list[Listener]) -> None:
        """
        Keep a listener that accepts no more for as long as it has connections.
        """

        def emptied() -> None:
            leaving.remove(listener)
            self._countDraining()
            listener.stop()

        leaving.append(listener)
        self._countDraining()
        listener.whenEmpty = emptied
        listener.checkEmpty()

    def _countDraining(self) -> None:
        self._drainingGauge.value = len(self.draining)
        self._chainsDraining.value = sum(listener.drainingChains for listener in self.former)

    def _bind(self, old: dict[str, Listener], new: dict[str, Listener]) -> dict[str, list[BoundPort]]:
        """
        Find a port for each address: one that stands open already, whoever had it, or else a new one.

        @return: The ports of each new listener. Nothing is changed yet.
        """
        spare = {(name, port.wanted): port for name, listener in old.items() for port in listener.ports}
        found: dict[tuple[str, tuple[Address, int]], BoundPort] = {}
        wanted = [
            (name, each)
            for name, listener in new.items()
            if listener.bindsToPort and not (name in old and old[name].isStopped)  # one that was told to stop stays so
            for each in listener.addresses
        ]
        for key in wanted:
            if key in spare:
                found[key] = spare.pop(key)
        byAddress = {each: port for (_, each), port in spare.items() if each[0].port != 0}
        opened: list[BoundPort] = []
        try:
            for name, each in wanted:
                port = found.get((name, each)) or byAddress.pop(each, None)
                if port is None:
                    port = BoundPort(new[name], each)
                    opened.append(port)
                    self._createSuccess.value += 1
                found[name, each] = port
            for name, listener in new.items():
                self._createSuccess.value += not listener.bindsToPort and name not in old
        except Exception:
            self._createFailure.value += 1
            for port in opened:
                port.stopListening()
            raise
        for port in opened:
            # Said of each port once: where it was asked for any port, nothing else tells which it became.
            self.log.info(
                "the listener {name!r} listens on {address}", name=port.listener.name, address=port.address.text
            )
        return {
            name: [found[name, each] for each in listener.addresses if (name, each) in found]
            for name, listener in new.items()
        }

    def _succeed(self, before: Listener, listener: Listener) -> None:
        """
        One listener takes the place of its former version.
        """
        listener.isStopped = before.isStopped
        before.isReplaced = True
        self._inPlaceUpdated.value += (
            before.addresses == listener.addresses and before.fingerprint != listener.fingerprint
        )
        chains = {chain.key: chain for chain in listener.chains}
        kept = set()
        for chain in before.chains:
            successor = chains.get(chain.key)
            if successor is not None and _same(chain, successor):
                assert successor.terminal is not None and chain.terminal is not None
                successor.terminal.succeed(chain.terminal)
                chain.successor = successor
                kept.add(chain.key)
        before.drainingChains = sum(chain.key not in kept for chain in before.chains)
        before.giveWay(self._drainTime, lambda chain: chain.key in kept)
        self._endLater([chain for chain in before.chains if chain.key not in kept])

    def _endLater(self, gone: Sequence[FilterChain]) -> None:
        """
        Close what is left of the connections of chains, also of those that they succeeded, when the time to drain is
        over.
        """
        if gone:
            self._proxy.clock.callLater(self._drainTime, self._end, gone)

    def _end(self, gone: Sequence[FilterChain]) -> None:
        for listener in (*self.former, *self.draining):
            for connection in [each for each in listener.connections if each.chain.latest in gone]:
                connection.leave()

    def drain(self) -> None:
        """
        Let all connections end.
        """
        for listener in self._all():
            listener.drain()

    def closeGently(self, closing: bool, inboundOnly: bool = False, isIll: bool = False) -> None:
        """
        Let each response tell its connection to close, or no longer; idle connections stay, and so do the ports.

        @param isIll: Whether it is because the health check was failed by hand, which some listeners do not heed.
        """
        if not inboundOnly:
            self.closing, self._isIll = closing, isIll
        for listener in self.byName.values():
            if (listener.isInbound or not inboundOnly) and (listener.drainsIfIll or not isIll):
                listener.closeGently(closing)

    def stopAccepting(self, inboundOnly: bool = False) -> None:
        """
        Unbind all, or those for inbound traffic.
        """
        for listener in self.byName.values():
            if inboundOnly and not listener.isInbound:
                continue
            self._stopped.value += bool(listener.ports)
            listener.stopAccepting()

    @property
    def connections(self) -> int:
        """
        How many connections are open.
        """
        return sum(len(listener.connections) + len(listener.inspecting) for listener in self._all())

    def _all(self) -> tuple[Listener, ...]:
        return (*self.byName.values(), *self.former, *self.draining)

    def abort(self) -> None:
        """
        Close all connections at once.
        """
        for listener in self._all():
            listener.abort()

    def stop(self) -> None:
        """
        Give up what is held.
        """
        for listener in self._all():
            listener.whenEmpty = None
            listener.stop()


def _byAddress(listeners: Iterable[Listener]) -> dict[tuple[bytes, int | None], Listener]:
    """
    Who has which address, bound or not.
    """
    found: dict[tuple[bytes, int | None], Listener] = {}
    both: dict[tuple[bytes, int | None], Listener] = {}
    for listener in listeners:
        for address in listener.ownAddresses:
            packed = packAddress(address.host)
            if packed is not None:
                found[packed, address.port] = listener
    for listener in found.values():
        for message in addressMessages(listener.section):
            sock = message.childOrEmpty("socket_address")
            if sock.get("ipv4_compat") and packAddress(sock.get("address")) == bytes(16):
                both.setdefault((bytes(4), sock.get("port_value")), listener)
    return {**both, **found}


def _same(chain: FilterChain, successor: FilterChain) -> bool:
    """
    Whether connections of a chain may live on under its successor: the same kind of terminal filter.
    """
    return (
        chain.terminal is not None
        and successor.terminal is not None
        and type(chain.terminal).__qualname__ == type(successor.terminal).__qualname__
    )
