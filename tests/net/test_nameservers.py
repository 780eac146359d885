"""
L{meshproxy.net.nameservers}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.names import dns
from twisted.names.error import DNSNameError, DNSServerError
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.errors import MeshProxyError
from meshproxy.net.dns import Addresses, NameServers
from meshproxy.net.nameservers import makeResolver, resolveWithTTL


def record(text: str, ttl: int) -> dns.RRHeader:
    """
    An address, or an alias.
    """
    if ":" in text:
        return dns.RRHeader(b"a.example", dns.AAAA, dns.IN, ttl, dns.Record_AAAA(text, ttl))
    if text[0].isdigit():
        return dns.RRHeader(b"a.example", dns.A, dns.IN, ttl, dns.Record_A(text, ttl))
    return dns.RRHeader(b"a.example", dns.CNAME, dns.IN, ttl, dns.Record_CNAME(text.encode(), ttl))


class Servers:
    """
    Name servers that know what they were told; an exception is a failure.
    """

    def __init__(self, four: Any, six: Any) -> None:
        self._answers = {"four": four, "six": six}

    def _answer(self, kind: str) -> Deferred[Any]:
        held = self._answers[kind]
        return fail(held) if isinstance(held, Exception) else succeed((held, [], []))

    def lookupAddress(self, host: str) -> Deferred[Any]:
        """
        See C{IResolver}.
        """
        return self._answer("four")

    def lookupIPV6Address(self, host: str) -> Deferred[Any]:
        """
        See C{IResolver}.
        """
        return self._answer("six")


class ResolveTests(SynchronousTestCase):
    """
    Answers with the time that they hold.
    """

    def found(self, family: str, four: Any, six: Any) -> Addresses:
        """
        What comes of it.
        """
        return self.successResultOf(resolveWithTTL(Servers(four, six), "a.example", family))

    def test_families(self) -> None:
        """
        As of C{DnsLookupFamily}; the least time of all records that took part counts.
        """
        four = [record("alias.example", 7), record("192.0.2.1", 60), record("192.0.2.2", 60)]
        six = [record("2001:db8::1", 5)]
        addresses = ["192.0.2.1", "192.0.2.2"]
        for family, expected, ttl in (
            ("V4_ONLY", addresses, 7),
            ("V6_ONLY", ["2001:db8::1"], 5),
            ("AUTO", ["2001:db8::1"], 5),
            ("V4_PREFERRED", addresses, 7),
            ("ALL", ["2001:db8::1", *addresses], 5),
        ):
            found = self.found(family, four, six)
            self.assertEqual((found, found.ttl), (expected, ttl), family)

    def test_none(self) -> None:
        """
        A name that is not there has no addresses; one kind may be missing.
        """
        missing = DNSNameError("no such name")
        self.assertEqual(self.found("AUTO", missing, missing), [])
        self.assertIsNone(self.found("AUTO", missing, missing).ttl)
        self.assertEqual(self.found("AUTO", [record("192.0.2.1", 9)], missing), ["192.0.2.1"])
        self.assertEqual(self.found("AUTO", [record("192.0.2.1", 9)], []), ["192.0.2.1"])

    def test_failure(self) -> None:
        """
        Servers that fail are a failure.
        """
        failing = DNSServerError("broken")
        self.failureResultOf(resolveWithTTL(Servers(failing, failing), "a.example"), DNSServerError)

    def test_noName(self) -> None:
        """
        What cannot be a name fails, and nobody is asked.
        """
        for name in ("a..b", "a" * 64):
            self.failureResultOf(resolveWithTTL(None, name), MeshProxyError)

    def test_others(self) -> None:
        """
        Other servers than the machine's are asked where they are named, each try for its time.
        """
        clock: Any = Clock()
        resolver = makeResolver(clock, "/nowhere", "/nowhere", NameServers((("192.0.2.53", 5353),), (2.0, 4.0)))
        servers = resolver.resolvers[-1]
        self.assertEqual((servers.servers, servers.timeout), ([("192.0.2.53", 5353)], (2.0, 4.0)))

    def test_byTCP(self) -> None:
        """
        Where that is wanted, the first question goes by TCP already, to the machine's own servers too.
        """
        path = self.mktemp()
        with open(path, "w") as file:
            file.write("nameserver 192.0.2.54\n")
        for addresses, host in (((("192.0.2.53", 53),), "192.0.2.53"), ((), "192.0.2.54")):
            reactor: Any = MemoryReactorClock()
            resolver = makeResolver(reactor, path, "/nowhere", NameServers(addresses, (1.0,), True))
            resolveWithTTL(resolver, "a.example", "V4_ONLY").addErrback(lambda failure: None)
            self.assertEqual([each[:2] for each in reactor.tcpClients], [(host, 53)])

    def test_hosts(self) -> None:
        """
        The hosts file comes first.
        """
        path, config = self.mktemp(), self.mktemp()
        with open(path, "w") as file:
            file.write("192.0.2.7 a.example\n")
        with open(config, "w") as file:
            file.write("nameserver 192.0.2.53\n")
        clock: Any = Clock()
        resolver = makeResolver(clock, config, path)
        found = self.successResultOf(resolveWithTTL(resolver, "a.example", "V4_ONLY"))
        self.assertEqual(found, ["192.0.2.7"])
