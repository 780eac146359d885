# -*- test-case-name: tests.routing.test_table -*-
"""
What a route configuration needs to know of the rest of the proxy.
"""

from __future__ import annotations

import random as _random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from meshproxy.config.matchertree import CompileInput
from meshproxy.config.near import near
from meshproxy.config.registry import FilterRegistry
from meshproxy.config.section import Section
from meshproxy.routing.perfilter import CompileFilterConfig, CompileOlderConfig, KnowsFilterConfig
from meshproxy.runtime import Runtime

__all__ = ["RouteContext"]


def _noFilters(name: str, section: Section) -> object | None:
    section.refuse(f"{name!r} is no filter that has configuration on a route")
    return None


def _nothing(section: Section) -> Mapping[str, object]:
    return {}


def _all(name: str, held: Section) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class RouteContext:
    """
    What a route configuration needs to know of the rest of the proxy.

    @ivar clusterNames: The clusters that there are; L{None} where every name is taken.
    @ivar validateClusters: What C{validate_clusters} is where it is not set: true in a static configuration, false
        where routes come by RDS.
    @ivar runtime: Decides about C{runtime_fraction}.
    @ivar random: Numbers from 0 to below 1, for weighted clusters.
    @ivar takesHosts: Whether virtual hosts may come apart (C{vhds}).
    @ivar serviceCluster: What this proxy is called: C{node.cluster}.
    @ivar matcherInputs: What trees of conditions can look at, by the names of their messages.
    @ivar compileFilterConfig: Compiles C{typed_per_filter_config}.
    @ivar compileOlderConfig: Compiles fields of former times that are for filters.
    @ivar registry: The plugins, for those that choose clusters; L{None} where routes are only looked at.
    @ivar knowsFilterConfig: Whether it can: what is optional, and not known, is left out.
    """

    clusterNames: Collection[str] | None = None
    validateClusters: bool = True
    runtime: Runtime = field(default_factory=Runtime)
    random: Callable[[], float] = _random.random
    compileFilterConfig: CompileFilterConfig = _noFilters
    knowsFilterConfig: KnowsFilterConfig = _all
    compileOlderConfig: CompileOlderConfig = _nothing
    takesHosts: bool = False
    serviceCluster: str = ""
    matcherInputs: Mapping[str, CompileInput] = field(default_factory=dict)
    registry: FilterRegistry | None = None

    def checkCluster(self, section: Section, field: str, name: str, kind: str = "cluster") -> None:
        """
        Refuse the name of a cluster that there is not.
        """
        known = self.clusterNames
        if not name or known is None or name in known:
            return
        # A cluster that could not be read, or whose name could not, may be the one.
        if "" not in known and not section.report.isSpoiled("static_resources.clusters"):
            section.refuse(f"unknown {kind} {name!r}", field, near(name, known))
