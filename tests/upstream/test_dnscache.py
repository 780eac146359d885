"""
L{meshproxy.upstream.dnscache}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import Section
from meshproxy.errors import ConfigErrors
from meshproxy.net.dns import Addresses
from meshproxy.stats import Store
from meshproxy.upstream.dnscache import CachedHost, DNSCache, DNSCaches, hostKey, splitHost

_FILTER = "envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig"


class _Network:
    """
    Look-ups that tests answer.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, Deferred[Any]]] = []

    def resolve(self, host: str, family: str = "AUTO", needsTTL: bool = False, servers: object = None) -> Any:
        self.asked.append((host, Deferred()))
        return self.asked[-1][1]

    def answer(self, *hosts: str, ttl: float | None = None) -> None:
        self.asked.pop(0)[1].callback(Addresses(hosts, ttl))


class NameTests(SynchronousTestCase):
    """
    L{splitHost} and L{hostKey}.
    """

    def test_split(self) -> None:
        """
        A port is what follows the last colon, outside of brackets.
        """
        for authority, expected in (
            ("a.example", ("a.example", 80)),
            ("a.example:8080", ("a.example", 8080)),
            ("192.0.2.1:1", ("192.0.2.1", 1)),
            ("[2001:db8::1]", ("2001:db8::1", 80)),
            ("[2001:db8::1]:443", ("2001:db8::1", 443)),
            ("a.example:", ("a.example:", 80)),
            ("a.example:65536", ("a.example:65536", 80)),
            ("a.example:" + "9" * 5000, ("a.example:" + "9" * 5000, 80)),
        ):
            self.assertEqual(splitHost(authority, 80), expected)
        self.assertEqual(hostKey("a.example", 443), hostKey("a.example:443", 80))


class DNSCacheTests(SynchronousTestCase):
    """
    L{DNSCache} and L{DNSCaches}.
    """

    def setUp(self) -> None:
        self.store = Store()
        self.clock = Clock()
        self.network = _Network()
        self.caches = DNSCaches(self.store, self.network, self.clock, lambda: 0.5)  # type: ignore[arg-type]
        self.told: list[str] = []

    def make(self, **config: Any) -> DNSCache:
        """
        A cache that tells what becomes of its hosts.
        """
        section = Section.of(_FILTER, {"dns_cache_config": {"name": "c", **config}})
        cache = self.caches.compile(section)
        section.report.raiseIfAny()
        assert cache is not None
        cache.watchers[self] = None
        return cache

    def hostFound(self, host: CachedHost) -> None:
        self.told.append(f"found {host.address and host.address.text}")

    def hostRemoved(self, host: CachedHost) -> None:
        self.told.append(f"removed {host.key}")

    def stat(self, name: str) -> int:
        """
        One of its figures.
        """
        scope = self.store.scope("dns_cache.c.")
        made = scope.gauge(name) if name == "num_hosts" else scope.counter(name)
        return int(made.value)

    def gauge(self, name: str) -> int:
        """
        One of its breaker.
        """
        return int(self.store.scope("dns_cache.c.circuit_breakers.").gauge(f"rq_pending_{name}").value)

    def load(self, cache: DNSCache, authority: str) -> CachedHost:
        """
        A host, for which there is room.
        """
        host = cache.load(authority, 80)
        assert host is not None
        return host

    def test_found(self) -> None:
        """
        A host is looked up once, who waits is told, and watchers before.
        """
        cache = self.make()
        host = self.load(cache, "a.example")
        waiting = cache.wait(host)
        self.assertIs(self.load(cache, "a.example:80"), host)
        self.assertEqual([name for name, _ in self.network.asked], ["a.example"])
        self.assertFalse(host.isResolved)
        waiting.addCallback(lambda _: self.told.append("waited"))
        self.network.answer("192.0.2.1", "192.0.2.2")
        self.assertEqual(self.told, ["found 192.0.2.1:80", "waited"])
        self.assertEqual([self.stat(name) for name in ("dns_query_attempt", "dns_query_success", "num_hosts")], [1] * 3)

    def test_address(self) -> None:
        """
        An IP address is there at once.
        """
        self.assertTrue(self.load(self.make(), "192.0.2.1:8080").isResolved)
        self.assertEqual((self.told, self.network.asked), (["found 192.0.2.1:8080"], []))

    def test_refreshed(self) -> None:
        """
        A host is looked up again when its answer does not hold any more, not too often; and forgotten when nobody asked
        for it for a while.
        """
        cache = self.make(dns_min_refresh_rate="10s", host_ttl="15s")
        self.load(cache, "a.example")
        self.network.answer("192.0.2.1", ttl=3)
        self.clock.advance(9.9)
        self.assertEqual(self.network.asked, [])
        self.clock.advance(0.1)
        self.network.answer("192.0.2.2", ttl=30)
        self.assertEqual(self.told, ["found 192.0.2.1:80", "found 192.0.2.2:80"])
        self.clock.advance(30)
        self.assertEqual(self.told[2:], ["removed a.example:80"])
        self.assertEqual((self.stat("host_removed"), self.stat("num_hosts"), self.network.asked), (1, 0, []))

    def test_used(self) -> None:
        """
        What is in use stays.
        """
        cache = self.make(host_ttl="15s", dns_refresh_rate="10s")
        self.load(cache, "a.example")
        self.network.answer("192.0.2.1")
        for _ in range(4):
            self.clock.advance(10)
            self.network.answer("192.0.2.1")
            cache.touch("a.example:80")
        self.assertEqual(self.told, ["found 192.0.2.1:80"])

    def test_failed(self) -> None:
        """
        A look-up that fails is told, and done again; what was found before stays.
        """
        cache = self.make(dns_failure_refresh_rate={"base_interval": "2s", "max_interval": "4s"})
        host = self.load(cache, "a.example")
        waiting = cache.wait(host)
        self.network.asked.pop(0)[1].errback(OSError("no"))
        self.successResultOf(waiting)
        self.assertEqual(
            (host.address, host.failure, self.stat("dns_query_failure")),
            (None, "cares_failure:Could not contact DNS servers", 1),
        )
        self.clock.advance(1)
        self.network.answer("192.0.2.1")
        self.clock.advance(60)
        self.network.answer()
        assert host.address is not None
        self.assertEqual(host.address.text, "192.0.2.1:80")

    def test_timeout(self) -> None:
        """
        A look-up that takes too long has failed, whatever comes of it.
        """
        cache = self.make(dns_query_timeout="2s")
        host = self.load(cache, "a.example")
        self.clock.advance(2)
        self.assertEqual((host.isResolved, host.failure, self.stat("dns_query_timeout")), (True, "resolve_timeout", 1))
        self.network.answer("192.0.2.1")
        self.assertIsNone(host.address)

    def test_forgetsFailed(self) -> None:
        """
        C{disable_dns_refresh_on_failure}: the next who asks has it looked up.
        """
        cache = self.make(disable_dns_refresh_on_failure=True)
        waiting = cache.wait(self.load(cache, "a.example"))
        self.network.answer()
        self.successResultOf(waiting)
        self.assertEqual((cache.hosts, self.clock.getDelayedCalls()), ({}, []))
        self.load(cache, "a.example")
        self.assertEqual(len(self.network.asked), 1)

    def test_limits(self) -> None:
        """
        So many hosts, and so many that wait. Who leaves waits no more.
        """
        cache = self.make(max_hosts=1, dns_cache_circuit_breaker={"max_pending_requests": 1})
        host = self.load(cache, "a.example")
        self.assertIsNone(cache.load("b.example", 80))
        self.assertTrue(cache.mayWait())
        waiting = cache.wait(host)
        self.assertFalse(cache.mayWait())
        self.assertEqual([self.gauge(name) for name in ("open", "remaining")], [1, 0])
        waiting.addErrback(lambda failure: None)
        waiting.cancel()
        self.assertTrue(cache.mayWait())
        self.assertEqual([self.gauge(name) for name in ("open", "remaining")], [0, 1])
        self.network.answer("192.0.2.1")
        self.assertTrue(cache.mayWait())
        self.assertEqual((self.stat("host_overflow"), self.stat("dns_rq_pending_overflow")), (1, 1))

    def test_noName(self) -> None:
        """
        What cannot be a name is asked of nobody.
        """
        cache = self.make(dns_lookup_family="V4_ONLY")
        for name in ("a" * 256, "a..b", "a" * 64 + ".b", ".", "[]", "caf\u00e9", "a\0", "[fe80::1%lo]", "[::1]"):
            host = self.load(cache, name)
            self.assertEqual((host.isResolved, host.address, self.network.asked), (True, None, []), name)
            self.assertEqual(host.failure, "cares_failure:Misformatted domain name")

    def test_ahead(self) -> None:
        """
        C{preresolve_hostnames}.
        """
        cache = self.make(preresolve_hostnames=[{"address": "a.example", "port_value": 443}])
        cache.start()
        cache.start()
        self.assertEqual((list(cache.hosts), len(self.network.asked)), (["a.example:443"], 1))
        self.caches.stop()
        self.assertEqual((cache.hosts, self.clock.getDelayedCalls()), ({}, []))
        self.network.answer("192.0.2.1")
        self.assertEqual(self.told, ["removed a.example:443"])

    def test_shared(self) -> None:
        """
        A name stands for one cache, and nobody may describe it otherwise.
        """
        self.assertIs(self.make(), self.make())
        self.assertIn("with different settings", str(self.assertRaises(ConfigErrors, self.make, max_hosts=3)))

    def test_faults(self) -> None:
        """
        What cannot be is refused, with its place, and forgotten.
        """
        wrong: list[tuple[dict[str, Any], str]] = [
            ({"dns_failure_refresh_rate": {"base_interval": "2s", "max_interval": "1s"}}, "max_interval not below"),
            ({"preresolve_hostnames": [{"address": "a.example"}]}, "preresolve_hostnames[0]"),
        ]
        for config, expected in wrong:
            self.assertIn(expected, str(self.assertRaises(ConfigErrors, self.make, **config)))
        self.make()
        section = Section.of(_FILTER, {})
        self.assertIsNone(self.caches.compile(section))
        self.assertIn("a cache is needed", str(section.report.errors[0]))
