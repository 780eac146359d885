"""
L{meshproxy.net.deadlines}.
"""

from __future__ import annotations

from random import Random

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.net.deadlines import Deadlines, DeadlinesByLength, SpreadDeadlines


class DeadlinesTests(SynchronousTestCase):
    """
    Owners that wait equally long.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.over: list[tuple[str, float]] = []
        self.deadlines: Deadlines[str] = Deadlines(self.clock, 10, self.expired)

    def expired(self, owner: str) -> None:
        """
        Remember whose time was over, and when.
        """
        self.over.append((owner, self.clock.seconds()))

    def test_order(self) -> None:
        """
        Each owner's time ends as long after its start as it should, give or take the pace of the queue.
        """
        for number in range(5):
            self.deadlines.start(str(number))
            self.clock.advance(1)
        self.clock.pump([0.01] * 1500)
        self.assertEqual([owner for owner, _ in self.over], list("01234"))
        for owner, when in self.over:
            self.assertGreaterEqual(when, int(owner) + 10)
            self.assertLess(when, int(owner) + 10 + 0.1)

    def test_oneTimer(self) -> None:
        """
        Thousands of owners are one timer; nobody waiting is none, once it struck.
        """
        for number in range(1000):
            self.deadlines.start(str(number))
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.assertEqual(len(self.deadlines), 1000)
        for number in range(1000):
            self.deadlines.cancel(str(number))
        self.clock.advance(10)
        self.assertEqual(self.over, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancel(self) -> None:
        """
        One who is cancelled is not told; cancelling twice, or one who never waited, is harmless.
        """
        self.deadlines.start("a")
        self.deadlines.start("b")
        self.deadlines.cancel("a")
        self.deadlines.cancel("a")
        self.deadlines.cancel("c")
        self.assertNotIn("a", self.deadlines)
        self.assertIn("b", self.deadlines)
        self.clock.advance(10)
        self.assertEqual(self.over, [("b", 10)])

    def test_restart(self) -> None:
        """
        One who starts again waits anew, behind those who came meanwhile.
        """
        self.deadlines.start("a")
        self.clock.advance(4)
        self.deadlines.start("b")
        self.clock.advance(4)
        self.deadlines.start("a")
        self.clock.pump([0.01] * 1100)
        self.assertEqual([owner for owner, _ in self.over], ["b", "a"])
        self.assertGreaterEqual(self.over[1][1], 18)

    def test_givenNow(self) -> None:
        """
        The caller's own reading of the clock counts.
        """
        self.clock.advance(3)
        self.deadlines.start("a", 1.0)
        self.assertEqual(self.deadlines.waiting["a"], 11.0)

    def test_startedByExpiry(self) -> None:
        """
        Whose time is over may start again at once; others that were started by that are no less served.
        """

        def expired(owner: str) -> None:
            self.expired(owner)
            deadlines.start(owner)

        deadlines: Deadlines[str] = Deadlines(self.clock, 1, expired)
        deadlines.start("a")
        self.clock.pump([0.25] * 17)
        self.assertEqual(len(self.over), 4)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_cancelledByExpiry(self) -> None:
        """
        An end that cancels another one's wait, due at the same moment, is respected.
        """

        def expired(owner: str) -> None:
            self.expired(owner)
            deadlines.cancel("b")

        deadlines: Deadlines[str] = Deadlines(self.clock, 1, expired)
        deadlines.start("a")
        deadlines.start("b")
        self.clock.advance(1)
        self.assertEqual(self.over, [("a", 1)])

    def test_raises(self) -> None:
        """
        What one owner's end raises is logged, and the others' come all the same.
        """

        def expired(owner: str) -> None:
            if owner == "bad":
                raise ZeroDivisionError
            self.expired(owner)

        deadlines: Deadlines[str] = Deadlines(self.clock, 1, expired)
        deadlines.start("bad")
        deadlines.start("good")
        self.clock.advance(1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.over, [("good", 1)])

    def test_pace(self) -> None:
        """
        A steady stream of owners shares timers: the queue looks some hundred times in its length, not once for each.
        """
        looks = 0
        callLater = self.clock.callLater

        def counting(*args: object, **kwargs: object) -> object:
            nonlocal looks
            looks += 1
            return callLater(*args, **kwargs)  # type: ignore[arg-type]  # as it was called

        self.clock.callLater = counting  # type: ignore[method-assign, assignment]  # to count
        for number in range(20000):
            self.deadlines.start(str(number))
            self.clock.advance(0.001)
        self.assertLess(looks, 600)
        self.assertGreater(len(self.over), 9000)


class SpreadDeadlinesTests(SynchronousTestCase):
    """
    Times with a random part.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.over: list[tuple[str, float]] = []
        self.random = Random(5)
        self.deadlines: SpreadDeadlines[str] = SpreadDeadlines(
            self.clock, 10.0, 5.0, self.random.random, lambda owner: self.over.append((owner, self.clock.seconds()))
        )

    def test_spread(self) -> None:
        """
        Owners that begin together wait for all times from the shortest to the longest, with few timers.
        """
        for number in range(1000):
            self.deadlines.start(str(number))
        self.assertEqual(len(self.deadlines), 1000)
        self.assertLessEqual(len(self.clock.getDelayedCalls()), 64)
        while self.deadlines:
            self.clock.advance(0.01)
        self.assertEqual(len(self.over), 1000)
        times = [time for _, time in self.over]
        self.assertGreaterEqual(min(times), 9.99)
        self.assertLess(max(times), 15.1)
        for begin in (10, 11, 12, 13, 14):
            self.assertTrue(150 < sum(begin <= time + 0.02 < begin + 1 for time in times) < 250, times)

    def test_ends(self) -> None:
        """
        The least number waits for the shortest time, the greatest for the longest.
        """
        numbers = iter((0.0, 0.999999))
        for most in (10.0, 15.0):
            deadlines: SpreadDeadlines[str] = SpreadDeadlines(
                self.clock, 10.0, 5.0, lambda: next(numbers), lambda owner: self.over.append((owner, 0.0))
            )
            deadlines.start("a")
            self.clock.advance(most - 0.01)
            self.assertEqual(self.over, [])
            self.clock.advance(0.01)
            self.assertEqual(self.over.pop(), ("a", 0.0))

    def test_cancel(self) -> None:
        """
        One who is cancelled does not come, and may begin again; one who begins twice comes once.
        """
        self.deadlines.cancel("nobody")
        self.deadlines.start("a")
        self.assertIn("a", self.deadlines)
        self.deadlines.cancel("a")
        self.assertNotIn("a", self.deadlines)
        self.clock.advance(20)
        self.assertEqual(self.over, [])
        self.deadlines.start("a")
        self.clock.advance(3)
        self.deadlines.start("a", self.clock.seconds())
        self.clock.pump([0.05] * 400)
        ((_, time),) = self.over
        self.assertTrue(32.9 < time < 38.1, time)
        self.assertNotIn("a", self.deadlines)


class DeadlinesByLengthTests(SynchronousTestCase):
    """
    Queues by their length.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.over: list[str] = []
        self.queues: DeadlinesByLength[str] = DeadlinesByLength(self.clock, self.over.append)

    def test_same(self) -> None:
        """
        A length has one queue, which waits that long.
        """
        self.queues[2.0].start("two")
        self.assertIs(self.queues[2.0], self.queues[2.0])
        self.clock.advance(1.9)
        self.assertEqual(self.over, [])
        self.clock.advance(0.1)
        self.assertEqual(self.over, ["two"])

    def test_forgotten(self) -> None:
        """
        Queues that nobody waits in are forgotten when there are many, and their timers with them; the rest stays.
        """
        self.queues[1e6].start("late")
        for number in range(10000):
            queue = self.queues[float(number + 1)]
            queue.start("x")
            queue.cancel("x")
        self.assertLess(len(self.queues), 1000)
        self.assertLess(len(self.clock.getDelayedCalls()), 1000)
        self.assertIn(1e6, self.queues)
        self.clock.advance(1e6)
        self.assertEqual(self.over, ["late"])

    def test_usedAfterwards(self) -> None:
        """
        Who has got a queue goes on using it, be it forgotten.
        """
        mine = self.queues[5.0]
        mine.start("before")
        mine.cancel("before")
        for number in range(10000):
            self.queues[float(number + 10)]
        self.assertNotIn(5.0, self.queues)
        mine.start("mine")
        self.clock.advance(5.0)
        self.assertEqual(self.over, ["mine"])

    def test_manyThatWait(self) -> None:
        """
        Where many wait for many lengths, none is forgotten.
        """
        for number in range(1000):
            self.queues[float(number + 1)].start(str(number))
        self.assertEqual(len(self.queues), 1000)
        self.clock.advance(1000.0)
        self.assertEqual(self.over, [str(number) for number in range(1000)])
