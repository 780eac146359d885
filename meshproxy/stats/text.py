# -*- test-case-name: tests.stats.test_text -*-
"""
C{/stats} as text: one line for each metric, texts first, then counters and gauges together, then histograms.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter

from meshproxy.stats.metrics import Histogram, Number
from meshproxy.stats.quantiles import QUANTILES, binWidth, countsBelow, disjointCounts, quantiles
from meshproxy.stats.query import StatsQuery
from meshproxy.stats.store import Store

__all__ = ["chunked", "histogramText", "number", "percentile", "textLines"]

# So many lines are one piece of output: some 40 KiB, written between two turns of the reactor.
_LINES_PER_PIECE = 512

byName = attrgetter("name")

Counts = Callable[[Mapping[float, int], Sequence[float]], list[int]]

_COUNTS: dict[str, Counts] = {"cumulative": countsBelow, "disjoint": disjointCounts}


def number(value: float) -> str:
    """
    A number as C++ prints it: shortest, without C{.0}.
    """
    text = repr(float(value))
    return text.removesuffix(".0")


def percentile(quantile: float) -> str:
    """
    C{0.995} as C{99.5}.
    """
    return f"{quantile * 100:g}"


def chunked(lines: Iterator[str]) -> Iterator[str]:
    """
    Join lines to pieces of a size that is worth a write.
    """
    piece: list[str] = []
    for line in lines:
        piece.append(line)
        if len(piece) >= _LINES_PER_PIECE:
            yield "".join(piece)
            piece = []
    if piece:
        yield "".join(piece)


def textLines(store: Store, query: StatsQuery) -> Iterator[str]:
    """
    The lines, each with its end.
    """
    for text in sorted(query.texts(store), key=byName):
        # Envoy escapes here, since some of its pages show texts as HTML, and texts may come from a control plane.
        yield f'{text.name}: "{html.escape(text.value, quote=False)}"\n'
    numbers: list[Number] = [*query.counters(store), *query.gauges(store)]
    for metric in sorted(numbers, key=byName):
        yield f"{metric.name}: {metric.value:d}\n"
    for histogram in sorted(query.histograms(store), key=byName):
        yield f"{histogram.name}:{histogramText(histogram, query.histogramBuckets)}\n"


def histogramText(histogram: Histogram, buckets: str) -> str:
    """
    What stands behind a histogram's name and colon.

    @param buckets: As L{StatsQuery.histogramBuckets}.
    """
    if not histogram.used:
        return " No recorded values"
    if buckets in _COUNTS:
        return " " + _bounds(histogram, _COUNTS[buckets])
    if buckets == "detailed":
        return (
            f"\n  totals={_bins(histogram.bins)}\n  intervals={_bins(histogram.intervalBins)}"
            f"\n  summary={_summary(histogram)}"
        )
    return " " + _summary(histogram)


def _summary(histogram: Histogram) -> str:
    pairs = zip(QUANTILES, quantiles(histogram.intervalBins), quantiles(histogram.bins), strict=True)
    return " ".join(f"P{percentile(quantile)}({number(now)},{number(ever)})" for quantile, now, ever in pairs)


def _bounds(histogram: Histogram, counts: Counts) -> str:
    interval = counts(histogram.intervalBins, histogram.boundaries)
    ever = counts(histogram.bins, histogram.boundaries)
    triples = zip(histogram.boundaries, interval, ever, strict=True)
    # %g, so that the text says B1.8e+06 as Envoy's does.
    return " ".join(f"B{bound:g}({now},{total})" for bound, now, total in triples)


def _bins(bins: Mapping[float, int]) -> str:
    return ", ".join(f"{number(lower)},{number(binWidth(lower))}:{count}" for lower, count in sorted(bins.items()))
