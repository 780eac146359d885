# -*- test-case-name: tests.upstream.balancers.test_loadbalancer -*-
"""
From all endpoints of a cluster, or of one of its subsets, to the one for a request: by priority, health and locality,
then by the policy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from meshproxy.upstream.balancers.base import Choose, IBalancer, IChoice, IHashTable, Weighted
from meshproxy.upstream.balancers.localities import WeightedTurns, effectiveWeight
from meshproxy.upstream.balancers.priorities import Health, Loads, choosePriority, spread
from meshproxy.upstream.balancers.slowstart import SlowStart
from meshproxy.upstream.balancers.zones import ZonePlan, Zones
from meshproxy.upstream.endpoint import Endpoint, Locality

__all__ = ["BalancerOptions", "IEndpointChooser", "LoadBalancer", "Policy"]

_TWO_64: Final = 1 << 64


@dataclass(frozen=True, slots=True)
class Policy:
    """
    A load balancing policy.

    @ivar make: Makes a balancer, for policies that look at no request.
    @ivar slowStart: What those give endpoints that are new.
    @ivar build: Builds the table of endpoints, for those that hash.
    """

    make: Callable[[], IBalancer] | None = None
    slowStart: SlowStart | None = None
    build: Callable[[Weighted], IHashTable] | None = None


@dataclass(frozen=True, slots=True)
class BalancerOptions:
    """
    C{common_lb_config}, and the policy of the C{load_assignment}.

    @ivar panicThreshold: C{healthy_panic_threshold}, in percent.
    @ivar factor: C{overprovisioning_factor}, in percent.
    @ivar weighsHealth: C{weighted_priority_health}.
    @ivar weighsLocalities: Whether there is a C{locality_weighted_lb_config}.
    @ivar failsInPanic: C{fail_traffic_on_panic}.
    """

    panicThreshold: float = 50.0
    factor: int = 140
    weighsHealth: bool = False
    weighsLocalities: bool = False
    failsInPanic: bool = False


class IEndpointChooser(Protocol):
    """
    What a cluster chooses its endpoints with.

    @ivar choose: Chooses for somebody who has nothing to say about it.
    """

    choose: Choose

    def heed(self, factor: int, weighsHealth: bool) -> None:
        """
        Heed another policy of the assignment, from the next L{update} on.

        @param factor: See L{BalancerOptions}, as for C{weighsHealth}.
        """

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """
        These are all endpoints now, in the states in which they are now.
        """

    def chooseFor(self, choice: IChoice | None) -> Endpoint | None:
        """
        Choose for a request.
        """


class _Level:
    """
    The endpoints of one priority, and what chooses among some of them; made when it is first asked for.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        options: BalancerOptions,
        policy: Policy,
        whole: Mapping[tuple[int, Locality], int] | None,
    ) -> None:
        self._whole = whole
        self.everybody = tuple(endpoints)
        self.healthy = tuple(e for e in endpoints if e.healthy and not e.isDegraded)
        self.degraded = tuple(e for e in endpoints if e.isDegraded)
        self._options = options
        self._policy = policy
        self._balancers: dict[object, IBalancer] = {}
        self._tables: dict[bool, IHashTable | None] = {}
        self._turns: dict[bool, WeightedTurns[Locality] | None] = {}

    def health(self) -> Health:
        """
        How well they are, together.
        """
        excludes = any(endpoint.isExcluded for endpoint in self.everybody)
        count = (lambda those: sum(e.weight for e in those)) if self._options.weighsHealth else len
        included = [e for e in self.everybody if not e.isExcluded] if excludes else self.everybody
        return Health(count(included), count(self.healthy), count(self.degraded), len(self.everybody))

    def choose(self, isPanic: bool, isDegraded: bool) -> Endpoint | None:
        """
        By a policy that looks at no request.
        """
        if isPanic:
            return self._balancer("all", self.everybody).choose()
        some = self.degraded if isDegraded else self.healthy
        if self._options.weighsLocalities:
            turns = self._localities(isDegraded)
            if turns is not None:
                return self.chooseIn(turns.next(), isDegraded)
        return self._balancer(isDegraded, some).choose()

    def chooseIn(self, locality: Locality, isDegraded: bool) -> Endpoint | None:
        """
        Among the endpoints of a locality.
        """
        some = self.degraded if isDegraded else self.healthy
        there = [endpoint for endpoint in some if endpoint.locality == locality]
        return self._balancer((isDegraded, locality), there).choose()

    def _balancer(self, key: object, endpoints: Sequence[Endpoint]) -> IBalancer:
        balancer = self._balancers.get(key)
        if balancer is None:
            assert self._policy.make is not None
            balancer = self._balancers[key] = self._policy.make()
            balancer.update(endpoints)
        return balancer

    def healthyBalancer(self) -> IBalancer:
        """
        What chooses among the healthy ones.
        """
        return self._balancer(False, self.healthy)

    def _localities(self, isDegraded: bool) -> WeightedTurns[Locality] | None:
        """
        Localities with a weight and with endpoints that may be chosen, in turn; L{None} where there are none.
        """
        if isDegraded not in self._turns:
            some = self.degraded if isDegraded else self.healthy
            weighted = []
            for locality, members in _byLocality(self.everybody).items():
                available = sum(endpoint.locality == locality for endpoint in some)
                weighted.append(
                    (locality, effectiveWeight(self._weightOf(members), len(members), available, self._options.factor))
                )
            weighted = [each for each in weighted if each[1] > 0]
            self._turns[isDegraded] = WeightedTurns(weighted) if weighted else None
        return self._turns[isDegraded]

    def table(self, isPanic: bool) -> IHashTable | None:
        """
        The table of a policy that hashes; L{None} where there are no endpoints for it.
        """
        if isPanic not in self._tables:
            assert self._policy.build is not None
            weighted = self._weighted(self.everybody if isPanic else self.healthy)
            self._tables[isPanic] = self._policy.build(weighted) if weighted else None
        return self._tables[isPanic]

    def _weighted(self, endpoints: Sequence[Endpoint]) -> Weighted:
        """
        Endpoints with their shares, those of localities included where they have weights.
        """
        if not self._options.weighsLocalities or not any(e.localityWeight for e in self.everybody):
            return _shares(endpoints, 1.0)
        groups = _byLocality(endpoints)
        # What it weighs is a matter of all its endpoints, whichever may be chosen.
        weights = {locality: self._weightOf(members) for locality, members in _byLocality(self.everybody).items()}
        total = sum(weights[locality] for locality in groups)
        if not total:
            return []
        return [
            pair
            for locality, members in groups.items()
            if weights[locality]
            for pair in _shares(members, weights[locality] / total)
        ]

    def _weightOf(self, members: Sequence[Endpoint]) -> int:
        """
        The weight of a locality, all of whose endpoints here these are.
        """
        first = members[0]
        if self._whole is None:
            return first.localityWeight
        # Half is away from zero, as in Envoy.
        return int(first.localityWeight * len(members) / self._whole[first.priority, first.locality] + 0.5)


def _byLocality(endpoints: Sequence[Endpoint]) -> Mapping[Locality, list[Endpoint]]:
    groups: dict[Locality, list[Endpoint]] = {}
    for endpoint in endpoints:
        groups.setdefault(endpoint.locality, []).append(endpoint)
    # As in Envoy, localities are in the order of their names.
    return dict(sorted(groups.items(), key=lambda item: item[0].names))


def _shares(endpoints: Sequence[Endpoint], whole: float) -> Weighted:
    total = sum(endpoint.weight for endpoint in endpoints)
    return [(endpoint, endpoint.weight * whole / total) for endpoint in endpoints]


class LoadBalancer:
    """
    Chooses among some endpoints.

    @ivar choose: See L{IEndpointChooser}.
    @ivar loads: How priorities are loaded.
    """

    choose: Choose
    loads: Loads

    def __init__(
        self,
        policy: Policy,
        options: BalancerOptions,
        random: Callable[[], float],
        panicked: Callable[[], object],
        zones: Zones | None = None,
        whole: Mapping[tuple[int, Locality], int] | None = None,
    ) -> None:
        """
        @param random: From 0 up to 1.
        @param panicked: Is called for each choice that disregarded health.
        @param whole: How many endpoints there are in each locality of a priority where these are some of them, for its
            weight to shrink as it does (C{scale_locality_weight}); it is looked at with each update.
        @param zones: Where requests are to stay in the locality of this proxy; L{None} where nobody asked for it.
        """
        self._zones = zones
        self._zonePlan: ZonePlan | None = None
        self._whole = whole
        self._policy = policy
        self._options = options
        self._random = random
        self._panicked = panicked
        self._levels: list[_Level] = []
        self._available: list[tuple[int, int]] = []
        self.update(())

    def heed(self, factor: int, weighsHealth: bool) -> None:
        """
        See L{IEndpointChooser.heed}.
        """
        self._options = replace(self._options, factor=factor, weighsHealth=weighsHealth)

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """
        See L{IEndpointChooser.update}.
        """
        options = self._options
        last = max((endpoint.priority for endpoint in endpoints), default=0)
        if last:
            groups: list[list[Endpoint]] = [[] for _ in range(last + 1)]
            for endpoint in endpoints:
                groups[endpoint.priority].append(endpoint)
        else:
            groups = [list(endpoints)]
        if self._policy.slowStart is not None:
            self._policy.slowStart.begin(endpoints)
        self._levels = [_Level(group, options, self._policy, self._whole) for group in groups]
        states = [level.health() for level in self._levels]
        self._available = [state.availability(options.factor) for state in states]
        self.loads = spread(states, options.factor, options.panicThreshold)
        self.choose = self._chooseAny
        if self._zones is not None:
            self._zonePlan = self._zones.plan(groups[0])
        if self._policy.build is not None:
            # Not when the first request comes, which would have to wait for it.
            for level, isPanic in zip(self._levels, self.loads.panic, strict=True):
                level.table(isPanic)
        elif not options.weighsLocalities and self._zonePlan is None and self._isSimple():
            self.choose = self._levels[0].healthyBalancer().choose

    def _isSimple(self) -> bool:
        """
        Whether all requests go to the healthy endpoints of the first priority.
        """
        return self.loads.healthy[0] == 100 and not self.loads.panic[0]

    def _chooseAny(self) -> Endpoint | None:
        return self._chooseOnce(None, 0, self.loads, None)

    def chooseFor(self, choice: IChoice | None) -> Endpoint | None:
        """
        See L{IEndpointChooser.chooseFor}.
        """
        if choice is None:
            return self.choose()
        loads = choice.loads(self.loads, self._available)
        key = None if self._policy.build is None else choice.hashKey()
        endpoint = None
        for attempt in range(choice.attempts + 1):
            endpoint = self._chooseOnce(key, attempt, loads, choice)
            if endpoint is None or choice.accepts(endpoint):
                break
        return endpoint

    def _chooseOnce(self, key: int | None, attempt: int, loads: Loads, choice: IChoice | None) -> Endpoint | None:
        build = self._policy.build
        if build is None:
            number = int(self._random() * 100)
        else:
            if key is None:
                key = int(self._random() * _TWO_64)
            number = key % 100
        chosen = choosePriority(number, loads.healthy, loads.degraded)
        if chosen is None:
            return None
        priority, isDegraded = chosen
        level = self._levels[priority]
        isPanic = loads.panic[priority]
        if isPanic:
            self._panicked()
            if self._options.failsInPanic:
                return None
        if build is None:
            if self._zonePlan is not None and not isPanic and not priority:
                return self._chooseByZone(level, isDegraded)
            return level.choose(isPanic, isDegraded)
        assert key is not None
        table = level.table(isPanic)
        return None if table is None else table.choose(key, attempt)

    def _chooseByZone(self, level: _Level, isDegraded: bool) -> Endpoint | None:
        zones, plan = self._zones, self._zonePlan
        assert zones is not None and plan is not None
        if not zones.isOn:
            return level.choose(False, isDegraded)
        if zones.isLocalInPanic(self._options.panicThreshold):
            return None if self._options.failsInPanic else level.choose(False, isDegraded)
        return level.chooseIn(zones.choose(plan), isDegraded)
