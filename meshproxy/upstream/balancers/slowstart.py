# -*- test-case-name: tests.upstream.balancers.test_slowstart -*-
"""
C{slow_start_config}: an endpoint that was not there before, or was ill, gets few requests at first, and more with time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from meshproxy.config import Section
from meshproxy.upstream.endpoint import Endpoint

__all__ = ["SlowStart", "compileSlowStart"]

# As in Envoy, the first share is that of a millisecond.
_LEAST_TIME = 0.001


class SlowStart:
    """
    How much of its weight an endpoint has: more and more within a time that begins when it becomes healthy.
    """

    __slots__ = ("_exponent", "_least", "_window", "now")

    def __init__(self, window: float, now: Callable[[], float], aggression: float = 1.0, least: float = 0.1) -> None:
        """
        @param window: C{slow_start_window}, in seconds.
        @param now: The clock's seconds.
        @param aggression: C{aggression}: 1 for a straight line; the greater it is, the more comes at once.
        @param least: C{min_weight_percent}, of 1.
        """
        self._window = window
        self._exponent = 1.0 / aggression if aggression > 0 else 1.0
        self._least = least
        self.now = now

    def begin(self, endpoints: Iterable[Endpoint]) -> float:
        """
        Note since when endpoints are healthy.

        @return: When the last of them has all of its weight.
        """
        now = self.now()
        last = float("-inf")
        for endpoint in endpoints:
            if not endpoint.healthy:
                endpoint.healthySince = None
            elif not endpoint.isDegraded:
                if endpoint.healthySince is None:
                    endpoint.healthySince = now
                last = max(last, endpoint.healthySince)
        return last + self._window

    def factor(self, endpoint: Endpoint, now: float) -> float:
        """
        The part of its weight that an endpoint has now.
        """
        since = endpoint.healthySince
        if since is None or now >= since + self._window:
            return 1.0
        part = max(now - since, _LEAST_TIME) / self._window
        factor: float = part**self._exponent
        return max(factor, self._least)


def compileSlowStart(section: Section | None, now: Callable[[], float]) -> SlowStart | None:
    """
    Compile a C{SlowStartConfig}.
    """
    if section is None:
        return None
    aggression = section.child("aggression")
    least = section.child("min_weight_percent")
    window = section.seconds("slow_start_window", 0.0)
    if not window:
        return None
    return SlowStart(
        window,
        now,
        1.0 if aggression is None else aggression.get("default_value"),
        0.1 if least is None else least.get("value") / 100,
    )
