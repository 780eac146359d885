"""
Tests for L{meshproxy.stats.statsd}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.stats import Store, TagExtractor
from meshproxy.stats.statsd import StatsdWriter, batched


class StatsdWriterTests(SynchronousTestCase):
    """
    L{StatsdWriter}.
    """

    def setUp(self) -> None:
        """
        A store.
        """
        self.store = Store()
        self.scope = self.store.scope("cluster.a.")

    def told(self, writer: StatsdWriter) -> list[str]:
        """
        What is told of an interval that ends now.
        """
        self.store.flush()
        return list(writer.messages())

    def test_counters(self) -> None:
        """
        By how much a counter grew, also if that is nothing; one that was never used is not told, and one that was set
        to 0 counts from there.
        """
        writer = StatsdWriter(self.store)
        counter = self.scope.counter("x")
        self.assertEqual(self.told(writer), [])
        for grows, expected in ((3, 3), (0, 0), (2, 2)):
            counter.value += grows
            self.assertEqual(self.told(writer), [f"envoy.cluster.a.x:{expected}|c"])
        self.store.resetCounters()
        counter.value += 1
        self.assertEqual(self.told(writer), ["envoy.cluster.a.x:1|c"])

    def test_gone(self) -> None:
        """
        A counter that went away and came back begins anew.
        """
        writer = StatsdWriter(self.store)
        self.scope.counter("x").value += 3
        self.told(writer)
        self.scope.close()
        self.assertEqual(self.told(writer), [])
        self.store.scope("cluster.a.").counter("x").value += 5
        self.assertEqual(self.told(writer), ["envoy.cluster.a.x:5|c"])

    def test_gauges(self) -> None:
        """
        A gauge's value.
        """
        self.scope.gauge("unused")
        self.scope.gauge("x").value = 7
        self.assertEqual(self.told(StatsdWriter(self.store, "mesh")), ["mesh.cluster.a.x:7|g"])

    def test_histograms(self) -> None:
        """
        The values of the interval, each with the rate that makes as many of it as there were.
        """
        writer = StatsdWriter(self.store)
        histogram = self.scope.histogram("h")
        for value in (3, 3, 3, 3, 0.5):
            histogram.record(value)
        self.assertEqual(self.told(writer), ["envoy.cluster.a.h:0.5|ms", "envoy.cluster.a.h:3|ms|@0.25"])
        self.assertEqual(self.told(writer), [])

    def test_tags(self) -> None:
        """
        DogStatsD gets labels beside a name without them, extracted or given.
        """
        self.scope.counter("upstream_rq_total").value += 1
        self.store.scope().gauge("mine", (("k", "v"), ("l", "w"))).value = 2
        self.store.scope("server.").gauge("live").value = 1
        self.assertEqual(
            self.told(StatsdWriter(self.store, "p", TagExtractor())),
            ["p.cluster.upstream_rq_total:1|c|#envoy.cluster_name:a", "p.mine:2|g|#k:v,l:w", "p.server.live:1|g"],
        )


class BatchedTests(SynchronousTestCase):
    """
    L{batched}.
    """

    def test_each(self) -> None:
        """
        Without a limit each message has a datagram.
        """
        self.assertEqual(list(batched(iter(["a", "b"]))), [b"a", b"b"])
        self.assertEqual(list(batched(iter([]))), [])

    def test_limit(self) -> None:
        """
        With one as many go together as fit, line ends counted; what does not fit at all goes alone.
        """
        self.assertEqual(
            list(batched(iter(["aa", "bb", "c", "dddddd", "e", "f"]), 5)), [b"aa\nbb", b"c", b"dddddd", b"e\nf"]
        )
