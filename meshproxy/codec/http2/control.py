# -*- test-case-name: tests.codec.http2.test_connection -*-
"""
The frames of an HTTP/2 peer that carry nothing of a message: its settings, its credit, and what it says of streams
and of the connection.
"""

from __future__ import annotations

import struct
from typing import Any

from meshproxy.codec.http2.frames import (
    LARGEST_FRAME,
    LARGEST_WINDOW,
    SMALLEST_FRAME,
    ErrorCode,
    Flag,
    FrameType,
    Setting,
    encodeFrame,
)
from meshproxy.codec.http2.interfaces import Http2Counters, Http2Options
from meshproxy.codec.http2.sections import SectionReader

__all__ = ["ControlReader"]

_unpackLong = struct.Struct(">L").unpack_from
_unpackSettings = struct.Struct(">HL").iter_unpack

# Real peers name six; each costs work (CVE-2020-11080).
_MOST_SETTINGS = 32


class ControlReader(SectionReader):
    """
    Takes all frames but DATA, HEADERS and CONTINUATION.

    @ivar goAwayReceived: The last identifier that the peer will serve, once it said so.
    """

    def __init__(self, sink: Any, options: Http2Options, counters: Http2Counters) -> None:
        super().__init__(sink, options, counters)
        self.peerMaxStreams = LARGEST_WINDOW
        self.peerAllowsConnect = False
        self.goAwayReceived: int | None = None
        self._settingsDue = self._isAnswerDue = True

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
            if not SMALLEST_FRAME <= value <= LARGEST_FRAME:
                raise self._fail(ErrorCode.PROTOCOL_ERROR, "an illegal SETTINGS_MAX_FRAME_SIZE")
            # Larger frames would let one stream keep the others waiting.
        elif name == Setting.ENABLE_CONNECT_PROTOCOL:
            if value > 1 or (self.peerAllowsConnect and not value):
                raise self._fail(ErrorCode.PROTOCOL_ERROR, "an illegal SETTINGS_ENABLE_CONNECT_PROTOCOL")
            self.peerAllowsConnect = bool(value)

    def _setInitialWindow(self, value: int) -> None:
        if value > LARGEST_WINDOW:
            raise self._fail(ErrorCode.FLOW_CONTROL_ERROR, "an illegal SETTINGS_INITIAL_WINDOW_SIZE")
        change = value - self.peerInitialWindow
        self.peerInitialWindow = value
        if change:
            # Each stream costs a little, so others have their turn sooner.
            self._budget -= len(self.streams) >> 3
            for stream in self.streams.values():
                stream.sendWindow += change
                if stream.sendWindow > LARGEST_WINDOW:
                    raise self._fail(
                        ErrorCode.FLOW_CONTROL_ERROR, "SETTINGS_INITIAL_WINDOW_SIZE makes a window too large"
                    )
            self._waiting.update(self._blocked)
            self._blocked.clear()

    def _windowUpdateReceived(self, payload: bytes, flags: int, streamId: int) -> None:
        if len(payload) != 4:
            raise self._fail(ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE that is not 4 bytes long")
        increment = _unpackLong(payload)[0] & 0x7FFFFFFF
        self._floods.windowUpdateReceived()
        if not streamId:
            self.sendWindow += increment
            if not increment or self.sendWindow > LARGEST_WINDOW:
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
        if not increment or stream.sendWindow > LARGEST_WINDOW:
            code = ErrorCode.FLOW_CONTROL_ERROR if increment else ErrorCode.PROTOCOL_ERROR
            self.refuse(stream, code, "an illegal WINDOW_UPDATE")
        elif stream in self._blocked:
            del self._blocked[stream]
            self._waiting[stream] = None

    def _resetReceived(self, payload: bytes, flags: int, streamId: int) -> None:
        if len(payload) != 4:
            raise self._fail(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM that is not 4 bytes long")
        if self._isIdle(streamId):
            raise self._fail(ErrorCode.PROTOCOL_ERROR, "RST_STREAM on an idle stream")
        self.resetsReceived += 1
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

    def _pingReceived(self, payload: bytes, flags: int, streamId: int) -> None:
        if streamId:
            raise self._fail(ErrorCode.PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise self._fail(ErrorCode.FRAME_SIZE_ERROR, "PING that is not 8 bytes long")
        if flags & Flag.ACK:
            self._sink.pingAnswered(payload)
        else:
            self._emitAnswer(encodeFrame(FrameType.PING, Flag.ACK, 0, payload))

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

    def _pushReceived(self, payload: bytes, flags: int, streamId: int) -> None:
        raise self._fail(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE, which nobody may send here")
