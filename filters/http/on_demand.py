# -*- test-case-name: tests.filters.http.test_on_demand -*-
"""
C{envoy.filters.http.on_demand}: asks the control plane for what a request needs and is not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred

from meshproxy.config import Section
from meshproxy.config.supported import declare
from meshproxy.headers import RequestHeaders
from meshproxy.http.filter import FilterContext, HTTPFilter
from meshproxy.upstream.ondemand import compileOnDemand

__all__ = ["OnDemand"]

_PACKAGE = "envoy.extensions.filters.http.on_demand.v3."

declare(_PACKAGE + "OnDemand", "odcds")
declare(_PACKAGE + "PerRouteConfig", "odcds")
declare(_PACKAGE + "OnDemandCds", "source", "timeout")

#: Seconds, as in Envoy.
_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class _Settings:
    """
    @ivar timeout: How many seconds a cluster is waited for; L{None} where none is asked for.
    """

    timeout: float | None


class OnDemand(HTTPFilter):
    """
    One instance serves all streams.

    Whatever comes of it, the request goes on; where there is still no cluster the router answers.
    """

    shared = True
    configType = _PACKAGE + "OnDemand"
    routeConfigType = _PACKAGE + "PerRouteConfig"

    @classmethod
    def compileConfig(cls, section: Section, context: FilterContext) -> _Settings:
        asked = section.child("odcds")
        if asked is None:
            return _Settings(None)
        return _Settings(compileOnDemand(asked, "source", context.clusters.assignments.hasSource, _TIMEOUT))

    @classmethod
    def compileRouteConfig(cls, section: Section, context: FilterContext) -> _Settings:
        return cls.compileConfig(section, context)

    def requestHeaders(self, stream: Any, headers: RequestHeaders, endStream: bool) -> Deferred[Any] | None:
        route = stream.route
        if route is None or route.action is None:
            return None
        said = stream.routeConfig(self.context.name)
        timeout = (self.config if said is None else said).timeout
        name: str = route.action.cluster
        clusters = self.context.clusters
        if timeout is None or not name or name in clusters.byName:
            return None
        return clusters.onDemand.ask(name, timeout)
