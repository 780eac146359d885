"""
Tests for L{meshproxy.stats.query}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.stats.metrics import Metric
from meshproxy.stats.query import QueryError, StatsQuery, parseStatsQuery
from meshproxy.stats.store import Store


class QueryTests(SynchronousTestCase):
    """
    L{parseStatsQuery} reads C{/stats}' parameters, L{StatsQuery} chooses by them.
    """

    def names(self, query: StatsQuery) -> list[str]:
        """
        What the query chooses from a small store.
        """
        store = Store()
        scope = store.scope("a.")
        scope.counter("hits").value += 1
        scope.counter("misses")
        scope.gauge("active").value = 0
        scope.histogram("time")
        scope.textReadout("version").value = "1"
        chosen: list[Metric] = [*query.counters(store), *query.gauges(store)]
        chosen += [*query.histograms(store), *query.texts(store)]
        return sorted(metric.name for metric in chosen)

    def test_everything(self) -> None:
        """
        Without parameters all is shown, as text.
        """
        query = parseStatsQuery({})
        self.assertEqual(query.format, "text")
        self.assertEqual(self.names(query), ["a.active", "a.hits", "a.misses", "a.time", "a.version"])

    def test_usedOnly(self) -> None:
        """
        The parameter needs no value.
        """
        self.assertEqual(self.names(parseStatsQuery({"usedonly": ""})), ["a.active", "a.hits", "a.version"])

    def test_kind(self) -> None:
        """
        One kind of metric.
        """
        self.assertEqual(self.names(parseStatsQuery({"type": "Gauges"})), ["a.active"])
        self.assertEqual(self.names(parseStatsQuery({"type": "TextReadouts"})), ["a.version"])

    def test_filter(self) -> None:
        """
        The filter is searched for anywhere in the name, and may be turned round.
        """
        self.assertEqual(self.names(parseStatsQuery({"filter": "(hit|miss)"})), ["a.hits", "a.misses"])
        self.assertEqual(
            self.names(parseStatsQuery({"filter": "^a.[hmt]", "invert_filter": ""})), ["a.active", "a.version"]
        )

    def test_buckets(self) -> None:
        """
        The way to show buckets; C{none} is no way of its own.
        """
        self.assertEqual(parseStatsQuery({"histogram_buckets": "disjoint"}).histogramBuckets, "disjoint")
        self.assertEqual(parseStatsQuery({"histogram_buckets": "none"}).histogramBuckets, "")

    def test_prometheus(self) -> None:
        """
        Another page has another format by default.
        """
        query = parseStatsQuery({"text_readouts": ""}, "prometheus")
        self.assertEqual((query.format, query.textReadouts), ("prometheus", True))

    def test_errors(self) -> None:
        """
        What is wrong is told in Envoy's words.
        """
        cases = [
            ({"filter": "(("}, "Invalid re2 regex: missing ): (("),
            ({"format": "blah"}, "usage: /stats?format=(html|active-html|json|prometheus|text)\n\n"),
            (
                {"histogram_buckets": "blah"},
                "usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary|prometheusnative)\n",
            ),
            ({"type": "foo"}, "invalid &type= param"),
        ]
        for parameters, why in cases:
            self.assertEqual(str(self.assertRaises(QueryError, parseStatsQuery, parameters)), why)
