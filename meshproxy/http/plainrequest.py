# -*- test-case-name: tests.http.test_router -*-
"""
The short way of the most usual requests, to a route that asks for little: those that are nothing but a head, and those
whose body came with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshproxy.codec.http1 import DECIMAL
from meshproxy.headers import ResponseHeaders
from meshproxy.http.routedrequest import RoutedRequest
from meshproxy.http.shortrequest import RetriedShortRequest, ShortRequest
from meshproxy.upstream.http1pool import SURE

if TYPE_CHECKING:
    from meshproxy.headers import RequestHeaders
    from meshproxy.http.router import Plan, Router
    from meshproxy.http.stream import Stream
    from meshproxy.http.unary import UnaryStream
    from meshproxy.routing.route import Route
    from meshproxy.upstream.cluster import Cluster
    from meshproxy.upstream.endpoint import Endpoint
    from meshproxy.upstream.http1pool import HTTP1Pool
    from meshproxy.upstream.stats import ClusterStats

__all__ = ["PlainRequest", "RetriedPlainRequest", "carryWithBody"]


class PlainRequest(ShortRequest):
    """
    A request that came whole, to a route that asks for nothing but a cluster, a time-out, and changes of heads.
    L{meshproxy.http.router.Router} makes it and puts it on a connection, in one step.
    """

    __slots__ = ()

    def __init__(
        self, router: Router, stream: Stream, route: Route, stats: ClusterStats, endpoint: Endpoint, now: float
    ) -> None:
        """
        @param now: The clock's seconds.
        """
        self._router = router
        self._stream = stream
        self._route = route
        self._action = route.action  # type: ignore[assignment]  # a route of this kind has one
        self._stats = stats
        self._endpoint = endpoint
        self._tryBegan = now
        self._timeouts = self.connection = None
        self._responsePaused = self.responseStarted = self.over = False

    def wholeReceived(self, headers: ResponseHeaders, body: bytes) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.wholeReceived}: the same as the base class does, but
        for what such a request does not have.

        @param body: Empty for a response that ends with its head.
        """
        stream = self._stream
        router = self._router
        seconds = router.seconds
        now = seconds()
        stream.upstreamResponseStart = stream.upstreamResponseEnd = now
        stats = self._stats
        try:
            stats.responses.counts[headers.status] += 1
        except KeyError:
            stats.responses.add(headers.status)
        endpoint = self._endpoint
        if headers.status < 500:
            endpoint.rqSuccess.value += 1
        else:
            endpoint.failed(headers.status)
        sent = elapsed = int((now - stream.requestEnd) * 1000.0)  # type: ignore[operator]  # it had ended when this was made
        if self._tryBegan != stream.requestEnd:
            elapsed = int((now - self._tryBegan) * 1000.0)
        if not router.suppressHeaders:
            headers.first[b"x-envoy-upstream-service-time"] = DECIMAL[sent]
        finalize = self._route.finalizeResponseHeaders
        if finalize is not None:
            self._finalizeResponse(finalize, headers)
        self.responseStarted = self.over = True
        stream.responseCodeDetails = "via_upstream"
        if self._timeouts is not None:
            self._timeouts.waiting.pop(self, None)
        if self._responsePaused:
            self._unpause()
        self.connection = None
        try:
            stats.rqTime.bins[elapsed] += 1
        except KeyError:
            stats.rqTime.record(elapsed)
        stream.responseReceived(headers, body, now)

    def responseReceived(self, headers: ResponseHeaders, endStream: bool) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.responseReceived}: one that ends with its head is
        whole, too.
        """
        if endStream and headers.more is None:
            PlainRequest.wholeReceived(self, headers, b"")
        else:
            RoutedRequest.responseReceived(self, headers, endStream)


class RetriedPlainRequest(RetriedShortRequest, PlainRequest):
    """
    Such a request to a route with a retry policy that asks nothing of a request, and of a try to be in time at most.
    """

    __slots__ = ()

    def __init__(
        self,
        router: Router,
        stream: Stream,
        plan: Plan,
        cluster: Cluster,
        endpoint: Endpoint,
        headers: RequestHeaders,
        message: bytes | None,
        now: float,
    ) -> None:
        """
        @param message: The body that came with the head, if it has one.
        @param now: The clock's seconds.
        """
        self._router = router
        self._stream = stream
        self._route = plan.route
        self._action = plan.route.action  # type: ignore[assignment]  # a route of this kind has one
        self._stats = cluster.stats
        self._endpoint = endpoint
        self._tryBegan = now
        self._timeouts = self.connection = None
        self._responsePaused = self.responseStarted = self.over = False
        self._plan = plan
        self._cluster = cluster
        self._headers = headers
        self._message = message
        self._refusable = plan.refusable
        if plan.perTry is not None:
            self._perTry = plan.perTry
            plan.perTry.start(self, now)

    def wholeReceived(self, headers: ResponseHeaders, body: bytes) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.wholeReceived}.
        """
        first = headers.first
        if headers.status in self._refusable or b"x-envoy-ratelimited" in first or b"grpc-status" in first:
            RoutedRequest.wholeReceived(self, headers, body)
            return
        perTry = self._plan.perTry
        if perTry is not None:
            perTry.waiting.pop(self, None)
        PlainRequest.wholeReceived(self, headers, body)

    def responseReceived(self, headers: ResponseHeaders, endStream: bool) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.responseReceived}.
        """
        first = headers.first
        if (
            not endStream
            or headers.more is not None
            or headers.status in self._refusable
            or b"x-envoy-ratelimited" in first
            or b"grpc-status" in first
        ):
            RoutedRequest.responseReceived(self, headers, endStream)
            return
        perTry = self._plan.perTry
        if perTry is not None:
            perTry.waiting.pop(self, None)
        PlainRequest.wholeReceived(self, headers, b"")


def carryWithBody(
    router: Router,
    stream: UnaryStream,
    headers: RequestHeaders,
    plan: Plan,
    cluster: Cluster,
    endpoint: Endpoint,
    pool: HTTP1Pool,
) -> bool:
    """
    Put a request with its body on a connection that waits: what L{Router.route<meshproxy.http.router.Router.route>}
    does with one that is nothing but a head, and spares a call.

    @return: Whether that was done; else nothing was.
    """
    # Where no filter held it, it came just now.
    now = router.clock.seconds() if stream.isInvolved else stream.startMonotonic
    requests = pool.breaker.requests
    body = stream.message
    connection = pool.idle[-1]
    if (
        body is None
        or requests.used + 1 >= requests.watched
        or (now - connection.idleSince >= SURE and connection.hasNews)
    ):
        return False
    manager = stream.manager
    stats = cluster.stats
    request: PlainRequest
    if plan.retries is None:
        request = PlainRequest(router, stream, plan.route, stats, endpoint, now)
    else:
        request = RetriedPlainRequest(router, stream, plan, cluster, endpoint, headers, body, now)
    stream.upstream = request
    manager.stats.rqUpstreamTotal.value += 1
    stream.upstreamCluster = cluster.statName
    stream.upstreamHost = endpoint
    stream.upstreamAttempts = 1
    finalize = plan.finalize
    if finalize is not None:
        if router.suppressHeaders:
            stream.tellsOriginalPath = False
        finalize(headers, stream)
    if plan.countsAttempts:
        headers.set(b"x-envoy-attempt-count", b"1")
    timeouts = plan.timeouts
    if timeouts is not None:
        request._timeouts = timeouts
        timeouts.start(request, now)
    if plan.expected is not None:
        headers.first[b"x-envoy-expected-rq-timeout-ms"] = plan.expected
    del pool.idle[-1]
    requests.used += 1
    stats.rqTotal.value += 1
    stats.rqActive.value += 1
    endpoint.rqTotal.value += 1
    endpoint.active += 1
    request.connection = stream.upstreamConnection = connection
    stream.isTaken = True
    stream.bytesReceived = len(body)
    stream.requestEnd = stream.lastActive = now
    manager.requestComplete(stream)
    connection.carryCall(request, headers, body)
    return True
