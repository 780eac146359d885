# -*- test-case-name: tests.listener.test_listener -*-
"""
A listener: a bound address (or several) and the filter chains that its connections get.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from zope.interface import implementer

from meshproxy.accesslog.logs import AccessLogs, compileAccessLogs
from meshproxy.accesslog.streaminfo import ConnectionInfo, StreamInfo
from meshproxy.config import Section
from meshproxy.config.cidr import packAddress
from meshproxy.flags import Details, ResponseFlag
from meshproxy.http.context import ProxyContext, RouteKey
from meshproxy.http.downstream import HTTP1Connection
from meshproxy.http.http2 import HTTP2Connection
from meshproxy.interfaces import IAcceptedSocket, IListening
from meshproxy.listener.gate import Gate
from meshproxy.listener.inspection import Inspection, compileInspection
from meshproxy.listener.matching import ChainMatch, ConnectionFacts, MatchRule, compileMatch, compileRule
from meshproxy.listener.record import ConnectionRecord
from meshproxy.listener.transports import compileTransport
from meshproxy.net.address import Address
from meshproxy.net.filter import NetworkFilter, NetworkFilterContext, PassingFilter
from meshproxy.net.listenerfilter import ListenerFilterContext
from meshproxy.net.listenoptions import ListenOptions, compileListenOptions
from meshproxy.net.tls import TLSTransport
from meshproxy.stats import Scope, statName
from meshproxy.upstream.plain import metadataOf
from meshproxy.upstream.tcpsession import TCPSide

__all__ = ["BoundPort", "DownstreamConnection", "FilterChain", "Listener", "addressOf"]

# Envoy's runtime key; where it is not set nothing is counted.
_GLOBAL_LIMIT = "overload.global_downstream_max_connections"
_UNLIMITED = 1 << 62

_connectionIds = count(1)


class FilterChain:
    """
    A filter chain of a listener.

    @ivar name: Its name; may be empty.
    @ivar key: What makes it the same chain after a reload: its name, or what it matches where it has none.
    @ivar fingerprint: The bytes of its configuration.
    @ivar transport: Makes the transports of its connections.
    @ivar filters: The filters before the terminal one.
    @ivar terminal: The filter that builds its connections' protocols.
    """

    def __init__(self, section: Section, context: NetworkFilterContext, isDefault: bool = False) -> None:
        self.name: str = section.get("name")
        self.section = section
        self.rule: MatchRule = compileRule(section.child("filter_chain_match"))
        self.key: object = self.name or ("default" if isDefault else self.rule)
        self.fingerprint: bytes = section.message.SerializeToString(deterministic=True)
        self.filters: list[PassingFilter] = []
        self.terminal: NetworkFilter | None = None
        self.transport = compileTransport(section, context.proxy.secrets, context.listenerScope)
        filters = section.children("filters")
        if not filters:
            section.refuse("a filter chain needs a network filter, such as envoy.filters.network.tcp_proxy", "filters")
        for number, item in enumerate(filters):
            self._compile(item, context, number == len(filters) - 1)

    def _compile(self, item: Section, context: NetworkFilterContext, isLast: bool) -> None:
        found = context.proxy.registry.find("network", item)
        if found is None:
            return
        if issubclass(found.filterClass, PassingFilter):
            self.filters.append(found.filterClass(found.config, context))
            if isLast:
                item.refuse(
                    f"{item.get('name')!r} is not a terminal filter, and the last one must be, such as "
                    "envoy.filters.network.tcp_proxy"
                )
        elif not issubclass(found.filterClass, NetworkFilter):
            item.refuse(f"{found.filterClass.__qualname__} is no NetworkFilter")
        elif not isLast:
            item.refuse(f"{item.get('name')!r} is a terminal filter and must be the last one")
        else:
            self.terminal = found.filterClass(found.config, context)

    def stop(self) -> None:
        """
        Give up what the filters hold.
        """
        for each in self.filters:
            each.stop()
        if self.terminal is not None:
            self.terminal.stop()
        self.transport.stop()


def addressOf(section: Section) -> tuple[Address, int] | None:
    """
    Where a C{core.v3.Address} message says to listen.

    @return: The address, and the permissions of a unix socket (0 for the umask's); L{None} where it is none, which
        is told.
    """
    pipe = section.child("pipe")
    if pipe is not None:
        return Address(pipe.get("path")), pipe.get("mode")
    sock = section.child("socket_address")
    if sock is None:
        section.refuse("a listener needs a socket_address or a pipe")
        return None
    if sock.get("protocol") != "TCP":
        sock.refuse("only TCP is listened on", "protocol")
    address = Address(sock.get("address"), sock.get("port_value"))
    if packAddress(address.host) is None:
        sock.refuse(
            f"{sock.get('address')!r} is not an IP address; a listener is bound to one, such as 0.0.0.0", "address"
        )
        return None
    return address, 0


@implementer(IListening)
class BoundPort:
    """
    A bound address, and who gets its connections.

    @ivar listener: A reload puts another one here.
    @ivar options: The socket options that it was opened with.
    @ivar wanted: The address as it was configured, where the port may be 0, and the permissions of a unix socket.
    """

    __slots__ = ("_listening", "listener", "options", "wanted")

    def __init__(self, listener: Listener, wanted: tuple[Address, int]) -> None:
        """
        @raise twisted.internet.error.CannotListenError: If it cannot be bound.
        """
        self.listener = listener
        self.wanted = wanted
        self.options = listener.optionsOf[wanted]
        address, mode = wanted
        backlog = listener.section.wrapped("tcp_backlog_size", 1024)
        self._listening = listener.proxy.network.accept(
            address, self.accepted, backlog, mode, self.options
        )

    @property
    def address(self) -> Address:
        """
        See L{IListening}.
        """
        address: Address = self._listening.address
        return address

    def stopListening(self) -> None:
        """
        See L{IListening.stopListening}.
        """
        self._listening.stopListening()

    def accepted(self, sock: IAcceptedSocket) -> None:
        """
        A connection came in.
        """
        listener = self.listener
        # A runtime without values, the usual one, limits nothing.
        if listener.proxy.runtime.values and listener.isFull():
            sock.close()
            return
        info = ConnectionInfo()
        info.id = next(_connectionIds)
        info.remoteAddress = info.directRemoteAddress = sock.peerAddress
        info.localAddress = info.directLocalAddress = sock.localAddress
        info.listenerName = listener.name
        if listener.metadata:
            info.listenerMetadata = listener.metadata
        if listener.inspection is None:
            listener.serve(sock, info)
        else:
            Inspection(self, listener, sock, info).begin()


class Listener:
    """
    One listener of one version of the configuration.

    @ivar name: Its name, or its address where it has none.
    @ivar addresses: Where it listens, with the permissions of unix sockets.
    @ivar optionsOf: The socket options of each.
    @ivar drainsIfIll: Whether its connections are to close with their next response when the health check is failed
        by hand (C{drain_type: DEFAULT}).
    @ivar countAll: How many connections there are at all listeners.
    @ivar chains: Its filter chains, the default one last.
    @ivar ports: The bound addresses, once L{listen} was called.
    @ivar connections: Those that are open and have a filter chain.
    @ivar accessLogs: Its own access logs, of connections.
    @ivar inspection: Its listener filters; L{None} if it has none, and then connections get their chain at once.
    @ivar inspecting: The connections that listener filters look at.
    @ivar isStopped: Whether L{stopAccepting} was called.
    @ivar isReplaced: Whether another version of it accepts now.
    @ivar drainingChains: How many of its chains drain, for their successors are others or gone.
    @ivar whenEmpty: Is called when the last of the connections is gone.
    @cvar thread: Which of Envoy's threads would run it, for the names of its stats.
    @ivar updated: When this version of it came, in the clock's seconds.
    @ivar addedViaAPI: Whether a control plane sent it.
    @ivar versionInfo: The version of the control plane's answer.
    @ivar isInbound: Whether its C{traffic_direction} is C{INBOUND}.
    @ivar waitsFor: The route configurations that have to come before it can serve.
    """

    waitsFor: frozenset[RouteKey] = frozenset()
    log = Logger()
    thread = "worker_0"
    addedViaAPI = False
    versionInfo = ""

    def __init__(self, section: Section, proxy: ProxyContext) -> None:
        """
        @param section: A C{Listener} message.
        """
        self.section = section
        self.fingerprint: bytes = section.message.SerializeToString(deterministic=True)
        addresses = _addresses(section)
        self.addresses = [address for address, _ in addresses]
        self.optionsOf = dict(addresses)
        first = self.addresses[0][0].text if self.addresses else ""
        self.name: str = section.get("name") or first
        self.metadata = metadataOf(section.childOrEmpty("metadata"))
        self.statPrefix = statName(section.get("stat_prefix") or first)
        self.scope: Scope = proxy.store.scope(f"listener.{self.statPrefix}.")
        self.bufferLimit: int = section.wrapped("per_connection_buffer_limit_bytes", 1 << 20) or 1 << 20
        self.drainsIfIll: bool = section.get("drain_type") == "DEFAULT"
        self.countAll: Callable[[], int] = lambda: 0
        self._limitKey = f"envoy.resource_limits.listener.{self.name}.connection_limit"
        self._heedsGlobalLimit: bool = not section.get("ignore_global_conn_limit")
        self.isInbound: bool = section.get("traffic_direction") == "INBOUND"
        self.proxy = proxy
        self.updated = proxy.clock.seconds()
        self.ports: list[BoundPort] = []
        self.isStopped = False
        self.isReplaced = False
        self.drainingChains = 0
        self.whenEmpty: Callable[[], object] | None = None
        self.connections: set[DownstreamConnection] = set()
        self.inspecting: set[Inspection] = set()
        self._bindStats()
        self.accessLogs: AccessLogs = compileAccessLogs(section.children("access_log"), proxy.logs)
        self.inspection = compileInspection(section, proxy.registry, self._inspectionContext())
        context = self._context()
        self.chains = [FilterChain(child, context) for child in section.children("filter_chains")]
        default = section.child("default_filter_chain")
        self._default = None if default is None else FilterChain(default, context, isDefault=True)
        if not self.chains and self._default is None:
            section.refuse("a listener needs a filter chain", "filter_chains")
        if self.inspection is None:
            self._warnOfBlindness()
        self._match: ChainMatch[FilterChain] = compileMatch(
            [(chain.rule, chain) for chain in self.chains], self._default, self._refuseTwins
        )
        if self._default is not None:
            self.chains.append(self._default)
        only = self.chains[0] if len(self.chains) == 1 else None
        # One chain that takes everything is the usual listener: nothing to find.
        self._only = only if only is not None and (only is self._default or only.rule == MatchRule()) else None

    def _context(self) -> NetworkFilterContext:
        proxy = self.proxy
        return NetworkFilterContext(
            self.scope,
            proxy.store,
            proxy.clock,
            proxy.random,
            proxy.network,
            proxy.runtime,
            self.bufferLimit,
            proxy,
        )

    def _inspectionContext(self) -> ListenerFilterContext:
        proxy = self.proxy
        return ListenerFilterContext(self.scope, proxy.store, proxy.clock, proxy.random, proxy.runtime, proxy)

    def _warnOfBlindness(self) -> None:
        for chain in self.chains:
            rule = chain.rule
            if rule.serverNames or rule.applicationProtocols or rule.transportProtocol not in ("", "raw_buffer"):
                chain.section.warn(
                    "matches nobody: without a listener filter, such as envoy.filters.listener.tls_inspector, neither "
                    "server name nor protocol of a connection are known when its chain is chosen",
                    "filter_chain_match",
                )

    def _refuseTwins(self, first: FilterChain, second: FilterChain) -> None:
        second.section.refuse(
            f"matches the same connections as the filter chain at {first.section.path}", "filter_chain_match"
        )

    def _bindStats(self) -> None:
        scope = self.scope
        self.cxTotal = scope.counter("downstream_cx_total")
        self.cxActive = scope.gauge("downstream_cx_active")
        self.cxDestroy = scope.counter("downstream_cx_destroy")
        self.cxLengthMs = scope.histogram("downstream_cx_length_ms", unit="ms")
        self.cxOverflow = scope.counter("downstream_cx_overflow")
        self.cxGlobalOverflow = scope.counter("downstream_global_cx_overflow")
        self.cxOverloadReject = scope.counter("downstream_cx_overload_reject")
        self.cxTransportTimeout = scope.counter("downstream_cx_transport_socket_connect_timeout")
        self.filterError = scope.counter("downstream_listener_filter_error")
        self.filterRemoteClose = scope.counter("downstream_listener_filter_remote_close")
        self.preCxTimeout = scope.counter("downstream_pre_cx_timeout")
        self.preCxActive = scope.gauge("downstream_pre_cx_active")
        self.noFilterChainMatch = scope.counter("no_filter_chain_match")
        worker = scope.scope(f"{self.thread}.")
        self.workerTotal = worker.counter("downstream_cx_total")
        self.workerActive = worker.gauge("downstream_cx_active")

    # Serving

    def listen(self) -> None:
        """
        Bind the addresses and accept.

        @raise twisted.internet.error.CannotListenError: If one cannot be bound; then none is.
        """
        ports: list[BoundPort] = []
        try:
            for wanted in self.addresses:
                ports.append(BoundPort(self, wanted))
        except Exception:
            for port in ports:
                port.stopListening()
            raise
        self.takePorts(ports)

    def takePorts(self, ports: Sequence[BoundPort]) -> None:
        """
        Accept on ports, which may have been another listener's until now: no connection is refused in between.
        """
        self.ports = list(ports)
        for port in ports:
            port.listener = self
            if port.options != self.optionsOf[port.wanted]:
                self.log.warn(
                    "{address}: socket options are those that it was opened with until the proxy is started anew",
                    address=port.address.text,
                )

    def isFull(self) -> bool:
        """
        Whether a connection is one too many, here or in all; it is then counted as such.
        """
        number = self.proxy.runtime.number
        if len(self.connections) + len(self.inspecting) >= number(self._limitKey, _UNLIMITED):
            self.cxOverflow.value += 1
            return True
        if self._heedsGlobalLimit:
            most = number(_GLOBAL_LIMIT, _UNLIMITED)
            if most != _UNLIMITED and self.countAll() >= most:
                self.cxGlobalOverflow.value += 1
                return True
        return False

    def serve(self, sock: IAcceptedSocket, info: ConnectionInfo, facts: ConnectionFacts | None = None) -> None:
        """
        Give a connection its filter chain.

        @param facts: What listener filters found out about it.
        """
        chain = self._only
        if chain is None:
            chain = self.chainOf(facts or ConnectionFacts(info))
        if facts is not None:
            info.requestedServerName = facts.serverName
        if chain is None or chain.terminal is None:
            self.logUnmatched(info)
            sock.close()
            return
        info.filterChainName = chain.name
        chain.transport.begin(sock, DownstreamConnection(self, chain, info), self.bufferLimit)

    def chainOf(self, facts: ConnectionFacts) -> FilterChain | None:
        """
        The filter chain of a connection.
        """
        return self._match.find(facts)

    def logUnmatched(self, info: ConnectionInfo) -> None:
        """
        A connection without a filter chain ends at once.
        """
        self.noFilterChainMatch.value += 1
        info.responseFlags |= ResponseFlag.NO_ROUTE_FOUND
        info.codeDetails = Details.FILTER_CHAIN_NOT_FOUND
        self.logUnserved(info)

    def logUnserved(self, info: ConnectionInfo) -> None:
        """
        A connection ended before it got a filter chain.
        """
        if self.accessLogs:
            record = ConnectionRecord(info, self.proxy.clock.seconds())
            self.logConnection(record)

    def logConnection(self, record: StreamInfo) -> None:
        """
        A connection that was served is gone.
        """
        if isinstance(record, ConnectionRecord):
            record.finish(self.proxy.clock.seconds())
        self.accessLogs.log(record, "NotSet")

    # Ending

    def stopAccepting(self) -> None:
        """
        Unbind.
        """
        self.isStopped = True
        for port in self.ports:
            port.stopListening()
        self.ports = []

    def drain(self, keep: Callable[[FilterChain], bool] = lambda chain: False) -> None:
        """
        Let connections end: idle ones now, the rest with what is under way.

        @param keep: Says for which chains not.
        """
        for chain in self.chains:
            if chain.terminal is not None and not keep(chain):
                chain.terminal.drain()
        for inspection in list(self.inspecting):
            if not self.isReplaced and inspection.isIdle:
                inspection.abort()

    def checkEmpty(self) -> None:
        """
        Tell whoever waits for it if the last connection is gone.
        """
        if self.whenEmpty is not None and not self.connections and not self.inspecting:
            self.whenEmpty()

    def closeGently(self, closing: bool) -> None:
        """
        Let each response tell its connection to close, or no longer; idle connections stay.
        """
        for chain in self.chains:
            if chain.terminal is not None:
                chain.terminal.closeGently(closing)

    def abort(self) -> None:
        """
        Close all connections at once.
        """
        for connection in list(self.connections):
            connection.abort()
        for inspection in list(self.inspecting):
            inspection.abort()

    def stop(self) -> None:
        """
        Give up what is held.
        """
        self.stopAccepting()
        self.accessLogs.close()
        if self.inspection is not None:
            self.inspection.stop()
        for chain in self.chains:
            chain.stop()
        self.scope.close()


def _addresses(section: Section) -> list[tuple[tuple[Address, int], ListenOptions]]:
    """
    Where a C{Listener} message says to listen, with the socket options of each address.
    """
    freebind: bool = section.wrapped("freebind", False)
    common = section.children("socket_options")
    wanted: list[tuple[Section, Sequence[Section]]] = []
    first = section.child("address")
    if first is None:
        section.refuse("a listener needs an address", "address")
    else:
        wanted.append((first, common))
    for additional in section.children("additional_addresses"):
        child = additional.child("address")
        own = additional.child("socket_options")
        if child is not None:
            wanted.append((child, common if own is None else own.children("socket_options")))
    found = [(addressOf(child), compileListenOptions(options, freebind)) for child, options in wanted]
    return [(address, options) for address, options in found if address is not None]


@implementer(IHalfCloseableProtocol)
class DownstreamConnection(Protocol):
    """
    A connection that has its filter chain: hands it over to the chain's own protocol, and counts it until it is gone.

    @ivar handshake: Its transport while that shakes hands.
    """

    handshake: TLSTransport | None = None
    _isBegun = False
    _gate: Gate | None = None
    _record: ConnectionRecord | None = None

    def __init__(self, listener: Listener, chain: FilterChain, info: ConnectionInfo) -> None:
        self._listener = listener
        self._chain = chain
        self.info = info
        self._inner: Any = None
        self._began = listener.proxy.clock.seconds()

    def begin(self) -> None:
        """
        Count the connection from now on.
        """
        self._isBegun = True
        listener = self._listener
        listener.connections.add(self)
        listener.cxTotal.value += 1
        listener.cxActive.value += 1
        listener.workerTotal.value += 1
        listener.workerActive.value += 1
        if listener.accessLogs:
            self._record = ConnectionRecord(self.info, self._began)

    def connectionMade(self) -> None:
        """
        Hand the connection over to its chain.
        """
        if not self._isBegun:
            self.begin()
        else:
            self._shaken()
        transport: Any = self.transport
        if self._chain.filters:
            made = [each.buildFilter(self.info) for each in self._chain.filters]
            gate = self._gate = Gate(self, [each for each in made if each is not None], self.info, transport)
            self.dataReceived = gate.dataReceived  # type: ignore[method-assign]
            gate.begin()
        else:
            self.makeInner()

    def _shaken(self) -> None:
        """
        The handshake is over.
        """
        transport: Any = self.transport
        self.handshake = None
        info, tls = self.info, transport.tls
        info.tls = tls
        info.peerNames = tls.peerNames

    def handshakeFailed(self, why: str, details: str = "") -> None:
        """
        There will be no transport; the socket is closed.

        @param why: The transport failure reason.
        @param details: The connection termination details.
        """
        self.handshake = None
        info = self.info
        info.transportFailureReason = why
        info.terminationDetails = details
        self.connectionLost()

    def makeInner(self) -> None:
        """
        Let the terminal filter take over.
        """
        terminal = self._chain.terminal
        assert terminal is not None
        transport: Any = self.transport
        inner = self._inner = terminal.buildProtocol(self.info)
        if self._record is not None and not isinstance(inner, TCPSide):
            self._record.countWrites(transport)
        if self._gate is None:
            # From here on bytes go to the chain's protocol without passing this one.
            self.dataReceived = self._receiver(inner)  # type: ignore[method-assign]
        inner.makeConnection(transport)

    def _receiver(self, inner: Any) -> Any:
        """
        Where bytes go, once no filter wants to see them.
        """
        if self._record is None or isinstance(inner, TCPSide):
            return inner.dataReceived
        return self._record.countReads(inner.dataReceived)

    def replaceInner(self, inner: Any) -> None:
        """
        Another protocol takes the connection over, or the same in another way.
        """
        self._inner = inner
        if self._gate is None or self._gate.isOpen:
            self.dataReceived = self._receiver(inner)  # type: ignore[method-assign]

    def passOn(self, data: bytes) -> None:
        """
        See L{meshproxy.listener.gate.IGated.passOn}.
        """
        self._receiver(self._inner)(data)

    def gateOpened(self) -> None:
        """
        See L{meshproxy.listener.gate.IGated.gateOpened}.
        """
        inner = self._inner
        self.dataReceived = self._receiver(inner)  # type: ignore[method-assign]
        if isinstance(inner, TCPSide):
            inner.gateOpened()

    def readConnectionLost(self) -> None:
        """
        The peer finished writing.
        """
        if self._gate is None or not self._gate.readEnded():
            self.finishReading()

    def finishReading(self) -> None:
        """
        Tell the chain's protocol; one that knows nothing of half-closed connections loses its connection.
        """
        inner = IHalfCloseableProtocol(self._inner, None)
        if inner is not None:
            inner.readConnectionLost()
        elif isinstance(self._inner, (HTTP1Connection, HTTP2Connection)):
            self._inner.peerFinished()
        elif self.transport is not None:
            transport: Any = self.transport
            transport.unregisterProducer()
            transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """
        This side finished writing.
        """
        inner = IHalfCloseableProtocol(self._inner, None)
        if inner is not None:
            inner.writeConnectionLost()

    def connectionLost(self, reason: Any = None) -> None:
        """
        The connection is gone.
        """
        listener = self._listener
        connections = listener.connections
        connections.discard(self)
        listener.cxActive.value -= 1
        listener.workerActive.value -= 1
        listener.cxDestroy.value += 1
        listener.cxLengthMs.record(int((listener.proxy.clock.seconds() - self._began) * 1000))
        gate, inner = self._gate, self._inner
        self._gate = self._inner = None
        if gate is not None:
            gate.connectionLost(reason)
            if isinstance(inner, TCPSide):
                inner.record.countWithheld(gate.withheld)
        if self._record is not None:
            if isinstance(inner, TCPSide):
                inner.record.update()
            listener.logConnection(inner.record if isinstance(inner, TCPSide) else self._record)
        if inner is not None:
            inner.connectionLost(reason)
        elif gate is not None and self._chain.terminal is not None:
            self._chain.terminal.turnedAway(self.info)
        if listener.whenEmpty is not None and not connections:
            listener.checkEmpty()

    def abort(self) -> None:
        """
        Close at once.
        """
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()
        elif self.handshake is not None:
            self.handshake.cancel()
            self.handshakeFailed("")
