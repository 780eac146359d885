"""
Tests for L{meshproxy.admin.statspages}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.admin.support import ask, makeServer


class StatsTests(SynchronousTestCase):
    """
    C{/stats} and C{/stats/prometheus}.
    """

    def setUp(self) -> None:
        """
        A proxy.
        """
        self.server = makeServer()

    def test_text(self) -> None:
        """
        Text by default; the filters of the query apply.
        """
        answer = ask(self.server, "/stats?filter=^cluster_manager.cluster_added$&usedonly&type=Counters")
        self.assertEqual(answer.headers["content-type"], "text/plain; charset=UTF-8")
        self.assertEqual(answer.text, "cluster_manager.cluster_added: 2\n")

    def test_json(self) -> None:
        """
        JSON on demand.
        """
        answer = ask(self.server, "/stats?filter=^cluster_manager.cluster_added$&format=json")
        self.assertEqual(answer.headers["content-type"], "application/json")
        self.assertEqual(answer.json, {"stats": [{"name": "cluster_manager.cluster_added", "value": 2}]})

    def test_prometheus(self) -> None:
        """
        Prometheus' format by path or by parameter, with Envoy's names.
        """
        expected = "# TYPE envoy_cluster_manager_cluster_added counter\nenvoy_cluster_manager_cluster_added{} 2\n"
        for target in ("/stats/prometheus?", "/stats?format=prometheus&"):
            answer = ask(self.server, target + "filter=cluster_manager.cluster_added")
            self.assertEqual(answer.text.strip(), expected.strip())

    def test_refreshed(self) -> None:
        """
        Gauges that nobody counts are brought up to date.
        """
        self.server.reactor.advance(90)
        self.assertEqual(ask(self.server, "/stats?filter=^server.uptime$").text, "server.uptime: 90\n")

    def test_wrong(self) -> None:
        """
        Parameters that are not known are 400.
        """
        for query in ("format=foo", "filter=%5B", "type=foo", "histogram_buckets=foo", "format=active-html"):
            self.assertEqual(ask(self.server, f"/stats?{query}").status, 400, query)

    def test_html(self) -> None:
        """
        The page shows the text, escaped: names of clusters come from outside.
        """
        self.server.context.store.scope("cluster.<script>&.").counter("x")
        answer = ask(self.server, "/stats?format=html")
        self.assertEqual(answer.headers["content-type"], "text/html; charset=UTF-8")
        self.assertIn("cluster.&lt;script&gt;&amp;.x: 0", answer.text)
        self.assertNotIn("<script", answer.text)
        self.assertIn("default-src 'none'", answer.headers["content-security-policy"])

    def test_pieces(self) -> None:
        """
        Many metrics are written in pieces, one in each turn of the reactor; the connection may go away in between.
        """
        scope = self.server.context.store.scope("cluster.many.")
        for number in range(3000):
            scope.counter(f"c{number}")
        self.assertRaises(IndexError, ask, self.server, "/stats?filter=many", pieces=0)
        self.server.reactor.advance(0)
        answer = ask(self.server, "/stats?filter=many", pieces=20)
        self.assertEqual(len(answer.text.splitlines()), 3000)
