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
from meshproxy.config.sources import StreamSource, compileSource, compileStreamSource
from meshproxy.errors import ConnectFailed
from meshproxy.grpc.client import ChannelOptions, GRPCChannel
from meshproxy.interfaces import ICancellable
from meshproxy.upstream.clusters import Clusters
from meshproxy.upstream.transports import NO_WISH
from meshproxy.xds.client import Client, DeltaClient, WorldClient
from meshproxy.xds.types import AGGREGATED_DELTA, AGGREGATED_STREAM, CLUSTER, LISTENER

__all__ = ["DiscoverySettings", "StreamSettings", "channelTo", "compileDiscovery", "nodeOf", "staticClusters"]

_LARGEST = 64 * 1024 * 1024
"""
Bytes of a response: the clusters of a mesh of tens of thousands.
"""


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """
    How the control plane is asked that tells of everything.

    @ivar types: The types that are asked for without a name: clusters, listeners.
    @ivar timeout: Seconds until the proxy begins without them.
    """

    source: StreamSource
    types: tuple[str, ...]
    timeout: float

    @property
    def path(self) -> str:
        """
        The method.
        """
        return AGGREGATED_DELTA if self.source.isDelta else AGGREGATED_STREAM

    def client(self, node: Any) -> Client:
        """
        The client of the variant.
        """
        client: Client = DeltaClient(node) if self.source.isDelta else WorldClient(node)
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
        found = compileSource(section, dynamic, name, ads is not None)
        if found.path:
            files[typeURL] = found.path
        else:
            types.append(typeURL)
            timeouts.append(found.timeout)
    stream = None
    if ads is not None:
        source = compileStreamSource(ads, staticClusters(bootstrap))
        if source is not None:
            stream = StreamSettings(source, tuple(types), max(timeouts, default=0.0))
    return DiscoverySettings(stream, files)


def staticClusters(bootstrap: Section) -> list[str]:
    """
    The names of the clusters that stand in a bootstrap.
    """
    return [cluster.get("name") for cluster in bootstrap.childOrEmpty("static_resources").children("clusters")]


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


def channelTo(source: StreamSource, clusters: Clusters, reactor: Any) -> GRPCChannel:
    """
    Calls to the control plane, through the connections of its cluster: its endpoints, its TLS.
    """

    def connect(protocol: Any, failed: Callable[[Exception], object]) -> ICancellable:
        cluster = clusters.byName.get(source.cluster)
        endpoint = None if cluster is None else cluster.chooseEndpoint()
        if cluster is None or endpoint is None:
            call = reactor.callLater(0, failed, ConnectFailed(f"{source.cluster} has no endpoint"))
            return _Cancellable(call)
        connector = cluster.transports.connector(endpoint, NO_WISH, (b"h2",))
        timeout = cluster.settings.connectTimeout
        return connector.connect(endpoint.address, protocol, failed, timeout, 1 << 20)

    authority = source.authority.encode("latin-1", "replace")
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
