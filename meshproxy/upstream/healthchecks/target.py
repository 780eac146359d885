# -*- test-case-name: tests.upstream.healthchecks.test_target -*-
"""
How one endpoint is checked otherwise than the rest: C{health_check_config} of an C{Endpoint}.
"""

from __future__ import annotations

from dataclasses import dataclass

from meshproxy.config import Section
from meshproxy.config.cidr import packAddress
from meshproxy.net.address import Address

__all__ = ["CheckedBy", "compileCheckedBy"]


@dataclass(frozen=True, slots=True)
class CheckedBy:
    """
    @ivar address: Where it is checked; L{None} for where it is.
    @ivar port: The port there; 0 for the same.
    @ivar hostname: What checks over HTTP call it; empty for what the cluster says.
    @ivar isDisabled: Whether it is not checked, and passes for healthy.
    """

    address: Address | None = None
    port: int = 0
    hostname: str = ""
    isDisabled: bool = False

    def addressOf(self, address: Address) -> Address:
        """
        Where it is checked.

        @param address: Where it is.
        """
        found = self.address or address
        return Address(found.host, self.port) if self.port and found.port is not None else found


def compileCheckedBy(section: Section | None) -> CheckedBy | None:
    """
    Read a C{HealthCheckConfig}.
    """
    if section is None:
        return None
    address = None
    where = section.child("address")
    if where is not None:
        pipe, sock = where.child("pipe"), where.child("socket_address")
        if pipe is not None:
            address = Address(pipe.get("path"))
        elif sock is None:
            where.refuse("an address is a socket_address or a pipe")
        elif packAddress(sock.get("address")) is None:
            sock.refuse(f"{sock.get('address')!r} is not an IP address", "address")
        else:
            address = Address(sock.get("address"), sock.get("port_value"))
    return CheckedBy(
        address, section.get("port_value"), section.get("hostname"), section.get("disable_active_health_check")
    )
