# -*- test-case-name: tests.http.test_hedging -*-
"""
Requests whose late tries go on (C{hedge_on_per_try_timeout}): at the end of its time a try is not given up, but another
one begins beside it, and the first good response is the answer.

A late try that ends badly is left aside as long as another one may still answer. It is never tried again itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.python.failure import Failure as TwistedFailure

from meshproxy.errors import LocalProtocolError
from meshproxy.flags import LocalReply, ResetReason, upstreamResetReply
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from meshproxy.http.routedrequest import RoutedRequest
from meshproxy.http.tries import outlierStatus
from meshproxy.routing.route import Route
from meshproxy.upstream.endpoint import Endpoint
from meshproxy.upstream.http1connection import HTTP1UpstreamConnection
from meshproxy.upstream.http1pool import HTTP1Pool

if TYPE_CHECKING:
    from meshproxy.upstream.wirecount import IUpstreamCounts

__all__ = ["HedgingRequest", "LateTry", "mayHedge"]

_HEDGE = b"x-envoy-hedge-on-per-try-timeout"


def mayHedge(route: Route, headers: RequestHeaders) -> bool:
    """
    Whether the route, or the request itself, asks for it.
    """
    action = route.action
    return _HEDGE in headers.first or (action is not None and action.hedges)


class LateTry:
    """
    A try that had its time and goes on. Pool and connection tell it what they would tell the request.

    @ivar connection: What it goes by, if it has one already.
    @ivar endpoint: Where to.
    @ivar began: When, by the clock.
    @ivar ready: When its connection was there; L{None} where it was there at once.
    """

    __slots__ = ("_pool", "_request", "began", "connection", "endpoint", "ready")

    def __init__(
        self,
        request: HedgingRequest,
        endpoint: Endpoint,
        began: float,
        connection: HTTP1UpstreamConnection | None,
        pool: HTTP1Pool | None,
    ) -> None:
        self._request = request
        self.endpoint = endpoint
        self.began = began
        self.connection = connection
        self._pool = pool
        self.ready: float | None = None

    @property
    def countedFor(self) -> IUpstreamCounts | None:
        """
        See L{RoutedRequest.countedFor}.
        """
        return self._request.countedFor

    def leave(self) -> None:
        """
        Give it up.
        """
        pool, self._pool = self._pool, None
        connection, self.connection = self.connection, None
        if pool is not None:
            pool.cancel(self)
        if connection is not None:
            connection.reset(self)

    # Told by the pool

    def connectionReady(self, connection: HTTP1UpstreamConnection) -> None:
        """
        See L{meshproxy.upstream.http1pool.IPoolRequest.connectionReady}.
        """
        self._pool = None
        self.connection = connection
        self.ready = self._request.lateConnected(self, connection)
        self._request.sendLate(connection)

    def connectionFailed(self, reason: ResetReason, endpoint: Endpoint | None, why: str) -> None:
        """
        See L{meshproxy.upstream.http1pool.IPoolRequest.connectionFailed}.
        """
        self._pool = None
        self._request.lateFailed(self, reason, why)

    # Told by filters that it passes

    def connected(self, connection: HTTP1UpstreamConnection, waited: bool) -> None:
        """
        See L{meshproxy.http.filteredtry.IFilteredRequest.connected}.
        """
        self.ready = self._request.lateConnected(self, connection)

    def filterReplied(self, reply: LocalReply) -> None:
        """
        See L{meshproxy.http.filteredtry.IFilteredRequest.filterReplied}: as in Envoy, that is the answer.
        """
        self._request.filterReplied(reply)

    def filterRaised(self, failure: TwistedFailure) -> None:
        """
        See L{meshproxy.http.filteredtry.IFilteredRequest.filterRaised}.
        """
        self._request.filterRaised(failure)

    def filterReset(self) -> None:
        """
        See L{meshproxy.http.filteredtry.IFilteredRequest.filterReset}.
        """
        self._request.filterReset()

    # Told by the connection

    def informationalReceived(self, headers: ResponseHeaders) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.informationalReceived}: which try will answer is not
        known yet.
        """

    def responseReceived(self, headers: ResponseHeaders, endStream: bool) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.responseReceived}.
        """
        if self._request.takes(self, headers):
            self._request.responseReceived(headers, endStream)

    def wholeReceived(self, headers: ResponseHeaders, body: bytes) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.wholeReceived}.
        """
        if self._request.takes(self, headers):
            self._request.wholeReceived(headers, body)

    def dataReceived(self, data: bytes, endStream: bool) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.dataReceived}: nothing comes here, since the request
        is told of what it takes.
        """

    def trailersReceived(self, trailers: HeaderMap) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.trailersReceived}.
        """

    def upstreamReset(self, reason: ResetReason, why: str) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.upstreamReset}.
        """
        self.connection = None
        self._request.lateFailed(self, reason, why)

    def tunnelEnded(self) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.tunnelEnded}: tunnels are not hedged.
        """

    def pauseRequest(self) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.pauseRequest}: the downstream has sent it all.
        """

    def resumeRequest(self) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.resumeRequest}.
        """


class HedgingRequest(RoutedRequest):
    """
    A request with late tries.

    @ivar late: They, the oldest first.
    """

    late: tuple[LateTry, ...] = ()
    _isTaken = False

    def _readOrders(self, headers: RequestHeaders) -> float:
        asked = headers.first.get(_HEDGE)
        total = super()._readOrders(headers)
        wanted = asked == b"true" if asked in (b"true", b"false") else self._action.hedges
        self.isHedging = wanted and not self._stream.upgrade
        return total

    def _timeLeft(self) -> float:
        deadline = None if self._timeouts is None else self._timeouts.waiting.get(self)
        if not self.isHedging or deadline is None:
            return super()._timeLeft()
        return max(deadline - self._router.clock.seconds(), 0.001)

    # A try is late

    def tryTimedOut(self) -> None:
        """
        See L{RoutedRequest.tryTimedOut}: begin another one, if the policy has any left. As in Envoy, it need not say
        that it wants one after a time-out.
        """
        if not self.isHedging:
            super().tryTimedOut()
            return
        retry = self._retry
        if retry is None or self.responseStarted or self.over:
            return
        late = LateTry(self, self._endpoint, self._tryBegan, self.connection, self._pool)
        late.ready = self._stream.waitedForConnection
        self._endpoint.broke(504)
        if not self._tryAgain(None):
            self._stream.responseFlags |= self._limitFlag(retry)
            return
        self._isTimeoutRetry = True
        pool, self._pool = self._pool, None
        connection, self.connection = self.connection, None
        if pool is not None:
            pool.handOver(self, late)
        if connection is not None:
            connection.handOver(late)
        self.late = (*self.late, late)

    def lateConnected(self, late: LateTry, connection: HTTP1UpstreamConnection) -> float:
        """
        A late try got its connection.

        @return: When, by the clock.
        """
        for each in self._also:
            each.rqTotal.value += 1
        return self._router.clock.seconds()

    def sendLate(self, connection: HTTP1UpstreamConnection) -> None:
        """
        Send the request of a late try.
        """
        try:
            if self._body is None:
                connection.sendHeaders(self._headers, True)
            else:
                self._sendKept(connection, self._body)
        except LocalProtocolError:
            self._stream.filterRaised(TwistedFailure())

    # And ends

    @property
    def _mayAnswer(self) -> bool:
        """
        Whether another try may still answer.
        """
        return bool(self.late) or self.connection is not None or self._pool is not None or self._backOff is not None

    def takes(self, late: LateTry, headers: ResponseHeaders) -> bool:
        """
        A late try has a response. A good one is the answer, and so is any where there will be no other.

        @return: Whether it is; the request is told of it then.
        """
        self._forget(late)
        assert self._retry is not None
        if self._retry.wantsRetryOf(headers) and self._mayAnswer:
            late.endpoint.failed(outlierStatus(headers))
            late.leave()
            return False
        if self._perTry is not None:
            self._perTry.cancel(self)
        if self._backOff is not None:
            self._backOff.cancel()
            self._backOff = None
        self._leaveConnection()
        connection, late.connection = late.connection, None
        assert connection is not None
        connection.handOver(self)
        self.connection = self._stream.upstreamConnection = connection
        self._endpoint = self._stream.upstreamHost = late.endpoint
        self._tryBegan = self._stream.waitedSince = late.began
        self._stream.waitedForConnection = late.ready
        self._isTaken = True
        return True

    def lateFailed(self, late: LateTry, reason: ResetReason, why: str) -> None:
        """
        A late try ended without a response.
        """
        self._forget(late)
        if self.over or self.responseStarted:
            return
        late.endpoint.rqError.value += 1
        late.endpoint.broke()
        if not self._mayAnswer:
            self._failed(upstreamResetReply(reason, why, self.attempts > 1))

    def _forget(self, late: LateTry) -> None:
        self.late = tuple(each for each in self.late if each is not late)

    def _dropLate(self) -> None:
        late, self.late = self.late, ()
        for each in late:
            each.leave()

    # What changes for the newest try

    def responseReceived(self, headers: ResponseHeaders, endStream: bool) -> None:
        """
        See L{RoutedRequest.responseReceived}.
        """
        super().responseReceived(headers, endStream)
        if self.responseStarted or self.over:
            self._dropLate()

    def _tryAgainAfter(self, headers: ResponseHeaders, endStream: bool) -> bool:
        if self._isTaken:
            return False
        if super()._tryAgainAfter(headers, endStream):
            return True
        if not self.late:
            return False
        # There is no further try, but a late one may still answer.
        self._endpoint.failed(outlierStatus(headers))
        self._leaveConnection()
        return True

    def _reset(self, reason: ResetReason, why: str) -> None:
        retry = self._retry
        if not self.late or self.over or self.responseStarted or retry is None:
            super()._reset(reason, why)
            return
        if retry.wantsRetryOfReset(reason):
            if self._tryAgain(None):
                return
            self._stream.responseFlags |= self._limitFlag(retry)
        # A late try may still answer.
        if self._perTry is not None:
            self._perTry.cancel(self)

    def timedOut(self) -> None:
        """
        See L{RoutedRequest.timedOut}: as in Envoy, each try that waits is counted.
        """
        waits = self.connection is not None or self._pool is not None
        for each in self._counted:
            each.rqTimeout.value += len(self.late) - (bool(self.late) and not waits)
        for late in self.late:
            late.endpoint.rqTimeout.value += 1
        super().timedOut()

    def _over(self) -> None:
        super()._over()
        self._dropLate()
