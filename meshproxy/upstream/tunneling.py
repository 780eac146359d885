# -*- test-case-name: tests.upstream.test_tunneling -*-
"""
TCP through an HTTP proxy (C{tunneling_config} of tcp_proxy): the bytes of a connection are the body of a CONNECT, or of
a POST, on a connection of the cluster's HTTP pools.

A L{TunnelledConnection} stands where a session has its L{meshproxy.upstream.tcpconnection.TCPUpstreamConnection}, and
is the transport of the session's upstream side as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IConsumer, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from meshproxy.accesslog.streaminfo import StreamInfo
from meshproxy.errors import LocalProtocolError
from meshproxy.flags import ResetReason, ResponseFlag
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from meshproxy.net.tlsinfo import TLSInfo
from meshproxy.upstream.transports import NO_WISH, TLSWish

if TYPE_CHECKING:
    from meshproxy.upstream.cluster import Cluster
    from meshproxy.upstream.endpoint import Endpoint
    from meshproxy.upstream.http1pool import HTTP1Pool

__all__ = [
    "DISABLE_TUNNELING",
    "RESPONSE_HEADERS",
    "RESPONSE_TRAILERS",
    "ITunnelOwner",
    "TunnelFields",
    "TunnelSettings",
    "TunnelledConnection",
]

#: The key of the filter state by which a network filter asks for no tunnel: C{"true"}.
DISABLE_TUNNELING = "envoy.tcp_proxy.disable_tunneling"
#: Where the filter state has the L{TunnelFields} of the response.
RESPONSE_HEADERS = "envoy.tcp_proxy.propagate_response_headers"
RESPONSE_TRAILERS = "envoy.tcp_proxy.propagate_response_trailers"


@dataclass(frozen=True, slots=True)
class TunnelFields:
    """
    The head or the trailers of the response to a tunnel, for other network filters to read.

    @ivar fields: A L{ResponseHeaders}, or the trailers' L{HeaderMap}.
    """

    # Nothing that an access log shows but as a structure, as in Envoy.
    isShown: ClassVar[bool] = False

    fields: HeaderMap

    @property
    def typed(self) -> dict[str, list[dict[str, str]]]:
        """
        What an access log shows: Envoy's C{envoy.config.core.v3.HeaderMap}.
        """
        fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.fields.fields()]
        if isinstance(self.fields, ResponseHeaders):
            fields.insert(0, (":status", str(self.fields.status)))
        return {"headers": [{"key": name, "value": value} for name, value in fields]}


# What is no fault of the endpoint: there was no place for the request, or no way out of here.
_OURS = (ResetReason.OVERFLOW, ResetReason.NO_POOL, ResetReason.LOCAL_CONNECTION_FAILURE)


@dataclass(frozen=True, slots=True)
class TunnelSettings:
    """
    What C{tunneling_config} says.

    @ivar hostname: Makes the authority of the request.
    @ivar postPath: The path of a POST; empty for a CONNECT.
    @ivar finalize: Adds headers to the request.
    @ivar requestId: Gives the request an id; L{None} for none.
    @ivar keepsHeaders: Whether the filter state gets the head of the response, C{keepsTrailers} its trailers.
    """

    hostname: Callable[[StreamInfo], bytes]
    postPath: bytes = b""
    finalize: Callable[[RequestHeaders, StreamInfo], object] | None = None
    requestId: Callable[[RequestHeaders, StreamInfo], object] | None = None
    keepsHeaders: bool = False
    keepsTrailers: bool = False

    def request(self, record: StreamInfo, scheme: bytes) -> RequestHeaders:
        """
        Make the head of a request.
        """
        method = b"POST" if self.postPath else b"CONNECT"
        headers = RequestHeaders(method, self.postPath, self.hostname(record), scheme=scheme)
        if self.requestId is not None:
            self.requestId(headers, record)
        if self.finalize is not None:
            self.finalize(headers, record)
        return headers


class ITunnelOwner(Protocol):
    """
    Who asked for the tunnel.
    """

    def upstreamConnected(self) -> None:
        """
        It is there.
        """

    def upstreamFailed(self, why: str) -> None:
        """
        There will be none, for which the endpoint is to blame.

        @param why: What the transport said, for C{%UPSTREAM_TRANSPORT_FAILURE_REASON%}.
        """

    def upstreamRefused(self) -> None:
        """
        There will be none, which is not the endpoint's fault.
        """


@implementer(IConsumer, IPushProducer)
class TunnelledConnection:
    """
    One tunnel: a request to a pool, what is told of its response, and the transport of a session's upstream side.

    @ivar closedHere: Whether this side ends it; nothing is counted by it, since the connection counts for itself.
    @ivar tls: The facts about the TLS session of the connection that it runs on.
    @ivar peerAddress: The endpoint's.
    @ivar localAddress: This end of the connection that it runs on.
    """

    closedHere = False
    tls: TLSInfo | None = None
    localAddress: Any = None
    _pool: HTTP1Pool | None = None
    _connection: Any = None
    _producer: Any = None
    _isOpen = False
    _isPaused = False
    _isFull = False
    _requestEnded = False
    _responseEnded = False

    def __init__(
        self,
        settings: TunnelSettings,
        cluster: Cluster,
        endpoint: Endpoint,
        owner: ITunnelOwner,
        side: Any,
        wish: TLSWish = NO_WISH,
    ) -> None:
        """
        @param side: The L{meshproxy.upstream.tcpsession.TCPSide} that the tunnel is the transport of.
        @param wish: What is asked of the connection besides.
        """
        self._settings = settings
        self._cluster = cluster
        self._endpoint = endpoint
        self._owner = owner
        self._side = side
        self._wish = wish
        self.peerAddress = endpoint.address

    # The session

    def connect(self) -> None:
        """
        Begin.
        """
        pool = self._pool = self._cluster.pool(self._endpoint, "DEFAULT", self._wish)
        pool.request(self)

    def cancel(self) -> None:
        """
        Give an attempt up, if it is one still.
        """
        if self._pool is not None:
            pool, self._pool = self._pool, None
            pool.cancel(self)
        elif self._connection is not None and not self._isOpen:
            # As in Envoy, a request that is given up has failed.
            self._side.record.responseFlags |= ResponseFlag.UPSTREAM_CONNECTION_FAILURE
            self._leave()

    def _leave(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.reset(self)

    def _fail(self, why: str = "") -> None:
        self._leave()
        self._owner.upstreamFailed(why)

    # The pool

    def connectionReady(self, connection: Any) -> None:
        """
        See L{meshproxy.upstream.http1pool.IPoolRequest.connectionReady}.
        """
        self._pool = None
        self._connection = connection
        transport = connection.transport
        self.localAddress = transport.localAddress
        self.tls = getattr(transport, "tls", None)
        record = self._side.record
        record.upstreamHost = self._endpoint
        headers = self._settings.request(record, b"http" if self.tls is None else b"https")
        try:
            connection.sendHeaders(headers, False)
        except LocalProtocolError as error:
            # What was made of the host name and the headers cannot be written.
            self._fail(str(error))

    def connectionFailed(self, reason: ResetReason, endpoint: Endpoint | None, why: str) -> None:
        """
        See L{meshproxy.upstream.http1pool.IPoolRequest.connectionFailed}.
        """
        self._pool = None
        if reason in _OURS:
            self._owner.upstreamRefused()
        else:
            self._side.record.upstreamHost = endpoint
            self._owner.upstreamFailed(why)

    # The response

    def informationalReceived(self, headers: ResponseHeaders) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.informationalReceived}: it says nothing of the tunnel.
        """

    def responseReceived(self, headers: ResponseHeaders, endStream: bool) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.responseReceived}.
        """
        connection, settings = self._connection, self._settings
        # As in Envoy, any 2xx of HTTP/1.1, and 200 alone of HTTP/2.
        accepted = headers.status == 200 if connection.isHTTP2 else 200 <= headers.status < 300
        if settings.keepsHeaders:
            self._side.record.connection.setState(RESPONSE_HEADERS, TunnelFields(headers))
        if endStream or not accepted or not (settings.postPath or connection.codec.upgraded):
            self._fail()
            return
        if not settings.postPath:
            connection.beginTunnel()
        self._isOpen = True
        self._side.makeConnection(self)
        self._owner.upstreamConnected()

    def wholeReceived(self, headers: ResponseHeaders, body: bytes) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.wholeReceived}.
        """
        self.responseReceived(headers, not body)
        if self._isOpen:
            self.dataReceived(body, True)

    def dataReceived(self, data: bytes, endStream: bool) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.dataReceived}.
        """
        if not self._isOpen:
            return
        if data:
            self._side.dataReceived(data)
        if endStream:
            self._responseEnds()

    def trailersReceived(self, trailers: HeaderMap) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.trailersReceived}.
        """
        if self._settings.keepsTrailers:
            self._side.record.connection.setState(RESPONSE_TRAILERS, TunnelFields(trailers))
        if self._isOpen:
            self._responseEnds()

    def _responseEnds(self) -> None:
        self._responseEnded = True
        if self._isOpen:
            self._side.readConnectionLost()

    def upstreamReset(self, reason: ResetReason, why: str) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.upstreamReset}: to the session a tunnel that is there
        just ends.
        """
        self._connection = None
        if not self._isOpen:
            self._owner.upstreamFailed(why)
            return
        if reason is ResetReason.REMOTE_RESET and not self._responseEnded:
            self._side.record.responseFlags |= ResponseFlag.UPSTREAM_REMOTE_RESET
        self._lost(ConnectionDone())

    def _lost(self, error: Exception) -> None:
        if self._isOpen:
            self._isOpen = False
            self._side.connectionLost(Failure(error))

    # The transport's buffer

    def pauseRequest(self) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.pauseRequest}.
        """
        self._isFull = True
        if self._producer is not None:
            self._producer.pauseProducing()

    def resumeRequest(self) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.resumeRequest}.
        """
        self._isFull = False
        if self._producer is not None:
            self._producer.resumeProducing()

    # The transport of the session's upstream side

    @property
    def unsent(self) -> int:
        """
        How many bytes wait to be sent, where the tunnel has a connection of its own.
        """
        connection = self._connection
        if connection is None or connection.isHTTP2:
            return 0
        waiting: int = connection.transport.unsent
        return waiting

    def write(self, data: bytes) -> None:
        """
        Send bytes.
        """
        if self._connection is not None and not self._requestEnded:
            self._connection.sendData(data, False)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Be fed by a producer.
        """
        self._producer = producer
        if self._isFull:
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        """
        Be fed by nobody any more.
        """
        self._producer = None

    def pauseProducing(self) -> None:
        """
        Read no more.
        """
        if self._connection is not None and not self._isPaused:
            self._isPaused = True
            self._connection.pauseReading()

    def resumeProducing(self) -> None:
        """
        Read again.
        """
        if self._connection is not None and self._isPaused:
            self._isPaused = False
            self._connection.resumeReading()

    def stopProducing(self) -> None:
        """
        Close it.
        """
        self.loseConnection()

    def loseWriteConnection(self) -> None:
        """
        Send nothing more.
        """
        connection = self._connection
        if connection is None or self._requestEnded:
            return
        self._requestEnded = True
        if self._settings.postPath or connection.isHTTP2:
            connection.sendData(b"", True)
            self._side.writeConnectionLost()
        else:
            # As in Envoy: a tunnel of HTTP/1.1 has no other end than that of its connection.
            connection.closedHere = True
            connection.transport.loseConnection()

    def loseConnection(self) -> None:
        """
        Close it; the session has sent all that it had.
        """
        self._closes(ConnectionDone())

    def abortConnection(self) -> None:
        """
        Close it with a reset.
        """
        self._closes(ConnectionAborted())

    def _closes(self, error: Exception) -> None:
        if self._connection is not None and not (self._requestEnded and self._responseEnded):
            self._leave()
        self._connection = None
        self._lost(error)
