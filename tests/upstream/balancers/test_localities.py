"""
L{meshproxy.upstream.balancers.localities}.
"""

from __future__ import annotations

from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.upstream.balancers.localities import WeightedTurns, effectiveWeight


class WeightTests(SynchronousTestCase):
    """
    What is left of a weight.
    """

    def test_health(self) -> None:
        """
        A locality keeps its weight while enough of it is healthy, and loses it in the measure in which it is not.
        """
        for total, available, expected in ((10, 10, 2.0), (10, 8, 2.0), (10, 5, 1.4), (10, 0, 0.0), (0, 0, 0.0)):
            self.assertAlmostEqual(effectiveWeight(2, total, available, 140), expected)


class TurnsTests(SynchronousTestCase):
    """
    Turns.
    """

    def test_shares(self) -> None:
        """
        In proportion to the weights, evenly spread.
        """
        turns = WeightedTurns([("a", 1.0), ("b", 3.0)])
        drawn = [turns.next() for _ in range(40)]
        self.assertEqual(Counter(drawn), {"a": 10, "b": 30})
        self.assertNotIn("aa", "".join(drawn))
