# -*- test-case-name: tests.routing.test_scopes -*-
"""
Scoped routes: a request's key chooses the route configuration, which then chooses the route.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from meshproxy.accesslog.streaminfo import StreamInfo
from meshproxy.config.section import Section
from meshproxy.headers import RequestHeaders
from meshproxy.routing.context import RouteContext
from meshproxy.routing.route import Route
from meshproxy.routing.table import RouteTable, compileRouteConfiguration

__all__ = ["compileScopedRoutes"]

#: From a head to one part of its key, or L{None} if it has none.
_Fragment: TypeAlias = Callable[[RequestHeaders], bytes | None]


def compileScopedRoutes(section: Section, context: RouteContext) -> RouteTable:
    """
    Compile C{ScopedRoutes} with inline configurations. A request that has no key, or another one, finds no route.
    """
    builders = [_fragment(each) for each in section.childOrEmpty("scope_key_builder").children("fragments")]
    listed = section.childOrEmpty("scoped_route_configurations_list").children("scoped_route_configurations")
    names: set[str] = set()
    tables: dict[tuple[bytes, ...], RouteTable] = {}
    for scope in listed:
        name: str = scope.get("name")
        if name in names:
            scope.refuse(f"there is another scope named {name!r}", "name")
        names.add(name)
        fragments = scope.childOrEmpty("key").children("fragments")
        key = tuple(fragment.get("string_key").encode("utf-8") for fragment in fragments)
        if key in tables:
            scope.refuse("there is another scope of this key", "key")
        # As in Envoy, also where there is a route_configuration beside it.
        if scope.get("route_configuration_name"):
            scope.refuse("a scope in place takes no routes by RDS", "route_configuration_name")
        elif not scope.has("route_configuration"):
            scope.refuse("a scope in place needs its routes in place", "route_configuration")
        tables[key] = compileRouteConfiguration(scope.childOrEmpty("route_configuration"), context)
    return RouteTable(
        section.get("name"),
        _match(builders, tables),
        [host for table in tables.values() for host in table.virtualHosts],
        [route for table in tables.values() for route in table.routes],
        [section for table in tables.values() for section in table.sections],
    )


def _match(
    builders: Sequence[_Fragment], tables: dict[tuple[bytes, ...], RouteTable]
) -> Callable[[RequestHeaders, StreamInfo], Route | None]:
    def match(headers: RequestHeaders, info: StreamInfo) -> Route | None:
        key = []
        for builder in builders:
            fragment = builder(headers)
            if fragment is None:
                return None
            key.append(fragment)
        table = tables.get(tuple(key))
        return None if table is None else table.match(headers, info)

    return match


def _fragment(section: Section) -> _Fragment:
    extractor = section.childOrEmpty("header_value_extractor")
    name: bytes = extractor.get("name").lower().encode("utf-8")
    separator: bytes = extractor.get("element_separator").encode("utf-8")
    element = extractor.child("element")
    index: int = extractor.get("index")
    if index and not separator:
        extractor.refuse("without an element_separator there is one element, whose index is 0", "index")
    if element is None:
        return _byIndex(name, separator, index)
    return _byKey(name, separator, element.get("separator").encode("utf-8"), element.get("key").encode("utf-8"))


def _elements(headers: RequestHeaders, name: bytes, separator: bytes) -> list[bytes]:
    # Only the first value is looked at, as in Envoy: whoever stands before may have added others.
    value = headers.get(name)
    if value is None:
        return []
    return value.split(separator) if separator else [value]


def _byIndex(name: bytes, separator: bytes, index: int) -> _Fragment:
    def fragment(headers: RequestHeaders) -> bytes | None:
        elements = _elements(headers, name, separator)
        return elements[index] if index < len(elements) else None

    return fragment


def _byKey(name: bytes, separator: bytes, between: bytes, key: bytes) -> _Fragment:
    def fragment(headers: RequestHeaders) -> bytes | None:
        for element in _elements(headers, name, separator):
            found, _, value = element.partition(between)
            if found == key:
                return value
        return None

    return fragment
