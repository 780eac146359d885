# -*- test-case-name: tests.http.test_unary,tests.http.test_unaryretries,tests.http.test_unaryflow -*-
"""
The short way of calls of gRPC that are one message each way, and of other requests whose body came with their head as
far as to L{carryWithBody<meshproxy.http.plainrequest.carryWithBody>}.

It is for a request over HTTP/2 whose head and only DATA frame came in one read, to a route that asks for little and a
cluster of HTTP/2 with a connection that has room. Such a call takes one step from the codec through the route to the
upstream connection, and leaves there as HEADERS and DATA at once. Its answer takes one step back where head, message
and trailers come in one read, too, and no filter looks at messages or trailers.

Whatever is otherwise is done as for any request: by L{Stream}, which takes the message after the head, and by
L{RoutedRequest}, which takes the answer in parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.python.failure import Failure as TwistedFailure

from meshproxy.codec.http1 import DECIMAL
from meshproxy.codec.http2.states import StreamState
from meshproxy.errors import LocalProtocolError
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders, isGRPC
from meshproxy.http.chain import FilterChain
from meshproxy.http.orders import ORDERS
from meshproxy.http.plainrequest import carryWithBody
from meshproxy.http.routedrequest import RoutedRequest
from meshproxy.http.shortrequest import RetriedShortRequest
from meshproxy.http.stream import Stream
from meshproxy.net.instances import withAttributes
from meshproxy.routing.timeouts import effectiveMaxStreamDuration
from meshproxy.upstream.http2pool import HTTP2Pool

if TYPE_CHECKING:
    from meshproxy.http.router import Plan, Router
    from meshproxy.http.streamside import StreamSide
    from meshproxy.http.tries import TriedRequest
    from meshproxy.net.deadlines import Deadlines
    from meshproxy.routing.route import RouteAction
    from meshproxy.upstream.cluster import Cluster
    from meshproxy.upstream.endpoint import Endpoint

__all__ = ["CallDeadlines", "UnaryRequest", "UnaryStream", "route"]

_CLOSED = StreamState.CLOSED

_TIMEOUT = b"grpc-timeout"

# A client may ask for any. Those of gRPC have nine bytes at most; what is longer is no deadline.
_MOST_DEADLINES = 256
_LONGEST_DEADLINE = 9

# The one order to a router that is heeded here.
_hasNoOther = (ORDERS - {_TIMEOUT}).isdisjoint


@withAttributes("responseTrailers", "counted", "_upstreamPaused", "_requestWalk", "_responseWalk")
class UnaryStream(Stream):
    """
    A stream whose request came whole, by HTTP/2.

    @ivar message: What follows the head of the request, while the router may take it in the same step.
    @ivar isTaken: Whether it did.
    """

    __slots__ = ("isTaken", "message")

    message: bytes | None
    isTaken: bool
    if TYPE_CHECKING:
        downstream: StreamSide

    def begin(self, chain: FilterChain) -> None:
        """
        See L{Stream.begin}. A router that is told now takes the message, too, where all other filters let it pass.
        """
        if not chain.passesCalls:
            self.message = None
            Stream.begin(self, chain)
            return
        self.chain = chain
        try:
            passage = chain.passRequestHeaders
            passage(self, self.requestHeaders, False)
            view = chain.viewCall
            if view is not None and self.isTaken:
                view(self, self.message, True)
        except Exception:
            self.filterRaised(TwistedFailure())
        self.message = None

    @property
    def goesStraight(self) -> bool:
        """
        Whether no filter made the request wait.
        """
        return not self.isInvolved or self._requestWalk is None

    def answerReceived(self, headers: ResponseHeaders, body: bytes, trailers: HeaderMap, now: float) -> None:
        """
        A whole answer enters the chain at once: the same as L{Stream.responseHeadersReceived},
        L{Stream.responseDataReceived} and L{Stream.responseTrailersReceived} one after the other.

        @param now: The clock's seconds.
        """
        self.responseHeaders = headers
        chain = self.chain
        if chain.responseHeaders:
            try:
                passage = chain.passResponseHeaders
                passed = passage(self, headers, False)
            except Exception:
                self.filterRaised(TwistedFailure())
                passed = False
            if not passed:
                if not self.over:
                    self.responseDataReceived(body, False)
                if not self.over:
                    self.responseTrailersReceived(trailers)
                return
        manager = self.manager
        finish = manager.finishResponse
        finish(self, headers)
        self.responseCode = headers.status
        self.bytesSent = len(body)
        self.lastActive = self.responseStart = now
        self.responseTrailers = trailers
        view = chain.viewAnswer
        if view is not None:
            try:
                view(self, body, trailers)
            except Exception:
                self.filterRaised(TwistedFailure())
                return
        self.responseEnded = self.responseHalted = True
        side = self.downstream
        connection = side.connection
        if manager.draining:
            connection.responding(self)
        codecStream = side.codecStream
        try:
            connection.codec.answer(codecStream, headers, body, trailers)
        except LocalProtocolError as error:
            side.unwritable(error)
            return
        if not connection.isWoken:
            connection.wake()
        if self.over:
            return
        if self.isInvolved or chain.streamEnded:
            self._end(now)
            return
        # Nothing is left over: the rest of what _end does. The request is over, and has left its connection.
        self.over = True
        self.end = now
        manager.streamEnded(self)
        self.upstream = None
        sides = connection.sides
        if connection.isWoken and len(sides) > 1 and codecStream.state is _CLOSED and not connection.closing:
            # What L{StreamSide.streamEnded} does where others are under way.
            side.stream = None
            sides.pop(side, None)
        else:
            side.streamEnded(self)


def route(router: Router, stream: UnaryStream, headers: RequestHeaders, plan: Plan) -> bool:
    """
    Send a call to its upstream, where that goes in one step: what L{RoutedRequest.start}, the pool, the connection and
    L{RoutedRequest.sendData} would do one after the other.

    @return: Whether the request is on its way, with its message (then the stream says so) or without; else nothing was
        done.
    """
    first = headers.first
    cluster = router.clusters.get(plan.cluster) if plan.carriesCalls else None
    message = stream.message
    assert message is not None
    if (
        cluster is None
        or not cluster.carriesCalls
        or (
            stream.isInvolved
            and (not stream.goesStraight or stream.healthCheck or stream.connection.upstreamSource is not None)
        )
        or not _hasNoOther(first)
        or (plan.timesCalls and _TIMEOUT in first)
        or (plan.countsInternal and b"x-envoy-internal" in first)
        or (plan.retries is not None and len(message) > plan.bodyLimit(stream))
    ):
        return False
    choose = cluster.chooseEndpoint
    endpoint = choose()
    pool = connection = None
    if endpoint is not None and (pool := endpoint.pools.get("DEFAULT")) is not None:
        if isinstance(pool, HTTP2Pool):
            connection = pool.withRoom()
        if (
            pool.idle
            and plan.isPlain
            and _TIMEOUT not in first
            # Whether a call of gRPC succeeded is not told by its status of HTTP.
            and not isGRPC(headers)
            and carryWithBody(router, stream, headers, plan, cluster, endpoint, pool)
        ):
            return True
    if (
        endpoint is None
        or connection is None
        or (requests := connection.pool.breaker.requests).used + 1 >= requests.watched
    ):
        stream.upstream = RoutedRequest(router, stream, plan.route)
        stream.upstream.start(headers, False, endpoint)
        return True
    manager = stream.manager
    # Where no filter held it, it came just now.
    now = router.clock.seconds() if stream.isInvolved else stream.startMonotonic
    stream.upstream = request = UnaryRequest(router, stream, plan, cluster, endpoint, headers, now)
    manager.stats.rqUpstreamTotal.value += 1
    stream.upstreamCluster = cluster.statName
    stream.upstreamHost = endpoint
    stream.upstreamAttempts = 1
    if _TIMEOUT in first or plan.lasts:
        deadlines = plan.deadlines
        asked = first.get(_TIMEOUT)
        known = (deadlines.grpc if request._isGRPC else deadlines.others).get(asked)
        if known is None or headers.more is not None:
            durations = deadlines.heed(headers, request._isGRPC)
        else:
            told, durations = known
            if told is not asked and told is not None:
                first[_TIMEOUT] = told
        if durations is not None:
            request._durations = durations
            durations.waiting[request] = now + durations.seconds
            if durations.call is None:
                durations.arm()
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
            first[b"x-envoy-expected-rq-timeout-ms"] = plan.expected
    # What L{HTTP1Pool.took} does; that no gauge changes was seen above.
    requests.used += 1
    stats = cluster.stats
    stats.rqTotal.value += 1
    stats.rqActive.value += 1
    endpoint.rqTotal.value += 1
    endpoint.active += 1
    takes = plan.takesAnswers if stream.chain.passesAnswers else 0
    try:
        stream.upstreamConnection = connection.carry(request, headers, message, takes)  # type: ignore[assignment]
    except LocalProtocolError:
        # Filters made a head of it that cannot be written.
        stream.upstreamConnection = request.connection
        request._requestEnded = False
        stream.filterRaised(TwistedFailure())
        return True
    stream.isTaken = True
    stream.bytesReceived = len(message)
    stream.requestEnd = stream.lastActive = now
    if manager.requestDeadlines is not None:
        manager.requestDeadlines.cancel(stream)
    return True


class CallDeadlines:
    """
    How long the calls of one route may last, by what they ask for. Few different deadlines are asked for, and what
    becomes of each is remembered.

    @ivar grpc: For calls of gRPC, by what they ask for: what the service is told, and where they wait.
    @ivar others: The same for others.
    """

    __slots__ = ("_action", "_router", "grpc", "others")

    def __init__(self, router: Router, action: RouteAction) -> None:
        self._router = router
        self._action = action
        self.grpc: dict[bytes | None, tuple[bytes | None, Deadlines[TriedRequest] | None]] = {}
        self.others: dict[bytes | None, tuple[bytes | None, Deadlines[TriedRequest] | None]] = {}

    def heed(self, headers: RequestHeaders, isGRPC: bool) -> Deadlines[TriedRequest] | None:
        """
        Tell the service how long it has, for which nobody asked before, and where the call waits for its end, if there
        is one.
        """
        asked = headers.first.get(_TIMEOUT)
        memory = self.grpc if isGRPC else self.others
        duration = effectiveMaxStreamDuration(self._action, headers)
        queue = self._router.durations[duration] if duration else None
        if asked is None or len(asked) <= _LONGEST_DEADLINE:
            if len(memory) >= _MOST_DEADLINES:
                memory.clear()
            memory[asked] = (headers.first.get(_TIMEOUT), queue)
        return queue


class UnaryRequest(RetriedShortRequest):
    """
    A call that L{route} made and put on a connection, in one step. Whatever happens then besides a whole answer is the
    business of its base class, further tries among them.
    """

    __slots__ = ("_durations", "_isGRPC")

    def __init__(
        self,
        router: Router,
        stream: UnaryStream,
        plan: Plan,
        cluster: Cluster,
        endpoint: Endpoint,
        headers: RequestHeaders,
        now: float,
    ) -> None:
        """
        @param now: The clock's seconds.
        """
        self._router = router
        self._stream: UnaryStream = stream
        self._plan = plan
        self._route = plan.route
        self._action = plan.route.action  # type: ignore[assignment]  # a route of this kind has one
        self._cluster = cluster
        self._stats = cluster.stats
        self._endpoint = endpoint
        self._headers = headers
        self._message = stream.message
        self._refusable = ()
        self._tryBegan = now
        self._isGRPC = headers.first.get(b"content-type") == b"application/grpc" or isGRPC(headers)
        self._timeouts = self._durations = self.connection = None
        self._responsePaused = self.responseStarted = self.over = False

    def answerReceived(self, headers: ResponseHeaders, body: bytes, trailers: HeaderMap) -> None:
        """
        A whole answer with trailers: the same as L{RoutedRequest.responseReceived}, L{RoutedRequest.dataReceived} and
        L{RoutedRequest.trailersReceived}, but for what such a request does not have.
        """
        stream = self._stream
        router = self._router
        seconds = router.seconds
        now = seconds()
        stream.upstreamResponseStart = stream.upstreamResponseEnd = now
        stats = self._stats
        status = headers.status
        try:
            stats.responses.counts[status] += 1
        except KeyError:
            stats.responses.add(status)
        if status >= 500 or not self._isGRPC:
            self._endpoint.responded(status)
        else:
            grpcStatus = trailers.first.get(b"grpc-status")
            if grpcStatus == b"0":
                self._endpoint.rqSuccess.value += 1
            else:
                self._judgeStatus(grpcStatus)
        # The request had ended when its only try began.
        elapsed = int((now - self._tryBegan) * 1000.0)
        if not router.suppressHeaders:
            # The codec that tells of whole answers does so of heads without any field twice.
            headers.first[b"x-envoy-upstream-service-time"] = DECIMAL[elapsed]
        finalize = self._route.finalizeResponseHeaders
        if finalize is not None:
            self._finalizeResponse(finalize, headers)
        self.responseStarted = self.over = True
        stream.responseCodeDetails = "via_upstream"
        if self._timeouts is not None:
            self._timeouts.waiting.pop(self, None)
        if self._durations is not None:
            self._durations.waiting.pop(self, None)
        self.connection = None
        try:
            stats.rqTime.bins[elapsed] += 1
        except KeyError:
            stats.rqTime.record(elapsed)
        stream.answerReceived(headers, body, trailers, now)
