"""
Tests for L{meshproxy.controlplane.analysis.whole}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.analysis.whole import analyzed, proxiesOf
from meshproxy.controlplane.translate.mesh import MeshConfig
from meshproxy.controlplane.translate.proxy import Role
from tests.controlplane.given import resourcesOf
from tests.controlplane.translate.given import networking, service


class WholeTests(SynchronousTestCase):
    """
    L{analyzed} looks at resources together.
    """

    def test_proxies(self) -> None:
        """
        A sidecar in each namespace and for each selector, a gateway for each Gateway.
        """
        edge = "selector: {istio: edge}, servers: [{port: {number: 80, name: h, protocol: HTTP}, hosts: ['*']}]"
        texts = (
            service("a", "{name: http, port: 80}"),
            networking("VirtualService", "v", "hosts: [a], http: [{route: [{destination: {host: a}}]}]", "other"),
            networking("Gateway", "g", edge),
        )
        found = {(one.role, one.namespace, *one.labels.values()) for one in proxiesOf(resourcesOf("---\n".join(texts)))}
        self.assertEqual(found, {(Role.SIDECAR, "shop", "a"), (Role.SIDECAR, "other"), (Role.ROUTER, "shop", "edge")})

    def test_onceEach(self) -> None:
        """
        What several proxies tell is told once, and what is missing at its place; a mesh without faults is quiet.
        """
        virtual = networking("VirtualService", "v", "hosts: [a], http: [{route: [{destination: {host: b}}]}]")
        texts = [service("a", "{name: http, port: 80}"), service("c", "{name: http, port: 80}"), virtual]
        (problem,) = analyzed(resourcesOf("---\n".join(texts)), MeshConfig())
        self.assertEqual(
            (problem.resource, problem.path), ("VirtualService shop/v", "spec.http[0].route[0].destination.host")
        )
        self.assertEqual(analyzed(resourcesOf("---\n".join(texts[:2])), MeshConfig()), [])
