"""
When all that was said has been heard: what a script may wait for in place of a time.

Each thread that plays a part tells whether it waits, for bytes or for the clock, or has something to do. All is at rest
where nobody has anything to do, no byte lies unread before one who would read it, and the proxy has been through all
that it had before it: it answered a question that was put to it when all this was so, and nobody was roused meanwhile.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from math import ceil

__all__ = ["AT_THE_END", "Player", "Rest", "State", "hasBytes"]

# How long to wait for rest. A conversation that does not come to it, as one side writes what nobody reads, goes on.
_PATIENCE = 10.0

# How long to wait before looking again whether threads have done what they have to do.
_SHORTLY = 0.0005
_sleep = time.sleep

# States of TCP, as Linux numbers them, in which this side has ended and the peer has not confirmed that: FIN_WAIT1,
# LAST_ACK and CLOSING.
_NOT_TAKEN = (4, 9, 11)


class State(Enum):
    """
    What a thread that plays a part does.
    """

    ACTS = "has something to do"
    READS = "waits for bytes"
    PAUSES = "waits for the clock"
    RESTS = "waits for rest itself"
    ENDED = "plays no part any more"


Waits = frozenset[State]

# Who of the upstream waits for rest holds nobody up who leads the conversation as it does.
_FOR_UPSTREAM = frozenset((State.PAUSES, State.RESTS))
_FOR_CLIENT = frozenset((State.PAUSES,))
AT_THE_END: Waits = frozenset()


def hasBytes(sock: socket.socket, seconds: float | None = 0.0) -> bool:
    """
    Whether there is something to read from a socket, be it its end, or to accept.

    @param seconds: How long to wait for it, L{None} for as long as it takes.
    """
    waiting = select.poll()
    waiting.register(sock, select.POLLIN)
    # Rounded up: waiting for less than a millisecond would be not to wait.
    return bool(waiting.poll(None if seconds is None else ceil(seconds * 1000)))


class Player:
    """
    A socket, and what the one thread does that uses it.

    @ivar roused: How often it had something to do after it had waited.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._state = State.ACTS
        self.roused = 0

    @contextmanager
    def waits(self, state: State) -> Iterator[None]:
        """
        Note what it waits for, in a C{with} statement.
        """
        self._state = state
        try:
            yield
        finally:
            self.roused += 1
            self._state = State.ACTS

    def awaitBytes(self, seconds: float | None = None) -> bool:
        """
        Wait until there is something to read, or to accept; it is not read yet.

        @param seconds: How long.

        @return: Whether there is something.
        """
        with self.waits(State.READS):
            return hasBytes(self._sock, seconds)

    def pause(self, seconds: float) -> None:
        """
        Wait for the clock.
        """
        with self.waits(State.PAUSES):
            time.sleep(seconds)

    def rest(self, wait: Callable[[], None]) -> None:
        """
        Wait for rest.
        """
        with self.waits(State.RESTS):
            wait()

    def shutdown(self, how: int) -> None:
        """
        End the connection, or this side of it, and wait until that has come to the peer's system: on a busy machine it
        may come there later than what is sent on another connection after it.
        """
        self._sock.shutdown(how)
        end = time.monotonic() + _PATIENCE
        while self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] in _NOT_TAKEN and time.monotonic() < end:
            _sleep(_SHORTLY)

    def end(self) -> None:
        """
        It plays no part any more.
        """
        self._state = State.ENDED

    def isIdle(self, waits: Waits) -> bool:
        """
        Whether it has nothing to do.

        @param waits: What it may wait for besides bytes.
        """
        if self._state is State.READS:
            # Looked at in this order: who was roused has not read yet what roused it.
            return not self._hasBytes() and self._state is State.READS
        return self._state is State.ENDED or self._state in waits

    def _hasBytes(self) -> bool:
        try:
            return hasBytes(self._sock)
        except (OSError, ValueError):
            return True  # it is closed this moment


class Rest:
    """
    Of the conversations with one proxy.

    @ivar client: The player of the client, while there is one.
    """

    def __init__(self, players: Callable[[], Iterable[Player]], question: Callable[[], None]) -> None:
        """
        @param players: Those of the upstream, as they are now.
        @param question: Asks the proxy something that it answers itself, and waits for its answer.
        """
        self.client: Player | None = None
        self._players = players
        self._question = question

    def ofUpstream(self) -> None:
        """
        Wait until nobody has anything to do, but for those who wait for rest as well.
        """
        self._wait(_FOR_UPSTREAM, lambda: False)

    def ofClient(self, read: Callable[[], bool], isEnd: bool = False) -> None:
        """
        Wait until nobody has anything to do, not even those of the upstream who wait for rest: they go on first.

        @param read: Reads what has come for the client, and tells whether there was anything.
        @param isEnd: Whether those of the upstream who wait for the clock are to go on first as well.
        """
        self._wait(AT_THE_END if isEnd else _FOR_CLIENT, read)

    def _roused(self) -> list[int]:
        return [player.roused for player in self._players()]

    def _isIdle(self, waits: Waits) -> bool:
        client = self.client
        return (client is None or client.isIdle(_FOR_UPSTREAM)) and all(each.isIdle(waits) for each in self._players())

    def _wait(self, waits: Waits, read: Callable[[], bool]) -> None:
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            before = self._roused()
            if read() or not self._isIdle(waits):
                _sleep(_SHORTLY)
                continue
            self._question()
            if not read() and self._isIdle(waits) and self._roused() == before:
                return
