"""
The list of differences is explained.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.differences import DIFFERENCES

_PAGE = Path(__file__).parents[2] / "docs" / "development" / "differences.md"


class DifferenceTests(SynchronousTestCase):
    """
    L{DIFFERENCES} and the page about them.
    """

    def test_explained(self) -> None:
        """
        Each reason has a heading, and each heading is a reason.
        """
        headings = {line[3:] for line in _PAGE.read_text().splitlines() if line.startswith("## ")}
        self.assertEqual({each.reason for each in DIFFERENCES}, headings)
