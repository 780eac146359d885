# -*- test-case-name: tests.codec.http1.test_states -*-
"""
The states of the two halves of a codec: L{ReadState} of what comes in, L{WriteState} of what goes out.

All state of the protocol is named here; which message plays which role is not known here.
"""

from __future__ import annotations

from enum import Enum

__all__ = ["ReadState", "WriteState"]


class ReadState(Enum):
    """
    What the next byte that comes in belongs to.
    """

    HEAD = "head"
    """The head of a message."""
    FIXED = "fixed-length body"
    CHUNKED = "chunked body"
    UNTIL_CLOSE = "body until close"
    """A response that ends with its connection."""
    WAITING = "waiting"
    """Downstream: the request is whole and unanswered, so what comes is kept. Upstream: nothing was asked, so
    nothing may come."""
    HELD = "tunnel asked for"
    """What comes is kept until the tunnel is open."""
    TUNNEL = "tunnel"
    CLOSED = "closed"
    """No further message can come; what comes is dropped."""
    FAILED = "failed"
    """The peer broke the protocol; every further byte fails the same way."""


class WriteState(Enum):
    """
    What may be written next.
    """

    IDLE = "idle"
    """Nothing, until the peer asked (downstream); a request (upstream)."""
    HEAD = "head"
    """The head of the response."""
    FIXED = "fixed-length body"
    CHUNKED = "chunked body"
    UNTIL_CLOSE = "body until close"
    NOTHING = "no body"
    """A body is taken and not written: HEAD, 204, 304."""
    HELD = "tunnel asked for"
    TUNNEL = "tunnel"
