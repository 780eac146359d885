# -*- test-case-name: tests.http.test_http2,tests.http.test_http2drain,tests.http.test_http2tunnel -*-
"""
A downstream HTTP/2 connection: between the transport, the codec and the streams, of which it has many at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure as TwistedFailure
from zope.interface import implementer

from meshproxy.codec.http2 import CodecStream, DownstreamCodec, ErrorCode, IDownstreamSink
from meshproxy.codec.http2.states import StreamState
from meshproxy.errors import RemoteProtocolError
from meshproxy.flags import Failure, LocalReply, ResponseFlag
from meshproxy.headers import RequestHeaders
from meshproxy.http.closing import ClosingConnection
from meshproxy.http.flush import Flush
from meshproxy.http.resets import PrematureResets, ResetRate
from meshproxy.http.stream import Stream
from meshproxy.http.streamside import RefusedSide, StreamSide
from meshproxy.http.unary import UnaryStream
from meshproxy.net.turn import Gathering
from meshproxy.upstream.keepalive import Keepalive

if TYPE_CHECKING:
    from meshproxy.accesslog.streaminfo import ConnectionInfo
    from meshproxy.http.downstream import HTTP1Connection
    from meshproxy.http.manager import ConnectionManager
    from meshproxy.http.slot import ManagerSlot
    from meshproxy.http.stats import VersionStats

__all__ = ["HTTP2Connection"]

_CLOSED = StreamState.CLOSED

# As a number: CPython looks for bytes of length 1 only after it raised and caught an exception.
_FRAGMENT = ord("#")

# RFC 9113, 6.8: a GOAWAY with this identifier tells that another one will follow.
_ANY_STREAM = 2**31 - 1

# Heads that are not wrong, but over a limit; the flag is Envoy's.
_UNWANTED = ("http2.too_many_headers", "http2.header_list_size_too_large", "http2.unexpected_underscore")

# How many streams are told at once that their connection is gone: each may have an upstream connection to close.
_LOST_AT_ONCE = 128

# What the ping says whose answer tells that the first GOAWAY arrived.
_DRAIN_PING = b"draining"


@implementer(IPushProducer, IDownstreamSink)
class HTTP2Connection(ClosingConnection, Gathering):
    """
    One connection; many streams.

    All frames of a turn of the reactor leave in one write.

    @ivar slot: Where the connection manager is found; a reload puts another one there, for the next stream.
    @ivar info: What is known of the connection.
    @ivar closing: Whether nothing is read any more.
    @ivar closedHere: Whether this side ended it.
    @ivar served: How many requests it had.
    @ivar began: When it was accepted.
    @ivar idleSince: When the last stream ended.
    @cvar codecClass: What its codec is: one that counts, where somebody wants it.
    """

    codecClass: type[DownstreamCodec] = DownstreamCodec

    # HTTP/2 tells which requests it did not take, so no first one needs a moment to arrive.
    isFresh = False
    version: VersionStats | None = None
    _isDraining = False
    _keepalive: Keepalive | None = None

    def __init__(self, slot: ManagerSlot, info: ConnectionInfo, predecessor: HTTP1Connection | None = None) -> None:
        """
        @param predecessor: What had the connection until it was known that it speaks HTTP/2.
        """
        self.slot = slot
        self.info = info
        manager = slot.current
        self.manager: ConnectionManager = manager
        self.codec = self.codecClass(self, manager.http2Options, manager.http2Counters)
        self.sides: dict[StreamSide, None] = {}
        self.closing = self.isWoken = self._isWriteBlocked = self._isDone = False
        self._resets = PrematureResets()
        self._resetRate = ResetRate(manager.http2Options.streamResetBurst, manager.http2Options.streamResetRate)
        self._predecessor = predecessor
        self.served = 0
        self.began = self.idleSince = manager.clock.seconds()

    @property
    def isIdle(self) -> bool:
        """
        Whether no stream is under way.
        """
        return not self.sides and not self.codec.flushing

    @property
    def activeStreams(self) -> Iterable[Stream]:
        """
        The streams under way.
        """
        return [side.stream for side in self.sides if side.stream is not None]

    # The transport

    def connectionMade(self) -> None:
        """
        The connection is there.
        """
        self.transport.registerProducer(self, True)  # type: ignore[union-attr]  # Twisted sets it before
        manager = self.manager
        if self._predecessor is None:
            manager.connectionMade(self)
        else:
            manager.handOver(self._predecessor, self)
            self.began, self._predecessor = self._predecessor.began, None
        manager.speaks(self, manager.stats.http2)
        if manager.keepalive is not None:
            self._keepalive = Keepalive(
                manager.keepalive, manager.clock, manager.random, self._sendPing, self._keepaliveLost
            )
            self._keepalive.start()
        self.flush()

    def dataReceived(self, data: bytes) -> None:
        """
        Frames.
        """
        self.manager.stats.cxRxBytesTotal.value += len(data)
        if not self.closing:
            self._receive(self.codec.receiveData, data)

    def _receive(self, receive: Callable[..., None], *data: bytes) -> None:
        codec = self.codec
        # What streams send meanwhile is flushed below, once.
        woken, self.isWoken = self.isWoken, True
        try:
            receive(*data)
        except RemoteProtocolError as error:
            self.isWoken = woken
            self._protocolError(error)
            return
        self.isWoken = woken
        if codec.resetsReceived and not self.closing:
            self._countResets()
        if self.closing:
            return
        manager = self.manager
        if manager.headersDeadlines is not None:
            manager.awaitSection(self, codec.isWithinSection)
        if codec.hasRest:
            # It is the turn of others. What comes meanwhile waits in the socket.
            self.transport.pauseProducing()  # type: ignore[union-attr]  # Twisted sets it before
            manager.clock.callLater(0, self._resume)
        self.wake()

    def _resume(self) -> None:
        if not self.closing:
            self.transport.resumeProducing()  # type: ignore[union-attr]  # Twisted sets it before
            self._receive(self.codec.resume)

    def connectionLost(self, reason: TwistedFailure | None = None) -> None:
        """
        The connection is gone.
        """
        self.closing = True
        self.codec.stop()
        if self._keepalive is not None:
            self._keepalive.stop()
        sides = list(self.sides)
        self.manager.connectionLost(self, bool(sides))
        self._loseStreams(sides)
        self.codec.drop()

    def _loseStreams(self, sides: list[StreamSide], *why: Any) -> None:
        """
        Tell streams that their connection is gone; where they are very many, others have their turn between.
        """
        for side in sides[:_LOST_AT_ONCE]:
            stream = side.stream
            if stream is not None:
                side.stream = None
                stream.downstreamLost(*why)
        if len(sides) > _LOST_AT_ONCE:
            self.manager.clock.callLater(0, self._loseStreams, sides[_LOST_AT_ONCE:], *why)

    def _protocolError(self, error: RemoteProtocolError) -> None:
        """
        The downstream broke the protocol: tell it, and close.
        """
        manager = self.manager
        manager.stats.cxProtocolError.value += 1
        manager.log.debug("{peer}: {why}", peer=self.info.remoteAddress, why=error.why)
        self.info.terminationDetails = self.info.terminationDetails or error.details
        self.close()
        self._loseStreams(list(self.sides), ResponseFlag.DOWNSTREAM_PROTOCOL_ERROR, error.details)

    # Writing

    def flush(self) -> None:
        """
        Send it.
        """
        self.isWoken = False
        transport: Any = self.transport
        if transport is None:
            return
        codec = self.codec
        stats = self.manager.stats
        while data := codec.dataToSend():
            stats.cxTxBytesTotal.value += len(data)
            transport.write(data)
        if not self._isWriteBlocked and not transport.unsent:
            codec.sent()
        if self._isDone:
            self._isDone = False
            self._closeIfDone()

    def failed(self) -> None:
        """
        Sending raised: log it, in an C{except} clause, and close.
        """
        self.manager.log.failure("an HTTP/2 connection raised")
        self.abort()

    def pauseProducing(self) -> None:
        """
        The downstream does not read what was sent: bodies wait in their streams.
        """
        self._isWriteBlocked = True
        self.codec.pauseSending()

    def resumeProducing(self) -> None:
        """
        The downstream has read it.
        """
        self._isWriteBlocked = False
        self.codec.resumeSending()
        self.wake()

    def stopProducing(self) -> None:
        """
        The transport is gone; C{connectionLost} says so as well.
        """

    # Told by the codec

    def requestReceived(self, codecStream: CodecStream, headers: RequestHeaders, endStream: bool) -> None:
        """
        See L{IDownstreamSink.requestReceived}.
        """
        manager = self.slot.current
        if manager is not self.manager:
            manager.adopt(self)
        self.served += 1
        side = StreamSide(self, codecStream)
        codecStream.sink = side
        seconds = manager.seconds
        stream = side.stream = Stream(manager, side, headers, endStream, seconds(), "HTTP/2")
        self.sides[side] = None
        manager.stats.http2.rqTotal.value += 1
        limit = manager.maxRequestsPerConnection
        if limit and self.served >= limit and not self._isDraining:
            manager.stats.cxMaxRequestsReached.value += 1
            self.drain()
        if _FRAGMENT in headers.path:
            # RFC 9110, 4.1: a fragment is not for the wire.
            manager.streamBegan(stream)
            stream.localReply(Failure.PATH_NORMALIZATION_FAILED.value)
            return
        manager.serve(stream)

    def callReceived(self, codecStream: CodecStream, headers: RequestHeaders, message: bytes) -> bool:
        """
        See L{IDownstreamSink.callReceived}. It does what L{requestReceived} does, to a stream that knows the message.
        """
        manager = self.slot.current
        if manager is not self.manager or manager.maxRequestsPerConnection or _FRAGMENT in headers.path:
            self.requestReceived(codecStream, headers, False)
            return False
        self.served += 1
        side = StreamSide(self, codecStream)
        codecStream.sink = side
        seconds = manager.seconds
        stream = side.stream = UnaryStream(manager, side, headers, False, seconds(), "HTTP/2")
        stream.message = message
        stream.isTaken = False
        self.sides[side] = None
        manager.stats.http2.rqTotal.value += 1
        manager.serve(stream)
        return stream.isTaken

    def requestRefused(self, streamId: int, headers: RequestHeaders | None, error: RemoteProtocolError) -> None:
        """
        See L{IDownstreamSink.requestRefused}. As in Envoy, that is a request too, and has its line in the log.
        """
        manager = self.manager
        self.served += 1
        side = RefusedSide(self)
        stream = Stream(manager, side, headers or RequestHeaders(b"", b""), False, manager.clock.seconds(), "HTTP/2")
        manager.stats.http2.rqTotal.value += 1
        manager.streamBegan(stream)
        manager.log.debug("{peer}: {why}", peer=self.info.remoteAddress, why=error.why)
        unwanted = error.details in _UNWANTED
        flag = ResponseFlag.DOWNSTREAM_REMOTE_RESET if unwanted else ResponseFlag.DOWNSTREAM_PROTOCOL_ERROR
        stream.downstreamLost(flag, error.details)
        self.resetReceived(stream)

    def goAwayReceived(self, lastStreamId: int, code: int, debug: bytes) -> None:
        """
        See L{IDownstreamSink.goAwayReceived}: a client that is going to leave has its streams answered, and leaves.
        """

    def settingsReceived(self) -> None:
        """
        See L{IDownstreamSink.settingsReceived}.
        """

    def pingAnswered(self, opaque: bytes) -> None:
        """
        See L{IDownstreamSink.pingAnswered}.
        """
        if opaque == _DRAIN_PING and self._isDraining:
            self.finishDraining()
        elif self._keepalive is not None:
            self._keepalive.answered(opaque)

    def _sendPing(self, opaque: bytes) -> None:
        self.codec.sendPing(opaque)
        self.wake()

    def _keepaliveLost(self) -> None:
        self.manager.http2Counters.keepaliveTimeout.value += 1
        self.info.terminationDetails = "http2_ping_timeout"
        self.close()

    # Told by the streams

    def responding(self, stream: Stream) -> None:
        """
        The head of a response goes out: a connection manager that drains begins to end its connection.
        """
        manager = stream.manager
        if manager.draining and not self._isDraining:
            manager.stats.cxDrainClose.value += 1
            self.drain()

    def streamEnded(self, side: StreamSide, stream: Stream) -> None:
        """
        A stream is over.
        """
        self.sides.pop(side, None)
        if self.closing:
            return
        if not self.isWoken:
            self.wake()
        if side.codecStream.state is not _CLOSED and side.codecStream.canSend:
            flush = Flush(self, side.codecStream, stream.manager.flushDeadlines(stream))
            self.codec.flushing[side.codecStream] = flush.done
        elif not self.sides:
            self.idleSince = stream.end or 0.0
            self._closeIfDone()

    def _closeIfDone(self) -> None:
        """
        The last stream may have ended of a connection that takes no more.
        """
        last = self.codec.goAwaySent
        if last is not None and last != _ANY_STREAM and self.isIdle:
            self.close()

    def flushed(self) -> None:
        """
        The last bytes of a response that had ended before went out, or were given up.
        """
        if not self.closing and self.isIdle:
            self.idleSince = self.manager.clock.seconds()
            # That is told in the middle of writing.
            self._isDone = True

    def resetReceived(self, stream: Stream) -> None:
        """
        The downstream reset a stream, or made this side do it: rapid resets (CVE-2023-44487, CVE-2025-8671) end the
        connection.
        """
        if self.closing:
            return
        if self._resets.isTooMuch(self.served, stream.startMonotonic, stream.end or 0.0):
            self.manager.stats.rqTooManyPrematureResets.value += 1
            self.info.terminationDetails = "too_many_premature_resets"
            self.codec.sendGoAway(ErrorCode.ENHANCE_YOUR_CALM)
            self.close()

    def _countResets(self) -> None:
        """
        The downstream sent RST_STREAM, whatever became of the streams: too many of them, and the connection ends.
        """
        count, self.codec.resetsReceived = self.codec.resetsReceived, 0
        if self._resetRate.isTooMuch(count, self.manager.clock.seconds()):
            self.manager.stats.cxProtocolError.value += 1
            self.info.terminationDetails = "http2.stream_reset_rate"
            self.codec.sendGoAway(ErrorCode.ENHANCE_YOUR_CALM)
            self.close()

    # Closing

    def closeAfterResponse(self) -> None:
        """
        Take no more requests.
        """
        self.drain()

    def refuse(self, reply: LocalReply) -> None:
        """
        A head that does not come to its end cannot be answered on its own, nor can what follows it be read.
        """
        self.codec.sendGoAway(ErrorCode.PROTOCOL_ERROR)
        self.close()

    def drain(self) -> None:
        """
        Tell the downstream to begin no further stream; those that are on their way until it knows are still served. The
        connection ends with the last one.
        """
        if self.closing or self._isDraining:
            return
        self._isDraining = True
        codec = self.codec
        codec.sendGoAway(lastStreamId=_ANY_STREAM)
        codec.sendPing(_DRAIN_PING)
        self.manager.awaitDrain(self)
        self.wake()

    def drainGently(self) -> None:
        """
        The same: here the downstream is told at once, and loses nothing.
        """
        self.drain()

    def finishDraining(self) -> None:
        """
        The downstream knows, or had time enough to: name the last stream.
        """
        if self.closing:
            return
        self.codec.sendGoAway()
        if self.isIdle:
            self.close()
        else:
            self.wake()

    def drainLate(self) -> None:
        """
        The C{drain_timeout} is over.
        """
        self.finishDraining()

    def close(self) -> None:
        """
        Close after what was written is sent.
        """
        if self.closing:
            return
        self.flush()
        self.closing = True
        self.transport.resumeProducing()  # type: ignore[union-attr]  # Twisted sets it before
        self.closeAfterWrites()

    def stopped(self) -> None:
        """
        See L{ClosingConnection.stopped}.
        """
        self.codec.stop()
