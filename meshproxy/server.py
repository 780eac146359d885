# -*- test-case-name: tests.test_server -*-
"""
The one composition root: from a bootstrap to a running proxy, and from a new bootstrap to the same proxy changed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from twisted.application.internet import TimerService
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from meshproxy.accesslog.files import LogFiles, inReactorsThreads
from meshproxy.accesslog.logs import AccessLogContext
from meshproxy.admin.explain.answer import Answer, explain
from meshproxy.admin.explain.question import Question
from meshproxy.admin.serverstats import ServerStats
from meshproxy.admin.service import AdminServer
from meshproxy.config import Report, Section
from meshproxy.config.load import loadBootstrap
from meshproxy.config.registry import FilterRegistry, ReloadFailed
from meshproxy.config.supported import addResolver
from meshproxy.errors import ConfigErrors, MeshProxyError
from meshproxy.http.calls import UpstreamCalls
from meshproxy.http.context import ProxyContext, RouteKey
from meshproxy.identity.settings import compileIdentity
from meshproxy.identity.workload import WorkloadIdentity, intoStore
from meshproxy.interfaces import INetwork
from meshproxy.listener.listener import Listener
from meshproxy.listener.listeners import Listeners
from meshproxy.listener.routewaits import RouteWaits
from meshproxy.net.watchdog import Watchdog
from meshproxy.reload import INTERVAL, FilesWatch, refuseElsewhere
from meshproxy.runtime import Runtime
from meshproxy.secrets.store import SecretStore
from meshproxy.stats import Exposition, Store
from meshproxy.stats.settings import compileStatsSettings
from meshproxy.upstream.balancers.zones import LocalZone
from meshproxy.upstream.cluster import Cluster
from meshproxy.upstream.clusters import Clusters
from meshproxy.upstream.endpoint import Locality
from meshproxy.upstream.nameservers import AskingNetwork, compileNameServers
from meshproxy.upstream.statssinks import compileStatsSinks
from meshproxy.xds.discovery import Discovery, Taker
from meshproxy.xds.dynamic import DynamicResources, routeSources
from meshproxy.xds.secretstreams import SecretStreams
from meshproxy.xds.settings import compileDiscovery, nodeOf, staticClusters
from meshproxy.xds.types import CLUSTER, LISTENER, ROUTES

__all__ = ["ProxyOptions", "ProxyServer", "explainRequest", "validate"]


@dataclass(frozen=True, slots=True)
class ProxyOptions:
    """
    What the command line says.

    @ivar configPath: The bootstrap file, or L{None}.
    @ivar configText: A bootstrap merged over the file, or L{None}.
    @ivar drainTime: Seconds that connections have to end when the proxy stops.
    @ivar adminAddressPath: Where to write the address of the admin, or L{None}.
    @ivar xdsCopyPath: A folder for a copy of what the control plane says, or L{None}.
    """

    configPath: str | None = None
    configText: str | None = None
    allowUnknown: bool = False
    serviceNode: str = ""
    serviceCluster: str = ""
    serviceZone: str = ""
    drainTime: float = 10.0
    adminAddressPath: str | None = None
    xdsCopyPath: str | None = None
    watchFilters: bool = False
    flags: dict[str, object] = field(default_factory=dict)


class ProxyServer(MultiService):
    """
    A proxy.

    @ivar context: Its parts.
    @ivar stats: What it counts of itself.
    @ivar bootstrap: The configuration that is served.
    @ivar state: As C{/ready} tells: C{INITIALIZING}, C{LIVE}, C{DRAINING} ...
    @ivar started: When it began, and C{loaded} when the configuration was read, in the clock's seconds.
    @ivar failedHealthCheck: Whether it says that it is ill.
    @ivar filterFiles: The files of the filters that are loaded.
    @ivar identity: Whose certificate it has; L{None} where it gets none of its own.
    """

    log = Logger()

    def __init__(
        self,
        options: ProxyOptions,
        reactor: Any,
        network: INetwork,
        registry: FilterRegistry | None = None,
        files: LogFiles | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """
        Read and compile the configuration; nothing is bound yet.

        @param reactor: The clock, and the threads that write logs.
        @param registry: The filters; by default all that are installed.
        @param files: Where access logs go; by default to files and the standard streams.
        @param chance: From 0 up to 1: what decides where something is random.

        @raise ConfigErrors: If the configuration has faults; all of them.
        """
        MultiService.__init__(self)
        self.options = options
        self.reactor = reactor
        self.state = "INITIALIZING"
        self.started = self.loaded = reactor.seconds()
        self.failedHealthCheck = False
        registry = FilterRegistry() if registry is None else registry
        addResolver(registry.declare)
        self.bootstrap = self._load()
        stats = compileStatsSettings(self.bootstrap.child("stats_config"))
        store = Store(stats.accepts, stats.boundaries)
        runtime = Runtime(chance, store.scope())
        secrets = self.secrets = SecretStore(store, reactor)
        servers = compileNameServers(self.bootstrap)
        upstream: Any = network if servers is None else AskingNetwork(network, servers)
        clusters = Clusters(store, upstream, reactor, chance, secrets)
        if files is None:
            files = LogFiles(reactor, store.scope("filesystem."), inReactorsThreads(reactor))
        self.context = ProxyContext(
            store,
            reactor,
            network,
            chance,
            runtime,
            registry,
            clusters,
            UpstreamCalls(clusters, reactor),
            AccessLogContext(files, runtime.number),
            secrets,
            isFailed=lambda: self.failedHealthCheck,
        )
        self.files = files
        self.clusters = clusters
        self.listeners = Listeners(self.context, options.drainTime)
        self.stats = ServerStats(store, self.bootstrap.wrapped("stats_server_version_override", None))
        self._identify(self.bootstrap)
        clusters.zone = self._localZone()
        runtime.update(self.bootstrap.child("layered_runtime"), self.context.nodeCluster)
        self._newest: object = self.bootstrap
        # What came by xDS and is served, and for each listener what it was made of.
        self._dynamic = DynamicResources()
        self._madeOf: dict[str, tuple[bytes, ...]] = {}
        self.discovery: Discovery | None = None
        self._routeWaits = RouteWaits(reactor, self._routesLate)
        self._discoverySettings = compileDiscovery(self.bootstrap)
        secrets.hasStream = clusters.assignments.hasSource = self._discoverySettings.stream is not None
        self._node = nodeOf(self.bootstrap, options.serviceNode, options.serviceCluster, options.serviceZone)
        self._secretStreams = secrets.streams = SecretStreams(self.context, self._node)
        self.identity = self._makeIdentity(store)
        self._next = self._compile(self.bootstrap)
        self._sinks = compileStatsSinks(
            self.bootstrap.children("stats_sinks"),
            store,
            stats.extractor,
            network.datagrams,
            clusters.byName,
            self.context.clusterNames,
        )
        if options.xdsCopyPath is not None and not self.context.nodeId:
            self.bootstrap.refuse("--xds-copy-path needs an id, whose copy it is: node.id or --service-node", "node")
        self.admin = AdminServer(self, self.bootstrap.child("admin"), Exposition(store, stats.extractor))
        self.bootstrap.report.raiseIfAny()
        self._drained: Deferred[None] | None = None
        # Fires when nothing of the discovery is under way any more.
        self._left: Deferred[None] = succeed(None)
        self._drainCall: IDelayedCall | None = None
        self._drainingListeners = False
        self.filterFiles = FilesWatch(registry.loadedFiles, reactor)
        Watchdog(reactor, store.scope("main_thread."), store.scope("server.main_thread.")).setServiceParent(self)
        self._flushesOnAdmin: bool = self.bootstrap.get("stats_flush_on_admin")
        if not self._flushesOnAdmin:
            self._every(self.bootstrap.seconds("stats_flush_interval", 5.0) or 5.0, self.flushStats)
        self._every(1.0, runtime.refresh)
        if options.watchFilters:
            self._every(INTERVAL, self.reloadChangedFilters)

    def _every(self, seconds: float, work: Callable[[], object]) -> None:
        timer = TimerService(seconds, work)
        timer.clock = self.reactor
        timer.setServiceParent(self)

    def flushStats(self) -> None:
        """
        End an interval of the stats, and tell the sinks.
        """
        self.context.store.flush()
        if self._sinks:
            self._measure()
            for sink in self._sinks:
                sink.flush()

    def refreshStats(self) -> None:
        """
        Bring up to date what is not counted as it happens, for whoever looks.
        """
        if self._flushesOnAdmin:
            self.flushStats()
        self._measure()

    def _measure(self) -> None:
        self.stats.measure(self, self.reactor.seconds())
        if self.identity is not None:
            self.identity.renewal.refresh()

    # Configuration

    def _load(self) -> Section:
        options = self.options
        return loadBootstrap(options.configPath, options.configText, options.allowUnknown)

    def _identify(self, bootstrap: Section) -> None:
        node = bootstrap.childOrEmpty("node")
        self.context.nodeId = self.options.serviceNode or node.get("id")
        self.context.nodeCluster = self.options.serviceCluster or node.get("cluster")

    def _localZone(self) -> LocalZone | None:
        """
        Where this proxy runs, and the cluster of its likes, if there is one.
        """
        section = self.bootstrap.childOrEmpty("cluster_manager")
        name: str = section.get("local_cluster_name")
        if not name:
            return None
        static = self.bootstrap.childOrEmpty("static_resources").children("clusters")
        if all(cluster.get("name") != name for cluster in static):
            # As in Envoy, it is not one of those that may come and go.
            section.refuse(f"local cluster {name!r} must be defined", "local_cluster_name")
        locality = self.bootstrap.childOrEmpty("node").childOrEmpty("locality")
        zone = self.options.serviceZone or locality.get("zone")
        place = Locality(locality.get("region"), zone, locality.get("sub_zone"))
        return LocalZone(name, place, self.context.runtime.number)

    def _makeIdentity(self, store: Store) -> WorkloadIdentity | None:
        settings = compileIdentity(self.bootstrap)
        if settings is None:
            return None
        context, scope, hand = self.context, store.scope("identity."), intoStore(self.secrets)
        if self.bootstrap.report.errors:
            return None
        return WorkloadIdentity(settings, context.network, self.reactor, context.random, scope, hand)

    def _compile(self, bootstrap: Section) -> tuple[list[Cluster], list[Listener]]:
        """
        Make the objects of a configuration. Faults go to its report.
        """
        self._secretStreams.clusterNames = staticClusters(bootstrap)
        self.secrets.compile(bootstrap.childOrEmpty("static_resources").children("secrets"))
        return self._compileWith(bootstrap, self._dynamic, lambda section: None)

    def _compileWith(
        self, bootstrap: Section, dynamic: DynamicResources, kept: Callable[[Section], Listener | None]
    ) -> tuple[list[Cluster], list[Listener]]:
        """
        Make the objects of a configuration and of what came by xDS.

        @param kept: The listener that is of a message already, or L{None}.
        """
        static, report = bootstrap.childOrEmpty("static_resources"), bootstrap.report
        sections = dynamic.sections(CLUSTER, report)
        clusters = self.clusters.compile([*static.children("clusters"), *sections.values()])
        for key, cluster in zip(reversed(sections), reversed(clusters), strict=False):
            cluster.addedViaAPI, cluster.versionInfo = True, dynamic.versions.get((CLUSTER, *key), "")
        self.context.clusterNames = frozenset(cluster.name for cluster in clusters)
        self.context.routes = dynamic.sections(ROUTES, report)
        sections = dynamic.sections(LISTENER, report)
        listeners = self.listeners.compile([*static.children("listeners"), *sections.values()], kept)
        for key, listener in zip(reversed(sections), reversed(listeners), strict=False):
            listener.addedViaAPI, listener.versionInfo = True, dynamic.versions.get((LISTENER, *key), "")
        return clusters, listeners

    # Configuration from elsewhere

    def _startDiscovery(self) -> None:
        """
        Begin to ask the control plane, if there is one, and to look at the files that configuration comes from.
        """
        if self.discovery is None and self.state != "DRAINING":
            take = Taker(self.applyDynamic, self._begin)
            folder = self.options.xdsCopyPath
            self.discovery = Discovery(self._discoverySettings, self.context, take, self._node, folder)
            self.discovery.follow(self.bootstrap)
            self.discovery.start()

    def applyDynamic(self, dynamic: DynamicResources) -> list[str]:
        """
        Serve what came by xDS, with the bootstrap, as soon as its clusters have their endpoints.

        @return: What is wrong with it; then all stays as it is.
        """
        report = Report()
        bootstrap = Section(self.bootstrap.message, "", report, self.bootstrap.places)
        routes = self.context.routes

        def kept(section: Section) -> Listener | None:
            current = self.listeners.byName.get(section.get("name"))
            if current is None or self._madeOf.get(current.name) != _partsOf(section, dynamic):
                return None
            return current

        clusters, listeners = self._compileWith(bootstrap, dynamic, kept)
        if report.errors:
            self.context.routes = routes
            self.context.clusterNames = frozenset(self.clusters.byName)
            self._giveUp(clusters, listeners)
            return list(map(str, report.errors))
        self._newest = dynamic
        self.clusters.warm(clusters).addCallback(lambda _: self._serveDynamic(dynamic, clusters, listeners))
        return []

    def _serveDynamic(self, dynamic: DynamicResources, clusters: list[Cluster], listeners: list[Listener]) -> None:
        if self._newest is not dynamic or self.state == "DRAINING":
            self._giveUp(clusters, listeners)
            return
        try:
            self.listeners.replace(self._ready(listeners))
        except Exception as error:
            self.log.error("what came by xDS cannot be served: {error}", error=str(error))
            self._giveUp(clusters, listeners)
            self._newest = self._dynamic
            self._begin()
            return
        self.clusters.replace(clusters)
        for key, value in dynamic.routes.items():
            if self._dynamic.routes.get(key) != value:
                told = (dynamic.versions.get((ROUTES, *key), ""), self.reactor.seconds())
                self.context.routeVersions[key] = told
        self._dynamic = dynamic
        self._noteParts()
        self._begin()

    def _routesLate(self, key: RouteKey) -> None:
        """
        Routes did not come in time: who waits for them begins without, and answers 404.
        """
        if self.state == "DRAINING" or key in self.context.routes:
            return
        self.context.lateRoutes.add(key)
        dynamic = self._dynamic
        if self.discovery is not None:
            self.discovery.routesLate(key)
            dynamic = self.discovery.resources
        self.log.warn("the routes {name!r} did not come in time: listeners begin without them", name=key[1])
        # Another object, so that what still warms of the same gives way to it.
        errors = self.applyDynamic(replace(dynamic))
        if errors:
            self.log.error("listeners cannot begin without their routes: {why}", why="\n".join(errors))

    def _noteParts(self) -> None:
        self._madeOf = {
            listener.name: _partsOf(listener.section, self._dynamic) for listener in self.listeners.byName.values()
        }

    def _ready(self, listeners: Sequence[Listener]) -> list[Listener]:
        """
        Those that can serve. Where one waits for its routes, its former version goes on, if there is one.
        """
        ready = []
        for listener in listeners:
            if not listener.waitsFor:
                ready.append(listener)
                continue
            self._routeWaits.wait(listener.waitsFor)
            former = self.listeners.byName.get(listener.name)
            listener.stop()
            if former is not None:
                ready.append(former)
        return ready

    def reload(self) -> Deferred[bool]:
        """
        Read the configuration again, and serve it if it has no fault. Otherwise everything stays as it is.

        @return: Fires with whether it is served; the log says why not.
        """
        self.stats.reloadAttempt.value += 1
        try:
            if self.state == "DRAINING":
                raise ReloadFailed("the proxy is about to end")
            bootstrap = self._load()
            refuseElsewhere(self.bootstrap, bootstrap)
            clusters, listeners = self._compile(bootstrap)
        except MeshProxyError as error:
            self.secrets.keep()
            self._rejected(error)
            return succeed(False)
        finally:
            self.context.clusterNames = frozenset(self.clusters.byName)
        try:
            bootstrap.report.raiseIfAny()
        except ConfigErrors as error:
            self._rejected(error)
            self._giveUp(clusters, listeners)
            return succeed(False)
        self.tellWarnings(bootstrap)
        self._newest = bootstrap
        return self.clusters.warm(clusters).addCallback(lambda _: self._serve(bootstrap, clusters, listeners))

    def tellWarnings(self, bootstrap: Section | None = None) -> None:
        """
        Log what a configuration is warned of.

        @param bootstrap: By default the one that is served.
        """
        for warning in (bootstrap or self.bootstrap).report.warnings:
            self.log.warn("{warning}", warning=warning)

    def _serve(self, bootstrap: Section, clusters: list[Cluster], listeners: list[Listener]) -> bool:
        try:
            if self._newest is not bootstrap or self.state == "DRAINING":
                raise ReloadFailed("something else came while it looked for its endpoints")
            self.listeners.replace(self._ready(listeners))
        except Exception as error:
            self._rejected(error)
            self._giveUp(clusters, listeners)
            return False
        self.clusters.replace(clusters)
        self.secrets.replace()
        self._noteParts()
        self.bootstrap = bootstrap
        if self.discovery is None:
            self._startDiscovery()
        else:
            self.discovery.follow(bootstrap)
            self.discovery.wantAll()
        self._begin()
        self.loaded = self.reactor.seconds()
        self.context.runtime.update(bootstrap.child("layered_runtime"), self.context.nodeCluster)
        self.stats.reloadSuccess.value += 1
        self.log.info("the configuration was reloaded")
        return True

    def _giveUp(self, clusters: Sequence[Cluster], listeners: Sequence[Listener]) -> None:
        """
        Forget what was compiled and will not serve.
        """
        self.secrets.keep()
        self.clusters.forget(clusters)
        for listener in listeners:
            if self.listeners.byName.get(listener.name) is not listener:
                listener.stop()

    def reloadFilters(self, names: Sequence[str]) -> None:
        """
        Load the modules of filters again, and let new streams run on them.

        @param names: Names of filters.

        @raise MeshProxyError: If a module does not load, or refuses the configuration. Then all stays as it was.
        """
        if self.state != "LIVE":
            raise ReloadFailed(f"the proxy is {self.state}, not LIVE")
        undo = self.context.registry.reloadModules(names)
        try:
            report = Report()
            bootstrap = Section(self.bootstrap.message, "", report, self.bootstrap.places)
            self.context.clusterNames = frozenset(self.clusters.byName)
            _, listeners = self._compileWith(bootstrap, self._dynamic, lambda section: None)
            try:
                report.raiseIfAny()
                self.listeners.replace(self._ready(listeners))
            except Exception:
                self._giveUp((), listeners)
                raise
        except Exception:
            undo()
            raise
        self.log.info("reloaded: {names}", names=", ".join(names))

    def reloadChangedFilters(self) -> None:
        """
        Load filters again whose files changed since this was last called; the log says which cannot be.
        """
        names = self.filterFiles.changed()
        if names:
            try:
                self.reloadFilters(names)
            except MeshProxyError as error:
                self.log.error("{error}", error=str(error))

    def reloadAll(self) -> Deferred[bool]:
        """
        Load filters again whose files changed, then read the configuration (SIGHUP).
        """
        self.reloadChangedFilters()
        return self.reload()

    def _rejected(self, error: Exception) -> None:
        self.stats.reloadRejected.value += 1
        self.log.error("the new configuration is refused, the running one stays:\n{error}", error=str(error))

    # Running

    def privilegedStartService(self) -> None:
        """
        Bind the addresses, while there are privileges to do so.

        @raise twisted.internet.error.CannotListenError: If one cannot be bound.
        """
        MultiService.privilegedStartService(self)
        self.admin.listen()
        self.secrets.replace()
        self.secrets.start()
        identified: Deferred[Any] = succeed(None)
        if self.identity is not None:
            self.identity.start()
            identified = self.identity.wait()
        clusters, listeners = self._next
        # Who tells the endpoints of some is reached by way of the others.
        primary = gatherResults([cluster.warmed for cluster in clusters if cluster.kind != "EDS"])
        warming = self.clusters.warm(clusters)
        self.clusters.replace(clusters)
        # A control plane may want to see a certificate.
        identified = gatherResults([identified, self._secretStreams.start()])
        if warming.called:
            self.listeners.replace(self._ready(listeners))
            self._hasListeners = True
            identified.addCallback(lambda _: self._discover())
            return
        primary.addCallback(lambda _: identified).addCallback(lambda _: self._discover())
        warming.addCallback(lambda _: self._startListeners(listeners))

    def _discover(self) -> None:
        self._startDiscovery()
        if self._hasListeners:
            self._begin()

    def _startListeners(self, listeners: list[Listener]) -> None:
        if self.state != "INITIALIZING" or self._newest is not self.bootstrap:
            self._giveUp((), listeners)
            return
        try:
            self.listeners.replace(self._ready(listeners))
        except Exception as error:
            self.failed(str(error))
            return
        self._hasListeners = True
        self._begin()

    def _begin(self, isLate: bool = False) -> None:
        """
        The proxy is there, unless it still waits for the first words of those that it is configured by.
        """
        if self.state != "INITIALIZING" or self.discovery is None:
            return
        if not isLate:
            isWarming = self._newest is not self._dynamic and self._newest is not self.bootstrap
            if isWarming or not self.discovery.isComplete:
                return
        self.discovery.stopWaiting()
        self.state = "LIVE"
        self.stats.initializationTime.record(int((self.reactor.seconds() - self.started) * 1000))

    def failed(self, why: str) -> None:
        """
        What the proxy cannot live with happened after its start.
        """
        self.log.critical("{why}", why=why)
        self.exitStatus = 1
        self.reactor.stop()

    exitStatus = 0
    _hasListeners = False

    def failHealthCheck(self, failed: bool) -> None:
        """
        Say that this proxy is ill, and let connections go elsewhere with their next response; or that it is well again.
        """
        self.failedHealthCheck = failed
        self.listeners.closeGently(failed or self._drainingListeners, isIll=not self._drainingListeners)

    def drainListeners(self, inboundOnly: bool = False, graceful: bool = False, skipExit: bool = False) -> None:
        """
        Stop to listen, on listeners for inbound traffic only or on all.

        @param graceful: Let connections close with their next response for the drain time, and stop to listen then.
        @param skipExit: Let connections close likewise, and never stop to listen.
        """
        if not graceful and not skipExit:
            self.listeners.stopAccepting(inboundOnly)
            return
        self._drainingListeners = not inboundOnly
        self.listeners.closeGently(True, inboundOnly)
        if not skipExit:
            self.reactor.callLater(self.options.drainTime, self.listeners.stopAccepting, inboundOnly)

    def quit(self) -> None:
        """
        End the process, as a signal would.
        """
        self.reactor.callLater(0, self.reactor.stop)

    def stopService(self) -> Deferred[Any]:
        """
        Accept no more, let what is under way end, but no longer than C{drainTime}.
        """
        self.state = "DRAINING"
        if self.discovery is not None:
            # Who is about to end takes nothing new: it leaves the control plane, rather than refuse what is sent.
            self._left = self.discovery.stop()
        self.listeners.stopAccepting()
        self.listeners.drain()
        drained: Deferred[None] = Deferred()
        self._drained = drained
        self._drainDeadline = self.reactor.seconds() + self.options.drainTime
        self._lookIfDrained()
        return drained.addCallback(lambda _: self._stopped())

    def _lookIfDrained(self) -> None:
        self._drainCall = None
        if not self.listeners.connections or self.reactor.seconds() >= self._drainDeadline:
            assert self._drained is not None
            self.listeners.abort()
            # The connections that end by it have lines in the access log.
            self.reactor.callLater(0, self._drained.callback, None)
        else:
            self._drainCall = self.reactor.callLater(0.05, self._lookIfDrained)

    def _stopped(self) -> Deferred[Any]:
        for sink in self._sinks:
            sink.close()
        self._secretStreams.stop()
        self._routeWaits.stop()
        if self.identity is not None:
            self.identity.stop()
        self.admin.stop()
        self.clusters.stop()
        self.listeners.stop()
        self.secrets.stop()
        stopping: Deferred[Any] = self.files.close()
        stopping.addCallback(lambda _: self._left)
        return stopping.addCallback(lambda _: MultiService.stopService(self))


def _partsOf(section: Section, dynamic: DynamicResources) -> tuple[bytes, ...]:
    """
    What a listener is made of: its message, and the routes that it takes by RDS.
    """
    message: bytes = section.message.SerializeToString(deterministic=True)
    return (message, *(dynamic.routes.get(key, b"") for key in sorted(routeSources(message))))


def explainRequest(options: ProxyOptions, reactor: Any, network: INetwork, question: Question) -> Answer:
    """
    Tell what would become of a request under a configuration that nobody serves.

    @raise ConfigErrors: If it could not be served.
    """
    server = ProxyServer(options, reactor, network)
    clusters, listeners = server._next
    byName = {cluster.name: cluster for cluster in clusters}
    return explain(question, listeners, byName, server.context.runtime)


def validate(options: ProxyOptions, reactor: Any, network: INetwork) -> list[str]:
    """
    See whether a configuration could be served.

    @return: Warnings.

    @raise ConfigErrors: If it could not.
    """
    server = ProxyServer(options, reactor, network)
    report: Report = server.bootstrap.report
    return [str(warning) for warning in report.warnings]
