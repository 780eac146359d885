# -*- test-case-name: tests.http.test_wirecount -*-
"""
How many bytes each stream takes on the wire, for connection managers whose access logs show it: their downstream
connections are L{CountingHTTP1Connection}s and L{CountingHTTP2Connection}s, which do what others do not spend time on.

The bytes of heads are counted as Envoy counts them. Of HTTP/1: of a head that was sent, its fields with their line
ends; of one that came, names and values, and three bytes for each field. Of HTTP/2 it is the frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from meshproxy.accesslog.logs import AccessLogs
from meshproxy.codec.http2 import CountingDownstreamCodec, MeasuringDownstreamCodec
from meshproxy.http.downstream import HTTP1Connection
from meshproxy.http.http2 import HTTP2Connection
from meshproxy.http.streamside import RefusedSide, StreamSide
from meshproxy.upstream.wirecount import headBytes, receivedHeadBytes

if TYPE_CHECKING:
    from meshproxy.accesslog.streaminfo import ConnectionInfo, StreamInfo
    from meshproxy.config import Section
    from meshproxy.headers import RequestHeaders, ResponseHeaders
    from meshproxy.http.slot import ManagerSlot
    from meshproxy.http.stream import Stream
    from meshproxy.net.relay import IRelay
    from meshproxy.upstream.stats import ClusterStats

__all__ = [
    "CountingAccessLogs",
    "CountingHTTP1Connection",
    "CountingHTTP2Connection",
    "MeasuringAccessLogs",
    "MeasuringHTTP1Connection",
    "MeasuringHTTP2Connection",
    "Showing",
    "countBytes",
    "showWireBytes",
]


class Showing(IntEnum):
    """
    What access logs show of the bytes on the wire: the more, the greater.
    """

    NOTHING = 0
    BYTES = 1
    #: Those of heads before they were compressed, too.
    FIELDS = 2


def showWireBytes(sections: Sequence[Section]) -> Showing:
    """
    Whether any of some C{AccessLog}s has an operator that shows bytes on the wire, wherever its format is.
    """
    texts = [section.message.SerializeToString() for section in sections]
    if any(b"_DECOMPRESSED_HEADER_BYTES_" in text for text in texts):
        return Showing.FIELDS
    return Showing(any(b"_WIRE_BYTES_" in text or b"_HEADER_BYTES_" in text for text in texts))


class CountingAccessLogs(AccessLogs):
    """
    Access logs for whose lines a stream is told what it took.
    """

    __slots__ = ()

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        plain = self.log

        def log(info: StreamInfo, logType: str) -> None:
            countBytes(info)
            plain(info, logType)

        self.log = log

    def logEnd(self, info: StreamInfo, logType: str = "DownstreamEnd") -> None:
        """
        See L{AccessLogs.logEnd}.
        """
        countBytes(info)
        super().logEnd(info, logType)


class MeasuringAccessLogs(CountingAccessLogs):
    """
    Access logs for which heads are measured as well.
    """

    __slots__ = ()


def countBytes(info: StreamInfo) -> None:
    """
    Tell a stream under way, or just over, what it took.
    """
    connection = getattr(info, "downstream", None)
    if isinstance(connection, CountingHTTP1Connection):
        connection.countInto(info)
    elif isinstance(connection, RefusedSide):
        info.wireBytesReceived = info.headerBytesReceived = info.wireBytesSent = info.headerBytesSent = 0
        info.fieldBytesReceived = info.fieldBytesSent = 0
        _withoutUpstream(info)
    elif isinstance(connection, StreamSide):
        codec = connection.connection.codec
        tally = codec.tallyOf(connection.codecStream.id) if isinstance(codec, CountingDownstreamCodec) else None
        if tally is not None:
            info.wireBytesReceived, info.headerBytesReceived = tally.received, tally.headReceived
            info.wireBytesSent, info.headerBytesSent = tally.sent, tally.headSent
            info.fieldBytesReceived, info.fieldBytesSent = tally.fieldsReceived, tally.fieldsSent
        _withoutUpstream(info)


def _withoutUpstream(info: StreamInfo) -> None:
    """
    Where no upstream connection was had, nothing went over one.
    """
    if info.upstreamWireBytesSent is None and not info.upstreamConnectionId:
        info.upstreamWireBytesReceived = info.upstreamWireBytesSent = 0
        info.upstreamHeaderBytesReceived = info.upstreamHeaderBytesSent = 0
        info.upstreamFieldBytesReceived = info.upstreamFieldBytesSent = 0


class CountingHTTP2Connection(HTTP2Connection):
    """
    A connection of HTTP/2 that counts.
    """

    codecClass = CountingDownstreamCodec

    def streamEnded(self, side: StreamSide, stream: Stream) -> None:
        """
        See L{HTTP2Connection.streamEnded}.
        """
        codec: Any = self.codec
        codec.forgetTally(side.codecStream.id)
        super().streamEnded(side, stream)


class MeasuringHTTP2Connection(CountingHTTP2Connection):
    """
    A connection of HTTP/2 that measures heads as well.
    """

    codecClass = MeasuringDownstreamCodec


class CountingHTTP1Connection(HTTP1Connection):
    """
    A connection that counts.
    """

    http2Class = CountingHTTP2Connection

    def __init__(self, slot: ManagerSlot, info: ConnectionInfo, isAuto: bool = False) -> None:
        super().__init__(slot, info, isAuto)
        # All that came, and how much of it belongs to streams that are over.
        self._received = self._receivedBefore = 0
        self._headReceived = self._sent = self._headSent = 0
        self._writesHead = False

    def countInto(self, info: StreamInfo) -> None:
        """
        Tell the stream under way, or just over, what it took.
        """
        info.wireBytesReceived = self._ofStream() - self._receivedBefore
        info.wireBytesSent = self._sent
        # Nothing is compressed.
        info.headerBytesReceived = info.fieldBytesReceived = self._headReceived
        info.headerBytesSent = info.fieldBytesSent = self._headSent
        _withoutUpstream(info)

    def _ofStream(self) -> int:
        # What waits belongs to the next one.
        return self._received - self.codec.bufferedBytes

    def dataReceived(self, data: bytes) -> None:
        """
        Bytes of requests.
        """
        self._received += len(data)
        super().dataReceived(data)

    def requestReceived(self, headers: RequestHeaders, endStream: bool) -> None:
        """
        A request begins.
        """
        self._countHead(headers)
        super().requestReceived(headers, endStream)

    def callReceived(self, headers: RequestHeaders, body: bytes) -> bool:
        """
        A request came whole, with a body.
        """
        self._countHead(headers)
        return super().callReceived(headers, body)

    def _countHead(self, headers: RequestHeaders) -> None:
        # Host is no field any more.
        host = (b"host", headers.authority) if headers.authority else None
        self._headReceived = receivedHeadBytes(headers, host)

    def sendInformational(self, headers: ResponseHeaders) -> None:
        """
        See L{IDownstream.sendInformational<meshproxy.http.interfaces.IDownstream.sendInformational>}.
        """
        self._writesHead = True
        super().sendInformational(headers)

    def sendHeaders(self, stream: Stream, headers: ResponseHeaders, endStream: bool) -> None:
        """
        See L{IDownstream.sendHeaders<meshproxy.http.interfaces.IDownstream.sendHeaders>}.
        """
        self._writesHead = True
        super().sendHeaders(stream, headers, endStream)

    def sendResponse(self, stream: Stream, headers: ResponseHeaders, body: bytes) -> None:
        """
        See L{IDownstream.sendResponse<meshproxy.http.interfaces.IDownstream.sendResponse>}.
        """
        self.sendHeaders(stream, headers, not body)
        if body:
            self.sendData(body, True)

    def relay(self, source: Any, length: int, upstream: ClusterStats, done: Callable[[], object]) -> IRelay | None:
        """
        See L{IDownstream.relay<meshproxy.http.interfaces.IDownstream.relay>}: not past who counts.
        """
        return None

    def _write(self, data: bytes) -> None:
        self._sent += len(data)
        if self._writesHead:
            self._writesHead = False
            self._headSent += headBytes(data)
        super()._write(data)

    def streamEnded(self, stream: Stream) -> None:
        """
        See L{IDownstream.streamEnded<meshproxy.http.interfaces.IDownstream.streamEnded>}.
        """
        if self.stream is stream:
            self._receivedBefore = self._ofStream()
            self._headReceived = self._sent = self._headSent = 0
        super().streamEnded(stream)


class MeasuringHTTP1Connection(CountingHTTP1Connection):
    """
    A connection that measures heads as well, should it become one of HTTP/2.
    """

    http2Class = MeasuringHTTP2Connection
