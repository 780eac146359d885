"""
The API over TLS: who a caller is, it says by a token or by a certificate of the mesh; being on the same machine counts
for nothing here.
"""

from __future__ import annotations

import hashlib
import json
import os
import ssl
import subprocess
import sys
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.process import ROOT, Proxy, connectable, freePorts, until

_RUN = "import sys; from meshproxy.controlplane.cli.main import main; sys.exit(main())"
_MESH = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shop}
spec: {hosts: [shop.example], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}
"""
_DEPLOYER = "spiffe://cluster.local/ns/ops/sa/deployer"


class SecureAPITests(SynchronousTestCase):
    """
    A control plane whose API has TLS.
    """

    def setUp(self) -> None:
        self.port, plain, secure = freePorts(3)
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        (self.folder / "mesh.yaml").write_text(_MESH)
        tokens = {"ci": ["read", "write"], "looker": ["read"], "issuer": ["issue"]}
        settings = {
            "rest": {"listen": {"port": self.port}, "tls": True},
            "xds": {"plain": {"port": plain}, "secure": {"port": secure}},
            "auth": {
                "tokens": [
                    {"name": name, "sha256": hashlib.sha256(f"{name}-token".encode()).hexdigest(), "roles": roles}
                    for name, roles in tokens.items()
                ],
                "identities": [{"id": _DEPLOYER, "roles": ["read", "write"]}],
                "local": [],
            },
        }
        (self.folder / "control.yaml").write_text(json.dumps(settings))
        arguments = ("--config", str(self.folder / "control.yaml"), "--data", str(self.folder / "data"))
        self.control = Proxy(self, *arguments, program=("meshproxy", "control"), folder=self.folder)
        until(lambda: connectable(self.port), "the control plane")
        # The authority's file has its key, too; the certificate alone is what others are given.
        root = x509.load_pem_x509_certificate((self.folder / "data" / "ca" / "root.pem").read_bytes())
        self.roots = str(self.folder / "root-cert.pem")
        Path(self.roots).write_bytes(root.public_bytes(Encoding.PEM))

    def ask(self, method: str, path: str, body: Any = None, token: str = "", cert: str = "") -> tuple[int, Any]:
        """
        A request, verified by the root of the mesh.

        @param cert: The files of a client certificate, without their ends.
        """
        context = ssl.create_default_context(cafile=self.roots)
        if cert:
            context.load_cert_chain(f"{cert}.pem", f"{cert}.key")
        connection = HTTPSConnection("localhost", self.port, context=context, timeout=60)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def certificate(self, account: str, namespace: str = "ops") -> str:
        """
        A certificate for a workload, by a token that may issue.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
        told = {
            "csr": request.public_bytes(Encoding.PEM).decode(),
            "serviceAccount": account,
            "namespace": namespace,
        }
        status, issued = self.ask("POST", "/v1/ca/certificates", told, "issuer-token")
        self.assertEqual(status, 201, issued)
        name = str(self.folder / account)
        Path(f"{name}.pem").write_text(issued["certificateChain"])
        Path(f"{name}.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return name

    def meshctl(self, *words: str, token: str = "", code: int = 0) -> str:
        """
        What C{meshctl} writes.
        """
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "MESHCTL_TOKEN": token}
        server = ("--server", f"https://localhost:{self.port}", "--ca-file", self.roots)
        command = [sys.executable, "-c", _RUN, *server, *words]
        done = subprocess.run(command, env=environment, cwd=self.folder, capture_output=True, timeout=60)
        out = (done.stdout + done.stderr).decode()
        self.assertEqual(done.returncode, code, out)
        return out

    def test_token(self) -> None:
        """
        A token does what its roles allow; none at all, and a wrong one, do nothing, on the same machine too.
        """
        path = "/apis/networking.istio.io/v1/namespaces/default/serviceentries"
        document = {"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": {"name": "a"}}
        spec = {"hosts": ["a.example"], "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}]}
        document["spec"] = {**spec, "resolution": "DNS"}
        codes = [self.ask("POST", path, document, token)[0] for token in ("", "nonsense", "looker-token", "ci-token")]
        self.assertEqual(codes, [401, 401, 403, 201])
        self.assertEqual(self.ask("GET", path, token="looker-token")[0], 200)
        self.assertEqual(self.ask("GET", path)[0], 401)
        self.assertEqual(self.ask("POST", "/v1/ca/tokens", {}, "ci-token")[0], 403)

    def test_certificate(self) -> None:
        """
        A certificate of the mesh says who asks: what its identity may, it may; that of another may nothing.
        """
        deployer, stranger = self.certificate("deployer"), self.certificate("stranger")
        same = self.certificate("deployer2", "elsewhere")
        self.assertEqual(self.ask("GET", "/v1/proxies", cert=deployer), (200, {"proxies": []}))
        for cert in (stranger, same):
            self.assertIn(self.ask("GET", "/v1/proxies", cert=cert)[0], (401, 403))
        self.assertEqual(self.ask("POST", "/v1/ca/tokens", {}, cert=deployer)[0], 403)

    def test_foreignCertificate(self) -> None:
        """
        A certificate that somebody else made, with the same name in it, does not even get as far as a request.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
        issued = x509.load_pem_x509_certificate(Path(self.roots).read_bytes())
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        builder = builder.serial_number(7).not_valid_before(issued.not_valid_before_utc)
        builder = builder.not_valid_after(issued.not_valid_after_utc)
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(_DEPLOYER)])
        forged = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
        path = str(self.folder / "forged")
        Path(f"{path}.pem").write_bytes(forged.public_bytes(Encoding.PEM))
        Path(f"{path}.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        try:
            status, _ = self.ask("GET", "/v1/proxies", cert=path)
        except OSError:
            return  # the handshake, or the connection right after it
        self.assertEqual(status, 401)

    def test_meshctl(self) -> None:
        """
        C{meshctl} does so with a token and with a certificate, and says what is missing.
        """
        self.assertIn("token", self.meshctl("get", "se", code=1))
        self.assertIn("ServiceEntry default/shop created", self.meshctl("apply", "-f", "mesh.yaml", token="ci-token"))
        self.assertIn("lacks the role 'write'", self.meshctl("apply", "-f", "mesh.yaml", token="looker-token", code=1))
        (self.folder / "token").write_text("looker-token\n")
        self.assertIn("shop", self.meshctl("--token-file", "token", "get", "se"))
        cert = self.certificate("deployer")
        self.assertIn("shop", self.meshctl("--cert", f"{cert}.pem", "--key", f"{cert}.key", "get", "se"))
        told = self.meshctl("--cert", f"{cert}.pem", "--key", f"{cert}.key", "history")
        self.assertIn("ci", told)

    def test_clear(self) -> None:
        """
        There is nothing to be had in clear.
        """
        from http.client import HTTPConnection, HTTPException

        connection = HTTPConnection("localhost", self.port, timeout=60)
        self.addCleanup(connection.close)
        with self.assertRaises((OSError, HTTPException)):
            connection.request("GET", "/version")
            connection.getresponse()
