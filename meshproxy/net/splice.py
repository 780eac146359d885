# -*- test-case-name: tests.net.test_splice -*-
"""
Pipes through which the kernel moves bytes from one socket to another, without a copy of them in this process.

A pipe is taken for one move and given back when it is empty again, which nearly always is at once: only where a peer
does not read does it stay taken. So a few pipes serve any number of connections, and their number bounds the kernel's
memory.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable

__all__ = ["Pipe", "PipePool", "SPLICE_FLAGS", "pipes"]

# SPLICE_F_MOVE and SPLICE_F_NONBLOCK (linux/splice.h).
SPLICE_FLAGS = 3

# What one pipe holds. The kernel's limit for who is not root (fs.pipe-max-size) is the same by default.
_CAPACITY = 1 << 20

# fs.pipe-user-pages-soft lets a user have 64 MiB of pipes by default; workers share it.
_MOST = 16


class Pipe:
    """
    A pipe that does not block.

    @ivar readEnd: The descriptor that bytes leave by.
    @ivar writeEnd: The descriptor that they enter by.
    """

    __slots__ = ("readEnd", "writeEnd")

    def __init__(self) -> None:
        """
        @raise OSError: If there are no descriptors left.
        """
        self.readEnd, self.writeEnd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.fcntl(self.writeEnd, fcntl.F_SETPIPE_SZ, _CAPACITY)
        except OSError:
            pass  # over a limit of the user's: the kernel's own size does as well, in smaller steps

    def close(self) -> None:
        """
        Give its descriptors up.
        """
        os.close(self.readEnd)
        os.close(self.writeEnd)


class PipePool:
    """
    Empty pipes.

    @ivar made: How many there are, taken ones included.
    """

    __slots__ = ("_free", "_make", "_most", "made")

    def __init__(self, most: int = _MOST, make: Callable[[], Pipe] = Pipe) -> None:
        """
        @param most: How many pipes there may be.
        """
        self.made = 0
        self._free: list[Pipe] = []
        self._most = most
        self._make = make

    def take(self) -> Pipe | None:
        """
        An empty pipe; L{None} where all are taken, or where this system has none. The plain way goes on without.
        """
        if self._free:
            return self._free.pop()
        if self.made >= self._most or not hasattr(os, "splice"):
            return None
        try:
            pipe = self._make()
        except OSError:
            return None
        self.made += 1
        return pipe

    def give(self, pipe: Pipe) -> None:
        """
        Have an empty pipe back.
        """
        self._free.append(pipe)

    def discard(self, pipe: Pipe) -> None:
        """
        Have a pipe back that is not empty.
        """
        pipe.close()
        self.made -= 1


pipes = PipePool()
