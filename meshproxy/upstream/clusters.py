# -*- test-case-name: tests.upstream.test_clusters -*-
"""
All clusters, by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime

from meshproxy.config import Report, Section
from meshproxy.interfaces import INetwork
from meshproxy.secrets.store import SecretStore
from meshproxy.stats.store import Scope, Store
from meshproxy.upstream.assignments import Assignments
from meshproxy.upstream.balancers.zones import LocalZone
from meshproxy.upstream.cluster import Cluster
from meshproxy.upstream.dnscache import DNSCaches
from meshproxy.upstream.healthchecks.checker import CheckContext
from meshproxy.upstream.ondemand import OnDemandClusters

__all__ = ["Clusters"]


class Clusters:
    """
    The clusters of a proxy.

    @ivar byName: Those that serve. The router looks names up here on each request.
    @ivar assignments: What C{EDS} clusters want, and get.
    @ivar onDemand: Those that are asked for when somebody needs them.
    @ivar dnsCaches: Where hosts are found that requests ask for.
    @ivar warming: The names of those that have not found their endpoints yet.
    @ivar compileOptions: Makes of a C{Cluster} message what it says of requests, for whoever sends them; L{None} where
        it says nothing. Takes the cluster's scope, too.
    @ivar zone: Where this proxy runs, if a cluster tells of its likes. It is set before any cluster is made.
    @ivar checks: What checks of the health of endpoints need; likewise.
    """

    zone: LocalZone | None = None
    checks: CheckContext | None = None

    def __init__(
        self,
        store: Store,
        network: INetwork,
        clock: IReactorTime,
        random: Callable[[], float],
        secrets: SecretStore | None = None,
    ) -> None:
        """
        @param secrets: Where TLS contexts find what they name; by default there is nothing to find.
        """
        # The same dictionary for good, since routers hold it.
        self.byName: dict[str, Cluster] = {}
        self.warming: list[str] = []
        # Those that warm and may serve for whatever names them alike, by name.
        self._common: dict[str, Cluster] = {}
        self._countsBytes = self._measuresHeads = False
        self._store = store
        self._network = network
        self._clock = clock
        self._random = random
        self.secrets = SecretStore(store, clock) if secrets is None else secrets
        self.assignments = Assignments(clock)
        self.dnsCaches = DNSCaches(store, network, clock, random)
        self.onDemand = OnDemandClusters(store, clock, self.byName)
        self.compileOptions: Callable[[Section, Scope], object] = _saysNothing
        scope = store.scope("cluster_manager.")
        self._added = scope.counter("cluster_added")
        self._modified = scope.counter("cluster_modified")
        self._removed = scope.counter("cluster_removed")
        self._updated = scope.counter("cluster_updated")
        self._active = scope.gauge("active_clusters")
        self._warming = scope.gauge("warming_clusters")

    def __iter__(self) -> Iterator[Cluster]:
        return iter(self.byName.values())

    def compile(self, sections: Sequence[Section], isCommon: bool = False) -> list[Cluster]:
        """
        Make clusters of C{Cluster} messages, nothing begun. One whose configuration did not change is the one that
        serves already, or, among those that are in common, the one that warms already: else what takes its time would
        begin anew with each change of something else.

        Faults go to the sections' report; whoever finds one there forgets what this returned.

        @param isCommon: Whether what clusters name stands for the same as the last time.
        """
        clusters = []
        seen: set[str] = set()
        if not isCommon:
            self._common = {}
        for section in sections:
            name = section.get("name")
            if name in seen:
                section.refuse(f"there are two clusters of the name {name!r}", "name")
            seen.add(name)
            fingerprint = section.message.SerializeToString(deterministic=True)
            current = self.byName.get(name)
            if current is None or current.fingerprint != fingerprint:
                current = self._common.get(name)
            if current is not None and current.fingerprint == fingerprint:
                current.holders += 1
                clusters.append(current)
            else:
                parts = (
                    self._store,
                    self._network,
                    self._clock,
                    self._random,
                    self.secrets,
                    self.assignments,
                    self.zone,
                    self.checks,
                    self.dnsCaches,
                )
                with section.report.despite():
                    clusters.append(Cluster(section, *parts))
                    clusters[-1].heedOptions(self.compileOptions(section, clusters[-1].scope))
                    if self._countsBytes:
                        clusters[-1].countBytes(self._measuresHeads)
        return clusters

    def countBytes(self, measures: bool = False) -> None:
        """
        Let upstream connections count the bytes of streams: from now on, for good, in all clusters.

        @param measures: Whether heads are measured as well.
        """
        self._countsBytes = True
        self._measuresHeads = self._measuresHeads or measures
        for cluster in self:
            cluster.countBytes(self._measuresHeads)

    def compileOptionsAgain(self, report: Report) -> Callable[[], None]:
        """
        Make again what clusters say of requests, now that the code of filters is another.

        @param report: Where faults go.

        @return: Lets new requests heed it.
        """
        made = [
            (cluster, self.compileOptions(Section(held.message, held.path, report, held.places), cluster.scope))
            for cluster in self
            if cluster.options is not None and (held := cluster.section)
        ]

        def heed() -> None:
            for cluster, options in made:
                cluster.heedOptions(options)

        return heed

    def warm(self, clusters: Sequence[Cluster], isCommon: bool = False) -> Deferred[list[Cluster]]:
        """
        Let new clusters find their endpoints.

        @param isCommon: Whether others may have them in common, see L{compile}.

        @return: Fires when all have, or were given up by L{forget}.
        """
        warming = [cluster for cluster in clusters if self.byName.get(cluster.name) is not cluster]
        fresh = [cluster for cluster in warming if self._common.get(cluster.name) is not cluster]
        self._warming.value += len(fresh)
        self.warming += [cluster.name for cluster in fresh]
        if isCommon:
            self._common.update((cluster.name, cluster) for cluster in fresh)

        def cbWarmed(cluster: Cluster) -> Cluster:
            self._warming.value -= 1
            self.warming.remove(cluster.name)
            return cluster

        for cluster in fresh:
            cluster.warmed.addCallback(cbWarmed)
            cluster.start()
        return gatherResults([cluster.warmed for cluster in warming])

    def forget(self, clusters: Sequence[Cluster]) -> None:
        """
        Give up clusters that were compiled and will not serve; those that serve already are left alone, and those that
        something else still waits for.
        """
        for cluster in clusters:
            cluster.holders -= 1
            if self.byName.get(cluster.name) is not cluster and cluster.holders <= 0:
                if self._common.get(cluster.name) is cluster:
                    del self._common[cluster.name]
                cluster.drain()

    def replace(self, clusters: Sequence[Cluster]) -> None:
        """
        Serve these from now on, and drain those that are not among them.
        """
        old = self.byName
        new = {cluster.name: cluster for cluster in clusters}
        for name, cluster in new.items():
            if name not in old:
                self._added.value += 1
            elif old[name] is not cluster:
                self._modified.value += 1
            cluster.countUpdates = self._updated
            if self._common.get(name) is cluster:
                del self._common[name]
        if self._countsBytes:
            for cluster in clusters:
                cluster.countBytes(self._measuresHeads)
        gone = [cluster for name, cluster in old.items() if new.get(name) is not cluster]
        self._removed.value += sum(cluster.name not in new for cluster in gone)
        old.clear()
        old.update(new)
        if self.zone is not None and self.zone.name in new:
            local = new[self.zone.name]
            local.refreshed = self.zone.membersChanged
            self.zone.membersChanged(local.endpoints)
        self._active.value = len(new)
        for cluster in gone:
            cluster.drain()
        self.onDemand.served()

    def stop(self) -> None:
        """
        Drain them all.
        """
        self.onDemand.stop()
        self.dnsCaches.stop()
        self.replace(())


def _saysNothing(section: Section, scope: Scope) -> None:
    """
    Nobody sends requests.
    """
