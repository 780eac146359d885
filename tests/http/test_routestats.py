# -*- test-case-name: tests.http.test_routestats -*-
"""
L{meshproxy.http.routestats}: requests that are counted besides.
"""

from __future__ import annotations

from typing import Any

from meshproxy.http.routestats import RouteStats
from meshproxy.stats import Store
from meshproxy.testing import Answer
from tests.http.support import ProxyCase

# Orders of others are not heard.
INTERNAL = {"internal_address_config": {"cidr_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}}


class RouteStatsTests(ProxyCase):
    """
    Figures of a virtual host.
    """

    def counted(self, prefix: str) -> dict[str, int]:
        """
        What was counted under a prefix, without what is zero and without the prefix.
        """
        found = self.proxy.stats(prefix)
        return {name.removeprefix(prefix): number for name, number in found.items() if number}

    def test_virtualClusters(self) -> None:
        """
        Each request counts for the first virtual cluster that it matches, or for the rest.
        """
        clusters = [
            {"name": name, "headers": [{"name": ":path", "string_match": {"prefix": f"/{name}"}}]} for name in "ab"
        ]
        self.start(virtualHost={"virtual_clusters": clusters})
        self.backend.answer(Answer(200, b"x"), Answer(404))
        for path in ("/a", "/b", "/c"):
            self.proxy.request(path=path)
        usual = {"upstream_rq_total": 1, "upstream_rq_completed": 1, "upstream_rq_time": 1}
        self.assertEqual(self.counted("vhost.all.vcluster.a."), {**usual, "upstream_rq_200": 1, "upstream_rq_2xx": 1})
        self.assertEqual(self.counted("vhost.all.vcluster.b."), {**usual, "upstream_rq_404": 1, "upstream_rq_4xx": 1})
        self.assertEqual(self.counted("vhost.all.vcluster.other.")["upstream_rq_200"], 1)
        self.assertEqual(self.clusterStat("upstream_rq_completed"), 3)

    def test_name(self) -> None:
        """
        The access log knows the virtual cluster, and none for what is in none.
        """
        clusters = [{"name": "a", "headers": [{"name": ":path", "string_match": {"exact": "/a"}}]}]
        self.start(virtualHost={"virtual_clusters": clusters}, accessLog="%VIRTUAL_CLUSTER_NAME%")
        self.proxy.request(path="/a")
        self.proxy.request(path="/b")
        self.assertEqual(self.proxy.accessLog, ["a", "-"])

    def test_retries(self) -> None:
        """
        Retries, time-outs and failures count there as well.
        """
        action: dict[str, Any] = {"cluster": "backend", "retry_policy": {"retry_on": "5xx"}, "timeout": "1s"}
        route = {"match": {"prefix": "/"}, "route": action, "stat_prefix": "mine"}
        self.start(routes=[route], chance=lambda: 0.0)
        self.backend.answer(Answer(500), Answer(200), Answer(500), Answer(500), Answer.hang())
        statuses = [self.proxy.request().status for _ in range(3)]
        self.assertEqual(statuses, [200, 500, 504])
        found = self.counted("vhost.all.route.mine.")
        del found["upstream_rq_time"]
        self.assertEqual(
            found,
            {
                "upstream_rq_total": 5,
                "upstream_rq_completed": 3,
                "upstream_rq_200": 1,
                "upstream_rq_2xx": 1,
                "upstream_rq_500": 1,
                "upstream_rq_504": 1,
                "upstream_rq_5xx": 2,
                "upstream_rq_retry": 2,
                "upstream_rq_retry_success": 1,
                "upstream_rq_retry_limit_exceeded": 1,
                "upstream_rq_timeout": 1,
            },
        )

    def test_alternative(self) -> None:
        """
        A request may ask for another name of its cluster.
        """
        self.start(manager=INTERNAL)
        self.proxy.request(headers={"x-forwarded-for": "10.1.1.1", "x-envoy-upstream-alt-stat-name": "other.name"})
        self.proxy.request()
        self.assertEqual(self.counted("cluster.backend.other.name.")["upstream_rq_200"], 1)
        self.assertEqual(self.clusterStat("upstream_rq_200"), 2)
        self.assertIsNone(self.backend.last.headers.get(b"x-envoy-upstream-alt-stat-name"))

    def test_manyNames(self) -> None:
        """
        Names that clients make up do not fill the memory.
        """
        stats = RouteStats(Store())

        class Cluster:
            """
            As much of one as is needed.
            """

            statName = "c"

        cluster: Any = Cluster()
        found = [stats.alternative(cluster, str(number)) for number in range(300)]
        self.assertEqual(sum(each is not None for each in found), 256)
        self.assertIs(stats.alternative(cluster, "7"), found[7])
