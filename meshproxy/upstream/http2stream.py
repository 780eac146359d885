# -*- test-case-name: tests.upstream.test_http2pool -*-
"""
One request on an HTTP/2 connection to an endpoint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from zope.interface import implementer

from meshproxy.codec.http2 import CodecStream, ErrorCode, IResponseStreamSink
from meshproxy.flags import ResetReason
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders

if TYPE_CHECKING:
    from meshproxy.upstream.http1connection import IUpstreamRequest
    from meshproxy.upstream.http2connection import HTTP2UpstreamConnection

__all__ = ["ICall", "UpstreamStream"]

_REASONS = {
    ErrorCode.REFUSED_STREAM: ResetReason.REMOTE_REFUSED_STREAM,
    ErrorCode.CONNECT_ERROR: ResetReason.CONNECT_ERROR,
    ErrorCode.PROTOCOL_ERROR: ResetReason.PROTOCOL_ERROR,
}


class ICall(Protocol):
    """
    A request that was sent whole, and may be told of its response in one step.

    @ivar connection: What carries it.
    """

    connection: Any

    def answerReceived(self, headers: ResponseHeaders, body: bytes, trailers: HeaderMap) -> None:
        """
        See L{IResponseStreamSink.answerReceived}.
        """


@implementer(IResponseStreamSink)
class UpstreamStream:
    """
    One request on an HTTP/2 connection. To whoever sends it, it is what an
    L{HTTP1UpstreamConnection<meshproxy.upstream.http1connection.HTTP1UpstreamConnection>} is.

    @ivar request: Who is told of the response; L{None} when it is over.
    @ivar connection: What it goes by.
    @ivar codecStream: Its stream there, once its head was sent.
    @ivar requestEnded: Whether all of it was sent.
    @ivar upgraded: Whether the upstream agreed to the tunnel that was asked for.
    @ivar takesAnswer: See L{IResponseStreamSink.takesAnswer}: whether the request is an L{ICall}, still unpaused.
    """

    __slots__ = (
        "_responseEnded",
        "codecStream",
        "connection",
        "request",
        "requestEnded",
        "takesAnswer",
        "upgraded",
    )

    isHTTP2 = True
    protocolName = "HTTP/2"
    opaqueRemaining = 0
    """See L{meshproxy.codec.http1.UpstreamCodec}: no bytes go past the codec here."""

    def __init__(self, connection: HTTP2UpstreamConnection, request: IUpstreamRequest) -> None:
        self.connection = connection
        self.request: IUpstreamRequest | None = request
        self.codecStream: CodecStream | None = None
        self.takesAnswer = 0
        self.upgraded = self.requestEnded = self._responseEnded = False

    # What is asked of a connection

    @property
    def codec(self) -> UpstreamStream:
        """
        What knows whether there is a tunnel.
        """
        return self

    @property
    def id(self) -> int:
        """
        The connection's number.
        """
        return self.connection.id

    @property
    def began(self) -> float:
        """
        When the connection was asked for.
        """
        return self.connection.began

    @property
    def connectedAt(self) -> float | None:
        """
        When it was there.
        """
        return self.connection.connectedAt

    @property
    def transport(self) -> Any:
        """
        The connection's transport.
        """
        return self.connection.transport

    # The request

    def sendHeaders(self, headers: RequestHeaders, endStream: bool) -> None:
        """
        Send the head of the request.

        @raise meshproxy.errors.LocalProtocolError: If it cannot be written.
        """
        connection = self.connection
        self.requestEnded = endStream
        self.codecStream = connection.codec.request(self, headers, endStream)
        connection.wake()

    def sendData(self, data: bytes, endStream: bool) -> None:
        """
        Send a piece of its body.
        """
        if self.codecStream is not None:
            self.codecStream.sendData(data, endStream)
            self.connection.wake()
        if endStream:
            self._requestComplete()

    def sendTrailers(self, trailers: HeaderMap) -> None:
        """
        Send its trailers; they end it.
        """
        if self.codecStream is not None:
            self.codecStream.sendTrailers(trailers)
            self.connection.wake()
        self._requestComplete()

    def sendMetadata(self, fields: list[tuple[bytes, bytes]]) -> bool:
        """
        Send METADATA, where the cluster allows it.

        @return: Whether there was room for it.
        """
        if self.codecStream is None:
            return True
        sent = self.codecStream.sendMetadata(fields)
        self.connection.wake()
        return sent

    def _requestComplete(self) -> None:
        self.requestEnded = True
        if self._responseEnded:
            self._finish()

    def beginTunnel(self) -> None:
        """
        The upgrade was accepted; frames go on as before.
        """

    def handOver(self, request: IUpstreamRequest) -> None:
        """
        Tell another one of the response from now on.
        """
        self.request = request
        self.takesAnswer = 0

    def reset(self, request: IUpstreamRequest) -> None:
        """
        The request is given up; the connection and its other requests go on.
        """
        if self.request is request:
            codecStream = self.codecStream
            if codecStream is not None and (codecStream.canSend or codecStream.canReceive):
                self.connection.pool.stats.rqTxReset.value += 1
                # A response that overtook its request is over in peace (RFC 9113, 8.1).
                codecStream.reset(ErrorCode.NO_ERROR if self._responseEnded else ErrorCode.CANCEL)
                self.connection.wake()
            self._detach()

    def pauseReading(self) -> None:
        """
        The downstream does not read: give the upstream no credit for this stream.
        """
        self.connection.pool.stats.flowControlPausedReading.value += 1
        self.takesAnswer = 0
        if self.codecStream is not None:
            self.codecStream.pauseReading()

    def resumeReading(self) -> None:
        """
        The downstream reads again.
        """
        self.connection.pool.stats.flowControlResumedReading.value += 1
        if self.codecStream is not None:
            self.codecStream.resumeReading()
            self.connection.wake()

    # The response, told by the codec

    def informationalReceived(self, headers: ResponseHeaders) -> None:
        """
        See L{IResponseStreamSink.informationalReceived}.
        """
        if self.request is not None:
            self.request.informationalReceived(headers)

    def responseReceived(self, headers: ResponseHeaders, endStream: bool) -> None:
        """
        See L{IResponseStreamSink.responseReceived}.
        """
        codecStream = self.codecStream
        if codecStream is not None and codecStream.protocol:
            self.upgraded = headers.status == 101 or (codecStream.protocol == b"connect" and headers.status < 300)
        self._responseEnded = endStream
        if self.request is not None:
            self.request.responseReceived(headers, endStream)
        if endStream:
            self._responseComplete()

    def wholeReceived(self, headers: ResponseHeaders, body: bytes) -> None:
        """
        See L{IResponseStreamSink.wholeReceived}.
        """
        self._responseEnded = True
        if self.request is not None:
            self.request.wholeReceived(headers, body)
        self._responseComplete()

    def answerReceived(self, headers: ResponseHeaders, body: bytes, trailers: HeaderMap) -> None:
        """
        See L{IResponseStreamSink.answerReceived}.
        """
        self._responseEnded = True
        call: ICall = self.request  # type: ignore[assignment]  # nobody else takes answers
        # CPython 3.11 finds it faster on the class.
        type(call).answerReceived(call, headers, body, trailers)
        if self.request is None:
            return
        connection = self.connection
        pool = connection.pool
        if pool.pending or pool.draining or connection.isRetired or len(connection.streams) == 1:
            self._detach()
            return
        # The same, where others are under way and nobody waits.
        self.request = None
        del connection.streams[self]
        requests = pool.breaker.requests
        used = requests.used
        requests.used = used - 1
        if used >= requests.watched:
            requests.tell()
        pool.stats.rqActive.value -= 1
        pool.endpoint.active -= 1

    def dataReceived(self, data: bytes, endStream: bool) -> None:
        """
        See L{IResponseStreamSink.dataReceived}.
        """
        self._responseEnded = endStream
        if self.request is not None:
            self.request.dataReceived(data, endStream)
        if endStream:
            self._responseComplete()

    def trailersReceived(self, trailers: HeaderMap) -> None:
        """
        See L{IResponseStreamSink.trailersReceived}.
        """
        self._responseEnded = True
        if self.request is not None:
            self.request.trailersReceived(trailers)
        self._responseComplete()

    def metadataReceived(self, fields: list[tuple[bytes, bytes]]) -> None:
        """
        See L{IResponseStreamSink.metadataReceived}: for requests that hand it on.
        """
        told = getattr(self.request, "metadataReceived", None)
        if told is not None:
            told(fields)

    def streamReset(self, code: int, isRemote: bool, why: str) -> None:
        """
        See L{IResponseStreamSink.streamReset}.
        """
        if isRemote:
            self.fail(_REASONS.get(code, ResetReason.REMOTE_RESET), why)
        else:
            self.fail(ResetReason.PROTOCOL_ERROR, why)

    def pauseSending(self) -> None:
        """
        See L{IResponseStreamSink.pauseSending}.
        """
        if self.request is not None:
            self.connection.pool.stats.flowControlBackedUp.value += 1
            self.request.pauseRequest()

    def resumeSending(self) -> None:
        """
        See L{IResponseStreamSink.resumeSending}.
        """
        if self.request is not None:
            self.connection.pool.stats.flowControlDrained.value += 1
            self.request.resumeRequest()

    def _responseComplete(self) -> None:
        if self.request is not None and self.requestEnded:
            # One that is still being sent keeps its place until its sender is done with it; as in Envoy, the router
            # resets it when the response is over.
            self._finish()

    def _finish(self) -> None:
        """
        Request and response are over.
        """
        if self.request is None:
            return
        codecStream = self.codecStream
        if codecStream is not None and codecStream.canSend and not self.upgraded:
            # The upstream answered without giving credit for all of the request: nobody waits for that any more.
            codecStream.reset(ErrorCode.NO_ERROR)
            self.connection.wake()
        self._detach()

    def _detach(self) -> None:
        self.request = None
        self.takesAnswer = 0
        self.connection.streamEnded(self)

    def fail(self, reason: ResetReason, why: str) -> None:
        """
        The response will not come, or not end.
        """
        request = self.request
        if request is not None:
            self._detach()
            request.upstreamReset(reason, why)
