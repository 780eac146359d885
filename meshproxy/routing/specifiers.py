# -*- test-case-name: tests.routing.test_specifiers -*-
"""
Routes whose cluster each request chooses: by a header, or by a plugin (C{cluster_specifier_plugin}).

As in Envoy the choice is made with the choice of the route, before any filter sees the request; a filter that changes
what it depends on asks for another one by C{clearRouteCache}.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final

from twisted.logger import Logger
from zope.interface import implementer

from meshproxy.accesslog.streaminfo import StreamInfo
from meshproxy.config.near import near
from meshproxy.config.section import Section
from meshproxy.config.structure import structure
from meshproxy.headers import RequestHeaders
from meshproxy.interfaces import IClusterSpecifier
from meshproxy.routing.context import RouteContext
from meshproxy.routing.route import Route

__all__ = ["Choice", "ClusterSpecifier", "Specifiers", "byHeader", "choosingOn", "choosingRoute"]

#: From a request to the name of its cluster: empty where there is none, L{None} where there is no route either.
Choice = Callable[[RequestHeaders, StreamInfo], str | None]

_Choose = Callable[[RequestHeaders, StreamInfo], Route | None]

# A client may name any cluster in a header: how many of them a route remembers.
_MOST_NAMES: Final = 1000

_KIND: Final = "cluster_specifier"


@implementer(IClusterSpecifier)
class ClusterSpecifier:
    """
    Says which cluster a request goes to. A class of its own has but one method::

        @attrs.frozen
        class Config:
            share: float = 0.1

        class Canary(ClusterSpecifier):
            Config = Config

            def chooseCluster(self, headers, stream):
                return "canary" if random() < self.config.share else "stable"

    One instance serves all requests of its route.

    @cvar configType: The full name of its protobuf message, or C{""} where L{Config} tells its C{TypedStruct}.
    @cvar Config: An attrs class (L{meshproxy.config.structure}), where there is no message.
    @ivar config: What L{compileConfig} made of the configuration.
    """

    configType: ClassVar[str] = ""
    Config: ClassVar[type | None] = None

    def __init__(self, config: Any) -> None:
        self.config = config

    @classmethod
    def compileConfig(cls, section: Section, context: RouteContext) -> Any:
        """
        Make of a configuration whatever the instance needs, once, when it is loaded.

        @param section: The message of C{configType}, or the C{TypedStruct}; faults are told by its C{refuse}.
        """
        return None if cls.Config is None else structure(cls.Config, section, section.report)

    def chooseCluster(self, headers: RequestHeaders, stream: Any) -> str:
        """
        See L{IClusterSpecifier.chooseCluster}.
        """
        raise NotImplementedError


def _noRoute(headers: RequestHeaders, info: StreamInfo) -> str | None:
    """
    In the place of what is optional and not there.
    """
    return None


class Specifiers:
    """
    The plugins of one route configuration.
    """

    _log = Logger()

    def __init__(self, sections: Sequence[Section], context: RouteContext) -> None:
        """
        @param sections: C{cluster_specifier_plugins}.
        """
        self._context = context
        self._named: dict[str, Choice] = {}
        for section in sections:
            name = section.childOrEmpty("extension").get("name")
            # As in Envoy, the first one of a name has it.
            self._named.setdefault(name, self._compile(section))

    def choiceOf(self, action: Section) -> Choice | None:
        """
        What chooses the cluster of a C{RouteAction}; L{None} where no plugin does.
        """
        inline = action.child("inline_cluster_specifier_plugin")
        if inline is not None:
            return self._compile(inline)
        name: str = action.get("cluster_specifier_plugin")
        if not name:
            return None
        found = self._named.get(name)
        if found is None:
            why = f"unknown cluster specifier plugin name: {name} is used in the route"
            action.refuse(why, "cluster_specifier_plugin", near(name, self._named))
            return _noRoute
        return found

    def _compile(self, section: Section) -> Choice:
        """
        Compile a C{ClusterSpecifierPlugin}.
        """
        extension = section.childOrEmpty("extension")
        held = extension.child("typed_config")
        registry = self._context.registry
        if registry is None:
            extension.refuse("there are no cluster specifier plugins here")
            return _noRoute
        if section.get("is_optional") and (held is None or not registry.isKnown(_KIND, held)):
            section.warn("no cluster specifier plugin here takes this; its routes are none, as is_optional says")
            return _noRoute
        found = registry.find(_KIND, extension)
        if found is None:
            return _noRoute
        kind = found.filterClass
        if not issubclass(kind, ClusterSpecifier):
            extension.refuse(f"{kind.__module__}:{kind.__qualname__} is no ClusterSpecifier")
            return _noRoute
        try:
            made = kind(kind.compileConfig(found.config, self._context))
        except Exception as error:
            extension.refuse(f"the plugin raised {type(error).__name__} at its configuration: {error}")
            return _noRoute
        return self._guarded(found.plugin.name, made.chooseCluster)

    def _guarded(self, name: str, choose: Choice) -> Choice:
        """
        What a plugin raises is logged, and there is no cluster.
        """

        def chooseOrLog(headers: RequestHeaders, info: StreamInfo) -> str:
            try:
                return choose(headers, info) or ""
            except Exception:
                self._log.failure("the cluster specifier plugin {name} raised", name=name)
                return ""

        return chooseOrLog


def byHeader(name: bytes) -> Choice:
    """
    The choice by a header.
    """

    def choose(headers: RequestHeaders, info: StreamInfo) -> str:
        # Who sent it is not known, so only the first value counts.
        return headers.first.get(name, b"").decode("utf-8", "replace")

    return choose


def choosingOn(choose: _Choose) -> _Choose:
    """
    Let what chooses among routes go on with the one that it chose.
    """

    def chooseOn(headers: RequestHeaders, info: StreamInfo) -> Route | None:
        route = choose(headers, info)
        return route if route is None or route.choose is None else route.choose(headers, info)

    return chooseOn


def choosingRoute(route: Route, choice: Choice) -> Route:
    """
    A route that becomes, for each request, the same one with the cluster that is chosen.
    """
    action = route.action
    assert action is not None
    known: dict[str, Route] = {}

    def choose(headers: RequestHeaders, info: StreamInfo) -> Route | None:
        name = choice(headers, info)
        found = known.get(name) if name is not None else None
        if found is None and name is not None:
            if len(known) >= _MOST_NAMES:
                known.clear()
            found = known[name] = replace(route, action=replace(action, cluster=name, clusterHeader=b""))
        return found

    return replace(route, choose=choose)
