# -*- test-case-name: tests.http.test_http2,tests.http.test_http2drain,tests.http.test_http2tunnel -*-
"""
One stream of a downstream HTTP/2 connection, between the codec and the stream that filters see.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from meshproxy.codec.http2 import CodecStream, ErrorCode, IRequestStreamSink
from meshproxy.codec.http2.states import StreamState
from meshproxy.errors import LocalProtocolError
from meshproxy.flags import ResponseFlag
from meshproxy.headers import HeaderMap, ResponseHeaders
from meshproxy.net.relay import IRelay

if TYPE_CHECKING:
    from meshproxy.http.http2 import HTTP2Connection
    from meshproxy.http.slot import ManagerSlot
    from meshproxy.http.stream import Stream
    from meshproxy.upstream.stats import ClusterStats

__all__ = ["RefusedSide", "StreamSide"]

_CLOSED = StreamState.CLOSED


@implementer(IRequestStreamSink)
class StreamSide:
    """
    One stream, between the codec and L{Stream}: what the one is told by, and what the other speaks to
    (L{meshproxy.http.interfaces.IDownstream}).

    @ivar connection: The connection that it is a stream of.
    """

    __slots__ = ("_held", "codecStream", "connection", "info", "stream")

    def __init__(self, connection: HTTP2Connection, codecStream: CodecStream) -> None:
        self.connection = connection
        self.codecStream = codecStream
        self.info = connection.info
        self.stream: Stream | None = None
        # What came on the way to a tunnel that is not open yet.
        self._held: list[tuple[bytes, bool]] | None = None

    @property
    def slot(self) -> ManagerSlot:
        """
        Where the connection finds the newest connection manager.
        """
        return self.connection.slot

    # Told by the codec

    def dataReceived(self, data: bytes, endStream: bool) -> None:
        """
        See L{IRequestStreamSink.dataReceived}.
        """
        stream = self.stream
        if stream is None:
            return
        if stream.upgrade and not stream.tunnel:
            # An upstream that does not agree to the tunnel must never see it (CVE-2026-73548). The window bounds it.
            if self._held is None:
                self._held = []
                self.codecStream.pauseReading()
            self._held.append((data, endStream))
            stream.bytesReceived += len(data)
            return
        stream.requestDataReceived(data, endStream)

    def trailersReceived(self, trailers: HeaderMap) -> None:
        """
        See L{IRequestStreamSink.trailersReceived}.
        """
        if self.stream is not None:
            self.stream.requestTrailersReceived(trailers)

    def metadataReceived(self, fields: list[tuple[bytes, bytes]]) -> None:
        """
        See L{IRequestStreamSink.metadataReceived}.
        """
        if self.stream is not None:
            self.stream.requestMetadataReceived(fields)

    def streamReset(self, code: int, isRemote: bool, why: str) -> None:
        """
        See L{IRequestStreamSink.streamReset}.
        """
        stream = self.stream
        if stream is None:
            return
        self.stream = None
        if isRemote:
            stream.downstreamLost(ResponseFlag.DOWNSTREAM_REMOTE_RESET, "http2.remote_reset")
        else:
            # The details are Envoy's.
            stream.downstreamLost(ResponseFlag.DOWNSTREAM_PROTOCOL_ERROR, "http2.remote_reset")
        self.connection.resetReceived(stream)

    def pauseSending(self) -> None:
        """
        See L{IRequestStreamSink.pauseSending}.
        """
        stream = self.stream
        if stream is not None:
            stream.manager.stats.flowControlPausedReading.value += 1
            stream.pauseUpstream()

    def resumeSending(self) -> None:
        """
        See L{IRequestStreamSink.resumeSending}.
        """
        stream = self.stream
        if stream is not None:
            stream.manager.stats.flowControlResumedReading.value += 1
            stream.resumeUpstream()

    # Asked by the stream

    def sendInformational(self, headers: ResponseHeaders) -> None:
        """
        See L{IDownstream.sendInformational<meshproxy.http.interfaces.IDownstream.sendInformational>}.
        """
        try:
            self.codecStream.sendInformational(headers)
        except LocalProtocolError as error:
            self.unwritable(error)
        self.connection.wake()

    def sendHeaders(self, stream: Stream, headers: ResponseHeaders, endStream: bool) -> None:
        """
        See L{IDownstream.sendHeaders<meshproxy.http.interfaces.IDownstream.sendHeaders>}.
        """
        self.connection.responding(stream)
        try:
            self.codecStream.sendHeaders(headers, endStream)
        except LocalProtocolError as error:
            self.unwritable(error)
            return
        if stream.upgrade and (headers.status == 101 or (stream.upgrade == b"connect" and headers.status < 300)):
            stream.tunnel = True
            stream.manager.tunnelBegan(stream)
            self._release()
        self.connection.wake()

    def _release(self) -> None:
        """
        The tunnel is open: what came for it goes on.
        """
        held, self._held = self._held, None
        if held is not None:
            for data, endStream in held:
                if self.stream is not None:
                    self.stream.bytesReceived -= len(data)
                    self.stream.requestDataReceived(data, endStream)
            self.codecStream.resumeReading()

    def sendData(self, data: bytes, endStream: bool) -> None:
        """
        See L{IDownstream.sendData<meshproxy.http.interfaces.IDownstream.sendData>}.
        """
        try:
            self.codecStream.sendData(data, endStream)
        except LocalProtocolError as error:
            self.unwritable(error)
        self.connection.wake()

    def sendResponse(self, stream: Stream, headers: ResponseHeaders, body: bytes) -> None:
        """
        See L{IDownstream.sendResponse<meshproxy.http.interfaces.IDownstream.sendResponse>}.
        """
        if not body:
            self.sendHeaders(stream, headers, True)
            return
        connection = self.connection
        if stream.manager.draining:
            connection.responding(stream)
        try:
            self.codecStream.sendResponse(headers, body)
        except LocalProtocolError as error:
            self.unwritable(error)
            return
        if not connection.isWoken:
            connection.wake()

    def sendTrailers(self, trailers: HeaderMap) -> None:
        """
        See L{IDownstream.sendTrailers<meshproxy.http.interfaces.IDownstream.sendTrailers>}.
        """
        try:
            self.codecStream.sendTrailers(trailers)
        except LocalProtocolError as error:
            self.unwritable(error)
        self.connection.wake()

    def sendMetadata(self, stream: Stream, fields: list[tuple[bytes, bytes]]) -> None:
        """
        See L{IDownstream.sendMetadata<meshproxy.http.interfaces.IDownstream.sendMetadata>}.
        """
        if not self.codecStream.sendMetadata(fields):
            stream.reset()
        self.connection.wake()

    def unwritable(self, error: LocalProtocolError) -> None:
        """
        What filters or an upstream made of the response cannot be written, as of HTTP/1.
        """
        self.connection.manager.log.error("a response cannot be written: {why}", why=str(error))
        if self.stream is not None:
            self.stream.reset()

    def relay(self, source: Any, length: int, upstream: ClusterStats, done: Callable[[], object]) -> IRelay | None:
        """
        See L{IDownstream.relay<meshproxy.http.interfaces.IDownstream.relay>}: bodies go in frames here.
        """
        return None

    def closeAfterResponse(self) -> None:
        """
        See L{IDownstream.closeAfterResponse<meshproxy.http.interfaces.IDownstream.closeAfterResponse>}: as in Envoy,
        one stream's end is no reason to end the others.
        """

    def resetStream(self, stream: Stream) -> None:
        """
        See L{IDownstream.resetStream<meshproxy.http.interfaces.IDownstream.resetStream>}.
        """
        # Not NO_ERROR, which a client could take for a whole response.
        self.codecStream.reset(ErrorCode.CONNECT_ERROR if stream.tunnel else ErrorCode.INTERNAL_ERROR)
        self.connection.wake()

    def replaceStream(self, stream: Stream, other: Stream) -> None:
        """
        See L{IDownstream.replaceStream<meshproxy.http.interfaces.IDownstream.replaceStream>}.
        """
        if self.stream is stream:
            self.stream = other
            other.protocol = stream.protocol

    def streamEnded(self, stream: Stream) -> None:
        """
        See L{IDownstream.streamEnded<meshproxy.http.interfaces.IDownstream.streamEnded>}.
        """
        if self.stream is not None and self.stream is not stream:
            return
        self.stream = None
        self._held = None
        codecStream, connection = self.codecStream, self.connection
        if codecStream.state is _CLOSED:
            sides = connection.sides
            if connection.isWoken and len(sides) > 1 and not connection.closing:
                # What the connection does, where others are under way.
                sides.pop(self, None)
                return
        elif codecStream.canReceive:
            codecStream.stopReading()
        connection.streamEnded(self, stream)

    def pauseReading(self) -> None:
        """
        See L{IDownstream.pauseReading<meshproxy.http.interfaces.IDownstream.pauseReading>}.
        """
        self.codecStream.pauseReading()

    def resumeReading(self) -> None:
        """
        See L{IDownstream.resumeReading<meshproxy.http.interfaces.IDownstream.resumeReading>}.
        """
        if self._held is None:
            self.codecStream.resumeReading()
            self.connection.wake()


class RefusedSide(StreamSide):
    """
    That of a stream which was refused before it was one.
    """

    __slots__ = ()

    def __init__(self, connection: HTTP2Connection) -> None:
        self.info = connection.info

    def streamEnded(self, stream: Stream) -> None:
        """
        There is nothing that would end.
        """
