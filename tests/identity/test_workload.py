"""
Two proxies with identities of their own, a control plane that gives them, all in memory: requests between them are
encrypted, and each knows who the other is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from meshproxy.config.pool import typeURL
from meshproxy.controlplane.ca.identity import Identity
from meshproxy.errors import ConfigErrors
from meshproxy.identity.credential import CERTIFICATE, ROOTS
from meshproxy.testing.bootstraps import httpBootstrap, typedStruct
from meshproxy.testing.proxy import MemoryProxy
from tests.identity.support import ANN, BOB, ControlPlaneTestCase

_TLS = "envoy.extensions.transport_sockets.tls.v3."
_BOB = "127.0.0.1:9443"


def _own(name: str) -> dict[str, Any]:
    return {"name": name, "sds_config": {"ads": {}, "resource_api_version": "V3"}}


def _socket(kind: str, peer: Identity | None, **more: Any) -> dict[str, Any]:
    """
    Mutual TLS, as the control plane's translation has it.
    """
    names = [{"san_type": "URI", "matcher": {"exact" if peer else "prefix": str(peer or "spiffe://cluster.local/")}}]
    common = {
        "tls_params": {"tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificate_sds_secret_configs": [_own(CERTIFICATE)],
        "combined_validation_context": {
            "default_validation_context": {"match_typed_subject_alt_names": names},
            "validation_context_sds_secret_config": _own(ROOTS),
        },
    }
    config = {"@type": typeURL(_TLS + kind), "common_tls_context": common, **more}
    return {"name": "envoy.transport_sockets.tls", "typed_config": config}


class WorkloadTests(ControlPlaneTestCase):
    """
    An identity in a proxy.
    """

    def extension(self, identity: Identity, **told: Any) -> list[dict[str, Any]]:
        """
        C{bootstrap_extensions} for somebody.
        """
        path = self.folder / f"token-{identity.serviceAccount}"
        path.write_text(self.token(identity))
        value = {"address": "control.test:15012", "roots": self.roots, "token": str(path), **told}
        return [{"name": "identity", "typed_config": typedStruct("meshproxy.identity", value)}]

    def server(self, identity: Identity = BOB, **told: Any) -> MemoryProxy:
        """
        A proxy that others call with mutual TLS only; who did comes back in a header.
        """
        socket = _socket("DownstreamTlsContext", None, require_client_certificate=True)
        manager = {
            "forward_client_cert_details": "SANITIZE_SET",
            "set_current_client_cert_details": {"uri": True},
        }
        text = httpBootstrap(
            listener={"address": {"socket_address": {"address": "127.0.0.1", "port_value": 9443}}},
            manager=manager,
            bootstrap_extensions=self.extension(identity, **told),
        )
        document = json.loads(text)
        document["admin"] = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 9901}}}
        document["static_resources"]["listeners"][0]["filter_chains"][0]["transport_socket"] = socket
        return MemoryProxy(json.dumps(document), self.network)

    def client(self, peer: Identity = BOB, **told: Any) -> MemoryProxy:
        """
        A proxy that calls it, and wants to see a certain identity there.
        """
        text = httpBootstrap(
            route={"cluster": "bob"},
            clusters={"bob": _BOB},
            cluster={"transport_socket": _socket("UpstreamTlsContext", peer)},
            bootstrap_extensions=self.extension(ANN, **told),
        )
        return MemoryProxy(text, self.network)

    def test_mutual(self) -> None:
        """
        A request goes through; the server knows who sent it.
        """
        server, client = self.server(), self.client()
        backend = server.backend("127.0.0.1:9000")
        self.assertEqual(client.request().status, 200)
        told = backend.last.headers.get(b"x-forwarded-client-cert") or b""
        self.assertIn(f"URI={ANN}".encode(), told)

    def test_otherPeer(self) -> None:
        """
        Who is somebody else than the one that is wanted gets nothing.
        """
        server, client = self.server(), self.client(Identity("cluster.local", "default", "carl"))
        server.backend("127.0.0.1:9000")
        response = client.request()
        self.assertEqual(response.status, 503)
        self.assertEqual(client.stat("cluster.bob.ssl.fail_verify_san"), 1)

    def test_rotation(self) -> None:
        """
        After half of a life the next handshake has another certificate; connections that are there stay, and no
        request fails.
        """
        server, client = self.server(lifetime="20s"), self.client(lifetime="20s")
        server.backend("127.0.0.1:9000")
        self.assertEqual(client.request().status, 200)
        for _ in range(20):
            client.advance(1)
            self.assertEqual(client.request().status, 200)
        self.assertEqual(client.stat("cluster.bob.ssl.handshake"), 1)
        for proxy in (server, client):
            self.assertEqual(proxy.stat("identity.update_success"), 3)
            self.assertEqual(proxy.stat("identity.update_failure"), 0)
        self.assertEqual(client.stat("cluster.bob.client_ssl_socket_factory.ssl_context_update_by_sds"), 3)

    def test_ready(self) -> None:
        """
        A proxy is ready when it has its identity, and after a while without it; then it comes by itself.
        """
        self.stopServing()
        proxy = self.server()
        proxy.advance(14)
        self.assertEqual(proxy.server.state, "INITIALIZING")
        proxy.advance(2)
        self.assertEqual((proxy.server.state, proxy.stat("identity.update_success")), ("LIVE", 0))
        self.serve()
        # The token was of the other control plane's store.
        (self.folder / "token-bob").write_text(self.token(BOB))
        proxy.advance(60)
        self.assertEqual(proxy.stat("identity.update_success"), 1)
        self.assertTrue(proxy.server.secrets.own[CERTIFICATE].section)

    def test_readyAtOnce(self) -> None:
        """
        With its identity it is ready as soon as that is there.
        """
        self.assertEqual(self.server().server.state, "LIVE")

    def test_shown(self) -> None:
        """
        C{/certs} and the stats tell when it ends, and C{/config_dump} has it, without its key.
        """
        proxy = self.server(lifetime="100h")
        proxy.advance(3600)
        self.assertEqual(proxy.stat("identity.seconds_until_expiry"), 99 * 3600)
        self.assertEqual(proxy.stat("server.days_until_first_cert_expiring"), 4)
        (told,) = json.loads(proxy.request("GET", "/certs", to="127.0.0.1:9901").body)["certificates"]
        names = [name for one in told["cert_chain"] for name in one["subject_alt_names"]]
        self.assertIn({"uri": str(BOB)}, names)
        dump = proxy.request("GET", "/config_dump", to="127.0.0.1:9901").body.decode()
        secrets = [one for one in json.loads(dump)["configs"] if one["@type"].endswith("SecretsConfigDump")]
        active = secrets[0]["dynamic_active_secrets"]
        self.assertEqual([one["name"] for one in active], [ROOTS, CERTIFICATE])
        self.assertNotIn("PRIVATE KEY", dump)
        self.assertIn("[redacted]", json.dumps(active[1]).replace("W3JlZGFjdGVkXQ==", "[redacted]"))

    def test_kept(self) -> None:
        """
        A proxy with a folder starts again without another token, and is ready at once even without the control plane.
        """
        folder = str(self.folder / "kept")
        self.server(folder=folder).stop()
        self.stopServing()
        again = self.server(folder=folder)
        self.assertEqual(again.server.state, "LIVE")
        self.assertEqual(again.stat("identity.seconds_until_expiry"), 86400)

    def test_stopped(self) -> None:
        """
        A proxy that ended asks for nothing any more.
        """
        proxy = self.server(lifetime="20s")
        proxy.stop()
        before = proxy.stat("identity.update_attempt")
        proxy.advance(60)
        self.assertEqual(proxy.stat("identity.update_attempt"), before)

    def test_withoutIdentity(self) -> None:
        """
        A proxy that gets none refuses a configuration that needs it.
        """
        text = httpBootstrap(cluster={"transport_socket": _socket("UpstreamTlsContext", BOB)})
        error = self.assertRaises(ConfigErrors, MemoryProxy, text, self.network)
        self.assertIn("nothing comes by ads", str(error))

    def test_brokenRoots(self) -> None:
        """
        Roots that cannot be read are told at their place, and nothing else is.
        """
        Path(self.roots).write_text("nothing")
        error = self.assertRaises(ConfigErrors, self.server)
        self.assertIn("bootstrap_extensions[0].typed_config.value.roots", str(error))
        self.assertNotIn("nothing comes by ads", str(error))
