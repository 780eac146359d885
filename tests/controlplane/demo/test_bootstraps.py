"""
L{meshproxy.controlplane.demo.bootstraps}.
"""

from __future__ import annotations

import json
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.load import loadBootstrap
from meshproxy.config.structure import structureOrRaise
from meshproxy.controlplane.demo.bootstraps import envoyBootstrap, gateway, ownBootstrap, sidecar
from meshproxy.controlplane.demo.workloads import WORKLOADS
from meshproxy.controlplane.translate.proxy import Interception, Role, proxyOf
from meshproxy.dryrun import validate
from meshproxy.identity.settings import IdentitySettings, compileIdentity
from meshproxy.server import ProxyOptions
from meshproxy.testing.clock import VirtualReactor
from meshproxy.testing.network import MemoryNetwork
from meshproxy.testing.pki import Authority


class BootstrapTests(SynchronousTestCase):
    """
    What the control plane understands of the nodes.
    """

    def test_sidecar(self) -> None:
        """
        A sidecar without interception, between the addresses of its workload.
        """
        member = sidecar(WORKLOADS[2], "127.9")
        proxy = proxyOf(member.node)
        self.assertEqual(
            (proxy.role, proxy.interception, proxy.namespace), (Role.SIDECAR, Interception.NONE, "default")
        )
        self.assertEqual(proxy.labels, {"app": "reviews", "version": "v1"})
        self.assertEqual(proxy.addresses, ("127.9.1.3",))
        self.assertEqual(
            (proxy.inboundAddress, proxy.outboundAddress, proxy.applicationAddress),
            ("127.9.1.3", "127.9.2.3", "127.9.1.3"),
        )
        self.assertEqual(proxy.applicationPorts, {9080: 19080})
        self.assertEqual((proxy.serviceAccount, member.account), ("bookinfo-reviews", "bookinfo-reviews"))

    def test_gateway(self) -> None:
        """
        A proxy at the edge, that the Gateway selects.
        """
        proxy = proxyOf(gateway("127.9").node)
        self.assertEqual((proxy.role, proxy.labels), (Role.ROUTER, {"istio": "ingressgateway"}))
        self.assertEqual(proxy.serviceAccount, "bookinfo-gateway")

    def test_own(self) -> None:
        """
        This project's proxy comes by its identity itself, and shows it to the control plane.
        """
        roots = Path(self.mktemp())
        roots.write_text(Authority().root)
        identity = structureOrRaise(IdentitySettings, {"roots": str(roots), "token": "t", "lifetime": "1h"})
        text = ownBootstrap(gateway("127.9"), 15012, identity)
        found = compileIdentity(loadBootstrap(None, text, False))
        self.assertEqual(found, identity)
        validate(ProxyOptions(configText=text), Clock(), MemoryNetwork(VirtualReactor()))

    def test_envoy(self) -> None:
        """
        Envoy has it from its agent, and the control plane is told so.
        """
        told = json.loads(envoyBootstrap(gateway("127.9"), 15012, "/run/socket"))
        self.assertEqual(proxyOf(told["node"]).sdsCluster, "sds-grpc")
        self.assertEqual(proxyOf(gateway("127.9").node).sdsCluster, "")
        self.assertNotIn("bootstrap_extensions", told)
