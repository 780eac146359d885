# -*- test-case-name: tests.net.test_dns -*-
"""
Looking up host names through the reactor's resolver, which asks the system.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IAddress, IHostResolution, IResolutionReceiver
from zope.interface import implementer

from meshproxy.errors import MeshProxyError

__all__ = ["FAMILIES", "Addresses", "NameServers", "faultOf", "isHostName", "resolve"]

# Envoy's Cluster.DnsLookupFamily: which kinds of address to ask for, and which to return.
FAMILIES: dict[str, tuple[type, ...]] = {
    "AUTO": (IPv6Address, IPv4Address),
    "V4_ONLY": (IPv4Address,),
    "V6_ONLY": (IPv6Address,),
    "V4_PREFERRED": (IPv4Address, IPv6Address),
    "ALL": (IPv6Address, IPv4Address),
}

# RFC 1035, 2.3.4: labels have 63 octets or less, names 255 with the length of each label. Of characters, those that
# c-ares asks for.
_NAME = re.compile(r"(?:[A-Za-z0-9_/*-]{1,63}\.)*[A-Za-z0-9_/*-]{1,63}\.?")
_LONGEST_NAME = 253


def isHostName(host: str) -> bool:
    """
    Whether a name is such as name servers can be asked for, whoever made it up.
    """
    return len(host.removesuffix(".")) <= _LONGEST_NAME and _NAME.fullmatch(host) is not None


def faultOf(host: str) -> MeshProxyError | None:
    """
    Why a name, of any script, cannot be looked up; L{None} where it can.
    """
    try:
        host.encode("idna")
    except UnicodeError:
        return MeshProxyError(f"{host!r} is no name of a host")
    return None


class NameServers(NamedTuple):
    """
    Whom to ask, and how.

    @ivar addresses: Hosts and ports, in order; none for the machine's own name servers.
    @ivar timeouts: How long each try waits.
    @ivar byTCP: Whether by TCP alone.
    """

    addresses: tuple[tuple[str, int], ...]
    timeouts: tuple[float, ...]
    byTCP: bool = False


class Addresses(list[str]):
    """
    Addresses in text, and for how many seconds they hold; L{None} where nobody said.
    """

    def __init__(self, found: Iterable[str] = (), ttl: float | None = None) -> None:
        super().__init__(found)
        self.ttl = ttl


def resolve(reactor: Any, host: str, family: str = "AUTO") -> Deferred[list[str]]:
    """
    Find the addresses of a host.

    @param family: A name of Envoy's C{DnsLookupFamily}. C{AUTO} returns IPv6 addresses, or IPv4 ones where there is no
        IPv6 one; C{V4_PREFERRED} the other way round; C{ALL} both.

    @return: Addresses in text, in the resolver's order, each once; empty where the name does not exist. It fails where
        there can be no such name.
    """
    fault = faultOf(host)
    if fault is not None:
        # The resolver would never say anything.
        return fail(fault)
    receiver = _Receiver(family)
    reactor.nameResolver.resolveHostName(receiver, host, 0, FAMILIES[family])
    return receiver.done


@implementer(IResolutionReceiver)
class _Receiver:
    """
    Collects what a resolver finds.
    """

    def __init__(self, family: str) -> None:
        self.done: Deferred[list[str]] = Deferred()
        self._family = family
        self._found: list[Any] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """
        Nothing to prepare.
        """

    def addressResolved(self, address: IAddress) -> None:
        """
        One more address.
        """
        self._found.append(address)

    def resolutionComplete(self) -> None:
        """
        That was all: choose by family.
        """
        wanted: tuple[Any, ...] = FAMILIES[self._family]
        if self._family != "ALL":
            # The first family that has an address is the answer.
            wanted = next(((kind,) for kind in wanted if any(isinstance(a, kind) for a in self._found)), ())
        hosts = [address.host for address in self._found if isinstance(address, wanted)]
        self.done.callback(list(dict.fromkeys(hosts)))
