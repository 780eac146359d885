# -*- test-case-name: tests.config.test_registry -*-
"""
How a plugin file tells of a filter without importing it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

from twisted.plugin import IPlugin
from zope.interface import implementer

from meshproxy.interfaces import IExplainer, IFilterFactory

__all__ = ["ExplainerPlugin", "FilterPlugin", "builtIn"]


@implementer(IPlugin, IFilterFactory)
class FilterPlugin:
    """
    A filter in another module::

        greeter = FilterPlugin("example.greeter", "http", "example.greeter:Greeter")

    @ivar name: See L{IFilterFactory}.
    @ivar kind: See L{IFilterFactory}.
    @ivar configTypes: See L{IFilterFactory}.
    @ivar routeConfigTypes: Full names of the messages that C{typed_per_filter_config} may hold for it, besides
        C{configTypes}.
    @ivar module: See L{IFilterFactory}.
    @ivar className: The name of the class in that module.
    """

    def __init__(
        self,
        name: str,
        kind: str,
        target: str,
        configTypes: tuple[str, ...] = (),
        routeConfigTypes: tuple[str, ...] = (),
    ) -> None:
        """
        @param target: C{package.module:Class}.
        """
        self.name = name
        self.kind = kind
        self.module, _, self.className = target.partition(":")
        self.configTypes = configTypes
        self.routeConfigTypes = routeConfigTypes

    def load(self) -> type:
        """
        See L{IFilterFactory.load}.
        """
        found = getattr(import_module(self.module), self.className)
        if not isinstance(found, type):
            raise TypeError(f"{self.module}:{self.className} is no class")
        return found

    def __repr__(self) -> str:
        return f"<FilterPlugin {self.name}: {self.module}:{self.className}>"


def builtIn(kind: str, name: str, className: str, message: str, routeMessage: str = "") -> FilterPlugin:
    """
    A filter that comes with this program. Its name, its module and its messages are called as Envoy calls them, so that
    they follow from each other.

    @param kind: C{"http"}, C{"network"} or C{"listener"}.
    @param name: Without what all of its kind begin with; the module's as well.
    @param message: What configures it, without its package.
    @param routeMessage: What C{typed_per_filter_config} may hold for it besides.
    """
    package = f"envoy.extensions.filters.{kind}.{name}.v3"
    return FilterPlugin(
        f"envoy.filters.{kind}.{name}",
        kind,
        f"meshproxy.filters.{kind}.{name}:{className}",
        (f"{package}.{message}",),
        (f"{package}.{routeMessage}",) if routeMessage else (),
    )


@implementer(IPlugin, IExplainer)
class ExplainerPlugin:
    """
    An L{IExplainer} in another module, which is imported when it is asked.
    """

    def __init__(self, target: str) -> None:
        """
        @param target: C{package.module:function}.
        """
        self._module, _, self._name = target.partition(":")

    def explain(
        self,
        listeners: Mapping[str, bytes],
        routes: Mapping[str, bytes],
        clusters: Mapping[str, bytes],
        bootstrapClusters: Iterable[str],
        request: Mapping[str, Any],
    ) -> dict[str, Any]:
        """
        See L{IExplainer.explain}.
        """
        function = getattr(import_module(self._module), self._name)
        told: dict[str, Any] = function(listeners, routes, clusters, bootstrapClusters, request)
        return told
