# -*- test-case-name: tests.http.test_resets -*-
"""
Peers that begin streams in order to end them.
"""

from __future__ import annotations

__all__ = ["PrematureResets", "ResetRate"]

# Envoy's overload.premature_reset_total_stream_count and overload.premature_reset_min_stream_lifetime_seconds.
_TOTAL_STREAMS = 500
_LIFETIME = 1.0


class PrematureResets:
    """
    Counts the streams of one connection that were reset within a second. As in Envoy, a connection is too much when
    they are more than half of at least 500 streams, or would be whatever follows.
    """

    __slots__ = ("_count",)

    def __init__(self) -> None:
        self._count = 0

    def isTooMuch(self, served: int, began: float, ended: float) -> bool:
        """
        A stream was reset.

        @param served: How many streams there ever were.

        @return: Whether the connection is to end.
        """
        if ended - began >= _LIFETIME:
            return False
        self._count += 1
        return self._count * 2 >= max(served, _TOTAL_STREAMS)


class ResetRate:
    """
    Counts all resets of one connection, however long their streams lived: a number of them may come at once
    (C{stream_reset_burst}), and then so many in a second (C{stream_reset_rate}).
    """

    __slots__ = ("_burst", "_left", "_rate", "_since")

    def __init__(self, burst: int, rate: float) -> None:
        self._burst = self._left = float(burst)
        self._rate = rate
        self._since: float | None = None

    def isTooMuch(self, count: int, now: float) -> bool:
        """
        So many RST_STREAM came.

        @return: Whether the connection is to end.
        """
        if self._since is not None:
            self._left = min(self._burst, self._left + (now - self._since) * self._rate)
        self._since = now
        self._left -= count
        return self._left < 0.0
