# -*- test-case-name: tests.upstream.test_http1connection -*-
"""
One HTTP/1.1 connection to an endpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from meshproxy.codec.http1 import IResponseSink, ReadState, makeUpstreamCodec
from meshproxy.errors import RemoteProtocolError
from meshproxy.flags import ResetReason
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from meshproxy.net.instances import withAttributes

if TYPE_CHECKING:
    from meshproxy.upstream.http1pool import HTTP1Pool

__all__ = ["HTTP1UpstreamConnection", "IUpstreamRequest", "ResponseSink", "connectionIds"]

# Where the codec stands when a response is whole.
_WAITING = ReadState.WAITING
_CLOSED = ReadState.CLOSED
_TUNNEL = ReadState.TUNNEL
_COMPLETE = (_WAITING, _CLOSED)


class IUpstreamRequest(Protocol):
    """
    A request on an upstream connection: what it is told.
    """

    def informationalReceived(self, headers: ResponseHeaders) -> None:
        """
        An interim response, 1xx but not 101.
        """

    def responseReceived(self, headers: ResponseHeaders, endStream: bool) -> None:
        """
        The head of the response.
        """

    def dataReceived(self, data: bytes, endStream: bool) -> None:
        """
        A piece of its body.
        """

    def wholeReceived(self, headers: ResponseHeaders, body: bytes) -> None:
        """
        Head and body at once, where they came in one read: the same as C{responseReceived} and C{dataReceived}.
        """

    def trailersReceived(self, trailers: HeaderMap) -> None:
        """
        Its trailers; they end it.
        """

    def upstreamReset(self, reason: ResetReason, why: str) -> None:
        """
        The response will not come, or not end.
        """

    def pauseRequest(self) -> None:
        """
        The upstream does not read: send no more.
        """

    def resumeRequest(self) -> None:
        """
        The upstream reads again.
        """


@implementer(IResponseSink)
class ResponseSink:
    """
    Passes the codec's events to the request that the connection carries; without one, bytes are the codec's to refuse.

    (The connection's own C{dataReceived} is the transport's.)
    """

    __slots__ = ("request",)

    def __init__(self) -> None:
        self.request: IUpstreamRequest | None = None

    def informationalReceived(self, headers: ResponseHeaders) -> None:
        """
        An interim response.
        """
        if self.request is not None:
            self.request.informationalReceived(headers)

    def responseReceived(self, headers: ResponseHeaders, endStream: bool) -> None:
        """
        The head of the response.
        """
        if self.request is not None:
            self.request.responseReceived(headers, endStream)

    def wholeReceived(self, headers: ResponseHeaders, body: bytes) -> None:
        """
        Head and body at once.
        """
        if self.request is not None:
            self.request.wholeReceived(headers, body)

    def dataReceived(self, data: bytes, endStream: bool) -> None:
        """
        A piece of its body.
        """
        if self.request is not None:
            self.request.dataReceived(data, endStream)

    def trailersReceived(self, trailers: HeaderMap) -> None:
        """
        Its trailers.
        """
        if self.request is not None:
            self.request.trailersReceived(trailers)


#: The numbers of upstream connections of any kind, for logs.
connectionIds = count(1)


@withAttributes("connected", "transport", "connectedAt", "closedHere")
@implementer(IPushProducer)
class HTTP1UpstreamConnection(TwistedProtocol):
    """
    Carries one request at a time, and the bytes of a tunnel after an upgrade.

    @ivar id: Unique among upstream connections.
    @ivar request: The request it carries, or L{None}; the codec's events go to it directly.
    @ivar served: How many requests it has carried, this one included.
    @ivar began: When it was asked for, by the pool's clock.
    @ivar connectedAt: When it was there.
    @ivar idleSince: When it had its last request's end.
    @ivar closedHere: Whether this side ends it.
    """

    isHTTP2 = False
    protocolName = "HTTP/1.1"
    closedHere = False
    connectedAt: float | None = None

    def __init__(self, pool: HTTP1Pool, makeSink: Callable[[], ResponseSink] = ResponseSink) -> None:
        self.pool = pool
        # What each exchange needs has no default on the class: CPython 3.12 and later would look for it there.
        self.request: IUpstreamRequest | None = None
        self.served = 0
        self._requestEnded = True
        self.id = next(connectionIds)
        self._sink = makeSink()
        self.codec = makeUpstreamCodec(self._sink, pool.settings.http1)
        self.began = self.idleSince = pool.clock.seconds()

    def sendMetadata(self, fields: list[tuple[bytes, bytes]]) -> bool:
        """
        METADATA of HTTP/2, which HTTP/1.1 does not have: it is left out, and counted.

        @return: True.
        """
        self.pool.stats.countMetadata()
        return True

    # The transport

    def connectionMade(self) -> None:
        """
        Connected: the pool may use it.
        """
        transport: Any = self.transport
        transport.registerProducer(self, True)
        transport.expectLittle()
        self.connectedAt = self.pool.clock.seconds()
        self.pool.connected(self)

    def dataReceived(self, data: bytes) -> None:
        """
        Bytes of a response. The codec tells the request of it.
        """
        self.pool.stats.cxRxBytesTotal.value += len(data)
        codec = self.codec
        request = self.request
        if request is not None:
            whole = codec.takeWhole(data)
            if whole is not None:
                # By name: CPython calls with a star the long way.
                headers, body = whole
                if body:
                    request.wholeReceived(headers, body)
                else:
                    request.responseReceived(headers, True)
                if self.request is not None and self._requestEnded:
                    self._finish()
                return
        self._receiveParts(data)

    def _receiveParts(self, data: bytes) -> None:
        """
        Bytes that are not a whole response.
        """
        codec = self.codec
        transport: Any = self.transport
        if len(data) == transport.readSize:
            # A long body that is not spliced; what is encrypted next is best read in longer pieces.
            transport.expectMore()
        try:
            codec.receiveParts(data)
        except RemoteProtocolError as error:
            self._protocolError(error)
            return
        state = codec.readState
        if state is not _WAITING and state is not _CLOSED:
            return
        transport.expectLittle()
        if self.request is not None and self._requestEnded:
            # A request that is still being sent keeps the connection until its sender is done with it; as in Envoy,
            # the router resets it when the response is over.
            self._finish()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """
        The connection is gone. A response that ends with the connection is complete now.
        """
        why = ResetReason.CONNECTION_TERMINATION
        if self.request is not None and not self.closedHere and self.codec.readState is not _TUNNEL:
            try:
                self.codec.receiveEOF()
            except RemoteProtocolError as error:
                # Cut off: the reset below says so.
                if error.details == "http1.codec_error":
                    why = ResetReason.PROTOCOL_ERROR
                    self.pool.stats.cxProtocolError.value += 1
            if self.codec.readState in _COMPLETE and self.request is not None:
                # The request may have left on being told.
                self._detach()
        request = self.request
        if request is not None:
            self.pool.stats.cxDestroyWithActiveRq.value += 1
            if self.closedHere:
                self.pool.stats.cxDestroyLocalWithActiveRq.value += 1
            else:
                self.pool.stats.cxDestroyRemoteWithActiveRq.value += 1
            self._detach()
            request.upstreamReset(why, "")
        self.codec.stop()
        self.pool.connectionLost(self)

    def _protocolError(self, error: RemoteProtocolError) -> None:
        self.pool.stats.cxProtocolError.value += 1
        request = self.request
        if request is not None:
            self._abortWithRequest()
            request.upstreamReset(ResetReason.PROTOCOL_ERROR, error.why)
        else:
            self.abort()

    # The request

    def begin(self, request: IUpstreamRequest) -> None:
        """
        Carry a request.
        """
        self.request = request
        self._sink.request = request
        self.served += 1

    def carry(self, request: IUpstreamRequest, headers: RequestHeaders) -> None:
        """
        Carry a request that has nothing but a head: L{begin} and L{sendHeaders} in one.
        """
        self.request = self._sink.request = request
        self.served += 1
        self._requestEnded = True
        data = self.codec.encodeWhole(headers)
        self.pool.stats.cxTxBytesTotal.value += len(data)
        self.transport.write(data)  # type: ignore[union-attr]  # Twisted sets it before

    def carryCall(self, request: IUpstreamRequest, headers: RequestHeaders, body: bytes) -> None:
        """
        Carry a request with its whole body: L{begin}, L{sendHeaders} and L{sendData} in one.
        """
        self.request = self._sink.request = request
        self.served += 1
        self._requestEnded = True
        data = self.codec.encodeCall(headers, body)
        self.pool.stats.cxTxBytesTotal.value += len(data)
        self.transport.write(data)  # type: ignore[union-attr]  # Twisted sets it before

    def sendHeaders(self, headers: RequestHeaders, endStream: bool) -> None:
        """
        Send the head of the request.
        """
        self._requestEnded = endStream
        self._write(self.codec.encodeHeaders(headers, endStream))

    def sendData(self, data: bytes, endStream: bool) -> None:
        """
        Send a piece of its body.
        """
        if endStream:
            self._requestEnded = True
        self._write(self.codec.encodeData(data, endStream))
        if endStream and self.codec.readState in _COMPLETE and self.request is not None:
            self._finish()

    def sendTrailers(self, trailers: HeaderMap) -> None:
        """
        Send its trailers; they end it.
        """
        self._requestEnded = True
        self._write(self.codec.encodeTrailers(trailers))
        if self.codec.readState in _COMPLETE and self.request is not None:
            self._finish()

    def _write(self, data: bytes) -> None:
        if data:
            self.pool.stats.cxTxBytesTotal.value += len(data)
            self.transport.write(data)  # type: ignore[union-attr]  # Twisted sets it before

    def beginTunnel(self) -> None:
        """
        The upgrade was accepted: bytes pass as they are.
        """
        self.codec.beginTunnel()

    def handOver(self, request: IUpstreamRequest) -> None:
        """
        Tell another one of the response from now on.
        """
        self.request = self._sink.request = request

    def reset(self, request: IUpstreamRequest) -> None:
        """
        The request is given up; so is the connection, which is in the middle of it. Nothing happens where it carries
        another one already.
        """
        if self.request is request:
            self._abortWithRequest()

    def _abortWithRequest(self) -> None:
        # As in Envoy, upstream_rq_tx_reset is of HTTP/2 alone: here it is the connection that ends.
        stats = self.pool.stats
        stats.cxDestroyWithActiveRq.value += 1
        stats.cxDestroyLocalWithActiveRq.value += 1
        self._detach()
        self.abort()

    @property
    def hasNews(self) -> bool:
        """
        Whether something came that was not read yet: of an idle connection that is its end, as a rule.
        """
        news: bool = self.transport.hasNews  # type: ignore[union-attr]  # each transport here has it
        return news

    def _detach(self) -> None:
        self.request = self._sink.request = None
        self.pool.requestEnded()

    def _finish(self) -> None:
        """
        Request and response are over: leave the request, and go back to the pool or close.
        """
        self.request = self._sink.request = None
        pool = self.pool
        endpoint = pool.endpoint
        if pool.keepsAll and self.codec.keepAlive:
            # The same as below, in one step: this is where nearly every request ends.
            requests = pool.breaker.requests
            requests.used -= 1
            if requests.used + 1 >= requests.watched:
                requests.tell()
            pool.stats.rqActive.value -= 1
            endpoint.active -= 1
            if pool.pending or pool.draining:
                pool.release(self)
            else:
                seconds = pool.seconds
                self.idleSince = seconds()
                pool.idle.append(self)
            return
        pool.requestEnded()
        settings = pool.settings
        if not self.codec.keepAlive:
            pool.stats.cxCloseNotify.value += 1
            self.close()
        elif settings.maxRequestsPerConnection and self.served >= settings.maxRequestsPerConnection:
            pool.stats.cxMaxRequests.value += 1
            self.close()
        elif settings.maxConnectionDuration and (pool.clock.seconds() - self.began >= settings.maxConnectionDuration):
            pool.stats.cxMaxDurationReached.value += 1
            self.close()
        else:
            pool.release(self)

    # Closing

    def retire(self) -> None:
        """
        It is too old: it closes when its request is over, which looks at its age.
        """

    def close(self) -> None:
        """
        Close in peace; at once where the upstream did not take all of its last request, though it answered it: it might
        never do so.
        """
        transport = self.transport
        if transport is not None and transport.unsent:  # type: ignore[attr-defined]  # each transport here has it
            self.abort()
            return
        self.closedHere = True
        self.pool.leaving(self)
        if transport is not None:
            transport.unregisterProducer()  # type: ignore[attr-defined]  # each transport is a consumer
            transport.loseConnection()

    def abort(self) -> None:
        """
        Close at once; what is unsent is lost.
        """
        self.closedHere = True
        self.pool.leaving(self)
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]  # each transport here has it

    # Back pressure: the transport's buffer is full, or empty again

    def pauseProducing(self) -> None:
        """
        The upstream does not read what was sent.
        """
        if self.request is not None:
            self.pool.stats.flowControlBackedUp.value += 1
            self.request.pauseRequest()

    def resumeProducing(self) -> None:
        """
        The upstream has read it.
        """
        if self.request is not None:
            self.pool.stats.flowControlDrained.value += 1
            self.request.resumeRequest()

    def stopProducing(self) -> None:
        """
        The transport is gone; C{connectionLost} says so as well.
        """

    def pauseReading(self) -> None:
        """
        The downstream does not read: take no more of the response from the socket.
        """
        self.pool.stats.flowControlPausedReading.value += 1
        transport: Any = self.transport
        transport.pauseProducing()
        # As long as it is slow, no more of it is to be here than has to.
        transport.expectLittle()

    def resumeReading(self) -> None:
        """
        The downstream reads again.
        """
        self.pool.stats.flowControlResumedReading.value += 1
        self.transport.resumeProducing()  # type: ignore[union-attr]  # Twisted sets it before
