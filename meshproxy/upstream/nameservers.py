# -*- test-case-name: tests.upstream.test_nameservers -*-
"""
C{typed_dns_resolver_config}, and the older fields for it: which name servers a cluster asks, or all clusters that say
nothing of their own.
"""

from __future__ import annotations

from typing import Any, Final

from meshproxy.config import Section
from meshproxy.config.supported import accept, declare
from meshproxy.net.dns import NameServers
from meshproxy.upstream.named import isIP

__all__ = ["AskingNetwork", "compileNameServers"]

_CARES: Final = "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"

_CLUSTER: Final = "envoy.config.cluster.v3.Cluster"
_DNS_CLUSTER: Final = "envoy.extensions.clusters.dns.v3.DnsCluster"
_CACHE: Final = "envoy.extensions.common.dynamic_forward_proxy.v3.DnsCacheConfig"
_CORE: Final = "envoy.config.core.v3."
_OWN_SOCKET: Final = "each question has a socket of its own"

declare(_CARES, "resolvers", "query_timeout_seconds", "query_tries", "dns_resolver_options")
declare(_CARES, "use_resolvers_as_fallback")
declare(_CORE + "DnsResolutionConfig", "resolvers", "dns_resolver_options")
declare(_CORE + "DnsResolverOptions", "use_tcp_for_dns_lookups")
accept(_CORE + "DnsResolverOptions", "no_default_search_domain", "names are asked for as they are written")
for _field in ("udp_max_queries", "max_udp_channel_duration", "reinit_channel_on_timeout"):
    accept(_CARES, _field, _OWN_SOCKET)
for _owner in (_CLUSTER, "envoy.config.bootstrap.v3.Bootstrap", _CACHE):
    declare(_owner, "dns_resolution_config", "use_tcp_for_dns_lookups")
declare(_CLUSTER, "dns_resolvers")


def compileNameServers(section: Section, resolvconf: str = "/etc/resolv.conf") -> NameServers | None:
    """
    Read them from a C{Cluster}, a C{DnsCluster}, a C{DnsCacheConfig} or a C{Bootstrap}, by the field of today
    or by those of former times.

    @param resolvconf: Where the machine's own are told.

    @return: L{None} where those are asked, in the usual way.
    """
    extension = section.child("typed_dns_resolver_config")
    if extension is None:
        return _ofOlderFields(section)
    config = extension.any("typed_config")
    if config is None:
        return None
    if config.typeName != _CARES:
        extension.refuse(f"of the resolvers, only {_CARES} is implemented", "typed_config")
        return None
    # The defaults of c-ares.
    timeout, tries = config.wrapped("query_timeout_seconds", 5), config.wrapped("query_tries", 4)
    addresses = _addresses(config, "resolvers")
    if config.get("use_resolvers_as_fallback") and _hasServers(resolvconf):
        addresses = ()
    return _nameServers(addresses, config.child("dns_resolver_options"), (float(timeout),) * max(tries, 1))


def _ofOlderFields(section: Section) -> NameServers | None:
    """
    C{dns_resolution_config}, or else C{dns_resolvers} and C{use_tcp_for_dns_lookups}.
    """
    if section.typeName == _DNS_CLUSTER:
        return None
    config = section.child("dns_resolution_config")
    if config is not None:
        return _nameServers(_addresses(config, "resolvers"), config.child("dns_resolver_options"))
    addresses = _addresses(section, "dns_resolvers") if section.typeName == _CLUSTER else ()
    return _nameServers(addresses, section)


def _nameServers(
    addresses: tuple[tuple[str, int], ...], options: Section | None, timeouts: tuple[float, ...] = (5.0,) * 4
) -> NameServers | None:
    byTCP = options is not None and bool(options.get("use_tcp_for_dns_lookups"))
    return NameServers(addresses, timeouts, byTCP) if addresses or byTCP else None


def _addresses(section: Section, field: str) -> tuple[tuple[str, int], ...]:
    addresses: list[tuple[str, int]] = []
    for index, each in enumerate(section.children(field)):
        socket = each.child("socket_address")
        host = "" if socket is None else socket.get("address")
        if socket is None or not isIP(host) or not socket.get("port_value"):
            section.refuse("a name server is a socket_address with an IP address and a port", f"{field}[{index}]")
        else:
            addresses.append((host, socket.get("port_value")))
    return tuple(addresses)


def _hasServers(resolvconf: str) -> bool:
    try:
        with open(resolvconf, encoding="utf-8", errors="replace") as file:
            return any(line.split()[:1] == ["nameserver"] for line in file)
    except OSError:
        return False


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
