"""
A proxy in memory whose configuration comes from a control plane in memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.json_format import ParseDict
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.pool import descriptorPool, newMessage
from meshproxy.controlplane.snapshot.snapshot import Snapshot
from meshproxy.controlplane.xds.server import XDSServer
from meshproxy.grpc.server import GRPCServer
from meshproxy.net.address import Address
from meshproxy.testing.clock import VirtualReactor
from meshproxy.testing.network import MemoryNetwork
from meshproxy.testing.proxy import MemoryProxy

__all__ = ["XDSTestCase", "answering", "cluster", "endpoints", "listener", "routes", "scope", "scopedListener"]

CONTROL = Address("192.0.2.9", 15010)
ADS = {"ads": {}, "resourceApiVersion": "V3"}
_HTTP2 = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "envoy.extensions.filters.http.router.v3.Router"
_PREFIX = "type.googleapis.com/"

JSON = dict[str, Any]


def cluster(name: str, **more: Any) -> JSON:
    """
    A cluster whose endpoints come by EDS.
    """
    return {"name": name, "type": "EDS", "edsClusterConfig": {"edsConfig": ADS}, **more}


def endpoints(name: str, *addresses: str) -> JSON:
    """
    Endpoints of a cluster, on port 80.
    """
    told = [{"endpoint": {"address": {"socketAddress": {"address": one, "portValue": 80}}}} for one in addresses]
    return {"clusterName": name, "endpoints": [{"lbEndpoints": told}]}


def routes(name: str, target: str, prefix: str = "/") -> JSON:
    """
    Routes that lead all to one cluster.
    """
    host = {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": prefix}, "route": {"cluster": target}}]}
    return {"name": name, "virtualHosts": [host]}


def listener(name: str = "in", port: int = 80, rds: str = "r", source: JSON = ADS, **more: Any) -> JSON:
    """
    A listener whose routes come by RDS.

    @param source: From where.
    """
    manager = {
        "@type": _PREFIX + _MANAGER,
        "statPrefix": "in",
        "rds": {"routeConfigName": rds, "configSource": source},
        "httpFilters": [{"name": "envoy.filters.http.router", "typedConfig": {"@type": _PREFIX + _ROUTER}}],
        **more,
    }
    return {
        "name": name,
        "address": {"socketAddress": {"address": "192.0.2.1", "portValue": port}},
        "filterChains": [{"filters": [{"name": "manager", "typedConfig": manager}]}],
    }


def scopedListener(name: str = "in", port: int = 80, source: JSON = ADS, ofRoutes: JSON = ADS, **more: Any) -> JSON:
    """
    A listener whose scopes come by SRDS, chosen by C{x-scope}.

    @param source: From where.
    @param ofRoutes: From where the routes come that they name.
    """
    scoped = {
        "name": "scopes",
        "scopeKeyBuilder": {"fragments": [{"headerValueExtractor": {"name": "x-scope", "index": 0}}]},
        "rdsConfigSource": ofRoutes,
        "scopedRds": {"scopedRdsConfigSource": source},
    }
    made = listener(name, port, scopedRoutes=scoped, **more)
    del made["filterChains"][0]["filters"][0]["typedConfig"]["rds"]
    return made


def scope(name: str, key: str, rds: str = "", **more: Any) -> JSON:
    """
    A scope whose routes come by RDS.
    """
    named = {"routeConfigurationName": rds} if rds else {}
    return {"name": name, "key": {"fragments": [{"stringKey": key}]}, **named, **more}


def answering(name: str, says: str) -> JSON:
    """
    Routes that are answered at once.
    """
    reply = {"status": 200, "body": {"inlineString": says}}
    host = {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "directResponse": reply}]}
    return {"name": name, "virtualHosts": [host]}


class Source:
    """
    A snapshot for all proxies, which a test changes.
    """

    def __init__(self, reactor: VirtualReactor) -> None:
        self.snapshot = Snapshot()
        self._reactor = reactor
        self._told: list[Callable[[Snapshot], object]] = []
        self.nodes: list[Mapping[str, Any]] = []

    def attach(self, node: Mapping[str, Any], changed: Callable[[Snapshot], object]) -> Callable[[], object]:
        """
        See L{meshproxy.controlplane.xds.server.ISource}.
        """
        self.nodes.append(node)
        self._told.append(changed)
        call = self._reactor.callLater(0, changed, self.snapshot)

        def detach() -> None:
            self._told.remove(changed)
            if call.active():
                call.cancel()

        return detach

    def set(self, **resources: list[JSON]) -> None:
        """
        Have something else: C{clusters}, C{endpoints}, C{listeners}, C{routes}, C{scopes}, C{filters}, C{secrets},
        C{hosts}.
        """
        types = {
            "clusters": ("envoy.config.cluster.v3.Cluster", "name"),
            "endpoints": ("envoy.config.endpoint.v3.ClusterLoadAssignment", "clusterName"),
            "listeners": ("envoy.config.listener.v3.Listener", "name"),
            "routes": ("envoy.config.route.v3.RouteConfiguration", "name"),
            "filters": ("envoy.config.core.v3.TypedExtensionConfig", "name"),
            "scopes": ("envoy.config.route.v3.ScopedRouteConfiguration", "name"),
            "hosts": ("envoy.config.route.v3.VirtualHost", "name"),
            "secrets": ("envoy.extensions.transport_sockets.tls.v3.Secret", "name"),
        }
        messages: dict[str, dict[str, Any]] = {}
        for kind, (typeName, key) in types.items():
            messages[typeName] = {
                one[key]: ParseDict(one, newMessage(typeName), descriptor_pool=descriptorPool())
                for one in resources.get(kind, [])
            }
        self.snapshot = Snapshot.of(messages, self.snapshot)
        for changed in list(self._told):
            changed(self.snapshot)


class XDSTestCase(SynchronousTestCase):
    """
    A control plane, and a proxy that asks it.

    @cvar variant: How they speak.
    """

    variant = "GRPC"

    def setUp(self) -> None:
        self.reactor = VirtualReactor()
        self.network = MemoryNetwork(self.reactor)
        self.source = Source(self.reactor)
        self.xds = XDSServer(self.source, self.reactor)
        self.server = GRPCServer(self.xds.methods(), self.reactor)
        self.listening = self.network.listen(CONTROL, self.server.buildProtocol)

    def bootstrap(self, **static: Any) -> str:
        """
        A bootstrap that takes all from the control plane.
        """
        address = {"socket_address": {"address": CONTROL.host, "port_value": CONTROL.port}}
        http2 = {"@type": _PREFIX + _HTTP2, "explicit_http_config": {"http2_protocol_options": {}}}
        control = {
            "name": "xds",
            "type": "STATIC",
            "typed_extension_protocol_options": {_HTTP2: http2},
            "load_assignment": {
                "cluster_name": "xds",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
            },
        }
        service = {
            "envoy_grpc": {"cluster_name": "xds"},
            "initial_metadata": [{"key": "X-Meta", "value": "1"}],
        }
        return json.dumps(
            {
                "node": {"id": "p1", "cluster": "c1", "metadata": {"NAMESPACE": "default"}},
                "dynamic_resources": {
                    "ads_config": {"api_type": self.variant, "transport_api_version": "V3", "grpc_services": [service]},
                    "cds_config": ADS,
                    "lds_config": ADS,
                },
                "static_resources": {**static, "clusters": [control, *static.get("clusters", [])]},
            }
        )

    def start(self, **static: Any) -> MemoryProxy:
        """
        Start the proxy.
        """
        self.proxy = MemoryProxy(self.bootstrap(**static), self.network)
        self.addCleanup(self._stop)
        return self.proxy

    def _stop(self) -> None:
        self.proxy.server.stopService()
        self.reactor.advance(60)

    def change(self, **resources: list[JSON]) -> None:
        """
        Have other resources, and let happen what follows at once.
        """
        self.source.set(**resources)
        self.reactor.settle()

    def get(self, path: str = "/", port: int = 80) -> int:
        """
        How a request is answered.
        """
        return self.proxy.request("GET", path, to=f"192.0.2.1:{port}").status

    def states(self) -> dict[str, str]:
        """
        What the proxy said to the last response of each type: nothing, or its words.
        """
        (connected,) = self.xds.connected()
        return {
            typeURL.rpartition(".")[2]: "" if one.rejection is None else one.rejection.message
            for typeURL, one in connected.session.subscriptions.items()
        }
