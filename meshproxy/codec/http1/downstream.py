# -*- test-case-name: tests.codec.http1.test_downstream -*-
"""
The server's role: requests come in, responses go out.
"""

from __future__ import annotations

from meshproxy.codec.http1.framing import connectionTokens
from meshproxy.codec.http1.grammar import parseLength
from meshproxy.codec.http1.interfaces import Http1Counters, Http1Options, IRequestSink
from meshproxy.codec.http1.requests import RequestReceiver
from meshproxy.codec.http1.serialize import (
    COOKIES,
    DECIMAL,
    STATUS_LINES,
    HeadTemplates,
    chunk,
    encodeHead,
    isOneLine,
    lastChunk,
    styled,
    without,
)
from meshproxy.codec.http1.states import ReadState, WriteState
from meshproxy.errors import LocalProtocolError
from meshproxy.headers import HeaderMap, ResponseHeaders

__all__ = ["DownstreamCodec"]

WAITING = ReadState.WAITING
CLOSED = ReadState.CLOSED

IDLE = WriteState.IDLE
DUE = WriteState.HEAD
FIXED = WriteState.FIXED
CHUNKED_BODY = WriteState.CHUNKED
UNTIL_CLOSE = WriteState.UNTIL_CLOSE
NOTHING = WriteState.NOTHING
TUNNELING = WriteState.TUNNEL

_NUL, _LF, _CR = b"\0\n\r"

_CHUNKED_END = b"transfer-encoding: chunked\r\n\r\n"

# The first lines of responses that have a body.
_STATUS_LINES_WITH_BODY = {
    status: STATUS_LINES[False][status] for status in range(200, 600) if status != 204 and status != 304
}

# Such responses, whole: with a length, and in one chunk.
_TEMPLATES = HeadTemplates(b"%b", rest=b"%b")
_CHUNKED_TEMPLATES = HeadTemplates(b"%b", rest=b"%x\r\n%b\r\n0\r\n\r\n", last=b"transfer-encoding: chunked\r\n")


class DownstreamCodec(RequestReceiver):
    """
    Reads requests and writes their responses, one after the other.

    After a L{RemoteProtocolError<meshproxy.errors.RemoteProtocolError>} one response may be encoded still, if none was
    begun: the local reply. It says C{connection: close}.

    After a request that asks for a tunnel (CONNECT, Upgrade) what comes is kept until L{beginTunnel}: an
    upstream that does not agree must never see it (CVE-2026-73548, CVE-2025-64763).
    """

    def __init__(
        self, sink: IRequestSink, options: Http1Options | None = None, counters: Http1Counters | None = None
    ) -> None:
        super().__init__(sink, options or Http1Options(), counters or Http1Counters())
        # Bytes that a response of fixed length still has to get.
        self._unwritten = 0
        self._isPlain = not self._options.properCase

    def __repr__(self) -> str:
        return f"<{type(self).__name__} reads {self.readState.value}, writes {self.writeState.value}>"

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
        head = encodeHead(statusLine, 1, kept)
        if self.keepAlive:
            return head + b"connection: keep-alive\r\n"
        # As in Envoy, logs know of it.
        headers.set(b"connection", b"close")
        return head + b"connection: close\r\n"

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

        @param body: Empty for a response that ends with its head.

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
        if not body:
            return self._encodeBodiless(headers) or self.encodeHeaders(headers, True)
        return self._encodeOther(headers, body) or self.encodeHeaders(headers, False) + self.encodeData(body, True)

    def _encodeBodiless(self, headers: ResponseHeaders) -> bytes | None:
        """
        Write a response that cannot have a body, and is as usual otherwise.

        @return: L{None} if it is not so.
        """
        first = headers.first
        status = headers.status
        if (
            self.writeState is not DUE
            or self.readState is not WAITING
            or not self.keepAlive
            or headers.more is not None
            or not self._isPlain
            or self.isHTTP10
            or b"connection" in first
            or b"transfer-encoding" in first
            or not 200 <= status < 600
            # A HEAD is told how the body would be framed.
            or not (
                (status == 204 and b"content-length" not in first)
                or status == 304
                or (
                    b"content-length" in first and status != 204 and self.request.method == b"HEAD"  # type: ignore[union-attr]  # a response is due to a request
                )
            )
        ):
            return None
        values = first.values()
        if not isOneLine(values):
            raise LocalProtocolError("CR, LF or NUL in a head")
        head = _TEMPLATES[tuple(first)] % (STATUS_LINES[False][status], *values, b"")
        self.writeState = IDLE
        return head

    def _encodeOther(self, headers: ResponseHeaders, body: bytes) -> bytes | None:
        """
        Write a whole response that is as usual, but for a length that is not told, or cookies that are several.

        @return: L{None} if it is not so.
        """
        first = headers.first
        more = headers.more
        length = first.get(b"content-length")
        statusLine = _STATUS_LINES_WITH_BODY.get(headers.status)
        if (
            self.writeState is not DUE
            or self.readState is not WAITING
            or not self.keepAlive
            or statusLine is None
            or not self._isPlain
            or self.isHTTP10
            or not body
            or (length is not None and length != DECIMAL[len(body)])
            or (more is not None and (more.keys() != COOKIES or getattr(headers, "cases", None) is not None))
            or b"connection" in first
            or b"transfer-encoding" in first
            or self.request.method == b"HEAD"  # type: ignore[union-attr]  # a response is due to a request
        ):
            return None
        names, values = tuple(first), list(first.values())
        if not isOneLine(values) or (more is not None and not isOneLine(more[b"set-cookie"])):
            raise LocalProtocolError("CR, LF or NUL in a head")
        if more is not None:
            place = names.index(b"set-cookie")
            values[place] = b"\r\nset-cookie: ".join((values[place], *more[b"set-cookie"]))
        if length is None:
            whole = _CHUNKED_TEMPLATES[names] % (statusLine, *values, len(body), body)
        else:
            whole = _TEMPLATES[names] % (statusLine, *values, body)
        # Only now: a name that cannot be written is found by the templates.
        self.writeState = IDLE
        return whole

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

    def beginTunnel(self) -> None:
        """
        Let bytes pass both ways, those first that came since the request: to be called when 101, or 2xx to
        CONNECT, was encoded.

        @raise LocalProtocolError: If no such response was encoded.
        """
        if self.writeState is not TUNNELING:
            raise LocalProtocolError(f"a tunnel while {self!r}")
        self._openTunnel()
