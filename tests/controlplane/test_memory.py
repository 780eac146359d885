"""
Tests for L{meshproxy.controlplane.memory}.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane import memory
from meshproxy.controlplane.memory import Quiet


class _Noted:
    """
    A collector that notes what it is told.
    """

    def __init__(self) -> None:
        self.told: list[str] = []

    def collect(self) -> int:
        self.told.append("collect")
        return 0

    def freeze(self) -> None:
        self.told.append("freeze")

    def unfreeze(self) -> None:
        self.told.append("unfreeze")


class QuietTests(SynchronousTestCase):
    """
    L{Quiet}.
    """

    def setUp(self) -> None:
        """
        One that looks.
        """
        self.made = 0
        self.clock, self.collector = Clock(), _Noted()
        self.quiet = Quiet(lambda: self.made, self.clock, self.collector)
        self.quiet.start()

    def pass_(self, made: int = 0) -> list[str]:
        """
        Make something, and let the time between two looks pass; what was collected.
        """
        self.made += made
        self.collector.told.clear()
        self.clock.advance(memory._INTERVAL)
        return list(self.collector.told)

    def test_quiet(self) -> None:
        """
        While things are made nothing is looked at, afterwards once.
        """
        self.assertEqual([self.pass_(), self.pass_(3), self.pass_(1)], [[], [], []])
        self.assertEqual(self.pass_(), ["collect", "freeze"])
        self.assertEqual(self.pass_(), [])
        self.pass_(1)
        self.assertEqual(self.pass_(), ["collect", "freeze"])

    def test_whole(self) -> None:
        """
        Now and then what was left alone is looked at as well.
        """
        self.patch(memory, "_WHOLE", 2)
        told = []
        for _ in range(4):
            self.pass_(1)
            told.append(self.pass_())
        short, whole = ["collect", "freeze"], ["unfreeze", "collect", "freeze"]
        self.assertEqual(told, [short, whole, short, whole])

    def test_stopped(self) -> None:
        """
        When it is over no call is left.
        """
        self.quiet.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.quiet.stop()
