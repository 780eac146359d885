# -*- test-case-name: tests.upstream.test_discovery -*-
"""
How a cluster finds its endpoints: as they are written (C{STATIC}), or by their names (C{STRICT_DNS}).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from meshproxy.config import Section
from meshproxy.interfaces import INetwork
from meshproxy.net.address import Address
from meshproxy.upstream.endpoint import Endpoint, Locality
from meshproxy.upstream.plain import metadataOf
from meshproxy.upstream.stats import ClusterStats

__all__ = [
    "Discovery",
    "NamedEndpoint",
    "StaticDiscovery",
    "StrictDNSDiscovery",
    "compileDiscovery",
]


class Discovery(Protocol):
    """
    Tells a cluster of its endpoints.
    """

    def start(self, found: Callable[[list[Endpoint]], object]) -> None:
        """
        Begin; C{found} is called with all endpoints whenever they are found, the first time when the cluster may
        begin to serve, be there any or not.
        """

    def stop(self) -> None:
        """
        Look no more.
        """


@dataclass(frozen=True, slots=True)
class NamedEndpoint:
    """
    An endpoint as it is configured.

    @ivar host: An IP address, a host name for C{STRICT_DNS}, or a path.
    @ivar port: L{None} for a unix socket.
    """

    host: str
    port: int | None
    hostname: str
    weight: int
    healthStatus: str
    locality: Locality
    priority: int
    metadata: dict[str, dict[str, object]] | None
    localityWeight: int = 0

    def at(self, host: str) -> Endpoint:
        """
        The endpoint at an address that the name stands for.
        """
        return Endpoint(
            Address(host, self.port),
            self.hostname or (self.host if host != self.host else ""),
            self.weight,
            self.healthStatus,
            self.locality,
            self.priority,
            self.metadata,
            self.localityWeight,
        )


class StaticDiscovery:
    """
    C{STATIC}: all addresses are known.
    """

    def __init__(self, named: Sequence[NamedEndpoint]) -> None:
        self._named = named

    def start(self, found: Callable[[list[Endpoint]], object]) -> None:
        """
        See L{Discovery.start}.
        """
        found([endpoint.at(endpoint.host) for endpoint in self._named])

    def stop(self) -> None:
        """
        See L{Discovery.stop}.
        """


class StrictDNSDiscovery:
    """
    C{STRICT_DNS}: each address of each name is an endpoint; names are looked up again and again. A name whose look-up
    fails, or finds nothing, keeps the addresses that it had.
    """

    _log = Logger()

    def __init__(
        self,
        named: Sequence[NamedEndpoint],
        network: INetwork,
        clock: IReactorTime,
        stats: ClusterStats,
        refresh: float = 5.0,
        failureRefresh: float = 5.0,
        family: str = "AUTO",
    ) -> None:
        """
        @param refresh: Seconds from one look-up to the next (C{dns_refresh_rate}).
        @param failureRefresh: Likewise after a failure (C{dns_failure_refresh_rate.base_interval}).
        @param family: A name of C{DnsLookupFamily}.
        """
        self._named = named
        self._network = network
        self._clock = clock
        self._stats = stats
        self._refresh = refresh
        self._failureRefresh = failureRefresh
        self._family = family
        self._known: dict[str, list[str]] = {}
        self._found: Callable[[list[Endpoint]], object] = lambda endpoints: None
        self._call: IDelayedCall | None = None
        self._looking: Deferred[list[bool]] | None = None
        self._stopped = False

    def start(self, found: Callable[[list[Endpoint]], object]) -> None:
        """
        See L{Discovery.start}.
        """
        self._found = found
        self._lookUp()

    def stop(self) -> None:
        """
        See L{Discovery.stop}.
        """
        self._stopped = True
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _lookUp(self) -> None:
        self._call = None
        self._stats.updateAttempt.value += 1
        names = dict.fromkeys(e.host for e in self._named if e.port is not None and not _isIP(e.host))
        self._looking = gatherResults([self._resolve(name) for name in names])
        self._looking.addCallback(self._cbLookedUp)

    def _resolve(self, name: str) -> Deferred[bool]:
        def cbResolved(hosts: list[str]) -> bool:
            if not hosts:
                # The system's resolver has the same answer for a name that is gone and for servers that do not answer.
                self._stats.updateEmpty.value += 1
                return False
            self._known[name] = hosts
            return True

        def ebResolved(failure: Failure) -> bool:
            self._stats.updateFailure.value += 1
            self._log.warn("{name} cannot be looked up: {why}", name=name, why=failure.getErrorMessage())
            return False

        resolving: Deferred[list[str]] = self._network.resolve(name, self._family)
        return resolving.addCallbacks(cbResolved, ebResolved)

    def _cbLookedUp(self, successes: list[bool]) -> None:
        if self._stopped:
            return
        self._stats.updateSuccess.value += all(successes)
        endpoints: dict[object, Endpoint] = {}
        for named in self._named:
            direct = named.port is None or _isIP(named.host)
            for host in [named.host] if direct else self._known.get(named.host, ()):
                endpoint = named.at(host)
                endpoints.setdefault(endpoint.key, endpoint)
        self._found(list(endpoints.values()))
        if not self._stopped:  # by whoever was told
            delay = self._refresh if all(successes) else self._failureRefresh
            self._call = self._clock.callLater(delay, self._lookUp)


def _isIP(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def compileDiscovery(section: Section, network: INetwork, clock: IReactorTime, stats: ClusterStats) -> Discovery:
    """
    Read it from a C{Cluster} message.
    """
    kind = section.get("type")
    named: list[NamedEndpoint] = []
    assignment = section.child("load_assignment")
    if assignment is None:
        if kind in ("STATIC", "STRICT_DNS"):
            section.refuse(f"a cluster of type {kind} needs a load_assignment")
    else:
        for group in assignment.children("endpoints"):
            for item in group.children("lb_endpoints"):
                endpoint = _compileEndpoint(item, group, kind)
                if endpoint is not None:
                    named.append(endpoint)
    if kind == "STRICT_DNS":
        refresh = section.seconds("dns_refresh_rate", 5.0)
        failure = section.child("dns_failure_refresh_rate")
        failureRefresh = refresh if failure is None else failure.seconds("base_interval", refresh)
        return StrictDNSDiscovery(
            named, network, clock, stats, refresh, failureRefresh, section.get("dns_lookup_family")
        )
    return StaticDiscovery(named)


def _compileEndpoint(item: Section, group: Section, kind: str) -> NamedEndpoint | None:
    endpoint = item.child("endpoint")
    address = None if endpoint is None else endpoint.child("address")
    if endpoint is None or address is None:
        item.refuse("an endpoint needs an address", "endpoint")
        return None
    pipe = address.child("pipe")
    sock = address.child("socket_address")
    if pipe is not None:
        host, port = pipe.get("path"), None
    elif sock is not None:
        host, port = sock.get("address"), sock.get("port_value")
        if sock.get("protocol") != "TCP":
            sock.refuse("only TCP is spoken to endpoints", "protocol")
        if kind == "STATIC" and not _isIP(host):
            sock.refuse(
                f"{host!r} is not an IP address, which a cluster of type STATIC needs; a name needs STRICT_DNS",
                "address",
            )
            return None
    else:
        address.refuse("an address is a socket_address or a pipe")
        return None
    locality = group.childOrEmpty("locality")
    metadata = item.child("metadata")
    return NamedEndpoint(
        host,
        port,
        endpoint.get("hostname"),
        item.wrapped("load_balancing_weight", 1),
        item.get("health_status"),
        Locality(locality.get("region"), locality.get("zone"), locality.get("sub_zone")),
        group.get("priority"),
        None if metadata is None else metadataOf(metadata),
        group.wrapped("load_balancing_weight", 0),
    )
