# -*- test-case-name: tests.net.test_idle -*-
"""
Time-outs of idleness, at no cost while there is activity.

Whoever is watched only keeps the time of its last activity, or says that it is busy. One queue looks at each of them
once in the length of the time-out, and sets a timer of its own only for one whose time runs out before the next look.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from meshproxy.net.deadlines import Deadlines

__all__ = ["IdleWatch"]

T = TypeVar("T")

# Clocks are not exact to the last bit: what is left below this is over.
_NOTHING = 1e-6


class IdleWatch(Generic[T]):
    """
    Watches objects for idleness.

    @ivar seconds: How long one may be idle.
    """

    __slots__ = ("_calls", "_clock", "_expired", "_idleSince", "_queue", "seconds")

    def __init__(
        self,
        clock: IReactorTime,
        seconds: float,
        idleSince: Callable[[T], float | None],
        expired: Callable[[T], object],
    ) -> None:
        """
        @param idleSince: Since when an object is idle, or L{None} while it is busy.
        @param expired: Called with one that was idle for too long, and is not watched any more.
        """
        self.seconds = seconds
        self._clock = clock
        self._idleSince = idleSince
        self._expired = expired
        self._calls: dict[T, IDelayedCall] = {}
        self._queue: Deadlines[T] = Deadlines(clock, seconds, self._look)

    def start(self, watched: T, now: float | None = None) -> None:
        """
        Watch an object, which is active now.
        """
        self._queue.start(watched, now)

    def stop(self, watched: T) -> None:
        """
        Watch it no more.
        """
        queue = self._queue
        queue.cancel(watched)
        if queue.call is not None and not queue.waiting:
            # These time-outs are long: an idle timer would keep a replaced configuration in memory for an hour.
            queue.call.cancel()
            queue.call = None
        call = self._calls.pop(watched, None)
        if call is not None:
            call.cancel()

    def lookAgain(self, watched: T) -> None:
        """
        Look at an object that was found idle, and goes on: others of its own may be idle for nearly as long.
        """
        self._look(watched)

    def __contains__(self, watched: object) -> bool:
        return watched in self._queue or watched in self._calls

    def _look(self, watched: T) -> None:
        self._calls.pop(watched, None)
        since = self._idleSince(watched)
        if since is None:
            # It becomes idle later than now, so its time ends after the next look.
            self._queue.start(watched)
            return
        left = since + self.seconds - self._clock.seconds()
        if left > _NOTHING:
            self._calls[watched] = self._clock.callLater(left, self._look, watched)
        else:
            self._expired(watched)
