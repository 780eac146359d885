# -*- test-case-name: tests.upstream.balancers.test_localities -*-
"""
C{locality_weighted_lb_config}: localities in turn, as often as their weights say, less where their endpoints are ill.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heapreplace
from typing import Generic, TypeVar

__all__ = ["WeightedTurns", "effectiveWeight"]

T = TypeVar("T")


def effectiveWeight(weight: int, total: int, available: int, factor: int) -> float:
    """
    What is left of a locality's weight.

    @param total: How many endpoints it has; C{available} how many may be chosen.
    @param factor: C{overprovisioning_factor}, in percent.
    """
    if not total or not available:
        return 0.0
    return weight * min(1.0, factor / 100.0 * available / total)


class WeightedTurns(Generic[T]):
    """
    Things in turn, earliest deadline first, as in Envoy: one of weight I{w} has its next turn 1/I{w} after its last.
    """

    __slots__ = ("_schedule",)

    def __init__(self, weighted: Sequence[tuple[T, float]]) -> None:
        """
        @param weighted: Things with their weights, above 0, at least one.
        """
        self._schedule = [(1.0 / weight, order, weight, each) for order, (each, weight) in enumerate(weighted)]
        heapify(self._schedule)

    def next(self) -> T:
        """
        Whose turn it is.
        """
        deadline, order, weight, each = self._schedule[0]
        heapreplace(self._schedule, (deadline + 1.0 / weight, order, weight, each))
        return each
