"""
L{meshproxy.net.dns}.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.errors import MeshProxyError
from meshproxy.net.dns import isHostName, resolve

FOUR = [IPv4Address("TCP", "192.0.2.1", 0), IPv4Address("TCP", "192.0.2.2", 0)]
SIX = [IPv6Address("TCP", "2001:db8::1", 0)]


class FakeResolver:
    """
    A reactor's resolver that knows one answer.
    """

    def __init__(self, found: Sequence[Any]) -> None:
        self.found = found
        self.asked: list[tuple[str, Any]] = []

    def resolveHostName(self, receiver: Any, host: str, port: int, types: Any) -> None:
        """
        See C{IHostnameResolver}.
        """
        self.asked.append((host, types))
        receiver.resolutionBegan(None)
        for address in self.found:
            if isinstance(address, types):
                receiver.addressResolved(address)
        receiver.resolutionComplete()


class Reactor:
    """
    Where the resolver is found.
    """

    def __init__(self, *found: Any) -> None:
        self.nameResolver = FakeResolver(found)


class ResolveTests(SynchronousTestCase):
    """
    Families of C{DnsLookupFamily}.
    """

    def found(self, family: str, *addresses: Any) -> list[str]:
        """
        What is returned where these addresses exist.
        """
        return self.successResultOf(resolve(Reactor(*addresses), "example.com", family))

    def test_families(self) -> None:
        """
        Each family chooses as Envoy does, from a host with both kinds of address and with either.
        """
        four, six = ["192.0.2.1", "192.0.2.2"], ["2001:db8::1"]
        for family, ofBoth, ofFour, ofSix in (
            ("AUTO", six, four, six),
            ("V4_ONLY", four, four, []),
            ("V6_ONLY", six, [], six),
            ("V4_PREFERRED", four, four, six),
            ("ALL", four + six, four, six),
        ):
            self.assertEqual(self.found(family, *FOUR, *SIX), ofBoth, family)
            self.assertEqual(self.found(family, *FOUR), ofFour, family)
            self.assertEqual(self.found(family, *SIX), ofSix, family)
            self.assertEqual(self.found(family), [], family)

    def test_noName(self) -> None:
        """
        What cannot be a name fails at once: the resolver's own way with it is to say nothing.
        """
        for name in ("a..b", ".a", "a" * 64 + ".b", "."):
            reactor = Reactor(*FOUR)
            failure = self.failureResultOf(resolve(reactor, name), MeshProxyError)
            self.assertEqual((str(failure.value), reactor.nameResolver.asked), (f"{name!r} is no name of a host", []))

    def test_names(self) -> None:
        """
        What name servers can be asked for.
        """
        longest = ".".join(["a" * 63] * 3 + ["b" * 61])
        good = ["a", "a.", "a.b-c.D", "_a/*", "1.2", "a" * 63, longest, longest + "."]
        bad = ["", ".", "a..b", ".a", "a:1", "a b", "caf\u00e9", "a\0", "a\n", "[a", "a" * 64, longest + "c"]
        self.assertEqual([isHostName(name) for name in good + bad], [True] * len(good) + [False] * len(bad))

    def test_once(self) -> None:
        """
        An address that comes twice, as getaddrinfo likes to tell it, is one.
        """
        self.assertEqual(self.found("AUTO", *FOUR, *FOUR), ["192.0.2.1", "192.0.2.2"])

    def test_default(self) -> None:
        """
        Without a family, C{AUTO}.
        """
        reactor = Reactor(*FOUR)
        self.assertEqual(self.successResultOf(resolve(reactor, "a.example")), ["192.0.2.1", "192.0.2.2"])
        self.assertEqual(reactor.nameResolver.asked, [("a.example", (IPv6Address, IPv4Address))])
