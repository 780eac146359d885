"""
Tests for L{meshproxy.stats.text}: the same lines as Envoy's for the same values.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.stats.query import StatsQuery
from meshproxy.stats.store import Store
from meshproxy.stats.text import chunked, number, percentile, textLines


def sampleStore() -> Store:
    """
    A store with something of each kind.
    """
    store = Store()
    scope = store.scope("cluster.ok.")
    scope.counter("upstream_rq_total").value += 3
    scope.counter("update_failure")
    scope.gauge("membership_total").value = 1
    scope.textReadout("version_text").value = "<v1>"
    times = scope.histogram("upstream_rq_time")
    for value in (0, 1, 3):
        times.record(value)
    scope.histogram("upstream_cx_length_ms")
    return store


class TextTests(SynchronousTestCase):
    """
    C{/stats} as text.
    """

    def show(self, query: StatsQuery) -> str:
        """
        The sample store's text.
        """
        return "".join(textLines(sampleStore(), query))

    def test_whole(self) -> None:
        """
        Texts, then numbers of both kinds together, then histograms, each sorted.
        """
        self.assertEqual(
            self.show(StatsQuery()),
            'cluster.ok.version_text: "&lt;v1&gt;"\n'
            "cluster.ok.membership_total: 1\n"
            "cluster.ok.update_failure: 0\n"
            "cluster.ok.upstream_rq_total: 3\n"
            "cluster.ok.upstream_cx_length_ms: No recorded values\n"
            "cluster.ok.upstream_rq_time: P0(nan,0) P25(nan,0) P50(nan,1.05) P75(nan,3.05) P90(nan,3.05) "
            "P95(nan,3.05) P99(nan,3.05) P99.5(nan,3.05) P99.9(nan,3.05) P100(nan,3.05)\n",
        )

    def histogram(self, buckets: str) -> str:
        """
        The one line of the used histogram.
        """
        query = StatsQuery(kind="Histograms", usedOnly=True, histogramBuckets=buckets)
        return self.show(query)

    def test_cumulative(self) -> None:
        """
        Each bucket with all below it; large bounds as C++ prints them.
        """
        text = self.histogram("cumulative")
        self.assertTrue(text.startswith("cluster.ok.upstream_rq_time: B0.5(0,1) B1(0,2) B5(0,3) B10(0,3)"), text)
        self.assertTrue(text.endswith(" B600000(0,3) B1.8e+06(0,3) B3.6e+06(0,3)\n"), text)

    def test_disjoint(self) -> None:
        """
        Each bucket by itself.
        """
        text = self.histogram("disjoint")
        self.assertTrue(text.startswith("cluster.ok.upstream_rq_time: B0.5(0,1) B1(0,1) B5(0,1) B10(0,0)"), text)

    def test_detailed(self) -> None:
        """
        The bins themselves.
        """
        lines = self.histogram("detailed").splitlines()
        self.assertEqual(lines[0], "cluster.ok.upstream_rq_time:")
        self.assertEqual(lines[1:3], ["  totals=0,0:1, 1,0.1:1, 3,0.1:1", "  intervals="])
        self.assertTrue(lines[3].startswith("  summary=P0(nan,0) P25(nan,0) P50(nan,1.05)"))

    def test_interval(self) -> None:
        """
        After a flush the interval's quantiles stand before those of all time.
        """
        store = sampleStore()
        store.flush()
        store.scope("cluster.ok.").histogram("upstream_rq_time").record(7)
        store.flush()
        text = "".join(textLines(store, StatsQuery(kind="Histograms", usedOnly=True)))
        self.assertIn(" P0(7.05,0) ", text)

    def test_numbers(self) -> None:
        """
        Numbers have no needless zeros.
        """
        self.assertEqual([number(value) for value in (0, 3.0, 3.05, 305)], ["0", "3", "3.05", "305"])
        self.assertEqual([percentile(q) for q in (0, 0.995, 0.999, 1)], ["0", "99.5", "99.9", "100"])

    def test_chunked(self) -> None:
        """
        Many lines come in few pieces, and nothing is lost at the end.
        """
        pieces = list(chunked(f"{i}\n" for i in range(1300)))
        self.assertEqual(len(pieces), 3)
        self.assertEqual("".join(pieces).splitlines(), [str(i) for i in range(1300)])
        self.assertEqual(list(chunked(iter(()))), [])
