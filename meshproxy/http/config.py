# -*- test-case-name: tests.http.test_config -*-
"""
From an C{HttpConnectionManager} message to a L{ConnectionManager}.
"""

from __future__ import annotations

from dataclasses import replace

from meshproxy.accesslog.logs import AccessLogs, compileAccessLogs
from meshproxy.codec.http1 import Http1Counters
from meshproxy.config import Section
from meshproxy.config.sources import compileSource
from meshproxy.http.chaincompiler import ChainCompiler
from meshproxy.http.context import HOSTS, ROUTES, ROUTES_OF_SCOPES, SCOPES, ProxyContext
from meshproxy.http.manager import ConnectionManager
from meshproxy.http.matchinputs import REQUEST_INPUTS
from meshproxy.http.requestheaders import INTERNAL, compileRequestHeaders
from meshproxy.http.requestids import newRequestId
from meshproxy.http.settings import compileManagerSettings
from meshproxy.http.stats import ConnectionManagerStats
from meshproxy.http.wirecount import CountingAccessLogs, MeasuringAccessLogs, Showing, showWireBytes
from meshproxy.routing.context import RouteContext
from meshproxy.routing.scopes import compileDiscoveredScopes, compileScopedRoutes
from meshproxy.routing.table import RouteTable, compileRouteConfiguration
from meshproxy.stats import Scope
from meshproxy.upstream.http2options import bindHttp2Counters

__all__ = ["compileConnectionManager"]

_LOGS = {
    Showing.NOTHING: AccessLogs,
    Showing.BYTES: CountingAccessLogs,
    Showing.FIELDS: MeasuringAccessLogs,
}


def compileConnectionManager(
    section: Section, proxy: ProxyContext, listenerScope: Scope, bufferLimit: int
) -> ConnectionManager:
    """
    Compile it. Faults are told by C{refuse}; what is returned is of use only where there were none.

    @param listenerScope: C{listener.ADDRESS.}.
    """
    settings = compileManagerSettings(section, bufferLimit, proxy.nodeId, proxy.nodeCluster, proxy.logs.runtime)
    scope = proxy.store.scope(f"http.{settings.statPrefix}.")
    compiler = ChainCompiler(proxy, settings.statPrefix, scope)
    chain = compiler.compileChain(section)
    stats = ConnectionManagerStats(scope, listenerScope.scope(f"http.{settings.statPrefix}."))
    upgradeChains = compiler.compileUpgrades(section)
    logs = section.children("access_log")
    showing = max(showWireBytes(logs), compiler.showsWireBytes)
    if showing:
        proxy.clusters.countBytes(showing is Showing.FIELDS)
    routes = _compileRoutes(section, proxy, compiler)
    internalOnly = _internalOnly(routes, section.has("scoped_routes"))
    if internalOnly:
        settings = replace(settings, forwarding=replace(settings.forwarding, internalOnly=INTERNAL | internalOnly))
    codecScope = proxy.store.scope("http1.")
    return ConnectionManager(
        settings,
        routes,
        chain,
        stats,
        proxy.clock,
        compileRequestHeaders(settings.forwarding, newRequestId),
        compileAccessLogs(logs, proxy.logs, _LOGS[showing]),
        Http1Counters(
            codecScope.counter("dropped_headers_with_underscores"),
            codecScope.counter("requests_rejected_with_underscores_in_headers"),
            codecScope.counter("metadata_not_supported_error"),
        ),
        scope,
        upgradeChains,
        proxy.clusters.byName,
        bindHttp2Counters(proxy.store.scope("http2.")),
        proxy.random,
        compiler.logs,
    )


def _compileRoutes(section: Section, proxy: ProxyContext, compiler: ChainCompiler) -> RouteTable:
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
        discovered = scoped.child("scoped_rds")
        if discovered is not None:
            return _compileScopes(scoped, discovered, proxy, replace(context, validateClusters=False))
        return compileScopedRoutes(scoped, context)
    rds = section.child("rds")
    if rds is not None:
        return _compileDiscovered(rds, proxy, context)
    if not section.has("route_config"):
        section.refuse("a connection manager needs a route_config, rds or scoped_routes")
    return compileRouteConfiguration(section.childOrEmpty("route_config"), context)


# What Envoy looks at to find a route.
_NEEDED = frozenset(("host", "x-forwarded-proto"))


def _internalOnly(routes: RouteTable, areScoped: bool) -> frozenset[bytes]:
    """
    What only internal clients may send (C{internal_only_headers}). It is taken away with the other fields of that kind,
    before any filter, and before a scope is chosen by what is left.
    """
    found: list[str] = []
    for section in routes.sections:
        names = section.scalars("internal_only_headers")
        if names and areScoped:
            section.refuse("the fields of a request are cleaned before its scope is known", "internal_only_headers")
        for index, name in enumerate(names):
            if name.startswith(":") or name.lower() in _NEEDED:
                section.refuse(f"without {name} a request leads nowhere", f"internal_only_headers[{index}]")
        found += names
    return frozenset(name.lower().encode("ascii") for name in found)


def _compileDiscovered(rds: Section, proxy: ProxyContext, context: RouteContext) -> RouteTable:
    """
    The routes that came by RDS; none until they come, and the listener waits for them, but not longer than it is told.
    """
    source = compileSource(rds.child("config_source"), rds, "config_source", proxy.secrets.hasStream)
    name = rds.get("route_config_name")
    found = proxy.routes.get((source.path, name))
    if found is None:
        proxy.wait((ROUTES, source.path, name), source.timeout)
        return RouteTable(name, lambda headers, info: None, (), ())
    takesHosts = not source.path and proxy.hosts is not None
    vhds = found.child("vhds")
    if vhds is not None and takesHosts:
        _awaitHosts(vhds, name, proxy)
    return compileRouteConfiguration(found, replace(context, validateClusters=False, takesHosts=takesHosts))


def _awaitHosts(vhds: Section, name: str, proxy: ProxyContext) -> None:
    """
    A listener that begins waits for the virtual hosts, too.
    """
    source = compileSource(vhds.child("config_source"), vhds, "config_source", proxy.secrets.hasStream)
    if source.path or (proxy.hosts is not None and not proxy.hosts.isDelta):
        vhds.refuse("virtual hosts come by ads, where ads_config speaks delta (DELTA_GRPC)", "config_source")
    elif name not in proxy.hostsCome:
        proxy.wait((HOSTS, "", name), source.timeout)


def _compileScopes(scoped: Section, discovered: Section, proxy: ProxyContext, context: RouteContext) -> RouteTable:
    """
    The scopes that came by SRDS; none until they come. A listener that begins waits for them and for their routes.
    """
    hasStream = proxy.secrets.hasStream
    field = "scoped_rds_config_source"
    source = compileSource(discovered.child(field), discovered, field, hasStream)
    ofRoutes = compileSource(scoped.child("rds_config_source"), scoped, "rds_config_source", hasStream)
    scopes = proxy.scopes.get(source.path)
    if scopes is None:
        proxy.wait((SCOPES, source.path, ""), source.timeout)
    tables: dict[str, RouteTable | None] = {}

    def find(name: str, isOnDemand: bool) -> RouteTable | None:
        found = proxy.routes.get((ofRoutes.path, name))
        if found is None and not isOnDemand:
            proxy.wait((ROUTES_OF_SCOPES, ofRoutes.path, name), ofRoutes.timeout)
        if name not in tables:
            tables[name] = None if found is None else compileRouteConfiguration(found, context)
        return tables[name]

    return compileDiscoveredScopes(scoped, scopes, find, context)
