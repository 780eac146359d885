"""
L{meshproxy.upstream.balancers.random}.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.upstream.balancers.random import RandomChoice
from tests.upstream.support import endpoints


class RandomTests(SynchronousTestCase):
    """
    Any of them.
    """

    def test_uniform(self) -> None:
        """
        Each is as likely as another, whatever its weight.
        """
        these = endpoints(1, 1, 100)
        balancer = RandomChoice(Random(7).random)
        balancer.update(these)
        counts = Counter(balancer.choose() for _ in range(3000))
        for endpoint in these:
            self.assertLess(abs(counts[endpoint] - 1000), 100)

    def test_edges(self) -> None:
        """
        The least and the greatest chance are the first and the last.
        """
        these = endpoints(1, 1, 1)
        for chance, expected in ((0.0, these[0]), (0.9999999, these[2])):
            balancer = RandomChoice(partial(float, chance))
            balancer.update(these)
            self.assertIs(balancer.choose(), expected)

    def test_none(self) -> None:
        """
        Without endpoints there is none.
        """
        self.assertIsNone(RandomChoice(lambda: 0.5).choose())
