# -*- test-case-name: tests.codec.http2.test_connection -*-
"""
The field sections that come in on an HTTP/2 connection: put together of HEADERS and CONTINUATION, and decoded.
"""

from __future__ import annotations

import struct
from typing import Any

from meshproxy.codec.http2.faults import FaultJudge
from meshproxy.codec.http2.frames import SMALLEST_FRAME, ErrorCode, Flag
from meshproxy.codec.http2.hpack import Decoder, Field
from meshproxy.codec.http2.interfaces import Http2Counters, Http2Options
from meshproxy.codec.http2.messages import trailersFrom
from meshproxy.codec.http2.states import Happening
from meshproxy.codec.http2.stream import CodecStream
from meshproxy.errors import RemoteProtocolError
from meshproxy.headers import HeaderMap

__all__ = ["SectionReader"]

_unpackLong = struct.Struct(">L").unpack_from
_newMap = HeaderMap.__new__

# How many trailers are remembered by their bytes, and how long those are at most.
_MOST_TRAILERS = 32
_LONGEST_TRAILERS = 256

# How many times the limits a section may be before it is no mistake any more.
_MOST_EXCESS = 8


class SectionReader(FaultJudge):
    """
    Takes HEADERS and CONTINUATION. What a section is that begins a message, each role knows for itself; trailers are
    the same for both.
    """

    # What is left of one turn's work.
    _budget: int

    def __init__(self, sink: Any, options: Http2Options, counters: Http2Counters) -> None:
        super().__init__(sink, options, counters)
        self._decoder = self._makeDecoder()
        # Of a section that is not whole: its pieces, and how many bytes they are.
        self._sectionParts: list[bytes] = []
        self._sectionSize = 0
        self._knownTrailers: dict[bytes, HeaderMap] = {}
        # Those that came last, with their section.
        self._latestTrailers: tuple[bytes, dict[bytes, bytes]] | None = None
        self._trailersVersion = 0
        self._mostSection = 2 * options.maxHeadBytes + SMALLEST_FRAME
        self._mostContinuations = 8 + 2 * options.maxHeadBytes // SMALLEST_FRAME

    def _makeDecoder(self) -> Decoder:
        options = self.options
        # A request that unfolds to many times of what is allowed is meant to (CVE-2016-6581, CVE-2026-47774): its
        # connection ends. An upstream's ends its stream alone, as any head over the limit does in Envoy.
        excess = _MOST_EXCESS if self.isDownstream else 0
        return Decoder(options.hpackTableSize, options.maxHeadBytes, options.maxHeaderCount, excess)

    @property
    def isWithinSection(self) -> bool:
        """
        Whether a field section began that did not come to its end.
        """
        return self._section is not None

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

    def _dropSection(self, streamId: int, block: bytes) -> None:
        """
        A section on a stream that is not open any more.
        """
        self._decode(block)
        if streamId not in self._resetHere:
            self._lateFrame(streamId)

    # Trailers

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
        # As in Envoy, those of requests alone.
        self.counters.trailers.value += self.isDownstream
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
            self._latestTrailers = None
            self._trailersVersion = version
        if trailers.more is None:
            known[block] = trailers.copy()
