"""
docs/security/attacks.md: what was published of others, and the test of each.
"""

from __future__ import annotations

import re
from pathlib import Path

from twisted.python.reflect import namedAny
from twisted.trial.unittest import SynchronousTestCase

_PAGE = Path(__file__).parents[2] / "docs/security/attacks.md"
_ROW = re.compile(r"^\| (CVE-[^|]+) \| ([^|]+) \| ([^|]+) \|$", re.M)


class PublishedTests(SynchronousTestCase):
    """
    The table tells the truth.
    """

    def test_tests(self) -> None:
        """
        Each test that it names is there.
        """
        rows = _ROW.findall(_PAGE.read_text("utf-8"))
        self.assertGreater(len(rows), 70)
        missing = []
        for numbers, _, named in rows:
            tests = re.findall(r"`([\w.]+)`", named)
            self.assertTrue(tests, numbers)
            for name in tests:
                try:
                    namedAny(f"tests.{name}")
                except AttributeError:
                    missing.append(name)
        self.assertEqual(missing, [])

    def test_once(self) -> None:
        """
        No number stands there twice.
        """
        rows = _ROW.findall(_PAGE.read_text("utf-8"))
        numbers = [number for row in rows for number in re.findall(r"\d{4}-\d+", row[0])]
        self.assertEqual(sorted(numbers), sorted(set(numbers)))
