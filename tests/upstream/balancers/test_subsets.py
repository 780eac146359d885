"""
L{meshproxy.upstream.balancers.subsets}.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.stats import Store
from meshproxy.upstream.balancers.loadbalancer import BalancerOptions, LoadBalancer, Policy
from meshproxy.upstream.balancers.roundrobin import RoundRobin
from meshproxy.upstream.balancers.subsets import Selector, SubsetOptions, Subsets
from meshproxy.upstream.endpoint import Locality
from tests.upstream.balancers.support import Choice, endpoint, numbers
from tests.upstream.support import value

VERSION = (Selector(("version",)),)


class SubsetsTests(SynchronousTestCase):
    """
    Endpoints by label.
    """

    def make(self, *endpoints: Any, **options: Any) -> Subsets:
        """
        Subsets of some endpoints.
        """

        def make() -> LoadBalancer:
            return LoadBalancer(Policy(lambda: RoundRobin(lambda: 0.0)), BalancerOptions(), lambda: 0.0, lambda: None)

        self.store = Store()
        subsets = Subsets(SubsetOptions(**options), make, self.store.scope("cluster.c."))
        subsets.update(endpoints)
        return subsets

    def stats(self, *names: str) -> list[int | None]:
        """
        Some figures.
        """
        return [value(self.store, f"cluster.c.lb_subsets_{name}") for name in names]

    def chosen(self, subsets: Subsets, **labels: object) -> int:
        """
        The endpoint for some labels.
        """
        return numbers([subsets.chooseFor(Choice(labels=labels))])[0]

    def test_labels(self) -> None:
        """
        Endpoints that have the labels that are asked for, all of them and of the same type.
        """
        those = [endpoint(1, version="1"), endpoint(2, version="2", stage="x"), endpoint(3, n=True), endpoint(4, n=1.0)]
        selectors = (*VERSION, Selector(("stage", "version")), Selector(("n",)))
        subsets = self.make(*those, selectors=selectors)
        self.assertEqual(self.chosen(subsets, version="2"), 2)
        self.assertEqual(self.chosen(subsets, version="2", stage="x"), 2)
        self.assertEqual(self.chosen(subsets, version="1", stage="x"), 0)
        self.assertEqual((self.chosen(subsets, n=True), self.chosen(subsets, n=1)), (3, 4))
        self.assertEqual(self.chosen(subsets, stage="x"), 0)
        self.assertEqual(self.stats("selected", "active", "fallback"), [4, 5, 0])

    def test_fallbacks(self) -> None:
        """
        Where none has them: nobody, anybody, or the default.
        """
        those = [endpoint(1, version="1"), endpoint(2, version="2", stage="x")]
        for policy, expected in (("NO_FALLBACK", 0), ("ANY_ENDPOINT", 1), ("DEFAULT_SUBSET", 2)):
            for labels in ({"version": "3"}, {"other": 1}, {}):
                subsets = self.make(*those, selectors=VERSION, fallback=policy, default={"stage": "x"})
                self.assertEqual(self.chosen(subsets, **labels), expected, (policy, labels))
                self.assertEqual(self.stats("fallback"), [int(bool(expected))])
        self.assertEqual(numbers([subsets.choose(), subsets.chooseFor(None)]), [2, 2])

    def test_selectorFallbacks(self) -> None:
        """
        A selector says where else to look, with fewer labels for example.
        """
        those = [endpoint(1, version="1", stage="x"), endpoint(2, version="2", stage="y")]
        for selector, expected in (
            (Selector(("stage", "version"), "NO_FALLBACK"), 0),
            (Selector(("stage", "version"), "ANY_ENDPOINT"), 1),
            (Selector(("stage", "version"), "DEFAULT_SUBSET"), 1),
            (Selector(("stage", "version"), "KEYS_SUBSET", frozenset({"version"})), 2),
        ):
            subsets = self.make(*those, selectors=(*VERSION, selector), fallback="ANY_ENDPOINT", default={"stage": "x"})
            self.assertEqual(self.chosen(subsets, version="2", stage="x"), expected, selector)

    def test_lists(self) -> None:
        """
        A list stands for its members where that is asked for, and for itself else.
        """
        those = [endpoint(1, version=["a", "b"])]
        for listAsAny in (False, True):
            subsets = self.make(*those, selectors=VERSION, listAsAny=listAsAny)
            self.assertEqual(self.chosen(subsets, version="b"), int(listAsAny))
            self.assertEqual(self.chosen(subsets, version=["a", "b"]), int(not listAsAny))

    def test_panic(self) -> None:
        """
        Any endpoint is better than none, unless no fallback is wanted.
        """
        for policy, expected in (("DEFAULT_SUBSET", 1), ("NO_FALLBACK", 0)):
            subsets = self.make(
                endpoint(1), selectors=VERSION, fallback=policy, default={"stage": "x"}, panicModeAny=True
            )
            self.assertEqual(self.chosen(subsets, version="1"), expected)
            self.assertEqual(self.stats("fallback_panic"), [expected])

    def test_fallbacksCount(self) -> None:
        """
        As in Envoy, what is fallen back to counts as a subset.
        """
        both = Selector(("stage",), "DEFAULT_SUBSET")
        for options, expected in (
            ({"fallback": "NO_FALLBACK"}, 1),
            ({"fallback": "ANY_ENDPOINT"}, 2),
            ({"fallback": "ANY_ENDPOINT", "panicModeAny": True}, 2),
            ({"fallback": "ANY_ENDPOINT", "selectors": (*VERSION, both)}, 3),
        ):
            self.make(endpoint(1, version="1"), **{"selectors": VERSION, **options})
            self.assertEqual(self.stats("active", "created"), [expected, expected], options)

    def test_single(self) -> None:
        """
        Of a subset with C{single_host_per_subset} one endpoint is chosen, the first of the first priority, ill or not;
        what is left over is counted.
        """
        those = [
            endpoint(1, priority=1, version="1"),
            endpoint(2, "UNHEALTHY", version="1"),
            endpoint(3, version="1"),
            endpoint(4, version="2"),
        ]
        subsets = self.make(*those, selectors=(Selector(("version",), isSingle=True),))
        self.assertEqual([self.chosen(subsets, version=each) for each in ("1", "1", "2", "3")], [2, 2, 4, 0])
        self.assertEqual(self.stats("single_host_per_subset_duplicate", "active", "selected"), [1, 2, 3])
        subsets.update(those[2:])
        self.assertEqual(self.chosen(subsets, version="1"), 3)
        self.assertEqual(self.stats("single_host_per_subset_duplicate"), [0])

    def test_fallbackList(self) -> None:
        """
        What stands in a list is tried in turn, over the other labels; it is a label like any other where nobody asks
        for that.
        """
        those = [endpoint(1, version="1"), endpoint(2, version="2")]
        for falls, asked, expected in (
            (True, [{"version": "3"}, {"version": "2"}], 2),
            (True, [{"version": "3"}, {"version": "4"}], 0),
            (True, ["text", {"version": "2"}], 1),
            (True, [], 1),
            (True, "text", 1),
            (False, [{"version": "2"}], 0),
        ):
            subsets = self.make(*those, selectors=VERSION, fallsBackByList=falls)
            self.assertEqual(self.chosen(subsets, version="1", fallback_list=asked), expected, asked)

    def test_redundant(self) -> None:
        """
        Labels that no selector asks for are left out where that is allowed, for the first selector that has all of its.
        """
        those = [endpoint(1, version="1", stage="x"), endpoint(2, version="2")]
        selectors = (Selector(("stage", "version")), *VERSION)
        for allowed, expected in ((False, [0, 0]), (True, [1, 2])):
            subsets = self.make(*those, selectors=selectors, allowsRedundant=allowed)
            asked = ({"version": "1", "stage": "x"}, {"version": "2"})
            self.assertEqual([self.chosen(subsets, other="y", **labels) for labels in asked], expected)

    def test_scaled(self) -> None:
        """
        A locality weighs as much less as it has fewer endpoints in a subset.
        """
        those = [
            endpoint(1, zone="a", weight=6, version="1"),
            *[endpoint(n, zone="a", weight=6, version="2") for n in (2, 3)],
            endpoint(4, zone="b", weight=4, version="1"),
        ]
        known: dict[tuple[int, Locality], int] = {}
        for whole, asked, expected in ((None, 10, 6), (known, 9, 3)):
            options = BalancerOptions(weighsLocalities=True)
            policy = Policy(lambda: RoundRobin(lambda: 0.0))
            subsets = Subsets(
                SubsetOptions(VERSION),
                partial(LoadBalancer, policy, options, lambda: 0.0, lambda: None, whole=whole),
                Store().scope("c."),
                whole,
            )
            subsets.update(those)
            chosen = [self.chosen(subsets, version="1") for _ in range(asked)]
            self.assertEqual(chosen.count(1), expected)

    def test_updated(self) -> None:
        """
        Subsets come and go with their endpoints, and are counted; structures are values as well.
        """
        subsets = self.make(endpoint(1, version={"a": [1]}), selectors=VERSION)
        self.assertEqual(self.chosen(subsets, version={"a": [1]}), 1)
        subsets.update([endpoint(2, version="2"), endpoint(3, version="3")])
        self.assertEqual((self.chosen(subsets, version={"a": [1]}), self.chosen(subsets, version="3")), (0, 3))
        self.assertEqual(self.stats("active", "created", "removed"), [2, 3, 1])
