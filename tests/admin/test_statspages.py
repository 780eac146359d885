"""
Tests for L{meshproxy.admin.statspages}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.admin.support import BOOTSTRAP, ask, makeServer


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

    def test_config(self) -> None:
        """
        C{stats_config} says which metrics there are, which labels they have, and which buckets.
        """
        server = makeServer(
            BOOTSTRAP
            + """
stats_config:
  stats_tags: [{tag_name: mine, fixed_value: yes-mine}]
  stats_matcher: {inclusion_list: {patterns: [{prefix: server.}]}}
  histogram_bucket_settings: [{match: {prefix: server.}, buckets: [7, 9]}]
"""
        )
        lines = ask(server, "/stats/prometheus").text.splitlines()
        self.assertIn('envoy_server_live{mine="yes-mine"} 1', lines)
        self.assertIn('envoy_server_initialization_time_ms_bucket{mine="yes-mine",le="9"} 1', lines)
        self.assertEqual([line for line in lines if "cluster_manager" in line], [])

    def test_interval(self) -> None:
        """
        The interval of a histogram is C{stats_flush_interval}.
        """
        server = makeServer(BOOTSTRAP + "stats_flush_interval: 2s\n")
        histogram = server.context.store.scope("mine.").histogram("h")
        for seconds, interval in ((0, "nan"), (2, "3"), (2, "nan")):
            server.reactor.advance(seconds)
            if not seconds:
                histogram.record(3)
            self.assertIn(f"P50({interval}", ask(server, "/stats?filter=^mine.h$").text)

    def test_wrong(self) -> None:
        """
        Parameters that are not known are 400.
        """
        for query in ("format=foo", "filter=%5B", "type=foo", "histogram_buckets=foo", "hidden=foo"):
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

    def test_form(self) -> None:
        """
        The page has a form that says how it was asked; the active one is loaded again and again, without a script.
        """
        page = ask(self.server, "/stats?format=html&filter=%3Cb%3E&usedonly&type=Gauges").text
        self.assertIn("<input name='filter' form='again' value='&lt;b&gt;'>", page)
        self.assertIn("name='usedonly' form='again' checked>", page)
        self.assertIn("<option selected>Gauges</option>", page)
        self.assertNotIn("http-equiv", page)
        self.assertIn("<meta http-equiv='refresh'", ask(self.server, "/stats?format=active-html").text)

    def test_hidden(self) -> None:
        """
        No stat is hidden.
        """
        self.assertEqual(ask(self.server, "/stats?hidden=only").text, "")
        for hidden in ("include", "exclude"):
            self.assertIn("server.live", ask(self.server, f"/stats?hidden={hidden}").text)

    def test_flushOnAdmin(self) -> None:
        """
        With C{stats_flush_on_admin} an interval ends when somebody looks, and not before.
        """
        server = makeServer(BOOTSTRAP + "stats_flush_on_admin: true\n")
        histogram = server.context.store.scope("mine.").histogram("h")
        histogram.record(3)
        server.reactor.advance(30)
        self.assertIn("P50(3", ask(server, "/stats?filter=^mine.h$").text)
        self.assertIn("P50(nan", ask(server, "/stats?filter=^mine.h$").text)

    def test_lookups(self) -> None:
        """
        Names that are looked up are counted from enabling to disabling; the counts can be cleared.
        """
        scope = self.server.context.store.scope("mine.")

        def post(what: str) -> None:
            self.assertEqual(ask(self.server, f"/stats/recentlookups/{what}", method="POST").text, "OK\n")

        self.assertIn("is not enabled", ask(self.server, "/stats/recentlookups").text)
        post("enable")
        for name in ("a", "b", "b"):
            scope.counter(name)
        shown = ask(self.server, "/stats/recentlookups").text
        self.assertEqual(shown, "   Count Lookup\n       2 mine.b\n       1 mine.a\n\ntotal: 3\n")
        post("clear")
        self.assertIn("total: 0", ask(self.server, "/stats/recentlookups").text)
        post("disable")
        post("clear")
        scope.counter("a")
        self.assertIn("is not enabled", ask(self.server, "/stats/recentlookups").text)
        for number in range(200):
            self.server.context.store.lookups = self.server.context.store.lookups or {}
            scope.counter(f"c{number}")
        self.assertEqual(len(self.server.context.store.lookups or ()), 100)

    def test_pieces(self) -> None:
        """
        Many metrics are written in pieces, one in each turn of the reactor; the connection may go away in between.
        """
        scope = self.server.context.store.scope("cluster.many.")
        for number in range(3000):
            scope.counter(f"c{number}")
        self.assertRaises(IndexError, ask, self.server, "/stats?filter=cluster.many", pieces=0)
        self.server.reactor.advance(0)
        answer = ask(self.server, "/stats?filter=cluster.many", pieces=20)
        self.assertEqual(len(answer.text.splitlines()), 3000)
