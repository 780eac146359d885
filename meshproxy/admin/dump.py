# -*- test-case-name: tests.admin.test_dump -*-
"""
C{/config_dump}: the configuration that is served, in Envoy's messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import re2

from meshproxy.admin.addresses import addressMessage
from meshproxy.admin.certificates import secretDumps
from meshproxy.admin.commands import AdminRequest, AdminResponse, Lazy, jsonResponse
from meshproxy.admin.masks import MaskError, parseMask, trimmed
from meshproxy.admin.messages import anyOf, dictOf, redacted, setTimestamp
from meshproxy.admin.served import Served
from meshproxy.config import Section
from meshproxy.config.pool import messageType, newMessage, typeURL
from meshproxy.http.context import RouteKey
from meshproxy.listener.listener import Listener
from meshproxy.upstream.cluster import Cluster
from meshproxy.upstream.endpoint import Endpoint
from meshproxy.upstream.healthflags import HealthFlag

__all__ = ["configDump"]

_ADMIN = "envoy.admin.v3."
_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"

# The order of Envoy's dump.
_KINDS = (
    "BootstrapConfigDump",
    "ClustersConfigDump",
    "EndpointsConfigDump",
    "ListenersConfigDump",
    "ScopedRoutesConfigDump",
    "RoutesConfigDump",
    "SecretsConfigDump",
)

Make = Callable[[], Any]
Matches = Callable[[str], bool]


@dataclass(slots=True)
class _Dump:
    """
    One of the messages of the dump.

    @ivar fields: Lists by their fields' names; each item makes a message when it is shown.
    @ivar whole: Makes the whole message, for one that holds no lists.
    """

    name: str
    fields: dict[str, list[Make]] = field(default_factory=dict)
    whole: Make | None = None

    def message(self) -> Any:
        """
        All of it, as a message.
        """
        if self.whole is not None:
            return self.whole()
        message = newMessage(_ADMIN + self.name)
        for name, items in self.fields.items():
            getattr(message, name).extend(make() for make in items)
        return message

    def shown(self) -> dict[str, object]:
        """
        All of it, as data for JSON.
        """
        found: dict[str, object] = {"@type": typeURL(_ADMIN + self.name)}
        if self.whole is not None:
            found.update(dictOf(redacted(self.whole())))
        for name, items in self.fields.items():
            if items:
                found[name] = _lazy(items)
        return found


def _lazy(items: list[Make], typed: bool = False) -> Lazy:
    def made() -> Iterator[object]:
        for make in items:
            message = redacted(make())
            shown = dictOf(message)
            yield {"@type": typeURL(message.DESCRIPTOR.full_name), **shown} if typed else shown

    return Lazy(made)


def configDump(server: Served, request: AdminRequest) -> AdminResponse:
    """
    Answer C{/config_dump}.
    """
    parameters = request.parameters
    try:
        matches = _matcher(parameters.get("name_regex", ""))
    except re2.error:
        return AdminResponse("INVALID_ARGUMENT: name_regex is not a regular expression of RE2", 400)
    dumps = _dumps(server, matches, "include_eds" in parameters)
    mask = parameters.get("mask", "")
    resource = parameters.get("resource", "")
    if resource:
        return _resource(dumps, resource, mask)
    if mask:
        return _masked(dumps, mask)
    return jsonResponse({"configs": Lazy(lambda: (dump.shown() for dump in dumps))})


def _matcher(pattern: str) -> Matches:
    if not pattern:
        return lambda name: True
    options = re2.Options()
    options.log_errors = False
    match = re2.compile(pattern, options).fullmatch
    return lambda name: match(name) is not None


def _resource(dumps: list[_Dump], resource: str, mask: str) -> AdminResponse:
    """
    One list of one message.
    """
    items = next((dump.fields[resource] for dump in dumps if resource in dump.fields), None)
    if items is None:
        known = {name for kind in _KINDS for name in messageType(_ADMIN + kind).fields_by_name}
        if resource not in known:
            return AdminResponse("the resource was not found in config dump", 404)
        if resource in ("bootstrap", "last_updated", "version_info"):
            return AdminResponse("the resource is not a repeated field. Use ?mask= to get only this field", 400)
        return AdminResponse("{}\n", contentType="application/json")
    if mask:
        paths = parseMask(mask)
        try:
            cut = [trimmed(make(), paths) for make in items]
        except MaskError:
            return AdminResponse("The field mask could not be successfully used.", 400)
        items = [partial(_same, message) for message in cut]
    return jsonResponse({"configs": _lazy(items, typed=True)} if items else {})


def _same(message: Any) -> Any:
    return message


def _masked(dumps: list[_Dump], mask: str) -> AdminResponse:
    """
    Some fields of whatever messages have them.
    """
    paths = parseMask(mask)
    shown: list[object] = []
    for dump in dumps:
        try:
            message = trimmed(dump.message(), paths)
        except MaskError:
            continue
        shown.append({"@type": typeURL(_ADMIN + dump.name), **dictOf(redacted(message))})
    if not shown:
        return AdminResponse("The field mask could not be successfully applied to any configs.", 400)
    return jsonResponse({"configs": shown})


# What there is


def _dumps(server: Served, matches: Matches, withEndpoints: bool) -> list[_Dump]:
    found = [_bootstrap(server), _clusters(server, matches)]
    if server.context.filterConfigVersions:
        found.append(_filterConfigs(server, matches))
    if withEndpoints:
        found.append(_endpoints(server, matches))
    found += [
        _listeners(server, matches),
        _scopedRoutes(server, matches),
        _routes(server, matches),
        _Dump("SecretsConfigDump", secretDumps(server, matches)),
    ]
    return found


def _bootstrap(server: Served) -> _Dump:
    def make() -> Any:
        message: Any = newMessage(_ADMIN + "BootstrapConfigDump")
        message.bootstrap.CopyFrom(server.bootstrap.message)
        node = message.bootstrap.node
        node.id = server.context.nodeId
        node.cluster = server.context.nodeCluster
        node.user_agent_name = "meshproxy"
        setTimestamp(message.last_updated, server.loaded)
        return message

    return _Dump("BootstrapConfigDump", whole=make)


def _clusters(server: Served, matches: Matches) -> _Dump:
    def make(kind: str, cluster: Cluster) -> Make:
        def made() -> Any:
            message: Any = newMessage(f"{_ADMIN}ClustersConfigDump.{kind}")
            message.cluster.CopyFrom(anyOf(cluster.section.message))
            setTimestamp(message.last_updated, cluster.updated)
            if kind == "DynamicCluster":
                message.version_info = cluster.versionInfo
            return message

        return made

    static = [cluster for cluster in server.clusters if not cluster.addedViaAPI and matches(cluster.name)]
    dynamic = [cluster for cluster in server.clusters if cluster.addedViaAPI and matches(cluster.name)]
    return _Dump(
        "ClustersConfigDump",
        {
            "static_clusters": [make("StaticCluster", cluster) for cluster in static],
            "dynamic_active_clusters": [make("DynamicCluster", cluster) for cluster in dynamic],
        },
    )


def _listeners(server: Served, matches: Matches) -> _Dump:
    def static(listener: Listener) -> Any:
        message: Any = newMessage(_ADMIN + "ListenersConfigDump.StaticListener")
        message.listener.CopyFrom(anyOf(listener.section.message))
        setTimestamp(message.last_updated, listener.updated)
        return message

    def dynamic(listener: Listener) -> Any:
        message: Any = newMessage(_ADMIN + "ListenersConfigDump.DynamicListener")
        message.name = listener.name
        active = message.active_state
        active.version_info = listener.versionInfo
        active.listener.CopyFrom(anyOf(listener.section.message))
        setTimestamp(active.last_updated, listener.updated)
        return message

    def some(make: Callable[[Listener], Any], addedViaAPI: bool) -> list[Make]:
        return [
            partial(make, listener)
            for listener in server.listeners
            if listener.addedViaAPI is addedViaAPI and matches(listener.name)
        ]

    return _Dump(
        "ListenersConfigDump", {"static_listeners": some(static, False), "dynamic_listeners": some(dynamic, True)}
    )


def _routes(server: Served, matches: Matches) -> _Dump:
    def make(routes: Section, listener: Listener) -> Make:
        def made() -> Any:
            message: Any = newMessage(_ADMIN + "RoutesConfigDump.StaticRouteConfig")
            message.route_config.CopyFrom(anyOf(routes.message))
            setTimestamp(message.last_updated, listener.updated)
            return message

        return made

    def discovered(key: RouteKey, routes: Section) -> Make:
        version, updated = server.context.routeVersions.get(key, ("", server.loaded))

        def made() -> Any:
            message: Any = newMessage(_ADMIN + "RoutesConfigDump.DynamicRouteConfig")
            message.version_info = version
            message.route_config.CopyFrom(anyOf(routes.message))
            setTimestamp(message.last_updated, updated)
            return message

        return made

    return _Dump(
        "RoutesConfigDump",
        {
            "static_route_configs": [
                make(routes, listener)
                for listener in server.listeners
                for routes in _routesOf(listener)
                if matches(routes.get("name"))
            ],
            "dynamic_route_configs": [
                discovered(key, routes) for key, routes in server.context.routes.items() if matches(key[1])
            ],
        },
    )


def _scopedRoutes(server: Served, matches: Matches) -> _Dump:
    def make(scoped: Section, listener: Listener) -> Make:
        def made() -> Any:
            message: Any = newMessage(_ADMIN + "ScopedRoutesConfigDump.InlineScopedRouteConfigs")
            message.name = scoped.get("name")
            listed = scoped.childOrEmpty("scoped_route_configurations_list").children("scoped_route_configurations")
            # As in Envoy, it is the names of the scopes that a regular expression chooses by.
            message.scoped_route_configs.extend(anyOf(each.message) for each in listed if matches(each.get("name")))
            setTimestamp(message.last_updated, listener.updated)
            return message

        return made

    def discovered(scoped: Section, path: str) -> Make:
        version, updated = server.context.scopeVersions.get(path, ("", server.loaded))
        scopes = server.context.scopes.get(path, [])

        def made() -> Any:
            message: Any = newMessage(_ADMIN + "ScopedRoutesConfigDump.DynamicScopedRouteConfigs")
            message.name, message.version_info = scoped.get("name"), version
            message.scoped_route_configs.extend(anyOf(each.message) for each in scopes if matches(each.get("name")))
            setTimestamp(message.last_updated, updated)
            return message

        return made

    inPlace: list[Make] = []
    sources: dict[str, Section] = {}
    for listener in server.listeners:
        for manager in _managersOf(listener):
            scoped = manager.child("scoped_routes")
            if scoped is None:
                continue
            source = scoped.childOrEmpty("scoped_rds").child("scoped_rds_config_source")
            if source is None:
                inPlace.append(make(scoped, listener))
            else:
                sources.setdefault(source.get("path") or source.childOrEmpty("path_config_source").get("path"), scoped)
    dynamic = [discovered(scoped, path) for path, scoped in sources.items()]
    return _Dump(
        "ScopedRoutesConfigDump", {"inline_scoped_route_configs": inPlace, "dynamic_scoped_route_configs": dynamic}
    )


def _filterConfigs(server: Served, matches: Matches) -> _Dump:
    def make(key: RouteKey, section: Section) -> Make:
        version, updated = server.context.filterConfigVersions.get(key, ("", server.loaded))

        def made() -> Any:
            message: Any = newMessage(_ADMIN + "EcdsConfigDump.EcdsFilterConfig")
            message.version_info = version
            message.ecds_filter.CopyFrom(anyOf(section.message))
            setTimestamp(message.last_updated, updated)
            return message

        return made

    found = [make(key, section) for key, section in server.context.filterConfigs.items() if matches(key[1])]
    return _Dump("EcdsConfigDump", {"ecds_filters": found})


def _routesOf(listener: Listener) -> Iterator[Section]:
    """
    The route configurations in a listener.
    """
    for manager in _managersOf(listener):
        routes = manager.child("route_config")
        if routes is not None:
            yield routes


def _managersOf(listener: Listener) -> Iterator[Section]:
    """
    The connection managers in a listener.
    """
    for chain in listener.chains:
        for item in chain.section.children("filters"):
            manager = item.any("typed_config")
            if manager is not None and manager.typeName == _MANAGER:
                yield manager


def _endpoints(server: Served, matches: Matches) -> _Dump:
    def make(cluster: Cluster) -> Any:
        kind = "DynamicEndpointConfig" if cluster.kind == "EDS" else "StaticEndpointConfig"
        message: Any = newMessage(f"{_ADMIN}EndpointsConfigDump.{kind}")
        message.endpoint_config.CopyFrom(anyOf(_assignment(cluster)))
        return message

    def some(isDiscovered: bool) -> list[Make]:
        return [
            partial(make, cluster)
            for cluster in server.clusters
            if (cluster.kind == "EDS") is isDiscovered and matches(cluster.name)
        ]

    return _Dump(
        "EndpointsConfigDump", {"static_endpoint_configs": some(False), "dynamic_endpoint_configs": some(True)}
    )


def _assignment(cluster: Cluster) -> Any:
    """
    A C{ClusterLoadAssignment} of what a cluster found.
    """
    message: Any = newMessage("envoy.config.endpoint.v3.ClusterLoadAssignment")
    message.cluster_name = cluster.name
    message.policy.overprovisioning_factor.value = 140
    groups: dict[tuple[int, str, str, str], list[Endpoint]] = {}
    for endpoint in cluster.endpoints:
        place = endpoint.locality
        groups.setdefault((endpoint.priority, place.region, place.zone, place.subZone), []).append(endpoint)
    for (priority, region, zone, subZone), endpoints in sorted(groups.items(), key=lambda item: item[0]):
        group = message.endpoints.add()
        group.priority = priority
        group.locality.region, group.locality.zone, group.locality.sub_zone = region, zone, subZone
        group.locality.SetInParent()
        for endpoint in endpoints:
            _addEndpoint(group.lb_endpoints.add(), endpoint)
    return message


def _status(endpoint: Endpoint) -> str:
    """
    The C{HealthStatus} that follows from all that is known of an endpoint. As in Envoy, that it was found ill here
    counts for more than what its discovery says, and that it says to be degraded for less.
    """
    if endpoint.flags & _FOUND_ILL:
        return "UNHEALTHY"
    if endpoint.healthStatus in ("UNKNOWN", "HEALTHY"):
        return "DEGRADED" if endpoint.flags & HealthFlag.DEGRADED_ACTIVE_HC else "HEALTHY"
    return endpoint.healthStatus


_FOUND_ILL = HealthFlag.FAILED_ACTIVE_HC | HealthFlag.FAILED_OUTLIER_CHECK


def _addEndpoint(item: Any, endpoint: Endpoint) -> None:
    addressMessage(item.endpoint.address, endpoint.address)
    item.endpoint.hostname = endpoint.hostname
    checked = item.endpoint.health_check_config
    checked.SetInParent()
    if endpoint.checkedBy is not None:
        checked.hostname = endpoint.checkedBy.hostname
        where = endpoint.checkedBy.addressOf(endpoint.address)
        if where != endpoint.address:
            checked.port_value = where.port or 0
    statuses = item.DESCRIPTOR.fields_by_name["health_status"].enum_type.values_by_name
    item.health_status = statuses[_status(endpoint)].number
    item.load_balancing_weight.value = endpoint.weight
    for name, values in (endpoint.metadata or {}).items():
        item.metadata.filter_metadata[name].update(values)
