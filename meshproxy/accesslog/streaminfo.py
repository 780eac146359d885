# -*- test-case-name: tests.accesslog.test_streaminfo -*-
"""
What is known about one stream or connection: the facts that access logs, header mutations, local replies and
traces are made of.

L{StreamInfo} has its defaults on the class, so that an instance holds, and pays for, only what differs. The
HTTP stream and tcp_proxy's session are subclasses of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from meshproxy.net.address import Address

if TYPE_CHECKING:
    from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
    from meshproxy.interfaces import IAcceptedSocket
    from meshproxy.net.dial import Source

__all__ = ["Address", "ConnectionInfo", "StreamInfo", "TLSFacts", "UpstreamHostInfo"]


class ConnectionInfo:
    """
    A downstream connection. One for all its streams.

    @ivar id: Unique in this process.
    @ivar accepted: The socket that it came by.
    @ivar remoteAddress: The client, as listener filters (PROXY protocol, original source) told it.
    @ivar directRemoteAddress: The peer of the socket.
    @ivar localAddress: Where the client wanted to go: the accepted address, or the original destination.
    @ivar directLocalAddress: The address of the socket, where it differs from C{localAddress}.
    @ivar listenerMetadata: C{filter_metadata} of the listener, by namespace.
    @ivar listenerDirection: The number of the listener's C{traffic_direction}.
    @ivar filterChainMetadata: C{filter_metadata} of the filter chain.
    @ivar requestedServerName: The server name of the ClientHello; the client chose it.
    @ivar terminationDetails: Why this side ended the connection (C{%CONNECTION_TERMINATION_DETAILS%}).
    @ivar localCloseReason: C{%DOWNSTREAM_LOCAL_CLOSE_REASON%}.
    @ivar edge: What the connection manager tells upstreams of this connection, made with its first request.
    @ivar responseFlags: Why a listener or network filter ended the connection, as L{StreamInfo.responseFlags}.
    @ivar codeDetails: What a network filter that answers by itself says for C{%RESPONSE_CODE_DETAILS%}.
    @ivar ja3: A fingerprint of the client's C{ClientHello}, where a listener filter took it; C{ja4} another one.
    @ivar tls: The facts about the TLS session that C{%DOWNSTREAM_PEER_SUBJECT%} and its like show, by the
        operator's name, or L{None} on cleartext.
    @ivar upstreamSource: Where connections to upstreams come from on its behalf, in place of what clusters say.
    @ivar dynamicMetadata: What listener and network filters noted, by namespace.
    @ivar filterState: Objects that listener and network filters share, by key; streams see them too.
    @ivar peerNames: By which names a TLS peer is authorized, each as a whole: the URI names of its certificate, then
        the DNS names, then the subject. Whoever sets C{tls} sets these as well.
    """

    id: int = 0
    accepted: IAcceptedSocket | None = None
    remoteAddress: Address | None = None
    directRemoteAddress: Address | None = None
    localAddress: Address | None = None
    directLocalAddress: Address | None = None
    listenerName: str = ""
    listenerMetadata: dict[str, dict[str, object]] | None = None
    listenerDirection: int = 0
    filterChainName: str = ""
    filterChainMetadata: dict[str, dict[str, object]] | None = None
    requestedServerName: str = ""
    terminationDetails: str = ""
    localCloseReason: str = ""
    transportFailureReason: str = ""
    responseFlags: int = 0
    codeDetails: str = ""
    ja3: str = ""
    ja4: str = ""
    edge: tuple[bytes, bytes] | None = None
    peerNames: tuple[str, ...] | None = None
    upstreamSource: Source | None = None
    dynamicMetadata: dict[str, dict[str, object]] | None = None
    filterState: dict[str, object] | None = None

    def __init__(self) -> None:
        # Each request asks for it, and CPython finds an attribute of the object itself faster than a default.
        self.tls: TLSFacts | None = None

    @property
    def originalDestination(self) -> Address | None:
        """
        Where the connection was made to before it came here, as listener filters told it; L{None} where it was made to
        this proxy.
        """
        local = self.localAddress
        return None if local is None or local == self.directLocalAddress else local

    def note(self, namespace: str, key: str, value: object) -> None:
        """
        Note dynamic metadata.
        """
        if self.dynamicMetadata is None:
            self.dynamicMetadata = {}
        self.dynamicMetadata.setdefault(namespace, {})[key] = value

    def setState(self, key: str, value: object) -> None:
        """
        Share an object as filter state.
        """
        if self.filterState is None:
            self.filterState = {}
        self.filterState[key] = value

    def __repr__(self) -> str:
        return f"<ConnectionInfo {self.id} from {self.remoteAddress and self.remoteAddress.text}>"


class TLSFacts(Protocol):
    """
    The facts about a TLS session; L{meshproxy.net.tlsinfo.TLSInfo}.

    @ivar serverName: The server name that was asked for.
    """

    serverName: str

    def get(self, fact: str) -> str | None:
        """
        A fact by the name of the operator that shows it.
        """

    def moment(self, fact: str) -> float | None:
        """
        A moment by the name of the operator that shows it, in seconds since the epoch.
        """


class UpstreamHostInfo(Protocol):
    """
    What logs ask of the endpoint that was chosen.
    """

    @property
    def address(self) -> Address:
        """
        Where the endpoint is.
        """


class StreamInfo:
    """
    A stream, or a connection of tcp_proxy.

    Times are monotonic seconds, but C{startTime}, which is seconds since the epoch.

    @ivar startTime: When the stream began, by the wall clock.
    @ivar startMonotonic: The same moment on the monotonic clock.
    @ivar requestEnd: When the last byte of the request had come.
    @ivar upstreamRequestStart: When the first byte of the request went upstream.
    @ivar upstreamRequestEnd: When the last byte of the request had gone upstream.
    @ivar upstreamResponseStart: When the first byte of the response came from upstream.
    @ivar upstreamResponseEnd: When the last byte of the response had come from upstream.
    @ivar responseStart: When the first byte of the response went downstream.
    @ivar responseEnd: When the last byte of the response had gone downstream.
    @ivar end: When the stream ended.
    @ivar protocol: C{"HTTP/1.1"}; C{""} where there is none.
    @ivar responseCode: The status sent downstream, 0 if none was.
    @ivar responseFlags: A mask of L{meshproxy.flags.ResponseFlag}.
    @ivar bytesReceived: Bytes of the request body (of the connection, for tcp_proxy).
    @ivar bytesSent: Bytes of the response body.
    @ivar tellsOriginalPath: Whether a path that is rewritten is kept in C{x-envoy-original-path}, and a host in
        C{x-envoy-original-host}.
    @ivar wireBytesReceived: Bytes read for this stream, framing included; C{headerBytesReceived} those of the head,
        C{fieldBytesReceived} those of its names and values before they were compressed; likewise sent, and for the
        upstream.
    @ivar routeResolutions: How often its route was looked for, and how many seconds that took.
    @ivar remoteAddress: The client, where the request's head tells another one than the connection.
    @ivar upstreamHost: The chosen endpoint.
    @ivar upstreamAttempts: How many times an upstream was tried.
    @ivar upstreamHostsAttempted: The endpoints of earlier tries that there was a connection to.
    @ivar upstreamConnectStart: When the upstream connection was asked for, and C{upstreamConnectEnd} when it was there.
    @ivar upstreamTransportFailureReason: Why the upstream transport failed; the formatter puts underscores for
        the spaces.
    @ivar upstreamLocalCloseReason: C{%UPSTREAM_LOCAL_CLOSE_REASON%}.
    @ivar connectionPoolReady: How many seconds it took to get an upstream connection.
    @ivar upstreamCluster: The cluster's C{alt_stat_name} or name, for C{%UPSTREAM_CLUSTER%};
        C{upstreamClusterRaw} the name where it differs; C{clusterName} the name as soon as a route says it.
    @ivar dynamicMetadata: What filters noted, by namespace.
    @ivar routeMetadata: C{filter_metadata} of the route, by namespace; likewise of virtual host, cluster, endpoint
        and listener.
    @ivar logType: Why a log line is written now: C{DownstreamEnd}, C{TcpConnectionEnd}, C{DownstreamPeriodic} ...
    @ivar filterState: Objects that filters share, by key.
    @ivar requestId: C{%STREAM_ID%}: the x-request-id that the request had or got.
    @ivar localReplyBody: The body of the reply that this proxy is about to send.
    @ivar healthCheck: Whether a filter recognized the request as a health check.
    @ivar traced: Whether the request is sampled for tracing.
    """

    startTime: float = 0.0
    startMonotonic: float = 0.0
    requestEnd: float | None = None
    upstreamRequestStart: float | None = None
    upstreamRequestEnd: float | None = None
    upstreamResponseStart: float | None = None
    upstreamResponseEnd: float | None = None
    responseStart: float | None = None
    responseEnd: float | None = None
    end: float | None = None

    requestHeaders: RequestHeaders | None = None
    requestTrailers: HeaderMap | None = None
    responseHeaders: ResponseHeaders | None = None
    responseTrailers: HeaderMap | None = None
    remoteAddress: Address | None = None
    protocol: str = ""
    responseCode: int = 0
    responseCodeDetails: str = ""
    responseFlags: int = 0

    bytesReceived: int = 0
    bytesSent: int = 0
    wireBytesReceived: int | None = 0
    wireBytesSent: int | None = 0
    headerBytesReceived: int | None = 0
    headerBytesSent: int | None = 0
    fieldBytesReceived: int | None = 0
    fieldBytesSent: int | None = 0
    upstreamWireBytesReceived: int | None = 0
    upstreamWireBytesSent: int | None = 0
    upstreamHeaderBytesReceived: int | None = 0
    upstreamHeaderBytesSent: int | None = 0
    upstreamFieldBytesReceived: int | None = 0
    upstreamFieldBytesSent: int | None = 0
    routeResolutions: tuple[int, float] = (0, 0.0)

    connection: ConnectionInfo

    upstreamHost: UpstreamHostInfo | None = None
    upstreamLocalAddress: Address | None = None
    upstreamConnectionId: int = 0
    upstreamCluster: str = ""
    upstreamClusterRaw: str = ""
    clusterName: str = ""
    upstreamProtocol: str = ""
    upstreamAttempts: int = 0
    upstreamHostsAttempted: tuple[UpstreamHostInfo, ...] = ()
    upstreamConnectStart: float | None = None
    upstreamConnectEnd: float | None = None
    upstreamTransportFailureReason: str = ""
    upstreamLocalCloseReason: str = ""
    # Of HTTP, as in Envoy, nothing else is told: a stream is logged before its connection ends.
    downstreamCloseType: str = "Normal"
    upstreamCloseType: str = "Normal"
    connectionPoolReady: float | None = None
    upstreamTls: TLSFacts | None = None

    routeName: str = ""
    virtualHostName: str = ""
    virtualClusterName: str = ""
    routeMetadata: dict[str, dict[str, object]] | None = None
    virtualHostMetadata: Mapping[str, Mapping[str, object]] | None = None
    clusterMetadata: dict[str, dict[str, object]] | None = None
    listenerMetadata: dict[str, dict[str, object]] | None = None
    upstreamMetadata: dict[str, dict[str, object]] | None = None
    dynamicMetadata: dict[str, dict[str, object]] | None = None
    filterState: dict[str, object] | None = None

    requestId: str = ""
    traceId: str = ""
    spanId: str = ""
    localReplyBody: str = ""
    connectionTerminationDetails: str = ""
    healthCheck: bool = False
    traced: bool = False
    logType: str = "NotSet"
    tellsOriginalPath: bool = True


# A stream made without a connection (a test, a shadow request) shows "-" for each of its facts.
StreamInfo.connection = ConnectionInfo()
