# -*- test-case-name: tests.codec.http2.test_states -*-
"""
The states of a stream (RFC 9113, 5.1) and what leads from one to the other.

Streams that are not open yet, or not any more, are not kept: C{IDLE} and C{CLOSED} are told from identifiers. There is
no reserved state, for nobody may push here.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["NEXT_STATE", "Happening", "StreamState"]


class StreamState(IntEnum):
    """
    Where a stream stands.
    """

    IDLE = 0
    OPEN = 1
    HALF_CLOSED_LOCAL = 2
    """This side has ended; the peer may still send."""
    HALF_CLOSED_REMOTE = 3
    """The peer has ended; this side may still send."""
    CLOSED = 4


class Happening(IntEnum):
    """
    What may happen to a stream. DATA and HEADERS that end nothing change no state, and are legal where their end is.
    """

    OPENED = 0
    """HEADERS began it, whoever sent them."""
    REMOTE_ENDED = 1
    """END_STREAM came."""
    LOCAL_ENDED = 2
    """END_STREAM was sent."""
    RESET = 3
    """RST_STREAM came or was sent."""


NEXT_STATE: dict[tuple[int, int], StreamState] = {
    (StreamState.IDLE, Happening.OPENED): StreamState.OPEN,
    (StreamState.OPEN, Happening.REMOTE_ENDED): StreamState.HALF_CLOSED_REMOTE,
    (StreamState.OPEN, Happening.LOCAL_ENDED): StreamState.HALF_CLOSED_LOCAL,
    (StreamState.OPEN, Happening.RESET): StreamState.CLOSED,
    (StreamState.HALF_CLOSED_LOCAL, Happening.REMOTE_ENDED): StreamState.CLOSED,
    (StreamState.HALF_CLOSED_LOCAL, Happening.RESET): StreamState.CLOSED,
    (StreamState.HALF_CLOSED_REMOTE, Happening.LOCAL_ENDED): StreamState.CLOSED,
    (StreamState.HALF_CLOSED_REMOTE, Happening.RESET): StreamState.CLOSED,
}
"""
What is not here is an error: of the peer where it is the peer's doing, else of this program.
"""
