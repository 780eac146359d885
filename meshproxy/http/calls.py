# -*- test-case-name: tests.http.test_calls -*-
"""
Requests that filters make on their own account: to an authorization service, for a key, about a token.
"""

from __future__ import annotations

from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from meshproxy.errors import (
    ConnectTimeout,
    LimitExceeded,
    LocalProtocolError,
    NoHealthyEndpoint,
    UpstreamError,
    UpstreamOverflow,
    UpstreamReset,
)
from meshproxy.flags import ResetReason
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from meshproxy.interfaces import IUpstreamCalls
from meshproxy.upstream.clusters import Clusters
from meshproxy.upstream.endpoint import Endpoint
from meshproxy.upstream.http1connection import HTTP1UpstreamConnection
from meshproxy.upstream.http1pool import HTTP1Pool

__all__ = ["CallResponse", "UpstreamCalls"]


@dataclass(frozen=True, slots=True)
class CallResponse:
    """
    What a call got.

    @ivar trailers: L{None} where there were none.
    """

    headers: ResponseHeaders
    body: bytes
    trailers: HeaderMap | None = None


@implementer(IUpstreamCalls)
class UpstreamCalls:
    """
    Calls through the pools of the clusters, with their limits.
    """

    def __init__(self, clusters: Clusters, clock: IReactorTime) -> None:
        self._clusters = clusters
        self._clock = clock

    def call(
        self, cluster: str, headers: RequestHeaders, body: bytes = b"", timeout: float = 5.0, limit: int = 0
    ) -> Deferred[CallResponse]:
        """
        See L{IUpstreamCalls.call}.
        """
        found = self._clusters.byName.get(cluster)
        if found is None:
            return _failed(NoHealthyEndpoint(f"there is no cluster {cluster!r}"))
        endpoint = found.chooseEndpoint()
        if endpoint is None:
            found.stats.cxNoneHealthy.value += 1
            return _failed(NoHealthyEndpoint(f"no endpoint of {cluster!r} is healthy"))
        if body:
            headers.set(b"content-length", b"%d" % len(body))
        call = _Call(endpoint, headers, body, limit or found.settings.bufferLimit)
        wishOf = found.transports.wishOf
        pool = found.pool(endpoint) if wishOf is None else found.pool(endpoint, wish=wishOf(headers))
        return call.start(pool, self._clock, timeout)


def _failed(error: UpstreamError) -> Deferred[CallResponse]:
    failed: Deferred[CallResponse] = Deferred()
    failed.errback(error)
    return failed


class _Call:
    """
    One call.
    """

    def __init__(self, endpoint: Endpoint, headers: RequestHeaders, body: bytes, limit: int) -> None:
        self._endpoint = endpoint
        self._headers = headers
        self._body = body
        self._limit = limit
        self._pool: HTTP1Pool | None = None
        self._connection: HTTP1UpstreamConnection | None = None
        self._response: ResponseHeaders | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._done: Deferred[CallResponse] | None = Deferred(lambda _: self._leave())
        self._timeout: IDelayedCall | None = None

    def start(self, pool: HTTP1Pool, clock: IReactorTime, timeout: float) -> Deferred[CallResponse]:
        """
        Ask for a connection.
        """
        done = self._done
        assert done is not None
        self._pool = pool
        self._timeout = clock.callLater(timeout, self._late, timeout)
        pool.request(self)
        return done

    def _late(self, timeout: float) -> None:
        self._timeout = None
        self._fail(ConnectTimeout(f"no answer within {timeout} s"))

    def _leave(self) -> None:
        """
        Nobody waits any more.
        """
        self._done = None
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None
        if self._pool is not None:
            self._pool.cancel(self)
            self._pool = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.reset(self)

    def _fail(self, error: Exception) -> None:
        done = self._done
        if done is not None:
            self._leave()
            done.errback(error)

    def _succeed(self, trailers: HeaderMap | None = None) -> None:
        done = self._done
        if done is not None:
            assert self._response is not None
            self._connection = None  # it goes back to its pool by itself
            self._leave()
            done.callback(CallResponse(self._response, b"".join(self._pieces), trailers))

    # What the pool tells

    def connectionReady(self, connection: HTTP1UpstreamConnection) -> None:
        """
        Send the request.
        """
        self._pool = None
        self._connection = connection
        try:
            connection.sendHeaders(self._headers, not self._body)
            if self._body:
                connection.sendData(self._body, True)
        except LocalProtocolError as error:
            self._fail(error)

    def connectionFailed(self, reason: ResetReason, endpoint: Endpoint | None, why: str) -> None:
        """
        There is no connection.
        """
        self._pool = None
        if endpoint is not None:
            endpoint.broke()
        kind = UpstreamOverflow if reason in (ResetReason.OVERFLOW, ResetReason.NO_POOL) else UpstreamReset
        self._fail(kind(f"{reason.words}: {why}" if why else reason.words))

    # What the codec tells

    def informationalReceived(self, headers: ResponseHeaders) -> None:
        """
        Of no interest.
        """

    def responseReceived(self, headers: ResponseHeaders, endStream: bool) -> None:
        """
        The head of the response.
        """
        self._response = headers
        self._endpoint.responded(headers.status)
        if endStream:
            self._succeed()

    def dataReceived(self, data: bytes, endStream: bool) -> None:
        """
        A piece of its body.
        """
        self._pieces.append(data)
        self._size += len(data)
        if self._size > self._limit:
            self._fail(LimitExceeded(f"a response of at most {self._limit} bytes"))
        elif endStream:
            self._succeed()

    def wholeReceived(self, headers: ResponseHeaders, body: bytes) -> None:
        """
        All of the response at once.
        """
        self.responseReceived(headers, False)
        self.dataReceived(body, True)

    def trailersReceived(self, trailers: HeaderMap) -> None:
        """
        Its trailers.
        """
        self._succeed(trailers)

    def upstreamReset(self, reason: ResetReason, why: str) -> None:
        """
        The response will not come.
        """
        self._connection = None
        self._endpoint.broke()
        self._fail(UpstreamReset(reason.words))

    def pauseRequest(self) -> None:
        """
        The body is in the transport's hands already.
        """

    def resumeRequest(self) -> None:
        """
        Nothing was paused.
        """
