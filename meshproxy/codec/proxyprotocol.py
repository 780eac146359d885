# -*- test-case-name: tests.codec.test_proxyprotocol -*-
"""
The PROXY protocol, versions 1 and 2: what a proxy before this one says of the connection that it passes on. Sections
are named of U{https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt}.

Nothing is kept between calls: a function looks at all bytes that have come.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from meshproxy.errors import RemoteProtocolError

__all__ = [
    "LONGEST_HEADER",
    "LONGEST_TLVS",
    "TLV",
    "Host",
    "ProxyHeader",
    "encodeV1",
    "encodeV2",
    "mayBegin",
    "parseProxyHeader",
    "versionOf",
]

#: An IP address and a port.
Host = tuple[str, int]

#: A type and a value.
TLV = tuple[int, bytes]

_SIGNATURE_1 = b"PROXY "
_SIGNATURE_2 = b"\r\n\r\n\0\r\nQUIT\n"

# Section 2.1 has 107 bytes for the longest line; Envoy reads one more.
_LONGEST_LINE = 108

_FIXED = 16

# Section 2.2: the length is a 16-bit number, of what follows the first 16 bytes.
_LONGEST_REST = 65535

#: No header is longer.
LONGEST_HEADER = _FIXED + _LONGEST_REST

#: How many bytes of TLVs fit into a header, whatever its addresses.
LONGEST_TLVS = _LONGEST_REST - 36

# By the family's number: how many bytes an IP address has, and all that is said of the addresses.
_FAMILIES = {1: (4, 12), 2: (16, 36)}


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """
    A header.

    @ivar version: 1 or 2.
    @ivar size: How many bytes it takes.
    @ivar source: Where the connection comes from, or L{None} if nothing is said about it: a connection of the proxy's
        own (C{LOCAL}), or an unknown protocol.
    @ivar destination: Where it was to go; there if C{source} is.
    @ivar tlvs: What else is said: types and values, in their order.
    """

    version: int
    size: int
    source: Host | None = None
    destination: Host | None = None
    tlvs: tuple[TLV, ...] = ()


def _refuse(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"PROXY protocol: {why}", details="proxy_protocol_error")


def versionOf(data: bytes) -> int:
    """
    The version that some first bytes are of, 0 if it is open or none.
    """
    if data.startswith(_SIGNATURE_2):
        return 2
    return 1 if data.startswith(_SIGNATURE_1) else 0


def mayBegin(data: bytes, version: int) -> bool:
    """
    Whether some first bytes are, or may become, a header of a version.
    """
    signature = _SIGNATURE_1 if version == 1 else _SIGNATURE_2
    return data.startswith(signature) or signature.startswith(data)


def parseProxyHeader(data: bytes) -> ProxyHeader | None:
    """
    Read a header.

    @param data: All bytes of the connection until now.

    @return: L{None} if more bytes are needed.

    @raise RemoteProtocolError: If these bytes begin no header, or a wrong one.
    """
    if data.startswith(_SIGNATURE_2):
        return _parseV2(data)
    if data.startswith(_SIGNATURE_1):
        return _parseV1(data)
    if _SIGNATURE_2.startswith(data) or _SIGNATURE_1.startswith(data):
        return None
    raise _refuse("neither signature is there")


# Version 1


def _parseV1(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, _LONGEST_LINE)
    if end < 0:
        if len(data) >= _LONGEST_LINE:
            raise _refuse("the line does not end")
        return None
    words = data[:end].split(b" ")
    if words[1] == b"UNKNOWN":
        # Section 2.1: whatever else stands before the end of the line is ignored.
        return ProxyHeader(1, end + 2)
    if len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
        raise _refuse("the line is not one of TCP4, TCP6 and UNKNOWN, with two addresses and two ports")
    version = 4 if words[1] == b"TCP4" else 6
    return ProxyHeader(
        1, end + 2, (_address(words[2], version), _port(words[4])), (_address(words[3], version), _port(words[5]))
    )


def _address(word: bytes, version: int) -> str:
    try:
        found = ipaddress.ip_address(word.decode("ascii"))
    except ValueError:
        raise _refuse("an address is none") from None
    if found.version != version or b"%" in word:
        raise _refuse("an address is of another family")
    return _unicast(found)


def _unicast(found: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    # No connection of TCP has such an end.
    if found.is_multicast or found.is_unspecified or str(found) == "255.255.255.255":
        raise _refuse("an address is no unicast address")
    return socket.inet_ntop(socket.AF_INET if found.version == 4 else socket.AF_INET6, found.packed)


def _port(word: bytes) -> int:
    # Digit by digit, and as section 2.1 has it: without leading zeros.
    if not word.isdigit() or len(word) > 5 or (word[0] == 0x30 and len(word) > 1):
        raise _refuse("a port is none")
    number = int(word)
    if number > 65535:
        raise _refuse("a port is above 65535")
    return number


# Version 2


def _parseV2(data: bytes) -> ProxyHeader | None:
    if len(data) < _FIXED:
        return None
    if data[12] >> 4 != 2:
        raise _refuse("the version is not 2")
    command, family, transport = data[12] & 0xF, data[13] >> 4, data[13] & 0xF
    size = _FIXED + int.from_bytes(data[14:16], "big")
    if command == 0:
        # LOCAL: the sender's own connection; what is said of addresses does not count.
        return ProxyHeader(2, size) if len(data) >= size else None
    if command != 1:
        raise _refuse("the command is neither LOCAL nor PROXY")
    if family not in _FAMILIES or transport not in (1, 2):
        raise _refuse("the addresses are neither of IPv4 nor of IPv6")
    length, all_ = _FAMILIES[family]
    if size < _FIXED + all_:
        raise _refuse("the length does not hold the addresses")
    if len(data) < size:
        return None
    place = _FIXED
    hosts = [_unicast(ipaddress.ip_address(data[place + at : place + at + length])) for at in (0, length)]
    ports = [int.from_bytes(data[place + at : place + at + 2], "big") for at in (2 * length, 2 * length + 2)]
    tlvs = _parseTLVs(data[place + all_ : size])
    return ProxyHeader(2, size, (hosts[0], ports[0]), (hosts[1], ports[1]), tlvs)


def _parseTLVs(data: bytes) -> tuple[TLV, ...]:
    """
    The TLVs, which fill what the header's length leaves exactly.
    """
    found = []
    place = 0
    while place < len(data):
        value = place + 3
        if value > len(data):
            raise _refuse("a TLV has no length")
        end = value + int.from_bytes(data[place + 1 : value], "big")
        if end > len(data):
            raise _refuse("a TLV is longer than the header")
        found.append((data[place], data[value:end]))
        place = end
    return tuple(found)


# Writing


def encodeV1(source: Host | None, destination: Host | None) -> bytes:
    """
    Write a header of version 1. Ends of two families cannot be told, and neither can unix sockets (L{None}).
    """
    if source is None or destination is None:
        return b"PROXY UNKNOWN\r\n"
    one, other = ipaddress.ip_address(source[0]), ipaddress.ip_address(destination[0])
    if one.version != other.version:
        return b"PROXY UNKNOWN\r\n"
    family = "TCP4" if one.version == 4 else "TCP6"
    return f"PROXY {family} {one} {other} {source[1]} {destination[1]}\r\n".encode("ascii")


def encodeV2(source: Host | None, destination: Host | None, tlvs: Iterable[TLV] = ()) -> tuple[bytes, Sequence[TLV]]:
    """
    Write a header of version 2.

    @param source: L{None} makes it C{LOCAL}, which says nothing.
    @param tlvs: What else to say.

    @return: The header, and the TLVs that were left out because the header's length cannot hold them. The length is
        that of what is there.
    """
    if source is None or destination is None:
        return _SIGNATURE_2 + b"\x20\0\0\0", ()
    one, other = ipaddress.ip_address(source[0]), ipaddress.ip_address(destination[0])
    if one.version != other.version:
        # IPv4 can be written as IPv6; nothing is lost (RFC 4291, 2.5.5.2).
        one, other = _mapped(one), _mapped(other)
    family = b"\x11" if one.version == 4 else b"\x21"
    addresses = one.packed + other.packed + source[1].to_bytes(2, "big") + destination[1].to_bytes(2, "big")
    pieces = [addresses]
    room = _LONGEST_REST - len(addresses)
    left = []
    for kind, value in tlvs:
        needed = 3 + len(value)
        if needed > room:
            left.append((kind, value))
            continue
        room -= needed
        pieces.append(bytes([kind]) + len(value).to_bytes(2, "big") + value)
    rest = b"".join(pieces)
    return _SIGNATURE_2 + b"\x21" + family + len(rest).to_bytes(2, "big") + rest, left


def _mapped(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv6Address:
    if address.version == 6:
        return address
    return ipaddress.IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed)
