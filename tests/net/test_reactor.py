"""
L{meshproxy.net.reactor}.
"""

from __future__ import annotations

import os
from threading import Thread
from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.net.reactor import MeshProxyReactor


class Descriptor:
    """
    One end of a pipe in the reactor's hands, which does what the test says.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.calls: list[str] = []
        self.reading: Any = lambda: None
        self.lost: Failure | None = None
        self.losing: Any = lambda: None

    def fileno(self) -> int:
        """
        See C{IFileDescriptor}.
        """
        return self.number

    def doRead(self) -> Any:
        """
        See C{IReadDescriptor}.
        """
        self.calls.append("read")
        return self.reading()

    def doWrite(self) -> Any:
        """
        See C{IWriteDescriptor}.
        """
        self.calls.append("write")

    def connectionLost(self, reason: Failure) -> None:
        """
        See C{IFileDescriptor}.
        """
        self.lost = reason
        self.losing()

    def logPrefix(self) -> str:
        """
        See C{ILoggingContext}.
        """
        return "test"


class ReactorTests(SynchronousTestCase):
    """
    The loop, by hand: pipes are made ready and polled once.
    """

    def setUp(self) -> None:
        self.reactor = MeshProxyReactor()
        self.addCleanup(self.close)
        self.ends: list[int] = []

    def close(self) -> None:
        """
        Leave nothing open.
        """
        self.reactor.removeAll()
        for waker in set(self.reactor._internalReaders):
            self.reactor._internalReaders.discard(waker)
            waker.connectionLost(None)
        self.reactor._poller.close()
        for end in self.ends:
            os.close(end)

    def pipe(self) -> tuple[Descriptor, int]:
        """
        A descriptor to read, and the other end.
        """
        read, write = os.pipe()
        self.ends += [read, write]
        return Descriptor(read), write

    def ready(self) -> Descriptor:
        """
        A descriptor that is watched and has something to read.
        """
        descriptor, write = self.pipe()
        self.reactor.addReader(descriptor)
        os.write(write, b"x")
        return descriptor

    def test_read(self) -> None:
        """
        A readable descriptor is read, once a poll.
        """
        descriptor = self.ready()
        self.reactor.doPoll(0)
        self.assertEqual(descriptor.calls, ["read"])
        self.reactor.doIteration(0)
        self.assertEqual(descriptor.calls, ["read", "read"])
        self.assertIsNone(descriptor.lost)

    def test_nothing(self) -> None:
        """
        Nothing to read is nothing to do.
        """
        descriptor, _ = self.pipe()
        self.reactor.addReader(descriptor)
        self.reactor.doPoll(0)
        self.assertEqual(descriptor.calls, [])

    def test_returnedReason(self) -> None:
        """
        What C{doRead} returns ends the descriptor: it is watched no more.
        """
        for reason, kind in ((ConnectionLost(), ConnectionLost), (ConnectionDone(), ConnectionDone)):
            descriptor = self.ready()
            descriptor.reading = lambda reason=reason: reason
            self.reactor.doPoll(0)
            assert descriptor.lost is not None
            descriptor.lost.trap(kind)
            self.assertEqual(self.reactor.getReaders().count(descriptor), 0)

    def test_raises(self) -> None:
        """
        What C{doRead} raises is logged and ends the descriptor; others are read in the same poll.
        """

        def fail() -> None:
            raise ZeroDivisionError

        bad, good = self.ready(), self.ready()
        bad.reading = fail
        self.reactor.doPoll(0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        assert bad.lost is not None
        bad.lost.trap(ZeroDivisionError)
        self.assertEqual(good.calls, ["read"])

    def test_raisesWhenLost(self) -> None:
        """
        A descriptor that raises in C{connectionLost} as well keeps no other from being read.
        """

        def fail() -> None:
            raise ZeroDivisionError

        descriptors = [self.ready() for _ in range(3)]
        for descriptor in descriptors:
            descriptor.reading = lambda: ConnectionLost()
            descriptor.losing = fail
        self.reactor.doPoll(0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)
        self.assertTrue(all(descriptor.lost is not None for descriptor in descriptors))

    def test_removedMeanwhile(self) -> None:
        """
        A descriptor that another one removed in the same poll is not read.
        """
        first, second = self.ready(), self.ready()
        first.reading = lambda: self.reactor.removeReader(second)
        second.reading = lambda: self.reactor.removeReader(first)
        self.reactor.doPoll(0)
        self.assertEqual(sorted(first.calls + second.calls), ["read"])

    def test_write(self) -> None:
        """
        Writable descriptors go Twisted's own way.
        """
        _, write = self.pipe()
        descriptor = Descriptor(write)
        self.reactor.addWriter(descriptor)
        self.reactor.doPoll(0)
        self.assertEqual(descriptor.calls, ["write"])

    def test_hangUp(self) -> None:
        """
        So do those whose other end is gone.
        """
        read, write = os.pipe()
        self.ends.append(read)
        descriptor = Descriptor(read)
        self.reactor.addReader(descriptor)
        os.close(write)
        self.reactor.doPoll(0)
        assert descriptor.lost is not None
        descriptor.lost.trap(ConnectionDone)


class LoopTests(SynchronousTestCase):
    """
    The loop as a whole: what is due runs between the polls.
    """

    def setUp(self) -> None:
        self.reactor = MeshProxyReactor()
        self.addCleanup(self.close)
        self.told: list[str] = []

    def close(self) -> None:
        """
        Leave nothing open.
        """
        for waker in set(self.reactor._internalReaders):
            self.reactor._internalReaders.discard(waker)
            waker.connectionLost(None)
        self.reactor._poller.close()

    def run_(self) -> None:
        """
        Run until something stops it, for ten seconds at the most.
        """
        self.reactor.callLater(10.0, self.fail, "nothing stopped the reactor")
        self.reactor.startRunning(installSignalHandlers=False)
        self.reactor.mainLoop()

    def stop(self) -> None:
        """
        Stop it.
        """
        self.told.append("stop")
        self.reactor.stop()

    def test_timedCalls(self) -> None:
        """
        Calls run in the order of their times, and what they begin runs as well; one that was cancelled does not.
        """
        call = self.reactor.callLater
        call(0.02, self.stop)
        call(0.01, self.told.append, "second")
        call(0.0, lambda: call(0.0, self.told.append, "first"))
        call(0.005, self.told.append, "never").cancel()
        self.run_()
        self.assertEqual(self.told, ["first", "second", "stop"])

    def test_raises(self) -> None:
        """
        A call that raises, and a poll that does, are logged; the loop goes on.
        """
        poll = self.reactor.doPoll
        faults: list[Exception] = [ZeroDivisionError("poll")]

        def raising(timeout: float | None) -> None:
            if faults:
                raise faults.pop()
            poll(timeout)

        def fail() -> None:
            raise ZeroDivisionError("call")

        self.reactor.doPoll = raising  # type: ignore[method-assign]  # this one alone
        self.reactor.callLater(0.0, fail)
        self.reactor.callLater(0.01, self.stop)
        self.run_()
        self.assertEqual(sorted(str(each.value) for each in self.flushLoggedErrors()), ["call", "poll"])
        self.assertEqual(self.told, ["stop"])

    def test_threads(self) -> None:
        """
        What another thread asks for wakes a poll that would wait for long.
        """
        worker = Thread(target=self.reactor.callFromThread, args=(self.stop,))
        self.reactor.callWhenRunning(worker.start)
        self.run_()
        worker.join()
        self.assertEqual(self.told, ["stop"])

    def test_cancelled(self) -> None:
        """
        Thousands of cancelled calls that would be due in an hour are put away.
        """

        def cancelled() -> None:
            for _ in range(1000):
                self.reactor.callLater(3600.0, self.fail).cancel()
            self.reactor.callLater(0.0, self.stop)

        self.reactor.callLater(0.0, cancelled)
        self.run_()
        self.assertLess(len(self.reactor._pendingTimedCalls), 10)

    def test_shutdown(self) -> None:
        """
        What is to be done before the end is done, and once.
        """
        self.reactor.addSystemEventTrigger("before", "shutdown", self.told.append, "shutdown")
        self.reactor.callLater(0.0, self.stop)
        self.run_()
        self.assertEqual(self.told, ["stop", "shutdown"])
