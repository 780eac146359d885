# -*- test-case-name: tests.net.test_deadlines -*-
"""
Thousands of equal time-outs as one queue instead of one timer each.

Time-outs of a proxy are many and of few lengths, and nearly all are cancelled. A queue holds the owners of one length
in the order of their deadlines, which is the order in which they came, and has one timer, for the first of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

__all__ = ["Deadlines", "DeadlinesByLength", "SpreadDeadlines"]

T = TypeVar("T")

# In how many steps a random time is taken.
_STEPS = 64

# How many lengths are kept before those are looked for that nobody waits for.
_MOST_LENGTHS = 256


class Deadlines(Generic[T]):
    """
    The owners that wait for the same length of time.

    @ivar seconds: That length.
    @ivar waiting: Each owner's deadline. The hot path writes to it directly, for an owner that does not wait yet::

        deadlines.waiting[owner] = now + deadlines.seconds
        if deadlines.call is None:
            deadlines.arm()
    @ivar call: The timer, while there is one.
    """

    __slots__ = ("_clock", "_expired", "call", "seconds", "waiting")

    _log = Logger()

    def __init__(self, clock: IReactorTime, seconds: float, expired: Callable[[T], object]) -> None:
        """
        @param seconds: How long an owner waits.
        @param expired: Called with each owner whose time is over. It may start owners again.
        """
        self.seconds = seconds
        self._clock = clock
        self._expired = expired
        # A dictionary keeps its order, finds its first key at once and forgets any key in constant time.
        self.waiting: dict[T, float] = {}
        self.call: IDelayedCall | None = None

    def start(self, owner: T, now: float | None = None) -> None:
        """
        Wait for an owner, from now on; one who waits already begins anew.

        @param now: The clock's seconds, where the caller has just asked.
        """
        waiting = self.waiting
        waiting.pop(owner, None)
        if now is None:
            now = self._clock.seconds()
        waiting[owner] = now + self.seconds
        if self.call is None:
            self.arm()

    def arm(self) -> None:
        """
        Set the timer, of which there is none, for an owner that began to wait now.
        """
        self.call = self._clock.callLater(self.seconds, self._expire)

    def cancel(self, owner: T) -> None:
        """
        Forget an owner; one who does not wait is ignored.
        """
        self.waiting.pop(owner, None)

    def stop(self) -> None:
        """
        Put the timer away; nobody waits. Whoever starts again sets another.
        """
        if self.call is not None:
            self.call.cancel()
            self.call = None

    def __len__(self) -> int:
        return len(self.waiting)

    def __contains__(self, owner: object) -> bool:
        return owner in self.waiting

    def _expire(self) -> None:
        self.call = None
        now = self._clock.seconds()
        waiting = self.waiting
        over = []
        for owner, deadline in waiting.items():
            if deadline > now:
                break
            over.append(owner)
        for owner in over:
            # What another's end already cancelled is no more there.
            if waiting.pop(owner, None) is not None:
                try:
                    self._expired(owner)
                except Exception:
                    # One owner's fault must not keep the rest waiting for ever.
                    self._log.failure("a time-out raised for {owner!r}", owner=owner)
        if waiting and self.call is None:
            first = next(iter(waiting.values()))
            # Not more often than some hundred times in a length, so that a steady stream of owners shares one call.
            delay = max(first - now, self.seconds / 256)
            self.call = self._clock.callLater(delay, self._expire)


class SpreadDeadlines(Generic[T]):
    """
    The owners that wait for a length of time and a random part of another one, so that those who began together do not
    end together. The second length is divided into so many steps, each with a queue that all of its owners share.

    @ivar seconds: The shortest time that an owner waits.
    """

    __slots__ = ("_expired", "_queues", "_random", "_waiting", "seconds")

    def __init__(
        self,
        clock: IReactorTime,
        seconds: float,
        spread: float,
        random: Callable[[], float],
        expired: Callable[[T], object],
    ) -> None:
        """
        @param spread: How much longer than C{seconds} an owner may wait.
        @param random: Gives numbers from 0 to below 1.
        @param expired: As of L{Deadlines}.
        """
        self.seconds = seconds
        self._random = random
        self._expired = expired
        self._queues: list[Deadlines[T]] = [
            Deadlines(clock, seconds + spread * step / (_STEPS - 1), self._over) for step in range(_STEPS)
        ]
        self._waiting: dict[T, Deadlines[T]] = {}

    def start(self, owner: T, now: float | None = None) -> None:
        """
        See L{Deadlines.start}: a new random time, each time.
        """
        self.cancel(owner)
        queue = self._waiting[owner] = self._queues[int(self._random() * _STEPS)]
        queue.start(owner, now)

    def cancel(self, owner: T) -> None:
        """
        See L{Deadlines.cancel}.
        """
        queue = self._waiting.pop(owner, None)
        if queue is not None:
            queue.cancel(owner)

    def _over(self, owner: T) -> None:
        del self._waiting[owner]
        self._expired(owner)

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, owner: object) -> bool:
        return owner in self._waiting


class DeadlinesByLength(dict[float, Deadlines[T]]):
    """
    Queues by their length, each made when it is asked for.

    Clients may name lengths of their own. So queues that nobody waits in are forgotten, with their timers, when there
    are many; who has got one may go on using it.
    """

    __slots__ = ("_clock", "_expired", "_most")

    def __init__(self, clock: IReactorTime, expired: Callable[[T], object]) -> None:
        """
        @param expired: As of L{Deadlines}.
        """
        self._clock = clock
        self._expired = expired
        self._most = _MOST_LENGTHS

    def __missing__(self, seconds: float) -> Deadlines[T]:
        if len(self) >= self._most:
            for length in [length for length, queue in self.items() if not queue.waiting]:
                self.pop(length).stop()
            # Not each time anew, where many wait indeed.
            self._most = max(_MOST_LENGTHS, 2 * len(self))
        queue = self[seconds] = Deadlines(self._clock, seconds, self._expired)
        return queue
