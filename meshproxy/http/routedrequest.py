# -*- test-case-name: tests.http.test_router,tests.http.test_routerconnections -*-
"""
A request on its way: from a stream with a route to an upstream connection and back.

A L{RoutedRequest} is the stream's upstream side. It asks the cluster for an endpoint and the endpoint's pool for a
connection, is told of the response by the connection's codec, and decides whether to try again
(L{meshproxy.http.retry}).

Here is what each request goes through. What few do is in its base classes: L{meshproxy.http.tries} has failures,
time-outs and further tries, L{meshproxy.http.upgrades} tunnels and WebSocket, L{meshproxy.http.orders} what the
request's own headers say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.python.failure import Failure as TwistedFailure

from meshproxy.codec.http1 import DECIMAL
from meshproxy.errors import LocalProtocolError
from meshproxy.flags import Details, Failure, ResetReason
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders, isGRPC
from meshproxy.http.choice import EndpointChoice
from meshproxy.http.filteredtry import FilteredTry
from meshproxy.http.internalredirect import prepareRedirect
from meshproxy.http.keptbody import KeptBody
from meshproxy.http.orders import OrderedRequest
from meshproxy.http.shadow import startShadows
from meshproxy.http.tries import outlierStatus
from meshproxy.net.instances import withAttributes
from meshproxy.routing.internalredirects import InternalRedirectPolicy
from meshproxy.routing.rewrites import replaceHost
from meshproxy.routing.timeouts import tellDuration
from meshproxy.upstream.stats import COMPLETED
from meshproxy.upstream.transports import NO_WISH
from meshproxy.upstream.tunnel import TunnelMaker

if TYPE_CHECKING:
    from meshproxy.http.chain import FilterChain
    from meshproxy.http.stream import Stream
    from meshproxy.upstream.cluster import Cluster
    from meshproxy.upstream.endpoint import Endpoint
    from meshproxy.upstream.http1connection import HTTP1UpstreamConnection
    from meshproxy.upstream.http1pool import HTTP1Pool
    from meshproxy.upstream.wirecount import IUpstreamCounts

__all__ = ["RoutedRequest"]

# What a request that ends here may want the connection to become.
_NO_OTHER = (b"connect", b"")
# How long a body is to be for a relay to pay.
_RELAY_FROM = 131072


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
class RoutedRequest(OrderedRequest):
    """
    One request on its way to an upstream, through all of its tries.

    It is what a pool hands connections to, and what a connection's codec tells of the response.
    """

    @property
    def countedFor(self) -> IUpstreamCounts | None:
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
        stats.rqUpstreamTotal.value += 1
        if cluster is None:
            stats.noCluster.value += 1
            self.over = True
            stream.localReply(Failure.NO_CLUSTER.value.withStatus(action.clusterNotFoundStatus))
            return
        self._cluster = cluster
        if cluster.options is not None:
            action = self._action = cluster.options.heed(action)
        self._stats = cluster.stats
        self._headers = headers
        self._chooseCodes()
        if isGRPC(headers):
            self._isGRPC = True
            self._isQuiet = router.suppressGRPCCodes
        stream.upstreamCluster = cluster.statName
        if self._route.isCounted:
            stream.virtualClusterName, also = router.routeStats.statsFor(self._route, headers)
            self._also = tuple(also)
        if endStream:
            self._requestEnded = self._complete = True
        if stream.upgrade:
            # A tunnel has no end to wait for: Envoy begins its time-out when the request's head is there.
            self._expectsTunnel = self._complete = True
        timeout = action.timeout
        if action.readsOrders or not router.hasNoOrders(headers.first):
            if router.strictHeaders and self._isRefused(headers):
                return
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
        if cluster.transports.wishOf is not None or cluster.isPersonal or stream.connection.upstreamSource is not None:
            self._wish = self._wishOf(cluster)
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
        if endStream:
            stream.upstreamResponseEnd = self._router.clock.seconds()
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
        elif self._retry is not None and self._choice is None and self._retry.policy.isChoosy:
            self.chose(EndpointChoice(self._stream, self._action, self._headers, self._retry.policy), endpoint)
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
            self._shadows = startShadows(self._router, stream, self._action, self._headers, self._requestEnded)
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
            chain = None
        else:
            chain = self._router.chainOf(cluster)
        if pool is None:
            pool = cluster.pool(endpoint, priority, self._wish, stream.protocol == "HTTP/2")
        if chain is not None:
            self._pass(chain, pool)
            return
        self._pool = pool
        pool.request(self)
        self._waits = self._pool is not None

    def _pass(self, chain: FilterChain, pool: HTTP1Pool) -> None:
        """
        Let the try pass filters, of which the last one asks for a connection.
        """
        try:
            filtered: Any = FilteredTry(self, self._stream, chain, pool)
        except Exception:
            self._stream.filterRaised(TwistedFailure())
            return
        self.connection = filtered
        self._send(filtered)

    def chose(self, choice: EndpointChoice, endpoint: Endpoint | None) -> None:
        """
        The cluster was asked already which endpoint it is to be.

        @param choice: The request's say.
        """
        self._choice = choice
        if endpoint is not None:
            choice.tried.append(endpoint)

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

    def connectionReady(self, connection: HTTP1UpstreamConnection) -> None:
        """
        See L{meshproxy.upstream.http1pool.IPoolRequest.connectionReady}.
        """
        self._pool = None
        self.connection = connection
        self.connected(connection, self._waits)
        self._send(connection)

    def connected(self, connection: HTTP1UpstreamConnection, waited: bool) -> None:
        """
        There is a connection for this try.

        @param waited: Whether there was none at once.
        """
        duration = self._cluster.settings.maxStreamDuration
        if duration:
            self._tryDuration = self._router.tryDurations[duration]
            self._tryDuration.start(self)
        stream = self._stream
        stream.upstreamConnection = connection
        if waited or self.attempts > 1:
            stream.waitedForConnection = self._router.clock.seconds()
            stream.waitedSince = self._tryBegan
        if self._action.autoHostRewrite and self._endpoint.hostname:
            host = self._endpoint.hostname.encode("utf-8")
            replaceHost(self._headers, host, self._action.appendForwardedHost, not self._router.suppressHeaders)
        if stream.upgrade == b"websocket":
            self._beginHandshake(connection)
        for each in self._also:
            each.rqTotal.value += 1

    def _send(self, connection: HTTP1UpstreamConnection) -> None:
        """
        Send what came of the request until now.
        """
        stream = self._stream
        body = self._body
        try:
            if body is None:
                connection.sendHeaders(self._headers, self._requestEnded and not self._expectsTunnel)
                if stream.heldMetadata:
                    self._sendHeldMetadata()
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
        if self._stream.heldMetadata:
            self._sendHeldMetadata()
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

    def sendMetadata(self, fields: list[tuple[bytes, bytes]]) -> bool:
        """
        METADATA that came with the request. What is tried again goes without it.

        @return: Whether it has gone, or may not go; else it waits for the head.
        """
        connection: Any = self.connection
        if self.over:
            return True
        if connection is None:
            return self.attempts > 1
        if not connection.sendMetadata(fields):
            self._stream.reset()
        return True

    def _sendHeldMetadata(self) -> None:
        stream = self._stream
        held, stream.heldMetadata = stream.heldMetadata, ()
        for fields in held:
            self.sendMetadata(fields)

    def metadataReceived(self, fields: list[tuple[bytes, bytes]]) -> None:
        """
        METADATA that came with the response.
        """
        self._stream.responseMetadataReceived(fields)

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
        # As in Envoy, whether it goes on or not.
        self._count(headers.status)
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
        stats = self._otherCodes or self._stats
        status = COMPLETED if self._isQuiet else headers.status
        try:
            stats.responses.counts[status] += 1
        except KeyError:
            stats.responses.add(status)
        # gRPC tells in trailers how it ended, and there are none.
        if headers.status < 500 and self._isGRPC:
            self._endpoint.failed(outlierStatus(headers))
        else:
            self._endpoint.responded(headers.status)
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
        for each in self._coded:
            each.rqTime.record(elapsed)
        if self._retry is not None:
            self._retry.ended(self.attempts > 1)

    # The end

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
