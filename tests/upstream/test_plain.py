"""
L{meshproxy.upstream.plain}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section
from meshproxy.upstream.plain import metadataOf


class PlainTests(SynchronousTestCase):
    """
    Metadata.
    """

    def test_kinds(self) -> None:
        """
        Every kind of value.
        """
        labels = {"s": "x", "n": 1.5, "b": True, "none": None, "list": ["a", 2.0], "map": {"k": "v"}}
        section = Section.of("envoy.config.core.v3.Metadata", {"filter_metadata": {"envoy.lb": labels}})
        self.assertEqual(metadataOf(section), {"envoy.lb": labels})
