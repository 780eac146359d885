# -*- test-case-name: tests.http.test_config -*-
"""
From an C{HttpConnectionManager} message to a L{ConnectionManager}.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from twisted.logger import Logger

from meshproxy.accesslog.logs import AccessLogs, compileAccessLogs
from meshproxy.codec.http1 import Http1Counters
from meshproxy.config import Section
from meshproxy.config.near import near
from meshproxy.config.sources import compileSource
from meshproxy.http.chain import ChainLink, FilterChain
from meshproxy.http.context import ProxyContext
from meshproxy.http.filter import FilterContext, HTTPFilter
from meshproxy.http.manager import ConnectionManager
from meshproxy.http.matchinputs import REQUEST_INPUTS
from meshproxy.http.requestheaders import compileRequestHeaders
from meshproxy.http.requestids import newRequestId
from meshproxy.http.settings import compileManagerSettings
from meshproxy.http.stats import ConnectionManagerStats
from meshproxy.http.wirecount import CountingAccessLogs, showWireBytes
from meshproxy.interfaces import IFilterFactory
from meshproxy.routing.context import RouteContext
from meshproxy.routing.scopes import compileScopedRoutes
from meshproxy.routing.table import RouteTable, compileRouteConfiguration
from meshproxy.stats import Scope
from meshproxy.upstream.http2options import bindHttp2Counters

__all__ = ["compileConnectionManager"]


def compileConnectionManager(
    section: Section, proxy: ProxyContext, listenerScope: Scope, bufferLimit: int
) -> ConnectionManager:
    """
    Compile it. Faults are told by C{refuse}; what is returned is of use only where there were none.

    @param listenerScope: C{listener.ADDRESS.}.
    """
    settings = compileManagerSettings(section, bufferLimit, proxy.nodeId, proxy.nodeCluster, proxy.logs.runtime)
    scope = proxy.store.scope(f"http.{settings.statPrefix}.")
    compiler = _ChainCompiler(proxy, settings.statPrefix, scope)
    chain = compiler.compileChain(section)
    stats = ConnectionManagerStats(scope, listenerScope.scope(f"http.{settings.statPrefix}."))
    upgradeChains = compiler.compileUpgrades(section)
    logs = section.children("access_log")
    countsBytes = showWireBytes(logs) or compiler.showsWireBytes
    if countsBytes:
        proxy.clusters.countBytes()
    codecScope = proxy.store.scope("http1.")
    return ConnectionManager(
        settings,
        _compileRoutes(section, proxy, compiler),
        chain,
        stats,
        proxy.clock,
        compileRequestHeaders(settings.forwarding, newRequestId),
        compileAccessLogs(logs, proxy.logs, CountingAccessLogs if countsBytes else AccessLogs),
        Http1Counters(
            codecScope.counter("dropped_headers_with_underscores"),
            codecScope.counter("requests_rejected_with_underscores_in_headers"),
        ),
        scope,
        upgradeChains,
        proxy.clusters.byName,
        bindHttp2Counters(proxy.store.scope("http2.")),
        proxy.random,
        compiler.logs,
    )


def _compileRoutes(section: Section, proxy: ProxyContext, compiler: _ChainCompiler) -> RouteTable:
    context = RouteContext(
        clusterNames=proxy.clusterNames,
        validateClusters=True,
        runtime=proxy.runtime,
        random=proxy.random,
        compileFilterConfig=compiler.compileRouteConfig,
        knowsFilterConfig=compiler.knowsRouteConfig,
        compileOlderConfig=compiler.compileOlderConfig,
        serviceCluster=proxy.nodeCluster,
        matcherInputs=REQUEST_INPUTS,
        registry=proxy.registry,
    )
    scoped = section.child("scoped_routes")
    if scoped is not None:
        return compileScopedRoutes(scoped, context)
    rds = section.child("rds")
    if rds is not None:
        return _compileDiscovered(rds, proxy, context)
    if not section.has("route_config"):
        section.refuse("a connection manager needs a route_config, rds or scoped_routes")
    return compileRouteConfiguration(section.childOrEmpty("route_config"), context)


def _compileDiscovered(rds: Section, proxy: ProxyContext, context: RouteContext) -> RouteTable:
    """
    The routes that came by RDS; none until they come, and the listener waits for them, but not longer than it is told.
    """
    source = compileSource(rds.child("config_source"), rds, "config_source", proxy.secrets.hasStream)
    name = rds.get("route_config_name")
    key = (source.path, name)
    found = proxy.routes.get(key)
    if found is None:
        if key not in proxy.lateRoutes:
            proxy.missingRoutes[key] = source.timeout
        return RouteTable(name, lambda headers, info: None, (), ())
    return compileRouteConfiguration(found, replace(context, validateClusters=False))


class _ChainCompiler:
    """
    Compiles the filters of one connection manager, and what its routes say to them.

    @ivar logs: The access logs that they have.
    @ivar showsWireBytes: Whether any of these shows bytes on the wire.
    """

    def __init__(self, proxy: ProxyContext, statPrefix: str, scope: Scope) -> None:
        self._proxy = proxy
        self._statPrefix = statPrefix
        self._scope = scope
        self.logs: list[AccessLogs] = []
        self.showsWireBytes = False
        self._links: dict[str, ChainLink] = {}
        # The names of those that have a fault.
        self._unmade: set[str] = set()
        self._plugins: dict[str, IFilterFactory] = {}

    def compileChain(self, section: Section) -> FilterChain:
        """
        The chain of C{http_filters}.
        """
        return self._compileFilters(section, "http_filters")

    def compileUpgrades(self, section: Section) -> dict[bytes, FilterChain]:
        """
        The chains that C{upgrade_configs} have of their own, by upgrade type in lower case.
        """
        return {
            upgrade.get("upgrade_type").lower().encode("ascii", "replace"): self._compileFilters(upgrade, "filters")
            for upgrade in section.children("upgrade_configs")
            if upgrade.has("filters")
        }

    def _compileFilters(self, section: Section, field: str) -> FilterChain:
        links = []
        filters = section.children(field)
        if not filters:
            section.refuse(
                "an HTTP filter chain ends with a terminal filter, such as envoy.filters.http.router; it is empty"
            )
        for number, item in enumerate(filters):
            if not self._isMeant(item):
                continue
            link = self._compileLink(item)
            if link is None:
                self._unmade.add(item.get("name"))
                continue
            isLast = number == len(filters) - 1
            if link.filterClass.terminal and not isLast:
                item.refuse(f"{item.get('name')!r} is a terminal filter and must be the last one")
            elif isLast and not link.filterClass.terminal:
                item.refuse(
                    f"{item.get('name')!r} is not a terminal filter, and the last one must be, such as "
                    "envoy.filters.http.router"
                )
            links.append(link)
        return FilterChain(links)

    def _isMeant(self, item: Section) -> bool:
        """
        Whether a filter is known, or has to be; C{is_optional} leaves out one that is not.
        """
        if not item.get("is_optional"):
            return True
        held = item.child("typed_config")
        registry = self._proxy.registry
        if held is None or not held.message.type_url:
            isKnown = registry.byName("http", item.get("name")) is not None
        else:
            isKnown = registry.isKnown("http", held)
        if not isKnown:
            item.warn(f"no HTTP filter here takes this; {item.get('name')!r} is left out, as is_optional says")
        return isKnown

    def _compileLink(self, item: Section) -> ChainLink | None:
        name = item.get("name")
        found = self._proxy.registry.find("http", item)
        if found is None:
            return None
        context = self._context(name)
        filterClass = found.filterClass
        if not issubclass(filterClass, HTTPFilter):
            item.refuse(f"{filterClass.__module__}:{filterClass.__qualname__} is no HTTPFilter")
            return None
        try:
            config = filterClass.compileConfig(found.config, context)
        except Exception as error:
            context.log.failure("{name} cannot take its configuration", name=name)
            item.refuse(f"the filter raised {type(error).__name__} at its configuration: {error}")
            return None
        link = ChainLink(filterClass, config, context, item.get("disabled"))
        self._links[name] = link
        self._plugins[name] = found.plugin
        return link

    def _context(self, name: str) -> FilterContext:
        proxy = self._proxy
        return FilterContext(
            name,
            self._statPrefix,
            self._scope,
            proxy.store,
            proxy.clock,
            proxy.random,
            proxy.clusters,
            proxy.calls,
            proxy.runtime,
            Logger(namespace=f"meshproxy.filters.{name}"),
            proxy.nodeCluster,
            proxy.isFailed,
            self._openLogs,
        )

    def _openLogs(self, sections: Sequence[Section]) -> AccessLogs:
        opened = compileAccessLogs(sections, self._proxy.logs)
        self.showsWireBytes = self.showsWireBytes or showWireBytes(sections)
        self.logs.append(opened)
        return opened

    def knowsRouteConfig(self, name: str, held: Section) -> bool:
        """
        See L{RouteContext.knowsFilterConfig}.
        """
        return name in self._links and self._proxy.registry.isKnown("http", held)

    def compileOlderConfig(self, section: Section) -> dict[str, object]:
        """
        What a field of former times says to the filters that it is for: see L{RouteContext.compileOlderConfig}.
        """
        found = {
            name: link.filterClass.compileRouteConfig(section, link.context)
            for name, link in self._links.items()
            if link.filterClass.olderRouteConfigType == section.typeName
        }
        if not found:
            section.warn("no filter of this chain heeds it")
        return found

    def compileRouteConfig(self, name: str, section: Section) -> object | None:
        """
        What a route says to a filter: see L{RouteContext.compileFilterConfig}.
        """
        link = self._links.get(name)
        if link is None and ("" in self._links or not self._unmade.isdisjoint((name, ""))):
            # The filter has a fault, or one has that may be of this name; that is told where it is.
            return None
        if link is None:
            section.refuse(
                f"there is no HTTP filter of the name {name!r} in this chain; "
                f"there are {', '.join(self._links) or 'none'}",
                near=near(name, self._links),
            )
            return None
        found = self._proxy.registry.findTyped("http", section)
        if found is None:
            return None
        takes = self._plugins[name]
        if found.plugin.name != takes.name:
            section.refuse(f"this configures {found.plugin.name}, and {name!r} is {takes.name}")
            return None
        if not link.filterClass.hasRouteConfig:
            section.refuse(f"{takes.name} has no configuration on routes")
            return None
        section = found.config
        routeTypes = getattr(takes, "routeConfigTypes", ())
        if routeTypes and section.typeName not in routeTypes:
            section.refuse(f"{takes.name} takes {' or '.join(routeTypes)} on routes, not {section.typeName}")
            return None
        try:
            compiled: object | None = link.filterClass.compileRouteConfig(section, link.context)
        except Exception as error:
            section.refuse(f"the filter raised {type(error).__name__} at its configuration: {error}")
            return None
        return compiled
