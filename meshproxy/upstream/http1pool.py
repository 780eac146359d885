# -*- test-case-name: tests.upstream.test_http1pool -*-
"""
The HTTP/1.1 connections to one endpoint, and the requests that wait for one.

A request asks by L{HTTP1Pool.request} and is told by C{connectionReady} or C{connectionFailed}, at once where a
connection is idle. Idle connections are taken newest first, so that what is not needed grows old and is closed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.interfaces import IReactorTime

from meshproxy.errors import BindFailed, ConnectTimeout
from meshproxy.flags import ResetReason
from meshproxy.interfaces import ICancellable
from meshproxy.net.deadlines import Deadlines
from meshproxy.net.idle import IdleWatch
from meshproxy.upstream.breakers import Breaker
from meshproxy.upstream.endpoint import Endpoint
from meshproxy.upstream.http1connection import HTTP1UpstreamConnection
from meshproxy.upstream.preconnect import MOST_AT_ONCE
from meshproxy.upstream.settings import ClusterSettings
from meshproxy.upstream.stats import ClusterStats

if TYPE_CHECKING:
    from meshproxy.headers import ResponseHeaders
    from meshproxy.upstream.transports import IConnector

__all__ = ["SURE", "HTTP1Pool", "IPoolRequest"]

#: Seconds that a connection may be idle without being looked at before it is used again. One that carries a request
#: after the other is not worth the call.
SURE = 0.01


class IPoolRequest(Protocol):
    """
    A request that wants a connection.
    """

    def connectionReady(self, connection: HTTP1UpstreamConnection) -> None:
        """
        Here is one; the request is its C{request} now.
        """

    def connectionFailed(self, reason: ResetReason, endpoint: Endpoint | None, why: str) -> None:
        """
        There will be none.

        @param endpoint: The endpoint, or L{None} where the request may not even wait for it.
        @param why: What the transport said, for C{%UPSTREAM_TRANSPORT_FAILURE_REASON%}.
        """


class HTTP1Pool:
    """
    One endpoint's connections for requests of one priority.

    @ivar idle: Those that carry no request, newest last.
    @ivar pending: Requests that wait, in order. A dictionary, so that one that gives up is forgotten in constant time.
    @ivar draining: Whether no connection is kept any more: the endpoint is gone.
    @ivar connectionClass: What its connections are: such as count, where somebody wants it.
    @ivar emptied: Is called when nothing is left of it, where it matters how many pools there are.
    @ivar seen: Is called with the head of each response, where anybody looks at them.
    @ivar preconnects: How many connections there are to be for each request (C{per_upstream_preconnect_ratio}).
    @ivar keepsAll: Whether a connection may carry any number of requests for any time.
    """

    connectionClass: type[HTTP1UpstreamConnection] = HTTP1UpstreamConnection
    emptied: Callable[[], object] | None = None
    seen: Callable[[ResponseHeaders], object] | None = None
    preconnects: float = 1.0

    def __init__(
        self,
        endpoint: Endpoint,
        settings: ClusterSettings,
        stats: ClusterStats,
        breaker: Breaker,
        network: IConnector,
        clock: IReactorTime,
        idleWatch: IdleWatch[HTTP1UpstreamConnection] | None,
        durations: Deadlines[HTTP1UpstreamConnection] | None = None,
    ) -> None:
        """
        @param idleWatch: Closes connections that are idle for too long; L{None} where none is.
        @param durations: Closes connections that are too old, likewise.
        """
        self.endpoint = endpoint
        self.settings = settings
        self.stats = stats
        self.breaker = breaker
        self.clock = clock
        self.seconds = clock.seconds
        self.idle: deque[HTTP1UpstreamConnection] = deque()
        self.pending: dict[IPoolRequest, None] = {}
        self.connections: set[Any] = set()
        self.draining = False
        self.keepsAll = not (settings.maxRequestsPerConnection or settings.maxConnectionDuration)
        self._network = network
        self._idleWatch = idleWatch
        self._durations = durations
        self._dials: dict[Any, ICancellable] = {}

    def request(self, request: IPoolRequest) -> None:
        """
        Ask for a connection.
        """
        breaker = self.breaker
        if self.idle:
            if breaker.requests.exhausted:
                self.stats.rqPendingOverflow.value += 1
                self.stats.rqActiveOverflow.value += 1
                request.connectionFailed(ResetReason.OVERFLOW, self.endpoint, "")
                return
            connection = self._takeIdle()
            if connection is not None:
                self._attach(connection, request)
                if self.preconnects > 1.0:
                    self._connectAhead()
                return
        self._wait(request)

    def _takeIdle(self) -> HTTP1UpstreamConnection | None:
        """
        Take the newest connection that its endpoint has not closed, as far as can be known. What it said while this
        process was busy, or had other events to look at first, is not read yet: a request would be lost there.
        """
        idle = self.idle
        now = self.clock.seconds()
        for _ in range(len(idle)):
            connection = idle.pop()
            if now - connection.idleSince < SURE or not connection.hasNews:
                return connection
            idle.appendleft(connection)
        return None

    def _wait(self, request: IPoolRequest) -> None:
        """
        There is no connection for a request: let it wait for one.
        """
        breaker = self.breaker
        if breaker.pending.exhausted:
            self.stats.rqPendingOverflow.value += 1
            request.connectionFailed(ResetReason.OVERFLOW, None, "")
            return
        breaker.pending.take()
        self.stats.rqPendingTotal.value += 1
        self.stats.rqPendingActive.value += 1
        self.pending[request] = None
        self._connectIfNeeded()

    def cancel(self, request: IPoolRequest) -> None:
        """
        A request that waits gives up.
        """
        if request in self.pending:
            self._unqueue(request)
            self.stats.rqCancelled.value += 1
            if not self.pending:
                self._abandonDials()

    def handOver(self, request: IPoolRequest, other: IPoolRequest) -> None:
        """
        Another one waits in the place of a request.
        """
        self.pending = {other if each is request else each: None for each in self.pending}

    def _abandonDials(self) -> None:
        # As in Envoy, an attempt that nobody waits for is given up when it is one too many.
        for connection in list(self._dials):
            self._dials.pop(connection).cancel()
            connection.closedHere = True
            self._closed(connection)

    def _attach(self, connection: HTTP1UpstreamConnection, request: IPoolRequest) -> None:
        self.took()
        connection.begin(request)  # type: ignore[arg-type]  # whoever asks a pool for a connection takes its events
        request.connectionReady(connection)

    def took(self) -> None:
        """
        Count a request that gets a connection.
        """
        requests = self.breaker.requests
        requests.used += 1
        if requests.used >= requests.watched:
            requests.tell()
        stats = self.stats
        stats.rqTotal.value += 1
        stats.rqActive.value += 1
        endpoint = self.endpoint
        endpoint.rqTotal.value += 1
        endpoint.active += 1

    def requestEnded(self) -> None:
        """
        A request left its connection; what L{_attach} took is given back.
        """
        requests = self.breaker.requests
        requests.used -= 1
        if requests.used + 1 >= requests.watched:
            requests.tell()
        self.stats.rqActive.value -= 1
        self.endpoint.active -= 1

    def _unqueue(self, request: IPoolRequest) -> None:
        del self.pending[request]
        self.breaker.pending.give()
        self.stats.rqPendingActive.value -= 1

    # Connections

    def _connectIfNeeded(self) -> None:
        if self.preconnects > 1.0:
            self._connectAhead()
        elif len(self._dials) < len(self.pending):
            self._connect()

    @property
    def active(self) -> int:
        """
        How many connections carry a request.
        """
        return len(self.connections) - self.capacity

    @property
    def capacity(self) -> int:
        """
        How many connections wait for one, or are being made.
        """
        return len(self.idle) + len(self._dials)

    def _wants(self, ratio: float, more: int = 0) -> bool:
        """
        Whether there are too few connections.

        @param more: How many requests are expected besides.
        """
        return (len(self.pending) + self.active + more) * ratio > len(self.connections)

    def _connectAhead(self) -> None:
        # As in Envoy, one that is ill is not made to work more than it has to.
        ratio = self.preconnects if self.endpoint.healthy else 1.0
        for _ in range(MOST_AT_ONCE):
            if not self._wants(ratio) or not self._connect():
                return

    def prepare(self, ratio: float) -> bool:
        """
        Make a connection for a request to come, if there is none for it.

        @return: Whether one is made.
        """
        return self._wants(ratio, 1) and self._connect()

    def _connect(self) -> bool:
        breaker = self.breaker
        if breaker.connections.exhausted or self.endpoint.cxActive.value >= breaker.perHost:
            self.stats.cxOverflow.value += 1
            # As in Envoy, an endpoint without any connection gets one in spite of the limit, lest it starve.
            if self.connections:
                return False
        breaker.connections.take()
        stats = self.stats
        stats.cxTotal.value += 1
        stats.cxActive.value += 1
        self.endpoint.cxTotal.value += 1
        self.endpoint.cxActive.value += 1
        connection = self._make()
        self.connections.add(connection)
        self._dials[connection] = self._network.connect(
            self.endpoint.address,
            connection,
            lambda error: self._dialFailed(connection, error),
            self.settings.connectTimeout,
            self.settings.bufferLimit,
            self.settings.socketOptions,
        )
        return True

    def _make(self) -> HTTP1UpstreamConnection:
        self.stats.cxHttp1Total.value += 1
        return self.connectionClass(self)

    def connected(self, connection: Any) -> None:
        """
        A connection that was being made is there.
        """
        del self._dials[connection]
        now = self.clock.seconds()
        self.stats.cxConnectMs.record(int((now - connection.began) * 1000))
        if self._idleWatch is not None:
            self._idleWatch.start(connection, now)
        if self._durations is not None:
            self._durations.start(connection, now)
        self.release(connection)

    def _dialFailed(self, connection: HTTP1UpstreamConnection, error: Exception) -> None:
        del self._dials[connection]
        stats = self.stats
        self.endpoint.cxConnectFail.value += 1
        stats.cxConnectFail.value += 1
        reason = ResetReason.REMOTE_CONNECTION_FAILURE
        if isinstance(error, ConnectTimeout):
            stats.cxConnectTimeout.value += 1
            reason = ResetReason.CONNECTION_TIMEOUT
        elif isinstance(error, BindFailed):
            stats.bindErrors.value += 1
            reason = ResetReason.LOCAL_CONNECTION_FAILURE
        self._closed(connection)
        # As in Envoy, all that wait fail with the attempt: they go on to another endpoint, or tell their peer.
        waiting = list(self.pending)
        for request in waiting:
            self._unqueue(request)
            stats.rqPendingFailureEject.value += 1
        why = "" if isinstance(error, ConnectTimeout) else str(error)
        for request in waiting:
            self.endpoint.rqError.value += 1
            request.connectionFailed(reason, self.endpoint, why)

    def release(self, connection: HTTP1UpstreamConnection) -> None:
        """
        A connection has nothing to do: give it the request that waited longest, or keep it.
        """
        while self.pending:
            request = next(iter(self.pending))
            self._unqueue(request)
            if not self.breaker.requests.exhausted:
                self._attach(connection, request)
                return
            self.stats.rqPendingOverflow.value += 1
            self.stats.rqActiveOverflow.value += 1
            request.connectionFailed(ResetReason.OVERFLOW, self.endpoint, "")
        if self.draining:
            connection.close()
        else:
            connection.idleSince = self.clock.seconds()
            self.idle.append(connection)

    def leaving(self, connection: HTTP1UpstreamConnection) -> None:
        """
        A connection is about to close: no request gets it any more.
        """
        try:
            self.idle.remove(connection)
        except ValueError:
            pass  # it is not idle

    def connectionLost(self, connection: Any) -> None:
        """
        A connection that was there is gone.
        """
        self.leaving(connection)
        if self._idleWatch is not None:
            self._idleWatch.stop(connection)
        if self._durations is not None:
            self._durations.cancel(connection)
        self.stats.cxLengthMs.record(int((self.clock.seconds() - connection.began) * 1000))
        self.stats.rqPerCx.record(connection.served)
        self._closed(connection)
        if self.pending:
            self._connectIfNeeded()

    def _closed(self, connection: HTTP1UpstreamConnection) -> None:
        self.connections.discard(connection)
        self.breaker.connections.give()
        self.stats.cxActive.value -= 1
        self.endpoint.cxActive.value -= 1
        self.stats.cxDestroy.value += 1
        if connection.closedHere:
            self.stats.cxDestroyLocal.value += 1
        else:
            self.stats.cxDestroyRemote.value += 1
        if self.emptied is not None and self.isEmpty:
            self.emptied()

    @property
    def isEmpty(self) -> bool:
        """
        Whether there is neither a connection nor somebody who waits for one.
        """
        return not self.connections and not self.pending

    @property
    def isBusy(self) -> bool:
        """
        Whether a connection carries a request, or somebody waits for one.
        """
        return bool(self.pending) or len(self.connections) > len(self.idle)

    def drain(self) -> None:
        """
        Keep nothing any more: the endpoint is gone, or the cluster. Requests under way end in peace.
        """
        self.draining = True
        for connection in list(self.idle):
            connection.close()
