# -*- test-case-name: tests.stats.test_statsd -*-
"""
Metrics in the words of statsd, and of DogStatsD, which has tags.

At each flush a counter tells by how much it grew, a gauge its value, and a histogram the values of the interval: how
often one came is told as a sample rate, so that thousands of equal values are one line.
"""

from __future__ import annotations

from collections.abc import Iterator

from meshproxy.stats.metrics import Counter, Histogram, Metric
from meshproxy.stats.store import Store
from meshproxy.stats.tags import TagExtractor
from meshproxy.stats.text import number

__all__ = ["StatsdWriter", "batched"]

#: What names begin with where nothing is configured.
PREFIX = "envoy"


class StatsdWriter:
    """
    Tells what happened to a store since it last did.
    """

    def __init__(self, store: Store, prefix: str = "", extractor: TagExtractor | None = None) -> None:
        """
        @param prefix: What names begin with; C{envoy} where it is empty.
        @param extractor: Takes labels from names, for DogStatsD; without one names are whole.
        """
        self._store = store
        self._prefix = prefix or PREFIX
        self._extractor = extractor
        self._told: dict[str, int] = {}
        # What is said of a metric stays the same; the store's version tells when to forget those that are gone.
        self._names: dict[Metric, tuple[str, str]] = {}
        self._version = -1

    def messages(self) -> Iterator[str]:
        """
        All messages of an interval, to be asked for after the store's C{flush}.
        """
        store = self._store
        counters = list(store.counters.values())
        if self._version != store.version:
            self._version = store.version
            self._names.clear()
            self._told = {name: value for name, value in self._told.items() if name in store.counters}
        for counter in counters:
            if counter.used:
                yield self._message(counter, f"{self._growth(counter)}|c")
        for gauge in list(store.gauges.values()):
            if gauge.used:
                yield self._message(gauge, f"{gauge.value:d}|g")
        for histogram in list(store.histograms.values()):
            for value, count in self._values(histogram):
                rate = "" if count == 1 else f"|@{1 / count:.9g}"
                yield self._message(histogram, f"{number(value)}|ms{rate}")

    def _growth(self, counter: Counter) -> int:
        now = int(counter.value)
        before = self._told.get(counter.name, 0)
        self._told[counter.name] = now
        # Less than before: it was set to 0 meanwhile.
        return now - before if now >= before else now

    def _values(self, histogram: Histogram) -> list[tuple[float, int]]:
        return sorted(histogram.intervalBins.items())

    def _message(self, metric: Metric, value: str) -> str:
        names = self._names.get(metric)
        if names is None:
            names = self._names[metric] = self._nameOf(metric)
        return f"{names[0]}:{value}{names[1]}"

    def _nameOf(self, metric: Metric) -> tuple[str, str]:
        """
        What stands before and behind the value.
        """
        if self._extractor is None:
            return f"{self._prefix}.{metric.name}", ""
        if metric.tags is not None:
            base, tags = metric.base, metric.tags
        else:
            base, tags = self._extractor.extract(metric.name)
        shown = ",".join(f"{name}:{value}" for name, value in tags)
        return f"{self._prefix}.{base}", f"|#{shown}" if shown else ""


def batched(messages: Iterator[str], limit: int = 0) -> Iterator[bytes]:
    """
    Put messages into datagrams.

    @param limit: How many bytes one may have; 0 for one message each. A longer message has one for itself.
    """
    batch = b""
    for message in messages:
        data = message.encode("utf-8")
        if batch and len(batch) + 1 + len(data) <= limit:
            batch += b"\n" + data
            continue
        if batch:
            yield batch
        batch = data
    if batch:
        yield batch
