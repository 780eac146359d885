# -*- test-case-name: tests.controlplane.model.test_reference -*-
"""
Tests for L{meshproxy.controlplane.model.reference}.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import meshproxy
from meshproxy.controlplane.model.kinds import KINDS, findPlural
from meshproxy.controlplane.model.reference import describeKind, reference

PAGE = Path(meshproxy.__file__).parent.parent / "docs" / "reference" / "resources.md"


class ReferenceTests(SynchronousTestCase):
    """
    The reference tells what the classes have.
    """

    def test_upToDate(self) -> None:
        """
        The page in the tree is the one that the classes give.
        """
        if not PAGE.exists():
            self.skipTest("the pages are not installed")
        told = "run python -m meshproxy.controlplane.model.reference > docs/reference/resources.md"
        self.assertTrue(PAGE.read_text("utf-8") == reference(), told)

    def test_kind(self) -> None:
        """
        A kind has its versions, its fields with types and defaults, and what has no effect.
        """
        kind = findPlural("security.istio.io", "authorizationpolicies")
        other = findPlural("networking.istio.io", "workloadgroups")
        assert kind is not None and other is not None
        told = describeKind(kind, set()) + describeKind(other, set())
        for line in (
            "`security.istio.io/v1`, `security.istio.io/v1beta1`; `authorizationpolicies`, ap",
            "| `action` | ALLOW \\| DENY \\| AUDIT \\| CUSTOM | default `ALLOW` |",
            "| `from` | list of From |  |",
            "| `probe` | Probe | no effect so far: nobody asks; an entry goes when its proxy does |",
        ):
            self.assertIn(f"{line}\n", told)

    def test_columns(self) -> None:
        """
        Every row has three columns, and every kind its section.
        """
        page = reference()
        rows = [line for line in page.splitlines() if line.startswith("|")]
        self.assertGreater(len(rows), 200)
        for row in rows:
            self.assertEqual(row.replace("\\|", "").count("|"), 4, row)
        for kind in KINDS:
            self.assertIn(f"\n## {kind.kind}\n", page)
