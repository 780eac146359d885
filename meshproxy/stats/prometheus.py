# -*- test-case-name: tests.stats.test_prometheus -*-
"""
C{/stats/prometheus}: Prometheus' text format, written by hand.

A scrape of thousands of lines must not hold up the reactor. So everything that does not change between two scrapes
(names taken apart, labels quoted, families sorted) is kept until a metric comes or goes, and the text comes in
pieces.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import Generic, TypeVar

from meshproxy.stats.metrics import Counter, Gauge, Histogram, Metric, TextReadout
from meshproxy.stats.quantiles import QUANTILES, countsBelow, quantiles, sampleCount, sampleSum
from meshproxy.stats.query import StatsQuery
from meshproxy.stats.store import Store
from meshproxy.stats.tags import TagExtractor
from meshproxy.stats.text import byName, number

__all__ = ["CONTENT_TYPE", "Exposed", "PrometheusWriter", "exposedName"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=UTF-8"

_UNFIT = re.compile(r"[^a-zA-Z0-9_:]")
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})

SomeMetric = TypeVar("SomeMetric", bound=Metric)


class Exposed:
    """
    A metric's name and labels, as Prometheus wants them.

    @ivar base: C{cluster.upstream_rq}: Envoy sorts families by it.
    @ivar family: C{envoy_cluster_upstream_rq}.
    @ivar labels: Pairs of name and unquoted value.
    @ivar labelText: C{envoy_response_code="200",envoy_cluster_name="a"}.
    """

    __slots__ = ("base", "family", "labelText", "labels")

    def __init__(self, base: str, family: str, labels: tuple[tuple[str, str], ...]) -> None:
        self.base = base
        self.family = family
        self.labels = labels
        self.labelText = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels)


def exposedName(metric: Metric, extractor: TagExtractor) -> Exposed:
    """
    How a metric is called for Prometheus. One with labels of its own (C{istio_requests_total}) keeps its name;
    the others are Envoy's, and begin with C{envoy_}.
    """
    if metric.tags is not None:
        return Exposed(metric.base, _UNFIT.sub("_", metric.base), metric.tags)
    name, tags = extractor.extract(metric.name)
    labels = tuple((_UNFIT.sub("_", tag), value) for tag, value in tags)
    return Exposed(name, "envoy_" + _UNFIT.sub("_", name), labels)


class _Families(Generic[SomeMetric]):
    """
    The metrics of one kind by family, sorted, with the texts that do not change.
    """

    __slots__ = ("families",)

    def __init__(self, metrics: Iterable[SomeMetric], extractor: TagExtractor) -> None:
        families: dict[tuple[str, str], list[tuple[SomeMetric, str]]] = {}
        for metric in sorted(metrics, key=byName):
            exposed = exposedName(metric, extractor)
            families.setdefault((exposed.base, exposed.family), []).append((metric, exposed.labelText))
        self.families = [(family, members) for (_, family), members in sorted(families.items(), key=itemgetter(0))]

    def chosen(self, query: StatsQuery) -> Iterator[tuple[str, list[tuple[SomeMetric, str]]]]:
        """
        The families, with the metrics that are wanted; none without one.
        """
        for family, members in self.families:
            wanted = [member for member in members if query.wants(member[0])]
            if wanted:
                yield family, wanted


class PrometheusWriter:
    """
    Writes one store.
    """

    def __init__(self, store: Store, extractor: TagExtractor | None = None) -> None:
        self._store = store
        self._extractor = TagExtractor() if extractor is None else extractor
        self._version = -1
        self._sort()

    def _sort(self) -> None:
        store = self._store
        if self._version != store.version:
            self._version = store.version
            self._counters: _Families[Counter] = _Families(store.counters.values(), self._extractor)
            self._gauges: _Families[Gauge] = _Families(store.gauges.values(), self._extractor)
            self._texts: _Families[TextReadout] = _Families(store.textReadouts.values(), self._extractor)
            self._histograms: _Families[Histogram] = _Families(store.histograms.values(), self._extractor)

    def families(self, query: StatsQuery) -> Iterator[str]:
        """
        The text, one family at a time.
        """
        self._sort()
        # As in Envoy, there is no choosing of one type here.
        yield from _numbers(self._counters, "counter", query)
        yield from _numbers(self._gauges, "gauge", query)
        if query.textReadouts:
            yield from _texts(self._texts, query)
        for family, members in self._histograms.chosen(query):
            if query.histogramBuckets == "summary":
                yield _summaryFamily(family, members)
            else:
                yield _histogramFamily(family, members)


def _numbers(families: _Families[Counter] | _Families[Gauge], kind: str, query: StatsQuery) -> Iterator[str]:
    for family, members in families.chosen(query):
        lines = [f"{family}{{{labels}}} {metric.value:d}\n" for metric, labels in members]
        yield f"# TYPE {family} {kind}\n" + "".join(lines)


def _texts(families: _Families[TextReadout], query: StatsQuery) -> Iterator[str]:
    for family, members in families.chosen(query):
        lines = [
            f'{family}{{{labels}{"," if labels else ""}text_value="{metric.value.translate(_ESCAPES)}"}} 0\n'
            for metric, labels in members
        ]
        yield f"# TYPE {family} gauge\n" + "".join(lines)


def _histogramFamily(family: str, members: list[tuple[Histogram, str]]) -> str:
    lines = [f"# TYPE {family} histogram\n"]
    for histogram, labels in members:
        before = f"{family}_bucket{{{labels}," if labels else f"{family}_bucket{{"
        below = countsBelow(histogram.bins, histogram.boundaries)
        count = sampleCount(histogram.bins)
        lines.extend(
            f'{before}le="{bound:.16g}"}} {number_}\n'
            for bound, number_ in zip(histogram.boundaries, below, strict=True)
        )
        lines.append(
            f'{before}le="+Inf"}} {count}\n'
            f"{family}_sum{{{labels}}} {number(sampleSum(histogram.bins))}\n"
            f"{family}_count{{{labels}}} {count}\n"
        )
    return "".join(lines)


def _summaryFamily(family: str, members: list[tuple[Histogram, str]]) -> str:
    # Envoy's summaries are those of the last interval.
    lines = [f"# TYPE {family} summary\n"]
    for histogram, labels in members:
        bins = histogram.intervalBins
        before = f"{family}{{{labels}," if labels else f"{family}{{"
        lines.extend(
            f'{before}quantile="{quantile:g}"}} {number(value)}\n'
            for quantile, value in zip(QUANTILES, quantiles(bins), strict=True)
        )
        lines.append(
            f"{family}_sum{{{labels}}} {number(sampleSum(bins))}\n{family}_count{{{labels}}} {sampleCount(bins)}\n"
        )
    return "".join(lines)
