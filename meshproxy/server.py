# -*- test-case-name: tests.test_server -*-
"""
The one composition root: from a bootstrap to a running proxy, and from a new bootstrap to the same proxy changed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.application.internet import TimerService
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from meshproxy.accesslog.files import LogFiles, inReactorsThreads
from meshproxy.accesslog.logs import AccessLogContext
from meshproxy.admin.serverstats import ServerStats
from meshproxy.admin.service import AdminServer
from meshproxy.config import Section
from meshproxy.config.load import readBootstrap
from meshproxy.config.registry import FilterRegistry, ReloadFailed
from meshproxy.config.supported import addResolver
from meshproxy.configuration import ServedConfiguration
from meshproxy.errors import MeshProxyError
from meshproxy.http.calls import UpstreamCalls
from meshproxy.http.clusteroptions import compileClusterOptions
from meshproxy.http.context import AwaitedKey, ProxyContext
from meshproxy.identity.settings import compileIdentity
from meshproxy.identity.workload import WorkloadIdentity, intoStore
from meshproxy.interfaces import INetwork
from meshproxy.listener.listeners import Listeners
from meshproxy.net.watchdog import Watchdog
from meshproxy.reload import INTERVAL, FilesWatch, refuseElsewhere
from meshproxy.runtime import Runtime
from meshproxy.secrets.store import SecretStore
from meshproxy.stats import Exposition, Store
from meshproxy.stats.settings import compileStatsSettings
from meshproxy.upstream.balancers.zones import LocalZone
from meshproxy.upstream.clusters import Clusters
from meshproxy.upstream.endpoint import Locality
from meshproxy.upstream.healthchecks.checker import CheckContext
from meshproxy.upstream.nameservers import AskingNetwork, compileNameServers
from meshproxy.upstream.ondemand import OnDemandHosts, OnDemandRoutes
from meshproxy.upstream.outliers import openOutlierLog
from meshproxy.upstream.statssinks import compileStatsSinks
from meshproxy.xds.discovery import Discovery, Taker
from meshproxy.xds.dynamic import DynamicResources
from meshproxy.xds.secretstreams import SecretStreams
from meshproxy.xds.settings import compileDiscovery, nodeOf

__all__ = ["ProxyOptions", "ProxyServer"]


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
    @ivar configuration: What is served.
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
        bootstrap = self._load()
        with bootstrap.report.despite():
            stats = compileStatsSettings(bootstrap.child("stats_config"))
            store = Store(stats.accepts, stats.boundaries)
            runtime = Runtime(chance, store.scope())
            secrets = self.secrets = SecretStore(store, reactor)
            servers = compileNameServers(bootstrap)
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
                AccessLogContext(files, runtime.number, secrets.reader),
                secrets,
                isFailed=lambda: self.failedHealthCheck,
            )
            self.context.hosts, self.context.scopeRoutes = OnDemandHosts(reactor), OnDemandRoutes(reactor)
            clusters.compileOptions = lambda section, scope: compileClusterOptions(section, scope, self.context)
            self.files = files
            self.clusters = clusters
            self.listeners = Listeners(self.context, options.drainTime)
            self.stats = ServerStats(store, bootstrap.wrapped("stats_server_version_override", None))
            self._identify(bootstrap)
            clusters.zone = self._localZone(bootstrap)
            clusters.checks = CheckContext(runtime, files, openOutlierLog(bootstrap, files))
            runtime.update(bootstrap.child("layered_runtime"), self.context.nodeCluster)
            self.discovery: Discovery | None = None
            self._discoverySettings = compileDiscovery(bootstrap)
            stream = self._discoverySettings.stream
            secrets.hasStream = clusters.assignments.hasSource = stream is not None
            self.context.hosts.isDelta = stream is not None and stream.source.isDelta
            self._node = nodeOf(bootstrap, options.serviceNode, options.serviceCluster, options.serviceZone)
            self._secretStreams = secrets.streams = SecretStreams(self.context, self._node)
            self.identity = self._makeIdentity(bootstrap, store)
            self.configuration = ServedConfiguration(
                bootstrap, self.context, self.listeners, self._secretStreams, self._begin, self._late
            )
            self._sinks = compileStatsSinks(
                bootstrap.children("stats_sinks"),
                store,
                stats.extractor,
                network.datagrams,
                clusters.byName,
                self.context.clusterNames,
            )
            if options.xdsCopyPath is not None and not self.context.nodeId:
                bootstrap.refuse("--xds-copy-path needs an id, whose copy it is: node.id or --service-node", "node")
            self.admin = AdminServer(self, bootstrap.child("admin"), Exposition(store, stats.extractor))
        bootstrap.report.raiseIfAny()
        self._drained: Deferred[None] | None = None
        # Fires when nothing of the discovery is under way any more.
        self._left: Deferred[None] = succeed(None)
        self._drainCall: IDelayedCall | None = None
        self._drainingListeners = False
        self.filterFiles = FilesWatch(registry.loadedFiles, reactor)
        Watchdog(reactor, store.scope("main_thread."), store.scope("server.main_thread.")).setServiceParent(self)
        self._flushesOnAdmin: bool = bootstrap.get("stats_flush_on_admin")
        if not self._flushesOnAdmin:
            self._every(bootstrap.seconds("stats_flush_interval", 5.0) or 5.0, self.flushStats)
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

    @property
    def bootstrap(self) -> Section:
        """
        The bootstrap that is served.
        """
        return self.configuration.bootstrap

    def _load(self) -> Section:
        options = self.options
        return readBootstrap(options.configPath, options.configText, options.allowUnknown)

    def _identify(self, bootstrap: Section) -> None:
        node = bootstrap.childOrEmpty("node")
        self.context.nodeId = self.options.serviceNode or node.get("id")
        self.context.nodeCluster = self.options.serviceCluster or node.get("cluster")

    def _localZone(self, bootstrap: Section) -> LocalZone | None:
        """
        Where this proxy runs, and the cluster of its likes, if there is one.
        """
        section = bootstrap.childOrEmpty("cluster_manager")
        name: str = section.get("local_cluster_name")
        if not name:
            return None
        static = bootstrap.childOrEmpty("static_resources").children("clusters")
        if all(cluster.get("name") != name for cluster in static):
            # As in Envoy, it is not one of those that may come and go.
            section.refuse(f"local cluster {name!r} must be defined", "local_cluster_name")
        locality = bootstrap.childOrEmpty("node").childOrEmpty("locality")
        zone = self.options.serviceZone or locality.get("zone")
        place = Locality(locality.get("region"), zone, locality.get("sub_zone"))
        return LocalZone(name, place, self.context.runtime.number)

    def _makeIdentity(self, bootstrap: Section, store: Store) -> WorkloadIdentity | None:
        settings = compileIdentity(bootstrap)
        if settings is None:
            return None
        context, scope, hand = self.context, store.scope("identity."), intoStore(self.secrets)
        if bootstrap.report.errors:
            return None
        return WorkloadIdentity(settings, context.network, self.reactor, context.random, scope, hand)

    # Configuration from elsewhere

    def _startDiscovery(self) -> None:
        """
        Begin to ask the control plane, if there is one, and to look at the files that configuration comes from.
        """
        if self.discovery is None and self.state != "DRAINING":
            take = Taker(self.configuration.offer, self._begin)
            folder = self.options.xdsCopyPath
            self.discovery = Discovery(self._discoverySettings, self.context, take, self._node, folder)
            self.discovery.follow(self.bootstrap)
            self.discovery.start()

    def _late(self, key: AwaitedKey) -> DynamicResources | None:
        if self.discovery is None:
            return None
        self.discovery.late(key)
        return self.discovery.resources

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
            taken = self.configuration.take(bootstrap)
        except MeshProxyError as error:
            self._rejected(error)
            return succeed(False)
        self.tellWarnings(bootstrap)
        return taken.addCallbacks(lambda _: self._reloaded(), lambda failure: self._notTaken(failure.value))

    def _reloaded(self) -> bool:
        if self.discovery is None:
            self._startDiscovery()
        else:
            self.discovery.follow(self.bootstrap)
            self.discovery.wantAll()
            self.configuration.catchUp(self.discovery.resources)
        self._begin()
        self.loaded = self.reactor.seconds()
        self.context.runtime.update(self.bootstrap.child("layered_runtime"), self.context.nodeCluster)
        self.stats.reloadSuccess.value += 1
        self.log.info("the configuration was reloaded")
        return True

    def _notTaken(self, error: Exception) -> bool:
        if self.discovery is not None:
            self.configuration.catchUp(self.discovery.resources)
        return self._rejected(error)

    def _rejected(self, error: Exception) -> bool:
        self.stats.reloadRejected.value += 1
        self.log.error("the new configuration is refused, the running one stays:\n{error}", error=str(error))
        return False

    def tellWarnings(self, bootstrap: Section | None = None) -> None:
        """
        Log what a configuration is warned of.

        @param bootstrap: By default the one that is served.
        """
        for warning in (bootstrap or self.bootstrap).report.warnings:
            self.log.warn("{told}", told=warning)

    def reloadFilters(self, names: Sequence[str]) -> None:
        """
        Load the modules of filters again, and let new streams run on them.

        @param names: Names of filters.

        @raise MeshProxyError: If a module does not load, or refuses the configuration. Then all stays as it was.
        """
        if self.state != "LIVE":
            raise ReloadFailed(f"the proxy is {self.state}, not LIVE")
        self.configuration.reloadFilters(names)
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
        primary, warming = self.configuration.startClusters()
        asked = self._secretStreams.start()
        # A control plane may want to see a certificate.
        identified = gatherResults([identified, asked])
        # As in Envoy, who connects waits for the secrets of a listener, as long as these may take.
        warming = gatherResults([warming, asked])
        if warming.called:
            self.configuration.startListeners()
            identified.addCallback(lambda _: self._discover())
            return
        primary.addCallback(lambda _: identified).addCallback(lambda _: self._discover())
        warming.addCallback(lambda _: self._startListeners())

    def _discover(self) -> None:
        self._startDiscovery()
        if self.configuration.hasListeners:
            self._begin()

    def _startListeners(self) -> None:
        try:
            started = self.configuration.startListeners()
        except Exception as error:
            self.failed(str(error))
            return
        if started:
            self._begin()

    def _begin(self, isLate: bool = False) -> None:
        """
        The proxy is there, unless it still waits for the first words of those that it is configured by.
        """
        if self.state != "INITIALIZING" or self.discovery is None:
            return
        if not isLate and (self.configuration.isWarming or not self.discovery.isComplete):
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

    def failHealthCheck(self, failed: bool) -> None:
        """
        Say that this proxy is ill, and let connections go elsewhere with their next response; or that it is well again.
        """
        self.failedHealthCheck = failed
        self.listeners.closeGently(failed or self._drainingListeners, isIll=not self._drainingListeners)

    def drainListeners(self, inboundOnly: bool = False, graceful: bool = False, skipExit: bool = False) -> None:
        """
        Stop to listen, on listeners for inbound traffic only or on all; each of their connections closes with its next
        response, as those of a listener that is gone.

        @param graceful: Stop to listen only when the drain time is over.
        @param skipExit: Never stop to listen.
        """
        if not graceful and not skipExit:
            self.listeners.stopAccepting(inboundOnly)
        self._drainingListeners = not inboundOnly
        self.listeners.closeGently(True, inboundOnly)
        if graceful and not skipExit:
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
        self.configuration.end()
        if self.discovery is not None:
            # Who is about to end takes nothing new: it leaves the control plane, rather than refuse what is sent.
            self._left = self.discovery.stop()
        self.listeners.stopAccepting()
        self.listeners.drain()
        drained: Deferred[None] = Deferred()
        self._drained = drained
        self._drainDeadline = self.reactor.seconds() + self.options.drainTime
        if self.listeners.connections:
            self.log.info(
                "connections are under way: {count}; they have {seconds:g} s to end, a second signal ends them at once",
                count=self.listeners.connections,
                seconds=self.options.drainTime,
            )
        self._lookIfDrained()
        return drained.addCallback(lambda _: self._stopped())

    def _lookIfDrained(self) -> None:
        self._drainCall = None
        if not self.listeners.connections or self.reactor.seconds() >= self._drainDeadline:
            assert self._drained is not None
            if self.listeners.connections:
                self.log.warn("connections that did not end in time: {count}", count=self.listeners.connections)
            self.listeners.abort()
            # The connections that end by it have lines in the access log.
            self.reactor.callLater(0, self._drained.callback, None)
        else:
            self._drainCall = self.reactor.callLater(0.05, self._lookIfDrained)

    def _stopped(self) -> Deferred[Any]:
        for sink in self._sinks:
            sink.close()
        self._secretStreams.stop()
        self.configuration.stop()
        for demanded in (self.context.hosts, self.context.scopeRoutes):
            if demanded is not None:
                demanded.stop()
        if self.identity is not None:
            self.identity.stop()
        self.admin.stop()
        self.clusters.stop()
        self.listeners.stop()
        self.secrets.stop()
        stopping: Deferred[Any] = self.files.close()
        stopping.addCallback(lambda _: self._left)
        return stopping.addCallback(lambda _: MultiService.stopService(self))
