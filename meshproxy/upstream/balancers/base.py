# -*- test-case-name: tests.upstream.balancers.test_loadbalancer -*-
"""
What balancers have in common. A L{balancer<IBalancer>} chooses among an immutable tuple of endpoints that may be
chosen now; which those are is the business of L{meshproxy.upstream.balancers.loadbalancer}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from meshproxy.headers import HeaderMap
from meshproxy.net.address import Address
from meshproxy.upstream.balancers.priorities import Loads
from meshproxy.upstream.endpoint import Endpoint

__all__ = ["Choose", "IBalancer", "IChoice", "IHashTable", "Origin", "Weighted"]

#: Gives the next endpoint, or L{None} where there is none.
Choose: TypeAlias = Callable[[], Endpoint | None]
#: Endpoints with their shares, which add up to 1.
Weighted: TypeAlias = Sequence[tuple[Endpoint, float]]


class Origin(NamedTuple):
    """
    Where somebody was meant to go, as far as that is told.

    @ivar headers: The head of the request; L{None} where there is none.
    @ivar metadata: What filters noted.
    @ivar asked: The server name that a connection without requests asked for, and a port where a filter said one;
        L{None} for neither.
    @ivar address: Where the connection was made to before it came here; L{None} where it was made to this proxy.
    """

    headers: HeaderMap | None
    metadata: Mapping[str, Any]
    address: Address | None
    asked: tuple[str, int | None] | None = None


class IBalancer(Protocol):
    """
    A load balancing policy that looks at no request.
    """

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """
        Choose among these from now on.
        """

    def choose(self) -> Endpoint | None:
        """
        The endpoint for the next request, or L{None} where there is none.
        """


class IHashTable(Protocol):
    """
    What a consistently hashing policy builds of some endpoints.
    """

    def choose(self, key: int, attempt: int) -> Endpoint:
        """
        The endpoint of a hash.

        @param attempt: 0, or how many endpoints of this hash were turned down.
        """


class IChoice(Protocol):
    """
    What a request has to say about its endpoint.

    @ivar attempts: How often to choose until an endpoint is accepted; the last one is taken in any case.
    """

    attempts: int

    def hashKey(self) -> int | None:
        """
        What requests are alike; L{None} for any endpoint.
        """

    def labels(self) -> Mapping[str, object]:
        """
        The labels of C{envoy.lb} that an endpoint must have, where the cluster has subsets.
        """

    def origin(self) -> Origin:
        """
        Where it was meant to go.
        """

    def accepts(self, endpoint: Endpoint) -> bool:
        """
        Whether the endpoint will do.
        """

    def loads(self, loads: Loads, available: Sequence[tuple[int, int]]) -> Loads:
        """
        How the request wants priorities to be loaded.

        @param loads: How they are loaded for all requests.
        @param available: How many percent healthy and degraded endpoints of each priority could take.
        """
