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
from meshproxy.routing.scopes import ScopeChoice
from meshproxy.upstream.ondemand import Found, compileOnDemand

__all__ = ["OnDemand"]

_PACKAGE = "envoy.extensions.filters.http.on_demand.v3."

declare(_PACKAGE + "OnDemand", "odcds")
declare(_PACKAGE + "PerRouteConfig", "odcds")
declare(_PACKAGE + "OnDemandCds", "source", "timeout")

#: Seconds, as in Envoy.
_TIMEOUT = 5.0

#: Seconds; that of the first response of any source. Envoy waits for as long as the request may take.
_HOST_TIMEOUT = 15.0


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
        if stream.route is None:
            return self._askHost(stream, headers)
        return self._askCluster(stream)

    def _askHost(self, stream: Any, headers: RequestHeaders) -> Deferred[Any] | None:
        """
        There is no route: ask for the virtual host, and look again.
        """
        hosts = self.context.hosts
        # The routes may have come after the request did.
        manager = stream.downstream.slot.current
        routes = manager.routes
        if routes.scopes is not None:
            return self._askScope(stream, headers, routes.scopes)
        if hosts is None or not routes.sections:
            return None
        vhds = routes.sections[0].child("vhds")
        host = headers.authority.decode("utf-8", "replace").lower()
        name = f"{routes.name}/{host}"
        if vhds is None or not host or hosts.isAnswered(name):
            return None

        timeout = vhds.childOrEmpty("config_source").seconds("initial_fetch_timeout", _HOST_TIMEOUT)
        return hosts.ask(name, timeout or _HOST_TIMEOUT).addCallback(self._cbFound, stream)

    def _askScope(self, stream: Any, headers: RequestHeaders, choice: ScopeChoice) -> Deferred[Any] | None:
        """
        The request may be in a scope on demand: ask for its routes, and look again.
        """
        routes = self.context.scopeRoutes
        key = choice.keyOf(headers)
        if routes is None or key is None or key not in choice.scopes:
            return None
        scope, table = choice.scopes[key]
        if table is not None or not scope.get("on_demand"):
            return None
        found = routes.ask(scope.get("route_configuration_name"), _HOST_TIMEOUT)
        return found.addCallback(self._cbFound, stream)

    def _cbFound(self, found: Found, stream: Any) -> Deferred[Any] | None:
        if found is not Found.AVAILABLE:
            return None
        stream.downstream.slot.current.chooseRoute(stream)
        return None if stream.route is None else self._askCluster(stream)

    def _askCluster(self, stream: Any) -> Deferred[Any] | None:
        """
        There is a route: ask for its cluster, if it is not there.
        """
        action = stream.route.action
        if action is None:
            return None
        said = stream.routeConfig(self.context.name)
        timeout = (self.config if said is None else said).timeout
        clusters = self.context.clusters
        if timeout is None or not action.cluster or action.cluster in clusters.byName:
            return None
        return clusters.onDemand.ask(action.cluster, timeout)
