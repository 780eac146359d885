# -*- test-case-name: tests.routing.test_scopes -*-
"""
Scoped routes: a request's key chooses the route configuration, which then chooses the route.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from meshproxy.accesslog.streaminfo import StreamInfo
from meshproxy.config.section import Section
from meshproxy.headers import RequestHeaders
from meshproxy.routing.context import RouteContext
from meshproxy.routing.route import Route
from meshproxy.routing.table import RouteTable, compileRouteConfiguration

__all__ = ["checkScopes", "compileDiscoveredScopes", "compileScopedRoutes"]

#: From a head to one part of its key, or L{None} if it has none.
_Fragment: TypeAlias = Callable[[RequestHeaders], bytes | None]
_Key: TypeAlias = tuple[bytes, ...]


def compileScopedRoutes(section: Section, context: RouteContext) -> RouteTable:
    """
    Compile C{ScopedRoutes} with inline configurations. A request that has no key, or another one, finds no route.
    """
    listed = section.childOrEmpty("scoped_route_configurations_list").children("scoped_route_configurations")
    names: set[str] = set()
    tables: dict[_Key, RouteTable] = {}
    for scope in listed:
        name: str = scope.get("name")
        if name in names:
            scope.refuse(f"there is another scope named {name!r}", "name")
        names.add(name)
        key = _keyOf(scope)
        if key in tables:
            scope.refuse("there is another scope of this key", "key")
        # As in Envoy, also where there is a route_configuration beside it.
        if scope.get("route_configuration_name"):
            scope.refuse("a scope in place takes no routes by RDS", "route_configuration_name")
        elif not scope.has("route_configuration"):
            scope.refuse("a scope in place needs its routes in place", "route_configuration")
        tables[key] = compileRouteConfiguration(scope.childOrEmpty("route_configuration"), context)
    return _tableOf(section, tables)


def checkScopes(scopes: Iterable[Section]) -> None:
    """
    Hold C{ScopedRouteConfiguration} messages of one source to what they may say beside each other. Faults go to their
    report.
    """
    known: dict[_Key, str] = {}
    for scope in scopes:
        name: str = scope.get("name")
        other = known.setdefault(_keyOf(scope), name)
        if other != name:
            scope.refuse(f"the scope {other!r} has this key already", "key")
        if not scope.has("route_configuration") and not scope.get("route_configuration_name"):
            scope.refuse(
                "a scope needs a route_configuration, or the name of one that comes by RDS", "route_configuration_name"
            )


def compileDiscoveredScopes(
    section: Section, scopes: Iterable[Section], find: Callable[[str], RouteTable | None], context: RouteContext
) -> RouteTable:
    """
    Compile C{ScopedRoutes} whose scopes came by SRDS.

    @param scopes: C{ScopedRouteConfiguration} messages that L{checkScopes} found no fault with.
    @param find: Gives the routes of a name, or L{None} while they are not there: no request finds a route then.
    """
    tables: dict[_Key, RouteTable] = {}
    for scope in scopes:
        inPlace = scope.child("route_configuration")
        if inPlace is not None:
            # As in Envoy, it counts for more than a name beside it.
            tables[_keyOf(scope)] = compileRouteConfiguration(inPlace, context)
        elif not scope.get("on_demand"):
            table = find(scope.get("route_configuration_name"))
            if table is not None:
                tables[_keyOf(scope)] = table
    return _tableOf(section, tables)


def _keyOf(scope: Section) -> _Key:
    fragments = scope.childOrEmpty("key").children("fragments")
    return tuple(fragment.get("string_key").encode("utf-8") for fragment in fragments)


def _tableOf(section: Section, tables: Mapping[_Key, RouteTable]) -> RouteTable:
    builders = [_fragment(each) for each in section.childOrEmpty("scope_key_builder").children("fragments")]
    # Several scopes may have the same routes.
    each = list({id(table): table for table in tables.values()}.values())
    return RouteTable(
        section.get("name"),
        _match(builders, tables),
        [host for table in each for host in table.virtualHosts],
        [route for table in each for route in table.routes],
        [section for table in each for section in table.sections],
    )


def _match(
    builders: Sequence[_Fragment], tables: Mapping[_Key, RouteTable]
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
