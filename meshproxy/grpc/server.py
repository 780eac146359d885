# -*- test-case-name: tests.grpc.test_server -*-
"""
A gRPC server: methods by their paths, on any transport.

A method is a function that is given a L{ServerCall} when the call begins, and returns who is told of its messages, an
L{IReceiver}. L{unary} makes one of a coroutine function for calls with one request and one response.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from meshproxy.codec.http2 import CodecStream, DownstreamCodec, Http2Options, IDownstreamSink
from meshproxy.errors import RemoteProtocolError
from meshproxy.grpc.connection import GRPCConnection
from meshproxy.grpc.deadline import parseTimeout
from meshproxy.grpc.framing import ACCEPTED, ENCODINGS, MAX_MESSAGE, MessageReader, encodeFrame
from meshproxy.grpc.status import GRPCError, Status, encodeMessage
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders

__all__ = ["GRPCServer", "IReceiver", "Method", "ServerCall", "ServerOptions", "unary"]

_CONTENT_TYPE = b"application/grpc"


class IReceiver(Interface):
    """
    Who is told what a client sends on a call.
    """

    def messageReceived(message: bytes) -> None:
        """
        A message came.
        """

    def halfClosed() -> None:
        """
        The client sends no more messages.
        """

    def cancelled(error: GRPCError) -> None:
        """
        The call is over, and not by our own doing: the client left, or its deadline passed. Nothing can be sent.
        """

    def pauseSending() -> None:
        """
        The client does not take more; what is sent all the same is kept.
        """

    def resumeSending() -> None:
        """
        It takes more again.
        """


Method = Callable[["ServerCall"], Any]
"""
From a new call to its L{IReceiver}. It may raise L{GRPCError}.
"""


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """
    Limits of a server.

    @ivar maxMessage: Bytes of a message that is received.
    @ivar maxStreams: Calls at a time on one connection.
    @ivar keepalive: Seconds of silence after which a client is asked whether it is there.
    """

    maxMessage: int = MAX_MESSAGE
    maxStreams: int = 100
    keepalive: float = 30.0


class GRPCServer(Factory):
    """
    Makes a connection's protocol.

    @ivar methods: By path: C{/package.Service/Method}.
    @ivar connections: Those that are open.
    """

    noisy = False

    def __init__(self, methods: Mapping[str, Method], reactor: Any, options: ServerOptions | None = None) -> None:
        """
        @param reactor: C{IReactorTime}.
        """
        self.methods = {path.encode("ascii"): method for path, method in methods.items()}
        self.reactor = reactor
        self.options = options or ServerOptions()
        self.http2Options = Http2Options(
            maxConcurrentStreams=self.options.maxStreams,
            # What a client may have under way before anybody looked at it.
            initialStreamWindow=1 << 20,
            initialConnectionWindow=4 << 20,
        )
        self.connections: set[_ServerConnection] = set()

    def buildProtocol(self, addr: object) -> _ServerConnection:
        """
        A connection.
        """
        return _ServerConnection(self)

    def stop(self) -> None:
        """
        Serve no new calls, end those under way with C{UNAVAILABLE}, close the connections.
        """
        for connection in list(self.connections):
            connection.stop()


@implementer(IDownstreamSink)
class _ServerConnection(GRPCConnection):
    """
    One client.
    """

    codec: DownstreamCodec

    def __init__(self, server: GRPCServer) -> None:
        super().__init__(server.reactor, server.options.keepalive)
        self.server = server

    def makeCodec(self) -> DownstreamCodec:
        return DownstreamCodec(self, self.server.http2Options)

    def connectionMade(self) -> None:
        self.server.connections.add(self)
        super().connectionMade()

    def connectionLost(self, reason: Any = None) -> None:
        self.server.connections.discard(self)
        super().connectionLost(reason)

    def stop(self) -> None:
        """
        See L{GRPCServer.stop}.
        """
        self.codec.sendGoAway()
        for stream in list(self.codec.streams.values()):
            call = stream.sink
            if isinstance(call, ServerCall):
                call.abort(GRPCError(Status.UNAVAILABLE, "the server stops"))
        self.flush()
        self.close()

    def requestReceived(self, stream: CodecStream, headers: RequestHeaders, endStream: bool) -> None:
        """
        A call begins.
        """
        refused = _notGRPC(headers)
        if refused is not None:
            stream.sendHeaders(refused, True)
            stream.stopReading()
            return
        call = ServerCall(self, stream, headers)
        stream.sink = call
        call.begin(self.server.methods.get(headers.path), endStream)

    def callReceived(self, stream: CodecStream, headers: RequestHeaders, message: bytes) -> bool:
        """
        See L{IDownstreamSink.callReceived}.
        """
        self.requestReceived(stream, headers, False)
        return False

    def requestRefused(self, streamId: int, headers: RequestHeaders | None, error: RemoteProtocolError) -> None:
        """
        A head that is no request; the codec saw to it.
        """


def _notGRPC(headers: RequestHeaders) -> ResponseHeaders | None:
    """
    What plain HTTP is answered, and nothing where it is gRPC.
    """
    if headers.method != b"POST":
        return ResponseHeaders(405, [(b"allow", b"POST"), (b"content-length", b"0")])
    contentType = headers.get(b"content-type") or b""
    if contentType != _CONTENT_TYPE and not contentType.startswith((_CONTENT_TYPE + b"+", _CONTENT_TYPE + b";")):
        return ResponseHeaders(415, [(b"content-length", b"0")])
    return None


class ServerCall:
    """
    One call, as its method sees it.

    @ivar headers: What the client sent with it: its metadata.
    @ivar isOver: Whether nothing can be sent any more.
    """

    _log = Logger()

    def __init__(self, connection: _ServerConnection, stream: CodecStream, headers: RequestHeaders) -> None:
        self.headers = headers
        self.isOver = False
        self._connection = connection
        self._stream = stream
        self._encoding = encoding = headers.get(b"grpc-encoding") or b"identity"
        self._reader = MessageReader(connection.server.options.maxMessage, encoding)
        self._receiver: Any = None
        self._hasSent = False
        self._deadline: Any = None

    @property
    def transport(self) -> Any:
        """
        The connection's transport: who the peer is.
        """
        return self._connection.transport

    def begin(self, method: Method | None, endStream: bool) -> None:
        """
        The head came.
        """
        try:
            if method is None:
                path = self.headers.path.decode("latin-1")
                raise GRPCError(Status.UNIMPLEMENTED, f"this server has no method {path}")
            if self._encoding not in ENCODINGS:
                # https://github.com/grpc/grpc/blob/master/doc/compression.md: and the client is told what is.
                encoding = self._encoding[:32].decode("latin-1")
                raise GRPCError(Status.UNIMPLEMENTED, f"the grpc-encoding {encoding} is not supported")
            timeout = self.headers.get(b"grpc-timeout")
            if timeout is not None:
                self._deadline = self._connection.reactor.callLater(parseTimeout(timeout), self._expired)
            self._receiver = method(self)
        except Exception:
            self.fail(Failure())
            return
        if endStream:
            self._tell("halfClosed")

    # What the method does

    def send(self, message: bytes) -> None:
        """
        Send a message; after the end it is dropped.
        """
        if self.isOver:
            return
        self._sendHead()
        self._stream.sendData(encodeFrame(message), False)
        self._connection.flush()

    def _sendHead(self) -> None:
        if not self._hasSent:
            self._hasSent = True
            fields = [(b"content-type", _CONTENT_TYPE), (b"grpc-accept-encoding", ACCEPTED)]
            self._stream.sendHeaders(ResponseHeaders(200, fields), False)

    def finish(self, error: GRPCError | None = None) -> None:
        """
        End the call, well or with a status.
        """
        if self.isOver:
            return
        self._over()
        fields = [(b"grpc-status", b"%d" % (0 if error is None else error.status))]
        if error is not None and error.message:
            fields.append((b"grpc-message", encodeMessage(error.message)))
        stream = self._stream
        if self._hasSent:
            stream.sendTrailers(HeaderMap(fields))
        else:
            if error is not None and error.status is Status.UNIMPLEMENTED:
                fields.append((b"grpc-accept-encoding", ACCEPTED))
            stream.sendHeaders(ResponseHeaders(200, [(b"content-type", _CONTENT_TYPE), *fields]), True)
        stream.stopReading()
        self._connection.flush()

    def pauseReceiving(self) -> None:
        """
        Let the client send no more than it may already.
        """
        self._stream.pauseReading()

    def resumeReceiving(self) -> None:
        """
        Let it send more.
        """
        self._stream.resumeReading()
        self._connection.flush()

    def abort(self, error: GRPCError) -> None:
        """
        End the call from outside of its method, which is told.
        """
        if not self.isOver:
            receiver = self._receiver
            self.finish(error)
            if receiver is not None:
                self._guard(receiver, error)

    def _over(self) -> None:
        self.isOver = True
        self._receiver = None
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()

    def _expired(self) -> None:
        self.abort(GRPCError(Status.DEADLINE_EXCEEDED, "the deadline of the call passed"))

    # What the codec tells

    def dataReceived(self, data: bytes, endStream: bool) -> None:
        """
        See L{meshproxy.codec.http2.IRequestStreamSink}.
        """
        try:
            messages = self._reader.receiveData(data)
        except GRPCError as error:
            self.abort(error)
            return
        for message in messages:
            self._tell("messageReceived", message)
        if endStream and not self.isOver:
            if not self._reader.isEmpty:
                self.abort(GRPCError(Status.INTERNAL, "the request ends within a message"))
            else:
                self._tell("halfClosed")

    def trailersReceived(self, trailers: HeaderMap) -> None:
        """
        See L{meshproxy.codec.http2.IRequestStreamSink}. gRPC has no trailers of requests; they are an end.
        """
        self.dataReceived(b"", True)

    def streamReset(self, code: int, isRemote: bool, why: str) -> None:
        """
        See L{meshproxy.codec.http2.IRequestStreamSink}.
        """
        if self.isOver:
            return
        receiver = self._receiver
        self._over()
        if receiver is not None:
            self._guard(receiver, GRPCError(Status.CANCELLED, why))

    def pauseSending(self) -> None:
        """
        See L{meshproxy.codec.http2.IRequestStreamSink}.
        """
        self._tell("pauseSending")

    def resumeSending(self) -> None:
        """
        See L{meshproxy.codec.http2.IRequestStreamSink}.
        """
        self._tell("resumeSending")

    def _tell(self, what: str, *arguments: Any) -> None:
        """
        Tell the method, if it still wants to know; what it raises ends the call.
        """
        receiver = self._receiver
        if receiver is None or self.isOver:
            return
        try:
            getattr(receiver, what)(*arguments)
        except Exception:
            self.fail(Failure())

    def fail(self, failure: Failure) -> None:
        """
        End the call with what was raised: a status, or something that only the log is to know.
        """
        error = failure.value
        if not isinstance(error, GRPCError):
            # What went wrong is for the log; the client may be anybody.
            self._log.failure("{path} failed", failure, path=self.headers.path)
            error = GRPCError(Status.INTERNAL, "the server failed at this call")
        self.abort(error)

    def _guard(self, receiver: Any, error: GRPCError) -> None:
        try:
            receiver.cancelled(error)
        except Exception:
            self._log.failure("{path} failed to take its end", path=self.headers.path)


def unary(handler: Callable[[bytes, ServerCall], Awaitable[bytes]]) -> Method:
    """
    The method of a coroutine function: one request in, one response out.
    """
    return lambda call: _Unary(call, handler)


@implementer(IReceiver)
class _Unary:
    """
    A call with one request and one response.
    """

    def __init__(self, call: ServerCall, handler: Callable[[bytes, ServerCall], Awaitable[bytes]]) -> None:
        self._call = call
        self._handler = handler
        self._request: bytes | None = None
        self._work: Deferred[bytes] | None = None

    def messageReceived(self, message: bytes) -> None:
        """
        See L{IReceiver}.
        """
        if self._request is not None:
            raise GRPCError(Status.INTERNAL, "this call has one request, and a second one came")
        self._request = message

    def halfClosed(self) -> None:
        """
        See L{IReceiver}.
        """
        if self._request is None:
            raise GRPCError(Status.INTERNAL, "this call has one request, and none came")
        handled: Any = self._handler(self._request, self._call)
        self._work = Deferred.fromCoroutine(handled)
        self._work.addCallbacks(self._answer, self._fail)

    def _answer(self, response: bytes) -> None:
        self._call.send(response)
        self._call.finish()

    def _fail(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._call.fail(failure)

    def cancelled(self, error: GRPCError) -> None:
        """
        See L{IReceiver}.
        """
        if self._work is not None:
            self._work.cancel()

    def pauseSending(self) -> None:
        """
        See L{IReceiver}; there is but one message.
        """

    def resumeSending(self) -> None:
        """
        See L{IReceiver}.
        """
