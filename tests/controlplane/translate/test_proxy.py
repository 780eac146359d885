# -*- test-case-name: tests.controlplane.translate.test_proxy -*-
"""
Tests for L{meshproxy.controlplane.translate.proxy}, and for the mesh, the set of resources and the messages.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.structure import structureOrRaise
from meshproxy.controlplane.model.resource import Key
from meshproxy.controlplane.translate.abilities import MESHPROXY
from meshproxy.controlplane.translate.mesh import MeshConfig
from meshproxy.controlplane.translate.messages import CLUSTER, address, cidr, duration, messageOf, share, without
from meshproxy.controlplane.translate.proxy import DataPlane, Interception, Role, proxyOf
from meshproxy.controlplane.translate.resourceset import ResourceSet
from meshproxy.errors import ConfigErrors
from tests.controlplane.given import resourcesOf


class ProxyTests(SynchronousTestCase):
    """
    A node to a proxy.
    """

    def test_istio(self) -> None:
        """
        What Istio's agent says of itself is understood.
        """
        proxy = proxyOf(
            {
                "id": "sidecar~10.0.0.1~a-1.shop~shop.svc.cluster.local",
                "userAgentName": "envoy",
                "locality": {"region": "r", "zone": "z"},
                "metadata": {"LABELS": {"app": "a"}, "SERVICE_ACCOUNT": "sa", "INTERCEPTION_MODE": "TPROXY"},
            }
        )
        self.assertEqual((proxy.role, proxy.namespace, proxy.addresses), (Role.SIDECAR, "shop", ("10.0.0.1",)))
        self.assertEqual((proxy.labels, proxy.serviceAccount, proxy.locality), ({"app": "a"}, "sa", "r/z"))
        self.assertEqual((proxy.interception, proxy.dataPlane), (Interception.TPROXY, DataPlane.ENVOY))
        self.assertTrue(proxy.intercepts)

    def test_ours(self) -> None:
        """
        What meshproxy says, with metadata instead of a name that is taken apart.
        """
        metadata = {
            "NAMESPACE": "n",
            "INSTANCE_IPS": "127.0.1.1,::1",
            "INTERCEPTION_MODE": "NONE",
            "INBOUND_ADDRESS": "127.0.1.1",
            "OUTBOUND_ADDRESS": "127.0.2.1",
            "APPLICATION_ADDRESS": "127.0.3.1",
            "APPLICATION_PORTS": {"9080": 19080.0, "80": "x", "http": 81, "81": 0},
            "SDS_CLUSTER": "sds-grpc",
        }
        proxy = proxyOf({"id": "router~~a.b~c", "userAgentName": "meshproxy", "metadata": metadata})
        self.assertEqual((proxy.role, proxy.namespace, proxy.abilities), (Role.ROUTER, "n", MESHPROXY))
        self.assertEqual(proxy.addresses, ("127.0.1.1", "::1"))
        self.assertEqual((proxy.inboundAddress, proxy.outboundAddress), ("127.0.1.1", "127.0.2.1"))
        self.assertEqual((proxy.applicationAddress, proxy.sdsCluster), ("127.0.3.1", "sds-grpc"))
        self.assertEqual(proxy.applicationPorts, {9080: 19080})
        self.assertFalse(proxy.intercepts)

    def test_poor(self) -> None:
        """
        A node that says little, or nonsense, is a sidecar of the default namespace.
        """
        for node in ({}, {"id": "x", "metadata": None}, {"id": "a~b", "metadata": {"LABELS": 5}}):
            proxy = proxyOf(node)
            self.assertEqual((proxy.role, proxy.namespace, proxy.labels), (Role.SIDECAR, "default", {}))


class MeshTests(SynchronousTestCase):
    """
    Istio's MeshConfig, as far as it has an effect.
    """

    def test_read(self) -> None:
        """
        It is read in Istio's words, and a field without an effect is refused.
        """
        mesh = structureOrRaise(
            MeshConfig,
            {"trustDomain": "td", "trustDomainAliases": ["old"], "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}},
            camelCase=True,
        )
        self.assertEqual(mesh.trustDomains, ["td", "old"])
        self.assertEqual(mesh.connectTimeout, 10)
        with self.assertRaises(ConfigErrors):
            structureOrRaise(MeshConfig, {"enableTracing": True}, camelCase=True)
        self.assertIsNone(mesh.provider("x"))


class ResourceSetTests(SynchronousTestCase):
    """
    Who sees and gets what.
    """

    def test_exported(self) -> None:
        """
        A VirtualService and a DestinationRule are seen where they are exported to; the mesh has a default.
        """
        head = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: %s, namespace: %s}\n"
        route = "spec: {hosts: [a], http: [{route: [{destination: {host: a}}]}]%s}\n"
        texts = [
            head % ("all", "one") + route % "",
            head % ("own", "one") + route % ", exportTo: ['.']",
            head % ("two", "one") + route % ", exportTo: [two]",
        ]
        resources = ResourceSet(resourcesOf("---\n".join(texts)))

        def seen(namespace: str, mesh: MeshConfig) -> list[str]:
            return [one.name for one in resources.virtualServices(namespace, mesh)]

        self.assertEqual(seen("one", MeshConfig()), ["all", "own"])
        self.assertEqual(seen("two", MeshConfig()), ["all", "two"])
        private = MeshConfig(defaultVirtualServiceExportTo=["."])
        self.assertEqual(seen("two", private), ["two"])

    def test_applying(self) -> None:
        """
        Policies of the root namespace and of the own one, as far as they select the workload.
        """
        head = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
        head += "metadata: {name: %s, namespace: %s}\nspec: {%s}\n"
        texts = [
            head % ("root", "root", ""),
            head % ("own", "shop", "selector: {matchLabels: {app: a}}"),
            head % ("other", "shop", "selector: {matchLabels: {app: b}}"),
            head % ("elsewhere", "elsewhere", ""),
        ]
        resources = ResourceSet(resourcesOf("---\n".join(texts)))
        found = resources.applying("AuthorizationPolicy", "shop", {"app": "a"}, "root")
        self.assertEqual([one.name for one in found], ["root", "own"])
        found = resources.applying("AuthorizationPolicy", "root", {}, "root")
        self.assertEqual([one.name for one in found], ["root"])

    def test_attached(self) -> None:
        """
        A policy that is attached to something applies to the workloads of that service, or to that gateway, in its own
        namespace, and to nobody else.
        """
        head = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
        head += "metadata: {name: %s, namespace: %s}\nspec: {%s}\n"
        service = "targetRefs: [{kind: Service, name: other}, {group: core, kind: Service, name: a}]"
        entry = "targetRef: {group: networking.istio.io, kind: ServiceEntry, name: a}"
        gateway = "targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]"
        texts = [head % ("service", "shop", service), head % ("entry", "shop", entry), head % ("edge", "shop", gateway)]
        texts.append(head % ("elsewhere", "elsewhere", service))
        resources = ResourceSet(resourcesOf("---\n".join(texts)))

        def names(labels: dict[str, str], *served: Key, namespace: str = "shop") -> list[str]:
            found = resources.applying("AuthorizationPolicy", namespace, labels, "elsewhere", frozenset(served))
            return [one.name for one in found]

        self.assertEqual(names({}), [])
        self.assertEqual(names({}, Key("", "Service", "shop", "a")), ["service"])
        self.assertEqual(names({}, Key("networking.istio.io", "ServiceEntry", "shop", "a")), ["entry"])
        self.assertEqual(names({}, Key("", "Service", "elsewhere", "a")), ["elsewhere"])
        label = "gateway.networking.k8s.io/gateway-name"
        self.assertEqual(names({label: "edge"}), ["edge"])
        self.assertEqual(names({label: "edge"}, namespace="x"), [])
        self.assertEqual(names({label: "other"}), [])


class MessageTests(SynchronousTestCase):
    """
    The small pieces of messages.
    """

    def test_pieces(self) -> None:
        """
        Durations, addresses, ranges and shares as protobuf has them.
        """
        self.assertEqual([duration(seconds) for seconds in (0, 1.5, 0.25, 3600)], ["0s", "1.5s", "0.25s", "3600s"])
        self.assertEqual(address("unix:///a", 0), {"pipe": {"path": "/a"}})
        self.assertEqual(cidr("10.0.0.1"), {"addressPrefix": "10.0.0.1", "prefixLen": 32})
        self.assertEqual(cidr("2001:db8::/32"), {"addressPrefix": "2001:db8::", "prefixLen": 32})
        self.assertEqual(share(12.5), {"numerator": 125000, "denominator": "MILLION"})
        self.assertEqual(
            without({"a": None, "b": [], "c": {}, "d": 0, "e": False, "f": ""}), {"d": 0, "e": False, "f": ""}
        )

    def test_message(self) -> None:
        """
        A dictionary is a message of the private pool; one with a wrong name is a mistake.
        """
        message = messageOf(CLUSTER, {"name": "a", "connectTimeout": "1.5s"})
        self.assertEqual((message.name, message.connect_timeout.nanos), ("a", 500000000))  # type: ignore[attr-defined]  # a dynamic message
        with self.assertRaises(Exception):  # noqa: B017  # whatever protobuf raises
            messageOf(CLUSTER, {"nmae": "a"})
