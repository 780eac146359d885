# -*- test-case-name: tests.controlplane.translate.test_authentication -*-
"""
Tests for L{meshproxy.controlplane.translate.authentication}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.model.resource import Resource
from meshproxy.controlplane.translate.authentication import MutualTLSMode, PeerPolicy, peerPolicy
from meshproxy.controlplane.translate.resourceset import ResourceSet
from tests.controlplane.given import resourcesOf


def peer(name: str, spec: str, namespace: str = "shop", created: str = "") -> str:
    """
    A PeerAuthentication.
    """
    return (
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"
        f"metadata: {{name: {name}, namespace: {namespace}, creationTimestamp: '{created}'}}\nspec: {{{spec}}}\n"
    )


class PeerPolicyTests(SynchronousTestCase):
    """
    Which mode counts.
    """

    def policy(self, *texts: str) -> PeerPolicy:
        """
        That of a workload C{app: a} in C{shop}.
        """
        self.used: list[str] = []

        def uses(resource: Resource) -> None:
            self.used.append(resource.name)

        self.conflicts: list[tuple[str, str]] = []

        def conflict(why: str, loser: Resource, winner: Resource) -> None:
            self.conflicts.append((loser.name, winner.name))

        resources = ResourceSet(resourcesOf("---\n".join(texts)))
        return peerPolicy(resources, "shop", {"app": "a"}, "root", uses, conflict)

    def test_levels(self) -> None:
        """
        The nearest counts; UNSET says nothing; without any it is PERMISSIVE.
        """
        mesh = peer("m", "mtls: {mode: STRICT}", "root")
        namespace = peer("ns", "mtls: {mode: DISABLE}")
        workload = peer("w", "selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}")
        unset = peer("u", "selector: {matchLabels: {app: a}}, mtls: {mode: UNSET}")
        self.assertIs(self.policy().mode, MutualTLSMode.PERMISSIVE)
        self.assertIs(self.policy(mesh).mode, MutualTLSMode.STRICT)
        self.assertIs(self.policy(mesh, namespace).mode, MutualTLSMode.DISABLE)
        self.assertIs(self.policy(mesh, namespace, workload).mode, MutualTLSMode.STRICT)
        self.assertEqual(self.used, ["m", "ns", "w"])
        self.assertIs(self.policy(mesh, namespace, unset).mode, MutualTLSMode.DISABLE)

    def test_others(self) -> None:
        """
        Other namespaces, other workloads, and workloads of the root namespace are others.
        """
        texts = [
            peer("other", "mtls: {mode: STRICT}", "other"),
            peer("b", "selector: {matchLabels: {app: b}}, mtls: {mode: STRICT}"),
            peer("r", "selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}", "root"),
        ]
        self.assertIs(self.policy(*texts).mode, MutualTLSMode.PERMISSIVE)
        self.assertEqual(self.used, [])

    def test_ports(self) -> None:
        """
        A port has its own mode; one that is UNSET has that of its workload.
        """
        ports = "portLevelMtls: {80: {mode: DISABLE}, 81: {mode: UNSET}}"
        policy = self.policy(peer("w", f"selector: {{matchLabels: {{app: a}}}}, mtls: {{mode: STRICT}}, {ports}"))
        modes = [policy.forPort(port) for port in (80, 81, 82)]
        self.assertEqual(modes, [MutualTLSMode.DISABLE, MutualTLSMode.STRICT, MutualTLSMode.STRICT])

    def test_oldest(self) -> None:
        """
        Of two at one level the older counts.
        """
        policy = self.policy(
            peer("young", "mtls: {mode: STRICT}", created="2026-02-01T00:00:00Z"),
            peer("old", "mtls: {mode: DISABLE}", created="2026-01-01T00:00:00Z"),
        )
        self.assertIs(policy.mode, MutualTLSMode.DISABLE)
        self.assertEqual(self.used, ["old"])
        self.assertEqual(self.conflicts, [("young", "old")])
