# -*- test-case-name: tests.upstream.healthchecks.test_http -*-
"""
A request that asks an endpoint how it is, over HTTP: what checks of HTTP and of gRPC have in common.

Each endpoint has a pool of its own for its checks, whose figures nobody sees. So connections are made, kept, closed and
given up as those of requests are, and a peer that breaks the protocol is found out alike.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from meshproxy.flags import ResetReason
from meshproxy.headers import HeaderMap, ResponseHeaders

if TYPE_CHECKING:
    from meshproxy.upstream.endpoint import Endpoint
    from meshproxy.upstream.http1pool import HTTP1Pool

__all__ = ["USER_AGENT", "Exchange", "FailureKind", "IJudge", "IProbe"]

#: What checks say they are, as Envoy's do.
USER_AGENT = (b"user-agent", b"Envoy/HC")


class FailureKind(Enum):
    """
    C{envoy.data.core.v3.HealthCheckFailureType}: the endpoint said so, or a request that was no check found out, or
    there was no answer, or none in time.
    """

    ACTIVE = 0
    PASSIVE = 1
    NETWORK = 2
    NETWORK_TIMEOUT = 3


class IJudge(Protocol):
    """
    Who is told how a check ended.
    """

    def passed(self, isDegraded: bool = False) -> None:
        """
        The endpoint is well.

        @param isDegraded: And says that others are better.
        """

    def failed(self, kind: FailureKind, isRetriable: bool = False, excludes: bool = False, status: int = 0) -> None:
        """
        It is not.

        @param isRetriable: Whether it takes several of these for it to be ill, though it was the endpoint that said it.
        @param excludes: Whether it asked not even to be counted.
        @param status: The status of its response; 0 where there was none.
        """


class IProbe(Protocol):
    """
    Asks one endpoint. A check ends by telling the judge, by L{giveUp} or by L{stop}.
    """

    def begin(self) -> None:
        """
        Begin a check; none is under way.
        """

    def giveUp(self) -> None:
        """
        It takes too long. The judge is not told.
        """

    def stop(self) -> None:
        """
        Ask no more, and keep no connection.
        """


class Exchange:
    """
    One request, and one again after its end.

    Subclasses say what is sent, and read what comes.
    """

    #: Whether a time-out ends the connection rather than the stream, where there is a difference.
    closesLate = True

    def __init__(self, pool: HTTP1Pool, judge: IJudge) -> None:
        self.judge = judge
        self._pool = pool
        self._connection: Any = None
        self._isOpen = False

    # What is asked of it

    def begin(self) -> None:
        """
        See L{IProbe.begin}.
        """
        self._isOpen = True
        self._pool.request(self)

    def giveUp(self) -> None:
        """
        See L{IProbe.giveUp}.
        """
        self._isOpen = False
        connection, self._connection = self._connection, None
        if connection is None:
            self._pool.cancel(self)
            return
        connection.reset(self)
        if connection.isHTTP2 and (self.closesLate or self._pool.settings.maxRequestsPerConnection):
            connection.connection.abort()

    def stop(self) -> None:
        """
        See L{IProbe.stop}.
        """
        self._pool.drain()
        if self._isOpen:
            self.giveUp()

    def send(self, connection: Any) -> None:
        """
        Send the request.
        """
        raise NotImplementedError

    def completed(self, trailers: HeaderMap | None) -> None:
        """
        All of the response came.
        """
        raise NotImplementedError

    def headReceived(self, headers: ResponseHeaders, endStream: bool) -> None:
        """
        The head of the response came; L{completed} is next if it is all.
        """
        raise NotImplementedError

    def bodyReceived(self, data: bytes) -> None:
        """
        A piece of its body came.
        """
        raise NotImplementedError

    # What subclasses tell

    def end(self) -> bool:
        """
        The check is over.

        @return: Whether it was not before.
        """
        wasOpen, self._isOpen = self._isOpen, False
        self._connection = None
        return wasOpen

    def breakOff(self) -> bool:
        """
        The check is over, whatever is still to come.

        @return: Whether it was not before.
        """
        connection = self._connection
        wasOpen = self.end()
        if wasOpen and connection is not None:
            connection.reset(self)
        return wasOpen

    # What the pool tells

    def connectionReady(self, connection: Any) -> None:
        """
        See L{meshproxy.upstream.http1pool.IPoolRequest}.
        """
        self._connection = connection
        self.send(connection)

    def connectionFailed(self, reason: ResetReason, endpoint: Endpoint | None, why: str) -> None:
        """
        See L{meshproxy.upstream.http1pool.IPoolRequest}.
        """
        if self.end():
            self.judge.failed(FailureKind.NETWORK)

    # What the connection tells

    def informationalReceived(self, headers: ResponseHeaders) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest}.
        """

    def responseReceived(self, headers: ResponseHeaders, endStream: bool) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest}.
        """
        self.headReceived(headers, endStream)
        if endStream and self._isOpen:
            self.completed(None)

    def wholeReceived(self, headers: ResponseHeaders, body: bytes) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest}.
        """
        self.responseReceived(headers, False)
        self.dataReceived(body, True)

    def dataReceived(self, data: bytes, endStream: bool) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest}.
        """
        if self._isOpen and data:
            self.bodyReceived(data)
        if endStream and self._isOpen:
            self.completed(None)

    def trailersReceived(self, trailers: HeaderMap) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest}.
        """
        if self._isOpen:
            self.completed(trailers)

    def upstreamReset(self, reason: ResetReason, why: str) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest}.
        """
        if self.end():
            self.judge.failed(FailureKind.NETWORK)

    def pauseRequest(self) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest}: it is little, and was sent.
        """

    def resumeRequest(self) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest}.
        """
