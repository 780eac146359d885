# -*- test-case-name: tests.codec.http2.test_upstream -*-
"""
The client's role: requests go out, responses come in.
"""

from __future__ import annotations

import struct

from meshproxy.codec.http1.serialize import DECIMAL
from meshproxy.codec.http2.frames import PREFACE, ErrorCode, Flag, FrameType, Setting, frameHead, packSection
from meshproxy.codec.http2.interfaces import Http2Counters, Http2Options, IConnectionSink, IResponseStreamSink
from meshproxy.codec.http2.messages import responseFrom
from meshproxy.codec.http2.requestblocks import RequestBlocks
from meshproxy.codec.http2.states import Happening, StreamState
from meshproxy.codec.http2.stream import UNKNOWN_LENGTH, CodecStream
from meshproxy.codec.http2.whole import WholeCodec
from meshproxy.errors import LocalProtocolError, RemoteProtocolError
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders

__all__ = ["USUAL", "UpstreamCodec"]

# RFC 9113, 5.1.1: there are no further identifiers.
_LAST_ID = 2**31 - 1

_DEFAULTS = Http2Options(maxHeadBytes=60 * 1024)

# RFC 9113, 4.2: no longer ones were allowed to the peer.
_LONGEST_FRAME = 16384
_ENDS = Flag.END_HEADERS | Flag.END_STREAM

# Length and type of a frame in one number, its flags, its stream.
_unpackFrame = struct.Struct(">LBL").unpack_from
_unpackReset = struct.Struct(">5xL4x").unpack_from

# Length, type and flags of RST_STREAM, and its type.
_RESET = b"\0\0\4\3\0"
_RESETS = 3

# How many answers that are alike in all lengths are known of those with one head.
_MOST_LIKE = 16

_MOST_REMEMBERED = 64
_LONGEST_REMEMBERED = 512

# Of these requests the answers are peculiar.
_NO_CALLS = frozenset((b"CONNECT", b"HEAD"))

USUAL = 2
"""
As what a sink takes: answers whose heads leave it to the trailers to tell how the calls ended.
"""

# What a head has that tells it already.
_ENDS_ALREADY = frozenset((b"grpc-status", b"x-envoy-ratelimited"))

_newResponse = ResponseHeaders.__new__
_newMap = HeaderMap.__new__

_HALF_CLOSED = StreamState.HALF_CLOSED_LOCAL
_CLOSED = StreamState.CLOSED


def _isUsual(headers: ResponseHeaders) -> bool:
    """
    Whether it is for the trailers to tell how the call ended. By any other head, whoever is told of it may try the call
    again, before the rest is here.
    """
    return headers.status == 200 and _ENDS_ALREADY.isdisjoint(headers.first)


class _AnswerShape:
    """
    How the frames of an answer begin whose head is like one before.

    @ivar head: That head.
    @ivar isUsual: See L{USUAL}.
    @ivar length: How long it says that the body is, or L{UNKNOWN_LENGTH}.
    @ivar begin: Length, type and flags of the HEADERS frame, with its section C{block}.
    @ivar unpack: Parts its frame, and the head of the one that follows.
    @ivar reach: How long these are.
    @ivar latest: How long the body of the last answer was.
    @ivar like: What all of the next one is like, if two in a row were; see L{_AnswerLike}.
    """

    __slots__ = ("_known", "begin", "block", "head", "isUsual", "latest", "length", "like", "reach", "unpack")

    def __init__(self, block: bytes, head: ResponseHeaders) -> None:
        parts = struct.Struct(f">5sL{len(block)}sLBL")
        self.head = head
        self.isUsual = _isUsual(head)
        self.length = int(head.first.get(b"content-length", UNKNOWN_LENGTH))
        self.begin = frameHead(len(block), FrameType.HEADERS, Flag.END_HEADERS, 0)[:5]
        self.block = block
        self.unpack = parts.unpack_from
        self.reach = parts.size
        self.latest = 0
        self.like: _AnswerLike | None = None
        self._known: dict[tuple[int, int, bool], _AnswerLike] = {}

    def likeOf(self, length: int, end: int, isReset: bool) -> _AnswerLike:
        """
        What an answer is like whose body and trailers have these lengths.

        @param isReset: Whether RST_STREAM stands behind it.
        """
        key = (length, end, isReset)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _MOST_LIKE:
                self._known.clear()
            known = self._known[key] = _AnswerLike(len(self.block), length, end, isReset)
        return known


class _AnswerLike:
    """
    All frames of an answer that is like one before in all lengths: HEADERS, DATA, HEADERS, and RST_STREAM or none.

    @ivar unpack: Parts them: of each, length, type and flags in one piece, its stream, and its payload; but for that of
        RST_STREAM.
    @ivar reach: How long they are.
    @ivar length: How long the body is.
    @ivar data: The first of these pieces of DATA; C{end} of the HEADERS behind it.
    @ivar isReset: Whether there is RST_STREAM.
    """

    __slots__ = ("data", "end", "isReset", "length", "reach", "unpack")

    def __init__(self, head: int, length: int, end: int, isReset: bool) -> None:
        parts = struct.Struct(f">5sL{head}s5sL{length}s5sL{end}s{'5sL4x' if isReset else ''}")
        self.unpack = parts.unpack_from
        self.reach = parts.size
        self.length = length
        self.data = frameHead(length, FrameType.DATA, 0, 0)[:5]
        self.end = frameHead(end, FrameType.HEADERS, _ENDS, 0)[:5]
        self.isReset = isReset


class UpstreamCodec(WholeCodec):
    """
    Writes requests and reads their responses, on as many streams as the peer allows at a time.

    @ivar mostStreams: How many there may be now.
    """

    def __init__(
        self, sink: IConnectionSink, options: Http2Options = _DEFAULTS, counters: Http2Counters | None = None
    ) -> None:
        super().__init__(sink, options, counters or Http2Counters())
        self._nextId = 1
        self._known: dict[bytes, ResponseHeaders] = {}
        self._knownVersion = 0
        # The same of responses that have a body.
        self._answers: dict[bytes, _AnswerShape] = {}
        self._requests = RequestBlocks(self._encoder)
        self.mostStreams = 0
        self._limitStreams()
        self._announce(PREFACE, [(Setting.ENABLE_PUSH, 0)])

    @property
    def availableStreams(self) -> int:
        """
        How many requests may be begun now. None after a GOAWAY; none at times where the peer says so (CVE-2021-32780).
        """
        left = self.mostStreams - len(self.streams)
        return left if left > 0 else 0

    def _limitStreams(self) -> None:
        """
        Something came that may change how many streams there may be.
        """
        self.mostStreams = 0 if self.isSpent else min(self.options.maxConcurrentStreams, self.peerMaxStreams)

    def _set(self, name: int, value: int) -> None:
        super()._set(name, value)
        self._limitStreams()

    def stop(self) -> None:
        """
        See L{ConnectionCodec.stop}.
        """
        super().stop()
        self._limitStreams()

    @property
    def isSpent(self) -> bool:
        """
        Whether no request will ever be begun on it again.
        """
        return self.goAwayReceived is not None or self._isStopped or self._nextId > _LAST_ID

    def request(self, sink: IResponseStreamSink, headers: RequestHeaders, endStream: bool) -> CodecStream:
        """
        Begin a request.

        @param sink: Who is told of the response.

        @raise LocalProtocolError: If the head cannot be written, or no stream may be begun.
        """
        if not self.availableStreams:
            raise LocalProtocolError("a request where the peer takes none")
        # Judged before there is a stream; what is encoded must go out.
        block = self._requests.encode(headers)
        stream = self._open(self._nextId)
        self._nextId += 2
        if self._nextId > _LAST_ID:
            self._limitStreams()
        stream.sink = sink
        stream.isHead = headers.method == b"HEAD"
        if headers.method == b"CONNECT":
            stream.protocol = b"connect"
        elif b"upgrade" in headers.first:
            stream.protocol = headers.first[b"upgrade"]
            endStream = False
        self.emitSection(stream.id, block, endStream)
        if not endStream:
            stream.announce(headers)
        if endStream:
            stream.happen(Happening.LOCAL_ENDED)
        return stream

    def call(self, sink: IResponseStreamSink, headers: RequestHeaders, message: bytes) -> CodecStream | None:
        """
        Begin a request that is whole: the same as L{request} and L{CodecStream.sendData}, in one step. The caller saw
        that the peer takes one.

        @return: L{None}, and nothing is done, where it does not go in one step: for want of credit, for instance.

        @raise LocalProtocolError: If the head cannot be written.
        """
        length = len(message)
        first = headers.first
        told = first.get(b"content-length")
        longest, window = self.peerMaxFrameSize, self.peerInitialWindow
        if (
            length > window
            or length > self.sendWindow
            or length > longest
            or self.outSize >= self.outLimit
            or b"upgrade" in first
            or headers.method in _NO_CALLS
            or (told is not None and told != DECIMAL[length])
        ):
            return None
        block = self._requests.encode(headers)
        streamId = self._nextId
        self._nextId += 2
        if self._nextId > _LAST_ID:
            self._limitStreams()
        stream = CodecStream(self, streamId, _HALF_CLOSED, window - length, self.options.initialStreamWindow)
        stream.sink = sink
        self.sendWindow -= length
        self.streams[streamId] = stream
        self.counters.streamsActive.value += 1
        floods = self._floods
        floods.openedStreams += 1
        size = len(block)
        if size <= longest:
            # What emitResponse does.
            self._out += (packSection[size](size << 8 | 1, 4, streamId, block, length << 8, 1, streamId), message)
            self.outSize += size + length + 18
            floods.outboundFrames += 2
            floods.outboundDataFrames += 1
        else:
            self.emitSection(streamId, block, False)
            self.emitData(frameHead(length, 0, Flag.END_STREAM, streamId) + message)
        return stream

    def _isIdle(self, streamId: int) -> bool:
        return streamId >= self._nextId or not streamId & 1

    def _peerGoesAway(self, lastStreamId: int) -> None:
        self._limitStreams()
        for stream in [stream for stream in self.streams.values() if stream.id > lastStreamId]:
            sink = stream.sink
            stream.sink = None
            stream.dropped()
            self._overlook(stream.id)
            if sink is not None:
                sink.streamReset(ErrorCode.REFUSED_STREAM, True, "the upstream goes away")

    def _sectionReceived(self, streamId: int, block: bytes, endStream: bool) -> None:
        stream = self.streams.get(streamId)
        if stream is None:
            if self._isIdle(streamId):
                raise self._fail(ErrorCode.PROTOCOL_ERROR, "HEADERS on an idle stream")
            self._dropSection(streamId, block)
        elif stream.hasFinalHead or not stream.canReceive:
            if stream.head is not None:
                if endStream and self._answerReceived(stream, block):
                    return
                self._tell(stream)
            self._trailersReceived(stream, block, endStream)
        else:
            self._responseReceived(stream, block, endStream)

    def _responseReceived(self, stream: CodecStream, block: bytes, endStream: bool) -> None:
        known = self._known.get(block) if self._knownVersion == self._decoder.version else None
        if known is not None:
            headers = _newResponse(ResponseHeaders)
            headers.status = known.status
            headers.first = known.first.copy()
            headers.more = None
        else:
            before = self._decoder.version
            fields = self._decode(block)
            if self._decoder.overflowed:
                self._tooLarge(stream, "a head over the limit")
                return
            try:
                headers = responseFrom(fields)
                if before == self._decoder.version and headers.more is None:
                    self._remember(block, headers)
            except RemoteProtocolError as error:
                self._malformed(stream, error)
                return
        sink = stream.sink
        status = headers.status
        if status < 200:
            if endStream:
                self._malformed(
                    stream,
                    RemoteProtocolError(
                        "an interim response with END_STREAM", 502, "http2.violation.of.messaging.rule"
                    ),
                )
            elif sink is not None:
                sink.informationalReceived(headers)
            return
        stream.hasFinalHead = True
        if stream.protocol and status < 300:
            headers.remove(b"content-length")
            if stream.protocol != b"connect" and status == 200:
                # RFC 8441, 5: what HTTP/1 calls 101.
                headers.status = 101
                headers.set(b"connection", b"upgrade")
                headers.set(b"upgrade", stream.protocol)
        elif not self._expectBody(stream, headers, endStream):
            return
        if endStream:
            stream.happen(Happening.REMOTE_ENDED)
        elif not stream.protocol:
            self._hold(stream, headers)
            return
        if sink is not None:
            sink.responseReceived(headers, endStream)

    def _tellHead(self, stream: CodecStream, head: ResponseHeaders) -> None:
        sink = stream.sink
        if sink is not None:
            sink.responseReceived(head, False)

    def _dataReceived(self, payload: bytes, flags: int, streamId: int) -> None:
        stream = self._held.get(streamId)
        if stream is not None:
            size = len(payload)
            left = stream.bodyLeft
            if (
                flags & ~Flag.END_STREAM == 0
                and 0 < size <= self._receiveWindow
                and size <= stream.receiveWindow
                and stream.body is None
                and (left == UNKNOWN_LENGTH or left == size)
                and stream.sink is not None
                and (flags or self.takesCalls)
            ):
                self._floods.emptyFrames = 0
                self._receiveWindow -= size
                stream.receiveWindow -= size
                if left != UNKNOWN_LENGTH:
                    stream.bodyLeft = 0
                if not flags:
                    # Trailers may follow at once.
                    stream.body = payload
                    return
                del self._held[streamId]
                headers, stream.head = stream.head, None
                sink = stream.sink
                stream.happen(Happening.REMOTE_ENDED)
                sink.wholeReceived(headers, payload)
                stream.received(size)
                return
            self._tell(stream)
            if self._isStopped:
                return
        super()._dataReceived(payload, flags, streamId)

    def _takeWhole(self, data: bytes, position: int, stop: int, streamId: int) -> int:
        # Answers whose sections are known, to calls that are over: HEADERS, DATA, HEADERS, and RST_STREAM where the
        # upstream did not read the message. Those of many calls come one behind the other, and have the same head.
        shape = self._answers.get(data[position + 9 : stop])
        if shape is None or self._knownVersion != self._decoder.version:
            return 0
        begin, block, unpack, reach, told = shape.begin, shape.block, shape.unpack, shape.reach, shape.length
        status, copy, isUsual = shape.head.status, shape.head.first.copy, shape.isUsual
        streams, ended, size = self.streams, self._ended, len(data)
        latest = self._latestTrailers if self._trailersVersion == self._decoder.version else None
        like = shape.like
        taken, budget, end = 0, self._budget, 0
        try:
            while budget > 0 and size - position >= reach:
                if like is not None and latest is not None and size - position >= like.reach:
                    # As long as the last one: all of it is parted at once.
                    length, last, unpackLike = like.length, position + like.reach, like.unpack
                    if like.isReset:
                        start, streamId, section, ofData, two, body, ofEnd, three, trailing, behind, four = unpackLike(
                            data, position
                        )
                        isLike = behind == _RESET and four == streamId
                    else:
                        start, streamId, section, ofData, two, body, ofEnd, three, trailing = unpackLike(data, position)
                        isLike = size - last < 13 or data[last + 3] != _RESETS
                    if not (
                        isLike
                        and start == begin
                        and section == block
                        and ofData == like.data
                        and ofEnd == like.end
                        and trailing == latest[0]
                        and two == three == streamId
                    ):
                        like = None
                        continue
                    isReset = like.isReset
                else:
                    start, streamId, section, measure, flags, two = unpack(data, position)
                    length = measure >> 8
                    stop = position + reach
                    last = stop + length
                    if (
                        start != begin
                        or section != block
                        or two != streamId
                        or measure & 0xFF
                        or flags
                        or (told != length and told != UNKNOWN_LENGTH)
                        or not 0 < length <= _LONGEST_FRAME
                        or size - last < 9
                    ):
                        break
                    body = data[stop:last]
                    measure, flags, three = _unpackFrame(data, last)
                    stop = last + 9
                    last = stop + (measure >> 8)
                    if measure & 0xFF != 1 or flags != _ENDS or three != streamId or size < last:
                        break
                    if latest is None or data[stop:last] != latest[0]:
                        latest = self._findTrailers(data[stop:last])
                        if latest is None:
                            break
                    # Of a stream that is over it changes nothing.
                    isReset = (
                        size - last >= 13 and data.startswith(_RESET, last) and _unpackReset(data, last) == (streamId,)
                    )
                    if length == shape.latest:
                        like = shape.likeOf(length, measure >> 8, isReset)
                    shape.latest = length
                    last += 13 * isReset
                if streamId not in streams:
                    break
                stream = streams[streamId]
                sink = stream.sink
                if (
                    stream.state is not _HALF_CLOSED
                    or stream.hasFinalHead
                    or stream.isHead
                    or stream.protocol
                    or length > self._receiveWindow
                    or length > stream.receiveWindow
                    or sink is None
                    or not (takes := sink.takesAnswer)
                    or (takes is USUAL and not isUsual)
                ):
                    break
                headers = _newResponse(ResponseHeaders)
                headers.status = status
                headers.first = copy()
                headers.more = None
                trailers = _newMap(HeaderMap)
                trailers.first = latest[1].copy()
                trailers.more = None
                taken += 1
                budget -= 3 + isReset
                self._receiveWindow -= length
                # What streamClosed does; nobody but a downstream's codec is flushing.
                stream.state = _CLOSED
                stream.sink = None
                del streams[streamId]
                ended.append(streamId)
                position = end = last
                sink.answerReceived(headers, body, trailers)
                self._uncredited += length
                if self._uncredited >= self._receiveWindow:
                    self.creditConnection(0)
                if self._isStopped:
                    break
        finally:
            self._budget = budget
            self.counters.streamsActive.value -= taken
            shape.like = like
        return end

    def _findTrailers(self, block: bytes) -> tuple[bytes, dict[bytes, bytes]] | None:
        """
        The trailers of a section like one before, with the section. They are likely to come again.
        """
        known = self._knownTrailers.get(block)
        if known is None or self._trailersVersion != self._decoder.version:
            return None
        self._latestTrailers = block, known.first
        return self._latestTrailers

    def _answerReceived(self, stream: CodecStream, block: bytes) -> bool:
        """
        The last section of an answer came, of which the rest is held.

        @return: Whether it was told in one step.
        """
        body, sink = stream.body, stream.sink
        if body is None or stream.state is not _HALF_CLOSED or sink is None or not sink.takesAnswer:
            return False
        trailers = self._recallTrailers(block)
        if trailers is None or stream.bodyLeft > 0:
            return False
        if sink.takesAnswer is USUAL and not _isUsual(stream.head):
            return False
        del self._held[stream.id]
        headers, stream.head, stream.body = stream.head, None, None
        stream.state = _CLOSED
        self.streamClosed(stream)
        sink.answerReceived(headers, body, trailers)
        self.creditConnection(len(body))
        return True

    def _expectBody(self, stream: CodecStream, headers: ResponseHeaders, endStream: bool) -> bool:
        """
        See how long the body is to be.

        @return: Whether the head agrees with what it says about it.
        """
        length = headers.first.get(b"content-length")
        if stream.isHead or headers.status in (204, 304):
            stream.bodyLeft = 0
            return True
        if length is not None:
            stream.bodyLeft = int(length)
            if endStream and stream.bodyLeft:
                self._malformed(
                    stream,
                    RemoteProtocolError("no body, but a content-length", 502, "http2.violation.of.messaging.rule"),
                )
                return False
        return True

    def _remember(self, block: bytes, headers: ResponseHeaders) -> None:
        if len(block) <= _LONGEST_REMEMBERED:
            version = self._decoder.version
            known = self._known
            if self._knownVersion != version or len(known) >= _MOST_REMEMBERED:
                known.clear()
                self._answers.clear()
                self._knownVersion = version
            known[block] = like = headers.copy()
            if headers.status >= 200 and headers.status not in (204, 304):
                self._answers[block] = _AnswerShape(block, like)
