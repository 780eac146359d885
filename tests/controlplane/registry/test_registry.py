# -*- test-case-name: tests.controlplane.registry.test_registry -*-
"""
Tests for L{meshproxy.controlplane.registry.registry}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.registry.index import Change
from meshproxy.controlplane.registry.registry import JoinedRegistry, ResourceRegistry
from meshproxy.controlplane.registry.services import ServiceKey
from tests.controlplane.given import resourcesOf

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec: {selector: {app: NAME}, ports: [{name: http, port: 80}]}
"""
WORKLOAD = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: NAME}
spec: {address: ADDRESS, labels: {app: NAME}}
"""


def service(name: str) -> str:
    """
    A service.
    """
    return SERVICE.replace("NAME", name)


def workload(name: str, address: str) -> str:
    """
    A workload of it.
    """
    return WORKLOAD.replace("NAME", name).replace("ADDRESS", address)


class ResourceRegistryTests(SynchronousTestCase):
    """
    What is told of services that resources say there are.
    """

    def setUp(self) -> None:
        self.registry = ResourceRegistry()
        self.told: list[Change] = []
        self.unsubscribe = self.registry.subscribe(self.told.append)

    def apply(self, *texts: str) -> None:
        """
        These are the resources now.
        """
        self.registry.apply(resourcesOf("---".join(texts)))

    def test_told(self) -> None:
        """
        A new service is told, another endpoint as one of endpoints alone, and nothing where nothing changed.
        """
        key = ServiceKey("a.shop.svc.cluster.local", "shop")
        self.apply(service("a"), workload("a", "10.0.0.1"))
        self.apply(service("a"), workload("a", "10.0.0.1"))
        self.apply(service("a"), workload("a", "10.0.0.2"))
        self.apply(workload("a", "10.0.0.2"))
        self.assertEqual(
            self.told,
            [
                Change(frozenset([key]), frozenset()),
                Change(frozenset(), frozenset([key])),
                Change(frozenset([key]), frozenset()),
            ],
        )

    def test_after(self) -> None:
        """
        A listener finds the new state, and hears no more once it said so.
        """
        seen = []
        self.registry.subscribe(lambda change: seen.append(len(self.registry.index.services)))
        self.unsubscribe()
        self.unsubscribe()
        self.apply(service("a"))
        self.assertEqual((seen, self.told), ([1], []))

    def test_joined(self) -> None:
        """
        Several registries are as one: services of all, endpoints of all, changes of all.
        """
        other = ResourceRegistry()
        joined = JoinedRegistry([self.registry, other])
        told: list[Change] = []
        joined.subscribe(told.append)
        self.apply(service("a"), workload("a", "10.0.0.1"))
        other.apply(resourcesOf(f"{service('a')}---{workload('a', '10.0.0.2')}---{service('b')}"))
        (a, b) = joined.index.services
        self.assertEqual([one.address for one in joined.index.endpoints(a.key, 80)], ["10.0.0.1", "10.0.0.2"])
        self.assertEqual(b.name, "b")
        self.assertEqual([(len(one.services), len(one.endpoints)) for one in told], [(1, 0), (1, 1)])
