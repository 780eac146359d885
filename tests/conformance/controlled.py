"""
A proxy with a control plane of its own, whose words a test changes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.threads import deferToThread

from meshproxy.controlplane.xds.server import XDSServer
from meshproxy.grpc.server import GRPCServer
from tests.conformance.proxies import Proxy
from tests.integration.process import fetch, freePorts
from tests.integration.xdssource import ChangingSource

__all__ = ["ADS", "JSON", "MANAGER", "PREFIX", "ROUTER", "Controlled", "addressOf", "later"]

reactor: Any = installed

JSON = dict[str, Any]

PREFIX = "type.googleapis.com/envoy."
MANAGER = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = {"@type": PREFIX + "extensions.filters.http.router.v3.Router"}
ADS: JSON = {"ads": {}, "resource_api_version": "V3"}
_HTTP2 = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": PREFIX + "extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
}


def addressOf(port: int) -> JSON:
    """
    A port of this machine.
    """
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def later(seconds: float) -> Deferred[None]:
    """
    Some time from now.
    """
    made: Deferred[None] = Deferred()
    reactor.callLater(seconds, made.callback, None)
    return made


class Controlled:
    """
    One of the proxies, and its control plane.

    @ivar front: A port for its listener.
    @ivar admin: That of its admin.
    @ivar port: That of its control plane.
    """

    def __init__(self, kind: str, variant: str, folder: Path) -> None:
        """
        @param variant: How they speak: C{GRPC} or C{DELTA_GRPC}.
        """
        self.kind, self.variant, self.folder = kind, variant, folder
        folder.mkdir()
        self.front, self.admin, self.port = freePorts(3)
        self.source = ChangingSource()
        self.resources = self.first()
        self.source.set(self.resources)
        self.xds = XDSServer(self.source, reactor)
        self.server: Any = None
        self.listening: Any = None
        self.proxy: Proxy | None = None

    def first(self) -> dict[str, dict[str, JSON]]:
        """
        What the control plane says first: resources by type and name.
        """
        raise NotImplementedError

    def listen(self) -> None:
        """
        Have the control plane be there.
        """
        self.server = GRPCServer(self.xds.methods(), reactor)
        self.listening = reactor.listenTCP(self.port, self.server, interface="127.0.0.1")

    def leave(self) -> Any:
        """
        Have it go away.
        """
        self.server.stop()
        return self.listening.stopListening()

    def start(self) -> None:
        """
        Start the proxy.
        """
        self.proxy = Proxy(self.kind, json.dumps(self.bootstrap()), self.folder)

    @inlineCallbacks
    def stop(self) -> Any:
        """
        End both.
        """
        assert self.proxy is not None
        yield deferToThread(self.proxy.stop)
        yield self.leave()
        yield later(0.05)

    def service(self, variant: str) -> JSON:
        """
        How the control plane is reached.
        """
        services = [{"envoy_grpc": {"cluster_name": "xds"}}]
        return {"api_type": variant, "transport_api_version": "V3", "grpc_services": services}

    def bootstrap(self) -> JSON:
        """
        All but the control plane comes from it.
        """
        return {
            "node": {"id": "one", "cluster": "all"},
            "admin": {"address": addressOf(self.admin)},
            "dynamic_resources": {"ads_config": self.service(self.variant), "cds_config": ADS, "lds_config": ADS},
            "static_resources": {
                "clusters": [
                    {
                        "name": "xds",
                        "typed_extension_protocol_options": _HTTP2,
                        "load_assignment": self.assignment("xds", self.port),
                    }
                ]
            },
        }

    def assignment(self, name: str, *ports: int) -> JSON:
        """
        Endpoints on this machine.
        """
        return {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": addressOf(port)}}]} for port in ports],
        }

    def say(self, resources: dict[str, dict[str, JSON]]) -> None:
        """
        Have the control plane say something else of some types.
        """
        self.resources = {**self.resources, **resources}
        self.source.set(self.resources)

    def stats(self) -> dict[str, int]:
        """
        What is counted now; nothing where there is no admin yet.
        """
        try:
            _, body = fetch(self.admin, "/stats?format=json")
        except OSError:
            return {}
        return {one["name"]: one["value"] for one in json.loads(body)["stats"] if "name" in one}
