# -*- test-case-name: tests.stats.test_quantiles -*-
"""
What a histogram's bins say: quantiles, buckets, sum. Read by the admin pages only, never on the hot path.

Envoy keeps its values in a log-linear histogram of two significant digits and spreads the values of one bin
evenly over it, so that one value of 3 reads 3.05. These functions print the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, floor, log10, nan

__all__ = [
    "DEFAULT_BOUNDARIES",
    "QUANTILES",
    "binWidth",
    "countsBelow",
    "disjointCounts",
    "quantiles",
    "sampleCount",
    "sampleSum",
]

#: Envoy's default buckets, in milliseconds; C{stats_config.histogram_bucket_settings} changes them.
DEFAULT_BOUNDARIES: tuple[float, ...] = (
    0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000,
    300000, 600000, 1800000, 3600000,
)  # fmt: skip

#: The quantiles that C{/stats} shows.
QUANTILES: tuple[float, ...] = (0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1)

Bins = Mapping[float, int]


def binWidth(lower: float) -> float:
    """
    How wide the bin that begins at a value is; that of 0 holds nothing but 0.
    """
    # The addition keeps log10(1000), which may come out as 2.9999999999999996, in its decade.
    return 10.0 ** (floor(log10(lower) + 1e-12) - 1) if lower > 0 else 0.0


def quantiles(bins: Bins) -> list[float]:
    """
    The value at each of L{QUANTILES}; NaN where there are no values.
    """
    total = sum(bins.values())
    if not total:
        return [nan] * len(QUANTILES)
    ordered = sorted(bins.items())
    found: list[float] = []
    below = position = 0
    lower, count = ordered[0]
    for quantile in QUANTILES:
        # The smallest value that at least this share of all does not exceed.
        rank = max(ceil(quantile * total), 1)
        while rank > below + count:
            below += count
            position += 1
            lower, count = ordered[position]
        found.append(lower + binWidth(lower) * (rank - below) / (count + 1))
    return found


def countsBelow(bins: Bins, boundaries: Sequence[float]) -> list[int]:
    """
    For each boundary, how many values do not exceed it.
    """
    counts: list[int] = []
    below = 0
    ordered = iter(sorted(bins.items()))
    entry = next(ordered, None)
    for boundary in boundaries:
        while entry is not None and entry[0] <= boundary:
            below += entry[1]
            entry = next(ordered, None)
        counts.append(below)
    return counts


def disjointCounts(bins: Bins, boundaries: Sequence[float]) -> list[int]:
    """
    For each boundary, how many values do not exceed it, but exceed the one before.
    """
    below = countsBelow(bins, boundaries)
    return [count - before for count, before in zip(below, [0, *below], strict=False)]


def sampleCount(bins: Bins) -> int:
    """
    How many values there are.
    """
    return sum(bins.values())


def sampleSum(bins: Bins) -> float:
    """
    The sum of all values: exact for whole numbers below 100, else as if each were in the middle of its bin.
    """
    return sum((lower + binWidth(lower) / 2 if lower >= 100 else lower) * count for lower, count in bins.items())
