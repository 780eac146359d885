# -*- test-case-name: tests.stats.test_exposition -*-
"""
The one entrance for the admin room: a query in, a content type and pieces of text out.
"""

from __future__ import annotations

from collections.abc import Iterator

from meshproxy.stats.jsontext import jsonPieces
from meshproxy.stats.prometheus import CONTENT_TYPE, PrometheusWriter
from meshproxy.stats.query import StatsQuery
from meshproxy.stats.store import Store
from meshproxy.stats.tags import TagExtractor
from meshproxy.stats.text import chunked, textLines

__all__ = ["Exposition"]


class Exposition:
    """
    Shows a store.
    """

    def __init__(self, store: Store, extractor: TagExtractor | None = None) -> None:
        self._store = store
        self._prometheus = PrometheusWriter(store, extractor)

    def show(self, query: StatsQuery) -> tuple[str, Iterator[str]]:
        """
        Answer a query.

        @return: The content type, and the text in pieces of some 40 KiB. The HTML formats are pages of the admin
            room, which shows there what this gives for C{text}.
        """
        self._store.spread()
        if query.format == "json":
            return "application/json", chunked(jsonPieces(self._store, query))
        if query.format == "prometheus":
            return CONTENT_TYPE, chunked(self._prometheus.families(query))
        return "text/plain; charset=UTF-8", chunked(textLines(self._store, query))
