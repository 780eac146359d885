"""
A small mesh from resources, run by one process of either kind of proxy, and the questions that it is asked.
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from meshproxy.config.structure import Seconds
from meshproxy.controlplane.registry.registry import indexOf
from meshproxy.controlplane.translate.mesh import ExtAuthzHTTP, ExtensionProvider, MeshConfig
from meshproxy.controlplane.translate.proxy import DataPlane, Interception, Proxy, Role
from meshproxy.controlplane.translate.resourceset import ResourceSet
from meshproxy.controlplane.translate.translation import translate
from meshproxy.testing.pki import Authority
from tests.conformance.meshresources import EDGE, RESOURCES, SEALED, TOKENS
from tests.conformance.proxies import Proxy as Process
from tests.controlplane.given import resourcesOf
from tests.controlplane.translate.envoy import inlined
from tests.ports import freePorts

__all__ = ["Mesh", "answers", "running"]


class _Server(ThreadingHTTPServer):
    """
    A workload.
    """

    daemon_threads = True

    def __init__(self, name: str, address: tuple[str, int]) -> None:
        super().__init__(address, _Answers)
        self.name = name
        self.flaky = 0
        self.hold = threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """
        A proxy that closes its connection is no fault of ours.
        """


class _Answers(BaseHTTPRequestHandler):
    """
    Says who it is, and what it was asked.
    """

    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        """
        Answer; in a way that the path asks for.
        """
        status = 200
        if self.path == "/flaky":
            self.server.flaky += 1
            status = 503 if self.server.flaky % 2 else 200
        if self.path == "/broken":
            status = 503
        if self.server.name == "judge":
            status = 200 if self.headers.get("x-pass") and self.path == "/judge/ask" else 401
        if self.path == "/slow":
            self.server.hold.wait(2)
        names = ("host", "x-set", "x-gone", "x-envoy-attempt-count")
        told = {"who": self.server.name, "path": self.path, **{name: self.headers.get(name) for name in names}}
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *args: Any) -> None:
        """
        Silence.
        """


def _bootstrap(kind: str, text: str, ports: dict[str, int]) -> str:
    """
    The sidecar of a caller and those of two workloads, in one process, with one identity.
    """
    resources = resourcesOf(text)
    plane = DataPlane(kind)
    asked = ExtAuthzHTTP(
        service="judge.example.com",
        port=ports["JUDGE"],
        pathPrefix="/judge",
        includeRequestHeadersInCheck=["x-pass"],
        timeout=Seconds(2.0),
    )
    mesh = MeshConfig(extensionProviders=[ExtensionProvider(name="judge", envoyExtAuthzHttp=asked)])
    common: dict[str, Any] = {"namespace": "shop", "dataPlane": plane, "interception": Interception.NONE}
    caller = Proxy(id="caller", **common)
    guarded = Proxy(
        id="guarded", addresses=("127.0.0.5",), labels={"app": "guarded"}, applicationAddress="127.0.0.6", **common
    )
    sealed = Proxy(
        id="sealed", addresses=("127.0.0.7",), labels={"app": "sealed"}, applicationAddress="127.0.0.8", **common
    )
    edge = Proxy(id="edge", namespace="shop", dataPlane=plane, role=Role.ROUTER, labels={"istio": "ingress"})
    listeners: list[Any] = []
    clusters: dict[str, Any] = {}
    secrets: list[Any] = _identity("both")
    for proxy in (edge, guarded, sealed, caller):
        made = translate(proxy, mesh, ResourceSet(resources), indexOf(resources))
        for name, listener in made.listeners.items():
            isInbound = listener["trafficDirection"] == "INBOUND"
            if isInbound == (proxy is guarded or proxy is sealed):
                listeners.append({**inlined(listener, made.routes), "name": f"{proxy.id} {name}"})
        for name, cluster in made.clusters.items():
            one = inlined(cluster, made.routes)
            if one.pop("edsClusterConfig", None) is not None:
                one.update(type="STATIC", loadAssignment=made.endpoints[name])
            clusters[name] = one
        secrets += made.secrets.values()
    static = {"listeners": listeners, "clusters": list(clusters.values()), "secrets": secrets}
    return json.dumps({"staticResources": _static(static)})


def _static(value: Any) -> Any:
    """
    Secrets that stand in the bootstrap, instead of such that come by a stream.
    """
    if isinstance(value, list):
        return [_static(item) for item in value]
    if isinstance(value, dict):
        return {key: _static(held) for key, held in value.items() if key != "sdsConfig"}
    return value


@cache
def _root() -> Authority:
    """
    What signs all certificates, and the tokens.
    """
    return Authority("root")


@cache
def _pair(name: str) -> tuple[str, str]:
    """
    A certificate for a DNS name or an identity, and its key.
    """
    credential = _root().issue(name)
    return credential.chain, credential.keyText


def _encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _keys() -> str:
    """
    The key of the issuer of tokens, which is the root's.
    """
    numbers = _root().key.public_key().public_numbers()
    x, y = (_encoded(part.to_bytes(32, "big")) for part in (numbers.x, numbers.y))
    return json.dumps({"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "k", "x": x, "y": y}]})


def token(subject: str, group: str, spoilt: bool = False) -> str:
    """
    A token of the issuer (RFC 7515), perhaps with a signature that is not its own.
    """
    claims = {"iss": "issuer", "sub": subject, "groups": [group], "exp": 4102444800}
    parts = [_encoded(json.dumps(part).encode()) for part in ({"alg": "ES256", "kid": "k"}, claims)]
    text = ".".join(parts)
    signature = _root().key.sign(text.encode() + (b"!" if spoilt else b""), ec.ECDSA(hashes.SHA256()))
    r, s = decode_dss_signature(signature)
    return f"{text}.{_encoded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _identity(account: str) -> list[Any]:
    """
    The certificate of a service account, and the root of the mesh, as secrets.
    """
    chain, key = _pair(f"spiffe://cluster.local/ns/shop/sa/{account}")
    certificate = {"certificateChain": {"inlineString": chain}, "privateKey": {"inlineString": key}}
    return [
        {"name": "default", "tlsCertificate": certificate},
        {"name": "ROOTCA", "validationContext": {"trustedCa": {"inlineString": _root().root}}},
    ]


def _secret(name: str, host: str) -> str:
    """
    A Secret for a gateway, as text.
    """
    chain, key = _pair(host)
    values = {"tls.crt": chain, "tls.key": key, "ca.crt": _root().root}
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return (
        f"---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\ntype: kubernetes.io/tls\n"
        f"data: {json.dumps(data)}\n"
    )


class _Answer:
    """
    What a caller got.
    """

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        body = response.read().decode()
        self.text = body
        self.seen: dict[str, Any] = json.loads(body) if body.startswith("{") else {}


class Mesh:
    """
    A running mesh.
    """

    def __init__(self, ports: dict[str, int]) -> None:
        self._ports = ports

    def ask(self, path: str, host: str = "reviews", method: str = "GET", to: str = "CALLED", **headers: str) -> _Answer:
        """
        One request.
        """
        address = "127.0.0.5" if to == "INBOUND" else "127.0.0.1"
        connection = http.client.HTTPConnection(address, self._ports[to], timeout=60)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, headers={"Host": host, **named})
            return _Answer(connection.getresponse())
        finally:
            connection.close()

    def redirected(self) -> _Answer:
        """
        A request in clear at the edge.
        """
        connection = http.client.HTTPConnection("127.0.0.10", self._ports["CLEAR"], timeout=60)
        try:
            connection.request("GET", "/x", headers={"Host": "shop.example.com"})
            return _Answer(connection.getresponse())
        finally:
            connection.close()

    def secured(self, host: str, path: str, client: str = "") -> _Answer | None:
        """
        A request in TLS at the edge, perhaps with a certificate; L{None} if there is no answer.
        """
        context = ssl.create_default_context(cadata=_root().root)
        if client:
            with tempfile.NamedTemporaryFile("w") as file:
                file.write("".join(_pair(client)))
                file.flush()
                context.load_cert_chain(file.name)
        try:
            with (
                socket.create_connection(("127.0.0.10", self._ports["SECURE"]), 5) as plain,
                context.wrap_socket(plain, server_hostname=host) as connection,
            ):
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                response = http.client.HTTPResponse(connection)
                response.begin()
                return _Answer(response)
        except (OSError, http.client.HTTPException):
            return None

    def plain(self, address: str, to: str) -> bytes:
        """
        What a workload says to a caller in clear.
        """
        with socket.create_connection((address, self._ports[to]), 5) as connection:
            connection.sendall(b"GET /both HTTP/1.1\r\nHost: sealed\r\n\r\n")
            try:
                return connection.recv(100)
            except ConnectionError:
                return b""


@contextmanager
def running(kind: str) -> Iterator[Mesh]:
    """
    The mesh, run by one kind of proxy.
    """
    names = ("CALLED", "V1", "V2", "INBOUND", "SEALED", "INSIDE", "JUDGE", "CLEAR", "SECURE")
    ports = dict(zip(names, freePorts(len(names)), strict=True))
    text = RESOURCES + SEALED + EDGE + TOKENS
    for name, port in ports.items():
        text = text.replace(name, str(port))
    # Only now: keys are made by chance, and may have any of those names in them.
    text = text.replace("KEYS", _keys())
    text += _secret("shop", "shop.example.com") + _secret("known", "known.example.com")
    servers = [
        _Server("v1", ("127.0.0.1", ports["V1"])),
        _Server("v2", ("127.0.0.1", ports["V2"])),
        _Server("guarded", ("127.0.0.6", ports["INBOUND"])),
        _Server("judge", ("127.0.0.9", ports["JUDGE"])),
        _Server("sealed", ("127.0.0.8", ports["INSIDE"])),
    ]
    with tempfile.TemporaryDirectory() as folder:
        process = Process(kind, _bootstrap(kind, text, ports), Path(folder))
        try:
            process.ready("127.0.0.1", ports["CALLED"])
            process.ready("127.0.0.5", ports["INBOUND"])
            process.ready("127.0.0.10", ports["SECURE"])
            yield Mesh(ports)
        finally:
            for server in servers:
                server.hold.set()
            process.stop()
            for server in servers:
                server.shutdown()
                server.server_close()


@cache
def answers(kind: str) -> dict[str, Any]:
    """
    What one kind of proxy makes of every question.
    """
    told: dict[str, Any] = {}
    with running(kind) as mesh:
        told["default"] = mesh.ask("/")
        told["jason"] = mesh.ask("/", end_user="jason")
        told["full"] = mesh.ask("/", "reviews.shop.svc.cluster.local")
        told["rewritten"] = mesh.ask("/old/x?q=1", x_gone="g")
        told["kept"] = mesh.ask("/old/x", x_keep="k")
        told["direct"] = mesh.ask("/direct")
        told["elsewhere"] = mesh.ask("/elsewhere")
        told["flaky"] = mesh.ask("/flaky")
        told["broken"] = mesh.ask("/broken")
        told["slow"] = mesh.ask("/slow")
        told["fault"] = mesh.ask("/fault")
        told["nowhere"] = mesh.ask("/nowhere")
        told["unknown"] = mesh.ask("/", "unknown.example.com")
        told["open"] = mesh.ask("/open", to="INBOUND")
        told["posted"] = mesh.ask("/open", method="POST", to="INBOUND")
        told["closed"] = mesh.ask("/closed", to="INBOUND")
        told["bad"] = mesh.ask("/open", to="INBOUND", x_bad="b")
        told["asked"] = mesh.ask("/ask", to="INBOUND", x_pass="p")
        told["refused"] = mesh.ask("/ask", to="INBOUND")
        for name, given in (
            ("anna", token("anna", "staff")),
            ("guest", token("anna", "guests")),
            ("bert", token("bert", "staff")),
            ("spoilt", token("anna", "staff", spoilt=True)),
        ):
            told[name] = mesh.ask("/closed", method="POST", to="INBOUND", authorization=f"Bearer {given}")
        told["sealed"] = mesh.ask("/both", "sealed", to="SEALED")
        told["another"] = mesh.ask("/somebody", "sealed", to="SEALED")
        told["plain"] = mesh.plain("127.0.0.7", "INSIDE")
        told["redirected"] = mesh.redirected()
        told["edge"] = mesh.secured("shop.example.com", "/v2")
        told["edgeNowhere"] = mesh.secured("shop.example.com", "/x")
        told["edgeUnknown"] = mesh.secured("other.example.com", "/v2")
        told["edgeKnown"] = mesh.secured("known.example.com", "/v1", "client.example.com")
        told["edgeStranger"] = mesh.secured("known.example.com", "/v1", "stranger.example.com")
        told["edgeNobody"] = mesh.secured("known.example.com", "/v1")
    return told
