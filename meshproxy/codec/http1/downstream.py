# -*- test-case-name: tests.codec.http1.test_downstream -*-
"""
The server's role: requests come in, responses go out.
"""

from __future__ import annotations

from re import Match

from meshproxy.codec.http1.explain import explainRequest, parseRequestLine
from meshproxy.codec.http1.framing import CHUNKED, NO_LENGTH, bodyLength, connectionTokens, takeUpgrade, wantsClose
from meshproxy.codec.http1.grammar import (
    AUTHORITY_CHARACTERS,
    INTERN,
    matchRequest,
    matchRequestLine,
    parseLength,
    skipEmptyLines,
    splitFields,
)
from meshproxy.codec.http1.interfaces import Http1Counters, Http1Options, IRequestSink, UnderscoreAction
from meshproxy.codec.http1.memory import RequestMemory
from meshproxy.codec.http1.receiver import MessageReceiver
from meshproxy.codec.http1.serialize import (
    DECIMAL,
    STATUS_LINES,
    HeadTemplates,
    chunk,
    encodeHead,
    lastChunk,
    styled,
    without,
)
from meshproxy.codec.http1.states import ReadState, WriteState
from meshproxy.errors import LocalProtocolError, RemoteProtocolError
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders

__all__ = ["DownstreamCodec"]

HEAD = ReadState.HEAD
WAITING = ReadState.WAITING
HELD = ReadState.HELD
TUNNEL = ReadState.TUNNEL
CLOSED = ReadState.CLOSED

IDLE = WriteState.IDLE
DUE = WriteState.HEAD
FIXED = WriteState.FIXED
CHUNKED_BODY = WriteState.CHUNKED
UNTIL_CLOSE = WriteState.UNTIL_CLOSE
NOTHING = WriteState.NOTHING
TUNNELING = WriteState.TUNNEL

_newRequest = RequestHeaders.__new__

_NUL, _LF, _CR = b"\0\n\r"

# A map with one of these twice is not for the fast way.
_SINGLE = frozenset({b"host", b"content-length", b"transfer-encoding"})

# Every method that Envoy knows begins with one of these. Anything else, a TLS handshake for one, is refused at
# its first byte.
_BEGINS_METHOD = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")

_CHUNKED_END = b"transfer-encoding: chunked\r\n\r\n"


# The first lines of responses that have a body.
_STATUS_LINES_WITH_BODY = {
    status: STATUS_LINES[False][status] for status in range(200, 600) if status != 204 and status != 304
}

# Such responses, whole.
_TEMPLATES = HeadTemplates(b"%b", rest=b"%b")

# Without any of these fields, a request has no body and leaves its connection open.
_UNFRAMED = frozenset({b"content-length", b"transfer-encoding", b"connection", b"proxy-connection"}).isdisjoint


def _dropRequest(headers: RequestHeaders, endStream: bool) -> None:
    """
    The connection is gone.
    """


class DownstreamCodec(MessageReceiver[RequestHeaders]):
    """
    Reads requests and writes their responses, one after the other.

    While a request is whole and unanswered nothing further is parsed; C{bufferedBytes} tells how much waits.
    When its response was written, L{resume} goes on.

    After a L{RemoteProtocolError} one response may be encoded still, if none was begun: the local reply. It says
    C{connection: close}.

    After a request that asks for a tunnel (CONNECT, Upgrade) what comes is kept until L{beginTunnel}: an
    upstream that does not agree must never see it (CVE-2026-73548, CVE-2025-64763).

    @ivar isHTTP10: Whether the current request is of HTTP/1.0.
    @ivar writeState: What may be written next.
    @ivar request: The head of the current request; after a L{RemoteProtocolError}, of the one that was refused, or
        L{None} where it was not read so far.
    """

    def __init__(
        self, sink: IRequestSink, options: Http1Options | None = None, counters: Http1Counters | None = None
    ) -> None:
        super().__init__(sink, options or Http1Options(), HEAD)
        self.writeState = IDLE
        self.request: RequestHeaders | None = None
        self._requestReceived = sink.requestReceived
        self._counters = counters or Http1Counters()
        self._checksUnderscores = self._options.underscores is not UnderscoreAction.ALLOW
        self.isHTTP10 = False
        self._wantsTunnel = False
        # Bytes that a response of fixed length still has to get.
        self._unwritten = 0
        self._memory = RequestMemory()
        self._maxHeadBytes = self._options.maxHeadBytes
        self._scheme = self._options.scheme
        self._isPlain = not self._options.properCase

    def __repr__(self) -> str:
        return f"<{type(self).__name__} reads {self.readState.value}, writes {self.writeState.value}>"

    def stop(self) -> None:
        """
        See L{MessageReceiver.stop}.
        """
        super().stop()
        self._requestReceived = _dropRequest

    # Requests.

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
        match = matchRequest(data)
        if match is None or match.end() != len(data) or len(data) > self._maxHeadBytes:
            return None
        taken = self._takeMatch(match)
        if taken is None or not _UNFRAMED(taken.first):
            return None
        if memory.misses <= memory.PATIENCE:
            memory.missed(data, match.start(3), taken)
        elif memory.tries and not self._checksUnderscores and len(taken.first) < self._options.maxHeaderCount:
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

    def _messageBegan(self, headers: RequestHeaders, isHTTP10: bool, hasMore: bool) -> None:
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
        self._requestReceived(headers, endStream)

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

    # Responses.

    def giveUp(self) -> None:
        """
        Take no more of a request whose head is not there yet, so that a response to it may be encoded.
        """
        if self.readState is HEAD:
            self._fail(RemoteProtocolError("given up"))

    def closeAfterResponse(self) -> None:
        """
        Let the response of the current request, or of the next one, be the last: it says C{connection: close}.
        """
        self.keepAlive = False

    def encodeInformational(self, headers: ResponseHeaders) -> bytes:
        """
        Write a response before the response: 100 or 103.

        @raise LocalProtocolError: If no response is due, or it is another kind of status.
        """
        if self.writeState is not DUE or not 100 <= headers.status < 200 or headers.status == 101:
            raise LocalProtocolError(f"{headers.status} as informational response while {self!r}")
        if self.isHTTP10:
            # RFC 9110, 15.2: an HTTP/1.0 client knows no 1xx.
            return b""
        return encodeHead(STATUS_LINES[False][headers.status], 1, without(headers, b"content-length")) + b"\r\n"

    def encodeHeaders(self, headers: ResponseHeaders, endStream: bool) -> bytes:
        """
        Write the head of the response. The way its body is framed follows from the request and from its
        Content-Length; C{transfer-encoding} is the codec's own.

        @raise LocalProtocolError: If no response is due, or the head cannot be written.
        """
        if self.writeState is not DUE:
            raise LocalProtocolError(f"a response head while {self!r}")
        status = headers.status
        opensTunnel = self._wantsTunnel and self._opensTunnel(status)
        if self.readState is not WAITING and not opensTunnel:
            # Envoy closes after a response that overtakes its request: what is left of the request would have to
            # be read for nothing.
            self.keepAlive = False
        state, framing = self._frameResponse(headers, endStream, opensTunnel)
        head = self._encodeHead(headers, opensTunnel) + framing
        if headers.more is not None or self._options.properCase:
            head = styled(head, headers, self._options.properCase and not self._options.preservesCase)
        self.writeState = state
        return head + self._finish() if endStream else head

    def _opensTunnel(self, status: int) -> bool:
        """
        Whether a response opens the tunnel that was asked for: 101 to an upgrade and nothing else (CVE-2024-23326),
        any 2xx to CONNECT.
        """
        assert self.request is not None
        return 200 <= status < 300 if self.request.method == b"CONNECT" else status == 101

    def _frameResponse(self, headers: ResponseHeaders, endStream: bool, opensTunnel: bool) -> tuple[WriteState, bytes]:
        """
        How the body of a response is written, and the line that says so, with the end of the head.
        """
        status = headers.status
        lengthText = headers.first.get(b"content-length")
        if opensTunnel:
            return TUNNELING, b"\r\n"
        if status < 200:
            raise LocalProtocolError(f"{status} is no final response to this request")
        isHead = self.request is not None and self.request.method == b"HEAD"
        if status == 204 or status == 304 or isHead:
            if not isHead or lengthText is not None or self.isHTTP10 or status == 204 or status == 304:
                return NOTHING, b"\r\n"
            # As Envoy guesses: the response to a GET would not have had a length either.
            return NOTHING, _CHUNKED_END
        if lengthText is not None:
            length = parseLength(lengthText)
            if length is None or (headers.more is not None and b"content-length" in headers.more):
                raise LocalProtocolError("a Content-Length that is not one number")
            self._unwritten = length
            return FIXED, b"\r\n"
        if endStream:
            self._unwritten = 0
            return FIXED, b"content-length: 0\r\n\r\n"
        if self.isHTTP10:
            self.keepAlive = False
            return UNTIL_CLOSE, b"\r\n"
        return CHUNKED_BODY, _CHUNKED_END

    def _encodeHead(self, headers: ResponseHeaders, opensTunnel: bool) -> bytes:
        """
        The status line and the fields of a response, with a Connection that is true.
        """
        statusLine = STATUS_LINES[self.isHTTP10][headers.status]
        if opensTunnel:
            return encodeHead(statusLine, 1, headers)
        first = headers.first
        if headers.status == 204 and b"content-length" in first:
            # RFC 9110, 8.6: a server must not send it in a 204.
            return self._encodeHead(ResponseHeaders(204, without(headers, b"content-length").fields()), False)
        if b"connection" in first and b"close" in connectionTokens(headers):
            self.keepAlive = False
        if self.isHTTP10 and b"content-length" not in first:
            # An HTTP/1.0 client knows the end of such a response by the end of the connection only; Envoy closes
            # even where there is no body.
            self.keepAlive = False
        if self.keepAlive and not self.isHTTP10:
            return encodeHead(statusLine, 1, headers)
        kept: HeaderMap = headers
        if b"connection" in first:
            kept = without(headers, b"connection")
        connection = b"connection: keep-alive\r\n" if self.keepAlive else b"connection: close\r\n"
        return encodeHead(statusLine, 1, kept) + connection

    def encodeData(self, data: bytes, endStream: bool) -> bytes:
        """
        Write a piece of the response's body, or of what goes through a tunnel.

        @raise LocalProtocolError: If there is no body to write, or it is longer or shorter than its
            Content-Length. The connection is then of no use: what the downstream got is a part of a message.
        """
        state = self.writeState
        if state is FIXED:
            self._unwritten -= len(data)
            if self._unwritten < 0:
                raise LocalProtocolError("a body longer than its Content-Length")
        elif state is CHUNKED_BODY:
            data = chunk(data)
        elif state is NOTHING:
            data = b""
        elif state is not TUNNELING and state is not UNTIL_CLOSE:
            raise LocalProtocolError(f"data while {self!r}")
        return data + self._finish() if endStream else data

    @property
    def opaqueUnwritten(self) -> int:
        """
        How many bytes of a body of fixed length are still to be written; 0 if none are, or nobody knows.
        """
        return self._unwritten if self.writeState is FIXED else 0

    def opaqueWritten(self, count: int) -> None:
        """
        Bytes of a body of fixed length go by without this codec, all but the last of it at most.

        @raise LocalProtocolError: If so many were not to be written.
        """
        if self.writeState is not FIXED or count >= self._unwritten:
            raise LocalProtocolError(f"{count} bytes go by while {self!r}")
        self._unwritten -= count

    def encodeResponse(self, headers: ResponseHeaders, body: bytes) -> bytes:
        """
        Write a whole response: the same as L{encodeHeaders} and L{encodeData}, with a shorter way for the usual one,
        whose length is known.

        @raise LocalProtocolError: As they do.
        """
        first = headers.first
        if (
            self.writeState is DUE
            and self.readState is WAITING
            and self.keepAlive
            and headers.more is None
            and first.get(b"content-length") == DECIMAL[len(body)]
            and b"connection" not in first
            and b"transfer-encoding" not in first
            and (statusLine := _STATUS_LINES_WITH_BODY.get(headers.status)) is not None
            and self._isPlain
            and not self.isHTTP10
            and self.request.method != b"HEAD"  # type: ignore[union-attr]  # a response is due to a request
        ):
            values = first.values()
            # See isOneLine.
            joined = b"".join(values)
            if _LF in joined or _CR in joined or _NUL in joined:
                raise LocalProtocolError("CR, LF or NUL in a head")
            head = _TEMPLATES[tuple(first)] % (statusLine, *values, body)
            self.writeState = IDLE
            return head
        return self.encodeHeaders(headers, False) + self.encodeData(body, True)

    def encodeTrailers(self, trailers: HeaderMap) -> bytes:
        """
        Write trailers, which end the response. They are left out where C{enable_trailers} is not set or the
        body is not chunked.
        """
        if self.writeState in (IDLE, DUE):
            raise LocalProtocolError(f"trailers while {self!r}")
        if self.writeState is CHUNKED_BODY and self._options.enableTrailers:
            end = lastChunk(trailers)
            self._responseEnded()
            return end
        return self._finish()

    def _finish(self) -> bytes:
        """
        End the response.
        """
        end = b""
        if self.writeState is CHUNKED_BODY:
            end = lastChunk()
        elif self.writeState is FIXED and self._unwritten:
            raise LocalProtocolError("a body shorter than its Content-Length")
        self._responseEnded()
        return end

    def _responseEnded(self) -> None:
        wasTunnel = self.writeState is TUNNELING
        self.writeState = IDLE
        if wasTunnel:
            # The other direction may go on.
            return
        if self._wantsTunnel or not self.keepAlive:
            # What is left of the request, and what came after it, is of no use any more.
            self.keepAlive = False
            self.readState = CLOSED
            self._drop()

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

    def beginTunnel(self) -> None:
        """
        Let bytes pass both ways, those first that came since the request: to be called when 101, or 2xx to
        CONNECT, was encoded.

        @raise LocalProtocolError: If no such response was encoded.
        """
        if self.writeState is not TUNNELING:
            raise LocalProtocolError(f"a tunnel while {self!r}")
        self._openTunnel()
