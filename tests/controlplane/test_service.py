"""
Tests for L{meshproxy.controlplane.service} and L{meshproxy.controlplane.status}: the whole of it runs in
C{tests.integration.test_control}, on loopback and with real Envoys.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.pool import messageClass
from meshproxy.controlplane.model.kinds import findKind
from meshproxy.controlplane.service import checkNode
from meshproxy.controlplane.status import ResourceStatus
from meshproxy.controlplane.xds.deltasession import DeltaSession
from meshproxy.controlplane.xds.server import Connected
from meshproxy.grpc.status import GRPCError
from meshproxy.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES
from tests.controlplane.snapshot.support import SnapshotTestCase, destinationRule, node, serviceEntry, virtualService
from tests.controlplane.xds.support import deltaRequest

_IDENTITY = "spiffe://cluster.local/ns/default/sa/default"


class CheckNodeTests(SynchronousTestCase):
    """
    L{checkNode}: a proxy gets what is its own.
    """

    def test_own(self) -> None:
        """
        A node that says what its certificate says is taken; without a certificate, in clear on this machine, any is.
        """
        checkNode(node(), _IDENTITY)
        checkNode(node(namespace="other"), "")

    def test_anothers(self) -> None:
        """
        One that says something else is refused, and told why.
        """
        error = self.assertRaises(GRPCError, checkNode, node(namespace="other"), _IDENTITY)
        self.assertEqual(error.status.name, "PERMISSION_DENIED")
        self.assertIn("the node says namespace other, service account default", error.message)
        other = node()
        other["metadata"]["SERVICE_ACCOUNT"] = "admin"
        self.assertRaises(GRPCError, checkNode, other, _IDENTITY)
        # A namespace that hides in the id, while metadata say nothing.
        hidden = {"id": "sidecar~10.0.0.1~a.other~other.svc.cluster.local"}
        self.assertRaises(GRPCError, checkNode, hidden, _IDENTITY)
        self.assertRaises(GRPCError, checkNode, node(), "spiffe://cluster.local/else")


class StatusTests(SnapshotTestCase):
    """
    L{ResourceStatus}: how many of the proxies that a resource concerns have what it says.
    """

    def setUp(self) -> None:
        super().setUp()
        self.put(serviceEntry("reviews", "10.0.0.1"), virtualService("reviews", "3s"))
        self.start()
        self.session = DeltaSession()
        self.proxy = node()
        self.snapshots.attach(self.proxy, self.session.setSnapshot)
        self.reactor.advance(0)
        assert self.session.snapshot is not None
        connected = Connected(self.proxy, "", "", "delta", 0.0, self.session)
        self.status = ResourceStatus(self.snapshots, lambda: [connected])
        for typeURL in (CLUSTER, ENDPOINTS, LISTENER, ROUTES):
            names = "" if typeURL in (CLUSTER, LISTENER) else " ".join(self.session.snapshot.ofType(typeURL))
            self.session.receive(deltaRequest(typeURL.rpartition("/")[2], names))

    def exchange(self, error: str = "") -> None:
        """
        The proxy answers what it is sent, until nothing more comes.
        """
        while responses := self.session.responses():
            for typeURL, data in responses:
                response: Any = messageClass("envoy.service.discovery.v3.DeltaDiscoveryResponse").FromString(data)
                self.session.receive(deltaRequest(typeURL.rpartition("/")[2], nonce=response.nonce, error=error))

    def told(self) -> tuple[str, str]:
        """
        What is said of the VirtualService.
        """
        kind = findKind("networking.istio.io/v1", "VirtualService")
        assert kind is not None
        status = self.status(kind, virtualService("reviews", "3s"))
        assert status is not None
        return status["programmed"], status["conditions"][0]["reason"]

    def test_programmed(self) -> None:
        """
        A resource is programmed when proxies took all that they are to have, and stays so when something comes that
        changes nothing for them.
        """
        self.assertEqual(self.told(), ("0 of 1", "Pending"))
        self.exchange()
        self.assertEqual(self.told(), ("1 of 1", "Programmed"))
        self.put(destinationRule("nobody", 7))
        self.assertEqual((self.session.responses(), self.told()), ([], ("1 of 1", "Programmed")))
        self.put(destinationRule("reviews", 7))
        self.assertEqual(self.told(), ("0 of 1", "Pending"))
        self.exchange()
        self.assertEqual(self.told(), ("1 of 1", "Programmed"))

    def test_rejected(self) -> None:
        """
        What a proxy said to what it did not take is told.
        """
        self.exchange("not like this")
        self.assertEqual(self.told(), ("0 of 1", "Rejected"))
