# -*- test-case-name: tests.upstream.test_http2pool -*-
"""
One HTTP/2 connection to an endpoint, and the requests that share it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from meshproxy.codec.http2 import IConnectionSink, UpstreamCodec
from meshproxy.errors import RemoteProtocolError
from meshproxy.flags import ResetReason
from meshproxy.net.instances import withAttributes
from meshproxy.net.turn import Gathering
from meshproxy.upstream.http1connection import connectionIds
from meshproxy.upstream.http2stream import ICall, UpstreamStream
from meshproxy.upstream.keepalive import Keepalive

if TYPE_CHECKING:
    from meshproxy.headers import RequestHeaders
    from meshproxy.upstream.http1connection import IUpstreamRequest
    from meshproxy.upstream.http2pool import HTTP2Pool

__all__ = ["HTTP2UpstreamConnection"]


@withAttributes("connected", "transport", "connectedAt")
@implementer(IPushProducer, IConnectionSink)
class HTTP2UpstreamConnection(TwistedProtocol, Gathering):
    """
    Carries as many requests at a time as the upstream allows. All frames of a turn of the reactor leave in one write.

    @ivar streams: The requests under way.
    @ivar served: How many requests it has carried.
    @ivar id: Unique among the upstream connections of this process.
    @ivar began: When it was asked for, by the pool's clock.
    @ivar connectedAt: When it was there.
    @ivar idleSince: When its last request ended.
    @ivar closedHere: Whether this side ends it.
    @ivar hasSettings: Whether the upstream said how many requests it takes.
    @ivar isRetired: Whether it takes no further request; it closes with the last one.
    @cvar codecClass: What its codec is, and C{streamClass} its streams: such as count, where somebody wants it.
    """

    codecClass: type[UpstreamCodec] = UpstreamCodec
    streamClass: type[UpstreamStream] = UpstreamStream

    connectedAt: float | None = None
    isHTTP2 = True
    protocolName = "HTTP/2"
    log = Logger()

    def __init__(self, pool: HTTP2Pool) -> None:
        self.pool = pool
        self.id = next(connectionIds)
        self.codec = self.codecClass(self, pool.settings.http2, pool.counters)
        self.streams: dict[UpstreamStream, None] = {}
        self._makeStream = self.streamClass
        self.served = 0
        # What each request asks for is no attribute of the class: CPython finds it sooner.
        self.isWoken = self.isRetired = self.closedHere = self._isLost = self.hasSettings = False
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
        if not self.hasSettings:
            # Taken for what the upstream allowed before.
            left = min(left, self.pool.expectedStreams - len(self.streams))
        return left if left > 0 else 0

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
        make = self._makeStream
        stream = make(self, request)
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

    def carry(self, call: ICall, headers: RequestHeaders, message: bytes, takesAnswer: int) -> UpstreamStream:
        """
        Carry a request that is whole, and tell it by what: the same as L{begin}, L{UpstreamStream.sendHeaders} and
        L{UpstreamStream.sendData}.

        @param takesAnswer: Whether nobody wants to see its response in parts; or
            L{USUAL<meshproxy.codec.http2.USUAL>}.

        @raise meshproxy.errors.LocalProtocolError: If it cannot be written.
        """
        call.connection = stream = self.begin(call)  # type: ignore[arg-type]  # it is both
        codecStream = self.codec.call(stream, headers, message)
        if codecStream is None:
            stream.sendHeaders(headers, False)
            stream.sendData(message, True)
            return stream
        stream.codecStream = codecStream
        stream.takesAnswer = takesAnswer
        stream.requestEnded = True
        if not self.isWoken:
            self.wake()
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
        self.hasSettings = True
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
