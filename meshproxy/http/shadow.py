# -*- test-case-name: tests.http.test_shadow -*-
"""
Copies of requests for mirrors (C{request_mirror_policies}). Nobody waits for one: its response is thrown away as it
comes, and a mirror that does not keep up loses its copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.python.failure import Failure as TwistedFailure

from meshproxy.errors import LocalProtocolError
from meshproxy.flags import LocalReply, ResetReason
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from meshproxy.http.filteredtry import FilteredTry
from meshproxy.net.deadlines import Deadlines
from meshproxy.upstream.endpoint import Endpoint
from meshproxy.upstream.stats import NOT_COUNTED, CodeStats
from meshproxy.upstream.transports import NO_WISH

if TYPE_CHECKING:
    from meshproxy.http.chain import FilterChain
    from meshproxy.http.router import Router
    from meshproxy.http.stream import Stream
    from meshproxy.routing.route import RouteAction
    from meshproxy.upstream.cluster import Cluster
    from meshproxy.upstream.http1connection import HTTP1UpstreamConnection
    from meshproxy.upstream.http1pool import HTTP1Pool

__all__ = ["Shadow", "startShadows"]


class Shadow:
    """
    One copy on its way.
    """

    def __init__(
        self, router: Router, stream: Stream, cluster: Cluster, endpoint: Endpoint, headers: RequestHeaders
    ) -> None:
        self._router = router
        self._stream = stream
        self._cluster = cluster
        # As in Envoy, copies come from within, and are counted where their requests are.
        self._codes = _codesOf(router, cluster)
        self._endpoint = endpoint
        self._headers = headers
        # How many bytes of the body may wait for the mirror.
        self._limit = stream.bufferLimit
        self._pool: HTTP1Pool | None = None
        self._connection: HTTP1UpstreamConnection | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._trailers: HeaderMap | None = None
        self._ended = False
        self._isBehind = False
        self._over = False
        self._timeouts: Deadlines[Shadow] | None = None
        self._began = router.clock.seconds()

    def start(self, timeout: float, endStream: bool) -> None:
        """
        Ask for a connection.

        @param timeout: Seconds until the copy is given up; 0 for never.
        """
        self._ended = endStream
        if timeout:
            self._timeouts = self._router.shadowTimeouts[timeout]
            self._timeouts.start(self)
        wishOf = self._cluster.transports.wishOf
        wish = NO_WISH if wishOf is None else wishOf(self._headers)
        pool = self._cluster.pool(self._endpoint, wish=wish)
        chain = self._router.chainOf(self._cluster)
        if chain is not None:
            self._pass(chain, pool)
            return
        self._pool = pool
        pool.request(self)

    def _pass(self, chain: FilterChain, pool: HTTP1Pool) -> None:
        """
        Let the copy pass filters, of which the last one asks for a connection.
        """
        try:
            filtered: Any = FilteredTry(self, self._stream, chain, pool)
        except Exception:
            self.filterRaised(TwistedFailure())
        else:
            self.connectionReady(filtered)

    # The request

    def sendData(self, data: bytes, endStream: bool) -> None:
        """
        A piece of the request's body.
        """
        if self._over:
            return
        self._ended = endStream
        if self._connection is not None and not self._isBehind:
            self._connection.sendData(data, endStream)
            return
        self._pieces.append(data)
        self._size += len(data)
        if self._size > self._limit:
            self._cluster.stats.retryOrShadowAbandoned.value += 1
            self.abandon()

    def sendTrailers(self, trailers: HeaderMap) -> None:
        """
        The request's trailers.
        """
        if self._over:
            return
        self._ended = True
        if self._connection is not None and not self._isBehind:
            self._connection.sendTrailers(trailers)
        else:
            self._trailers = trailers

    def requestGone(self) -> None:
        """
        The request will not be completed; nor will its copy.
        """
        if not self._ended:
            self.abandon()

    def abandon(self) -> None:
        """
        Give up.
        """
        self._end()
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.cancel(self)
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.reset(self)

    def timedOut(self) -> None:
        """
        The mirror took too long.
        """
        self._cluster.stats.rqTimeout.value += 1
        self._endpoint.broke(504)
        self._codes.responses.add(504)
        self.abandon()

    def _end(self) -> None:
        self._over = True
        self._pieces.clear()
        if self._timeouts is not None:
            self._timeouts.cancel(self)

    # What the pool tells

    def connectionReady(self, connection: HTTP1UpstreamConnection) -> None:
        """
        See L{meshproxy.upstream.http1pool.IPoolRequest.connectionReady}.
        """
        self._pool = None
        self._connection = connection
        try:
            connection.sendHeaders(self._headers, self._ended and not self._pieces and self._trailers is None)
            self._sendKept(connection)
        except LocalProtocolError:
            self.abandon()

    def _sendKept(self, connection: HTTP1UpstreamConnection) -> None:
        kept, self._pieces, self._size = b"".join(self._pieces), [], 0
        if kept:
            connection.sendData(kept, self._ended and self._trailers is None)
        if self._trailers is not None:
            connection.sendTrailers(self._trailers)
            self._trailers = None

    def connectionFailed(self, reason: ResetReason, endpoint: Endpoint | None, why: str) -> None:
        """
        See L{meshproxy.upstream.http1pool.IPoolRequest.connectionFailed}.
        """
        self._pool = None
        if endpoint is not None:
            endpoint.broke()
        self._codes.responses.add(503)
        self._end()

    # What filters tell that it passes

    @property
    def countedFor(self) -> None:
        """
        Nobody asks for the bytes of copies.
        """
        return None

    def connected(self, connection: HTTP1UpstreamConnection, waited: bool) -> None:
        """
        See L{meshproxy.http.filteredtry.IFilteredRequest.connected}.
        """

    def filterReplied(self, reply: LocalReply) -> None:
        """
        See L{meshproxy.http.filteredtry.IFilteredRequest.filterReplied}: the copy goes no further.
        """
        self.abandon()

    def filterRaised(self, failure: TwistedFailure) -> None:
        """
        See L{meshproxy.http.filteredtry.IFilteredRequest.filterRaised}: the request does not notice.
        """
        self._stream.manager.stats.filterExceptions.value += 1
        self._stream.manager.log.failure("a filter raised while a copy of a request was with it", failure)
        self.abandon()

    def filterReset(self) -> None:
        """
        See L{meshproxy.http.filteredtry.IFilteredRequest.filterReset}.
        """
        self.abandon()

    # What the codec tells

    def informationalReceived(self, headers: ResponseHeaders) -> None:
        """
        Of no interest.
        """

    def responseReceived(self, headers: ResponseHeaders, endStream: bool) -> None:
        """
        The head of the response, which is counted.
        """
        self._codes.responses.add(headers.status)
        self._endpoint.responded(headers.status)
        if endStream:
            self._responseEnded()

    def dataReceived(self, data: bytes, endStream: bool) -> None:
        """
        A piece of its body, which goes nowhere.
        """
        if endStream:
            self._responseEnded()

    def wholeReceived(self, headers: ResponseHeaders, body: bytes) -> None:
        """
        All of it at once.
        """
        self.responseReceived(headers, True)

    def trailersReceived(self, trailers: HeaderMap) -> None:
        """
        Its trailers.
        """
        self._responseEnded()

    def _responseEnded(self) -> None:
        connection, self._connection = self._connection, None
        self._codes.rqTime.record(int((self._router.clock.seconds() - self._began) * 1000))
        isSent = self._ended and not self._isBehind
        self._end()
        if connection is not None and not isSent:
            connection.reset(self)  # it answered before it had all; the rest will not come

    def upstreamReset(self, reason: ResetReason, why: str) -> None:
        """
        The mirror went away.
        """
        self._connection = None
        self._endpoint.broke()
        self._codes.responses.add(503)
        self._end()

    def pauseRequest(self) -> None:
        """
        The mirror does not keep up: what comes now has to wait, within the limit.
        """
        self._isBehind = True

    def resumeRequest(self) -> None:
        """
        It does again.
        """
        self._isBehind = False
        if self._connection is not None and not self._over:
            self._sendKept(self._connection)


def _codesOf(router: Router, cluster: Cluster) -> CodeStats:
    """
    Where the responses of a mirror are counted.
    """
    return cluster.stats.internal if router.countsCodes else NOT_COUNTED


def _markInternal(headers: RequestHeaders, localAddress: bytes) -> None:
    """
    Say, as Envoy does of requests that it makes itself, whom it is from.
    """
    headers.set(b"x-envoy-internal", b"true")
    present = headers.joined(b"x-forwarded-for")
    headers.set(b"x-forwarded-for", b"%b,%b" % (present, localAddress) if present else localAddress)


def startShadows(
    router: Router, stream: Stream, action: RouteAction, headers: RequestHeaders, endStream: bool
) -> tuple[Shadow, ...]:
    """
    Start the copies that a request's route asks for, or its cluster.

    @param headers: The head of the request as it goes upstream.
    """
    started = []
    for mirror in action.mirrors:
        cluster = router.clusters.get(mirror.selectCluster(headers))
        if cluster is None or not mirror.decide():
            continue
        endpoint = cluster.chooseEndpoint()
        if endpoint is None:
            cluster.stats.cxNoneHealthy.value += 1
            _codesOf(router, cluster).responses.add(503)
            continue
        copied = mirror.copyHead(headers, stream)
        _markInternal(copied, router.localAddress)
        shadow = Shadow(router, stream, cluster, endpoint, copied)
        shadow.start(action.timeout, endStream)
        started.append(shadow)
    return tuple(started)
