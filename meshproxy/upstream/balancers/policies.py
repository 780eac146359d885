# -*- test-case-name: tests.upstream.balancers.test_policies -*-
"""
The load balancing of a cluster, from its configuration: C{lb_policy} and the fields around it, or
C{load_balancing_policy} with the same as extensions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from meshproxy.config import Section
from meshproxy.config.pool import typeName
from meshproxy.stats.metrics import Counter
from meshproxy.stats.store import Scope
from meshproxy.upstream.balancers.base import IHashTable, Weighted
from meshproxy.upstream.balancers.bounded import BoundedLoad
from meshproxy.upstream.balancers.hashing import Maglev, Ring, hashName
from meshproxy.upstream.balancers.leastrequest import LeastRequest
from meshproxy.upstream.balancers.loadbalancer import BalancerOptions, IEndpointChooser, LoadBalancer, Policy
from meshproxy.upstream.balancers.random import RandomChoice
from meshproxy.upstream.balancers.roundrobin import RoundRobin
from meshproxy.upstream.balancers.slowstart import compileSlowStart
from meshproxy.upstream.balancers.subsets import Selector, SubsetOptions, Subsets
from meshproxy.upstream.balancers.zones import LocalZone, ZoneOptions, Zones, ZoneStats, compileZoneOptions
from meshproxy.upstream.endpoint import Endpoint, Locality
from meshproxy.upstream.plain import plainStruct

__all__ = ["compileChooser"]

_EXTENSIONS = "envoy.extensions.load_balancing_policies."
_SUBSET = _EXTENSIONS + "subset.v3.Subset"
_KINDS = ("round_robin", "least_request", "random", "ring_hash", "maglev", "subset", "wrr_locality")


@dataclass(frozen=True, slots=True)
class _Plan:
    """
    What a configuration asks for.

    @ivar subsets: L{None} where there are none.
    @ivar weighsSubsets: Whether localities have weights in subsets as well.
    @ivar zones: How requests stay in a locality; L{None} for policies that do not heed it.
    """

    policy: Policy
    options: BalancerOptions
    subsets: SubsetOptions | None = None
    weighsSubsets: bool = False
    zones: ZoneOptions | None = None


class _Compiler:
    """
    Compiles the load balancing of one cluster.
    """

    def __init__(
        self,
        section: Section,
        random: Callable[[], float],
        scope: Scope,
        now: Callable[[], float],
        active: Callable[[], int],
    ) -> None:
        self._section = section
        self._random = random
        self._scope = scope
        self._now = now
        self._active = active

    def compile(self) -> _Plan:
        """
        The plan of the cluster.
        """
        section = self._section
        common = section.childOrEmpty("common_lb_config")
        threshold = common.child("healthy_panic_threshold")
        assigned = section.childOrEmpty("load_assignment").childOrEmpty("policy")
        options = BalancerOptions(
            50.0 if threshold is None else float(round(threshold.get("value"))),
            assigned.wrapped("overprovisioning_factor", 140),
            assigned.get("weighted_priority_health"),
        )
        chosen = section.child("load_balancing_policy")
        if chosen is not None:
            return self._extension(chosen, options)
        if section.get("lb_policy") == "CLUSTER_PROVIDED":
            section.refuse(
                "CLUSTER_PROVIDED is for clusters of type ORIGINAL_DST, and for dynamic_forward_proxy", "lb_policy"
            )
        if section.get("lb_policy") == "LOAD_BALANCING_POLICY_CONFIG":
            section.refuse("cluster: LOAD_BALANCING_POLICY_CONFIG needs a load_balancing_policy", "lb_policy")
        policy = self._oldPolicy(section, common)
        plan = _Plan(policy, _withLocalities(common, options), zones=_zonesOf(policy, common))
        subsets = section.child("lb_subset_config")
        return plan if subsets is None else self._withSubsets(plan, subsets)

    # The fields of a cluster

    def _oldPolicy(self, section: Section, common: Section) -> Policy:
        name: str = section.get("lb_policy")
        random = self._random
        hashing = common.childOrEmpty("consistent_hashing_lb_config")
        if hashing.get("use_hostname_for_hashing") and section.get("type") != "STRICT_DNS":
            hashing.refuse("only a cluster of type STRICT_DNS can hash host names", "use_hostname_for_hashing")
        if name == "LEAST_REQUEST":
            return self._leastRequest(section.childOrEmpty("least_request_lb_config"))
        if name == "RANDOM":
            return Policy(lambda: RandomChoice(random))
        if name == "RING_HASH":
            return self._ring(section.childOrEmpty("ring_hash_lb_config"), hashing)
        if name == "MAGLEV":
            return self._maglev(section.childOrEmpty("maglev_lb_config"), hashing)
        return self._roundRobin(section.childOrEmpty("round_robin_lb_config"))

    def _roundRobin(self, section: Section) -> Policy:
        slow = compileSlowStart(section.child("slow_start_config"), self._now)
        return Policy(lambda: RoundRobin(self._random, slow), slowStart=slow)

    def _leastRequest(self, section: Section) -> Policy:
        bias = section.child("active_request_bias")
        factor = 1.0 if bias is None else bias.get("default_value")
        choices = section.wrapped("choice_count", 2)
        slow = compileSlowStart(section.child("slow_start_config"), self._now)
        # The cluster's own field has no such choice.
        isNewer = section.typeName.startswith("envoy.extensions.")
        looksAtAll = isNewer and section.get("selection_method") == "FULL_SCAN"
        return Policy(lambda: LeastRequest(self._random, choices, factor, slow, looksAtAll), slowStart=slow)

    def _bounded(self, table: IHashTable, weighted: Weighted, factor: int) -> IHashTable:
        return BoundedLoad(table, weighted, factor, self._active) if factor else table

    def _ring(self, section: Section, hashing: Section, byHostname: bool = False) -> Policy:
        least, most = section.wrapped("minimum_ring_size", 1024), section.wrapped("maximum_ring_size", 8 * 1024 * 1024)
        if least > most:
            section.refuse(f"ring hash: minimum_ring_size ({least}) > maximum_ring_size ({most})", "minimum_ring_size")
        isMurmur = section.get("hash_function") == "MURMUR_HASH_2"
        scope = self._scope.scope("ring_hash_lb.")
        size, fewest, greatest = (scope.gauge(name) for name in ("size", "min_hashes_per_host", "max_hashes_per_host"))
        name = _namer(byHostname or hashing.get("use_hostname_for_hashing"))
        factor: int = hashing.wrapped("hash_balance_factor", 0)

        def build(weighted: Weighted) -> IHashTable:
            ring = Ring(weighted, name, least, most, isMurmur)
            size.value, fewest.value, greatest.value = ring.size, ring.least, ring.most
            return self._bounded(ring, weighted, factor)

        return Policy(build=build)

    def _maglev(self, section: Section, hashing: Section) -> Policy:
        size = section.wrapped("table_size", 65537)
        if not _isPrime(size):
            section.refuse("the table size of maglev must be a prime number", "table_size")
        scope = self._scope.scope("maglev_lb.")
        fewest, greatest = scope.gauge("min_entries_per_host"), scope.gauge("max_entries_per_host")
        name = _namer(hashing.get("use_hostname_for_hashing"))
        factor: int = hashing.wrapped("hash_balance_factor", 0)

        def build(weighted: Weighted) -> IHashTable:
            table = Maglev(weighted, name, size)
            fewest.value, greatest.value = table.least, table.most
            return self._bounded(table, weighted, factor)

        return Policy(build=build)

    def _withSubsets(self, plan: _Plan, section: Section) -> _Plan:
        selectors = tuple(map(_selector, section.children("subset_selectors")))
        default = section.child("default_subset")
        subsets = SubsetOptions(
            selectors,
            section.get("fallback_policy"),
            {} if default is None else plainStruct(default.message),
            section.get("list_as_any"),
            section.get("panic_mode_any"),
            section.get("metadata_fallback_policy") == "FALLBACK_LIST",
            section.typeName == _SUBSET and section.get("allow_redundant_keys"),
            section.get("scale_locality_weight"),
        )
        # As in Envoy, a configuration without selectors has no subsets.
        return replace(plan, subsets=subsets, weighsSubsets=section.get("locality_weight_aware")) if selectors else plan

    # Extensions

    def _extension(self, section: Section, options: BalancerOptions) -> _Plan:
        """
        The first policy in the list that there is here.
        """
        for each in section.children("policies"):
            extension = each.childOrEmpty("typed_extension_config")
            name = typeName(extension.childOrEmpty("typed_config").message.type_url)
            if name.removeprefix(_EXTENSIONS).partition(".")[0] in _KINDS:
                config = extension.any("typed_config")
                if config is not None:
                    return self._typed(config, options)
        known = ", ".join(_EXTENSIONS + kind for kind in _KINDS)
        section.refuse(f"none of these policies is implemented by meshproxy, which has {known}", "policies")
        return _Plan(Policy(lambda: RoundRobin(self._random)), options)

    def _typed(self, config: Section, options: BalancerOptions) -> _Plan:
        kind = config.typeName.removeprefix(_EXTENSIONS).partition(".")[0]
        random = self._random
        if kind == "subset":
            plan = self._extension(config.childOrEmpty("subset_lb_policy"), options)
            return self._withSubsets(plan, config)
        if kind == "wrr_locality":
            plan = self._extension(config.childOrEmpty("endpoint_picking_policy"), options)
            return replace(plan, options=replace(plan.options, weighsLocalities=True), zones=None)
        if kind in ("ring_hash", "maglev"):
            hashing = config.childOrEmpty("consistent_hashing_lb_config")
            options = replace(options, weighsLocalities=config.has("locality_weighted_lb_config"))
            if kind == "maglev":
                return _Plan(self._maglev(config, hashing), options)
            return _Plan(self._ring(config, hashing, config.get("use_hostname_for_hashing")), options)
        localities = config.childOrEmpty("locality_lb_config")
        options = _withLocalities(localities, options)
        if kind == "least_request":
            policy = self._leastRequest(config)
        elif kind == "random":
            policy = Policy(lambda: RandomChoice(random))
        else:
            policy = self._roundRobin(config)
        return _Plan(policy, options, zones=_zonesOf(policy, localities))


def _zonesOf(policy: Policy, section: Section) -> ZoneOptions | None:
    """
    What a C{CommonLbConfig}, or a C{LocalityLbConfig}, says of zones, for a policy that heeds them.
    """
    if policy.build is not None or section.has("locality_weighted_lb_config"):
        return None
    return compileZoneOptions(section.child("zone_aware_lb_config"))


def _withLocalities(section: Section, options: BalancerOptions) -> BalancerOptions:
    """
    With what a C{CommonLbConfig}, or a C{LocalityLbConfig}, says of localities.
    """
    zones = section.childOrEmpty("zone_aware_lb_config")
    return replace(
        options,
        weighsLocalities=section.has("locality_weighted_lb_config"),
        failsInPanic=zones.get("fail_traffic_on_panic"),
    )


def _selector(section: Section) -> Selector:
    keys = tuple(sorted(set(section.scalars("keys"))))
    fallback: str = section.get("fallback_policy")
    fewer = frozenset(section.scalars("fallback_keys_subset"))
    if fallback == "KEYS_SUBSET":
        if not fewer:
            section.refuse("fallback_keys_subset cannot be empty", "fallback_keys_subset")
        elif not fewer <= set(keys):
            section.refuse("fallback_keys_subset must be a subset of the selector's keys", "fallback_keys_subset")
        elif fewer == set(keys):
            section.refuse("fallback_keys_subset cannot be equal to the selector's keys", "fallback_keys_subset")
    return Selector(keys, fallback, fewer, section.get("single_host_per_subset"))


def _namer(byHostname: bool) -> Callable[[Endpoint], bytes]:
    return lambda endpoint: hashName(endpoint, byHostname)


def _isPrime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def compileChooser(
    section: Section,
    random: Callable[[], float],
    scope: Scope,
    panics: Counter,
    now: Callable[[], float],
    active: Callable[[], int],
    zone: LocalZone | None = None,
) -> IEndpointChooser:
    """
    Compile the load balancing of a C{Cluster}.

    @param random: From 0 up to 1.
    @param scope: Of the cluster's metrics.
    @param panics: C{lb_healthy_panic}.
    @param now: The clock's seconds.
    @param active: How many requests the cluster has under way.
    @param zone: Where this proxy runs, if there is a local cluster that tells of its likes.
    """
    plan = _Compiler(section, random, scope, now, active).compile()

    def panicked() -> None:
        panics.value += 1

    zones = None
    if zone is not None:
        stats = ZoneStats(scope)
        if plan.zones is not None:
            zones = Zones(plan.zones, zone, stats, random)
    if plan.subsets is None:
        return LoadBalancer(plan.policy, plan.options, random, panicked, zones)
    options = plan.options if plan.weighsSubsets else replace(plan.options, weighsLocalities=False)
    whole: dict[tuple[int, Locality], int] | None = {} if plan.subsets.scalesLocalities else None
    return Subsets(
        plan.subsets, lambda: LoadBalancer(plan.policy, options, random, panicked, zones, whole), scope, whole
    )
