"""
Tests for L{meshproxy.stats.prometheus}.
"""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.stats.prometheus import PrometheusWriter
from meshproxy.stats.query import StatsQuery
from meshproxy.stats.store import Store
from tests.stats.test_text import sampleStore


class PrometheusTests(SynchronousTestCase):
    """
    C{/stats/prometheus}.
    """

    def show(self, store: Store, query: StatsQuery | None = None) -> str:
        """
        The text for a query, all by default.
        """
        return "".join(PrometheusWriter(store).families(query or StatsQuery()))

    def test_numbers(self) -> None:
        """
        One TYPE line for each family, then its members; braces even without labels, as Envoy writes them.
        """
        store = Store()
        for cluster in ("b", "a"):
            store.scope(f"cluster.{cluster}.").counter("upstream_rq_200").value += 2
        store.scope("cluster_manager.").gauge("active_clusters").value = 2
        self.assertEqual(
            self.show(store),
            "# TYPE envoy_cluster_upstream_rq counter\n"
            'envoy_cluster_upstream_rq{envoy_response_code="200",envoy_cluster_name="a"} 2\n'
            'envoy_cluster_upstream_rq{envoy_response_code="200",envoy_cluster_name="b"} 2\n'
            "# TYPE envoy_cluster_manager_active_clusters gauge\n"
            "envoy_cluster_manager_active_clusters{} 2\n",
        )

    def test_sortedByDottedName(self) -> None:
        """
        C{cluster.x} stands before C{cluster_manager}, as in Envoy, though an underscore sorts before a letter.
        """
        store = Store()
        store.scope("cluster_manager.").counter("a")
        store.scope("cluster.c.").counter("z")
        types = [line.split()[2] for line in self.show(store).splitlines() if line.startswith("#")]
        self.assertEqual(types, ["envoy_cluster_z", "envoy_cluster_manager_a"])

    def test_histogram(self) -> None:
        """
        Cumulative buckets, the infinite one, sum and count.
        """
        text = self.show(sampleStore(), StatsQuery(usedOnly=True))
        lines = text[text.index("# TYPE envoy_cluster_upstream_rq_time") :].splitlines()
        self.assertEqual(lines[0], "# TYPE envoy_cluster_upstream_rq_time histogram")
        self.assertEqual(lines[2], 'envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="ok",le="1"} 2')
        self.assertEqual(
            lines[-4:],
            [
                'envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="ok",le="3600000"} 3',
                'envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="ok",le="+Inf"} 3',
                'envoy_cluster_upstream_rq_time_sum{envoy_cluster_name="ok"} 4',
                'envoy_cluster_upstream_rq_time_count{envoy_cluster_name="ok"} 3',
            ],
        )

    def test_summary(self) -> None:
        """
        On demand the quantiles of the last interval.
        """
        store = sampleStore()
        store.flush()
        text = self.show(store, StatsQuery(kind="Histograms", usedOnly=True, histogramBuckets="summary"))
        self.assertIn("# TYPE envoy_cluster_upstream_rq_time summary\n", text)
        self.assertIn('envoy_cluster_upstream_rq_time{envoy_cluster_name="ok",quantile="0.995"} 3.05\n', text)

    def test_textReadouts(self) -> None:
        """
        Texts show when asked for, as a gauge of 0 with the text for a label.
        """
        self.assertNotIn("version_text", self.show(sampleStore()))
        self.assertIn(
            'envoy_cluster_version_text{envoy_cluster_name="ok",text_value="<v1>"} 0\n',
            self.show(sampleStore(), StatsQuery(textReadouts=True)),
        )

    def test_ownTags(self) -> None:
        """
        A metric with labels of its own keeps its name; label values are quoted.
        """
        store = Store()
        store.scope().counter("istio_requests_total", [("source", 'a"\\\nb')]).value += 1
        self.assertEqual(
            self.show(store),
            '# TYPE istio_requests_total counter\nistio_requests_total{source="a\\"\\\\\\nb"} 1\n',
        )

    def test_changes(self) -> None:
        """
        What the writer remembers follows the store.
        """
        store = Store()
        scope = store.scope("cluster.a.")
        counter = scope.counter("x")
        writer = PrometheusWriter(store)
        self.assertIn("} 0\n", "".join(writer.families(StatsQuery())))
        counter.value += 1
        self.assertIn("} 1\n", "".join(writer.families(StatsQuery())))
        scope.close()
        self.assertEqual("".join(writer.families(StatsQuery())), "")

    def test_usedOnly(self) -> None:
        """
        A family of which nothing is chosen has no TYPE line.
        """
        self.assertNotIn("update_failure", self.show(sampleStore(), StatsQuery(usedOnly=True)))

    def test_readable(self) -> None:
        """
        Prometheus' own parser reads it all.
        """
        text = self.show(sampleStore(), StatsQuery(textReadouts=True))
        families = {family.name for family in text_string_to_metric_families(text)}
        self.assertIn("envoy_cluster_upstream_rq_time", families)
        self.assertIn("envoy_cluster_membership_total", families)
