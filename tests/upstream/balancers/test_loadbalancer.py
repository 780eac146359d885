"""
L{meshproxy.upstream.balancers.loadbalancer}.
"""

from __future__ import annotations

from collections import Counter
from itertools import count, cycle
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.upstream.balancers.hashing import Ring
from meshproxy.upstream.balancers.loadbalancer import BalancerOptions, LoadBalancer, Policy
from meshproxy.upstream.balancers.roundrobin import RoundRobin
from tests.upstream.balancers.support import Choice, endpoint, numbers


class LoadBalancerTests(SynchronousTestCase):
    """
    From endpoints to one of them. Chance goes evenly through all hundredths.
    """

    def setUp(self) -> None:
        self.panics = 0
        ticks = count()
        self.random = lambda: next(ticks) * 7 % 100 / 100

    def make(self, *endpoints: Any, hashes: bool = False, **options: Any) -> LoadBalancer:
        """
        A load balancer of some endpoints.
        """

        def panicked() -> None:
            self.panics += 1

        policy = Policy(build=Ring) if hashes else Policy(lambda: RoundRobin(lambda: 0.0))
        balancer = LoadBalancer(policy, BalancerOptions(**options), self.random, panicked)
        balancer.update(endpoints)
        return balancer

    def chosen(self, balancer: LoadBalancer, times: int = 100) -> dict[int, int]:
        """
        How often each endpoint is chosen.
        """
        return Counter(numbers([balancer.choose() for _ in range(times)]))

    def test_empty(self) -> None:
        """
        Nobody to choose, also before anything is known.
        """
        for hashes in (False, True):
            self.assertIsNone(self.make(hashes=hashes).choose())
            self.assertIsNone(self.make(hashes=hashes).chooseFor(Choice()))

    def test_direct(self) -> None:
        """
        Where all requests go to one priority, the policy is asked without a detour.
        """
        choose: Any = self.make(endpoint(1), endpoint(2)).choose
        self.assertIsInstance(choose.__self__, cycle)
        choose = self.make(endpoint(1), endpoint(2, priority=1)).choose
        self.assertIsInstance(choose.__self__, cycle)

    def test_healthy(self) -> None:
        """
        The ill are passed by.
        """
        balancer = self.make(endpoint(1), endpoint(2, "UNHEALTHY"), endpoint(3))
        self.assertEqual(self.chosen(balancer), {1: 50, 3: 50})

    def test_spill(self) -> None:
        """
        To the next priority, and to degraded endpoints.
        """
        ill = "UNHEALTHY"
        self.assertEqual(self.chosen(self.make(endpoint(1), endpoint(2, ill), endpoint(3, priority=1))), {1: 70, 3: 30})
        balancer = self.make(endpoint(1), endpoint(2, "DEGRADED"), endpoint(3, "DEGRADED"))
        self.assertEqual(self.chosen(balancer), {1: 46, 2: 27, 3: 27})

    def test_panic(self) -> None:
        """
        With too few healthy ones all count, and each choice is counted; or traffic fails, as configured.
        """
        those = [endpoint(1), endpoint(2, "UNHEALTHY"), endpoint(3, "UNHEALTHY"), endpoint(4, "UNHEALTHY")]
        self.assertEqual(self.chosen(self.make(*those)), {1: 25, 2: 25, 3: 25, 4: 25})
        self.assertEqual(self.panics, 100)
        self.assertEqual(self.chosen(self.make(*those, failsInPanic=True), 5), {0: 5})
        self.assertEqual(self.chosen(self.make(*those, panicThreshold=20.0)), {1: 100})

    def test_draining(self) -> None:
        """
        An endpoint that drains is not counted among those that should be well.
        """
        balancer = self.make(endpoint(1), endpoint(2, "DRAINING"), endpoint(3, "DRAINING"))
        self.assertEqual(self.chosen(balancer), {1: 100})
        self.assertEqual(self.panics, 0)

    def test_localities(self) -> None:
        """
        Localities by weight, those without get nothing.
        """
        those = [endpoint(1, zone="a", weight=1), endpoint(2, zone="b", weight=3), endpoint(3, zone="c")]
        self.assertEqual(self.chosen(self.make(*those, weighsLocalities=True)), {1: 25, 2: 75})
        self.assertEqual(self.chosen(self.make(*those), 99), {1: 33, 2: 33, 3: 33})

    def test_localitiesWithoutWeights(self) -> None:
        """
        Where none has a weight, all endpoints are alike.
        """
        those = [endpoint(1, zone="a"), endpoint(2, zone="b")]
        self.assertEqual(self.chosen(self.make(*those, weighsLocalities=True)), {1: 50, 2: 50})

    def test_hash(self) -> None:
        """
        A hash leads to the same endpoint again; none leads anywhere.
        """
        balancer = self.make(*map(endpoint, range(1, 6)), hashes=True)
        for key in (1, 1 << 63, (1 << 64) - 1):
            self.assertEqual(len({balancer.chooseFor(Choice(key)) for _ in range(5)}), 1)
        self.assertEqual(len(self.chosen(balancer)), 5)

    def test_hashedLocalities(self) -> None:
        """
        On a ring, localities with weights share it by these.
        """
        those = [endpoint(1, zone="a", weight=1), endpoint(2, zone="b", weight=3), endpoint(3, zone="c")]
        balancer = self.make(*those, hashes=True, weighsLocalities=True)
        found = Counter(numbers([balancer.chooseFor(Choice(n * 0x9E3779B97F4A7C15 % 2**64)) for n in range(1000)]))
        self.assertEqual(found[3], 0)
        self.assertLess(abs(found[2] / 1000 - 0.75), 0.06)

    def test_accepts(self) -> None:
        """
        A request can turn endpoints down, but not for ever.
        """
        for hashes in (False, True):
            balancer = self.make(endpoint(1), endpoint(2), endpoint(3), hashes=hashes)
            self.assertEqual(numbers([balancer.chooseFor(Choice(5, avoids=[1, 2]))]), [3])
            self.assertIsNotNone(balancer.chooseFor(Choice(5, avoids=[1, 2, 3])))

    def test_withoutChoice(self) -> None:
        """
        Who has nothing to say is served as well.
        """
        self.assertEqual(numbers([self.make(endpoint(1)).chooseFor(None)]), [1])
