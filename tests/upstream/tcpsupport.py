"""
A proxy of bytes in memory, with both of its peers in a test's hands.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from meshproxy.config.pool import typeURL
from meshproxy.net.address import Address
from meshproxy.testing import MemoryNetwork, MemoryProxy, Peer, VirtualReactor

__all__ = ["BACKEND", "BytesProxy", "Message", "endpointsOf", "tcpBootstrap"]

Message = dict[str, Any]

#: Where the endpoint of the cluster C{backend} is.
BACKEND = "127.0.0.1:9000"

_TCP_PROXY = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
_STDOUT = "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"
_FORMAT = (
    "%ACCESS_LOG_TYPE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_HOST% %UPSTREAM_REQUEST_ATTEMPT_COUNT%"
)


def endpointsOf(name: str, *ports: int) -> Message:
    """
    A C{ClusterLoadAssignment} of endpoints on 127.0.0.1.
    """
    endpoints = [{"endpoint": {"address": _address(port)}} for port in ports]
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]}


def _address(port: int) -> Message:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def tcpBootstrap(
    config: Message | None = None,
    cluster: Message | None = None,
    listener: Message | None = None,
    format: str = _FORMAT,
    clusters: tuple[Message, ...] = (),
    before: tuple[Message, ...] = (),
) -> str:
    """
    A listener with a tcp_proxy of the C{stat_prefix} C{test}, and the cluster C{backend}.

    @param config: More fields of the C{TcpProxy}; C{cluster} and C{listener} likewise.
    @param clusters: More clusters.
    @param before: Network filters before it.
    """
    text = {"text_format_source": {"inline_string": format + "\n"}}
    proxy = {
        "@type": typeURL(_TCP_PROXY),
        "stat_prefix": "test",
        "access_log": [{"name": "log", "typed_config": {"@type": typeURL(_STDOUT), "log_format": text}}],
        **({} if config and "weighted_clusters" in config else {"cluster": "backend"}),
        **(config or {}),
    }
    filters = [*before, {"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]
    front = {"name": "front", "address": _address(10000), "filter_chains": [{"filters": filters}], **(listener or {})}
    backend = {"name": "backend", "type": "STATIC", "connect_timeout": "1s", **(cluster or {})}
    backend.setdefault("load_assignment", endpointsOf("backend", 9000))
    return json.dumps({"static_resources": {"listeners": [front], "clusters": [backend, *clusters]}})


class BytesProxy:
    """
    A running proxy and its peers.

    @ivar proxy: The proxy.
    @ivar upstreams: The backend's ends of its connections, in order.
    """

    def __init__(
        self,
        config: Message | None = None,
        network: MemoryNetwork | None = None,
        chance: Callable[[], float] = lambda: 0.5,
        listening: bool = True,
        **more: Any,
    ) -> None:
        """
        @param listening: Whether somebody listens at L{BACKEND}.
        @param more: For L{tcpBootstrap}.
        """
        network = network or MemoryNetwork(VirtualReactor())
        self.proxy = MemoryProxy(tcpBootstrap(config, **more), network, chance=chance)
        self.upstreams: list[Peer] = []
        if listening:
            self.listen(9000)

    def listen(self, port: int) -> None:
        """
        Have a backend accept at a port.
        """
        self.proxy.network.listen(Address("127.0.0.1", port), self._accept)

    def _accept(self, address: Address) -> Peer:
        peer = Peer()
        self.upstreams.append(peer)
        return peer

    def connect(self) -> Peer:
        """
        A downstream that is connected.
        """
        peer = Peer()
        self.proxy.connect(peer)
        return peer

    def pair(self) -> tuple[Peer, Peer]:
        """
        A downstream, and the upstream that it got.
        """
        downstream = self.connect()
        return downstream, self.upstreams[-1]

    def settle(self) -> None:
        """
        Let everything happen that takes no time.
        """
        self.proxy.settle()

    def stats(self, prefix: str) -> dict[str, int]:
        """
        What is not 0 of the counters and gauges under a prefix, without it.
        """
        found = self.proxy.stats(prefix)
        return {name.removeprefix(prefix): value for name, value in found.items() if value}
