# -*- test-case-name: tests.filters.http.test_grpc_web -*-
"""
C{envoy.filters.http.grpc_web}: lets pages of browsers call gRPC services, which see gRPC.

Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md. Browsers show no trailers to a page, so those of a
response become the last frame of its body; and where a page asks for text, all of it is base64.
"""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from typing import Any

from meshproxy.config import Section
from meshproxy.config.supported import declare
from meshproxy.flags import grpcStatus
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders, isGRPCType
from meshproxy.http.filter import FilterContext, HTTPFilter
from meshproxy.http.localreply import percentEncoded
from meshproxy.interfaces import Stop
from meshproxy.upstream.grpcstats import CallStats, serviceAndMethod

__all__ = ["Base64Decoder", "Base64Frames", "GRPCWeb", "trailersFrame"]

_MESSAGE = "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb"

declare(_MESSAGE)

_GRPC = b"application/grpc"
_BINARY = frozenset((b"application/grpc-web", b"application/grpc-web+proto"))
_TEXT = frozenset((b"application/grpc-web-text", b"application/grpc-web-text+proto"))
_WEB = _BINARY | _TEXT
_ANSWERS_BINARY = b"application/grpc-web+proto"
_ANSWERS_TEXT = b"application/grpc-web-text+proto"

# What Envoy tells services that it takes, where the page told nothing.
_ENCODINGS = b"identity"
_INVALID = b"Bad gRPC-web request, invalid base64 data."
# How much of the body of what is no gRPC goes into grpc-message; Envoy's limit, too.
_LONGEST_MESSAGE = 16384
_TRAILERS = 0x80


class Base64Decoder:
    """
    Base64 that comes in pieces, cut anywhere. Several texts may follow each other, each with its own padding: clients
    encode message by message.
    """

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    @property
    def isEmpty(self) -> bool:
        """
        Whether nothing waits for what is to come.
        """
        return not self._rest

    def decode(self, data: bytes) -> bytes:
        """
        @return: What is whole until now.

        @raise Base64Error: If it is no base64.
        """
        data = self._rest + data
        size = len(data) & ~3
        self._rest = data[size:]
        decoded: list[bytes] = []
        begin = 0
        while begin < size:
            padding = data.find(b"=", begin, size)
            end = size if padding < 0 else begin + ((padding - begin) | 3) + 1
            decoded.append(a2b_base64(data[begin:end], strict_mode=True))
            if (
                padding >= 0
                and b2a_base64(decoded[-1][-(len(decoded[-1]) % 3) :], newline=False) != data[end - 4 : end]
            ):
                # RFC 4648, 3.5: the bits that padding leaves over are zero.
                raise Base64Error("bits are left over")
            begin = end
        return b"".join(decoded)


class Base64Frames:
    """
    gRPC's frames to base64, each with its padding, as Envoy does it; but a long one need not be whole to go on.
    """

    __slots__ = ("_head", "_left", "_rest")

    def __init__(self) -> None:
        self._head = b""
        self._left = 0
        # What three bytes are awaited for.
        self._rest = b""

    def encode(self, data: bytes) -> bytes:
        """
        @return: The text of these bytes, but for less than three of them.
        """
        encoded: list[bytes] = []
        position, size = 0, len(data)
        while position < size:
            if self._left:
                end = min(position + self._left, size)
                self._left -= end - position
                self._rest += data[position:end]
            else:
                end = min(position + 5 - len(self._head), size)
                self._head += data[position:end]
                self._rest += data[position:end]
                if len(self._head) == 5:
                    self._left = int.from_bytes(self._head[1:], "big")
                    self._head = b""
            position = end
            encoded.append(self._take(isWhole=not self._left and not self._head))
        return b"".join(encoded)

    def _take(self, isWhole: bool) -> bytes:
        rest = self._rest
        size = len(rest) if isWhole else len(rest) // 3 * 3
        self._rest = rest[size:]
        return b2a_base64(rest[:size], newline=False)

    def finish(self) -> bytes:
        """
        @return: The text of what is left of a frame that ends too early.
        """
        return self._take(isWhole=True)


def trailersFrame(trailers: HeaderMap) -> bytes:
    """
    The frame that trailers become.
    """
    lines = b"".join(b"%b:%b\r\n" % field for field in trailers.fields())
    return b"%c%b%b" % (_TRAILERS, len(lines).to_bytes(4, "big"), lines)


class _Call:
    """
    What is known of a call.

    @ivar stats: Where it is counted, or L{None}.
    @ivar decoder: Of the request's body, where it is text.
    @ivar isText: Whether the response's body is to be.
    @ivar encoder: Makes it text.
    @ivar isReplaced: Whether the response is no gRPC, and C{grpc-message} says what its body said.
    """

    __slots__ = ("decoder", "encoder", "isReplaced", "isText", "stats")

    def __init__(self, stats: CallStats | None, sendsText: bool, isText: bool) -> None:
        self.stats = stats
        self.decoder = Base64Decoder() if sendsText else None
        self.isText = isText
        self.encoder = Base64Frames() if isText else None
        self.isReplaced = False


class GRPCWeb(HTTPFilter):
    """
    One instance serves all streams; it remembers those that are calls.
    """

    shared = True
    configType = _MESSAGE

    def __init__(self, config: None, context: FilterContext) -> None:
        super().__init__(config, context)
        self._calls: dict[Any, _Call] = {}

    @classmethod
    def compileConfig(cls, section: Section, context: FilterContext) -> None:
        """
        There is nothing to configure.
        """

    def requestHeaders(self, stream: Any, headers: RequestHeaders, endStream: bool) -> None:
        contentType = headers.first.get(b"content-type")
        if contentType not in _WEB:
            return
        self._calls[stream] = _Call(
            self._stats(stream, headers), contentType in _TEXT, headers.first.get(b"accept") in _TEXT
        )
        # It is no gRPC for the client: local replies are turned into gRPC-Web here.
        stream.answersGRPC = False
        headers.remove(b"content-length")
        headers.set(b"content-type", _GRPC)
        headers.set(b"te", b"trailers")
        if b"grpc-accept-encoding" not in headers.first:
            headers.set(b"grpc-accept-encoding", _ENCODINGS)

    def _stats(self, stream: Any, headers: RequestHeaders) -> CallStats | None:
        action = None if stream.route is None else stream.route.action
        names = serviceAndMethod(headers.path)
        if action is None or names is None:
            return None
        cluster = self.context.clusters.byName.get(action.cluster or action.selectCluster(headers, stream))
        return None if cluster is None else cluster.stats.grpcWeb.method(*names)

    def requestData(self, stream: Any, data: bytes, endStream: bool) -> bytes | Stop | None:
        call = self._calls.get(stream)
        if call is None or call.decoder is None:
            return None
        try:
            decoded = call.decoder.decode(data)
        except Base64Error:
            return self._refuse(stream, "grpc_base_64_decode_failed")
        if endStream and not call.decoder.isEmpty:
            return self._refuse(stream, "grpc_base_64_decode_failed_bad_size")
        return decoded

    def requestTrailers(self, stream: Any, trailers: HeaderMap) -> Stop | None:
        call = self._calls.get(stream)
        if call is not None and call.decoder is not None and not call.decoder.isEmpty:
            return self._refuse(stream, "grpc_base_64_decode_failed_bad_size")
        return None

    def _refuse(self, stream: Any, details: str) -> Stop:
        stop: Stop = stream.reply(400, _INVALID, details=details)
        return stop

    def responseHeaders(self, stream: Any, headers: ResponseHeaders, endStream: bool) -> object:
        call = self._calls.get(stream)
        if call is None:
            return None
        if call.stats is not None:
            call.stats.statusReceived(headers.first.get(b"grpc-status"))
        isAnswer = _isAnswer(headers)
        headers.remove(b"content-length")
        headers.set(b"content-type", _ANSWERS_TEXT if call.isText else _ANSWERS_BINARY)
        if endStream or isAnswer:
            return None
        call.isReplaced = True
        return self._replace(stream, headers)

    async def _replace(self, stream: Any, headers: ResponseHeaders) -> None:
        """
        Say in C{grpc-message} what the body says: a page has no other way to learn of it.
        """
        body: bytes = await stream.responseBody(_LONGEST_MESSAGE, partial=True)
        headers.set(b"grpc-message", percentEncoded(body[:_LONGEST_MESSAGE]))
        headers.set(b"grpc-status", b"%d" % grpcStatus(headers.status))
        headers.set(b"content-length", b"0")

    def responseData(self, stream: Any, data: bytes, endStream: bool) -> bytes | None:
        call = self._calls.get(stream)
        if call is None:
            return None
        if call.isReplaced:
            return b""
        if call.encoder is None:
            return None
        encoded = call.encoder.encode(data)
        return encoded + call.encoder.finish() if endStream else encoded

    def responseTrailers(self, stream: Any, trailers: HeaderMap) -> bytes | None:
        call = self._calls.get(stream)
        if call is None:
            return None
        if call.stats is not None:
            call.stats.statusReceived(trailers.first.get(b"grpc-status"))
        if call.isReplaced:
            return None
        frame = trailersFrame(trailers)
        for name in {name for name, _ in trailers.fields()}:
            trailers.remove(name)
        if call.encoder is None:
            return frame
        return call.encoder.finish() + b2a_base64(frame, newline=False)

    def streamEnded(self, stream: Any) -> None:
        self._calls.pop(stream, None)


def _isAnswer(headers: ResponseHeaders) -> bool:
    """
    Whether a response with a body is gRPC's, or gRPC-Web's from a service that speaks it itself.
    """
    if headers.status != 200:
        return False
    contentType = headers.first.get(b"content-type", b"")
    return isGRPCType(contentType) or contentType.partition(b";")[0].rstrip(b" \t").lower() in _BINARY
