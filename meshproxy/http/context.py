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

if TYPE_CHECKING:
    from meshproxy.http.chain import ChainLink

__all__ = ["ProxyContext", "RouteKey"]

#: What a route configuration that comes by RDS is known by: the path of its file, empty for the control plane, and its
#: name.
RouteKey: TypeAlias = tuple[str, str]


@dataclass(slots=True)
class ProxyContext:
    """
    The parts of a running proxy.

    @ivar clusterNames: The clusters that routes may name: those of the configuration that is being compiled, which
        serve only when it is accepted.
    @ivar routes: Route configurations that came by RDS.
    @ivar routeVersions: With which version those that are served came, and when, in the clock's seconds.
    @ivar missingRoutes: The keys of those that were asked for while something was compiled, and are not there; and for
        how many seconds they are waited for, 0 for as long as it takes.
    @ivar lateRoutes: Those that are waited for no more.
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
    missingRoutes: dict[RouteKey, float] = field(default_factory=dict)
    lateRoutes: set[RouteKey] = field(default_factory=set)
    upstreamFilters: dict[str, tuple[ChainLink, IFilterFactory]] = field(default_factory=dict)
