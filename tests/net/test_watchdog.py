"""
Tests for L{meshproxy.net.watchdog}.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.net.watchdog import Watchdog
from meshproxy.stats import Store


class WatchdogTests(SynchronousTestCase):
    """
    L{Watchdog}.
    """

    def setUp(self) -> None:
        """
        A watchdog that looks.
        """
        self.clock = Clock()
        self.store = Store()
        self.watchdog = Watchdog(self.clock, self.store.scope("main_thread."), self.store.scope("server.main_thread."))
        self.watchdog.startService()

    def counted(self) -> tuple[int, int]:
        """
        Misses and mega misses, which both trees agree on.
        """
        found = [
            tuple(int(self.store.counters[f"{tree}.watchdog_{kind}"].value) for kind in ("miss", "mega_miss"))
            for tree in ("main_thread", "server.main_thread")
        ]
        self.assertEqual(found[0], found[1])
        return found[0]  # type: ignore[return-value]  # of two

    def test_inTime(self) -> None:
        """
        A reactor that keeps its times is not noted.
        """
        self.clock.pump([0.1] * 50)
        self.assertEqual(self.counted(), (0, 0))

    def test_late(self) -> None:
        """
        More than 200 ms is a miss, more than a second is a mega miss as well.
        """
        self.clock.advance(0.5)
        self.assertEqual(self.counted(), (1, 0))
        self.clock.advance(1.5)
        self.assertEqual(self.counted(), (2, 1))
        self.clock.pump([0.1] * 50)
        self.assertEqual(self.counted(), (2, 1))

    def test_stop(self) -> None:
        """
        After it stopped it looks no more.
        """
        self.watchdog.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        Watchdog(self.clock).stopService()
