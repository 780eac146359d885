"""
L{meshproxy.upstream.ondemand}.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.stats import Store
from meshproxy.upstream.ondemand import Found, OnDemandClusters, OnDemandHosts


class OnDemandClustersTests(SynchronousTestCase):
    """
    L{OnDemandClusters}, with the control plane in the test's hands.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.known: set[str] = set()
        self.store = Store()
        self.clusters = OnDemandClusters(self.store, self.clock, self.known, most=3)
        self.changes = 0
        self.clusters.changed = self.changed

    def changed(self) -> None:
        """
        Other names are asked for.
        """
        self.changes += 1

    def ask(self, name: str, timeout: float = 5.0) -> Deferred[Found]:
        """
        Ask for a cluster.
        """
        return self.clusters.ask(name, timeout)

    def counted(self, name: str) -> int:
        """
        A figure.
        """
        return self.store.counters[f"cluster_manager.odcds.{name}"].value

    def test_comes(self) -> None:
        """
        Who waits is told when a cluster serves, not when it has come; it is asked for once, and goes on to be.
        """
        waiting = [self.ask("a"), self.ask("a")]
        self.assertEqual((self.clusters.names, self.changes), ({"a"}, 1))
        self.clusters.received(["a"], [], "1")
        for each in waiting:
            self.assertNoResult(each)
        self.known.add("a")
        self.clusters.served()
        self.assertEqual([self.successResultOf(each) for each in waiting], [Found.AVAILABLE] * 2)
        self.assertEqual((self.clusters.names, self.clock.getDelayedCalls()), ({"a"}, []))
        self.assertEqual([self.counted(name) for name in ("update_attempt", "update_success")], [2, 1])

    def test_missing(self) -> None:
        """
        Who waits is told at once that a cluster does not exist. It is asked for again by who needs it next, and comes
        by itself when it is there.
        """
        waiting = self.ask("a")
        self.clusters.received([], ["a", "other"], "1")
        self.assertEqual(self.successResultOf(waiting), Found.MISSING)
        self.assertEqual((self.clusters.names, self.clusters.again), ({"a"}, set()))
        again = self.ask("a")
        self.assertEqual((self.clusters.again, self.changes), ({"a"}, 2))
        self.known.add("a")
        self.clusters.served()
        self.assertEqual(self.successResultOf(again), Found.AVAILABLE)

    def test_timeout(self) -> None:
        """
        The time of the first who waits is that of all.
        """
        first = self.ask("a", 5.0)
        self.clock.advance(4)
        second = self.ask("a", 5.0)
        self.clock.advance(1)
        self.assertEqual([self.successResultOf(each) for each in (first, second)], [Found.TIMEOUT] * 2)
        self.assertEqual(self.clusters.names, {"a"})

    def test_cancel(self) -> None:
        """
        Who is gone is forgotten; the search goes on for the others.
        """
        gone, waiting = self.ask("a"), self.ask("a")
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        self.known.add("a")
        self.clusters.served()
        self.assertEqual(self.successResultOf(waiting), Found.AVAILABLE)

    def test_absentOnesAreFew(self) -> None:
        """
        Of names that are not there and that nobody waits for, only the last ones stay asked for; those that are there
        do not count.
        """
        self.ask("there")
        self.known.add("there")
        self.clusters.served()
        for number in range(8):
            self.ask(f"n{number}")
            self.clusters.received([], [f"n{number}"], "1")
        self.assertEqual(self.clusters.names, {"there", "n5", "n6", "n7"})
        self.known.clear()
        self.clusters.served()
        self.assertEqual(self.clusters.names, {"there", "n6", "n7"})

    def test_searchesAreFew(self) -> None:
        """
        While too many names are waited for no other is asked for, and never one that is too long.
        """
        waiting = [self.ask(name) for name in "abc"]
        self.assertEqual(self.successResultOf(self.ask("d")), Found.MISSING)
        self.assertNoResult(self.ask("a"))
        self.clusters.received([], ["a"], "1")
        self.assertEqual(self.successResultOf(waiting[0]), Found.MISSING)
        self.assertNoResult(self.ask("d"))
        self.clusters.received([], ["b"], "1")
        self.assertEqual(self.successResultOf(self.ask("x" * 1025)), Found.MISSING)
        self.assertEqual(self.clusters.names, {"a", "b", "c", "d"})

    def test_stop(self) -> None:
        """
        At the end nobody waits.
        """
        waiting = self.ask("a")
        self.clusters.stop()
        self.assertEqual(self.successResultOf(waiting), Found.MISSING)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class OnDemandHostsTests(SynchronousTestCase):
    """
    L{OnDemandHosts}.
    """

    def setUp(self) -> None:
        self.hosts = OnDemandHosts(Clock(), most=2)

    def test_aliases(self) -> None:
        """
        A resource is for all that is asked for and that it has as aliases, for as long as it is there.
        """
        waiting = [self.hosts.ask(name, 5.0) for name in ("r/a", "r/b")]
        self.hosts.came({"r/all": ("r/a", "r/b", "r/other")}, {"r/all"})
        for each in waiting:
            self.assertNoResult(each)
        self.hosts.served()
        self.assertEqual([self.successResultOf(each) for each in waiting], [Found.AVAILABLE] * 2)
        self.assertEqual([self.hosts.isAnswered(name) for name in ("r/a", "r/b", "r/other")], [True, True, False])
        self.hosts.missing(["r/all"])
        self.assertEqual([self.hosts.isAnswered(name) for name in ("r/a", "r/b")], [False, False])
        self.hosts.ask("r/a", 5.0)
        self.assertEqual(self.hosts.again, {"r/a"})

    def test_moreAliases(self) -> None:
        """
        A resource that comes again for another name goes for both.
        """
        for name in ("r/a", "r/b"):
            self.hosts.ask(name, 5.0)
            self.hosts.came({"r/all": (name,)}, {"r/all"})
            self.hosts.served()
        self.hosts.missing(["r/all"])
        self.assertEqual([self.hosts.isAnswered(name) for name in ("r/a", "r/b")], [False, False])

    def test_endedAtOnce(self) -> None:
        """
        Who asks for what nobody takes any more, which is found out by asking, is told so.
        """
        self.hosts.changed = lambda: self.hosts.only(set())
        self.assertEqual(self.successResultOf(self.hosts.ask("r/a", 5.0)), Found.MISSING)
        self.assertEqual(self.hosts.names, set())

    def test_undo(self) -> None:
        """
        What was wrong does not serve, whatever else begins to.
        """
        waiting = self.hosts.ask("r/a", 5.0)
        self.hosts.undo(self.hosts.came({"r/a": ()}, {"r/a"}))
        self.hosts.served()
        self.assertNoResult(waiting)

    def test_only(self) -> None:
        """
        Who waits for hosts of a configuration that is gone is told.
        """
        waiting, other = self.hosts.ask("r/a", 5.0), self.hosts.ask("s/a", 5.0)
        self.hosts.only({"s"})
        self.assertEqual(self.successResultOf(waiting), Found.MISSING)
        self.assertNoResult(other)
        self.assertEqual(self.hosts.names, {"s/a"})
        self.hosts.stop()
