# -*- test-case-name: tests.config.test_cidr -*-
"""
Sets of C{envoy.config.core.v3.CidrRange}, asked by address.

A set is a dictionary for each prefix length that occurs in it, longest first, so that asking does not depend on how
many ranges there are.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address, ip_network

from meshproxy.config.section import Section

__all__ = [
    "CidrRange",
    "CidrSet",
    "cidrSetOf",
    "compileAddressMatcher",
    "compileCidrRange",
    "compileCidrSet",
    "packAddress",
]

# RFC 4291, 2.5.5.2: an IPv4 peer on a dual-stack socket.
_MAPPED = bytes(10) + b"\xff\xff"


def packAddress(text: str) -> bytes | None:
    """
    The 4 or 16 bytes of an IP address in text, or L{None} where it is none. An IPv4-mapped address is the IPv4 one;
    a scope (C{fe80::1%eth0}) does not count.
    """
    try:
        if ":" not in text:
            return socket.inet_pton(socket.AF_INET, text)
        packed = socket.inet_pton(socket.AF_INET6, text.partition("%")[0])
    except (OSError, ValueError):
        return None
    return packed[12:] if packed.startswith(_MAPPED) else packed


class CidrRange:
    """
    One range.

    @ivar size: 4 or 16, the bytes of an address.
    @ivar length: The length of the prefix in bits.
    @ivar shift: How many bits are not looked at.
    @ivar prefix: The bits that are.
    """

    __slots__ = ("length", "prefix", "shift", "size")

    def __init__(self, packed: bytes, length: int) -> None:
        self.size = len(packed)
        self.length = min(length, self.size * 8)
        self.shift = self.size * 8 - self.length
        self.prefix = int.from_bytes(packed, "big") >> self.shift

    def __contains__(self, packed: bytes) -> bool:
        return len(packed) == self.size and int.from_bytes(packed, "big") >> self.shift == self.prefix

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CidrRange):
            return NotImplemented
        return (self.size, self.length, self.prefix) == (other.size, other.length, other.prefix)

    def __hash__(self) -> int:
        return hash((self.size, self.length, self.prefix))

    def __str__(self) -> str:
        packed = (self.prefix << self.shift).to_bytes(self.size, "big")
        return f"{ip_address(packed)}/{self.length}"

    def __repr__(self) -> str:
        return f"<CidrRange {self}>"


class CidrSet:
    """
    Ranges to ask whether an address is in one of them.
    """

    __slots__ = ("_four", "_six", "ranges")

    def __init__(self, ranges: Iterable[CidrRange] = ()) -> None:
        self.ranges = tuple(dict.fromkeys(ranges))
        self._four = self._byLength(4)
        self._six = self._byLength(16)

    def _byLength(self, size: int) -> tuple[tuple[int, dict[int, CidrRange]], ...]:
        found: dict[int, dict[int, CidrRange]] = {}
        for each in self.ranges:
            if each.size == size:
                found.setdefault(each.shift, {})[each.prefix] = each
        return tuple(sorted(found.items()))

    def longestMatch(self, packed: bytes) -> CidrRange | None:
        """
        The most specific range that holds an address of 4 or 16 bytes.
        """
        number = int.from_bytes(packed, "big")
        for shift, prefixes in self._four if len(packed) == 4 else self._six:
            found = prefixes.get(number >> shift)
            if found is not None:
                return found
        return None

    def __contains__(self, packed: object) -> bool:
        return isinstance(packed, bytes) and self.longestMatch(packed) is not None

    def containsText(self, address: str) -> bool:
        """
        Whether an address in text is in the set; what is not an IP address is not.
        """
        packed = packAddress(address)
        return packed is not None and self.longestMatch(packed) is not None

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def __len__(self) -> int:
        return len(self.ranges)


def cidrSetOf(*ranges: str) -> CidrSet:
    """
    A set that the program itself has: C{10.0.0.0/8}.
    """
    networks = map(ip_network, ranges)
    return CidrSet(CidrRange(network.network_address.packed, network.prefixlen) for network in networks)


def compileCidrRange(section: Section) -> CidrRange | None:
    """
    Compile C{envoy.config.core.v3.CidrRange}; refuse an address that is none.
    """
    text: str = section.get("address_prefix")
    packed = packAddress(text)
    if packed is None:
        section.refuse(f"malformed IP address: {text!r}", "address_prefix")
        return None
    length = section.wrapped("prefix_len", 0)
    if ":" in text and len(packed) == 4:
        length -= 96
    # As in Envoy, a length beyond the address is the whole address.
    return CidrRange(packed, max(length, 0))


def compileAddressMatcher(section: Section) -> Callable[[str], bool]:
    """
    Compile C{envoy.type.matcher.v3.AddressMatcher}: a test of the text of an address. What is no IP address is in no
    range, nor outside of any.
    """
    contains = compileCidrSet(section.children("ranges")).containsText
    if not section.get("invert_match"):
        return contains

    def isOutside(host: str) -> bool:
        return not contains(host) and packAddress(host) is not None

    return isOutside


def compileCidrSet(sections: Sequence[Section]) -> CidrSet:
    """
    Compile a list of C{envoy.config.core.v3.CidrRange}.
    """
    return CidrSet(found for found in map(compileCidrRange, sections) if found is not None)
