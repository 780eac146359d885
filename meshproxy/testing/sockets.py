# -*- test-case-name: tests.testing.test_network -*-
"""
Two ends of a connection in memory, as two sockets that do not block.

The transport on top of them is the real one, L{meshproxy.net.transport.SocketTransport}: what a protocol sees in
memory is what it sees of a kernel.
"""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime

from meshproxy.net.address import Address

__all__ = ["MemorySocket", "socketPair"]

# What Linux gives a loopback connection to begin with, roughly: what one end wrote and the other one has not read.
CAPACITY = 1 << 18


class MemorySocket:
    """
    One end.

    @ivar peer: The other end.
    @ivar capacity: How many bytes may be on their way to this end; then the other one cannot send.
    @ivar readSize: How many bytes one C{recv} returns at most; 0 for as many as are asked for.
    @ivar unread: How many bytes are on their way, or wait to be read.
    """

    peer: MemorySocket

    def __init__(self, clock: IReactorTime, address: Address, peerAddress: Address, latency: float = 0.0) -> None:
        self.family = address.family
        self.capacity = CAPACITY
        self.readSize = 0
        self.unread = 0
        self._taken = 0
        self._clock = clock
        self._address = address
        self._peerAddress = peerAddress
        self._latency = latency
        # When what arrives: bytes, b"" for the peer's end, None for its reset.
        self._arrivals: deque[tuple[float, bytes | None]] = deque()
        self._broken = False
        self._finished = False
        self._closed = False
        self._aborts = False

    def fileno(self) -> int:
        """
        It is no descriptor of the kernel's.
        """
        return -1

    # Reading

    def isReadable(self) -> bool:
        """
        Whether C{recv} has something to say.
        """
        return bool(self._arrivals) and self._arrivals[0][0] <= self._clock.seconds()

    @property
    def arrived(self) -> tuple[int, bool]:
        """
        How many bytes have come in all until now, and whether the peer finished or is gone.
        """
        now = self._clock.seconds()
        came = [data for when, data in self._arrivals if when <= now]
        return self._taken + sum(len(data or b"") for data in came), bool(came) and not came[-1]

    def recv(self, size: int, flags: int = 0) -> bytes:
        """
        Read what came.

        @param flags: C{MSG_PEEK} leaves it there, and returns as much as there is.

        @return: C{b""} when the peer finished writing.
        """
        if not self.isReadable():
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        data = self._arrivals[0][1]
        if data is None:
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        if not data:
            return b""
        if flags & socket.MSG_PEEK:
            now = self._clock.seconds()
            return b"".join(data or b"" for when, data in self._arrivals if when <= now)[:size]
        taken = self._take(min(size, self.readSize) if self.readSize else size)
        self._taken += len(taken)
        self.unread -= len(taken)
        return taken

    def _take(self, left: int) -> bytes:
        # One read takes what several writes brought.
        pieces: list[bytes] = []
        now = self._clock.seconds()
        while left and self._arrivals:
            when, data = self._arrivals[0]
            if not data or when > now:
                break
            pieces.append(data[:left])
            if len(data) > left:
                self._arrivals[0] = (when, data[left:])
            else:
                self._arrivals.popleft()
            left -= len(pieces[-1])
        return b"".join(pieces)

    def _arrive(self, data: bytes | None) -> None:
        when = self._clock.seconds() + self._latency
        self._arrivals.append((when, data))
        self.unread += len(data or b"")
        if self._latency:
            # So that time knows of it.
            self._clock.callLater(self._latency, _nothing)

    # Writing

    def isWritable(self) -> bool:
        """
        Whether C{send} does not block.
        """
        return self._broken or self.peer._closed or self.peer.unread < self.peer.capacity

    def send(self, data: Any) -> int:
        """
        Send as much as there is room for.
        """
        if self._broken or self._finished:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        if self.peer._closed:
            # As of a kernel: the first write to one who left is taken, and answered with a reset.
            self._breaks()
            return len(data)
        room = self.peer.capacity - self.peer.unread
        if room <= 0:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        taken = bytes(data[:room])
        if taken:
            self.peer._arrive(taken)
        return len(taken)

    def _breaks(self) -> None:
        if not self._broken:
            self._broken = True
            self._arrive(None)

    # Ending

    def shutdown(self, how: int) -> None:
        """
        Finish writing.
        """
        if how in (socket.SHUT_WR, socket.SHUT_RDWR) and not self._finished:
            self._finished = True
            if not self.peer._closed:
                self.peer._arrive(b"")

    def close(self) -> None:
        """
        Close. As of a kernel, what nobody read, or a C{SO_LINGER} of 0, makes it a reset.
        """
        if self._closed:
            return
        self._closed = True
        if self.peer._closed:
            return
        if self._aborts or self.unread:
            self.peer._breaks()
        else:
            self.shutdown(socket.SHUT_WR)

    # Options and names

    def setsockopt(self, level: int, name: int, value: Any) -> None:
        """
        Only C{SO_LINGER} does anything.
        """
        if name == socket.SO_LINGER and value == b"\1\0\0\0\0\0\0\0":
            self._aborts = True

    def getsockopt(self, level: int, name: int) -> int:
        """
        No option is set.
        """
        return 0

    def getsockname(self) -> Any:
        """
        This end's address.

        @raise OSError: If it is closed.
        """
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._address.socketName

    def getpeername(self) -> Any:
        """
        The other end's.
        """
        return self._peerAddress.socketName


def socketPair(
    clock: IReactorTime, first: Address, second: Address, latency: float = 0.0
) -> tuple[MemorySocket, MemorySocket]:
    """
    Two sockets that are connected with each other.

    @param latency: Seconds that bytes travel.
    """
    one = MemorySocket(clock, first, second, latency)
    other = MemorySocket(clock, second, first, latency)
    one.peer, other.peer = other, one
    return one, other


_nothing: Callable[[], None] = lambda: None  # noqa: E731  # a timer that only wakes
