"""
Tests for L{meshproxy.grpc.deadline}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.grpc.deadline import formatMilliseconds, formatTimeout, parseTimeout
from meshproxy.grpc.status import GRPCError


class TimeoutTests(SynchronousTestCase):
    """
    C{grpc-timeout} both ways.
    """

    def test_units(self) -> None:
        """
        Each unit.
        """
        for value, seconds in ((b"2H", 7200), (b"3M", 180), (b"4S", 4), (b"5m", 0.005), (b"6u", 6e-6), (b"7n", 7e-9)):
            self.assertAlmostEqual(parseTimeout(value), seconds, places=12)

    def test_refused(self) -> None:
        """
        No number, no unit, too many digits: refused, and never an overflow.
        """
        for value in (b"", b"S", b"1", b"1s", b"123456789S", b"-1S", b"1.5S", b" 1S", b"1_0S", b"\xd9\xa1S"):
            self.assertRaises(GRPCError, parseTimeout, value)

    def test_roundTrip(self) -> None:
        """
        What is written is read again, as exactly as eight digits allow.
        """
        for seconds in (0.0, 1e-6, 0.25, 15.0, 99.999999, 3600.0, 1e6, 1e9, 1e15):
            value = formatTimeout(seconds)
            self.assertTrue(len(value) <= 9, value)
            if seconds < 3e11:
                self.assertTrue(abs(parseTimeout(value) - seconds) <= max(1e-6, seconds / 1e3), value)
        self.assertEqual(formatTimeout(0.5), b"500000u")

    def test_milliseconds(self) -> None:
        """
        Eight digits at most, in a unit in which they are enough.
        """
        for number, value in (
            (0, b"0m"),
            (99_999_999, b"99999999m"),
            (100_000_000, b"100000S"),
            (100_000_000_000, b"1666666M"),
            (10_000_000_000_000, b"2777777H"),
            (10**20, b"99999999H"),
        ):
            self.assertEqual(formatMilliseconds(number), value)
