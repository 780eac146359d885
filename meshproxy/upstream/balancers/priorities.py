# -*- test-case-name: tests.upstream.balancers.test_priorities -*-
"""
How requests spread over the priorities of a cluster: all go to the highest one while enough of its endpoints are
healthy, and spill over in the measure in which they are not. As in Envoy (C{load_balancer_impl.cc}), in whole percent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Health", "Loads", "choosePriority", "panicking", "reload", "spread"]


class Health(NamedTuple):
    """
    The state of one priority.

    @ivar total: How many endpoints there are, those that are excluded left out.
    @ivar healthy: How many of them are healthy; C{degraded} likewise. Weights count instead where they are to
        (C{weighted_priority_health}).
    @ivar everybody: How many there are at all.
    """

    total: int
    healthy: int
    degraded: int
    everybody: int

    def availability(self, factor: int) -> tuple[int, int]:
        """
        How many percent of its load healthy and degraded endpoints can take.

        @param factor: C{overprovisioning_factor}, in percent.
        """
        if not self.total:
            return 0, 0
        return min(100, factor * self.healthy // self.total), min(100, factor * self.degraded // self.total)


class Loads(NamedTuple):
    """
    Percent of all requests, by priority.

    @ivar healthy: For healthy endpoints.
    @ivar degraded: For degraded ones.
    @ivar panic: Where health is disregarded.
    """

    healthy: tuple[int, ...]
    degraded: tuple[int, ...]
    panic: tuple[bool, ...]


def _distribute(shares: list[int], left: int, available: Sequence[int], total: int) -> int:
    """
    Hand out load in order of priority.

    @return: What is left.
    """
    for priority, share in enumerate(available):
        shares[priority] = min(left, share * 100 // total)
        left -= shares[priority]
    return left


def panicking(health: Health, threshold: float) -> bool:
    """
    Whether too few endpoints are available.

    @param threshold: C{healthy_panic_threshold}, in percent.
    """
    if not health.total:
        return threshold > 0
    return 100.0 * health.healthy / health.total + 100.0 * health.degraded / health.total < threshold


def spread(states: Sequence[Health], factor: int = 140, threshold: float = 50.0) -> Loads:
    """
    Compute the load of each priority.
    """
    available = [state.availability(factor) for state in states]
    total = min(100, sum(healthy + degraded for healthy, degraded in available))
    healthy, degraded = [0] * len(states), [0] * len(states)
    if total:
        left = _distribute(healthy, 100, [each[0] for each in available], total)
        left = _distribute(degraded, left, [each[1] for each in available], total)
        if left:
            # What rounding leaves goes to the first that can take anything.
            for shares, side in ((healthy, 0), (degraded, 1)):
                first = next((priority for priority, each in enumerate(available) if each[side]), None)
                if first is not None:
                    shares[first] += left
                    break
    # As in Envoy, nobody panics while the priorities together can take everything.
    panic = tuple(total != 100 and panicking(state, threshold) for state in states)
    if panic and all(panic):
        healthy, degraded = _bySize([state.everybody for state in states]), [0] * len(states)
    return Loads(tuple(healthy), tuple(degraded), panic)


def _bySize(sizes: Sequence[int]) -> list[int]:
    """
    Where all priorities panic, each is loaded by the number of its endpoints.
    """
    total = sum(sizes)
    if not total:
        return [100, *[0] * (len(sizes) - 1)]
    shares = [100 * size // total for size in sizes]
    shares[next(priority for priority, size in enumerate(sizes) if size)] += 100 - sum(shares)
    return shares


def reload(
    available: Sequence[tuple[int, int]], excluded: frozenset[int]
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """
    The load of priorities when some are left out (C{previous_priorities}).

    @return: Of healthy and of degraded endpoints; L{None} where nothing is available.
    """
    left = [(0, 0) if priority in excluded else each for priority, each in enumerate(available)]
    total = min(100, sum(healthy + degraded for healthy, degraded in left))
    if not total:
        return None
    healthy, degraded = [0] * len(left), [0] * len(left)
    rest = 100
    while rest:
        for shares, side in ((healthy, 0), (degraded, 1)):
            for priority, each in enumerate(left):
                more = min(rest, each[side] * 100 // total)
                shares[priority] += more
                rest -= more
    return tuple(healthy), tuple(degraded)


def choosePriority(number: int, healthy: Sequence[int], degraded: Sequence[int]) -> tuple[int, bool] | None:
    """
    Draw a priority.

    @param number: 0 to 99, by chance or by hash.

    @return: The priority, and whether its degraded endpoints are meant; L{None} where nothing is loaded.
    """
    summed = 0
    for shares, isDegraded in ((healthy, False), (degraded, True)):
        for priority, share in enumerate(shares):
            summed += share
            if number < summed:
                return priority, isDegraded
    return None
