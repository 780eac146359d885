# -*- test-case-name: tests.controlplane.translate.test_scope -*-
"""
Tests for L{meshproxy.controlplane.translate.scope}, and what follows from a Sidecar.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.translate.proxy import Interception
from tests.controlplane.translate.given import ROUTER, SIDECAR, codes, made, networking, secret, service, workload

A = service("a", "{name: http, port: 80}, {name: tcp, port: 90}")
B = service("b", "{name: http, port: 80}", namespace="other")
OUTSIDE = networking(
    "ServiceEntry", "o", "hosts: [x.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS"
)
OWN = workload("own", "10.1.0.1", "a")
REDIRECTED = evolve(SIDECAR, interception=Interception.REDIRECT)


def sidecar(spec: str, name: str = "s", namespace: str = "shop", created: str = "") -> str:
    """
    A Sidecar.
    """
    return networking("Sidecar", name, spec, namespace, created)


def egress(*hosts: str) -> str:
    """
    One listener for all ports.
    """
    return f"egress: [{{hosts: [{', '.join(repr(host) for host in hosts)}]}}]"


class EgressTests(SynchronousTestCase):
    """
    What a workload may call.
    """

    def hosts(self, *texts: str, proxy: Any = SIDECAR) -> set[str]:
        """
        The services that there are clusters for.
        """
        names = made(proxy, A, B, OUTSIDE, *texts).clusters
        return {name.rpartition("|")[2].partition(".")[0] for name in names if name.startswith("outbound")}

    def test_hosts(self) -> None:
        """
        Namespaces and hosts, with wildcards; nothing of C{~}; without a Sidecar all.
        """
        self.assertEqual(self.hosts(), {"a", "b", "x"})
        for entry, expected in (
            ("*/*", {"a", "b", "x"}),
            ("./*", {"a", "x"}),
            ("other/*", {"b"}),
            ("*/*.svc.cluster.local", {"a", "b"}),
            ("*/x.example.com", {"x"}),
            ("other/x.example.com", set()),
            ("~/*", set()),
        ):
            self.assertEqual(self.hosts(sidecar(egress(entry))), expected, entry)

    def test_which(self) -> None:
        """
        One that selects the workload counts before one for all, the namespace's before the root's, the older of two; a
        gateway has none.
        """
        selecting = sidecar(f"workloadSelector: {{labels: {{app: a}}}}, {egress('other/*')}", "selecting")
        other = sidecar(f"workloadSelector: {{labels: {{app: z}}}}, {egress('~/*')}", "other")
        every = sidecar(egress("./*"), "every")
        root = sidecar(egress("*/x.example.com"), "root", "istio-system")
        self.assertEqual(self.hosts(selecting, other, every, root), {"b"})
        self.assertEqual(self.hosts(other, every, root), {"a", "x"})
        self.assertEqual(self.hosts(other, root), {"x"})
        self.assertEqual(self.hosts(root, proxy=ROUTER), {"a", "b", "x"})
        old = sidecar(egress("other/*"), "old", created="2026-01-01T00:00:00Z")
        young = sidecar(egress("./*"), "young", created="2026-02-01T00:00:00Z")
        self.assertEqual(self.hosts(young, old), {"b"})
        titles = {title for title, code in codes(made(SIDECAR, young, old)) if code == "conflict"}
        self.assertEqual(titles, {"Sidecar shop/old", "Sidecar shop/young"})

    def test_routed(self) -> None:
        """
        What a VirtualService of an imported host leads to is known as well; one of another host is not looked at.
        """
        virtual = networking(
            "VirtualService",
            "v",
            "hosts: [x.example.com], http: [{route: [{destination: {host: b.other.svc.cluster.local}}]}]",
        )
        self.assertEqual(self.hosts(sidecar(egress("*/x.example.com")), virtual), {"b", "x"})
        self.assertEqual(self.hosts(sidecar(egress("./a.shop.svc.cluster.local")), virtual), {"a"})

    def test_policy(self) -> None:
        """
        The Sidecar decides about what is not known, where it says so.
        """
        for text, expected in (
            (egress("./*"), "allow_any"),
            (f"{egress('./*')}, outboundTrafficPolicy: {{mode: REGISTRY_ONLY}}", "block_all"),
            (f"{egress('./*')}, outboundTrafficPolicy: {{mode: ALLOW_ANY}}", "allow_any"),
        ):
            result = made(REDIRECTED, A, sidecar(text))
            self.assertEqual(result.routes["80"]["virtualHosts"][-1]["name"], expected)
            rest = result.listeners["virtualOutbound"]["filterChains"][1]["filters"][0]["typedConfig"]["cluster"]
            self.assertEqual(rest, "PassthroughCluster" if expected == "allow_any" else "BlackHoleCluster")

    def test_egressProxy(self) -> None:
        """
        What is not known goes to the egress proxy, with interception or without it, whether or not the hosts of the
        Sidecar name it; one that is not known itself is told.
        """
        proxy = service("out", "{name: tcp, port: 3128}", namespace="edge")
        where = "host: out.edge.svc.cluster.local, port: {number: 3128}"
        policy = f"outboundTrafficPolicy: {{mode: ALLOW_ANY, egressProxy: {{{where}}}}}"
        through = sidecar(f"{egress('./*')}, {policy}")
        name = "outbound|3128||out.edge.svc.cluster.local"
        for caller in (REDIRECTED, SIDECAR):
            result = made(caller, A, B, OUTSIDE, proxy, through)
            self.assertIn(name, result.clusters)
            self.assertEqual(codes(result), [])
            other = result.routes["80"]["virtualHosts"][-1]
            self.assertEqual((other["domains"], other["routes"][0]["route"]["cluster"]), (["*"], name))
        (last,) = made(REDIRECTED, A, proxy, through).listeners["virtualOutbound"]["filterChains"][1]["filters"]
        self.assertEqual(last["typedConfig"]["cluster"], name)
        self.assertEqual(codes(made(REDIRECTED, A, through)), [("Sidecar shop/s", "not-found")])

    def test_ports(self) -> None:
        """
        A listener of a port has an address and hosts of its own, and takes its port from the one for all others.
        """
        text = (
            "egress: [{port: {number: 80, protocol: HTTP}, bind: 127.0.0.9, captureMode: NONE, hosts: [other/*]}, "
            "{hosts: ['*/*']}]"
        )
        result = made(REDIRECTED, A, B, sidecar(text))
        self.assertEqual(set(result.listeners), {"127.0.0.9_80", "0.0.0.0_90", "virtualOutbound", "virtualInbound"})
        self.assertNotIn("bindToPort", result.listeners["127.0.0.9_80"])
        names = [one["name"] for one in result.routes["80"]["virtualHosts"]]
        self.assertEqual(names, ["b.other.svc.cluster.local:80", "allow_any"])

    def test_protocol(self) -> None:
        """
        What a listener says is spoken there counts before what the service says.
        """
        text = "egress: [{port: {number: 80, protocol: TCP}, hosts: ['./*']}]"
        result = made(SIDECAR, A, sidecar(text))
        (chain,) = result.listeners["127.0.0.1_80"]["filterChains"]
        self.assertEqual(chain["filters"][0]["name"], "envoy.filters.network.tcp_proxy")
        self.assertEqual(result.routes, {})


class SocketTests(SynchronousTestCase):
    """
    Unix sockets by which a workload calls others.
    """

    def domains(self, routes: Any) -> dict[str, list[str]]:
        """
        The names of each virtual host.
        """
        return {one["name"]: one["domains"] for one in routes["virtualHosts"]}

    def test_hosts(self) -> None:
        """
        What a socket's hosts are is there by name, and by name with port; without one the first port is meant.
        """
        two = service("two", "{name: http, port: 80}, {name: http-more, port: 81}, {name: tcp, port: 82}")
        text = sidecar("egress: [{port: {number: 0, protocol: HTTP}, bind: 'unix:///run/out', hosts: ['./two.*']}]")
        text = text.replace("two.*", "two.shop.svc.cluster.local")
        result = made(SIDECAR, A, B, two, OWN, text)
        listener = result.listeners["unix:///run/out"]
        self.assertEqual(listener["address"], {"pipe": {"path": "/run/out"}})
        manager = listener["filterChains"][0]["filters"][0]["typedConfig"]
        self.assertEqual(manager["rds"]["routeConfigName"], "unix:///run/out")
        found = self.domains(result.routes["unix:///run/out"])
        self.assertEqual(list(found), ["two.shop.svc.cluster.local:80", "two.shop.svc.cluster.local:81", "block_all"])
        first, second, _ = found.values()
        self.assertIn("two", first)
        self.assertIn("two:80", first)
        self.assertNotIn("two", second)
        self.assertIn("two:81", second)
        outbound = [name for name, one in result.listeners.items() if one["trafficDirection"] == "OUTBOUND"]
        self.assertEqual(outbound, ["unix:///run/out"])
        self.assertEqual(codes(result), [])

    def test_notHTTP(self) -> None:
        """
        What is no HTTP is told.
        """
        text = sidecar("egress: [{port: {number: 0, protocol: TCP}, bind: 'unix:///run/out', hosts: ['*/*']}]")
        result = made(SIDECAR, A, OWN, text)
        self.assertEqual(codes(result), [("Sidecar shop/s", "not-programmed")])
        self.assertNotIn("unix:///run/out", result.listeners)


class IngressTests(SynchronousTestCase):
    """
    Where a workload is.
    """

    def test_named(self) -> None:
        """
        The ports that a Sidecar names are those of the workload, with their addresses, and with where it listens.
        """
        text = sidecar(
            "ingress: [{port: {number: 7000, protocol: HTTP}, bind: 127.0.0.7, defaultEndpoint: '127.0.0.1:8000'}, "
            "{port: {number: 7001, protocol: TCP}, defaultEndpoint: 'unix:///run/a'}, "
            "{port: {number: 7002, protocol: TCP}, defaultEndpoint: '0.0.0.0:8002'}, "
            "{port: {number: 7003, protocol: TCP}}]"
        )
        result = made(SIDECAR, A, OWN, text)
        inbound = [name for name, one in result.listeners.items() if one["trafficDirection"] == "INBOUND"]
        self.assertEqual(inbound, ["127.0.0.7_7000", "10.1.0.1_7001", "10.1.0.1_7002", "10.1.0.1_7003"])

        def where(port: int) -> Any:
            (group,) = result.clusters[f"inbound|{port}||"]["loadAssignment"]["endpoints"]
            return group["lbEndpoints"][0]["endpoint"]["address"]

        self.assertEqual(where(7000)["socketAddress"], {"address": "127.0.0.1", "portValue": 8000})
        self.assertEqual(where(7001), {"pipe": {"path": "/run/a"}})
        self.assertEqual(where(7002)["socketAddress"], {"address": "10.1.0.1", "portValue": 8002})
        self.assertEqual(where(7003)["socketAddress"], {"address": "127.0.0.1", "portValue": 7003})
        self.assertNotIn("inbound|80||", result.clusters)

    def test_captured(self) -> None:
        """
        With interception a port is one of the common listener, unless it is to be listened at in earnest.
        """
        text = sidecar(
            "ingress: [{port: {number: 7000, protocol: TCP}}, {port: {number: 7001, protocol: TCP}, captureMode: NONE}]"
        )
        result = made(REDIRECTED, OWN, text)
        ports = [
            chain.get("filterChainMatch", {}).get("destinationPort")
            for chain in result.listeners["virtualInbound"]["filterChains"]
        ]
        self.assertEqual([port for port in ports if port], [15006, 7000, 7000, 7000])
        self.assertIn("10.1.0.1_7001", result.listeners)
        self.assertEqual(result.clusters["inbound|7000||"]["type"], "ORIGINAL_DST")
        self.assertEqual(result.clusters["inbound|7001||"]["type"], "STATIC")

    def test_outside(self) -> None:
        """
        TLS from outside of the mesh ends with a Secret of the workload's namespace, where no mutual TLS is spoken; what
        a client says of others' certificates is not believed.
        """
        tls = "tls: {mode: SIMPLE, credentialName: front}"
        ports = (
            f"{{port: {{number: 7000, protocol: HTTPS}}, {tls}}}, {{port: {{number: 7001, protocol: HTTPS}}, {tls}}}"
        )
        text = sidecar(f"ingress: [{ports}]")
        plain = (
            "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p, namespace: shop}\n"
            "spec: {selector: {matchLabels: {app: a}}, portLevelMtls: {'7000': {mode: DISABLE}}}\n"
        )
        result = made(SIDECAR, OWN, text, plain, secret("front"), secret("other"))
        self.assertEqual(list(result.secrets), ["kubernetes://front"])
        (chain,) = result.listeners["10.1.0.1_7000"]["filterChains"]
        names = chain["transportSocket"]["typedConfig"]["commonTlsContext"]["tlsCertificateSdsSecretConfigs"]
        self.assertEqual([one["name"] for one in names], ["kubernetes://front"])
        manager = chain["filters"][0]["typedConfig"]
        self.assertEqual(manager["forwardClientCertDetails"], "SANITIZE_SET")
        self.assertEqual(codes(result), [("Sidecar shop/s", "not-programmed")])
        self.assertEqual(result.problems[0].path, "spec.ingress[1].tls")
        self.assertEqual(len(result.listeners["10.1.0.1_7001"]["filterChains"]), 3)
        alone = made(SIDECAR, OWN, text, plain)
        self.assertEqual((alone.secrets, codes(alone)[0]), ({}, ("Sidecar shop/s", "not-programmed")))
        self.assertIn(("Sidecar shop/s", "not-found"), codes(alone))

    def test_shared(self) -> None:
        """
        Of workloads that share an address each has its own ports.
        """
        other = workload("other", "10.1.0.1", "z")
        result = made(SIDECAR, A, service("z", "{name: http, port: 70}"), OWN, other)
        self.assertIn("inbound|80||", result.clusters)
        self.assertNotIn("inbound|70||", result.clusters)
