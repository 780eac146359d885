"""
Impostors at a control plane that runs: who asks for another one's name, comes with a token that proves nothing, wants
another one's configuration or secrets, or writes without being allowed to. By a client that others wrote (C{grpcio}).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from meshproxy.config.pool import messageClass, newMessage
from meshproxy.identity.credential import newKey
from meshproxy.secrets.issuing import CREATE_CERTIFICATE, certificateMessages
from meshproxy.testing.pki import Authority
from meshproxy.xds.types import AGGREGATED_STREAM, CLUSTER, SECRET
from tests.integration.control import ControlTestCase, call
from tests.integration.process import until

try:
    import grpc
except ImportError:
    grpc = None

_WAIT = 60.0

_SHOP = """
apiVersion: v1
kind: Secret
metadata: {{name: front-cert, namespace: {namespace}}}
type: kubernetes.io/tls
data: {{tls.crt: {chain}, tls.key: {key}}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: front, namespace: {namespace}}}
spec:
  selector: {{app: gateway}}
  servers:
  - port: {{number: 8443, name: https, protocol: HTTPS}}
    hosts: ["*"]
    tls: {{mode: SIMPLE, credentialName: front-cert}}
"""


class ImpostorTests(ControlTestCase):
    """
    What is refused.
    """

    if grpc is None:
        skip = "grpcio is not installed"

    def token(self, account: str, namespace: str = "default", seconds: float = 600) -> str:
        """
        A bootstrap token.
        """
        asked = {"serviceAccount": account, "namespace": namespace, "ttlSeconds": seconds}
        token: str = self.ask("POST", "/v1/ca/tokens", json.dumps(asked).encode())["token"]
        return token

    def channel(self, key: Any = None, chain: str = "") -> Any:
        """
        A channel to the port with TLS, with a certificate or without.
        """
        roots = self.ask("GET", "/v1/ca/roots")["pem"].encode()
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) if key else None
        credentials = grpc.ssl_channel_credentials(roots, private, chain.encode() or None)
        channel = grpc.secure_channel(f"localhost:{self.xdsTLS}", credentials)
        self.addCleanup(channel.close)
        return channel

    def issue(self, channel: Any, key: Any, token: str = "", *names: str) -> list[str]:
        """
        Ask for a certificate.

        @param names: What the request asks to be called.
        """
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        if names:
            uris = [x509.UniformResourceIdentifier(name) for name in names]
            builder = builder.add_extension(x509.SubjectAlternativeName(uris), critical=False)
        request = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
        requestClass, responseClass = certificateMessages()
        message = requestClass(csr=request.decode()).SerializeToString()
        metadata = [("authorization", f"Bearer {token}")] if token else []
        answer = channel.unary_unary(CREATE_CERTIFICATE)(message, metadata=metadata, timeout=_WAIT)
        return list(responseClass.FromString(answer).cert_chain)

    def refusal(self, work: Any, *arguments: Any) -> tuple[str, str]:
        """
        How a call is refused: the status and its words.
        """
        error = self.assertRaises(grpc.RpcError, work, *arguments)
        return error.code().name, error.details()

    def member(self, account: str, namespace: str = "default") -> Any:
        """
        The channel of somebody with a certificate.
        """
        key = newKey()
        return self.channel(key, "".join(self.issue(self.channel(), key, self.token(account, namespace))[:2]))

    def discover(self, channel: Any, typeURL: str, *names: str, **node: Any) -> Any:
        """
        The first response to a request for resources.
        """
        request: Any = newMessage("envoy.service.discovery.v3.DiscoveryRequest")
        request.type_url = typeURL
        request.resource_names.extend(names)
        request.node.id = "router~127.0.0.1~gateway~x"
        told = {"NAMESPACE": "default", "SERVICE_ACCOUNT": "gateway", "LABELS": {"app": "gateway"}, **node}
        request.node.metadata.update(told)

        done: Future[None] = Future()

        def requests() -> Iterator[bytes]:
            yield request.SerializeToString()
            # The stream is to stay open until the answer is there.
            done.result()

        stream = channel.stream_stream(AGGREGATED_STREAM)(requests(), timeout=_WAIT)
        try:
            answer = next(iter(stream))
        finally:
            done.set_result(None)
            stream.cancel()
        return messageClass("envoy.service.discovery.v3.DiscoveryResponse").FromString(answer)

    def test_names(self) -> None:
        """
        Nobody gets a certificate of another name than the proven one, by a token or by a certificate.
        """
        other = "spiffe://cluster.local/ns/istio-system/sa/istiod"
        key = newKey()
        refused = self.refusal(self.issue, self.channel(), key, self.token("cart"), other)
        self.assertEqual(refused[0], "INVALID_ARGUMENT")
        self.assertIn(f"the request asks for {other}, but its sender is", refused[1])
        own = "spiffe://cluster.local/ns/default/sa/cart"
        self.assertEqual(self.refusal(self.issue, self.member("cart"), key, "", own, other)[0], "INVALID_ARGUMENT")
        (leaf,) = x509.load_pem_x509_certificates(self.issue(self.member("cart"), key)[0].encode())
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual([name.value for name in found], [own])

    def test_tokens(self) -> None:
        """
        A token that is used up, over, somebody's invention or another control plane's proves nothing, nor does none.
        """
        token, brief = self.token("cart"), self.token("cart", seconds=1e-6)
        self.issue(self.channel(), newKey(), token)

        def refused(sent: str) -> str:
            status, why = self.refusal(self.issue, self.channel(), newKey(), sent)
            self.assertEqual(status, "UNAUTHENTICATED")
            return why

        self.assertIn("used up", refused(token))
        self.assertIn("expired", refused(brief))
        self.assertIn("another control plane's", refused("mpboot-" + "A" * 43))
        self.assertIn("no bootstrap token", refused("eyJhbGciOiJub25lIn0.e30."))
        self.assertIn("a bootstrap token or a certificate of this mesh is needed", refused(""))

    def test_foreignCertificate(self) -> None:
        """
        A certificate of another authority that says to be of this mesh is not let in.
        """
        foreign = Authority().issue("spiffe://cluster.local/ns/default/sa/gateway")
        channel = self.channel(foreign.key, foreign.chain)
        self.assertEqual(self.refusal(self.issue, channel, newKey())[0], "UNAVAILABLE")
        self.assertEqual(self.refusal(self.discover, channel, CLUSTER)[0], "UNAVAILABLE")

    def test_configuration(self) -> None:
        """
        A proxy gets its own configuration; that of another workload or namespace is refused, as it is to who shows no
        certificate.
        """
        own = self.member("gateway")
        self.assertEqual(self.discover(own, CLUSTER).type_url, CLUSTER)
        for node in ({"NAMESPACE": "shop"}, {"SERVICE_ACCOUNT": "cart"}):
            status, why = self.refusal(lambda node=node: self.discover(own, CLUSTER, **node))
            self.assertEqual(status, "PERMISSION_DENIED")
            self.assertIn("its certificate spiffe://cluster.local/ns/default/sa/gateway", why)
        self.assertEqual(self.refusal(self.discover, self.channel(), CLUSTER)[0], "UNAUTHENTICATED")

    def test_secrets(self) -> None:
        """
        A gateway gets the secret of its own namespace by a name, and never that of another one.
        """
        texts = []
        for namespace in ("default", "shop"):
            issued = Authority(namespace).issue(f"{namespace}.test")
            chain, key = (base64.b64encode(text.encode()).decode() for text in (issued.chain, issued.keyText))
            self.apply(_SHOP.format(namespace=namespace, chain=chain, key=key))
            texts.append(issued.keyText.encode())
        channels = {name: self.member("gateway", name) for name in ("default", "shop")}

        def given(namespace: str) -> bytes:
            told = self.discover(channels[namespace], SECRET, "kubernetes://front-cert", NAMESPACE=namespace)
            if not told.resources:
                # What was applied is not served yet.
                return b""
            (packed,) = told.resources
            secret: Any = messageClass(SECRET.rpartition("/")[2]).FromString(packed.value)
            key: bytes = secret.tls_certificate.private_key.inline_bytes
            return key

        keys = [until(lambda name=namespace: given(name), "the secret") for namespace in channels]  # type: ignore[misc]
        self.assertEqual(keys, texts)
        status, _ = self.refusal(
            lambda: self.discover(channels["default"], SECRET, "kubernetes://front-cert", NAMESPACE="shop")
        )
        self.assertEqual(status, "PERMISSION_DENIED")

    def test_roles(self) -> None:
        """
        Without a role nothing is written, and nobody issued a token; what is refused changes nothing.
        """
        settings = json.loads((self.folder / "control.yaml").read_text())
        settings["auth"] = {"local": ["read"]}
        (self.folder / "control.yaml").write_text(json.dumps(settings))
        self.control.process.kill()
        self.control.process.wait()
        self.start()
        text = _SHOP.format(namespace="default", chain="", key="").encode()
        for path, body, contentType in (
            ("/v1/apply", text, "application/yaml"),
            ("/v1/delete", text, "application/yaml"),
            ("/v1/rollback", b'{"revision": 1}', "application/json"),
            ("/v1/ca/tokens", b'{"serviceAccount": "cart"}', "application/json"),
            ("/v1/ca/certificates", b'{"csr": "x", "serviceAccount": "cart"}', "application/json"),
            ("/apis/networking.istio.io/v1/namespaces/default/gateways", b"{}", "application/json"),
        ):
            self.assertEqual(call(self.rest, "POST", path, body, contentType)[0], 403, path)
        gateways = "/apis/networking.istio.io/v1/namespaces/default/gateways"
        self.assertEqual(self.ask("GET", gateways)["items"], [])
        for method in ("PUT", "PATCH", "DELETE"):
            kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
            self.assertEqual(call(self.rest, method, f"{gateways}/front", b"{}", kind)[0], 403, method)
        until(lambda: "POST /v1/ca/tokens 403" in self.control.log, "the refusal in the audit log")
