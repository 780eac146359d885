# -*- test-case-name: tests.codec.http2.test_connection -*-
"""
What both roles of an HTTP/2 connection have in common: frames come in and are judged, frames go out together.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from typing import Any

from meshproxy.codec.http2.floods import Floods
from meshproxy.codec.http2.frames import ErrorCode, Flag, FrameType, Setting, encodeFrame, encodeSettings, frameHead
from meshproxy.codec.http2.hpack import Decoder, Encoder, Field
from meshproxy.codec.http2.interfaces import Http2Counters, Http2Options
from meshproxy.codec.http2.messages import trailersFrom
from meshproxy.codec.http2.states import Happening, StreamState
from meshproxy.codec.http2.stream import UNKNOWN_LENGTH, CodecStream
from meshproxy.errors import RemoteProtocolError
from meshproxy.headers import HeaderMap

__all__ = ["ConnectionCodec"]

# Length and type of a frame in one number, its flags, its stream.
_unpackHead = struct.Struct(">LBL").unpack_from
# How many trailers are remembered by their bytes, and how long those are at most.
_MOST_TRAILERS = 32
_LONGEST_TRAILERS = 256

_newMap = HeaderMap.__new__

_WHOLE_HEAD = Flag.END_HEADERS | Flag.END_STREAM
_WHOLE_SECTION = Flag.END_HEADERS
_IDENTIFIER = 0x7FFFFFFF

_packHead = struct.Struct(">LBL").pack
_unpackLong = struct.Struct(">L").unpack_from
_unpackSettings = struct.Struct(">HL").iter_unpack

# RFC 9113, 6.5.2 and 6.9.1.
_DEFAULT_WINDOW = 65535
_LARGEST_WINDOW = 2**31 - 1
_SMALLEST_FRAME = 16384
_LARGEST_FRAME = 2**24 - 1

# Real peers name six; each costs work (CVE-2020-11080).
_MOST_SETTINGS = 32

# How many times the limits a section may be before it is no mistake any more.
_MOST_EXCESS = 8

# How many times what one stream may keep unsent all of a connection may.
_MOST_UNSENT = 4

# What this side has reset may still get what was on its way; so many of those are kept in mind.
_MOST_RESET = 1000
# And so many of those that ended well, to tell a late frame from one on a stream that was never begun.
_MOST_ENDED = 32

# How much is made into DATA frames at a time; then it is up to the transport whether more follows.
_MOST_EMITTED = 131072

# What one call of receiveData works on before others have their turn: a head costs 8, any other frame 1.
_BUDGET = 512
_HEAD_COST = 8


class ConnectionCodec:
    """
    Takes bytes by L{receiveData}, in any split, and tells its sinks what they say. What is to be written comes from
    L{dataToSend}, all of it since the last time in one piece.

    A peer's fault that concerns one stream resets that stream. One that concerns the connection makes L{receiveData}
    raise, then and at each further call; the GOAWAY that says so is in what L{dataToSend} gives.

    @ivar streams: Those that are not closed, by identifier.
    @ivar sendWindow: How many bytes of all streams together may be sent.
    @ivar unsent: How many bytes wait for windows, or for the transport.
    @ivar mostUnsent: How many it may be before no stream may keep as much as it could alone.
    @ivar isCrowded: Whether there were more, and are not fewer than half by now.
    @ivar lastStreamId: The highest identifier that the peer began a stream with.
    @ivar goAwaySent: The last identifier that this side will serve, once it said so.
    @ivar goAwayReceived: The same of the peer.
    @ivar flushing: Streams that their owner is done with while the last bytes wait, and what is called when one is
        closed.
    @ivar outSize: How many bytes are made into frames and were not asked for so far.
    @ivar outLimit: Below how many of them bytes of bodies may be made into frames; 0 while the transport takes no more.
    @ivar templates: See L{Encoder<meshproxy.codec.http2.hpack.Encoder>}.
    @ivar hasRest: Whether L{receiveData} left something for later, so that others have their turn: call L{resume}.
    """

    isDownstream = False

    def __init__(self, sink: Any, options: Http2Options, counters: Http2Counters) -> None:
        self.options = options
        self.counters = counters
        self.streams: dict[int, CodecStream] = {}
        self.sendWindow = _DEFAULT_WINDOW
        self.peerInitialWindow = _DEFAULT_WINDOW
        self.peerMaxFrameSize = _SMALLEST_FRAME
        self.peerMaxStreams = _LARGEST_WINDOW
        self.peerAllowsConnect = False
        self.unsent = 0
        self.mostUnsent = _MOST_UNSENT * options.sendBufferLimit
        self.isCrowded = False
        self.lastStreamId = 0
        self.goAwaySent: int | None = None
        self.goAwayReceived: int | None = None
        self.hasRest = False
        self._sink = sink
        # A request that unfolds to many times of what is allowed is meant to (CVE-2016-6581, CVE-2026-47774): its
        # connection ends. An upstream's ends its stream alone, as any head over the limit does in Envoy.
        excess = _MOST_EXCESS if self.isDownstream else 0
        self._decoder = Decoder(options.hpackTableSize, options.maxHeadBytes, options.maxHeaderCount, excess)
        self._encoder = Encoder(options.hpackTableSize)
        self.templates = self._encoder.templates
        self._floods = Floods(options, counters)
        self._error: RemoteProtocolError | None = None
        self._isStopped = False
        # What came of a frame that is not whole: its pieces, how long they are, and how long it is at least.
        self._partial: list[bytes] = []
        self._partialSize = 0
        self._needed = 0
        self._settingsDue = self._isAnswerDue = True
        # A field section that is not whole: its stream, flags, pieces, how many bytes and how many frames.
        self._section: tuple[int, int] | None = None
        self._sectionParts: list[bytes] = []
        self._sectionSize = 0
        self._knownTrailers: dict[bytes, HeaderMap] = {}
        self._trailersVersion = 0
        self._mostSection = 2 * options.maxHeadBytes + _SMALLEST_FRAME
        self._mostContinuations = 8 + 2 * options.maxHeadBytes // _SMALLEST_FRAME
        self._receiveWindow = options.initialConnectionWindow
        self._uncredited = 0
        # Streams of which something is held that may be told in one with what comes next.
        self._held: dict[int, CodecStream] = {}
        self._budget = _BUDGET
        self._out: list[bytes] = []
        self.outSize = 0
        self.outLimit = _MOST_EMITTED
        # Streams with something that waits; those at the front have waited for longest. Those without credit, their
        # own or the connection's, stand aside.
        self._waiting: dict[CodecStream, None] = {}
        self.flushing: dict[CodecStream, Callable[[], object]] = {}
        self._blocked: dict[CodecStream, None] = {}
        self._unwanted: dict[CodecStream, None] = {}
        self._resetHere: dict[int, None] = {}
        self._ended: deque[int] = deque(maxlen=_MOST_ENDED)
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
        if options.initialConnectionWindow > _DEFAULT_WINDOW:
            self.sendWindowUpdate(0, options.initialConnectionWindow - _DEFAULT_WINDOW)
        else:
            # There is no way to make it smaller than RFC 9113 has it.
            self._receiveWindow = _DEFAULT_WINDOW

    def sendGoAway(self, code: int = ErrorCode.NO_ERROR, lastStreamId: int | None = None) -> None:
        """
        Tell the peer that no stream after C{lastStreamId} is served: by default the last one that came.
        """
        last = self.lastStreamId if lastStreamId is None else lastStreamId
        if self.goAwaySent is not None:
            # RFC 9113, 6.8: the number never grows.
            last = min(last, self.goAwaySent)
        self.goAwaySent = last
        self.counters.goawaySent.value += 1
        self._emit(encodeFrame(FrameType.GOAWAY, 0, 0, struct.pack(">LL", last, code)))

    def stop(self) -> None:
        """
        Read no more: the connection is being closed. What waits is given up.
        """
        self._isStopped = True
        self._waiting.clear()
        self._blocked.clear()

    def drop(self) -> None:
        """
        The connection is gone, and all streams with it. Nobody is told.
        """
        self.stop()
        for stream in list(self.streams.values()):
            stream.sink = None
            stream.dropped()

    @property
    def hasSettings(self) -> bool:
        """
        Whether the peer's first settings came.
        """
        return not self._settingsDue

    @property
    def isWithinSection(self) -> bool:
        """
        Whether a field section began that did not come to its end.
        """
        return self._section is not None

    def _fail(self, code: int, why: str, details: str = "codec_error:protocol_error") -> RemoteProtocolError:
        """
        The peer's fault ends the connection.

        @return: What is to be raised.
        """
        if self._error is None:
            if self._held:
                self._tellHeld()
            self._error = RemoteProtocolError(why, 400, details, code)
            if self._section is not None:
                self._brokenOff(self._section[0])
            self.sendGoAway(code)
            self.stop()
        return self._error

    def _brokenOff(self, streamId: int) -> None:
        """
        The connection fails within a field section.
        """

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
            if length > _SMALLEST_FRAME:
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
            if (
                kind == 1
                and (flags == _WHOLE_HEAD or (flags == _WHOLE_SECTION and length))
                and streamId & _IDENTIFIER
            ):
                # The usual frame: a whole section.
                floods.emptyFrames = 0
                if flags != _WHOLE_SECTION or not (end := self._takeWhole(data, position, stop, streamId)):
                    sectionReceived(streamId & _IDENTIFIER, data[position + 9 : stop], flags == _WHOLE_HEAD)
                else:
                    stop = end
            elif kind < 10:
                handlers[kind](data[position + 9 : stop], flags, streamId & 0x7FFFFFFF)
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

    # Field sections

    def _headersReceived(self, payload: bytes, flags: int, streamId: int) -> None:
        if not streamId:
            raise self._fail(ErrorCode.PROTOCOL_ERROR, "HEADERS on stream 0")
        if flags & (Flag.PADDED | Flag.PRIORITY):
            payload = self._unframed(payload, flags, streamId)
        if flags & Flag.END_HEADERS:
            if flags & Flag.END_STREAM:
                self._floods.emptyFrames = 0
            else:
                self._floods.received(len(payload), False)
            self._sectionReceived(streamId, payload, bool(flags & Flag.END_STREAM))
        else:
            self._floods.received(len(payload), False)
            self._section = (streamId, flags)
            self._sectionParts = [payload]
            self._sectionSize = len(payload)

    def _unframed(self, payload: bytes, flags: int, streamId: int) -> bytes:
        """
        The part of a HEADERS frame that is of the field section.
        """
        start = padding = 0
        if flags & Flag.PADDED:
            if not payload:
                raise self._fail(ErrorCode.FRAME_SIZE_ERROR, "HEADERS too short for its padding's length")
            padding = payload[0]
            start = 1
        if flags & Flag.PRIORITY:
            if len(payload) < start + 5:
                raise self._fail(ErrorCode.FRAME_SIZE_ERROR, "HEADERS too short for its priority")
            if _unpackLong(payload, start)[0] & 0x7FFFFFFF == streamId:
                raise self._fail(ErrorCode.PROTOCOL_ERROR, "a stream that depends on itself")
            start += 5
        stop = len(payload) - padding
        if stop < start:
            raise self._fail(ErrorCode.PROTOCOL_ERROR, "padding longer than its frame")
        return payload[start:stop]

    def _continuationReceived(self, payload: bytes, flags: int, streamId: int) -> None:
        section = self._section
        if section is None or section[0] != streamId:
            raise self._fail(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")
        ends = flags & Flag.END_HEADERS
        self._floods.received(len(payload), ends)
        parts = self._sectionParts
        parts.append(payload)
        self._sectionSize += len(payload)
        # A section far longer than what it may decode to need not be looked at; nor need one in crumbs (CVE-2024-27919,
        # CVE-2024-30255, also on streams that are closed already: CVE-2024-28182).
        if self._sectionSize > self._mostSection or len(parts) > self._mostContinuations:
            # Without a look into it: a long one is over the one limit, one in many pieces is as good as over the other.
            tooLong = self._sectionSize > self._mostSection
            self._overflowed(not tooLong)
            details = "http2.header_list_size_too_large" if tooLong else "http2.too_many_headers"
            raise self._fail(ErrorCode.ENHANCE_YOUR_CALM, "a field section that does not end", details)
        if ends:
            self._section = None
            self._sectionParts = []
            self._sectionReceived(streamId, b"".join(parts), bool(section[1] & Flag.END_STREAM))

    def _sectionReceived(self, streamId: int, block: bytes, endStream: bool) -> None:
        """
        A whole field section came.
        """
        raise NotImplementedError

    def _decode(self, block: bytes) -> list[Field]:
        decoder = self._decoder
        # A long one takes longer.
        self._budget -= len(block) >> 8
        try:
            return decoder.decode(block)
        finally:
            if decoder.overflowed:
                self._overflowed(decoder.tooMany)

    def _overflowed(self, tooMany: bool) -> None:
        """
        Count a section over the limits.
        """
        counters = self.counters
        (counters.headerOverflow if tooMany else counters.headerListSizeTooLarge).value += 1

    def _dropSection(self, streamId: int, block: bytes) -> None:
        """
        A section on a stream that is not open any more.
        """
        self._decode(block)
        if streamId not in self._resetHere:
            self._lateFrame(streamId)

    def _lateFrame(self, streamId: int) -> None:
        """
        A frame on a stream that is no more.

        @raise RemoteProtocolError: If it cannot have been on its way when this side reset the stream.
        """
        if streamId in self._resetHere:
            return
        if streamId in self._ended:
            raise self._fail(ErrorCode.STREAM_CLOSED, "a frame on a closed stream")
        raise self._fail(ErrorCode.PROTOCOL_ERROR, "a frame on a stream that was never begun")

    def _trailersReceived(self, stream: CodecStream, block: bytes, endStream: bool) -> None:
        """
        A second section on a stream.
        """
        trailers = self._recallTrailers(block)
        before = self._decoder.version
        fields = [] if trailers is not None else self._decode(block)
        if not stream.canReceive:
            self.refuse(stream, ErrorCode.STREAM_CLOSED, "HEADERS on a stream that its sender ended")
            return
        self.counters.trailers.value += 1
        try:
            if not endStream:
                raise RemoteProtocolError("trailers without END_STREAM", 400, "http2.violation.of.messaging.rule")
            if trailers is None and self._decoder.overflowed:
                self._tooLarge(stream, "trailers over the limit")
                return
            if stream.bodyLeft > 0:
                self._wrongLength(stream)
                return
            if trailers is None:
                trailers = trailersFrom(fields)
                if before == self._decoder.version and len(block) <= _LONGEST_TRAILERS:
                    self._rememberTrailers(block, trailers)
        except RemoteProtocolError as error:
            self._malformed(stream, error)
            return
        sink = stream.sink
        stream.happen(Happening.REMOTE_ENDED)
        if sink is not None:
            sink.trailersReceived(trailers)

    def _recallTrailers(self, block: bytes) -> HeaderMap | None:
        """
        The trailers of a section like one before.
        """
        known = self._knownTrailers.get(block)
        if known is None or self._trailersVersion != self._decoder.version:
            return None
        trailers = _newMap(HeaderMap)
        trailers.first = known.first.copy()
        trailers.more = None
        return trailers

    def _rememberTrailers(self, block: bytes, trailers: HeaderMap) -> None:
        known, version = self._knownTrailers, self._decoder.version
        if self._trailersVersion != version or len(known) >= _MOST_TRAILERS:
            known.clear()
            self._trailersVersion = version
        if trailers.more is None:
            known[block] = trailers.copy()

    def _malformed(self, stream: CodecStream, error: RemoteProtocolError) -> None:
        """
        A message that breaks RFC 9113, 8: the end of its stream or, as in Envoy, of the connection.
        """
        self.counters.rxMessagingError.value += 1
        if self.options.streamErrorOnInvalidMessage:
            self.refuse(stream, ErrorCode.PROTOCOL_ERROR, error.why)
        else:
            raise self._fail(ErrorCode.PROTOCOL_ERROR, error.why, error.details)

    def _wrongLength(self, stream: CodecStream) -> None:
        """
        A body that is not as long as its content-length: as in Envoy the end of its stream, whatever the options say of
        malformed messages.
        """
        self.counters.rxMessagingError.value += 1
        self.refuse(stream, ErrorCode.PROTOCOL_ERROR, "a body that is not as long as its content-length")

    def _tooLarge(self, stream: CodecStream, why: str) -> None:
        """
        A section over the limits is not wrong, but not wanted. Code and reason are Envoy's.
        """
        sink = stream.sink
        stream.reset(ErrorCode.INTERNAL_ERROR)
        if sink is not None:
            sink.streamReset(ErrorCode.INTERNAL_ERROR, True, why)

    def refuse(self, stream: CodecStream, code: int, why: str) -> None:
        """
        Reset a stream for a fault of the peer, and tell its sink.
        """
        sink = stream.sink
        stream.reset(code)
        if sink is not None:
            sink.streamReset(code, False, why)

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

    def _isIdle(self, streamId: int) -> bool:
        """
        Whether nobody began this stream so far.
        """
        raise NotImplementedError

    def _takeWhole(self, data: bytes, position: int, stop: int, streamId: int) -> int:
        """
        Take a head and what follows it at once, if that is a whole message of the usual kind.

        @param position: Where the HEADERS frame begins; C{stop} is where it ends.

        @return: Where the last frame ends; 0 if nothing was taken.
        """
        return 0

    def _tellHeld(self) -> None:
        """
        Tell what is held: nothing comes that it could be told with.
        """

    def _tellHeldBefore(self, kind: int, streamId: int) -> None:
        """
        Tell what is held and may be another's business when a frame of this type is received, neither DATA nor HEADERS.
        """

    # Other frames

    def _priorityReceived(self, payload: bytes, flags: int, streamId: int) -> None:
        """
        Priorities of RFC 7540 are not acted on (RFC 9113, 5.3.2), but must be legal.
        """
        if not streamId:
            raise self._fail(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0")
        if len(payload) != 5:
            raise self._fail(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY that is not 5 bytes long")
        if _unpackLong(payload)[0] & 0x7FFFFFFF == streamId:
            raise self._fail(ErrorCode.PROTOCOL_ERROR, "a stream that depends on itself")
        self._floods.priorityReceived()

    def _resetReceived(self, payload: bytes, flags: int, streamId: int) -> None:
        if len(payload) != 4:
            raise self._fail(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM that is not 4 bytes long")
        if self._isIdle(streamId):
            raise self._fail(ErrorCode.PROTOCOL_ERROR, "RST_STREAM on an idle stream")
        stream = self.streams.get(streamId)
        if stream is None and self._resetHere.pop(streamId, self) is None:
            # Both sides reset it; what comes after the peer's own is no longer on its way.
            self._ended.append(streamId)
        if stream is not None:
            self.counters.rxReset.value += 1
            sink = stream.sink
            stream.sink = None
            stream.dropped()
            if sink is not None:
                sink.streamReset(_unpackLong(payload)[0], True, "")

    def _settingsReceived(self, payload: bytes, flags: int, streamId: int) -> None:
        if streamId:
            raise self._fail(ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & Flag.ACK:
            if payload:
                raise self._fail(ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement with settings")
            if self._settingsDue or not self._isAnswerDue:
                # As in Envoy, also one too many: this side sends its settings once.
                raise self._fail(ErrorCode.PROTOCOL_ERROR, "an acknowledgement of no SETTINGS")
            self._isAnswerDue = False
            return
        if len(payload) % 6:
            raise self._fail(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS of an odd length")
        if len(payload) > 6 * _MOST_SETTINGS:
            raise self._fail(ErrorCode.ENHANCE_YOUR_CALM, "too many settings in one frame")
        self._settingsDue = False
        for name, value in _unpackSettings(payload):
            self._set(name, value)
        self._emitAnswer(b"\0\0\0\4\1\0\0\0\0")
        self._sink.settingsReceived()

    def _set(self, name: int, value: int) -> None:
        if name == Setting.HEADER_TABLE_SIZE:
            self._encoder.peerAllows(value)
        elif name == Setting.ENABLE_PUSH:
            # RFC 9113, 6.5.2: a server may say no other than 0.
            if value > (1 if self.isDownstream else 0):
                raise self._fail(ErrorCode.PROTOCOL_ERROR, "an illegal SETTINGS_ENABLE_PUSH")
        elif name == Setting.MAX_CONCURRENT_STREAMS:
            self.peerMaxStreams = value
        elif name == Setting.INITIAL_WINDOW_SIZE:
            self._setInitialWindow(value)
        elif name == Setting.MAX_FRAME_SIZE:
            if not _SMALLEST_FRAME <= value <= _LARGEST_FRAME:
                raise self._fail(ErrorCode.PROTOCOL_ERROR, "an illegal SETTINGS_MAX_FRAME_SIZE")
            # Larger frames would let one stream keep the others waiting.
        elif name == Setting.ENABLE_CONNECT_PROTOCOL:
            if value > 1 or (self.peerAllowsConnect and not value):
                raise self._fail(ErrorCode.PROTOCOL_ERROR, "an illegal SETTINGS_ENABLE_CONNECT_PROTOCOL")
            self.peerAllowsConnect = bool(value)

    def _setInitialWindow(self, value: int) -> None:
        if value > _LARGEST_WINDOW:
            raise self._fail(ErrorCode.FLOW_CONTROL_ERROR, "an illegal SETTINGS_INITIAL_WINDOW_SIZE")
        change = value - self.peerInitialWindow
        self.peerInitialWindow = value
        if change:
            # Each stream costs a little, so others have their turn sooner.
            self._budget -= len(self.streams) >> 3
            for stream in self.streams.values():
                stream.sendWindow += change
                if stream.sendWindow > _LARGEST_WINDOW:
                    raise self._fail(
                        ErrorCode.FLOW_CONTROL_ERROR, "SETTINGS_INITIAL_WINDOW_SIZE makes a window too large"
                    )
            self._waiting.update(self._blocked)
            self._blocked.clear()

    def _pushReceived(self, payload: bytes, flags: int, streamId: int) -> None:
        raise self._fail(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE, which nobody may send here")

    def _pingReceived(self, payload: bytes, flags: int, streamId: int) -> None:
        if streamId:
            raise self._fail(ErrorCode.PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise self._fail(ErrorCode.FRAME_SIZE_ERROR, "PING that is not 8 bytes long")
        if flags & Flag.ACK:
            self._sink.pingAnswered(payload)
        else:
            self._emitAnswer(encodeFrame(FrameType.PING, Flag.ACK, 0, payload))

    def _goAwayReceived(self, payload: bytes, flags: int, streamId: int) -> None:
        if streamId:
            raise self._fail(ErrorCode.PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(payload) < 8:
            raise self._fail(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY of less than 8 bytes")
        last, code = struct.unpack_from(">LL", payload)
        last &= 0x7FFFFFFF
        if self.goAwayReceived is not None and last > self.goAwayReceived:
            # RFC 9113, 6.8: what was not served before may have been tried elsewhere.
            raise self._fail(ErrorCode.PROTOCOL_ERROR, "a GOAWAY that takes back another one")
        self.goAwayReceived = last
        self._peerGoesAway(last)
        self._sink.goAwayReceived(last, code, payload[8:])

    def _peerGoesAway(self, lastStreamId: int) -> None:
        """
        The peer serves nothing after this stream.
        """

    def _windowUpdateReceived(self, payload: bytes, flags: int, streamId: int) -> None:
        if len(payload) != 4:
            raise self._fail(ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE that is not 4 bytes long")
        increment = _unpackLong(payload)[0] & 0x7FFFFFFF
        self._floods.windowUpdateReceived()
        if not streamId:
            self.sendWindow += increment
            if not increment or self.sendWindow > _LARGEST_WINDOW:
                code = ErrorCode.FLOW_CONTROL_ERROR if increment else ErrorCode.PROTOCOL_ERROR
                raise self._fail(code, "an illegal WINDOW_UPDATE of the connection")
            self._waiting.update(self._blocked)
            self._blocked.clear()
            return
        stream = self.streams.get(streamId)
        if stream is None:
            if self._isIdle(streamId):
                raise self._fail(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE on an idle stream")
            return
        stream.sendWindow += increment
        if not increment or stream.sendWindow > _LARGEST_WINDOW:
            code = ErrorCode.FLOW_CONTROL_ERROR if increment else ErrorCode.PROTOCOL_ERROR
            self.refuse(stream, code, "an illegal WINDOW_UPDATE")
        elif stream in self._blocked:
            del self._blocked[stream]
            self._waiting[stream] = None

    # Bytes go out

    @property
    def mayEmit(self) -> bool:
        """
        Whether bytes of bodies may be made into frames now.
        """
        return self.outSize < self.outLimit

    def pauseSending(self) -> None:
        """
        The transport takes no more: bodies wait, each in its stream.
        """
        self.outLimit = 0

    def resumeSending(self) -> None:
        """
        The transport is empty again; L{dataToSend} gives what waited.
        """
        self.outLimit = _MOST_EMITTED

    @property
    def outboundFrames(self) -> int:
        """
        How many frames went out since L{sent} was called last.
        """
        return self._floods.outboundFrames

    def sent(self) -> None:
        """
        The transport holds nothing back any more.
        """
        self._floods.sent()

    def dataToSend(self) -> bytes:
        """
        What is to be written now; nothing where nothing is. There may be more at once, so ask until there is not.
        """
        if self._unwanted:
            self._resetUnwanted()
        if self._waiting and self.mayEmit:
            self._emitWaiting()
        out = self._out
        if not out:
            return b""
        data = b"".join(out) if len(out) > 1 else out[0]
        out.clear()
        self.outSize = 0
        return data

    def _emitWaiting(self) -> None:
        """
        Let the streams that wait send in turns, a frame each.
        """
        waiting = self._waiting
        drained = []
        while waiting and self.outSize < _MOST_EMITTED:
            stream = next(iter(waiting))
            del waiting[stream]
            goesOn = stream.emitQueued()
            if stream.isDrained:
                drained.append(stream)
            if goesOn:
                waiting[stream] = None
            elif stream.unsent:
                self._blocked[stream] = None
        for stream in drained:
            if stream.sink is not None:
                stream.sink.resumeSending()

    def callOff(self, stream: CodecStream) -> None:
        """
        A response was sent before its request's end, of which nobody wants the rest (RFC 9113, 8.1). It may be here
        already, so it is called off with the next write only.
        """
        self._unwanted[stream] = None

    def _resetUnwanted(self) -> None:
        unwanted, self._unwanted = self._unwanted, {}
        for stream in unwanted:
            stream.reset(ErrorCode.NO_ERROR)

    def wait(self, stream: CodecStream) -> None:
        """
        A stream has something that could not be sent at once.
        """
        self._waiting[stream] = None

    def crowd(self) -> None:
        """
        More waits than is to be kept for a peer that gives no credit, or does not read.
        """
        self.isCrowded = True
        for stream in list(self.streams.values()):
            stream.crowd()

    def forget(self, stream: CodecStream) -> None:
        """
        What it had is dropped.
        """
        self._waiting.pop(stream, None)
        self._blocked.pop(stream, None)

    def _emit(self, data: bytes) -> None:
        self._out.append(data)
        self.outSize += len(data)
        self._floods.outboundFrames += 1

    def _emitAnswer(self, data: bytes) -> None:
        """
        Send a frame that the peer may ask for as often as it likes.
        """
        self._emit(data)
        self._floods.outboundControlFrames += 1

    def emitData(self, data: bytes) -> None:
        """
        Send a DATA frame.
        """
        self._emit(data)
        self._floods.outboundDataFrames += 1

    def sendBlock(
        self, streamId: int, fields: tuple[Field, ...], endStream: bool, key: tuple[object, ...] = ()
    ) -> None:
        """
        Send a field section.

        @param key: What it can be recalled by.
        """
        self.emitSection(streamId, self._encoder.encode(fields, key), endStream)

    def emitSection(self, streamId: int, block: bytes, endStream: bool) -> None:
        """
        Send a field section that is encoded.
        """
        size = len(block)
        flags = Flag.END_STREAM if endStream else 0
        if size <= self.peerMaxFrameSize:
            self._emit(frameHead(size, FrameType.HEADERS, flags | Flag.END_HEADERS, streamId) + block)
            return
        kind = FrameType.HEADERS
        for start in range(0, size, self.peerMaxFrameSize):
            piece = block[start : start + self.peerMaxFrameSize]
            if start + len(piece) == size:
                flags |= Flag.END_HEADERS
            self._emit(encodeFrame(kind, flags, streamId, piece))
            kind = FrameType.CONTINUATION
            flags = 0

    def recall(self, key: tuple[object, ...]) -> bytes | None:
        """
        The bytes of a field section that was sent before with this key and is the same now.
        """
        block = self._encoder.recall(key)
        return block if block is not None and len(block) <= self.peerMaxFrameSize else None

    def emitResponse(self, streamId: int, block: bytes, body: bytes) -> None:
        """
        Send HEADERS, and DATA that ends the stream.
        """
        size, length = len(block), len(body)
        # A type of frame is the byte behind its length. The pieces are joined once, with all that leaves together.
        self._out += (_packHead(size << 8 | 1, 4, streamId), block, _packHead(length << 8, 1, streamId), body)
        self.outSize += size + length + 18
        floods = self._floods
        floods.outboundFrames += 2
        floods.outboundDataFrames += 1

    def emitAnswer(self, streamId: int, block: bytes, message: bytes, trailers: bytes) -> None:
        """
        Send HEADERS, DATA, and the HEADERS that end a response.
        """
        size, length, last = len(block), len(message), len(trailers)
        self._out += (
            _packHead(size << 8 | 1, 4, streamId),
            block,
            _packHead(length << 8, 0, streamId),
            message,
            _packHead(last << 8 | 1, 5, streamId),
            trailers,
        )
        self.outSize += size + length + last + 27
        floods = self._floods
        floods.outboundFrames += 3
        floods.outboundDataFrames += 1

    def sendReset(self, streamId: int, code: int) -> None:
        """
        Send RST_STREAM; what comes for that stream later is overlooked.
        """
        self.counters.txReset.value += 1
        self._emitAnswer(encodeFrame(FrameType.RST_STREAM, 0, streamId, struct.pack(">L", code)))
        self._overlook(streamId)

    def _overlook(self, streamId: int) -> None:
        """
        What still comes for a stream is no fault of the peer.
        """
        resetHere = self._resetHere
        if len(resetHere) >= _MOST_RESET:
            del resetHere[next(iter(resetHere))]
        resetHere[streamId] = None

    def sendWindowUpdate(self, streamId: int, increment: int) -> None:
        """
        Give the peer credit.
        """
        self._emit(encodeFrame(FrameType.WINDOW_UPDATE, 0, streamId, struct.pack(">L", increment)))

    def sendPing(self, opaque: bytes) -> None:
        """
        Ask whether the peer is there; the sink is told of the answer.

        @param opaque: Eight bytes.
        """
        self._emit(encodeFrame(FrameType.PING, 0, 0, opaque))

    # Streams

    def _open(self, streamId: int, state: StreamState = StreamState.OPEN) -> CodecStream:
        stream = CodecStream(self, streamId, state)
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

    def isHeldBack(self, stream: CodecStream) -> bool:
        """
        Whether it is for want of credit that a stream's bytes wait, and not for the transport.
        """
        return stream in self._blocked or stream.sendWindow <= 0 or self.sendWindow <= 0
