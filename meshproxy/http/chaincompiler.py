# -*- test-case-name: tests.http.test_config -*-
"""
From C{http_filters} to a L{FilterChain}, and from what routes say to filters to what these make of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.logger import Logger

from meshproxy.accesslog.logs import AccessLogs, compileAccessLogs
from meshproxy.config import Section
from meshproxy.config.near import near
from meshproxy.config.registry import FoundFilter
from meshproxy.http.chain import ChainLink, FilterChain
from meshproxy.http.context import ProxyContext
from meshproxy.http.discoveredfilters import MISSING, Missing, MissingFilter, MissingLastFilter, findFilter
from meshproxy.http.filter import FilterContext, HTTPFilter
from meshproxy.http.wirecount import Showing, showWireBytes
from meshproxy.interfaces import IFilterFactory
from meshproxy.stats import Scope

__all__ = ["ChainCompiler", "UpstreamChainCompiler"]


class ChainCompiler:
    """
    Compiles the filters of one connection manager, and what its routes say to them.

    @ivar logs: The access logs that they have.
    @ivar showsWireBytes: What these show of the bytes on the wire.
    """

    def __init__(self, proxy: ProxyContext, statPrefix: str, scope: Scope) -> None:
        self._proxy = proxy
        self._statPrefix = statPrefix
        self._scope = scope
        self.logs: list[AccessLogs] = []
        self.showsWireBytes = Showing.NOTHING
        self._links: dict[str, ChainLink] = {}
        # The names of those that have a fault.
        self._unmade: set[str] = set()
        self._plugins: dict[str, IFilterFactory] = {}

    #: What the chain is called, and what its last filter is, where errors speak of them.
    kind = "HTTP filter chain"
    last = "a terminal filter, such as envoy.filters.http.router"

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
            section.refuse(f"an {self.kind} ends with {self.last}; it is empty")
        for number, item in enumerate(filters):
            if not self._isMeant(item):
                continue
            isLast = number == len(filters) - 1
            link = self._compileLink(item, isLast)
            if link is None:
                self._unmade.add(item.get("name"))
                continue
            if link.filterClass.terminal and not isLast:
                item.refuse(f"{item.get('name')!r} is a terminal filter and must be the last one")
            elif isLast and not link.filterClass.terminal:
                item.refuse(f"{item.get('name')!r} is not a terminal filter: an {self.kind} ends with {self.last}")
            elif isLast:
                self._checkLast(item, link)
            links.append(link)
        return FilterChain(links)

    def _checkLast(self, item: Section, link: ChainLink) -> None:
        """
        Refuse a terminal filter that may not be the last one here.
        """

    def _serves(self, found: FoundFilter) -> bool:
        """
        Whether a filter may stand in this chain.
        """
        filterClass = found.filterClass
        return not issubclass(filterClass, HTTPFilter) or filterClass.servesDownstream

    def _isMeant(self, item: Section) -> bool:
        """
        Whether a filter is known, or has to be; C{is_optional} leaves out one that is not.
        """
        if not item.get("is_optional"):
            return True
        held = item.child("typed_config")
        if item.has("config_discovery"):
            return True
        registry = self._proxy.registry
        if held is None or not held.message.type_url:
            isKnown = registry.byName("http", item.get("name")) is not None
        else:
            isKnown = registry.isKnown("http", held)
        if not isKnown:
            item.warn(f"no HTTP filter here takes this; {item.get('name')!r} is left out, as is_optional says")
        return isKnown

    def _find(self, item: Section) -> FoundFilter | Missing | None:
        return findFilter(self._proxy, "http", item)

    def _compileLink(self, item: Section, isLast: bool) -> ChainLink | None:
        name = item.get("name")
        found = self._find(item)
        if found is None:
            return None
        if found is MISSING:
            # What routes say to it is looked at when it is there.
            self._unmade.add(name)
            missing = MissingLastFilter if isLast else MissingFilter
            return ChainLink(missing, None, self._context(name), item.get("disabled"))
        if not self._serves(found):
            item.refuse(f"{found.plugin.name} is no filter for an {self.kind}", "typed_config")
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

    def compileUpstream(self, section: Section, field: str) -> FilterChain | None:
        """
        The filters that each try of a request passes on its way upstream; L{None} where there are none.

        @param field: The field that lists them.
        """
        if not section.children(field):
            return None
        compiler = UpstreamChainCompiler(self._proxy, self._statPrefix, self._scope)
        compiler.logs = self.logs
        return compiler.compileUpstreamChain(section, field)

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
            self.compileUpstream,
            proxy.logs.findSecret,
            proxy.hosts,
            proxy.scopeRoutes,
        )

    def _openLogs(self, sections: Sequence[Section]) -> AccessLogs:
        opened = compileAccessLogs(sections, self._proxy.logs)
        self.showsWireBytes = max(self.showsWireBytes, showWireBytes(sections))
        self.logs.append(opened)
        return opened

    def knowsRouteConfig(self, name: str, held: Section) -> bool:
        """
        See L{RouteContext.knowsFilterConfig}.
        """
        isThere = name in self._links or name in self._proxy.upstreamFilters
        return isThere and self._proxy.registry.isKnown("http", held)

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
        link, takes = self._links.get(name), self._plugins.get(name)
        if link is None:
            link, takes = self._proxy.upstreamFilters.get(name, (None, None))
        if link is None and ("" in self._links or not self._unmade.isdisjoint((name, ""))):
            # The filter has a fault, or one has that may be of this name; that is told where it is.
            return None
        if link is None or takes is None:
            section.refuse(
                f"there is no HTTP filter of the name {name!r} in this chain; "
                f"there are {', '.join(self._links) or 'none'}",
                near=near(name, self._links),
            )
            return None
        found = self._proxy.registry.findTyped("http", section)
        if found is None:
            return None
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


class UpstreamChainCompiler(ChainCompiler):
    """
    The same for the filters that tries of requests pass on their way upstream.
    """

    kind = "upstream HTTP filter chain"

    def _find(self, item: Section) -> FoundFilter | Missing | None:
        if item.has("config_discovery"):
            item.refuse("configuration by ECDS is for the filters of listeners alone", "config_discovery")
            return None
        return super()._find(item)

    last = "envoy.filters.http.upstream_codec"

    def compileUpstreamChain(self, section: Section, field: str) -> FilterChain:
        """
        The chain of a cluster or of a router.
        """
        chain = self._compileFilters(section, field)
        for name, link in self._links.items():
            # Routes may speak to it from now on.
            self._proxy.upstreamFilters[name] = (link, self._plugins[name])
        return chain

    def _serves(self, found: FoundFilter) -> bool:
        filterClass = found.filterClass
        if not issubclass(filterClass, HTTPFilter):
            return True
        # Filters that Envoy has are for what they are for there.
        return filterClass.servesUpstream or not (found.plugin.configTypes or filterClass.terminal)

    def _checkLast(self, item: Section, link: ChainLink) -> None:
        if link.disabled:
            item.refuse("the last filter of a chain cannot be disabled", "disabled")
