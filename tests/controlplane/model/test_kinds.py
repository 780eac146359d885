# -*- test-case-name: tests.controlplane.model.test_kinds -*-
"""
Tests for L{meshproxy.controlplane.model.kinds}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.model.kinds import KINDS, findKind, findPlural, kindNames


class TableTests(SynchronousTestCase):
    """
    The table of kinds.
    """

    def test_found(self) -> None:
        """
        Each kind is found by every version of its API and by its plural, and by no other.
        """
        for kind in KINDS:
            for version in kind.apiVersions:
                self.assertIs(findKind(version, kind.kind), kind)
            self.assertIs(findPlural(kind.group, kind.plural), kind)
            self.assertIsNone(findKind("v2", kind.kind))
            self.assertIsNone(findPlural("example.com", kind.plural))

    def test_names(self) -> None:
        """
        No name, plural or short name stands for two kinds.
        """
        names = [name for kind in KINDS for name in (kind.singular, kind.plural, *kind.shortNames)]
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual(len(kindNames()), len(KINDS))

    def test_core(self) -> None:
        """
        The core group has no name.
        """
        kind = findKind("v1", "Service")
        assert kind is not None
        self.assertEqual((kind.group, kind.apiVersions), ("", ("v1",)))
