"""
L{meshproxy.upstream.stats}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.stats import Store
from meshproxy.upstream.stats import ClusterStats
from tests.upstream.support import value


class ClusterStatsTests(SynchronousTestCase):
    """
    Names, and what moves together.
    """

    def setUp(self) -> None:
        self.store = Store()
        self.stats = ClusterStats(self.store.scope("cluster.c."))

    def test_names(self) -> None:
        """
        Names that dashboards look for are there from the beginning, at 0.
        """
        for name in (
            "upstream_cx_total",
            "upstream_cx_active",
            "upstream_cx_connect_fail",
            "upstream_rq_total",
            "upstream_rq_pending_overflow",
            "upstream_rq_retry",
            "upstream_rq_timeout",
            "membership_healthy",
            "membership_total",
            "update_attempt",
            "lb_healthy_panic",
        ):
            self.assertEqual(value(self.store, f"cluster.c.{name}"), 0, name)
        self.assertIn("cluster.c.upstream_rq_time", self.store.histograms)

    def test_responses(self) -> None:
        """
        A response moves its status, its class and the sum, of the cluster and of its clients from outside.
        """
        for status in (200, 204, 503):
            self.stats.responses.add(status)
        for prefix in ("cluster.c.", "cluster.c.external."):
            counts = {
                name: value(self.store, f"{prefix}upstream_rq_{name}")
                for name in ("200", "204", "2xx", "503", "5xx", "completed")
            }
            self.assertEqual(counts, {"200": 1, "204": 1, "2xx": 2, "503": 1, "5xx": 1, "completed": 3})
        self.assertIsNone(value(self.store, "cluster.c.upstream_rq_404"))

    def test_retried(self) -> None:
        """
        Responses that were tried again have a tree of their own.
        """
        self.stats.retried.add(503)
        self.assertEqual(value(self.store, "cluster.c.retry.upstream_rq_503"), 1)
        self.assertIsNone(value(self.store, "cluster.c.upstream_rq_503"))
