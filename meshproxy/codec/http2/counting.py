# -*- test-case-name: tests.codec.http2.test_counting -*-
"""
Codecs that count how many bytes each stream takes on the wire, for those who ask: others spend no time on it.

They count what Envoy does: of what comes in the frames HEADERS, DATA and RST_STREAM, of what goes out each frame of the
stream, all with their nine bytes of frame header. What came of a field section in CONTINUATION counts as if it had come
in HEADERS.

Those that measure also tell how many bytes the names and the values of field sections take. They read each section once
more for it, whatever way it was read or written, and so see what is on the wire: cookies in their pieces, for one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from meshproxy.codec.http2.connection import ConnectionCodec
from meshproxy.codec.http2.downstream import DownstreamCodec
from meshproxy.codec.http2.frames import FrameType
from meshproxy.codec.http2.hpack import Decoder, Field
from meshproxy.codec.http2.interfaces import IResponseStreamSink
from meshproxy.codec.http2.stream import CodecStream
from meshproxy.codec.http2.upstream import UpstreamCodec
from meshproxy.errors import RemoteProtocolError
from meshproxy.headers import RequestHeaders

__all__ = [
    "CountingDownstreamCodec",
    "CountingUpstreamCodec",
    "MeasuringDownstreamCodec",
    "MeasuringUpstreamCodec",
    "WireTally",
]

_FRAME_HEAD = 9
# More than any head has.
_UNLIMITED = 1 << 62
_SECTIONS = (FrameType.HEADERS, FrameType.CONTINUATION)


class WireTally:
    """
    What a stream took.

    @ivar received: Bytes that came; C{headReceived} those of field sections.
    @ivar sent: Bytes that went out; C{headSent} those of field sections.
    @ivar fieldsReceived: Bytes of the names and values that came, where they are measured; likewise C{fieldsSent}.
    """

    __slots__ = ("fieldsReceived", "fieldsSent", "headReceived", "headSent", "received", "sent")

    def __init__(self) -> None:
        self.received = self.headReceived = self.sent = self.headSent = 0
        self.fieldsReceived = self.fieldsSent = 0

    def addReceived(self, size: int, ofHead: int) -> None:
        """
        Bytes came, of them so many of a field section.
        """
        self.received += size
        self.headReceived += ofHead

    def addSent(self, size: int, ofHead: int) -> None:
        """
        Bytes went out.
        """
        self.sent += size
        self.headSent += ofHead

    def addFields(self, received: int, sent: int) -> None:
        """
        Names and values came, or went out.
        """
        self.fieldsReceived += received
        self.fieldsSent += sent


class _Tally(Protocol):
    """
    Where bytes are counted: L{WireTally} and its like.
    """

    def addReceived(self, size: int, ofHead: int) -> None:
        """
        See L{WireTally.addReceived}.
        """

    def addSent(self, size: int, ofHead: int) -> None:
        """
        See L{WireTally.addSent}.
        """

    def addFields(self, received: int, sent: int) -> None:
        """
        See L{WireTally.addFields}.
        """


class _Counting(ConnectionCodec):
    """
    What both roles do.
    """

    # Calls pass frame by frame.
    takesCalls = False
    # How many bytes the frames of the section under way took; none where it came the usual way, in one frame.
    _sectionWire = 0

    def __init__(self, *args: Any) -> None:
        self._tallies: dict[int, Any] = {}
        super().__init__(*args)

    def _headersReceived(self, payload: bytes, flags: int, streamId: int) -> None:
        self._sectionWire = _FRAME_HEAD + len(payload)
        super()._headersReceived(payload, flags, streamId)

    def _continuationReceived(self, payload: bytes, flags: int, streamId: int) -> None:
        self._sectionWire += len(payload)
        super()._continuationReceived(payload, flags, streamId)

    def _countSection(self, streamId: int, block: bytes) -> None:
        size, self._sectionWire = self._sectionWire or _FRAME_HEAD + len(block), 0
        tally = self._tallies.get(streamId)
        if tally is not None:
            tally.addReceived(size, size)

    def _dataReceived(self, payload: bytes, flags: int, streamId: int) -> None:
        tally = self._tallies.get(streamId)
        if tally is not None:
            tally.addReceived(_FRAME_HEAD + len(payload), 0)
        super()._dataReceived(payload, flags, streamId)

    def _resetReceived(self, payload: bytes, flags: int, streamId: int) -> None:
        tally = self._tallies.get(streamId)
        if tally is not None:
            tally.addReceived(_FRAME_HEAD + len(payload), 0)
        super()._resetReceived(payload, flags, streamId)

    def _emit(self, data: bytes) -> None:
        # The preface is no frame; nothing that stands there for a stream is one.
        tally = self._tallies.get(int.from_bytes(data[5:9], "big"))
        if tally is not None:
            tally.addSent(len(data), len(data) if data[3] in _SECTIONS else 0)
        super()._emit(data)

    def emitResponse(self, streamId: int, block: bytes, body: bytes) -> None:
        """
        See L{ConnectionCodec.emitResponse}.
        """
        tally = self._tallies.get(streamId)
        if tally is not None:
            head = _FRAME_HEAD + len(block)
            tally.addSent(head + _FRAME_HEAD + len(body), head)
        super().emitResponse(streamId, block, body)


class CountingDownstreamCodec(_Counting, DownstreamCodec):
    """
    The server's role. Whoever is done with a stream says so by L{forgetTally}.
    """

    def _sectionReceived(self, streamId: int, block: bytes, endStream: bool) -> None:
        if streamId > self.lastStreamId:
            self._tallies[streamId] = WireTally()
        self._countSection(streamId, block)
        super()._sectionReceived(streamId, block, endStream)
        if streamId not in self.streams:
            # It was refused, or is over already.
            self.forgetTally(streamId)

    def tallyOf(self, streamId: int) -> WireTally | None:
        """
        What a stream took so far.
        """
        tally: WireTally | None = self._tallies.get(streamId)
        return tally

    def forgetTally(self, streamId: int) -> None:
        """
        Nobody asks for a stream any more.
        """
        self._tallies.pop(streamId, None)


class CountingUpstreamCodec(_Counting, UpstreamCodec):
    """
    The client's role. What a sink has for its C{tally} is counted in; several requests may have the same one.
    """

    def request(self, sink: IResponseStreamSink, headers: RequestHeaders, endStream: bool) -> CodecStream:
        """
        See L{UpstreamCodec.request}.
        """
        tally: _Tally | None = getattr(sink, "tally", None)
        if tally is not None:
            self._tallies[self._nextId] = tally
        return super().request(sink, headers, endStream)

    def call(self, sink: IResponseStreamSink, headers: RequestHeaders, message: bytes) -> CodecStream | None:
        """
        See L{UpstreamCodec.call}.
        """
        return None

    def _sectionReceived(self, streamId: int, block: bytes, endStream: bool) -> None:
        self._countSection(streamId, block)
        super()._sectionReceived(streamId, block, endStream)

    def streamClosed(self, stream: CodecStream) -> None:
        """
        See L{ConnectionCodec.streamClosed}.
        """
        self._tallies.pop(stream.id, None)
        super().streamClosed(stream)


class _Measuring(_Counting):
    """
    What both roles do to measure.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._reader = self._makeDecoder()
        # What this side sends is no more than what it was given.
        self._sentReader = Decoder(max(self.options.hpackTableSize, 4096), _UNLIMITED, _UNLIMITED)

    def _countSection(self, streamId: int, block: bytes) -> None:
        super()._countSection(streamId, block)
        try:
            size = _sizeOf(self._reader.decode(block))
        except RemoteProtocolError:
            # The connection ends by it.
            return
        tally = self._tallies.get(streamId)
        if tally is not None:
            tally.addFields(size, 0)

    def _countSent(self, streamId: int, block: bytes) -> None:
        size = _sizeOf(self._sentReader.decode(block))
        tally = self._tallies.get(streamId)
        if tally is not None:
            tally.addFields(0, size)

    def emitSection(self, streamId: int, block: bytes, endStream: bool) -> None:
        """
        See L{ConnectionCodec.emitSection}.
        """
        self._countSent(streamId, block)
        super().emitSection(streamId, block, endStream)

    def emitResponse(self, streamId: int, block: bytes, body: bytes) -> None:
        """
        See L{ConnectionCodec.emitResponse}.
        """
        self._countSent(streamId, block)
        super().emitResponse(streamId, block, body)


def _sizeOf(fields: Iterable[Field]) -> int:
    return sum(len(name) + len(value) for name, value in fields)


class MeasuringDownstreamCodec(_Measuring, CountingDownstreamCodec):
    """
    The server's role.
    """


class MeasuringUpstreamCodec(_Measuring, CountingUpstreamCodec):
    """
    The client's role.
    """
