# -*- test-case-name: tests.controlplane.translate.test_localities -*-
"""
Tests for L{meshproxy.controlplane.translate.localities}.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.model.trafficpolicy import LocalityDistribute, LocalityLbSetting, ZoneAwareLbSetting
from meshproxy.controlplane.registry.registry import indexOf
from meshproxy.controlplane.translate.mesh import MeshConfig
from meshproxy.controlplane.translate.proxy import DataPlane
from meshproxy.controlplane.translate.resourceset import ResourceSet
from meshproxy.controlplane.translate.shared import Shared
from meshproxy.controlplane.translate.translation import translate
from tests.controlplane.given import resourcesOf
from tests.controlplane.translate.given import SIDECAR, codes, made, networking, service

A = service("a", "{name: http, port: 80}")
NAME = "outbound|80||a.shop.svc.cluster.local"
NOTICED = "outlierDetection: {interval: 1s}, "

PLACES = {"near": "r1/z1/s1", "zone": "r1/z1/s2", "region": "r1/z2", "far": "r2/z1", "next": "r3"}


def entry(name: str, index: int, locality: str, more: str = "", labels: str = "") -> str:
    """
    A WorkloadEntry somewhere.
    """
    spec = f"address: 10.0.0.{index}, labels: {{app: a{labels}}}, locality: {locality}{more}"
    return networking("WorkloadEntry", name, spec)


class LocalityTests(SynchronousTestCase):
    """
    Who is asked first.
    """

    places = tuple(entry(name, index, locality) for index, (name, locality) in enumerate(PLACES.items()))
    proxy = evolve(SIDECAR, locality="r1/z1/s1")

    def made(self, policy: str, *texts: str, **given: Any) -> Any:
        """
        The cluster and its endpoints, under a rule with a policy.
        """
        rule = networking("DestinationRule", "a", f"host: a, trafficPolicy: {{{policy}}}")
        self.result = made(given.get("proxy", self.proxy), A, *(texts or self.places), rule, mesh=given.get("mesh"))
        return self.result.clusters[NAME], self.result.endpoints[NAME]["endpoints"]

    def order(self, policy: str, *texts: str, **given: Any) -> list[list[str]]:
        """
        The endpoints by priority, those that are asked first before the others: by the last number of their address.
        """
        found: dict[int, list[str]] = {}
        for group in self.made(policy, *texts, **given)[1]:
            for one in group["lbEndpoints"]:
                address = one["endpoint"]["address"]["socketAddress"]["address"]
                found.setdefault(group.get("priority", 0), []).append(address.rpartition(".")[2])
        self.assertEqual(sorted(found), list(range(len(found))))
        return [sorted(found[priority]) for priority in sorted(found)]

    def setting(self, text: str, name: str = "localityLbSetting") -> str:
        """
        A policy that says something of localities, and notices what fails.
        """
        return f"{NOTICED}loadBalancer: {{{name}: {{{text}}}}}"

    def test_nearest(self) -> None:
        """
        The nearest first, where failing endpoints are noticed; the region that a failover names before the others.
        """
        self.assertEqual(self.order(NOTICED), [["0"], ["1"], ["2"], ["3", "4"]])
        self.assertEqual(self.order(self.setting("failover: [{from: r1, to: r3}]")), [[n] for n in "01243"])
        self.assertEqual(self.order(self.setting("failover: [{from: r2, to: r3}]")), [["0"], ["1"], ["2"], ["3", "4"]])

    def test_off(self) -> None:
        """
        All at once where nobody notices what fails, where it is switched off, and by a proxy that says nothing of where
        it is.
        """
        every = [["0", "1", "2", "3", "4"]]
        self.assertEqual(self.order("tls: {mode: DISABLE}"), every)
        self.assertEqual(self.order(self.setting("enabled: false")), every)
        self.assertEqual(self.order(NOTICED, proxy=SIDECAR), every)
        ours = evolve(self.proxy, dataPlane=DataPlane.MESHPROXY)
        self.assertEqual(self.order(NOTICED, proxy=ours), self.order(NOTICED))

    def test_labels(self) -> None:
        """
        C{failoverPriority}: who shares all labels with the caller, or has the value asked for, before who shares fewer
        from the first on; localities count only where a failover stands beside them.
        """
        texts = [
            entry("far", 0, "r9", labels=", version: v2, tier: x"),
            entry("near", 1, "r1/z1/s1", labels=", version: v2"),
            entry("other", 2, "r1/z1/s1", labels=", version: v1, tier: x"),
        ]
        proxy = evolve(self.proxy, labels={"app": "a", "version": "v1", "tier": "x"})
        labels = "failoverPriority: [app, version=v2, tier]"
        self.assertEqual(self.order(self.setting(labels), *texts, proxy=proxy), [["0"], ["1"], ["2"]])
        self.assertEqual(self.order(self.setting("failoverPriority: [app]"), *texts, proxy=proxy), [["0", "1", "2"]])
        both = "failoverPriority: [app], failover: [{from: r1, to: r9}]"
        self.assertEqual(self.order(self.setting(both), *texts, proxy=proxy), [["1", "2"], ["0"]])
        nameless = evolve(SIDECAR, labels={})
        self.assertEqual(self.order(self.setting(labels), *texts, proxy=nameless), [["0", "1", "2"]])

    def test_topology(self) -> None:
        """
        Where somebody is counts as a label, and who is of another network comes behind all of the own one.
        """
        region = self.setting("failoverPriority: [topology.kubernetes.io/region]")
        self.assertEqual(self.order(region), [["0", "1", "2"], ["3", "4"]])
        texts = [
            entry("near", 0, "r1", ", network: other"),
            entry("own", 1, "r2", ", network: own"),
            entry("both", 2, "r1", ", network: own"),
            entry("none", 3, "r2", ", network: other"),
        ]
        proxy = evolve(self.proxy, network="own")
        labels = "failoverPriority: [topology.istio.io/network, topology.kubernetes.io/region]"
        self.assertEqual(self.order(self.setting(labels), *texts, proxy=proxy), [["2"], ["1"], ["0"], ["3"]])

    def test_callers(self) -> None:
        """
        Two callers in one place get endpoints in the order that each one's labels ask for.
        """
        rule = f"host: a, trafficPolicy: {{{self.setting('failoverPriority: [version]')}}}"
        texts = [entry(name, index, "r", labels=f", version: {name}") for index, name in enumerate(("v1", "v2"))]
        resources = resourcesOf("---\n".join([A, *texts, networking("DestinationRule", "a", rule)]))
        shared = Shared()
        first = []
        for version in ("v1", "v2"):
            proxy = evolve(SIDECAR, labels={"version": version})
            result = translate(proxy, MeshConfig(), ResourceSet(resources), indexOf(resources), shared)
            group = result.endpoints[NAME]["endpoints"][0]
            first.append(group["lbEndpoints"][0]["endpoint"]["address"]["socketAddress"]["address"])
        self.assertEqual(first, ["10.0.0.0", "10.0.0.1"])

    def test_weights(self) -> None:
        """
        Localities share by weight where shares are given, by the rule or by the mesh, or an order is; else Envoy's
        balancer looks at all endpoints at once.
        """
        shares = "distribute: [{from: 'r1/*', to: {'r1/*': 90, r3: 10}}]"
        cluster, groups = self.made(f"loadBalancer: {{localityLbSetting: {{{shares}}}}}")
        self.assertEqual(cluster["commonLbConfig"], {"localityWeightedLbConfig": {}})
        weights = {"/".join(group["locality"].values()): group["loadBalancingWeight"] for group in groups}
        self.assertEqual(weights, {"r1/z1/s1": 30, "r1/z1/s2": 30, "r1/z2": 30, "r3": 10})
        mesh = MeshConfig(
            localityLbSetting=LocalityLbSetting(distribute=[LocalityDistribute(from_="r1/*", to={"r3": 100})])
        )
        cluster, groups = self.made("tls: {mode: DISABLE}", mesh=mesh)
        self.assertEqual((cluster["commonLbConfig"], len(groups)), ({"localityWeightedLbConfig": {}}, 1))
        cluster, _ = self.made(self.setting("failover: [{from: r1, to: r3}]"))
        self.assertIn("localityWeightedLbConfig", cluster["commonLbConfig"])
        cluster, _ = self.made(NOTICED)
        self.assertNotIn("localityWeightedLbConfig", cluster["commonLbConfig"])

    def test_zones(self) -> None:
        """
        By zone, regions come one after the other, whether or not what fails is noticed; inside of the own one Envoy
        looks at zones itself. What a rule says counts before the mesh.
        """
        zones = "loadBalancer: {zoneAwareLbSetting: {failover: [{from: r1, to: r3}], minClusterSize: 3}}"
        self.assertEqual(self.order(zones), [["0", "1", "2"], ["4"], ["3"]])
        cluster = self.result.clusters[NAME]
        self.assertEqual(cluster["commonLbConfig"], {"zoneAwareLbConfig": {"minClusterSize": "3"}})
        ours = evolve(self.proxy, dataPlane=DataPlane.MESHPROXY)
        self.assertEqual(self.order(zones, proxy=ours), [["0", "1", "2"], ["4"], ["3"]])
        self.assertEqual(codes(self.result), [])
        mesh = MeshConfig(zoneAwareLbSetting=ZoneAwareLbSetting())
        self.assertEqual(self.order("tls: {mode: DISABLE}", mesh=mesh), [["0", "1", "2"], ["3", "4"]])
        self.assertEqual(self.order(self.setting("enabled: false"), mesh=mesh), [["0", "1", "2", "3", "4"]])

    def test_zonesOff(self) -> None:
        """
        Switched off, zones are said not to count: Envoy would look at them by itself.
        """
        zones = "loadBalancer: {zoneAwareLbSetting: {enabled: false}}"
        self.assertEqual(self.order(zones), [["0", "1", "2", "3", "4"]])
        cluster = self.result.clusters[NAME]
        self.assertEqual(cluster["commonLbConfig"], {"zoneAwareLbConfig": {"routingEnabled": {"value": 0.0}}})
