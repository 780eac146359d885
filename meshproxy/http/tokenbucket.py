# -*- test-case-name: tests.http.test_tokenbucket -*-
"""
A token bucket that fills without a timer.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

from meshproxy.config.expressions import Expression
from meshproxy.config.section import Section

__all__ = ["TokenBucket", "compileTokenBucket"]

# A hair's breadth, so that a token is there when its time is over, whatever the floating point says.
_HAIR = 1e-9


class TokenBucket:
    """
    A bucket that begins full and fills continuously, as Envoy's does: one token in ten minutes and six in an hour are
    the same, but for what fits in.

    @ivar size: How many tokens fit in.
    @ivar perSecond: How many come in a second.
    """

    __slots__ = ("__weakref__", "_emptyAt", "_span", "_tokenTime", "perSecond", "size")

    def __init__(self, size: int, perSecond: float) -> None:
        self.size = size
        self.perSecond = perSecond
        self._tokenTime = 1 / perSecond
        self._span = size / perSecond
        # When it was, or would have been, empty: all there is to know.
        self._emptyAt = float("-inf")

    def take(self, now: float, tokens: int = 1) -> bool:
        """
        Take a token, if there is one; or several, all of them or none.

        @param now: The clock's seconds.
        """
        earliest = now - self._span
        emptyAt = (earliest if self._emptyAt < earliest else self._emptyAt) + self._tokenTime * tokens
        if emptyAt > now + _HAIR:
            return False
        self._emptyAt = emptyAt
        return True

    def taking(self, seconds: Callable[[], float]) -> tuple[Expression, Expression]:
        """
        L{take} of one token, for a function that is written of many steps: whether there is one, and the statement that
        takes it.

        @param seconds: The clock's seconds.
        """
        isThere = Expression.of(
            "(emptyAt := (earliest if (last := {bucket}._emptyAt) < (earliest := (now := {seconds}()) - {span})"
            " else last) + {tokenTime}) <= now + {hair}",
            bucket=self,
            seconds=seconds,
            span=self._span,
            tokenTime=self._tokenTime,
            hair=_HAIR,
        )
        return isThere, Expression.statement("{bucket}._emptyAt = emptyAt", bucket=self)

    def tokens(self, now: float) -> float:
        """
        How many tokens there are.
        """
        return min((now - self._emptyAt) * self.perSecond + _HAIR, self.size)

    def secondsToNext(self, now: float) -> int:
        """
        In how many seconds there is a whole token; 0 if there is one.
        """
        missing = 1 - self.tokens(now)
        return ceil(missing * self._tokenTime - 1e-6) if missing > 0 else 0


def compileTokenBucket(section: Section) -> tuple[int, float]:
    """
    Compile C{envoy.type.v3.TokenBucket}.

    @return: The two arguments of L{TokenBucket}, so that as many can be made as are needed.
    """
    interval = section.seconds("fill_interval", 0.0)
    if interval < 0.05:
        section.refuse("local rate limit token bucket fill timer must be >= 50ms", "fill_interval")
        interval = 1.0
    return section.get("max_tokens"), section.wrapped("tokens_per_fill", 1) / interval
