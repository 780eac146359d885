# -*- test-case-name: tests.http.test_tunnel -*-
"""
CONNECT that ends here (C{connect_config}): what comes through the tunnel goes to the endpoint as bytes.

A L{Tunnel} stands where a request has its HTTP connection, and a L{TunnelMaker} where it has its pool.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, IPushProducer
from zope.interface import implementer

from meshproxy.flags import ResetReason
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from meshproxy.upstream.http1connection import connectionIds
from meshproxy.upstream.tcpconnection import TCPUpstreamConnection
from meshproxy.upstream.wirecount import begin

if TYPE_CHECKING:
    from meshproxy.upstream.cluster import Cluster
    from meshproxy.upstream.endpoint import Endpoint
    from meshproxy.upstream.wirecount import IUpstreamCounts

__all__ = ["Tunnel", "TunnelHeader", "TunnelMaker"]

#: Makes the bytes that a tunnel begins with, given its transport.
TunnelHeader: TypeAlias = "Callable[[Any], bytes]"


class _NoCodec:
    """
    As much of a codec as a request asks of its connection.
    """

    upgraded = True
    opaqueRemaining = 0


class TunnelMaker:
    """
    Makes the connection of one request.
    """

    def __init__(self, cluster: Cluster, endpoint: Endpoint, header: TunnelHeader | None = None) -> None:
        """
        @param header: What the tunnel begins with.
        """
        self._cluster = cluster
        self._endpoint = endpoint
        self._header = header
        self._tunnel: Tunnel | None = None

    def request(self, request: Any) -> None:
        """
        See L{meshproxy.upstream.http1pool.HTTP1Pool.request}.
        """
        breaker, stats = self._cluster.breaker("DEFAULT"), self._cluster.stats
        isFull = breaker.connections.exhausted
        stats.cxOverflow.value += isFull
        stats.rqPendingOverflow.value += breaker.pending.exhausted
        # As in Envoy, an endpoint without any connection gets one in spite of the limit, lest it starve.
        if breaker.pending.exhausted or (isFull and self._endpoint.cxActive.value):
            request.connectionFailed(ResetReason.OVERFLOW, None, "")
            return
        self._tunnel = Tunnel(self._cluster, self._endpoint, request, self._header)
        self._tunnel.connection.connect()

    def cancel(self, request: Any) -> None:
        """
        See L{meshproxy.upstream.http1pool.HTTP1Pool.cancel}.
        """
        if self._tunnel is not None:
            self._tunnel.connection.cancel()


@implementer(IProtocol, IHalfCloseableProtocol, IPushProducer)
class Tunnel:
    """
    The bytes of one CONNECT.

    @ivar connection: What counts it.
    @ivar codec: See L{_NoCodec}.
    @ivar id: Unique among upstream connections.
    @ivar began: When it was asked for, by the cluster's clock.
    @ivar connectedAt: When it was there.
    """

    isHTTP2 = False
    # What it carries is not known.
    protocolName = ""
    connectedAt: float | None = None
    transport: Any = None

    def __init__(self, cluster: Cluster, endpoint: Endpoint, request: Any, header: TunnelHeader | None = None) -> None:
        """
        @param request: An L{meshproxy.upstream.http1pool.IPoolRequest}, which is an C{IUpstreamRequest} as well.
        @param header: What the tunnel begins with.
        """
        self._header = header
        self._clock = cluster.clock
        self._counts: IUpstreamCounts | None = getattr(request, "countedFor", None)
        self.id = next(connectionIds)
        self.began = cluster.clock.seconds()
        self.codec = _NoCodec()
        self._stats = cluster.stats
        self._endpoint = endpoint
        self._request = request
        self._requestEnded = self._responseEnded = False
        self.connection = TCPUpstreamConnection(cluster, endpoint, self, self)

    # What TCPUpstreamConnection tells its owner

    def upstreamConnected(self) -> None:
        """
        The tunnel is there, which is the answer.
        """
        request = self._request
        if self._header is not None:
            self.sendData(self._header(self.transport), False)
        request.connectionReady(self)
        if self._request is not None:
            request.responseReceived(ResponseHeaders(200), False)

    def upstreamFailed(self, why: str) -> None:
        """
        There is no connection.
        """
        request, self._request = self._request, None
        reason = ResetReason.REMOTE_CONNECTION_FAILURE if why else ResetReason.CONNECTION_TIMEOUT
        request.connectionFailed(reason, self._endpoint, why)

    # The protocol

    def makeConnection(self, transport: Any) -> None:
        """
        Take the transport.
        """
        self.transport = transport
        self.connectedAt = self._clock.seconds()
        begin(self._counts)
        transport.registerProducer(self, True)

    def connectionMade(self) -> None:
        """
        See C{IProtocol}; L{makeConnection} did it.
        """

    def dataReceived(self, data: bytes) -> None:
        """
        Bytes for the client.
        """
        self._stats.cxRxBytesTotal.value += len(data)
        counts = self._counts
        if counts is not None:
            counts.upstreamWireBytesReceived = (counts.upstreamWireBytesReceived or 0) + len(data)
        if self._request is not None:
            self._request.dataReceived(data, False)

    def readConnectionLost(self) -> None:
        """
        The endpoint finished writing.
        """
        self._responseEnded = True
        request = self._request
        if request is not None:
            request.dataReceived(b"", True)
            # As in Envoy, that is the end of the whole tunnel.
            request.tunnelEnded()
        self._closeIfDone()

    def writeConnectionLost(self) -> None:
        """
        This side finished writing.
        """

    def connectionLost(self, reason: Any = None) -> None:
        """
        It is gone.
        """
        request, self._request = self._request, None
        if request is not None and not self._responseEnded:
            request.upstreamReset(ResetReason.CONNECTION_TERMINATION, "")

    # The request

    def sendHeaders(self, headers: RequestHeaders, endStream: bool) -> None:
        """
        A head does not go through a tunnel, but a POST may have nothing else.
        """
        if endStream:
            self.sendData(b"", True)

    def sendData(self, data: bytes, endStream: bool) -> None:
        """
        Bytes for the endpoint.
        """
        if self.transport is None:
            return
        if data:
            self._stats.cxTxBytesTotal.value += len(data)
            counts = self._counts
            if counts is not None:
                counts.upstreamWireBytesSent = (counts.upstreamWireBytesSent or 0) + len(data)
            self.transport.write(data)
        if endStream:
            self._requestEnded = True
            self.transport.loseWriteConnection()
            self._closeIfDone()

    def sendMetadata(self, fields: list[tuple[bytes, bytes]]) -> bool:
        """
        METADATA goes no further.

        @return: True.
        """
        return True

    def sendTrailers(self, trailers: HeaderMap) -> None:
        """
        Trailers do not go through it either, but end it.
        """
        self.sendData(b"", True)

    def _closeIfDone(self) -> None:
        if self._requestEnded and self._responseEnded:
            self._request = None
            self.connection.closedHere = True
            self.transport.loseConnection()

    def beginTunnel(self) -> None:
        """
        It is one.
        """

    def reset(self, request: Any) -> None:
        """
        The request is given up.
        """
        if self._request is request or not (self._requestEnded and self._responseEnded):
            self._request = None
            self.connection.closedHere = True
            if self.transport is not None:
                self.transport.abortConnection()

    def pauseReading(self) -> None:
        """
        The client does not read.
        """
        self._stats.flowControlPausedReading.value += 1
        self.transport.pauseProducing()

    def resumeReading(self) -> None:
        """
        It reads again.
        """
        self._stats.flowControlResumedReading.value += 1
        self.transport.resumeProducing()

    # The transport's buffer

    def pauseProducing(self) -> None:
        """
        The endpoint does not read.
        """
        if self._request is not None:
            self._stats.flowControlBackedUp.value += 1
            self._request.pauseRequest()

    def resumeProducing(self) -> None:
        """
        It reads again.
        """
        if self._request is not None:
            self._stats.flowControlDrained.value += 1
            self._request.resumeRequest()

    def stopProducing(self) -> None:
        """
        See C{IPushProducer}; C{connectionLost} says so as well.
        """
