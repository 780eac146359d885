# -*- test-case-name: tests.controlplane.translate.test_dynamicdns -*-
"""
Tests for L{meshproxy.controlplane.translate.dynamicdns}. The whole of it is in the golden file C{dynamic}.
"""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.model.trafficpolicy import ClientTLSSettings
from meshproxy.controlplane.translate.dynamicdns import dynamicCluster, upstreamOptions
from meshproxy.controlplane.translate.proxy import DataPlane
from tests.controlplane.translate.given import ROUTER, SIDECAR, codes, made, networking, service


def entry(host: str, name: str, port: int = 80, protocol: str = "HTTP") -> str:
    """
    A service that is looked up when it is asked for.
    """
    ports = f"[{{number: {port}, name: p, protocol: {protocol}}}]"
    return networking("ServiceEntry", name, f"hosts: ['{host}'], ports: {ports}, resolution: DYNAMIC_DNS")


A = service("a", "{name: http, port: 80}, {name: http-b, port: 81}")
WIDE = entry("*.example.com", "wide")


class DynamicTests(SynchronousTestCase):
    """
    Names that are looked up when they are asked for.
    """

    def test_requests(self) -> None:
        """
        One filter of a listener looks up for all such services at its port; other ports have none. A subset is none:
        nobody knows labels of what is looked up.
        """
        subset = networking("DestinationRule", "w", "host: '*.example.com', subsets: [{name: x, labels: {a: b}}]")
        result = made(SIDECAR, A, WIDE, entry("*.example.org", "other"), subset)
        self.assertEqual(codes(result), [])
        found = {}
        for name, listener in result.listeners.items():
            manager = listener["filterChains"][0]["filters"][0]["typedConfig"]
            found[name] = [one["name"].rpartition(".")[2] for one in manager["httpFilters"]][:-3]
        self.assertEqual(found, {"127.0.0.1_80": ["dynamic_forward_proxy"], "127.0.0.1_81": []})
        hosts = {host["name"]: host for host in result.routes["80"]["virtualHosts"]}
        route = hosts["*.example.com:80"]["routes"][0]["route"]
        self.assertEqual(route["cluster"], "outbound|80||*.example.com")
        self.assertIn(route["cluster"], result.clusters)
        self.assertNotIn("outbound|80|x|*.example.com", result.clusters)
        self.assertEqual(result.endpoints.keys(), {f"outbound|{port}||a.shop.svc.cluster.local" for port in (80, 81)})

    def test_connections(self) -> None:
        """
        Connections of TLS are looked up by the name that they ask for.
        """
        result = made(SIDECAR, entry("*.example.com", "wide", 443, "TLS"))
        (chain,) = result.listeners["127.0.0.1_443"]["filterChains"]
        self.assertEqual(chain["filterChainMatch"]["serverNames"], ["*.example.com"])
        first, second = (one["typedConfig"] for one in chain["filters"])
        self.assertEqual((first["portValue"], second["cluster"]), (443, "outbound|443||*.example.com"))
        cluster = result.clusters["outbound|443||*.example.com"]
        self.assertEqual(cluster["clusterType"]["typedConfig"]["dnsCacheConfig"], first["dnsCacheConfig"])

    def test_routes(self) -> None:
        """
        So are those that a TLS route sends there; those that it sends elsewhere are not.
        """
        leads = "route: [{destination: {host: '%s', port: {number: 443}}}]"
        host = "tls: [{match: [{port: 443, sniHosts: ['%s']}], " + leads + "}]"
        entries = (entry("*.example.com", "wide", 443, "TLS"), service("b", "{name: tls, port: 443}"))
        for target, wanted in (("*.example.com", 2), ("b", 1)):
            spec = "hosts: ['*.example.com'], " + host % ("www.example.com", target)
            result = made(SIDECAR, *entries, networking("VirtualService", "v", spec))
            (chain,) = [
                each
                for each in result.listeners["127.0.0.1_443"]["filterChains"]
                if each["filterChainMatch"].get("serverNames") == ["www.example.com"]
            ]
            self.assertEqual(len(chain["filters"]), wanted)
            self.assertEqual("sni_dynamic_forward_proxy" in str(chain["filters"][0]), wanted == 2)

    def test_notByAll(self) -> None:
        """
        Gateways look nothing up: they have nothing of it, and it is told. This project's own sidecars do.
        """
        result = made(ROUTER, A, WIDE)
        self.assertEqual(codes(result), [("ServiceEntry shop/wide", "not-programmed")])
        self.assertNotIn("dynamic_forward_proxy", str((result.clusters, result.listeners, result.routes)))
        self.assertNotIn("outbound|80||*.example.com", result.clusters)
        ours = made(evolve(SIDECAR, dataPlane=DataPlane.MESHPROXY), A, WIDE)
        self.assertEqual(codes(ours), [])
        self.assertIn("dynamic_forward_proxy", str(ours.listeners))
        self.assertIn("outbound|80||*.example.com", ours.clusters)
        away = made(evolve(ROUTER, namespace="x"), WIDE.replace("spec: {", "spec: {exportTo: ['.'], "))
        self.assertEqual(codes(away), [])

    def test_secured(self) -> None:
        """
        The certificate has the name that the request asks for, unless the rule says another; then Envoy is told that
        this is meant.
        """
        for tls, options, isLoose in (
            (None, {"autoSni": True, "autoSanValidation": True}, False),
            (ClientTLSSettings(mode="SIMPLE"), {"autoSni": True, "autoSanValidation": True}, False),
            (ClientTLSSettings(mode="SIMPLE", sni="a"), {"autoSanValidation": True}, True),
            (ClientTLSSettings(mode="SIMPLE", insecureSkipVerify=True), {"autoSni": True}, True),
        ):
            config = dynamicCluster(tls)["clusterType"]["typedConfig"]
            told = upstreamOptions(tls), config.get("allowInsecureClusterOptions", False)
            self.assertEqual(told, (options, isLoose))
