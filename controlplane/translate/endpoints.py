# -*- test-case-name: tests.controlplane.translate.test_clusters -*-
"""
The endpoints of a cluster, for one caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import lcm

from meshproxy.controlplane.model.common import selects
from meshproxy.controlplane.model.destinationrule import Subset
from meshproxy.controlplane.model.trafficpolicy import TrafficPolicy
from meshproxy.controlplane.registry.services import Endpoint, Port, Service
from meshproxy.controlplane.translate.authentication import MutualTLSMode, peerPolicy
from meshproxy.controlplane.translate.context import Context
from meshproxy.controlplane.translate.localities import localitySetting, priorities, shares
from meshproxy.controlplane.translate.mesh import NetworkGateway
from meshproxy.controlplane.translate.messages import JSON, address, without

__all__ = ["chosenEndpoints", "loadAssignment", "speaksMutualTLS"]

#: What the transport of a cluster is chosen by.
_MATCH = "envoy.transport_socket_match"

_SPEAKS: JSON = {"filterMetadata": {_MATCH: {"tlsMode": "istio"}}}


def chosenEndpoints(context: Context, service: Service, port: Port, subset: Subset | None) -> list[Endpoint]:
    """
    The endpoints of a service that a subset means.
    """
    found = context.services.endpoints(service.key, port.number)
    return [one for one in found if subset is None or selects(subset.labels, one.labels)]


def speaksMutualTLS(context: Context, endpoint: Endpoint, known: dict[object, bool]) -> bool:
    """
    Whether an endpoint is to be called with mutual TLS: it can, and no PeerAuthentication there switches it off.

    @param known: What was found already, to be kept by whoever asks again.
    """
    if not endpoint.mutualTLS:
        return False
    key = (endpoint.namespace, endpoint.port, tuple(sorted(endpoint.labels.items())))
    if key not in known:
        root = context.mesh.rootNamespace
        policy = peerPolicy(context.resources, endpoint.namespace, endpoint.labels, root, context.uses)
        known[key] = policy.forPort(endpoint.port) is not MutualTLSMode.DISABLE
    return known[key]


def loadAssignment(
    context: Context,
    name: str,
    endpoints: Sequence[Endpoint],
    policy: TrafficPolicy,
    known: dict[object, bool],
    across: bool,
) -> JSON:
    """
    The endpoints as Envoy takes them: by locality, with priorities where some are to be asked before others.

    @param across: Whether other networks may be entered: with mutual TLS alone.
    """
    setting = localitySetting(context, policy)
    groups: dict[tuple[int, str], list[Endpoint]] = {}
    for endpoint, priority in zip(endpoints, priorities(context, endpoints, policy, setting), strict=True):
        groups.setdefault((priority, endpoint.locality), []).append(endpoint)
    weights = shares(context, {locality for _, locality in groups}, setting)
    listed = []
    for (priority, locality), group in sorted(groups.items()):
        reached = _reached(context, group, known, across)
        if not reached or (weights is not None and weights.get(locality, 0) <= 0):
            continue
        weight = weights[locality] if weights is not None else sum(one["loadBalancingWeight"] for one in reached)
        listed.append(
            without(
                {
                    "locality": _locality(locality),
                    "lbEndpoints": reached,
                    "priority": priority or None,
                    "loadBalancingWeight": weight,
                }
            )
        )
    return without({"clusterName": name, "endpoints": listed})


def _reached(context: Context, endpoints: Sequence[Endpoint], known: dict[object, bool], across: bool) -> list[JSON]:
    """
    Endpoints as the caller reaches them: those of another network that has gateways through these, if they speak mutual
    TLS, by which a gateway knows whom they mean. Weights are scaled, so that several gateways share those exactly.
    """
    networks, own = context.mesh.networks, context.proxy.network
    scale = lcm(*(len(network.gateways) for network in networks.values() if network.gateways))
    found = []
    shared: dict[NetworkGateway, int] = {}
    for one in endpoints:
        weight = (one.weight or 1) * scale
        network = networks.get(one.network)
        if network is None or not network.gateways or one.network == own:
            if one.address:
                found.append(_endpoint(context, one, known, weight))
        elif across and speaksMutualTLS(context, one, known):
            for gateway in network.gateways:
                shared[gateway] = shared.get(gateway, 0) + weight // len(network.gateways)
    for gateway, weight in sorted(shared.items()):
        found.append(
            {
                "endpoint": {"address": address(gateway.address, gateway.port)},
                "loadBalancingWeight": weight,
                "metadata": _SPEAKS,
            }
        )
    return found


def _endpoint(context: Context, endpoint: Endpoint, known: dict[object, bool], weight: int) -> JSON:
    tls = _SPEAKS if speaksMutualTLS(context, endpoint, known) else None
    return without(
        {
            "endpoint": {"address": address(endpoint.address, endpoint.port)},
            "loadBalancingWeight": weight,
            "metadata": tls,
            "healthStatus": None if endpoint.healthy else "UNHEALTHY",
        }
    )


def _locality(text: str) -> JSON:
    parts = text.split("/", 2) if text else []
    return dict(zip(("region", "zone", "subZone"), parts, strict=False))
