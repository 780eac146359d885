"""
L{meshproxy.process}. How the whole program starts and ends is tried in C{tests.integration}.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.process import Process


class FakeServer:
    """
    What the process needs of a server.
    """

    exitStatus = 0

    def __init__(self) -> None:
        self.reloads = 0
        self.error: Exception | None = None

    def setServiceParent(self, parent: object) -> None:
        """
        See C{IService}.
        """

    def reloadAll(self) -> None:
        """
        SIGHUP.
        """
        self.reloads += 1


class FakeReactor(Clock):
    """
    A reactor that may be stopped.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stops = 0

    def stop(self) -> None:
        """
        See C{IReactorCore}.
        """
        self.stops += 1

    def callFromThread(self, work: Any) -> None:
        """
        See C{IReactorFromThreads}.
        """
        work()


class ProcessTests(SynchronousTestCase):
    """
    Signals and exit status.
    """

    def setUp(self) -> None:
        self.server = FakeServer()
        self.reactor = FakeReactor()
        self.process = Process(self.server, self.reactor, None)
        self.exits: list[int] = []
        self.patch(os, "_exit", self.exits.append)

    def test_stop(self) -> None:
        """
        The first signal stops, the second one ends at once.
        """
        self.process._stopSignalled(signal.SIGTERM, None)
        self.assertEqual((self.reactor.stops, self.exits), (1, []))
        self.process._stopSignalled(signal.SIGINT, None)
        self.assertEqual(self.exits, [1])

    def test_reload(self) -> None:
        """
        SIGHUP reloads.
        """
        self.process._reloadSignalled(signal.SIGHUP, None)
        self.assertEqual(self.server.reloads, 1)

    def test_status(self) -> None:
        """
        A late failure's status is the process', 0 is left to Python.
        """
        self.process._exit()
        self.assertEqual(self.exits, [])
        self.server.exitStatus = 3
        self.process._exit()
        self.assertEqual(self.exits, [3])

    def test_cannotListen(self) -> None:
        """
        A port that cannot be bound is one line, and 1.
        """

        class Occupied:
            parent = None
            name = None

            def setServiceParent(self, parent: Any) -> None:
                parent.addService(self)

            def privilegedStartService(self) -> None:
                raise CannotListenError("127.0.0.1", 80, OSError(98, "Address already in use"))

        written: list[bytes] = []
        process = Process(Occupied(), self.reactor, None)
        self.patch(os, "write", lambda descriptor, data: written.append(data))
        process.privilegedStartService()
        self.assertEqual(self.exits, [1])
        self.assertEqual(written, [b"cannot listen on 127.0.0.1:80: [Errno 98] Address already in use\n"])
