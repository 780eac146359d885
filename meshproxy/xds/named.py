# -*- test-case-name: tests.xds.test_named -*-
"""
What listeners name that comes from elsewhere: route configurations and their scopes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

from meshproxy.config.pool import TYPE_URL_PREFIX, messageClass
from meshproxy.http.context import RouteKey

__all__ = ["Named", "ScopeFacts", "Scopes", "factsOf", "namedBy"]

_LISTENER = "envoy.config.listener.v3.Listener"
_MANAGER = TYPE_URL_PREFIX + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
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
    """

    routes: dict[RouteKey, str] = field(default_factory=dict)
    scopes: dict[str, tuple[str, str]] = field(default_factory=dict)


def namedBy(listeners: Iterable[bytes], scopes: Scopes) -> Named:
    """
    What C{Listener} messages name: by RDS, and by scopes that come from elsewhere.

    @param scopes: Those that came.
    """
    named = Named()
    for listener in listeners:
        for manager in _managers(listener):
            prefix: str = manager.stat_prefix
            if manager.HasField("rds"):
                named.routes[_pathOf(manager.rds.config_source), manager.rds.route_config_name] = prefix
            elif manager.scoped_routes.HasField("scoped_rds"):
                scoped = manager.scoped_routes
                path = _pathOf(scoped.scoped_rds.scoped_rds_config_source)
                # As in Envoy, whoever is first gives the name to what is counted.
                named.scopes.setdefault(path, (prefix, scoped.name))
                source = _pathOf(scoped.rds_config_source)
                for name, isOnDemand in map(factsOf, scopes.get(path, {}).values()):
                    if name and not isOnDemand:
                        named.routes.setdefault((source, name), prefix)
    return named


def _managers(listener: bytes) -> Iterator[Any]:
    """
    The connection managers of a C{Listener}.
    """
    message: Any = messageClass(_LISTENER).FromString(listener)
    chains = [*message.filter_chains]
    if message.HasField("default_filter_chain"):
        chains.append(message.default_filter_chain)
    for chain in chains:
        for one in chain.filters:
            if one.typed_config.type_url == _MANAGER:
                yield messageClass(_MANAGER.rpartition("/")[2]).FromString(one.typed_config.value)


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


@lru_cache(1 << 14)
def factsOf(scope: bytes) -> ScopeFacts:
    """
    Read a serialized scope.
    """
    message: Any = messageClass(_SCOPE).FromString(scope)
    if message.HasField("route_configuration"):
        return ScopeFacts("", False)
    return ScopeFacts(message.route_configuration_name, message.on_demand)
