# -*- test-case-name: tests.net.test_address -*-
"""
Where a socket listens, or whom it speaks to.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

__all__ = ["Address"]


class Address:
    """
    An IPv4, IPv6 or unix socket address, written as Envoy writes it.

    @ivar host: The IP address, without brackets; the path of a unix socket (a pipe, in Envoy's words), where C{@}
        begins a name of Linux' abstract name space.
    @ivar port: The port, or L{None} for a unix socket.
    @ivar family: C{socket.AF_INET}, C{AF_INET6} or C{AF_UNIX}.
    @ivar text: C{192.0.2.1:80}, C{[2001:db8::1]:80}, or the path.
    """

    __slots__ = ("family", "host", "port", "text")

    def __init__(self, host: str, port: int | None = None) -> None:
        self.host = host
        self.port = port
        if port is None:
            self.family = socket.AF_UNIX
            self.text = host
        elif ":" in host:
            self.family = socket.AF_INET6
            self.text = f"[{host}]:{port}"
        else:
            self.family = socket.AF_INET
            self.text = f"{host}:{port}"

    @classmethod
    def ofSocketName(cls, family: int, name: Any) -> Address:
        """
        From what C{getsockname}, C{getpeername} or C{accept} returned.
        """
        if family == socket.AF_UNIX:
            if isinstance(name, bytes):
                name = "@" + name[1:].decode("utf-8", "backslashreplace") if name else ""
            return cls(name)
        return cls(name[0].partition("%")[0], name[1])

    @property
    def socketName(self) -> Any:
        """
        What C{bind} and C{connect} take.
        """
        if self.port is None:
            return "\0" + self.host[1:] if self.host.startswith("@") else self.host
        return (self.host, self.port)

    @property
    def isIP(self) -> bool:
        """
        Whether this is an IP address, not a pipe.
        """
        return self.port is not None

    @property
    def ip(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """
        The address as an object to compare with networks; L{None} for a pipe.
        """
        return ipaddress.ip_address(self.host) if self.port is not None else None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Address):
            return NotImplemented
        return self.host == other.host and self.port == other.port

    def __hash__(self) -> int:
        return hash((self.host, self.port))

    def __repr__(self) -> str:
        return f"<Address {self.text}>"
