# -*- test-case-name: tests.net.test_originaldst -*-
"""
Where a connection was made to before the kernel's packet filter sent it elsewhere.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

from meshproxy.net.address import Address

__all__ = ["originalDestination"]

# linux/netfilter_ipv4.h and netfilter_ipv6/ip6_tables.h: SO_ORIGINAL_DST has this number in both.
_ORIGINAL_DST = 80
# sockaddr_in and sockaddr_in6, whose ports and addresses are in the order of the network.
_FOUR, _SIX = struct.Struct("!2xH4s8x"), struct.Struct("!2xH4x16s4x")


def originalDestination(sock: Any) -> Address | None:
    """
    Ask the kernel.

    @param sock: A socket that was accepted.

    @return: L{None} where nothing was sent elsewhere, or nobody knows.
    """
    try:
        if sock.family == socket.AF_INET:
            port, packed = _FOUR.unpack(sock.getsockopt(socket.SOL_IP, _ORIGINAL_DST, _FOUR.size))
        elif sock.family == socket.AF_INET6:
            port, packed = _SIX.unpack(sock.getsockopt(socket.IPPROTO_IPV6, _ORIGINAL_DST, _SIX.size))
        else:
            return None
    except OSError:
        return None
    mapped = packed[12:] if packed.startswith(bytes(10) + b"\xff\xff") else packed
    return Address(socket.inet_ntop(socket.AF_INET if len(mapped) == 4 else socket.AF_INET6, mapped), port)
