# -*- test-case-name: tests.xds.test_dynamic -*-
"""
What came by xDS, and what becomes of it: clusters, listeners and routes are compiled as those of a bootstrap are;
endpoints and secrets go to whoever wants them. A response with a fault changes nothing, and its sender is told all that
is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from meshproxy.config import Report, Section
from meshproxy.config.constraints import checkConstraints
from meshproxy.config.pool import TYPE_URL_PREFIX, messageClass
from meshproxy.config.sources import Origin
from meshproxy.config.supported import supported
from meshproxy.errors import ConfigErrors
from meshproxy.http.context import RouteKey
from meshproxy.secrets.store import SecretStore
from meshproxy.stats.store import Store
from meshproxy.upstream.assignments import Assignments
from meshproxy.upstream.discovery import compileAssigned
from meshproxy.upstream.subscriptions import SubscriptionStats
from meshproxy.xds.client import Client, Update
from meshproxy.xds.counting import SCOPES, NamedStats, ReloadStats, routesScope, secretScope
from meshproxy.xds.types import CLUSTER, ENDPOINTS, ROUTES, SECRET

__all__ = ["DynamicConfiguration", "DynamicResources", "dynamicSection", "routeSources"]

_MANAGER = TYPE_URL_PREFIX + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


@dataclass(frozen=True)
class DynamicResources:
    """
    Serialized messages, by name.

    @ivar origins: Where those from files stand there, by type, file and name.
    @ivar versions: The version of the response that each came with, likewise.
    """

    clusters: Mapping[str, bytes] = field(default_factory=dict)
    listeners: Mapping[str, bytes] = field(default_factory=dict)
    routes: Mapping[RouteKey, bytes] = field(default_factory=dict)
    origins: Mapping[tuple[str, str, str], Origin] = field(default_factory=dict, compare=False)
    versions: Mapping[tuple[str, str, str], str] = field(default_factory=dict, compare=False)

    def sections(self, typeURL: str, report: Report) -> dict[RouteKey, Section]:
        """
        The clusters, listeners or routes as configuration. Faults go to the report.

        @return: By file, which is empty but for routes, and name.
        """
        if typeURL == ROUTES:
            what, found = "routes", self.routes
        elif typeURL == CLUSTER:
            what, found = "clusters", {("", name): value for name, value in self.clusters.items()}
        else:
            what, found = "listeners", {("", name): value for name, value in self.listeners.items()}
        return {
            key: dynamicSection(typeURL, what, key[1], value, report, self.origins.get((typeURL, *key)))
            for key, value in found.items()
        }


def dynamicSection(
    typeURL: str, what: str, name: str, value: bytes, report: Report, origin: Origin | None = None
) -> Section:
    """
    A message as configuration: held to its constraints and to what is implemented. Faults go to the report.

    @param what: How faults name the type: C{clusters}.
    @param origin: Where it stands in its file.
    """
    message = messageClass(typeURL.rpartition("/")[2]).FromString(value)
    if origin is None:
        section = Section(message, f"{what}[{name}]", report)
    else:
        section = Section(message, origin.path, report, origin.places)
    checkConstraints(section)
    supported.check(section)
    return section


def routeSources(listener: bytes) -> dict[RouteKey, str]:
    """
    The route configurations that the connection managers of a C{Listener} take by RDS, each with a C{stat_prefix}.
    """
    message: Any = messageClass("envoy.config.listener.v3.Listener").FromString(listener)
    chains = [*message.filter_chains]
    if message.HasField("default_filter_chain"):
        chains.append(message.default_filter_chain)
    found = {}
    for chain in chains:
        for one in chain.filters:
            if one.typed_config.type_url == _MANAGER:
                manager: Any = messageClass(_MANAGER.rpartition("/")[2]).FromString(one.typed_config.value)
                if manager.HasField("rds"):
                    source = manager.rds.config_source
                    path = source.path or source.path_config_source.path
                    found[path, manager.rds.route_config_name] = manager.stat_prefix
    return found


class DynamicConfiguration:
    """
    See the module.

    @ivar resources: What was taken.
    @ivar taken: The types of which a response was taken.
    @ivar wantRoutes: Told which route configurations are wanted, for those that come from files.
    """

    def __init__(
        self,
        client: Client | None,
        assignments: Assignments,
        secrets: SecretStore,
        store: Store,
        now: Callable[[], float],
        apply: Callable[[DynamicResources], list[str]],
    ) -> None:
        """
        @param client: Asks the control plane, if there is one.
        @param store: Where it is counted what comes.
        @param now: Gives the seconds since the epoch.
        @param apply: Compiles resources, with those of the bootstrap, and serves them soon; gives what is wrong with
            them, and then changes nothing.
        """
        self.resources = DynamicResources()
        self.taken: set[str] = set()
        # Route configurations that listeners of the bootstrap take by RDS.
        self.staticRoutes: Mapping[RouteKey, str] = {}
        self.wantRoutes: Callable[[Mapping[RouteKey, str]], object] = lambda wanted: None
        self._client = client
        self._assignments = assignments
        self._secrets = secrets
        self._apply = apply
        self._store = store
        self._routeStats, self._secretStats = NamedStats(now), NamedStats(now)
        self._clusterReloads = ReloadStats(store.scope(SCOPES[CLUSTER]), now)

    def counted(self) -> Mapping[str, Iterable[SubscriptionStats]]:
        """
        Of the types that the control plane is asked for by name, what is counted of each name.
        """
        return {
            ENDPOINTS: self._assignments.stats,
            ROUTES: self._routeStats.all,
            SECRET: self._secretStats.all,
        }

    def receive(self, update: Update) -> list[str]:
        """
        A response came.

        @return: What is wrong with it; nothing if it is taken.
        """
        if update.typeURL == ENDPOINTS:
            errors = self._receiveEndpoints(update)
        elif update.typeURL == SECRET:
            errors = self._receiveSecrets(update)
        else:
            errors = self._receiveResources(update)
        if not errors:
            self.taken.add(update.typeURL)
        return errors

    def _receiveResources(self, update: Update) -> list[str]:
        before = self.resources
        after = _changed(before, update)
        if after != before:
            self.resources = after
            errors = self._apply(after)
            if errors:
                self.resources = before
            elif update.typeURL == CLUSTER:
                self._clusterReloads.changed()
            self.wantAll()
            if errors:
                return errors
        if update.typeURL == ROUTES and not update.path:
            changed = [name for name in update.resources if before.routes.get(("", name)) != after.routes["", name]]
            self._routeStats.taken(update.resources, update.version, changed)
        return []

    def routesLate(self, key: RouteKey) -> None:
        """
        Routes did not come in time: count it, where they are to come from the control plane.
        """
        path, name = key
        if not path:
            self._routeStats.timedOut(name)

    def wantAll(self) -> None:
        """
        Ask for what the resources name.
        """
        wanted = dict(self.staticRoutes)
        for listener in self.resources.listeners.values():
            wanted.update(routeSources(listener))
        if self._client is not None:
            prefixes = {name: prefix for (path, name), prefix in wanted.items() if not path}
            self._client.want(ROUTES, prefixes)
            self._client.want(ENDPOINTS, self._assignments.wanted)
            self._client.want(SECRET, self._secrets.discovered)
            scopes = {name: partial(routesScope, self._store, prefix, name) for name, prefix in prefixes.items()}
            self._routeStats.want(scopes, reloads=True)
            self._secretStats.want({n: partial(secretScope, self._store, n) for n in self._secrets.discovered})
        # Those of a file that nobody names any more are read again when somebody does.
        routes = {key: value for key, value in self.resources.routes.items() if not key[0] or key in wanted}
        if len(routes) != len(self.resources.routes):
            self.resources = replace(self.resources, routes=routes)
        self.wantRoutes(wanted)

    def _receiveEndpoints(self, update: Update) -> list[str]:
        report = Report()
        sections = {
            name: dynamicSection(ENDPOINTS, "endpoints", name, value, report)
            for name, value in update.resources.items()
        }
        for section in sections.values():
            compileAssigned(section)
        if report.errors:
            return list(map(str, report.errors))
        for name, section in sections.items():
            self._assignments.receive(name, section, update.version)
        return []

    def _receiveSecrets(self, update: Update) -> list[str]:
        errors: list[str] = []
        for name, value in update.resources.items():
            report = Report()
            section = dynamicSection(SECRET, "secrets", name, value, report)
            try:
                report.raiseIfAny()
                self._secrets.receive(name, section, update.version)
                self._secretStats.taken((name,), update.version)
            except ConfigErrors as error:
                errors += map(str, error.errors)
        return errors


def _changed(before: DynamicResources, update: Update) -> DynamicResources:
    """
    The resources after a response.
    """
    typeURL, path = update.typeURL, update.path
    held = before.clusters if typeURL == CLUSTER else before.listeners
    versions = dict(before.versions)
    for name, value in update.resources.items():
        # As in Envoy, what is sent again as it was keeps the version that it first came with.
        known = before.routes.get((path, name)) if typeURL == ROUTES else held.get(name)
        if known != value:
            versions[typeURL, path if typeURL == ROUTES else "", name] = update.versions.get(name, update.version)
    before = replace(before, versions=versions)
    origins = {key: origin for key, origin in before.origins.items() if key[0] != typeURL or typeURL == ROUTES}
    if typeURL == ROUTES:
        origins |= {(typeURL, path, name): origin for name, origin in update.origins.items()}
        gone = {(path, name) for name in update.removed}
        kept = {key: value for key, value in before.routes.items() if key not in gone}
        routes = kept | {(path, name): value for name, value in update.resources.items()}
        return replace(before, routes=routes, origins=origins)
    origins |= {(typeURL, "", name): origin for name, origin in update.origins.items()}
    if typeURL == CLUSTER:
        return replace(before, clusters=_merged(before.clusters, update), origins=origins)
    return replace(before, listeners=_merged(before.listeners, update), origins=origins)


def _merged(before: Mapping[str, bytes], update: Update) -> dict[str, bytes]:
    if update.isWhole:
        return dict(update.resources)
    kept = {name: value for name, value in before.items() if name not in update.removed}
    return {**kept, **update.resources}
