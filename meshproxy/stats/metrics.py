# -*- test-case-name: tests.stats.test_metrics -*-
"""
The metrics themselves, made for the hot path: C{counter.value += 1} is one slot, C{histogram.record(3)} one
look-up.

Envoy's C{usedonly} shows a metric once it was written, even if it is 0 again. That must cost nothing here, so a
counter's or gauge's C{value} starts as C{False}, which counts as 0 and turns into an C{int} with the first
arithmetic or assignment.
"""

from __future__ import annotations

from math import floor, log10

from meshproxy.stats.quantiles import DEFAULT_BOUNDARIES

__all__ = ["Counter", "Gauge", "Histogram", "Metric", "Number", "SummedHistogram", "TextReadout"]


class Metric:
    """
    What all metrics have.

    @ivar name: The full name, dots and all: C{cluster.backend.upstream_rq_total}.
    @ivar tags: Labels the metric was made with, or L{None} where they are to be extracted from the name.
    @ivar base: The name without the labels it was made with.
    """

    __slots__ = ("base", "name", "references", "tags")

    def __init__(self, name: str, base: str | None = None, tags: tuple[tuple[str, str], ...] | None = None) -> None:
        self.name = name
        self.base = name if base is None else base
        self.tags = tags
        # How many scopes hold this metric; the last one to close removes it (see meshproxy.stats.store).
        self.references = 0

    @property
    def used(self) -> bool:
        """
        Whether it was ever written.
        """
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class Number(Metric):
    """
    What counters and gauges share.

    @ivar value: The number. The hot path adds to it directly; it is C{False}, which is a 0, until then.
    """

    __slots__ = ("value",)

    def __init__(self, name: str, base: str | None = None, tags: tuple[tuple[str, str], ...] | None = None) -> None:
        super().__init__(name, base, tags)
        self.value: int = False

    @property
    def used(self) -> bool:
        return self.value is not False


class Counter(Number):
    """
    A number that only grows, but for L{reset}.
    """

    __slots__ = ()

    def reset(self) -> None:
        """
        Begin at 0 again; a counter that was used stays so.
        """
        if self.value is not False:
            self.value = 0


class Gauge(Number):
    """
    A number that goes up and down.
    """

    __slots__ = ()


class TextReadout(Metric):
    """
    A text, for example a version.
    """

    __slots__ = ("value",)

    def __init__(self, name: str, base: str | None = None, tags: tuple[tuple[str, str], ...] | None = None) -> None:
        super().__init__(name, base, tags)
        self.value = ""

    @property
    def used(self) -> bool:
        return self.value != ""


# Whole numbers below this are their own bin: two digits say all of them. Above, and between whole numbers, a bin
# is known by its lower end. So no peer can make a histogram grow beyond 90 bins for each power of ten.
_EXACT = 100


class Histogram(Metric):
    """
    How values are spread, to two significant digits, as Envoy's histograms.

    @ivar unit: C{"ms"}, C{"us"}, C{"bytes"}, C{"percent"} or C{""}; for readers only.
    @ivar bins: How often each value came, by the lower end of its bin. The hot path adds to one that is there itself,
        and calls L{record} for others.
    @ivar intervalBins: The same for the last full flush interval.
    @ivar boundaries: The upper bounds of the buckets that are shown.
    """

    __slots__ = ("_flushed", "bins", "boundaries", "intervalBins", "unit")

    def __init__(
        self,
        name: str,
        base: str | None = None,
        tags: tuple[tuple[str, str], ...] | None = None,
        unit: str = "ms",
        boundaries: tuple[float, ...] = DEFAULT_BOUNDARIES,
    ) -> None:
        super().__init__(name, base, tags)
        self.unit = unit
        self.boundaries = boundaries
        self.bins: dict[float, int] = {}
        self.intervalBins: dict[float, int] = {}
        self._flushed: dict[float, int] = {}

    def record(self, value: float) -> None:
        """
        Add a value.
        """
        try:
            self.bins[value] += 1
        except KeyError:
            self._recordOther(value)

    def _recordOther(self, value: float) -> None:
        lower = _binOf(value)
        self.bins[lower] = self.bins.get(lower, 0) + 1

    @property
    def used(self) -> bool:
        return bool(self.bins)

    def flush(self) -> None:
        """
        End the current interval: what came since the last call becomes L{intervalBins}.
        """
        flushed = self._flushed
        if self.bins == flushed:
            self.intervalBins = {}
        else:
            self.intervalBins = {
                lower: count - flushed.get(lower, 0)
                for lower, count in self.bins.items()
                if count != flushed.get(lower, 0)
            }
            self._flushed = self.bins.copy()


class SummedHistogram(Histogram):
    """
    What several histograms record, as one. Nothing is recorded here itself.
    """

    __slots__ = ("_own", "_parts")

    _own: Histogram | None
    _parts: list[Histogram]

    @property
    def own(self) -> Histogram:
        """
        A part of it, for who records under its name.
        """
        if self._own is None:
            self._own = Histogram(self.name, self.base, self.tags, self.unit, self.boundaries)
            self.include(self._own)
        return self._own

    def include(self, part: Histogram) -> None:
        """
        Show what another one records.
        """
        if part not in self._parts:
            self._parts.append(part)

    @property
    def bins(self) -> dict[float, int]:
        """
        See L{Histogram}.
        """
        sums: dict[float, int] = {}
        for part in self._parts:
            for lower, count in part.bins.items():
                sums[lower] = sums.get(lower, 0) + count
        return sums

    @bins.setter
    def bins(self, bins: dict[float, int]) -> None:
        """
        It begins with nothing, as any other.
        """
        self._parts = []
        self._own = None


def _binOf(value: float) -> float:
    """
    The lower end of the bin of a value: the value cut to two significant digits.
    """
    if not 0 < value < float("inf"):
        return 0
    if isinstance(value, int):
        if value < _EXACT:
            return value
        step: int = 10 ** (len(str(value)) - 2)
        return value // step * step
    exponent = floor(log10(value)) - 1
    # Rounded, since 0.57 * 100 is 56.99999999999999.
    scale = 10.0**exponent
    return round(floor(round(value / scale, 6)) * scale, max(-exponent, 0))
