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
from meshproxy.routing.table import Match, RouteTable, compileRouteConfiguration

__all__ = ["Key", "ScopeChoice", "checkScopes", "compileDiscoveredScopes", "compileScopedRoutes"]

#: From a head to one part of its key, or L{None} if it has none.
_Fragment: TypeAlias = Callable[[RequestHeaders], bytes | None]
#: What a scope is chosen by.
Key: TypeAlias = tuple[bytes, ...]


class ScopeChoice:
    """
    How a scope is chosen.

    @ivar scopes: By their keys: the C{ScopedRouteConfiguration}, and its routes, or L{None} while they are not there.
    @ivar haveCome: Whether those are there that come by SRDS.
    @ivar fragments: The C{FragmentBuilder} messages that make the key of a request, each with what it makes.
    """

    def __init__(
        self, section: Section, scopes: Mapping[Key, tuple[Section, RouteTable | None]], haveCome: bool
    ) -> None:
        """
        @param section: A C{ScopedRoutes}.
        """
        builders = section.childOrEmpty("scope_key_builder").children("fragments")
        self.fragments = [(each, _fragment(each)) for each in builders]
        self.scopes = scopes
        self.haveCome = haveCome

    def keyOf(self, headers: RequestHeaders) -> Key | None:
        """
        The key of a request, or L{None} if it has none.
        """
        key = []
        for _, fragment in self.fragments:
            part = fragment(headers)
            if part is None:
                return None
            key.append(part)
        return tuple(key)

    def compileMatch(self) -> Match:
        """
        The function that finds the route.
        """
        tables = {key: table.match for key, (_, table) in self.scopes.items() if table is not None}
        keyOf = self.keyOf

        def match(headers: RequestHeaders, info: StreamInfo) -> Route | None:
            key = keyOf(headers)
            found = None if key is None else tables.get(key)
            return None if found is None else found(headers, info)

        return match


def compileScopedRoutes(section: Section, context: RouteContext) -> RouteTable:
    """
    Compile C{ScopedRoutes} with inline configurations. A request that has no key, or another one, finds no route.
    """
    listed = section.childOrEmpty("scoped_route_configurations_list").children("scoped_route_configurations")
    names: set[str] = set()
    scopes: dict[Key, tuple[Section, RouteTable | None]] = {}
    for scope in listed:
        name: str = scope.get("name")
        if name in names:
            scope.refuse(f"there is another scope named {name!r}", "name")
        names.add(name)
        key = _keyOf(scope)
        if key in scopes:
            scope.refuse("there is another scope of this key", "key")
        # As in Envoy, also where there is a route_configuration beside it.
        if scope.get("route_configuration_name"):
            scope.refuse("a scope in place takes no routes by RDS", "route_configuration_name")
        elif not scope.has("route_configuration"):
            scope.refuse("a scope in place needs its routes in place", "route_configuration")
        scopes[key] = scope, compileRouteConfiguration(scope.childOrEmpty("route_configuration"), context)
    return _tableOf(section, scopes)


def checkScopes(scopes: Iterable[Section]) -> None:
    """
    Hold C{ScopedRouteConfiguration} messages of one source to what they may say beside each other. Faults go to their
    report.
    """
    known: dict[Key, str] = {}
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
    section: Section,
    scopes: Sequence[Section] | None,
    find: Callable[[str, bool], RouteTable | None],
    context: RouteContext,
) -> RouteTable:
    """
    Compile C{ScopedRoutes} whose scopes came by SRDS.

    @param scopes: C{ScopedRouteConfiguration} messages that L{checkScopes} found no fault with; L{None} while
        they have not come.
    @param find: Gives the routes of a name, or L{None} while they are not there: no request finds a route then. Is told
        whether they are on demand, and nobody waits for them.
    """
    found: dict[Key, tuple[Section, RouteTable | None]] = {}
    for scope in scopes or ():
        inPlace = scope.child("route_configuration")
        table = None
        if inPlace is not None:
            # As in Envoy, it counts for more than a name beside it.
            table = compileRouteConfiguration(inPlace, context)
        else:
            table = find(scope.get("route_configuration_name"), scope.get("on_demand"))
        found[_keyOf(scope)] = scope, table
    return _tableOf(section, found, scopes is not None)


def _keyOf(scope: Section) -> Key:
    fragments = scope.childOrEmpty("key").children("fragments")
    return tuple(fragment.get("string_key").encode("utf-8") for fragment in fragments)


def _tableOf(
    section: Section, scopes: Mapping[Key, tuple[Section, RouteTable | None]], haveCome: bool = True
) -> RouteTable:
    choice = ScopeChoice(section, scopes, haveCome)
    # Several scopes may have the same routes.
    tables = list({id(table): table for _, table in scopes.values() if table is not None}.values())
    return RouteTable(
        section.get("name"),
        choice.compileMatch(),
        [host for table in tables for host in table.virtualHosts],
        [route for table in tables for route in table.routes],
        [section for table in tables for section in table.sections],
        choice,
    )


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
