# -*- test-case-name: tests.http.test_downstream -*-
"""
A downstream HTTP/1 connection: between the transport, the codec and the streams.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure as TwistedFailure
from zope.interface import implementer

from meshproxy.codec.http1 import WriteState, makeDownstreamCodec
from meshproxy.errors import LocalProtocolError, RemoteProtocolError
from meshproxy.flags import Failure, LocalReply, protocolErrorReply
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from meshproxy.http.closing import ClosingConnection
from meshproxy.http.http2 import HTTP2Connection
from meshproxy.http.stream import Stream
from meshproxy.http.unary import UnaryStream
from meshproxy.net.relay import IRelay, RelayCounters, SocketRelay
from meshproxy.net.transport import SocketTransport

if TYPE_CHECKING:
    from meshproxy.accesslog.streaminfo import ConnectionInfo
    from meshproxy.http.manager import ConnectionManager
    from meshproxy.http.slot import ManagerSlot
    from meshproxy.http.stats import VersionStats
    from meshproxy.upstream.stats import ClusterStats

__all__ = ["HTTP1Connection"]


def _replacing(transport: Any) -> Callable[[Any], object] | None:
    """
    What has bytes passed to another protocol from now on, or to the same by its method of now: the transport's protocol
    has it where that is not the connection itself but the listener's, which passes bytes on.
    """
    return getattr(getattr(transport, "protocol", None), "replaceInner", None)


# As in Envoy, these bytes are enough of RFC 9113's preface to tell.
_MAGIC = b"PRI * HTTP/2"

# Seconds that what has come may take to be read by a connection that is to close.
_UNREAD = 0.1

# A mask: how many requests of a connection, less one, are answered in one turn of the reactor.
_MOST_AT_ONCE = 31


class _RequestSink:
    """
    Takes the codec's events; the connection's own C{dataReceived} is the transport's.
    """

    __slots__ = ("_connection", "callReceived", "requestReceived")

    def __init__(self, connection: HTTP1Connection) -> None:
        self._connection = connection
        self.requestReceived = connection.requestReceived
        self.callReceived = connection.callReceived

    def dataReceived(self, data: bytes, endStream: bool) -> None:
        """
        A piece of its body.
        """
        stream = self._connection.stream
        if stream is not None:
            stream.requestDataReceived(data, endStream)

    def trailersReceived(self, trailers: HeaderMap) -> None:
        """
        Its trailers.
        """
        stream = self._connection.stream
        if stream is not None:
            stream.requestTrailersReceived(trailers)


@implementer(IPushProducer)
class HTTP1Connection(ClosingConnection):
    """
    One connection; one stream at a time.

    It is the transport's producer for good: a downstream that does not read stops the stream's upstream.

    @ivar slot: Where the connection manager is found; a reload puts another one there, for the next stream.
    @ivar info: What is known of the connection.
    @ivar stream: The stream under way, or L{None}.
    @ivar closing: Whether it takes no further request.
    @ivar served: How many requests it had.
    @ivar idleSince: When the last of them ended.
    @cvar http2Class: What takes the connection over where the peer turns out to speak HTTP/2.
    """

    http2Class: type[HTTP2Connection] = HTTP2Connection
    version: VersionStats | None = None
    _readBlocked = False
    _readPaused = 0
    # What came while it is not known whether this is HTTP/1 at all.
    _sniffed: bytes | None = None

    def __init__(self, slot: ManagerSlot, info: ConnectionInfo, isAuto: bool = False) -> None:
        """
        @param isAuto: Whether the peer may speak HTTP/2 as well, and another protocol then takes the connection over.
        """
        self.slot = slot
        self.info = info
        manager = slot.current
        self.manager: ConnectionManager = manager
        sink: Any = _RequestSink(self)
        self.codec = makeDownstreamCodec(sink, manager.http1Options, manager.codecCounters)
        self.stream: Stream | None = None
        self.closing = self._draining = self._writeBlocked = self._backlogged = False
        self.served = 0
        self.began = self.idleSince = manager.clock.seconds()
        if isAuto:
            self._sniffed = b""
            self.dataReceived = self._firstReceived  # type: ignore[method-assign]

    @property
    def isIdle(self) -> bool:
        """
        Whether no stream is under way.
        """
        return self.stream is None

    @property
    def isFresh(self) -> bool:
        """
        Whether no request was begun yet, or only its head.
        """
        return self.stream is None and not self.served

    @property
    def activeStreams(self) -> Iterable[Stream]:
        """
        The stream under way, if any.
        """
        return () if self.stream is None else (self.stream,)

    @property
    def headBegun(self) -> bool:
        """
        Whether part of a head came.
        """
        return bool(self._sniffed) or self.codec.headBegun

    # The transport

    def connectionMade(self) -> None:
        """
        The connection is there.
        """
        self.transport.registerProducer(self, True)  # type: ignore[union-attr]  # Twisted sets it before
        manager = self.manager
        manager.connectionMade(self)
        if self._sniffed is None:
            manager.speaks(self, manager.stats.http1)
            return
        negotiated = getattr(self.transport, "negotiatedProtocol", b"")
        if negotiated == b"h2":
            self._becomeHTTP2(b"")
        elif negotiated:
            self._speakHTTP1()

    def _firstReceived(self, data: bytes) -> None:
        """
        The first bytes tell which version of HTTP it is.
        """
        if self._sniffed is None:
            # Whoever calls this did not hear that it is known by now.
            self.dataReceived(data)
            return
        data = self._sniffed + data
        if data.startswith(_MAGIC):
            self._becomeHTTP2(data)
        elif _MAGIC.startswith(data):
            self._sniffed = data
            if self.manager.headersDeadlines is not None:
                self.manager.awaitHeaders(self)
        else:
            self._speakHTTP1()
            self.dataReceived(data)

    def _speakHTTP1(self) -> None:
        self._sniffed = None
        del self.dataReceived
        self.manager.speaks(self, self.manager.stats.http1)
        replaceInner = _replacing(self.transport)
        if replaceInner is not None:
            replaceInner(self)

    def _becomeHTTP2(self, data: bytes) -> None:
        self._sniffed = None
        self.closing = True
        del self.dataReceived
        self.codec.stop()
        transport: Any = self.transport
        transport.unregisterProducer()
        connection = self.http2Class(self.slot, self.info, self)
        replaceInner = _replacing(transport)
        if replaceInner is not None:
            replaceInner(connection)
        else:
            transport.protocol = connection
        connection.makeConnection(transport)
        if data:
            connection.dataReceived(data)

    def dataReceived(self, data: bytes) -> None:
        """
        Bytes of requests.
        """
        manager = self.manager
        manager.stats.cxRxBytesTotal.value += len(data)
        if self.closing:
            return
        codec = self.codec
        headers = codec.takeWhole(data)
        if headers is not None:
            self.requestReceived(headers, True)
            return
        before = self.stream
        try:
            codec.receiveParts(data)
        except RemoteProtocolError as error:
            self._protocolError(error)
            return
        stream = self.stream
        if stream is None:
            if manager.headersDeadlines is not None and not self.closing:
                manager.awaitHeaders(self)
        elif before is not None and codec.bufferedBytes > manager.bufferLimit:
            # Pipelined requests, or early data of a tunnel, wait in the socket and not in memory.
            self._pauseForBacklog(stream)

    def connectionLost(self, reason: TwistedFailure | None = None) -> None:
        """
        The connection is gone.
        """
        stream = self.stream
        self.closing = True
        self.manager.connectionLost(self, stream is not None)
        if stream is not None:
            self.stream = None
            stream.downstreamLost()
        elif self.headBegun and not self.closedHere:
            # It went away within a head. As in Envoy, that is a request too, and has its line in the log.
            manager = self.manager
            stream = Stream(manager, self, RequestHeaders(b"", b""), False, manager.clock.seconds())
            manager.stats.http1.rqTotal.value += 1
            manager.streamBegan(stream)
            stream.downstreamLost()
        self.codec.stop()

    def _protocolError(self, error: RemoteProtocolError) -> None:
        """
        The downstream broke its protocol: answer if that is still possible, and close.
        """
        manager = self.manager
        manager.stats.cxProtocolError.value += 1
        manager.log.debug(
            "{peer}: {why}; answered with {status} ({details})",
            peer=self.info.remoteAddress,
            why=error.why,
            status=error.statusHint,
            details=error.details,
        )
        if error.details == "path_normalization_failed":
            self.refuse(Failure.PATH_NORMALIZATION_FAILED.value)
        else:
            self.refuse(protocolErrorReply(error.statusHint, error.details))

    def refuse(self, reply: LocalReply) -> None:
        """
        Answer what is, or is not yet, a request with a local reply that ends the connection.
        """
        manager = self.manager
        self.codec.closeAfterResponse()
        stream = self.stream
        if stream is None:
            self.codec.giveUp()
            known = self.codec.request
            if known is None:
                known = RequestHeaders(b"", b"")
            stream = Stream(manager, self, known, True, manager.clock.seconds())
            self.stream = stream
            manager.stats.http1.rqTotal.value += 1
            manager.streamBegan(stream)
        if stream.responseCode:
            stream.responseFlags |= reply.flag
            stream.reset()
        else:
            stream.localReply(reply)

    # Requests, told by the codec

    def requestReceived(self, headers: RequestHeaders, endStream: bool) -> None:
        """
        A request begins.
        """
        manager = self.slot.current
        if manager is not self.manager:
            manager.adopt(self)
        self.served += 1
        manager.stats.http1.rqTotal.value += 1
        stream = self.stream = Stream(manager, self, headers, endStream, manager.clock.seconds())
        if manager.watchesRequests:
            self._watchRequest(manager, stream)
        manager.serve(stream)

    def callReceived(self, headers: RequestHeaders, body: bytes) -> bool:
        """
        A request came whole, with a body. It does what L{requestReceived} does, to a stream that knows the body.

        @return: Whether the body was taken, too.
        """
        manager = self.slot.current
        if manager is not self.manager:
            manager.adopt(self)
        self.served += 1
        manager.stats.http1.rqTotal.value += 1
        stream = self.stream = UnaryStream(manager, self, headers, False, manager.clock.seconds())
        stream.message = body
        stream.isTaken = False
        if manager.watchesRequests:
            self._watchRequest(manager, stream)
        manager.serve(stream)
        return stream.isTaken

    def _watchRequest(self, manager: ConnectionManager, stream: Stream) -> None:
        """
        What few connection managers are configured to look at.
        """
        if manager.headersDeadlines is not None:
            manager.headersDeadlines.cancel(self)
        if manager.acceptsHTTP10 and self.codec.isHTTP10:
            stream.protocol = "HTTP/1.0"
        limit = manager.maxRequestsPerConnection
        if limit and self.served >= limit:
            manager.stats.cxMaxRequestsReached.value += 1
            self.codec.closeAfterResponse()

    # Responses, sent by the stream

    def sendInformational(self, headers: ResponseHeaders) -> None:
        """
        See L{IDownstream.sendInformational<meshproxy.http.interfaces.IDownstream.sendInformational>}.
        """
        self._write(self.codec.encodeInformational(headers))

    def sendHeaders(self, stream: Stream, headers: ResponseHeaders, endStream: bool) -> None:
        """
        See L{IDownstream.sendHeaders<meshproxy.http.interfaces.IDownstream.sendHeaders>}.
        """
        codec = self.codec
        manager = stream.manager
        if manager.draining or self._draining:
            if codec.keepAlive:
                manager.stats.cxDrainClose.value += 1
                codec.closeAfterResponse()
        try:
            self._write(codec.encodeHeaders(headers, endStream))
            if stream.upgrade and codec.writeState is WriteState.TUNNEL:
                stream.tunnel = True
                manager.tunnelBegan(stream)
                codec.beginTunnel()
        except LocalProtocolError as error:
            self._unwritable(stream, error)

    def sendData(self, data: bytes, endStream: bool) -> None:
        """
        See L{IDownstream.sendData<meshproxy.http.interfaces.IDownstream.sendData>}.
        """
        try:
            self._write(self.codec.encodeData(data, endStream))
        except LocalProtocolError as error:
            self._unwritable(self.stream, error)

    def sendResponse(self, stream: Stream, headers: ResponseHeaders, body: bytes) -> None:
        """
        See L{IDownstream.sendResponse<meshproxy.http.interfaces.IDownstream.sendResponse>}.
        """
        if stream.manager.draining or self._draining:
            self.sendHeaders(stream, headers, not body)
            if body:
                self.sendData(body, True)
            return
        try:
            data = self.codec.encodeResponse(headers, body)
        except LocalProtocolError as error:
            self._unwritable(stream, error)
            return
        self.manager.stats.cxTxBytesTotal.value += len(data)
        self.transport.write(data)  # type: ignore[union-attr]  # Twisted sets it before

    def relay(self, source: Any, length: int, upstream: ClusterStats, done: Callable[[], object]) -> IRelay | None:
        """
        See L{IDownstream.relay<meshproxy.http.interfaces.IDownstream.relay>}.
        """
        sink = self.transport
        codec = self.codec
        if type(source) is not SocketTransport or type(sink) is not SocketTransport or codec.opaqueUnwritten <= length:
            return None
        if sink.isGated:
            return None
        codec.opaqueWritten(length)
        stats = self.manager.stats
        counters = RelayCounters(
            upstream.cxRxBytesTotal,
            stats.cxTxBytesTotal,
            upstream.flowControlPausedReading,
            upstream.flowControlResumedReading,
        )
        return SocketRelay(source, sink, counters, self.manager.clock.seconds, length=length, done=done)

    def sendTrailers(self, trailers: HeaderMap) -> None:
        """
        See L{IDownstream.sendTrailers<meshproxy.http.interfaces.IDownstream.sendTrailers>}.
        """
        self._write(self.codec.encodeTrailers(trailers))

    def sendMetadata(self, stream: Stream, fields: list[tuple[bytes, bytes]]) -> None:
        """
        See L{IDownstream.sendMetadata<meshproxy.http.interfaces.IDownstream.sendMetadata>}: HTTP/1.1 has none.
        """
        self.manager.codecCounters.metadataNotSupported.value += 1

    def _write(self, data: bytes) -> None:
        if data:
            self.manager.stats.cxTxBytesTotal.value += len(data)
            self.transport.write(data)  # type: ignore[union-attr]  # Twisted sets it before

    def _unwritable(self, stream: Stream | None, error: LocalProtocolError) -> None:
        # What filters or an upstream made of the response cannot be written: a body longer than its length says, a
        # line end in a value. What the peer has of it, it cannot take for whole.
        self.manager.log.error("a response cannot be written: {why}", why=str(error))
        if stream is not None:
            stream.reset()

    def closeAfterResponse(self) -> None:
        """
        See L{IDownstream.closeAfterResponse<meshproxy.http.interfaces.IDownstream.closeAfterResponse>}.
        """
        self.codec.closeAfterResponse()

    def resetStream(self, stream: Stream) -> None:
        """
        See L{IDownstream.resetStream<meshproxy.http.interfaces.IDownstream.resetStream>}.
        """
        if self.codec.writeState is WriteState.UNTIL_CLOSE:
            # A plain end would tell that the response is whole.
            self.abort()
        else:
            self.close()
            self.awaitsPeer = False

    def replaceStream(self, stream: Stream, other: Stream) -> None:
        """
        See L{IDownstream.replaceStream<meshproxy.http.interfaces.IDownstream.replaceStream>}.
        """
        if self.stream is stream:
            self.stream = other

    def streamEnded(self, stream: Stream) -> None:
        """
        See L{IDownstream.streamEnded<meshproxy.http.interfaces.IDownstream.streamEnded>}.
        """
        if self.stream is not stream:
            return
        self.stream = None
        if self.closing:
            return
        codec = self.codec
        if not codec.keepAlive or stream.requestEnd is None:
            self.close()
            return
        self.idleSince = stream.end or 0.0
        if self._writeBlocked or self._backlogged or stream.downstreamPaused or not codec.resumeIdle():
            self._resumeAfter(stream)

    def _resumeAfter(self, stream: Stream) -> None:
        """
        Go on after a stream where more is there than a connection that waits for its next request.
        """
        codec = self.codec
        if stream.downstreamPaused:
            # Its upstream, or a filter, had not taken all of its body when the answer came.
            stream.resumeDownstream()
        if self._backlogged:
            self._resumeAfterBacklog()
        if self._writeBlocked:
            self._blockReading()
        elif codec.bufferedBytes:
            # Its upstream connection is not back in its pool yet; the next pipelined request may want it.
            self.manager.clock.callLater(0, self._resume)
        elif not self.served & _MOST_AT_ONCE and codec.isParsing:
            # Thousands of small requests fit into one read, and each of them was answered at once: now it is the
            # turn of others. What this one sends meanwhile waits in the socket.
            self._pauseForBacklog(stream)
            self.manager.clock.callLater(0, self._resume)
        else:
            codec.resume()

    def _resume(self) -> None:
        """
        Go on with the requests that were sent ahead.
        """
        if self.closing or self.stream is not None or self._writeBlocked:
            return
        if self._backlogged:
            self._resumeAfterBacklog()
        try:
            self.codec.resume()
        except RemoteProtocolError as error:
            self._protocolError(error)
            return
        if self.stream is None and self.manager.headersDeadlines is not None and not self.closing:
            self.manager.awaitHeaders(self)

    # Closing

    def close(self) -> None:
        """
        Close after what was written is sent.
        """
        if self.closing:
            return
        self.closing = True
        if self._readPaused:
            self._readPaused = 0
            self.transport.resumeProducing()  # type: ignore[union-attr]  # Twisted sets it before
        self.closeAfterWrites()

    def peerFinished(self) -> None:
        """
        See L{ClosingConnection.peerFinished}.
        """
        stream = self.stream
        if stream is not None:
            # There is no producer any more that the transport could pause.
            stream.pauseUpstream()
        ClosingConnection.peerFinished(self)

    def drain(self) -> None:
        """
        Take no new request: close if there is none, else after the response.
        """
        self._draining = True
        stream = self.stream
        transport: Any = self.transport
        if stream is None and transport is not None and transport.hasNews:
            # One came that was not read yet: calls come first in a turn of the reactor, which may be late.
            self.manager.clock.callLater(_UNREAD, self._closeIfIdle)
        elif stream is None:
            self.close()
        elif stream.responseCode:
            # Its head went out, and told nothing of this.
            self.codec.closeAfterResponse()

    def _closeIfIdle(self) -> None:
        # This may be late, too, and before it was read.
        if self.stream is None and not self.closing:
            self.drain()

    def drainGently(self) -> None:
        """
        Let the next response be the last. As in Envoy there is the C{drain_timeout} for it: a request may be on its
        way, and who sent it cannot tell whether it was served.
        """
        if self.isFresh and not self.headBegun:
            self.drain()
        elif not self._draining:
            self._draining = True
            self.manager.awaitDrain(self)

    def drainLate(self) -> None:
        """
        The C{drain_timeout} is over.
        """
        self.drain()

    # Back pressure: towards the upstream ...

    def pauseProducing(self) -> None:
        """
        The downstream does not read what was sent.
        """
        self._writeBlocked = True
        if self.stream is None:
            self._blockReading()
        else:
            self.manager.stats.flowControlPausedReading.value += 1
            self.stream.pauseUpstream()

    def resumeProducing(self) -> None:
        """
        The downstream has read it.
        """
        self._writeBlocked = False
        if self._readBlocked:
            self._readBlocked = False
            self.resumeReading()
            self._resume()
        elif self.stream is not None:
            self.manager.stats.flowControlResumedReading.value += 1
            self.stream.resumeUpstream()

    def stopProducing(self) -> None:
        """
        The transport is gone; C{connectionLost} says so as well.
        """

    def _blockReading(self) -> None:
        """
        Take no further request before the answers to the former ones are read (CVE-2020-8661).
        """
        if not self._readBlocked:
            self._readBlocked = True
            self.pauseReading()

    # ... and towards the downstream

    def pauseReading(self) -> None:
        """
        See L{IDownstream.pauseReading<meshproxy.http.interfaces.IDownstream.pauseReading>}.
        """
        self._readPaused += 1
        if self._readPaused == 1:
            self.transport.pauseProducing()  # type: ignore[union-attr]  # Twisted sets it before

    def resumeReading(self) -> None:
        """
        See L{IDownstream.resumeReading<meshproxy.http.interfaces.IDownstream.resumeReading>}.
        """
        if self._readPaused:
            self._readPaused -= 1
            if not self._readPaused:
                self.transport.resumeProducing()  # type: ignore[union-attr]  # Twisted sets it before

    def _pauseForBacklog(self, stream: Stream) -> None:
        if not self._backlogged:
            self._backlogged = True
            self.pauseReading()

    def _resumeAfterBacklog(self) -> None:
        if self._backlogged:
            self._backlogged = False
            self.resumeReading()
