"""
L{meshproxy.upstream.balancers.roundrobin}.
"""

from __future__ import annotations

from collections import Counter
from functools import partial

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.upstream.balancers.roundrobin import RoundRobin
from tests.upstream.support import endpoints


class RoundRobinTests(SynchronousTestCase):
    """
    One after the other.
    """

    def test_equal(self) -> None:
        """
        Equal ones take turns.
        """
        these = endpoints(1, 1, 1)
        balancer = RoundRobin(lambda: 0.0)
        balancer.update(these)
        self.assertEqual([balancer.choose() for _ in range(6)], these * 2)

    def test_beginning(self) -> None:
        """
        Where to begin is a matter of chance, with weights too.
        """
        these = endpoints(1, 1, 1, 1)
        balancer = RoundRobin(lambda: 0.5)
        balancer.update(these)
        self.assertIs(balancer.choose(), these[2])
        firsts = set()
        for chance in (0.0, 0.3, 0.6, 0.9):
            balancer = RoundRobin(partial(float, chance))
            balancer.update(endpoints(3, 2, 1))
            first = balancer.choose()
            assert first is not None
            firsts.add(first.address.text)
        self.assertGreater(len(firsts), 1)

    def test_weights(self) -> None:
        """
        Each as often as its weight says, and spread out: not all turns of the heavy one in a row.
        """
        these = endpoints(5, 3, 1)
        balancer = RoundRobin(lambda: 0.0)
        balancer.update(these)
        chosen = [balancer.choose() for _ in range(900)]
        counts = Counter(chosen)
        self.assertEqual([counts[endpoint] for endpoint in these], [500, 300, 100])
        longest = max(len(run) for run in "".join("x" if e is these[0] else " " for e in chosen).split())
        self.assertLessEqual(longest, 2)

    def test_none(self) -> None:
        """
        Without endpoints there is none; they may go and come.
        """
        balancer = RoundRobin(lambda: 0.99)
        self.assertIsNone(balancer.choose())
        balancer.update(endpoints(1, 1, 1))
        balancer.choose()
        balancer.update([])
        self.assertIsNone(balancer.choose())
        [only] = endpoints(7)
        balancer.update([only])
        self.assertEqual([balancer.choose() for _ in range(3)], [only] * 3)
