# -*- test-case-name: tests.codec.http2.test_stream -*-
"""
One stream of an HTTP/2 connection: its state, its windows, and what waits to be sent on it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from meshproxy.codec.http1.grammar import parseLength
from meshproxy.codec.http1.serialize import DECIMAL
from meshproxy.codec.http2.frames import ErrorCode, Flag, FrameType, frameHead
from meshproxy.codec.http2.hpack import Field
from meshproxy.codec.http2.messages import responseFields, trailerFields
from meshproxy.codec.http2.metadata import metadataFrames
from meshproxy.codec.http2.states import NEXT_STATE, Happening, StreamState
from meshproxy.codec.http2.templates import keyOf
from meshproxy.errors import LocalProtocolError
from meshproxy.headers import HeaderMap, ResponseHeaders

if TYPE_CHECKING:
    from meshproxy.codec.http2.connection import ConnectionCodec

__all__ = ["UNKNOWN_LENGTH", "CodecStream"]

UNKNOWN_LENGTH = -1
"""
What is left of a message whose length was not told.
"""

# What waits is cut so that taking it frame by frame copies each byte once.
_PIECE = 16384

# What one may keep when all streams of a connection together keep too much: less than one read of an upstream brings.
_CROWDED = 8192

_OPEN = StreamState.OPEN
_HALF_CLOSED_LOCAL = StreamState.HALF_CLOSED_LOCAL
_HALF_CLOSED_REMOTE = StreamState.HALF_CLOSED_REMOTE
_CLOSED = StreamState.CLOSED


class CodecStream:
    """
    What is written on a stream that is closed meanwhile (the peer may reset it at any time) is dropped without a word.

    @ivar id: Its identifier.
    @ivar sink: Who is told of it: an L{IRequestStreamSink} or L{IResponseStreamSink}. L{None} drops everything.
    @ivar state: Where it stands.
    @ivar sendWindow: How many bytes may be sent on it; below 0 after the peer made its windows smaller.
    @ivar receiveWindow: How many bytes the peer may send on it.
    @ivar unsent: How many bytes wait to be sent.
    @ivar bodyLeft: How many bytes are due of what comes in, or L{UNKNOWN_LENGTH}.
    @ivar isHead: Whether a response that comes in has no body whatever its length says: it answers HEAD.
    @ivar protocol: What an extended CONNECT asks for, or nothing.
    @ivar head: The head of the message that comes in, while it is held; C{body} the body that follows it.
    @ivar hasFinalHead: Whether the head of the message that comes in was read; interim responses do not count.
    """

    __slots__ = (
        "_codec",
        "_due",
        "_end",
        "_isBackedUp",
        "_isPaused",
        "_owed",
        "_queue",
        "_stopsReading",
        "_uncredited",
        "body",
        "bodyLeft",
        "hasFinalHead",
        "head",
        "id",
        "isHead",
        "protocol",
        "receiveWindow",
        "sendWindow",
        "sink",
        "state",
        "unsent",
    )

    def __init__(
        self, codec: ConnectionCodec, streamId: int, state: StreamState, sendWindow: int, receiveWindow: int
    ) -> None:
        self._codec = codec
        self.id = streamId
        self.sink: Any = None
        self.state = state
        self.sendWindow = sendWindow
        self.receiveWindow = receiveWindow
        self.unsent = 0
        self.bodyLeft = UNKNOWN_LENGTH
        self.isHead = False
        self.protocol = b""
        self.hasFinalHead = False
        self.head: Any = None
        self.body: bytes | None = None
        self._queue: deque[bytes] | None = None
        # What follows the queue: an end, or trailers.
        self._end: bool | tuple[Field, ...] = False
        self._due = UNKNOWN_LENGTH
        self._owed = 0
        self._uncredited = 0
        self._isPaused = False
        self._isBackedUp = False
        self._stopsReading = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {StreamState(self.state).name}>"

    @property
    def canSend(self) -> bool:
        """
        Whether this side has not ended.
        """
        return self.state is _OPEN or self.state is _HALF_CLOSED_REMOTE

    @property
    def canReceive(self) -> bool:
        """
        Whether the peer has not ended.
        """
        return self.state is _OPEN or self.state is _HALF_CLOSED_LOCAL

    def happen(self, what: Happening) -> None:
        """
        Go to the next state. Nobody calls this for what the peer may not do: that was refused before.
        """
        state = NEXT_STATE.get((self.state, what))
        if state is None:
            raise LocalProtocolError(f"{what.name} on {self!r}")
        self.state = state
        if state is _CLOSED:
            self.creditAll()
            self._codec.streamClosed(self)

    # Sending

    def sendInformational(self, headers: ResponseHeaders) -> None:
        """
        Send an interim response.
        """
        if self.canSend:
            self._codec.sendBlock(self.id, responseFields(headers), False)

    def sendHeaders(self, headers: ResponseHeaders, endStream: bool, key: tuple[object, ...] = ()) -> None:
        """
        Send the head of a response.

        @param key: See L{keyOf}; nothing where it is not to be recalled.

        @raise LocalProtocolError: If it cannot be written.
        """
        if self.canSend:
            self._codec.sendBlock(self.id, responseFields(headers, bool(self.protocol)), endStream, key)
            if endStream:
                self._ended()
            else:
                self.announce(headers)

    def announce(self, headers: HeaderMap) -> None:
        """
        A head was sent that a body follows, which is to be as long as the head says.
        """
        length = headers.first.get(b"content-length")
        if length is not None and not self.protocol:
            due = parseLength(length)
            self._due = UNKNOWN_LENGTH if due is None else due

    def _account(self, length: int, endStream: bool) -> None:
        self._due -= length
        if self._due < 0 or (endStream and self._due):
            raise LocalProtocolError("a body that is not as long as its Content-Length")

    def sendResponse(self, headers: ResponseHeaders, body: bytes) -> None:
        """
        Send a whole response: the same as L{sendHeaders} and L{sendData}. One like the last, to a request that is over,
        goes a shorter way.
        """
        codec = self._codec
        length = len(body)
        told = DECIMAL[length]
        first = headers.first
        key: tuple[object, ...] = ()
        if (
            self.state is _HALF_CLOSED_REMOTE
            and headers.more is None
            and not self.protocol
            and length <= self.sendWindow
            and length <= codec.sendWindow
            and length <= codec.peerMaxFrameSize
            and first.get(b"content-length", told) == told
            and codec.outSize < codec.outLimit
        ):
            key = keyOf(headers.status, first)
            template = codec.templates.get(key)
            block = None if template is None else template.fill(first)
            if block is not None:
                self.sendWindow -= length
                codec.sendWindow -= length
                codec.emitResponse(self.id, block, body)
                self.state = _CLOSED
                if self._owed:
                    self.creditAll()
                codec.streamClosed(self)
                return
        self.sendHeaders(headers, False, key)
        self.sendData(body, True)

    def sendData(self, data: bytes, endStream: bool) -> None:
        """
        Send a piece of the body: now, as far as the windows allow, the rest when they do.

        @raise LocalProtocolError: If the body is longer or shorter than its Content-Length.
        """
        if not self.canSend or self._end:
            return
        if self._due != UNKNOWN_LENGTH:
            self._account(len(data), endStream)
        codec = self._codec
        length = len(data)
        if (
            self._queue is None
            and length <= self.sendWindow
            and length <= codec.sendWindow
            and length <= codec.peerMaxFrameSize
            and codec.outSize < codec.outLimit
        ):
            if length or endStream:
                self._emit(data, endStream)
                if endStream:
                    self._ended()
            return
        if self._queue is None:
            self._queue = deque()
            codec.wait(self)
        if data:
            if length <= _PIECE:
                self._queue.append(data)
            else:
                self._queue += [data[start : start + _PIECE] for start in range(0, length, _PIECE)]
            self.unsent += length
            codec.unsent += length
            codec.counters.pendingSendBytes.value += length
        if endStream:
            self._end = True
        if codec.unsent > codec.mostUnsent and not codec.isCrowded:
            codec.crowd()
        elif self.unsent > self._limit and not self._isBackedUp:
            self._backUp()

    @property
    def _limit(self) -> int:
        """
        How many unsent bytes pause who sends them.
        """
        limit = self._codec.options.sendBufferLimit
        return min(limit, _CROWDED) if self._codec.isCrowded else limit

    def _backUp(self) -> None:
        self._isBackedUp = True
        if self.sink is not None:
            self.sink.pauseSending()

    def crowd(self) -> None:
        """
        All streams of the connection together keep too much, so each may keep little from now on. Who sends may have
        much ready; a pause, however short, tells that it comes too fast.
        """
        if self._isBackedUp or not self.canSend:
            return
        self._backUp()
        if self.unsent <= self._limit:
            self._isBackedUp = False
            if self.sink is not None:
                self.sink.resumeSending()

    def sendMetadata(self, fields: Iterable[Field]) -> bool:
        """
        Send pairs that are no part of the message, where the options allow it. No credit is asked for them.

        @return: Whether there was room: a peer that does not read is not sent any number of them.
        """
        codec = self._codec
        if not codec.options.allowMetadata or not self.canSend:
            return True
        return codec.sendMetadata(metadataFrames(self.id, fields, codec.peerMaxFrameSize))

    def sendTrailers(self, trailers: HeaderMap) -> None:
        """
        Send trailers, which end the message. Without fields they are just its end.

        @raise LocalProtocolError: If they cannot be written, or the body was shorter than its Content-Length.
        """
        if not self.canSend or self._end:
            return
        fields = trailerFields(trailers)
        if not fields:
            self.sendData(b"", True)
            return
        if self._due != UNKNOWN_LENGTH:
            self._account(0, True)
        if self._queue is not None:
            self._end = fields
        else:
            self._sendTrailers(fields)

    def _sendTrailers(self, fields: tuple[Field, ...]) -> None:
        self._codec.sendBlock(self.id, fields, True)
        self._ended()

    def _emit(self, data: bytes, endStream: bool) -> None:
        codec = self._codec
        length = len(data)
        self.sendWindow -= length
        codec.sendWindow -= length
        codec.emitData(frameHead(length, FrameType.DATA, Flag.END_STREAM if endStream else 0, self.id) + data)

    def emitQueued(self) -> bool:
        """
        Send one frame of what waits, as the windows allow.

        @return: Whether more could follow it at once.
        """
        queue = self._queue
        codec = self._codec
        if queue is None:
            return False
        room = min(self.sendWindow, codec.sendWindow, codec.peerMaxFrameSize)
        if queue:
            if room <= 0:
                return False
            data = queue.popleft()
            if len(data) > room:
                queue.appendleft(data[room:])
                data = data[:room]
            elif queue and len(data) < room:
                # Small pieces share a frame, so that each does not cost the peer one.
                parts = [data]
                room -= len(data)
                while queue and len(queue[0]) <= room:
                    room -= len(queue[0])
                    parts.append(queue.popleft())
                data = b"".join(parts)
            self.unsent -= len(data)
            codec.unsent -= len(data)
            codec.counters.pendingSendBytes.value -= len(data)
            last = not queue and self._end is True
            self._emit(data, last)
            if queue:
                return True
            if last:
                self._queue = None
                self._ended()
                return False
        self._queue = None
        if self._end is True:
            self._emit(b"", True)
            self._ended()
        elif self._end:
            self._sendTrailers(self._end)
        return False

    @property
    def isDrained(self) -> bool:
        """
        Whether it was told to pause, and so little waits by now that it may go on; true once.
        """
        if self._isBackedUp and self.canSend:
            codec = self._codec
            if codec.isCrowded and codec.unsent <= codec.mostUnsent // 2:
                codec.isCrowded = False
            if self.unsent <= self._limit // 2:
                self._isBackedUp = False
                return True
        return False

    def _ended(self) -> None:
        self.happen(Happening.LOCAL_ENDED)
        if self._stopsReading and self.state is not _CLOSED:
            self._codec.callOff(self)

    def reset(self, code: int = ErrorCode.CANCEL) -> None:
        """
        End the stream here and now; its sink is not told.
        """
        if self.state is not _CLOSED:
            self.sink = None
            self._codec.sendReset(self.id, code)
            self._dropQueue()
            self.happen(Happening.RESET)

    def dropped(self) -> None:
        """
        The peer reset it, or the connection fails.
        """
        self._dropQueue()
        self.happen(Happening.RESET)

    def _dropQueue(self) -> None:
        if self._queue is not None:
            self._codec.unsent -= self.unsent
            self._codec.counters.pendingSendBytes.value -= self.unsent
            self.unsent = 0
            self._queue = None
            self._codec.forget(self)

    def stopReading(self) -> None:
        """
        The response is complete, and nobody wants the rest of the request (RFC 9113, 8.1): when all of the response was
        sent, the stream is reset with C{NO_ERROR}.
        """
        self.sink = None
        if self.canReceive:
            self.creditAll()
            if self.canSend:
                self._stopsReading = True
            else:
                self._codec.callOff(self)

    # Receiving

    @property
    def isPaused(self) -> bool:
        """
        Whether nobody wants more for now.
        """
        return self._isPaused

    def received(self, length: int) -> None:
        """
        So many bytes came and were handed on: credit them, or owe them while nobody wants more.
        """
        self._owed += length
        if not self._isPaused:
            self._credit()

    def _credit(self) -> None:
        owed = self._owed
        if owed:
            self._owed = 0
            codec = self._codec
            codec.creditConnection(owed)
            self._uncredited += owed
            # Not for each piece: the peer has half of its window left.
            if self._uncredited >= codec.options.initialStreamWindow >> 1 and self.canReceive:
                self.receiveWindow += self._uncredited
                codec.sendWindowUpdate(self.id, self._uncredited)
                self._uncredited = 0

    def creditAll(self) -> None:
        """
        Nobody is going to read what came: the connection gets its credit back.
        """
        self._isPaused = False
        self._credit()

    def pauseReading(self) -> None:
        """
        Give the peer no more credit.
        """
        self._isPaused = True

    def resumeReading(self) -> None:
        """
        Give it again, and what is owed.
        """
        self._isPaused = False
        self._credit()
