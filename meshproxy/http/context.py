# -*- test-case-name: tests.http.test_config -*-
"""
What all filters of a proxy share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from twisted.internet.interfaces import IReactorTime

from meshproxy.accesslog.logs import AccessLogContext
from meshproxy.config import Section
from meshproxy.config.registry import FilterRegistry
from meshproxy.interfaces import IFilterFactory, INetwork, IUpstreamCalls
from meshproxy.runtime import Runtime, never
from meshproxy.secrets.store import SecretStore
from meshproxy.stats import Store
from meshproxy.upstream.clusters import Clusters
from meshproxy.upstream.ondemand import OnDemandHosts, OnDemandRoutes

if TYPE_CHECKING:
    from meshproxy.http.chain import ChainLink

__all__ = ["FILTER_CONFIG", "HOSTS", "ROUTES", "ROUTES_OF_SCOPES", "SCOPES", "AwaitedKey", "ProxyContext", "RouteKey"]

#: What a route configuration that comes by RDS is known by: the path of its file, empty for the control plane, and its
#: name.
RouteKey: TypeAlias = tuple[str, str]

#: What listeners wait for: one of these words, the path of its file, empty for the control plane, and its name. Scopes
#: come all at once, and have none.
AwaitedKey: TypeAlias = tuple[str, str, str]
FILTER_CONFIG = "filter configuration"
ROUTES = "routes"
ROUTES_OF_SCOPES = "routes of a scope"
SCOPES = "scopes"
HOSTS = "virtual hosts of"


@dataclass(slots=True)
class ProxyContext:
    """
    The parts of a running proxy.

    @ivar clusterNames: The clusters that routes may name: those of the configuration that is being compiled, which
        serve only when it is accepted.
    @ivar routes: Route configurations that came by RDS.
    @ivar routeVersions: With which version those that are served came, and when, in the clock's seconds.
    @ivar scopes: The scopes of scoped routes that came by SRDS, by the path of their file; a source that has not said
        anything is not there.
    @ivar scopeVersions: The same of them as C{routeVersions}.
    @ivar filterConfigs: The C{TypedExtensionConfig} messages of filters that came by ECDS.
    @ivar filterConfigVersions: The same of them as C{routeVersions}.
    @ivar awaited: What was asked for while something was compiled, and is not there; and for how many seconds it is
        waited for, 0 for as long as it takes.
    @ivar late: What is waited for no more.
    @ivar hosts: Virtual hosts that are asked for when a request needs them; L{None} where none may be.
    @ivar scopeRoutes: Likewise the routes of scopes on demand.
    @ivar hostsCome: The route configurations whose virtual hosts came apart from them.
    @ivar upstreamFilters: By name, what stands in chains of clusters and routers, for routes to speak to.
    @ivar isFailed: Whether the proxy was told to say that it is ill.
    """

    store: Store
    clock: IReactorTime
    network: INetwork
    random: Callable[[], float]
    runtime: Runtime
    registry: FilterRegistry
    clusters: Clusters
    calls: IUpstreamCalls
    logs: AccessLogContext
    secrets: SecretStore
    clusterNames: frozenset[str] = frozenset()
    nodeId: str = ""
    nodeCluster: str = ""
    isFailed: Callable[[], bool] = never
    routes: dict[RouteKey, Section] = field(default_factory=dict)
    routeVersions: dict[RouteKey, tuple[str, float]] = field(default_factory=dict)
    scopes: dict[str, list[Section]] = field(default_factory=dict)
    scopeVersions: dict[str, tuple[str, float]] = field(default_factory=dict)
    filterConfigs: dict[RouteKey, Section] = field(default_factory=dict)
    filterConfigVersions: dict[RouteKey, tuple[str, float]] = field(default_factory=dict)
    awaited: dict[AwaitedKey, float] = field(default_factory=dict)
    late: set[AwaitedKey] = field(default_factory=set)
    hosts: OnDemandHosts | None = None
    scopeRoutes: OnDemandRoutes | None = None
    hostsCome: frozenset[str] = frozenset()
    upstreamFilters: dict[str, tuple[ChainLink, IFilterFactory]] = field(default_factory=dict)

    def wait(self, key: AwaitedKey, timeout: float) -> None:
        """
        Have the listener that is being compiled wait for something.

        @param timeout: Seconds; 0 for as long as it takes.
        """
        if key not in self.late:
            self.awaited[key] = timeout
