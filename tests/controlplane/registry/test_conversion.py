# -*- test-case-name: tests.controlplane.registry.test_conversion -*-
"""
Tests for L{meshproxy.controlplane.registry.conversion} and L{meshproxy.controlplane.registry.services}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.registry.index import ServiceIndex
from meshproxy.controlplane.registry.registry import indexOf
from meshproxy.controlplane.registry.services import AUTO, Endpoint, Resolution, ServiceKey, protocolOf
from tests.controlplane.given import resourcesOf

REVIEWS = """
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec:
  selector: {app: reviews}
  clusterIP: 10.0.0.1
  ports: [{name: http, port: 80, targetPort: web}, {name: tcp-x, port: 81, targetPort: 8081}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: b}
spec: {address: 127.0.1.2, labels: {app: reviews, version: v2}, serviceAccount: r, locality: r/z, weight: 3}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: a, labels: {app: reviews, security.istio.io/tlsMode: disabled}}
spec: {address: 127.0.1.1, ports: {web: 9080}, serviceAccount: r}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: other, namespace: elsewhere}
spec: {address: 127.0.1.3, labels: {app: reviews}}
"""
KEY = ServiceKey("reviews.shop.svc.cluster.local", "shop")


def entry(text: str) -> str:
    """
    A ServiceEntry.
    """
    return f"apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: e}}\nspec: {{{text}}}\n"


def addresses(index: ServiceIndex, key: ServiceKey, port: int) -> list[tuple[str, int]]:
    """
    The endpoints of a port, as addresses.
    """
    return [(endpoint.address, endpoint.port) for endpoint in index.endpoints(key, port)]


class ServiceTests(SynchronousTestCase):
    """
    Services of Kubernetes, with workloads that are entries.
    """

    def test_service(self) -> None:
        """
        The host is the full name; ports know what they speak.
        """
        (service,) = indexOf(resourcesOf(REVIEWS)).services
        self.assertEqual((service.key, service.addresses, service.external), (KEY, ("10.0.0.1",), False))
        self.assertEqual([port.protocol for port in service.ports], ["HTTP", "TCP"])
        self.assertEqual(service.resolution, Resolution.STATIC)

    def test_endpoints(self) -> None:
        """
        Workloads of the namespace that the selector means, by name; each port is the one that the workload names,
        else the one that the service has.
        """
        index = indexOf(resourcesOf(REVIEWS))
        self.assertEqual(addresses(index, KEY, 80), [("127.0.1.1", 9080), ("127.0.1.2", 80)])
        self.assertEqual(addresses(index, KEY, 81), [("127.0.1.1", 8081), ("127.0.1.2", 8081)])
        self.assertEqual(
            index.endpoints(KEY, 80)[1],
            Endpoint(
                address="127.0.1.2",
                port=80,
                servicePort=80,
                labels={"app": "reviews", "version": "v2"},
                locality="r/z",
                weight=3,
                serviceAccount="r",
                namespace="shop",
                mutualTLS=True,
            ),
        )

    def test_mutualTLS(self) -> None:
        """
        The label decides, else that there is a service account.
        """
        index = indexOf(resourcesOf(REVIEWS))
        self.assertEqual([one.mutualTLS for one in index.endpoints(KEY, 80)], [False, True])

    def test_kinds(self) -> None:
        """
        A headless service passes through; one outside is looked up.
        """
        text = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {%s, ports: [{port: 80}]}"
        (service,) = indexOf(resourcesOf(text % "clusterIP: None, selector: {a: b}")).services
        self.assertEqual((service.resolution, service.addresses), (Resolution.PASSTHROUGH, ()))
        index = indexOf(resourcesOf(text % "type: ExternalName, externalName: b.example.com"))
        (service,) = index.services
        self.assertEqual((service.resolution, service.external), (Resolution.DNS, True))
        self.assertEqual(addresses(index, service.key, 80), [("b.example.com", 80)])

    def test_exported(self) -> None:
        """
        An annotation says who sees a service.
        """
        text = REVIEWS.replace(
            "{name: reviews}", "{name: reviews, annotations: {networking.istio.io/exportTo: '., b'}}", 1
        )
        (service,) = indexOf(resourcesOf(text)).services
        seen = [service.visibleTo(namespace) for namespace in ("shop", "b", "c")]
        self.assertEqual(seen, [True, True, False])


class EntryTests(SynchronousTestCase):
    """
    Services that a ServiceEntry tells of.
    """

    def test_static(self) -> None:
        """
        Endpoints stand in the entry, a service for each host.
        """
        text = entry(
            "hosts: [a.example.com, b.example.com], resolution: STATIC, location: MESH_INTERNAL, "
            "ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}], "
            "endpoints: [{address: 10.0.0.1}, {address: 10.0.0.2, ports: {http: 81}}]"
        )
        index = indexOf(resourcesOf(text))
        self.assertEqual([service.host for service in index.services], ["a.example.com", "b.example.com"])
        for service in index.services:
            self.assertFalse(service.external)
            self.assertEqual(addresses(index, service.key, 80), [("10.0.0.1", 8080), ("10.0.0.2", 81)])

    def test_resolutions(self) -> None:
        """
        DNS looks up the host where there are no endpoints; NONE has none, and the dynamic one neither: requests say.
        """
        port = "ports: [{number: 443, name: tls, protocol: TLS}]"
        for resolution, expected in (
            ("DNS", [("a.b", 443)]),
            ("DNS_ROUND_ROBIN", [("a.b", 443)]),
            ("NONE", []),
            ("STATIC", []),
        ):
            index = indexOf(resourcesOf(entry(f"hosts: [a.b], resolution: {resolution}, {port}")))
            (service,) = index.services
            self.assertEqual(addresses(index, service.key, 443), expected, resolution)
            self.assertTrue(service.external)
        index = indexOf(resourcesOf(entry(f"hosts: ['*.b'], resolution: DYNAMIC_DNS, {port}")))
        (service,) = index.services
        self.assertEqual((service.host, index.allEndpoints(service.key)), ("*.b", ()))

    def test_selector(self) -> None:
        """
        Workloads may be selected; for static ones a name is no address.
        """
        text = entry(
            "hosts: [a.b], resolution: STATIC, workloadSelector: {labels: {app: reviews}}, "
            "ports: [{number: 80, name: web, protocol: HTTP}]"
        )
        named = "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: named}\n"
        named += "spec: {address: x.y, labels: {app: reviews}}\n"
        index = indexOf(resourcesOf(f"{text}---{REVIEWS}---\n{named}"))
        self.assertEqual(addresses(index, ServiceKey("a.b", "shop"), 80), [("127.0.1.1", 9080), ("127.0.1.2", 80)])

    def test_sockets(self) -> None:
        """
        A unix socket has no port.
        """
        text = entry(
            "hosts: [a.b], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}], "
            "endpoints: [{address: 'unix:///run/a'}]"
        )
        self.assertEqual(addresses(indexOf(resourcesOf(text)), ServiceKey("a.b", "shop"), 80), [("unix:///run/a", 0)])


class ProtocolTests(SynchronousTestCase):
    """
    What a port speaks.
    """

    def test_protocols(self) -> None:
        """
        C{appProtocol} first, then the name, then the number.
        """
        for given, expected in (
            (("http", "", "TCP", 80), "HTTP"),
            (("http2-a", "", "TCP", 80), "HTTP2"),
            (("grpc-web-a", "", "TCP", 80), "GRPC-WEB"),
            (("grpc", "", "TCP", 80), "GRPC"),
            (("HTTPS-a", "", "TCP", 80), "HTTPS"),
            (("httpx", "", "TCP", 80), AUTO),
            (("", "", "TCP", 80), AUTO),
            (("", "", "TCP", 3306), "MYSQL"),
            (("tcp", "http", "TCP", 80), "HTTP"),
            (("tcp", "kubernetes.io/h2c", "TCP", 80), "HTTP2"),
            (("tcp", "example.com/x", "TCP", 80), "TCP"),
            (("http", "", "UDP", 80), "UDP"),
            (("udp-x", "", "TCP", 80), AUTO),
        ):
            self.assertEqual(protocolOf(*given), expected, given)
