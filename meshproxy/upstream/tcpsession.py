# -*- test-case-name: tests.upstream.test_tcpsession -*-
"""
One downstream connection of tcp_proxy, and its way upstream.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionAborted, ConnectionLost
from twisted.internet.interfaces import IDelayedCall

from meshproxy.accesslog.streaminfo import ConnectionInfo, StreamInfo
from meshproxy.flags import ResponseFlag
from meshproxy.net.proxyheader import toldOf
from meshproxy.net.relay import IRelay, NoticedRelay, RelayCounters, makeRelay
from meshproxy.upstream.ondemand import Found
from meshproxy.upstream.tcpchoice import TCPChoice
from meshproxy.upstream.tcpconnection import TCPUpstreamConnection
from meshproxy.upstream.tcpside import TCPSide
from meshproxy.upstream.transports import NO_WISH
from meshproxy.upstream.tunneling import DISABLE_TUNNELING, TunnelledConnection

if TYPE_CHECKING:
    from meshproxy.upstream.cluster import Cluster
    from meshproxy.upstream.endpoint import Endpoint
    from meshproxy.upstream.stats import ClusterStats
    from meshproxy.upstream.tcp import OnDemand, TCPProxy, TCPRoute

__all__ = ["PER_CONNECTION_CLUSTER", "TCPSession"]

#: The key of the filter state by which a network filter names the cluster of a connection.
PER_CONNECTION_CLUSTER = "envoy.tcp_proxy.cluster"

# Envoy's words, its spelling included, for %DOWNSTREAM_LOCAL_CLOSE_REASON%; the number is that of its enum
# UpstreamFailureReason.
_CONNECT_FAILED = "tcp_initializion_failure:0"
_NO_HEALTHY_UPSTREAM = "tcp_initializion_failure:1"
_LIMIT_EXCEEDED = "tcp_initializion_failure:2"
_NO_ROUTE = "tcp_initializion_failure:3"
_DRAIN_CLOSE = "tcp_proxy_drain_close"


class TCPSession(StreamInfo):
    """
    The way of one connection: choosing an endpoint, connecting, relaying, ending. It is also the record that its access
    logs are written from.

    @ivar downstream: The protocol of the downstream connection.
    @ivar upstream: The protocol of the upstream connection.
    """

    _connection: TCPUpstreamConnection | TunnelledConnection | None = None
    _cluster: Cluster | None = None
    _retry: IDelayedCall | None = None
    _search: Deferred[Any] | None = None
    _flushing = False
    _waits = False
    _withheld = 0
    durationCall: IDelayedCall | None = None

    def __init__(self, proxy: TCPProxy, info: ConnectionInfo) -> None:
        self._proxy = proxy
        self.connection = info
        self.downstream = TCPSide(self)
        self.upstream = TCPSide(self)
        self.downstream.other = self.upstream
        self.upstream.other = self.downstream

    # Connecting

    def sideConnected(self, side: TCPSide) -> None:
        """
        A side is there. Of the downstream nothing is read before the upstream is there too.
        """
        if side is self.downstream:
            self.startTime = self.startMonotonic = self._proxy.clock.seconds()
            self._waits = self._proxy.settings.earlyData > 0
            if not self._waits:
                side.transport.pauseProducing()  # type: ignore[union-attr]  # set before
            self._proxy.sessionBegan(self)
            if not self._waits:
                self._connect()

    def earlyCame(self, side: TCPSide) -> None:
        """
        Bytes came before the upstream was there.
        """
        proxy = self._proxy
        if len(side.early) >= proxy.settings.earlyData:
            side.transport.pauseProducing()  # type: ignore[union-attr]  # set before
        if self._waits:
            self._waits = False
            proxy.stats.earlyData.value += 1
            self._connect()

    def _connect(self, chosen: TCPRoute | None = None) -> None:
        """
        Make an attempt, the first or another one; each chooses its cluster and its endpoint anew.

        @param chosen: The way whose cluster was asked for.
        """
        self._retry = None
        proxy = self._proxy
        state = self.connection.filterState
        named = state.get(PER_CONNECTION_CLUSTER) if state else None
        route = proxy.settings.chooseRoute() if chosen is None else chosen
        name = named if isinstance(named, str) else route.cluster
        cluster = self._cluster = proxy.clusters.get(name)
        if cluster is None:
            if proxy.settings.onDemand is None:
                self._failWithoutCluster()
            else:
                self._ask(proxy.settings.onDemand, name, route)
            return
        stats = cluster.stats
        self.upstreamCluster = cluster.statName
        self.upstreamClusterRaw = cluster.name
        breaker = cluster.breaker("DEFAULT")
        if breaker.connections.exhausted:
            # A connection of TCP is never given to another, so to wait for one is in vain.
            stats.cxOverflow.value += 1
            self._fail(ResponseFlag.UPSTREAM_OVERFLOW, _LIMIT_EXCEEDED)
            return
        if self.upstreamAttempts >= proxy.settings.maxConnectAttempts:
            stats.cxConnectAttemptsExceeded.value += 1
            self._fail(ResponseFlag.CONNECT_ATTEMPTS_EXCEEDED, _CONNECT_FAILED)
            return
        endpoint = self._chooseEndpoint(cluster, route.labels)
        if endpoint is None:
            stats.cxNoneHealthy.value += 1
            self._fail(ResponseFlag.NO_HEALTHY_UPSTREAM, _NO_HEALTHY_UPSTREAM)
            return
        self.upstreamAttempts += 1
        if breaker.pending.exhausted and proxy.settings.tunnel is None:
            stats.rqPendingOverflow.value += 1
            self._tryAgain()
            return
        wish = NO_WISH
        if cluster.transports.tellsClient:
            settings = proxy.settings
            tlvs = () if settings.tlvs is None else settings.tlvs(self)
            wish = wish._replace(told=toldOf(self.connection, tlvs, settings.tlvPolicy))
        if self.connection.upstreamSource is not None:
            wish = wish._replace(source=self.connection.upstreamSource)
        tunnel = proxy.settings.tunnel
        if tunnel is None or (state and state.get(DISABLE_TUNNELING) == "true"):
            self.upstreamHost = endpoint
            self._connection = TCPUpstreamConnection(cluster, endpoint, self, self.upstream, wish)
        else:
            # As in Envoy, it has an endpoint when it has a connection, or has failed to get one.
            self.upstreamHost = None
            self._connection = TunnelledConnection(tunnel, cluster, endpoint, self, self.upstream, wish)
        self._connection.connect()

    def _failWithoutCluster(self) -> None:
        self._proxy.stats.cxNoRoute.value += 1
        self._fail(ResponseFlag.NO_CLUSTER_FOUND, _NO_ROUTE)

    def _ask(self, onDemand: OnDemand, name: str, route: TCPRoute) -> None:
        """
        The cluster is not there: ask for it, and go on when it is.
        """
        stats = onDemand.stats
        stats.attempt.value += 1

        def cbFound(found: Found) -> None:
            self._search = None
            stats.found[found].value += 1
            if found is Found.AVAILABLE:
                self._connect(route)
            else:
                self._failWithoutCluster()

        self._search = onDemand.ask(name)
        self._search.addCallbacks(cbFound, lambda failure: failure.trap(CancelledError))

    def _chooseEndpoint(self, cluster: Cluster, labels: Mapping[str, object]) -> Endpoint | None:
        policy = self._proxy.settings.hashPolicy
        if policy is None and not cluster.hasSubsets:
            return cluster.chooseEndpoint()
        noted = (self.connection.dynamicMetadata or {}).get("envoy.lb")
        key = None if policy is None else policy(self.connection)
        labels = {**labels, **noted} if noted else labels
        return cluster.chooseEndpointFor(TCPChoice(key, labels, self.connection))

    def upstreamFailed(self, why: str) -> None:
        """
        See L{meshproxy.upstream.tcpconnection.IConnectionOwner.upstreamFailed}.
        """
        self._connection = None
        self.responseFlags |= ResponseFlag.UPSTREAM_CONNECTION_FAILURE
        self.upstreamTransportFailureReason = why
        self._tryAgain()

    def upstreamRefused(self) -> None:
        """
        See L{meshproxy.upstream.tunneling.ITunnelOwner.upstreamRefused}.
        """
        self._connection = None
        self._tryAgain()

    def _tryAgain(self) -> None:
        proxy = self._proxy
        backoff = proxy.settings.backoff
        if backoff is None or self.upstreamAttempts >= proxy.settings.maxConnectAttempts:
            self._connect()
        else:
            delay = backoff.delay(self.upstreamAttempts - 1, proxy.random)
            self._retry = proxy.clock.callLater(delay, self._connect)

    def _fail(self, flag: int, reason: str) -> None:
        self.responseFlags |= flag
        self.close(reason)

    def upstreamConnected(self) -> None:
        """
        See L{meshproxy.upstream.tcpconnection.IConnectionOwner.upstreamConnected}: bytes may go both ways.
        """
        proxy, downstream, upstream, cluster = self._proxy, self.downstream, self.upstream, self._cluster
        assert cluster is not None
        self.upstreamLocalAddress = upstream.transport.localAddress  # type: ignore[union-attr]  # set before
        if self._connection is not None:
            self.upstreamTls = self._connection.tls
        stats = proxy.stats
        counted = self._countedBy(cluster)
        counters = stats.towardsUpstream(counted), stats.towardsDownstream(counted)
        seconds = proxy.clock.seconds
        downstream.relay = makeRelay(downstream.transport, upstream.transport, counters[0], seconds)
        upstream.relay = makeRelay(upstream.transport, downstream.transport, counters[1], seconds)
        upstream.relay.start()
        downstream.relay.start()
        if downstream.early:
            early, downstream.early = downstream.early, b""
            downstream.relay.dataReceived(early)
        if downstream.readEnded:
            downstream.relay.stop()
            upstream.transport.loseWriteConnection()  # type: ignore[union-attr]  # set before
        proxy.sessionConnected(self)

    def _countedBy(self, cluster: Cluster) -> ClusterStats | None:
        """
        Where the cluster counts what moves; nowhere for a tunnel, whose connection does it.
        """
        return cluster.stats if isinstance(self._connection, TCPUpstreamConnection) else None

    def shorten(self, side: TCPSide) -> None:
        """
        Give a side whose bytes were seen until now the relay that suits its transports.
        """
        old = side.relay
        if old is None or not side.other.isOpen or isinstance(old, NoticedRelay):
            return
        new = makeRelay(side.transport, side.other.transport, self._counters(side), self._proxy.clock.seconds)
        if type(new) is not type(old):
            self._replaceRelay(side, old, new)

    def _counters(self, side: TCPSide) -> RelayCounters:
        assert self._cluster is not None
        stats = self._proxy.stats
        ways = stats.towardsUpstream if side is self.downstream else stats.towardsDownstream
        return ways(self._countedBy(self._cluster))

    def _replaceRelay(self, side: TCPSide, old: IRelay, new: IRelay) -> None:
        if side.readEnded:
            return
        old.stop()
        new.moved, new.lastActive = old.moved, old.lastActive
        side.relay = new
        new.start()

    def watchBytes(self) -> None:
        """
        Tell L{bytesPassed} of all bytes from now on.
        """
        for side in (self.downstream, self.upstream):
            old, other = side.relay, side.other
            if old is not None and side.isOpen and other.isOpen and not isinstance(old, NoticedRelay):
                counters, seconds = self._counters(side), self._proxy.clock.seconds
                new = NoticedRelay(side.transport, other.transport, counters, seconds, self.bytesPassed)
                self._replaceRelay(side, old, new)

    def bytesPassed(self) -> None:
        """
        Bytes have passed, either way: while the listener drains they are the last. What is written is still sent.
        """
        proxy = self._proxy
        if proxy.drain is None or not proxy.drain.isOn:
            return
        proxy.stats.cxDrainClose.value += 1
        self.connection.localCloseReason = _DRAIN_CLOSE
        if self._connection is not None:
            self._connection.closedHere = True
        self.downstream.stopRelay()
        self.downstream.closeAfterWrites()

    def countWithheld(self, size: int) -> None:
        """
        Bytes came that a network filter did not let pass.
        """
        self._withheld += size
        self._proxy.stats.cxRxBytesTotal.value += size

    # What logs and watches ask

    @property
    def lastActive(self) -> float:
        """
        When a byte last went either way.
        """
        relays = (self.downstream.relay, self.upstream.relay)
        return max((relay.lastActive for relay in relays if relay is not None), default=self.startTime)

    def update(self) -> None:
        """
        Bring the record up to date.
        """
        self.end = self._proxy.clock.seconds()
        self.dynamicMetadata = self.connection.dynamicMetadata
        self.responseFlags |= self.connection.responseFlags
        sent, received = self.upstream.relay, self.downstream.relay
        if sent is not None and received is not None:
            self.upstreamWireBytesSent = received.moved
            self.bytesReceived = self.wireBytesReceived = received.moved + self._withheld
            self.bytesSent = self.wireBytesSent = self.upstreamWireBytesReceived = sent.moved
        elif self._withheld:
            self.bytesReceived = self.wireBytesReceived = self._withheld

    # Ending

    def sideFinished(self, side: TCPSide) -> None:
        """
        A side's peer finished writing. Where the other side's did before, the connections end by this: as in Envoy,
        the upstream's is counted as ended by whoever comes last. One that said nothing where its first bytes are waited
        for, will say nothing.
        """
        if self._waits:
            self.close("")
            return
        if side is self.downstream and self.upstream.readEnded and self._connection is not None:
            self._connection.closedHere = True

    def sideLost(self, side: TCPSide, reason: Any) -> None:
        """
        A side is gone, and takes the other one with it: with a reset if it was reset itself.
        """
        other = side.other
        wasReset = _isReset(reason)
        if side is self.downstream:
            self._downstreamLost(wasReset)
        else:
            self._upstreamLost(wasReset)
        if other.isOpen:
            if wasReset:
                other.abort()
            elif isinstance(getattr(reason, "value", None), ConnectionAborted):
                other.closeNow()
            else:
                other.closeAfterWrites()
        else:
            # What is left is the record; nothing keeps the transports.
            self.downstream.relay = self.upstream.relay = None
            self._proxy.sessionGone(self)

    def _upstreamLost(self, wasReset: bool) -> None:
        if wasReset and self.downstream.isOpen:
            self.responseFlags |= ResponseFlag.UPSTREAM_REMOTE_RESET
            self.upstreamCloseType, self.downstreamCloseType = "RemoteReset", "LocalReset"
        if self._flushing:
            self._flushing = False
            self._proxy.stats.upstreamFlushActive.value -= 1

    def _downstreamLost(self, wasReset: bool) -> None:
        if wasReset and self.downstreamCloseType == "Normal":
            self.downstreamCloseType = "RemoteReset"
        self._cancelConnect()
        self.countWithheld(len(self.downstream.early))
        upstream = self.upstream
        if self._connection is not None and upstream.isOpen:
            self._connection.closedHere = True
            if not wasReset and upstream.transport.unsent:  # type: ignore[union-attr]  # set before
                self._flushing = True
                self._proxy.stats.upstreamFlushTotal.value += 1
                self._proxy.stats.upstreamFlushActive.value += 1
        self.update()
        self._proxy.sessionEnded(self)

    def _cancelConnect(self) -> None:
        """
        Give up what is under way to connect.
        """
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._search is not None:
            search, self._search = self._search, None
            search.cancel()
        if self._connection is not None:
            self._connection.cancel()

    def close(self, reason: str) -> None:
        """
        End it from here.

        @param reason: For C{%DOWNSTREAM_LOCAL_CLOSE_REASON%}.
        """
        self.connection.localCloseReason = reason
        self._cancelConnect()
        if self._connection is not None:
            self._connection.closedHere = True
        self.upstream.closeNow()
        self.downstream.closeNow()


def _isReset(reason: Any) -> bool:
    """
    Whether a connection was lost by its peer's reset. A broken pipe is none: its peer was gone before.
    """
    error = getattr(reason, "value", None)
    return isinstance(error, ConnectionLost) and not isinstance(error.__cause__, BrokenPipeError)
