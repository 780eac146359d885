"""
L{meshproxy.upstream.balancers.slowstart}, and the policies that heed it.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section
from meshproxy.upstream.balancers.base import IBalancer
from meshproxy.upstream.balancers.leastrequest import LeastRequest
from meshproxy.upstream.balancers.loadbalancer import BalancerOptions, LoadBalancer, Policy
from meshproxy.upstream.balancers.roundrobin import RoundRobin
from meshproxy.upstream.balancers.slowstart import SlowStart, compileSlowStart
from meshproxy.upstream.endpoint import Endpoint
from tests.upstream.balancers.support import endpoint, numbers


class SlowStartTests(SynchronousTestCase):
    """
    L{SlowStart}.
    """

    def setUp(self) -> None:
        self.now = 100.0

    def factors(self, slow: SlowStart, *times: float) -> list[float]:
        """
        The factor at some times after an endpoint became healthy.
        """
        new = endpoint(1)
        slow.begin([new])
        return [round(slow.factor(new, self.now + time), 3) for time in times]

    def test_line(self) -> None:
        """
        A straight line, but not below the least, and nothing after the window.
        """
        slow = SlowStart(10.0, lambda: self.now)
        self.assertEqual(self.factors(slow, 0, 0.5, 2, 5, 9.99, 10, 50), [0.1, 0.1, 0.2, 0.5, 0.999, 1.0, 1.0])

    def test_aggression(self) -> None:
        """
        A greater one gives more at once, a smaller one less; one that is not positive is none.
        """
        for aggression, half in ((2.0, 0.707), (0.5, 0.25), (0.0, 0.5)):
            slow = SlowStart(10.0, lambda: self.now, aggression)
            self.assertEqual(self.factors(slow, 5.0), [half])

    def test_least(self) -> None:
        """
        With no least share it begins with that of a millisecond.
        """
        self.assertEqual(self.factors(SlowStart(10.0, lambda: self.now, 1.0, 0.0), 0.0, 1.0), [0.0, 0.1])
        new = endpoint(1)
        slow = SlowStart(10.0, lambda: self.now, 1.0, 0.0)
        slow.begin([new])
        self.assertGreater(slow.factor(new, self.now), 0.0)

    def test_since(self) -> None:
        """
        The time begins when an endpoint is healthy, and again when it was ill; one that was there before keeps it. A
        degraded one has none.
        """
        slow = SlowStart(10.0, lambda: self.now)
        old, ill, degraded = endpoint(1), endpoint(2, "UNHEALTHY"), endpoint(3, "DEGRADED")
        self.assertEqual(slow.begin([old, ill, degraded]), 110.0)
        self.now = 105.0
        ill.healthy, ill.healthStatus = True, "HEALTHY"
        self.assertEqual(slow.begin([old, ill, degraded]), 115.0)
        self.assertEqual([slow.factor(each, 107.5) for each in (old, ill, degraded)], [0.75, 0.25, 1.0])
        old.healthy = False
        slow.begin([old, ill])
        self.now = 120.0
        old.healthy = True
        slow.begin([old, ill])
        self.assertEqual([slow.factor(each, 125.0) for each in (old, ill)], [0.5, 1.0])

    def test_compiled(self) -> None:
        """
        From a configuration; none without a window.
        """

        def compiled(**fields: Any) -> SlowStart | None:
            section = Section.of("envoy.config.cluster.v3.Cluster.SlowStartConfig", fields)
            return compileSlowStart(section, lambda: self.now)

        self.assertIsNone(compileSlowStart(None, lambda: self.now))
        self.assertIsNone(compiled())
        plain = compiled(slow_start_window="10s")
        assert plain is not None
        self.assertEqual(self.factors(plain, 0, 5), [0.1, 0.5])
        aggression = {"default_value": 2.0, "runtime_key": "a"}
        whole = compiled(slow_start_window="10s", aggression=aggression, min_weight_percent={"value": 30})
        assert whole is not None
        self.assertEqual(self.factors(whole, 0, 5), [0.3, 0.707])


class PolicyTests(SynchronousTestCase):
    """
    Round robin and least request.
    """

    def setUp(self) -> None:
        self.now = 0.0
        self.slow = SlowStart(10.0, lambda: self.now)
        self.old = [endpoint(number) for number in (1, 2)]
        self.new = endpoint(3)

    def shares(self, balancer: IBalancer, count: int = 840) -> dict[int, int]:
        """
        How many of some requests each endpoint gets.
        """
        return dict(Counter(numbers([balancer.choose() for _ in range(count)])))

    def assertSlow(self, balancer: IBalancer) -> None:
        """
        One that comes to two others gets a tenth of their share, half of it, and all of it.
        """
        balancer.update(self.old)
        self.now = 20.0
        balancer.update([*self.old, self.new])
        self.assertEqual(self.shares(balancer), {1: 400, 2: 400, 3: 40})
        self.now = 25.0
        balancer.update([*self.old, self.new])
        self.assertEqual(self.shares(balancer), {1: 336, 2: 336, 3: 168})
        self.now = 30.0
        self.assertEqual(self.shares(balancer), {1: 280, 2: 280, 3: 280})

    def test_roundRobin(self) -> None:
        """
        By turns.
        """
        self.assertSlow(RoundRobin(lambda: 0.0, self.slow))

    def test_leastRequest(self) -> None:
        """
        Of idle ones, likewise.
        """
        numbers = iter([n / 840 for n in range(840)] * 9)
        balancer = LeastRequest(lambda: next(numbers), 1, 1.0, self.slow)
        self.assertSlow(balancer)

    def test_active(self) -> None:
        """
        Requests under way count as well.
        """
        balancer = LeastRequest(lambda: 0.0, 2, 1.0, self.slow)
        self.now = 5.0
        balancer.update([*self.old, self.new])
        self.old[0].active = 3
        shares = self.shares(balancer, 900)
        self.assertTrue(95 <= shares[1] <= 105, shares)

    def test_growsByItself(self) -> None:
        """
        Without any update the share grows, and when the time is over turns are as ever, be it that somebody kept the
        method that he was given.
        """
        balancer = RoundRobin(lambda: 0.0, self.slow)
        balancer.update(self.old)
        self.now = 20.0
        balancer.update([*self.old, self.new])
        kept = balancer.choose
        few = Counter(numbers([kept() for _ in range(210)]))[3]
        self.now = 28.0
        more = Counter(numbers([kept() for _ in range(280)]))[3]
        self.now = 30.0
        self.assertEqual(Counter(numbers([kept() for _ in range(300)])), {1: 100, 2: 100, 3: 100})
        self.assertTrue(8 <= few <= 12, few)
        self.assertTrue(70 <= more <= 85, more)

    def test_levels(self) -> None:
        """
        A balancer of priorities tells since when endpoints are healthy, those that it does not choose yet included.
        """
        policy = Policy(lambda: RoundRobin(lambda: 0.0, self.slow), slowStart=self.slow)
        balancer = LoadBalancer(policy, BalancerOptions(), lambda: 0.0, lambda: None)
        other = endpoint(4, priority=1)
        balancer.update([*self.old, other])
        self.assertEqual([each.healthySince for each in (*self.old, other)], [0.0, 0.0, 0.0])
        self.now = 3.0
        self.old[0].healthy = False
        balancer.update([*self.old, other])
        self.assertEqual([each.healthySince for each in (*self.old, other)], [None, 0.0, 0.0])

    def test_ill(self) -> None:
        """
        An endpoint that is chosen in spite of its health has its whole weight.
        """
        ill: Endpoint = endpoint(5, "UNHEALTHY")
        balancer = RoundRobin(lambda: 0.0, self.slow)
        balancer.update([self.new, ill])
        self.assertEqual(self.shares(balancer, 110), {3: 10, 5: 100})
