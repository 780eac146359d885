# -*- test-case-name: tests.controlplane.model.test_destinationrule -*-
"""
The checks of balancing by locality.
"""

from __future__ import annotations

from collections.abc import Sequence

from meshproxy.controlplane.model.spots import Spot
from meshproxy.controlplane.model.trafficpolicy import LocalityFailover, LocalityLbSetting, ZoneAwareLbSetting

__all__ = ["checkLocalities", "checkZones"]

#: What C{failover} decides already.
_TOPOLOGY = ("topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone")


def checkLocalities(setting: LocalityLbSetting, hasOutliers: bool, spot: Spot) -> None:
    """
    Tell what is wrong with a setting.

    @param hasOutliers: Whether failing endpoints are noticed at all.
    """
    spot.oneOf(setting, "distribute", "failover")
    if setting.failover:
        for index, label in enumerate(setting.failoverPriority):
            if label in _TOPOLOGY:
                spot["failoverPriority"][index].refuse(f"{label!r} is decided by failover already", "exclusive")
    _checkOverlaps([one.from_ for one in setting.distribute], spot["distribute"], "from")
    for index, one in enumerate(setting.distribute):
        here = spot["distribute"][index]["to"]
        for locality, weight in one.to.items():
            if not 1 <= weight <= 100:
                here[locality].refuse(f"{weight} is not a share: 1 to 100")
        if sum(one.to.values()) != 100:
            here.refuse(f"the shares add up to {sum(one.to.values())}, not to 100")
        _checkOverlaps(list(one.to), here)
    _checkFailover(setting.failover, setting.failoverPriority, hasOutliers, spot)


def checkZones(setting: ZoneAwareLbSetting, hasOutliers: bool, spot: Spot) -> None:
    """
    Tell what is wrong with balancing by zone, where regions are kept apart in any case.
    """
    for index, label in enumerate(setting.failoverPriority):
        if label.partition("=")[0] in _TOPOLOGY:
            spot["failoverPriority"][index].refuse(f"{label!r} is decided by zoneAwareLbSetting itself", "exclusive")
    _checkFailover(setting.failover, setting.failoverPriority, hasOutliers, spot)


def _checkFailover(
    failovers: Sequence[LocalityFailover], priorities: Sequence[str], hasOutliers: bool, spot: Spot
) -> None:
    if (failovers or priorities) and not hasOutliers:
        spot.warn("without outlierDetection beside it no endpoint is seen to fail")
    for index, failover in enumerate(failovers):
        here = spot["failover"][index]
        if failover.from_ == failover.to:
            here.refuse("from and to are different regions")
        for key, region in (("from", failover.from_), ("to", failover.to)):
            if "/" in region or "*" in region:
                here[key].refuse(f"{region!r} is not a region: no zone, no wildcard")


def _checkOverlaps(localities: Sequence[str], spot: Spot, key: str | None = None) -> None:
    """
    Localities that are well formed and name different places.
    """
    seen: list[str] = []
    for index, locality in enumerate(localities):
        here = spot[index][key] if key is not None else spot[locality]
        if any(not part for part in locality.split("/", 2)):
            here.refuse(f"{locality!r} is not REGION, REGION/ZONE or REGION/ZONE/SUBZONE")
        elif "*" in locality[:-1]:
            here.refuse(f"{locality!r}: a wildcard stands at the end, once")
        elif any(_within(locality, other) or _within(other, locality) for other in seen):
            here.refuse(f"{locality!r} overlaps another one", "duplicate")
        seen.append(locality)


def _within(locality: str, other: str) -> bool:
    prefix = other.rstrip("*").rstrip("/")
    return not prefix or locality == prefix or locality.startswith(f"{prefix}/")
