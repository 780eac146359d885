# -*- test-case-name: tests.upstream.test_preconnect -*-
"""
Connections that are made before anybody needs them (C{preconnect_policy}): at the endpoint that requests go to
(C{per_upstream_preconnect_ratio}), and at those that the next ones will go to (C{predictive_preconnect_ratio}).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from meshproxy.config import Section
    from meshproxy.upstream.cluster import Cluster
    from meshproxy.upstream.endpoint import Endpoint

__all__ = ["MOST_AT_ONCE", "ChoiceAhead", "Preconnects", "compilePreconnects", "isRandom"]

_RANDOM: Final = "envoy.extensions.load_balancing_policies.random.v3.Random"

#: How many connections one request brings about, as in Envoy.
MOST_AT_ONCE: Final = 3


class Preconnects(NamedTuple):
    """
    How many connections there are to be for each request that is under way or waits; 1 for no more than are needed.
    """

    perEndpoint: float = 1.0
    predicted: float = 1.0

    @property
    def isEager(self) -> bool:
        """
        Whether any are made before they are needed.
        """
        return self.perEndpoint > 1.0 or self.predicted > 1.0


def compilePreconnects(section: Section) -> Preconnects:
    """
    Compile C{preconnect_policy} of a C{Cluster}.
    """
    policy = section.childOrEmpty("preconnect_policy")
    return Preconnects(
        policy.wrapped("per_upstream_preconnect_ratio", 1.0), policy.wrapped("predictive_preconnect_ratio", 1.0)
    )


def isRandom(section: Section) -> bool:
    """
    Whether a C{Cluster} chooses its endpoints by chance alone.
    """
    policies = section.childOrEmpty("load_balancing_policy").children("policies")
    if not policies:
        return bool(section.get("lb_policy") == "RANDOM")
    config = policies[0].childOrEmpty("typed_extension_config").any("typed_config")
    return config is not None and config.typeName == _RANDOM


class ChoiceAhead:
    """
    Chooses the endpoints of requests to come before they come, and lets connections to them be made. As in Envoy, that
    is for balancers that choose by chance alone; of others nobody knows what they will choose.
    """

    def __init__(self, cluster: Cluster, choose: Callable[[], Endpoint | None], ratio: float) -> None:
        self._cluster = cluster
        self._choose = choose
        self._ratio = ratio
        self._ahead: deque[Endpoint] = deque()

    def choose(self) -> Endpoint | None:
        """
        Choose the endpoint of a request.
        """
        endpoint = self._ahead.popleft() if self._ahead else self._choose()
        if endpoint is not None:
            self._prepare()
        return endpoint

    def _prepare(self) -> None:
        healthy = sum(each.healthy for each in self._cluster.endpoints)
        for _ in range(MOST_AT_ONCE):
            active = capacity = waiting = 0
            for pool in self._cluster.pools():
                active += pool.active
                capacity += pool.capacity
                waiting += len(pool.pending)
            # The request that is being sent is not among them yet. As many as there are endpoints are enough.
            if (waiting + active + 1) * self._ratio <= capacity + active or len(self._ahead) >= healthy:
                return
            endpoint = self._choose()
            if endpoint is None:
                return
            self._ahead.append(endpoint)
            if not self._cluster.pool(endpoint).prepare(self._ratio):
                return
