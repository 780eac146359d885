"""
Tests for L{meshproxy.stats.exposition}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.stats.exposition import Exposition
from meshproxy.stats.query import StatsQuery
from tests.stats.test_text import sampleStore


class ExpositionTests(SynchronousTestCase):
    """
    L{Exposition} picks the writer.
    """

    def test_formats(self) -> None:
        """
        Each format has its type and its look.
        """
        exposition = Exposition(sampleStore())
        found = {}
        for format in ("text", "json", "prometheus"):
            contentType, pieces = exposition.show(StatsQuery(format=format))
            found[format] = (contentType, "".join(pieces)[:10])
        self.assertEqual(
            found,
            {
                "text": ("text/plain; charset=UTF-8", "cluster.ok"),
                "json": ("application/json", '{"stats":['),
                "prometheus": ("text/plain; version=0.0.4; charset=UTF-8", "# TYPE env"),
            },
        )
