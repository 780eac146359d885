"""
Tests for L{meshproxy.stats.store}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.stats.metrics import Counter
from meshproxy.stats.store import Store, statName


class StoreTests(SynchronousTestCase):
    """
    L{Store} and L{Scope} share metrics by name, as long as somebody holds them.
    """

    def setUp(self) -> None:
        self.store = Store()

    def test_names(self) -> None:
        """
        Prefixes add up, and what tools would stumble over is replaced.
        """
        scope = self.store.scope("listener.0.0.0.0:80.").scope("http.in.")
        self.assertEqual(scope.counter("downstream_rq_total").name, "listener.0.0.0.0_80.http.in.downstream_rq_total")
        self.assertEqual(statName("http://a:/b\0"), "http_a_b_")

    def test_sameMetric(self) -> None:
        """
        The same name gives the same object, from any scope.
        """
        first = self.store.scope("cluster.a.").counter("x")
        self.assertIs(self.store.scope("cluster.a.").counter("x"), first)
        self.assertIs(self.store.scope("cluster.").counter("a.x"), first)

    def test_kindsApart(self) -> None:
        """
        A counter and a gauge may bear one name.
        """
        scope = self.store.scope("a.")
        scope.counter("x").value += 1
        scope.gauge("x").value += 2
        self.assertEqual((scope.counter("x").value, scope.gauge("x").value), (1, 2))
        scope.close()
        self.assertEqual(list(self.store.metrics()), [])

    def test_replacedKeepsValues(self) -> None:
        """
        When a cluster is replaced, the new scope opens before the old one closes, and the numbers go on.
        """
        old = self.store.scope("cluster.a.")
        old.counter("x").value += 5
        new = self.store.scope("cluster.a.")
        self.assertEqual(new.counter("x").value, 5)
        old.close()
        self.assertEqual(self.store.counters["cluster.a.x"].value, 5)
        new.close()
        self.assertNotIn("cluster.a.x", self.store.counters)

    def test_closeOnce(self) -> None:
        """
        Asking twice is one hold, closing twice one release.
        """
        keeper = self.store.scope("a.")
        keeper.counter("x")
        scope = self.store.scope("a.")
        scope.counter("x")
        scope.counter("x")
        scope.close()
        scope.close()
        self.assertIn("a.x", self.store.counters)

    def test_closeChildren(self) -> None:
        """
        A scope takes the scopes within it along.
        """
        scope = self.store.scope("cluster.a.")
        scope.scope("retry.").counter("upstream_rq")
        scope.close()
        self.assertEqual(self.store.counters, {})

    def test_closeTallied(self) -> None:
        """
        What was tallied and not looked at leaves nothing behind in scopes within or beside the tally's.
        """
        scope = self.store.scope("cluster.a.")
        within, beside = scope.scope("external."), scope.scope("retry.")

        def inside(key: int) -> tuple[Counter, ...]:
            return (within.counter(f"upstream_rq_{key}"),)

        def around(key: int) -> tuple[Counter, ...]:
            return scope.counter(f"x_{key}"), within.counter(f"y_{key}")

        scope.tally(inside).add(200)
        beside.tally(around).add(503)
        scope.close()
        self.assertEqual(self.store.counters, {})

    def test_reopenedMetricIsNew(self) -> None:
        """
        A cluster that was removed and comes back later begins at 0; the old object no longer shows.
        """
        scope = self.store.scope("a.")
        stale = scope.counter("x")
        scope.close()
        fresh = self.store.scope("a.").counter("x")
        stale.value += 1
        self.assertEqual(fresh.value, 0)

    def test_sums(self) -> None:
        """
        One name may be recorded under by one scope, and be a sum to another, whoever comes first: it shows all of it.
        """
        for sumFirst in (False, True):
            store = Store()
            part = store.scope("b.").histogram("x")
            scopes = [store.scope("a."), store.scope("a.")]
            if sumFirst:
                scopes[1].histogramOf("x", part)
            plain = scopes[0].histogram("x")
            summed = scopes[1].histogramOf("x", part)
            plain.record(1)
            part.record(2)
            self.assertIs(scopes[0].histogram("x"), plain)
            self.assertEqual((store.histograms["a.x"].bins, summed.bins), ({1: 1, 2: 1}, {1: 1, 2: 1}), sumFirst)
            scopes[1].close()
            plain.record(1)
            self.assertNotIn("a.x", store.histograms)

    def test_families(self) -> None:
        """
        Metrics with a variable end are made when they are first counted.
        """
        scope = self.store.scope("cluster.a.")
        codes = scope.counters("upstream_rq_")
        self.assertEqual(self.store.counters, {})
        codes[200].value += 1
        codes["2xx"].value += 1
        scope.histograms("zone.")["b"].record(1)
        self.assertEqual(sorted(self.store.counters), ["cluster.a.upstream_rq_200", "cluster.a.upstream_rq_2xx"])
        self.assertEqual(list(self.store.histograms), ["cluster.a.zone.b"])
        scope.close()
        self.assertEqual(list(self.store.metrics()), [])

    def test_tags(self) -> None:
        """
        Labels given with a metric are part of its identity.
        """
        scope = self.store.scope()
        one = scope.counter("istio_requests_total", [("response_code", "200")])
        other = scope.counter("istio_requests_total", [("response_code", "404")])
        self.assertIsNot(one, other)
        self.assertEqual(one.name, "istio_requests_total.response_code.200")
        self.assertEqual((one.base, one.tags), ("istio_requests_total", (("response_code", "200"),)))

    def test_refused(self) -> None:
        """
        What the configuration leaves out works, and shows nowhere; each scope gets one object for it.
        """
        store = Store(accepts=lambda name: "secret" not in name)
        scope = store.scope("secret.")
        scope.counter("x").value += 1
        self.assertEqual(scope.counter("x").value, 1)
        self.assertEqual(store.counters, {})
        scope.close()

    def test_boundaries(self) -> None:
        """
        Buckets may depend on the name.
        """
        store = Store(boundaries=lambda name: (1, 2) if name.startswith("a.") else (3,))
        self.assertEqual(store.scope("a.").histogram("h").boundaries, (1, 2))
        self.assertEqual(store.scope("b.").histogram("h").boundaries, (3,))

    def test_configure(self) -> None:
        """
        Rules that come later hold for what is made later.
        """
        self.store.scope("a.").counter("x")
        self.store.configure(lambda name: False, lambda name: (7,))
        self.store.scope("a.").counter("y")
        self.assertEqual(list(self.store.counters), ["a.x"])

    def test_resetAndFlush(self) -> None:
        """
        Both reach all metrics of their kind.
        """
        scope = self.store.scope("a.")
        scope.counter("x").value += 1
        scope.gauge("y").value += 1
        scope.histogram("h").record(1)
        self.store.resetCounters()
        self.store.flush()
        self.assertEqual((scope.counter("x").value, scope.gauge("y").value), (0, 1))
        self.assertEqual(scope.histogram("h").intervalBins, {1: 1})

    def test_version(self) -> None:
        """
        Readers can tell that the set of metrics changed; values do not count.
        """
        scope = self.store.scope("a.")
        counter = scope.counter("x")
        before = self.store.version
        counter.value += 1
        scope.counter("x")
        self.assertEqual(self.store.version, before)
        scope.close()
        self.assertNotEqual(self.store.version, before)
