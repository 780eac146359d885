# -*- test-case-name: tests.controlplane.test_memory -*-
"""
Python's garbage collector, told when there is time for it.

A mesh is hundreds of thousands of objects that stay. To look at all of them takes a quarter of a second, and would
happen in the middle of a change that proxies wait for. So it happens when nothing changes, and what was looked at
is left alone from then on.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["Collector", "Quiet"]

_INTERVAL = 2.0
"""
Seconds without anything made after which there is time.
"""

_WHOLE = 100
"""
So many times what stays is left alone, then all is looked at once: what was left alone may be garbage by then.
"""


class Collector(Protocol):
    """
    What L{gc} does.
    """

    def collect(self) -> int:
        """
        Look for garbage.
        """

    def freeze(self) -> None:
        """
        Leave alone what there is now.
        """

    def unfreeze(self) -> None:
        """
        Leave nothing alone.
        """


class Quiet:
    """
    Looks now and then whether something was made, and not since the last look.
    """

    def __init__(self, made: Callable[[], int], reactor: Any, collector: Collector = gc) -> None:
        """
        @param made: How much was made so far.
        @param reactor: C{IReactorTime}.
        """
        self._made = made
        self._reactor = reactor
        self._collector = collector
        self._seen = self._collected = 0
        self._turns = 0
        self._call: Any = None

    def start(self) -> None:
        """
        Begin to look.
        """
        self._call = self._reactor.callLater(_INTERVAL, self._look)

    def stop(self) -> None:
        """
        Look no more.
        """
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None

    def _look(self) -> None:
        made = self._made()
        if made == self._seen and made != self._collected:
            self._collected = made
            self._turns += 1
            if self._turns % _WHOLE == 0:
                self._collector.unfreeze()
            self._collector.collect()
            self._collector.freeze()
        self._seen = made
        self.start()
