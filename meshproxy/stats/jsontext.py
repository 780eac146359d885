# -*- test-case-name: tests.stats.test_jsontext -*-
"""
C{/stats?format=json}, in Envoy's shape: a list of names with values, whose last member holds all histograms.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from math import isnan

from meshproxy.stats.metrics import Histogram, Number
from meshproxy.stats.quantiles import QUANTILES, binWidth, countsBelow, disjointCounts, quantiles
from meshproxy.stats.query import StatsQuery
from meshproxy.stats.store import Store
from meshproxy.stats.text import byName, number, percentile

__all__ = ["jsonPieces"]


def jsonPieces(store: Store, query: StatsQuery) -> Iterator[str]:
    """
    The document in pieces, one for each metric.
    """
    comma = '{"stats":['
    for text in sorted(query.texts(store), key=byName):
        yield f'{comma}{{"name":{_quoted(text.name)},"value":{_quoted(text.value)}}}'
        comma = ","
    numbers: list[Number] = [*query.counters(store), *query.gauges(store)]
    for metric in sorted(numbers, key=byName):
        yield f'{comma}{{"name":{_quoted(metric.name)},"value":{metric.value:d}}}'
        comma = ","
    histograms = sorted(query.histograms(store), key=byName)
    if histograms:
        yield comma
        yield from _histograms(histograms, query.histogramBuckets)
        comma = ""
    yield ("" if comma != '{"stats":[' else comma) + "]}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _histograms(histograms: list[Histogram], buckets: str) -> Iterator[str]:
    supported = ",".join(percentile(quantile) for quantile in QUANTILES)
    if buckets in ("cumulative", "disjoint"):
        head, tail, one = '{"histograms":[', "]}", _disjoint if buckets == "disjoint" else _cumulative
    elif buckets == "detailed":
        head, tail, one = f'{{"histograms":{{"supported_percentiles":[{supported}],"details":[', "]}}", _detailed
    else:
        head, tail, one = f'{{"histograms":{{"supported_quantiles":[{supported}],"computed_quantiles":[', "]}}", _values
    yield head
    for position, histogram in enumerate(histograms):
        yield f'{"," if position else ""}{{"name":{_quoted(histogram.name)},{one(histogram)}}}'
    yield tail


def _values(histogram: Histogram) -> str:
    return f'"values":{_computed(histogram)}'


def _computed(histogram: Histogram) -> str:
    pairs = zip(quantiles(histogram.bins), quantiles(histogram.intervalBins), strict=True)
    return "[" + ",".join(f'{{"cumulative":{_orNull(ever)},"interval":{_orNull(now)}}}' for ever, now in pairs) + "]"


def _orNull(value: float) -> str:
    return "null" if isnan(value) else number(value)


def _cumulative(histogram: Histogram) -> str:
    return _buckets(
        histogram,
        countsBelow(histogram.intervalBins, histogram.boundaries),
        countsBelow(histogram.bins, histogram.boundaries),
    )


def _disjoint(histogram: Histogram) -> str:
    return _buckets(
        histogram,
        disjointCounts(histogram.intervalBins, histogram.boundaries),
        disjointCounts(histogram.bins, histogram.boundaries),
    )


def _buckets(histogram: Histogram, interval: list[int], ever: list[int]) -> str:
    rows = zip(histogram.boundaries, interval, ever, strict=True)
    return (
        '"buckets":['
        + ",".join(f'{{"upper_bound":{_shortest(b)},"interval":{now},"cumulative":{total}}}' for b, now, total in rows)
        + "]"
    )


def _shortest(value: float) -> str:
    # Envoy's writer takes whichever of 300000 and 3e+05 is shorter, and 1800000 on a draw with 1.8e+06.
    plain = number(value)
    mantissa, _, exponent = f"{value:e}".partition("e")
    short = f"{mantissa.rstrip('0').removesuffix('.')}e{exponent}"
    return short if len(short) < len(plain) and float(short) == value else plain


def _detailed(histogram: Histogram) -> str:
    return (
        f'"totals":{_bins(histogram.bins)},"intervals":{_bins(histogram.intervalBins)},'
        f'"percentiles":{_computed(histogram)}'
    )


def _bins(bins: Mapping[float, int]) -> str:
    return (
        "["
        + ",".join(
            f'{{"lower_bound":{number(lower)},"width":{number(binWidth(lower))},"count":{count}}}'
            for lower, count in sorted(bins.items())
        )
        + "]"
    )
