# -*- test-case-name: tests.upstream.test_forwardproxy -*-
"""
C{envoy.clusters.dynamic_forward_proxy}: requests go to the host that they ask for. A filter before the router looked it
up; the endpoints are the hosts of the cache that both have in common.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from meshproxy.config import Section
from meshproxy.config.supported import declare
from meshproxy.upstream.balancers.base import IChoice
from meshproxy.upstream.dnscache import CachedHost, DNSCache, DNSCaches, hostKey
from meshproxy.upstream.endpoint import Endpoint

__all__ = ["DYNAMIC_FORWARD_PROXY", "DYNAMIC_PORT", "ForwardedHosts", "protocolOptions"]

DYNAMIC_PORT: Final = "envoy.upstream.dynamic_port"
"""
The key of the filter state that says to which port a connection goes.
"""

DYNAMIC_FORWARD_PROXY: Final = "DYNAMIC_FORWARD_PROXY"
"""
The kind of such clusters.
"""

_CONFIG: Final = "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig"
_OPTIONS: Final = "envoy.config.core.v3.UpstreamHttpProtocolOptions"

declare(_CONFIG, "dns_cache_config", "allow_insecure_cluster_options")


def _configOf(section: Section) -> Section | None:
    config = section.childOrEmpty("cluster_type").any("typed_config")
    if config is None or config.typeName != _CONFIG:
        section.refuse(f"such a cluster needs a {_CONFIG}", "cluster_type.typed_config")
        return None
    return config


def protocolOptions(section: Section, options: Section | None) -> Section | None:
    """
    The C{UpstreamHttpProtocolOptions} of such a cluster: by TLS the host that is asked for is asked for, and has to be
    in the certificate, unless the cluster says that it knows what it does.

    @param section: The C{Cluster} message.
    @param options: Its C{HttpProtocolOptions}; L{None} where it has none.
    """
    told = (section if options is None else options).child("upstream_http_protocol_options")
    if told is None and options is None:
        return Section.of(_OPTIONS, {"auto_sni": True, "auto_san_validation": True})
    config = _configOf(section)
    isSafe = told is not None and told.get("auto_sni") and told.get("auto_san_validation")
    if config is not None and not isSafe and not config.get("allow_insecure_cluster_options"):
        section.refuse(
            "dynamic_forward_proxy cluster must have auto_sni and auto_san_validation true unless "
            "allow_insecure_cluster_options is set",
        )
    return told


class ForwardedHosts:
    """
    The discovery of such a cluster, and what chooses its endpoints.

    @ivar choose: For somebody who has nothing to say about it, and so goes nowhere.
    """

    def __init__(self, section: Section, caches: DNSCaches, port: int) -> None:
        """
        @param section: A C{Cluster} message.
        @param port: Of hosts that are named without one.
        """
        for field in ("load_assignment", "lb_subset_config"):
            if section.has(field):
                section.refuse("dynamic_forward_proxy clusters must have none", field)
        if section.get("lb_policy") != "CLUSTER_PROVIDED":
            section.refuse(
                f"LB policy {section.get('lb_policy')} is not valid for cluster type "
                "envoy.clusters.dynamic_forward_proxy: only CLUSTER_PROVIDED is",
                "lb_policy",
            )
        config = _configOf(section)
        self._cache: DNSCache | None = None if config is None else caches.compile(config)
        self._port = port
        self._endpoints: dict[str, Endpoint] = {}
        self._found: Callable[[list[Endpoint]], object] | None = None
        self.choose = self._chooseNone

    # Discovery

    def start(self, found: Callable[[list[Endpoint]], object]) -> None:
        """
        See L{Discovery.start<meshproxy.upstream.named.Discovery.start>}: there is what others asked for already.
        """
        cache = self._cache
        if cache is not None:
            cache.watchers[self] = None
            for host in cache.hosts.values():
                self.hostFound(host)
            cache.start()
        self._found = found
        found(list(self._endpoints.values()))

    def stop(self) -> None:
        """
        See L{Discovery.stop<meshproxy.upstream.named.Discovery.stop>}.
        """
        self._found = None
        if self._cache is not None:
            self._cache.watchers.pop(self, None)

    def hostFound(self, host: CachedHost) -> None:
        """
        See L{IHostWatcher.hostFound<meshproxy.upstream.dnscache.IHostWatcher.hostFound>}.
        """
        if host.address is None:
            return
        endpoint = self._endpoints.get(host.key)
        if endpoint is None:
            self._endpoints[host.key] = Endpoint(host.address, host.key)
        else:
            # The same endpoint elsewhere: open connections stay.
            endpoint.address = host.address
        self._tell()

    def hostRemoved(self, host: CachedHost) -> None:
        """
        See L{IHostWatcher.hostRemoved<meshproxy.upstream.dnscache.IHostWatcher.hostRemoved>}.
        """
        if self._endpoints.pop(host.key, None) is not None:
            self._tell()

    def _tell(self) -> None:
        if self._found is not None:
            self._found(list(self._endpoints.values()))

    # Choice

    def heed(self, factor: int, weighsHealth: bool) -> None:
        """
        See L{IEndpointChooser.heed}: there is nothing to choose.
        """

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """
        See L{IEndpointChooser<meshproxy.upstream.balancers.loadbalancer.IEndpointChooser>}: it knows them.
        """

    def _chooseNone(self) -> Endpoint | None:
        return None

    def chooseFor(self, choice: IChoice | None) -> Endpoint | None:
        """
        See L{IEndpointChooser<meshproxy.upstream.balancers.loadbalancer.IEndpointChooser>}.
        """
        if choice is None:
            return None
        origin, port = choice.origin(), self._port
        if origin.asked is not None:
            authority, port = origin.asked[0], origin.asked[1] or port
        else:
            authority = getattr(origin.headers, "authority", b"").decode("latin-1")
        if not authority:
            return None
        endpoint = self._endpoints.get(hostKey(authority, port))
        if endpoint is not None and self._cache is not None:
            self._cache.touch(endpoint.hostname)
        return endpoint
