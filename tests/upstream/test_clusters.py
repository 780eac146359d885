"""
L{meshproxy.upstream.clusters}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section
from meshproxy.stats import Store
from meshproxy.testing import MemoryNetwork, VirtualReactor
from meshproxy.upstream.cluster import Cluster
from meshproxy.upstream.clusters import Clusters
from tests.upstream.support import clusterSection, value


def named(name: str, *hosts: str, **fields: Any) -> Section:
    """
    A cluster of a name.
    """
    return clusterSection(*(hosts or ("192.0.2.1",)), **{"name": name, **fields})


class ClustersTests(SynchronousTestCase):
    """
    Sets of clusters that follow each other.
    """

    def setUp(self) -> None:
        self.reactor = VirtualReactor()
        self.network = MemoryNetwork(self.reactor)
        self.store = Store()
        self.clusters = Clusters(self.store, self.network, self.reactor, lambda: 0.0)

    def serve(self, *sections: Section) -> list[Cluster]:
        """
        Let these serve.
        """
        compiled = self.clusters.compile(sections)
        for section in sections:
            section.report.raiseIfAny()
        self.successResultOf(self.clusters.warm(compiled))
        self.clusters.replace(compiled)
        return compiled

    def counts(self) -> list[int | None]:
        """
        What the manager counted: added, modified, removed, and how many there are.
        """
        names = ("cluster_added", "cluster_modified", "cluster_removed", "active_clusters")
        return [value(self.store, f"cluster_manager.{name}") for name in names]

    def test_replace(self) -> None:
        """
        Clusters are added, modified and removed; one that did not change stays the object that it was.
        """
        byName = self.clusters.byName
        self.serve(named("a"), named("b"))
        self.assertEqual(self.counts(), [2, 0, 0, 2])
        a, b = byName["a"], byName["b"]
        self.serve(named("a"), named("b", connect_timeout="9s"), named("c"))
        self.assertEqual(self.counts(), [3, 1, 0, 3])
        self.assertIs(byName["a"], a)
        self.assertIsNot(byName["b"], b)
        self.serve(named("a"))
        self.assertEqual(self.counts(), [3, 1, 2, 1])
        # Routers hold the dictionary.
        self.assertIs(self.clusters.byName, byName)
        self.assertEqual(list(self.clusters), [a])
        self.clusters.stop()
        self.assertEqual(self.counts(), [3, 1, 3, 0])

    def test_metrics(self) -> None:
        """
        A modified cluster keeps its numbers, and a removed one leaves none.
        """
        [first] = self.serve(named("a"))
        first.stats.rqTotal.value += 5
        self.serve(named("a", connect_timeout="9s"))
        self.assertEqual(value(self.store, "cluster.a.upstream_rq_total"), 5)
        self.serve()
        self.assertIsNone(value(self.store, "cluster.a.upstream_rq_total"))

    def test_twins(self) -> None:
        """
        Two of one name are refused; nothing of what serves is touched.
        """
        self.serve(named("a"))
        sections = [named("b"), named("b", connect_timeout="9s")]
        compiled = self.clusters.compile(sections)
        self.assertIn("two clusters of the name 'b'", sections[1].report.errors[0].why)
        self.clusters.forget(compiled)
        self.assertEqual(list(self.clusters.byName), ["a"])
        self.assertIsNone(value(self.store, "cluster.b.membership_total"))

    def test_warming(self) -> None:
        """
        While a cluster looks for its first endpoints it is counted, and whoever warms it waits.
        """
        answer: Deferred[list[str]] = Deferred()
        self.network.resolve = lambda *asked: answer  # type: ignore[method-assign]  # it takes time
        compiled = self.clusters.compile([named("a"), named("d", "d.example", type="STRICT_DNS")])
        warming = self.clusters.warm(compiled)
        self.assertNoResult(warming)
        self.assertEqual(self.clusters.warming, ["d"])
        self.assertEqual(value(self.store, "cluster_manager.warming_clusters"), 1)
        answer.callback(["192.0.2.7"])
        self.successResultOf(warming)
        self.assertEqual(self.clusters.warming, [])
        self.assertEqual(value(self.store, "cluster_manager.warming_clusters"), 0)

    def test_forget(self) -> None:
        """
        Clusters that will not serve stop to look, and nobody waits for them; those that serve are left alone.
        """
        [a] = self.serve(named("a"))
        self.network.resolve = lambda *asked: Deferred()  # type: ignore[method-assign]  # never
        compiled = self.clusters.compile([named("a"), named("d", "d.example", type="STRICT_DNS")])
        warming = self.clusters.warm(compiled)
        self.clusters.forget(compiled)
        self.successResultOf(warming)
        self.assertEqual(self.clusters.warming, [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertIs(self.clusters.byName["a"], a)
        self.assertEqual(value(self.store, "cluster.a.membership_total"), 1)
        self.assertIsNone(value(self.store, "cluster.d.membership_total"))
