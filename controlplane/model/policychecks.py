# -*- test-case-name: tests.controlplane.model.test_destinationrule -*-
"""
The checks of a traffic policy.
"""

from __future__ import annotations

from math import isqrt

from meshproxy.controlplane.model.localities import checkLocalities, checkZones
from meshproxy.controlplane.model.names import badDuration, badFQDN, badPort, isAddress
from meshproxy.controlplane.model.spots import Spot
from meshproxy.controlplane.model.trafficpolicy import (
    ClientTLSSettings,
    ConnectionPoolSettings,
    ConsistentHashLB,
    HTTPSettings,
    LoadBalancerSettings,
    OutlierDetection,
    PortTrafficPolicy,
    TCPSettings,
    TrafficPolicy,
)

__all__ = ["checkConnectionPool", "checkTrafficPolicy"]

_PARTS = ("loadBalancer", "connectionPool", "outlierDetection", "tls")

#: Envoy's bound of a Maglev table.
_MAX_TABLE = 5000011


def checkTrafficPolicy(policy: TrafficPolicy, spot: Spot) -> None:
    """
    Tell what is wrong with one.
    """
    names = (*_PARTS, "portLevelSettings", "tunnel", "proxyProtocol", "retryBudget")
    if not any(getattr(policy, name) for name in names):
        spot.refuse(f"one of {', '.join(names)} is required", "required")
    spot.oneOf(policy, "tunnel", "proxyProtocol")
    _checkParts(policy, spot)
    for index, settings in enumerate(policy.portLevelSettings):
        here = spot["portLevelSettings"][index]
        if settings.port is None:
            here["port"].require(None)
        else:
            here["port"]["number"].judge(badPort(settings.port.number))
        if not any(getattr(settings, name) for name in _PARTS):
            here.refuse(f"one of {', '.join(_PARTS)} is required", "required")
        _checkParts(settings, here)
    tunnel = policy.tunnel
    if tunnel is not None:
        here = spot["tunnel"]
        if tunnel.protocol not in ("", "CONNECT", "POST"):
            here["protocol"].refuse(f"{tunnel.protocol!r} is neither CONNECT nor POST")
        if here["targetHost"].require(tunnel.targetHost) and not isAddress(tunnel.targetHost):
            here["targetHost"].judge(badFQDN(tunnel.targetHost))
        here["targetPort"].judge(badPort(tunnel.targetPort))
    if policy.retryBudget is not None and not 0 <= (policy.retryBudget.percent or 0) <= 100:
        spot["retryBudget"]["percent"].refuse(f"{policy.retryBudget.percent:g} is not a share: 0 to 100")


def _checkParts(policy: TrafficPolicy | PortTrafficPolicy, spot: Spot) -> None:
    if policy.outlierDetection is not None:
        _checkOutliers(policy.outlierDetection, spot["outlierDetection"])
    if policy.connectionPool is not None:
        checkConnectionPool(policy.connectionPool, spot["connectionPool"])
    if policy.loadBalancer is not None:
        _checkBalancer(policy.loadBalancer, policy.outlierDetection is not None, spot["loadBalancer"])
    if policy.tls is not None:
        _checkTLS(policy.tls, spot["tls"])


def _durations(settings: object, spot: Spot, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        if value is not None:
            spot[name].judge(badDuration(value))


def _counts(settings: object, spot: Spot, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        if value is not None and value < 0:
            spot[name].refuse(f"{value} is not a count: 0 or more")


def _checkOutliers(outliers: OutlierDetection, spot: Spot) -> None:
    _durations(outliers, spot, "interval", "baseEjectionTime")
    _counts(outliers, spot, "consecutive5xxErrors", "consecutiveGatewayErrors", "consecutiveLocalOriginFailures")
    if outliers.consecutiveErrors:
        spot["consecutiveErrors"].warn(
            "consecutiveErrors is the old name; prefer consecutiveGatewayErrors or consecutive5xxErrors", "deprecated"
        )
    if outliers.consecutiveLocalOriginFailures and not outliers.splitExternalLocalOriginErrors:
        spot["consecutiveLocalOriginFailures"].refuse("needs splitExternalLocalOriginErrors: true", "exclusive")
    for name in ("maxEjectionPercent", "minHealthPercent"):
        if not 0 <= getattr(outliers, name) <= 100:
            spot[name].refuse(f"{getattr(outliers, name)} is not a share: 0 to 100")
    for index, status in enumerate(outliers.outlierDetectionHttpErrorCodes):
        if not 100 <= status <= 599:
            spot["outlierDetectionHttpErrorCodes"][index].refuse(f"{status} is not a status: 100 to 599")


def checkConnectionPool(pool: ConnectionPoolSettings, spot: Spot) -> None:
    """
    Tell what is wrong with limits.
    """
    if pool.http is None and pool.tcp is None:
        spot.refuse("one of tcp, http is required", "required")
    if pool.http is not None:
        _checkHTTP(pool.http, spot["http"])
    if pool.tcp is not None:
        _checkTCP(pool.tcp, spot["tcp"])


def _checkHTTP(http: HTTPSettings, spot: Spot) -> None:
    _counts(
        http,
        spot,
        "http1MaxPendingRequests",
        "http2MaxRequests",
        "maxRequestsPerConnection",
        "maxRetries",
        "maxConcurrentStreams",
    )
    _durations(http, spot, "idleTimeout")
    if http.h2UpgradePolicy == "UPGRADE" and http.useClientProtocol:
        spot["useClientProtocol"].refuse("stands against h2UpgradePolicy: UPGRADE", "exclusive")
    if http.http2KeepAlive is not None:
        for name in ("interval", "timeout"):
            spot["http2KeepAlive"][name].require(getattr(http.http2KeepAlive, name))
        _durations(http.http2KeepAlive, spot["http2KeepAlive"], "interval", "timeout")


def _checkTCP(tcp: TCPSettings, spot: Spot) -> None:
    _counts(tcp, spot, "maxConnections")
    _durations(tcp, spot, "connectTimeout", "maxConnectionDuration")
    # 0s switches the time-out off.
    if tcp.idleTimeout:
        _durations(tcp, spot, "idleTimeout")
    if tcp.tcpKeepalive is not None:
        _durations(tcp.tcpKeepalive, spot["tcpKeepalive"], "time", "interval")
        _counts(tcp.tcpKeepalive, spot["tcpKeepalive"], "probes")


def _checkBalancer(balancer: LoadBalancerSettings, hasOutliers: bool, spot: Spot) -> None:
    given = [n for n in ("simple", "consistentHash", "backendUtilization") if getattr(balancer, n) is not None]
    if len(given) > 1:
        spot[given[1]].refuse(f"only one of {', '.join(given)} may be set", "exclusive")
    if balancer.consistentHash is not None:
        _checkHash(balancer.consistentHash, spot["consistentHash"])
    spot.oneOf(balancer, "localityLbSetting", "zoneAwareLbSetting")
    if balancer.localityLbSetting is not None:
        checkLocalities(balancer.localityLbSetting, hasOutliers, spot["localityLbSetting"])
    if balancer.zoneAwareLbSetting is not None:
        checkZones(balancer.zoneAwareLbSetting, hasOutliers, spot["zoneAwareLbSetting"])
    if balancer.warmupDurationSecs is not None:
        spot["warmupDurationSecs"].warn("warmupDurationSecs is the old name; prefer warmup", "deprecated")
        _durations(balancer, spot, "warmupDurationSecs")
    warmup = balancer.warmup
    if warmup is not None:
        here = spot["warmup"]
        here["duration"].require(warmup.duration)
        _durations(warmup, here, "duration")
        if warmup.minimumPercent is not None and not 0 <= warmup.minimumPercent <= 100:
            here["minimumPercent"].refuse(f"{warmup.minimumPercent:g} is not a share: 0 to 100")
        if warmup.aggression is not None and warmup.aggression <= 0:
            here["aggression"].refuse(f"{warmup.aggression:g} is not above 0")


def _checkHash(consistent: ConsistentHashLB, spot: Spot) -> None:
    keys = ("httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName")
    given = [name for name in keys if getattr(consistent, name) is not None]
    if len(given) > 1:
        spot[given[1]].refuse(f"only one of {', '.join(keys)} may be set, not {' and '.join(given)}", "exclusive")
    spot.oneOf(consistent, "ringHash", "maglev", "minimumRingSize")
    if consistent.minimumRingSize:
        spot["minimumRingSize"].warn("minimumRingSize is the old name; prefer ringHash", "deprecated")
    cookie = consistent.httpCookie
    if cookie is not None:
        here = spot["httpCookie"]
        here["name"].require(cookie.name)
        names: set[str] = set()
        for index, attribute in enumerate(cookie.attributes):
            one = here["attributes"][index]["name"]
            if one.require(attribute.name) and attribute.name in names:
                one.refuse(f"{attribute.name!r} stands twice", "duplicate")
            names.add(attribute.name)
    if consistent.maglev is not None:
        size = consistent.maglev.tableSize
        if not (0 < size < _MAX_TABLE and _isPrime(size)):
            spot["maglev"]["tableSize"].refuse(f"{size} is not a prime below {_MAX_TABLE}")


def _isPrime(number: int) -> bool:
    if number < 4:
        return number > 1
    return number % 2 == 1 and all(number % factor for factor in range(3, isqrt(number) + 1, 2))


def _checkTLS(tls: ClientTLSSettings, spot: Spot) -> None:
    files = ("clientCertificate", "privateKey", "caCertificates", "caCrl")
    if tls.insecureSkipVerify:
        refused = {"SIMPLE": ("caCertificates", "credentialName", "subjectAltNames")}
        for name in refused.get(tls.mode, ("caCertificates", "subjectAltNames")):
            if getattr(tls, name):
                spot[name].refuse("has no meaning where insecureSkipVerify is true", "exclusive")
    if tls.mode in ("SIMPLE", "MUTUAL") and tls.credentialName:
        for name in files:
            if getattr(tls, name):
                spot[name].refuse("stands beside credentialName, and only one of them may be set", "exclusive")
    elif tls.mode == "MUTUAL":
        for name in ("clientCertificate", "privateKey"):
            spot[name].require(getattr(tls, name), "is required for mode MUTUAL without credentialName, and not set")
    if tls.mode == "ISTIO_MUTUAL":
        for name in (*files, "credentialName"):
            if getattr(tls, name):
                spot[name].warn("has no effect where mode is ISTIO_MUTUAL")
