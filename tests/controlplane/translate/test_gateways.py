# -*- test-case-name: tests.controlplane.translate.test_gateways -*-
"""
Tests for L{meshproxy.controlplane.translate.gateways}, its routes and its secrets.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.registry.registry import indexOf
from meshproxy.controlplane.translate.mesh import MeshConfig, Network, NetworkGateway
from meshproxy.controlplane.translate.resourceset import ResourceSet
from meshproxy.controlplane.translate.translation import endpointsAgain
from tests.controlplane.given import resourcesOf
from tests.controlplane.model.test_core import encoded, pair
from tests.controlplane.translate.given import ROUTER, codes, made, networking, secret, service, workload

A = service("a", "{name: http, port: 80}, {name: tcp, port: 90}")


def gateway(*servers: str, name: str = "edge", namespace: str = "shop", created: str = "") -> str:
    """
    A Gateway.
    """
    spec = f"selector: {{istio: ingress}}, servers: [{', '.join(servers)}]"
    return networking("Gateway", name, spec, namespace, created)


def server(protocol: str, port: int = 443, hosts: str = "['*']", more: str = "", name: str = "p") -> str:
    """
    A server.
    """
    return f"{{port: {{number: {port}, name: {name}, protocol: {protocol}}}, hosts: {hosts}{more}}}"


def virtual(spec: str, name: str = "v", hosts: str = "[a.com]", gateways: str = "[edge]", **where: str) -> str:
    """
    A VirtualService that is bound to gateways.
    """
    return networking("VirtualService", name, f"hosts: {hosts}, gateways: {gateways}, {spec}", **where)


HTTP = "http: [{route: [{destination: {host: a, port: {number: 80}}}]}]"
SIMPLE = ", tls: {mode: SIMPLE, credentialName: c}"


class GatewayTests(SynchronousTestCase):
    """
    Servers to listeners.
    """

    def hosts(self, result: Any, name: str) -> dict[str, int]:
        """
        The virtual hosts of some routes, with the number of their routes.
        """
        return {one["domains"][0]: len(one.get("routes", [])) for one in result.routes[name]["virtualHosts"]}

    def test_selected(self) -> None:
        """
        A Gateway is for the proxies that it selects.
        """
        result = made(evolve(ROUTER, labels={"istio": "egress"}), A, gateway(server("HTTP", 80)), virtual(HTTP))
        self.assertEqual((result.listeners, result.routes), ({}, {}))

    def test_http(self) -> None:
        """
        HTTP servers of several Gateways share a listener and its routes.
        """
        one = gateway(server("HTTP", 80, "[a.com]"))
        other = gateway(server("HTTP", 80, "['*.b.com']"), name="other")
        routes = virtual(HTTP, hosts="[a.com, x.b.com]", gateways="[edge, other]")
        result = made(ROUTER, A, one, other, routes)
        self.assertEqual(list(result.listeners), ["0.0.0.0_80"])
        self.assertEqual(self.hosts(result, "http.80"), {"a.com": 1, "x.b.com": 1})
        self.assertEqual(codes(result), [])

    def test_hosts(self) -> None:
        """
        A server takes the hosts that both name, of the namespaces that it allows.
        """

        def found(hosts: str, theirs: str, namespace: str = "shop") -> list[str]:
            routes = virtual(HTTP, hosts=theirs, gateways="[shop/edge]", namespace=namespace)
            return list(self.hosts(made(ROUTER, A, gateway(server("HTTP", 80, hosts)), routes), "http.80"))

        self.assertEqual(found("['*']", "[a.com]"), ["a.com"])
        self.assertEqual(found("[a.com]", "['*']"), ["a.com"])
        self.assertEqual(found("['*.com']", "[a.com, b.org]"), ["a.com"])
        self.assertEqual(found("['x/*']", "[a.com]"), ["*"])
        self.assertEqual(found("['x/*']", "[a.com]", "x"), ["a.com"])
        self.assertEqual(found("[./*]", "[a.com]", "x"), ["*"])
        self.assertEqual(found("[./*]", "[a.com]"), ["a.com"])

    def test_bound(self) -> None:
        """
        A VirtualService is bound by the name of the Gateway, in its own namespace without one.
        """
        edge = gateway(server("HTTP", 80))
        for gateways, namespace, expected in (
            ("[edge]", "shop", True),
            ("[edge]", "x", False),
            ("[shop/edge]", "x", True),
            ("[edge.shop.svc.cluster.local]", "x", True),
            ("[mesh]", "shop", False),
        ):
            result = made(ROUTER, A, edge, virtual(HTTP, gateways=gateways, namespace=namespace))
            self.assertEqual("a.com" in self.hosts(result, "http.80"), expected, gateways)

    def test_together(self) -> None:
        """
        Several VirtualServices of a host are put together; what takes everything comes last.
        """
        old = virtual(HTTP, "old", created="2026-01-01T00:00:00Z")
        match = (
            "http: [{name: more, match: [{uri: {prefix: /m}}], route: [{destination: {host: a, port: {number: 80}}}]}]"
        )
        young = virtual(match, "young", created="2026-02-01T00:00:00Z")
        result = made(ROUTER, A, gateway(server("HTTP", 80)), old, young)
        (host,) = result.routes["http.80"]["virtualHosts"]
        self.assertEqual([route.get("name") for route in host["routes"]], ["more", None])

    def test_redirected(self) -> None:
        """
        A server that redirects does so for its hosts, whether somebody routes them or not.
        """
        edge = gateway(server("HTTP", 80, "[a.com, b.com]", ", tls: {httpsRedirect: true}"))
        hosts = made(ROUTER, A, edge, virtual(HTTP)).routes["http.80"]["virtualHosts"]
        self.assertEqual(
            [(one["domains"], one["requireTls"]) for one in hosts], [(["a.com"], "ALL"), (["b.com"], "ALL")]
        )

    def test_https(self) -> None:
        """
        TLS that ends has a chain for each server, by name, and routes of its own.
        """
        edge = gateway(server("HTTPS", 443, "[a.com]", SIMPLE, "one"), server("HTTPS", 443, "[b.com]", SIMPLE, "two"))
        result = made(ROUTER, A, edge, virtual(HTTP), secret("c"))
        chains = result.listeners["0.0.0.0_443"]["filterChains"]
        self.assertEqual([chain["filterChainMatch"]["serverNames"] for chain in chains], [["a.com"], ["b.com"]])
        self.assertEqual(set(result.routes), {"https.443.one.edge.shop", "https.443.two.edge.shop"})
        self.assertEqual(self.hosts(result, "https.443.one.edge.shop"), {"a.com": 1})
        self.assertEqual(self.hosts(result, "https.443.two.edge.shop"), {"*": 0})

    def test_modes(self) -> None:
        """
        Who asks for the certificates of clients, and whether they are needed.
        """
        for mode, asks, needs in (("SIMPLE", False, None), ("MUTUAL", True, True), ("OPTIONAL_MUTUAL", True, None)):
            edge = gateway(server("HTTPS", more=f", tls: {{mode: {mode}, credentialName: c}}"))
            (chain,) = made(ROUTER, A, edge, virtual(HTTP)).listeners["0.0.0.0_443"]["filterChains"]
            context = chain["transportSocket"]["typedConfig"]
            self.assertEqual("combinedValidationContext" in context["commonTlsContext"], asks, mode)
            self.assertEqual(context.get("requireClientCertificate"), needs, mode)
        edge = gateway(server("HTTPS", more=", tls: {mode: ISTIO_MUTUAL}"))
        (chain,) = made(ROUTER, A, edge, virtual(HTTP)).listeners["0.0.0.0_443"]["filterChains"]
        common = chain["transportSocket"]["typedConfig"]["commonTlsContext"]
        self.assertEqual(common["tlsCertificateSdsSecretConfigs"][0]["name"], "default")

    def test_passed(self) -> None:
        """
        TLS that is passed through goes by name to where a TLS route says; without one there is no listener.
        """
        edge = gateway(server("TLS", more=", tls: {mode: PASSTHROUGH}"))
        self.assertEqual(made(ROUTER, A, edge).listeners, {})
        spec = "tls: [{match: [{sniHosts: [a.com]}], route: [{destination: {host: a, port: {number: 90}}}]}]"
        (chain,) = made(ROUTER, A, edge, virtual(spec)).listeners["0.0.0.0_443"]["filterChains"]
        self.assertEqual(chain["filterChainMatch"], {"serverNames": ["a.com"], "transportProtocol": "tls"})
        self.assertNotIn("transportSocket", chain)

    def test_passedAll(self) -> None:
        """
        Any name is no name: Envoy has no word for all of them. What several routes match is the first one's.
        """
        edge = gateway(server("TLS", more=", tls: {mode: PASSTHROUGH}"))
        to = "route: [{destination: {host: a, port: {number: 90}}}]"
        spec = (
            f"tls: [{{match: [{{sniHosts: [a.com, B.com]}}], {to}}}, {{match: [{{sniHosts: [b.com, c.com]}}], {to}}}, "
            f"{{match: [{{sniHosts: ['*']}}], {to}}}, {{match: [{{sniHosts: ['*']}}], {to}}}]"
        )
        chains = made(ROUTER, A, edge, virtual(spec, hosts="['*']")).listeners["0.0.0.0_443"]["filterChains"]
        self.assertEqual(
            [chain["filterChainMatch"] for chain in chains],
            [
                {"serverNames": ["a.com", "b.com"], "transportProtocol": "tls"},
                {"serverNames": ["c.com"], "transportProtocol": "tls"},
                {"transportProtocol": "tls"},
            ],
        )

    def test_sharedNames(self) -> None:
        """
        Of a name that two servers have the first one counts, and both are told; the second keeps its others.
        """
        hosts = "[a.com, b.com]", "[b.com, c.com]"
        one, two = (
            gateway(server("HTTPS", hosts=each, more=SIMPLE), name=name, created=f"2026-01-0{number}T00:00:00Z")
            for number, (each, name) in enumerate(zip(hosts, ("one", "two"), strict=True), 1)
        )
        result = made(ROUTER, A, one, two)
        chains = result.listeners["0.0.0.0_443"]["filterChains"]
        self.assertEqual(
            [chain["filterChainMatch"]["serverNames"] for chain in chains], [["a.com", "b.com"], ["c.com"]]
        )
        told = [str(problem) for problem in result.problems if problem.code == "conflict"]
        self.assertEqual(len(told), 2)
        self.assertIn("two servers for b.com at one port", told[0])

    def test_tcp(self) -> None:
        """
        Plain connections, and those whose TLS ended, go where the first TCP route says that is for the port.
        """
        spec = (
            "tcp: [{match: [{port: 1}], route: [{destination: {host: x}}]}, "
            "{route: [{destination: {host: a, port: {number: 90}}}]}]"
        )
        for one in (server("TCP"), server("TLS", more=SIMPLE)):
            (chain,) = made(ROUTER, A, gateway(one), virtual(spec, hosts="['*']")).listeners["0.0.0.0_443"][
                "filterChains"
            ]
            target = chain["filters"][-1]["typedConfig"]["cluster"]
            self.assertEqual(target, "outbound|90||a.shop.svc.cluster.local")

    def test_conflicts(self) -> None:
        """
        HTTP and something else at one port, and two servers for the same names: the older Gateway counts, both are
        told.
        """
        old = gateway(server("HTTPS", more=SIMPLE), name="old", created="2026-01-01T00:00:00Z")
        for one in (server("HTTP"), server("HTTPS", more=SIMPLE)):
            young = gateway(one, name="young", created="2026-02-01T00:00:00Z")
            result = made(ROUTER, A, young, old, secret("c"))
            self.assertEqual(set(codes(result)), {("Gateway shop/old", "conflict"), ("Gateway shop/young", "conflict")})
            (chain,) = result.listeners["0.0.0.0_443"]["filterChains"]
            self.assertIn("transportSocket", chain)

    def test_between(self) -> None:
        """
        What comes from another network passes by the name of the service, port and subset, in protocols of the mesh, to
        workloads of the own network that speak mutual TLS, without any filter.
        """
        policy = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p}\nspec: {}\n"
        passing = gateway(server("TLS", 15443, "['*.local']", ", tls: {mode: AUTO_PASSTHROUGH}"))
        subset = networking("DestinationRule", "a", "host: a, subsets: [{name: v1, labels: {version: v1}}]")
        outside = networking(
            "ServiceEntry",
            "outside",
            "hosts: [out.local], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS",
        )
        texts = [
            networking("WorkloadEntry", name, f"address: 10.0.0.{index}, labels: {{app: a}}{more}")
            for index, (name, more) in enumerate(
                (
                    ("own", ", serviceAccount: x, network: n1"),
                    ("plain", ", network: n1"),
                    ("there", ", serviceAccount: x, network: n2"),
                )
            )
        ]
        mesh = MeshConfig(networks={"n2": Network(gateways=[NetworkGateway(address="192.0.2.2", port=15443)])})
        router = evolve(ROUTER, network="n1")
        result = made(router, A, passing, subset, outside, policy, *texts, mesh=mesh)
        self.assertEqual(codes(result), [])
        chains = result.listeners["0.0.0.0_15443"]["filterChains"]
        host = "a.shop.svc.cluster.local"
        names = [f"outbound_.{port}_.{name}_.{host}" for port in (80, 90) for name in ("", "v1")]
        self.assertEqual([chain["filterChainMatch"]["serverNames"] for chain in chains], [[name] for name in names])
        self.assertIn("istio-peer-exchange", chains[0]["filterChainMatch"]["applicationProtocols"])
        (only,) = chains[0]["filters"]
        self.assertEqual(only["typedConfig"]["cluster"], names[0])
        cluster = result.clusters[names[0]]
        self.assertEqual((cluster["type"], cluster["edsClusterConfig"]["serviceName"]), ("EDS", names[0]))
        self.assertFalse({"transportSocket", "transportSocketMatches", "typedExtensionProtocolOptions"} & set(cluster))
        (group,) = result.endpoints[names[0]]["endpoints"]
        self.assertEqual(
            [one["endpoint"]["address"]["socketAddress"]["address"] for one in group["lbEndpoints"]], ["10.0.0.0"]
        )
        self.assertNotIn("endpoints", result.endpoints[names[1]])
        self.assertNotIn(names[0], made(router, A, *texts, mesh=mesh).clusters)

    def test_betweenEndpoints(self) -> None:
        """
        When endpoints alone change, those for what passes change with them.
        """
        passing = gateway(server("TLS", 15443, "['*.local']", ", tls: {mode: AUTO_PASSTHROUGH}"))
        resources = resourcesOf("---\n".join([A, passing, workload("w", "10.0.0.1", "a", ", serviceAccount: x")]))
        index = indexOf(resources)
        again = endpointsAgain(ROUTER, MeshConfig(), ResourceSet(resources), index, [index.services[0].key])
        assert again is not None
        every = made(ROUTER, A, passing, workload("w", "10.0.0.1", "a", ", serviceAccount: x")).endpoints
        self.assertEqual(again, every)
        self.assertIn("outbound_.80_._.a.shop.svc.cluster.local", again)

    def test_ciphers(self) -> None:
        """
        Cipher suites that nobody knows are left out, as is told of them; with them Envoy would refuse the listener.
        """
        suites = "cipherSuites: [AES128-SHA, NONE-SUCH]"
        https = gateway(server("HTTPS", more=f", tls: {{mode: SIMPLE, credentialName: c, {suites}}}"))
        result = made(ROUTER, A, https, virtual(HTTP), secret("c"))
        context = result.listeners["0.0.0.0_443"]["filterChains"][0]["transportSocket"]["typedConfig"]
        self.assertEqual(context["commonTlsContext"]["tlsParams"]["cipherSuites"], ["AES128-SHA"])

    def test_policies(self) -> None:
        """
        Policies stand before routes and before connections.
        """
        policy = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p}\nspec: {}\n"
        spec = f"{HTTP}, tcp: [{{route: [{{destination: {{host: a, port: {{number: 90}}}}}}]}}]"
        edge = gateway(server("HTTP", 80), server("TCP", 90, name="tcp"))
        listeners = made(ROUTER, A, edge, virtual(spec, hosts="['*']"), policy).listeners
        manager = listeners["0.0.0.0_80"]["filterChains"][0]["filters"][0]["typedConfig"]
        self.assertEqual(manager["httpFilters"][0]["name"], "envoy.filters.http.rbac")
        self.assertEqual(listeners["0.0.0.0_90"]["filterChains"][0]["filters"][0]["name"], "envoy.filters.network.rbac")


class SecretTests(SynchronousTestCase):
    """
    The certificates of gateways.
    """

    def test_given(self) -> None:
        """
        A certificate with its key, and roots of the same Secret where clients have certificates.
        """
        edge = gateway(server("HTTPS", more=", tls: {mode: MUTUAL, credentialName: c}"))
        result = made(ROUTER, edge, secret("c", more=f", ca.crt: {encoded(pair()[0])}"))
        self.assertEqual(set(result.secrets), {"kubernetes://c", "kubernetes://c-cacert"})
        self.assertEqual(
            result.secrets["kubernetes://c"]["tlsCertificate"]["privateKey"], {"inlineBytes": encoded(pair()[1])}
        )
        self.assertEqual(codes(result), [])
        self.assertNotIn(encoded(pair()[1]), repr(result))

    def test_apart(self) -> None:
        """
        Roots may stand in a Secret of their own.
        """
        edge = gateway(server("HTTPS", more=", tls: {mode: MUTUAL, credentialName: c}"))
        roots = f"apiVersion: v1\nkind: Secret\nmetadata: {{name: c-cacert}}\ndata: {{cacert: {encoded(pair()[0])}}}\n"
        result = made(ROUTER, edge, secret("c"), roots)
        self.assertIn("trustedCa", result.secrets["kubernetes://c-cacert"]["validationContext"])

    def test_ownNamespace(self) -> None:
        """
        Nobody is given what lies in another namespace; what is missing is told of the Gateway that names it.
        """
        result = made(ROUTER, gateway(server("HTTPS", more=SIMPLE)), secret("c", "other"))
        self.assertEqual((result.secrets, codes(result)), ({}, [("Gateway shop/edge", "not-found")]))
