# -*- test-case-name: tests.upstream.balancers -*-
"""
What the tests of balancers share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from meshproxy.net.address import Address
from meshproxy.upstream.balancers.base import Origin
from meshproxy.upstream.balancers.priorities import Loads
from meshproxy.upstream.endpoint import Endpoint, Locality

__all__ = ["Choice", "endpoint", "numbers"]


def endpoint(
    number: int, status: str = "UNKNOWN", priority: int = 0, zone: str = "", weight: int = 0, **labels: object
) -> Endpoint:
    """
    An endpoint.

    @param weight: Of its locality.
    """
    return Endpoint(
        Address(f"192.0.2.{number}", 80),
        healthStatus=status,
        priority=priority,
        locality=Locality(zone=zone),
        localityWeight=weight,
        metadata={"envoy.lb": labels},
    )


def numbers(endpoints: Sequence[Endpoint | None]) -> list[int]:
    """
    Their numbers, 0 for none.
    """
    return [0 if each is None else int(each.address.host.rpartition(".")[2]) for each in endpoints]


class Choice:
    """
    A request that says what it is told to.
    """

    def __init__(
        self, key: int | None = None, labels: Mapping[str, object] | None = None, avoids: Sequence[int] = ()
    ) -> None:
        self.attempts = 9 if avoids else 0
        self._key = key
        self._labels = labels or {}
        self._avoids = avoids

    def hashKey(self) -> int | None:
        """
        What it was made with.
        """
        return self._key

    def labels(self) -> Mapping[str, object]:
        """
        Likewise.
        """
        return self._labels

    def origin(self) -> Origin:
        """
        Nowhere else.
        """
        return Origin(None, {}, None)

    def accepts(self, endpoint: Endpoint) -> bool:
        """
        Whether its number is not avoided.
        """
        return numbers([endpoint])[0] not in self._avoids

    def loads(self, loads: Loads, available: Sequence[tuple[int, int]]) -> Loads:
        """
        As they are.
        """
        return loads
