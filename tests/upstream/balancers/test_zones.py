"""
L{meshproxy.upstream.balancers.zones}. The figures of each case are those that Envoy's algorithm gives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section
from meshproxy.stats import Store
from meshproxy.upstream.balancers.loadbalancer import BalancerOptions, LoadBalancer, Policy
from meshproxy.upstream.balancers.roundrobin import RoundRobin
from meshproxy.upstream.balancers.zones import LocalZone, ZoneOptions, ZonePlan, Zones, ZoneStats, compileZoneOptions
from meshproxy.upstream.endpoint import Endpoint, Locality
from tests.upstream.balancers.support import endpoint

_CLUSTER = "envoy.config.cluster.v3.Cluster.CommonLbConfig.ZoneAwareLbConfig"
_POLICY = "envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig.ZoneAwareLbConfig"


def group(zones: str, ill: Sequence[int] = (), start: int = 1) -> list[Endpoint]:
    """
    Endpoints in zones, a letter each.
    """
    return [
        endpoint(number, "UNHEALTHY" if number - start in ill else "UNKNOWN", zone=zone)
        for number, zone in enumerate(zones, start)
    ]


class ZoneCase(SynchronousTestCase):
    """
    A proxy in zone a.
    """

    def make(self, local: str, random: Any = None, ill: Sequence[int] = (), **options: Any) -> Zones:
        """
        Zone aware routing, where proxies run in some zones.
        """
        self.store = Store()
        self.values: dict[str, int] = {}

        def number(key: str, default: int) -> int:
            return self.values.get(key, default)

        self.zone = LocalZone("local", Locality(zone="a"), number)
        self.zone.membersChanged(group(local, ill, 100))
        stats = ZoneStats(self.store.scope("cluster.x."))
        return Zones(ZoneOptions(**options), self.zone, stats, random or (lambda: 0.5))

    def stat(self, name: str) -> int:
        """
        A counter.
        """
        return self.store.scope("cluster.x.").counter(f"lb_{name}").value


class PlanTests(ZoneCase):
    """
    L{Zones.plan}.
    """

    def planned(self, local: str, upstream: str, ill: Sequence[int] = (), **options: Any) -> ZonePlan | None:
        """
        The plan for an upstream.
        """
        return self.make(local, **options).plan(group(upstream, ill))

    def test_direct(self) -> None:
        """
        Where the upstream has at least the share of this zone that the proxies have, all stays.
        """
        for local, upstream in (("ab", "aaabbb"), ("abb", "aaabbb"), ("abc", "aabbcc")):
            plan = self.planned(local, upstream)
            assert plan is not None
            self.assertTrue(plan.isDirect)
            self.assertEqual(plan.localities[0], Locality(zone="a"))

    def test_residual(self) -> None:
        """
        Else what the zone can take stays, and others take the rest as they have to spare.
        """
        plan = self.planned("aabbc", "aabbbbcc", minClusterSize=1)
        assert plan is not None
        # 25 of 40 percent; b has 50 for 40, c has 25 for 20.
        self.assertEqual((plan.isDirect, plan.share, plan.residual), (False, 6250, (0, 1000, 1500)))
        plan = self.planned("aab", "bbbbbbc")
        assert plan is not None
        # None here: b has 85.71 for 33.33, c 14.28 for nothing; the own zone is none of the upstream's.
        self.assertEqual((plan.share, plan.residual), (0, (5238, 6666)))
        self.assertEqual([each.zone for each in plan.localities], ["b", "c"])
        plan = self.planned("aab", "aabbbb", ill=(0, 1), minClusterSize=1)
        assert plan is not None
        self.assertEqual((plan.share, plan.residual), (0, (0, 6667)))

    def test_none(self) -> None:
        """
        There is nothing to plan where there is one locality only, no proxy in this one, or few endpoints; Envoy's
        counters say which.
        """
        self.assertIsNone(self.planned("ab", "aaaaaa"))
        self.assertEqual(self.stat("recalculate_zone_structures"), 1)
        self.assertIsNone(self.planned("aa", "aaabbb"))
        self.assertIsNone(self.planned("bc", "aaabbb"))
        self.assertEqual(self.stat("local_cluster_not_ok"), 1)
        self.assertIsNone(self.planned("ab", "aaabb"))
        self.assertEqual(self.stat("zone_cluster_too_small"), 1)
        self.assertIsNone(self.planned("ab", "aaabbb", ill=(5,)))
        self.assertIsNotNone(self.planned("ab", "aaabb", minClusterSize=5))
        zones = self.make("ab")
        self.values["upstream.zone_routing.min_cluster_size"] = 2
        self.assertIsNotNone(zones.plan(group("ab")))

    def test_forced(self) -> None:
        """
        C{force_local_zone} keeps all of it, if enough are there, and asks for no second zone of proxies.
        """
        plan = self.planned("aaab", "aabbbb", forcedFrom=2)
        self.assertTrue(plan is not None and plan.isDirect)
        plan = self.planned("aaab", "aabbbb", forcedFrom=3)
        self.assertFalse(plan is None or plan.isDirect)
        plan = self.planned("a", "aabbbb", forcedFrom=1)
        self.assertTrue(plan is not None and plan.isDirect)

    def test_weights(self) -> None:
        """
        Endpoints may count by their weights.
        """
        upstream = group("aaabbb")
        for each in upstream[3:]:
            each.weight = 3
        self.assertTrue(getattr(self.make("ab").plan(upstream), "isDirect", None))
        plan = self.make("ab", weighs=True).plan(upstream)
        assert plan is not None
        self.assertEqual((plan.isDirect, plan.share, plan.residual), (False, 5000, (0, 2500)))

    def test_lowestDraw(self) -> None:
        """
        Whatever is drawn, who goes elsewhere goes to a locality that has something to spare.
        """
        for draws, zone in ((0.0, 1), (0.66, 1), (0.67, 2), (0.9999, 2)):
            zones = self.make("ab", lambda draws=draws: draws)
            plan = zones.plan(group("abbbcc"))
            assert plan is not None
            other = ZonePlan(plan.localities, False, 0, (0, 1000, 1500))
            self.assertEqual(zones.choose(other), plan.localities[zone])

    def test_compiled(self) -> None:
        """
        The fields of both messages, and the defaults.
        """
        self.assertEqual(compileZoneOptions(None), ZoneOptions())
        fields: dict[str, Any] = {
            "routing_enabled": {"value": 40},
            "min_cluster_size": 2,
            "fail_traffic_on_panic": True,
        }
        expected = ZoneOptions(40, 2, True)
        for name in (_CLUSTER, _POLICY):
            self.assertEqual(compileZoneOptions(Section.of(name, {})), ZoneOptions())
            self.assertEqual(compileZoneOptions(Section.of(name, fields)), expected)
        for more, forced in (({"force_locality_direct_routing": True}, 1), ({"force_local_zone": {"min_size": 4}}, 4)):
            compiled = compileZoneOptions(Section.of(_POLICY, {**more, "locality_basis": "HEALTHY_HOSTS_WEIGHT"}))
            self.assertEqual((compiled.forcedFrom, compiled.weighs), (forced, True))


class ChoiceTests(ZoneCase):
    """
    What a load balancer makes of a plan. Chance is the same in each run.
    """

    def balancer(self, local: str, upstream: Sequence[Endpoint], **options: Any) -> LoadBalancer:
        """
        A load balancer.
        """
        random = Random(7).random
        self.zones = self.make(local, random, **options)
        policy = Policy(lambda: RoundRobin(lambda: 0.0))
        fails = options.get("failsInPanic", False)
        made = LoadBalancer(policy, BalancerOptions(failsInPanic=fails), random, lambda: None, self.zones)
        made.update(upstream)
        return made

    def chosen(self, balancer: LoadBalancer, times: int = 3000) -> dict[str, int]:
        """
        How often each zone is chosen.
        """
        found = [balancer.choose() for _ in range(times)]
        return Counter("" if each is None else each.locality.zone for each in found)

    def test_direct(self) -> None:
        """
        All of it stays, among all endpoints of the zone alike.
        """
        balancer = self.balancer("ab", group("aaabbb"))
        self.assertEqual(self.chosen(balancer), {"a": 3000})
        self.assertEqual(self.stat("zone_routing_all_directly"), 3000)
        found = Counter(id(balancer.choose()) for _ in range(3000))
        self.assertEqual(list(found.values()), [1000] * 3)

    def test_shares(self) -> None:
        """
        A share stays, the rest goes where there is something to spare.
        """
        balancer = self.balancer("aabbc", group("aabbbbcc"))
        chosen = self.chosen(balancer, 30000)
        self.assertLess(abs(chosen["a"] / 30000 - 0.625), 0.02)
        self.assertLess(abs(chosen["b"] / 30000 - 0.375 * 2 / 3), 0.02)
        self.assertLess(abs(chosen["c"] / 30000 - 0.375 / 3), 0.02)
        self.assertEqual(self.stat("zone_routing_sampled") + self.stat("zone_routing_cross_zone"), 30000)

    def test_nothingToSpare(self) -> None:
        """
        Where rounding leaves nothing to spare, any locality will do.
        """
        zones = self.make("ab")
        plan = ZonePlan((Locality(zone="a"), Locality(zone="b")), False, 0, (0, 0))
        self.assertEqual(zones.choose(plan), Locality(zone="b"))
        self.assertEqual(self.stat("zone_no_capacity_left"), 1)

    def test_switchedOff(self) -> None:
        """
        C{routing_enabled} says how many requests are routed by zones; the runtime has the last word.
        """
        balancer = self.balancer("ab", group("aaabbb"), enabled=0)
        self.assertEqual(self.chosen(balancer), {"a": 1500, "b": 1500})
        self.values["upstream.zone_routing.enabled"] = 100
        self.assertEqual(self.chosen(balancer), {"a": 3000})

    def test_localPanic(self) -> None:
        """
        Proxies that are ill themselves tell nothing: all endpoints are alike, or none is taken.
        """
        for fails, expected in ((False, {"a": 1500, "b": 1500}), (True, {"": 3000})):
            balancer = self.balancer("abcc", group("aaabbb"), ill=(1, 2, 3), failsInPanic=fails)
            self.assertEqual(self.chosen(balancer), expected)
            self.assertEqual(self.stat("local_cluster_not_ok"), 3000)

    def test_changes(self) -> None:
        """
        The proxies may change.
        """
        upstream = group("aabbbb")
        balancer = self.balancer("abb", upstream)
        self.assertEqual(self.chosen(balancer), {"a": 3000})
        self.zone.watchers[lambda: balancer.update(upstream)] = None
        self.zone.membersChanged(group("b", start=100))
        self.assertEqual(self.chosen(balancer), {"a": 1000, "b": 2000})
