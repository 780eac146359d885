# -*- test-case-name: tests.codec.http2.test_connection -*-
"""
What the faults of an HTTP/2 peer end: one stream, or the connection (RFC 9113, 5.4).
"""

from __future__ import annotations

from collections import deque
from typing import Any

from meshproxy.codec.http2.frames import ErrorCode
from meshproxy.codec.http2.interfaces import Http2Counters, Http2Options
from meshproxy.codec.http2.stream import CodecStream
from meshproxy.codec.http2.writer import FrameWriter
from meshproxy.errors import RemoteProtocolError

__all__ = ["FaultJudge"]

# So many of the streams that ended well are kept in mind, to tell a late frame from one on a stream that was never
# begun.
_MOST_ENDED = 32


class FaultJudge(FrameWriter):
    """
    Tells the peer, and who is concerned here, of what the peer did wrong.
    """

    def __init__(self, sink: Any, options: Http2Options, counters: Http2Counters) -> None:
        super().__init__(sink, options, counters)
        self._error: RemoteProtocolError | None = None
        self._isStopped = False
        # The stream and the flags of a field section that is not whole.
        self._section: tuple[int, int] | None = None
        # Streams of which something is held that may be told in one with what comes next.
        self._held: dict[int, CodecStream] = {}
        self._ended: deque[int] = deque(maxlen=_MOST_ENDED)

    # The connection

    def stop(self) -> None:
        """
        Read no more: the connection is being closed. What waits is given up.
        """
        self._isStopped = True
        self._waiting.clear()
        self._blocked.clear()

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

    def _tellHeld(self) -> None:
        """
        Tell what is held: nothing comes that it could be told with.
        """

    # A stream

    def refuse(self, stream: CodecStream, code: int, why: str) -> None:
        """
        Reset a stream for a fault of the peer, and tell its sink.
        """
        sink = stream.sink
        stream.reset(code)
        if sink is not None:
            sink.streamReset(code, False, why)

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

    def _overflowed(self, tooMany: bool) -> None:
        """
        Count a section over the limits.
        """
        counters = self.counters
        (counters.headerOverflow if tooMany else counters.headerListSizeTooLarge).value += 1

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

    def _isIdle(self, streamId: int) -> bool:
        """
        Whether nobody began this stream so far.
        """
        raise NotImplementedError
