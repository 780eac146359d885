"""
L{meshproxy.upstream.balancers.policies}.
"""

from __future__ import annotations

from itertools import cycle
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section
from meshproxy.stats import Store
from meshproxy.upstream.balancers.leastrequest import LeastRequest
from meshproxy.upstream.balancers.loadbalancer import IEndpointChooser
from meshproxy.upstream.balancers.policies import compileChooser
from meshproxy.upstream.balancers.random import RandomChoice
from meshproxy.upstream.balancers.roundrobin import RoundRobin
from meshproxy.upstream.balancers.subsets import Subsets
from tests.upstream.balancers.support import Choice, endpoint, numbers
from tests.upstream.support import clusterSection, value

LB = "type.googleapis.com/envoy.extensions.load_balancing_policies."


def extension(kind: str, **fields: Any) -> dict[str, Any]:
    """
    A C{LoadBalancingPolicy}.
    """
    config = {"@type": LB + kind, **fields}
    return {"policies": [{"typed_extension_config": {"name": "p", "typed_config": config}}]}


class PolicyTests(SynchronousTestCase):
    """
    What is compiled.
    """

    def setUp(self) -> None:
        self.store = Store()
        self.now = 0.0
        self.active = 0

    def section(self, **fields: Any) -> Section:
        """
        A cluster.
        """
        return clusterSection("192.0.2.1", **fields)

    def make(self, **fields: Any) -> IEndpointChooser:
        """
        What chooses for a cluster of three endpoints.
        """
        section = self.section(**fields)
        scope = self.store.scope("cluster.c.")
        panics = scope.counter("lb_healthy_panic")
        chooser = compileChooser(section, lambda: 0.0, scope, panics, lambda: self.now, lambda: self.active)
        section.report.raiseIfAny()
        chooser.update([endpoint(number, version=str(number)) for number in (1, 2, 3)])
        return chooser

    def errors(self, **fields: Any) -> list[str]:
        """
        Where a cluster is refused.
        """
        section = self.section(**fields)
        scope = self.store.scope("cluster.c.")
        panics = scope.counter("lb_healthy_panic")
        compileChooser(section, lambda: 0.0, scope, panics, lambda: self.now, lambda: self.active)
        return [error.path for error in section.report.errors]

    def test_plain(self) -> None:
        """
        By C{lb_policy} and by extension.
        """
        for fields, kind in (
            ({}, RoundRobin),
            ({"lb_policy": "LEAST_REQUEST"}, LeastRequest),
            ({"lb_policy": "RANDOM"}, RandomChoice),
            ({"load_balancing_policy": extension("round_robin.v3.RoundRobin")}, RoundRobin),
            ({"load_balancing_policy": extension("least_request.v3.LeastRequest")}, LeastRequest),
            ({"load_balancing_policy": extension("random.v3.Random")}, RandomChoice),
        ):
            choose: Any = self.make(**fields).choose
            self.assertIsInstance(choose.__self__, cycle if kind is RoundRobin else kind)

    def test_hashing(self) -> None:
        """
        Likewise those that hash; their tables are shown.
        """
        ring = {"minimum_ring_size": 12}
        for fields in (
            {"lb_policy": "RING_HASH", "ring_hash_lb_config": ring},
            {"load_balancing_policy": extension("ring_hash.v3.RingHash", **ring)},
        ):
            self.assertIsNotNone(self.make(**fields).chooseFor(Choice(7)))
            names = ("size", "min_hashes_per_host", "max_hashes_per_host")
            self.assertEqual([value(self.store, f"cluster.c.ring_hash_lb.{name}") for name in names], [12, 4, 4])
        for fields in (
            {"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 7}},
            {"load_balancing_policy": extension("maglev.v3.Maglev", table_size=7)},
        ):
            self.assertIsNotNone(self.make(**fields).chooseFor(Choice(7)))
            places = [value(self.store, f"cluster.c.maglev_lb.{which}_entries_per_host") for which in ("min", "max")]
            self.assertEqual(places, [2, 3])

    def test_subsets(self) -> None:
        """
        Subsets, whose default may be text that looks like anything; without selectors there are none.
        """
        selectors = [{"keys": ["version"]}]
        inner = extension("round_robin.v3.RoundRobin")
        either: list[dict[str, Any]] = [
            {"lb_subset_config": {"subset_selectors": selectors}},
            {
                "load_balancing_policy": extension(
                    "subset.v3.Subset", subset_selectors=selectors, subset_lb_policy=inner
                )
            },
        ]
        for fields in either:
            chooser = self.make(**fields)
            self.assertIsInstance(chooser, Subsets)
            self.assertEqual(numbers([chooser.chooseFor(Choice(labels={"version": "2"}))]), [2])
        self.assertNotIsInstance(self.make(lb_subset_config={"panic_mode_any": True}), Subsets)

    def test_subsetFields(self) -> None:
        """
        Lists of labels to fall back to, labels that nobody asks for, and subsets of one endpoint.
        """
        selectors = [{"keys": ["version"], "single_host_per_subset": True}]
        fields: dict[str, Any] = {
            "subset_selectors": selectors,
            "metadata_fallback_policy": "FALLBACK_LIST",
            "locality_weight_aware": True,
            "scale_locality_weight": True,
        }
        inner = extension("round_robin.v3.RoundRobin")
        newer = {**fields, "subset_lb_policy": inner, "allow_redundant_keys": True}
        for cluster, redundant in (
            ({"lb_subset_config": fields}, 0),
            ({"load_balancing_policy": extension("subset.v3.Subset", **newer)}, 2),
        ):
            chooser = self.make(**cluster)
            asked = {"fallback_list": [{"version": "9"}, {"version": "2"}]}
            self.assertEqual(numbers([chooser.chooseFor(Choice(labels=asked))]), [2])
            more = {"version": "2", "zone": "a"}
            self.assertEqual(numbers([chooser.chooseFor(Choice(labels=more))]), [redundant])

    def test_localities(self) -> None:
        """
        C{wrr_locality} weighs localities, as the common configuration does.
        """
        inner = extension("round_robin.v3.RoundRobin")
        either: list[dict[str, Any]] = [
            {"common_lb_config": {"locality_weighted_lb_config": {}}},
            {"load_balancing_policy": extension("wrr_locality.v3.WrrLocality", endpoint_picking_policy=inner)},
        ]
        for fields in either:
            chooser = self.make(**fields)
            chooser.update([endpoint(1, zone="a", weight=1), endpoint(2, zone="b", weight=2)])
            self.assertEqual(sorted(numbers([chooser.choose() for _ in range(6)])), [1, 1, 2, 2, 2, 2])

    def test_firstKnown(self) -> None:
        """
        Of several extensions the first one counts that there is here.
        """
        listed = [
            *extension("pick_first.v3.PickFirst")["policies"],
            *extension("random.v3.Random")["policies"],
            *extension("round_robin.v3.RoundRobin")["policies"],
        ]
        chooser: Any = self.make(load_balancing_policy={"policies": listed})
        self.assertIsInstance(chooser._policy.make(), RandomChoice)
        unknown = {"load_balancing_policy": {"policies": listed[:1]}}
        self.assertEqual(self.errors(**unknown), ["load_balancing_policy.policies"])

    def test_slowStart(self) -> None:
        """
        An endpoint that is new has little of its weight.
        """
        slow = {"slow_start_config": {"slow_start_window": "10s"}}
        for fields in (
            {"round_robin_lb_config": slow},
            {"lb_policy": "LEAST_REQUEST", "least_request_lb_config": slow},
            {"load_balancing_policy": extension("round_robin.v3.RoundRobin", **slow)},
            {"load_balancing_policy": extension("least_request.v3.LeastRequest", **slow)},
        ):
            self.now = 0.0
            chooser = self.make(**fields)
            old = [endpoint(number) for number in (1, 2)]
            chooser.update(old)
            self.now = 20.0
            chooser.update([*old, endpoint(3)])
            seen = numbers([chooser.choose() for _ in range(42)])
            self.assertEqual(seen.count(3), 2, fields)

    def test_boundedLoad(self) -> None:
        """
        An endpoint that has too much under way is passed over.
        """
        hashing = {"hash_balance_factor": 100}
        for fields in (
            {"lb_policy": "RING_HASH", "common_lb_config": {"consistent_hashing_lb_config": hashing}},
            {"lb_policy": "MAGLEV", "common_lb_config": {"consistent_hashing_lb_config": hashing}},
            {"load_balancing_policy": extension("ring_hash.v3.RingHash", consistent_hashing_lb_config=hashing)},
            {"load_balancing_policy": extension("maglev.v3.Maglev", consistent_hashing_lb_config=hashing)},
        ):
            self.active = 0
            chooser = self.make(**fields)
            first = chooser.chooseFor(Choice(key=1))
            assert first is not None
            self.assertIs(chooser.chooseFor(Choice(key=1)), first)
            first.active = self.active = 6
            self.assertIsNot(chooser.chooseFor(Choice(key=1)), first)

    def test_refused(self) -> None:
        """
        What makes no sense is refused, as Envoy does.
        """
        fewer = {"keys": ["a", "b"], "fallback_policy": "KEYS_SUBSET"}
        cases: list[tuple[dict[str, Any], str]] = [
            ({"lb_policy": "LOAD_BALANCING_POLICY_CONFIG"}, "lb_policy"),
            ({"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 8}}, "maglev_lb_config.table_size"),
            (
                {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": 9, "maximum_ring_size": 8}},
                "ring_hash_lb_config.minimum_ring_size",
            ),
            (
                {
                    "lb_policy": "RING_HASH",
                    "common_lb_config": {"consistent_hashing_lb_config": {"use_hostname_for_hashing": True}},
                },
                "common_lb_config.consistent_hashing_lb_config.use_hostname_for_hashing",
            ),
            *[
                (
                    {"lb_subset_config": {"subset_selectors": [{**fewer, "fallback_keys_subset": keys}]}},
                    "lb_subset_config.subset_selectors[0].fallback_keys_subset",
                )
                for keys in ([], ["c"], ["a", "b"])
            ],
            ({"load_balancing_policy": {"policies": []}}, "load_balancing_policy.policies"),
        ]
        for fields, path in cases:
            self.assertEqual(self.errors(**fields), [path], fields)
