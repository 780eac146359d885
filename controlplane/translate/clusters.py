# -*- test-case-name: tests.controlplane.translate.test_clusters -*-
"""
The clusters of a proxy: one for each port of each service and each subset, those for what nobody knows, and those of
its own workload.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from attrs import evolve

from meshproxy.controlplane.model.destinationrule import Subset
from meshproxy.controlplane.model.trafficpolicy import ClientTLSSettings, ConnectionPoolSettings, TrafficPolicy
from meshproxy.controlplane.registry.services import Endpoint, Port, Resolution, Service
from meshproxy.controlplane.translate.clusterpolicy import (
    announceClients,
    applyPolicy,
    protocolOptions,
    unlimited,
    whole,
)
from meshproxy.controlplane.translate.context import Context
from meshproxy.controlplane.translate.dynamicdns import dynamicCluster, upstreamOptions
from meshproxy.controlplane.translate.endpoints import chosenEndpoints, loadAssignment, speaksMutualTLS
from meshproxy.controlplane.translate.localities import balanceLocalities
from meshproxy.controlplane.translate.messages import ADS, JSON, address, duration, origin, without
from meshproxy.controlplane.translate.names import BLACK_HOLE, INBOUND_PASSTHROUGH, PASSTHROUGH, clusterName, sniName
from meshproxy.controlplane.translate.policies import Rule, Rules, policyFor
from meshproxy.controlplane.translate.shared import Shared
from meshproxy.controlplane.translate.tls import AUTO_MUTUAL, RAW, clientMutualTLS, clientTLS

__all__ = ["OutboundClusters", "inboundCluster", "outboundClusters", "passedClusters", "passthroughClusters"]

#: What an application sees as its caller's address where connections are intercepted, so that they are not again.
_LOOPBACK = "127.0.0.6"


class OutboundClusters:
    """
    Clusters and their endpoints.

    @ivar clusters: By name.
    @ivar endpoints: Of those whose endpoints come apart, by name.
    """

    def __init__(self) -> None:
        self.clusters: dict[str, JSON] = {}
        self.endpoints: dict[str, JSON] = {}


def outboundClusters(
    context: Context, rules: Rules, services: Sequence[Service], shared: Shared | None = None
) -> OutboundClusters:
    """
    The clusters of some services.

    @param shared: What was made for other proxies.
    """
    made = OutboundClusters()
    shared = shared or Shared()
    for service in services:
        context.usesService(service.key)
        rule = rules.of(service)
        own = shared.clusters(context, service, rule, partial(_ofService, context, service, rule))
        made.clusters.update(own.clusters)
        made.endpoints.update(own.endpoints)
    return made


def passedClusters(context: Context, rules: Rules, services: Sequence[Service]) -> OutboundClusters:
    """
    The clusters of services for what passes a gateway as it is: of endpoints that speak mutual TLS, without any TLS of
    the gateway's own.
    """
    made = OutboundClusters()
    for service in services:
        context.usesService(service.key)
        own = _ofService(context, service, rules.of(service), passes=True)
        made.clusters.update(own.clusters)
        made.endpoints.update(own.endpoints)
    return made


def _ofService(context: Context, service: Service, rule: Rule | None, passes: bool = False) -> OutboundClusters:
    made = OutboundClusters()
    known: dict[object, bool] = {}
    isDynamic = service.resolution is Resolution.DYNAMIC
    # Nobody knows the labels of what is looked up.
    found = rule.subsets if rule is not None and not isDynamic else ()
    subsets: list[Subset | None] = [None, *(subset for subset, _ in found)]
    for port in service.ports:
        if port.protocol != "UDP":
            for subset in subsets:
                _outbound(context, made, service, port, rule, subset, known, passes)
    return made


def _outbound(
    context: Context,
    made: OutboundClusters,
    service: Service,
    port: Port,
    rule: Rule | None,
    subset: Subset | None,
    known: dict[object, bool],
    passes: bool,
) -> None:
    """
    One cluster, and its endpoints.

    @param passes: Whether it is for what passes a gateway as it is.
    """
    policy = policyFor(rule, port.number, subset)
    named = sniName if passes else clusterName
    name = named(port.number, subset.name if subset is not None else "", service.host)
    endpoints = chosenEndpoints(context, service, port, subset)
    if passes:
        endpoints = [one for one in endpoints if speaksMutualTLS(context, one, known)]
    cluster: JSON = {
        "name": name,
        "connectTimeout": duration(context.mesh.connectTimeout),
        "lbPolicy": "LEAST_REQUEST",
        "circuitBreakers": {"thresholds": [unlimited()]},
        "commonLbConfig": {},
        "metadata": _metadata(service, port, rule, subset),
    }
    _discover(context, cluster, made, service, policy, endpoints, known, passes)
    options = {} if passes else protocolOptions(port, policy)
    applyPolicy(context, cluster, policy, rule, options)
    if service.resolution is not Resolution.DYNAMIC:
        balanceLocalities(context, policy, cluster)
    if passes:
        # Its bytes are nobody's business here.
        made.clusters[name] = without(cluster)
        return
    _secure(context, cluster, service, port, subset, policy)
    if service.resolution is Resolution.DYNAMIC and (upstream := upstreamOptions(policy.tls)):
        whole(options)["upstreamHttpProtocolOptions"] = upstream
    if policy.proxyProtocol is not None and context.proxy.abilities.proxyProtocol:
        announceClients(policy.proxyProtocol, cluster)
    if options:
        cluster["typedExtensionProtocolOptions"] = {_OPTIONS: options}
    made.clusters[name] = without(cluster)


_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def _metadata(service: Service, port: Port, rule: Rule | None, subset: Subset | None) -> JSON:
    """
    What tools read: the service, the rule, the subset.
    """
    told: JSON = {
        "default_original_port": port.number,
        "services": [{"host": service.host, "name": service.name, "namespace": service.namespace}],
    }
    if rule is not None:
        told["config"] = origin(rule.resource.key, "destination-rule")
    if subset is not None:
        told["subset"] = subset.name
    return {"filterMetadata": {"istio": told}}


def _discover(
    context: Context,
    cluster: JSON,
    made: OutboundClusters,
    service: Service,
    policy: TrafficPolicy,
    endpoints: Sequence[Endpoint],
    known: dict[object, bool],
    isNamed: bool,
) -> None:
    """
    How the endpoints are found.

    @param isNamed: Whether callers only say which service they mean, so that there is no original destination.
    """
    asItWas = policy.loadBalancer is not None and policy.loadBalancer.simple == "PASSTHROUGH" and not isNamed
    if service.resolution is Resolution.PASSTHROUGH and (isNamed or (endpoints and not context.proxy.intercepts)):
        # A headless service where nothing tells the original destination: its endpoints are known all the same.
        asItWas, resolution = False, Resolution.STATIC
    else:
        resolution = service.resolution
    if resolution is Resolution.DYNAMIC:
        cluster.update(dynamicCluster(policy.tls))
        return
    if asItWas or resolution is Resolution.PASSTHROUGH:
        cluster.update(type="ORIGINAL_DST", lbPolicy="CLUSTER_PROVIDED")
        return
    # A gateway enters its own network and no other: two of them would send each other what neither has.
    secured = context.mesh.enableAutoMtls and not service.external
    across = not isNamed and (secured if policy.tls is None else policy.tls.mode == "ISTIO_MUTUAL")
    assignment = loadAssignment(context, cluster["name"], endpoints, policy, known, across)
    if resolution is Resolution.STATIC:
        cluster.update(type="EDS", edsClusterConfig={"edsConfig": ADS, "serviceName": cluster["name"]})
        made.endpoints[cluster["name"]] = assignment
        return
    isRoundRobin = resolution is Resolution.DNS_ROUND_ROBIN
    cluster.update(
        type="LOGICAL_DNS" if isRoundRobin else "STRICT_DNS",
        dnsLookupFamily="V4_ONLY",
        dnsRefreshRate=duration(context.mesh.dnsRefreshRate),
        respectDnsTtl=True,
        loadAssignment=assignment,
    )


def _secure(
    context: Context,
    cluster: JSON,
    service: Service,
    port: Port,
    subset: Subset | None,
    policy: TrafficPolicy,
) -> None:
    """
    TLS: what the rule says; where it says nothing, mutual TLS with those endpoints that speak it.
    """
    settings = policy.tls
    sni = sniName(port.number, subset.name if subset is not None else "", service.host)
    if settings is None:
        if context.mesh.enableAutoMtls and not service.external and service.resolution is not Resolution.DYNAMIC:
            # Mutual TLS with those endpoints that speak it.
            cluster["transportSocketMatches"] = [
                {
                    "name": "tlsMode-istio",
                    "match": {"tlsMode": "istio"},
                    "transportSocket": _mutual(context, service, port, sni, policy, None),
                },
                {"name": "tlsMode-disabled", "match": {}, "transportSocket": RAW},
            ]
    elif settings.mode == "ISTIO_MUTUAL":
        cluster["transportSocket"] = _mutual(context, service, port, settings.sni or sni, policy, settings)
    elif settings.mode != "DISABLE":
        isHTTP2 = port.isHTTP2
        name = "" if service.host.startswith("*") else service.host
        cluster["transportSocket"] = clientTLS(context.proxy, settings, name, service.subjectAltNames, isHTTP2)


def _mutual(
    context: Context,
    service: Service,
    port: Port,
    sni: str,
    policy: TrafficPolicy,
    settings: ClientTLSSettings | None,
) -> JSON:
    """
    Mutual TLS with the identities that the endpoints of the service have.
    """
    subjects = list(settings.subjectAltNames) if settings is not None else []
    if not subjects:
        found = {
            f"spiffe://{domain}/ns/{one.namespace}/sa/{one.serviceAccount}"
            for one in context.services.endpoints(service.key, port.number)
            if one.serviceAccount
            for domain in context.mesh.trustDomains
        }
        subjects = [*sorted(found), *service.subjectAltNames]
    http = policy.connectionPool.http if policy.connectionPool is not None else None
    isHTTP2 = port.isHTTP2 or (port.isHTTP and http is not None and http.h2UpgradePolicy == "UPGRADE")
    kind = "http2" if isHTTP2 else "http" if port.isHTTP else "other"
    return clientMutualTLS(context.proxy, sni, subjects, context.mesh.trustDomains, AUTO_MUTUAL[kind])


def passthroughClusters(context: Context) -> dict[str, JSON]:
    """
    The clusters for what the registry does not know: to where it was going, and to nowhere.
    """
    timeout = duration(context.mesh.connectTimeout)
    made: dict[str, JSON] = {
        BLACK_HOLE: {
            "name": BLACK_HOLE,
            "type": "STATIC",
            "connectTimeout": timeout,
            "loadAssignment": {"clusterName": BLACK_HOLE},
        },
    }
    if not context.proxy.intercepts:
        return made
    for name in (PASSTHROUGH, INBOUND_PASSTHROUGH):
        cluster: JSON = {
            "name": name,
            "type": "ORIGINAL_DST",
            "lbPolicy": "CLUSTER_PROVIDED",
            "connectTimeout": timeout,
            "circuitBreakers": {"thresholds": [unlimited()]},
            "typedExtensionProtocolOptions": {_OPTIONS: protocolOptions(None, TrafficPolicy())},
        }
        if name == INBOUND_PASSTHROUGH:
            cluster["upstreamBindConfig"] = {"sourceAddress": {"address": _LOOPBACK, "portValue": 0}}
        made[name] = cluster
    return made


def inboundCluster(
    context: Context,
    name: str,
    port: Port,
    services: Sequence[Service],
    where: tuple[str, int] | None,
    pool: ConnectionPoolSettings | None = None,
) -> JSON:
    """
    The cluster of the own workload, at one of its ports.

    @param where: Its address and port; L{None} for where a connection was going.
    @param pool: Its limits. Which HTTP the workload speaks is what its port says: nothing is upgraded here.
    """
    cluster: JSON = {
        "name": name,
        "connectTimeout": duration(context.mesh.connectTimeout),
        "circuitBreakers": {"thresholds": [unlimited()]},
        "metadata": {
            "filterMetadata": {
                "istio": {
                    "services": [{"host": one.host, "name": one.name, "namespace": one.namespace} for one in services]
                }
            }
        },
    }
    if where is None:
        cluster.update(
            type="ORIGINAL_DST",
            lbPolicy="CLUSTER_PROVIDED",
            upstreamBindConfig={"sourceAddress": {"address": _LOOPBACK, "portValue": 0}},
        )
    else:
        endpoint = {"endpoint": {"address": address(*where)}}
        cluster.update(
            type="STATIC",
            loadAssignment={"clusterName": name, "endpoints": [{"lbEndpoints": [endpoint]}]},
        )
    if pool is not None and pool.http is not None:
        pool = evolve(pool, http=evolve(pool.http, h2UpgradePolicy="DEFAULT"))
    policy = TrafficPolicy(connectionPool=pool)
    options = protocolOptions(port, policy)
    applyPolicy(context, cluster, policy, None, options)
    if options:
        cluster["typedExtensionProtocolOptions"] = {_OPTIONS: options}
    return cluster
