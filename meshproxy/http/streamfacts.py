# -*- test-case-name: tests.http.test_streamfacts -*-
"""
What logs may ask of a stream and seldom do: found when it is asked for, not noted as it happens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from meshproxy.accesslog.streaminfo import StreamInfo, TLSFacts

if TYPE_CHECKING:
    from meshproxy.headers import RequestHeaders
    from meshproxy.http.manager import ConnectionManager
    from meshproxy.net.address import Address
    from meshproxy.routing.route import Route
    from meshproxy.upstream.cluster import Cluster
    from meshproxy.upstream.http1connection import HTTP1UpstreamConnection

__all__ = ["StreamFacts"]

Metadata = Mapping[str, Mapping[str, object]]

# Properties stand in for attributes of the class above.
# mypy: disable-error-code="override"


class StreamFacts(StreamInfo):
    """
    The facts of an HTTP stream that follow from others.

    @ivar waitedSince: When the request began to wait for its upstream connection, if it had to.
    @ivar waitedForConnection: When it got it then, or learned that there is none.
    """

    manager: ConnectionManager
    route: Route | None = None
    upstreamConnection: HTTP1UpstreamConnection | None = None
    requestHeaders: RequestHeaders
    waitedSince: float = 0.0
    # The codecs do not count them for each stream.
    wireBytesReceived: int | None = None
    wireBytesSent: int | None = None
    headerBytesReceived: int | None = None
    headerBytesSent: int | None = None
    fieldBytesReceived: int | None = None
    fieldBytesSent: int | None = None
    upstreamWireBytesReceived: int | None = None
    upstreamWireBytesSent: int | None = None
    upstreamHeaderBytesReceived: int | None = None
    upstreamHeaderBytesSent: int | None = None
    upstreamFieldBytesReceived: int | None = None
    upstreamFieldBytesSent: int | None = None
    waitedForConnection: float | None = None
    # Of a virtual host without a route for it, which has metadata.
    _unroutedMetadata: Metadata | None = None
    _unroutedName = ""

    @property
    def routeMetadata(self) -> Metadata | None:
        """
        Of the route.
        """
        return None if self.route is None else self.route.metadata

    @property
    def virtualHostMetadata(self) -> Metadata | None:
        """
        Of its virtual host.
        """
        return self._unroutedMetadata if self.route is None else self.route.virtualHost.metadata

    @virtualHostMetadata.setter
    def virtualHostMetadata(self, metadata: Metadata) -> None:
        self._unroutedMetadata = metadata

    @property
    def clusterMetadata(self) -> Metadata | None:
        """
        Of the cluster.
        """
        cluster = self._cluster
        return None if cluster is None else cluster.metadata

    @property
    def upstreamMetadata(self) -> Metadata | None:
        """
        Of the endpoint.
        """
        metadata: Metadata | None = getattr(self.upstreamHost, "metadata", None)
        return metadata

    @property
    def listenerMetadata(self) -> Metadata | None:
        """
        Of the listener.
        """
        return self.connection.listenerMetadata

    @property
    def virtualHostName(self) -> str:
        """
        The name of the virtual host.
        """
        return self._unroutedName if self.route is None else self.route.virtualHost.name

    @virtualHostName.setter
    def virtualHostName(self, name: str) -> None:
        self._unroutedName = name

    @property
    def clusterName(self) -> str:
        """
        The name of the cluster that the route says, if there is one of this name.
        """
        return "" if self._cluster is None else self._clusterName

    @property
    def plannedCluster(self) -> str:
        """
        How logs name the cluster that the route says; empty where there is none.
        """
        cluster = self._cluster
        return "" if cluster is None else cluster.statName

    @property
    def upstreamClusterRaw(self) -> str:
        """
        The cluster's own name.
        """
        return self._clusterName if self.upstreamCluster else ""

    @property
    def upstreamProtocol(self) -> str:
        """
        What is spoken to the upstream.
        """
        connection = self.upstreamConnection
        return "" if connection is None else connection.protocolName

    @property
    def upstreamConnectStart(self) -> float | None:
        """
        When the upstream connection was asked for; L{upstreamConnectEnd}: when it was there.
        """
        return None if self.upstreamConnection is None else self.upstreamConnection.began

    @property
    def upstreamConnectEnd(self) -> float | None:
        """
        See L{upstreamConnectStart}.
        """
        return None if self.upstreamConnection is None else self.upstreamConnection.connectedAt

    @property
    def requestId(self) -> str:
        """
        The x-request-id that the request has, or got.
        """
        value = self.requestHeaders.first.get(b"x-request-id")
        return "" if value is None else value.decode("latin-1")

    @property
    def upstreamConnectionId(self) -> int:
        """
        The number of the upstream connection; 0 where there is none.
        """
        return 0 if self.upstreamConnection is None else self.upstreamConnection.id

    @property
    def upstreamLocalAddress(self) -> Address | None:
        """
        This end of it.
        """
        transport: Any = None if self.upstreamConnection is None else self.upstreamConnection.transport
        address: Address | None = getattr(transport, "localAddress", None)
        return address

    @property
    def upstreamTls(self) -> TLSFacts | None:
        """
        The facts about its TLS session.
        """
        transport: Any = None if self.upstreamConnection is None else self.upstreamConnection.transport
        tls: TLSFacts | None = getattr(transport, "tls", None)
        return tls

    @property
    def upstreamRequestStart(self) -> float | None:
        """
        When the first byte of the request went upstream: when it came, unless it waited for a connection.
        """
        if self.upstreamConnection is None:
            return None
        return self.startMonotonic if self.waitedForConnection is None else self.waitedForConnection

    @property
    def upstreamRequestEnd(self) -> float | None:
        """
        When its last byte went upstream: when it came, likewise.
        """
        ended, waited = self.requestEnd, self.waitedForConnection
        if self.upstreamConnection is None or ended is None:
            return None
        return ended if waited is None else max(ended, waited)

    @property
    def connectionPoolReady(self) -> float | None:
        """
        How many seconds it took to get an upstream connection, or to learn that there is none.
        """
        waited = self.waitedForConnection
        if waited is None:
            return None if self.upstreamConnection is None else 0.0
        return waited - self.waitedSince

    @property
    def _clusterName(self) -> str:
        action = None if self.route is None else self.route.action
        if action is None:
            return ""
        return action.cluster or action.selectCluster(self.requestHeaders, self)

    @property
    def _cluster(self) -> Cluster | None:
        name = self._clusterName
        return self.manager.clusters.get(name) if name else None

    def tryAgain(self) -> None:
        """
        The last try is over, and another one begins.
        """
        if self.upstreamHost is not None and self.upstreamConnection is not None:
            self.upstreamHostsAttempted = (*self.upstreamHostsAttempted, self.upstreamHost)
        self.upstreamConnection = None
