"""
Tests for L{meshproxy.stats.collector}.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.stats.collector import StatsCollector
from tests.stats.test_text import sampleStore


class CollectorTests(SynchronousTestCase):
    """
    L{StatsCollector} in a registry of C{prometheus_client}.
    """

    def test_collected(self) -> None:
        """
        Used metrics appear under the names that the proxy's own page has.
        """
        store = sampleStore()
        store.scope("cluster.ok.").counter("upstream_rq_200").value += 1
        registry = CollectorRegistry()
        registry.register(StatsCollector(store))
        text = generate_latest(registry).decode()
        self.assertIn('envoy_cluster_upstream_rq_total{envoy_cluster_name="ok"} 3.0\n', text)
        self.assertIn('envoy_cluster_upstream_rq{envoy_cluster_name="ok",envoy_response_code="200"} 1.0\n', text)
        self.assertIn('envoy_cluster_membership_total{envoy_cluster_name="ok"} 1.0\n', text)
        self.assertIn('envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="ok",le="1"} 2.0\n', text)
        self.assertIn('envoy_cluster_upstream_rq_time_count{envoy_cluster_name="ok"} 3.0\n', text)
        self.assertNotIn("update_failure", text)
