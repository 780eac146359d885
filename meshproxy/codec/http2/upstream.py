# -*- test-case-name: tests.codec.http2.test_upstream -*-
"""
The client's role: requests go out, responses come in.
"""

from __future__ import annotations

from meshproxy.codec.http2.connection import ConnectionCodec
from meshproxy.codec.http2.frames import PREFACE, ErrorCode, Setting
from meshproxy.codec.http2.interfaces import Http2Counters, Http2Options, IConnectionSink, IResponseStreamSink
from meshproxy.codec.http2.messages import requestFields, responseFrom
from meshproxy.codec.http2.states import Happening
from meshproxy.codec.http2.stream import CodecStream
from meshproxy.errors import LocalProtocolError, RemoteProtocolError
from meshproxy.headers import RequestHeaders, ResponseHeaders

__all__ = ["UpstreamCodec"]

# RFC 9113, 5.1.1: there are no further identifiers.
_LAST_ID = 2**31 - 1

_DEFAULTS = Http2Options(maxHeadBytes=60 * 1024)

_MOST_REMEMBERED = 64
_LONGEST_REMEMBERED = 512

_newResponse = ResponseHeaders.__new__


class UpstreamCodec(ConnectionCodec):
    """
    Writes requests and reads their responses, on as many streams as the peer allows at a time.
    """

    def __init__(
        self, sink: IConnectionSink, options: Http2Options = _DEFAULTS, counters: Http2Counters | None = None
    ) -> None:
        super().__init__(sink, options, counters or Http2Counters())
        self._nextId = 1
        self._known: dict[bytes, ResponseHeaders] = {}
        self._knownVersion = 0
        self._announce(PREFACE, [(Setting.ENABLE_PUSH, 0)])

    @property
    def availableStreams(self) -> int:
        """
        How many requests may be begun now. None after a GOAWAY; none at times where the peer says so (CVE-2021-32780).
        """
        if self.goAwayReceived is not None or self._isStopped or self._nextId > _LAST_ID:
            return 0
        return max(0, min(self.peerMaxStreams, self.options.maxConcurrentStreams) - len(self.streams))

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
        fields = requestFields(headers)
        stream = self._open(self._nextId)
        self._nextId += 2
        stream.sink = sink
        stream.isHead = headers.method == b"HEAD"
        if headers.method == b"CONNECT":
            stream.protocol = b"connect"
        elif b"upgrade" in headers.first:
            stream.protocol = headers.first[b"upgrade"]
            endStream = False
        self.sendBlock(stream.id, fields, endStream)
        if not endStream:
            stream.announce(headers)
        if endStream:
            stream.happen(Happening.LOCAL_ENDED)
        return stream

    def _isIdle(self, streamId: int) -> bool:
        return streamId >= self._nextId or not streamId & 1

    def _peerGoesAway(self, lastStreamId: int) -> None:
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
            self._held = (stream, headers)
            return
        if sink is not None:
            sink.responseReceived(headers, endStream)

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
                self._knownVersion = version
            known[block] = headers.copy()
