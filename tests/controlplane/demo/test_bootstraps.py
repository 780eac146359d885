"""
L{meshproxy.controlplane.demo.bootstraps}.
"""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.load import loadBootstrap
from meshproxy.controlplane.demo.bootstraps import gatewayBootstrap, sidecarBootstrap
from meshproxy.controlplane.demo.workloads import WORKLOADS
from meshproxy.controlplane.translate.proxy import Interception, Role, proxyOf


class BootstrapTests(SynchronousTestCase):
    """
    What the control plane understands of the nodes.
    """

    def test_sidecar(self) -> None:
        """
        A sidecar without interception, between the addresses of its workload.
        """
        text = sidecarBootstrap(WORKLOADS[2], "127.9", 1)
        proxy = proxyOf(json.loads(text)["node"])
        self.assertEqual(
            (proxy.role, proxy.interception, proxy.namespace), (Role.SIDECAR, Interception.NONE, "default")
        )
        self.assertEqual(proxy.labels, {"app": "reviews", "version": "v1"})
        self.assertEqual(proxy.addresses, ("127.9.1.3",))
        self.assertEqual(
            (proxy.inboundAddress, proxy.outboundAddress, proxy.applicationAddress),
            ("127.9.1.3", "127.9.2.3", "127.9.3.3"),
        )
        loadBootstrap(None, text, False).report.raiseIfAny()

    def test_gateway(self) -> None:
        """
        A proxy at the edge, that the Gateway selects.
        """
        proxy = proxyOf(json.loads(gatewayBootstrap(1))["node"])
        self.assertEqual((proxy.role, proxy.labels), (Role.ROUTER, {"istio": "ingressgateway"}))
