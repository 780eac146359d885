# -*- test-case-name: tests.testing.test_clock -*-
"""
A reactor without a real clock, sockets or threads: time passes when a test says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import error, main
from twisted.internet.interfaces import IReactorFDSet, IReactorFromThreads, IReadDescriptor, IWriteDescriptor
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["EPOCH", "VirtualReactor"]

#: When virtual time begins: 2027-01-15 08:00:00 UTC. A whole number, so that sums with halves and quarters are exact.
EPOCH = 1_800_000_000.0

# Turns of one moment, before it is said that it does not end. A megabyte that is read byte by byte takes one each.
_MOST_TURNS = 4_000_000


class _InlinePool:
    """
    A thread pool without threads.
    """

    def callInThreadWithCallback(
        self, onResult: Callable[[bool, Any], object], work: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> None:
        """
        Run it here and now.
        """
        try:
            result = work(*args, **kwargs)
        except Exception:
            onResult(False, Failure())
        else:
            onResult(True, result)


@implementer(IReactorFDSet, IReactorFromThreads)
class VirtualReactor(Clock):
    """
    A clock that is moved by hand, and the loop that reads from and writes to
    L{meshproxy.testing.sockets.MemorySocket}s.

    Nothing happens by itself: L{settle} lets happen what is due now, L{advance} lets time pass. Timers strike one after
    the other, each at its own time.

    @ivar stopped: Whether somebody stopped the reactor.
    """

    _log = Logger()

    def __init__(self) -> None:
        super().__init__()
        self.rightNow = EPOCH
        self.stopped = False
        self._readers: dict[Any, None] = {}
        self._writers: dict[Any, None] = {}
        self._pool = _InlinePool()

    # Time

    def settle(self) -> None:
        """
        Let everything happen that is due now, and what follows from it, until only time could change anything.
        """
        for _ in range(_MOST_TURNS):
            if not self._turn():
                return
        raise RuntimeError("this moment does not end: something calls itself again without waiting")

    def advance(self, amount: float) -> None:
        """
        Let time pass.
        """
        end = self.rightNow + amount
        self.settle()
        while (due := self._nextDue()) is not None and due <= end:
            self.rightNow = max(self.rightNow, due)
            self.settle()
        self.rightNow = max(self.rightNow, end)

    def waitFor(self, happened: Callable[[], bool], limit: float = 60.0) -> bool:
        """
        Let time pass until something happened.

        @param limit: Seconds to wait at most.

        @return: Whether it happened.
        """
        end = self.rightNow + limit
        self.settle()
        while not happened():
            due = self._nextDue()
            if due is None or due > end:
                return False
            self.rightNow = max(self.rightNow, due)
            self.settle()
        return True

    def _nextDue(self) -> float | None:
        self.calls.sort(key=lambda call: call.getTime())
        return self.calls[0].getTime() if self.calls else None

    def _turn(self) -> bool:
        """
        One turn of the loop.

        @return: Whether there was anything to do.
        """
        due = self._nextDue()
        if due is not None and due <= self.rightNow:
            call = self.calls.pop(0)
            call.called = 1
            call.func(*call.args, **call.kw)
            return True
        worked = False
        for descriptor in list(self._readers):
            if descriptor in self._readers and descriptor.socket.isReadable():
                self._do(descriptor, descriptor.doRead, True)
                worked = True
        for descriptor in list(self._writers):
            if descriptor in self._writers and descriptor.socket.isWritable():
                self._do(descriptor, descriptor.doWrite, False)
                worked = True
        return worked

    # Descriptors

    def _do(self, descriptor: Any, work: Callable[[], Any], isRead: bool) -> None:
        try:
            why = work()
        except Exception as exception:
            self._log.failure("a descriptor raised while reading or writing")
            why = exception
        if why:
            self._disconnect(descriptor, why, isRead)

    def _disconnect(self, descriptor: Any, why: Any, isRead: bool) -> None:
        # As twisted.internet.posixbase does.
        self.removeReader(descriptor)
        reason = Failure(why)
        if isRead and (why is main.CONNECTION_DONE or isinstance(why, error.ConnectionDone)):
            descriptor.readConnectionLost(reason)
        else:
            self.removeWriter(descriptor)
            descriptor.connectionLost(reason)

    def addReader(self, reader: IReadDescriptor) -> None:
        """
        See L{IReactorFDSet.addReader}.
        """
        self._readers[reader] = None

    def addWriter(self, writer: IWriteDescriptor) -> None:
        """
        See L{IReactorFDSet.addWriter}.
        """
        self._writers[writer] = None

    def removeReader(self, reader: IReadDescriptor) -> None:
        """
        See L{IReactorFDSet.removeReader}.
        """
        self._readers.pop(reader, None)

    def removeWriter(self, writer: IWriteDescriptor) -> None:
        """
        See L{IReactorFDSet.removeWriter}.
        """
        self._writers.pop(writer, None)

    def removeAll(self) -> list[Any]:
        """
        See L{IReactorFDSet.removeAll}.
        """
        gone = list({**self._readers, **self._writers})
        self._readers.clear()
        self._writers.clear()
        return gone

    def getReaders(self) -> list[Any]:
        """
        See L{IReactorFDSet.getReaders}.
        """
        return list(self._readers)

    def getWriters(self) -> list[Any]:
        """
        See L{IReactorFDSet.getWriters}.
        """
        return list(self._writers)

    # Threads, and the life of the process

    def getThreadPool(self) -> Any:
        """
        A pool whose work is done at once, where it is asked for.
        """
        return self._pool

    def callFromThread(self, callable: Callable[..., Any], *args: object, **kwargs: object) -> None:
        """
        There are no threads: call it now.
        """
        callable(*args, **kwargs)

    def callWhenRunning(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """
        It always runs: call it now.
        """
        call(*args, **kwargs)

    def addSystemEventTrigger(self, phase: str, eventType: str, call: Callable[..., Any], *args: Any) -> None:
        """
        The process does not end here: there is nothing to wait for.
        """

    def stop(self) -> None:
        """
        Remember that it was asked for.
        """
        self.stopped = True
