# -*- test-case-name: tests.routing.test_hostmatcher -*-
"""
C{VirtualHost.matcher}: routes at the leaves of a tree of conditions, in place of a list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from meshproxy.accesslog.streaminfo import StreamInfo
from meshproxy.config.matchertree import compileMatcherTree
from meshproxy.config.section import Section
from meshproxy.headers import RequestHeaders
from meshproxy.routing.context import RouteContext
from meshproxy.routing.route import Route

__all__ = ["compileHostMatcher"]

_Match: TypeAlias = Callable[[RequestHeaders, StreamInfo], Route | None]

_ROUTE = "envoy.config.route.v3.Route"
_LIST = "envoy.config.route.v3.RouteList"


def compileHostMatcher(
    section: Section, context: RouteContext, compileRoutes: Callable[[Sequence[Section]], _Match]
) -> _Match:
    """
    Compile a tree. A route at a leaf still has to match by itself, as in Envoy.

    @param section: The C{Matcher}.
    @param compileRoutes: Compiles the routes of one leaf.
    """

    def compileAction(action: Section) -> object | None:
        config = action.any("typed_config")
        if config is not None and config.typeName == _ROUTE:
            return compileRoutes([config])
        if config is not None and config.typeName == _LIST:
            return compileRoutes(config.children("routes"))
        action.refuse(f"the action of a route's matcher is a {_ROUTE} or a {_LIST}", "typed_config")
        return None

    find = compileMatcherTree(section, context.matcherInputs, compileAction)

    def match(headers: RequestHeaders, info: StreamInfo) -> Route | None:
        found: _Match | None = find(info)
        return None if found is None else found(headers, info)

    return match
