# -*- test-case-name: tests.controlplane.translate.test_clusters -*-
"""
The endpoints of a cluster, for one caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from meshproxy.controlplane.model.common import selects
from meshproxy.controlplane.model.destinationrule import Subset
from meshproxy.controlplane.model.trafficpolicy import LocalityLbSetting, TrafficPolicy
from meshproxy.controlplane.registry.services import Endpoint, Port, Service
from meshproxy.controlplane.translate.authentication import MutualTLSMode, peerPolicy
from meshproxy.controlplane.translate.context import Context
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
    The endpoints as Envoy takes them: by locality, with priorities where failing endpoints are noticed.
    """
    setting = _localitySetting(context, policy)
    groups: dict[tuple[int, str], list[Endpoint]] = {}
    priorities = _priorities(context, endpoints, policy, setting)
    for endpoint in endpoints:
        groups.setdefault((priorities.get(endpoint.locality, 0), endpoint.locality), []).append(endpoint)
    weights = _weights(context, {locality for _, locality in groups}, setting)
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


def _localitySetting(context: Context, policy: TrafficPolicy) -> LocalityLbSetting | None:
    own = policy.loadBalancer.localityLbSetting if policy.loadBalancer is not None else None
    setting = own or context.mesh.localityLbSetting
    if setting is not None and setting.enabled is False:
        return None
    return setting or LocalityLbSetting()


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


def _within(locality: str, pattern: str) -> bool:
    prefix = pattern.rstrip("*").rstrip("/")
    return not prefix or locality == prefix or locality.startswith(f"{prefix}/")


def _weights(context: Context, localities: Iterable[str], setting: LocalityLbSetting | None) -> dict[str, int] | None:
    """
    The shares that C{distribute} gives for the place of the caller: those of a pattern are divided among what it
    covers.
    """
    if setting is None or not context.proxy.locality:
        return None
    rule = next((one for one in setting.distribute if _within(context.proxy.locality, one.from_)), None)
    if rule is None:
        return None
    weights: dict[str, int] = {}
    for pattern, share in rule.to.items():
        covered = [locality for locality in sorted(localities) if _within(locality, pattern)]
        for locality in covered:
            weights.setdefault(locality, max(1, share // len(covered)))
    return weights


def _common(one: str, other: str) -> int:
    count = 0
    for mine, theirs in zip(one.split("/"), other.split("/"), strict=False):
        if mine != theirs or not mine:
            break
        count += 1
    return count


def _priorities(
    context: Context, endpoints: Sequence[Endpoint], policy: TrafficPolicy, setting: LocalityLbSetting | None
) -> dict[str, int]:
    """
    The nearest first, without gaps; only where failing endpoints are noticed, or the next would never be asked.
    """
    proxy = context.proxy
    isOff = setting is None or policy.outlierDetection is None or setting.distribute or not proxy.locality
    if isOff or not proxy.abilities.outliers:
        return {}
    assert setting is not None
    region = proxy.locality.partition("/")[0]
    goesTo = {one.to for one in setting.failover if one.from_ == region}
    ranks = {}
    for locality in {endpoint.locality for endpoint in endpoints}:
        rank = 3 - min(_common(proxy.locality, locality), 3)
        ranks[locality] = rank + 1 if rank == 3 and goesTo and locality.partition("/")[0] not in goesTo else rank
    order = {rank: index for index, rank in enumerate(sorted(set(ranks.values())))}
    return {locality: order[rank] for locality, rank in ranks.items()}
