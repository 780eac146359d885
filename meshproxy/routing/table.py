# -*- test-case-name: tests.routing.test_table -*-
"""
The route table: C{envoy.config.route.v3.RouteConfiguration}, compiled.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from meshproxy.accesslog.streaminfo import StreamInfo
from meshproxy.config.matchers import HeadersTest
from meshproxy.config.section import Section
from meshproxy.headers import RequestHeaders
from meshproxy.routing.conditions import Conditions, RequestTest, compileConditions
from meshproxy.routing.context import RouteContext
from meshproxy.routing.hostmatcher import compileHostMatcher
from meshproxy.routing.hosts import DomainTable
from meshproxy.routing.pathindex import PathIndex, PathRule
from meshproxy.routing.redirects import tlsRedirect
from meshproxy.routing.route import Route, RouteKind, VirtualHost
from meshproxy.routing.routes import Level, RouteCompiler, compileVirtualHost

if TYPE_CHECKING:
    from meshproxy.routing.scopes import ScopeChoice

__all__ = ["Match", "RouteTable", "compileRouteConfiguration"]

#: From the head of a request to its route.
Match: TypeAlias = Callable[[RequestHeaders, StreamInfo], Route | None]
# RFC 3986, 3.3: what stands behind a semicolon in a segment.
_parameters = re.compile(rb";[^/]*").sub
#: A route with the conditions that its path leaves.
_Candidate: TypeAlias = tuple[HeadersTest | None, RequestTest | None, Route]
#: The same where the path leaves nothing but headers to look at.
_Entry: TypeAlias = tuple[HeadersTest | None, Route]


class RouteTable:
    """
    A compiled route configuration.

    @ivar name: Its name.
    @ivar match: Finds the route of a request, or L{None}: 404, C{route_not_found}.
    @ivar virtualHosts: Its virtual hosts, in order.
    @ivar routes: All routes, in order, as they stand in the configuration: those with weighted clusters once.
    @ivar sections: The route configurations that it was compiled from; none while they have not come.
    @ivar scopes: What chooses among these, if they are scoped.
    """

    __slots__ = ("match", "name", "routes", "scopes", "sections", "virtualHosts")

    def __init__(
        self,
        name: str,
        match: Match,
        virtualHosts: Sequence[VirtualHost],
        routes: Sequence[Route],
        sections: Sequence[Section] = (),
        scopes: ScopeChoice | None = None,
    ) -> None:
        self.name = name
        self.match = match
        self.virtualHosts = tuple(virtualHosts)
        self.routes = tuple(routes)
        self.sections = tuple(sections)
        self.scopes = scopes

    def __repr__(self) -> str:
        return f"<RouteTable {self.name!r}: {len(self.virtualHosts)} virtual hosts, {len(self.routes)} routes>"


def _compileIndex(rules: Sequence[tuple[Conditions, Route]]) -> Callable[[bytes], Iterable[_Candidate]]:
    """
    The index of one virtual host. Where a single rule ignores case, all paths are looked up in lower case, and the
    rules that do not ignore it look again.
    """
    folds = any(conditions.ignoreCase for conditions, _ in rules)
    index: PathIndex[_Candidate] = PathIndex()
    for order, (asWritten, route) in enumerate(rules):
        conditions = asWritten.withCase() if folds else asWritten
        isLast = conditions.isUnconditional and route.choose is None
        rule = PathRule(order, (conditions.headers, conditions.others, route), isLast)
        if conditions.exact is not None:
            index.addExact(conditions.exact, rule)
        if conditions.prefix is not None:
            index.addPrefix(conditions.prefix, rule)
        if conditions.exact is None and conditions.prefix is None:
            index.addPrefix(b"", rule)
    lookup = index.compileLookup()
    return (lambda path: lookup(path.lower())) if folds else lookup


def _compileMatch(rules: Sequence[tuple[Conditions, Route]], ignoreParameters: bool) -> Match:
    """
    The function that finds the route in one virtual host.
    """
    lookup = _compileIndex(rules)
    pathless = tuple(
        [(conditions.headers, conditions.others, route) for conditions, route in rules if conditions.isPathless]
    )

    def match(headers: RequestHeaders, info: StreamInfo) -> Route | None:
        path = headers.path
        if path:
            mark = path.find(b"?")
            if mark >= 0:
                path = path[:mark]
            if ignoreParameters:
                path = _parameters(b"", path)
            candidates = lookup(path)
        else:
            candidates = pathless
        for headersTest, otherTest, route in candidates:
            if (headersTest is None or headersTest(headers)) and (otherTest is None or otherTest(headers, info, path)):
                if route.choose is None:
                    return route
                # As in Envoy, the next one is asked where a route leads nowhere.
                chosen = route.choose(headers, info)
                if chosen is not None:
                    return chosen
        return None

    return _shortcut(rules, match) or _byPrefix(rules, match) or match


def _byPrefix(rules: Sequence[tuple[Conditions, Route]], match: Match) -> Match | None:
    """
    A function for the virtual host of which prefixes and headers decide, so that the query need not be cut off; L{None}
    where more does.

    @param match: The general function, for requests without a path.
    """
    index: PathIndex[_Entry] = PathIndex()
    for order, (conditions, route) in enumerate(rules):
        prefix = conditions.prefix
        if prefix is None or b"?" in prefix or b";" in prefix or conditions.exact is not None:
            return None
        if conditions.ignoreCase or conditions.others is not None:
            return None
        isLast = conditions.isUnconditional and route.choose is None
        index.addPrefix(prefix, PathRule(order, (conditions.headers, route), isLast))
    keys, parents, jumps, held = index.compilePrefixes()

    def matchPrefix(headers: RequestHeaders, info: StreamInfo) -> Route | None:
        path = headers.path
        if not path:
            return match(headers, info)
        node = bisect_right(keys, path) - 1
        while not path.startswith(keys[node]):
            jump = jumps[node]
            node = parents[node] if path.startswith(keys[jump]) else jump
        for test, route in held[node]:
            if test is None or test(headers):
                if route.choose is None:
                    return route
                chosen = route.choose(headers, info)
                if chosen is not None:
                    return chosen
        return None

    return matchPrefix


def _shortcut(rules: Sequence[tuple[Conditions, Route]], match: Match) -> Match | None:
    """
    A function for the virtual host whose first route takes every path, as sidecars and gateways of one service have
    it; L{None} where the first route does not.
    """
    if not rules:
        return None
    conditions, route = rules[0]
    if not conditions.isUnconditional or conditions.prefix not in (b"", b"/"):
        return None
    if route.choose is not None:
        choose = route.choose
        return lambda headers, info: (headers.path[:1] == b"/" and choose(headers, info)) or match(headers, info)
    return lambda headers, info: route if headers.path[:1] == b"/" else match(headers, info)


def _noting(match: Match, virtualHost: VirtualHost) -> Match:
    """
    As in Envoy, logs tell the metadata of a virtual host that has no route for a request, and its name with them.
    """

    def matchNoting(headers: RequestHeaders, info: StreamInfo) -> Route | None:
        found = match(headers, info)
        if found is None:
            info.virtualHostMetadata = virtualHost.metadata
            info.virtualHostName = virtualHost.name
        return found

    return matchNoting


def _requireTLS(section: Section, virtualHost: VirtualHost, match: Match) -> Match:
    """
    C{require_tls}: requests on cleartext are sent to C{https}, whatever their path.
    """
    requirement: str = section.get("require_tls")
    if requirement == "NONE":
        return match
    internalMayPass = requirement == "EXTERNAL_ONLY"
    toTLS = Route(virtualHost, RouteKind.REDIRECT, path=section.pathOf("require_tls"), redirect=tlsRedirect)

    def matchTLS(headers: RequestHeaders, info: StreamInfo) -> Route | None:
        if headers.scheme == b"https":
            return match(headers, info)
        if internalMayPass and headers.first.get(b"x-envoy-internal") == b"true":
            return match(headers, info)
        return toTLS

    return matchTLS


def _byHost(domains: DomainTable[Match], ignorePort: bool) -> Match:
    only = domains.onlyDefault()
    if only is not None:
        return only
    lookup = domains.compileLookup(ignorePort)

    def match(headers: RequestHeaders, info: StreamInfo) -> Route | None:
        found = lookup(headers.authority)
        return None if found is None else found(headers, info)

    return match


def compileRouteConfiguration(section: Section, context: RouteContext) -> RouteTable:
    """
    Compile C{envoy.config.route.v3.RouteConfiguration}. Faults are recorded in the section's report; what comes
    back then is only good to go on checking with.
    """
    name: str = section.get("name")
    if section.has("vhds") and not context.takesHosts:
        section.refuse("virtual hosts come apart only for routes that come by rds from ads", "vhds")
    compiler = RouteCompiler(section, context)
    domains: DomainTable[Match] = DomainTable()
    virtualHosts: list[VirtualHost] = []
    routes: list[Route] = []
    for child in section.children("virtual_hosts"):
        virtualHost, level = compileVirtualHost(child, compiler)
        match, found = _compileHost(
            child, compiler, virtualHost, level, section.get("ignore_path_parameters_in_path_matching")
        )
        if virtualHost.metadata:
            match = _noting(match, virtualHost)
        _addDomains(child, domains, _requireTLS(child, virtualHost, match), name)
        virtualHosts.append(virtualHost)
        routes.extend(found)
    match = _byHost(domains, section.get("ignore_port_in_host_matching"))
    return RouteTable(name, match, virtualHosts, routes, [section])


def _compileHost(
    section: Section, compiler: RouteCompiler, virtualHost: VirtualHost, level: Level, ignoreParameters: bool
) -> tuple[Match, list[Route]]:
    """
    How the routes of a virtual host are found, and they, in order.
    """
    tree = section.child("matcher")
    if tree is None:
        rules = _compileRules(section.children("routes"), compiler, virtualHost, level)
        return _compileMatch(rules, ignoreParameters), [route for _, route in rules]
    if section.children("routes"):
        section.refuse("cannot set both matcher and routes on virtual host", "matcher")
    routes: list[Route] = []

    def compileRoutes(children: Sequence[Section]) -> Match:
        rules = _compileRules(children, compiler, virtualHost, level, len(routes))
        routes.extend(route for _, route in rules)
        return _compileMatch(rules, ignoreParameters)

    return compileHostMatcher(tree, compiler.context, compileRoutes), routes


def _compileRules(
    children: Sequence[Section], compiler: RouteCompiler, virtualHost: VirtualHost, level: Level, first: int = 0
) -> list[tuple[Conditions, Route]]:
    rules: list[tuple[Conditions, Route]] = []
    for order, child in enumerate(children, first):
        conditions = compileConditions(child.childOrEmpty("match"), compiler.context)
        rules.append((conditions, compiler.compileRoute(child, order, virtualHost, level, conditions)))
    return rules


def _addDomains(section: Section, domains: DomainTable[Match], match: Match, name: str) -> None:
    for index, domain in enumerate(section.scalars("domains")):
        if domains.add(domain, match):
            continue
        if domain == "*":
            section.refuse(f"only a single wildcard domain is permitted in route {name}", f"domains[{index}]")
        else:
            section.refuse(
                f"only unique values for domains are permitted: duplicate entry of domain {domain} in route {name}",
                f"domains[{index}]",
            )
