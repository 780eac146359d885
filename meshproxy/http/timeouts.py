# -*- test-case-name: tests.http.test_manager -*-
"""
The time-outs of a connection manager: what watches over its connections and streams, and what becomes of those whose
time is over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from twisted.internet.interfaces import IReactorTime

from meshproxy.flags import Failure, ResponseFlag
from meshproxy.http.flush import Flush
from meshproxy.http.stats import ConnectionManagerStats
from meshproxy.http.stream import Stream
from meshproxy.net.deadlines import Deadlines, SpreadDeadlines
from meshproxy.net.idle import IdleWatch

if TYPE_CHECKING:
    from meshproxy.accesslog.logs import AccessLogs
    from meshproxy.http.downstream import HTTP1Connection
    from meshproxy.http.http2 import HTTP2Connection
    from meshproxy.http.settings import ManagerSettings

    AnyConnection: TypeAlias = HTTP1Connection | HTTP2Connection

__all__ = ["Timeouts"]

# How many streams of a connection end at once for being idle, before others have their turn.
_MOST_ENDED = 64

# Clocks are not exact to the last bit.
_NOTHING = 1e-5


class Timeouts:
    """
    The part of a L{meshproxy.http.manager.ConnectionManager} that has to do with time. One watch serves all that wait
    for as long; none is there for a time-out that is not set.
    """

    settings: ManagerSettings
    stats: ConnectionManagerStats
    clock: IReactorTime
    random: Callable[[], float]
    accessLogs: AccessLogs
    acceptsHTTP10: bool
    maxRequestsPerConnection: int

    def bindTimeouts(self) -> None:
        """
        Make what watches over time, as the settings want it.
        """
        settings = self.settings

        def deadlines(seconds: float, expired: Callable[[Any], object]) -> Deadlines[Any] | None:
            return Deadlines(self.clock, seconds, expired) if seconds else None

        def spread(
            seconds: float, jitter: float, expired: Callable[[Any], object]
        ) -> Deadlines[Any] | SpreadDeadlines[Any] | None:
            if jitter and seconds:
                return SpreadDeadlines(self.clock, seconds, seconds * jitter, self.random, expired)
            return deadlines(seconds, expired)

        self.idleWatch = (
            IdleWatch(self.clock, settings.idleTimeout, _idleSince, self._connectionIdle)
            if settings.idleTimeout
            else None
        )
        self.streamIdleWatch = (
            IdleWatch(self.clock, settings.streamIdleTimeout, _streamIdleSince, self._streamIdle)
            if settings.streamIdleTimeout
            else None
        )
        head, whole = settings.requestHeadersTimeout, settings.requestTimeout
        if whole and (not head or whole < head):
            self.headersDeadlines = deadlines(whole, self._headLate)
        else:
            self.headersDeadlines = deadlines(head, self._headersLate)
        self.durationDeadlines = spread(
            settings.maxConnectionDuration, settings.maxConnectionDurationJitter, self._connectionOld
        )
        self.closeDeadlines = deadlines(settings.delayedCloseTimeout, self._closeLate)
        self.drainDeadlines = spread(settings.drainTimeout, settings.drainTimeoutJitter, self._drainLate)
        self.requestDeadlines = deadlines(settings.requestTimeout, self._requestLate)
        self.streamDurationDeadlines = deadlines(settings.maxStreamDuration, self._streamOld)
        # Whether a connection has to do more with a new request than to serve it.
        self.watchesRequests = bool(
            self.headersDeadlines is not None or self.acceptsHTTP10 or self.maxRequestsPerConnection
        )
        self._routeIdle: dict[float, IdleWatch[Stream]] = {}
        self._flushDeadlines: dict[float, Deadlines[Flush]] = {}
        self.logDeadlines = deadlines(settings.logInterval if self.accessLogs else 0.0, self._logAgain)
        self._timesStreams = bool(
            settings.maxStreamDuration or settings.requestTimeout or settings.logInterval or settings.recordsResolutions
        )

    def awaitHeaders(self, connection: HTTP1Connection) -> None:
        """
        Part of a request's head came: the rest is due within C{request_headers_timeout}.
        """
        assert self.headersDeadlines is not None
        if connection not in self.headersDeadlines and connection.headBegun:
            self.headersDeadlines.start(connection)

    def awaitSection(self, connection: HTTP2Connection, isWithin: bool) -> None:
        """
        The same where heads come in frames.
        """
        waiting = self.headersDeadlines
        assert waiting is not None
        if not isWithin:
            waiting.cancel(connection)
        elif connection not in waiting:
            waiting.start(connection)

    def awaitDrain(self, connection: AnyConnection) -> None:
        """
        A connection has the C{drain_timeout} to come to its end.
        """
        if self.drainDeadlines is not None:
            self.drainDeadlines.start(connection)
        elif connection.version is not self.stats.http2:
            # That has a ping to wait for.
            connection.drainLate()

    def startDeadlines(self, stream: Stream) -> None:
        now = stream.startMonotonic
        if self.streamDurationDeadlines is not None:
            self.streamDurationDeadlines.start(stream, now)
        if self.requestDeadlines is not None and not stream.requestEnded:
            self.requestDeadlines.start(stream, now)
        if self.logDeadlines is not None:
            self.logDeadlines.start(stream, now)

    def watchByRoute(self, stream: Stream, timeout: float) -> None:
        """
        A route's C{idle_timeout} stands in for the connection manager's C{stream_idle_timeout}; 0 is none.
        """
        stream.isWatched = True
        if timeout:
            watch = self._routeIdle.get(timeout)
            if watch is None:
                watch = self._routeIdle[timeout] = IdleWatch(self.clock, timeout, _lastActive, self._routeStreamIdle)
            stream.idleWatch = watch
            watch.start(stream)

    def flushDeadlines(self, stream: Stream) -> Deadlines[Flush] | None:
        """
        What watches over the last bytes of a response that its downstream is slow to take: for the C{flush_timeout} of
        its route, or the C{stream_flush_timeout}, or as long as the stream might have been idle.
        """
        action = None if stream.route is None else stream.route.action
        seconds = None if action is None else action.flushTimeout
        if seconds is None:
            seconds = self.settings.streamFlushTimeout
        if seconds is None:
            watch = stream.idleWatch
            idle = 0.0 if watch is None else watch.seconds
            seconds = idle if stream.isWatched else self.settings.streamIdleTimeout
        if not seconds:
            return None
        deadlines = self._flushDeadlines.get(seconds)
        if deadlines is None:
            deadlines = self._flushDeadlines[seconds] = Deadlines(self.clock, seconds, Flush.late)
        return deadlines

    def logMeanwhile(self, stream: Stream, logType: str) -> None:
        """
        Write the line of a stream that is not over: its duration is what has passed.
        """
        stream.end = self.clock.seconds()
        self.accessLogs.log(stream, logType)
        stream.end = None

    def _logAgain(self, stream: Stream) -> None:
        self.logMeanwhile(stream, "DownstreamPeriodic")
        if self.logDeadlines is not None and not stream.over:
            self.logDeadlines.start(stream)

    # Time is over

    def _connectionIdle(self, connection: AnyConnection) -> None:
        if connection.isIdle:
            self.stats.cxIdleTimeout.value += 1
            connection.drainGently()

    def _connectionOld(self, connection: AnyConnection) -> None:
        self.stats.cxMaxDurationReached.value += 1
        if self.settings.safeMaxDuration and connection.version is self.stats.http1:
            # It may be idle just now, or a request on its way already: only a response can tell, so it waits for one.
            self.stats.cxHttp1SoftDrain.value += 1
            connection.closeAfterResponse()
            return
        connection.drainGently()

    def _drainLate(self, connection: AnyConnection) -> None:
        connection.drainLate()

    def _closeLate(self, connection: AnyConnection) -> None:
        self.stats.cxDelayedCloseTimeout.value += 1
        connection.awaitsPeer = False
        transport: Any = connection.transport
        if transport is not None:
            transport.abortConnection()

    def _headersLate(self, connection: AnyConnection) -> None:
        self.stats.rqHeaderTimeout.value += 1
        connection.refuse(Failure.REQUEST_HEADERS_TIMEOUT.value)

    def _headLate(self, connection: AnyConnection) -> None:
        self.stats.rqTimeout.value += 1
        connection.refuse(Failure.REQUEST_TIMEOUT.value)

    def _requestLate(self, stream: Stream) -> None:
        self.stats.rqTimeout.value += 1
        stream.localReply(Failure.REQUEST_TIMEOUT.value)

    def _streamIdle(self, connection: AnyConnection) -> None:
        watch = self.streamIdleWatch
        assert watch is not None
        until = self.clock.seconds() - watch.seconds + _NOTHING
        ended = 0
        for stream in connection.activeStreams:
            if not stream.isWatched and _lastActive(stream) <= until:
                if ended == _MOST_ENDED:
                    self.clock.callLater(0, self._endMore, connection)
                    return
                self._endIdle(stream)
                ended += 1
                # A filter may hold the reply; it gets as long again.
                stream.lastActive = self.clock.seconds()
        watch.lookAgain(connection)

    def _endMore(self, connection: AnyConnection) -> None:
        if connection.manager is self and connection in connection.slot.connections:
            self._streamIdle(connection)

    def _routeStreamIdle(self, stream: Stream) -> None:
        self._endIdle(stream)
        if not stream.over and stream.idleWatch is not None:
            # A filter holds the reply; the next one does not pass it any more.
            stream.idleWatch.start(stream)

    def _endIdle(self, stream: Stream) -> None:
        self.stats.rqIdleTimeout.value += 1
        reply = Failure.STREAM_IDLE_TIMEOUT.value
        if stream.responseCode:
            stream.responseFlags |= ResponseFlag.STREAM_IDLE_TIMEOUT
        stream.localReply(reply if stream.requestEnded else reply.withStatus(408))

    def _streamOld(self, stream: Stream) -> None:
        self.stats.rqMaxDurationReached.value += 1
        reply = Failure.MAX_STREAM_DURATION.value
        stream.localReply(reply if stream.requestEnded else reply.withStatus(408))


def _idleSince(connection: AnyConnection) -> float | None:
    return connection.idleSince if connection.isIdle else None


def _streamIdleSince(connection: AnyConnection) -> float | None:
    # Without a stream, or with those only that their routes watch, there is nothing to end here.
    return min((_lastActive(stream) for stream in connection.activeStreams if not stream.isWatched), default=None)


def _lastActive(stream: Stream) -> float:
    return stream.lastActive if stream.relay is None else stream.relay.lastActive
