# -*- test-case-name: tests.upstream.test_dnscache -*-
"""
Addresses of the hosts that requests ask for, looked up when somebody asks for them.

A cache has a name, and whoever names it has it in common: filters look hosts up, and clusters go to what was found.

Source: Envoy's C{envoy.extensions.common.dynamic_forward_proxy.v3.DnsCacheConfig}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from meshproxy.config import Section
from meshproxy.config.supported import declare, decline
from meshproxy.interfaces import INetwork
from meshproxy.net.address import Address
from meshproxy.net.dns import Addresses, isHostName
from meshproxy.stats.store import Store, statName
from meshproxy.upstream.dnsdiscovery import Lookups
from meshproxy.upstream.named import isIP
from meshproxy.upstream.nameservers import compileNameServers

__all__ = ["CachedHost", "DNSCache", "DNSCaches", "IHostWatcher", "hostKey", "splitHost"]

_PACKAGE: Final = "envoy.extensions.common.dynamic_forward_proxy.v3."
_CONFIG: Final = _PACKAGE + "DnsCacheConfig"

declare(_CONFIG, "name", "dns_lookup_family", "dns_refresh_rate", "dns_min_refresh_rate", "host_ttl", "max_hosts")
declare(_CONFIG, "dns_failure_refresh_rate", "dns_cache_circuit_breaker", "typed_dns_resolver_config")
declare(_CONFIG, "preresolve_hostnames", "dns_query_timeout", "disable_dns_refresh_on_failure")
declare(_PACKAGE + "DnsCacheCircuitBreakers", "max_pending_requests")
decline(_CONFIG, "key_value_config", "what was looked up is not kept beyond the process")

# The words of c-ares.
_NO_NAME: Final = "cares_failure:Misformatted domain name"

_MOST_PORTS: Final = 65535


def splitHost(authority: str, port: int) -> tuple[str, int]:
    """
    The host and the port of an authority: C{a.example}, C{a.example:8080}, C{[2001:db8::1]:80}.

    @param port: Where it has none.
    """
    host, colon, digits = authority.rpartition(":")
    if colon and digits.isascii() and digits.isdigit() and (":" not in host or host.endswith("]")):
        number = int(digits) if len(digits) <= len(str(_MOST_PORTS)) else _MOST_PORTS + 1
        if number <= _MOST_PORTS:
            authority, port = host, number
    if authority.startswith("[") and authority.endswith("]"):
        authority = authority[1:-1]
    return authority, port


def hostKey(authority: str, port: int) -> str:
    """
    By what a cache knows an authority: one with its port.
    """
    return Address(*splitHost(authority, port)).text


class IHostWatcher(Protocol):
    """
    Is told what becomes of the hosts of a cache.
    """

    def hostFound(self, host: CachedHost) -> None:
        """
        One has an address, or another one than before.
        """

    def hostRemoved(self, host: CachedHost) -> None:
        """
        One is forgotten.
        """


class CachedHost:
    """
    One host and port.

    @ivar key: Both.
    @ivar address: What the host stands for; L{None} where nothing was found yet.
    @ivar isResolved: Whether it was looked up once, well or not.
    @ivar failure: Why nothing was found.
    @ivar used: When somebody asked for it last, in the clock's seconds.
    """

    def __init__(self, key: str, host: str, port: int) -> None:
        self.key = key
        self.host = host
        self.port = port
        self.address: Address | None = None
        self.isResolved = False
        self.failure = ""
        self.failures = 0
        self.used = 0.0
        self.call: IDelayedCall | None = None
        self.looking: Deferred[Any] | None = None
        self.waiting: dict[Deferred[None], None] = {}


class DNSCache:
    """
    What was looked up, and is looked up again for as long as it is asked for.
    """

    def __init__(
        self, section: Section, store: Store, network: INetwork, clock: IReactorTime, random: Callable[[], float]
    ) -> None:
        """
        @param section: A C{DnsCacheConfig}. Faults go to its report.
        """
        self.name: str = section.get("name")
        self.fingerprint: bytes = section.message.SerializeToString(deterministic=True)
        self.watchers: dict[IHostWatcher, None] = {}
        self.hosts: dict[str, CachedHost] = {}
        failure = section.child("dns_failure_refresh_rate")
        base = None if failure is None else failure.seconds("base_interval", 5.0)
        most = 0.0 if failure is None or base is None else failure.seconds("max_interval", base * 10)
        if base is not None and most < base:
            section.refuse(
                "dns_failure_refresh_rate must have max_interval not below base_interval", "dns_failure_refresh_rate"
            )
        self._lookups = Lookups(
            section.seconds("dns_refresh_rate", 60.0) or 60.0,
            heedsTTL=True,
            failureBase=base,
            failureMost=most,
            family=section.get("dns_lookup_family"),
            servers=compileNameServers(section),
        )
        self._shortest = section.seconds("dns_min_refresh_rate", 5.0) or 5.0
        self._hostTTL = section.seconds("host_ttl", 300.0) or 300.0
        self._most: int = section.wrapped("max_hosts", 1024)
        self._mostPending: int = section.childOrEmpty("dns_cache_circuit_breaker").wrapped("max_pending_requests", 1024)
        self._timeout = section.seconds("dns_query_timeout", 5.0)
        self._forgetsFailed: bool = section.get("disable_dns_refresh_on_failure")
        self._network = network
        self._clock = clock
        self._random = random
        self._pending = 0
        scope = store.scope(f"dns_cache.{statName(self.name)}.")
        self._attempts = scope.counter("dns_query_attempt")
        self._successes = scope.counter("dns_query_success")
        self._failed = scope.counter("dns_query_failure")
        self._timeouts = scope.counter("dns_query_timeout")
        self._changed = scope.counter("host_address_changed")
        self._added = scope.counter("host_added")
        self._removed = scope.counter("host_removed")
        self._overflow = scope.counter("host_overflow")
        self._pendingOverflow = scope.counter("dns_rq_pending_overflow")
        self._count = scope.gauge("num_hosts")
        breakers = scope.scope("circuit_breakers.")
        self._isFull = breakers.gauge("rq_pending_open")
        self._room = breakers.gauge("rq_pending_remaining")
        self._waits(0)
        self._wanted: list[tuple[str, int]] = []
        for index, each in enumerate(section.children("preresolve_hostnames")):
            host, port = each.get("address"), each.get("port_value")
            if not host or not port:
                section.refuse("a name that is looked up ahead has a port_value", f"preresolve_hostnames[{index}]")
            self._wanted.append((host, port))

    def start(self) -> None:
        """
        Look up what is configured to be looked up before anybody asks for it.
        """
        wanted, self._wanted = self._wanted, []
        for host, port in wanted:
            self.load(host, port)

    def stop(self) -> None:
        """
        Look up no more, and forget everything.
        """
        for host in list(self.hosts.values()):
            self._remove(host)

    def mayWait(self) -> bool:
        """
        Whether one more request may wait for a host; counts it where not (C{max_pending_requests}).
        """
        if self._pending < self._mostPending:
            return True
        self._pendingOverflow.value += 1
        return False

    def load(self, authority: str, port: int) -> CachedHost | None:
        """
        The host of an authority, which is looked up if nobody asked for it lately.

        @param port: Where it has none.

        @return: L{None} where there are too many.
        """
        name, port = splitHost(authority, port)
        key = Address(name, port).text
        host = self.hosts.get(key)
        if host is None:
            if len(self.hosts) >= self._most:
                self._overflow.value += 1
                return None
            host = self.hosts[key] = CachedHost(key, name, port)
            self._added.value += 1
            self._count.value = len(self.hosts)
            self._lookUp(host)
        host.used = self._clock.seconds()
        return host

    def touch(self, key: str) -> None:
        """
        A host is in use.
        """
        host = self.hosts.get(key)
        if host is not None:
            host.used = self._clock.seconds()

    def wait(self, host: CachedHost) -> Deferred[None]:
        """
        Wait for the first look-up of a host to be over. It may be cancelled.
        """

        def gone(waiting: Deferred[None]) -> None:
            if host.waiting.pop(waiting, waiting) is None:
                self._waits(-1)

        waiting: Deferred[None] = Deferred(gone)
        host.waiting[waiting] = None
        self._waits(1)
        return waiting

    def _waits(self, more: int) -> None:
        self._pending += more
        self._isFull.value = int(self._pending >= self._mostPending)
        self._room.value = max(self._mostPending - self._pending, 0)

    # Looking up

    def _lookUp(self, host: CachedHost) -> None:
        host.call = None
        self._attempts.value += 1
        # A link's own addresses, with their scope, are those of nobody else.
        if isIP(host.host) and "%" not in host.host:
            if self._lookups.family == "V4_ONLY" and ":" in host.host:
                self._missed(host, _NO_NAME)
            else:
                self._found(host, Addresses([host.host]))
            return
        if not isHostName(host.host):
            self._missed(host, _NO_NAME)
            return
        if self._timeout:
            host.call = self._clock.callLater(self._timeout, self._timedOut, host)
        lookups = self._lookups
        more: tuple[Any, ...] = (True,) if lookups.servers is None else (True, lookups.servers)
        looking: Deferred[Any] = self._network.resolve(host.host, lookups.family, *more)
        host.looking = looking
        looking.addCallbacks(self._cbFound, self._ebFound, (host, looking), {}, (host, looking), {})

    def _cbFound(self, found: list[str], host: CachedHost, looking: Deferred[Any]) -> None:
        if host.looking is looking:
            host.looking = None
            self._cancelCall(host)
            if found:
                self._found(host, found)
            else:
                self._missed(host, "no address")

    def _ebFound(self, failure: Failure, host: CachedHost, looking: Deferred[Any]) -> None:
        if host.looking is looking:
            host.looking = None
            self._cancelCall(host)
            # The words of the name servers' client are nobody's business; these are those of c-ares.
            self._missed(host, "cares_failure:Could not contact DNS servers")

    def _timedOut(self, host: CachedHost) -> None:
        host.call = host.looking = None
        self._timeouts.value += 1
        self._missed(host, "resolve_timeout")

    def _cancelCall(self, host: CachedHost) -> None:
        if host.call is not None:
            host.call.cancel()
            host.call = None

    def _found(self, host: CachedHost, found: list[str]) -> None:
        self._successes.value += 1
        host.failures = 0
        host.failure = ""
        address = Address(found[0], host.port)
        if address != host.address:
            host.address = address
            self._changed.value += 1
            for watcher in list(self.watchers):
                watcher.hostFound(host)
        # As in Envoy, the time that an answer holds is heeded, but none shorter than dns_min_refresh_rate.
        ttl: float | None = getattr(found, "ttl", None)
        self._again(host, self._lookups.refresh if ttl is None else max(ttl, self._shortest))

    def _missed(self, host: CachedHost, why: str) -> None:
        self._failed.value += 1
        host.failures += 1
        host.failure = why
        if self._forgetsFailed and host.address is None:
            self._remove(host)
        else:
            self._again(host, self._lookups.pause(host.failures, None, self._random))

    def _again(self, host: CachedHost, pause: float) -> None:
        host.call = self._clock.callLater(pause, self._lookUpAgain, host)
        self._tell(host)

    def _tell(self, host: CachedHost) -> None:
        host.isResolved = True
        waiting, host.waiting = list(host.waiting), {}
        self._waits(-len(waiting))
        for each in waiting:
            if not each.called:
                each.callback(None)

    def _lookUpAgain(self, host: CachedHost) -> None:
        host.call = None
        if self._clock.seconds() - host.used > self._hostTTL:
            self._remove(host)
        else:
            self._lookUp(host)

    def _remove(self, host: CachedHost) -> None:
        self._cancelCall(host)
        host.looking = None
        del self.hosts[host.key]
        self._removed.value += 1
        self._count.value = len(self.hosts)
        for watcher in list(self.watchers):
            watcher.hostRemoved(host)
        self._tell(host)


class DNSCaches:
    """
    All caches, by name.
    """

    def __init__(self, store: Store, network: INetwork, clock: IReactorTime, random: Callable[[], float]) -> None:
        self._parts = (store, network, clock, random)
        self._byName: dict[str, DNSCache] = {}

    def compile(self, owner: Section, field: str = "dns_cache_config") -> DNSCache | None:
        """
        The cache that a message describes: the one that is there already if it is described alike.

        As in Envoy, a cache lives as long as the process, and what is said of a name is said for good.

        @param owner: Whose field it is. Faults go to its report.

        @return: L{None} where that has faults.
        """
        section = owner.child(field)
        if section is None:
            owner.refuse("a cache is needed", field)
            return None
        name: str = section.get("name")
        cache = self._byName.get(name)
        if cache is None:
            before = len(section.report.errors)
            cache = DNSCache(section, *self._parts)
            if len(section.report.errors) > before:
                return None
            self._byName[name] = cache
        elif cache.fingerprint != section.message.SerializeToString(deterministic=True):
            section.refuse(f"config specified DNS cache {name!r} with different settings", "name")
            return None
        return cache

    def stop(self) -> None:
        """
        Look up no more.
        """
        for cache in self._byName.values():
            cache.stop()
