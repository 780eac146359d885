# -*- test-case-name: tests.http.test_filteredtry -*-
"""
A try of a request that passes filters on its way to the upstream, and its response on the way back: those of the
cluster (C{http_filters} of C{HttpProtocolOptions}), or of the router (C{upstream_http_filters}).

A L{FilteredTry} stands between the request and the connection. To the request it is the connection, to pool and
connection it is the request. As long as filters hold what was sent there is no connection: who asks for one is the
filter at the chain's end. Further tries have filters of their own; what these change of the head stays changed, as in
Envoy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure as TwistedFailure
from zope.interface import implementer

from meshproxy.flags import Failure, LocalReply, ResetReason
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from meshproxy.http.chain import FilterChain
from meshproxy.http.passing import PassingStream
from meshproxy.http.walk import DATA, TRAILERS, Event, RequestWalk, ResponseWalk
from meshproxy.interfaces import STOP, IHTTPStream, Stop

if TYPE_CHECKING:
    from meshproxy.http.stream import Stream
    from meshproxy.upstream.endpoint import Endpoint
    from meshproxy.upstream.http1connection import HTTP1UpstreamConnection
    from meshproxy.upstream.http1pool import HTTP1Pool
    from meshproxy.upstream.wirecount import IUpstreamCounts

__all__ = ["FilteredTry", "IFilteredRequest", "TryStream"]

# Who wants no more to be read of the response.
_REQUEST, _FILTERS = 1, 2

# What waits besides DATA and TRAILERS.
_METADATA = -1


class IFilteredRequest(Protocol):
    """
    A request whose try passes filters: what it is told besides what a connection and a pool tell
    (L{meshproxy.upstream.http1connection.IUpstreamRequest}, L{meshproxy.upstream.http1pool.IPoolRequest}).
    """

    def connected(self, connection: HTTP1UpstreamConnection, waited: bool) -> None:
        """
        The filters let the head pass, and there is a connection for it.

        @param waited: Whether there was none at once.
        """

    def filterReplied(self, reply: LocalReply) -> None:
        """
        A filter answers in the upstream's stead.
        """

    def filterRaised(self, failure: TwistedFailure) -> None:
        """
        A filter raised.
        """

    def filterReset(self) -> None:
        """
        A filter wants the stream to end without an answer.
        """


@implementer(IHTTPStream)
class TryStream(PassingStream):
    """
    What the filters of a try know as C{stream}. Facts that are not of the try itself are those of the downstream
    stream: its connection, route, metadata and filter state.

    @ivar filteredTry: The try, as long as it goes on.
    """

    def __init__(self, filteredTry: FilteredTry, downstream: Stream, chain: FilterChain) -> None:
        self._downstream = downstream
        self.filteredTry: Any = filteredTry
        route = downstream.route
        if route is not None and route.overrides.disabled:
            chain = chain.variant(route.overrides.disabled)
        self.chain = chain.begin()
        self.requestHeaders: RequestHeaders = downstream.requestHeaders
        self.responseHeaders: ResponseHeaders | None = None
        self.responseTrailers: HeaderMap | None = None
        self.requestHalted = self.responseHalted = self.over = False
        self.isInvolved = self._isRemembered = False
        self.answersGRPC: bool | None = None
        self._requestWalk: RequestWalk | None = None
        self._responseWalk: ResponseWalk | None = None
        self._awaited: list[Deferred[Any]] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._downstream, name)

    @property
    def bufferLimit(self) -> int:
        """
        How many bytes a filter may hold.
        """
        return self._downstream.bufferLimit

    # The request

    def take(self, headers: RequestHeaders, endStream: bool) -> None:
        """
        The head of the request enters the chain.
        """
        self.requestHeaders = headers
        try:
            self.chain.passRequestHeaders(self, headers, endStream)
        except Exception:
            self.filterRaised(TwistedFailure())

    def takeData(self, data: bytes, endStream: bool) -> None:
        """
        A piece of its body enters the chain.
        """
        if self.requestHalted:
            return
        try:
            self._passRequestData(data, endStream)
        except Exception:
            self.filterRaised(TwistedFailure())

    def takeTrailers(self, trailers: HeaderMap) -> None:
        """
        Its trailers enter the chain.
        """
        if self.requestHalted:
            return
        try:
            self.requestWalk.push(TRAILERS, trailers, True)
        except Exception:
            self.filterRaised(TwistedFailure())

    # The response leaves the chain

    def sendHeaders(self, headers: ResponseHeaders, endStream: bool) -> None:
        """
        The head of the response.
        """
        filteredTry = self.filteredTry
        filteredTry.request.responseReceived(headers, endStream)
        if endStream:
            filteredTry.responseTold()

    def sendData(self, data: bytes, endStream: bool) -> None:
        """
        A piece of its body.
        """
        filteredTry = self.filteredTry
        filteredTry.request.dataReceived(data, endStream)
        if endStream:
            filteredTry.responseTold()

    def sendTrailers(self, trailers: HeaderMap) -> None:
        """
        Its trailers.
        """
        filteredTry = self.filteredTry
        filteredTry.request.trailersReceived(trailers)
        filteredTry.responseTold()

    # What filters ask for

    def localReply(self, reply: LocalReply) -> Stop:
        """
        Answer here. As in Envoy, none of the filters of the try sees the reply; those of the downstream chain do.
        """
        if not self.over:
            filteredTry = self.filteredTry
            filteredTry.request.filterReplied(reply)
            filteredTry.end()
        return STOP

    def filterRaised(self, failure: TwistedFailure) -> None:
        """
        A filter raised.
        """
        if not self.over:
            filteredTry = self.filteredTry
            filteredTry.request.filterRaised(failure)
            filteredTry.end()

    def requestTooLarge(self) -> None:
        """
        A filter wants the whole body, and it is longer than the limit.
        """
        self.localReply(Failure.REQUEST_PAYLOAD_TOO_LARGE.value)

    def responseTooLarge(self) -> None:
        """
        Likewise for the response.
        """
        self.localReply(Failure.RESPONSE_PAYLOAD_TOO_LARGE.value)

    def clearRouteCache(self) -> None:
        """
        See L{IHTTPStream.clearRouteCache}: the request is on its way, and the route stays.
        """

    def beginAgain(self, response: Any, body: bytes = b"", trailers: Any = None) -> None:
        """
        See L{IHTTPStream.beginAgain}: that is for filters of the downstream chain.
        """
        raise RuntimeError("a filter on the way upstream cannot let another stream take over")

    def reset(self) -> None:
        """
        See L{IHTTPStream.reset}.
        """
        if not self.over:
            filteredTry = self.filteredTry
            filteredTry.request.filterReset()
            filteredTry.end()

    # Back pressure

    def pauseDownstream(self) -> None:
        """
        Take no more of the request.
        """
        if not self.over:
            self.filteredTry.request.pauseRequest()

    def resumeDownstream(self) -> None:
        """
        Take it again.
        """
        if not self.over:
            self.filteredTry.request.resumeRequest()

    def pauseUpstream(self) -> None:
        """
        Read no more of the response.
        """
        if not self.over:
            self.filteredTry.pause(_FILTERS)

    def resumeUpstream(self) -> None:
        """
        Read it again.
        """
        if not self.over:
            self.filteredTry.resume(_FILTERS)

    def end(self) -> None:
        """
        Nothing of the try goes on.
        """
        self.requestHalted = self.responseHalted = self.over = True
        if self.isInvolved:
            self._dropWaiting()
            if self._isRemembered:
                self._tellEnded(self.chain.rememberedEnded)
        self._tellEnded(self.chain.streamEnded)
        # They refer to each other: without this, both would wait for the garbage collector.
        self.filteredTry = None


class FilteredTry:
    """
    One try.

    @ivar request: Whose try it is.
    @ivar isHTTP2: Whether the connection speaks HTTP/2; likewise what else is asked of a connection.
    @ivar upgraded: Whether the upstream agreed to an upgrade.
    """

    #: A body does not go past the filters: see L{meshproxy.codec.http1.upstream}.
    opaqueRemaining = 0

    def __init__(self, request: Any, stream: Stream, chain: FilterChain, pool: HTTP1Pool) -> None:
        """
        @param request: An L{IFilteredRequest}.
        """
        self.request = request
        self.upgraded = False
        self._pool = pool
        self._stream = TryStream(self, stream, chain)
        self._connection: HTTP1UpstreamConnection | None = None
        self._head: tuple[RequestHeaders, bool] | None = None
        # What passed the filters before there was a connection.
        self._early: list[Event] = []
        self._earlySize = 0
        self._waits = False
        # Whether all of the request was sent, all of the response read, and that all told.
        self._requestSent = self._responseRead = self._responseTold = False
        self._paused = 0

    # What a request asks of its connection

    @property
    def codec(self) -> FilteredTry:
        """
        What tells whether there is a tunnel.
        """
        return self

    @property
    def isHTTP2(self) -> bool:
        """
        Whether the connection speaks HTTP/2; it may, as long as there is none.
        """
        return self._connection is None or self._connection.isHTTP2

    def __getattr__(self, name: str) -> Any:
        # What logs tell of a connection.
        return getattr(self._connection, name)

    @property
    def countedFor(self) -> IUpstreamCounts | None:
        """
        Where the bytes of the try are counted, if they are.
        """
        counted: IUpstreamCounts | None = self.request.countedFor
        return counted

    def sendHeaders(self, headers: RequestHeaders, endStream: bool) -> None:
        """
        The head of the request.
        """
        self._stream.take(headers, endStream)

    def sendData(self, data: bytes, endStream: bool) -> None:
        """
        A piece of its body.
        """
        self._stream.takeData(data, endStream)

    def sendTrailers(self, trailers: HeaderMap) -> None:
        """
        Its trailers.
        """
        self._stream.takeTrailers(trailers)

    def sendMetadata(self, fields: list[tuple[bytes, bytes]]) -> bool:
        """
        METADATA, which no filter sees.

        @return: Whether there was room for it.
        """
        connection: Any = self._connection
        if connection is None:
            self._early.append((_METADATA, fields, False))
            self._earlySize += sum(len(name) + len(value) for name, value in fields)
            return self._earlySize <= self._stream.bufferLimit
        return bool(connection.sendMetadata(fields))

    def beginTunnel(self) -> None:
        """
        The tunnel is open; it is since the response came.
        """

    def pauseReading(self) -> None:
        """
        Read no more of the response.
        """
        self.pause(_REQUEST)

    def resumeReading(self) -> None:
        """
        Read it again.
        """
        self.resume(_REQUEST)

    def handOver(self, request: Any) -> None:
        """
        Tell another one of the response from now on.
        """
        self.request = request

    def reset(self, request: Any) -> None:
        """
        The request is given up. Nothing happens where the try is another one's already.
        """
        if self.request is request:
            self.end()

    # What the filter at the chain's end asks for

    def encodeHeaders(self, headers: RequestHeaders, endStream: bool) -> None:
        """
        Send the head of the request, on a connection that is asked for now.
        """
        self._head = (headers, endStream)
        self._pool.request(self)
        self._waits = self._connection is None

    def encodeData(self, data: bytes, endStream: bool) -> None:
        """
        Send a piece of its body.
        """
        if self._connection is not None:
            self._requestSent = endStream
            self._connection.sendData(data, endStream)
            self._endIfDone()
            return
        self._early.append((DATA, data, endStream))
        self._earlySize += len(data)
        if self._earlySize > self._stream.bufferLimit:
            self.request.pauseRequest()

    def encodeTrailers(self, trailers: HeaderMap) -> None:
        """
        Send its trailers.
        """
        if self._connection is not None:
            self._requestSent = True
            self._connection.sendTrailers(trailers)
            self._endIfDone()
        else:
            self._early.append((TRAILERS, trailers, True))

    # Told by the pool

    def connectionReady(self, connection: HTTP1UpstreamConnection) -> None:
        """
        See L{meshproxy.upstream.http1pool.IPoolRequest.connectionReady}.
        """
        self._connection = connection
        self.request.connected(connection, self._waits)
        assert self._head is not None
        headers, self._requestSent = self._head
        try:
            connection.sendHeaders(headers, self._requestSent)
            early, self._early = self._early, []
            for kind, payload, end in early:
                if kind == DATA:
                    self.encodeData(payload, end)
                elif kind == _METADATA:
                    self.sendMetadata(payload)
                else:
                    self.encodeTrailers(payload)
        except Exception:
            # Filters made a head of it that cannot be written.
            self._stream.filterRaised(TwistedFailure())
            return
        if self._earlySize:
            self.request.resumeRequest()

    def connectionFailed(self, reason: ResetReason, endpoint: Endpoint | None, why: str) -> None:
        """
        See L{meshproxy.upstream.http1pool.IPoolRequest.connectionFailed}.
        """
        self._head = None
        self.end()
        self.request.connectionFailed(reason, endpoint, why)

    # Told by the connection

    def informationalReceived(self, headers: ResponseHeaders) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.informationalReceived}: no filter looks at these.
        """
        self.request.informationalReceived(headers)

    def responseReceived(self, headers: ResponseHeaders, endStream: bool) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.responseReceived}.
        """
        connection = self._connection
        assert connection is not None
        if connection.codec.upgraded:
            self.upgraded = True
            connection.beginTunnel()
        if endStream:
            self._read()
        self._stream.responseHeadersReceived(headers, endStream)

    def wholeReceived(self, headers: ResponseHeaders, body: bytes) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.wholeReceived}.
        """
        self.responseReceived(headers, False)
        if not self._stream.over:
            self.dataReceived(body, True)

    def dataReceived(self, data: bytes, endStream: bool) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.dataReceived}.
        """
        if endStream:
            self._read()
        self._stream.responseDataReceived(data, endStream)

    def trailersReceived(self, trailers: HeaderMap) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.trailersReceived}.
        """
        self._read()
        self._stream.responseTrailersReceived(trailers)

    def metadataReceived(self, fields: list[tuple[bytes, bytes]]) -> None:
        """
        METADATA that came with the response.
        """
        told = getattr(self.request, "metadataReceived", None)
        if told is not None:
            told(fields)

    def upstreamReset(self, reason: ResetReason, why: str) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.upstreamReset}: what filters hold of a response that
        does not end is lost.
        """
        self._responseRead = self._requestSent = True
        self.end()
        self.request.upstreamReset(reason, why)

    def tunnelEnded(self) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.tunnelEnded}.
        """
        self.request.tunnelEnded()

    def pauseRequest(self) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.pauseRequest}.
        """
        self.request.pauseRequest()

    def resumeRequest(self) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.resumeRequest}.
        """
        self.request.resumeRequest()

    # Back pressure of the response

    def pause(self, who: int) -> None:
        """
        Read no more of it.
        """
        if not self._paused and self._isAttached:
            self._connection.pauseReading()  # type: ignore[union-attr]  # there is one
        self._paused |= who

    def resume(self, who: int) -> None:
        """
        Read it again, unless somebody else wants no more of it.
        """
        before, self._paused = self._paused, self._paused & ~who
        if before and not self._paused and self._isAttached:
            self._connection.resumeReading()  # type: ignore[union-attr]  # there is one

    # The end

    @property
    def _isAttached(self) -> bool:
        """
        Whether the connection carries this try, and nothing else yet.
        """
        return self._connection is not None and not (self._responseRead and self._requestSent)

    def _read(self) -> None:
        """
        The response was read to its end. The connection goes back to its pool, and must not take a pause along.
        """
        if self._paused and self._isAttached:
            self._connection.resumeReading()  # type: ignore[union-attr]  # there is one
            self._paused = 0
        self._responseRead = True

    def responseTold(self) -> None:
        """
        The request was told the end of the response.
        """
        self._responseTold = True
        self._endIfDone()

    def _endIfDone(self) -> None:
        if self._responseTold and self._requestSent:
            self.end()

    def end(self) -> None:
        """
        Nothing of it goes on; what is under way is given up.
        """
        if self._stream.over:
            return
        self._stream.end()
        if self._isAttached:
            self._connection.reset(self)  # type: ignore[union-attr]  # there is one
        elif self._connection is None and self._head is not None:
            self._pool.cancel(self)
