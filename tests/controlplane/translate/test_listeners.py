# -*- test-case-name: tests.controlplane.translate.test_listeners -*-
"""
Tests for the listeners of sidecars: L{meshproxy.controlplane.translate.outbound} and
L{meshproxy.controlplane.translate.inbound}.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.translate.listeners import distinct
from meshproxy.controlplane.translate.mesh import MeshConfig, PathNormalization
from meshproxy.controlplane.translate.proxy import Interception
from tests.controlplane.translate.given import SIDECAR, codes, made, networking, service, workload

REDIRECTED = evolve(SIDECAR, interception=Interception.REDIRECT)
OWN = workload("own", "10.1.0.1", "a", ", serviceAccount: a")


def peer(mode: str) -> str:
    """
    A PeerAuthentication of the namespace.
    """
    return (
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p}\n"
        f"spec: {{mtls: {{mode: {mode}}}}}\n"
    )


def chainsOf(listener: Any) -> list[tuple[str, tuple[str, ...], str, bool]]:
    """
    Each chain: its transport and protocols, its last filter, whether TLS ends there.
    """
    return [
        (
            chain.get("filterChainMatch", {}).get("transportProtocol", ""),
            tuple(chain.get("filterChainMatch", {}).get("applicationProtocols", ())),
            chain["filters"][-1]["name"].rpartition(".")[2],
            "transportSocket" in chain,
        )
        for chain in listener["filterChains"]
    ]


HTTP, TCP = "http_connection_manager", "tcp_proxy"
MUTUAL = ("istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2")
MUTUAL_HTTP = MUTUAL[2:]
PLAIN = ("http/1.1", "h2c")


class InboundTests(SynchronousTestCase):
    """
    What a workload takes.
    """

    def chains(self, port: str, mode: str) -> list[tuple[str, tuple[str, ...], str, bool]]:
        """
        The chains of the only port.
        """
        text = service("a", f"{{name: {port}, port: 90}}")
        return chainsOf(made(SIDECAR, text, OWN, peer(mode)).listeners["10.1.0.1_90"])

    def test_http(self) -> None:
        """
        A port that speaks HTTP.
        """
        self.assertEqual(self.chains("http", "STRICT"), [("tls", (), HTTP, True)])
        self.assertEqual(
            self.chains("http", "PERMISSIVE"), [("tls", MUTUAL, HTTP, True), ("raw_buffer", (), HTTP, False)]
        )
        self.assertEqual(self.chains("http", "DISABLE"), [("raw_buffer", (), HTTP, False)])

    def test_tcp(self) -> None:
        """
        A port that speaks something else: other TLS goes to the workload as it is.
        """
        self.assertEqual(self.chains("tcp", "STRICT"), [("tls", (), TCP, True)])
        self.assertEqual(
            self.chains("tcp", "PERMISSIVE"),
            [("tls", MUTUAL, TCP, True), ("tls", (), TCP, False), ("raw_buffer", (), TCP, False)],
        )
        self.assertEqual(self.chains("tcp", "DISABLE"), [("raw_buffer", (), TCP, False)])

    def test_auto(self) -> None:
        """
        A port of which nobody knows what it speaks.
        """
        self.assertEqual(self.chains("any", "STRICT"), [("tls", MUTUAL_HTTP, HTTP, True), ("tls", (), TCP, True)])
        self.assertEqual(
            self.chains("any", "PERMISSIVE"),
            [
                ("tls", MUTUAL_HTTP, HTTP, True),
                ("raw_buffer", PLAIN, HTTP, False),
                ("tls", ("istio-peer-exchange", "istio"), TCP, True),
                ("raw_buffer", (), TCP, False),
                ("tls", (), TCP, False),
            ],
        )
        self.assertEqual(
            self.chains("any", "DISABLE"), [("raw_buffer", PLAIN, HTTP, False), ("raw_buffer", (), TCP, False)]
        )

    def test_inspectors(self) -> None:
        """
        The first bytes are looked at where a match needs it, and nowhere else.
        """

        def names(port: str, mode: str) -> list[str]:
            text = service("a", f"{{name: {port}, port: 90}}")
            listener = made(SIDECAR, text, OWN, peer(mode)).listeners["10.1.0.1_90"]
            return [one["name"].rpartition(".")[2] for one in listener.get("listenerFilters", [])]

        self.assertEqual(names("http", "PERMISSIVE"), ["tls_inspector"])
        self.assertEqual(names("any", "PERMISSIVE"), ["tls_inspector", "http_inspector"])
        self.assertEqual(names("tcp", "DISABLE"), [])

    def test_where(self) -> None:
        """
        Without interception each port is listened for at the address of the workload, and what comes goes to where the
        application listens.
        """
        proxy = evolve(SIDECAR, inboundAddress="127.0.1.1", applicationAddress="127.0.3.1")
        result = made(proxy, service("a", "{name: http, port: 80, targetPort: 8080}"), OWN)
        self.assertEqual([name for name in result.listeners if name.startswith("127.0.1.1")], ["127.0.1.1_8080"])
        (group,) = result.clusters["inbound|8080||"]["loadAssignment"]["endpoints"]
        (endpoint,) = group["lbEndpoints"]
        self.assertEqual(endpoint["endpoint"]["address"]["socketAddress"], {"address": "127.0.3.1", "portValue": 8080})

    def test_ports(self) -> None:
        """
        The application may listen at other ports than its sidecar.
        """
        proxy = evolve(SIDECAR, applicationAddress="127.0.1.1", applicationPorts={8080: 18080})
        result = made(proxy, service("a", "{name: http, port: 80, targetPort: 8080}, {name: tcp, port: 81}"), OWN)
        clusters = [result.clusters[f"inbound|{port}||"]["loadAssignment"]["endpoints"] for port in (8080, 81)]
        endpoints = [group["lbEndpoints"][0]["endpoint"]["address"] for (group,) in clusters]
        self.assertEqual([each["socketAddress"]["portValue"] for each in endpoints], [18080, 81])

    def test_intercepted(self) -> None:
        """
        One listener for all ports; each chain of a port is for that port; the port of the listener itself leads
        nowhere.
        """
        result = made(REDIRECTED, service("a", "{name: http, port: 80}, {name: tcp, port: 81}"), OWN)
        chains = result.listeners["virtualInbound"]["filterChains"]
        ports = [chain.get("filterChainMatch", {}).get("destinationPort") for chain in chains]
        self.assertEqual(ports, [15006, 80, 80, 81, 81, 81, None, None, None, None, None])
        self.assertEqual(result.clusters["inbound|80||"]["type"], "ORIGINAL_DST")

    def test_retries(self) -> None:
        """
        A connection that the workload had closed costs nobody a request, but a stream of gRPC is not tried again.
        """
        for port, expected in (("http", True), ("grpc", False)):
            listener = made(SIDECAR, service("a", f"{{name: {port}, port: 90}}"), OWN).listeners["10.1.0.1_90"]
            manager = listener["filterChains"][0]["filters"][0]["typedConfig"]
            (route,) = manager["routeConfig"]["virtualHosts"][0]["routes"]
            self.assertEqual("retryPolicy" in route["route"], expected)

    def test_authorization(self) -> None:
        """
        Policies stand in front of the rest, on chains of requests and on chains of connections; on the chains of
        ports that no service names as well.
        """
        policy = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p}\nspec: {}\n"
        result = made(REDIRECTED, service("a", "{name: http, port: 80}, {name: tcp, port: 81}"), OWN, policy)
        for chain in result.listeners["virtualInbound"]["filterChains"][1:]:
            first = chain["filters"][0]
            if first["name"].endswith(HTTP):
                first = first["typedConfig"]["httpFilters"][0]
            self.assertEqual(first["name"].rpartition(".")[2], "rbac", chain["filterChainMatch"])

    def test_conflict(self) -> None:
        """
        Two services that speak different things at one port of a workload are both told.
        """
        other = service("b", "{name: tcp, port: 80}").replace("{app: b}", "{app: a}")
        result = made(SIDECAR, service("a", "{name: http, port: 80}"), other, OWN)
        titles = {title for title, code in codes(result) if code == "conflict"}
        self.assertEqual(titles, {"Service shop/a", "Service shop/b"})


class OutboundTests(SynchronousTestCase):
    """
    What a workload calls.
    """

    def test_where(self) -> None:
        """
        Without interception every port is listened for at one address, with it HTTP at every address and other
        services at their own.
        """
        texts = [
            service("a", "{name: http, port: 80}, {name: tcp, port: 81}", ", clusterIP: 10.0.0.1"),
            service("b", "{name: tcp, port: 82}"),
        ]
        plain = made(evolve(SIDECAR, outboundAddress="127.0.2.1"), *texts)
        self.assertEqual(list(plain.listeners), ["127.0.2.1_80", "127.0.2.1_81", "127.0.2.1_82"])
        self.assertNotIn("bindToPort", plain.listeners["127.0.2.1_80"])
        result = made(REDIRECTED, *texts)
        names = ["0.0.0.0_80", "10.0.0.1_81", "0.0.0.0_82", "virtualOutbound", "virtualInbound"]
        self.assertEqual(list(result.listeners), names)
        self.assertIs(result.listeners["0.0.0.0_80"]["bindToPort"], False)
        self.assertIs(result.listeners["virtualOutbound"]["useOriginalDst"], True)

    def test_auto(self) -> None:
        """
        Where nobody knows what is spoken the first bytes tell: HTTP to routes, the rest to the service.
        """
        result = made(SIDECAR, service("a", "{name: any, port: 80}"))
        listener = result.listeners["127.0.0.1_80"]
        self.assertEqual(chainsOf(listener), [("raw_buffer", PLAIN, HTTP, False)])
        target = listener["defaultFilterChain"]["filters"][0]["typedConfig"]["cluster"]
        self.assertEqual(target, "outbound|80||a.shop.svc.cluster.local")
        self.assertIn("80", result.routes)

    def test_names(self) -> None:
        """
        TLS services that share a port are told apart by name; what none of them is goes on.
        """
        text = "hosts: [%s], ports: [{number: 443, name: tls, protocol: TLS}], resolution: DNS"
        texts = [networking("ServiceEntry", name, text % f"{name}.com") for name in ("a", "b")]
        listener = made(REDIRECTED, *texts).listeners["0.0.0.0_443"]
        names = [chain["filterChainMatch"]["serverNames"] for chain in listener["filterChains"]]
        self.assertEqual(names, [["a.com"], ["b.com"]])
        rest = listener["defaultFilterChain"]["filters"][0]["typedConfig"]["cluster"]
        self.assertEqual(rest, "PassthroughCluster")

    def test_conflict(self) -> None:
        """
        Two services that nothing tells apart are both told.
        """
        result = made(SIDECAR, service("a", "{name: tcp, port: 80}"), service("b", "{name: tcp, port: 80}"))
        self.assertEqual({title for title, _ in codes(result)}, {"Service shop/a", "Service shop/b"})

    def test_routes(self) -> None:
        """
        TCP routes of the mesh: for some workloads, ports and subnets, with weights; TLS routes by name.
        """
        tcp = service("a", "{name: tcp, port: 80}, {name: tls, port: 443}", ", clusterIP: 10.0.0.1")
        virtual = networking(
            "VirtualService",
            "v",
            "hosts: [a], tcp: ["
            "{match: [{sourceLabels: {app: z}}], route: [{destination: {host: x}}]}, "
            "{match: [{port: 81}], route: [{destination: {host: x}}]}, "
            "{match: [{destinationSubnets: [10.0.0.0/8]}], route: [{destination: {host: a, port: {number: 443}}}]}, "
            "{route: [{destination: {host: a, port: {number: 80}}}]}], "
            "tls: [{match: [{sniHosts: [a.shop.svc.cluster.local]}], "
            "route: [{destination: {host: a, port: {number: 80}}}]}]",
        ).replace("hosts: [a]", "hosts: [a, a.shop.svc.cluster.local]")
        result = made(REDIRECTED, tcp, virtual)
        chains = result.listeners["10.0.0.1_80"]["filterChains"]
        self.assertEqual(
            [chain.get("filterChainMatch", {}) for chain in chains],
            [{"prefixRanges": [{"addressPrefix": "10.0.0.0", "prefixLen": 8}]}],
        )
        default = result.listeners["10.0.0.1_80"]["defaultFilterChain"]
        self.assertEqual(default["filters"][0]["typedConfig"]["cluster"], "outbound|80||a.shop.svc.cluster.local")
        named = result.listeners["10.0.0.1_443"]["filterChains"]
        self.assertEqual(named[0]["filterChainMatch"]["serverNames"], ["a.shop.svc.cluster.local"])

    def test_distinct(self) -> None:
        """
        What several chains match is the first one's: names, and ranges where there are no names left to tell apart;
        what differs otherwise is different.
        """
        a, b, c = ({"addressPrefix": f"10.{n}.0.0", "prefixLen": 16} for n in range(3))
        matches: list[dict[str, Any]] = [
            {"serverNames": ["x", "y"], "transportProtocol": "tls"},
            {"serverNames": ["y", "z"], "transportProtocol": "tls"},
            {"serverNames": ["x"], "transportProtocol": "tls"},
            {"serverNames": ["x"], "transportProtocol": "tls", "prefixRanges": [a]},
            {"prefixRanges": [a, b]},
            {"prefixRanges": [b, c]},
            {"prefixRanges": [a], "applicationProtocols": ["h2"]},
            {},
            {},
        ]
        chains = distinct([{"filterChainMatch": match, "name": n} for n, match in enumerate(matches)])
        found = {chain["name"]: chain["filterChainMatch"] for chain in chains}
        self.assertEqual(list(found), [0, 1, 3, 4, 5, 6, 7])
        self.assertEqual((found[1]["serverNames"], found[5]["prefixRanges"]), (["z"], [c]))

    def test_manager(self) -> None:
        """
        Paths as the mesh wants them; a log where it wants one; who calls is believed inside of the mesh.
        """
        mesh = MeshConfig(
            accessLogFile="/dev/stdout", pathNormalization=PathNormalization(normalization="DECODE_AND_MERGE_SLASHES")
        )
        (chain,) = made(SIDECAR, service("a", "{name: http, port: 80}"), mesh=mesh).listeners["127.0.0.1_80"][
            "filterChains"
        ]
        manager = chain["filters"][0]["typedConfig"]
        self.assertEqual(manager["pathWithEscapedSlashesAction"], "UNESCAPE_AND_FORWARD")
        self.assertEqual(manager["accessLog"][0]["typedConfig"]["path"], "/dev/stdout")
        self.assertIs(manager["useRemoteAddress"], False)
        self.assertEqual(manager["rds"]["routeConfigName"], "80")
