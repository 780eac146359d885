# -*- test-case-name: tests.upstream.test_tcp -*-
"""
The engine of tcp_proxy: what all connections of one filter have in common.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from meshproxy.accesslog.logs import AccessLogs
from meshproxy.accesslog.streaminfo import ConnectionInfo, StreamInfo
from meshproxy.codec.proxyprotocol import TLV
from meshproxy.flags import ResponseFlag
from meshproxy.net.deadlines import Deadlines
from meshproxy.net.idle import IdleWatch
from meshproxy.upstream.cluster import Cluster
from meshproxy.upstream.ondemand import Found
from meshproxy.upstream.tcpdrain import TCPDrain
from meshproxy.upstream.tcpsession import TCPSession
from meshproxy.upstream.tcpstats import OnDemandStats, TCPStats
from meshproxy.upstream.tunneling import TunnelSettings

__all__ = ["Backoff", "OnDemand", "TCPProxy", "TCPRoute", "TCPSettings"]


@dataclass(frozen=True, slots=True)
class Backoff:
    """
    How long to wait before another attempt to connect (C{core.v3.BackoffStrategy}): a random part of an interval that
    doubles each time.
    """

    base: float
    most: float

    def delay(self, retries: int, random: Callable[[], float]) -> float:
        """
        Seconds until the next attempt.

        @param retries: How many times it was tried again already.
        """
        return min(self.base * 2.0 ** min(retries, 32), self.most) * random()


@dataclass(frozen=True, slots=True)
class TCPRoute:
    """
    Where a connection goes.

    @ivar cluster: The cluster's name.
    @ivar labels: The labels of C{envoy.lb} that an endpoint must have, where the cluster has subsets.
    """

    cluster: str
    labels: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OnDemand:
    """
    What is done for a connection whose cluster is not there.

    @ivar ask: Asks for a cluster by its name.
    """

    ask: Callable[[str], Deferred[Found]]
    stats: OnDemandStats


@dataclass(frozen=True, slots=True)
class TCPSettings:
    """
    What a C{TcpProxy} message says. Times are seconds, 0 for never.

    @ivar chooseRoute: Gives the way of the next connection.
    @ivar hashPolicy: What connections are alike; L{None} for none.
    @ivar maxDurationJitter: By how much of itself C{maxDuration} may be longer, at random.
    @ivar earlyData: How many bytes to read while the upstream is not there yet, the first of which it is connected
        for; 0 to connect at once, and read nothing before.
    @ivar tlvs: What the PROXY protocol says of a connection beside the client's addresses; L{None} for nothing.
    @ivar tlvPolicy: What becomes of that where the client's own header said something: see
        L{meshproxy.net.proxyheader.toldOf}.
    @ivar closesToDrain: Whether a connection is closed, while its listener drains, when the next bytes have passed.
    @ivar backoff: L{None} tries again at once.
    @ivar tunnel: How the bytes go through an HTTP proxy; L{None} where they go as they are.
    @ivar onDemand: L{None} where connections whose cluster is not there are closed.
    """

    chooseRoute: Callable[[], TCPRoute]
    hashPolicy: Callable[[ConnectionInfo], int | None] | None = None
    idleTimeout: float = 3600.0
    maxDuration: float = 0.0
    maxDurationJitter: float = 0.0
    tlvs: Callable[[StreamInfo], tuple[TLV, ...]] | None = None
    tlvPolicy: str = "ADD_IF_ABSENT"
    closesToDrain: bool = False
    earlyData: int = 0
    maxConnectAttempts: int = 1
    backoff: Backoff | None = None
    logInterval: float = 0.0
    logOnConnected: bool = False
    logOnStart: bool = False
    tunnel: TunnelSettings | None = None
    onDemand: OnDemand | None = None


class TCPProxy:
    """
    One tcp_proxy of one version of the configuration.

    @ivar clusters: By name; those that serve now.
    @ivar drain: Closes connections while the listener drains; L{None} where they live on.
    """

    def __init__(
        self,
        settings: TCPSettings,
        stats: TCPStats,
        clusters: Mapping[str, Cluster],
        clock: IReactorTime,
        random: Callable[[], float],
        accessLogs: AccessLogs,
    ) -> None:
        self.settings = settings
        self.stats = stats
        self.clusters = clusters
        self.clock = clock
        self.random = random
        self.accessLogs = accessLogs
        self.drain = TCPDrain() if settings.closesToDrain else None
        self._drains: set[TCPDrain] = set() if self.drain is None else {self.drain}
        self._idleWatch = (
            IdleWatch(clock, settings.idleTimeout, _idleSince, self._idle) if settings.idleTimeout else None
        )
        self._durations = Deadlines(clock, settings.maxDuration, self._old) if settings.maxDuration else None
        logs = bool(accessLogs) and settings.logInterval
        self._logTimes = Deadlines(clock, settings.logInterval, self._logAgain) if logs else None

    def buildSession(self, info: ConnectionInfo) -> TCPSession:
        """
        What becomes of a connection.
        """
        return TCPSession(self, info)

    def logTurnedAway(self, info: ConnectionInfo) -> None:
        """
        A connection ended before its session began.
        """
        self.stats.cxTotal.value += 1
        if self.accessLogs:
            session = TCPSession(self, info)
            session.startTime = session.startMonotonic = self.clock.seconds()
            session.update()
            self.accessLogs.log(session, "TcpConnectionEnd")

    def sessionBegan(self, session: TCPSession) -> None:
        """
        A connection is there.
        """
        self.stats.cxTotal.value += 1
        if self.settings.logOnStart and self.accessLogs:
            session.update()
            self.accessLogs.log(session, "TcpConnectionStart")
        if self.drain is not None:
            self.drain.add(session)
        if self._durations is not None:
            self._startDuration(self._durations, session)
        if self._logTimes is not None:
            self._logTimes.start(session, session.startTime)
        if self._idleWatch is not None and (self.settings.earlyData or self.settings.tunnel is not None):
            self._idleWatch.start(session)

    def _startDuration(self, queue: Deadlines[TCPSession], session: TCPSession) -> None:
        jitter = self.settings.maxDurationJitter
        if not jitter:
            queue.start(session, session.startTime)
            return
        # Each has another length: one timer each.
        seconds = queue.seconds * (1 + jitter * self.random())
        session.durationCall = self.clock.callLater(seconds, self._old, session)

    def sessionConnected(self, session: TCPSession) -> None:
        """
        A connection has its upstream: from now on it may be idle.
        """
        if self._idleWatch is not None:
            self._idleWatch.stop(session)
            self._idleWatch.start(session)
        if self.drain is not None:
            self.drain.connected(session)
        if self.settings.logOnConnected and self.accessLogs:
            session.update()
            self.accessLogs.log(session, "TcpUpstreamConnected")

    def sessionEnded(self, session: TCPSession) -> None:
        """
        The downstream connection is gone. What was written to the upstream may still have to be sent.
        """
        for waiting in (self._durations, self._logTimes):
            if waiting is not None:
                waiting.cancel(session)
        if session.durationCall is not None and session.durationCall.active():
            session.durationCall.cancel()
        if self.drain is not None:
            self.drain.discard(session)
        if self.accessLogs:
            self.accessLogs.log(session, "TcpConnectionEnd")

    def sessionGone(self, session: TCPSession) -> None:
        """
        Both connections are gone.
        """
        if self._idleWatch is not None:
            self._idleWatch.stop(session)

    # Draining

    def succeed(self, old: TCPProxy) -> None:
        """
        Take over the connections of the one that stood here before.
        """
        self._drains |= {drain for drain in old._drains if not drain.isEmpty}

    def closeGently(self, closing: bool) -> None:
        """
        The listener drains, or does not any more.
        """
        for drain in self._drains:
            drain.turn(closing)

    # Time

    def _idle(self, session: TCPSession) -> None:
        self.stats.idleTimeout.value += 1
        session.close("tcp_session_idle_timeout")

    def _old(self, session: TCPSession) -> None:
        self.stats.maxDuration.value += 1
        session.responseFlags |= ResponseFlag.DURATION_TIMEOUT
        session.close("max_connection_duration_reached")

    def _logAgain(self, session: TCPSession) -> None:
        assert self._logTimes is not None
        session.update()
        self.accessLogs.log(session, "TcpPeriodic")
        self._logTimes.start(session)


def _idleSince(session: TCPSession) -> float:
    return session.lastActive
