# -*- test-case-name: tests.codec.http2.test_connection -*-
"""
What goes out on an HTTP/2 connection: frames are gathered until they are asked for, and bodies wait for credit.
"""

from __future__ import annotations

import struct
from typing import Any

from meshproxy.codec.http2.floods import Floods
from meshproxy.codec.http2.frames import (
    DEFAULT_WINDOW,
    SMALLEST_FRAME,
    ErrorCode,
    Flag,
    FrameType,
    encodeFrame,
    frameHead,
)
from meshproxy.codec.http2.hpack import Encoder, Field
from meshproxy.codec.http2.interfaces import Http2Counters, Http2Options
from meshproxy.codec.http2.stream import CodecStream

__all__ = ["FrameWriter"]

# As in the reader: length and type of a frame in one number, its flags, its stream.
_packHead = struct.Struct(">LBL").pack

# How many times what one stream may keep unsent all of a connection may.
_MOST_UNSENT = 4

# What this side has reset may still get what was on its way; so many of those are kept in mind.
_MOST_RESET = 1000

# How much is made into DATA frames at a time; then it is up to the transport whether more follows.
_MOST_EMITTED = 131072


class FrameWriter:
    """
    Makes frames of what is to be sent, and lets streams that wait have their turns.

    @cvar isDownstream: Whether the peer is a client.
    @ivar streams: Those that are not closed, by identifier.
    @ivar sendWindow: How many bytes of all streams together may be sent.
    @ivar unsent: How many bytes wait for windows, or for the transport.
    @ivar mostUnsent: How many it may be before no stream may keep as much as it could alone.
    @ivar isCrowded: Whether there were more, and are not fewer than half by now.
    @ivar lastStreamId: The highest identifier that the peer began a stream with.
    @ivar resetsReceived: How many RST_STREAM came since its owner last asked.
    @ivar goAwaySent: The last identifier that this side will serve, once it said so.
    @ivar outSize: How many bytes are made into frames and were not asked for so far.
    @ivar outLimit: Below how many of them bytes of bodies may be made into frames; 0 while the transport takes no more.
    @ivar templates: See L{Encoder<meshproxy.codec.http2.hpack.Encoder>}.
    @ivar recall: Gives the section that was sent before with a key and is the same now, or L{None}.
    """

    isDownstream = False

    def __init__(self, sink: Any, options: Http2Options, counters: Http2Counters) -> None:
        self.options = options
        self.counters = counters
        self.streams: dict[int, CodecStream] = {}
        self.sendWindow = DEFAULT_WINDOW
        self.peerInitialWindow = DEFAULT_WINDOW
        self.peerMaxFrameSize = SMALLEST_FRAME
        self.unsent = 0
        self.mostUnsent = _MOST_UNSENT * options.sendBufferLimit
        self.isCrowded = False
        self.lastStreamId = 0
        self.goAwaySent: int | None = None
        self._sink = sink
        self._encoder = Encoder(options.hpackTableSize, options.huffman)
        self.templates = self._encoder.templates
        self.recall = self._encoder.recall
        self._floods = Floods(options, counters)
        self._out: list[bytes] = []
        self.outSize = 0
        self.outLimit = _MOST_EMITTED
        self._metadataWaiting = 0
        # Streams with something that waits; those at the front have waited for longest. Those without credit, their
        # own or the connection's, stand aside.
        self._waiting: dict[CodecStream, None] = {}
        self._blocked: dict[CodecStream, None] = {}
        self._unwanted: dict[CodecStream, None] = {}
        self._resetHere: dict[int, None] = {}
        self.resetsReceived = 0

    # For the transport

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
        self._metadataWaiting = 0

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

    # Streams that wait

    def wait(self, stream: CodecStream) -> None:
        """
        A stream has something that could not be sent at once.
        """
        self._waiting[stream] = None

    def isHeldBack(self, stream: CodecStream) -> bool:
        """
        Whether it is for want of credit that a stream's bytes wait, and not for the transport.
        """
        return stream in self._blocked or stream.sendWindow <= 0 or self.sendWindow <= 0

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

    # Frames

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

    def sendMetadata(self, frames: list[bytes]) -> bool:
        """
        Send METADATA frames.

        @return: Whether they are sent. Where the transport takes no more, few may wait.
        """
        if not self.outLimit:
            self._metadataWaiting += sum(map(len, frames))
            if self._metadataWaiting > self.options.maxMetadataBytes:
                return False
        for frame in frames:
            self._emit(frame)
        return True

    def sendPing(self, opaque: bytes) -> None:
        """
        Ask whether the peer is there; the sink is told of the answer.

        @param opaque: Eight bytes.
        """
        self._emit(encodeFrame(FrameType.PING, 0, 0, opaque))

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
