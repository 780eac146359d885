# -*- test-case-name: tests.upstream.balancers.test_random -*-
"""
C{RANDOM}: any endpoint, each as likely as another; as in Envoy, weights do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from meshproxy.upstream.endpoint import Endpoint

__all__ = ["RandomChoice"]


class RandomChoice:
    """
    Draws an endpoint.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        """
        @param random: From 0 up to 1.
        """
        self._random = random
        self._endpoints: tuple[Endpoint, ...] = ()

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """
        See L{meshproxy.upstream.balancers.base.IBalancer.update}.
        """
        self._endpoints = tuple(endpoints)

    def choose(self) -> Endpoint | None:
        """
        See L{meshproxy.upstream.balancers.base.IBalancer.choose}.
        """
        endpoints = self._endpoints
        return endpoints[int(self._random() * len(endpoints))] if endpoints else None
