"""
L{meshproxy.controlplane.demo.children}.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
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
        self.reactor.advance(8)
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

    def restarting(self) -> Child:
        """
        One that is to go on.
        """
        child = Child("the control plane", ["/control"], self.reactor, self.told.append, restarts=True)
        self.reactor.commands.clear()
        child.startService()
        return child

    def test_restarts(self) -> None:
        """
        One that is to go on is started again, unless it was to end meanwhile.
        """
        child = self.restarting()
        for pause in (1, 2):
            child.processEnded(Failure(ProcessTerminated(None, 9)))
            self.reactor.advance(pause)
        self.assertEqual(self.reactor.commands, [["/control"]] * 3)
        child.processEnded(Failure(ProcessDone(9)))
        self.successResultOf(child.stopService())
        self.reactor.advance(100)
        self.assertEqual((len(self.reactor.commands), self.told), (3, []))

    def test_pauses(self) -> None:
        """
        One that ends again and again is started after pauses that grow, and then no more: that is told.
        """
        child = self.restarting()
        for number, pause in enumerate((1, 2, 4, 8, 16), 1):
            child.processEnded(Failure(ProcessTerminated(1)))
            self.reactor.advance(pause - 0.1)
            self.assertEqual(len(self.reactor.commands), number)
            self.reactor.advance(0.1)
            self.assertEqual(len(self.reactor.commands), number + 1)
        self.assertEqual(self.told, [])
        child.processEnded(Failure(ProcessTerminated(1)))
        self.reactor.advance(100)
        self.assertEqual(len(self.reactor.commands), 6)
        self.assertIn("the control plane ended with status 1, 6 times in a row: it is not started again", self.told[0])

    def test_ranWell(self) -> None:
        """
        What ended one before counts no more, once it ran well.
        """
        child = self.restarting()
        for _ in range(10):
            self.reactor.advance(60)
            child.processEnded(Failure(ProcessTerminated(None, 9)))
            self.reactor.advance(1)
        self.assertEqual((len(self.reactor.commands), self.told), (11, []))

    def test_how(self) -> None:
        """
        How it ended is said in words.
        """
        self.child.processEnded(Failure(ProcessTerminated(None, 9)))
        self.reactor.advance(1)
        self.assertEqual(self.told, ["the Envoy of reviews-v1 was ended by signal 9 (Killed)"])

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
