"""
Tests for L{meshproxy.stats.jsontext}: Envoy's shape.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.stats.jsontext import jsonPieces
from meshproxy.stats.query import StatsQuery
from meshproxy.stats.store import Store
from tests.stats.test_text import sampleStore


class JSONTests(SynchronousTestCase):
    """
    C{/stats?format=json}.
    """

    def text(self, query: StatsQuery, store: Store | None = None) -> str:
        """
        The document.
        """
        return "".join(jsonPieces(store or sampleStore(), query))

    def last(self, buckets: str) -> Any:
        """
        What stands under C{histograms}.
        """
        query = StatsQuery(kind="Histograms", histogramBuckets=buckets)
        return json.loads(self.text(query))["stats"][-1]["histograms"]

    def test_empty(self) -> None:
        """
        Nothing chosen is an empty list.
        """
        self.assertEqual(self.text(StatsQuery(matches=lambda name: False)), '{"stats":[]}')

    def test_numbers(self) -> None:
        """
        Names and values, compact, and no histograms where none are chosen.
        """
        self.assertEqual(
            self.text(StatsQuery(matches=lambda name: "rq_total" in name or "version" in name)),
            '{"stats":[{"name":"cluster.ok.version_text","value":"<v1>"},'
            '{"name":"cluster.ok.upstream_rq_total","value":3}]}',
        )

    def test_quotes(self) -> None:
        """
        A text with quotes stays one text.
        """
        store = Store()
        store.scope().textReadout("v").value = 'a"b\n'
        self.assertEqual(json.loads(self.text(StatsQuery(), store)), {"stats": [{"name": "v", "value": 'a"b\n'}]})

    def test_summary(self) -> None:
        """
        By default, the quantiles; null where there are none.
        """
        histograms = self.last("")
        self.assertEqual(histograms["supported_quantiles"], [0, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 100])
        unused, used = histograms["computed_quantiles"]
        self.assertEqual(unused["name"], "cluster.ok.upstream_cx_length_ms")
        self.assertEqual(unused["values"], [{"cumulative": None, "interval": None}] * 10)
        self.assertEqual(used["values"][2], {"cumulative": 1.05, "interval": None})

    def test_cumulative(self) -> None:
        """
        Buckets, with the shorter of two ways to write a number.
        """
        self.assertEqual(self.last("cumulative")[1]["buckets"][1], {"upper_bound": 1, "interval": 0, "cumulative": 2})
        text = self.text(StatsQuery(kind="Histograms", histogramBuckets="cumulative"))
        self.assertIn('"upper_bound":60000,', text)
        self.assertIn('"upper_bound":3e+05,', text)
        self.assertIn('"upper_bound":1800000,', text)

    def test_disjoint(self) -> None:
        """
        Buckets by themselves.
        """
        self.assertEqual(self.last("disjoint")[1]["buckets"][1]["cumulative"], 1)

    def test_detailed(self) -> None:
        """
        Bins and percentiles.
        """
        histograms = self.last("detailed")
        self.assertEqual(histograms["supported_percentiles"][-3:], [99.5, 99.9, 100])
        detail = histograms["details"][1]
        self.assertEqual(detail["totals"][1], {"lower_bound": 1, "width": 0.1, "count": 1})
        self.assertEqual(detail["intervals"], [])
        self.assertEqual(detail["percentiles"][2], {"cumulative": 1.05, "interval": None})
