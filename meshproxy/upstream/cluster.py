# -*- test-case-name: tests.upstream.test_cluster -*-
"""
A named set of endpoints, and everything that is kept for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from meshproxy.accesslog.streaminfo import ConnectionInfo
from meshproxy.codec.http2 import Http2Counters
from meshproxy.config import Section
from meshproxy.headers import ResponseHeaders
from meshproxy.interfaces import INetwork
from meshproxy.net.deadlines import Deadlines
from meshproxy.net.idle import IdleWatch
from meshproxy.net.proxyheader import toldOf
from meshproxy.runtime import Runtime
from meshproxy.secrets.store import SecretStore
from meshproxy.stats.metrics import Counter
from meshproxy.stats.store import Scope, Store, statName
from meshproxy.upstream.assignmentpolicy import compileAssignmentPolicy
from meshproxy.upstream.assignments import Assignments
from meshproxy.upstream.autopool import AutoPool
from meshproxy.upstream.balancers.base import IChoice
from meshproxy.upstream.balancers.loadbalancer import IEndpointChooser
from meshproxy.upstream.balancers.policies import compileChooser
from meshproxy.upstream.balancers.subsets import Subsets
from meshproxy.upstream.balancers.zones import LocalZone
from meshproxy.upstream.breakers import NO_LIMIT, Breaker, Breakers
from meshproxy.upstream.discovery import compileAssigned, compileDiscovery, discoveryKind
from meshproxy.upstream.dnscache import DNSCaches
from meshproxy.upstream.endpoint import Endpoint
from meshproxy.upstream.forwardproxy import DYNAMIC_FORWARD_PROXY, ForwardedHosts, protocolOptions
from meshproxy.upstream.fullpool import FULL_POOL
from meshproxy.upstream.healthchecks.checker import CheckContext, compileHealthChecker
from meshproxy.upstream.healthchecks.passive import unwantedIn, watchResponsesOf
from meshproxy.upstream.healthflags import HealthFlag
from meshproxy.upstream.http1connection import HTTP1UpstreamConnection
from meshproxy.upstream.http1pool import HTTP1Pool
from meshproxy.upstream.http2options import bindHttp2Counters
from meshproxy.upstream.http2pool import HTTP2Pool
from meshproxy.upstream.named import Discovery
from meshproxy.upstream.originaldst import OriginalDestinations
from meshproxy.upstream.outliers import compileOutliers
from meshproxy.upstream.plain import metadataOf
from meshproxy.upstream.preconnect import ChoiceAhead, compilePreconnects, isRandom
from meshproxy.upstream.settings import UpstreamProtocol, compileSettings, httpOptions
from meshproxy.upstream.stats import ClusterStats
from meshproxy.upstream.tracked import compileTracked
from meshproxy.upstream.transports import NO_WISH, TLSWish, UpstreamTransports
from meshproxy.upstream.wirecount import countBytesOf

__all__ = ["Cluster"]

_FAILED_CHECK = int(HealthFlag.FAILED_ACTIVE_HC)
_LEAVING = int(HealthFlag.PENDING_DYNAMIC_REMOVAL)

# As in Envoy, the greatest weight is told of endpoints that come and go.
_WEIGHED = ("STRICT_DNS", "EDS")


class Cluster:
    """
    One cluster. A changed configuration makes a new one; the old one drains.

    @ivar name: As routes name it.
    @ivar statName: As logs and stats name it: C{alt_stat_name}, or the name.
    @ivar endpoints: All of them, healthy or not.
    @ivar fingerprint: The bytes of its configuration: equal ones are the same cluster.
    @ivar chooseEndpoint: Gives the endpoint for the next request or connection that has nothing to say about it, or
        L{None} where there is none.
    @ivar hasSubsets: Whether any request may have something to say about it.
    @ivar drops: The share of requests that is answered in its place (C{drop_overloads}).
    @ivar isWatched: Whether whoever sends it requests is to look at that, or at what it counts of tries.
    @ivar isParticular: Whether there is something to be heeded with every request.
    @ivar parts: Whether each downstream connection has connections of its own
        (C{connection_pool_per_downstream_connection}).
    @ivar isPersonal: Whether it matters on whose behalf a connection is.
    @ivar carriesCalls: Whether nothing is, not even by its connections.
    @ivar outliers: Looks for endpoints that fail, if anybody does.
    @ivar preconnects: How many connections it makes before they are needed.
    @ivar tracked: What it counts besides, where it is asked to.
    @ivar options: What it says of all requests that go to it, as whoever sends them made it; L{None} for nothing.
    @ivar checker: Checks the health of its endpoints; L{None} where nobody does.
    @ivar lasting: TCP connections by endpoint, where they end when a check finds it ill
        (C{close_connections_on_host_health_failure}); else L{None}.
    @ivar warmed: Fires with the cluster when its endpoints were found for the first time, or were not, and each of them
        was checked.
    @ivar updated: When it was made, in the clock's seconds.
    @ivar addedViaAPI: Whether a control plane sent it.
    @ivar versionInfo: The version of the control plane's answer.
    @ivar holders: How many configurations have it that serve or are to serve.
    @ivar countUpdates: Counts the times that its endpoints changed.
    @ivar refreshed: Is told all endpoints after any of them changed.
    """

    addedViaAPI = False
    versionInfo = ""
    holders = 1
    countUpdates: Counter | None = None
    refreshed: Callable[[tuple[Endpoint, ...]], object] | None = None
    options: Any = None

    def __init__(
        self,
        section: Section,
        store: Store,
        network: INetwork,
        clock: IReactorTime,
        random: Callable[[], float],
        secrets: SecretStore | None = None,
        assignments: Assignments | None = None,
        zone: LocalZone | None = None,
        checks: CheckContext | None = None,
        caches: DNSCaches | None = None,
    ) -> None:
        """
        @param section: A C{Cluster} message.
        @param random: From 0 up to 1.
        @param secrets: Where TLS contexts find what they name; by default there is nothing to find.
        @param assignments: Where C{EDS} clusters find their endpoints; by default nowhere.
        @param zone: Where this proxy runs, if there is a local cluster that tells of its likes.
        @param checks: What checks of health need; by default a runtime without values.
        @param caches: Where hosts are found that requests ask for; by default caches of its own.
        """
        self.name: str = section.get("name")
        self.statName: str = section.get("alt_stat_name") or self.name
        self.section = section
        held = section.child("metadata")
        self.metadata = None if held is None else metadataOf(held)
        self.fingerprint: bytes = section.message.SerializeToString(deterministic=True)
        self.kind: str = discoveryKind(section)
        self.settings = compileSettings(section)
        self.scope: Scope = store.scope(f"cluster.{statName(self.statName)}.")
        self.stats = ClusterStats(self.scope)
        self.tracked = compileTracked(section, self.scope)
        options = httpOptions(section)
        secrets = SecretStore(store, clock) if secrets is None else secrets
        if self.kind == DYNAMIC_FORWARD_PROXY:
            ofHTTP = protocolOptions(section, options)
        else:
            ofHTTP = (section if options is None else options).child("upstream_http_protocol_options")
        self.transports = UpstreamTransports(
            section,
            ofHTTP,
            secrets,
            self.scope,
            network,
            clock,
        )
        self.breakers = Breakers(self.scope, section.child("circuit_breakers"), clock.seconds)
        self.endpoints: tuple[Endpoint, ...] = ()
        self.warmed: Deferred[Cluster] = Deferred()
        self.network = network
        self.clock = clock
        self.updated = clock.seconds()
        # As in Envoy, the local cluster itself is not routed by zones.
        self._zone = None if zone is None or zone.name == self.name else zone
        self._chooser: IEndpointChooser
        self._discovery: Discovery
        if self.kind == "ORIGINAL_DST":
            self._chooser = self._discovery = OriginalDestinations(section, self.name, self.scope, clock)
        elif self.kind == DYNAMIC_FORWARD_PROXY:
            caches = DNSCaches(store, network, clock, random) if caches is None else caches
            self._chooser = self._discovery = ForwardedHosts(section, caches, self.transports.defaultPort)
        else:
            panics = self.stats.lbHealthyPanic
            self._chooser = compileChooser(
                section, random, self.scope, panics, clock.seconds, self._activeRequests, self._zone
            )
            parts = (section, network, clock, self.stats, random, assignments, secrets.files, self._compileAssigned)
            self._discovery = compileDiscovery(*parts)
        if checks is None:
            checks = CheckContext(Runtime())
        self.outliers = compileOutliers(
            section, self.scope, clock, random, checks.runtime, self.refresh, checks.outlierLog
        )
        self.preconnects = compilePreconnects(section)
        self.chooseEndpoint: Callable[[], Endpoint | None] = self._choice()
        self.hasSubsets = isinstance(self._chooser, (Subsets, OriginalDestinations, ForwardedHosts))
        # Whether connections are not for everybody's requests.
        self.parts: bool = section.get("connection_pool_per_downstream_connection")
        self.isPersonal = self.parts or self.transports.tellsClient
        self._policy = compileAssignmentPolicy(section.childOrEmpty("load_assignment").childOrEmpty("policy"))
        self._classify()
        self._idleWatch: IdleWatch[HTTP1UpstreamConnection] | None = None
        if self.settings.idleTimeout:
            self._idleWatch = IdleWatch(clock, self.settings.idleTimeout, _idleSince, self._idleTimedOut)
        self._durations: Deadlines[HTTP1UpstreamConnection] | None = None
        if self.settings.maxConnectionDuration:
            self._durations = Deadlines(clock, self.settings.maxConnectionDuration, self._tooOld)
        self._draining = self._countsBytes = self._measuresHeads = False
        self._random = random
        self._http2Counters: Http2Counters | None = None
        self._common = section.childOrEmpty("common_lb_config")
        self.lasting: dict[Endpoint, set[Any]] | None = None
        if section.get("close_connections_on_host_health_failure"):
            self.lasting = {}
        self._refreshCall: IDelayedCall | None = None
        self.checker = compileHealthChecker(
            section,
            checks,
            self.kind,
            self.settings,
            self.transports,
            self.stats,
            self.scope,
            clock,
            random,
            self.http2Counters,
        )
        if self.checker is not None:
            self.checker.settled = self._settled
            self.checker.changed = self._healthChanged
            if self.outliers is not None:
                self.checker.passed = self.outliers.checkPassed

    def heedOptions(self, options: object) -> None:
        """
        Let whoever sends requests heed C{options} with each of them; L{None} for nothing.
        """
        if options is not None:
            self.options = options
            self._classify()

    def _classify(self) -> None:
        """
        Find out what is to be heeded with requests.
        """
        self.drops = self._policy.drops
        self.isWatched = self.tracked.isOfTries or self.drops > 0
        self.isParticular = bool(
            self.hasSubsets
            or self.settings.maxStreamDuration
            or self.isWatched
            or self.preconnects.isEager
            or self.options is not None
        )
        self.carriesCalls = not (self.isParticular or self.transports.wishOf is not None or self.isPersonal)

    def _compileAssigned(self, section: Section) -> list[Endpoint]:
        """
        The endpoints of an assignment that came by C{EDS}, whose policy counts from now on.
        """
        endpoints = compileAssigned(section)
        if not section.report.errors:
            self._policy = policy = compileAssignmentPolicy(section.childOrEmpty("policy"))
            self._chooser.heed(policy.factor, policy.weighsHealth)
            self._classify()
        return endpoints

    def measure(self) -> None:
        """
        Bring up to date what is not counted as it happens.
        """
        self.breakers.measure()
        if self.tracked.perEndpoint is not None:
            self.tracked.perEndpoint.measure(self.endpoints)

    def _activeRequests(self) -> int:
        return self.stats.rqActive.value

    def start(self) -> None:
        """
        Begin to look for endpoints.
        """
        if self._zone is not None:
            self._zone.watchers[self._chooseAnew] = None
        if self.outliers is not None:
            self.outliers.start()
        self._discovery.start(self._found)

    def _found(self, endpoints: list[Endpoint]) -> None:
        # An endpoint that is found again stays the object that it was, with its connections and its figures.
        known = {endpoint.key: endpoint for endpoint in self.endpoints}
        kept = tuple(_update(known.pop(endpoint.key, endpoint), endpoint) for endpoint in endpoints)
        if self.checker is not None:
            staying = self.checker.staying(known.values(), kept)
            known = {key: endpoint for key, endpoint in known.items() if endpoint not in staying}
            kept += staying
        for new in set(kept).difference(self.endpoints):
            self.transports.found(new)
        for gone in known.values():
            for pool in gone.pools.values():
                pool.drain()
        if not known and len(kept) == len(self.endpoints):
            self.stats.updateNoRebuild.value += self.warmed.called
        else:
            # As in Envoy, once for each priority that changed.
            changed = [*known.values(), *set(kept).difference(self.endpoints)]
            priorities = len({endpoint.priority for endpoint in changed})
            self.stats.membershipChange.value += priorities
            if self.warmed.called and self.countUpdates is not None:
                self.countUpdates.value += priorities
            self._setChanged()
        self.endpoints = kept
        if self.checker is not None:
            self.checker.update(kept)
        if self.outliers is not None:
            self.outliers.watch(kept)
        self.refresh()
        if not self.warmed.called and (self.checker is None or self.checker.isSettled):
            self.warmed.callback(self)

    def _setChanged(self) -> None:
        """
        There are other endpoints than before; those that stay may have to begin with new connections.
        """
        if self._common.get("close_connections_on_host_set_change"):
            for endpoint in self.endpoints:
                _drop(endpoint)

    # What checks of health find out

    def _settled(self) -> None:
        if not self.warmed.called:
            if not self._draining:
                self.refresh()
            self.warmed.callback(self)

    def _healthChanged(self, endpoint: Endpoint) -> None:
        if endpoint.flags & _FAILED_CHECK:
            _drop(endpoint)
            if self.lasting is not None:
                for connection in list(self.lasting.get(endpoint, ())):
                    connection.abort()
            if endpoint.flags & _LEAVING and self.checker is not None:
                # Its discovery does not name it any more: it stayed because it was well.
                self.endpoints = tuple(each for each in self.endpoints if each is not endpoint)
                self.checker.forget(endpoint)
                if self.outliers is not None:
                    self.outliers.watch(self.endpoints)
                self.stats.membershipChange.value += 1
                self._setChanged()
        # Many may change in one turn, as when a cluster is checked for the first time.
        if self._refreshCall is None and not self._draining:
            self._refreshCall = self.clock.callLater(0, self._refreshLater)

    def _refreshLater(self) -> None:
        self._refreshCall = None
        self.refresh()

    def refresh(self) -> None:
        """
        Choose anew among the endpoints that may be chosen, after any of them changed.
        """
        self._chooseAnew()
        stats = self.stats
        stats.membershipTotal.value = len(self.endpoints)
        degraded = sum(endpoint.isDegraded for endpoint in self.endpoints)
        stats.membershipHealthy.value = sum(endpoint.healthy for endpoint in self.endpoints) - degraded
        stats.membershipDegraded.value = degraded
        stats.membershipExcluded.value = sum(endpoint.isExcluded for endpoint in self.endpoints)
        if self.kind in _WEIGHED:
            stats.maxHostWeight.value = max((endpoint.weight for endpoint in self.endpoints), default=0)
        if self.refreshed is not None:
            self.refreshed(self.endpoints)

    def _chooseAnew(self) -> None:
        self._chooser.update(self.endpoints)
        self.chooseEndpoint = self._choice()

    def _choice(self) -> Callable[[], Endpoint | None]:
        choose, ratio = self._chooser.choose, self.preconnects.predicted
        isPlain = self.settings.protocol is UpstreamProtocol.HTTP1
        return ChoiceAhead(self, choose, ratio).choose if ratio > 1.0 and isPlain and isRandom(self.section) else choose

    def chooseEndpointFor(self, choice: IChoice) -> Endpoint | None:
        """
        Give the endpoint for a request that has something to say about it.
        """
        return self._chooser.chooseFor(choice)

    def breaker(self, priority: str) -> Breaker:
        """
        The breakers for C{"DEFAULT"} or C{"HIGH"}.
        """
        return self.breakers.high if priority == "HIGH" else self.breakers.default

    def pool(
        self, endpoint: Endpoint, priority: str = "DEFAULT", wish: TLSWish = NO_WISH, wantsHTTP2: bool = False
    ) -> HTTP1Pool:
        """
        The connections to an endpoint for HTTP requests.

        @param wish: What is asked of them besides.
        @param wantsHTTP2: Whether the downstream speaks HTTP/2, where that decides (C{use_downstream_protocol_config}).
        """
        protocol, name = self.settings.protocol, priority
        if protocol is UpstreamProtocol.DOWNSTREAM:
            # Whoever looks for the priority alone does not find it.
            protocol = UpstreamProtocol.HTTP2 if wantsHTTP2 else UpstreamProtocol.HTTP1
            name += "2" if wantsHTTP2 else "1"
        breaker = self.breaker(priority)
        if breaker.mostPools != NO_LIMIT:
            # Nor who looks for a pool that may be one too many by now.
            name += "*"
        key = name if wish is NO_WISH or wish == NO_WISH else (name, wish)
        pool = endpoint.pools.get(key)
        if breaker.mostPools != NO_LIMIT and (pool is None or pool.isEmpty):
            if not self._hasRoom(breaker, endpoint):
                self.stats.cxPoolOverflow.value += 1
                return FULL_POOL  # type: ignore[return-value]  # all of a pool that is needed then
            if pool is not None:
                breaker.poolsOpen.value = int(self._poolsOf(breaker) + 1 >= breaker.mostPools)
        if pool is None:
            if isinstance(key, tuple) and len(endpoint.pools) >= _MOST_WISHES:
                _forgetEmpty(endpoint)
            pool = endpoint.pools[key] = self._makePool(endpoint, priority, wish, protocol)
            pool.draining = self._draining
            if breaker.mostPools != NO_LIMIT:
                pool.emptied = lambda: self._poolEmptied(breaker)
                breaker.poolsOpen.value = int(self._poolsOf(breaker) + 1 >= breaker.mostPools)
            if self._countsBytes:
                countBytesOf(pool, self._measuresHeads)
            self._watch(pool, endpoint)
        return pool

    def _watch(self, pool: HTTP1Pool, endpoint: Endpoint) -> None:
        """
        Look at the heads of responses, if anybody here wants to.
        """
        watchers: list[Callable[[ResponseHeaders], object]] = []
        if self.checker is not None:
            watchers.append(unwantedIn(partial(self.checker.failedPassively, endpoint)))
        if self.outliers is not None and self.outliers.isFailure is not None:
            watchers.append(partial(self.outliers.responded, endpoint))
        if len(watchers) == 1:
            watchResponsesOf(pool, watchers[0])
        elif watchers:
            watchResponsesOf(pool, lambda headers: [seen(headers) for seen in watchers])

    def _poolsOf(self, breaker: Breaker) -> int:
        """
        How many pools of a priority are in use.
        """
        return sum(pool.breaker is breaker and not pool.isEmpty for pool in self.pools())

    def _poolEmptied(self, breaker: Breaker) -> None:
        breaker.poolsOpen.value = int(self._poolsOf(breaker) >= breaker.mostPools)

    def _hasRoom(self, breaker: Breaker, endpoint: Endpoint) -> bool:
        """
        Whether there may be one more pool for an endpoint. As in Envoy, another one of that endpoint that is idle gives
        way.
        """
        if self._poolsOf(breaker) < breaker.mostPools:
            return True
        for pool in endpoint.pools.values():
            if pool.breaker is breaker and not pool.isEmpty and not pool.isBusy:
                for connection in list(pool.connections):
                    connection.close()
                return True
        return False

    def personal(self, wish: TLSWish, info: ConnectionInfo) -> TLSWish:
        """
        What a request asks of its connection, as one of a downstream connection.
        """
        if self.transports.tellsClient:
            wish = wish._replace(told=toldOf(info))
        return wish._replace(source=info.upstreamSource, downstream=info.id if self.parts else 0)

    def _makePool(self, endpoint: Endpoint, priority: str, wish: TLSWish, protocol: UpstreamProtocol) -> HTTP1Pool:
        settings = self.settings
        if wish.source is not None:
            settings = replace(settings, socketOptions=settings.socketOptions.withSource(wish.source))
        parts = (endpoint, settings, self.stats, self.breaker(priority))
        rest = (self.clock, self._idleWatch, self._durations)
        connector = self.transports.connector
        if protocol is UpstreamProtocol.HTTP1:
            made = HTTP1Pool(*parts, connector(endpoint, wish), *rest)
            made.preconnects = self.preconnects.perEndpoint
            return made
        counters = self.http2Counters()
        if protocol is UpstreamProtocol.HTTP2:
            alpn = connector(endpoint, wish, (b"h2",))
            return HTTP2Pool(*parts, alpn, *rest, counters=counters, random=self._random)
        alpn = connector(endpoint, wish, (b"h2", b"http/1.1"))
        return AutoPool(*parts, alpn, *rest, counters=counters, random=self._random)

    def http2Counters(self) -> Http2Counters:
        """
        What its codecs count of HTTP/2.
        """
        if self._http2Counters is None:
            self._http2Counters = bindHttp2Counters(self.scope.scope("http2."))
        return self._http2Counters

    def countBytes(self, measures: bool = False) -> None:
        """
        Let connections that are made from now on count the bytes of streams that want it.

        @param measures: Whether heads are measured as well.
        """
        self._countsBytes = True
        self._measuresHeads = measures
        for pool in self.pools():
            countBytesOf(pool, measures)
            if pool.seen is not None:
                watchResponsesOf(pool, pool.seen)

    def pools(self) -> Iterator[HTTP1Pool]:
        """
        All that there are.
        """
        for endpoint in self.endpoints:
            yield from endpoint.pools.values()

    def _idleTimedOut(self, connection: HTTP1UpstreamConnection) -> None:
        self.stats.cxIdleTimeout.value += 1
        connection.close()

    def _tooOld(self, connection: HTTP1UpstreamConnection) -> None:
        if connection.request is None:
            self.stats.cxMaxDurationReached.value += 1
            connection.close()
        else:
            connection.retire()

    def drain(self) -> None:
        """
        The cluster is replaced or removed: what is under way ends in peace, nothing is kept.
        """
        if self._draining:
            return
        self._draining = True
        self.refreshed = None
        if self._zone is not None:
            self._zone.watchers.pop(self._chooseAnew, None)
        self._discovery.stop()
        if self._refreshCall is not None:
            self._refreshCall.cancel()
            self._refreshCall = None
        if self.checker is not None:
            self.checker.stop()
        if self.outliers is not None:
            self.outliers.stop()
        self.transports.stop()
        for pool in self.pools():
            pool.drain()
        self.scope.close()
        if not self.warmed.called:
            self.warmed.callback(self)  # nobody waits for what will not come


# Requests may ask for names of their own: beyond so many pools, those without a connection are forgotten.
_MOST_WISHES = 64


def _forgetEmpty(endpoint: Endpoint) -> None:
    for key in [key for key, pool in endpoint.pools.items() if isinstance(key, tuple) and pool.isEmpty]:
        del endpoint.pools[key]


def _drop(endpoint: Endpoint) -> None:
    """
    Let what is under way end, and have whatever comes begin with new connections.
    """
    pools = list(endpoint.pools.values())
    endpoint.pools.clear()
    for pool in pools:
        pool.drain()


def _update(endpoint: Endpoint, found: Endpoint) -> Endpoint:
    endpoint.flags &= ~_LEAVING
    endpoint.checkedBy = found.checkedBy
    endpoint.weight = found.weight
    endpoint.healthStatus = found.healthStatus
    endpoint.judge()
    endpoint.locality = found.locality
    endpoint.localityWeight = found.localityWeight
    endpoint.metadata = found.metadata
    return endpoint


def _idleSince(connection: HTTP1UpstreamConnection) -> float | None:
    return connection.idleSince if connection.request is None else None
