# -*- test-case-name: tests.net.test_nameservers -*-
"""
Looking up host names by asking the name servers, who say for how long an answer holds. It is loaded when a cluster
wants to know.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from twisted.internet.address import IPv6Address
from twisted.internet.defer import Deferred, FirstError, fail, gatherResults
from twisted.names import client, dns, error, hosts
from twisted.names.resolve import ResolverChain
from twisted.python.failure import Failure

from meshproxy.net.dns import FAMILIES, Addresses, NameServers, faultOf

__all__ = ["TCPResolver", "makeResolver", "resolveWithTTL"]


class TCPResolver(client.Resolver):
    """
    Asks by TCP alone.
    """

    def queryUDP(self, queries: Any, timeout: Any = None) -> Any:
        """
        What is asked first is asked so already.
        """
        return self.queryTCP(queries, sum(timeout or (10.0,)))


def makeResolver(
    reactor: Any,
    resolvconf: str = "/etc/resolv.conf",
    hostsFile: str = "/etc/hosts",
    others: NameServers | None = None,
) -> Any:
    """
    What asks the name servers of this machine, or others, after its hosts file.
    """
    if others is None:
        servers = client.Resolver(resolvconf.encode(), reactor=reactor)
    else:
        kind = TCPResolver if others.byTCP else client.Resolver
        # It reads the machine's own where it is told none.
        own = None if others.addresses else resolvconf.encode()
        servers = kind(own, list(others.addresses), others.timeouts, reactor)
    return ResolverChain([hosts.Resolver(hostsFile.encode()), servers])


def resolveWithTTL(resolver: Any, host: str, family: str = "AUTO") -> Deferred[Addresses]:
    """
    The same as L{resolve}, with the time that the answer holds.

    @param resolver: From L{makeResolver}.
    """
    fault = faultOf(host)
    if fault is not None:
        return fail(fault)
    kinds = FAMILIES[family]
    asked = [_askOne(resolver, host, kind) for kind in kinds]

    def cbAll(found: list[Addresses]) -> Addresses:
        if family != "ALL":
            return next((each for each in found if each), Addresses())
        times = [each.ttl for each in found if each and each.ttl is not None]
        return Addresses([address for each in found for address in each], min(times, default=None))

    return gatherResults(asked, consumeErrors=True).addCallbacks(cbAll, _ebFirst)


def _ebFirst(failure: Failure) -> Failure:
    # gatherResults wraps it.
    return failure.value.subFailure if isinstance(failure.value, FirstError) else failure


def _askOne(resolver: Any, host: str, kind: type) -> Deferred[Addresses]:
    """
    Ask for the addresses of one kind. A name that has none is no failure.
    """
    isSix = kind is IPv6Address
    asking = resolver.lookupIPV6Address(host) if isSix else resolver.lookupAddress(host)
    wanted = dns.AAAA if isSix else dns.A

    def cbAnswered(sections: tuple[list[Any], list[Any], list[Any]]) -> Addresses:
        answers = sections[0]
        found = [
            record.payload.dottedQuad() if not isSix else _text(record.payload)
            for record in answers
            if record.type == wanted
        ]
        return Addresses(dict.fromkeys(found), min((float(record.ttl) for record in answers), default=None))

    def ebAnswered(failure: Failure) -> Addresses | Failure:
        isMissing = failure.check(error.DNSNameError, error.AuthoritativeDomainError)
        return Addresses() if isMissing is not None else failure

    answered: Deferred[Addresses] = asking.addCallbacks(cbAnswered, ebAnswered)
    return answered


def _text(payload: Any) -> str:
    return ip_address(payload.address).compressed
