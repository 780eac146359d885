# -*- test-case-name: tests.listener.test_listener -*-
"""
A listener: a bound address (or several) and the filter chains that its connections get.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from meshproxy.accesslog.logs import AccessLogs, compileAccessLogs
from meshproxy.accesslog.streaminfo import ConnectionInfo, StreamInfo
from meshproxy.config import Section
from meshproxy.flags import Details, ResponseFlag
from meshproxy.http.context import AwaitedKey, ProxyContext
from meshproxy.interfaces import IAcceptedSocket
from meshproxy.listener.connection import DownstreamConnection
from meshproxy.listener.filterchain import FilterChain
from meshproxy.listener.inspection import Inspection, compileInspection
from meshproxy.listener.matching import ChainMatch, ConnectionFacts, MatchRule, compileMatch
from meshproxy.listener.port import BoundPort, addressesOf
from meshproxy.listener.record import ConnectionRecord
from meshproxy.listener.treematching import TreeMatch, compileTreeMatch
from meshproxy.net.address import Address
from meshproxy.net.filter import NetworkFilterContext
from meshproxy.net.listenerfilter import ListenerFilterContext
from meshproxy.stats import Scope, statName
from meshproxy.upstream.plain import metadataOf

__all__ = ["Listener"]

# Envoy's runtime key; where it is not set nothing is counted.
_GLOBAL_LIMIT = "overload.global_downstream_max_connections"
_UNLIMITED = 1 << 62
# In the order of their numbers.
_DIRECTIONS = ("UNSPECIFIED", "INBOUND", "OUTBOUND")


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
    @ivar direction: The number of its C{traffic_direction}.
    @ivar bindsToPort: Whether its addresses are bound; else it gets what other listeners hand over.
    @ivar handsOver: Whether a connection goes to the listener of the address that it was meant for, if there is one
        (C{use_original_dst}).
    @ivar findFor: Finds that listener.
    @ivar waitsFor: What has to come before it can serve, and for how many seconds.
    """

    waitsFor: Mapping[AwaitedKey, float] = MappingProxyType({})
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
        addresses = addressesOf(section)
        self.addresses = [address for address, _ in addresses]
        self.optionsOf = dict(addresses)
        first = self.addresses[0][0].text if self.addresses else ""
        self.name: str = section.get("name") or first
        # Whether something that is configured here shows it.
        self._measuresRoundTrips = b"_CX_RTT" in self.fingerprint
        self.metadata = metadataOf(section.childOrEmpty("metadata"))
        self.statPrefix = statName(section.get("stat_prefix") or first)
        self.scope: Scope = proxy.store.scope(f"listener.{self.statPrefix}.")
        self.bufferLimit: int = section.wrapped("per_connection_buffer_limit_bytes", 1 << 20) or 1 << 20
        self.drainsIfIll: bool = section.get("drain_type") == "DEFAULT"
        self.countAll: Callable[[], int] = lambda: 0
        self._limitKey = f"envoy.resource_limits.listener.{self.name}.connection_limit"
        self._heedsGlobalLimit: bool = not section.get("ignore_global_conn_limit")
        self.isInbound: bool = section.get("traffic_direction") == "INBOUND"
        self.direction = _DIRECTIONS.index(section.get("traffic_direction"))
        older = section.childOrEmpty("deprecated_v1")
        self.bindsToPort: bool = all(each.wrapped("bind_to_port", True) for each in (section, older))
        self.handsOver: bool = section.wrapped("use_original_dst", False)
        self.findFor: Callable[[Address], Listener | None] = lambda address: None
        self.proxy = proxy
        self.updated = proxy.clock.seconds()
        self.ports: list[BoundPort] = []
        self.isStopped = False
        self.isReplaced = False
        self.drainingChains = 0
        self.whenEmpty: Callable[[], object] | None = None
        # When the time to drain is over, once it has begun.
        self._end: IDelayedCall | None = None
        self.connections: set[DownstreamConnection] = set()
        self.inspecting: set[Inspection] = set()
        self._bindStats()
        self.accessLogs: AccessLogs = compileAccessLogs(section.children("access_log"), proxy.logs)
        self.inspection = compileInspection(section, self._inspectionContext())
        context = self._context()
        self.chains = [FilterChain(child, context) for child in section.children("filter_chains")]
        default = section.child("default_filter_chain")
        self._default = None if default is None else FilterChain(default, context, isDefault=True)
        if not self.chains and self._default is None:
            section.refuse("a listener needs a filter chain", "filter_chains")
        if self.inspection is None and not section.has("filter_chain_matcher"):
            self._warnOfBlindness()
        matcher = section.child("filter_chain_matcher")
        self._match: ChainMatch[FilterChain] | TreeMatch
        if matcher is None:
            rules = [(chain.rule, chain) for chain in self.chains]
            self._match = compileMatch(rules, self._default, self._refuseTwins)
        else:
            self._match = compileTreeMatch(matcher, self.chains, self._default)
        if self._default is not None:
            self.chains.append(self._default)
        only = self.chains[0] if len(self.chains) == 1 and matcher is None else None
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

    @property
    def ownAddresses(self) -> list[Address]:
        """
        Where it listens, or stands for what is handed over to it.
        """
        if self.bindsToPort:
            return [port.address for port in self.ports]
        return [] if self.isStopped else [address for address, _ in self.addresses]

    def listen(self) -> None:
        """
        Bind the addresses and accept.

        @raise twisted.internet.error.CannotListenError: If one cannot be bound; then none is.
        """
        ports: list[BoundPort] = []
        try:
            for wanted in self.addresses if self.bindsToPort else ():
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

    def receive(
        self, sock: IAcceptedSocket, info: ConnectionInfo, port: BoundPort | None = None, mayHandOver: bool = True
    ) -> None:
        """
        A connection came in, or another listener hands it over.

        @param port: Where it came in; another version of this listener may be there when its filters are through.
        @param mayHandOver: Whether it may go on to yet another listener.
        """
        info.listenerName = self.name
        if self._measuresRoundTrips:
            # As in Envoy, what was measured last is known when the connection is gone.
            sock.roundTripTime()
        info.listenerMetadata = self.metadata or None
        if self.direction:
            info.listenerDirection = self.direction
        if self.inspection is None:
            self.serve(sock, info)
        else:
            Inspection(self, sock, info, port, mayHandOver and self.handsOver).begin()

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
        if chain.metadata is not None:
            info.filterChainMetadata = chain.metadata
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

    def giveWay(self, seconds: float, keep: Callable[[FilterChain], bool] = lambda chain: False) -> None:
        """
        Let connections end, for the listener, or a chain of it, is not there any more. As in Envoy each ends with its
        next response: one that is idle may have a request on its way, and is closed only when the time to drain is
        over.

        @param seconds: That time.
        @param keep: Says which chains live on.
        """
        leaving = [chain.terminal for chain in self.chains if chain.terminal is not None and not keep(chain)]
        for terminal in leaving:
            terminal.closeGently(True)
        if leaving or not self.isReplaced:
            self._end = self.proxy.clock.callLater(seconds, self._giveWayNow, keep)

    def _giveWayNow(self, keep: Callable[[FilterChain], bool]) -> None:
        self._end = None
        self.drain(keep)

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
        if self._end is not None:
            self._end.cancel()
            self._end = None
        self.accessLogs.close()
        if self.inspection is not None:
            self.inspection.stop()
        for chain in self.chains:
            chain.stop()
        self.scope.close()
