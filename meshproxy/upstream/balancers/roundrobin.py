# -*- test-case-name: tests.upstream.balancers.test_roundrobin -*-
"""
C{ROUND_ROBIN}: each endpoint in turn, as often as its weight says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heapify, heapreplace

from meshproxy.upstream.endpoint import Endpoint

__all__ = ["RoundRobin"]


class RoundRobin:
    """
    Turns of equal length where the weights are equal, else earliest deadline first, as in Envoy: an endpoint of weight
    I{w} has its next turn 1/I{w} after its last.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        """
        @param random: From 0 up to 1; where in the turn to begin, so that many proxies do not begin alike.
        """
        self._random = random
        self._endpoints: tuple[Endpoint, ...] = ()
        self._next = 0
        self._schedule: list[tuple[float, int, Endpoint]] = []

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """
        See L{meshproxy.upstream.balancers.base.IBalancer.update}.
        """
        self._endpoints = tuple(endpoints)
        self._schedule = []
        if endpoints:
            self._next = int(self._random() * len(endpoints))
        if len({endpoint.weight for endpoint in endpoints}) > 1:
            self._schedule = [(1.0 / e.weight, order, e) for order, e in enumerate(self._endpoints)]
            heapify(self._schedule)
            for _ in range(self._next):
                self._choose()

    def choose(self) -> Endpoint | None:
        """
        See L{meshproxy.upstream.balancers.base.IBalancer.choose}.
        """
        if self._schedule:
            return self._choose()
        endpoints = self._endpoints
        if not endpoints:
            return None
        number = self._next
        if number >= len(endpoints):
            number = 0
        self._next = number + 1
        return endpoints[number]

    def _choose(self) -> Endpoint:
        deadline, order, endpoint = self._schedule[0]
        heapreplace(self._schedule, (deadline + 1.0 / endpoint.weight, order, endpoint))
        return endpoint
