"""
Tests for L{meshproxy.controlplane.analysis.references}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.analysis.references import missingReferences
from meshproxy.controlplane.model.documents import parseDocuments
from meshproxy.controlplane.registry.registry import indexOf

_MESH = """
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {ports: [{port: 80, name: http}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shop}
spec: {hosts: [shop.example], ports: [{number: 443, name: tls, protocol: TLS}], resolution: DNS}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, subsets: [{name: stable, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front, namespace: edge}
spec: {selector: {app: gw}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [reviews]
"""


class MissingReferenceTests(SynchronousTestCase):
    """
    L{missingReferences} tells of names that lead nowhere.
    """

    def told(self, spec: str) -> list[str]:
        """
        What is told of a VirtualService with a further line: line, path, message, suggestion.
        """
        resources, problems = parseDocuments(_MESH + spec)
        self.assertEqual([str(one) for one in problems if one.isError], [])
        found = missingReferences(resources, indexOf(resources, "cluster.local"), "cluster.local")
        return [f"{one.line} {one.path} {one.message} {one.suggestion}".strip() for one in found]

    def test_found(self) -> None:
        """
        Nothing is told of names that are there: short, full, of other namespaces, C{mesh}, the subset of a rule.
        """
        destinations = (
            "{weight: 1, destination: {host: reviews, subset: stable, port: {number: 80}}}",
            "{weight: 1, destination: {host: reviews.default.svc.cluster.local}}",
            "{weight: 1, destination: {host: shop.example, port: {number: 443}}}",
        )
        gateways = "  gateways: [mesh, edge/front, front.edge.svc.cluster.local]\n"
        self.assertEqual(self.told(f"{gateways}  http: [{{route: [{', '.join(destinations)}]}}]"), [])

    def test_gateways(self) -> None:
        """
        A gateway that is not there, or only in another namespace, is told with the one that was probably meant.
        """
        route = "  http: [{route: [{destination: {host: reviews}}]}]"
        (told,) = self.told(f"  gateways: [edge/frnt]\n{route}")
        self.assertTrue(told.startswith("27 spec.gateways[0] there is no Gateway 'edge/frnt'"), told)
        self.assertTrue(told.endswith(" edge/front"), told)
        self.assertEqual(len(self.told(f"  gateways: [mesh, front]\n{route}")), 1)

    def test_hosts(self) -> None:
        """
        So is a host, wherever one is named.
        """
        for spec, path in (
            ("  http: [{route: [{destination: {host: reviws}}]}]", "spec.http[0].route[0].destination.host"),
            (
                "  http: [{mirror: {host: reviws}, route: [{destination: {host: reviews}}]}]",
                "spec.http[0].mirror.host",
            ),
            (
                "  http: [{mirrors: [{destination: {host: reviws}}], route: [{destination: {host: reviews}}]}]",
                "spec.http[0].mirrors[0].destination.host",
            ),
            ("  tcp: [{route: [{destination: {host: reviws}}]}]", "spec.tcp[0].route[0].destination.host"),
            (
                "  tls: [{match: [{sniHosts: [reviews]}], route: [{destination: {host: reviws}}]}]",
                "spec.tls[0].route[0].destination.host",
            ),
        ):
            why = "the host 'reviws.default.svc.cluster.local' is not known: requests to it fail"
            self.assertEqual(self.told(spec), [f"27 {path} {why} reviews"])
        (told,) = self.told("  http: [{route: [{destination: {host: shp.example}}]}]")
        self.assertTrue(told.endswith(" shop.example"), told)

    def test_ports(self) -> None:
        """
        A port that the host does not have, with those that it has.
        """
        (told,) = self.told("  http: [{route: [{destination: {host: reviews, port: {number: 81}}}]}]")
        self.assertIn("destination.port.number reviews.default.svc.cluster.local has no port 81, only 80", told)

    def test_subsets(self) -> None:
        """
        A subset that no rule has, with those that there are.
        """
        (told,) = self.told("  http: [{route: [{destination: {host: reviews, subset: stabel}}]}]")
        self.assertIn("has no subset 'stabel', only stable: requests to it fail", told)
        self.assertTrue(told.endswith(" stable"), told)
        (told,) = self.told("  http: [{route: [{destination: {host: shop.example, subset: v1}}]}]")
        self.assertIn("and no DestinationRule gives it any", told)
