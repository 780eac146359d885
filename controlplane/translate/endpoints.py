# -*- test-case-name: tests.controlplane.translate.test_clusters -*-
"""
The endpoints of a cluster, for one caller.
"""

from __future__ import annotations

from collections.abc import Sequence

from meshproxy.controlplane.model.common import selects
from meshproxy.controlplane.model.destinationrule import Subset
from meshproxy.controlplane.model.trafficpolicy import TrafficPolicy
from meshproxy.controlplane.registry.services import Endpoint, Port, Service
from meshproxy.controlplane.translate.authentication import MutualTLSMode, peerPolicy
from meshproxy.controlplane.translate.context import Context
from meshproxy.controlplane.translate.localities import localitySetting, priorities, shares
from meshproxy.controlplane.translate.messages import JSON, address, without

__all__ = ["chosenEndpoints", "loadAssignment"]

#: What the transport of a cluster is chosen by.
_MATCH = "envoy.transport_socket_match"


def chosenEndpoints(context: Context, service: Service, port: Port, subset: Subset | None) -> list[Endpoint]:
    """
    The endpoints of a service that a subset means.
    """
    found = context.services.endpoints(service.key, port.number)
    return [one for one in found if subset is None or selects(subset.labels, one.labels)]


def _speaksMutualTLS(context: Context, endpoint: Endpoint, known: dict[object, bool]) -> bool:
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
    context: Context, name: str, endpoints: Sequence[Endpoint], policy: TrafficPolicy, known: dict[object, bool]
) -> JSON:
    """
    The endpoints as Envoy takes them: by locality, with priorities where some are to be asked before others.
    """
    setting = localitySetting(context, policy)
    groups: dict[tuple[int, str], list[Endpoint]] = {}
    for endpoint, priority in zip(endpoints, priorities(context, endpoints, policy, setting), strict=True):
        groups.setdefault((priority, endpoint.locality), []).append(endpoint)
    weights = shares(context, {locality for _, locality in groups}, setting)
    listed = [
        without(
            {
                "locality": _locality(locality),
                "lbEndpoints": [_endpoint(context, one, known) for one in group],
                "priority": priority or None,
                "loadBalancingWeight": _groupWeight(locality, group, weights),
            }
        )
        for (priority, locality), group in sorted(groups.items())
        if weights is None or weights.get(locality, 0) > 0
    ]
    return without({"clusterName": name, "endpoints": listed})


def _endpoint(context: Context, endpoint: Endpoint, known: dict[object, bool]) -> JSON:
    tls = {"filterMetadata": {_MATCH: {"tlsMode": "istio"}}} if _speaksMutualTLS(context, endpoint, known) else None
    return without(
        {
            "endpoint": {"address": address(endpoint.address, endpoint.port)},
            "loadBalancingWeight": endpoint.weight or 1,
            "metadata": tls,
            "healthStatus": None if endpoint.healthy else "UNHEALTHY",
        }
    )


def _locality(text: str) -> JSON:
    parts = text.split("/", 2) if text else []
    return dict(zip(("region", "zone", "subZone"), parts, strict=False))


def _groupWeight(locality: str, group: Sequence[Endpoint], weights: dict[str, int] | None) -> int:
    return weights[locality] if weights is not None else sum(endpoint.weight or 1 for endpoint in group)
