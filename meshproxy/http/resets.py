# -*- test-case-name: tests.http.test_resets -*-
"""
Peers that begin streams in order to end them.
"""

from __future__ import annotations

__all__ = ["PrematureResets"]

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
