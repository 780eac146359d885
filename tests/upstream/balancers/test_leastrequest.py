"""
L{meshproxy.upstream.balancers.leastrequest}.
"""

from __future__ import annotations

from collections import Counter
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.upstream.balancers.leastrequest import LeastRequest
from tests.upstream.support import endpoints


class LeastRequestTests(SynchronousTestCase):
    """
    The least busy of a few.
    """

    def test_twoChoices(self) -> None:
        """
        Of two that are drawn, the one with fewer requests; of equals the first.
        """
        these = endpoints(1, 1, 1)
        these[0].active = 2
        these[1].active = 1
        draws = iter([0.0, 0.4, 0.4, 0.0, 0.9, 0.9])
        balancer = LeastRequest(lambda: next(draws))
        balancer.update(these)
        self.assertEqual([balancer.choose() for _ in range(3)], [these[1], these[1], these[2]])

    def test_choices(self) -> None:
        """
        C{choice_count} says how many are drawn.
        """
        these = endpoints(1, 1, 1, 1)
        for busy, endpoint in enumerate(reversed(these)):
            endpoint.active = busy
        draws = iter([0.0, 0.3, 0.6, 0.9])
        balancer = LeastRequest(lambda: next(draws), 4)
        balancer.update(these)
        self.assertIs(balancer.choose(), these[3])

    def test_all(self) -> None:
        """
        C{FULL_SCAN} looks at all, and draws among equals.
        """
        these = endpoints(1, 1, 1, 1)
        for endpoint, busy in zip(these, (2, 1, 1, 3), strict=True):
            endpoint.active = busy
        draws = iter([0.0, 0.4, 0.6, 0.9])
        balancer = LeastRequest(lambda: next(draws), looksAtAll=True)
        balancer.update(these)
        self.assertEqual([balancer.choose() for _ in range(4)], [these[1], these[1], these[2], these[2]])

    def test_evens(self) -> None:
        """
        In the long run the load is even, where a random choice is not.
        """
        these = endpoints(*[1] * 10)
        balancer = LeastRequest(Random(3).random)
        balancer.update(these)
        for _ in range(1000):
            endpoint = balancer.choose()
            assert endpoint is not None
            endpoint.active += 1
        self.assertLessEqual(max(e.active for e in these) - min(e.active for e in these), 6)

    def test_weights(self) -> None:
        """
        With weights, and nothing under way, each as often as its weight says.
        """
        these = endpoints(3, 1)
        balancer = LeastRequest(lambda: 0.0)
        balancer.update(these)
        counts = Counter(balancer.choose() for _ in range(400))
        self.assertLess(abs(counts[these[0]] - 300), 3)

    def test_weightAndLoad(self) -> None:
        """
        A busy endpoint weighs less, by the bias; a bias of 0 does not look at the load.
        """
        for bias, expected in ((1.0, 40), (0.0, 300)):
            these = endpoints(3, 1)
            these[0].active = 29
            balancer = LeastRequest(lambda: 0.0, 2, bias)
            balancer.update(these)
            counts = Counter(balancer.choose() for _ in range(400))
            self.assertLess(abs(counts[these[0]] - expected), 8)

    def test_few(self) -> None:
        """
        One is always chosen, without a draw; of none, none.
        """

        def fail() -> float:
            raise AssertionError("nothing is to be drawn")

        balancer = LeastRequest(fail)
        self.assertIsNone(balancer.choose())
        [only] = endpoints(4)
        balancer.update([only])
        self.assertIs(balancer.choose(), only)
