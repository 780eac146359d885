# -*- test-case-name: tests.upstream.balancers.test_zones -*-
"""
Zone aware routing: requests stay in the locality of this proxy as far as that loads all endpoints alike.

How much load each locality makes is known from the local cluster, whose endpoints are the proxies like this one. Where
a locality has a greater share of the upstream's endpoints than of the proxies, all of its requests stay in it; else as
many as its endpoints can take, and the others go to localities that have something to spare. The shares, and how they
are rounded, are Envoy's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from meshproxy.config import Section
from meshproxy.stats.store import Scope
from meshproxy.upstream.endpoint import Endpoint, Locality

__all__ = ["LocalZone", "ZoneOptions", "ZonePlan", "ZoneStats", "Zones", "compileZoneOptions", "groupByLocality"]

_WHOLE: Final = 10000
_SMALLEST: Final = 6


@dataclass(frozen=True, slots=True)
class ZoneOptions:
    """
    C{zone_aware_lb_config}.

    @ivar enabled: C{routing_enabled}, in percent.
    @ivar minClusterSize: C{min_cluster_size}.
    @ivar failsInPanic: C{fail_traffic_on_panic}.
    @ivar forcedFrom: From how many healthy endpoints in this locality on all requests stay in it (C{force_local_zone});
        0 for never.
    @ivar weighs: Whether endpoints count by their weights (C{locality_basis}).
    """

    enabled: int = 100
    minClusterSize: int = _SMALLEST
    failsInPanic: bool = False
    forcedFrom: int = 0
    weighs: bool = False


def compileZoneOptions(section: Section | None) -> ZoneOptions:
    """
    Compile a C{ZoneAwareLbConfig}, that of a cluster or of a policy. Without one the defaults hold, as in Envoy.
    """
    if section is None:
        return ZoneOptions()
    share = section.child("routing_enabled")
    forced = 0
    names = {each.name for each in section.message.DESCRIPTOR.fields}
    if "force_local_zone" in names:
        held = section.child("force_local_zone")
        if held is not None:
            forced = held.wrapped("min_size", 1)
        elif section.get("force_locality_direct_routing"):
            forced = 1
    return ZoneOptions(
        100 if share is None else round(share.get("value")),
        section.wrapped("min_cluster_size", _SMALLEST),
        section.get("fail_traffic_on_panic"),
        forced,
        "locality_basis" in names and section.get("locality_basis") == "HEALTHY_HOSTS_WEIGHT",
    )


class ZoneStats:
    """
    What is counted of it, under Envoy's names.
    """

    def __init__(self, scope: Scope) -> None:
        """
        @param scope: C{cluster.NAME.}.
        """
        counter = scope.counter
        self.recalculated = counter("lb_recalculate_zone_structures")
        self.localNotOK = counter("lb_local_cluster_not_ok")
        self.tooSmall = counter("lb_zone_cluster_too_small")
        self.noCapacityLeft = counter("lb_zone_no_capacity_left")
        self.allDirectly = counter("lb_zone_routing_all_directly")
        self.sampled = counter("lb_zone_routing_sampled")
        self.crossZone = counter("lb_zone_routing_cross_zone")
        # Envoy has it, and has not counted by it for long.
        counter("lb_zone_number_differs")


class _RuntimeNumbers(Protocol):
    """
    L{meshproxy.runtime.Runtime.number}.
    """

    def __call__(self, key: str, default: int) -> int:
        """
        A whole number by its key.
        """


class LocalZone:
    """
    Where this proxy runs, and which proxies are like it.

    @ivar name: The name of the local cluster.
    @ivar locality: That of this proxy.
    @ivar members: The endpoints of the local cluster.
    @ivar number: Looks runtime values up.
    @ivar watchers: Are called when the members change.
    """

    def __init__(self, name: str, locality: Locality, number: _RuntimeNumbers) -> None:
        self.name = name
        self.locality = locality
        self.members: tuple[Endpoint, ...] = ()
        self.number = number
        self.watchers: dict[Callable[[], object], None] = {}

    def membersChanged(self, members: Sequence[Endpoint]) -> None:
        """
        These are the endpoints of the local cluster now.
        """
        self.members = tuple(members)
        for watcher in list(self.watchers):
            watcher()


@dataclass(frozen=True, slots=True)
class ZonePlan:
    """
    Where requests go.

    @ivar localities: Those of the upstream, this proxy's own first.
    @ivar isDirect: Whether all requests stay in the first of them.
    @ivar share: How many of ten thousand requests do, else.
    @ivar residual: What the localities have to spare for the others, each with that of those before it.
    """

    localities: tuple[Locality, ...]
    isDirect: bool = False
    share: int = 0
    residual: tuple[int, ...] = ()


def groupByLocality(endpoints: Sequence[Endpoint], first: Locality) -> Mapping[Locality, list[Endpoint]]:
    """
    Endpoints by locality, in the order of Envoy: one first, the others by their names.
    """
    groups: dict[Locality, list[Endpoint]] = {}
    for endpoint in endpoints:
        groups.setdefault(endpoint.locality, []).append(endpoint)
    return dict(sorted(groups.items(), key=lambda item: (item[0] != first, item[0].names)))


def _isHealthy(endpoint: Endpoint) -> bool:
    return endpoint.healthy and not endpoint.isDegraded


class Zones:
    """
    Zone aware routing of one cluster.
    """

    def __init__(self, options: ZoneOptions, zone: LocalZone, stats: ZoneStats, random: Callable[[], float]) -> None:
        """
        @param random: From 0 up to 1.
        """
        self.options = options
        self._zone = zone
        self._stats = stats
        self._random = random

    def _draw(self, limit: int) -> int:
        return int(self._random() * limit)

    def plan(self, endpoints: Sequence[Endpoint]) -> ZonePlan | None:
        """
        Look where requests go; L{None} where localities do not matter.

        @param endpoints: Those of the first priority.
        """
        self._stats.recalculated.value += 1
        zone, options = self._zone, self.options
        groups = groupByLocality(endpoints, zone.locality)
        local = groupByLocality(zone.members, zone.locality)
        if len(groups) < 2 or (len(local) < 2 and not options.forcedFrom):
            return None
        if zone.locality not in local:
            self._stats.localNotOK.value += 1
            return None
        smallest = zone.number("upstream.zone_routing.min_cluster_size", options.minClusterSize)
        if sum(map(_isHealthy, endpoints)) < smallest:
            self._stats.tooSmall.value += 1
            return None
        return self._planFor(groups, self._shares(local), self._shares(groups))

    def _shares(self, groups: Mapping[Locality, Sequence[Endpoint]]) -> Mapping[Locality, int]:
        """
        The shares of localities in the healthy endpoints, of ten thousand.
        """
        weighs = self.options.weighs
        counts = {
            locality: sum(each.weight if weighs else 1 for each in members if _isHealthy(each))
            for locality, members in groups.items()
        }
        total = sum(counts.values())
        return {locality: _WHOLE * count // total if total else 0 for locality, count in counts.items()}

    def _planFor(
        self,
        groups: Mapping[Locality, Sequence[Endpoint]],
        local: Mapping[Locality, int],
        upstream: Mapping[Locality, int],
    ) -> ZonePlan:
        own, localities = self._zone.locality, tuple(groups)
        forced = self.options.forcedFrom
        if own in groups:
            isEnough = 0 < upstream[own] >= local.get(own, 0)
            if isEnough or (forced and sum(map(_isHealthy, groups[own])) >= forced):
                return ZonePlan(localities, isDirect=True)
        share = upstream[own] * _WHOLE // local[own] if own in groups and local.get(own) else 0
        residual: list[int] = []
        spare = 0
        for locality in localities:
            if locality != own:
                spare += max(0, upstream[locality] - local.get(locality, 0))
            residual.append(spare)
        return ZonePlan(localities, False, share, tuple(residual))

    @property
    def isOn(self) -> bool:
        """
        Whether a request is routed by zones at all.
        """
        enabled = self._zone.number("upstream.zone_routing.enabled", self.options.enabled)
        return enabled >= 100 or self._draw(100) < enabled

    def isLocalInPanic(self, threshold: float) -> bool:
        """
        Whether so few of the proxies are well that their localities say nothing; counts it.

        @param threshold: In percent.
        """
        members = [each for each in self._zone.members if not each.isExcluded]
        well = 100.0 * sum(each.healthy for each in members) / len(members) if members else 0.0
        if well < threshold:
            self._stats.localNotOK.value += 1
            return True
        return False

    def choose(self, plan: ZonePlan) -> Locality:
        """
        The locality that a request goes to.
        """
        stats = self._stats
        if plan.isDirect:
            stats.allDirectly.value += 1
            return plan.localities[0]
        if self._draw(_WHOLE) < plan.share:
            stats.sampled.value += 1
            return plan.localities[0]
        stats.crossZone.value += 1
        spare = plan.residual[-1]
        if not spare:
            # The shares were rounded.
            stats.noCapacityLeft.value += 1
            return plan.localities[self._draw(len(plan.localities))]
        threshold = self._draw(spare)
        return next(
            locality for locality, capacity in zip(plan.localities, plan.residual, strict=True) if threshold < capacity
        )
