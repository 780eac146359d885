# -*- test-case-name: tests.upstream.healthchecks.test_checker -*-
"""
The checks of a cluster: one session for each endpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol

from meshproxy.accesslog.streaminfo import ConnectionInfo, StreamInfo
from meshproxy.codec.http2 import Http2Counters
from meshproxy.config import Section
from meshproxy.interfaces import ICancellable
from meshproxy.net.address import Address
from meshproxy.net.deadlines import Deadlines
from meshproxy.runtime import Runtime
from meshproxy.stats import Scope, Store
from meshproxy.upstream.breakers import NO_LIMIT, Breaker
from meshproxy.upstream.endpoint import Endpoint
from meshproxy.upstream.forwardproxy import DYNAMIC_FORWARD_PROXY
from meshproxy.upstream.healthchecks.events import compileEventLog
from meshproxy.upstream.healthchecks.exchange import IProbe
from meshproxy.upstream.healthchecks.grpc import GRPCCheck, GRPCProbe, compileGRPCCheck
from meshproxy.upstream.healthchecks.http import HTTPCheck, HTTPProbe, compileHTTPCheck
from meshproxy.upstream.healthchecks.session import CheckRules, CheckSession, CheckStats, Transition
from meshproxy.upstream.healthchecks.settings import compileTimes
from meshproxy.upstream.healthchecks.tcp import TCPCheck, TCPProbe, compileTCPCheck
from meshproxy.upstream.healthflags import HealthFlag
from meshproxy.upstream.http1pool import HTTP1Pool
from meshproxy.upstream.http2pool import HTTP2Pool
from meshproxy.upstream.plain import plainStruct
from meshproxy.upstream.settings import ClusterSettings, UpstreamProtocol
from meshproxy.upstream.stats import ClusterStats
from meshproxy.upstream.transports import MATCH_METADATA, UpstreamTransports

if TYPE_CHECKING:
    from meshproxy.accesslog.files import LogFile, LogFiles

__all__ = ["CheckContext", "HealthChecker", "compileHealthChecker"]

# Seconds that checks wait for secrets, as in Envoy those do who ask for them.
_FETCH_TIMEOUT: Final = 15.0

# So much later than a check an attempt to connect for it would end: the check's own time comes first.
_LATER: Final = 1.0

_LOOPBACK: Final = Address("127.0.0.1", 0)


@dataclass(frozen=True, slots=True)
class CheckContext:
    """
    What checks of health, and whoever looks for outliers, need of the process.

    @ivar runtime: Has the keys C{health_check.*} and C{outlier_detection.*}.
    @ivar files: Where events are logged; L{None} for nowhere.
    @ivar outlierLog: Where it is logged who is left out; L{None} for nowhere.
    """

    runtime: Runtime
    files: LogFiles | None = None
    outlierLog: LogFile | None = None


def compileHealthChecker(
    section: Section,
    context: CheckContext,
    kind: str,
    settings: ClusterSettings,
    transports: UpstreamTransports,
    stats: ClusterStats,
    scope: Scope,
    clock: IReactorTime,
    random: Callable[[], float],
    http2Counters: Callable[[], Http2Counters],
) -> HealthChecker | None:
    """
    Read it from a C{Cluster} message.

    @param kind: How its endpoints are found.
    @param scope: The cluster's.
    @param random: From 0 up to 1.
    @param http2Counters: Gives the cluster's.

    @return: L{None} where nothing is checked.
    """
    checks = section.children("health_checks")
    if not checks:
        return None
    if len(checks) > 1:
        section.refuse("Multiple health checks not supported", "health_checks")
    check = checks[0]
    name: str = section.get("name")
    if kind in ("ORIGINAL_DST", DYNAMIC_FORWARD_PROXY):
        section.refuse(
            "endpoints that are found by requests and connections come and go with them, and are not checked",
            "health_checks",
        )
    asked: HTTPCheck | GRPCCheck | TCPCheck | None = None
    by = check.oneof("health_checker") or ""
    if by == "http_health_check":
        asked = compileHTTPCheck(check.childOrEmpty(by))
    elif by == "grpc_health_check":
        if settings.protocol is UpstreamProtocol.HTTP1:
            check.refuse(f"{name} cluster must support HTTP/2 for gRPC healthchecking", by)
        asked = compileGRPCCheck(check.childOrEmpty(by))
    elif by == "tcp_health_check":
        asked = compileTCPCheck(check.childOrEmpty(by))
    if asked is None or section.report.errors:
        return None
    log = compileEventLog(check, name, _TYPES[by], context.files, clock.seconds, kind == "LOGICAL_DNS")
    rules = CheckRules(
        compileTimes(check),
        CheckStats(scope),
        clock,
        random,
        context.runtime.number,
        partial(_hasTraffic, stats),
        log,
        check.get("always_log_health_check_failures"),
        check.get("always_log_health_check_success"),
    )
    tls = check.child("tls_options")
    alpn = () if tls is None else tuple(each.encode("utf-8") for each in tls.scalars("alpn_protocols"))
    criteria = check.child("transport_socket_match_criteria")
    probes = _Probes(
        name,
        asked,
        rules,
        context.runtime,
        settings,
        transports,
        alpn,
        None if criteria is None else {MATCH_METADATA: plainStruct(criteria.message)},
        http2Counters,
    )
    isDynamic = kind in ("STRICT_DNS", "EDS")
    waits: bool = isDynamic and section.childOrEmpty("common_lb_config").get("ignore_new_hosts_until_first_hc")
    stays: bool = isDynamic and not section.get("ignore_health_on_host_removal")
    # As in Envoy, a name's one endpoint passes for healthy until it fails.
    flags = 0 if kind == "LOGICAL_DNS" else _NEW
    return HealthChecker(rules, probes.make, flags | _PENDING if waits else flags, stays, transports)


_NEW: Final = int(HealthFlag.FAILED_ACTIVE_HC)
_PENDING: Final = int(HealthFlag.PENDING_ACTIVE_HC)
_LEAVING: Final = int(HealthFlag.PENDING_DYNAMIC_REMOVAL)
_ILL: Final = int(HealthFlag.FAILED_ACTIVE_HC | HealthFlag.FAILED_EDS_HEALTH)
# All that checks say.
_CHECKED: Final = int(
    HealthFlag.FAILED_ACTIVE_HC
    | HealthFlag.PENDING_ACTIVE_HC
    | HealthFlag.DEGRADED_ACTIVE_HC
    | HealthFlag.ACTIVE_HC_TIMEOUT
    | HealthFlag.EXCLUDED_VIA_IMMEDIATE_HC_FAIL
)

# By HealthCheckerType.
_TYPES: Final = {"http_health_check": "HTTP", "grpc_health_check": "GRPC", "tcp_health_check": "TCP"}


def _hasTraffic(stats: ClusterStats) -> bool:
    return stats.cxTotal.used or stats.cxTxBytesTotal.used or stats.cxRxBytesTotal.used


class _Probes:
    """
    Makes what asks endpoints.
    """

    def __init__(
        self,
        name: str,
        asked: HTTPCheck | GRPCCheck | TCPCheck,
        rules: CheckRules,
        runtime: Runtime,
        settings: ClusterSettings,
        transports: UpstreamTransports,
        alpn: tuple[bytes, ...],
        metadata: dict[str, dict[str, object]] | None,
        http2Counters: Callable[[], Http2Counters],
    ) -> None:
        """
        @param name: The cluster's.
        @param alpn: What connections offer in place of what the cluster says; nothing for that.
        @param metadata: What chooses their transport socket in place of the endpoint's own.
        """
        self._name = name
        self._asked = asked
        self._rules = rules
        self._runtime = runtime
        self._transports = transports
        self._alpn = alpn
        self._metadata = metadata
        self._http2Counters = http2Counters
        times = rules.times
        self._settings = replace(
            settings,
            connectTimeout=times.timeout + _LATER,
            idleTimeout=0.0,
            maxConnectionDuration=0.0,
            maxStreamDuration=0.0,
            maxRequestsPerConnection=0 if times.reusesConnection else 1,
        )
        # Figures that nobody sees: as in Envoy, checks are not counted with the cluster's requests.
        hidden = Store().scope()
        self._stats = ClusterStats(hidden)
        self._breaker = Breaker(hidden, NO_LIMIT, NO_LIMIT, NO_LIMIT, NO_LIMIT)

    def make(self, endpoint: Endpoint, session: CheckSession) -> IProbe:
        """
        Make one for an endpoint.
        """
        asked, rules = self._asked, self._rules
        # Stands for it in what is about connections.
        target = Endpoint(_addressOf(endpoint), endpoint.hostname, metadata=self._metadata or endpoint.metadata)
        if isinstance(asked, TCPCheck):
            return TCPProbe(asked, partial(self._dial, endpoint, target), session, rules.times.reusesConnection)
        isHTTP2 = isinstance(asked, GRPCCheck) or asked.isHTTP2
        pool = self._makePool(endpoint, target, isHTTP2)
        host = asked.authority if isinstance(asked, GRPCCheck) else asked.host
        own = "" if endpoint.checkedBy is None else endpoint.checkedBy.hostname
        authority = (own or host or self._name).encode("utf-8", "surrogateescape")
        scheme = b"http" if self._transports.of(target) is None else b"https"
        info = partial(_infoOf, endpoint)
        if isinstance(asked, GRPCCheck):
            return GRPCProbe(asked, pool, session, authority, scheme, info, rules.times.timeout)
        return HTTPProbe(
            asked, pool, session, authority, scheme, info, self._verifiesCluster, rules.stats.verifyCluster
        )

    def _verifiesCluster(self) -> bool:
        return self._runtime.hits(1.0, "health_check.verify_cluster")

    def _makePool(self, endpoint: Endpoint, target: Endpoint, isHTTP2: bool) -> HTTP1Pool:
        rules = self._rules
        connector = _Connector(self._transports.checkConnector(target, self._alpn), endpoint)
        parts = (target, self._settings, self._stats, self._breaker, connector, rules.clock, None)
        if isHTTP2:
            return HTTP2Pool(*parts, counters=self._http2Counters(), random=rules.random)
        return HTTP1Pool(*parts)

    def _dial(
        self, endpoint: Endpoint, target: Endpoint, protocol: Protocol, failed: Callable[[Exception], object]
    ) -> ICancellable:
        settings = self._settings
        connector = self._transports.checkConnector(target, self._alpn)
        return connector.connect(
            _addressOf(endpoint),
            protocol,
            failed,
            settings.connectTimeout,
            settings.bufferLimit,
            settings.socketOptions,
        )


class _Connector:
    """
    Connects to where an endpoint is to be checked, which may be another address than before (C{LOGICAL_DNS}).
    """

    def __init__(self, connector: Any, endpoint: Endpoint) -> None:
        self._connector = connector
        self._endpoint = endpoint

    def connect(self, address: Address, *rest: Any) -> ICancellable:
        """
        See L{meshproxy.interfaces.INetwork.connect}.
        """
        attempt: ICancellable = self._connector.connect(_addressOf(self._endpoint), *rest)
        return attempt


def _addressOf(endpoint: Endpoint) -> Address:
    """
    Where an endpoint is checked.
    """
    checked = endpoint.checkedBy
    return endpoint.address if checked is None else checked.addressOf(endpoint.address)


def _infoOf(endpoint: Endpoint) -> StreamInfo:
    """
    What headers that are added to a check may speak of.
    """
    connection = ConnectionInfo()
    connection.remoteAddress = connection.localAddress = _LOOPBACK
    info = StreamInfo()
    info.connection = connection
    info.upstreamHost = endpoint
    info.upstreamMetadata = endpoint.metadata
    return info


class HealthChecker:
    """
    Checks all endpoints of a cluster.

    @ivar isSettled: Whether each endpoint that was there first was checked once.
    @ivar settled: Is called when they were.
    @ivar changed: Is called when an endpoint is another than before; with the endpoint.
    @ivar passed: Is called when a check of an endpoint passed that has not failed.
    """

    passed: Callable[[Endpoint], object] | None = None

    settled: Callable[[], object]
    changed: Callable[[Endpoint], object]

    def __init__(
        self,
        rules: CheckRules,
        makeProbe: Callable[[Endpoint, CheckSession], IProbe],
        newFlags: int,
        staysHealthy: bool,
        transports: UpstreamTransports,
    ) -> None:
        """
        @param newFlags: The flags of an endpoint that was not checked yet.
        @param staysHealthy: Whether one that is not named any more stays for as long as it is well.
        """
        self._transports = transports
        # Those that begin when the secrets are there that connections need, and when nobody waits for them any more.
        self._held: list[CheckSession] = []
        self._heldCall: IDelayedCall | None = None
        self._newFlags = newFlags
        self._isBegun = False
        self._staysHealthy = staysHealthy
        self._rules = rules
        self._makeProbe = makeProbe
        self._sessions: dict[Endpoint, CheckSession] = {}
        self._awaited: set[CheckSession] | None = None
        rules.timeouts = Deadlines(rules.clock, rules.times.timeout, CheckSession.timedOut)

    @property
    def isSettled(self) -> bool:
        return self._awaited is not None and not self._awaited

    def staying(self, gone: Iterable[Endpoint], found: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
        """
        Which endpoints stay though their discovery does not name them any more: those that are well.

        @param found: Those that it names. One of them at the same address takes the place of another.
        """
        if not self._staysHealthy:
            return ()
        addresses = {endpoint.address for endpoint in found}
        staying = tuple(
            endpoint
            for endpoint in gone
            if endpoint in self._sessions and not endpoint.allFlags & _ILL and endpoint.address not in addresses
        )
        for endpoint in staying:
            endpoint.flags |= _LEAVING
        return staying

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """
        These are all endpoints now. A new one is ill until its first check passed.
        """
        sessions = self._sessions
        for gone in sessions.keys() - set(endpoints):
            sessions.pop(gone).stop()
        fresh = []
        for endpoint in endpoints:
            session = sessions.get(endpoint)
            if session is not None:
                if session.checkedBy == endpoint.checkedBy:
                    continue
                self.forget(endpoint)
            endpoint.flags &= ~_CHECKED
            if endpoint.checkedBy is None or not endpoint.checkedBy.isDisabled:
                endpoint.flags |= self._newFlags
                session = sessions[endpoint] = CheckSession(endpoint, self._rules, self._told)
                session.probe = self._makeProbe(endpoint, session)
                fresh.append(session)
            endpoint.judge()
        if self._awaited is None:
            self._awaited = set(fresh)
        if self._heldCall is not None or not (self._isBegun or self._transports.isReady):
            self._held += fresh
            if self._heldCall is None:
                self._heldCall = self._rules.clock.callLater(_FETCH_TIMEOUT, self._begin)
                self._transports.awaitSecrets(self._secretsCame)
            return
        self._isBegun = True
        for session in fresh:
            session.start()

    def _secretsCame(self) -> None:
        if self._heldCall is not None and self._transports.isReady:
            self._heldCall.cancel()
            self._begin()

    def _begin(self) -> None:
        self._heldCall = None
        self._isBegun = True
        held, self._held = self._held, []
        for session in held:
            # The endpoint may be gone.
            if self._sessions.get(session.endpoint) is session:
                session.start()

    def failedPassively(self, endpoint: Endpoint) -> None:
        """
        A response to a request said that the endpoint wants no more of them.
        """
        session = self._sessions.get(endpoint)
        if session is not None:
            session.failedPassively()

    def forget(self, endpoint: Endpoint) -> None:
        """
        Check an endpoint no more; L{update} begins anew.
        """
        session = self._sessions.pop(endpoint, None)
        if session is not None:
            session.stop()

    def stop(self) -> None:
        """
        Check nothing any more.
        """
        if self._heldCall is not None:
            self._heldCall.cancel()
            self._heldCall = None
        for session in list(self._sessions.values()):
            session.stop()
        self._sessions.clear()
        self._rules.timeouts.stop()
        if self._rules.log is not None:
            self._rules.log.close()

    def _told(self, session: CheckSession, transition: Transition) -> None:
        if session.isWell and self.passed is not None:
            self.passed(session.endpoint)
        if transition is Transition.CHANGED:
            self.changed(session.endpoint)
        if self._awaited and session in self._awaited:
            self._awaited.remove(session)
            if not self._awaited:
                self.settled()
