"""
L{meshproxy.filters.http.health_check}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.errors import ConfigErrors
from meshproxy.filters.http.health_check import HealthCheck, LastAnswer
from meshproxy.testing import Answer, FilterHarness
from meshproxy.testing.harness import Result

CHECKS = [{"name": ":path", "string_match": {"exact": "/health"}}]


class HealthCheckTests(SynchronousTestCase):
    """
    L{HealthCheck} in a proxy.
    """

    def harness(self, passes: bool = False, **fields: Any) -> FilterHarness:
        """
        A filter for C{/health}.
        """
        config = {"pass_through_mode": passes, "headers": CHECKS, **fields}
        return FilterHarness(HealthCheck, config, node={"id": "n", "cluster": "front"})

    def seen(self, result: Result) -> tuple[int, object, object, bool]:
        """
        Status, details, flags, and whether the service was asked.
        """
        return result.status, result.log["details"], result.log["flags"], result.upstreamRequest is not None

    def test_answers(self) -> None:
        """
        A health check is answered here, with the name of the cluster that this proxy belongs to.
        """
        harness = self.harness()
        result = harness.request("GET", "/health")
        self.assertEqual(self.seen(result), (200, "health_check_ok", "-", False))
        self.assertEqual(result.header("x-envoy-upstream-healthchecked-cluster"), "front")
        assert result.stream is not None
        self.assertTrue(result.stream.healthCheck)
        other = harness.request("GET", "/other")
        self.assertEqual((self.seen(other)[3], other.header("x-envoy-upstream-healthchecked-cluster")), (True, None))

    def test_failed(self) -> None:
        """
        Told to say that it is ill, the proxy says so, also where checks pass through; other responses say it too.
        """
        for passes in (False, True):
            harness = self.harness(passes)
            harness.proxy.server.failHealthCheck(True)
            result = harness.request("GET", "/health")
            self.assertEqual(self.seen(result), (503, "health_check_failed", "LH", False))
            other = harness.request("GET", "/other")
            self.assertEqual((other.status, other.header("x-envoy-immediate-health-check-fail")), (200, "true"))
            harness.proxy.server.failHealthCheck(False)
            self.assertEqual(harness.request("GET", "/health").status, 200)

    def test_passes(self) -> None:
        """
        With C{pass_through_mode} the service answers.
        """
        harness = self.harness(True)
        harness.upstream.answer(Answer(503))
        result = harness.request("GET", "/health")
        self.assertEqual(self.seen(result), (503, "via_upstream", "-", True))
        self.assertEqual(result.header("x-envoy-upstream-healthchecked-cluster"), "front")

    def test_cache(self) -> None:
        """
        Its answer counts for a while, degraded or not.
        """
        harness = self.harness(True, cache_time="10s")
        harness.upstream.answer(Answer(503, headers=[("x-envoy-degraded", "")]))
        self.assertTrue(self.seen(harness.request("GET", "/health"))[3])
        result = harness.request("GET", "/health")
        self.assertEqual(self.seen(result), (503, "health_check_cached", "LH", False))
        self.assertEqual(result.header("x-envoy-degraded"), "")
        harness.advance(10)
        self.assertEqual(self.seen(harness.request("GET", "/health")), (200, "via_upstream", "-", True))

    def test_clusters(self) -> None:
        """
        A cluster must be there, and be well enough.
        """
        for name, percentage, expected in (
            ("backend", 100, (200, "health_check_ok_cluster_healthy", "-", False)),
            ("none", 0, (503, "health_check_failed_no_cluster_found", "LH", False)),
        ):
            harness = self.harness(cluster_min_healthy_percentages={name: {"value": percentage}})
            self.assertEqual(self.seen(harness.request("GET", "/health")), expected)

    def test_illCluster(self) -> None:
        """
        One that is not well enough fails the check, and so does an empty one, unless nothing is asked of it.
        """
        harness = self.harness(cluster_min_healthy_percentages={"backend": {"value": 50}})
        cluster = harness.proxy.server.clusters.byName["backend"]
        cluster.stats.membershipTotal.value = 3
        self.assertEqual(
            self.seen(harness.request("GET", "/health")), (503, "health_check_failed_cluster_unhealthy", "LH", False)
        )
        cluster.stats.membershipHealthy.value = 2
        self.assertEqual(harness.request("GET", "/health").status, 200)
        cluster.stats.membershipHealthy.value = cluster.stats.membershipDegraded.value = 1
        self.assertEqual(harness.request("GET", "/health").status, 200)
        cluster.stats.membershipTotal.value = 0
        cluster.stats.membershipHealthy.value = cluster.stats.membershipDegraded.value = 0
        self.assertEqual(
            self.seen(harness.request("GET", "/health")), (503, "health_check_failed_cluster_empty", "LH", False)
        )

    def test_body(self) -> None:
        """
        A check with a body is answered when all of it is here.
        """
        result = self.harness().request("POST", "/health", body=b"abc")
        self.assertEqual((self.seen(result)[0], result.log["received"]), (200, 3))

    def test_refused(self) -> None:
        """
        What makes no sense together is told.
        """
        self.assertRaises(ConfigErrors, self.harness, cache_time="1s")
        self.assertRaises(ConfigErrors, self.harness, True, cluster_min_healthy_percentages={"a": {"value": 1}})


class LastAnswerTests(SynchronousTestCase):
    """
    L{LastAnswer}.
    """

    def test_intervals(self) -> None:
        """
        An answer counts until the interval is over in which it came.
        """
        last = LastAnswer(10, 100)
        self.assertFalse(last.counts(100))
        last.say(503, False, 108)
        self.assertEqual([last.counts(now) for now in (108, 109.9, 110, 118)], [True, True, False, False])
