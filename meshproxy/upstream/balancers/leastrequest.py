# -*- test-case-name: tests.upstream.balancers.test_leastrequest -*-
"""
C{LEAST_REQUEST}: the endpoint with the fewest requests under way, of a few that are drawn, or of all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heapify, heapreplace

from meshproxy.upstream.balancers.slowstart import SlowStart
from meshproxy.upstream.endpoint import Endpoint

__all__ = ["LeastRequest"]


class LeastRequest:
    """
    Where the weights are equal, C{choice_count} endpoints are drawn and the least busy one is taken ("power of two
    choices"). Where they differ, turns as of L{RoundRobin} with weight / (active + 1) ** bias, as in Envoy.
    """

    def __init__(
        self,
        random: Callable[[], float],
        choices: int = 2,
        bias: float = 1.0,
        slowStart: SlowStart | None = None,
        looksAtAll: bool = False,
    ) -> None:
        """
        @param random: From 0 up to 1.
        @param choices: C{choice_count}, 2 or more.
        @param bias: C{active_request_bias}, 0 or more.
        @param looksAtAll: Whether none are drawn, but all looked at (C{FULL_SCAN}).
        @param slowStart: What endpoints that are new have of their weight.
        """
        self._slowStart = slowStart
        self._slowUntil = 0.0
        self._random = random
        self._choices = choices
        self._bias = bias
        self._looksAtAll = looksAtAll
        self._endpoints: tuple[Endpoint, ...] = ()
        self._schedule: list[tuple[float, int, Endpoint]] = []

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """
        See L{meshproxy.upstream.balancers.base.IBalancer.update}.
        """
        self._endpoints = tuple(endpoints)
        self._schedule = []
        slow = self._slowStart
        if slow is not None:
            self._slowUntil = slow.begin(endpoints)
        if slow is not None and self._slowUntil > (now := slow.now()):
            self._schedule = [
                (1.0 / (e.weight * slow.factor(e, now)), order, e) for order, e in enumerate(self._endpoints)
            ]
            heapify(self._schedule)
        elif len({endpoint.weight for endpoint in endpoints}) > 1:
            self._schedule = [(1.0 / e.weight, order, e) for order, e in enumerate(self._endpoints)]
            heapify(self._schedule)

    def choose(self) -> Endpoint | None:
        """
        See L{meshproxy.upstream.balancers.base.IBalancer.choose}.
        """
        endpoints = self._endpoints
        count = len(endpoints)
        if count == 1:
            return endpoints[0]
        if not count:
            return None
        if self._schedule:
            return self._chooseByWeight()
        random = self._random
        if self._looksAtAll:
            fewest = min(endpoint.active for endpoint in endpoints)
            equals = [endpoint for endpoint in endpoints if endpoint.active == fewest]
            return equals[int(random() * len(equals))]
        best = endpoints[int(random() * count)]
        for _ in range(self._choices - 1):
            other = endpoints[int(random() * count)]
            if other.active < best.active:
                best = other
        return best

    def _chooseByWeight(self) -> Endpoint | None:
        deadline, order, endpoint = self._schedule[0]
        weight = endpoint.weight / float(endpoint.active + 1) ** self._bias
        slow = self._slowStart
        if slow is not None and self._slowUntil:
            now = slow.now()
            if now >= self._slowUntil:
                # All have their whole weight.
                self._slowUntil = 0.0
                self.update(self._endpoints)
                return self.choose()
            weight *= slow.factor(endpoint, now)
        heapreplace(self._schedule, (deadline + 1.0 / weight, order, endpoint))
        return endpoint
