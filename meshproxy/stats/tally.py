# -*- test-case-name: tests.stats.test_tally -*-
"""
Counting once what is shown under several names.

A response moves half a dozen counters: completed, of its class, of its status, each of the cluster's and of its
clients from outside. On the hot path it moves one number of a L{Tally}, by its status; whoever looks at the metrics has
it spread first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from meshproxy.stats.metrics import Counter

__all__ = ["Tally"]

K = TypeVar("K")


class Tally(Generic[K]):
    """
    How often each key came since somebody looked.

    @ivar counts: Key to number. The hot path adds to a key that is there itself, and calls L{add} for others::

        try:
            tally.counts[status] += 1
        except KeyError:
            tally.add(status)
    """

    __slots__ = ("_countersOf", "_known", "counts")

    def __init__(self, countersOf: Callable[[K], tuple[Counter, ...]]) -> None:
        """
        @param countersOf: The counters that a key stands for; asked once for each key.
        """
        self.counts: dict[K, int] = {}
        self._countersOf = countersOf
        self._known: dict[K, tuple[Counter, ...]] = {}

    def add(self, key: K) -> None:
        """
        Count a key once more.
        """
        self.counts[key] = self.counts.get(key, 0) + 1

    def spread(self) -> None:
        """
        Move the counters by what was counted.
        """
        counts = self.counts
        for key, number in counts.items():
            if number:
                counters = self._known.get(key)
                if counters is None:
                    counters = self._known[key] = self._countersOf(key)
                for counter in counters:
                    counter.value += number
                counts[key] = 0
