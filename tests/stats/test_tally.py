"""
Tests for L{meshproxy.stats.tally}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.stats.metrics import Counter
from meshproxy.stats.store import Store
from meshproxy.stats.tally import Tally


class TallyTests(SynchronousTestCase):
    """
    L{Tally} counts once, and spreads that over several counters.
    """

    def setUp(self) -> None:
        self.total = Counter("total")
        self.classes: dict[int, Counter] = {}
        self.asked: list[int] = []
        self.tally = Tally(self.countersOf)

    def countersOf(self, status: int) -> tuple[Counter, ...]:
        """
        A status moves the total and its class.
        """
        self.asked.append(status)
        return self.total, self.classes.setdefault(status // 100, Counter(f"{status // 100}xx"))

    def test_spread(self) -> None:
        """
        Each of a key's counters grows by how often it came, and what several keys share by all of them.
        """
        for status in (200, 200, 204, 503):
            self.tally.add(status)
        self.assertEqual(self.total.value, 0)
        self.tally.spread()
        self.assertEqual(self.total.value, 4)
        self.assertEqual({key: counter.value for key, counter in self.classes.items()}, {2: 3, 5: 1})

    def test_onlyOnce(self) -> None:
        """
        What was spread is not spread again; what comes later is.
        """
        self.tally.add(200)
        self.tally.spread()
        self.tally.spread()
        self.assertEqual(self.total.value, 1)
        self.tally.counts[200] += 1
        self.tally.spread()
        self.assertEqual(self.total.value, 2)

    def test_keysStay(self) -> None:
        """
        A key that came once is there for the hot path to add to, and its counters are asked for no more.
        """
        for _ in range(3):
            self.tally.add(200)
            self.tally.spread()
            self.assertEqual(self.tally.counts, {200: 0})
        self.assertEqual(self.asked, [200])

    def test_unused(self) -> None:
        """
        A key that did not come asks for no counters and leaves none written: C{usedonly} does not show them.
        """
        self.tally.counts[500] = 0
        self.tally.spread()
        self.assertEqual(self.asked, [])
        self.assertFalse(self.total.used)


class StoreTests(SynchronousTestCase):
    """
    A store spreads the tallies of its scopes before anybody looks.
    """

    def setUp(self) -> None:
        self.store = Store()
        self.scope = self.store.scope("http.a.")
        self.counter = self.scope.counter("rq")
        self.tally: Tally[int] = self.scope.tally(lambda key: (self.counter,))

    def test_looked(self) -> None:
        """
        Whoever takes the counters from the store sees all that was counted.
        """
        self.tally.add(200)
        self.assertEqual(self.store.counters["http.a.rq"].value, 1)

    def test_reset(self) -> None:
        """
        What was counted before a reset does not come back after it.
        """
        self.tally.add(200)
        self.store.resetCounters()
        self.assertEqual(self.store.counters["http.a.rq"].value, 0)

    def test_closed(self) -> None:
        """
        The last counts of a scope that closes reach counters which others hold on to; then the store knows the tally
        no more.
        """
        held = self.store.scope("http.").counter("a.rq")
        self.tally.add(200)
        self.scope.close()
        self.assertEqual(held.value, 1)
        self.tally.add(200)
        self.assertEqual(self.store.counters["http.a.rq"].value, 1)
