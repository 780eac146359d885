# -*- test-case-name: tests.net.test_watchdog -*-
"""
Whether the reactor keeps its times: code that holds it up too long is found by how late a timer comes.
"""

from __future__ import annotations

from typing import Any

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from meshproxy.stats import Scope

__all__ = ["Watchdog"]

# As often as Envoy's miss_timeout is long: seldom enough to cost nothing.
_INTERVAL = 0.2

# Envoy's defaults of miss_timeout and megamiss_timeout, in seconds.
_MISS = 0.2
_MEGA_MISS = 1.0


class Watchdog(Service):
    """
    Counts how often the reactor was held up: C{watchdog_miss} for more than 200 ms, C{watchdog_mega_miss} for more than
    a second, which the log tells.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, *scopes: Scope) -> None:
        """
        @param scopes: Where it is counted: Envoy has C{main_thread.} and C{server.main_thread.}.
        """
        self._clock: Any = clock
        self._misses = [scope.counter("watchdog_miss") for scope in scopes]
        self._megaMisses = [scope.counter("watchdog_mega_miss") for scope in scopes]
        self._call: IDelayedCall | None = None
        self._due = 0.0

    def startService(self) -> None:
        """
        Begin to look.
        """
        Service.startService(self)
        self._wait()

    def stopService(self) -> None:
        """
        Look no more.
        """
        Service.stopService(self)
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _wait(self) -> None:
        self._due = self._clock.seconds() + _INTERVAL
        self._call = self._clock.callLater(_INTERVAL, self._look)

    def _look(self) -> None:
        late = self._clock.seconds() - self._due
        if late > _MISS:
            for counter in self._misses:
                counter.value += 1
        if late > _MEGA_MISS:
            for counter in self._megaMisses:
                counter.value += 1
            self.log.warn("something held the reactor up for {late:.1f} s", late=late)
        self._wait()
