"""
L{meshproxy.controlplane.demo.children}.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.demo.children import Child, twistdWords

__all__ = ["Processes"]


class Processes(Clock):
    """
    A reactor that starts nothing.
    """

    def __init__(self) -> None:
        Clock.__init__(self)
        self.commands: list[list[str]] = []
        self.signals: list[str] = []
        self.isGone = False

    def spawnProcess(self, protocol: Any, path: str, words: list[str], env: Any, childFDs: Any) -> None:
        """
        Note what is wanted.
        """
        self.commands.append(words)
        protocol.makeConnection(self)

    def signalProcess(self, name: str) -> None:
        """
        Note a signal.
        """
        if self.isGone:
            raise ProcessExitedAlready
        self.signals.append(name)


class ChildTests(SynchronousTestCase):
    """
    The life of a child.
    """

    def setUp(self) -> None:
        self.reactor = Processes()
        self.told: list[str] = []
        self.patch(shutil, "which", lambda name: None)
        self.child = Child("the Envoy of reviews-v1", ["/envoy", "-c", "f"], self.reactor, self.told.append)
        self.child.startService()

    def ended(self) -> None:
        """
        It ends.
        """
        self.child.processEnded(Failure(ProcessDone(0)))

    def test_needs(self) -> None:
        """
        One that needs something is started when that is there, and not at all if it is to end before.
        """
        path = Path(self.mktemp())
        for appears in (True, False):
            self.reactor.commands.clear()
            child = Child("it", ["/it"], self.reactor, self.told.append, path)
            child.startService()
            self.reactor.advance(1)
            self.assertEqual(self.reactor.commands, [])
            if appears:
                path.write_text("")
                self.reactor.pump([0.1])
                self.assertEqual(self.reactor.commands, [["/it"]])
                path.unlink()
            else:
                self.successResultOf(child.stopService())
                self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stop(self) -> None:
        """
        It is asked to end, and waited for.
        """
        self.assertEqual(self.reactor.commands[0][:2], ["/envoy", "-c"])
        stopped = self.child.stopService()
        self.assertEqual(self.reactor.signals, ["TERM"])
        self.assertNoResult(stopped)
        self.ended()
        self.successResultOf(stopped)
        self.assertEqual((self.reactor.getDelayedCalls(), self.told), ([], []))

    def test_withUs(self) -> None:
        """
        The kernel is asked to end it when this process does, by the program that can ask.
        """
        self.patch(shutil, "which", {"setpriv": "/bin/setpriv"}.get)
        self.child.startService()
        self.assertEqual(self.reactor.commands[1], ["/bin/setpriv", "--pdeathsig", "TERM", *self.reactor.commands[0]])

    def test_kill(self) -> None:
        """
        If it does not listen, it is made to end.
        """
        stopped = self.child.stopService()
        self.reactor.advance(5)
        self.assertEqual(self.reactor.signals, ["TERM", "KILL"])
        self.ended()
        self.successResultOf(stopped)

    def test_alone(self) -> None:
        """
        One that ends by itself is told of, after the moment that a Ctrl-C may take to come to us.
        """
        self.ended()
        self.assertEqual(self.told, [])
        self.reactor.advance(1)
        self.assertIn("the Envoy of reviews-v1 ended", self.told[0])
        self.successResultOf(self.child.stopService())

    def test_restarts(self) -> None:
        """
        One that is to go on is started again, unless it was to end meanwhile.
        """
        child = Child("the control plane", ["/control"], self.reactor, self.told.append, restarts=True)
        child.startService()
        for _ in range(2):
            child.processEnded(Failure(ProcessDone(9)))
            self.reactor.advance(1)
        self.assertEqual(self.reactor.commands[1:], [["/control"]] * 3)
        child.processEnded(Failure(ProcessDone(9)))
        self.successResultOf(child.stopService())
        self.reactor.advance(10)
        self.assertEqual((len(self.reactor.commands), self.told), (4, []))

    def test_together(self) -> None:
        """
        A Ctrl-C that it got first is no fault.
        """
        self.ended()
        self.successResultOf(self.child.stopService())
        self.reactor.advance(10)
        self.assertEqual(self.told, [])

    def test_gone(self) -> None:
        """
        One that is gone, and has not told yet, takes no signal.
        """
        self.reactor.isGone = True
        stopped = self.child.stopService()
        self.ended()
        self.successResultOf(stopped)

    def test_twistd(self) -> None:
        """
        A child of this program is run by the same Python, wherever its scripts are.
        """
        words = twistdWords("proxy", "-c", "f")
        self.assertEqual((words[0], words[-5:]), (sys.executable, ["-n", "meshproxy", "proxy", "-c", "f"]))
