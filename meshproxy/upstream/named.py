# -*- test-case-name: tests.upstream.test_named -*-
"""
Endpoints as they are configured, before their names are looked up.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from meshproxy.net.address import Address
from meshproxy.upstream.endpoint import Endpoint, Locality
from meshproxy.upstream.healthchecks.target import CheckedBy

__all__ = ["Discovery", "NamedEndpoint", "isIP"]


class Discovery(Protocol):
    """
    Tells a cluster of its endpoints.
    """

    def start(self, found: Callable[[list[Endpoint]], object]) -> None:
        """
        Begin; C{found} is called with all endpoints whenever they are found, the first time when the cluster may
        begin to serve, be there any or not.
        """

    def stop(self) -> None:
        """
        Look no more.
        """


@dataclass(frozen=True, slots=True)
class NamedEndpoint:
    """
    An endpoint as it is configured.

    @ivar host: An IP address, a host name for C{STRICT_DNS}, or a path.
    @ivar port: L{None} for a unix socket.
    """

    host: str
    port: int | None
    hostname: str
    weight: int
    healthStatus: str
    locality: Locality
    priority: int
    metadata: dict[str, dict[str, object]] | None
    localityWeight: int = 0
    checkedBy: CheckedBy | None = None

    def at(self, host: str, isNamed: bool = False) -> Endpoint:
        """
        The endpoint at an address that the name stands for.

        @param isNamed: Whether what was configured is a name, even where it looks like an address.
        """
        return Endpoint(
            Address(host, self.port),
            self.hostname or (self.host if isNamed or host != self.host else ""),
            self.weight,
            self.healthStatus,
            self.locality,
            self.priority,
            self.metadata,
            self.localityWeight,
            self.checkedBy,
        )


def isIP(host: str) -> bool:
    """
    Whether a host is an IP address.
    """
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
