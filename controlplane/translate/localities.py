# -*- test-case-name: tests.controlplane.translate.test_localities -*-
"""
Which endpoints are asked before which others: by locality, by labels, by zone.

Endpoints of a lower priority are asked when too few of a higher one are well. With C{localityLbSetting} that is looked
at only where failing endpoints are noticed, or the next would never be asked; C{zoneAwareLbSetting} keeps regions apart
in any case, and leaves the zones of a region to Envoy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from meshproxy.controlplane.model.trafficpolicy import (
    LocalityLbSetting,
    TrafficPolicy,
    ZoneAwareLbSetting,
)
from meshproxy.controlplane.registry.services import Endpoint
from meshproxy.controlplane.translate.context import Context
from meshproxy.controlplane.translate.messages import JSON, without
from meshproxy.controlplane.translate.proxy import NETWORK, withTopology

__all__ = ["Setting", "balanceLocalities", "localitySetting", "priorities", "shares"]

#: What is said of localities.
Setting = LocalityLbSetting | ZoneAwareLbSetting


def localitySetting(context: Context, policy: TrafficPolicy) -> Setting | None:
    """
    What counts of what a policy and the mesh say; L{None} where balancing by locality is switched off.
    """
    levels: list[tuple[ZoneAwareLbSetting | None, LocalityLbSetting | None]] = []
    if policy.loadBalancer is not None:
        levels.append((policy.loadBalancer.zoneAwareLbSetting, policy.loadBalancer.localityLbSetting))
    levels.append((context.mesh.zoneAwareLbSetting, context.mesh.localityLbSetting))
    for zones, localities in levels:
        if zones is not None:
            # One that is switched off is heeded as well: it says so to Envoy, which would look at zones by itself.
            return zones
        if localities is not None:
            return localities if localities.enabled is not False else None
    return LocalityLbSetting()


def balanceLocalities(context: Context, policy: TrafficPolicy, cluster: JSON) -> None:
    """
    Tell a cluster how localities share what comes.
    """
    setting = localitySetting(context, policy)
    common = cluster["commonLbConfig"]
    if isinstance(setting, ZoneAwareLbSetting):
        common["zoneAwareLbConfig"] = without(
            {
                "routingEnabled": {"value": 0.0} if setting.enabled is False else None,
                "minClusterSize": str(setting.minClusterSize) if setting.minClusterSize is not None else None,
            }
        )
    elif setting is not None and (
        setting.distribute or (_failsOver(context, policy, setting) and (setting.failover or setting.failoverPriority))
    ):
        common["localityWeightedLbConfig"] = {}


def _failsOver(context: Context, policy: TrafficPolicy, setting: Setting | None) -> bool:
    """
    Whether endpoints are asked in an order at all.
    """
    if isinstance(setting, ZoneAwareLbSetting):
        return setting.enabled is not False
    if setting is None or setting.distribute:
        return False
    return policy.outlierDetection is not None and context.proxy.abilities.outliers


def _within(locality: str, pattern: str) -> bool:
    prefix = pattern.rstrip("*").rstrip("/")
    return not prefix or locality == prefix or locality.startswith(f"{prefix}/")


def shares(context: Context, localities: Iterable[str], setting: Setting | None) -> dict[str, int] | None:
    """
    The shares that C{distribute} gives for the place of the caller: those of a pattern are divided among what it
    covers.
    """
    if not isinstance(setting, LocalityLbSetting) or not context.proxy.locality:
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


def priorities(
    context: Context, endpoints: Sequence[Endpoint], policy: TrafficPolicy, setting: Setting | None
) -> list[int]:
    """
    The priority of each endpoint, 0 for those that are asked first, without gaps: by the labels of C{failoverPriority},
    then by locality.
    """
    if setting is None or not _failsOver(context, policy, setting):
        return [0] * len(endpoints)
    byLabels = _byLabels(context, setting.failoverPriority)
    byLocality = _byLocality(context.proxy.locality, setting)
    ranks = [(byLabels(endpoint), byLocality(endpoint.locality)) for endpoint in endpoints]
    order = {rank: index for index, rank in enumerate(sorted(set(ranks)))}
    return [order[rank] for rank in ranks]


def _byLabels(context: Context, names: Sequence[str]) -> Callable[[Endpoint], int]:
    """
    How many of the labels, from the first that differs on, an endpoint does not share with the caller; C{NAME=VALUE}
    stands for a label with that value instead of the caller's. Endpoints of another network come behind all of those
    of the own one, in the same order.
    """
    own = context.proxy.topology
    if not own:
        return lambda endpoint: 0
    wanted = [(name, value if given else own.get(name, "")) for name, given, value in _parted(names)]
    leaves = len(wanted) if wanted and wanted[0][0] == NETWORK else 0

    def rank(endpoint: Endpoint) -> int:
        labels = withTopology(endpoint.labels, endpoint.locality, endpoint.network)
        behind = 0
        for index, (name, value) in enumerate(wanted):
            if labels.get(name, "") != value:
                if index or not leaves:
                    return behind + len(wanted) - index
                behind = leaves
        return behind

    return rank


def _parted(names: Sequence[str]) -> list[tuple[str, str, str]]:
    return [name.partition("=") for name in names]


def _byLocality(own: str, setting: Setting) -> Callable[[str], int]:
    """
    How far a locality is from that of the caller.
    """
    region = own.partition("/")[0]
    goesTo = next((one.to for one in setting.failover if one.from_ == region), None)
    if isinstance(setting, ZoneAwareLbSetting):
        return lambda locality: _regions(locality.partition("/")[0], region, goesTo)
    if not own or (setting.failoverPriority and not setting.failover):
        return lambda locality: 0

    def rank(locality: str) -> int:
        distance = 3 - min(_common(own, locality), 3)
        return 4 if distance == 3 and goesTo not in (None, locality.partition("/")[0]) else distance

    return rank


def _regions(region: str, own: str, goesTo: str | None) -> int:
    if region == own:
        return 0
    return 1 if region == goesTo else 2


def _common(one: str, other: str) -> int:
    count = 0
    for mine, theirs in zip(one.split("/"), other.split("/"), strict=False):
        if mine != theirs or not mine:
            break
        count += 1
    return count
