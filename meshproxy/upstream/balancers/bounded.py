# -*- test-case-name: tests.upstream.balancers.test_bounded -*-
"""
C{hash_balance_factor}: consistent hashing with bounded loads. Mirrokni et al., "Consistent Hashing with Bounded Loads"
(arXiv:1608.01350), with the random jumps of Chen et al. (arXiv:1908.08762), as in Envoy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from math import ceil
from random import Random
from typing import Final

from meshproxy.upstream.balancers.base import IHashTable, Weighted
from meshproxy.upstream.endpoint import Endpoint

__all__ = ["BoundedLoad", "jumps"]

#: How many endpoints are looked at for one that is not overloaded. Envoy looks at all of them; half of them have room
#: where the factor is 200, so that nobody comes as far as here.
MOST_PROBES: Final = 256

_WORD: Final = (1 << 32) - 1


class BoundedLoad:
    """
    The table of another policy. An endpoint that has more than its share of the requests under way is passed over for
    one that has not: always the same ones in the same order for a hash.
    """

    def __init__(self, table: IHashTable, weighted: Weighted, factor: int, active: Callable[[], int]) -> None:
        """
        @param table: What chooses at first.
        @param weighted: The endpoints with their shares.
        @param factor: C{hash_balance_factor}, in percent of the average load.
        @param active: How many requests the cluster has under way.
        """
        self._table = table
        self._weighted = tuple(weighted)
        self._weights = dict(weighted)
        self._factor = factor
        self._active = active

    def choose(self, key: int, attempt: int) -> Endpoint:
        """
        See L{meshproxy.upstream.balancers.base.IHashTable.choose}.
        """
        first = self._table.choose(key, attempt)
        active = self._active()
        if not active:
            return first
        slots = ((active + 1) * self._factor + 99) // 100
        best, least = first, self._overload(first, self._weights[first], slots)
        if least <= 1.0:
            return first
        for number in jumps(key, len(self._weighted)):
            endpoint, weight = self._weighted[number]
            if endpoint is first:
                continue
            overload = self._overload(endpoint, weight, slots)
            if overload <= 1.0:
                return endpoint
            if overload < least:
                best, least = endpoint, overload
        return best

    def _overload(self, endpoint: Endpoint, weight: float, slots: int) -> float:
        return endpoint.active / max(ceil(slots * weight), 1)


def jumps(key: int, count: int) -> Iterator[int]:
    """
    The numbers below C{count} in an order that the key decides, each once, but not more than L{MOST_PROBES}: Fisher and
    Yates's shuffle by a Mersenne twister with the key as its seed, one step at a time.
    """
    random = Random()
    random.setstate(_seeded(key & _WORD))
    swapped: dict[int, int] = {}
    for place in range(min(count, MOST_PROBES)):
        other = place + _below(random, count - place)
        yield swapped.get(other, other)
        swapped[other] = swapped.get(place, place)


def _below(random: Random, limit: int) -> int:
    size = (1 << 32) // limit
    while True:
        number = random.getrandbits(32) // size
        if number < limit:
            return number


@lru_cache(maxsize=1024)
def _seeded(seed: int) -> tuple[int, tuple[int, ...], None]:
    """
    The state of C{std::mt19937} with a seed, in the form that L{Random.setstate} takes.
    """
    word = seed
    words = [word]
    for index in range(1, 624):
        word = (1812433253 * (word ^ (word >> 30)) + index) & _WORD
        words.append(word)
    return (3, (*words, 624), None)
