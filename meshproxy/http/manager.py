# -*- test-case-name: tests.http.test_manager -*-
"""
The HTTP connection manager: what all connections of one filter chain have in common, compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure as TwistedFailure

from meshproxy.codec.http1 import Http1Counters, Http1Options, connectionTokens
from meshproxy.codec.http2 import Http2Counters
from meshproxy.errors import RemoteProtocolError
from meshproxy.flags import Failure, LocalReply, protocolErrorReply
from meshproxy.headers import RequestHeaders, ResponseHeaders, isGRPC
from meshproxy.http.chain import FilterChain
from meshproxy.http.clientcert import FORWARDED_CLIENT_CERT
from meshproxy.http.requestheaders import (
    BEHIND_EDGE,
    HOP_BY_HOP,
    INTERNAL,
    SCHEMES,
    compileEdgeHeaders,
    compileInsideHeaders,
)
from meshproxy.http.requestids import newRequestId
from meshproxy.http.resolutions import Resolutions, measured
from meshproxy.http.responseheaders import compileResponseHeaders
from meshproxy.http.stats import ConnectionManagerStats, VersionStats
from meshproxy.http.stream import Stream
from meshproxy.http.timeouts import Timeouts
from meshproxy.http.wirecount import CountingAccessLogs, MeasuringAccessLogs
from meshproxy.net.idle import IdleWatch

if TYPE_CHECKING:
    from meshproxy.accesslog.logs import AccessLogs
    from meshproxy.accesslog.streaminfo import ConnectionInfo
    from meshproxy.http.downstream import HTTP1Connection
    from meshproxy.http.http2 import HTTP2Connection

    AnyConnection: TypeAlias = HTTP1Connection | HTTP2Connection
    from meshproxy.http.settings import ManagerSettings
    from meshproxy.net.address import Address
    from meshproxy.routing.path import NormalizedPath
    from meshproxy.routing.route import Route
    from meshproxy.routing.table import RouteTable
    from meshproxy.stats import Scope
    from meshproxy.upstream.cluster import Cluster

__all__ = ["ConnectionManager"]

_CONTINUE = ResponseHeaders(100)

# A head without any of these fields has nothing in it that the connection manager would take away or act upon.
_USUAL = (HOP_BY_HOP | INTERNAL | {FORWARDED_CLIENT_CERT, b"x-forwarded-for", b"expect"}).isdisjoint
_USUAL_AT_EDGE = (HOP_BY_HOP | INTERNAL | BEHIND_EDGE | {FORWARDED_CLIENT_CERT, b"expect"}).isdisjoint
# Nor where there is C{te: trailers}, which goes on as it is; every call of gRPC has it.
_USUAL_BUT_TE = ((HOP_BY_HOP - {b"te"}) | INTERNAL | {FORWARDED_CLIENT_CERT, b"x-forwarded-for", b"expect"}).isdisjoint
_USUAL_BUT_TE_AT_EDGE = (
    (HOP_BY_HOP - {b"te"}) | INTERNAL | BEHIND_EDGE | {FORWARDED_CLIENT_CERT, b"expect"}
).isdisjoint

# What is left out here is no reason to look closer where clients are told of in heads.
_USUAL_INSIDE = (HOP_BY_HOP | INTERNAL | {b"expect"}).isdisjoint
_USUAL_INSIDE_BUT_TE = ((HOP_BY_HOP - {b"te"}) | INTERNAL | {b"expect"}).isdisjoint


class ConnectionManager(Timeouts):
    """
    One connection manager of one version of the configuration.

    @ivar settings: What it was made of.
    @ivar routes: The route table.
    @ivar chain: The HTTP filter chain.
    @ivar hasHealthChecks: Whether there was a health check.
    @ivar draining: Whether responses tell the downstream to close.
    @ivar finishResponse: Does to the head of a response what is left to do before it is written.
    """

    log = Logger()
    # How many streams are left of a manager that was replaced.

    def __init__(
        self,
        settings: ManagerSettings,
        routes: RouteTable,
        chain: FilterChain,
        stats: ConnectionManagerStats,
        clock: IReactorTime,
        prepare: Callable[[RequestHeaders, ConnectionInfo], Address | LocalReply | None],
        accessLogs: AccessLogs,
        codecCounters: Http1Counters,
        scope: Scope,
        upgradeChains: Mapping[bytes, FilterChain] | None = None,
        clusters: Mapping[str, Cluster] | None = None,
        http2Counters: Http2Counters | None = None,
        random: Callable[[], float] = lambda: 0.0,
        otherLogs: Sequence[AccessLogs] = (),
    ) -> None:
        """
        @param otherLogs: Access logs that its filters have, to be given up with it.
        @param scope: Where its metrics stand, C{http.STAT_PREFIX.}; it is closed in the end.
        @param upgradeChains: The filter chains of upgrades that have one of their own.
        @param clusters: All clusters that serve, by name, for logs.
        @param random: From 0 up to 1; for the jitter of pings.
        """
        self._scope = scope
        self.draining = self.hasHealthChecks = False
        self.settings = settings
        self.http2Options = settings.http2
        self.http2Counters = http2Counters or Http2Counters()
        self.keepalive = settings.keepalive
        self.random = random
        self._resolutions = Resolutions(scope) if settings.recordsResolutions else None
        if settings.recordsResolutions or settings.showsResolutions:
            routes = measured(routes, clock.seconds)
        self.routes = routes
        self.chain = chain
        self.stats = stats
        self.clock = clock
        # Called by a name of its own: CPython finds that faster than what a reactor has on its class.
        self.seconds = clock.seconds
        self._leaving = 0
        self.accessLogs = accessLogs
        self.codecCounters = codecCounters
        self.http1Options: Http1Options = settings.http1
        self.bufferLimit = settings.bufferLimit
        self.acceptsHTTP10 = settings.http1.acceptHTTP10
        self.maxRequestsPerConnection = settings.maxRequestsPerConnection
        self._prepare = prepare
        self._normalize = settings.normalizePath
        self.finishResponse = compileResponseHeaders(settings, clock)
        self._stripAuthority = settings.stripAuthority
        self._mutateEarly = settings.mutateEarly
        self.rewriteReply = settings.rewriteReply
        forwarding = settings.forwarding
        self._generatesIds = forwarding.generateRequestId
        # Whether each head has to be looked at, whatever is in it.
        self._tellEdge = compileEdgeHeaders(forwarding, newRequestId)
        self._isUsual = _USUAL if self._tellEdge is None else _USUAL_AT_EDGE
        self._isUsualButTE = _USUAL_BUT_TE if self._tellEdge is None else _USUAL_BUT_TE_AT_EDGE
        self._judges = bool(
            settings.stripAuthority is not None
            or settings.mutateEarly is not None
            or settings.http1.passesFragments
            or forwarding.isPeculiar
            or (forwarding.useRemoteAddress and self._tellEdge is None)
        )
        self._tellInside = None
        if settings.stripAuthority is None and settings.mutateEarly is None and not settings.http1.passesFragments:
            self._tellInside = compileInsideHeaders(forwarding, newRequestId)
        self._match = self._matchAndLog if settings.flushLogOnNewRequest and accessLogs else routes.match
        self._upgradeChains = upgradeChains or {}
        self.clusters = {} if clusters is None else clusters
        self._otherLogs = otherLogs
        self.countsBytes = isinstance(accessLogs, CountingAccessLogs)
        self.measuresHeads = isinstance(accessLogs, MeasuringAccessLogs)
        # Filters may log what only the end of a stream tells.
        self._logs = bool(accessLogs) or self.countsBytes
        self._upgrades = settings.upgrades
        self.bindTimeouts()

    # Connections

    def connectionMade(self, connection: AnyConnection) -> None:
        """
        A connection begins.
        """
        stats = self.stats
        stats.cxTotal.value += 1
        stats.cxActive.value += 1
        if connection.info.tls is not None:
            stats.cxSslTotal.value += 1
            stats.cxSslActive.value += 1
        connection.slot.connections.add(connection)
        self._judges = self._judges or connection.info.upstreamSource is not None
        for watch in (self.idleWatch, self.streamIdleWatch):
            if watch is not None:
                watch.start(connection, connection.began)
        if self.durationDeadlines is not None:
            self.durationDeadlines.start(connection, connection.began)

    def speaks(self, connection: AnyConnection, version: VersionStats) -> None:
        """
        It is known which version of HTTP a connection speaks.
        """
        connection.version = version
        version.cxTotal.value += 1
        version.cxActive.value += 1

    def handOver(self, old: HTTP1Connection, new: HTTP2Connection) -> None:
        """
        A connection turned out to speak HTTP/2.
        """
        connections = new.slot.connections
        connections.discard(old)
        connections.add(new)
        for watch in (self.idleWatch, self.streamIdleWatch):
            if watch is not None:
                watch.stop(old)
                watch.start(new)
        waiting = self.durationDeadlines
        if waiting is not None and old in waiting:
            waiting.cancel(old)
            waiting.start(new, old.began)
        if self.headersDeadlines is not None:
            self.headersDeadlines.cancel(old)

    def adopt(self, connection: AnyConnection) -> None:
        """
        A connection comes over from the manager that stood in its slot before.
        """
        old = connection.manager
        self._judges = self._judges or connection.info.upstreamSource is not None
        names = ("idleWatch", "streamIdleWatch", "headersDeadlines", "durationDeadlines", "drainDeadlines")
        for waiting, mine in ((getattr(old, name), getattr(self, name)) for name in names):
            if waiting is not None and connection in waiting:
                waiting.stop(connection) if isinstance(waiting, IdleWatch) else waiting.cancel(connection)
                if mine is not None:
                    mine.start(connection)
        # Each gauge gives back what it took, should the C{stat_prefix} have changed.
        one, other = old.stats, self.stats
        taken = [(one.cxActive, other.cxActive)]
        version = connection.version
        if version is not None:
            connection.version = other.http1 if version is one.http1 else other.http2
            taken.append((version.cxActive, connection.version.cxActive))
        if connection.info.tls is not None:
            taken.append((one.cxSslActive, other.cxSslActive))
        for before, now in taken:
            before.value -= 1
            now.value += 1
        connection.manager = self

    def connectionLost(self, connection: AnyConnection, active: bool) -> None:
        """
        A connection is gone.

        @param active: Whether a stream was under way.
        """
        stats = self.stats
        connection.slot.connections.discard(connection)
        for watch in (self.idleWatch, self.streamIdleWatch):
            if watch is not None:
                watch.stop(connection)
        for waiting in (
            self.headersDeadlines,
            self.durationDeadlines,
            self.closeDeadlines,
            self.drainDeadlines,
        ):
            if waiting is not None:
                waiting.cancel(connection)
        stats.cxActive.value -= 1
        if connection.info.tls is not None:
            stats.cxSslActive.value -= 1
        if connection.version is not None:
            connection.version.cxActive.value -= 1
        stats.cxDestroy.value += 1
        stats.cxLengthMs.record(int((self.clock.seconds() - connection.began) * 1000))
        # As in Envoy, who was told to go and does so in time has ended it.
        isHere = connection.closedHere and not connection.awaitsPeer
        side = stats.cxDestroyLocal if isHere else stats.cxDestroyRemote
        side.value += 1
        if active:
            stats.cxDestroyActiveRq.value += 1
            side = stats.cxDestroyLocalActiveRq if isHere else stats.cxDestroyRemoteActiveRq
            side.value += 1

    # Streams

    def serve(self, stream: Stream) -> None:
        """
        Serve a request whose head came.
        """
        stats = self.stats
        stats.rqTotal.value += 1
        stats.rqActive.value += 1
        if self._timesStreams:
            self.startDeadlines(stream)
        headers = stream.requestHeaders
        first = headers.first
        path = headers.path
        # Functions that are no methods are called by names of their own: CPython finds them faster.
        isUsual = self._isUsual if b"te" not in first else self._isUsualButTE
        tellEdge, match = self._tellEdge, self._match
        if (
            self._judges
            or not isUsual(first)
            or (b"te" in first and (first[b"te"] != b"trailers" or headers.more is not None))
            or not path.startswith(b"/")
            or not headers.authority
            or (self._normalize is not None and self._normalize(path) is not path)
            or (tellEdge is not None and (headers.more is not None or not tellEdge(headers, stream.connection)))
        ):
            if not self._judge(stream, headers):
                return
            if b"expect" in first and not self.settings.proxy100Continue:
                self._answerExpect(stream, headers)
        elif tellEdge is None:
            # Nothing to take away, nobody to look for: the same as _judge does, in few lines.
            if b"x-forwarded-proto" in first:
                # The proxy before this one said it.
                proto = first[b"x-forwarded-proto"]
                if proto in SCHEMES:
                    headers.scheme = proto
            elif stream.connection.tls is None:
                first[b"x-forwarded-proto"] = b"http"
            else:
                first[b"x-forwarded-proto"] = headers.scheme = b"https"
            if self._generatesIds and b"x-request-id" not in first:
                first[b"x-request-id"] = newRequestId()
        route = stream.route = match(headers, stream)
        chain = self.chain
        if route is not None:
            stream.routeName = route.name
            if route.isPeculiar:
                action = route.action
                if action is not None and action.idleTimeout is not None:
                    self.watchByRoute(stream, action.idleTimeout)
                if route.overrides.disabled:
                    chain = chain.variant(route.overrides.disabled)
        if stream.upgrade:
            if self._upgradeAllowed(stream):
                stream.countUpgrade()
            elif route is not None or stream.upgrade != b"connect":  # a CONNECT without a route is answered with 404
                self.stats.rqWsOnNonWsRoute.value += 1
                if stream.join(chain):
                    stream.localReply(Failure.UPGRADE_FAILED.value)
                return
            chain = self._upgradeChains.get(stream.upgrade, chain)
        if chain.perStream or type(stream) is not Stream:
            stream.begin(chain)
            return
        # The same as Stream.begin does with a chain that all streams share.
        stream.chain = chain
        try:
            chain.passRequestHeaders(stream, headers, stream.requestEnd is not None)
        except Exception:
            stream.filterRaised(TwistedFailure())

    def serveAgain(self, stream: Stream) -> None:
        """
        Serve a stream that takes over from another one. Its head was prepared; where it leads to is looked at as if it
        came from outside.
        """
        self.streamBegan(stream)
        if self._timesStreams:
            self.startDeadlines(stream)
        headers = stream.requestHeaders
        verdict = None if self._normalize is None else self._normalizePath(headers, self._normalize(headers.path))
        if verdict is not None:
            stream.localReply(verdict)
            return
        if self._stripAuthority is not None:
            self._stripAuthority(headers, stream.connection)
        self.chooseRoute(stream)
        chain, route = self.chain, stream.route
        if route is not None:
            action = route.action
            if action is not None and action.idleTimeout is not None:
                self.watchByRoute(stream, action.idleTimeout)
            if route.overrides.disabled:
                chain = chain.variant(route.overrides.disabled)
        stream.begin(chain)

    def streamBegan(self, stream: Stream) -> None:
        """
        Count a stream that is not served, but answered at once.
        """
        stats = self.stats
        stats.rqTotal.value += 1
        stats.rqActive.value += 1

    def _matchAndLog(self, headers: RequestHeaders, stream: Stream) -> Route | None:
        """
        Choose the route of a new stream, and log that it began.
        """
        route = stream.route = self.routes.match(headers, stream)
        if route is not None:
            stream.routeName = route.name
            stream.upstreamCluster = stream.plannedCluster
        self.logMeanwhile(stream, "DownstreamStart")
        return route

    def tunnelBegan(self, stream: Stream) -> None:
        """
        A connection became another protocol's.
        """
        if self.settings.logTunnels:
            self.logMeanwhile(stream, "DownstreamTunnelSuccessfullyEstablished")

    def _refuse(self, stream: Stream, error: RemoteProtocolError) -> None:
        """
        A head asks for what it may not.
        """
        self.stats.cxProtocolError.value += 1
        stream.downstream.closeAfterResponse()
        stream.localReply(protocolErrorReply(error.statusHint, error.details))

    def _judge(self, stream: Stream, headers: RequestHeaders) -> bool:
        """
        Prepare the head of a request that is not of the usual kind.

        @return: Whether it is served; else it was answered.
        """
        first = headers.first
        tell, normalize = self._tellInside, self._normalize
        if (
            tell is not None
            and headers.more is None
            and (
                _USUAL_INSIDE(first)
                if b"te" not in first
                else first[b"te"] == b"trailers" and _USUAL_INSIDE_BUT_TE(first)
            )
            and headers.path.startswith(b"/")
            and headers.authority
            and (normalize is None or normalize(headers.path) is headers.path)
            and stream.connection.upstreamSource is None
        ):
            tell(headers, stream)
            return True
        if stream.connection.upstreamSource is not None:
            # Its requests do not share connections with those of others: they go no short way.
            stream.isInvolved = True
        if not headers.authority:
            stream.localReply(Failure.MISSING_HOST.value)
            return False
        if headers.method == b"CONNECT":
            stream.upgrade = b"connect"
        elif headers.path[:1] != b"/":
            self.stats.rqNonRelativePath.value += 1
            stream.localReply(Failure.ABSOLUTE_PATH.value)
            return False
        elif b"#" in headers.path and self.http1Options.passesFragments:
            stream.localReply(Failure.PATH_NORMALIZATION_FAILED.value)
            return False
        elif self._normalize is not None:
            verdict = self._normalizePath(headers, self._normalize(headers.path))
            if verdict is not None:
                stream.localReply(verdict)
                return False
        if self._stripAuthority is not None:
            self._stripAuthority(headers, stream.connection)
        if self._mutateEarly is not None:
            connection = headers.values(b"connection")
            self._mutateEarly(headers, stream)
            if headers.values(b"connection") != connection:
                # What the client said of its connection was heeded already.
                headers.remove(b"connection")
                for value in connection:
                    headers.add(b"connection", value)
        upgrade = asked = None
        if headers.method != b"CONNECT" and b"upgrade" in connectionTokens(headers):
            upgrade = first.get(b"upgrade")
            asked = headers.joined(b"connection")
        try:
            client = self._prepare(headers, stream.connection)
        except RemoteProtocolError as error:
            self._refuse(stream, error)
            return False
        if upgrade is not None and asked is not None:
            # An upgrade goes on to the upstream as it is; whether it may is seen when the route is known.
            stream.upgrade = upgrade.lower()
            first[b"connection"] = asked
            first[b"upgrade"] = upgrade
        if isinstance(client, LocalReply):
            self.stats.rqRejectedViaIPDetection.value += 1
            stream.localReply(client)
            return False
        if client is not None:
            stream.remoteAddress = client
        return True

    def _normalizePath(self, headers: RequestHeaders, result: NormalizedPath) -> LocalReply | None:
        if isinstance(result, bytes):
            headers.path = result
            return None
        # As in Envoy: no client of gRPC follows a redirect.
        if isinstance(result, tuple) and not isGRPC(headers):
            self.stats.rqRedirectedWithNormalizedPath.value += 1
            headers.path = result[1]
            return LocalReply(307, b"", "path_normalization_failed", 0, ((b"location", result[1]),))
        self.stats.rqFailedPathNormalization.value += 1
        return Failure.PATH_NORMALIZATION_FAILED.value

    def _answerExpect(self, stream: Stream, headers: RequestHeaders) -> None:
        """
        Answer C{Expect: 100-continue} here (RFC 9110, 10.1.1); the upstream is not asked.
        """
        if headers.first[b"expect"].lower() == b"100-continue":
            headers.remove(b"expect")
            self.stats.responses.add(100)
            stream.downstream.sendInformational(_CONTINUE)

    def _upgradeAllowed(self, stream: Stream) -> bool:
        """
        Whether the route, or else the connection manager, lets a connection become another protocol's.
        """
        route = stream.route
        action = None if route is None else route.action
        allowed = None if action is None else action.upgrades.get(stream.upgrade.decode("latin-1"))
        return self._upgrades.get(stream.upgrade, False) if allowed is None else allowed

    def chooseRoute(self, stream: Stream) -> None:
        """
        Choose the route again, by the head as it is now.
        """
        route = stream.route = self.routes.match(stream.requestHeaders, stream)
        if route is not None:
            stream.routeName = route.name

    def requestComplete(self, stream: Stream) -> None:
        """
        The request was received to its end.
        """
        if self.requestDeadlines is not None:
            self.requestDeadlines.cancel(stream)
        if stream.upstream is not None:
            stream.upstream.downstreamComplete()

    def streamEnded(self, stream: Stream) -> None:
        """
        A stream is over: end its time-outs, count it, log it.
        """
        if self._timesStreams:
            if self._resolutions is not None:
                self._resolutions.streamEnded(stream)
            if self.streamDurationDeadlines is not None:
                self.streamDurationDeadlines.cancel(stream)
            if self.requestDeadlines is not None:
                self.requestDeadlines.cancel(stream)
            if self.logDeadlines is not None:
                self.logDeadlines.cancel(stream)
        if stream.idleWatch is not None:
            stream.idleWatch.stop(stream)
        stats = self.stats
        stats.rqActive.value -= 1
        if not (self.hasHealthChecks and stream.healthCheck):
            elapsed = int((stream.end - stream.startTime) * 1000.0)  # type: ignore[operator]  # it has ended
            try:
                stats.rqTime.bins[elapsed] += 1
            except KeyError:
                stats.rqTime.record(elapsed)
            status = stream.responseCode
            try:
                stats.responses.counts[status] += 1
            except KeyError:
                stats.responses.add(status)
        if self._logs:
            if stream.upstream is None and not stream.upstreamCluster and stream.route is not None:
                # Answered before the router had it: as in Envoy, the log tells where it would have gone.
                stream.upstreamCluster = stream.plannedCluster
            self.accessLogs.logEnd(stream)
        if self._leaving:
            self._leaving -= 1
            if not self._leaving:
                self.stop()

    def retire(self, streams: int) -> None:
        """
        No stream begins here any more.

        @param streams: How many are under way.
        """
        self._leaving = streams
        if not streams:
            self.stop()

    def stop(self) -> None:
        """
        Give up log files and metrics.
        """
        for logs in (self.accessLogs, *self._otherLogs):
            logs.close()
        self._scope.close()
