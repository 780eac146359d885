# -*- test-case-name: tests.stats.test_query -*-
"""
Which metrics a reader of C{/stats} asks for, and in which form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import re2

from meshproxy.stats.metrics import Counter, Gauge, Histogram, Metric, TextReadout
from meshproxy.stats.store import Store

__all__ = ["QueryError", "StatsQuery", "parseStatsQuery"]

SomeMetric = TypeVar("SomeMetric", bound=Metric)

FORMATS = ("html", "active-html", "json", "prometheus", "text")
BUCKETS = ("cumulative", "disjoint", "detailed", "summary", "prometheusnative")
HIDDEN = ("include", "only", "exclude")
KINDS = ("All", "Counters", "Histograms", "Gauges", "TextReadouts")


class QueryError(ValueError):
    """
    A parameter that C{/stats} does not know; its text is the body of the 400.
    """


def _everything(name: str) -> bool:
    return True


@dataclass(frozen=True)
class StatsQuery:
    """
    What is asked for.

    @ivar usedOnly: Leave out what was never written.
    @ivar matches: Whether a metric of this name is wanted.
    @ivar kind: One of C{All}, C{Counters}, C{Gauges}, C{Histograms}, C{TextReadouts}.
    @ivar format: C{text}, C{json}, C{prometheus}, C{html} or C{active-html}.
    @ivar histogramBuckets: C{""} (as the format does by itself), C{cumulative}, C{disjoint}, C{detailed} or
        C{summary}.
    @ivar onlyHidden: Whether only hidden metrics are wanted; none is hidden.
    @ivar textReadouts: Whether Prometheus shows text readouts, as gauges of value 0.
    """

    usedOnly: bool = False
    matches: Callable[[str], bool] = _everything
    kind: str = "All"
    format: str = "text"
    histogramBuckets: str = ""
    textReadouts: bool = False
    onlyHidden: bool = False

    def counters(self, store: Store) -> list[Counter]:
        """
        The counters that are wanted, in no order; L{gauges}, L{histograms} and L{texts} likewise.
        """
        return self._chosen("Counters", store.counters.values())

    def gauges(self, store: Store) -> list[Gauge]:
        """
        See L{counters}.
        """
        return self._chosen("Gauges", store.gauges.values())

    def histograms(self, store: Store) -> list[Histogram]:
        """
        See L{counters}.
        """
        return self._chosen("Histograms", store.histograms.values())

    def texts(self, store: Store) -> list[TextReadout]:
        """
        See L{counters}.
        """
        return self._chosen("TextReadouts", store.textReadouts.values())

    def wants(self, metric: Metric) -> bool:
        """
        Whether one metric is wanted, its kind apart.
        """
        return (metric.used or not self.usedOnly) and not self.onlyHidden and self.matches(metric.name)

    def _chosen(self, kind: str, metrics: Iterable[SomeMetric]) -> list[SomeMetric]:
        if self.kind not in ("All", kind):
            return []
        return [metric for metric in metrics if self.wants(metric)]


def parseStatsQuery(parameters: Mapping[str, str], format: str = "text") -> StatsQuery:
    """
    Read the query string of C{/stats}.

    @param parameters: Names and values.
    @param format: The format where the query names none: C{prometheus} for C{/stats/prometheus}.

    @raise QueryError: If a value is not one of those Envoy knows.
    """
    format = _oneOf(parameters, "format", FORMATS, format)
    hidden = _oneOf(parameters, "hidden", HIDDEN, "")
    buckets = _oneOf(parameters, "histogram_buckets", BUCKETS, "", also=("", "none"))
    return StatsQuery(
        usedOnly="usedonly" in parameters,
        matches=_matcher(parameters.get("filter", ""), "invert_filter" in parameters),
        kind=_oneOf(parameters, "type", KINDS, "All"),
        format=format,
        histogramBuckets="" if buckets == "none" else buckets,
        textReadouts="text_readouts" in parameters,
        onlyHidden=hidden == "only",
    )


# The words and line ends are Envoy's.
_WRONG = {
    "format": f"usage: /stats?format=({'|'.join(FORMATS)})\n\n",
    "hidden": f"usage: /stats?hidden=({'|'.join(HIDDEN)})\n\n",
    "histogram_buckets": f"usage: /stats?histogram_buckets=({'|'.join(BUCKETS)})\n",
    "type": "invalid &type= param",
}


def _oneOf(
    parameters: Mapping[str, str], name: str, known: tuple[str, ...], default: str, also: tuple[str, ...] = ()
) -> str:
    value = parameters.get(name) or default
    if value not in known and value not in also and value != default:
        raise QueryError(_WRONG[name])
    return value


def _matcher(pattern: str, invert: bool) -> Callable[[str], bool]:
    if not pattern:
        return _everything
    options = re2.Options()
    options.log_errors = False
    try:
        search = re2.compile(pattern, options).search
    except re2.error as error:
        why = error.args[0] if error.args else "refused"
        raise QueryError(f"Invalid re2 regex: {why.decode() if isinstance(why, bytes) else why}") from error
    if invert:
        return lambda name: search(name) is None
    return lambda name: search(name) is not None
