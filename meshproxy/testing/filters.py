# -*- test-case-name: tests.testing.test_harness -*-
"""
Filters of a test, that no plugin file tells of.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from zope.interface import implementer

from meshproxy.config.registry import FilterRegistry, findPlugins
from meshproxy.http.filter import HTTPFilter
from meshproxy.interfaces import IFilterFactory

__all__ = ["GivenFilter", "filterRegistry"]


@implementer(IFilterFactory)
class GivenFilter:
    """
    Makes a class known to the registry, without a module to import.
    """

    kind = "http"

    def __init__(self, filterClass: type[HTTPFilter], name: str) -> None:
        self.name = name
        self.module = filterClass.__module__
        self.configTypes = (filterClass.configType,) if filterClass.configType else ()
        self.routeConfigTypes = (filterClass.routeConfigType,) if filterClass.routeConfigType else ()
        self._filterClass = filterClass

    def load(self) -> type:
        """
        See L{IFilterFactory.load}.
        """
        return self._filterClass


@cache
def _installed() -> FilterRegistry:
    return FilterRegistry(findPlugins()[0])


def filterRegistry(given: Mapping[str, type[HTTPFilter]] | None = None) -> FilterRegistry:
    """
    The filters that are installed, and before them some classes, each under a name of its own.
    """
    installed = _installed()
    if not given:
        return installed
    return FilterRegistry([*(GivenFilter(each, name) for name, each in given.items()), *installed.plugins])
