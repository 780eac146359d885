# -*- test-case-name: tests.codec.http2.test_connection -*-
"""
What both roles of an HTTP/2 connection have in common: bytes come in and are parted into frames, bodies use up credit,
streams begin and end.

It stands on a row of classes with an idea each: L{FrameWriter<meshproxy.codec.http2.writer.FrameWriter>} is what goes
out, L{FaultJudge<meshproxy.codec.http2.faults.FaultJudge>} what the peer's faults end,
L{SectionReader<meshproxy.codec.http2.sections.SectionReader>} what comes in HEADERS and CONTINUATION, and
L{ControlReader<meshproxy.codec.http2.control.ControlReader>} what comes in all other frames but DATA.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from meshproxy.codec.http2.control import ControlReader
from meshproxy.codec.http2.frames import (
    DEFAULT_WINDOW,
    SMALLEST_FRAME,
    ErrorCode,
    Flag,
    FrameType,
    Setting,
    encodeSettings,
)
from meshproxy.codec.http2.interfaces import Http2Counters, Http2Options
from meshproxy.codec.http2.metadata import END_METADATA, METADATA, MetadataReader
from meshproxy.codec.http2.states import Happening, StreamState
from meshproxy.codec.http2.stream import UNKNOWN_LENGTH, CodecStream
from meshproxy.errors import RemoteProtocolError

__all__ = ["ConnectionCodec"]

# Length and type of a frame in one number, its flags, its stream.
_unpackHead = struct.Struct(">LBL").unpack_from

_WHOLE_HEAD = Flag.END_HEADERS | Flag.END_STREAM
_WHOLE_SECTION = Flag.END_HEADERS
_IDENTIFIER = 0x7FFFFFFF

# What one call of receiveData works on before others have their turn: a head costs 8, any other frame 1.
_BUDGET = 512


class _Gone:
    """
    Who is told of what is found out after the connection's end: nobody.
    """

    def __getattr__(self, name: str) -> Any:
        return _ignore


def _ignore(*_told: object) -> None:
    """
    Nobody is told.
    """


_GONE = _Gone()


class ConnectionCodec(ControlReader):
    """
    Takes bytes by L{receiveData}, in any split, and tells its sinks what they say. What is to be written comes from
    L{dataToSend}, all of it since the last time in one piece.

    A peer's fault that concerns one stream resets that stream. One that concerns the connection makes L{receiveData}
    raise, then and at each further call; the GOAWAY that says so is in what L{dataToSend} gives.

    @ivar flushing: Streams that their owner is done with while the last bytes wait, and what is called when one is
        closed.
    @ivar hasRest: Whether L{receiveData} left something for later, so that others have their turn: call L{resume}.
    """

    def __init__(self, sink: Any, options: Http2Options, counters: Http2Counters) -> None:
        super().__init__(sink, options, counters)
        self.hasRest = False
        self.flushing: dict[CodecStream, Callable[[], object]] = {}
        # What came of a frame that is not whole: its pieces, how long they are, and how long it is at least.
        self._partial: list[bytes] = []
        self._partialSize = 0
        self._needed = 0
        self._receiveWindow = options.initialConnectionWindow
        self._uncredited = 0
        self._budget = _BUDGET
        self._metadata = MetadataReader(options.maxMetadataBytes) if options.allowMetadata else None
        self._handlers: tuple[Callable[[bytes, int, int], object], ...] = (
            self._dataReceived,
            self._headersReceived,
            self._priorityReceived,
            self._resetReceived,
            self._settingsReceived,
            self._pushReceived,
            self._pingReceived,
            self._goAwayReceived,
            self._windowUpdateReceived,
            self._continuationReceived,
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} with {len(self.streams)} streams>"

    # Beginning and ending

    def _announce(self, preface: bytes, settings: list[tuple[int, int]]) -> None:
        """
        Send what a connection begins with.
        """
        options = self.options
        if options.hpackTableSize != 4096:
            settings.append((Setting.HEADER_TABLE_SIZE, options.hpackTableSize))
        settings.append((Setting.INITIAL_WINDOW_SIZE, options.initialStreamWindow))
        settings += options.customSettings
        self._emit(preface + encodeSettings(settings))
        if options.initialConnectionWindow > DEFAULT_WINDOW:
            self.sendWindowUpdate(0, options.initialConnectionWindow - DEFAULT_WINDOW)
        else:
            # There is no way to make it smaller than RFC 9113 has it.
            self._receiveWindow = DEFAULT_WINDOW

    def drop(self) -> None:
        """
        The connection is gone, and all streams with it. Nobody is told, then or later.
        """
        self.stop()
        for stream in list(self.streams.values()):
            stream.sink = None
            stream.dropped()
        # All of a connection is freed at once, not by the garbage collector, if nothing goes round in a circle.
        self._handlers = ()
        self._sink = _GONE

    # Bytes come in

    def receiveData(self, data: bytes) -> None:
        """
        Feed bytes that were read from the peer.

        @raise RemoteProtocolError: If they break the protocol in a way that ends the connection.
        """
        if self._error is not None:
            raise self._error
        if self._isStopped:
            return
        if self._partialSize:
            self._partial.append(data)
            self._partialSize += len(data)
            if self._partialSize < self._needed or self.hasRest:
                return
            data = b"".join(self._partial)
            self._partial.clear()
            self._partialSize = 0
        try:
            self._parse(data)
            if self._held:
                self._tellHeld()
        except RemoteProtocolError as error:
            # A field section that cannot be decoded, or that this codec did not judge.
            raise self._fail(error.h2Code, error.why, error.details) from None

    def resume(self) -> None:
        """
        Go on with what was left for later.

        @raise RemoteProtocolError: As L{receiveData}.
        """
        self.hasRest = False
        self.receiveData(b"")

    def _keep(self, data: bytes, needed: int) -> None:
        self._partial = [data] if data else []
        self._partialSize = len(data)
        self._needed = needed

    def _parse(self, data: bytes) -> None:
        size = len(data)
        position = self._skipPreface(data)
        if position < 0:
            return
        self._budget = _BUDGET
        floods = self._floods
        most, mostAnswers = self.options.maxOutboundFrames, self.options.maxOutboundControlFrames
        handlers, sectionReceived, held = self._handlers, self._sectionReceived, self._held
        while size - position >= 9:
            kind, flags, streamId = _unpackHead(data, position)
            length = kind >> 8
            kind &= 0xFF
            if length > SMALLEST_FRAME:
                raise self._fail(ErrorCode.FRAME_SIZE_ERROR, "a frame longer than SETTINGS_MAX_FRAME_SIZE")
            stop = position + 9 + length
            if stop > size:
                self._keep(data[position:], 9 + length)
                return
            if self._settingsDue and kind != FrameType.SETTINGS:
                raise self._fail(ErrorCode.PROTOCOL_ERROR, "a connection that does not begin with SETTINGS")
            if self._section is not None and kind != FrameType.CONTINUATION:
                raise self._fail(ErrorCode.PROTOCOL_ERROR, "a frame within a field section")
            if held and kind > 1:
                self._tellHeldBefore(kind, streamId & _IDENTIFIER)
            if kind == 1 and (flags == _WHOLE_HEAD or (flags == _WHOLE_SECTION and length)) and streamId & _IDENTIFIER:
                # The usual frame: a whole section.
                floods.emptyFrames = 0
                if flags != _WHOLE_SECTION or not (end := self._takeWhole(data, position, stop, streamId)):
                    sectionReceived(streamId & _IDENTIFIER, data[position + 9 : stop], flags == _WHOLE_HEAD)
                else:
                    stop = end
            elif not kind and held and (end := self._takeHeld(data, position)):
                stop = end
            elif kind < 10:
                handlers[kind](data[position + 9 : stop], flags, streamId & 0x7FFFFFFF)
            elif kind == METADATA and self._metadata is not None:
                self._metadataReceived(self._metadata, data[position + 9 : stop], flags, streamId & _IDENTIFIER)
            position = stop
            if self._isStopped:
                return
            if floods.why or floods.outboundFrames > most or floods.outboundControlFrames > mostAnswers:
                if floods.isExceeded:
                    raise self._fail(ErrorCode.ENHANCE_YOUR_CALM, floods.why, f"http2.{floods.name}")
            self._budget -= 1
            if self._budget <= 0 and position < size:
                self.hasRest = True
                self._keep(data[position:], 9)
                return
        if position < size:
            self._keep(data[position:] if position else data, 9)

    def _skipPreface(self, data: bytes) -> int:
        """
        Where frames begin; below 0 where more of the preface is due.
        """
        return 0

    # Bodies

    def _dataReceived(self, payload: bytes, flags: int, streamId: int) -> None:
        size = len(payload)
        if not streamId:
            raise self._fail(ErrorCode.PROTOCOL_ERROR, "DATA on stream 0")
        if size > self._receiveWindow:
            raise self._fail(ErrorCode.FLOW_CONTROL_ERROR, "DATA beyond the window of the connection")
        self._receiveWindow -= size
        if flags & Flag.PADDED:
            if not payload or payload[0] >= size:
                raise self._fail(ErrorCode.PROTOCOL_ERROR, "padding longer than its frame")
            payload = payload[1 : size - payload[0]]
        ends = bool(flags & Flag.END_STREAM)
        self._floods.received(len(payload), ends)
        stream = self.streams.get(streamId)
        if stream is None:
            self.creditConnection(size)
            if self._isIdle(streamId):
                raise self._fail(ErrorCode.PROTOCOL_ERROR, "DATA on an idle stream")
            self._lateFrame(streamId)
            return
        if not stream.canReceive:
            self.creditConnection(size)
            self.refuse(stream, ErrorCode.STREAM_CLOSED, "DATA on a stream that its sender ended")
            return
        if size > stream.receiveWindow:
            self.creditConnection(size)
            self.refuse(stream, ErrorCode.FLOW_CONTROL_ERROR, "DATA beyond the window of its stream")
            return
        stream.receiveWindow -= size
        if not stream.hasFinalHead and not self.isDownstream:
            self.creditConnection(size)
            self._malformed(
                stream,
                RemoteProtocolError("a body before its head", 502, "http2.violation.of.messaging.rule"),
            )
            return
        length = len(payload)
        if stream.bodyLeft != UNKNOWN_LENGTH:
            stream.bodyLeft -= length
            if stream.bodyLeft < 0 or (ends and stream.bodyLeft):
                self.creditConnection(size)
                self._wrongLength(stream)
                return
        sink = stream.sink
        if ends and stream.canReceive:
            stream.happen(Happening.REMOTE_ENDED)
        if sink is not None and (length or ends):
            sink.dataReceived(payload, ends)
        # What was padding, and what was taken; the sink may have closed the stream.
        stream.received(size)

    # Metadata

    def _metadataReceived(self, reader: MetadataReader, payload: bytes, flags: int, streamId: int) -> None:
        """
        As in Envoy, it counts for nothing on streams that have not begun, or are over.
        """
        self._floods.received(len(payload), flags & END_METADATA)
        reader.keep(self.streams)
        stream = self.streams.get(streamId)
        if stream is None or not stream.canReceive:
            return
        fields = reader.read(streamId, payload, bool(flags & END_METADATA))
        if fields and stream.sink is not None:
            stream.sink.metadataReceived(fields)
        elif not fields and flags & END_METADATA:
            self.counters.metadataEmptyFrames.value += 1

    def creditConnection(self, size: int) -> None:
        """
        Let the peer send as many bytes more, on any stream.
        """
        self._uncredited += size
        # When the peer has no more left than this: half of the window, or less where streams that nobody reads hold the
        # rest. To wait for half of it then would be for ever.
        if self._uncredited >= self._receiveWindow and not self._isStopped:
            self._receiveWindow += self._uncredited
            self.sendWindowUpdate(0, self._uncredited)
            self._uncredited = 0

    # Messages that come whole

    def _takeWhole(self, data: bytes, position: int, stop: int, streamId: int) -> int:
        """
        Take a head and what follows it at once, if that is a whole message of the usual kind.

        @param position: Where the HEADERS frame begins; C{stop} is where it ends.

        @return: Where the last frame ends that was taken; 0 if none was.
        """
        return 0

    def _takeHeld(self, data: bytes, position: int) -> int:
        """
        Take messages of the usual kind whose heads are held.

        @param position: Where a DATA frame begins, which is here to its end.

        @return: As L{_takeWhole}.
        """
        return 0

    def _tellHeldBefore(self, kind: int, streamId: int) -> None:
        """
        Tell what is held and may be another's business when a frame of this type is received, neither DATA nor HEADERS.
        """

    # Streams

    def _open(self, streamId: int, state: StreamState = StreamState.OPEN) -> CodecStream:
        stream = CodecStream(self, streamId, state, self.peerInitialWindow, self.options.initialStreamWindow)
        self.streams[streamId] = stream
        self.counters.streamsActive.value += 1
        self._floods.openedStreams += 1
        return stream

    def streamClosed(self, stream: CodecStream) -> None:
        """
        A stream came to its end.
        """
        del self.streams[stream.id]
        # They refer to each other: without this, both would wait for the garbage collector.
        stream.sink = None
        self.counters.streamsActive.value -= 1
        self._ended.append(stream.id)
        if self.flushing and stream in self.flushing:
            self.flushing.pop(stream)()
