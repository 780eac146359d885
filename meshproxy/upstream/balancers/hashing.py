# -*- test-case-name: tests.upstream.balancers.test_hashing -*-
"""
C{RING_HASH} and C{MAGLEV}: requests that are alike go to the same endpoint, and few go elsewhere when endpoints come or
leave. The tables are those that Envoy builds, so that both send a request to the same endpoint.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from math import ceil
from typing import Final

from meshproxy.routing.murmur import murmur2
from meshproxy.routing.xxhash64 import xxhash64
from meshproxy.upstream.balancers.base import Weighted
from meshproxy.upstream.endpoint import Endpoint

__all__ = ["Maglev", "Ring", "hashName"]

_MASK: Final = (1 << 64) - 1
# The seed of std::hash in libstdc++, which Envoy's MURMUR_HASH_2 has.
_MURMUR_SEED: Final = 0xC70F6907


def hashName(endpoint: Endpoint, byHostname: bool = False) -> bytes:
    """
    What stands for an endpoint: C{hash_key} in its metadata C{envoy.lb}, or its host name, or its address.

    @param byHostname: C{use_hostname_for_hashing}.
    """
    key = ((endpoint.metadata or {}).get("envoy.lb") or {}).get("hash_key")
    if isinstance(key, str) and key:
        return key.encode("utf-8")
    return (endpoint.hostname if byHostname and endpoint.hostname else endpoint.address.text).encode("utf-8")


class Ring:
    """
    Many points on a ring for each endpoint; a request goes to the next one from its own hash on.

    @ivar size: How many points there are.
    @ivar least: Of how many the endpoint has that has the fewest; C{most} likewise.
    """

    def __init__(
        self,
        weighted: Weighted,
        name: Callable[[Endpoint], bytes] = hashName,
        least: int = 1024,
        most: int = 8 * 1024 * 1024,
        isMurmur: bool = False,
    ) -> None:
        """
        @param weighted: At least one endpoint.
        @param least: C{minimum_ring_size}; C{most}: C{maximum_ring_size}.
        """
        smallest = min(weight for _, weight in weighted)
        scale = min(ceil(smallest * least) / smallest, float(most))
        points: list[tuple[int, int, Endpoint]] = []
        target = 0.0
        counts = []
        for endpoint, weight in weighted:
            key = name(endpoint) + b"_"
            target += scale * weight
            number = 0
            while len(points) < target:
                point = key + b"%d" % number
                hashed = murmur2(point, _MURMUR_SEED) if isMurmur else xxhash64(point)
                points.append((hashed, len(points), endpoint))
                number += 1
            counts.append(number)
        points.sort()
        self._hashes = [point[0] for point in points]
        self._endpoints = [point[2] for point in points]
        self.size = len(points)
        self.least, self.most = min(counts), max(counts)

    def choose(self, key: int, attempt: int) -> Endpoint:
        """
        See L{meshproxy.upstream.balancers.base.IHashTable.choose}.
        """
        return self._endpoints[(bisect_left(self._hashes, key) + attempt) % self.size]


class Maglev:
    """
    Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", 3.4, with weights as in Envoy.

    @ivar least: How many places the endpoint has that has the fewest; C{most} likewise.
    """

    def __init__(self, weighted: Weighted, name: Callable[[Endpoint], bytes] = hashName, size: int = 65537) -> None:
        """
        @param weighted: At least one endpoint.
        @param size: C{table_size}, a prime.
        """
        self.size = size
        places: list[Endpoint | None] = [None] * size
        most = max(weight for _, weight in weighted)
        # By name, so that the order in which endpoints were found does not matter.
        entries = sorted([(name(endpoint), weight, endpoint) for endpoint, weight in weighted], key=lambda e: e[0])
        keys = [entry[0] for entry in entries]
        weights = [entry[1] for entry in entries]
        endpoints = [entry[2] for entry in entries]
        nexts = [xxhash64(key) % size for key in keys]
        skips = [xxhash64(key, 1) % (size - 1) + 1 for key in keys]
        targets = [0.0] * len(weights)
        counts = [0] * len(weights)
        filled = iteration = 0
        while filled < size:
            iteration += 1
            for index, endpoint in enumerate(endpoints):
                # One of the greatest weight has a turn in each round, one of half the weight in every other.
                if iteration * weights[index] < targets[index]:
                    continue
                targets[index] += most
                place, skip = nexts[index], skips[index]
                while places[place] is not None:
                    place = (place + skip) % size
                places[place] = endpoint
                nexts[index] = (place + skip) % size
                counts[index] += 1
                filled += 1
                if filled == size:
                    break
        self._places: list[Endpoint] = places  # type: ignore[assignment]  # all are filled
        self.least, self.most = min(counts), max(counts)

    def choose(self, key: int, attempt: int) -> Endpoint:
        """
        See L{meshproxy.upstream.balancers.base.IHashTable.choose}.
        """
        if attempt:
            key ^= _MASK - attempt + 1
        return self._places[key % self.size]
