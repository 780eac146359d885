# -*- test-case-name: tests.upstream.test_tcpconnection -*-
"""
One TCP connection to an endpoint, from the attempt to its end, with everything a cluster counts of it.

As in Envoy, such a connection passes for a pool's with one request on it: the attempt is a pending request, the
connection an active one.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol
from zope.interface import implementer

from meshproxy.errors import ConnectTimeout
from meshproxy.interfaces import ICancellable
from meshproxy.net.tlsinfo import TLSInfo
from meshproxy.upstream.cluster import Cluster
from meshproxy.upstream.endpoint import Endpoint
from meshproxy.upstream.transports import NO_WISH, TLSWish

__all__ = ["IConnectionOwner", "TCPUpstreamConnection"]


class IConnectionOwner(Protocol):
    """
    Who asked for the connection.
    """

    def upstreamConnected(self) -> None:
        """
        It is there.
        """

    def upstreamFailed(self, why: str) -> None:
        """
        There will be none.

        @param why: What the transport said, for C{%UPSTREAM_TRANSPORT_FAILURE_REASON%}.
        """


@implementer(IProtocol, IHalfCloseableProtocol)
class TCPUpstreamConnection:
    """
    Counts, and passes what happens to another protocol once it is connected.

    @ivar endpoint: Whom it speaks to.
    @ivar began: When it was asked for.
    @ivar closedHere: Whether this side ends it.
    @ivar tls: The facts about its TLS session, L{None} on cleartext.
    """

    closedHere = False
    tls: TLSInfo | None = None
    _dial: ICancellable | None = None
    _transport: Any = None

    def __init__(
        self,
        cluster: Cluster,
        endpoint: Endpoint,
        owner: IConnectionOwner,
        protocol: Any,
        wish: TLSWish = NO_WISH,
    ) -> None:
        """
        @param protocol: What is told of the connection; an C{IProtocol} that is C{IHalfCloseableProtocol}.
        @param wish: What is asked of it besides.
        """
        self._wish = wish
        self.endpoint = endpoint
        self._cluster = cluster
        self._owner = owner
        self._protocol = protocol
        self._breaker = cluster.breaker("DEFAULT")
        self.began = cluster.clock.seconds()

    def connect(self) -> None:
        """
        Begin.
        """
        cluster, stats, endpoint, breaker = self._cluster, self._cluster.stats, self.endpoint, self._breaker
        breaker.pending.take()
        stats.rqPendingTotal.value += 1
        stats.rqPendingActive.value += 1
        breaker.connections.take()
        stats.cxTotal.value += 1
        stats.cxActive.value += 1
        endpoint.cxTotal.value += 1
        endpoint.cxActive.value += 1
        if cluster.lasting is not None:
            cluster.lasting.setdefault(endpoint, set()).add(self)
        settings, source = cluster.settings, self._wish.source
        self._dial = cluster.transports.connector(endpoint, self._wish).connect(
            endpoint.address,
            self,
            self._failed,
            settings.connectTimeout,
            settings.bufferLimit,
            settings.socketOptions if source is None else settings.socketOptions.withSource(source),
        )

    def _unqueue(self) -> None:
        self._dial = None
        self._breaker.pending.give()
        self._cluster.stats.rqPendingActive.value -= 1

    def _failed(self, error: Exception) -> None:
        stats = self._cluster.stats
        self._unqueue()
        stats.cxConnectFail.value += 1
        stats.rqPendingFailureEject.value += 1
        self.endpoint.cxConnectFail.value += 1
        late = isinstance(error, ConnectTimeout)
        if late:
            stats.cxConnectTimeout.value += 1
        self.closedHere = late
        self.endpoint.broke(504 if late else 503)
        self._closed()
        self._owner.upstreamFailed("" if late else str(error))

    def cancel(self) -> None:
        """
        Give an attempt up, if it is one still.
        """
        if self._dial is not None:
            self._dial.cancel()
            self._unqueue()
            self._cluster.stats.rqCancelled.value += 1
            self.closedHere = True
            self._closed()

    def _closed(self) -> None:
        cluster, stats = self._cluster, self._cluster.stats
        self._breaker.connections.give()
        stats.cxActive.value -= 1
        self.endpoint.cxActive.value -= 1
        stats.cxDestroy.value += 1
        (stats.cxDestroyLocal if self.closedHere else stats.cxDestroyRemote).value += 1
        stats.cxLengthMs.record(int((cluster.clock.seconds() - self.began) * 1000))
        if cluster.lasting is not None:
            connections = cluster.lasting.get(self.endpoint, set())
            connections.discard(self)
            if not connections:
                cluster.lasting.pop(self.endpoint, None)

    def abort(self) -> None:
        """
        End it at once: its endpoint is ill. An attempt goes on, and ends as it ends.
        """
        if self._transport is not None:
            self.closedHere = True
            self._transport.abortConnection()

    # The protocol

    def makeConnection(self, transport: Any) -> None:
        """
        It is connected.
        """
        cluster, stats, endpoint = self._cluster, self._cluster.stats, self.endpoint
        self._unqueue()
        stats.cxConnectMs.record(int((cluster.clock.seconds() - self.began) * 1000))
        self._breaker.requests.take()
        stats.rqTotal.value += 1
        stats.rqActive.value += 1
        endpoint.rqTotal.value += 1
        endpoint.active += 1
        if endpoint.monitor is not None:
            endpoint.monitor.connected()
        self.tls = getattr(transport, "tls", None)
        protocol = self._protocol
        if cluster.lasting is not None:
            self._transport = transport
        protocol.makeConnection(transport)
        self._owner.upstreamConnected()

    def connectionMade(self) -> None:
        """
        See C{IProtocol}; L{makeConnection} did it.
        """

    def dataReceived(self, data: bytes) -> None:
        """
        Bytes came.
        """
        self._protocol.dataReceived(data)

    def readConnectionLost(self) -> None:
        """
        The peer finished writing.
        """
        self._protocol.readConnectionLost()

    def writeConnectionLost(self) -> None:
        """
        This side finished writing.
        """
        self._protocol.writeConnectionLost()

    def connectionLost(self, reason: Any = None) -> None:
        """
        It is gone.
        """
        stats = self._cluster.stats
        self._breaker.requests.give()
        stats.rqActive.value -= 1
        self.endpoint.active -= 1
        self._protocol.connectionLost(reason)
        stats.cxDestroyWithActiveRq.value += 1
        (stats.cxDestroyLocalWithActiveRq if self.closedHere else stats.cxDestroyRemoteWithActiveRq).value += 1
        self._closed()
