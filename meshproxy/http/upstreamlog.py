# -*- test-case-name: tests.http.test_upstreamlog -*-
"""
The access logs of tries (C{upstream_log} of the router): a line for each, when it is over, and where it is wanted when
its connection is there, and again and again meanwhile. And what clusters count of tries (C{track_cluster_stats}).

Only a router that has such logs, or a cluster that counts such things, makes requests L{LoggedRequest}s; none of this
is on the way of others.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

from meshproxy.flags import LocalReply, ResetReason, ResponseFlag
from meshproxy.headers import HeaderMap, ResponseHeaders
from meshproxy.http.hedging import HedgingRequest, LateTry
from meshproxy.http.tryrecord import TryRecord
from meshproxy.net.deadlines import Deadlines
from meshproxy.routing.internalredirects import InternalRedirectPolicy

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from meshproxy.accesslog.logs import AccessLogs
    from meshproxy.http.router import Router
    from meshproxy.http.stream import Stream
    from meshproxy.routing.route import Route
    from meshproxy.upstream.cluster import Cluster
    from meshproxy.upstream.endpoint import Endpoint
    from meshproxy.upstream.http1connection import HTTP1UpstreamConnection
    from meshproxy.upstream.wirecount import IUpstreamCounts

__all__ = ["LoggedRequest", "UpstreamLogs"]


class UpstreamLogs:
    """
    The logs of one router.

    @ivar flushesWhenReady: C{flush_upstream_log_on_upstream_stream}.
    """

    def __init__(
        self, logs: AccessLogs, clock: IReactorTime, flushesWhenReady: bool = False, interval: float = 0.0
    ) -> None:
        """
        @param interval: C{upstream_log_flush_interval} in seconds; 0 for never.
        """
        self._logs = logs
        self._clock = clock
        self.flushesWhenReady = flushesWhenReady
        self._periods: Deadlines[TryRecord] | None = Deadlines(clock, interval, self._periodOver) if interval else None

    def began(self, record: TryRecord) -> None:
        """
        A try begins.
        """
        if self._periods is not None:
            self._periods.start(record)

    def ready(self, record: TryRecord) -> None:
        """
        Its connection is there.
        """
        if self.flushesWhenReady:
            self._logMeanwhile(record, "UpstreamPoolReady")

    def ended(self, record: TryRecord) -> None:
        """
        It is over.
        """
        if self._periods is not None:
            self._periods.cancel(record)
        record.settle(self._clock.seconds())
        self._logs.logEnd(record, "UpstreamEnd")

    def _periodOver(self, record: TryRecord) -> None:
        self._logMeanwhile(record, "UpstreamPeriodic")
        assert self._periods is not None
        self._periods.start(record)

    def _logMeanwhile(self, record: TryRecord, logType: str) -> None:
        # As it is now: its line is made with those of this turn of the reactor, in their order.
        record = copy(record)
        record.settle(self._clock.seconds())
        self._logs.logEnd(record, logType)


class LoggedRequest(HedgingRequest):
    """
    A request whose tries are logged.
    """

    _record: TryRecord | None = None

    def __init__(self, router: Router, stream: Stream, route: Route) -> None:
        super().__init__(router, stream, route)
        self._logs: UpstreamLogs | None = router.upstreamLogs
        self._lateRecords: dict[LateTry, TryRecord] = {}

    @property
    def countedFor(self) -> IUpstreamCounts | None:
        """
        See L{RoutedRequest.countedFor<meshproxy.http.routedrequest.RoutedRequest.countedFor>}.
        """
        # A record has the same numbers, and tells them to the stream.
        return self._record if self._stream.manager.countsBytes else None

    # A try begins

    def _choose(self, cluster: Cluster) -> Endpoint | None:
        endpoint = super()._choose(cluster)
        if endpoint is not None:
            previous = self._record
            if previous is not None:
                previous.isNewest = False
            record = self._record = TryRecord(
                self._stream, self._headers, cluster, endpoint, self._router.clock.seconds()
            )
            if self._logs is not None:
                self._logs.began(record)
        return endpoint

    def connected(self, connection: HTTP1UpstreamConnection, waited: bool) -> None:
        """
        See L{RoutedRequest.connected<meshproxy.http.routedrequest.RoutedRequest.connected>}.
        """
        self._ready(self._record, connection)
        super().connected(connection, waited)

    def lateConnected(self, late: LateTry, connection: HTTP1UpstreamConnection) -> float:
        """
        See L{HedgingRequest.lateConnected}.
        """
        self._ready(self._lateRecords[late], connection)
        return super().lateConnected(late, connection)

    def _ready(self, record: TryRecord | None, connection: HTTP1UpstreamConnection) -> None:
        if record is None:
            return
        now = self._router.clock.seconds()
        record.connected(connection, now)
        if self._logs is not None:
            # What passed the filters of the try before is sent now.
            passed, record.bytesSent = record.bytesSent, 0
            self._logs.ready(record)
            record.bytesSent = passed
        record.upstreamRequestStart = now
        # What came of the request goes now.
        if self._body is not None:
            record.bytesSent = sum(map(len, self._body.pieces))
        if self._requestEnded:
            record.upstreamRequestEnd = now

    # The request

    def sendData(self, data: bytes, endStream: bool) -> None:
        """
        See L{RoutedRequest.sendData<meshproxy.http.routedrequest.RoutedRequest.sendData>}.
        """
        self._sends(len(data), endStream)
        super().sendData(data, endStream)

    def sendTrailers(self, trailers: HeaderMap) -> None:
        """
        See L{RoutedRequest.sendTrailers<meshproxy.http.routedrequest.RoutedRequest.sendTrailers>}.
        """
        self._sends(0, True)
        super().sendTrailers(trailers)

    def _sends(self, size: int, endStream: bool) -> None:
        record = self._record
        if record is not None and self.connection is not None and not self.over:
            record.bytesSent += size
            if endStream:
                record.upstreamRequestEnd = self._router.clock.seconds()

    # The response

    def responseReceived(self, headers: ResponseHeaders, endStream: bool) -> None:
        """
        See L{RoutedRequest.responseReceived<meshproxy.http.routedrequest.RoutedRequest.responseReceived>}.
        """
        if self._record is not None:
            self._record.responded(headers, self._router.clock.seconds())
        # Nothing of this response is theirs.
        for record in self._lateRecords.values():
            record.sizes = record.downstreamSizes()
        super().responseReceived(headers, endStream)
        for record in self._lateRecords.values():
            record.sizes = None

    def wholeReceived(self, headers: ResponseHeaders, body: bytes) -> None:
        """
        See L{RoutedRequest.wholeReceived<meshproxy.http.routedrequest.RoutedRequest.wholeReceived>}: in parts.
        """
        self.responseReceived(headers, False)
        if not self.over and (self.connection is not None or self.responseStarted):
            self.dataReceived(body, True)

    def dataReceived(self, data: bytes, endStream: bool) -> None:
        """
        See L{RoutedRequest.dataReceived<meshproxy.http.routedrequest.RoutedRequest.dataReceived>}.
        """
        if self._record is not None:
            self._record.bytesReceived += len(data)
        if data and endStream and self.connection is not None and not self.connection.isHTTP2:
            # As in Envoy, which learns of the end of a message of HTTP/1 after its last byte has gone on.
            super().dataReceived(data, False)
            data = b""
            if self.over:
                return
        super().dataReceived(data, endStream)

    def trailersReceived(self, trailers: HeaderMap) -> None:
        """
        See L{RoutedRequest.trailersReceived<meshproxy.http.routedrequest.RoutedRequest.trailersReceived>}.
        """
        if self._record is not None:
            self._record.responseTrailers = trailers.copy()
        super().trailersReceived(trailers)

    def _relay(self, connection: HTTP1UpstreamConnection) -> None:
        """
        Nothing passes by who counts.
        """

    # A try ends

    def _endTry(self) -> None:
        record, self._record = self._record, None
        if record is not None:
            self._ended(record)

    def _ended(self, record: TryRecord) -> None:
        if self._logs is not None:
            self._logs.ended(record)
        else:
            record.end = self._router.clock.seconds()
        record.count(0.0 if self._perTry is None else self._perTry.seconds)

    def _requestEnds(self) -> None:
        """
        The request is answered, or its time is over.
        """
        timeouts, ended = self._cluster.tracked.timeouts, self._stream.requestEnd
        if timeouts is not None and ended is not None:
            elapsed = self._router.clock.seconds() - ended
            timeouts.requestEnded(elapsed, 0.0 if self._timeouts is None else self._timeouts.seconds)

    def _giveUpTries(self) -> None:
        for record in (self._record, *self._lateRecords.values()):
            if record is not None:
                record.isGivenUp = True

    def timedOut(self) -> None:
        """
        See L{TriedRequest.timedOut<meshproxy.http.tries.TriedRequest.timedOut>}.
        """
        self._giveUpTries()
        super().timedOut()
        self._requestEnds()

    def _tryLate(self, reply: LocalReply) -> None:
        wasOver = self.over
        super()._tryLate(reply)
        if self.over and not wasOver:
            self._requestEnds()

    def abandon(self) -> None:
        """
        See L{RoutedRequest.abandon<meshproxy.http.routedrequest.RoutedRequest.abandon>}.
        """
        self._giveUpTries()
        super().abandon()

    def informationalReceived(self, headers: ResponseHeaders) -> None:
        """
        See L{RoutedRequest.informationalReceived<meshproxy.http.routedrequest.RoutedRequest.informationalReceived>}.
        """
        if self._record is not None:
            self._record.addHead(headers)
        super().informationalReceived(headers)

    def _finished(self, now: float) -> None:
        super()._finished(now)
        self._requestEnds()
        self._dropLate()
        if self._record is not None:
            self._record.upstreamResponseEnd = now
        self._endTry()

    def _leaveConnection(self) -> None:
        super()._leaveConnection()
        self._endTry()

    def connectionFailed(self, reason: ResetReason, endpoint: Endpoint | None, why: str) -> None:
        """
        See L{TriedRequest.connectionFailed<meshproxy.http.tries.TriedRequest.connectionFailed>}.
        """
        if self._record is not None:
            self._record.failed(reason, why, self._router.clock.seconds())
            self._endTry()
        super().connectionFailed(reason, endpoint, why)

    def upstreamReset(self, reason: ResetReason, why: str) -> None:
        """
        See L{TriedRequest.upstreamReset<meshproxy.http.tries.TriedRequest.upstreamReset>}.
        """
        if self._record is not None:
            self._record.failed(reason, why, self._router.clock.seconds())
            self._endTry()
        super().upstreamReset(reason, why)

    def tryTimedOut(self) -> None:
        """
        See L{TriedRequest.tryTimedOut<meshproxy.http.tries.TriedRequest.tryTimedOut>}.
        """
        record = self._record
        if record is not None and not self.responseStarted:
            record.responseFlags |= ResponseFlag.UPSTREAM_REQUEST_TIMEOUT
        before = len(self.late)
        super().tryTimedOut()
        if record is not None and len(self.late) > before:
            self._lateRecords[self.late[-1]] = record

    def tryIdleTimedOut(self) -> None:
        """
        See L{TriedRequest.tryIdleTimedOut<meshproxy.http.tries.TriedRequest.tryIdleTimedOut>}.
        """
        if self._record is not None:
            self._record.responseFlags |= ResponseFlag.STREAM_IDLE_TIMEOUT
        super().tryIdleTimedOut()

    def _tryAgainAfter(self, headers: ResponseHeaders, endStream: bool) -> bool:
        again = super()._tryAgainAfter(headers, endStream)
        if again:
            self._endTry()
        return again

    def _redirect(self, policy: InternalRedirectPolicy, headers: ResponseHeaders, endStream: bool) -> bool:
        if endStream and self._record is not None:
            self._record.upstreamResponseEnd = self._router.clock.seconds()
        done = super()._redirect(policy, headers, endStream)
        if done:
            self._endTry()
        return done

    # Late tries

    def takes(self, late: LateTry, headers: ResponseHeaders) -> bool:
        """
        See L{HedgingRequest.takes}.
        """
        record = self._lateRecords.pop(late)
        record.responded(headers, self._router.clock.seconds())
        if not super().takes(late, headers):
            self._ended(record)
            return False
        self._record = record
        return True

    def lateFailed(self, late: LateTry, reason: ResetReason, why: str) -> None:
        """
        See L{HedgingRequest.lateFailed}.
        """
        record = self._lateRecords.pop(late)
        record.failed(reason, why, self._router.clock.seconds())
        self._ended(record)
        super().lateFailed(late, reason, why)

    def _dropLate(self) -> None:
        super()._dropLate()
        records = list(self._lateRecords.values())
        self._lateRecords.clear()
        for record in records:
            self._ended(record)
