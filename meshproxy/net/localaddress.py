# -*- test-case-name: tests.net.test_localaddress -*-
"""
The address of this machine, by which a proxy names itself in C{x-forwarded-for}.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Iterator
from functools import cache
from typing import Final

__all__ = ["findLocalAddress", "interfaceAddresses"]

# ioctl(2) of Linux, netdevice(7): the IPv4 address of an interface.
_SIOCGIFADDR: Final = 0x8915
_LOOPBACK: Final = "127.0.0.1"


def interfaceAddresses() -> Iterator[str]:
    """
    The IPv4 addresses of all interfaces that have one.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(sock, _SIOCGIFADDR, struct.pack("256s", name.encode("utf-8")[:15]))
            except OSError:
                continue  # it has none
            yield socket.inet_ntoa(answer[20:24])


@cache
def findLocalAddress() -> str:
    """
    As in Envoy, the first IPv4 address that is not the loopback's, or else that.
    """
    try:
        return next((host for host in interfaceAddresses() if not host.startswith("127.")), _LOOPBACK)
    except OSError:
        return _LOOPBACK
