# -*- test-case-name: tests.upstream.test_nameservers -*-
"""
C{typed_dns_resolver_config}: which name servers a cluster asks, or all that say nothing of their own.
"""

from __future__ import annotations

from typing import Any, Final

from meshproxy.config import Section
from meshproxy.config.supported import declare
from meshproxy.net.dns import NameServers
from meshproxy.upstream.named import isIP

__all__ = ["AskingNetwork", "compileNameServers"]

_CARES: Final = "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"

declare(_CARES, "resolvers", "query_timeout_seconds", "query_tries")


def compileNameServers(section: Section) -> NameServers | None:
    """
    Read them from a C{Cluster}, a C{DnsCluster} or a C{Bootstrap}.

    @return: L{None} where the machine's own are asked.
    """
    extension = section.child("typed_dns_resolver_config")
    config = None if extension is None else extension.any("typed_config")
    if extension is None or config is None:
        return None
    if config.typeName != _CARES:
        extension.refuse(f"of the resolvers, only {_CARES} is implemented", "typed_config")
        return None
    addresses = []
    for index, each in enumerate(config.children("resolvers")):
        socket = each.child("socket_address")
        host = "" if socket is None else socket.get("address")
        if socket is None or not isIP(host) or not socket.get("port_value"):
            config.refuse("a name server is a socket_address with an IP address and a port", f"resolvers[{index}]")
        else:
            addresses.append((host, socket.get("port_value")))
    if not addresses:
        return None
    # The defaults of c-ares.
    timeout, tries = config.wrapped("query_timeout_seconds", 5), config.wrapped("query_tries", 4)
    return NameServers(tuple(addresses), (float(timeout),) * max(tries, 1))


class AskingNetwork:
    """
    An L{INetwork<meshproxy.interfaces.INetwork>} in which names are asked of some name servers, where whoever asks
    names none.
    """

    def __init__(self, network: Any, servers: NameServers) -> None:
        self._servers = servers
        self._resolve = network.resolve
        self.listen, self.accept, self.connect = network.listen, network.accept, network.connect
        self.datagrams = network.datagrams

    def resolve(self, host: str, family: str = "AUTO", needsTTL: bool = False, servers: Any = None) -> Any:
        """
        See L{meshproxy.interfaces.INetwork.resolve}.
        """
        return self._resolve(host, family, needsTTL, servers or self._servers)
