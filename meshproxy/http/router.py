# -*- test-case-name: tests.http.test_router,tests.http.test_routerconnections -*-
"""
The router's engine: does with a stream what its route says.

Most requests are alike, so what is known of a route beforehand stands in a plan, and the usual request takes one step
from its route to an idle connection. The rest is the business of a
L{RoutedRequest<meshproxy.http.routedrequest.RoutedRequest>}.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IReactorTime

from meshproxy.codec.http2 import USUAL
from meshproxy.flags import TEXT, Failure, LocalReply
from meshproxy.headers import RequestHeaders, isGRPC
from meshproxy.http import unary
from meshproxy.http.choice import EndpointChoice
from meshproxy.http.dropping import DroppedRequest, ShedRequest
from meshproxy.http.hedging import HedgingRequest, mayHedge
from meshproxy.http.orders import EXPECTED, ORDERS
from meshproxy.http.plainrequest import PlainRequest, RetriedPlainRequest
from meshproxy.http.routedrequest import RoutedRequest
from meshproxy.http.routestats import RouteStats
from meshproxy.http.shadow import Shadow
from meshproxy.http.tries import TriedRequest
from meshproxy.http.upstreamlog import LoggedRequest, UpstreamLogs
from meshproxy.net.deadlines import Deadlines, DeadlinesByLength
from meshproxy.routing.route import RouteKind
from meshproxy.stats.store import Store
from meshproxy.upstream.http1pool import SURE

if TYPE_CHECKING:
    from meshproxy.http.chain import FilterChain
    from meshproxy.http.settings import ManagerSettings
    from meshproxy.http.stream import Stream
    from meshproxy.routing.retries import RetryPolicy
    from meshproxy.routing.route import Route
    from meshproxy.upstream.cluster import Cluster

__all__ = ["Plan", "Router"]

# How many routes are known at a time.
_MOST_PLANS = 20_000


class Router:
    """
    What all routed requests of one router filter share.

    @ivar clusters: By name; the dictionary changes in place when clusters do.
    @ivar suppressHeaders: C{suppress_envoy_headers}.
    @ivar strictHeaders: C{strict_check_headers}.
    @ivar heedsExpected: C{respect_expected_rq_timeout}.
    @ivar countsCodes: C{dynamic_stats}: whether the statuses of responses and their times are counted.
    @ivar upstreamChain: The filters that each try passes on its way upstream, where its cluster has none of its own.
    @ivar localAddress: What requests that are made here say they are from.
    @ivar upstreamLogs: The logs of tries, if there are any.
    @ivar routeStats: Where requests are counted by virtual cluster and route.
    @ivar timeouts: Where requests wait for their global time-out.
    @ivar perTryTimeouts: Likewise for C{per_try_timeout}.
    @ivar perTryIdleTimeouts: Likewise for C{per_try_idle_timeout}.
    @ivar tryDurations: Likewise for the C{max_stream_duration} of clusters.
    @ivar shadowTimeouts: Likewise copies for mirrors.
    @ivar durations: Likewise for C{max_stream_duration}.
    """

    def __init__(
        self,
        clusters: dict[str, Cluster],
        clock: IReactorTime,
        random: Callable[[], float],
        suppressHeaders: bool = False,
        suppressGRPCCodes: bool = False,
        strictHeaders: Sequence[bytes] = (),
        heedsExpected: bool = False,
        countsCodes: bool = True,
        localAddress: str = "127.0.0.1",
        store: Store | None = None,
        upstreamLogs: UpstreamLogs | None = None,
        upstreamChain: FilterChain | None = None,
    ) -> None:
        self.clusters = clusters
        self.clock = clock
        self.seconds = clock.seconds
        self.random = random
        self.suppressHeaders = suppressHeaders
        self.suppressGRPCCodes = suppressGRPCCodes
        self.strictHeaders = tuple(strictHeaders)
        self.heedsExpected = heedsExpected
        self.countsCodes = countsCodes
        # Request headers that change what is done: where none is there, nothing needs to be looked for.
        self.hasNoOrders = (ORDERS | {EXPECTED} if heedsExpected else ORDERS).isdisjoint
        self.upstreamChain = upstreamChain
        self.localAddress = localAddress.encode("ascii")
        self.timeouts: DeadlinesByLength[TriedRequest] = DeadlinesByLength(clock, _timedOut)
        self.perTryTimeouts: DeadlinesByLength[TriedRequest] = DeadlinesByLength(clock, _tryTimedOut)
        self.perTryIdleTimeouts: DeadlinesByLength[TriedRequest] = DeadlinesByLength(clock, _tryIdleTimedOut)
        self.durations: DeadlinesByLength[TriedRequest] = DeadlinesByLength(clock, TriedRequest.lastedTooLong)
        self.tryDurations: DeadlinesByLength[TriedRequest] = DeadlinesByLength(clock, TriedRequest.tryLastedTooLong)
        self.shadowTimeouts: DeadlinesByLength[Shadow] = DeadlinesByLength(clock, Shadow.timedOut)
        self.routeStats = RouteStats(Store() if store is None else store)
        self.upstreamLogs = upstreamLogs
        self._expected: dict[float, bytes] = {}
        # By the identity of a route, which the plan keeps alive. The table goes when a reload makes another router.
        self._plans: dict[int, Plan] = {}

    def route(self, stream: Stream, headers: RequestHeaders, endStream: bool) -> None:
        """
        Do with a request what its route says.
        """
        route = stream.route
        if route is None:
            stream.manager.stats.rqUpstreamTotal.value += 1
            stream.manager.stats.noRoute.value += 1
            stream.localReply(Failure.NO_ROUTE.value)
            return
        try:
            plan = self._plans[id(route)]
        except KeyError:
            if len(self._plans) >= _MOST_PLANS:
                # Requests that name their clusters have routes of their own.
                self._plans.clear()
            plan = self._plans[id(route)] = Plan(self, route, stream.manager.settings)
        if not plan.forwards:
            self._answer(stream, route, headers)
            return
        if (
            not (endStream and plan.isPlain and self.hasNoOrders(headers.first))
            or (plan.looksCloser and plan.wantsMore(headers))
            or stream.upgrade
            or (stream.isInvolved and (stream.healthCheck or stream.connection.upstreamSource is not None))
        ):
            if stream.message is not None and unary.route(self, stream, headers, plan):  # type: ignore[arg-type]
                return
            kind = HedgingRequest if mayHedge(route, headers) else RoutedRequest
            if self.upstreamLogs is not None or self._isWatched(plan.cluster):
                kind = self._kindOf(plan.cluster, kind)
            stream.upstream = kind(self, stream, route)
            stream.upstream.start(headers, endStream)
            return
        # The usual request: nothing but a head, and a route that asks for nothing but a cluster. What follows does the
        # same as RoutedRequest.start, HTTP1Pool.request and RoutedRequest.connectionReady, where an idle connection
        # waits; else they take over.
        cluster = self.clusters.get(plan.cluster)
        endpoint = pool = choice = None
        # Where there are subsets, what filters noted may choose among them.
        if cluster is not None and not cluster.isParticular:
            if plan.isChoosy:
                choice = EndpointChoice(stream, route.action, headers, plan.retries)  # type: ignore[arg-type]
                endpoint = cluster.chooseEndpointFor(choice)
            else:
                choose = cluster.chooseEndpoint
                endpoint = choose()
            if endpoint is not None:
                pool = endpoint.pools.get("DEFAULT")
        # Where no filter held it, it came just now.
        now = self.clock.seconds() if stream.isInvolved else stream.startMonotonic
        if (
            pool is None
            or not pool.idle
            or (requests := pool.breaker.requests).used + 1 >= requests.watched
            # What lies there for long may have ended.
            or (now - (connection := pool.idle[-1]).idleSince >= SURE and connection.hasNews)
            # The answer has to tell of them.
            or (choice is not None and choice.cookies)
        ):
            kind = RoutedRequest
            if cluster is not None and cluster.isWatched:
                kind = self._kindOf(plan.cluster, kind)
            stream.upstream = kind(self, stream, route)
            if choice is not None:
                stream.upstream.chose(choice, endpoint)
            stream.upstream.foundNone = endpoint is None and cluster is not None and not cluster.isParticular
            stream.upstream.start(headers, True, endpoint)
            return
        assert cluster is not None and endpoint is not None
        stats = cluster.stats
        request: PlainRequest
        if plan.retries is None:
            request = PlainRequest(self, stream, route, stats, endpoint, now)
        else:
            request = RetriedPlainRequest(self, stream, plan, cluster, endpoint, headers, None, now)
        if choice is not None:
            request.chose(choice, endpoint)
        stream.upstream = request
        stream.manager.stats.rqUpstreamTotal.value += 1
        stream.upstreamCluster = cluster.statName
        stream.upstreamHost = endpoint
        stream.upstreamAttempts = 1
        finalize = plan.finalize
        if finalize is not None:
            if self.suppressHeaders:
                stream.tellsOriginalPath = False
            finalize(headers, stream)
        if plan.countsAttempts:
            headers.first[b"x-envoy-attempt-count"] = b"1"
            if headers.more is not None:
                headers.more.pop(b"x-envoy-attempt-count", None)
        timeouts = plan.timeouts
        if timeouts is not None:
            request._timeouts = timeouts
            timeouts.waiting[request] = now + timeouts.seconds
            if timeouts.call is None:
                timeouts.arm()
        if plan.expected is not None:
            headers.first[b"x-envoy-expected-rq-timeout-ms"] = plan.expected
        del pool.idle[-1]
        requests.used += 1
        stats.rqTotal.value += 1
        stats.rqActive.value += 1
        endpoint.rqTotal.value += 1
        endpoint.active += 1
        request.connection = stream.upstreamConnection = connection
        connection.carry(request, headers)

    def _isWatched(self, name: str) -> bool:
        """
        Whether a cluster counts something of each try, or drops some requests.
        """
        cluster = self.clusters.get(name)
        return cluster is not None and cluster.isWatched

    def _kindOf(self, name: str, kind: type[RoutedRequest]) -> type[RoutedRequest]:
        """
        What becomes of a request whose tries are logged, or whose cluster is watched.

        @param kind: What becomes of others.
        """
        cluster = self.clusters.get(name)
        if cluster is not None and cluster.drops and self.random() < cluster.drops:
            return ShedRequest if cluster.drops >= 1 else DroppedRequest
        return LoggedRequest if self.upstreamLogs is not None or cluster is None or cluster.tracked.isOfTries else kind

    def chainOf(self, cluster: Cluster) -> FilterChain | None:
        """
        The filters that tries pass on their way to a cluster.
        """
        options = cluster.options
        chain: FilterChain | None = None if options is None else options.chain
        return self.upstreamChain if chain is None else chain

    def _answer(self, stream: Stream, route: Route, headers: RequestHeaders) -> None:
        stats = stream.manager.stats
        stats.rqUpstreamTotal.value += 1
        if route.redirect is not None:
            # As in Envoy, a redirect is one of the direct responses.
            stats.rqDirectResponse.value += 1
            if self.suppressHeaders:
                stream.tellsOriginalPath = False
            location = route.redirect.location(headers, stream)
            stream.localReply(LocalReply(route.redirect.status, b"", "direct_response", 0, ((b"location", location),)))
        elif route.directResponse is not None:
            stats.rqDirectResponse.value += 1
            direct = route.directResponse
            fields: tuple[tuple[bytes, bytes], ...] = ()
            if direct.tellsLocation:
                fields = ((b"location", b"%b://%b%b" % (headers.scheme, headers.authority, headers.path)),)
            body, contentType = direct.body, TEXT
            if direct.formatter is not None:
                stream.localReplyBody = body.decode("utf-8", "replace")
                body = direct.formatter.format(stream).encode("utf-8", "surrogateescape")
                contentType = direct.contentType
            stream.localReply(LocalReply(direct.status, body, "direct_response", 0, fields, 0, contentType))
        else:
            # As in Envoy, a route that does not forward has no cluster.
            stats.noCluster.value += 1
            stream.localReply(Failure.NO_CLUSTER.value)

    def expectedTimeout(self, seconds: float) -> bytes:
        """
        C{x-envoy-expected-rq-timeout-ms} for a time-out.
        """
        text = self._expected.get(seconds)
        if text is None:
            if len(self._expected) > 1000:
                self._expected.clear()  # a client that names its own time-outs must not fill the memory
            text = self._expected[seconds] = b"%d" % round(seconds * 1000)
        return text


def _timedOut(request: TriedRequest) -> None:
    request.timedOut()


def _tryTimedOut(request: TriedRequest) -> None:
    request.tryTimedOut()


def _tryIdleTimedOut(request: TriedRequest) -> None:
    request.tryIdleTimedOut()


class Plan:
    """
    What is known of a route before any request comes.

    @ivar forwards: Whether it sends requests on.
    @ivar carriesCalls: Whether it says nothing but where to, how long, how the head changes, and what is tried again.
    @ivar lasts: Whether it says how long a stream may last.
    @ivar isPlain: Whether it says no more than that to requests that are no calls, and not how long a stream may last.
    @ivar timesCalls: Whether the time-out of calls is what they ask for (C{max_grpc_timeout}).
    @ivar countsAttempts: Whether the upstream is told which try it is.
    @ivar countsInternal: Whether requests from within are counted by themselves.
    @ivar looksCloser: Whether L{wantsMore} is to be asked.
    @ivar isChoosy: Whether it matters which endpoint a request gets.
    @ivar perTry: Where requests wait for the end of a try.
    @ivar retries: What is tried again.
    @ivar refusable: The statuses of answers that are, whatever else they say.
    @ivar takesAnswers: Which answers to calls may be taken at once: all, none, or those that are never tried again
        (L{USUAL}).
    @ivar deadlines: How long its calls may last.
    """

    __slots__ = (
        "carriesCalls",
        "cluster",
        "countsAttempts",
        "countsInternal",
        "deadlines",
        "expected",
        "finalize",
        "forwards",
        "isChoosy",
        "isPlain",
        "lasts",
        "looksCloser",
        "perTry",
        "refusable",
        "retries",
        "route",
        "takesAnswers",
        "timeouts",
        "timesCalls",
    )

    def __init__(self, router: Router, route: Route, settings: ManagerSettings) -> None:
        self.route = route
        self.forwards = route.kind is RouteKind.ROUTE
        self.isPlain = self.carriesCalls = self.lasts = False
        self.retries: RetryPolicy | None = None
        self.refusable: Container[int] = ()
        self.takesAnswers = 1
        self.timesCalls = self.countsAttempts = self.countsInternal = self.looksCloser = self.isChoosy = False
        self.perTry: Deadlines[TriedRequest] | None = None
        self.cluster = ""
        self.timeouts: Deadlines[TriedRequest] | None = None
        self.expected: bytes | None = None
        self.finalize = route.finalizeRequestHeaders
        action = route.action
        if action is None or not self.forwards:
            return
        self.cluster = action.cluster
        asksLittle = bool(action.cluster) and not (
            settings.matchesUpstream
            or not router.countsCodes
            or router.upstreamLogs is not None
            or router.suppressGRPCCodes
            or router.strictHeaders
            or router.heedsExpected
            or router.upstreamChain is not None
            or action.hedges
            or not (action.retryPolicy is None or action.retryPolicy.asksNothing)
            or action.isHighPriority
            or action.autoHostRewrite
            or action.mirrors
            or action.redirectPolicy is not None
            or action.terminated
            or route.isCounted
            or route.virtualHost.includeAttemptCountInResponse
        )
        policy = action.retryPolicy
        self.lasts = bool(action.maxStreamDuration)
        self.isPlain = asksLittle and not self.lasts
        self.isChoosy = action.isChoosy
        self.timesCalls = action.maxGRPCTimeout is not None
        self.countsInternal = settings.forwarding.isInternal is not None
        self.looksCloser = self.timesCalls or self.countsInternal
        self.countsAttempts = route.virtualHost.includeRequestAttemptCount
        self.carriesCalls = asksLittle and not (
            self.isChoosy
            or not (policy is None or policy.isSimple)
            # Calls have another time-out than other requests.
            or action.maxGRPCTimeout
            or (self.timesCalls and action.timeout)
        )
        if policy is not None and policy.retryOn:
            self.retries = policy
            self.takesAnswers = 0 if policy.mayRefuse(200) else USUAL
            self.refusable = policy.refusable
            if action.timeouts.perTry:
                self.perTry = router.perTryTimeouts[action.timeouts.perTry]
        self.deadlines = unary.CallDeadlines(router, action)
        if action.timeout:
            self.timeouts = router.timeouts[action.timeout]
        expected = action.timeout if self.perTry is None else self.perTry.seconds
        if expected and not router.suppressHeaders:
            self.expected = router.expectedTimeout(expected)

    def wantsMore(self, headers: RequestHeaders) -> bool:
        """
        Whether a request is one of those for which more has to be found out than for others.
        """
        first = headers.first
        return (self.timesCalls and b"content-type" in first and isGRPC(headers)) or (
            self.countsInternal and b"x-envoy-internal" in first
        )

    def bodyLimit(self, stream: Stream) -> int:
        """
        How long a message may be that is kept for another try.
        """
        limit = self.route.requestBodyBufferLimit
        return stream.manager.bufferLimit if limit is None else limit
