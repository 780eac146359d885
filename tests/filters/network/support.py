"""
Proxies with network filters and listener filters, in memory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.protocol import Protocol

from meshproxy.config.pool import typeURL
from meshproxy.errors import ConfigErrors
from meshproxy.net.address import Address
from meshproxy.testing import MemoryProxy, Peer

__all__ = ["PORT", "BytesBackend", "FilterProxy", "bootstrapOf", "filterOf", "refusals"]

PORT = 10000
_BACKEND = 9000

_NETWORK = "envoy.extensions.filters.network."
_LISTENER = "envoy.extensions.filters.listener."

#: The messages that configure filters, by the names that tests use.
MESSAGES = {
    "connection_limit": _NETWORK + "connection_limit.v3.ConnectionLimit",
    "direct_response": _NETWORK + "direct_response.v3.Config",
    "echo": _NETWORK + "echo.v3.Echo",
    "local_ratelimit": _NETWORK + "local_ratelimit.v3.LocalRateLimit",
    "rbac": _NETWORK + "rbac.v3.RBAC",
    "set_filter_state": _NETWORK + "set_filter_state.v3.Config",
    "sni_cluster": _NETWORK + "sni_cluster.v3.SniCluster",
    "sni_dynamic_forward_proxy": _NETWORK + "sni_dynamic_forward_proxy.v3.FilterConfig",
    "tcp_proxy": _NETWORK + "tcp_proxy.v3.TcpProxy",
    "http_inspector": _LISTENER + "http_inspector.v3.HttpInspector",
    "listener_ratelimit": _LISTENER + "local_ratelimit.v3.LocalRateLimit",
    "proxy_protocol": _LISTENER + "proxy_protocol.v3.ProxyProtocol",
    "tls_inspector": _LISTENER + "tls_inspector.v3.TlsInspector",
}

LOG = (
    "%RESPONSE_FLAGS% %DOWNSTREAM_LOCAL_CLOSE_REASON% %CONNECTION_TERMINATION_DETAILS% %BYTES_RECEIVED% %BYTES_SENT%\n"
)

TCP = {"stat_prefix": "t", "cluster": "backend"}

Message = dict[str, Any]


def accessLog(text: str = LOG) -> list[Message]:
    """
    An access log on stdout.
    """
    message = "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"
    config = {"@type": typeURL(message), "log_format": {"text_format_source": {"inline_string": text}}}
    return [{"name": "log", "typed_config": config}]


def filterOf(name: str, fields: Mapping[str, Any] | None = None) -> Message:
    """
    A filter by the name that tests use, or a custom one.
    """
    if name not in MESSAGES:
        url = typeURL("xds.type.v3.TypedStruct")
        return {"name": name, "typed_config": {"@type": url, "type_url": name, "value": dict(fields or {})}}
    return {"name": name, "typed_config": {"@type": typeURL(MESSAGES[name]), **(fields or {})}}


def _endpoint(port: int) -> Message:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {"lb_endpoints": [{"endpoint": {"address": address}}]}


def bootstrapOf(
    *filters: tuple[str, Message],
    before: Sequence[tuple[str, Message]] = (),
    chains: Sequence[Message] | None = None,
    cluster: Mapping[str, Any] | None = None,
    **listener: Any,
) -> str:
    """
    A bootstrap with one listener and the cluster C{backend}.

    @param filters: The network filters of its one chain, names and fields.
    @param before: The listener filters.
    @param chains: All chains, instead of the one.
    @param cluster: More fields of the clusters.
    @param listener: More fields of the listener.
    """
    made = {
        "name": "l",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": PORT}},
        "listener_filters": [filterOf(*each) for each in before],
        "filter_chains": chains or [{"filters": [filterOf(*each) for each in filters]}],
        **listener,
    }
    clusters = [
        {
            "name": name,
            "type": "STATIC",
            "load_assignment": {"cluster_name": name, "endpoints": [_endpoint(port)]},
            **(cluster or {}),
        }
        for name, port in (("backend", _BACKEND), ("other", _BACKEND + 1))
    ]
    return json.dumps({"static_resources": {"listeners": [made], "clusters": clusters}})


def refusals(*filters: tuple[str, Message], **more: Any) -> str:
    """
    What is wrong with a bootstrap.
    """
    try:
        MemoryProxy(bootstrapOf(*filters, **more))
    except ConfigErrors as errors:
        return str(errors)
    raise AssertionError("nothing was refused")


class BytesBackend:
    """
    An upstream that keeps what it gets.

    @ivar peers: Its connections.
    """

    def __init__(self, proxy: MemoryProxy, port: int = _BACKEND) -> None:
        self.peers: list[Peer] = []
        proxy.network.listen(Address("127.0.0.1", port), self._accept)

    def _accept(self, peer: Address) -> Protocol:
        self.peers.append(Peer())
        return self.peers[-1]

    @property
    def received(self) -> list[bytes]:
        """
        What came on each connection.
        """
        return [peer.received for peer in self.peers]


class FilterProxy:
    """
    A proxy with some filters, and an upstream.
    """

    def __init__(self, *filters: tuple[str, Message], custom: Any = None, **more: Any) -> None:
        """
        @param custom: Filters of the test, by name.
        @param more: As for L{bootstrapOf}.
        """
        self.proxy = MemoryProxy(bootstrapOf(*filters, **more), filters=custom)
        self.backend = BytesBackend(self.proxy)

    def talk(self, *pieces: bytes, source: str = "127.0.0.1", limit: float = 0.125) -> Peer:
        """
        Connect and send pieces, with a little time after each.
        """
        peer = Peer()
        self.proxy.connect(peer, source=source)
        for piece in pieces:
            if peer.lost is None:
                peer.write(piece)
            self.proxy.advance(limit)
        self.proxy.settle()
        return peer

    def stat(self, name: str) -> int:
        """
        A metric.
        """
        return int(self.proxy.stat(name))

    @property
    def log(self) -> list[str]:
        """
        The lines of the access log.
        """
        self.proxy.advance(2)
        return [line.strip() for line in self.proxy.accessLog]
