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
from meshproxy.net.filter import NetworkFilter, PassingFilter
from meshproxy.net.listenerfilter import ListenerFilter

__all__ = ["AnyFilter", "GivenFilter", "filterRegistry"]


AnyFilter = type[HTTPFilter] | type[NetworkFilter] | type[PassingFilter] | type[ListenerFilter]


@implementer(IFilterFactory)
class GivenFilter:
    """
    Makes a class known to the registry, without a module to import.
    """

    def __init__(self, filterClass: AnyFilter, name: str) -> None:
        self.name = name
        self.kind = "http"
        if issubclass(filterClass, NetworkFilter | PassingFilter):
            self.kind = "network"
        elif issubclass(filterClass, ListenerFilter):
            self.kind = "listener"
        self.module = filterClass.__module__
        self.configTypes = (filterClass.configType,) if filterClass.configType else ()
        self.routeConfigTypes = _routeTypes(filterClass)
        self._filterClass = filterClass

    def load(self) -> type:
        """
        See L{IFilterFactory.load}.
        """
        return self._filterClass


def _routeTypes(filterClass: AnyFilter) -> tuple[str, ...]:
    found: str = getattr(filterClass, "routeConfigType", "")
    return (found,) if found else ()


@cache
def _installed() -> FilterRegistry:
    return FilterRegistry(findPlugins()[0])


def filterRegistry(given: Mapping[str, AnyFilter] | None = None) -> FilterRegistry:
    """
    The filters that are installed, and before them some classes, each under a name of its own.
    """
    installed = _installed()
    if not given:
        return installed
    return FilterRegistry([*(GivenFilter(each, name) for name, each in given.items()), *installed.plugins])
