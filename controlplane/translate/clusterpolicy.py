# -*- test-case-name: tests.controlplane.translate.test_clusters -*-
"""
What a traffic policy makes of a cluster: limits, balancing, outliers, protocols.
"""

from __future__ import annotations

from collections.abc import Sequence

from meshproxy.controlplane.model.trafficpolicy import (
    BackendUtilization,
    ConnectionPoolSettings,
    ConsistentHashLB,
    HTTPSettings,
    LoadBalancerSettings,
    OutlierDetection,
    ProxyProtocol,
    TCPSettings,
    TrafficPolicy,
)
from meshproxy.controlplane.registry.services import Port
from meshproxy.controlplane.translate.context import Context
from meshproxy.controlplane.translate.messages import JSON, duration, typed, without
from meshproxy.controlplane.translate.policies import Rule
from meshproxy.controlplane.translate.tls import RAW

__all__ = ["announceClients", "applyPolicy", "protocolOptions", "unlimited", "whole"]

#: The most that Envoy can be told: the mesh has no limits but those that a resource sets.
_MOST = 4294967295

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

_PROXY_SOCKET = "envoy.transport_sockets.upstream_proxy_protocol"
_PROXY_TYPE = "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"

_BY_LOAD = "envoy.load_balancing_policies.client_side_weighted_round_robin"
_BY_LOAD_TYPE = (
    "envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin"
)

_BALANCERS = {
    "LEAST_CONN": "LEAST_REQUEST",
    "LEAST_REQUEST": "LEAST_REQUEST",
    "RANDOM": "RANDOM",
    "ROUND_ROBIN": "ROUND_ROBIN",
}
_SLOW_START = {"LEAST_REQUEST": "leastRequestLbConfig", "ROUND_ROBIN": "roundRobinLbConfig"}


def unlimited() -> JSON:
    """
    Thresholds that are none.
    """
    names = ("maxConnections", "maxPendingRequests", "maxRequests", "maxRetries")
    return {**dict.fromkeys(names, _MOST), "trackRemaining": True}


def protocolOptions(port: Port | None, policy: TrafficPolicy) -> JSON:
    """
    Which HTTP is spoken to the endpoints; empty for HTTP/1.1 without any wish, and for what is no HTTP.

    @param port: The port, or L{None} where any protocol may come.
    """
    http = policy.connectionPool.http if policy.connectionPool is not None else None
    settings = _http2Settings(http)
    upgrade = http is not None and http.h2UpgradePolicy == "UPGRADE"
    value: JSON = {}
    if port is None or port.isAuto or (http is not None and http.useClientProtocol):
        # What the caller speaks is spoken on.
        value["useDownstreamProtocolConfig"] = {"httpProtocolOptions": {}, "http2ProtocolOptions": settings}
    elif port.isHTTP2 or (upgrade and port.isHTTP):
        value["explicitHttpConfig"] = {"http2ProtocolOptions": settings}
    common = _commonSettings(http, policy.connectionPool.tcp if policy.connectionPool is not None else None)
    if common and (port is None or port.isHTTP or port.isAuto):
        value["commonHttpProtocolOptions"] = common
        if len(value) == 1:
            value["explicitHttpConfig"] = {"httpProtocolOptions": {}}
    return typed(_HTTP_OPTIONS, value) if value else {}


def _http2Settings(http: HTTPSettings | None) -> JSON:
    if http is None:
        return {}
    keep = http.http2KeepAlive
    alive = None
    if keep is not None and keep.interval is not None and keep.timeout is not None:
        alive = {"interval": duration(keep.interval), "timeout": duration(keep.timeout)}
    return without({"maxConcurrentStreams": http.maxConcurrentStreams or None, "connectionKeepalive": alive})


def _commonSettings(http: HTTPSettings | None, tcp: TCPSettings | None) -> JSON:
    """
    What is said of connections that requests share: of how long they may be idle, that of TCP if HTTP says nothing.
    """
    idle = http.idleTimeout if http is not None else None
    if idle is None and tcp is not None:
        idle = tcp.idleTimeout
    most = http.maxRequestsPerConnection if http is not None else 0
    return without(
        {
            "idleTimeout": duration(idle) if idle is not None else None,
            "maxRequestsPerConnection": most or None,
        }
    )


def applyPolicy(context: Context, cluster: JSON, policy: TrafficPolicy, rule: Rule | None, options: JSON) -> None:
    """
    Put a policy into a cluster. What the program of the proxy cannot do is left out, and told of the rule.
    """
    thresholds = cluster["circuitBreakers"]["thresholds"][0]
    if policy.connectionPool is not None:
        _limits(policy.connectionPool, thresholds)
        if policy.connectionPool.tcp is not None:
            _tcp(policy.connectionPool.tcp, cluster, options)
    if policy.retryBudget is not None:
        budget = policy.retryBudget
        thresholds["retryBudget"] = without(
            {
                "budgetPercent": {"value": budget.percent if budget.percent is not None else 20.0},
                "minRetryConcurrency": budget.minRetryConcurrency or None,
                "budgetInterval": duration(budget.budgetInterval) if budget.budgetInterval is not None else None,
            }
        )
    if policy.outlierDetection is not None:
        if context.proxy.abilities.outliers:
            _outliers(policy.outlierDetection, cluster)
            _errors(policy.outlierDetection.outlierDetectionHttpErrorCodes, options)
        elif rule is not None:
            _leftOut(context, rule, "outlierDetection", "failing endpoints are not noticed")
    if policy.loadBalancer is not None:
        _balance(context, policy.loadBalancer, cluster, rule)
    if policy.proxyProtocol is not None and not context.proxy.abilities.proxyProtocol and rule is not None:
        _leftOut(context, rule, "proxyProtocol", "the PROXY protocol is not spoken")


def _leftOut(context: Context, rule: Rule, name: str, why: str) -> None:
    context.notProgrammed(f"this data plane does not do {name}: {why}", rule.resource, "spec", "trafficPolicy")


def _limits(pool: ConnectionPoolSettings, thresholds: JSON) -> None:
    http, tcp = pool.http, pool.tcp
    given = {
        "maxConnections": tcp.maxConnections if tcp is not None else 0,
        "maxPendingRequests": http.http1MaxPendingRequests if http is not None else 0,
        "maxRequests": http.http2MaxRequests if http is not None else 0,
        "maxRetries": http.maxRetries if http is not None else 0,
    }
    thresholds.update({name: value for name, value in given.items() if value})


def _tcp(tcp: TCPSettings, cluster: JSON, options: JSON) -> None:
    if tcp.connectTimeout is not None:
        cluster["connectTimeout"] = duration(tcp.connectTimeout)
    keep = tcp.tcpKeepalive
    if keep is not None:
        cluster["upstreamConnectionOptions"] = {
            "tcpKeepalive": without(
                {
                    "keepaliveProbes": keep.probes or None,
                    "keepaliveTime": round(keep.time) if keep.time is not None else None,
                    "keepaliveInterval": round(keep.interval) if keep.interval is not None else None,
                }
            )
        }
    if tcp.maxConnectionDuration is not None:
        common = whole(options).setdefault("commonHttpProtocolOptions", {})
        common["maxConnectionDuration"] = duration(tcp.maxConnectionDuration)


def whole(options: JSON) -> JSON:
    """
    Options that say which HTTP is spoken, as they have to.
    """
    options.setdefault("@type", typed(_HTTP_OPTIONS)["@type"])
    if "explicitHttpConfig" not in options and "useDownstreamProtocolConfig" not in options:
        options["explicitHttpConfig"] = {"httpProtocolOptions": {}}
    return options


def _outliers(outliers: OutlierDetection, cluster: JSON) -> None:
    """
    Success rates are never looked at; zero of a kind switches the kind off.
    """
    made: JSON = {"enforcingSuccessRate": 0}
    for value, name, enforcing in (
        (outliers.consecutive5xxErrors, "consecutive5xx", "enforcingConsecutive5xx"),
        (
            outliers.consecutiveGatewayErrors,
            "consecutiveGatewayFailure",
            "enforcingConsecutiveGatewayFailure",
        ),
    ):
        if value is not None:
            made[name], made[enforcing] = value, 100 if value else 0
    if outliers.consecutiveErrors and outliers.consecutive5xxErrors is None:
        made["consecutive5xx"], made["enforcingConsecutive5xx"] = outliers.consecutiveErrors, 100
    if outliers.interval is not None:
        made["interval"] = duration(outliers.interval)
    if outliers.baseEjectionTime is not None:
        made["baseEjectionTime"] = duration(outliers.baseEjectionTime)
    if outliers.maxEjectionPercent:
        made["maxEjectionPercent"] = outliers.maxEjectionPercent
    if outliers.splitExternalLocalOriginErrors:
        made["splitExternalLocalOriginErrors"] = True
        made["enforcingLocalOriginSuccessRate"] = 0
        if outliers.consecutiveLocalOriginFailures:
            made["consecutiveLocalOriginFailure"] = outliers.consecutiveLocalOriginFailures
            made["enforcingConsecutiveLocalOriginFailure"] = 100
    cluster["outlierDetection"] = made
    cluster["commonLbConfig"]["healthyPanicThreshold"] = {"value": float(outliers.minHealthPercent)}


def _errors(statuses: Sequence[int], options: JSON) -> None:
    """
    Statuses that are errors, instead of those from 500.
    """
    rules: list[JSON] = [
        {"httpResponseHeadersMatch": {"headers": [{"name": ":status", "stringMatch": {"exact": str(status)}}]}}
        for status in dict.fromkeys(statuses)
    ]
    if rules:
        matcher = rules[0] if len(rules) == 1 else {"orMatch": {"rules": rules}}
        whole(options)["outlierDetection"] = {"errorMatcher": matcher}


def _balance(context: Context, balancer: LoadBalancerSettings, cluster: JSON, rule: Rule | None) -> None:
    setting = balancer.localityLbSetting
    isOn = setting is not None and setting.enabled is not False and not setting.distribute
    if isOn and not context.proxy.abilities.outliers and rule is not None:
        _leftOut(context, rule, "localityLbSetting", "without outliers nothing fails over")
    if cluster["lbPolicy"] == "CLUSTER_PROVIDED":
        return
    cluster["lbPolicy"] = _BALANCERS.get(balancer.simple or "", "LEAST_REQUEST")
    if balancer.backendUtilization is not None:
        if context.proxy.abilities.readsLoads:
            cluster["loadBalancingPolicy"] = _byLoad(balancer.backendUtilization, _slowStart(balancer))
            return
        if rule is not None:
            _leftOut(context, rule, "backendUtilization", "loads told by endpoints are not read")
    if balancer.consistentHash is not None:
        _hash(balancer.consistentHash, cluster)
    elif cluster["lbPolicy"] in _SLOW_START:
        slow = _slowStart(balancer)
        if slow is not None:
            cluster[_SLOW_START[cluster["lbPolicy"]]] = {"slowStartConfig": slow}


def _byLoad(told: BackendUtilization, slowStart: JSON | None) -> JSON:
    """
    Weights by the loads that endpoints tell in their responses (ORCA).
    """
    penalty = told.errorUtilizationPenaltyPercent
    value: JSON = {
        "errorUtilizationPenalty": penalty / 100 if penalty is not None else None,
        "metricNamesForComputingUtilization": list(told.metricNamesForComputingUtilization),
        "slowStartConfig": slowStart,
    }
    for seconds, name in (
        (told.weightStabilizationPeriod, "blackoutPeriod"),
        (told.weightExpirationPeriod, "weightExpirationPeriod"),
        (told.weightUpdatePeriod, "weightUpdatePeriod"),
    ):
        value[name] = duration(seconds) if seconds is not None else None
    config = {"name": _BY_LOAD, "typedConfig": typed(_BY_LOAD_TYPE, without(value))}
    return {"policies": [{"typedExtensionConfig": config}]}


def _slowStart(balancer: LoadBalancerSettings) -> JSON | None:
    warmup = balancer.warmup
    if warmup is None:
        seconds = balancer.warmupDurationSecs
        return {"slowStartWindow": duration(seconds)} if seconds is not None else None
    return without(
        {
            "slowStartWindow": duration(warmup.duration) if warmup.duration is not None else None,
            "minWeightPercent": {"value": warmup.minimumPercent if warmup.minimumPercent is not None else 10.0},
            "aggression": {"defaultValue": warmup.aggression, "runtimeKey": ""} if warmup.aggression else None,
        }
    )


def _hash(consistent: ConsistentHashLB, cluster: JSON) -> None:
    if consistent.maglev is not None:
        cluster.update(lbPolicy="MAGLEV", maglevLbConfig={"tableSize": str(consistent.maglev.tableSize)})
        return
    given = consistent.ringHash.minimumRingSize if consistent.ringHash is not None else consistent.minimumRingSize
    cluster.update(lbPolicy="RING_HASH", ringHashLbConfig={"minimumRingSize": str(given or 1024)})


def announceClients(settings: ProxyProtocol, cluster: JSON) -> None:
    """
    Say the PROXY protocol before anything else, on every transport of a cluster.
    """

    def wrapped(socket: JSON) -> JSON:
        inner = {"config": {"version": settings.version}, "transportSocket": socket}
        return {"name": _PROXY_SOCKET, "typedConfig": typed(_PROXY_TYPE, inner)}

    matches = cluster.get("transportSocketMatches")
    if matches:
        for match in matches:
            match["transportSocket"] = wrapped(match["transportSocket"])
    else:
        cluster["transportSocket"] = wrapped(cluster.get("transportSocket", RAW))
