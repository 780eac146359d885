"""
Tests for L{meshproxy.stats.metrics}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.stats.metrics import Counter, Gauge, Histogram, SummedHistogram, TextReadout
from meshproxy.stats.quantiles import binWidth, sampleCount


class NumberTests(SynchronousTestCase):
    """
    Counters and gauges.
    """

    def test_usedByArithmetic(self) -> None:
        """
        A metric is used from its first write on, though that costs the writer nothing, and 0 again is used too.
        """
        gauge = Gauge("g")
        self.assertFalse(gauge.used)
        self.assertEqual(f"{gauge.value:d}", "0")
        gauge.value += 1
        gauge.value -= 1
        self.assertEqual(gauge.value, 0)
        self.assertTrue(gauge.used)

    def test_usedByAssignment(self) -> None:
        """
        Setting a gauge to 0 makes it used, as Envoy's C{set(0)} does.
        """
        gauge = Gauge("g")
        gauge.value = 0
        self.assertTrue(gauge.used)

    def test_reset(self) -> None:
        """
        A reset counter is 0 and stays used; one that never was used stays so.
        """
        used, unused = Counter("a"), Counter("b")
        used.value += 3
        used.reset()
        unused.reset()
        self.assertEqual((used.value, used.used, unused.used), (0, True, False))

    def test_text(self) -> None:
        """
        A text readout is used once it says something.
        """
        text = TextReadout("server.version")
        self.assertFalse(text.used)
        text.value = "1.40"
        self.assertTrue(text.used)


class HistogramTests(SynchronousTestCase):
    """
    L{Histogram} keeps two significant digits.
    """

    def bins(self, *values: float) -> dict[float, int]:
        """
        The bins of a histogram with these values.
        """
        histogram = Histogram("h")
        for value in values:
            histogram.record(value)
        return histogram.bins

    def test_wholeNumbers(self) -> None:
        """
        Whole numbers to 99 are kept as they are, greater ones cut.
        """
        self.assertEqual(self.bins(0, 3, 3, 99, 100, 109, 110, 12345), {0: 1, 3: 2, 99: 1, 100: 2, 110: 1, 12000: 1})

    def test_fractions(self) -> None:
        """
        Fractions are cut to two digits too, without the errors of binary fractions.
        """
        self.assertEqual(self.bins(0.57, 0.579, 3.14, 31.4, 314.9, 0.001), {0.57: 2, 3.1: 1, 31: 1, 310: 1, 0.001: 1})

    def test_notNumbers(self) -> None:
        """
        What cannot be a duration or a size counts as 0 and breaks nothing.
        """
        self.assertEqual(self.bins(-1, float("inf"), float("nan")), {0: 3})

    def test_bounded(self) -> None:
        """
        However many different values come, the bins stay few.
        """
        self.assertLess(len(self.bins(*range(0, 1_000_000, 7))), 100 + 4 * 90 + 1)

    @given(st.one_of(st.integers(1, 10**12), st.floats(1e-6, 1e12)))
    def test_inItsBin(self, value: float) -> None:
        """
        A value lies in the bin it is counted in.
        """
        (lower,) = self.bins(value)
        self.assertLessEqual(lower, value * (1 + 1e-9))
        self.assertLess(value, (lower + binWidth(lower)) * (1 + 1e-6))

    def test_interval(self) -> None:
        """
        The interval is what came between the last two flushes.
        """
        histogram = Histogram("h")
        histogram.record(1)
        histogram.flush()
        self.assertEqual(histogram.intervalBins, {1: 1})
        histogram.record(1)
        histogram.record(2)
        self.assertEqual(histogram.intervalBins, {1: 1})
        histogram.flush()
        self.assertEqual(histogram.intervalBins, {1: 1, 2: 1})
        histogram.flush()
        self.assertEqual(histogram.intervalBins, {})
        self.assertEqual(sampleCount(histogram.bins), 3)


class SummedHistogramTests(SynchronousTestCase):
    """
    L{SummedHistogram}.
    """

    def test_sums(self) -> None:
        """
        It shows what its parts record, each once, for the interval as well.
        """
        one, two, both = Histogram("a"), Histogram("b"), SummedHistogram("c")
        self.assertFalse(both.used)
        for part in (one, two, one):
            both.include(part)
        one.record(3)
        two.record(3)
        two.record(7)
        both.flush()
        self.assertEqual((both.bins, both.intervalBins, both.used), ({3: 2, 7: 1}, {3: 2, 7: 1}, True))
        one.record(7)
        both.flush()
        self.assertEqual((both.bins, both.intervalBins), ({3: 2, 7: 2}, {7: 1}))
