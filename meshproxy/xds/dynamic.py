# -*- test-case-name: tests.xds.test_dynamic -*-
"""
What came by xDS, and what becomes of it: clusters, listeners, routes and configurations of filters are compiled as
those of a bootstrap are; endpoints and secrets go to whoever wants them. A response with a fault changes nothing, and
its sender is told all that is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from meshproxy.config import Report, Section
from meshproxy.config.constraints import checkConstraints
from meshproxy.config.pool import messageClass
from meshproxy.config.sources import Origin
from meshproxy.config.supported import supported
from meshproxy.errors import ConfigErrors
from meshproxy.http.context import FILTER_CONFIG, HOSTS, AwaitedKey, RouteKey
from meshproxy.http.context import SCOPES as AWAITED_SCOPES
from meshproxy.secrets.store import SecretStore
from meshproxy.stats.store import Store
from meshproxy.upstream.assignments import Assignments
from meshproxy.upstream.discovery import compileAssigned
from meshproxy.upstream.ondemand import OnDemandClusters, OnDemandHosts, OnDemandRoutes
from meshproxy.upstream.subscriptions import SubscriptionStats
from meshproxy.xds.client import Client, Update
from meshproxy.xds.counting import (
    SCOPES,
    ExtensionStats,
    HostStats,
    NamedStats,
    ReloadStats,
    RouteStats,
    ScopedRoutesStats,
    extensionScope,
    hostsScope,
    routesScope,
    secretScope,
)
from meshproxy.xds.named import Named, Scopes, namedBy, typeOfConfig
from meshproxy.xds.types import CLUSTER, ENDPOINTS, EXTENSION, ROUTES, SCOPED_ROUTES, SECRET, VIRTUAL_HOST, WILDCARD
from meshproxy.xds.virtualhosts import VirtualHosts, configurationOf

if TYPE_CHECKING:
    from google.protobuf.message import Message

__all__ = ["Checked", "DynamicConfiguration", "DynamicResources", "dynamicSection"]


@dataclass(frozen=True)
class DynamicResources:
    """
    Serialized messages, by name.

    @ivar scopes: Those of scoped routes, by the path of their file, which is empty for the control plane, and name.
        What has not said anything is not there.
    @ivar filterConfigs: Configurations of filters.
    @ivar hostsCome: The route configurations whose virtual hosts came apart from them, and are among them now.
    @ivar origins: Where those from files stand there, by type, file and name.
    @ivar versions: The version of the response that each came with, likewise; of scopes that of the last response,
        with an empty name.
    """

    clusters: Mapping[str, bytes] = field(default_factory=dict)
    listeners: Mapping[str, bytes] = field(default_factory=dict)
    routes: Mapping[RouteKey, bytes] = field(default_factory=dict)
    scopes: Scopes = field(default_factory=dict)
    filterConfigs: Mapping[RouteKey, bytes] = field(default_factory=dict)
    hostsCome: frozenset[str] = frozenset()
    origins: Mapping[tuple[str, str, str], Origin] = field(default_factory=dict, compare=False)
    versions: Mapping[tuple[str, str, str], str] = field(default_factory=dict, compare=False)

    def sections(self, typeURL: str, report: Report, checked: Checked | None = None) -> dict[RouteKey, Section]:
        """
        The resources of a type as configuration. Faults go to the report.

        @param checked: Knows those that are as they were.

        @return: By file, which is empty for clusters and listeners, and name.
        """
        found: Mapping[RouteKey, bytes]
        if typeURL == ROUTES:
            what, found = "routes", self.routes
        elif typeURL == EXTENSION:
            what, found = "filter_configs", self.filterConfigs
        elif typeURL == SCOPED_ROUTES:
            what = "scopes"
            found = {(path, name): value for path, named in self.scopes.items() for name, value in named.items()}
        elif typeURL == CLUSTER:
            what, found = "clusters", {("", name): value for name, value in self.clusters.items()}
        else:
            what, found = "listeners", {("", name): value for name, value in self.listeners.items()}
        make = dynamicSection if checked is None else checked.dynamicSection
        sections = {
            key: make(typeURL, what, key[1], value, report, self.origins.get((typeURL, *key)))
            for key, value in found.items()
        }
        if checked is not None:
            checked.keep(typeURL, found.values())
        return sections


class Checked:
    """
    Messages that were found to be without faults: of thousands one changes, and the others are not looked at again.
    """

    def __init__(self) -> None:
        self._messages: dict[str, dict[bytes, Message]] = {}

    def dynamicSection(
        self, typeURL: str, what: str, name: str, value: bytes, report: Report, origin: Origin | None = None
    ) -> Section:
        """
        See L{dynamicSection}.
        """
        known = self._messages.setdefault(typeURL, {})
        message = known.get(value)
        if message is not None:
            return _section(message, what, name, report, origin)
        told = len(report.errors), len(report.warnings)
        section = dynamicSection(typeURL, what, name, value, report, origin)
        if told == (len(report.errors), len(report.warnings)):
            known[value] = section.message
        return section

    def keep(self, typeURL: str, values: Iterable[bytes]) -> None:
        """
        Forget all others of a type.
        """
        known = self._messages.get(typeURL, {})
        self._messages[typeURL] = {value: known[value] for value in values if value in known}


def _section(message: Message, what: str, name: str, report: Report, origin: Origin | None) -> Section:
    if origin is None:
        return Section(message, f"{what}[{name}]", report)
    return Section(message, origin.path, report, origin.places)


def dynamicSection(
    typeURL: str, what: str, name: str, value: bytes, report: Report, origin: Origin | None = None
) -> Section:
    """
    A message as configuration: held to its constraints and to what is implemented. Faults go to the report.

    @param what: How faults name the type: C{clusters}.
    @param origin: Where it stands in its file.
    """
    message = messageClass(typeURL.rpartition("/")[2]).FromString(value)
    section = _section(message, what, name, report, origin)
    checkConstraints(section)
    supported.check(section)
    return section


class DynamicConfiguration:
    """
    See the module.

    @ivar resources: What was taken.
    @ivar taken: The types of which a response was taken.
    @ivar wantRoutes: Told which route configurations are wanted, for those that come from files.
    @ivar wantFilterConfigs: Told which configurations of filters are wanted, likewise.
    @ivar wantScopes: Told which files of scopes are wanted.
    @ivar demanded: Clusters that are asked for by name; L{None} where none may be.
    @ivar demandedRoutes: The routes of scopes, likewise.
    @ivar demandedHosts: Virtual hosts, likewise.
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
        self.demanded: OnDemandClusters | None = None
        self.demandedHosts: OnDemandHosts | None = None
        self.demandedRoutes: OnDemandRoutes | None = None
        self._hosts = VirtualHosts()
        self._hostStats = NamedStats(HostStats, now)
        # Messages of the bootstrap.
        self.staticListeners: Sequence[bytes] = ()
        self.wantRoutes: Callable[[Mapping[RouteKey, str]], object] = lambda wanted: None
        self.wantFilterConfigs: Callable[[Mapping[RouteKey, str]], object] = lambda wanted: None
        self.wantScopes: Callable[[Mapping[str, SubscriptionStats]], object] = lambda wanted: None
        self._client = client
        self._assignments = assignments
        self._secrets = secrets
        self._apply = apply
        self._store = store
        self._now = now
        self._routeStats = NamedStats(RouteStats, now)
        self._secretStats = NamedStats(SubscriptionStats, now)
        self._filterStats = NamedStats(ExtensionStats, now)
        # Configurations that are of another type than a listener takes.
        self._conflicts: set[tuple[str, tuple[str, ...]]] = set()
        self._scopeStats: dict[str, ScopedRoutesStats] = {}
        self._clusterReloads = ReloadStats(store.scope(SCOPES[CLUSTER]), now)

    def counted(self) -> Mapping[str, Iterable[SubscriptionStats]]:
        """
        Of the types that the control plane is asked for because something names them, what is counted of each.
        """
        return {
            CLUSTER: () if self.demanded is None else self.demanded.counted,
            ENDPOINTS: self._assignments.stats,
            ROUTES: self._routeStats.all,
            SCOPED_ROUTES: [stats.subscription for path, stats in self._scopeStats.items() if not path],
            SECRET: self._secretStats.all,
            EXTENSION: self._filterStats.all,
            VIRTUAL_HOST: self._hostStats.all,
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
        elif update.typeURL == VIRTUAL_HOST:
            errors = self._receiveHosts(update)
        else:
            errors = self._receiveResources(update)
        if not errors:
            self.taken.add(update.typeURL)
        return errors

    def _receiveResources(self, update: Update) -> list[str]:
        before = self.resources
        if update.typeURL == EXTENSION:
            errors = self._mistyped(update)
            if errors:
                return errors
        hosts = self._hosts
        if update.typeURL == ROUTES and not update.path:
            self._hosts = hosts.withRoutes(update)
            update = self._hosts.merge(update)
        after = replace(_changed(before, update), hostsCome=self._hosts.come)
        if after != before:
            errors = self._serve(after, hosts)
            if not errors and update.typeURL == CLUSTER:
                self._clusterReloads.changed()
            self.wantAll()
            if errors:
                return errors
        if update.typeURL == ROUTES and not update.path:
            if self.demandedRoutes is not None:
                held = (name for path, name in after.routes if not path)
                self.demandedRoutes.miss(update.removed.difference(held))
            changed = [name for name in update.resources if before.routes.get(("", name)) != after.routes["", name]]
            self._routeStats.taken((*update.resources, *update.removed), update.version, changed)
        elif update.typeURL == EXTENSION and not update.path:
            said = (*update.resources, *update.removed)
            others = [n for n in said if before.filterConfigs.get(("", n)) != update.resources.get(n)]
            # As in Envoy, what is said to be gone counts as a change whether it was there or not.
            others += [name for name in update.removed if name not in others]
            self._filterStats.taken(said, update.version, others)
        elif update.typeURL == SCOPED_ROUTES:
            self._countScopes(update)
        elif update.typeURL == CLUSTER and self.demanded is not None:
            self.demanded.received(update.resources, update.removed, update.version)
        return []

    def _serve(self, resources: DynamicResources, hosts: VirtualHosts) -> list[str]:
        """
        Serve other resources, or go on with those before.

        @param hosts: The virtual hosts before.

        @return: What is wrong with them.
        """
        before, self.resources = self.resources, resources
        try:
            errors = self._apply(resources)
        except Exception:
            # A mistake of ours is not to be made again with whatever comes next.
            self.resources, self._hosts = before, hosts
            raise
        if errors:
            self.resources, self._hosts = before, hosts
        return errors

    def _receiveHosts(self, update: Update) -> list[str]:
        before, hosts = self.resources, self._hosts
        demanded = self.demandedHosts
        assert demanded is not None
        self._hosts = hosts.withHosts(update)
        after = replace(_changed(before, self._hosts.mergeAll(update)), hostsCome=self._hosts.come)
        new = demanded.came(update.aliases, update.resources)
        if after != before:
            errors = self._serve(after, hosts)
            if errors:
                demanded.undo(new)
                return errors
        names = (*update.resources, *update.removed, *update.aliases)
        said = {configurationOf(name) for name in names}
        changed = {configurationOf(name) for name in update.aliases}
        changed |= {
            configurationOf(name) for name in update.removed if name in hosts.hosts.get(configurationOf(name), ())
        }
        self._hostStats.taken(said, update.version, changed)
        empty = [name for name in update.aliases if name not in update.resources]
        demanded.missing([*update.removed, *empty, *(one for name in empty for one in update.aliases[name])])
        # Who waits for what is there as it was.
        if after == before:
            demanded.served()
        return []

    def hostAsked(self, name: str) -> None:
        """
        A virtual host is asked for: as in Envoy, that counts as an attempt.
        """
        stats = self._hostStats.get(configurationOf(name))
        if stats is not None:
            stats.begun()

    def _wantHosts(self, prefixes: Mapping[str, str]) -> None:
        """
        Ask for the virtual hosts of route configurations.

        @param prefixes: Those that are wanted, with the C{stat_prefix} of who wants each.
        """
        if self.demandedHosts is None or self._client is None:
            return
        self._hosts = self._hosts.only(prefixes)
        taking = {name: prefixes[name] for name in self._hosts.routes}
        if not self._client.asksFor(VIRTUAL_HOST, WILDCARD):
            self._client.want(VIRTUAL_HOST, None if taking else ())
        elif not taking:
            self._client.want(VIRTUAL_HOST, ())
        self._hostStats.want({n: partial(hostsScope, self._store, prefix, n) for n, prefix in taking.items()})

    def _named(self) -> Named:
        listeners = [*self.staticListeners, *self.resources.listeners.values()]
        return namedBy(listeners, self.resources.scopes, self._demandedRoutes)

    @property
    def _demandedRoutes(self) -> Container[str]:
        return () if self.demandedRoutes is None else self.demandedRoutes.names

    def _mistyped(self, update: Update) -> list[str]:
        """
        What is wrong with the types of configurations of filters.
        """
        errors = []
        named = self._named().filterConfigs
        for name, value in update.resources.items():
            found = typeOfConfig(value)
            for _, types in sorted(named.get((update.path, name), ())):
                if found not in types:
                    why = f"is {found}; who takes it has the type_urls {', '.join(types)}"
                    errors.append(f"filter_configs[{name}].typed_config: {why}")
        return errors

    def _countConflicts(self, named: Named) -> None:
        """
        Count what listeners name that is there and of another type than they take.
        """
        found = {
            (name, types)
            for (path, name), takers in named.filterConfigs.items()
            if not path and (value := self.resources.filterConfigs.get(("", name))) is not None
            for _, types in takers
            if typeOfConfig(value) not in types
        }
        for name, _ in found - self._conflicts:
            stats = self._filterStats.get(name)
            if stats is not None:
                stats.conflicted()
        self._conflicts = found

    def withoutDemanded(self, update: Update) -> Update:
        """
        What is to be remembered of a response: clusters that somebody asked for are asked for again.
        """
        if update.typeURL != CLUSTER or self.demanded is None or not self.demanded.names:
            return update
        names = self.demanded.names
        return replace(update, resources={n: value for n, value in update.resources.items() if n not in names})

    def _countScopes(self, update: Update) -> None:
        stats = self._scopeStats.get(update.path)
        if stats is None:
            return
        if not update.path:
            stats.subscription.received(update.version)
        stats.changed()
        stats.show(self.resources.scopes[update.path].values(), self._demandedRoutes)

    def late(self, key: AwaitedKey) -> None:
        """
        Something did not come in time: count it, where it is to come from the control plane.
        """
        kind, path, name = key
        if path:
            return
        if kind == FILTER_CONFIG:
            self._filterStats.timedOut(name)
        elif kind == HOSTS:
            self._hostStats.timedOut(name)
        elif kind != AWAITED_SCOPES:
            self._routeStats.timedOut(name)
        elif "" in self._scopeStats:
            self._scopeStats[""].subscription.timedOut()

    def wantDemanded(self) -> None:
        """
        Ask for the clusters and virtual hosts that somebody needs. Clients may need any, and often: nothing else is
        looked at.
        """
        if self._client is None:
            return
        if self.demandedHosts is not None:
            self.demandedHosts.only(self._hosts.routes)
        for typeURL, demanded in ((CLUSTER, self.demanded), (VIRTUAL_HOST, self.demandedHosts)):
            if demanded is not None:
                self._client.wantBeside(typeURL, demanded.names, demanded.again)
                demanded.again.clear()

    def wantAll(self) -> None:
        """
        Ask for what the resources name.
        """
        named = self._named()
        self._countFor(named.scopes)
        for path, stats in self._scopeStats.items():
            stats.show(self.resources.scopes.get(path, {}).values(), self._demandedRoutes)
        if self._client is not None:
            prefixes = {name: prefix for (path, name), prefix in named.routes.items() if not path}
            if "" in named.scopes:
                # For as long as the proxy runs: who asked for all of a type has no word for none of it where the state
                # of the world is spoken.
                self._client.want(SCOPED_ROUTES, None)
            self._client.want(ROUTES, prefixes)
            self._wantHosts(prefixes)
            self.wantDemanded()
            kinds = {name: min(takers)[0] for (path, name), takers in named.filterConfigs.items() if not path}
            self._client.want(EXTENSION, kinds)
            self._filterStats.want({n: partial(extensionScope, self._store, kind, n) for n, kind in kinds.items()})
            self._countConflicts(named)
            self._client.want(ENDPOINTS, self._assignments.wanted)
            self._client.want(SECRET, self._secrets.discovered)
            scopes = {name: partial(routesScope, self._store, prefix, name) for name, prefix in prefixes.items()}
            self._routeStats.want(scopes)
            self._secretStats.want({n: partial(secretScope, self._store, n) for n in self._secrets.discovered})
        # What nobody names any more is asked for, or read, again when somebody does.
        routes = {key: value for key, value in self.resources.routes.items() if key in named.routes}
        held = {path: value for path, value in self.resources.scopes.items() if not path or path in named.scopes}
        filters = {key: value for key, value in self.resources.filterConfigs.items() if key in named.filterConfigs}
        now = self.resources
        if (len(routes), len(held), len(filters)) != (len(now.routes), len(now.scopes), len(now.filterConfigs)):
            self.resources = replace(now, routes=routes, scopes=held, filterConfigs=filters)
        self.wantFilterConfigs({key: min(takers)[0] for key, takers in named.filterConfigs.items() if key[0]})
        self.wantScopes({path: self._scopeStats[path].subscription for path in named.scopes if path})
        self.wantRoutes(named.routes)

    def _countFor(self, wanted: Mapping[str, tuple[str, str]]) -> None:
        """
        Count what comes of these sources of scopes, and of no others.
        """
        for path in [path for path in self._scopeStats if path not in wanted]:
            self._scopeStats.pop(path).close()
        for path, (prefix, name) in wanted.items():
            if path not in self._scopeStats:
                stats = self._scopeStats[path] = ScopedRoutesStats(self._store, prefix, name, self._now)
                if not path:
                    stats.subscription.begun()

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
    if typeURL == SCOPED_ROUTES:
        return _withScopes(before, update)
    isNamed = typeURL in (ROUTES, EXTENSION)
    held: Mapping[RouteKey, bytes]
    if isNamed:
        held = before.routes if typeURL == ROUTES else before.filterConfigs
    else:
        some = before.clusters if typeURL == CLUSTER else before.listeners
        path, held = "", {("", name): value for name, value in some.items()}
    versions = dict(before.versions)
    for name, value in update.resources.items():
        # As in Envoy, what is sent again as it was keeps the version that it first came with.
        if held.get((path, name)) != value:
            versions[typeURL, path, name] = update.versions.get(name, update.version)
    before = replace(before, versions=versions)
    origins = {key: origin for key, origin in before.origins.items() if key[0] != typeURL or isNamed}
    if isNamed:
        origins |= {(typeURL, path, name): origin for name, origin in update.origins.items()}
        come = {(path, name): value for name, value in update.resources.items()}
        if typeURL == ROUTES:
            # As in Envoy, routes that are said to be gone are held for as long as somebody names them.
            return replace(before, routes={**held, **come}, origins=origins)
        kept = {key: value for key, value in held.items() if key[0] != path or key[1] not in update.removed}
        return replace(before, filterConfigs={**kept, **come}, origins=origins)
    origins |= {(typeURL, "", name): origin for name, origin in update.origins.items()}
    if typeURL == CLUSTER:
        return replace(before, clusters=_merged(before.clusters, update), origins=origins)
    return replace(before, listeners=_merged(before.listeners, update), origins=origins)


def _withScopes(before: DynamicResources, update: Update) -> DynamicResources:
    path = update.path
    scopes = {**before.scopes, path: _merged(before.scopes.get(path, {}), update)}
    origins = {key: origin for key, origin in before.origins.items() if key[:2] != (SCOPED_ROUTES, path)}
    origins |= {(SCOPED_ROUTES, path, name): origin for name, origin in update.origins.items()}
    versions = {**before.versions, (SCOPED_ROUTES, path, ""): update.version}
    return replace(before, scopes=scopes, origins=origins, versions=versions)


def _merged(before: Mapping[str, bytes], update: Update) -> dict[str, bytes]:
    if update.isWhole:
        return dict(update.resources)
    kept = {name: value for name, value in before.items() if name not in update.removed}
    return {**kept, **update.resources}
