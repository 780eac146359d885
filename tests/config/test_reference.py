# -*- test-case-name: tests.config.test_reference -*-
"""
Tests for L{meshproxy.config.reference}.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import meshproxy
from meshproxy.config.reference import describeMessage, reference
from meshproxy.config.supported import Supported

PAGE = Path(meshproxy.__file__).parent.parent / "docs" / "reference" / "config.md"
ROUTE = "envoy.config.route.v3.RouteAction"


class ReferenceTests(SynchronousTestCase):
    """
    The reference tells what is declared.
    """

    def test_upToDate(self) -> None:
        """
        The page in the tree is the one that the declarations give.
        """
        if not PAGE.exists():
            self.skipTest("the pages are not installed")
        told = "run python -m meshproxy.config.reference > docs/reference/config.md"
        self.assertTrue(PAGE.read_text("utf-8") == reference(), told)

    def test_row(self) -> None:
        """
        A field has its type, its constraints and its notes.
        """
        registry = Supported()
        registry.declare(ROUTE, "cluster")
        registry.only(ROUTE, "priority", "DEFAULT")
        registry.accept(ROUTE, "timeout", "why not")
        lines = describeMessage(ROUTE, registry).splitlines()
        self.assertEqual(
            lines[2:],
            [
                "| `cluster` | string | min_len 1 | one of cluster_specifier |",
                "| `timeout` | Duration |  | accepted, without effect: why not |",
                "| `priority` | DEFAULT \\| HIGH |  | only `DEFAULT` |",
            ],
        )

    def test_columns(self) -> None:
        """
        Every row of the page has four columns, whatever a pattern holds.
        """
        rows = [line for line in reference().splitlines() if line.startswith("|")]
        self.assertGreater(len(rows), 200)
        for row in rows:
            self.assertEqual(row.replace("\\|", "").count("|"), 5, row)

    def test_empty(self) -> None:
        """
        A message without fields says so.
        """
        registry = Supported()
        registry.declare(ROUTE)
        self.assertIn("no fields", describeMessage(ROUTE, registry))
