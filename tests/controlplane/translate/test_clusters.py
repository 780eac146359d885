# -*- test-case-name: tests.controlplane.translate.test_clusters -*-
"""
Tests for L{meshproxy.controlplane.translate.clusters} and what clusters are made of: policies, endpoints, TLS.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.translate.mesh import MeshConfig, Network, NetworkGateway
from meshproxy.controlplane.translate.proxy import DataPlane, Interception
from tests.controlplane.translate.given import ROUTER, SIDECAR, codes, made, networking, service, workload

A = service("a", "{name: http, port: 80}")
NAME = "outbound|80||a.shop.svc.cluster.local"
MUTUAL = workload("m", "10.0.0.1", "a", ", serviceAccount: x")
PLAIN = workload("p", "10.0.0.2", "a")


def rule(spec: str, name: str = "a", namespace: str = "shop", host: str = "a", created: str = "") -> str:
    """
    A DestinationRule.
    """
    return networking("DestinationRule", name, f"host: {host}, {spec}", namespace, created)


class PolicyTests(SynchronousTestCase):
    """
    Which rule counts, and what of it.
    """

    def limit(self, *rules: str, name: str = NAME, proxy: Any = SIDECAR) -> Any:
        """
        The limit of connections by which the rules are told apart.
        """
        return made(proxy, A, *rules).clusters[name]["circuitBreakers"]["thresholds"][0]["maxConnections"]

    def pool(self, limit: int) -> str:
        """
        A policy with a limit.
        """
        return f"connectionPool: {{tcp: {{maxConnections: {limit}}}}}"

    def test_none(self) -> None:
        """
        Without a rule there is no limit.
        """
        self.assertEqual(self.limit(), 4294967295)

    def test_namespaces(self) -> None:
        """
        The rule of the caller's namespace counts, then of the service's, then of the mesh's.
        """
        full = "a.shop.svc.cluster.local"
        caller = evolve(SIDECAR, namespace="caller")
        own = rule(f"trafficPolicy: {{{self.pool(1)}}}", "own", "caller", full)
        theirs = rule(f"trafficPolicy: {{{self.pool(2)}}}", "theirs")
        mesh = rule(f"trafficPolicy: {{{self.pool(3)}}}", "mesh", "istio-system", full)
        elsewhere = rule(f"trafficPolicy: {{{self.pool(4)}}}", "elsewhere", "elsewhere", full)
        self.assertEqual(self.limit(own, theirs, mesh, elsewhere, proxy=caller), 1)
        self.assertEqual(self.limit(theirs, mesh, elsewhere, proxy=caller), 2)
        self.assertEqual(self.limit(mesh, elsewhere, proxy=caller), 3)
        self.assertEqual(self.limit(elsewhere, proxy=caller), 4294967295)

    def test_hosts(self) -> None:
        """
        The exact host counts before a wildcard, the longer wildcard before a shorter one; a rule that is not exported
        is not seen.
        """
        wide = rule(f"trafficPolicy: {{{self.pool(1)}}}", "wide", host="'*.local'")
        narrow = rule(f"trafficPolicy: {{{self.pool(2)}}}", "narrow", host="'*.svc.cluster.local'")
        exact = rule(f"trafficPolicy: {{{self.pool(3)}}}", "exact")
        self.assertEqual(self.limit(wide, narrow, exact), 3)
        self.assertEqual(self.limit(wide, narrow), 2)
        hidden = rule(f"trafficPolicy: {{{self.pool(4)}}}, exportTo: ['.']", "hidden")
        self.assertEqual(self.limit(hidden, proxy=evolve(SIDECAR, namespace="caller")), 4294967295)

    def test_selector(self) -> None:
        """
        A rule for some workloads counts for them alone.
        """
        every = rule(f"trafficPolicy: {{{self.pool(1)}}}", "every")
        some = rule(f"trafficPolicy: {{{self.pool(2)}}}, workloadSelector: {{matchLabels: {{app: a}}}}", "some")
        self.assertEqual(self.limit(every, some), 2)
        self.assertEqual(self.limit(every, some, proxy=evolve(SIDECAR, labels={"app": "b"})), 1)

    def test_joined(self) -> None:
        """
        Subsets of several rules for a host are put together; two that say different things are both named.
        """
        old = rule(
            f"trafficPolicy: {{{self.pool(1)}}}, subsets: [{{name: v1, labels: {{version: v1}}}}]",
            "old",
            created="2026-01-01T00:00:00Z",
        )
        young = rule(
            f"trafficPolicy: {{{self.pool(2)}}}, subsets: [{{name: v1}}, {{name: v2}}]",
            "young",
            created="2026-02-01T00:00:00Z",
        )
        both = made(SIDECAR, A, old, young)
        self.assertIn("outbound|80|v2|a.shop.svc.cluster.local", both.clusters)
        self.assertEqual(both.clusters[NAME]["circuitBreakers"]["thresholds"][0]["maxConnections"], 1)
        titles = {(title, code) for title, code in codes(both)}
        self.assertEqual(titles, {("DestinationRule shop/old", "conflict"), ("DestinationRule shop/young", "conflict")})

    def test_levels(self) -> None:
        """
        A subset says more than the rule, and a port instead of all of it.
        """
        text = rule(
            f"trafficPolicy: {{{self.pool(1)}, loadBalancer: {{simple: RANDOM}}, "
            f"portLevelSettings: [{{port: {{number: 81}}, {self.pool(2)}}}]}}, "
            f"subsets: [{{name: v1, trafficPolicy: {{{self.pool(3)}}}}}]"
        )
        two = service("a", "{name: http, port: 80}, {name: http-b, port: 81}")
        clusters = made(SIDECAR, two, text).clusters

        def told(port: int, subset: str) -> tuple[int, str]:
            cluster = clusters[f"outbound|{port}|{subset}|a.shop.svc.cluster.local"]
            return cluster["circuitBreakers"]["thresholds"][0]["maxConnections"], cluster["lbPolicy"]

        self.assertEqual(told(80, ""), (1, "RANDOM"))
        self.assertEqual(told(81, ""), (2, "LEAST_REQUEST"))
        self.assertEqual(told(80, "v1"), (3, "RANDOM"))


class BalancerTests(SynchronousTestCase):
    """
    Balancers and protocols.
    """

    def cluster(self, policy: str, port: str = "{name: http, port: 80}", **changes: Any) -> Any:
        """
        The cluster of a service with a policy.
        """
        proxy = evolve(SIDECAR, **changes)
        return made(proxy, service("a", port), PLAIN, rule(f"trafficPolicy: {{{policy}}}")).clusters[NAME]

    def test_simple(self) -> None:
        """
        Istio's names to Envoy's; nothing said is least request.
        """
        for name, expected in (
            ("ROUND_ROBIN", "ROUND_ROBIN"),
            ("RANDOM", "RANDOM"),
            ("LEAST_CONN", "LEAST_REQUEST"),
            ("UNSPECIFIED", "LEAST_REQUEST"),
            ("PASSTHROUGH", "CLUSTER_PROVIDED"),
        ):
            self.assertEqual(self.cluster(f"loadBalancer: {{simple: {name}}}")["lbPolicy"], expected)

    def test_hashes(self) -> None:
        """
        A ring where nothing else is said, of the size that is said.
        """
        text = "loadBalancer: {consistentHash: {httpHeaderName: x%s}}"
        self.assertEqual(self.cluster(text % "")["ringHashLbConfig"], {"minimumRingSize": "1024"})
        self.assertEqual(
            self.cluster(text % ", ringHash: {minimumRingSize: 5}")["ringHashLbConfig"], {"minimumRingSize": "5"}
        )
        self.assertEqual(self.cluster(text % ", maglev: {tableSize: 11}")["lbPolicy"], "MAGLEV")

    def test_loads(self) -> None:
        """
        Envoys weigh by the loads that endpoints tell; where the proxy does not it is told, and balances as usual.
        """
        text = "loadBalancer: {backendUtilization: {errorUtilizationPenaltyPercent: 50}}"
        (policy,) = self.cluster(text)["loadBalancingPolicy"]["policies"]
        self.assertEqual(policy["typedExtensionConfig"]["typedConfig"]["errorUtilizationPenalty"], 0.5)
        ours = made(evolve(SIDECAR, dataPlane=DataPlane.MESHPROXY), A, rule(f"trafficPolicy: {{{text}}}"))
        self.assertNotIn("loadBalancingPolicy", ours.clusters[NAME])
        self.assertEqual([problem.code for problem in ours.problems], ["not-programmed"])

    def test_protocols(self) -> None:
        """
        HTTP/2 where the port or the rule says so, the caller's own where nobody knows.
        """
        key = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

        def options(policy: str, port: str) -> Any:
            return self.cluster(policy, port).get("typedExtensionProtocolOptions", {}).get(key, {})

        plain, some = "{name: http, port: 80}", "tls: {mode: DISABLE}"
        upgrade = "connectionPool: {http: {h2UpgradePolicy: UPGRADE}}"
        self.assertEqual(options(some, plain), {})
        self.assertIn("http2ProtocolOptions", options(some, "{name: grpc, port: 80}")["explicitHttpConfig"])
        self.assertIn("http2ProtocolOptions", options(upgrade, plain)["explicitHttpConfig"])
        self.assertIn("useDownstreamProtocolConfig", options(some, "{name: any, port: 80}"))
        self.assertIn(
            "useDownstreamProtocolConfig", options("connectionPool: {http: {useClientProtocol: true}}", plain)
        )
        idle = options("connectionPool: {http: {idleTimeout: 5s}}", plain)
        self.assertEqual(idle["commonHttpProtocolOptions"], {"idleTimeout": "5s"})
        idle = options("connectionPool: {tcp: {idleTimeout: 6s}}", plain)
        self.assertEqual(idle["commonHttpProtocolOptions"], {"idleTimeout": "6s"})
        idle = options("connectionPool: {tcp: {idleTimeout: 6s}, http: {idleTimeout: 5s}}", plain)
        self.assertEqual(idle["commonHttpProtocolOptions"], {"idleTimeout": "5s"})
        self.assertEqual(options(upgrade, "{name: tcp, port: 80}"), {})

    def test_outliers(self) -> None:
        """
        Zero switches a kind off; panic is off where nothing is said.
        """
        made = self.cluster("outlierDetection: {consecutive5xxErrors: 0, consecutiveGatewayErrors: 3}")
        found = made["outlierDetection"]
        self.assertEqual((found["consecutive5xx"], found["enforcingConsecutive5xx"]), (0, 0))
        self.assertEqual((found["consecutiveGatewayFailure"], found["enforcingConsecutiveGatewayFailure"]), (3, 100))
        self.assertEqual(made["commonLbConfig"]["healthyPanicThreshold"], {"value": 0.0})


class TLSTests(SynchronousTestCase):
    """
    How clusters are secured.
    """

    def socket(self, *texts: str, name: str = NAME, **changes: Any) -> Any:
        """
        The transport of a cluster.
        """
        return made(evolve(SIDECAR, **changes), *texts).clusters[name].get("transportSocket")

    def test_automatic(self) -> None:
        """
        By endpoint: with those that speak it.
        """
        both = made(SIDECAR, A, MUTUAL, PLAIN)
        self.assertEqual(len(both.clusters[NAME]["transportSocketMatches"]), 2)
        (group,) = both.endpoints[NAME]["endpoints"]
        self.assertEqual(["metadata" in endpoint for endpoint in group["lbEndpoints"]], [True, False])
        socket = both.clusters[NAME]["transportSocketMatches"][0]["transportSocket"]
        self.assertEqual(socket["typedConfig"]["sni"], "outbound_.80_._.a.shop.svc.cluster.local")

    def test_off(self) -> None:
        """
        Not where the mesh does not want it, not to the outside, not where the workload switched it off.
        """
        off = made(SIDECAR, A, MUTUAL, mesh=MeshConfig(enableAutoMtls=False))
        self.assertNotIn("transportSocketMatches", off.clusters[NAME])
        outside = networking(
            "ServiceEntry", "o", "hosts: [o.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS"
        )
        self.assertNotIn("transportSocketMatches", made(SIDECAR, outside).clusters["outbound|80||o.com"])
        peer = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p}\n"
        peer += "spec: {mtls: {mode: DISABLE}}\n"
        (group,) = made(SIDECAR, A, MUTUAL, peer).endpoints[NAME]["endpoints"]
        self.assertNotIn("metadata", group["lbEndpoints"][0])

    def test_subjects(self) -> None:
        """
        The service accounts of the endpoints under every name of the trust domain; somebody of the mesh if there are
        none; those of the rule if it has some.
        """
        mesh = MeshConfig(trustDomain="new", trustDomainAliases=["old"])

        def names(*texts: str) -> list[Any]:
            cluster = made(SIDECAR, A, *texts, mesh=mesh).clusters[NAME]
            socket = cluster.get("transportSocket") or cluster["transportSocketMatches"][0]["transportSocket"]
            context = socket["typedConfig"]["commonTlsContext"]["combinedValidationContext"]
            return [one["matcher"] for one in context["defaultValidationContext"]["matchTypedSubjectAltNames"]]

        self.assertEqual(
            names(MUTUAL), [{"exact": "spiffe://new/ns/shop/sa/x"}, {"exact": "spiffe://old/ns/shop/sa/x"}]
        )
        self.assertEqual(names(PLAIN), [{"prefix": "spiffe://new/"}, {"prefix": "spiffe://old/"}])
        own = rule("trafficPolicy: {tls: {mode: ISTIO_MUTUAL, subjectAltNames: ['spiffe://a']}}")
        self.assertEqual(names(MUTUAL, own), [{"exact": "spiffe://a"}])

    def test_outside(self) -> None:
        """
        SIMPLE asks for the host and trusts the system's roots, unless the rule says otherwise; DISABLE is none.
        """
        context = self.socket(A, rule("trafficPolicy: {tls: {mode: SIMPLE}}"))["typedConfig"]
        self.assertEqual(context["sni"], "a.shop.svc.cluster.local")
        trusted = context["commonTlsContext"]["validationContext"]["trustedCa"]
        self.assertEqual(trusted, {"filename": "/etc/ssl/certs/ca-certificates.crt"})
        insecure = self.socket(A, rule("trafficPolicy: {tls: {mode: SIMPLE, insecureSkipVerify: true}}"))
        self.assertNotIn("validationContext", insecure["typedConfig"].get("commonTlsContext", {}))
        self.assertIsNone(self.socket(A, rule("trafficPolicy: {tls: {mode: DISABLE}}")))

    def test_credentials(self) -> None:
        """
        A gateway gets the certificates that a rule names from this control plane.
        """
        text = rule("trafficPolicy: {tls: {mode: MUTUAL, credentialName: c}}")
        common = made(ROUTER, A, text).clusters[NAME]["transportSocket"]["typedConfig"]["commonTlsContext"]
        self.assertEqual(common["tlsCertificateSdsSecretConfigs"][0]["name"], "kubernetes://c")
        roots = common["combinedValidationContext"]["validationContextSdsSecretConfig"]
        self.assertEqual(roots["name"], "kubernetes://c-cacert")

    def test_identity(self) -> None:
        """
        The identity comes by the stream of this control plane, or by a cluster of the bootstrap.
        """
        for cluster, key in (("", "ads"), ("sds-grpc", "apiConfigSource")):
            proxy = evolve(SIDECAR, sdsCluster=cluster)
            found = made(proxy, A, MUTUAL).clusters[NAME]["transportSocketMatches"][0]["transportSocket"]
            common = found["typedConfig"]["commonTlsContext"]
            self.assertIn(key, common["tlsCertificateSdsSecretConfigs"][0]["sdsConfig"])


class DiscoveryTests(SynchronousTestCase):
    """
    How endpoints are found.
    """

    def test_types(self) -> None:
        """
        One type for each resolution.
        """
        text = "hosts: [a.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: %s%s"
        for resolution, more, expected in (
            ("STATIC", ", endpoints: [{address: 10.0.0.1}]", "EDS"),
            ("DNS", "", "STRICT_DNS"),
            ("DNS_ROUND_ROBIN", "", "LOGICAL_DNS"),
            ("NONE", "", "ORIGINAL_DST"),
        ):
            clusters = made(SIDECAR, networking("ServiceEntry", "e", text % (resolution, more))).clusters
            self.assertEqual(clusters["outbound|80||a.com"]["type"], expected)

    def test_subsets(self) -> None:
        """
        A subset has the endpoints with its labels.
        """
        subset = rule("subsets: [{name: x, labels: {version: v1}}, {name: none, labels: {version: v9}}]")
        one = networking("WorkloadEntry", "v1", "address: 10.0.0.3, labels: {app: a, version: v1}")
        endpoints = made(SIDECAR, A, PLAIN, one, subset).endpoints
        counts = {
            name.split("|")[2]: sum(len(group["lbEndpoints"]) for group in value.get("endpoints", []))
            for name, value in endpoints.items()
        }
        self.assertEqual(counts, {"": 2, "x": 1, "none": 0})

    def test_networks(self) -> None:
        """
        Workloads of another network that has gateways are reached through these, which share what they stand for; with
        mutual TLS alone, by which a gateway knows whom is meant.
        """
        texts = [
            networking("WorkloadEntry", name, f"{where}labels: {{app: a}}, network: {network}{more}")
            for name, where, network, more in (
                ("own", "address: 10.0.0.1, ", "n1", ", serviceAccount: x"),
                ("there", "address: 10.0.0.2, ", "n2", ", serviceAccount: x, weight: 3"),
                ("hidden", "", "n2", ", serviceAccount: x"),
                ("plain", "address: 10.0.0.3, ", "n2", ""),
                ("open", "address: 10.0.0.4, ", "n3", ""),
                ("lost", "", "n3", ", serviceAccount: x"),
            )
        ]
        ways = [NetworkGateway(address=f"192.0.2.{number}", port=15443) for number in (1, 2)]
        mesh = MeshConfig(networks={"n2": Network(gateways=ways), "n3": Network()})
        proxy = evolve(SIDECAR, network="n1")

        def reached(policy: str, proxy: Any = proxy) -> dict[str, int]:
            (group,) = made(proxy, A, *texts, rule(policy), mesh=mesh).endpoints[NAME]["endpoints"]
            found = {
                one["endpoint"]["address"]["socketAddress"]["address"]: one["loadBalancingWeight"]
                for one in group["lbEndpoints"]
            }
            self.assertEqual(group["loadBalancingWeight"], sum(found.values()))
            return found

        near = {"10.0.0.1": 2, "10.0.0.4": 2}
        far = {"192.0.2.1": 4, "192.0.2.2": 4}
        self.assertEqual(reached("subsets: []"), {**near, **far})
        self.assertEqual(reached("trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}"), {**near, **far})
        self.assertEqual(reached("trafficPolicy: {tls: {mode: DISABLE}}"), near)
        inside = reached("subsets: []", evolve(proxy, network="n2"))
        self.assertEqual(inside, {**near, "10.0.0.2": 6, "10.0.0.3": 2})

    def test_known(self) -> None:
        """
        UDP has no cluster, and what is not exported to the caller neither.
        """
        text = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 53, protocol: UDP}]}\n"
        self.assertEqual(list(made(SIDECAR, text).clusters), ["BlackHoleCluster"])
        hidden = A.replace("{name: a,", "{name: a, annotations: {networking.istio.io/exportTo: '.'},")
        self.assertIn(NAME, made(SIDECAR, hidden).clusters)
        self.assertNotIn(NAME, made(evolve(SIDECAR, namespace="x"), hidden).clusters)

    def test_twice(self) -> None:
        """
        Two resources that tell of one service are both told; the older one counts.
        """
        text = "hosts: [e.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: %s"
        old = networking("ServiceEntry", "old", text % "DNS", created="2026-01-01T00:00:00Z")
        young = networking("ServiceEntry", "young", text % "NONE", created="2026-02-01T00:00:00Z")
        result = made(SIDECAR, young, old)
        self.assertEqual(result.clusters["outbound|80||e.com"]["type"], "STRICT_DNS")
        self.assertEqual({title for title, _ in codes(result)}, {"ServiceEntry shop/old", "ServiceEntry shop/young"})

    def test_passthrough(self) -> None:
        """
        Where connections are intercepted there are clusters to where they were going.
        """
        clusters = made(evolve(SIDECAR, interception=Interception.REDIRECT)).clusters
        self.assertEqual(set(clusters), {"BlackHoleCluster", "PassthroughCluster", "InboundPassthroughCluster"})
