# -*- test-case-name: tests.http.test_wirecount -*-
"""
How many bytes the tries of each stream take on the wire to upstreams, where anybody asks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from meshproxy.codec.http2 import CountingUpstreamCodec, MeasuringUpstreamCodec
from meshproxy.upstream.http1connection import HTTP1UpstreamConnection, IUpstreamRequest, ResponseSink
from meshproxy.upstream.http2connection import HTTP2UpstreamConnection
from meshproxy.upstream.http2pool import HTTP2Pool
from meshproxy.upstream.http2stream import UpstreamStream

if TYPE_CHECKING:
    from meshproxy.headers import RequestHeaders, ResponseHeaders
    from meshproxy.upstream.http1pool import HTTP1Pool

__all__ = [
    "CountingHTTP1UpstreamConnection",
    "CountingHTTP2UpstreamConnection",
    "IUpstreamCounts",
    "MeasuringHTTP2UpstreamConnection",
    "begin",
    "countBytesOf",
    "headBytes",
    "receivedHeadBytes",
]


class IUpstreamCounts(Protocol):
    """
    Where it is counted: L{meshproxy.accesslog.streaminfo.StreamInfo}.
    """

    upstreamWireBytesReceived: int | None
    upstreamWireBytesSent: int | None
    upstreamHeaderBytesReceived: int | None
    upstreamHeaderBytesSent: int | None
    upstreamFieldBytesReceived: int | None
    upstreamFieldBytesSent: int | None


def begin(counts: IUpstreamCounts | None) -> None:
    """
    The first try counts from zero.
    """
    if counts is not None and counts.upstreamWireBytesSent is None:
        counts.upstreamWireBytesSent = counts.upstreamWireBytesReceived = 0
        counts.upstreamHeaderBytesSent = counts.upstreamHeaderBytesReceived = 0
        counts.upstreamFieldBytesSent = counts.upstreamFieldBytesReceived = 0


def headBytes(data: bytes) -> int:
    """
    How many bytes the fields of a head take that begins some bytes to be sent.
    """
    return data.index(b"\r\n\r\n") - data.index(b"\r\n")


def receivedHeadBytes(headers: RequestHeaders | ResponseHeaders, besides: tuple[bytes, bytes] | None = None) -> int:
    """
    How many bytes Envoy says that the fields of a head took which came.

    @param besides: A field that is not among them any more.
    """
    fields = list(headers.fields())
    if besides is not None:
        fields.append(besides)
    return sum(len(name) + len(value) for name, value in fields) + 3 * max(len(fields), 1)


class _CountingSink(ResponseSink):
    """
    Counts heads before anybody changes them.
    """

    __slots__ = ("counts",)

    counts: IUpstreamCounts | None

    def __init__(self) -> None:
        super().__init__()
        self.counts = None

    def _count(self, headers: ResponseHeaders) -> None:
        counts = self.counts
        if counts is not None:
            size = receivedHeadBytes(headers)
            counts.upstreamHeaderBytesReceived = (counts.upstreamHeaderBytesReceived or 0) + size
            # Nothing is compressed.
            counts.upstreamFieldBytesReceived = (counts.upstreamFieldBytesReceived or 0) + size

    def informationalReceived(self, headers: ResponseHeaders) -> None:
        """
        An interim response.
        """
        self._count(headers)
        super().informationalReceived(headers)

    def responseReceived(self, headers: ResponseHeaders, endStream: bool) -> None:
        """
        The head of the response.
        """
        self._count(headers)
        super().responseReceived(headers, endStream)

    def wholeReceived(self, headers: ResponseHeaders, body: bytes) -> None:
        """
        Head and body at once.
        """
        self._count(headers)
        super().wholeReceived(headers, body)


class CountingHTTP1UpstreamConnection(HTTP1UpstreamConnection):
    """
    A connection that counts for the streams that want it.
    """

    _writesHead = False
    _counts: IUpstreamCounts | None = None
    _sink: _CountingSink

    def __init__(self, pool: HTTP1Pool) -> None:
        super().__init__(pool, _CountingSink)

    def begin(self, request: IUpstreamRequest) -> None:
        """
        Carry a request.
        """
        counts: IUpstreamCounts | None = getattr(request, "countedFor", None)
        self._counts = self._sink.counts = counts
        begin(counts)
        super().begin(request)

    def carry(self, request: IUpstreamRequest, headers: RequestHeaders) -> None:
        """
        Carry a request that has nothing but a head.
        """
        self.begin(request)
        self.sendHeaders(headers, True)

    def dataReceived(self, data: bytes) -> None:
        """
        Bytes of a response.
        """
        counts = self._counts
        if counts is not None and self.request is not None:
            counts.upstreamWireBytesReceived = (counts.upstreamWireBytesReceived or 0) + len(data)
        self.pool.stats.cxRxBytesTotal.value += len(data)
        self._receiveParts(data)

    def sendHeaders(self, headers: RequestHeaders, endStream: bool) -> None:
        """
        Send the head of the request.
        """
        self._writesHead = True
        super().sendHeaders(headers, endStream)

    def _write(self, data: bytes) -> None:
        counts = self._counts
        if counts is not None:
            counts.upstreamWireBytesSent = (counts.upstreamWireBytesSent or 0) + len(data)
            if self._writesHead:
                size = headBytes(data)
                counts.upstreamHeaderBytesSent = (counts.upstreamHeaderBytesSent or 0) + size
                counts.upstreamFieldBytesSent = (counts.upstreamFieldBytesSent or 0) + size
        self._writesHead = False
        super()._write(data)


class _Tally:
    """
    What the codec of HTTP/2 tells how many bytes a try takes: all tries of a stream add up.
    """

    __slots__ = ("_counts",)

    def __init__(self, counts: IUpstreamCounts) -> None:
        self._counts = counts

    def addReceived(self, size: int, ofHead: int) -> None:
        """
        Bytes came, of them so many of a field section.
        """
        counts = self._counts
        counts.upstreamWireBytesReceived = (counts.upstreamWireBytesReceived or 0) + size
        counts.upstreamHeaderBytesReceived = (counts.upstreamHeaderBytesReceived or 0) + ofHead

    def addSent(self, size: int, ofHead: int) -> None:
        """
        Bytes went out.
        """
        counts = self._counts
        counts.upstreamWireBytesSent = (counts.upstreamWireBytesSent or 0) + size
        counts.upstreamHeaderBytesSent = (counts.upstreamHeaderBytesSent or 0) + ofHead

    def addFields(self, received: int, sent: int) -> None:
        """
        Names and values came, or went out.
        """
        counts = self._counts
        counts.upstreamFieldBytesReceived = (counts.upstreamFieldBytesReceived or 0) + received
        counts.upstreamFieldBytesSent = (counts.upstreamFieldBytesSent or 0) + sent


class _CountingStream(UpstreamStream):
    """
    A request that is counted, if it wants to be.

    @ivar tally: Where, for the codec.
    """

    __slots__ = ("tally",)

    def __init__(self, connection: HTTP2UpstreamConnection, request: IUpstreamRequest) -> None:
        super().__init__(connection, request)
        counts: IUpstreamCounts | None = getattr(request, "countedFor", None)
        begin(counts)
        self.tally = None if counts is None else _Tally(counts)


class CountingHTTP2UpstreamConnection(HTTP2UpstreamConnection):
    """
    A connection that counts for the streams that want it.
    """

    codecClass = CountingUpstreamCodec
    streamClass = _CountingStream


class MeasuringHTTP2UpstreamConnection(CountingHTTP2UpstreamConnection):
    """
    A connection that measures heads as well.
    """

    codecClass = MeasuringUpstreamCodec


def countBytesOf(pool: HTTP1Pool, measures: bool = False) -> None:
    """
    Let the connections count that a pool makes from now on.

    @param measures: Whether heads are measured as well.
    """
    pool.connectionClass = CountingHTTP1UpstreamConnection
    if isinstance(pool, HTTP2Pool):
        pool.http2ConnectionClass = MeasuringHTTP2UpstreamConnection if measures else CountingHTTP2UpstreamConnection
