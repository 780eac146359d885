# -*- test-case-name: tests.codec.http1.test_receiver -*-
"""
What both roles of the codec share: cutting the bytes that come in into heads, bodies and tunnels.
"""

from __future__ import annotations

from collections.abc import Callable
from re import Match
from typing import ClassVar, Generic, TypeVar

from meshproxy.codec.http1.chunked import ChunkedBody, ChunkState
from meshproxy.codec.http1.explain import checkLine, parseFieldLine, tooLarge
from meshproxy.codec.http1.framing import CHUNKED, NO_LENGTH
from meshproxy.codec.http1.grammar import matchFields
from meshproxy.codec.http1.interfaces import Http1Options, IRequestSink, IResponseSink
from meshproxy.codec.http1.states import ReadState
from meshproxy.errors import LocalProtocolError, RemoteProtocolError
from meshproxy.headers import HeaderMap

__all__ = ["MessageReceiver"]

HEAD = ReadState.HEAD
FIXED = ReadState.FIXED
CHUNKED_BODY = ReadState.CHUNKED
UNTIL_CLOSE = ReadState.UNTIL_CLOSE
WAITING = ReadState.WAITING
HELD = ReadState.HELD
TUNNEL = ReadState.TUNNEL
CLOSED = ReadState.CLOSED
FAILED = ReadState.FAILED


Headers = TypeVar("Headers", bound=HeaderMap)


def _dropData(data: bytes, endStream: bool) -> None:
    """
    The connection is gone.
    """


def _drop(trailers: HeaderMap) -> None:
    """
    Likewise.
    """


class MessageReceiver(Generic[Headers]):
    """
    Takes bytes in any split and calls its sink; a role says what a head is and what follows a message.

    The sink may call back at any time. So no method trusts a state that it read before a callback, and each
    state is entered before the callback that tells of it.

    @ivar readState: What the next byte that comes in belongs to.
    @ivar opaqueRemaining: Bytes of a body of fixed length still to come; 0 if there are none, or nobody knows.
    @ivar keepAlive: Whether the connection may carry another message after the current one.
    """

    # What accepts a usual head at once (see meshproxy.codec.http1.grammar).
    _matchHead: ClassVar[Callable[..., Match[bytes] | None]]

    def __init__(self, sink: IRequestSink | IResponseSink, options: Http1Options, state: ReadState) -> None:
        self.readState = state
        self.keepAlive = True
        self.opaqueRemaining = 0
        self._options = options
        self._dataReceived = sink.dataReceived
        self._trailersReceived = sink.trailersReceived
        self._chunks: ChunkedBody | None = None
        self._error: RemoteProtocolError | None = None
        # Whether a call of receiveData or resume is under way; a callback may lead to another.
        self._parsing = False
        # A head that has begun, how far its end was searched, and how far its lines were judged.
        self._head = bytearray()
        self._searched = 0
        self._judged = 0
        # What came after a message that has not been answered: the rest of a read, and what came later.
        self._rest = b""
        self._restPosition = 0
        self._later = bytearray()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.readState.value}>"

    @property
    def bufferedBytes(self) -> int:
        """
        How many bytes wait until the current request is answered or the tunnel is open.
        """
        return len(self._rest) - self._restPosition + len(self._later)

    @property
    def isParsing(self) -> bool:
        """
        Whether a read is being taken apart: the sink is called from within.
        """
        return self._parsing

    @property
    def headBegun(self) -> bool:
        """
        Whether a part of a head came, and the rest did not.
        """
        return bool(self._head)

    @property
    def upgraded(self) -> bool:
        """
        Whether bytes pass unparsed.
        """
        return self.readState is TUNNEL

    def stop(self) -> None:
        """
        The connection is gone: nobody is told anything any more. Whoever has made this codec for itself is not kept
        alive by it from now on, so that all of a connection is freed at once, and not by the garbage collector.
        """
        self._dataReceived = _dropData
        self._trailersReceived = _drop
        if self._error is not None:
            # The frames in its traceback hold the connection, too.
            self._error = self._error.with_traceback(None)

    def receiveData(self, data: bytes) -> None:
        """
        Take bytes that came.

        @param data: Any split of the stream, one byte at a time included.

        @raise RemoteProtocolError: If they cannot belong to a legal message. The codec is then
            L{ReadState.FAILED}, and fails the same way with whatever comes.
        """
        self.receiveParts(data)

    def receiveParts(self, data: bytes) -> None:
        """
        The same, without the shorter ways that a role has for whole messages.
        """
        state = self.readState
        if self._parsing or state is WAITING or state is HELD:
            self._later += data
            if state is WAITING and data:
                self._receivedWhileWaiting()
            return
        self._parse(data, 0)

    def _receivedWhileWaiting(self) -> None:
        """
        Bytes came that belong to no message yet.
        """

    def _parse(self, data: bytes, position: int) -> None:
        """
        Take bytes apart until they end or something has to happen first.
        """
        end = len(data)
        self._parsing = True
        try:
            while position < end:
                state = self.readState
                if state is HEAD:
                    position = self._receiveHead(data, position)
                elif state is FIXED:
                    position = self._receiveFixed(data, position)
                elif state is CHUNKED_BODY:
                    position = self._receiveChunked(data, position)
                elif state is TUNNEL or state is UNTIL_CLOSE:
                    self._dataReceived(data[position:] if position else data, False)
                    break
                elif state is WAITING or state is HELD:
                    self._rest = data
                    self._restPosition = position
                    break
                else:
                    self._refuse()
                    break
        except RemoteProtocolError as error:
            self._fail(error)
            raise
        finally:
            self._parsing = False
        if self._later and self.readState is not WAITING and self.readState is not HELD:
            self._parseLater()

    def _parseLater(self) -> None:
        data = bytes(self._later)
        self._later.clear()
        self._parse(data, 0)

    def _parseKept(self) -> None:
        """
        Go on with what was kept.
        """
        data, position = self._rest, self._restPosition
        self._rest, self._restPosition = b"", 0
        self._parse(data, position)

    def _refuse(self) -> None:
        """
        Fail the same way again; after the last message, drop what comes.
        """
        if self._error is not None and self.readState is FAILED:
            raise RemoteProtocolError(self._error.why, self._error.statusHint, self._error.details, self._error.h2Code)

    def _fail(self, error: RemoteProtocolError) -> None:
        self._error = error
        self.readState = FAILED
        self.keepAlive = False
        self._drop()

    def _drop(self) -> None:
        """
        Forget what was kept.
        """
        self._head.clear()
        self._later.clear()
        self._rest, self._restPosition = b"", 0
        self._chunks = None
        self.opaqueRemaining = 0

    # Heads.

    def _receiveHead(self, data: bytes, position: int) -> int:
        """
        Take a head, or a part of it.

        @return: Where the rest begins.
        """
        limit = self._options.maxHeadBytes
        whole: bytes | None = None
        match = None if self._head else self._matchHead(data, position)
        if match is not None and match.end() - position <= limit:
            stop = match.end()
        else:
            whole, stop = self._collectHead(data, position)
            if whole is None:
                return stop
            match = self._matchHead(whole) if len(whole) <= limit else None
        headers = self._takeMatch(match) if match is not None else None
        if headers is not None:
            return self._messageBegan(headers, False, data, stop)
        head = whole if whole is not None else data[position:stop]
        return self._messageBegan(*self._explain(head), data, stop)

    def _takeMatch(self, match: Match[bytes]) -> Headers | None:
        """
        The head of which the role's pattern accepted the parts, or L{None} where it needs the slow way.
        """
        raise NotImplementedError

    def _explain(self, head: bytes) -> tuple[Headers, bool]:
        """
        The same for a whole head by the slow way.

        @return: The head, and whether it is of HTTP/1.0.

        @raise RemoteProtocolError: If it is not legal.
        """
        raise NotImplementedError

    def _messageBegan(self, headers: Headers, isHTTP10: bool, data: bytes, stop: int) -> int:
        """
        Enter the state after a head, and tell the sink.

        @param data: The read in which the head ended, at C{stop}.

        @return: Where what nobody was told of begins.
        """
        raise NotImplementedError

    def _collectHead(self, data: bytes, position: int) -> tuple[bytes | None, int]:
        """
        Put together a head of which the beginning came; the slow way.

        @return: The head with the empty line at its end, or L{None} while that has not come; and where the rest
            of C{data} begins.
        """
        head = self._head
        before = len(head)
        head += data[position:] if position else data
        if not self._judged:
            skipped = self._skipBefore(head)
            before -= skipped
        end = head.find(b"\r\n\r\n", self._searched)
        if end < 0:
            self._judgeUnfinished()
            self._searched = max(0, len(head) - 3)
            return None, len(data)
        whole = bytes(memoryview(head)[: end + 4])
        head.clear()
        self._searched = 0
        self._judged = 0
        return whole, position + end + 4 - before

    def _skipBefore(self, head: bytearray) -> int:
        """
        Take away what may stand before a head.

        @return: How many bytes that was.
        """
        return 0

    def _judgeUnfinished(self) -> None:
        """
        Refuse what cannot become a legal head without waiting for its end, which may never come. Every line is
        judged once.
        """
        head = self._head
        if head.find(b"\n", self._searched) >= 0:
            if not self._judged:
                stop = head.index(b"\n") + 1
                self._judgeFirstLine(checkLine(bytes(memoryview(head)[:stop])))
                self._judged = stop
            match = matchFields(head, self._judged)
            if match is not None:
                self._judged = match.end()
            match = None
            stop = head.find(b"\n", self._judged) + 1
            if stop:
                parseFieldLine(checkLine(bytes(memoryview(head)[self._judged : stop])))
                raise RemoteProtocolError("an illegal head")
        if len(head) > self._options.maxHeadBytes:
            raise tooLarge("a head", self._options.maxHeadBytes)

    def _judgeFirstLine(self, line: bytes) -> None:
        """
        Refuse a first line that cannot begin a legal head.
        """
        raise NotImplementedError

    # Bodies.

    def _beginBody(self, length: int) -> None:
        """
        Enter the state for a body of a length, which is not 0.
        """
        if length == CHUNKED:
            self._chunks = ChunkedBody(self._options)
            self.readState = CHUNKED_BODY
        elif length == NO_LENGTH:
            self.readState = UNTIL_CLOSE
        else:
            self.opaqueRemaining = length
            self.readState = FIXED

    def _messageEnded(self, hasMore: bool) -> None:
        """
        Enter the state after a whole message, before the sink is told of its end.

        @param hasMore: Whether bytes follow in the same read.
        """
        raise NotImplementedError

    def _receiveFixed(self, data: bytes, position: int) -> int:
        available = len(data) - position
        remaining = self.opaqueRemaining
        if available < remaining:
            self.opaqueRemaining = remaining - available
            self._dataReceived(data[position:] if position else data, False)
            return len(data)
        stop = position + remaining
        self.opaqueRemaining = 0
        self._messageEnded(available > remaining)
        self._dataReceived(data if available == remaining and not position else data[position:stop], True)
        return stop

    def _receiveChunked(self, data: bytes, position: int) -> int:
        chunks = self._chunks
        assert chunks is not None
        try:
            position = chunks.receive(data, position)
        except RemoteProtocolError:
            if chunks.pieces:
                self._dataReceived(chunks.takeData(), False)
            raise
        if chunks.state is not ChunkState.DONE:
            if chunks.pieces:
                self._dataReceived(chunks.takeData(), False)
            return position
        self._chunks = None
        hasTrailers = bool(chunks.trailers) and self._options.enableTrailers
        if hasTrailers and chunks.pieces:
            self._dataReceived(chunks.takeData(), False)
            if self.readState is not CHUNKED_BODY:
                return position
        self._messageEnded(position < len(data))
        if hasTrailers:
            self._trailersReceived(chunks.trailerMap())
        else:
            self._dataReceived(chunks.takeData(), True)
        return position

    def opaqueReceived(self, count: int) -> None:
        """
        Bytes of a body of fixed length went by without this codec. When they were the last ones, the message is
        over; the sink is told so with no data.

        @raise LocalProtocolError: If so many were not to come.
        """
        if self.readState is not FIXED or count > self.opaqueRemaining:
            raise LocalProtocolError(f"{count} bytes went by where {self.opaqueRemaining} were to come")
        self.opaqueRemaining -= count
        if not self.opaqueRemaining:
            self._messageEnded(False)
            self._dataReceived(b"", True)

    # Tunnels.

    def _openTunnel(self) -> None:
        """
        Let bytes pass, those that were kept first.
        """
        self.readState = TUNNEL
        if not self._parsing and self.bufferedBytes:
            self._parseKept()
