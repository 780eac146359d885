"""
Tests for L{meshproxy.admin.explain.place}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.admin.explain.place import placeOf
from meshproxy.config import Section

LISTENER = "envoy.config.listener.v3.Listener"


class PlaceTests(SynchronousTestCase):
    """
    L{placeOf}.
    """

    def test_withoutText(self) -> None:
        """
        What no text says has its path for a place.
        """
        section = Section.of(LISTENER, {"name": "x", "filter_chains": [{"name": "y"}]})
        self.assertEqual(placeOf(section.children("filter_chains")[0], "name"), "filter_chains[0].name")
