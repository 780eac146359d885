# -*- test-case-name: tests.grpc.test_client -*-
"""
A gRPC client: calls on one connection, which is made when it is needed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from zope.interface import Interface, implementer

from meshproxy.codec.http2 import (
    CodecStream,
    ErrorCode,
    Http2Options,
    IConnectionSink,
    IResponseStreamSink,
    UpstreamCodec,
)
from meshproxy.grpc.connection import GRPCConnection
from meshproxy.grpc.deadline import formatTimeout
from meshproxy.grpc.framing import ACCEPTED, MAX_MESSAGE, MessageReader, encodeFrame
from meshproxy.grpc.status import GRPCError, Status, ofHTTPStatus, ofReset, ofTrailers
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from meshproxy.interfaces import ICancellable

__all__ = ["ChannelOptions", "ClientCall", "GRPCChannel", "IResponseReceiver"]

Connect = Callable[[Protocol, Callable[[Exception], object]], ICancellable]
"""
Makes a connection: is given the protocol, and what to call if it fails.
"""

Metadata = Iterable[tuple[bytes, bytes]]

_MOST_WAITING = 1000
"""
Calls that wait for a connection, or for the peer to allow more of them. More fail at once.
"""


class IResponseReceiver(Interface):
    """
    Who is told what a server sends on a call.
    """

    def messageReceived(message: bytes) -> None:
        """
        A message came.
        """

    def callEnded(error: GRPCError | None) -> None:
        """
        The call is over: well if L{None}. Told once, last.
        """


@dataclass(frozen=True, slots=True)
class ChannelOptions:
    """
    @ivar authority: C{:authority} of the requests.
    @ivar scheme: C{http} or C{https}.
    @ivar userAgent: C{user-agent}.
    @ivar maxMessage: Bytes of a message that is received.
    @ivar keepalive: Seconds of silence, while there are calls or not, after which the server is asked whether it is
        there; 0 for never.
    """

    authority: bytes = b"localhost"
    scheme: bytes = b"http"
    userAgent: bytes = b"meshproxy"
    maxMessage: int = MAX_MESSAGE
    keepalive: float = 30.0


class GRPCChannel:
    """
    Calls to one server. A connection is made for the first call and kept; when it is lost its calls fail with
    C{UNAVAILABLE}, and the next call makes another one.
    """

    def __init__(self, connect: Connect, reactor: Any, options: ChannelOptions | None = None) -> None:
        """
        @param reactor: C{IReactorTime}.
        """
        self._connect = connect
        self.reactor = reactor
        self.options = options or ChannelOptions()
        self.http2Options = Http2Options(initialStreamWindow=1 << 20, initialConnectionWindow=16 << 20)
        self._connection: _ClientConnection | None = None
        self._attempt: ICancellable | None = None
        self._waiting: deque[ClientCall] = deque()
        self._isClosed = False

    def open(
        self,
        path: str,
        receiver: IResponseReceiver,
        metadata: Metadata = (),
        timeout: float = 0.0,
    ) -> ClientCall:
        """
        Begin a call of any kind.

        @param path: C{/package.Service/Method}.
        @param timeout: Seconds until it fails with C{DEADLINE_EXCEEDED}; 0 for none.
        """
        call = ClientCall(self, path.encode("ascii"), receiver, metadata, timeout)
        if self._isClosed:
            call.failLater(GRPCError(Status.UNAVAILABLE, "the channel is closed"))
        elif len(self._waiting) >= _MOST_WAITING:
            call.failLater(GRPCError(Status.UNAVAILABLE, f"{_MOST_WAITING} calls wait for the server already"))
        else:
            self._waiting.append(call)
            self._serve()
        return call

    def unary(self, path: str, request: bytes, metadata: Metadata = (), timeout: float = 0.0) -> Deferred[bytes]:
        """
        A call with one request and one response.

        @return: A Deferred of the response. It fails with L{GRPCError}; cancelling it cancels the call.
        """
        receiver = _UnaryReceiver()
        call = self.open(path, receiver, metadata, timeout)
        receiver.answer = Deferred(lambda _: call.cancel())
        call.send(request)
        call.halfClose()
        return receiver.answer

    def close(self) -> None:
        """
        End all calls, and the connection.
        """
        self._isClosed = True
        if self._attempt is not None:
            self._attempt.cancel()
            self._attempt = None
        self._failWaiting(GRPCError(Status.CANCELLED, "the channel is closed"))
        if self._connection is not None:
            for stream in list(self._connection.codec.streams.values()):
                if isinstance(stream.sink, ClientCall):
                    stream.sink.cancel()
            self._connection.flush()
            self._connection.close()

    def _serve(self) -> None:
        """
        Let the calls that wait begin, as far as the server allows.
        """
        connection = self._connection
        if connection is None:
            if self._attempt is None and self._waiting and not self._isClosed:
                self._attempt = self._connect(_ClientConnection(self), self._failed)
            return
        while self._waiting and connection.isReady and connection.codec.availableStreams > 0:
            self._waiting.popleft().begin(connection)
        connection.flush()

    def connected(self, connection: _ClientConnection) -> None:
        """
        There is a connection.
        """
        self._attempt = None
        self._connection = connection
        self._serve()

    def lost(self, connection: _ClientConnection, why: str = "") -> None:
        """
        A connection is gone, or is not to be used for more.

        @param why: What the calls that wait are told if the server never said a word: it does not want us, and another
            connection at once would end the same way.
        """
        if self._connection is connection:
            self._connection = None
            if not connection.isReady:
                self._failWaiting(GRPCError(Status.UNAVAILABLE, why or "the server wants no calls"))
            self._serve()

    def changed(self) -> None:
        """
        There may be room for more calls.
        """
        if self._waiting:
            self._serve()

    def forget(self, call: ClientCall) -> None:
        """
        A call is over that did not begin.
        """
        if call in self._waiting:
            self._waiting.remove(call)

    def _failed(self, error: Exception) -> None:
        self._attempt = None
        self._failWaiting(GRPCError(Status.UNAVAILABLE, f"no connection: {error}"))

    def _failWaiting(self, error: GRPCError) -> None:
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            call.end(error)


@implementer(IConnectionSink)
class _ClientConnection(GRPCConnection):
    """
    The connection of a channel.
    """

    codec: UpstreamCodec

    def __init__(self, channel: GRPCChannel) -> None:
        super().__init__(channel.reactor, channel.options.keepalive)
        # Before the server's settings nobody knows how many streams it allows, and those above it would be refused.
        self.isReady = False
        self._channel = channel

    def makeCodec(self) -> UpstreamCodec:
        return UpstreamCodec(self, self._channel.http2Options)

    def connectionMade(self) -> None:
        super().connectionMade()
        self._channel.connected(self)

    def connectionLost(self, reason: Any = None) -> None:
        why = "the connection was lost" if reason is None else f"the connection was lost: {reason.getErrorMessage()}"
        self._channel.lost(self, why)
        super().connectionLost(reason)

    def settingsReceived(self) -> None:
        self.isReady = True
        self._channel.changed()

    def goAwayReceived(self, lastStreamId: int, code: int, debug: bytes) -> None:
        """
        The server serves no new calls here: the next one makes another connection, this one ends with its last.
        """
        self._channel.lost(self)
        self.callEnded()

    def callEnded(self) -> None:
        """
        There is room for another call.
        """
        if self.codec.goAwayReceived is not None:
            if not self.codec.streams:
                self.close()
        else:
            self._channel.changed()


@implementer(IResponseStreamSink)
class ClientCall:
    """
    One call, as its caller sees it.

    @ivar headers: The head of the response, once it came: the server's metadata.
    @ivar trailers: Its trailers.
    @ivar isOver: Whether it ended.
    """

    takesAnswer = False

    def __init__(
        self, channel: GRPCChannel, path: bytes, receiver: IResponseReceiver, metadata: Metadata, timeout: float
    ) -> None:
        self.headers: ResponseHeaders | None = None
        self.trailers: HeaderMap | None = None
        self.isOver = False
        self._channel = channel
        self._receiver = receiver
        self._path = path
        self._metadata = list(metadata)
        self._reader: MessageReader | None = None
        self._connection: _ClientConnection | None = None
        self._stream: CodecStream | None = None
        # What was sent before there was a stream, and whether that is all.
        self._early: list[bytes] = []
        self._isHalfClosed = False
        self._deadline: Any = None
        self._due = 0.0
        if timeout:
            self._due = channel.reactor.seconds() + timeout
            self._deadline = channel.reactor.callLater(timeout, self._expired)

    # What the caller does

    def send(self, message: bytes) -> None:
        """
        Send a message; after the end it is dropped.
        """
        if self.isOver or self._isHalfClosed:
            return
        if self._stream is None:
            self._early.append(encodeFrame(message))
        else:
            self._stream.sendData(encodeFrame(message), False)
            self._flush()

    def halfClose(self) -> None:
        """
        Send no more messages.
        """
        if self.isOver or self._isHalfClosed:
            return
        self._isHalfClosed = True
        if self._stream is not None:
            self._stream.sendData(b"", True)
            self._flush()

    def cancel(self) -> None:
        """
        Give the call up; its receiver is told that it was cancelled.
        """
        self._give(GRPCError(Status.CANCELLED, "the caller gave up"))

    def pauseReceiving(self) -> None:
        """
        Let the server send no more than it may already.
        """
        if self._stream is not None:
            self._stream.pauseReading()

    def resumeReceiving(self) -> None:
        """
        Let it send more.
        """
        if self._stream is not None:
            self._stream.resumeReading()
            self._flush()

    # What the channel does

    def failLater(self, error: GRPCError) -> None:
        """
        End it, but not before its caller has it.
        """
        self._channel.reactor.callLater(0, self.end, error)

    def begin(self, connection: _ClientConnection) -> None:
        """
        There is a connection for it.
        """
        options = self._channel.options
        fields = [(b"content-type", b"application/grpc"), (b"te", b"trailers"), (b"user-agent", options.userAgent)]
        fields.append((b"grpc-accept-encoding", ACCEPTED))
        if self._due:
            left = max(self._due - self._channel.reactor.seconds(), 1e-6)
            fields.append((b"grpc-timeout", formatTimeout(left)))
        headers = RequestHeaders(b"POST", self._path, options.authority, [*fields, *self._metadata], options.scheme)
        self._connection = connection
        self._stream = stream = connection.codec.request(self, headers, False)
        early, self._early = b"".join(self._early), []
        if early or self._isHalfClosed:
            stream.sendData(early, self._isHalfClosed)

    def end(self, error: GRPCError | None) -> None:
        """
        The call is over.
        """
        if self.isOver:
            return
        self.isOver = True
        self._early = []
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._receiver.callEnded(error)
        if self._connection is not None:
            self._connection.callEnded()

    def _give(self, error: GRPCError) -> None:
        """
        End it from this side.
        """
        if self.isOver:
            return
        if self._stream is not None:
            self._stream.reset(ErrorCode.CANCEL)
            self._flush()
        else:
            self._channel.forget(self)
        self.end(error)

    def _expired(self) -> None:
        self._give(GRPCError(Status.DEADLINE_EXCEEDED, "the deadline of the call passed"))

    def _flush(self) -> None:
        if self._connection is not None:
            self._connection.flush()

    # What the codec tells

    def informationalReceived(self, headers: ResponseHeaders) -> None:
        """
        See L{IResponseStreamSink}.
        """

    def responseReceived(self, headers: ResponseHeaders, endStream: bool) -> None:
        """
        See L{IResponseStreamSink}.
        """
        self.headers = headers
        if headers.status != 200 and headers.get(b"grpc-status") is None:
            why = f"the server answered with HTTP status {headers.status}"
            self._give(GRPCError(ofHTTPStatus(headers.status), why))
            return
        if endStream:
            # RFC 9113 has no trailers here: gRPC's "Trailers-Only" is a head with the status.
            self._finished(headers)
            return
        contentType = headers.get(b"content-type") or b""
        if not contentType.startswith(b"application/grpc"):
            self._give(GRPCError(Status.UNKNOWN, f"the server answered with {contentType[:64]!r}, and not with gRPC"))
            return
        encoding = headers.get(b"grpc-encoding") or b"identity"
        self._reader = MessageReader(self._channel.options.maxMessage, encoding)

    def wholeReceived(self, headers: ResponseHeaders, body: bytes) -> None:
        """
        See L{IResponseStreamSink}.
        """
        self.responseReceived(headers, False)
        self.dataReceived(body, True)

    def dataReceived(self, data: bytes, endStream: bool) -> None:
        """
        See L{IResponseStreamSink}.
        """
        if self.isOver or self._reader is None:
            return
        try:
            messages = self._reader.receiveData(data)
        except GRPCError as error:
            self._give(error)
            return
        for message in messages:
            if not self.isOver:
                self._receiver.messageReceived(message)
        if endStream:
            self.end(GRPCError(Status.UNKNOWN, "the response ended without a grpc-status"))

    def answerReceived(self, headers: ResponseHeaders, body: bytes, trailers: HeaderMap) -> None:
        """
        See L{IResponseStreamSink.answerReceived}; C{takesAnswer} says that it is not told.
        """
        raise NotImplementedError

    def trailersReceived(self, trailers: HeaderMap) -> None:
        """
        See L{IResponseStreamSink}.
        """
        self.trailers = trailers
        self._finished(trailers)

    def metadataReceived(self, fields: list[tuple[bytes, bytes]]) -> None:
        """
        See L{IResponseStreamSink}: that of gRPC itself is in its head and its trailers.
        """

    def _finished(self, trailers: HeaderMap) -> None:
        error = ofTrailers(trailers)
        if error is None and self._reader is not None and not self._reader.isEmpty:
            error = GRPCError(Status.INTERNAL, "the response ends within a message")
        if self._stream is not None and self._stream.canSend:
            # The answer is complete, and nobody reads what is sent.
            self._stream.reset(ErrorCode.NO_ERROR)
        self.end(error)

    def streamReset(self, code: int, isRemote: bool, why: str) -> None:
        """
        See L{IResponseStreamSink}.
        """
        self.end(GRPCError(Status.UNAVAILABLE if code < 0 else ofReset(code), why))

    def pauseSending(self) -> None:
        """
        See L{IResponseStreamSink}. Callers send little: what waits is kept.
        """

    def resumeSending(self) -> None:
        """
        See L{IResponseStreamSink}.
        """


@implementer(IResponseReceiver)
class _UnaryReceiver:
    """
    Waits for one message and the end.
    """

    def __init__(self) -> None:
        self.answer: Deferred[bytes] = Deferred()
        self._message: bytes | None = None
        self._error: GRPCError | None = None

    def messageReceived(self, message: bytes) -> None:
        """
        See L{IResponseReceiver}.
        """
        if self._message is not None:
            self._error = GRPCError(Status.INTERNAL, "a call with one response got a second one")
        self._message = message

    def callEnded(self, error: GRPCError | None) -> None:
        """
        See L{IResponseReceiver}.
        """
        error = error or self._error
        if error is not None:
            self.answer.errback(error)
        elif self._message is None:
            self.answer.errback(GRPCError(Status.INTERNAL, "a call with one response got none"))
        else:
            self.answer.callback(self._message)
