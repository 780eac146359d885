# -*- test-case-name: tests.controlplane.model.test_destinationrule -*-
"""
The traffic policy of a DestinationRule: the classes of its fields.
"""

from __future__ import annotations

from typing import Literal

from attrs import Factory, field, frozen

from meshproxy.config.structure import Seconds
from meshproxy.controlplane.model.common import PortSelector

__all__ = [
    "BackendUtilization",
    "ClientTLSSettings",
    "ConnectionPoolSettings",
    "ConsistentHashLB",
    "CookieAttribute",
    "HTTP2KeepAlive",
    "HTTPCookie",
    "HTTPSettings",
    "LoadBalancerSettings",
    "LocalityDistribute",
    "LocalityFailover",
    "LocalityLbSetting",
    "MagLev",
    "OutlierDetection",
    "PortTrafficPolicy",
    "ProxyProtocol",
    "RetryBudget",
    "RingHash",
    "TCPKeepalive",
    "TCPSettings",
    "TrafficPolicy",
    "TunnelSettings",
    "WarmupConfiguration",
    "ZoneAwareLbSetting",
]


@frozen(kw_only=True)
class CookieAttribute:
    """
    An attribute of a cookie that the proxy makes.
    """

    name: str = ""
    value: str = ""


@frozen(kw_only=True)
class HTTPCookie:
    """
    A cookie that keeps a client with one endpoint; one with a time to live is made where it is missing.
    """

    name: str = ""
    path: str = ""
    ttl: Seconds | None = None
    attributes: list[CookieAttribute] = Factory(list)


@frozen(kw_only=True)
class RingHash:
    """
    A ring of hashes.
    """

    minimumRingSize: int = 0


@frozen(kw_only=True)
class MagLev:
    """
    A table of hashes.
    """

    tableSize: int = 0


@frozen(kw_only=True)
class ConsistentHashLB:
    """
    Requests of one kind to one endpoint.
    """

    httpHeaderName: str | None = None
    httpCookie: HTTPCookie | None = None
    useSourceIp: bool | None = None
    httpQueryParameterName: str | None = None
    ringHash: RingHash | None = None
    maglev: MagLev | None = None
    minimumRingSize: int = 0


@frozen(kw_only=True)
class LocalityDistribute:
    """
    Which shares of what comes from one locality go to which others.
    """

    from_: str = field(default="", metadata={"key": "from"})
    to: dict[str, int] = Factory(dict)


@frozen(kw_only=True)
class LocalityFailover:
    """
    Where to go when the endpoints of a region fail.
    """

    from_: str = field(default="", metadata={"key": "from"})
    to: str = ""


@frozen(kw_only=True)
class LocalityLbSetting:
    """
    Balancing by locality.
    """

    distribute: list[LocalityDistribute] = Factory(list)
    failover: list[LocalityFailover] = Factory(list)
    failoverPriority: list[str] = Factory(list)
    enabled: bool | None = None


@frozen(kw_only=True)
class ZoneAwareLbSetting:
    """
    Balancing within the zone.
    """

    failover: list[LocalityFailover] = Factory(list)
    failoverPriority: list[str] = Factory(list)
    enabled: bool | None = None
    minClusterSize: int | None = None


@frozen(kw_only=True)
class BackendUtilization:
    """
    Balancing by what the endpoints say of their load.
    """

    errorUtilizationPenaltyPercent: int | None = None
    metricNamesForComputingUtilization: list[str] = Factory(list)
    weightExpirationPeriod: Seconds | None = None
    weightStabilizationPeriod: Seconds | None = None
    weightUpdatePeriod: Seconds | None = None


@frozen(kw_only=True)
class WarmupConfiguration:
    """
    New endpoints get their share little by little.
    """

    duration: Seconds | None = None
    minimumPercent: float | None = None
    aggression: float | None = None


@frozen(kw_only=True)
class LoadBalancerSettings:
    """
    How an endpoint is chosen.
    """

    simple: Literal["UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST"] | None = None
    consistentHash: ConsistentHashLB | None = None
    backendUtilization: BackendUtilization | None = None
    localityLbSetting: LocalityLbSetting | None = None
    zoneAwareLbSetting: ZoneAwareLbSetting | None = None
    warmup: WarmupConfiguration | None = None
    warmupDurationSecs: Seconds | None = None


@frozen(kw_only=True)
class TCPKeepalive:
    """
    Probes of the operating system.
    """

    probes: int = 0
    time: Seconds | None = None
    interval: Seconds | None = None


@frozen(kw_only=True)
class TCPSettings:
    """
    Limits of connections.
    """

    maxConnections: int = 0
    connectTimeout: Seconds | None = None
    tcpKeepalive: TCPKeepalive | None = None
    maxConnectionDuration: Seconds | None = None
    idleTimeout: Seconds | None = None


@frozen(kw_only=True)
class HTTP2KeepAlive:
    """
    Pings of HTTP/2.
    """

    interval: Seconds | None = None
    timeout: Seconds | None = None


@frozen(kw_only=True)
class HTTPSettings:
    """
    Limits of requests.
    """

    http1MaxPendingRequests: int = 0
    http2MaxRequests: int = 0
    maxRequestsPerConnection: int = 0
    maxRetries: int = 0
    idleTimeout: Seconds | None = None
    h2UpgradePolicy: Literal["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"] = "DEFAULT"
    useClientProtocol: bool = False
    maxConcurrentStreams: int = 0
    http2KeepAlive: HTTP2KeepAlive | None = None


@frozen(kw_only=True)
class ConnectionPoolSettings:
    """
    Limits of what is open at once.
    """

    tcp: TCPSettings | None = None
    http: HTTPSettings | None = None


@frozen(kw_only=True)
class OutlierDetection:
    """
    When an endpoint that fails is left alone for a while.
    """

    consecutive5xxErrors: int | None = None
    consecutiveErrors: int = 0
    consecutiveGatewayErrors: int | None = None
    consecutiveLocalOriginFailures: int | None = None
    splitExternalLocalOriginErrors: bool = False
    interval: Seconds | None = None
    baseEjectionTime: Seconds | None = None
    maxEjectionPercent: int = 0
    minHealthPercent: int = 0
    outlierDetectionHttpErrorCodes: list[int] = Factory(list)


@frozen(kw_only=True)
class ClientTLSSettings:
    """
    How connections to a service are secured.
    """

    mode: Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"] = "DISABLE"
    clientCertificate: str = ""
    privateKey: str = ""
    caCertificates: str = ""
    caCrl: str = ""
    credentialName: str = ""
    subjectAltNames: list[str] = Factory(list)
    sni: str = ""
    insecureSkipVerify: bool | None = None


@frozen(kw_only=True)
class PortTrafficPolicy:
    """
    A policy for one port.
    """

    port: PortSelector | None = None
    loadBalancer: LoadBalancerSettings | None = None
    connectionPool: ConnectionPoolSettings | None = None
    outlierDetection: OutlierDetection | None = None
    tls: ClientTLSSettings | None = None


@frozen(kw_only=True)
class TunnelSettings:
    """
    A tunnel through another proxy.
    """

    protocol: str = ""
    targetHost: str = ""
    targetPort: int = 0


@frozen(kw_only=True)
class ProxyProtocol:
    """
    The PROXY protocol, spoken to the endpoints.
    """

    version: Literal["V1", "V2"] = "V1"


@frozen(kw_only=True)
class RetryBudget:
    """
    How many of the requests may be retries.
    """

    percent: float | None = None
    minRetryConcurrency: int = 0
    budgetInterval: Seconds | None = None


@frozen(kw_only=True)
class TrafficPolicy:
    """
    How a service is called.
    """

    loadBalancer: LoadBalancerSettings | None = None
    connectionPool: ConnectionPoolSettings | None = None
    outlierDetection: OutlierDetection | None = None
    tls: ClientTLSSettings | None = None
    portLevelSettings: list[PortTrafficPolicy] = Factory(list)
    tunnel: TunnelSettings | None = None
    proxyProtocol: ProxyProtocol | None = None
    retryBudget: RetryBudget | None = None
