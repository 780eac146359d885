# -*- test-case-name: tests.net.test_turn -*-
"""
What is written during one turn of the reactor leaves at its end.

A turn is a round of the event loop: all descriptors that are readable at once. Writes that protocols make meanwhile
are gathered, and sent when the round is over: the head and the body of a response, or the frames of many streams, in
one C{send}; and the peers are woken once, by several messages, instead of again and again by one each, which costs more
than the messages. Under another reactor than L{meshproxy.net.reactor} each read is a turn of its own.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["Gathering", "IGathering", "Turn", "turn"]


class IGathering(Protocol):
    """
    Somebody who gathers what is written.
    """

    def flush(self) -> None:
        """
        Send what was gathered.
        """

    def failed(self) -> None:
        """
        Sending raised; called in the C{except} clause.
        """


class Turn:
    """
    @ivar active: Whether a turn is going on; outside of one, writes are sent at once.
    @ivar written: Those with something gathered, in the order in which they were written to.
    """

    __slots__ = ("active", "written")

    def __init__(self) -> None:
        self.active = False
        self.written: list[IGathering] = []

    def end(self) -> None:
        """
        Send what was gathered.
        """
        self.active = False
        written, self.written = self.written, []
        for gathering in written:
            try:
                gathering.flush()
            except Exception:
                # A producer raised when it was paused: that is its own connection's fault, not that of who was read.
                gathering.failed()


turn = Turn()
"""
That of this process, which has one reactor.
"""


class Gathering:
    """
    Somebody who gathers what is written, as an L{IGathering}, and says so each time.

    @ivar isWoken: Whether what is to be sent will be, later in this turn.
    """

    isWoken: bool

    def wake(self) -> None:
        """
        There is something to send: at the end of the turn, or now where there is no turn.
        """
        if not self.isWoken:
            self.isWoken = True
            if turn.active:
                turn.written.append(self)
            else:
                self.flush()

    def flush(self) -> None:
        """
        See L{IGathering.flush}.
        """
        raise NotImplementedError

    def failed(self) -> None:
        """
        See L{IGathering.failed}.
        """
        raise NotImplementedError
