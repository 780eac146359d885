"""
Tests for L{meshproxy.accesslog.timeformat}. The expected texts are Envoy's for the same moment.
"""

from __future__ import annotations

import os
import time

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.accesslog.timeformat import DEFAULT_LOCAL_TIME, DEFAULT_TIME, compileTime

MOMENT = 1795350691.845744


class TimeTests(SynchronousTestCase):
    """
    L{compileTime} knows strftime, and Envoy's extensions of it.
    """

    def test_default(self) -> None:
        """
        ISO 8601 with milliseconds, in UTC.
        """
        self.assertEqual(compileTime(DEFAULT_TIME)(MOMENT), "2026-11-22T12:31:31.845Z")

    def test_patterns(self) -> None:
        """
        Fractions of several lengths, seconds since the epoch, offsets, percent signs.
        """
        cases = {
            "%Y/%m/%dT%H:%M:%S%z %s": "2026/11/22T12:31:31+0000 1795350691",
            "%s.%3f": "1795350691.845",
            "%s%3f": "1795350691845",
            "%f|%1f|%6f|%9f|%3f": "845744000|8|845744|845744000|845",
            "%E3S %E*S %Ez": "31.845 31.845744 +00:00",
            "a %% %j %b": "a % 326 Nov",
            "%E4Y": "2026",
            "plain": "plain",
        }
        for pattern, expected in cases.items():
            self.assertEqual(compileTime(pattern)(MOMENT), expected, pattern)

    def test_secondsChange(self) -> None:
        """
        What is remembered of one second is not shown in another.
        """
        for pattern, texts in [
            (DEFAULT_TIME, ["2026-11-22T12:31:31.845Z", "2026-11-22T12:31:32.000Z", "2026-11-22T12:31:31.845Z"]),
            ("%S", ["31", "32", "31"]),
            ("%S %1f %2f", ["31 8 84", "32 0 00", "31 8 84"]),
        ]:
            format = compileTime(pattern)
            self.assertEqual([format(moment) for moment in (MOMENT, 1795350692.0, MOMENT)], texts)

    def test_rounding(self) -> None:
        """
        A float that is a hair below a millisecond is that millisecond; the last microsecond carries over.
        """
        self.assertEqual(compileTime("%s.%3f")(1795350691.845), "1795350691.845")
        self.assertEqual(compileTime("%s.%3f")(1795350691.9999998), "1795350692.000")

    def test_local(self) -> None:
        """
        Local time, with its offset.
        """
        before = os.environ.get("TZ")

        def restore() -> None:
            if before is None:
                os.environ.pop("TZ", None)
            else:
                os.environ["TZ"] = before
            time.tzset()

        self.addCleanup(restore)
        os.environ["TZ"] = "XYZ-5:30"
        time.tzset()
        self.assertEqual(compileTime(DEFAULT_LOCAL_TIME, True)(MOMENT), "2026-11-22T18:01:31.845+0530")
        self.assertEqual(compileTime("%Ez", True)(MOMENT), "+05:30")
        self.assertEqual(compileTime("%H%z")(MOMENT), "12+0000")
