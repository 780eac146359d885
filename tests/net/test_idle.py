"""
L{meshproxy.net.idle}.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.net.idle import IdleWatch


class Worker:
    """
    Something that is busy or idle.
    """

    def __init__(self) -> None:
        self.since: float | None = 0.0


class IdleWatchTests(SynchronousTestCase):
    """
    Watching for idleness of ten seconds.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.over: list[float] = []
        self.watch: IdleWatch[Worker] = IdleWatch(
            self.clock, 10, lambda worker: worker.since, lambda worker: self.over.append(self.clock.seconds())
        )
        self.worker = Worker()
        self.watch.start(self.worker)

    def at(self, when: float) -> None:
        """
        Let time pass, in small steps, until a moment.
        """
        while self.clock.seconds() < when:
            self.clock.advance(0.125)

    def test_neverActive(self) -> None:
        """
        One that was never active is over after the time-out, once.
        """
        self.at(9.75)
        self.assertEqual(self.over, [])
        self.assertIn(self.worker, self.watch)
        self.at(60)
        self.assertEqual(self.over, [10])
        self.assertNotIn(self.worker, self.watch)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lastActivity(self) -> None:
        """
        The time-out counts from the last activity, though nobody told the watch of it.
        """
        self.at(7)
        self.worker.since = 7
        self.at(60)
        self.assertEqual(self.over, [17])

    def test_activeAgain(self) -> None:
        """
        Activity between the look and the end moves the end.
        """
        self.worker.since = 5
        self.at(14)
        self.worker.since = 14
        self.at(60)
        self.assertEqual(self.over, [24])

    def test_busy(self) -> None:
        """
        One that is busy is not idle, however long it takes; its time begins when it becomes idle.
        """
        self.worker.since = None
        self.at(35)
        self.assertEqual(self.over, [])
        self.worker.since = 35
        self.at(80)
        self.assertEqual(self.over, [45])

    def test_stop(self) -> None:
        """
        One that is not watched any more is not told, whether it waits for a look or for its end; no timer is left.
        """
        other = Worker()
        self.watch.start(other)
        self.watch.stop(other)
        self.worker.since = 5
        self.at(11)
        self.watch.stop(self.worker)
        self.watch.stop(self.worker)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.at(60)
        self.assertEqual(self.over, [])

    def test_stopAll(self) -> None:
        """
        With the last one its timer goes, and comes back with the next one.
        """
        other = Worker()
        self.watch.start(other)
        self.watch.stop(other)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.watch.stop(self.worker)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.at(5)
        self.worker.since = 5
        self.watch.start(self.worker)
        self.at(60)
        self.assertEqual(self.over, [15])
