"""
Tests for L{meshproxy.stats.quantiles}. The expected numbers are Envoy's for the same values.
"""

from __future__ import annotations

from math import isnan

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.stats.quantiles import (
    QUANTILES,
    binWidth,
    countsBelow,
    disjointCounts,
    quantiles,
    sampleCount,
    sampleSum,
)


class QuantileTests(SynchronousTestCase):
    """
    L{quantiles} spreads the values of a bin over it.
    """

    def test_none(self) -> None:
        """
        Without values there is no quantile.
        """
        self.assertTrue(all(map(isnan, quantiles({}))))

    def test_one(self) -> None:
        """
        One value reads as the middle of its bin.
        """
        self.assertEqual(quantiles({3: 1}), [3.05] * len(QUANTILES))
        self.assertEqual(quantiles({300: 1}), [305] * len(QUANTILES))

    def test_two(self) -> None:
        """
        Two values of one bin stand at its thirds.
        """
        low, high = 1.0333333333333334, 1.0666666666666667
        self.assertEqual(quantiles({1: 2}), [low] * 3 + [high] * 7)

    def test_several(self) -> None:
        """
        A quantile is the least value that so large a share does not exceed; 0 has no width.
        """
        self.assertEqual(quantiles({0: 1, 1: 1, 3: 1}), [0, 0, 1.05] + [3.05] * 7)


class BucketTests(SynchronousTestCase):
    """
    Buckets, counts and sums.
    """

    def test_boundariesBelongBelow(self) -> None:
        """
        A value that equals a boundary counts below it.
        """
        self.assertEqual(countsBelow({0: 1, 1: 1, 3: 1}, (0.5, 1, 5, 10)), [1, 2, 3, 3])

    def test_disjoint(self) -> None:
        """
        Disjoint buckets count each value once.
        """
        self.assertEqual(disjointCounts({0: 1, 1: 1, 3: 1, 50: 4}, (0.5, 1, 5, 10)), [1, 1, 1, 0])

    def test_binWidth(self) -> None:
        """
        A bin is as wide as the second digit, at powers of ten too.
        """
        self.assertEqual([binWidth(lower) for lower in (0, 0.1, 1, 10, 99, 100, 1000, 1000000)],
                         [0, 0.01, 0.1, 1, 1, 10, 100, 100000])  # fmt: skip

    def test_sum(self) -> None:
        """
        Small whole numbers add up exactly, others by the middles of their bins.
        """
        self.assertEqual(sampleSum({0: 5, 3: 2, 99: 1}), 105)
        self.assertEqual(sampleSum({100: 2}), 210)
        self.assertEqual(sampleCount({100: 2, 3: 1}), 3)
