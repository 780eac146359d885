# -*- test-case-name: tests.codec.http1.test_upstream -*-
"""
The client's role: requests go out, responses come in.
"""

from __future__ import annotations

import re
from re import Match

from meshproxy.codec.http1.chunked import wholeChunked
from meshproxy.codec.http1.explain import explainResponse, parseStatusLine
from meshproxy.codec.http1.framing import NO_LENGTH, bodyLength, connectionTokens, wantsClose
from meshproxy.codec.http1.grammar import INTERN, STATUS, matchResponse, parseLength, splitFields
from meshproxy.codec.http1.interfaces import Http1Options, IResponseSink
from meshproxy.codec.http1.memory import ResponseMemory
from meshproxy.codec.http1.receiver import MessageReceiver
from meshproxy.codec.http1.serialize import COOKIES, DECIMAL, HeadTemplates, chunk, encodeHead, lastChunk, styled
from meshproxy.codec.http1.states import ReadState, WriteState
from meshproxy.errors import LocalProtocolError, RemoteProtocolError
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders

__all__ = ["UpstreamCodec"]

HEAD = ReadState.HEAD
WAITING = ReadState.WAITING
TUNNEL = ReadState.TUNNEL
CLOSED = ReadState.CLOSED
UNTIL_CLOSE = ReadState.UNTIL_CLOSE

IDLE = WriteState.IDLE
FIXED = WriteState.FIXED
CHUNKED_BODY = WriteState.CHUNKED
ASKED = WriteState.HELD
TUNNELING = WriteState.TUNNEL

_newResponse = ResponseHeaders.__new__

_NUL, _LF, _CR, _SPACE = b"\0\n\r "

# To these Envoy adds no "content-length: 0" where they have no body: nobody expects one of them.
_BODILESS = frozenset({b"GET", b"HEAD", b"DELETE", b"TRACE", b"CONNECT"})

# Those of them that ask for nothing of the connection.
_ALONE = _BODILESS - {b"CONNECT"}

# Those that usually have one.
_WITH_BODY = frozenset({b"POST", b"PUT", b"PATCH"})

# Responses with these end with their heads, whatever they say.
_WITHOUT_BODY = frozenset({b"204", b"304"})

_findNoLength = re.compile(rb"(?i)content-length: 0\r").search

# The heads of requests without a body and without anything to say about their connection.
_TEMPLATES = HeadTemplates(b"%b %b HTTP/1.1\r\nhost: %b\r\n")

_DEFAULTS = Http1Options(maxHeadBytes=80 * 1024)


def _dropHead(headers: ResponseHeaders) -> None:
    """
    The connection is gone.
    """


def _dropResponse(headers: ResponseHeaders, endStream: bool) -> None:
    """
    Likewise.
    """


def _dropWhole(headers: ResponseHeaders, body: bytes) -> None:
    """
    Likewise.
    """


class UpstreamCodec(MessageReceiver[ResponseHeaders]):
    """
    Writes requests and reads their responses, one after the other.

    C{keepAlive} is true when the sink is told of the end of a response only if the next request may go out on
    the same connection: request and response are over, neither asked to close, and nothing else came.

    A connection that tried to become a tunnel is never used again, whatever the answer was.

    @ivar writeState: What may be written next.
    """

    def __init__(self, sink: IResponseSink, options: Http1Options | None = None) -> None:
        super().__init__(sink, options or _DEFAULTS, WAITING)
        self.writeState = IDLE
        self._informationalReceived = sink.informationalReceived
        self._responseReceived = sink.responseReceived
        self._wholeReceived = sink.wholeReceived
        self._isPlain = not (self._options.sendFullyQualifiedURL or self._options.properCase)
        self._isFullyQualified = self._options.sendFullyQualifiedURL
        self._method = b""
        self._began = False
        self._wantsTunnel = False
        # Bytes that a request of fixed length still has to get.
        self._unwritten = 0
        self._memory = ResponseMemory()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} writes {self.writeState.value}, reads {self.readState.value}>"

    def stop(self) -> None:
        """
        See L{MessageReceiver.stop}.
        """
        super().stop()
        self._informationalReceived = _dropHead
        self._responseReceived = _dropResponse
        self._wholeReceived = _dropWhole

    # Requests.

    def encodeHeaders(self, headers: RequestHeaders, endStream: bool) -> bytes:
        """
        Write the head of a request. The way its body is framed follows from its Content-Length;
        C{transfer-encoding} is the codec's own.

        @raise LocalProtocolError: If the last response is not over, or the head cannot be written.
        """
        if self.readState is not WAITING or self.writeState is not IDLE or not self.keepAlive:
            raise LocalProtocolError(f"a request while {self!r}")
        method = headers.method
        target = headers.path if method != b"CONNECT" and not self._isFullyQualified else self._target(headers)
        if b" " in target or b" " in method or not target or not method:
            # Another protocol may have let it through, and it would make another request line (CVE-2023-27491).
            raise LocalProtocolError("an illegal method or request target")
        first = headers.first
        framing = b"\r\n"
        if method == b"CONNECT" or (b"upgrade" in first and b"upgrade" in connectionTokens(headers)):
            self._wantsTunnel = True
            state = ASKED
        elif b"content-length" in first:
            state = FIXED
            self._unwritten = _lengthOf(headers)
        elif endStream:
            state = FIXED
            self._unwritten = 0
            if method not in _BODILESS:
                framing = b"content-length: 0\r\n\r\n"
        else:
            state = CHUNKED_BODY
            framing = b"transfer-encoding: chunked\r\n\r\n"
        if b"connection" in first and b"close" in connectionTokens(headers):
            self.keepAlive = False
        startLines = b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (method, target, headers.authority)
        head = encodeHead(startLines, 2, headers) + framing
        if headers.more is not None or self._options.properCase:
            head = styled(head, headers, self._options.properCase and not self._options.preservesCase)
        self._method = method
        self._began = False
        self.writeState = state
        self.readState = HEAD
        if endStream and state is not ASKED:
            self._finish()
        return head

    def encodeWhole(self, headers: RequestHeaders) -> bytes:
        """
        Write a request that is nothing but a head: the same as L{encodeHeaders}, with a shorter way for the usual one,
        which says nothing of its own about its connection.

        @raise LocalProtocolError: As it does.
        """
        first = headers.first
        path = headers.path
        method = headers.method
        if (
            self.readState is WAITING
            and self.keepAlive  # then the last request was sent to its end as well
            and headers.more is None
            and self._isPlain
            and method in _ALONE
            and path
            and _SPACE not in path
            and b"content-length" not in first
            and b"transfer-encoding" not in first
            and b"connection" not in first
            and b"upgrade" not in first
        ):
            values = (method, path, headers.authority, *first.values())
            # See isOneLine.
            joined = b"".join(values)
            if not (_LF in joined or _CR in joined or _NUL in joined):
                self._method = method
                self._began = False
                self.readState = HEAD
                return _TEMPLATES[tuple(first)] % values
        return self.encodeHeaders(headers, True)

    def encodeCall(self, headers: RequestHeaders, body: bytes) -> bytes:
        """
        Write a request with its body, which is not empty: the same as L{encodeHeaders} and L{encodeData}, with a
        shorter way for the usual one.

        @raise LocalProtocolError: As they do.
        """
        first = headers.first
        path = headers.path
        method = headers.method
        if (
            self.readState is WAITING
            and self.keepAlive
            and headers.more is None
            and self._isPlain
            and method in _WITH_BODY
            and path
            and _SPACE not in path
            and first.get(b"content-length") == DECIMAL[len(body)]
            and b"transfer-encoding" not in first
            and b"connection" not in first
            and b"upgrade" not in first
        ):
            values = (method, path, headers.authority, *first.values())
            # See isOneLine.
            joined = b"".join(values)
            if not (_LF in joined or _CR in joined or _NUL in joined):
                self._method = method
                self._began = False
                self.readState = HEAD
                return _TEMPLATES[tuple(first)] % values + body
        return self.encodeHeaders(headers, False) + self.encodeData(body, True)

    def _target(self, headers: RequestHeaders) -> bytes:
        if headers.method == b"CONNECT":
            return headers.authority
        return b"%b://%b%b" % (headers.scheme, headers.authority, headers.path)

    def encodeData(self, data: bytes, endStream: bool) -> bytes:
        """
        Write a piece of the request's body, or of what goes through a tunnel.

        @raise LocalProtocolError: If there is no body to write, or it is longer or shorter than its
            Content-Length, or the upstream has not agreed to the tunnel. The connection is then of no use.
        """
        state = self.writeState
        if state is FIXED:
            self._unwritten -= len(data)
            if self._unwritten < 0:
                raise LocalProtocolError("a body longer than its Content-Length")
        elif state is CHUNKED_BODY:
            data = chunk(data)
        elif state is not TUNNELING:
            raise LocalProtocolError(f"data while {self!r}")
        return data + self._finish() if endStream else data

    def encodeTrailers(self, trailers: HeaderMap) -> bytes:
        """
        Write trailers, which end the request. They are left out where C{enable_trailers} is not set or the body
        is not chunked.
        """
        if self.writeState in (IDLE, ASKED):
            raise LocalProtocolError(f"trailers while {self!r}")
        if self.writeState is CHUNKED_BODY and self._options.enableTrailers:
            self.writeState = IDLE
            return lastChunk(trailers)
        return self._finish()

    def _finish(self) -> bytes:
        """
        End the request.
        """
        end = b""
        if self.writeState is CHUNKED_BODY:
            end = lastChunk()
        elif self.writeState is FIXED and self._unwritten:
            raise LocalProtocolError("a body shorter than its Content-Length")
        self.writeState = IDLE
        return end

    def beginTunnel(self) -> None:
        """
        Let bytes pass both ways: the upstream answered 101, or 2xx to CONNECT. What it sends passes from then on
        by itself; this is for what goes out.

        @raise LocalProtocolError: If it did not.
        """
        if self.readState is not TUNNEL:
            raise LocalProtocolError(f"a tunnel while {self!r}")
        self.writeState = TUNNELING

    # Responses.

    def receiveData(self, data: bytes) -> None:
        """
        See L{MessageReceiver.receiveData}.
        """
        whole = self.takeWhole(data)
        if whole is None:
            self.receiveParts(data)
        elif whole[1]:
            self._wholeReceived(*whole)
        else:
            self._responseReceived(whole[0], True)

    def takeWhole(self, data: bytes) -> tuple[ResponseHeaders, bytes] | None:
        """
        Take a read that is one whole response, as the usual one is: a shorter way to where L{receiveData} gets, but
        that nobody else is told of it.

        @return: Its head and body, which is empty where the response ends with its head; L{None} if the read is
            anything else, of which nothing was taken. It is then for L{receiveParts}.
        """
        if self.readState is not HEAD or self._head or self._parsing or self._wantsTunnel:
            return None
        memory = self._memory
        if len(data) == memory.size and data.startswith(memory.head) and self._method != b"HEAD":
            # The head of the last response, byte for byte: within a second, many services send no other.
            stop = len(memory.head)
            headers = _newResponse(ResponseHeaders)
            headers.status = memory.status
            headers.first = memory.first.copy()
            headers.more = None
        else:
            match = matchResponse(data)
            if match is None or (stop := match.end()) > self._options.maxHeadBytes:
                return None
            if stop == len(data):
                # One that a body is to follow is for the other way: it need not be taken apart twice.
                return self._takeBodiless(data, match) if self._mayEnd(match) else None
            headers = self._takeMatch(match)  # type: ignore[assignment]  # None is for the other way
            if headers is None or not self._hasBody(headers):
                return None
            if headers.first.get(b"content-length") != b"%d" % (len(data) - stop):
                body = wholeChunked(data, stop) if headers.first.get(b"transfer-encoding") == b"chunked" else None
                if body is None or b"content-length" in headers.first:
                    return None
                self._tookWhole()
                return headers, body
            if b"transfer-encoding" in headers.first:
                return None
            if headers.more is None:
                memory.remember(data, stop, headers)
        # The same as _tookWhole.
        self._began = True
        if self.writeState is IDLE and self.keepAlive:
            self.readState = WAITING
        else:
            self._messageEnded(False)
        return headers, data[stop:]

    def _mayEnd(self, match: Match[bytes]) -> bool:
        """
        Whether a response is likely to be nothing but its head.
        """
        return match[1] in _WITHOUT_BODY or self._method == b"HEAD" or _findNoLength(match[2]) is not None

    def _takeBodiless(self, data: bytes, match: Match[bytes]) -> tuple[ResponseHeaders, bytes] | None:
        """
        L{takeWhole} of a read that is one head.
        """
        headers = self._takeMatch(match)
        if headers is None or headers.status < 200 or not self._isUsual(headers):
            return None
        first = headers.first
        length = first.get(b"content-length")
        if b"transfer-encoding" in first:
            return None
        if headers.status == 204:
            if length is not None:
                return None
        elif headers.status == 304 or self._method == b"HEAD":
            if length is not None and parseLength(length) is None:
                return None
        elif length != b"0":
            return None
        if self._method != b"HEAD":
            # Another request would have a body with it.
            self._memory.remember(data, len(data), headers)
        self._tookWhole()
        return headers, b""

    def _tookWhole(self) -> None:
        """
        A whole response was read.
        """
        self._began = True
        if self.writeState is IDLE and self.keepAlive:
            self.readState = WAITING
        else:
            self._messageEnded(False)

    def _hasBody(self, headers: ResponseHeaders) -> bool:
        """
        Whether a response may have a body, and says nothing unusual of its connection.
        """
        status = headers.status
        return status >= 200 and status != 204 and status != 304 and self._method != b"HEAD" and self._isUsual(headers)

    @staticmethod
    def _isUsual(headers: ResponseHeaders) -> bool:
        """
        Whether a response has no field twice but cookies, and says nothing unusual of its connection.
        """
        first = headers.first
        return (
            (headers.more is None or headers.more.keys() == COOKIES)
            and b"proxy-connection" not in first
            and first.get(b"connection", b"keep-alive") == b"keep-alive"
        )

    @property
    def responseBegan(self) -> bool:
        """
        Whether any byte of the response to the last request came, informational responses included: after that
        it is not safe to try the request again as if it had never been sent.
        """
        return self._began or bool(self._head)

    _matchHead = staticmethod(matchResponse)

    def _takeMatch(self, match: Match[bytes]) -> ResponseHeaders | None:
        code, lines = match.groups()
        pairs = splitFields(lines)
        if len(pairs) > self._options.maxHeaderCount:
            return None
        intern = INTERN
        first = {intern[name]: value for name, value in pairs}
        more = None
        if len(first) != len(pairs):
            fields = HeaderMap((intern[name], value) for name, value in pairs)
            first, more = fields.first, fields.more
        headers = _newResponse(ResponseHeaders)
        headers.status = STATUS[code]
        headers.first = first
        headers.more = more
        return headers

    def _explain(self, head: bytes) -> tuple[ResponseHeaders, bool]:
        return explainResponse(head, self._options)

    def _judgeFirstLine(self, line: bytes) -> None:
        parseStatusLine(line)

    def _messageBegan(self, headers: ResponseHeaders, isHTTP10: bool, data: bytes, stop: int) -> int:
        self._headReceived(headers, isHTTP10, stop < len(data))
        return stop

    def _headReceived(self, headers: ResponseHeaders, isHTTP10: bool, hasMore: bool) -> None:
        self._began = True
        status = headers.status
        first = headers.first
        if status < 200 or status == 204:
            _checkBodiless(headers)
            if status < 200:
                self._informed(headers)
                return
        if self._method == b"CONNECT" and status < 300:
            # RFC 9110, 9.3.6: such a response has no body, whatever it says of one.
            headers.remove(b"content-length")
            headers.remove(b"transfer-encoding")
            self._tunnelBegan(headers)
            return
        if isHTTP10 or b"connection" in first or b"proxy-connection" in first:
            if wantsClose(headers, isHTTP10):
                self.keepAlive = False
        length = bodyLength(headers, isHTTP10, self._options)
        if length == 0 or status == 204 or status == 304 or self._method == b"HEAD":
            self._messageEnded(hasMore)
            self._responseReceived(headers, True)
        else:
            if length == NO_LENGTH:
                self.keepAlive = False
            self._beginBody(length)
            self._responseReceived(headers, False)

    def _informed(self, headers: ResponseHeaders) -> None:
        """
        A 1xx came. Only an upgrade that was asked for may be agreed to.
        """
        if headers.status != 101:
            self._informationalReceived(headers)
        elif self._wantsTunnel and self._method != b"CONNECT":
            self._tunnelBegan(headers)
        else:
            raise RemoteProtocolError("101 to a request that asked for no upgrade")

    def _tunnelBegan(self, headers: ResponseHeaders) -> None:
        self.keepAlive = False
        self.readState = TUNNEL
        self._responseReceived(headers, False)

    def _messageEnded(self, hasMore: bool) -> None:
        if hasMore or self.writeState is not IDLE:
            # Bytes that nobody asked for may be the response to what a smuggler slipped in; and a request that
            # its response overtook may never end.
            self.keepAlive = False
        self.readState = WAITING if self.keepAlive else CLOSED

    def _receivedWhileWaiting(self) -> None:
        error = RemoteProtocolError("bytes that answer no request")
        self._fail(error)
        raise error

    def receiveEOF(self) -> None:
        """
        The upstream ended its side: the end of a response of unknown length, and of a tunnel.

        @raise RemoteProtocolError: If it did so within a response, or before one. As in Envoy the first is a broken
            protocol, and the second a C{connection_termination}, which C{details} then says.
        """
        state = self.readState
        self.keepAlive = False
        if state is UNTIL_CLOSE or state is TUNNEL:
            self.readState = CLOSED
            self._dataReceived(b"", True)
        elif state is WAITING:
            self.readState = CLOSED
        elif state is not CLOSED and state is not ReadState.FAILED:
            details = "connection_termination" if state is HEAD and not self._head else "http1.codec_error"
            error = RemoteProtocolError("the end of the connection before the end of the response", 502, details)
            self._fail(error)
            raise error


def _checkBodiless(headers: ResponseHeaders) -> None:
    """
    Refuse a length or a coding where there can be no body; as Envoy, overlook a length of 0.
    """
    if headers.get(b"transfer-encoding") is not None:
        raise RemoteProtocolError("Transfer-Encoding in a 1xx or 204", 400, "http1.transfer_encoding_not_allowed")
    length = headers.joined(b"content-length")
    if length is not None:
        if length != b"0":
            raise RemoteProtocolError("Content-Length in a 1xx or 204", 400, "http1.content_length_not_allowed")
        headers.remove(b"content-length")


def _lengthOf(headers: RequestHeaders) -> int:
    """
    The Content-Length of a request that is to be written.
    """
    length = parseLength(headers.first[b"content-length"])
    if length is None or (headers.more is not None and b"content-length" in headers.more):
        raise LocalProtocolError("a Content-Length that is not one number")
    return length
