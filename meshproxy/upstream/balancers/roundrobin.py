# -*- test-case-name: tests.upstream.balancers.test_roundrobin -*-
"""
C{ROUND_ROBIN}: each endpoint in turn, as often as its weight says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heapify, heapreplace
from itertools import cycle

from meshproxy.upstream.balancers.slowstart import SlowStart
from meshproxy.upstream.endpoint import Endpoint

__all__ = ["RoundRobin"]


class RoundRobin:
    """
    Turns of equal length where the weights are equal, else earliest deadline first, as in Envoy: an endpoint of weight
    I{w} has its next turn 1/I{w} after its last.

    @ivar choose: See L{meshproxy.upstream.balancers.base.IBalancer.choose}. Where the weights are equal it is an
        iterator's step, for that is all there is to do.
    """

    choose: Callable[[], Endpoint | None]

    def __init__(self, random: Callable[[], float], slowStart: SlowStart | None = None) -> None:
        """
        @param random: From 0 up to 1; where in the turn to begin, so that many proxies do not begin alike.
        @param slowStart: What endpoints that are new have of their weight.
        """
        self._random = random
        self._slowStart = slowStart
        self._slowUntil = 0.0
        self._endpoints: Sequence[Endpoint] = ()
        self._schedule: list[tuple[float, int, Endpoint]] = []
        self.choose = _nobody

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """
        See L{meshproxy.upstream.balancers.base.IBalancer.update}.
        """
        self._schedule = []
        if not endpoints:
            self.choose = _nobody
            return
        turns = int(self._random() * len(endpoints))
        slow = self._slowStart
        if slow is not None:
            self._endpoints = endpoints
            self._slowUntil = slow.begin(endpoints)
        if slow is not None and self._slowUntil > (now := slow.now()):
            self._schedule = [(1.0 / (e.weight * slow.factor(e, now)), order, e) for order, e in enumerate(endpoints)]
            heapify(self._schedule)
            self.choose = self._chooseSlowly
            turns = 0
        elif len({endpoint.weight for endpoint in endpoints}) > 1:
            self._schedule = [(1.0 / e.weight, order, e) for order, e in enumerate(endpoints)]
            heapify(self._schedule)
            self.choose = self._chooseByWeight
        else:
            self.choose = cycle(endpoints).__next__
        for _ in range(turns):
            self.choose()

    def _chooseByWeight(self) -> Endpoint:
        deadline, order, endpoint = self._schedule[0]
        heapreplace(self._schedule, (deadline + 1.0 / endpoint.weight, order, endpoint))
        return endpoint

    def _chooseSlowly(self) -> Endpoint | None:
        slow = self._slowStart
        assert slow is not None
        now = slow.now()
        if now >= self._slowUntil:
            if self.choose == self._chooseSlowly:
                self.update(self._endpoints)
            # Whoever keeps this method comes here until the endpoints change.
            return self.choose()
        deadline, order, endpoint = self._schedule[0]
        weight = endpoint.weight * slow.factor(endpoint, now)
        heapreplace(self._schedule, (deadline + 1.0 / weight, order, endpoint))
        return endpoint


def _nobody() -> None:
    return None
