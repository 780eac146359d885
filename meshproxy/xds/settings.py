# -*- test-case-name: tests.xds.test_dynamic -*-
"""
C{dynamic_resources} of a bootstrap: what comes by xDS, and from where.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from zope.interface import implementer

from meshproxy import __version__
from meshproxy.config import Section
from meshproxy.config.pool import newMessage
from meshproxy.config.sources import compileSource
from meshproxy.errors import ConnectFailed
from meshproxy.grpc.client import ChannelOptions, GRPCChannel
from meshproxy.interfaces import ICancellable
from meshproxy.upstream.clusters import Clusters
from meshproxy.upstream.transports import NO_WISH
from meshproxy.xds.client import Client, DeltaClient, WorldClient
from meshproxy.xds.types import AGGREGATED_DELTA, AGGREGATED_STREAM, CLUSTER, LISTENER

__all__ = ["DiscoverySettings", "StreamSettings", "channelTo", "compileDiscovery", "nodeOf"]

_DELTA = ("DELTA_GRPC", "AGGREGATED_DELTA_GRPC")

_LARGEST = 64 * 1024 * 1024
"""
Bytes of a response: the clusters of a mesh of tens of thousands.
"""


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """
    How a control plane is asked.

    @ivar cluster: The name of the control plane's cluster.
    @ivar isDelta: Which variant is spoken.
    @ivar types: The types that are asked for without a name: clusters, listeners.
    @ivar timeout: Seconds until the proxy begins without them.
    @ivar metadata: Further fields of the requests.
    """

    cluster: str
    authority: str
    isDelta: bool
    types: tuple[str, ...]
    timeout: float
    metadata: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def path(self) -> str:
        """
        The method.
        """
        return AGGREGATED_DELTA if self.isDelta else AGGREGATED_STREAM

    def client(self, node: Any) -> Client:
        """
        The client of the variant.
        """
        client: Client = DeltaClient(node) if self.isDelta else WorldClient(node)
        for typeURL in self.types:
            client.want(typeURL, None)
        return client


@dataclass(frozen=True, slots=True)
class DiscoverySettings:
    """
    Where configuration comes from.

    @ivar stream: The control plane, or L{None}.
    @ivar files: Paths, by the type of what is in them: clusters, listeners.
    """

    stream: StreamSettings | None = None
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def types(self) -> frozenset[str]:
        """
        The types that have to be there before the proxy is.
        """
        return frozenset((*self.files, *(() if self.stream is None else self.stream.types)))


def compileDiscovery(bootstrap: Section) -> DiscoverySettings:
    """
    Read it. Faults go to the report.
    """
    dynamic = bootstrap.child("dynamic_resources")
    if dynamic is None:
        return DiscoverySettings()
    ads = dynamic.child("ads_config")
    types, timeouts, files = [], [], {}
    for name, typeURL in (("cds_config", CLUSTER), ("lds_config", LISTENER)):
        section = dynamic.child(name)
        if section is None:
            continue
        source = compileSource(section, dynamic, name, ads is not None)
        if source.path:
            files[typeURL] = source.path
        else:
            types.append(typeURL)
            timeouts.append(source.timeout)
    stream = None
    if ads is not None:
        stream = _compileStream(bootstrap, ads, tuple(types), max(timeouts, default=0.0))
    return DiscoverySettings(stream, files)


def _compileStream(bootstrap: Section, ads: Section, types: tuple[str, ...], timeout: float) -> StreamSettings | None:
    services = ads.children("grpc_services")
    service = services[0].child("envoy_grpc") if services else None
    if service is None or len(services) > 1:
        ads.refuse("one service with envoy_grpc is needed", "grpc_services")
        return None
    name = service.get("cluster_name")
    static = bootstrap.childOrEmpty("static_resources")
    known = [cluster.get("name") for cluster in static.children("clusters")]
    if name not in known:
        service.refuse(f"there is no static cluster {name!r}", "cluster_name", known)
    metadata = tuple(
        (one.get("key").lower().encode("latin-1", "replace"), one.get("value").encode("latin-1", "replace"))
        for one in services[0].children("initial_metadata")
    )
    authority = service.get("authority") or name
    return StreamSettings(name, authority, ads.get("api_type") in _DELTA, types, timeout, metadata)


def nodeOf(bootstrap: Section, nodeId: str, cluster: str, zone: str) -> Any:
    """
    Who this proxy says that it is.
    """
    node: Any = newMessage("envoy.config.core.v3.Node")
    held = bootstrap.child("node")
    if held is not None:
        node.CopyFrom(held.message)
    node.id = nodeId or node.id
    node.cluster = cluster or node.cluster
    if zone:
        node.locality.zone = zone
    node.user_agent_name = "meshproxy"
    version = node.user_agent_build_version.version
    version.major_number, version.minor_number, version.patch = (int(part) for part in __version__.split(".")[:3])
    return node


def channelTo(settings: StreamSettings, clusters: Clusters, reactor: Any) -> GRPCChannel:
    """
    Calls to the control plane, through the connections of its cluster: its endpoints, its TLS.
    """

    def connect(protocol: Any, failed: Callable[[Exception], object]) -> ICancellable:
        cluster = clusters.byName.get(settings.cluster)
        endpoint = None if cluster is None else cluster.chooseEndpoint()
        if cluster is None or endpoint is None:
            call = reactor.callLater(0, failed, ConnectFailed(f"{settings.cluster} has no endpoint"))
            return _Cancellable(call)
        connector = cluster.transports.connector(endpoint, NO_WISH, (b"h2",))
        timeout = cluster.settings.connectTimeout
        return connector.connect(endpoint.address, protocol, failed, timeout, 1 << 20)

    authority = settings.authority.encode("latin-1", "replace")
    return GRPCChannel(connect, reactor, ChannelOptions(authority=authority, maxMessage=_LARGEST))


@implementer(ICancellable)
class _Cancellable:
    """
    A call that may be cancelled.
    """

    def __init__(self, call: Any) -> None:
        self._call = call

    def cancel(self) -> None:
        """
        See L{ICancellable.cancel}.
        """
        if self._call.active():
            self._call.cancel()
