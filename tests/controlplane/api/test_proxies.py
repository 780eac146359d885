"""
Tests for L{meshproxy.controlplane.api.proxies}.
"""

from __future__ import annotations

from typing import Any

from meshproxy.config.pool import newMessage
from meshproxy.controlplane.api.access import Access
from meshproxy.controlplane.api.application import makeSite
from meshproxy.controlplane.snapshot.snapshot import Snapshot
from meshproxy.controlplane.xds.server import Connected
from meshproxy.controlplane.xds.worldsession import WorldSession
from tests.controlplane.api.client import SERVICE, APITestCase
from tests.controlplane.xds.support import CLUSTERS, LISTENERS, snapshot, worldRequest

_SECRET = "envoy.extensions.transport_sockets.tls.v3.Secret"


class ProxiesTests(APITestCase):
    """
    What is told of proxies.
    """

    def setUp(self) -> None:
        super().setUp()
        self.snapshots = self.serveSnapshots()
        self.session = WorldSession()
        version = {"majorNumber": 1, "minorNumber": 40}
        node = {"id": "p1", "userAgentName": "envoy", "userAgentBuildVersion": {"version": version}}
        self.connected = [Connected(node, "10.0.0.1", "spiffe://td/ns/a/sa/b", "world", 5.0, self.session)]
        self.site = makeSite(
            self.store, Access(), self.reactor, connected=lambda: self.connected, snapshots=self.snapshots
        )

    def exchange(self, typeName: str, error: str = "") -> None:
        """
        Let the proxy ask, get and answer.
        """
        self.session.receive(worldRequest(typeName))
        ((_, _),) = self.session.responses()
        (subscription,) = [one for url, one in self.session.subscriptions.items() if url.endswith(typeName)]
        self.session.receive(worldRequest(typeName, nonce=subscription.nonce, error=error))

    def states(self) -> dict[str, str]:
        """
        How the proxy stands, by type.
        """
        types = self.ask("GET", "/v1/proxies/p1").json["types"]
        return {name: told["state"] for name, told in types.items()}

    def test_list(self) -> None:
        """
        Who is connected, since when and as whom.
        """
        (proxy,) = self.ask("GET", "/v1/proxies").json["proxies"]
        self.assertEqual((proxy["id"], proxy["dataPlane"], proxy["version"]), ("p1", "envoy", "1.40.0"))
        self.assertEqual((proxy["identity"], proxy["address"], proxy["connectedSince"]), (
            "spiffe://td/ns/a/sa/b", "10.0.0.1", 5.0,
        ))  # fmt: skip
        self.assertEqual(self.ask("GET", "/v1/proxies/none").code, 404)

    def test_states(self) -> None:
        """
        Whether it has what it is to have, and what it said where it did not take it.
        """
        self.session.setSnapshot(snapshot(clusters="a", listeners="l"))
        self.exchange(CLUSTERS)
        self.session.receive(worldRequest(LISTENERS))
        self.assertEqual(self.states(), {"CDS": "SYNCED", "LDS": "NOT SENT"})
        self.session.responses()
        self.assertEqual(self.states(), {"CDS": "SYNCED", "LDS": "STALE"})
        self.session.setSnapshot(snapshot(clusters="a=2", listeners="l"))
        self.assertEqual(self.states()["CDS"], "STALE")
        self.exchange(CLUSTERS, error="no such thing")
        told = self.ask("GET", "/v1/proxies/p1").json["types"]["CDS"]
        self.assertEqual((told["state"], told["error"]), ("ERROR", "no such thing"))

    def test_config(self) -> None:
        """
        What it was sent, by type.
        """
        self.session.setSnapshot(snapshot(clusters="a b"))
        self.exchange(CLUSTERS)
        told = self.ask("GET", "/v1/proxies/p1/clusters").json
        self.assertEqual([one["config"]["name"] for one in told["resources"]], ["a", "b"])
        self.assertEqual(self.ask("GET", "/v1/proxies/p1/listeners").json["resources"], [])
        self.assertEqual(self.ask("GET", "/v1/proxies/p1/nothing").code, 404)

    def test_secrets(self) -> None:
        """
        Keys are not shown, whoever asks.
        """
        secret: Any = newMessage(_SECRET)
        secret.name = "s"
        secret.tls_certificate.certificate_chain.inline_string = "public"
        secret.tls_certificate.private_key.inline_string = "hidden"
        self.session.setSnapshot(Snapshot.of({_SECRET: {"s": secret}}))
        self.session.receive(worldRequest(_SECRET, "s"))
        self.session.responses()
        answer = self.ask("GET", "/v1/proxies/p1/secrets")
        self.assertIn(b"public", answer.body)
        self.assertNotIn(b"hidden", answer.body)

    def test_services(self) -> None:
        """
        The registry.
        """
        self.ask("POST", "/v1/apply", SERVICE)
        self.reactor.advance(1)
        (service,) = self.ask("GET", "/v1/services").json["services"]
        self.assertEqual(service["host"], "reviews.default.svc.cluster.local")
        self.assertEqual(service["ports"], [{"number": 9080, "name": "http", "protocol": "HTTP"}])
