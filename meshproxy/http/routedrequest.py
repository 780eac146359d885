# -*- test-case-name: tests.http.test_router -*-
"""
A request on its way: from a stream with a route to an upstream connection and back.

A L{RoutedRequest} is the stream's upstream side. It asks the cluster for an endpoint and the endpoint's pool for a
connection, is told of the response by the connection's codec, and decides whether to try again
(L{meshproxy.http.retry}).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure as TwistedFailure

from meshproxy.codec.http1 import DECIMAL
from meshproxy.codec.websocket import acceptOf, makeKey
from meshproxy.config.matchers import parseInteger
from meshproxy.errors import LocalProtocolError
from meshproxy.flags import Details, Failure, LocalReply, ResetReason, ResponseFlag, upstreamResetReply
from meshproxy.grpc.status import isServerError
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders, isGRPC
from meshproxy.http.choice import EndpointChoice
from meshproxy.http.internalredirect import prepareRedirect
from meshproxy.http.keptbody import KeptBody
from meshproxy.http.retry import RetryState
from meshproxy.http.routestats import RequestStats
from meshproxy.http.shadow import Shadow, startShadows
from meshproxy.net.deadlines import Deadlines
from meshproxy.net.instances import withAttributes
from meshproxy.net.proxyheader import toldOf
from meshproxy.routing.internalredirects import InternalRedirectPolicy
from meshproxy.routing.retries import RETRY_HEADERS, effectiveRetryPolicy
from meshproxy.routing.rewrites import replaceHost
from meshproxy.routing.route import RouteAction
from meshproxy.routing.timeouts import effectiveMaxStreamDuration, effectiveTimeout, tellDuration
from meshproxy.upstream.stats import COMPLETED
from meshproxy.upstream.transports import NO_WISH, TLSWish
from meshproxy.upstream.tunnel import TunnelHeader, TunnelMaker

if TYPE_CHECKING:
    from meshproxy.http.router import Router
    from meshproxy.http.stream import Stream
    from meshproxy.routing.route import Route
    from meshproxy.upstream.cluster import Cluster
    from meshproxy.upstream.endpoint import Endpoint
    from meshproxy.upstream.http1connection import HTTP1UpstreamConnection
    from meshproxy.upstream.http1pool import HTTP1Pool
    from meshproxy.upstream.stats import ClusterStats, IRequestStats

__all__ = ["ORDERS", "RoutedRequest"]

# Orders to a router that this one does not follow; as in Envoy, they end here.
_UNHEARD = (b"x-envoy-hedge-on-per-try-timeout",)
_ALT_STAT_NAME = b"x-envoy-upstream-alt-stat-name"
_ALT_RESPONSE = b"x-envoy-upstream-rq-timeout-alt-response"
_KEY, _ACCEPT = b"sec-websocket-key", b"sec-websocket-accept"

# What a request that ends here may want the connection to become.
_NO_OTHER = (b"connect", b"")
# How long a body is to be for a relay to pay.
_RELAY_FROM = 131072

# Request headers that change what the router does: where none is there, nothing needs to be looked for.
ORDERS = RETRY_HEADERS | {
    *_UNHEARD,
    _ALT_STAT_NAME,
    _ALT_RESPONSE,
    b"x-envoy-upstream-rq-timeout-ms",
    b"x-envoy-upstream-rq-per-try-timeout-ms",
    b"grpc-timeout",
}
_hasNoOrders = ORDERS.isdisjoint


# In the order in which most requests need them.
@withAttributes(
    "_cluster",
    "_stats",
    "_headers",
    "_timeouts",
    "_endpoint",
    "_tryBegan",
    "_pool",
    "_requestEnded",
    "_complete",
    "connection",
    "responseStarted",
    "over",
    "_isGRPC",
    "_isQuiet",
    "_awaitsStatus",
    "_responsePaused",
    "_waits",
    "_retry",
    "_perTry",
    "_body",
    "_durations",
    "_tryDuration",
    "_expectsTunnel",
    "_shadows",
    "_choice",
    "attempts",
)
class RoutedRequest:
    """
    One request on its way to an upstream, through all of its tries.

    It is what a pool hands connections to, and what a connection's codec tells of the response.

    @ivar connection: The upstream connection of the current try, or L{None}.
    @ivar attempts: How many tries began, the current one included.
    @ivar responseStarted: Whether the head of the response went on to the stream.
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
    _tryDuration: Deadlines[RoutedRequest] | None = None
    _isTimeoutRetry = False
    _timeouts: Deadlines[RoutedRequest] | None = None
    _perTry: Deadlines[RoutedRequest] | None = None
    _perTryIdle: Deadlines[RoutedRequest] | None = None
    _durations: Deadlines[RoutedRequest] | None = None
    _backOff: IDelayedCall | None = None
    _responsePaused = False
    _expectsTunnel = False
    _ownKey = b""
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
    _headers: RequestHeaders
    _wish: TLSWish = NO_WISH
    _tryBegan = 0.0

    def __init__(self, router: Router, stream: Stream, route: Route) -> None:
        self._router = router
        self._stream = stream
        self._route = route
        self._action: RouteAction = route.action  # type: ignore[assignment]  # a route of this kind has one

    @property
    def countedFor(self) -> Stream | None:
        """
        Where the bytes of its tries are counted, if they are.
        """
        return self._stream if self._stream.manager.countsBytes else None

    # The request

    def start(self, headers: RequestHeaders, endStream: bool, endpoint: Endpoint | None = None) -> None:
        """
        Begin: find cluster and endpoint, then ask for a connection.

        @param endpoint: The endpoint, where the cluster was asked for one already.
        """
        stream = self._stream
        router = self._router
        action = self._action
        stats = stream.manager.stats
        cluster = router.clusters.get(action.cluster or action.selectCluster(headers, stream))
        if cluster is None:
            stats.noCluster.value += 1
            self.over = True
            stream.localReply(Failure.NO_CLUSTER.value.withStatus(action.clusterNotFoundStatus))
            return
        self._cluster = cluster
        self._stats = cluster.stats
        self._headers = headers
        if isGRPC(headers):
            self._isGRPC = True
            self._isQuiet = router.suppressGRPCCodes
        stream.upstreamCluster = cluster.statName
        stats.rqUpstreamTotal.value += 1
        if self._route.isCounted:
            stream.virtualClusterName, also = router.routeStats.statsFor(self._route, headers)
            self._also = tuple(also)
            for each in also:
                each.rqTotal.value += 1
        if endStream:
            self._requestEnded = self._complete = True
        if stream.upgrade:
            # A tunnel has no end to wait for: Envoy begins its time-out when the request's head is there.
            self._expectsTunnel = self._complete = True
        timeout = action.timeout
        if action.readsOrders or not _hasNoOrders(headers.first):
            timeout = self._readOrders(headers)
        elif action.maxStreamDuration:
            tellDuration(headers, action.maxStreamDuration)
            self._durations = router.durations[action.maxStreamDuration]
            self._durations.start(self)
        route = self._route
        finalize = route.finalizeRequestHeaders
        if finalize is not None:
            if router.suppressHeaders:
                stream.tellsOriginalPath = False
            finalize(headers, stream)
        if cluster.transports.wishOf is not None:
            # As in Envoy, the name is the one that the route wrote, if it did.
            self._wish = cluster.transports.wishOf(headers)
        if cluster.transports.tellsClient:
            self._wish = self._wish._replace(told=toldOf(stream.connection))
        if route.virtualHost.includeRequestAttemptCount:
            headers.set(b"x-envoy-attempt-count", b"1")
        if action.redirectPolicy is not None and self._body is None and not self._requestEnded:
            self._body = KeptBody(self._bodyLimit)
        if timeout:
            self._timeouts = router.timeouts[timeout]
            if not router.suppressHeaders:
                expected = timeout if self._perTry is None or self.isHedging else self._perTry.seconds
                headers.first[b"x-envoy-expected-rq-timeout-ms"] = router.expectedTimeout(expected)
        elif self._perTry is not None and not router.suppressHeaders:
            headers.first[b"x-envoy-expected-rq-timeout-ms"] = router.expectedTimeout(self._perTry.seconds)
        self._connect(endpoint)

    def _readOrders(self, headers: RequestHeaders) -> float:
        """
        Take the retry policy and the time-outs from the route and from the request's own headers.

        @return: The global time-out, in seconds.
        """
        action = self._action
        for name in _UNHEARD:
            headers.remove(name)
        if headers.remove(_ALT_RESPONSE):
            self._hasAltResponse = True
        asked = headers.first.get(_ALT_STAT_NAME)
        if asked is not None:
            headers.remove(_ALT_STAT_NAME)
            other = self._router.routeStats.alternative(self._cluster, asked.decode("utf-8", "replace"))
            self._also = self._also if other is None else (*self._also, other)
        policy = effectiveRetryPolicy(action.retryPolicy, headers)
        total, perTry = effectiveTimeout(action, headers, policy)
        duration = effectiveMaxStreamDuration(action, headers)
        router = self._router
        if duration:
            self._durations = router.durations[duration]
            self._durations.start(self)
        if perTry:
            self._perTry = router.perTryTimeouts[perTry]
        if policy is not None:
            if policy.perTryIdleTimeout:
                self._perTryIdle = router.perTryIdleTimeouts[policy.perTryIdleTimeout]
            self._retry = RetryState(
                policy, self._cluster, action.isHighPriority, router.random, router.clock, self._also
            )
            if not self._requestEnded:
                self._body = KeptBody(self._bodyLimit)
        return total

    @property
    def _bodyLimit(self) -> int:
        """
        How many bytes of a body may be kept to be sent again.
        """
        limit = self._route.requestBodyBufferLimit
        return self._stream.bufferLimit if limit is None else limit

    def _redirect(self, policy: InternalRedirectPolicy, headers: ResponseHeaders, endStream: bool) -> bool:
        """
        Follow a redirect, where that may be done: another stream takes over.
        """
        stream = self._stream
        body, method = self._body, self._headers.method
        isWhole = stream.requestEnd is not None and (body is not None or not stream.bytesReceived)
        if not isWhole or stream.upgrade or not prepareRedirect(stream, policy, headers, stream.manager.stats):
            self._stats.redirectFailed.value += 1
            return False
        self._stats.redirectSucceeded.value += 1
        self._count(headers.status)
        self.over = True
        self._endTimeouts()
        if self._retry is not None:
            self._retry.ended(self.attempts > 1)
        if endStream and self._requestEnded:
            self.connection = None
        else:
            self._leaveConnection()
        if body is None or self._headers.method != method:
            stream.beginAgain(headers, b"", None)
        else:
            stream.beginAgain(headers, b"".join(body.pieces), body.trailers)
        return True

    def _connect(self, endpoint: Endpoint | None = None) -> None:
        cluster = self._cluster
        self._stream.upstreamAttempts = self.attempts
        if endpoint is None and not self.foundNone:
            endpoint = self._choose(cluster)
        if endpoint is None:
            self._stats.cxNoneHealthy.value += 1
            self._failed(Failure.NO_HEALTHY_UPSTREAM.value)
            return
        self._endpoint = endpoint
        stream = self._stream
        if self.attempts > 1:
            stream.tryAgain()
        stream.upstreamHost = endpoint
        if self.attempts == 1 and stream.manager.settings.matchesUpstream:
            self._headers.scheme = b"http" if cluster.transports.of(endpoint) is None else b"https"
        if self._action.mirrors and self.attempts == 1:
            self._shadows = startShadows(self._router, stream, self._headers, self._requestEnded)
        now = self._tryBegan = self._router.clock.seconds()
        if self._complete:
            timeouts = self._timeouts
            if self._perTry is not None or self._perTryIdle is not None:
                self._startTimeouts(now)
            elif timeouts is not None and self.attempts == 1:
                timeouts.waiting[self] = now + timeouts.seconds
                if timeouts.call is None:
                    timeouts.arm()
        priority = "HIGH" if self._action.isHighPriority else "DEFAULT"
        pool = endpoint.pools.get(priority) if self._wish is NO_WISH else None
        if self._action.terminated and stream.upgrade in _NO_OTHER and self._headers.method in self._action.terminated:
            maker: Any = TunnelMaker(cluster, endpoint, self._tunnelHeader())  # as much of a pool as is needed
            pool = maker
        if pool is None:
            pool = cluster.pool(endpoint, priority, self._wish, stream.protocol == "HTTP/2")
        self._pool = pool
        pool.request(self)
        self._waits = self._pool is not None

    def _tunnelHeader(self) -> TunnelHeader | None:
        """
        What a tunnel that ends here begins with upstream.
        """
        header, info = self._action.tunnelHeader, self._stream.connection
        if header is None:
            return None
        return lambda transport: header.encode(toldOf(info), transport.localAddress, transport.peerAddress)[0]

    def _choose(self, cluster: Cluster) -> Endpoint | None:
        """
        Ask the cluster for an endpoint, with what the request has to say about it.
        """
        choice = self._choice
        if choice is None:
            action, policy = self._action, None if self._retry is None else self._retry.policy
            if not (action.isChoosy or cluster.hasSubsets or (policy is not None and policy.isChoosy)):
                return cluster.chooseEndpoint()
            choice = self._choice = EndpointChoice(self._stream, action, self._headers, policy)
        elif choice.policy is not None:
            choice.attempts = choice.policy.hostSelectionMaxAttempts
        endpoint = cluster.chooseEndpointFor(choice)
        if endpoint is not None:
            choice.tried.append(endpoint)
        return endpoint

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

    def connectionReady(self, connection: HTTP1UpstreamConnection) -> None:
        """
        See L{meshproxy.upstream.http1pool.IPoolRequest.connectionReady}.
        """
        self._pool = None
        self.connection = connection
        duration = self._cluster.settings.maxStreamDuration
        if duration:
            self._tryDuration = self._router.tryDurations[duration]
            self._tryDuration.start(self)
        stream = self._stream
        stream.upstreamConnection = connection
        if self._waits:
            stream.waitedForConnection = self._router.clock.seconds()
            stream.waitedSince = self._tryBegan
        if self._action.autoHostRewrite and self._endpoint.hostname:
            replaceHost(self._headers, self._endpoint.hostname.encode("utf-8"), self._action.appendForwardedHost)
        if (
            stream.upgrade == b"websocket"
            and stream.protocol == "HTTP/2"
            and not connection.isHTTP2
            and _KEY not in self._headers.first
        ):
            # RFC 8441, 5: a client of HTTP/2 has no key, and a server of HTTP/1.1 wants one.
            self._ownKey = makeKey(self._router.random)
            self._headers.set(_KEY, self._ownKey)
        body = self._body
        try:
            if body is None:
                connection.sendHeaders(self._headers, self._requestEnded and not self._expectsTunnel)
            else:
                self._sendKept(connection, body)
        except LocalProtocolError:
            # Filters made a head of it that cannot be written.
            stream.filterRaised(TwistedFailure())
            return
        if stream.downstreamPaused:
            stream.resumeDownstream()

    def _sendKept(self, connection: HTTP1UpstreamConnection, body: KeptBody) -> None:
        """
        Send the head, and what came of the body until now.
        """
        whole = b"".join(body.pieces)
        # A body that came has its framing, be it empty: how fast the connection was must not show.
        endsHere = body.ended and not body.pieces and body.trailers is None
        connection.sendHeaders(self._headers, endsHere and not self._expectsTunnel)
        if whole or (body.ended and not endsHere and body.trailers is None):
            connection.sendData(whole, body.ended and body.trailers is None)
        if body.trailers is not None:
            connection.sendTrailers(body.trailers)
        if self._retry is None and self._action.redirectPolicy is None:
            self._body = None  # it only waited for the connection
        elif body.pieces:
            body.pieces = [whole]

    def sendData(self, data: bytes, endStream: bool) -> None:
        """
        A piece of the request's body.
        """
        for shadow in self._shadows:
            shadow.sendData(data, endStream)
        if self.over:
            return
        if endStream:
            self._requestEnded = True
        connection = self.connection
        body = self._body
        if body is None and connection is None:
            body = self._body = KeptBody(self._stream.bufferLimit)
        if body is not None:
            self._keep(body, data, endStream)
        if connection is not None:
            connection.sendData(data, endStream)

    def _keep(self, body: KeptBody, data: bytes, endStream: bool) -> None:
        body.pieces.append(data)
        body.size += len(data)
        body.ended = endStream
        if body.size <= body.limit:
            return
        if self.connection is None:
            # Nobody takes it yet: let the downstream wait.
            self._stream.pauseDownstream()
        else:
            # Too long to be sent twice: this request is not tried again.
            self._body = None
            if self._retry is not None:
                self._retry.ended(False)
                self._retry = None
            self._stats.retryOrShadowAbandoned.value += 1

    def sendTrailers(self, trailers: HeaderMap) -> None:
        """
        The request's trailers.
        """
        for shadow in self._shadows:
            shadow.sendTrailers(trailers)
        if self.over:
            return
        self._requestEnded = True
        if self._body is None and self.connection is None:
            self._body = KeptBody(self._stream.bufferLimit)
        if self._body is not None:
            self._body.trailers = trailers
            self._body.ended = True
        if self.connection is not None:
            self.connection.sendTrailers(trailers)

    def downstreamComplete(self) -> None:
        """
        The downstream sent all of the request: time-outs begin.
        """
        if not self._complete and not self.over:
            self._complete = True
            self._startTimeouts(self._router.clock.seconds())

    # The response, told by the codec

    def informationalReceived(self, headers: ResponseHeaders) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.informationalReceived}.
        """
        if headers.status != 100 or self._stream.manager.settings.proxy100Continue:
            self._stream.informationalReceived(headers)

    def responseReceived(self, headers: ResponseHeaders, endStream: bool) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.responseReceived}.
        """
        stream = self._stream
        now = self._router.clock.seconds()
        stream.upstreamResponseStart = now
        status = headers.status
        if self._perTry is not None:
            self._perTry.cancel(self)
        if stream.upgrade == b"websocket" and not self._finishHandshake(headers):
            self._leaveConnection()
            self.upstreamReset(ResetReason.PROTOCOL_ERROR, "sec-websocket-accept does not fit the key")
            return
        if self._retry is not None and self._retry.wantsRetryOf(headers) and self._tryAgainAfter(headers, endStream):
            return
        redirects = self._action.redirectPolicy
        if redirects is not None and status in redirects.codes and self._redirect(redirects, headers, endStream):
            return
        if self._perTryIdle is not None and self in self._perTryIdle:
            self._perTryIdle.start(self, now)
        self._body = None
        self._count(status)
        self._judge(headers, endStream)
        if not self._router.suppressHeaders and stream.requestEnd is not None:
            headers.set(b"x-envoy-upstream-service-time", DECIMAL[int((now - stream.requestEnd) * 1000)])
        route = self._route
        if self._choice is not None:
            for cookie in self._choice.cookies:
                headers.add(b"set-cookie", cookie)
        if route.virtualHost.includeAttemptCountInResponse:
            headers.set(b"x-envoy-attempt-count", b"%d" % self.attempts)
        finalize = route.finalizeResponseHeaders
        if finalize is not None:
            self._finalizeResponse(finalize, headers)
        self.responseStarted = True
        stream.responseCodeDetails = Details.VIA_UPSTREAM
        if stream.upgrade and self.connection is not None:
            if self.connection.codec.upgraded:
                self._tunnelBegins(self.connection)
            elif stream.upgrade == b"websocket" and status < 400:
                # Neither a tunnel nor a refusal (CVE-2024-23326): as in Envoy, its body does not go on.
                stream.responseCodeDetails = "websocket_handshake_unsuccessful"
                headers.remove(b"content-length")
                self._leaveConnection()
                endStream = True
        if endStream:
            self._finished(now)
        stream.responseHeadersReceived(headers, endStream)

    def wholeReceived(self, headers: ResponseHeaders, body: bytes) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.wholeReceived}.
        """
        stream = self._stream
        if (
            self._retry is not None
            or stream.upgrade
            or not self._requestEnded
            or self._choice is not None
            or self._also
            or self._tryDuration is not None
            or self._action.redirectPolicy is not None
        ):
            self.responseReceived(headers, False)
            if not self.over and (self.connection is not None or self.responseStarted):
                self.dataReceived(body, True)
            return
        now = self._router.clock.seconds()
        stream.upstreamResponseStart = stream.upstreamResponseEnd = now
        stats = self._stats
        status = COMPLETED if self._isQuiet else headers.status
        try:
            stats.responses.counts[status] += 1
        except KeyError:
            stats.responses.add(status)
        # gRPC tells in trailers how it ended, and there are none.
        self._endpoint.responded(headers.status < 500 and not self._isGRPC)
        elapsed = int((now - self._tryBegan) * 1000)
        if not self._router.suppressHeaders:
            # The last byte of the request had come, else this were not the short way.
            sent = int((now - stream.requestEnd) * 1000)  # type: ignore[operator]
            headers.first[b"x-envoy-upstream-service-time"] = DECIMAL[sent]
        route = self._route
        if route.virtualHost.includeAttemptCountInResponse:
            headers.set(b"x-envoy-attempt-count", b"%d" % self.attempts)
        finalize = route.finalizeResponseHeaders
        if finalize is not None:
            self._finalizeResponse(finalize, headers)
        self.responseStarted = self.over = True
        stream.responseCodeDetails = "via_upstream"
        timeouts = self._timeouts
        if timeouts is not None:
            timeouts.waiting.pop(self, None)
        if self._durations is not None or self._perTry is not None or self._perTryIdle is not None:
            self._endTimeouts()
        if self._responsePaused:
            self._unpause()
        self.connection = None
        stats.rqTime.record(elapsed)
        stream.responseReceived(headers, body, now)

    def _finalizeResponse(self, finalize: Callable[[ResponseHeaders, Stream], None], headers: ResponseHeaders) -> None:
        """
        Let the route change the head. As in Envoy, what it writes there may tell the upstream's status.
        """
        stream = self._stream
        stream.responseHeaders = headers
        stream.responseCodeDetails = Details.VIA_UPSTREAM
        finalize(headers, stream)

    def _unpause(self) -> None:
        """
        The connection goes back to its pool, and must not take a pause along.
        """
        self._responsePaused = False
        if self.connection is not None:
            self.connection.resumeReading()

    def _finishHandshake(self, headers: ResponseHeaders) -> bool:
        """
        Do the part of a WebSocket handshake that one side's protocol has and the other's has not.

        @return: Whether the upstream is a WebSocket server, as far as the client cannot see that itself.
        """
        connection = self.connection
        if connection is None or not connection.codec.upgraded:
            return True
        if self._ownKey and not connection.isHTTP2:
            accept = headers.get(_ACCEPT)
            headers.remove(_ACCEPT)
            # As in Envoy, a 101 without one will do.
            return accept is None or accept == acceptOf(self._ownKey)
        key = self._headers.get(_KEY)
        if connection.isHTTP2 and key is not None and _ACCEPT not in headers.first:
            headers.set(_ACCEPT, acceptOf(key))
        return True

    def _tunnelBegins(self, connection: HTTP1UpstreamConnection) -> None:
        connection.beginTunnel()
        if self._timeouts is not None:
            # As in Envoy, a tunnel may last: only idle time-outs end it.
            self._timeouts.cancel(self)

    def dataReceived(self, data: bytes, endStream: bool) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.dataReceived}.
        """
        if endStream:
            if self._awaitsStatus:
                self._judgeStatus(None)
            self._finished(self._router.clock.seconds())
        elif self._perTryIdle is not None and self in self._perTryIdle.waiting:
            self._perTryIdle.start(self)
        self._stream.responseDataReceived(data, endStream)
        connection = self.connection
        if connection is not None and connection.codec.opaqueRemaining >= _RELAY_FROM and not self.over:
            self._relay(connection)

    def _relay(self, connection: HTTP1UpstreamConnection) -> None:
        """
        Let the kernel move what is left of a long body, where nobody looks at it. The last byte goes the general way,
        and with it everything that the end of a response brings about.
        """
        stream = self._stream
        if self._responsePaused or self._perTryIdle is not None or not stream.passesData:
            return
        length = connection.codec.opaqueRemaining - 1
        relay = stream.downstream.relay(connection.transport, length, self._stats, self._relayed)
        if relay is not None:
            connection.codec.opaqueReceived(length)
            stream.relayBegan(relay)
            relay.start()

    def _relayed(self) -> None:
        self._stream.relayEnded()

    def trailersReceived(self, trailers: HeaderMap) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.trailersReceived}.
        """
        if self._awaitsStatus:
            self._judgeStatus(trailers.first.get(b"grpc-status"))
        self._finished(self._router.clock.seconds())
        self._stream.responseTrailersReceived(trailers)

    def _finished(self, now: float) -> None:
        """
        The response came to its end.
        """
        self.over = True
        self._stream.upstreamResponseEnd = now
        self._endTimeouts()
        connection = self.connection
        if connection is not None and self._requestEnded:
            if self._responsePaused:
                self._unpause()
            self.connection = None
        elapsed = int((now - self._tryBegan) * 1000)
        for each in self._counted:
            each.rqTime.record(elapsed)
        if self._retry is not None:
            self._retry.ended(self.attempts > 1)

    # Failures

    def connectionFailed(self, reason: ResetReason, endpoint: Endpoint | None, why: str) -> None:
        """
        See L{meshproxy.upstream.http1pool.IPoolRequest.connectionFailed}.
        """
        self._pool = None
        if endpoint is None:
            self._stream.upstreamHost = None
        self._reset(reason, why)

    def upstreamReset(self, reason: ResetReason, why: str) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.upstreamReset}.
        """
        self.connection = None
        if self._awaitsStatus or not self.responseStarted:
            self._endpoint.rqError.value += 1
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
            stream.manager.stats.rqResetAfterResponseStarted.value += 1
            self._over()
            if stream.responseCode:
                stream.reset()
            else:
                # A filter holds the head: as in Envoy, the client can be answered still.
                stream.localReply(replace(upstreamResetReply(reason, why), details=stream.responseCodeDetails))
            return
        self._failed(upstreamResetReply(reason, why, self.attempts > 1))

    @property
    def _counted(self) -> tuple[IRequestStats, ...]:
        """
        Where the request is counted.
        """
        return (self._stats, *self._also)

    def _count(self, status: int) -> None:
        """
        Count a response, or what stands in for it.
        """
        if self._isQuiet:
            status = COMPLETED
        for each in self._counted:
            each.responses.add(status)

    def _judge(self, headers: ResponseHeaders, endStream: bool) -> None:
        """
        Count whether the endpoint did well, as Envoy does: by the HTTP status, or else by that of gRPC, which comes in
        the trailers where there is a body.
        """
        if headers.status >= 500 or not self._isGRPC:
            self._endpoint.responded(headers.status < 500)
        elif endStream:
            self._judgeStatus(headers.first.get(b"grpc-status"))
        else:
            self._awaitsStatus = True

    def _judgeStatus(self, grpcStatus: bytes | None) -> None:
        self._awaitsStatus = False
        number = None if grpcStatus is None else parseInteger(grpcStatus)
        self._endpoint.responded(number is not None and not isServerError(number))

    def _limitFlag(self, retry: RetryState) -> int:
        if retry.limitReached:
            return ResponseFlag.UPSTREAM_RETRY_LIMIT_EXCEEDED
        return ResponseFlag.UPSTREAM_OVERFLOW if retry.overflowed else 0

    def _failed(self, reply: LocalReply) -> None:
        """
        Answer the stream in the upstream's stead.
        """
        self._over()
        self._count(reply.status)
        if self._route.virtualHost.includeAttemptCountInResponse:
            counted = (b"x-envoy-attempt-count", b"%d" % self.attempts)
            reply = replace(reply, headers=(*reply.headers, counted))
        self._stream.localReply(reply)

    def _over(self) -> None:
        self.over = True
        self._endTimeouts()
        if self._retry is not None:
            self._retry.ended(False)

    def timedOut(self) -> None:
        """
        The global time-out struck.
        """
        for each in self._counted:
            each.rqTimeout.value += 1
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
        if retry is not None and not self.responseStarted and retry.wantsRetryOfTimeout():
            self._leaveConnection()
            if self._tryAgain(None):
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
        self._endpoint.rqError.value += 1
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
        if self._route.virtualHost.includeRequestAttemptCount:
            self._headers.set(b"x-envoy-attempt-count", b"%d" % self.attempts)
        if self._route.virtualHost.includeIsTimeoutRetryHeader:
            self._headers.set(b"x-envoy-is-timeout-retry", b"true" if self._isTimeoutRetry else b"false")
        self._isTimeoutRetry = False
        left = self._timeLeft()
        if left and not self._router.suppressHeaders:
            self._headers.set(b"x-envoy-expected-rq-timeout-ms", b"%d" % max(1, round(left * 1000)))
        self._connect()

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

    # The end

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

    def tunnelEnded(self) -> None:
        """
        The endpoint of a tunnel that ends here has finished: so has the client's connection, once all was sent. A
        POST that became a tunnel has a response that came to its end.
        """
        if self._stream.upgrade:
            self._stream.reset()

    def _leaveConnection(self) -> None:
        if self._pool is not None:
            self._pool.cancel(self)
            self._pool = None
        connection, self.connection = self.connection, None
        self._responsePaused = False
        if connection is not None:
            connection.reset(self)

    def abandon(self) -> None:
        """
        The stream does not need the upstream any more.
        """
        if not self.over:
            self._over()
        self._leaveConnection()
        for shadow in self._shadows:
            shadow.requestGone()

    # Back pressure

    def pauseResponse(self) -> None:
        """
        Read no more of the response.
        """
        if self.connection is not None and not self.over and not self._responsePaused:
            self.connection.pauseReading()
            self._responsePaused = True

    def resumeResponse(self) -> None:
        """
        Read it again.
        """
        if self._responsePaused:
            self._responsePaused = False
            if self.connection is not None:
                self.connection.resumeReading()

    def pauseRequest(self) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.pauseRequest}.
        """
        self._stream.pauseDownstream()

    def resumeRequest(self) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.resumeRequest}.
        """
        self._stream.resumeDownstream()
