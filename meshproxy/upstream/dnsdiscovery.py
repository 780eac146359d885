# -*- test-case-name: tests.upstream.test_dnsdiscovery -*-
"""
Endpoints by the names of their hosts, looked up again and again.

Each name has its own pace. A look-up that fails, or finds nothing, leaves what was found before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from meshproxy.config import Section
from meshproxy.interfaces import INetwork
from meshproxy.net.dns import Addresses, NameServers
from meshproxy.upstream.endpoint import Endpoint
from meshproxy.upstream.named import NamedEndpoint, isIP
from meshproxy.upstream.nameservers import compileNameServers
from meshproxy.upstream.stats import ClusterStats

__all__ = ["DNS_CLUSTER", "LogicalDNSDiscovery", "Lookups", "StrictDNSDiscovery", "compileLookups"]

DNS_CLUSTER: Final = "envoy.extensions.clusters.dns.v3.DnsCluster"


@dataclass(frozen=True, slots=True)
class Lookups:
    """
    How, and how often, names are looked up. Times are seconds.

    @ivar refresh: From one look-up to the next (C{dns_refresh_rate}).
    @ivar jitter: A random part of this is added (C{dns_jitter}).
    @ivar heedsTTL: Whether an answer is asked for again when it does not hold any more (C{respect_dns_ttl}).
    @ivar failureBase: C{dns_failure_refresh_rate}: the next look-up after one failure comes within this, after each
        further one within twice as long, up to C{failureMost}; L{None} for C{refresh}.
    @ivar family: A name of C{DnsLookupFamily}.
    @ivar servers: Whom to ask (C{typed_dns_resolver_config}); L{None} for the machine's own servers.
    """

    refresh: float = 5.0
    jitter: float = 0.0
    heedsTTL: bool = False
    failureBase: float | None = None
    failureMost: float = 0.0
    family: str = "AUTO"
    servers: NameServers | None = None

    def pause(self, failures: int, ttl: float | None, random: Callable[[], float]) -> float:
        """
        How long to wait for the next look-up.

        @param failures: How many failed in a row.
        @param ttl: How long the answer holds, where that is known.
        """
        if failures:
            if self.failureBase is None:
                return self.refresh
            return float(random() * min(self.failureBase * 2 ** min(failures - 1, 32), self.failureMost))
        # As in Envoy, 0 says nothing.
        pause = ttl if self.heedsTTL and ttl else self.refresh
        return float(pause + random() * self.jitter) if self.jitter else pause


def compileLookups(section: Section) -> Lookups:
    """
    Read them from a C{Cluster}, or from the C{DnsCluster} in it.
    """
    custom = section.child("cluster_type")
    config = None if custom is None else custom.any("typed_config")
    told = config if config is not None and config.typeName == DNS_CLUSTER else section
    failure = told.child("dns_failure_refresh_rate")
    base = None if failure is None else failure.seconds("base_interval", 5.0)
    most = 0.0 if failure is None or base is None else failure.seconds("max_interval", base * 10)
    if base is not None and most < base:
        told.refuse(
            "dns_failure_refresh_rate must have max_interval not below base_interval", "dns_failure_refresh_rate"
        )
    family: str = told.get("dns_lookup_family")
    return Lookups(
        told.seconds("dns_refresh_rate", 5.0) or 5.0,
        told.seconds("dns_jitter", 0.0),
        told.get("respect_dns_ttl"),
        base,
        most,
        "AUTO" if family == "UNSPECIFIED" else family,
        compileNameServers(told),
    )


class _Name:
    """
    One name that is looked up.

    @ivar hosts: What it stands for; L{None} before it was looked up for the first time.
    """

    _log = Logger()

    def __init__(
        self,
        name: str,
        network: INetwork,
        clock: IReactorTime,
        stats: ClusterStats,
        lookups: Lookups,
        random: Callable[[], float],
        answered: Callable[[], object],
        mayBeNone: bool = False,
    ) -> None:
        """
        @param answered: Called after each look-up.
        @param mayBeNone: Whether no address is an answer, too, if the name servers themselves say so.
        """
        self.name = name
        self.hosts: list[str] | None = None
        self._network = network
        self._clock = clock
        self._stats = stats
        self._lookups = lookups
        self._random = random
        self._answered = answered
        self._mayBeNone = mayBeNone
        self._failures = 0
        self._call: IDelayedCall | None = None
        self._stopped = False

    def lookUp(self) -> None:
        """
        Begin.
        """
        self._call = None
        self._stats.updateAttempt.value += 1
        lookups = self._lookups
        more: tuple[Any, ...] = (True,) if lookups.heedsTTL else ()
        if lookups.servers is not None:
            more = (lookups.heedsTTL, lookups.servers)
        looking: Deferred[Any] = self._network.resolve(self.name, lookups.family, *more)
        looking.addCallbacks(self._cbFound, self._ebFound)

    def _cbFound(self, hosts: list[str]) -> None:
        if self._stopped:
            return
        if hosts or (self._mayBeNone and isinstance(hosts, Addresses)):
            self._stats.updateSuccess.value += 1
            self._failures = 0
            self._done(list(hosts), getattr(hosts, "ttl", None))
        else:
            # The system's resolver has the same answer for a name that is gone and for servers that do not answer.
            (self._stats.updateEmpty if self._mayBeNone else self._stats.updateFailure).value += 1
            self._failures += 1
            self._done(self.hosts or [], None)

    def _ebFound(self, failure: Failure) -> None:
        if self._stopped:
            return
        self._stats.updateFailure.value += 1
        self._log.warn("{name} cannot be looked up: {why}", name=self.name, why=failure.getErrorMessage())
        self._failures += 1
        self._done(self.hosts or [], None)

    def _done(self, hosts: list[str], ttl: float | None) -> None:
        self.hosts = hosts
        self._answered()
        if not self._stopped:  # by whoever was told
            pause = self._lookups.pause(self._failures, ttl, self._random)
            self._call = self._clock.callLater(pause, self.lookUp)

    def stop(self) -> None:
        """
        Look it up no more.
        """
        self._stopped = True
        if self._call is not None:
            self._call.cancel()
            self._call = None


class StrictDNSDiscovery:
    """
    C{STRICT_DNS}: each address of each name is an endpoint.
    """

    def __init__(
        self,
        named: Sequence[NamedEndpoint],
        network: INetwork,
        clock: IReactorTime,
        stats: ClusterStats,
        lookups: Lookups,
        random: Callable[[], float],
    ) -> None:
        self._named = named
        self._found: Callable[[list[Endpoint]], object] = lambda endpoints: None
        names = dict.fromkeys(each.host for each in named if each.port is not None and not isIP(each.host))
        parts = (network, clock, stats, lookups, random, self._answered)
        # As in Envoy, a name that is gone takes its endpoints along.
        self._names = {name: _Name(name, *parts, mayBeNone=True) for name in names}

    def start(self, found: Callable[[list[Endpoint]], object]) -> None:
        """
        See L{meshproxy.upstream.named.Discovery.start}.
        """
        self._found = found
        for name in list(self._names.values()):
            name.lookUp()
        if not self._names:
            self._answered()

    def stop(self) -> None:
        """
        See L{meshproxy.upstream.named.Discovery.stop}.
        """
        for name in self._names.values():
            name.stop()

    def _answered(self) -> None:
        """
        Tell what there is, once every name was looked up.
        """
        if any(name.hosts is None for name in self._names.values()):
            return
        endpoints: dict[object, Endpoint] = {}
        for named in self._named:
            name = self._names.get(named.host)
            for host in [named.host] if name is None else name.hosts or ():
                endpoint = named.at(host, isNamed=True)
                endpoints.setdefault(endpoint.key, endpoint)
        self._found(list(endpoints.values()))


class LogicalDNSDiscovery:
    """
    C{LOGICAL_DNS}: one endpoint, at the first address that its name stands for. When that is another one, new
    connections go there; those that are open stay.
    """

    def __init__(
        self,
        named: NamedEndpoint,
        network: INetwork,
        clock: IReactorTime,
        stats: ClusterStats,
        lookups: Lookups,
        random: Callable[[], float],
    ) -> None:
        self._named = named
        self._found: Callable[[list[Endpoint]], object] = lambda endpoints: None
        self._endpoint: Endpoint | None = None
        self._told = False
        self._name = _Name(named.host, network, clock, stats, lookups, random, self._answered)

    def start(self, found: Callable[[list[Endpoint]], object]) -> None:
        """
        See L{meshproxy.upstream.named.Discovery.start}.
        """
        self._found = found
        if isIP(self._named.host):
            found([self._named.at(self._named.host, isNamed=True)])
        else:
            self._name.lookUp()

    def stop(self) -> None:
        """
        See L{meshproxy.upstream.named.Discovery.stop}.
        """
        self._name.stop()

    def _answered(self) -> None:
        hosts = self._name.hosts
        if hosts:
            fresh = self._named.at(hosts[0], isNamed=True)
            if self._endpoint is None:
                self._endpoint = fresh
                self._told = False
            else:
                # The same endpoint elsewhere.
                self._endpoint.address = fresh.address
        if not self._told:
            self._told = True
            self._found([] if self._endpoint is None else [self._endpoint])
