# -*- test-case-name: tests.codec.http2.test_downstream -*-
"""
The server's role: requests come in, responses go out.
"""

from __future__ import annotations

import struct

from meshproxy.codec.http1.serialize import DECIMAL
from meshproxy.codec.http2.frames import (
    PREFACE,
    SMALLEST_FRAME,
    ErrorCode,
    Flag,
    FrameType,
    Setting,
    frameHead,
    packSection,
)
from meshproxy.codec.http2.hpack import Field
from meshproxy.codec.http2.interfaces import Http2Counters, Http2Options, IDownstreamSink
from meshproxy.codec.http2.messages import UNDERSCORE, requestFrom
from meshproxy.codec.http2.paths import PathShape
from meshproxy.codec.http2.shapes import RequestShape, cut, shapeOf
from meshproxy.codec.http2.states import Happening, StreamState
from meshproxy.codec.http2.stream import UNKNOWN_LENGTH, CodecStream
from meshproxy.codec.http2.templates import keyOf
from meshproxy.codec.http2.whole import WholeCodec
from meshproxy.errors import RemoteProtocolError
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders

__all__ = ["DownstreamCodec"]

_newRequest = RequestHeaders.__new__

# Length and type of a frame in one number, its flags, its stream.
_frame = struct.Struct(">LBL")
_unpackFrame = _frame.unpack_from
_packFrame = _frame.pack

# The last identifier that there is, and the flags of the one DATA frame of a call.
_LAST_ID = 2**31 - 1
_ENDS = 1

_OPEN = StreamState.OPEN
_HALF_CLOSED = StreamState.HALF_CLOSED_REMOTE
_CLOSED = StreamState.CLOSED

_DEFAULTS = Http2Options()

# How many heads are remembered by their bytes, and how long those are at most.
_MOST_REMEMBERED = 64
_LONGEST_REMEMBERED = 512
_MOST_SHAPES = 16

_HEAD_COST = 8


class _CallShape:
    """
    How the HEADERS frame of a request looks whose head is like one before, and which a body follows.

    @ivar head: That head.
    @ivar length: How long it says that the body is, or L{UNKNOWN_LENGTH}.
    @ivar begin: Length, type and flags of the frame.
    @ivar unpack: Parts it into these, its stream, and its section.
    @ivar reach: How long it is.
    """

    __slots__ = ("begin", "head", "length", "reach", "unpack")

    def __init__(self, block: bytes, head: RequestHeaders) -> None:
        parts = struct.Struct(f">5sL{len(block)}s")
        self.head = head
        self.length = int(head.first.get(b"content-length", UNKNOWN_LENGTH))
        self.begin = frameHead(len(block), FrameType.HEADERS, Flag.END_HEADERS, 0)[:5]
        self.unpack = parts.unpack_from
        self.reach = parts.size


class DownstreamCodec(WholeCodec):
    """
    Reads requests and writes their responses, on as many streams as the options allow at a time.

    A client's requests look alike: the head that the same bytes gave before, while the dynamic table is the same, is
    taken from memory; so is that of bytes which differ in a few literals only.
    """

    isDownstream = True

    def __init__(
        self, sink: IDownstreamSink, options: Http2Options = _DEFAULTS, counters: Http2Counters | None = None
    ) -> None:
        super().__init__(sink, options, counters or Http2Counters())
        self._callReceived = sink.callReceived
        self._prefaceLeft = PREFACE
        self._known: dict[bytes, RequestHeaders] = {}
        # Heads that tell the length of a body, and are wrong where there is none.
        self._knownWithLength: dict[bytes, RequestHeaders] = {}
        # Those of both kinds that a body may follow.
        self._calls: dict[bytes, _CallShape] = {}
        self._knownVersion = 0
        self._shapes: dict[bytes, RequestShape] = {}
        # That of the last section that had one.
        self._pathShape: PathShape | None = None
        self._once: set[bytes] = set()
        settings = [(Setting.MAX_CONCURRENT_STREAMS, options.maxConcurrentStreams)]
        if options.allowConnect:
            settings.append((Setting.ENABLE_CONNECT_PROTOCOL, 1))
        self._announce(b"", settings)

    def drop(self) -> None:
        """
        See L{ConnectionCodec.drop}.
        """
        super().drop()
        self._callReceived = self._sink.callReceived

    def _skipPreface(self, data: bytes) -> int:
        left = self._prefaceLeft
        if not left:
            return 0
        if len(data) < len(left):
            if not left.startswith(data):
                raise self._fail(ErrorCode.PROTOCOL_ERROR, "no HTTP/2 connection preface")
            self._prefaceLeft = left[len(data) :]
            return -1
        if not data.startswith(left):
            raise self._fail(ErrorCode.PROTOCOL_ERROR, "no HTTP/2 connection preface")
        self._prefaceLeft = b""
        return len(left)

    def _isIdle(self, streamId: int) -> bool:
        return streamId > self.lastStreamId or not streamId & 1

    def _sectionReceived(self, streamId: int, block: bytes, endStream: bool) -> None:
        if streamId <= self.lastStreamId and streamId in self.streams:
            stream = self.streams[streamId]
            if stream.head is not None:
                self._tell(stream)
            self._trailersReceived(stream, block, endStream)
            return
        self._budget -= _HEAD_COST
        if not streamId & 1:
            raise self._fail(ErrorCode.PROTOCOL_ERROR, "a client's stream with an even identifier")
        if streamId <= self.lastStreamId:
            self._dropSection(streamId, block)
            return
        self.lastStreamId = streamId
        decoder = self._decoder
        headers = self._recall(block, endStream) if self._knownVersion == decoder.version else None
        protocol = b""
        if headers is None:
            taken = self._headOf(streamId, block, endStream)
            if taken is None:
                return
            headers, protocol = taken
        if self.goAwaySent is not None and streamId > self.goAwaySent:
            # RFC 9113, 6.8: it was told that this one is not served.
            self._overlook(streamId)
            return
        if len(self.streams) >= self.options.maxConcurrentStreams and self._held:
            # Some of them may end on being told.
            self._tellHeld()
        if len(self.streams) >= self.options.maxConcurrentStreams:
            self.counters.streamRefusedErrors.value += 1
            self.sendReset(streamId, ErrorCode.REFUSED_STREAM)
            return
        stream = CodecStream(
            self,
            streamId,
            _HALF_CLOSED if endStream else _OPEN,
            self.peerInitialWindow,
            self.options.initialStreamWindow,
        )
        self.streams[streamId] = stream
        self.counters.streamsActive.value += 1
        self._floods.openedStreams += 1
        if protocol:
            stream.protocol = protocol
        if not endStream and b"content-length" in headers.first:
            stream.bodyLeft = int(headers.first[b"content-length"])
        if not endStream and not protocol and self.takesCalls:
            self._hold(stream, headers)
            return
        self._sink.requestReceived(stream, headers, endStream)

    def _tellHead(self, stream: CodecStream, head: RequestHeaders) -> None:
        # One that was dropped meanwhile is nobody's.
        if stream.state is not _CLOSED:
            self._sink.requestReceived(stream, head, False)

    def _takeWhole(self, data: bytes, position: int, stop: int, streamId: int) -> int:
        # Heads of calls, each the same as one before. Where many calls are under way, they come one behind the other.
        block = data[position + 9 : stop]
        call = self._calls.get(block)
        if (
            call is None
            or self._knownVersion != self._decoder.version
            or self.goAwaySent is not None
            or not self.takesCalls
        ):
            return 0
        begin, unpack, reach, bodyLeft, like = call.begin, call.unpack, call.reach, call.length, call.head
        held, streams, most, last = self._held, self.streams, self.options.maxConcurrentStreams, self.lastStreamId
        method, path, authority, scheme, copy = like.method, like.path, like.authority, like.scheme, like.first.copy
        latest, taken, end = len(data) - reach, 0, 0
        most = min(most - len(streams), self._budget // _HEAD_COST)
        sendWindow, receiveWindow = self.peerInitialWindow, self.options.initialStreamWindow
        while taken < most and position <= latest:
            start, streamId, section = unpack(data, position)
            if start != begin or section != block or not last < streamId <= _LAST_ID or not streamId & 1:
                break
            last = streamId
            stream = streams[streamId] = held[streamId] = CodecStream(self, streamId, _OPEN, sendWindow, receiveWindow)
            stream.bodyLeft = bodyLeft
            stream.head = headers = _newRequest(RequestHeaders)
            headers.method = method
            headers.path = path
            headers.authority = authority
            headers.scheme = scheme
            headers.first = copy()
            headers.more = None
            taken += 1
            position = end = position + reach
        self.lastStreamId = last
        self._budget -= _HEAD_COST * taken
        self.counters.streamsActive.value += taken
        self._floods.openedStreams += taken
        return end

    def _takeHeld(self, data: bytes, position: int) -> int:
        # Each the only DATA frame of a call. What becomes of calls that are not taken in one step may be more than the
        # next of them can do without being looked at.
        held, callReceived, size = self._held, self._callReceived, len(data)
        # Nothing but heads came on streams that are held.
        longest = min(SMALLEST_FRAME, self.options.initialStreamWindow)
        budget, latest, end = self._budget, size - 9, 0
        while budget > 0 and position <= latest:
            measure, flags, streamId = _unpackFrame(data, position)
            if measure & 0xFF or flags != _ENDS or streamId not in held:
                break
            stream = held[streamId]
            length = measure >> 8
            position += 9
            stop = position + length
            if (
                stop > size
                or not length
                or length > longest
                or length > self._receiveWindow
                or (stream.bodyLeft != length and stream.bodyLeft != UNKNOWN_LENGTH)
                or stream.state is not _OPEN
            ):
                break
            del held[streamId]
            headers, stream.head = stream.head, None
            message = data[position:stop]
            position = end = stop
            budget -= 1
            if callReceived(stream, headers, message):
                self._receiveWindow -= length
                # No more can come on it: what is left of its own window does not matter.
                if stream.state is _OPEN:
                    stream.state = _HALF_CLOSED
                elif stream.canReceive:
                    stream.happen(Happening.REMOTE_ENDED)
                if stream._isPaused:
                    stream.received(length)
                else:
                    self._uncredited += length
                    if self._uncredited >= self._receiveWindow:
                        self.creditConnection(0)
            else:
                if not self._isStopped:
                    self._dataReceived(message, flags, streamId)
                break
        if end:
            self._floods.emptyFrames = 0
            self._budget = budget
        return end

    def _dataReceived(self, payload: bytes, flags: int, streamId: int) -> None:
        if streamId in self._held:
            self._tell(self._held[streamId])
            if self._isStopped:
                return
        super()._dataReceived(payload, flags, streamId)

    def answer(self, stream: CodecStream, headers: ResponseHeaders, message: bytes, trailers: HeaderMap) -> None:
        """
        Send the answer to a call: the same as L{CodecStream.sendHeaders}, L{CodecStream.sendData} and
        L{CodecStream.sendTrailers}. One whose sections are like others before, to a call that is over, goes a shorter
        way.

        @raise LocalProtocolError: If it cannot be written.
        """
        length = len(message)
        told = DECIMAL[length]
        first = headers.first
        longest = self.peerMaxFrameSize
        key: tuple[object, ...] = ()
        if (
            stream.state is _HALF_CLOSED
            and headers.more is None
            and trailers.more is None
            and not stream.protocol
            and length <= stream.sendWindow
            and length <= self.sendWindow
            and length <= longest
            and first.get(b"content-length", told) == told
            and self.outSize < self.outLimit
        ):
            key = keyOf(headers.status, first)
            template = self.templates.get(key)
            block = None if template is None else template.fill(first)
            recall, last = self.recall, 0
            # Trailers are recalled by their fields.
            end = recall(tuple(trailers.first.items())) if block is not None and trailers.first else None
            if block is not None and end is not None and (last := len(end)) <= longest:
                streamId, size = stream.id, len(block)
                self.sendWindow -= length
                # A type of frame is the byte behind its length. The pieces are joined once, with all that leaves
                # together.
                self._out += (
                    packSection[size](size << 8 | 1, 4, streamId, block, length << 8, 0, streamId),
                    message,
                    _packFrame(last << 8 | 1, 5, streamId),
                    end,
                )
                self.outSize += size + length + last + 27
                floods = self._floods
                floods.outboundFrames += 3
                floods.outboundDataFrames += 1
                stream.state = _CLOSED
                if stream._owed:
                    stream.creditAll()
                # What streamClosed does.
                stream.sink = None
                del self.streams[streamId]
                self.counters.streamsActive.value -= 1
                self._ended.append(streamId)
                if self.flushing and stream in self.flushing:
                    self.flushing.pop(stream)()
                return
        stream.sendHeaders(headers, False, key)
        stream.sendData(message, False)
        stream.sendTrailers(trailers)

    def _recall(self, block: bytes, endStream: bool) -> RequestHeaders | None:
        """
        The head of a section like one before.
        """
        if self._pathShape is not None:
            headers = self._pathShape.take(block)
            if headers is not None:
                return headers
        known = self._known.get(block)
        if known is None and not endStream:
            known = self._knownWithLength.get(block)
        if known is None:
            if not self._shapes or (pieces := cut(block)) is None:
                return None
            shape = self._shapes.get(pieces[0])
            if shape is None:
                return None
            self._pathShape = shape.ofPath
            return shape.fill(pieces[1])
        headers = _newRequest(RequestHeaders)
        headers.method = known.method
        headers.path = known.path
        headers.authority = known.authority
        headers.scheme = known.scheme
        headers.first = known.first.copy()
        headers.more = None
        return headers

    def _headOf(self, streamId: int, block: bytes, endStream: bool) -> tuple[RequestHeaders, bytes] | None:
        """
        The head of a request; L{None} where it was refused.
        """
        decoder = self._decoder
        before = decoder.version
        try:
            fields = self._decode(block)
        except RemoteProtocolError as error:
            self._sink.requestRefused(streamId, None, error)
            raise
        if decoder.overflowed:
            details = "http2.too_many_headers" if decoder.tooMany else "http2.header_list_size_too_large"
            self._refuseHead(streamId, RemoteProtocolError("a head over the limit", 431, details, 2))
            return None
        try:
            headers, protocol = requestFrom(fields, self.options, self.counters)
            if endStream and headers.first.get(b"content-length", b"0").strip(b"0"):
                raise RemoteProtocolError("no body, but a content-length", 400, "http2.violation.of.messaging.rule")
        except RemoteProtocolError as error:
            if error.details == UNDERSCORE:
                self._refuseHead(streamId, error)
                return None
            self.counters.rxMessagingError.value += 1
            if not self.options.streamErrorOnInvalidMessage:
                self._sink.requestRefused(streamId, None, error)
                raise
            self.sendReset(streamId, ErrorCode.PROTOCOL_ERROR)
            self._sink.requestRefused(streamId, None, error)
            return None
        if before == decoder.version and headers.more is None and not protocol:
            self._remember(block, fields, headers)
        return headers, protocol

    def _refuseHead(self, streamId: int, error: RemoteProtocolError) -> None:
        """
        Reset a stream whose head is not wrong, but not wanted. The code is Envoy's.
        """
        self.sendReset(streamId, ErrorCode.INTERNAL_ERROR)
        self._sink.requestRefused(streamId, None, error)

    def _brokenOff(self, streamId: int) -> None:
        if streamId not in self.streams and streamId > self.lastStreamId:
            error = RemoteProtocolError("a head that breaks off", 400, "codec_error:protocol_error")
            self._sink.requestRefused(streamId, None, error)

    def _remember(self, block: bytes, fields: list[Field], headers: RequestHeaders) -> None:
        if len(block) > _LONGEST_REMEMBERED:
            return
        if self._knownVersion != self._decoder.version:
            self._known.clear()
            self._knownWithLength.clear()
            self._calls.clear()
            self._shapes.clear()
            self._pathShape = None
            self._knownVersion = self._decoder.version
        pieces = cut(block)
        if pieces is not None and self._isAgain(pieces[0]):
            shape = shapeOf(block, fields, headers, self._decoder, self.options.maxHeadBytes)
            if shape is not None:
                if len(self._shapes) >= _MOST_SHAPES:
                    self._shapes.clear()
                self._shapes[pieces[0]] = shape
                return
        if self._isAgain(block):
            heads = self._knownWithLength if b"content-length" in headers.first else self._known
            if len(heads) >= _MOST_REMEMBERED:
                heads.clear()
            if len(self._calls) >= _MOST_REMEMBERED:
                self._calls.clear()
            heads[block] = like = headers.copy()
            self._calls[block] = _CallShape(block, like)

    def _isAgain(self, key: bytes) -> bool:
        """
        Whether this came before: most that come once never come again.
        """
        once = self._once
        if key in once:
            return True
        if len(once) >= _MOST_REMEMBERED:
            once.clear()
        once.add(key)
        return False
