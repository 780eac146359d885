"""
L{meshproxy.http.resets}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.http.resets import PrematureResets, ResetRate


class PrematureResetTests(SynchronousTestCase):
    """
    L{PrematureResets}.
    """

    def test_soon(self) -> None:
        """
        The 250th reset within a second is too much, if there were few other streams.
        """
        resets = PrematureResets()
        self.assertEqual([resets.isTooMuch(number, 0.0, 0.5) for number in range(1, 251)].index(True), 249)

    def test_among(self) -> None:
        """
        Among many that end well, resets are no more than what clients do.
        """
        resets = PrematureResets()
        self.assertFalse(any(resets.isTooMuch(3 * number, 0.0, 0.5) for number in range(1, 2000)))

    def test_late(self) -> None:
        """
        Streams that lived for a second are not counted.
        """
        resets = PrematureResets()
        self.assertFalse(any(resets.isTooMuch(number, 0.0, 1.0) for number in range(1, 2000)))


class ResetRateTests(SynchronousTestCase):
    """
    L{ResetRate}.
    """

    def test_atOnce(self) -> None:
        """
        The burst may come at once, and nothing beyond it.
        """
        rate = ResetRate(5, 1.0)
        self.assertEqual([rate.isTooMuch(1, 0.0) for _ in range(6)], [False] * 5 + [True])
        self.assertTrue(ResetRate(5, 1.0).isTooMuch(6, 0.0))

    def test_inTime(self) -> None:
        """
        Then so many in each second, which are not saved up beyond the burst.
        """
        rate = ResetRate(5, 2.0)
        self.assertFalse(rate.isTooMuch(5, 0.0))
        self.assertFalse(rate.isTooMuch(2, 1.0))
        self.assertTrue(rate.isTooMuch(1, 1.25))
        rested = ResetRate(5, 2.0)
        self.assertFalse(rested.isTooMuch(1, 0.0))
        self.assertTrue(rested.isTooMuch(6, 1000.0))
