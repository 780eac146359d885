# -*- test-case-name: tests.net.test_reactor -*-
"""
Twisted's epoll reactor without a logging context per event, and with turns (L{meshproxy.net.turn}).

The stock loop enters C{log.callWithLogger} for each readable or writable descriptor, which costs more than a small
read itself. This one calls the descriptor directly and logs what it raises in the same words. And between two polls it
looks at the clock once, and at timed calls only when one is due: with few connections, every event is a poll. It is
chosen by default; every other reactor that is an C{IReactorFDSet} works as well.
"""

from __future__ import annotations

from errno import EINTR
from select import EPOLLIN
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.logger import Logger

from meshproxy.net.turn import turn

__all__ = ["MeshProxyReactor", "install"]


class MeshProxyReactor(EPollReactor):
    """
    An epoll reactor whose loop calls C{doRead} at once.
    """

    _log = Logger()

    # How many events one poll takes. Twisted asks for as many as there are descriptors; a bound keeps timers, and what
    # is written in the turn, from waiting behind thousands of reads.
    _MOST_EVENTS = 64

    # The longest that one poll may wait, in seconds: epoll_wait takes milliseconds as a C int.
    _LONGEST = 2147483.0

    # From how many cancelled calls on Twisted may want to put them away.
    _MANY_CANCELLED = 50

    def mainLoop(self) -> None:
        """
        Poll, and run what is due, until the reactor is stopped.
        """
        while self._started:
            try:
                while self._started:
                    self.doPoll(self._runDue())
            except BaseException:
                self._log.failure("the event loop raised")

    def _runDue(self) -> float:
        """
        Run the timed calls whose time has come, and what threads asked for.

        @return: How many seconds the next poll may wait.
        """
        if self._newTimedCalls:
            self._insertNewDelayedCalls()
        pending = self._pendingTimedCalls
        if pending:
            left = pending[0].time - self.seconds()
            isDue = left <= 0.0
        else:
            left = self._LONGEST
            isDue = False
        if isDue or self.threadCallQueue or self._justStopped or self._cancellations > self._MANY_CANCELLED:
            self.runUntilCurrent()
            timeout = self.timeout()
            left = self._LONGEST if timeout is None else timeout
        return min(left, self._LONGEST) if self.running else 0.0

    def doPoll(self, timeout: float | None) -> None:
        """
        Poll the poller for new events.
        """
        try:
            events = self._poller.poll(-1 if timeout is None else timeout, self._MOST_EVENTS)
        except OSError as error:
            if error.errno == EINTR:
                return
            raise
        selectables = self._selectables
        turn.active = True
        try:
            for fd, event in events:
                selectable = selectables.get(fd)
                if selectable is None:
                    continue
                if event == EPOLLIN:
                    try:
                        why = selectable.doRead()
                    except BaseException as error:
                        self._log.failure("a descriptor raised while reading")
                        why = error
                    if why:
                        self._disconnect(selectable, why)
                else:
                    self._writeOrHangUp(selectable, fd, event)
        finally:
            turn.end()

    doIteration = doPoll

    def _disconnect(self, selectable: Any, why: BaseException) -> None:
        try:
            self._disconnectSelectable(selectable, why, True)
        except BaseException:
            self._log.failure("a descriptor raised while it was disconnected")

    def _writeOrHangUp(self, selectable: Any, fd: int, event: int) -> None:
        try:
            self._doReadOrWrite(selectable, fd, event)
        except BaseException:
            # _doReadOrWrite logs and disconnects by itself; what comes here was raised by its clean-up.
            self._log.failure("a descriptor raised while it was disconnected")


def install() -> None:
    """
    Make this the process' reactor.
    """
    from twisted.internet.main import installReactor

    installReactor(MeshProxyReactor())
