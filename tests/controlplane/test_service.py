"""
Tests for L{meshproxy.controlplane.service} and L{meshproxy.controlplane.status}: the whole of it runs in
C{tests.integration.test_control}, on loopback and with real Envoys.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.service import checkNode
from meshproxy.grpc.status import GRPCError
from tests.controlplane.snapshot.support import node

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
