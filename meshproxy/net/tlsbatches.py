# -*- test-case-name: tests.net.test_tlsbatches -*-
"""
Many TLS records in one send.

OpenSSL on a socket sends each record of 16 KiB by itself. For a long body the sends, and the packets and wake-ups that
they cause, cost more than the encryption. A connection that sends much has its records gathered in memory instead, and
sends 15 of them at once. Whoever sends little stays on the socket, where a small record costs least and no memory is
held; one that has sent nothing for a while goes back there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from OpenSSL import SSL

from meshproxy.errors import TLSError
from meshproxy.net.openssl import BATCH, RecordMemory, readPlain, writePlain

__all__ = ["Batches"]

# What one read takes off the socket.
_READ_SIZE = 65536

# How long nothing is sent until the connection goes back to its socket, in seconds.
_REST = 1.0

# How many connections of a process may have records in memory, each some 350 KiB; the others stay on their sockets.
_MOST = 64

# How many have them.
_taken: set[Batches] = set()


class Batches:
    """
    What stands in for the socket between OpenSSL and the kernel.

    It reads and writes as L{readPlain} and L{writePlain} do on the socket.
    """

    __slots__ = (
        "_connection",
        "_covered",
        "_isOver",
        "_left",
        "_memory",
        "_reactor",
        "_readAgain",
        "_socket",
        "_timer",
        "_unsent",
        "_used",
    )

    def __init__(
        self,
        reactor: Any,
        sock: Any,
        connection: SSL.Connection,
        readAgain: Callable[[], object],
        left: Callable[[], object],
    ) -> None:
        """
        @param connection: OpenSSL's object. Nothing that it was asked to write is still to be sent.
        @param readAgain: Called when there is something to read that the socket does not tell of.
        @param left: Called when OpenSSL has the socket again.
        """
        self._reactor = reactor
        self._socket = sock
        self._connection = connection
        self._readAgain = readAgain
        self._left = left
        self._memory = RecordMemory(connection)
        self._unsent = b""
        # How many bytes that somebody wrote are in the records which are not all sent.
        self._covered = 0
        self._isOver = False
        self._used = False
        _taken.add(self)
        self._timer: Any = reactor.callLater(_REST, self._look)

    @staticmethod
    def isRoom() -> bool:
        """
        Whether another connection may have its records in memory.
        """
        return len(_taken) < _MOST

    def write(self, data: bytes | memoryview) -> int:
        """
        Encrypt and send.

        @return: How many bytes were sent; 0 if the socket does not take all of their records now. Then the next call
            has to begin with the same bytes.
        """
        if self._unsent:
            self._flush()
            if self._unsent:
                return 0
        if self._covered:
            done, self._covered = self._covered, 0
            return done
        self._used = True
        count = writePlain(self._connection, memoryview(data)[:BATCH])
        records = self._memory.take()
        try:
            sent = self._socket.send(records)
        except BlockingIOError:
            sent = 0
        if sent < len(records):
            self._unsent = bytes(records[sent:])
            self._covered = count
            return 0
        return count

    def read(self) -> bytes | None:
        """
        Read all that came.

        @return: L{None} if there is nothing yet, empty if the peer finished.

        @raise TLSError: If the peer broke the protocol.
        @raise OSError: If the socket is broken.
        """
        if self._isOver:
            return readPlain(self._connection)
        try:
            data = self._socket.recv(_READ_SIZE)
        except BlockingIOError:
            return None
        if not data:
            return b""
        self._memory.give(data)
        pieces: list[bytes] = []
        plain: bytes | None = None
        try:
            while plain := readPlain(self._connection):
                pieces.append(plain)
        except TLSError:
            if not pieces:
                raise
            plain = b""
        finally:
            self._answer()
        if plain is not None and pieces and not self._isOver:
            # What came is delivered first; the socket has nothing more to tell of.
            self._isOver = True
            self._reactor.callLater(0, self._readAgain)
        return b"".join(pieces) if pieces else plain

    def end(self) -> bool:
        """
        Let OpenSSL have the socket again.

        @return: Whether it has. It has not while the socket does not take what is to be sent.
        """
        if self._unsent or self._covered:
            return False
        self._memory.leave(self._socket.fileno())
        self.stop()
        self._left()
        return True

    def stop(self) -> None:
        """
        The connection is over.
        """
        _taken.discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._used or not self.end():
            self._used = False
            self._timer = self._reactor.callLater(_REST, self._look)

    def _flush(self) -> None:
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            pass

    def _answer(self) -> None:
        """
        Send what reading made OpenSSL write: an answer to the peer's new keys, or the alert that ends it all.
        """
        records = self._memory.take()
        if not records:
            return
        self._unsent += bytes(records)
        try:
            self._flush()
        except OSError:
            # Broken: the next write finds out and says so.
            pass
