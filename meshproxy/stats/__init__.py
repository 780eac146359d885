# -*- test-case-name: tests.stats -*-
"""
Counters, gauges, histograms and text readouts under Envoy's names, and how they are shown.
"""

from meshproxy.stats.exposition import Exposition
from meshproxy.stats.metrics import Counter, Gauge, Histogram, TextReadout
from meshproxy.stats.query import QueryError, StatsQuery, parseStatsQuery
from meshproxy.stats.store import CounterFamily, HistogramFamily, Scope, Store, statName
from meshproxy.stats.tags import TagExtractor

__all__ = [
    "Counter",
    "CounterFamily",
    "Exposition",
    "Gauge",
    "Histogram",
    "HistogramFamily",
    "QueryError",
    "Scope",
    "StatsQuery",
    "Store",
    "TagExtractor",
    "TextReadout",
    "parseStatsQuery",
    "statName",
]
