# -*- test-case-name: tests.codec.http1.test_memory -*-
"""
What a connection remembers of its heads, to take the next one apart by comparing it.

One client's requests on one connection mostly differ in their first line only, and one service's responses within a
second not even in that. What was accepted once, byte for byte, need not be judged again. A connection remembers one
head; nothing is shared, so no peer learns of another's, and nothing grows. Where heads differ, it remembers which of
their fields came again.
"""

from __future__ import annotations

from meshproxy.codec.http1.grammar import splitFields
from meshproxy.codec.http1.shapes import SHAPES, Take
from meshproxy.headers import RequestHeaders, ResponseHeaders, withRoom

__all__ = ["RequestMemory", "ResponseMemory"]

# Longer fields have cookies and tokens in them, which change, and would cost memory on each idle connection.
_LONGEST = 1024

# How often a connection looks for the shape of a head that has none of those that it knows.
_TRIES = 64

# Begins no head.
_NOTHING = b"\0"


class RequestMemory:
    """
    The fields of the last request.

    @ivar head: All of it, as it came, with its C{method} and C{path}; with another line before C{block}, it is a head
        that was judged as well.
    @ivar block: Its field lines as they came, with the empty line.
    @ivar first: What they were parsed to, without C{host}.
    @ivar authority: C{host}.
    @ivar isWorthwhile: Whether heads were alike lately.
    @ivar misses: How many in a row were not.
    @ivar shapes: By how many lines a read has, what may take it apart (L{meshproxy.codec.http1.shapes}); L{None} where
        nothing may.
    @ivar tries: How often another shape may be looked for still.
    @cvar PATIENCE: How many heads in a row may differ until comparing is given up.
    @cvar LONGEST: How long a head may be, its first line included.
    """

    __slots__ = (
        "authority", "block", "first", "head", "isWorthwhile", "method", "misses", "path", "shapes", "tries"
    )  # fmt: skip

    PATIENCE = 4
    LONGEST = 2 * _LONGEST

    def __init__(self) -> None:
        self.head = self.block = _NOTHING
        self.method = self.path = b""
        self.first: dict[bytes, bytes] = {}
        self.authority = b""
        self.isWorthwhile = False
        self.misses = 0
        self.shapes: dict[int, Take] | None = None
        self.tries = _TRIES

    def missed(self, data: bytes, start: int, headers: RequestHeaders) -> None:
        """
        The next head had other fields: remember those, unless that was in vain too often.

        @param data: The whole head; its field lines begin at C{start}.
        """
        self.misses += 1
        isShort = len(data) - start <= _LONGEST and len(data) <= self.LONGEST
        self.isWorthwhile = isShort and self.misses <= self.PATIENCE and headers.more is None
        if self.isWorthwhile:
            self.head = data
            self.method = headers.method
            self.path = headers.path
            self.block = data[start:]
            self.first = headers.first.copy()
            self.authority = headers.authority

    def notice(self, data: bytes, lines: bytes) -> None:
        """
        A head had fields that are not those of the last one, nor of a shape that is known here: see whether such heads
        come often.

        @param data: The whole head.
        @param lines: Its field lines.
        """
        self.tries -= 1
        take = SHAPES.noticed(tuple([name for name, _ in splitFields(lines)]))
        if take is not None:
            if self.shapes is None:
                self.shapes = {}
            self.shapes[data.count(b"\n")] = take


class ResponseMemory:
    """
    The head of the last response that had a body of known length.

    @ivar head: Its bytes.
    @ivar size: The length of head and body; -1, which nothing has, where there is no head to compare with.
    @ivar status: Its status.
    @ivar first: Its fields.
    """

    __slots__ = ("first", "head", "size", "status")

    def __init__(self) -> None:
        self.head = _NOTHING
        self.size = -1
        self.status = 0
        self.first: dict[bytes, bytes] = {}

    def remember(self, data: bytes, stop: int, headers: ResponseHeaders) -> None:
        """
        Remember a head.

        @param data: Head and body; the body begins at C{stop}.
        """
        if stop <= _LONGEST and headers.more is None:
            self.head = data[:stop]
            self.size = len(data)
            self.status = headers.status
            self.first = withRoom(headers.first)
        else:
            self.head = _NOTHING
            self.size = -1
