# -*- test-case-name: tests.stats.test_store -*-
"""
Where metrics live.

A L{Scope} is a prefix and what was made under it: one belongs to each cluster, listener and connection manager.
Equal names are one metric. It stays as long as any scope that asked for it is open, so that a cluster which is
replaced by a new version of itself (the new scope opens before the old one closes) keeps its numbers, and
one that is removed leaves none behind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from meshproxy.stats.metrics import Counter, Gauge, Histogram, Metric, SummedHistogram, TextReadout
from meshproxy.stats.quantiles import DEFAULT_BOUNDARIES
from meshproxy.stats.tally import Tally

__all__ = ["CounterFamily", "HistogramFamily", "Scope", "Store", "statName"]

Tags = Sequence[tuple[str, str]]
SomeMetric = TypeVar("SomeMetric", bound=Metric)
K = TypeVar("K")

# Envoy (Stats::Utility::sanitizeStatsName) takes these out of names, since tools read a colon as the end of one.
_UNFIT = re.compile(r"://|:/|:|\0")


# Envoy remembers a hundred.
_MOST_LOOKUPS = 100


def statName(name: str) -> str:
    """
    A name made fit to be part of a metric's: C{0.0.0.0:80} becomes C{0.0.0.0_80}.
    """
    return _UNFIT.sub("_", name)


class Store:
    """
    All metrics of a process.

    @ivar counters: By full name, and so are L{gauges}, L{histograms} and L{textReadouts}.
    @ivar lookups: How often each name was looked up lately, while that is tracked (C{/stats/recentlookups}). The hot
        path looks up none: it holds the metrics themselves.
    @ivar version: Grows whenever a metric comes or goes, so that readers know when what they sorted is stale.
    """

    def __init__(
        self,
        accepts: Callable[[str], bool] = lambda name: True,
        boundaries: Callable[[str], tuple[float, ...]] = lambda name: DEFAULT_BOUNDARIES,
    ) -> None:
        """
        @param accepts: Whether a metric of this name is kept (C{stats_config.stats_matcher}). One that is not
            works all the same, but is shown nowhere.
        @param boundaries: The buckets of the histogram of this name (C{histogram_bucket_settings}).
        """
        self._counters: dict[str, Counter] = {}
        self._tallies: list[Tally[Any]] = []
        self.gauges: dict[str, Gauge] = {}
        self.histograms: dict[str, Histogram] = {}
        self.textReadouts: dict[str, TextReadout] = {}
        self.version = 0
        self.lookups: dict[str, int] | None = None
        self._accepts = accepts
        self._boundaries = boundaries

    def configure(self, accepts: Callable[[str], bool], boundaries: Callable[[str], tuple[float, ...]]) -> None:
        """
        Take the rules of a C{stats_config}, for metrics that are made from now on.
        """
        self._accepts = accepts
        self._boundaries = boundaries

    def scope(self, prefix: str = "") -> Scope:
        """
        A new scope.

        @param prefix: What its metrics' names begin with, the last dot included: C{cluster.backend.}.
        """
        return Scope(self, prefix)

    @property
    def counters(self) -> dict[str, Counter]:
        """
        The counters by full name, with everything counted that was tallied until now.
        """
        self.spread()
        return self._counters

    def spread(self) -> None:
        """
        Move the counters by what was tallied since the last time.
        """
        for tally in self._tallies:
            tally.spread()

    def metrics(self) -> Iterator[Metric]:
        """
        All of them.
        """
        for kind in (self.counters, self.gauges, self.histograms, self.textReadouts):
            yield from kind.values()

    def flush(self) -> None:
        """
        End the interval of each histogram. Called every C{stats_flush_interval}.
        """
        for histogram in list(self.histograms.values()):
            histogram.flush()

    def resetCounters(self) -> None:
        """
        Set each counter to 0 (C{POST /reset_counters}).
        """
        for counter in self.counters.values():
            counter.reset()

    # What follows is for Scope.

    def _keep(self, kind: dict[str, SomeMetric], metric: SomeMetric) -> SomeMetric:
        if self._accepts(metric.name):
            kind[metric.name] = metric
            self.version += 1
        return metric

    def _counter(self, name: str, base: str, tags: tuple[tuple[str, str], ...] | None) -> Counter:
        return self._counters.get(name) or self._keep(self._counters, Counter(name, base, tags))

    def _gauge(self, name: str, base: str, tags: tuple[tuple[str, str], ...] | None) -> Gauge:
        return self.gauges.get(name) or self._keep(self.gauges, Gauge(name, base, tags))

    def _textReadout(self, name: str, base: str, tags: tuple[tuple[str, str], ...] | None) -> TextReadout:
        return self.textReadouts.get(name) or self._keep(self.textReadouts, TextReadout(name, base, tags))

    def _histogram(self, name: str, base: str, tags: tuple[tuple[str, str], ...] | None, unit: str) -> Histogram:
        found = self.histograms.get(name)
        if found is None:
            return self._keep(self.histograms, Histogram(name, base, tags, unit, self._boundaries(name)))
        # In one that is a sum nothing is recorded.
        return found.own if isinstance(found, SummedHistogram) else found

    def _summedHistogram(
        self, name: str, base: str, tags: tuple[tuple[str, str], ...] | None, unit: str
    ) -> SummedHistogram:
        found = self.histograms.get(name)
        if isinstance(found, SummedHistogram):
            return found
        made = SummedHistogram(name, base, tags, unit, self._boundaries(name))
        self._keep(self.histograms, made)
        if found is not None:
            # A cluster of the name "a.external" counts where the cluster "a" does.
            made.include(found)
        return made

    def _release(self, metric: Metric) -> None:
        metric.references -= 1
        if metric.references == 0:
            kinds: tuple[dict[str, Metric], ...] = (
                self._counters,
                self.gauges,
                self.histograms,
                self.textReadouts,
            )  # type: ignore[assignment]  # each is a dict of one kind of Metric
            for kind in kinds:
                if kind.get(metric.name) is metric:
                    del kind[metric.name]
                    self.version += 1


class Scope:
    """
    A prefix, and the metrics that were made under it.
    """

    __slots__ = ("_children", "_held", "_store", "_tallies", "prefix")

    def __init__(self, store: Store, prefix: str) -> None:
        self.prefix = statName(prefix)
        self._store = store
        self._held: dict[tuple[type[Metric], str], Metric] = {}
        self._children: list[Scope] = []
        self._tallies: list[Tally[Any]] = []

    def scope(self, prefix: str) -> Scope:
        """
        A scope within this one, which closes with it.
        """
        child = Scope(self._store, self.prefix + prefix)
        self._children.append(child)
        return child

    def counter(self, name: str, tags: Tags | None = None) -> Counter:
        """
        The counter of this name.

        @param tags: Labels of its own, for a metric that is not one of Envoy's (C{istio_requests_total}).
        """
        return self._hold(self._store._counter(*self._named(name, tags)))

    def gauge(self, name: str, tags: Tags | None = None) -> Gauge:
        """
        The gauge of this name.
        """
        return self._hold(self._store._gauge(*self._named(name, tags)))

    def textReadout(self, name: str, tags: Tags | None = None) -> TextReadout:
        """
        The text readout of this name.
        """
        return self._hold(self._store._textReadout(*self._named(name, tags)))

    def histogram(self, name: str, unit: str = "ms", tags: Tags | None = None) -> Histogram:
        """
        The histogram of this name.
        """
        return self._hold(self._store._histogram(*self._named(name, tags), unit))

    def histogramOf(self, name: str, *parts: Histogram, unit: str = "ms") -> SummedHistogram:
        """
        A histogram that shows what others record.
        """
        made = self._hold(self._store._summedHistogram(*self._named(name, None), unit))
        for part in parts:
            made.include(part)
        return made

    def counters(self, stem: str = "") -> CounterFamily:
        """
        Counters whose names are known only when they are needed: C{counters("upstream_rq_")[200].value += 1}.
        """
        return CounterFamily(self, stem)

    def tally(self, countersOf: Callable[[K], tuple[Counter, ...]]) -> Tally[K]:
        """
        A tally that is spread whenever the store's counters are looked at, and when this scope closes.
        """
        tally = Tally(countersOf)
        self._store._tallies.append(tally)
        self._tallies.append(tally)
        return tally

    def histograms(self, stem: str = "", unit: str = "ms") -> HistogramFamily:
        """
        Histograms whose names are known only when they are needed.
        """
        return HistogramFamily(self, stem, unit)

    def close(self) -> None:
        """
        Give up all metrics of this scope and of those within it. They may still be written to, in vain.
        """
        # A tally may make counters of any of these scopes still, which are to be given up with the others.
        self._endTallies()
        for child in self._children:
            child.close()
        self._children = []
        held, self._held = self._held, {}
        for metric in held.values():
            self._store._release(metric)

    def _endTallies(self) -> None:
        """
        Spread what was tallied in this scope and in those within it, for the last time.
        """
        for child in self._children:
            child._endTallies()
        if self._tallies:
            for tally in self._tallies:
                tally.spread()
            mine = set(map(id, self._tallies))
            self._store._tallies = [tally for tally in self._store._tallies if id(tally) not in mine]
            self._tallies = []

    def _named(self, name: str, tags: Tags | None) -> tuple[str, str, tuple[tuple[str, str], ...] | None]:
        base = self.prefix + statName(name)
        lookups = self._store.lookups
        if lookups is not None and (base in lookups or len(lookups) < _MOST_LOOKUPS):
            lookups[base] = lookups.get(base, 0) + 1
        if tags is None:
            return base, base, None
        return base + "".join(f".{key}.{statName(value)}" for key, value in tags), base, tuple(tags)

    def _hold(self, metric: SomeMetric) -> SomeMetric:
        key = (type(metric), metric.name)
        held = self._held.get(key)
        if held is None:
            self._held[key] = metric
            metric.references += 1
            return metric
        # The same one, unless the store does not keep it: then each call would else make another.
        return held  # type: ignore[return-value]  # the key holds the type

    def __repr__(self) -> str:
        return f"<Scope {self.prefix}>"


class CounterFamily(dict[object, Counter]):
    """
    Counters by the last part of their name, each made when it is first asked for.
    """

    def __init__(self, scope: Scope, stem: str) -> None:
        self._scope = scope
        self._stem = stem

    def __missing__(self, key: object) -> Counter:
        made = self[key] = self._scope.counter(f"{self._stem}{key}")
        return made


class HistogramFamily(dict[object, Histogram]):
    """
    Histograms by the last part of their name, each made when it is first asked for.
    """

    def __init__(self, scope: Scope, stem: str, unit: str) -> None:
        self._scope = scope
        self._stem = stem
        self._unit = unit

    def __missing__(self, key: object) -> Histogram:
        made = self[key] = self._scope.histogram(f"{self._stem}{key}", self._unit)
        return made
