# -*- test-case-name: tests.xds.test_named -*-
"""
What listeners name that comes from elsewhere: route configurations and their scopes, and configurations of filters.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from meshproxy.config.pool import TYPE_URL_PREFIX, messageClass, typeName
from meshproxy.http.context import RouteKey
from meshproxy.xds.remembered import remembered

__all__ = ["Named", "ScopeFacts", "Scopes", "factsOf", "namedBy", "typeOfConfig"]

_LISTENER = "envoy.config.listener.v3.Listener"
_MANAGER = TYPE_URL_PREFIX + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_EXTENSION = "envoy.config.core.v3.TypedExtensionConfig"
_SCOPE = "envoy.config.route.v3.ScopedRouteConfiguration"

#: Serialized C{ScopedRouteConfiguration} messages: by the path of their file, empty for the control plane, and name. A
#: source that has not said anything is not among them.
Scopes: TypeAlias = Mapping[str, Mapping[str, bytes]]


@dataclass
class Named:
    """
    What some listeners name.

    @ivar routes: Route configurations, each with the C{stat_prefix} of a connection manager that takes it.
    @ivar scopes: Sources of scopes by their path, each with the C{stat_prefix} of a connection manager that takes them,
        and the name that it has for them.
    @ivar filterConfigs: Configurations of filters, each with who takes it: the kind of filter, as its stats call it,
        and the types that it may be of.
    """

    routes: dict[RouteKey, str] = field(default_factory=dict)
    scopes: dict[str, tuple[str, str]] = field(default_factory=dict)
    filterConfigs: dict[RouteKey, set[tuple[str, tuple[str, ...]]]] = field(default_factory=dict)

    def _addFilters(self, kind: str, filters: Iterable[Any]) -> None:
        """
        @param kind: As their stats call them.
        """
        for one in filters:
            if one.HasField("config_discovery"):
                discovery = one.config_discovery
                taker = kind, tuple(map(typeName, discovery.type_urls))
                self.filterConfigs.setdefault((_pathOf(discovery.config_source), one.name), set()).add(taker)

    def _addRoutes(self, manager: Any, scopes: Scopes, demanded: Container[str] | None) -> None:
        """
        Those of a connection manager.
        """
        prefix: str = manager.stat_prefix
        if manager.HasField("rds"):
            self.routes[_pathOf(manager.rds.config_source), manager.rds.route_config_name] = prefix
        elif manager.scoped_routes.HasField("scoped_rds"):
            scoped = manager.scoped_routes
            path = _pathOf(scoped.scoped_rds.scoped_rds_config_source)
            # As in Envoy, whoever is first gives the name to what is counted.
            self.scopes.setdefault(path, (prefix, scoped.name))
            source = _pathOf(scoped.rds_config_source)
            for name, isOnDemand in map(factsOf, scopes.get(path, {}).values()):
                # Nobody asks a file.
                if name and (not isOnDemand or source or demanded is None or name in demanded):
                    self.routes.setdefault((source, name), prefix)

    def add(self, listener: bytes, scopes: Scopes, demanded: Container[str] | None) -> None:
        """
        What a C{Listener} names.
        """
        message: Any = messageClass(_LISTENER).FromString(listener)
        self._addFilters("tcp_listener_filter", message.listener_filters)
        chains = [*message.filter_chains]
        if message.HasField("default_filter_chain"):
            chains.append(message.default_filter_chain)
        for chain in chains:
            self._addFilters("network_filter", chain.filters)
            for one in chain.filters:
                if one.typed_config.type_url == _MANAGER:
                    manager: Any = messageClass(_MANAGER.rpartition("/")[2]).FromString(one.typed_config.value)
                    self._addRoutes(manager, scopes, demanded)
                    self._addFilters("http_filter", manager.http_filters)
                    for upgrade in manager.upgrade_configs:
                        self._addFilters("http_filter", upgrade.filters)


def namedBy(listeners: Iterable[bytes], scopes: Scopes, demanded: Container[str] | None = None) -> Named:
    """
    What C{Listener} messages name: by RDS and ECDS, and by scopes that come from elsewhere.

    @param scopes: Those that came.
    @param demanded: The routes of scopes on demand that somebody needs; by default all.
    """
    named = Named()
    for listener in listeners:
        named.add(listener, scopes, demanded)
    return named


def _pathOf(source: Any) -> str:
    path: str = source.path or source.path_config_source.path
    return path


class ScopeFacts(NamedTuple):
    """
    What matters of a C{ScopedRouteConfiguration}.

    @ivar routes: The route configuration that it takes by RDS; empty where it has its routes in place.
    @ivar isOnDemand: Whether they are asked for when somebody needs them.
    """

    routes: str
    isOnDemand: bool


@remembered(1 << 14)
def factsOf(scope: bytes) -> ScopeFacts:
    """
    Read a serialized scope.
    """
    message: Any = messageClass(_SCOPE).FromString(scope)
    if message.HasField("route_configuration"):
        return ScopeFacts("", False)
    return ScopeFacts(message.route_configuration_name, message.on_demand)


@remembered(1 << 12)
def typeOfConfig(extension: bytes) -> str:
    """
    The full name of the message in a serialized C{TypedExtensionConfig}; where that is a C{TypedStruct}, the one that
    it stands for.
    """
    message: Any = messageClass(_EXTENSION).FromString(extension)
    name = typeName(message.typed_config.type_url)
    if name.endswith(".TypedStruct"):
        struct: Any = messageClass(name).FromString(message.typed_config.value)
        return typeName(struct.type_url)
    return name
