"""
The control plane as its users run it, with gateways of both kinds: by the API in, by xDS out.
"""

from __future__ import annotations

import json
import signal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.integration.control import ControlTestCase, call, resources
from tests.integration.process import until


class ControlTests(ControlTestCase):
    """
    C{twistd meshproxy control} and an Envoy that takes all from it.
    """

    def _follow(self, variant: str) -> None:
        # The control plane's own API stands for a service: it answers 200, or 404.
        text = resources(self.gateway, self.rest)
        self.apply(text)
        self.dataPlane(variant, self.node())
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
        _, stats = call(self.admin, "GET", "/stats?filter=rejected")
        self.assertEqual([line for line in stats.decode().splitlines() if not line.endswith(": 0")], [])

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
        text = resources(self.gateway, self.rest)
        self.apply(text)
        self.dataPlane("GRPC", self.node())
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
        self.apply(resources(self.gateway, self.rest))
        self.dataPlane("GRPC", self.node("gateway"), secure)
        until(lambda: self.status("/shop") == 404, "the gateway's route")
        (proxy,) = self.ask("GET", "/v1/proxies")["proxies"]
        self.assertEqual(proxy["identity"], "spiffe://cluster.local/ns/default/sa/gateway")


class OwnDataPlaneTests(ControlTests):
    """
    The same, with this project's own proxy.
    """

    engine = "meshproxy"

    def test_portInUse(self) -> None:
        """
        A port that somebody else has cannot be had; what was there before serves on, and what comes after is taken.
        """
        text = resources(self.gateway, self.rest)
        self.apply(text)
        self.dataPlane("GRPC", self.node())
        until(lambda: self.status("/shop") == 404, "the gateway's route")
        taken = self.gateway
        self.apply(text.replace(f"number: {taken}", f"number: {self.rest}"))
        self.assertEqual(self.status("/shop"), 404)
        self.apply(text.replace("prefix: /shop", "prefix: /basket"))
        until(lambda: self.status("/basket") == 404 and self.status("/shop") == 404, "the route after it")

    def test_startsWithoutControlPlane(self) -> None:
        """
        A proxy that starts before its control plane serves when that is there.
        """
        self.apply(resources(self.gateway, self.rest))
        self.control.process.kill()
        self.control.process.wait()
        self.dataPlane("DELTA_GRPC", self.node())
        self.proxy.waitLogged("no stream to the control plane")
        self.start()
        until(lambda: self.status("/shop") == 404, "the gateway's route")

    def test_startsFromItsCopy(self) -> None:
        """
        A proxy that starts while its control plane is gone starts from the copy of what that said last, and follows it
        when it is back.
        """
        text = resources(self.gateway, self.rest)
        before = "route: [{destination: {host: shop.default.svc.cluster.local}}]"
        self.apply(text.replace(before, "redirect: {uri: /one}"))
        kept = ("--xds-copy-path", str(self.folder / "copy"))
        self.patience = "0.5s"
        self.dataPlane("DELTA_GRPC", self.node(), None, *kept)
        until(lambda: self.status("/shop") == 301, "the gateway's route")
        self.proxy.signal(signal.SIGTERM)
        self.proxy.ended()
        self.control.process.kill()
        self.control.process.wait()
        (copy,) = (self.folder / "copy").iterdir()
        self.assertEqual(copy.stat().st_mode & 0o777, 0o600)
        self.dataPlane("DELTA_GRPC", self.node(), None, *kept)
        until(lambda: self.status("/shop") == 301, "the route of the copy")
        self.proxy.waitLogged("beginning with the local copy")
        self.start()
        self.apply(text)
        until(lambda: self.status("/shop") == 404, "the changed route", 35)
