# -*- test-case-name: tests.upstream.balancers.test_base -*-
"""
What balancers have in common: they choose among an immutable tuple of endpoints that may be chosen now.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from meshproxy.upstream.endpoint import Endpoint

__all__ = ["IBalancer", "choosable"]


class IBalancer(Protocol):
    """
    A load balancing policy.
    """

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """
        Choose among these from now on.
        """

    def choose(self) -> Endpoint | None:
        """
        The endpoint for the next request, or L{None} where there is none.
        """


def choosable(endpoints: Sequence[Endpoint], panicThreshold: float = 0.5) -> tuple[tuple[Endpoint, ...], bool]:
    """
    The endpoints that may be chosen.

    @param panicThreshold: C{healthy_panic_threshold} as a share, 0 to 1: when fewer than this are healthy, all are
        chosen from; 0 never does that.

    @return: They, and whether the cluster is in panic and its health is disregarded.
    """
    healthy = tuple(endpoint for endpoint in endpoints if endpoint.healthy)
    if len(healthy) == len(endpoints):
        return healthy, False
    if len(healthy) < panicThreshold * len(endpoints):
        return tuple(endpoints), True
    return healthy, False
