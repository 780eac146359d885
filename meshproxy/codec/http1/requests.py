# -*- test-case-name: tests.codec.http1.test_downstream -*-
"""
How a server reads requests.
"""

from __future__ import annotations

from re import Match

from meshproxy.codec.http1.explain import explainRequest, parseRequestLine
from meshproxy.codec.http1.framing import CHUNKED, KEEP_ALIVE, NO_LENGTH, bodyLength, takeUpgrade, wantsClose
from meshproxy.codec.http1.grammar import (
    AUTHORITY_CHARACTERS,
    INTERN,
    matchRequest,
    matchRequestLine,
    skipEmptyLines,
    splitFields,
)
from meshproxy.codec.http1.interfaces import Http1Counters, Http1Options, IRequestSink, UnderscoreAction
from meshproxy.codec.http1.memory import RequestMemory
from meshproxy.codec.http1.receiver import MessageReceiver
from meshproxy.codec.http1.states import ReadState, WriteState
from meshproxy.errors import RemoteProtocolError
from meshproxy.headers import HeaderMap, RequestHeaders

__all__ = ["RequestReceiver"]

HEAD = ReadState.HEAD
WAITING = ReadState.WAITING
FIXED = ReadState.FIXED
HELD = ReadState.HELD
TUNNEL = ReadState.TUNNEL
CLOSED = ReadState.CLOSED

IDLE = WriteState.IDLE
DUE = WriteState.HEAD

_newRequest = RequestHeaders.__new__

_END = b"\r\n\r\n"

# A map with one of these twice is not for the fast way.
_SINGLE = frozenset({b"host", b"content-length", b"transfer-encoding"})

# Every method that Envoy knows begins with one of these. Anything else, a TLS handshake for one, is refused at
# its first byte.
_BEGINS_METHOD = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")

# Without any of these fields, a request has no body and leaves its connection open.
_UNFRAMED = frozenset({b"content-length", b"transfer-encoding", b"connection", b"proxy-connection"}).isdisjoint


def _dropRequest(headers: RequestHeaders, endStream: bool) -> None:
    """
    The connection is gone.
    """


def _dropCall(headers: RequestHeaders, body: bytes) -> bool:
    """
    Likewise.
    """
    return False


class RequestReceiver(MessageReceiver[RequestHeaders]):
    """
    Reads requests, one after the other.

    While a request is whole and unanswered nothing further is parsed; C{bufferedBytes} tells how much waits.
    When its response was written, L{resume} goes on.

    @ivar isHTTP10: Whether the current request is of HTTP/1.0.
    @ivar writeState: What may be written next: a request that came, and what is none, lets a response be due.
    @ivar request: The head of the current request; after a L{RemoteProtocolError}, of the one that was refused, or
        L{None} where it was not read so far.
    """

    def __init__(self, sink: IRequestSink, options: Http1Options, counters: Http1Counters) -> None:
        super().__init__(sink, options, HEAD)
        self.writeState = IDLE
        self.request: RequestHeaders | None = None
        self._requestReceived = sink.requestReceived
        self._callReceived = sink.callReceived
        self._counters = counters
        self._checksUnderscores = options.underscores is not UnderscoreAction.ALLOW
        self.isHTTP10 = False
        self._wantsTunnel = False
        self._memory = RequestMemory()
        self._maxHeadBytes = options.maxHeadBytes
        self._scheme = options.scheme

    def stop(self) -> None:
        """
        See L{MessageReceiver.stop}.
        """
        super().stop()
        self._requestReceived = _dropRequest
        self._callReceived = _dropCall

    def receiveData(self, data: bytes) -> None:
        """
        See L{MessageReceiver.receiveData}.
        """
        headers = self.takeWhole(data)
        if headers is None:
            self.receiveParts(data)
        else:
            self._requestReceived(headers, True)

    def takeWhole(self, data: bytes) -> RequestHeaders | None:
        """
        Take a read that is one whole request without a body, as the usual one is: a shorter way to where
        L{receiveData} gets, but that nobody else is told of it.

        @return: The request; L{None} if the read is anything else, of which nothing was taken. It is then for
            L{receiveParts}.
        """
        if self.readState is not HEAD or self._head or self._parsing:
            return None
        memory = self._memory
        if memory.isWorthwhile and data.endswith(memory.block):
            # The fields are those of the last one, byte for byte, as a client's requests on a connection often are.
            if data == memory.head or self._recallLine(data):
                memory.misses = 0
                self.request = headers = _newRequest(RequestHeaders)
                headers.method = memory.method
                headers.path = memory.path
                headers.authority = memory.authority
                headers.scheme = self._scheme
                headers.first = memory.first.copy()
                headers.more = None
                self.writeState = DUE
                self.readState = WAITING
                return headers
        elif memory.shapes is not None and len(data) <= self._maxHeadBytes:
            take = memory.shapes.get(data.count(b"\n"))
            if take is not None and (shaped := take(data)) is not None:
                self.request = shaped
                shaped.scheme = self._scheme
                self.writeState = DUE
                self.readState = WAITING
                return shaped
        if not data.endswith(_END):
            return None
        match = matchRequest(data)
        if match is None or match.end() != len(data) or len(data) > self._maxHeadBytes:
            return None
        taken = self._takeMatch(match)
        if taken is None or not _UNFRAMED(taken.first):
            return None
        if memory.misses <= memory.PATIENCE:
            memory.missed(data, match.start(3), taken)
        elif memory.tries and not self._checksUnderscores and len(taken.first) + 2 <= self._options.maxHeaderCount:
            memory.notice(data, match[3])
        self.request = taken
        self.writeState = DUE
        self.readState = WAITING
        return taken

    def _recallLine(self, data: bytes) -> bool:
        """
        Remember the request line of a read whose end is what is remembered.

        @return: Whether that and nothing else stands before.
        """
        memory = self._memory
        match = matchRequestLine(data)
        if match is None or match.end() != len(data) - len(memory.block):
            return False
        if len(data) > memory.LONGEST or len(data) > self._maxHeadBytes:
            return False
        memory.head = data
        memory.method, memory.path = match.groups()
        return True

    _matchHead = staticmethod(matchRequest)

    def _takeMatch(self, match: Match[bytes]) -> RequestHeaders | None:
        method, path, lines = match.groups()
        intern = INTERN
        pairs = splitFields(lines)
        if len(pairs) > self._options.maxHeaderCount or (self._checksUnderscores and b"_" in lines):
            return None
        first = {intern[name]: value for name, value in pairs}
        more = None
        if len(first) != len(pairs):
            fields = HeaderMap((intern[name], value) for name, value in pairs)
            first, more = fields.first, fields.more
            if more is not None and not _SINGLE.isdisjoint(more):
                return None
        if b"connection" in first and more is None and first[b"connection"] in KEEP_ALIVE:
            # It speaks of this connection alone (RFC 9110, 7.6.1), and tells nothing.
            del first[b"connection"]
        authority = first.pop(b"host", None)
        if authority is None or authority.translate(None, AUTHORITY_CHARACTERS):
            return None
        headers = _newRequest(RequestHeaders)
        headers.method = method
        headers.path = path
        headers.authority = authority
        headers.scheme = self._scheme
        headers.first = first
        headers.more = more
        return headers

    def _explain(self, head: bytes) -> tuple[RequestHeaders, bool]:
        headers, isHTTP10 = explainRequest(head, self._options, self._counters)
        if b"#" in headers.path and not self._options.passesFragments:
            # Envoy's connection manager answers so; a fragment is not for the wire (RFC 9110, 4.1).
            self.request = headers
            raise RemoteProtocolError("a fragment in the request target", 400, "path_normalization_failed")
        return headers, isHTTP10

    def _messageBegan(self, headers: RequestHeaders, isHTTP10: bool, data: bytes, stop: int) -> int:
        self.request = headers
        self.isHTTP10 = isHTTP10
        self.writeState = DUE
        first = headers.first
        if (
            isHTTP10
            or headers.method == b"CONNECT"
            or b"content-length" in first
            or b"transfer-encoding" in first
            or b"connection" in first
            or b"proxy-connection" in first
        ):
            endStream = self._frame(headers)
        else:
            endStream = True
            self.readState = WAITING
        end = stop + self.opaqueRemaining
        if stop < end <= len(data):
            body = data[stop:end]
            if self._callReceived(headers, body):
                self.opaqueRemaining = 0
                if self.readState is FIXED:
                    self._messageEnded(end < len(data))
                return end
        else:
            self._requestReceived(headers, endStream)
        return stop

    def _frame(self, headers: RequestHeaders) -> bool:
        """
        Find out where the request ends, and what it wants of its connection.

        @return: Whether it ends with its head.
        """
        if wantsClose(headers, self.isHTTP10):
            self.keepAlive = False
        length = bodyLength(headers, self.isHTTP10, self._options)
        if headers.method == b"CONNECT" or takeUpgrade(headers, self._options.ignoredUpgrades):
            if length == CHUNKED:
                # RFC 9110, 9.3.6: a body of CONNECT has no meaning; one before an upgrade would have to be held.
                raise RemoteProtocolError("a body before a tunnel", 501, "http1.invalid_transfer_encoding")
            if length > 0:
                raise RemoteProtocolError("a body before a tunnel", 400, "http1.body_disallowed")
            headers.remove(b"content-length")
            self._wantsTunnel = True
            self.readState = HELD
            return False
        if length in (0, NO_LENGTH):
            # RFC 9112, 6.3: a request without either has no body.
            self.readState = WAITING
            return True
        self._beginBody(length)
        return False

    def _messageEnded(self, hasMore: bool) -> None:
        self.readState = WAITING

    def _skipBefore(self, head: bytearray) -> int:
        # RFC 9112, 2.2: a server should ignore an empty line before the request line. Envoy ignores any number.
        match = skipEmptyLines(head)
        skipped = match.end() if match is not None else 0
        # A match holds on to the bytes that it looked at.
        match = None
        del head[:skipped]
        self._searched = max(0, self._searched - skipped)
        if head and head[0] not in _BEGINS_METHOD and head != b"\r" and not self._options.customMethods:
            raise RemoteProtocolError("what begins no request")
        return skipped

    def _fail(self, error: RemoteProtocolError) -> None:
        super()._fail(error)
        if self.writeState is IDLE:
            # What is no request gets a response all the same.
            self.writeState = DUE

    def _judgeFirstLine(self, line: bytes) -> None:
        parseRequestLine(line, self._options)

    def receiveEOF(self) -> None:
        """
        The downstream ended its side.

        @raise RemoteProtocolError: If it did so within a request.
        """
        state = self.readState
        if state is TUNNEL:
            self.readState = CLOSED
            self._dataReceived(b"", True)
        elif state in (WAITING, HELD, CLOSED, ReadState.FAILED) or (state is HEAD and not self._head):
            self.keepAlive = False
            if state is HEAD:
                self.readState = CLOSED
        else:
            error = RemoteProtocolError(
                "the end of the connection within a request", 400, "downstream_remote_disconnect"
            )
            self._fail(error)
            raise error

    def giveUp(self) -> None:
        """
        Take no more of a request whose head is not there yet, so that a response to it may be encoded.
        """
        if self.readState is HEAD:
            self._fail(RemoteProtocolError("given up"))

    def resume(self) -> None:
        """
        Parse what is buffered, the current request and its response being over. It does nothing while they are
        not, or after the last response of the connection.
        """
        if self.writeState is not IDLE or self.readState is not WAITING:
            return
        self.readState = HEAD
        self.request = None
        self.isHTTP10 = False
        if not self._parsing and self.bufferedBytes:
            self._parseKept()

    def resumeIdle(self) -> bool:
        """
        L{resume}, where nothing is buffered and nothing is being taken apart.

        @return: Whether it did.
        """
        if self._parsing or self._rest or self._later or self.writeState is not IDLE or self.readState is not WAITING:
            return False
        self.readState = HEAD
        self.request = None
        self.isHTTP10 = False
        return True
