# -*- test-case-name: tests.test_server -*-
"""
The configuration that a proxy serves, and the way from it to another one, which is taken whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from meshproxy.config import Report, Section
from meshproxy.config.registry import ReloadFailed
from meshproxy.errors import MeshProxyError
from meshproxy.http.context import FILTER_CONFIG, HOSTS, ROUTES_OF_SCOPES, SCOPES, AwaitedKey, ProxyContext
from meshproxy.listener.listener import Listener
from meshproxy.listener.listeners import Listeners
from meshproxy.listener.routewaits import RouteWaits
from meshproxy.routing.scopes import checkScopes
from meshproxy.upstream.cluster import Cluster
from meshproxy.xds.dynamic import Checked, DynamicResources
from meshproxy.xds.named import namedBy
from meshproxy.xds.secretstreams import SecretStreams
from meshproxy.xds.settings import staticClusters
from meshproxy.xds.types import CLUSTER, EXTENSION, LISTENER, ROUTES, SCOPED_ROUTES

__all__ = ["ServedConfiguration"]


class ServedConfiguration:
    """
    What a bootstrap says, and what came by xDS.

    Whatever is new is compiled beside that which is served, warms, and takes its place. What is newer than something
    that still warms takes its turn.

    @ivar bootstrap: The bootstrap that is served.
    @ivar dynamic: What came by xDS and is served.
    @ivar clusters: What the first bootstrap was compiled to, and C{listeners}.
    @ivar hasListeners: Whether the first listeners accept.
    """

    log = Logger()

    def __init__(
        self,
        bootstrap: Section,
        context: ProxyContext,
        listeners: Listeners,
        streams: SecretStreams,
        served: Callable[[], object],
        late: Callable[[AwaitedKey], DynamicResources | None],
    ) -> None:
        """
        Compile the bootstrap. Faults go to its report; nothing is bound yet.

        @param streams: Where secrets come from that clusters and listeners ask for.
        @param served: Called whenever something new is served.
        @param late: Told of what did not come in time; gives what came by xDS last.
        """
        self.bootstrap = bootstrap
        self.dynamic = DynamicResources()
        self.hasListeners = False
        self._context = context
        self._clusters = context.clusters
        self._secrets = context.secrets
        self._listeners = listeners
        self._streams = streams
        self._served = served
        self._late = late
        self._isEnding = False
        # What is served or will be when it is warm, a bootstrap or what came by xDS: known by identity.
        self._newest: object = bootstrap
        # What each listener was made of.
        self._madeOf: dict[str, tuple[bytes, ...]] = {}
        self._checked = Checked()
        self._routeWaits = RouteWaits(context.clock, self._isLate)
        self.clusters, self.listeners = self._compile(bootstrap)

    @property
    def isWarming(self) -> bool:
        """
        Whether something newer than what is served waits for its endpoints.
        """
        return self._newest is not self.dynamic and self._newest is not self.bootstrap

    # The first

    def startClusters(self) -> tuple[Deferred[Any], Deferred[Any]]:
        """
        Let the first clusters serve, and look for their endpoints.

        @return: Both fire with L{None}: when those are warm that are needed to ask a control plane, and when all are.
        """
        # Who tells the endpoints of some is reached by way of the others.
        primary = gatherResults([cluster.warmed for cluster in self.clusters if cluster.kind != "EDS"])
        warming = self._clusters.warm(self.clusters)
        self._clusters.replace(self.clusters)
        return primary, warming

    def startListeners(self) -> bool:
        """
        Let the first listeners accept, unless there are newer ones.

        @return: Whether they do.

        @raise twisted.internet.error.CannotListenError: If an address cannot be bound.
        """
        if self._isEnding or self._newest is not self.bootstrap:
            self._giveUp((), self.listeners)
            return False
        self._listeners.replace(self._ready(self.listeners))
        self.hasListeners = True
        return True

    # From a bootstrap to another

    def take(self, bootstrap: Section) -> Deferred[None]:
        """
        Serve another bootstrap, with what came by xDS, as soon as its clusters have their endpoints.

        @return: Fires when it is served, or fails with what it could not be served for. Then all stays as it was.

        @raise MeshProxyError: If it has faults.
        """
        clusters: list[Cluster] = []
        listeners: list[Listener] = []
        try:
            with bootstrap.report.despite():
                clusters, listeners = self._compile(bootstrap)
        except MeshProxyError:
            self._secrets.keep()
            raise
        finally:
            self._restoreNames()
        try:
            bootstrap.report.raiseIfAny()
        except MeshProxyError:
            self._giveUp(clusters, listeners)
            raise
        self._newest = bootstrap
        return self._clusters.warm(clusters).addCallback(lambda _: self._serve(bootstrap, clusters, listeners))

    def _serve(self, bootstrap: Section, clusters: list[Cluster], listeners: list[Listener]) -> None:
        try:
            if self._newest is not bootstrap or self._isEnding:
                raise ReloadFailed("something else came while it looked for its endpoints")
            self._listeners.replace(self._ready(listeners))
        except Exception:
            self._giveUp(clusters, listeners)
            if self._newest is bootstrap:
                self._newest = self.bootstrap
            raise
        self._clusters.replace(clusters)
        self._secrets.replace()
        self._noteParts()
        self.bootstrap = bootstrap

    def _compile(self, bootstrap: Section) -> tuple[list[Cluster], list[Listener]]:
        """
        Make the objects of a configuration. Faults go to its report.
        """
        self._streams.clusterNames = staticClusters(bootstrap)
        self._secrets.compile(bootstrap.childOrEmpty("static_resources").children("secrets"))
        return self._compileWith(bootstrap, self.dynamic)

    def _compileWith(
        self,
        bootstrap: Section,
        dynamic: DynamicResources,
        kept: Callable[[Section], Listener | None] = lambda section: None,
        isCommon: bool = False,
    ) -> tuple[list[Cluster], list[Listener]]:
        """
        Make the objects of a configuration and of what came by xDS.

        @param kept: The listener that is of a message already, or L{None}.
        @param isCommon: See L{Clusters.compile}.
        """
        static, report = bootstrap.childOrEmpty("static_resources"), bootstrap.report
        sections = dynamic.sections(CLUSTER, report, self._checked)
        clusters = self._clusters.compile([*static.children("clusters"), *sections.values()], isCommon)
        for key, cluster in zip(reversed(sections), reversed(clusters), strict=False):
            cluster.addedViaAPI, cluster.versionInfo = True, dynamic.versions.get((CLUSTER, *key), "")
        self._context.clusterNames = frozenset(cluster.name for cluster in clusters)
        self._context.routes = dynamic.sections(ROUTES, report, self._checked)
        self._context.hostsCome = dynamic.hostsCome
        self._context.scopes = _scopes(dynamic, report, self._checked)
        self._context.filterConfigs = dynamic.sections(EXTENSION, report, self._checked)
        sections = dynamic.sections(LISTENER, report, self._checked)
        listeners = self._listeners.compile([*static.children("listeners"), *sections.values()], kept)
        for key, listener in zip(reversed(sections), reversed(listeners), strict=False):
            listener.addedViaAPI, listener.versionInfo = True, dynamic.versions.get((LISTENER, *key), "")
        return clusters, listeners

    def _again(self) -> Section:
        """
        The bootstrap that is served, with a new report.
        """
        return Section(self.bootstrap.message, "", Report(), self.bootstrap.places)

    def _restoreNames(self) -> None:
        self._context.clusterNames = frozenset(self._clusters.byName)

    # What comes by xDS

    def catchUp(self, dynamic: DynamicResources) -> None:
        """
        A bootstrap was taken, or was not. Serve what came by xDS before it and was not ready, which gave way to it.
        """
        if dynamic == self.dynamic or self.isWarming or self._isEnding:
            return
        errors = self.offer(replace(dynamic))
        if errors:
            self.log.error("what came by xDS does not go with the new bootstrap: {why}", why="\n".join(errors))

    def offer(self, dynamic: DynamicResources) -> list[str]:
        """
        Serve what came by xDS, with the bootstrap, as soon as its clusters have their endpoints.

        @return: What is wrong with it; then all stays as it is.
        """
        bootstrap, context = self._again(), self._context
        served = context.routes, context.scopes, context.filterConfigs, context.hostsCome

        def kept(section: Section) -> Listener | None:
            current = self._listeners.byName.get(section.get("name"))
            if current is None or self._madeOf.get(current.name) != _partsOf(section, dynamic):
                return None
            return current

        clusters, listeners = self._compileWith(bootstrap, dynamic, kept, isCommon=True)
        if bootstrap.report.errors:
            context.routes, context.scopes, context.filterConfigs, context.hostsCome = served
            self._restoreNames()
            self._giveUp(clusters, listeners)
            return list(map(str, bootstrap.report.errors))
        self._newest = dynamic
        self._clusters.warm(clusters, isCommon=True).addCallback(
            lambda _: self._serveDynamic(dynamic, clusters, listeners)
        )
        return []

    def _serveDynamic(self, dynamic: DynamicResources, clusters: list[Cluster], listeners: list[Listener]) -> None:
        if self._newest is not dynamic or self._isEnding:
            self._giveUp(clusters, listeners)
            return
        try:
            self._listeners.replace(self._ready(listeners))
        except Exception as error:
            self.log.error("what came by xDS cannot be served: {error}", error=str(error))
            self._giveUp(clusters, listeners)
            self._newest = self.dynamic
            self._served()
            return
        self._clusters.replace(clusters)
        for key, value in dynamic.routes.items():
            if self.dynamic.routes.get(key) != value:
                told = (dynamic.versions.get((ROUTES, *key), ""), self._context.clock.seconds())
                self._context.routeVersions[key] = told
        for key, value in dynamic.filterConfigs.items():
            if self.dynamic.filterConfigs.get(key) != value:
                told = (dynamic.versions.get((EXTENSION, *key), ""), self._context.clock.seconds())
                self._context.filterConfigVersions[key] = told
        for path, named in dynamic.scopes.items():
            if self.dynamic.scopes.get(path) != named:
                told = (dynamic.versions.get((SCOPED_ROUTES, path, ""), ""), self._context.clock.seconds())
                self._context.scopeVersions[path] = told
        self.dynamic = dynamic
        self._noteParts()
        if self._context.hosts is not None:
            self._context.hosts.served()
        if self._context.scopeRoutes is not None:
            self._context.scopeRoutes.serve(name for path, name in dynamic.routes if not path)
        self._served()

    def _isLate(self, key: AwaitedKey) -> None:
        """
        Something did not come in time: who waits for it begins without. Without routes it answers 404, without the
        configuration of a filter 500.
        """
        kind, path, name = key
        context = self._context
        if kind == SCOPES:
            isThere = path in context.scopes
        elif kind == HOSTS:
            isThere = name in context.hostsCome
        else:
            isThere = (path, name) in (context.filterConfigs if kind == FILTER_CONFIG else context.routes)
        if self._isEnding or isThere:
            return
        context.late.add(key)
        dynamic = self._late(key) or self.dynamic
        told = f"{kind} {name!r}" if name else kind
        self.log.warn("the {what} did not come in time: listeners begin without them", what=told)
        # Another object, so that what still warms of the same gives way to it.
        errors = self.offer(replace(dynamic))
        if errors:
            self.log.error("listeners cannot begin without what did not come: {why}", why="\n".join(errors))

    def _noteParts(self) -> None:
        self._madeOf = {
            listener.name: _partsOf(listener.section, self.dynamic) for listener in self._listeners.byName.values()
        }

    # Filters

    def reloadFilters(self, names: Sequence[str]) -> None:
        """
        Load the modules of filters again, and let new streams run on them.

        @param names: Names of filters.

        @raise MeshProxyError: If a module does not load, or refuses the configuration. Then all stays as it was.
        """
        undo = self._context.registry.reloadModules(names)
        # What filters take may be other now.
        self._checked = Checked()
        try:
            bootstrap = self._again()
            self._restoreNames()
            heedOptions = self._clusters.compileOptionsAgain(bootstrap.report)
            _, listeners = self._compileWith(bootstrap, self.dynamic)
            try:
                bootstrap.report.raiseIfAny()
                self._listeners.replace(self._ready(listeners))
                heedOptions()
            except Exception:
                self._giveUp((), listeners)
                raise
        except Exception:
            undo()
            raise

    # Of all of them

    def _ready(self, listeners: Sequence[Listener]) -> list[Listener]:
        """
        Those that can serve. Where one waits for its routes, its former version goes on, if there is one. As in Envoy,
        what scopes name that come while their listener serves is not waited for, nor the configuration of a filter that
        was there and is gone.
        """
        ready = []
        for listener in listeners:
            former = self._listeners.byName.get(listener.name)
            isServing = former is not None and former.fingerprint == listener.fingerprint
            waitsFor = {
                key: timeout
                for key, timeout in listener.waitsFor.items()
                if not (isServing and key[0] in (ROUTES_OF_SCOPES, FILTER_CONFIG, HOSTS))
            }
            if not waitsFor:
                ready.append(listener)
                continue
            self._routeWaits.wait(waitsFor)
            listener.stop()
            if former is not None:
                ready.append(former)
        return ready

    def _giveUp(self, clusters: Sequence[Cluster], listeners: Sequence[Listener]) -> None:
        """
        Forget what was compiled and will not serve.
        """
        self._secrets.keep()
        self._clusters.forget(clusters)
        for listener in listeners:
            if self._listeners.byName.get(listener.name) is not listener:
                listener.stop()

    def end(self) -> None:
        """
        Take nothing new any more: the proxy is about to end.
        """
        self._isEnding = True

    def stop(self) -> None:
        """
        Wait for nothing any more.
        """
        self._routeWaits.stop()


def _partsOf(section: Section, dynamic: DynamicResources) -> tuple[bytes, ...]:
    """
    What a listener is made of: its message, the routes that it takes by RDS, the scopes, and the configurations of its
    filters.
    """
    message: bytes = section.message.SerializeToString(deterministic=True)
    named = namedBy((message,), dynamic.scopes)
    routes = (dynamic.routes.get(key, b"") for key in sorted(named.routes))
    scopes = (value for path in sorted(named.scopes) for _, value in sorted(dynamic.scopes.get(path, {}).items()))
    # What has come and is empty is not the same as what has not come.
    come = (str(path in dynamic.scopes).encode("ascii") for path in sorted(named.scopes))
    filters = (dynamic.filterConfigs.get(key, b"") for key in sorted(named.filterConfigs))
    hosts = (str(key[1] in dynamic.hostsCome).encode("ascii") for key in sorted(named.routes))
    return (message, *routes, *scopes, *come, *filters, *hosts)


def _scopes(dynamic: DynamicResources, report: Report, checked: Checked) -> dict[str, list[Section]]:
    """
    The scopes that came, by the path of their file.
    """
    found: dict[str, list[Section]] = {path: [] for path in dynamic.scopes}
    for (path, _), section in dynamic.sections(SCOPED_ROUTES, report, checked).items():
        found[path].append(section)
    for sections in found.values():
        checkScopes(sections)
    return found
