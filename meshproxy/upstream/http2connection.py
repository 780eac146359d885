# -*- test-case-name: tests.upstream.test_http2pool -*-
"""
One HTTP/2 connection to an endpoint, and the requests that share it.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from meshproxy.codec.http2 import CodecStream, ErrorCode, IConnectionSink, IResponseStreamSink, UpstreamCodec
from meshproxy.errors import RemoteProtocolError
from meshproxy.flags import ResetReason
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from meshproxy.net.instances import withAttributes
from meshproxy.net.turn import turn
from meshproxy.upstream.keepalive import Keepalive

if TYPE_CHECKING:
    from meshproxy.upstream.http1connection import IUpstreamRequest
    from meshproxy.upstream.http2pool import HTTP2Pool

__all__ = ["HTTP2UpstreamConnection", "ICall", "UpstreamStream"]

_ids = count(1)

_REASONS = {
    ErrorCode.REFUSED_STREAM: ResetReason.REMOTE_REFUSED_STREAM,
    ErrorCode.CONNECT_ERROR: ResetReason.CONNECT_ERROR,
    ErrorCode.PROTOCOL_ERROR: ResetReason.PROTOCOL_ERROR,
}


class ICall(Protocol):
    """
    A request that was sent whole, and may be told of its response in one step.
    """

    def answerReceived(self, headers: ResponseHeaders, body: bytes, trailers: HeaderMap) -> None:
        """
        See L{IResponseStreamSink.answerReceived}.
        """


@implementer(IResponseStreamSink)
class UpstreamStream:
    """
    One request on an HTTP/2 connection. To whoever sends it, it is what an
    L{HTTP1UpstreamConnection<meshproxy.upstream.http1connection.HTTP1UpstreamConnection>} is.

    @ivar request: Who is told of the response; L{None} when it is over.
    @ivar connection: What it goes by.
    @ivar upgraded: Whether the upstream agreed to the tunnel that was asked for.
    @ivar takesAnswer: See L{IResponseStreamSink.takesAnswer}: whether the request is an L{ICall}, still unpaused.
    """

    __slots__ = (
        "_codecStream",
        "_requestEnded",
        "_responseEnded",
        "connection",
        "request",
        "takesAnswer",
        "upgraded",
    )

    isHTTP2 = True
    opaqueRemaining = 0
    """See L{meshproxy.codec.http1.UpstreamCodec}: no bytes go past the codec here."""

    def __init__(self, connection: HTTP2UpstreamConnection, request: IUpstreamRequest) -> None:
        self.connection = connection
        self.request: IUpstreamRequest | None = request
        self._codecStream: CodecStream | None = None
        self.takesAnswer = 0
        self.upgraded = self._requestEnded = self._responseEnded = False

    # What is asked of a connection

    @property
    def codec(self) -> UpstreamStream:
        """
        What knows whether there is a tunnel.
        """
        return self

    @property
    def id(self) -> int:
        """
        The connection's number.
        """
        return self.connection.id

    @property
    def began(self) -> float:
        """
        When the connection was asked for.
        """
        return self.connection.began

    @property
    def connectedAt(self) -> float | None:
        """
        When it was there.
        """
        return self.connection.connectedAt

    @property
    def transport(self) -> Any:
        """
        The connection's transport.
        """
        return self.connection.transport

    # The request

    def sendHeaders(self, headers: RequestHeaders, endStream: bool) -> None:
        """
        Send the head of the request.

        @raise meshproxy.errors.LocalProtocolError: If it cannot be written.
        """
        connection = self.connection
        self._requestEnded = endStream
        self._codecStream = connection.codec.request(self, headers, endStream)
        connection.wake()

    def sendCall(self, headers: RequestHeaders, message: bytes, takesAnswer: int) -> None:
        """
        Send a whole request: the same as L{sendHeaders} and L{sendData}.

        @param takesAnswer: Whether the request is an L{ICall}, and nobody wants to see its response in parts; or
            L{USUAL<meshproxy.codec.http2.USUAL>}.

        @raise meshproxy.errors.LocalProtocolError: If it cannot be written.
        """
        connection = self.connection
        codecStream = connection.codec.call(self, headers, message)
        if codecStream is None:
            self.sendHeaders(headers, False)
            self.sendData(message, True)
            return
        self._codecStream = codecStream
        self.takesAnswer = takesAnswer
        self._requestEnded = True
        if not connection.isWoken:
            connection.wake()

    def sendData(self, data: bytes, endStream: bool) -> None:
        """
        Send a piece of its body.
        """
        if self._codecStream is not None:
            self._codecStream.sendData(data, endStream)
            self.connection.wake()
        if endStream:
            self._requestComplete()

    def sendTrailers(self, trailers: HeaderMap) -> None:
        """
        Send its trailers; they end it.
        """
        if self._codecStream is not None:
            self._codecStream.sendTrailers(trailers)
            self.connection.wake()
        self._requestComplete()

    def _requestComplete(self) -> None:
        self._requestEnded = True
        if self._responseEnded:
            self._finish()

    def beginTunnel(self) -> None:
        """
        The upgrade was accepted; frames go on as before.
        """

    def handOver(self, request: IUpstreamRequest) -> None:
        """
        Tell another one of the response from now on.
        """
        self.request = request
        self.takesAnswer = 0

    def reset(self, request: IUpstreamRequest) -> None:
        """
        The request is given up; the connection and its other requests go on.
        """
        if self.request is request:
            codecStream = self._codecStream
            if codecStream is not None and (codecStream.canSend or codecStream.canReceive):
                self.connection.pool.stats.rqTxReset.value += 1
                # A response that overtook its request is over in peace (RFC 9113, 8.1).
                codecStream.reset(ErrorCode.NO_ERROR if self._responseEnded else ErrorCode.CANCEL)
                self.connection.wake()
            self._detach()

    def pauseReading(self) -> None:
        """
        The downstream does not read: give the upstream no credit for this stream.
        """
        self.connection.pool.stats.flowControlPausedReading.value += 1
        self.takesAnswer = 0
        if self._codecStream is not None:
            self._codecStream.pauseReading()

    def resumeReading(self) -> None:
        """
        The downstream reads again.
        """
        self.connection.pool.stats.flowControlResumedReading.value += 1
        if self._codecStream is not None:
            self._codecStream.resumeReading()
            self.connection.wake()

    # The response, told by the codec

    def informationalReceived(self, headers: ResponseHeaders) -> None:
        """
        See L{IResponseStreamSink.informationalReceived}.
        """
        if self.request is not None:
            self.request.informationalReceived(headers)

    def responseReceived(self, headers: ResponseHeaders, endStream: bool) -> None:
        """
        See L{IResponseStreamSink.responseReceived}.
        """
        codecStream = self._codecStream
        if codecStream is not None and codecStream.protocol:
            self.upgraded = headers.status == 101 or (codecStream.protocol == b"connect" and headers.status < 300)
        self._responseEnded = endStream
        if self.request is not None:
            self.request.responseReceived(headers, endStream)
        if endStream:
            self._responseComplete()

    def wholeReceived(self, headers: ResponseHeaders, body: bytes) -> None:
        """
        See L{IResponseStreamSink.wholeReceived}.
        """
        self._responseEnded = True
        if self.request is not None:
            self.request.wholeReceived(headers, body)
        self._responseComplete()

    def answerReceived(self, headers: ResponseHeaders, body: bytes, trailers: HeaderMap) -> None:
        """
        See L{IResponseStreamSink.answerReceived}.
        """
        self._responseEnded = True
        call: ICall = self.request  # type: ignore[assignment]  # nobody else takes answers
        call.answerReceived(headers, body, trailers)
        if self.request is None:
            return
        connection = self.connection
        pool = connection.pool
        if pool.pending or pool.draining or connection.isRetired or len(connection.streams) == 1:
            self._detach()
            return
        # The same, where others are under way and nobody waits.
        self.request = None
        del connection.streams[self]
        requests = pool.breaker.requests
        requests.used -= 1
        if requests.used + 1 >= requests.watched:
            requests.tell()
        pool.stats.rqActive.value -= 1
        pool.endpoint.active -= 1

    def dataReceived(self, data: bytes, endStream: bool) -> None:
        """
        See L{IResponseStreamSink.dataReceived}.
        """
        self._responseEnded = endStream
        if self.request is not None:
            self.request.dataReceived(data, endStream)
        if endStream:
            self._responseComplete()

    def trailersReceived(self, trailers: HeaderMap) -> None:
        """
        See L{IResponseStreamSink.trailersReceived}.
        """
        self._responseEnded = True
        if self.request is not None:
            self.request.trailersReceived(trailers)
        self._responseComplete()

    def streamReset(self, code: int, isRemote: bool, why: str) -> None:
        """
        See L{IResponseStreamSink.streamReset}.
        """
        if isRemote:
            self.fail(_REASONS.get(code, ResetReason.REMOTE_RESET), why)
        else:
            self.fail(ResetReason.PROTOCOL_ERROR, why)

    def pauseSending(self) -> None:
        """
        See L{IResponseStreamSink.pauseSending}.
        """
        if self.request is not None:
            self.connection.pool.stats.flowControlBackedUp.value += 1
            self.request.pauseRequest()

    def resumeSending(self) -> None:
        """
        See L{IResponseStreamSink.resumeSending}.
        """
        if self.request is not None:
            self.connection.pool.stats.flowControlDrained.value += 1
            self.request.resumeRequest()

    def _responseComplete(self) -> None:
        if self.request is not None and self._requestEnded:
            # One that is still being sent keeps its place until its sender is done with it; as in Envoy, the router
            # resets it when the response is over.
            self._finish()

    def _finish(self) -> None:
        """
        Request and response are over.
        """
        if self.request is None:
            return
        codecStream = self._codecStream
        if codecStream is not None and codecStream.canSend and not self.upgraded:
            # The upstream answered without giving credit for all of the request: nobody waits for that any more.
            codecStream.reset(ErrorCode.NO_ERROR)
            self.connection.wake()
        self._detach()

    def _detach(self) -> None:
        self.request = None
        self.takesAnswer = 0
        self.connection.streamEnded(self)

    def fail(self, reason: ResetReason, why: str) -> None:
        """
        The response will not come, or not end.
        """
        request = self.request
        if request is not None:
            self._detach()
            request.upstreamReset(reason, why)


@withAttributes("connected", "transport", "connectedAt")
@implementer(IPushProducer, IConnectionSink)
class HTTP2UpstreamConnection(TwistedProtocol):
    """
    Carries as many requests at a time as the upstream allows. All frames of a turn of the reactor leave in one write.

    @ivar streams: The requests under way.
    @ivar served: How many requests it has carried.
    @ivar id: Unique among the upstream connections of this process.
    @ivar began: When it was asked for, by the pool's clock.
    @ivar connectedAt: When it was there.
    @ivar idleSince: When its last request ended.
    @ivar closedHere: Whether this side ends it.
    @ivar isWoken: Whether what is to be sent will be, later in this turn.
    @ivar isRetired: Whether it takes no further request; it closes with the last one.
    @cvar codecClass: What its codec is, and C{streamClass} its streams: such as count, where somebody wants it.
    """

    codecClass: type[UpstreamCodec] = UpstreamCodec
    streamClass: type[UpstreamStream] = UpstreamStream

    connectedAt: float | None = None
    isHTTP2 = True
    log = Logger()

    def __init__(self, pool: HTTP2Pool) -> None:
        self.pool = pool
        self.id = next(_ids)
        self.codec = self.codecClass(self, pool.settings.http2, pool.counters)
        self.streams: dict[UpstreamStream, None] = {}
        self.served = 0
        # What each request asks for is no attribute of the class: CPython finds it sooner.
        self.isWoken = self.isRetired = self.closedHere = self._isLost = self._hasSettings = False
        self._keepalive: Keepalive | None = None
        self.began = self.idleSince = pool.clock.seconds()

    @property
    def request(self) -> UpstreamStream | None:
        """
        One of its requests, L{None} where it is idle.
        """
        return next(iter(self.streams), None)

    @property
    def availableStreams(self) -> int:
        """
        How many further requests it takes now.
        """
        if self.isRetired or self.closedHere:
            return 0
        codec = self.codec
        left = codec.mostStreams - len(codec.streams)
        if not self._hasSettings:
            # Taken for what the upstream allowed before.
            left = min(left, self.pool.expectedStreams - len(self.streams))
        return left if left > 0 else 0

    @property
    def hasRoom(self) -> bool:
        """
        Whether it takes a further request.
        """
        codec = self.codec
        if len(codec.streams) >= codec.mostStreams or self.isRetired or self.closedHere:
            return False
        return self._hasSettings or self.availableStreams > 0

    # The transport

    def connectionMade(self) -> None:
        """
        Connected: the pool may use it.
        """
        pool = self.pool
        if not pool.isSpoken(self, self.transport):
            return
        self.transport.registerProducer(self, True)  # type: ignore[union-attr]  # Twisted sets it before
        self.connectedAt = pool.clock.seconds()
        keepalive = pool.settings.keepalive
        if keepalive is not None:
            self._keepalive = Keepalive(keepalive, pool.clock, pool.random, self._sendPing, self._keepaliveLost)
            self._keepalive.start()
        self.wake()
        pool.connected(self)

    def dataReceived(self, data: bytes) -> None:
        """
        Frames.
        """
        self.pool.stats.cxRxBytesTotal.value += len(data)
        self._receive(data)

    def _receive(self, data: bytes | None) -> None:
        codec = self.codec
        woken, self.isWoken = self.isWoken, True
        try:
            if data is None:
                codec.resume()
            else:
                codec.receiveData(data)
        except RemoteProtocolError as error:
            self.isWoken = woken
            self._protocolError(error)
            return
        self.isWoken = woken
        if self.closedHere:
            return
        if codec.hasRest:
            self.transport.pauseProducing()  # type: ignore[union-attr]  # Twisted sets it before
            self.pool.clock.callLater(0, self._resume)
        self.wake()

    def _resume(self) -> None:
        if not self._isLost and not self.closedHere:
            self.transport.resumeProducing()  # type: ignore[union-attr]  # Twisted sets it before
            self._receive(None)

    def connectionLost(self, reason: Failure | None = None) -> None:
        """
        The connection is gone, and the requests with it.
        """
        self._isLost = True
        if self._keepalive is not None:
            self._keepalive.stop()
        stats = self.pool.stats
        streams = list(self.streams)
        if streams:
            stats.cxDestroyWithActiveRq.value += 1
            side = stats.cxDestroyLocalWithActiveRq if self.closedHere else stats.cxDestroyRemoteWithActiveRq
            side.value += 1
        self.isRetired = True
        self.codec.drop()
        # The counter is Envoy's, though none of them waits.
        stats.rqPendingFailureEject.value += len(streams)
        self._failAll(ResetReason.CONNECTION_TERMINATION, "")
        self.pool.connectionLost(self)

    def _failAll(self, reason: ResetReason, why: str) -> None:
        for stream in list(self.streams):
            stream.fail(reason, why)

    def _protocolError(self, error: RemoteProtocolError) -> None:
        self.pool.stats.cxProtocolError.value += 1
        self.pool.stats.rqTxReset.value += len(self.streams)
        self.flush()
        self.isRetired = True
        self.closedHere = True
        self.codec.stop()
        self.pool.leaving(self)
        self._failAll(ResetReason.PROTOCOL_ERROR, error.why)
        self._lose()

    def _lose(self) -> None:
        """
        Close, when the last frames are sent; at once where the upstream does not take them.
        """
        transport: Any = self.transport
        transport.unregisterProducer()
        transport.loseConnection()
        if transport.unsent:
            transport.abortConnection()

    # Writing

    def wake(self) -> None:
        """
        There is something to send: at the end of the turn, or now where there is no turn.
        """
        if not self.isWoken:
            self.isWoken = True
            if turn.active:
                turn.written.append(self)
            else:
                self.flush()

    def flush(self) -> None:
        """
        Send it.
        """
        self.isWoken = False
        transport: Any = self.transport
        if transport is None or self._isLost:
            return
        codec = self.codec
        stats = self.pool.stats
        while data := codec.dataToSend():
            stats.cxTxBytesTotal.value += len(data)
            transport.write(data)
        if not transport.unsent:
            codec.sent()

    def failed(self) -> None:
        """
        Sending raised: log it, in an C{except} clause, and close.
        """
        self.log.failure("an HTTP/2 connection raised")
        self.abort()

    def pauseProducing(self) -> None:
        """
        The upstream does not read what was sent: bodies wait in their streams.
        """
        self.codec.pauseSending()

    def resumeProducing(self) -> None:
        """
        The upstream has read it.
        """
        self.codec.resumeSending()
        self.wake()

    def stopProducing(self) -> None:
        """
        The transport is gone; C{connectionLost} says so as well.
        """

    # The requests

    def begin(self, request: IUpstreamRequest) -> UpstreamStream:
        """
        Carry a request.
        """
        stream = self.streamClass(self, request)
        self.streams[stream] = None
        self.served += 1
        settings = self.pool.settings
        if settings.maxRequestsPerConnection and self.served >= settings.maxRequestsPerConnection:
            self.pool.stats.cxMaxRequests.value += 1
            self.isRetired = True
        if self._keepalive is not None and len(self.streams) == 1:
            idle = self.pool.clock.seconds() - self.idleSince
            interval = settings.keepalive.idleInterval if settings.keepalive is not None else 0.0
            if interval and idle >= interval and self.served > 1:
                self._keepalive.ask()
        return stream

    def streamEnded(self, stream: UpstreamStream) -> None:
        """
        A request is over.
        """
        if stream not in self.streams:
            return
        del self.streams[stream]
        pool = self.pool
        pool.requestEnded()
        if self._isLost or self.closedHere:
            return
        if not self.streams:
            self.idleSince = pool.clock.seconds()
        pool.available(self)

    # Told by the codec

    def goAwayReceived(self, lastStreamId: int, code: int, debug: bytes) -> None:
        """
        See L{IConnectionSink.goAwayReceived}.
        """
        if not self.isRetired:
            self.isRetired = True
            self.pool.stats.cxCloseNotify.value += 1
        self.pool.available(self)

    def settingsReceived(self) -> None:
        """
        See L{IConnectionSink.settingsReceived}.
        """
        self._hasSettings = True
        pool = self.pool
        pool.expectedStreams = max(1, min(self.codec.peerMaxStreams, pool.settings.http2.maxConcurrentStreams))
        pool.available(self)

    def pingAnswered(self, opaque: bytes) -> None:
        """
        See L{IConnectionSink.pingAnswered}.
        """
        if self._keepalive is not None:
            self._keepalive.answered(opaque)

    def _sendPing(self, opaque: bytes) -> None:
        self.codec.sendPing(opaque)
        self.wake()

    def _keepaliveLost(self) -> None:
        self.pool.counters.keepaliveTimeout.value += 1
        self.abort()

    # Closing

    def retire(self) -> None:
        """
        Take no further request.
        """
        self.isRetired = True
        self.pool.available(self)

    def close(self) -> None:
        """
        Close in peace; there is no request on it.
        """
        transport: Any = self.transport
        if self.closedHere or transport is None:
            return
        if not self._isLost:
            self.codec.sendGoAway()
            self.flush()
        self.closedHere = True
        self.codec.stop()
        self.pool.leaving(self)
        self._lose()

    def abort(self) -> None:
        """
        Close at once.
        """
        self.closedHere = True
        self.codec.stop()
        self.pool.leaving(self)
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]  # each transport here has it
