# -*- test-case-name: tests.stats.test_collector -*-
"""
The store as a collector of C{prometheus_client}, for programs that embed the proxy and expose their own metrics
with that library::

    REGISTRY.register(StatsCollector(store))

The proxy itself does not use it: L{meshproxy.stats.prometheus} is twenty times faster.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import Metric as Family
from prometheus_client.registry import Collector

from meshproxy.stats.metrics import Gauge, Metric, Number
from meshproxy.stats.prometheus import exposedName
from meshproxy.stats.quantiles import countsBelow, sampleCount, sampleSum
from meshproxy.stats.store import Store
from meshproxy.stats.tags import TagExtractor

__all__ = ["StatsCollector"]

_TOTAL = "_total"


class StatsCollector(Collector):
    """
    Gives every metric of a store that was ever written.

    C{prometheus_client} knows only counters whose names end in C{_total}; Envoy's others are given without a
    type, so that they keep their names.
    """

    def __init__(self, store: Store, extractor: TagExtractor | None = None) -> None:
        self._store = store
        self._extractor = TagExtractor() if extractor is None else extractor

    def describe(self) -> Iterable[Family]:
        """
        Nothing: what there is changes with the configuration.
        """
        return ()

    def collect(self) -> Iterator[Family]:
        """
        All families, as they are now.
        """
        yield from self._numbers(self._store.counters.values())
        yield from self._numbers(self._store.gauges.values())
        yield from self._histograms()

    def _numbers(self, metrics: Iterable[Number]) -> Iterator[Family]:
        families: dict[str, Family] = {}
        for metric in list(metrics):
            if metric.used:
                exposed = exposedName(metric, self._extractor)
                family = families.get(exposed.family)
                if family is None:
                    family = families[exposed.family] = _family(exposed.family, metric)
                family.add_sample(exposed.family, dict(exposed.labels), int(metric.value))
        yield from families.values()

    def _histograms(self) -> Iterator[Family]:
        families: dict[str, Family] = {}
        for histogram in list(self._store.histograms.values()):
            if histogram.used:
                exposed = exposedName(histogram, self._extractor)
                name, labels = exposed.family, dict(exposed.labels)
                family = families.setdefault(name, Family(name, "", "histogram"))
                below = countsBelow(histogram.bins, histogram.boundaries)
                for bound, count in zip(histogram.boundaries, below, strict=True):
                    family.add_sample(f"{name}_bucket", {**labels, "le": f"{bound:.16g}"}, count)
                total = sampleCount(histogram.bins)
                family.add_sample(f"{name}_bucket", {**labels, "le": "+Inf"}, total)
                family.add_sample(f"{name}_sum", labels, sampleSum(histogram.bins))
                family.add_sample(f"{name}_count", labels, total)
        yield from families.values()


def _family(name: str, metric: Metric) -> Family:
    if isinstance(metric, Gauge):
        return Family(name, "", "gauge")
    if name.endswith(_TOTAL):
        return Family(name.removesuffix(_TOTAL), "", "counter")
    return Family(name, "", "unknown")
