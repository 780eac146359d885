# -*- test-case-name: tests.http.test_router -*-
"""
The tries of a request: how each is counted, what its failures and time-outs come to, and when the next one begins.

Whether there is to be another one is for L{meshproxy.http.retry} to say.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure as TwistedFailure

from meshproxy.config.matchers import parseInteger
from meshproxy.flags import SUPPRESSIBLE, Details, Failure, LocalReply, ResetReason, ResponseFlag, upstreamResetReply
from meshproxy.grpc.status import httpStatus, isServerError
from meshproxy.headers import RequestHeaders, ResponseHeaders
from meshproxy.http.choice import EndpointChoice
from meshproxy.http.keptbody import KeptBody
from meshproxy.http.retry import RetryState
from meshproxy.http.routestats import RequestStats
from meshproxy.http.shadow import Shadow
from meshproxy.net.deadlines import Deadlines
from meshproxy.routing.route import RouteAction
from meshproxy.upstream.stats import COMPLETED, NOT_COUNTED
from meshproxy.upstream.transports import NO_WISH, TLSWish

if TYPE_CHECKING:
    from meshproxy.http.router import Router
    from meshproxy.http.stream import Stream
    from meshproxy.routing.route import Route
    from meshproxy.upstream.cluster import Cluster
    from meshproxy.upstream.endpoint import Endpoint
    from meshproxy.upstream.http1connection import HTTP1UpstreamConnection
    from meshproxy.upstream.http1pool import HTTP1Pool
    from meshproxy.upstream.stats import ClusterStats, CodeStats, ICodeStats, IRequestStats

__all__ = ["TriedRequest", "outlierStatus"]


def outlierStatus(headers: ResponseHeaders) -> int:
    """
    What a response is to whoever looks for outliers: its status, or that which the one of gRPC in the head stands for.
    """
    if headers.status >= 500:
        return headers.status
    told = headers.first.get(b"grpc-status")
    number = None if told is None else parseInteger(told)
    return headers.status if number is None else httpStatus(number)


class TriedRequest:
    """
    What a request is through all of its tries, and what becomes of it when one goes wrong.

    @ivar connection: The upstream connection of the current try, or L{None}.
    @ivar attempts: How many tries began, the current one included.
    @ivar responseStarted: Whether the head of the response went on to the stream.
    @ivar over: Whether nothing is expected of an upstream any more.
    @ivar isHedging: Whether a try that is late goes on beside the next one: L{meshproxy.http.hedging}.
    @ivar foundNone: Whether the cluster was asked for an endpoint already, and has none.
    """

    # What is seldom set stands on the class: an instance costs what it differs in.
    connection: HTTP1UpstreamConnection | None = None
    attempts = 1
    responseStarted = False
    over = False
    foundNone = False
    isHedging = False
    _body: KeptBody | None = None
    _pool: HTTP1Pool | None = None
    _retry: RetryState | None = None
    _choice: EndpointChoice | None = None
    _shadows: tuple[Shadow, ...] = ()
    _also: tuple[RequestStats, ...] = ()
    _hasAltResponse = False
    _tryDuration: Deadlines[TriedRequest] | None = None
    _isTimeoutRetry = False
    _timeouts: Deadlines[TriedRequest] | None = None
    _perTry: Deadlines[TriedRequest] | None = None
    _perTryIdle: Deadlines[TriedRequest] | None = None
    _durations: Deadlines[TriedRequest] | None = None
    _backOff: IDelayedCall | None = None
    _used: Sequence[RouteAction | None] = ()
    _responsePaused = False
    _waits = False
    # Whether it is gRPC's, whether its response's HTTP status is not counted then, and whether only the trailers will
    # tell how well the endpoint did.
    _isGRPC = False
    _isQuiet = False
    _awaitsStatus = False
    _requestEnded = False
    _complete = False
    _endpoint: Endpoint
    _cluster: Cluster
    _stats: ClusterStats
    # Where its response is counted in the place of C{_stats}.
    _otherCodes: CodeStats | None = None
    _headers: RequestHeaders
    _wish: TLSWish = NO_WISH
    _tryBegan = 0.0

    def __init__(self, router: Router, stream: Stream, route: Route) -> None:
        self._router = router
        self._stream = stream
        self._route = route
        self._action: RouteAction = route.action  # type: ignore[assignment]  # a route of this kind has one

    def _connect(self, endpoint: Endpoint | None = None) -> None:
        """
        Begin a try.
        """
        raise NotImplementedError

    def _leaveConnection(self) -> None:
        """
        Give up the current try's connection, or the wait for one.
        """
        raise NotImplementedError

    def _unpause(self) -> None:
        """
        The connection goes back to its pool, and must not take a pause along.
        """
        self._responsePaused = False
        if self.connection is not None:
            self.connection.resumeReading()

    # What counts

    @property
    def _counted(self) -> tuple[IRequestStats, ...]:
        """
        Where the request is counted.
        """
        return (self._stats, *self._also)

    @property
    def _coded(self) -> tuple[ICodeStats, ...]:
        """
        Where its response is counted.
        """
        other = self._otherCodes
        return (other,) if other is NOT_COUNTED else (other or self._stats, *self._also)

    def _chooseCodes(self) -> None:
        """
        Look where its response is to be counted, now that the cluster is known.
        """
        stream = self._stream
        if not self._router.countsCodes or (stream.isInvolved and stream.healthCheck):
            # As in Envoy, who asks for the health of something does not show in its figures.
            self._otherCodes = NOT_COUNTED
        elif self._headers.first.get(b"x-envoy-internal") == b"true":
            self._otherCodes = self._stats.internal

    def _count(self, status: int) -> None:
        """
        Count a response, or what stands in for it.
        """
        if self._isQuiet:
            status = COMPLETED
        for each in self._coded:
            each.responses.add(status)

    def _judge(self, headers: ResponseHeaders, endStream: bool) -> None:
        """
        Count whether the endpoint did well, as Envoy does: by the HTTP status, or else by that of gRPC, which comes in
        the trailers where there is a body.
        """
        if headers.status >= 500 or not self._isGRPC:
            self._endpoint.responded(headers.status)
        elif endStream:
            self._judgeStatus(headers.first.get(b"grpc-status"), isInHead=True)
        else:
            self._awaitsStatus = True

    def _judgeStatus(self, grpcStatus: bytes | None, isInHead: bool = False) -> None:
        self._awaitsStatus = False
        number = None if grpcStatus is None else parseInteger(grpcStatus)
        if number is not None and not isServerError(number):
            self._endpoint.responded(200)
        else:
            # What comes behind the head is no failure to whoever looks for outliers, in Envoy either.
            self._endpoint.failed(httpStatus(number) if isInHead and number is not None else 200)

    # Filters of the try

    def filterReplied(self, reply: LocalReply) -> None:
        """
        A filter that a try passes answers in the upstream's stead. As in Envoy, that is the answer, and not tried
        again.
        """
        stream = self._stream
        if reply is Failure.REQUEST_PAYLOAD_TOO_LARGE.value and stream.protocol.startswith("HTTP/1"):
            # As where a filter of the downstream chain finds that.
            stream.downstream.closeAfterResponse()
        stream.localReply(reply)

    def filterRaised(self, failure: TwistedFailure) -> None:
        """
        One raised.
        """
        self._stream.filterRaised(failure)

    def filterReset(self) -> None:
        """
        One wants the stream to end without an answer.
        """
        self._stream.reset()

    # Failures

    def connectionFailed(self, reason: ResetReason, endpoint: Endpoint | None, why: str) -> None:
        """
        See L{meshproxy.upstream.http1pool.IPoolRequest.connectionFailed}.
        """
        self._pool = self.connection = None
        stream = self._stream
        stream.waitedForConnection = self._router.clock.seconds()
        stream.waitedSince = self._tryBegan
        if endpoint is None:
            stream.upstreamHost = None
        else:
            endpoint.broke()
        self._reset(reason, why)

    def upstreamReset(self, reason: ResetReason, why: str) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.upstreamReset}.
        """
        self.connection = None
        if self._awaitsStatus or not self.responseStarted:
            self._endpoint.rqError.value += 1
        self._endpoint.broke()
        if reason is ResetReason.REMOTE_RESET:
            self._stats.rqRxReset.value += 1
        self._reset(reason, why)

    def _reset(self, reason: ResetReason, why: str) -> None:
        stream = self._stream
        if self.over:
            return
        if why:
            stream.upstreamTransportFailureReason = why
        retry = self._retry
        if retry is not None and not self.responseStarted and retry.wantsRetryOfReset(reason):
            if self._tryAgain(None):
                return
            stream.responseFlags |= self._limitFlag(retry)
        if self.responseStarted:
            stream.responseFlags |= reason.flag
            stream.responseCodeDetails = reason.details(Details.LATE_UPSTREAM_RESET, why)
            if self._awaitsStatus:
                # The counter is of gRPC alone in Envoy, whatever it is called.
                stream.manager.stats.rqResetAfterResponseStarted.value += 1
            self._over()
            if stream.responseCode:
                stream.reset()
            else:
                # A filter holds the head: as in Envoy, the client can be answered still.
                stream.localReply(replace(upstreamResetReply(reason, why), details=stream.responseCodeDetails))
            return
        self._failed(upstreamResetReply(reason, why, self.attempts > 1))

    def _limitFlag(self, retry: RetryState) -> int:
        if retry.limitReached:
            return ResponseFlag.UPSTREAM_RETRY_LIMIT_EXCEEDED
        return ResponseFlag.UPSTREAM_OVERFLOW if retry.overflowed else 0

    @property
    def _isBetweenTries(self) -> bool:
        """
        Whether it waits for its next try, and none is under way beside that.
        """
        return self._backOff is not None and not self.isHedging

    def _failed(self, reply: LocalReply) -> None:
        """
        Answer the stream in the upstream's stead.
        """
        if self._route.virtualHost.includeAttemptCountInResponse:
            counted = (b"x-envoy-attempt-count", b"%d" % self.attempts)
            reply = replace(reply, headers=(*reply.headers, counted))
        self._answer(reply)

    def _answer(self, reply: LocalReply) -> None:
        isBetweenTries = self._isBetweenTries
        self._over()
        if not isBetweenTries:
            self._count(reply.status)
        if self._router.suppressHeaders and reply.headers:
            reply = replace(reply, headers=tuple(field for field in reply.headers if field not in SUPPRESSIBLE))
        self._stream.localReply(reply)

    def _over(self) -> None:
        self.over = True
        self._endTimeouts()
        if self._retry is not None:
            self._retry.ended(False)

    # Time-outs

    def _startTimeouts(self, now: float) -> None:
        """
        The request is complete: the global time-out begins, unless it has, and that of the try.
        """
        if self._timeouts is not None and self not in self._timeouts.waiting:
            self._timeouts.start(self, now)
        if self._perTry is not None:
            self._perTry.start(self, now)
        if self._perTryIdle is not None:
            self._perTryIdle.start(self, now)

    def timedOut(self) -> None:
        """
        The global time-out struck.
        """
        if not self._isBetweenTries:
            # As in Envoy, no try is late between two of them.
            for each in self._counted:
                each.rqTimeout.value += 1
            if not self.responseStarted:
                self._endpoint.broke(204 if self._hasAltResponse else 504)
        self._giveUp(self._lateReply(Failure.UPSTREAM_TIMEOUT.value))

    def _lateReply(self, reply: LocalReply) -> LocalReply:
        """
        What is answered in place of C{reply}: 204 where the client asked for it.
        """
        return replace(reply, status=204, body=b"") if self._hasAltResponse else reply

    def tryTimedOut(self) -> None:
        """
        The time-out of this try struck.
        """
        self._stats.rqPerTryTimeout.value += 1
        self._tryLate(self._lateReply(Failure.PER_TRY_TIMEOUT.value))

    def tryIdleTimedOut(self) -> None:
        """
        Nothing came of this try for too long.
        """
        self._stats.rqPerTryIdleTimeout.value += 1
        self._tryLate(self._lateReply(Failure.PER_TRY_IDLE_TIMEOUT.value))

    def _tryLate(self, reply: LocalReply) -> None:
        retry = self._retry
        if not self.responseStarted:
            self._endpoint.broke(reply.status)
        if retry is not None and not self.responseStarted and retry.wantsRetryOfTimeout():
            self._leaveConnection()
            if self._tryAgain(None):
                self._endpointTimedOut()
                self._endpoint.rqError.value += 1
                self._isTimeoutRetry = True
                return
            self._stream.responseFlags |= self._limitFlag(retry)
        self._giveUp(reply)

    def lastedTooLong(self) -> None:
        """
        C{max_stream_duration} is over.
        """
        self._stream.manager.stats.rqMaxDurationReached.value += 1
        reply = Failure.MAX_STREAM_DURATION.value
        # Envoy's connection manager strikes here, and the router does not count it.
        self._giveUp(reply if self._stream.requestEnded else reply.withStatus(408), isEndpoints=False)

    def tryLastedTooLong(self) -> None:
        """
        The C{max_stream_duration} of the cluster is over for this try.
        """
        self._stats.rqMaxDurationReached.value += 1
        retry = self._retry
        if retry is not None and not self.responseStarted and retry.wantsRetryOfReset(ResetReason.LOCAL_RESET):
            self._leaveConnection()
            if self._tryAgain(None):
                self._endpoint.rqError.value += 1
                return
            self._stream.responseFlags |= self._limitFlag(retry)
        reply = Failure.UPSTREAM_MAX_STREAM_DURATION.value
        self._giveUp(reply if self._stream.requestEnded else reply.withStatus(408))

    def _giveUp(self, reply: LocalReply, isEndpoints: bool = True) -> None:
        if self.over:
            return
        if not self._isBetweenTries:
            # Between two tries no endpoint is late, and the last one was counted.
            self._endpointTimedOut()
            if isEndpoints and (self._awaitsStatus or (not self.responseStarted and reply.status >= 500)):
                self._endpoint.rqError.value += 1
        self._leaveConnection()
        stream = self._stream
        if self.responseStarted:
            stream.responseFlags |= reply.flag
            stream.responseCodeDetails = reply.details
            self._over()
            stream.reset()
        else:
            self._failed(reply)

    def _endpointTimedOut(self) -> None:
        self._endpoint.rqTimeout.value += 1

    def _endTimeouts(self) -> None:
        if self._timeouts is not None:
            self._timeouts.cancel(self)
        if self._perTry is not None:
            self._perTry.cancel(self)
        if self._perTryIdle is not None:
            self._perTryIdle.cancel(self)
        if self._durations is not None:
            self._durations.cancel(self)
        if self._tryDuration is not None:
            self._tryDuration.cancel(self)
        if self._backOff is not None:
            self._backOff.cancel()
            self._backOff = None

    # Trying again

    def _tryAgainAfter(self, headers: ResponseHeaders, endStream: bool) -> bool:
        """
        Leave a response aside and try again.

        @return: Whether that is done; else the response is the answer.
        """
        if self._body is None and not self._requestEnded:
            return False
        if not self._tryAgain(headers):
            assert self._retry is not None
            self._stream.responseFlags |= self._limitFlag(self._retry)
            return False
        self._stats.retried.add(COMPLETED if self._isQuiet else headers.status)
        self._endpoint.failed(outlierStatus(headers))
        if not (endStream and self._requestEnded):
            # The rest of it would have to be read, or the rest of the request sent: as in Envoy, the connection is
            # given up instead.
            self._leaveConnection()
        else:
            if self._responsePaused:
                self._unpause()
            self.connection = None
        return True

    def _tryAgain(self, headers: ResponseHeaders | None) -> bool:
        """
        Arrange another try, after a pause.
        """
        retry = self._retry
        assert retry is not None
        pause = retry.begin(headers)
        if pause is None:
            return False
        if self._perTry is not None:
            self._perTry.cancel(self)
        if self._perTryIdle is not None:
            self._perTryIdle.cancel(self)
        if self._tryDuration is not None:
            self._tryDuration.cancel(self)
        self._backOff = self._router.clock.callLater(pause, self._nextTry)
        return True

    def _nextTry(self) -> None:
        self._backOff = None
        self.connection = None
        self._responsePaused = False
        self.attempts += 1
        if self._retry is not None:
            self._retry.waited()
        if self._route.virtualHost.includeRequestAttemptCount:
            self._headers.set(b"x-envoy-attempt-count", b"%d" % self.attempts)
        if self._route.virtualHost.includeIsTimeoutRetryHeader:
            self._headers.set(b"x-envoy-is-timeout-retry", b"true" if self._isTimeoutRetry else b"false")
        self._isTimeoutRetry = False
        if self._action.others:
            if not self._changeCluster():
                return
        elif self._router.clusters.get(self._cluster.name) is not self._cluster and not self._followCluster():
            return
        left = self._timeLeft()
        if left and not self._router.suppressHeaders:
            self._headers.set(b"x-envoy-expected-rq-timeout-ms", b"%d" % max(1, round(left * 1000)))
        self._connect()

    def _changeCluster(self) -> bool:
        """
        Go on to another one of the weighted clusters; when all were tried, to any.

        @return: Whether it is there. Else the request was answered.
        """
        used: Sequence[RouteAction | None] = self._used or [self._route.action]
        others = self._action.others
        left = [each for each in others if not any(each[0].action is one for one in used)]
        if not left:
            used, left = [], list(others)
        ends = list(accumulate(weight for _, weight in left))
        route, _ = left[bisect_right(ends, self._router.random() * ends[-1])]
        action = route.action
        assert action is not None
        self._used = [*used, action]
        self._route = self._stream.route = route
        cluster = self._router.clusters.get(action.selectCluster(self._headers, self._stream))
        if cluster is None:
            self._stream.upstreamCluster = ""
        return self._goOnTo(cluster, action)

    def _followCluster(self) -> bool:
        """
        Go on to what is in the place of the cluster by now: it was replaced while the request waited, or removed.

        @return: Whether there is one. Else the request was answered.
        """
        action = self._route.action
        assert action is not None
        return self._goOnTo(self._router.clusters.get(self._cluster.name), action)

    def _goOnTo(self, cluster: Cluster | None, action: RouteAction) -> bool:
        stream = self._stream
        if cluster is None:
            # As in Envoy, it is one without endpoints.
            stream.upstreamAttempts = self.attempts
            self._failed(Failure.NO_HEALTHY_UPSTREAM.value)
            return False
        if cluster.options is not None:
            action = cluster.options.heed(action)
        self._action, self._cluster, self._stats, self._choice = action, cluster, cluster.stats, None
        stream.upstreamCluster = cluster.statName
        self._wish = self._wishOf(cluster)
        self._chooseCodes()
        return True

    def _wishOf(self, cluster: Cluster) -> TLSWish:
        """
        What the request asks of its connection.
        """
        # As in Envoy, the name is the one that the route wrote, if it did.
        wish = NO_WISH if cluster.transports.wishOf is None else cluster.transports.wishOf(self._headers)
        connection = self._stream.connection
        if cluster.isPersonal or connection.upstreamSource is not None:
            return cluster.personal(wish, connection)
        return wish

    def _timeLeft(self) -> float:
        """
        How many seconds the next try may take, 0 for no limit.
        """
        perTry = 0.0 if self._perTry is None else self._perTry.seconds
        deadline = None if self._timeouts is None else self._timeouts.waiting.get(self)
        if deadline is None:
            return perTry
        left = max(deadline - self._router.clock.seconds(), 0.001)
        return min(left, perTry) if perTry else left
