# -*- test-case-name: tests.controlplane.model.test_destinationrule -*-
"""
Tests for L{meshproxy.controlplane.model.destinationrule} and the modules that it is made of.
"""

from __future__ import annotations

from tests.controlplane.model.given import KindTests

FULL = """
host: a
exportTo: ['*']
trafficPolicy:
  loadBalancer:
    consistentHash:
      httpCookie: {name: c, path: /, ttl: 0s, attributes: [{name: SameSite, value: Lax}]}
      maglev: {tableSize: 65537}
    localityLbSetting: {distribute: [{from: 'r/z/*', to: {'r/z': 80, r2: 20}}], enabled: true}
    warmup: {duration: 300s, minimumPercent: 5, aggression: 1.5}
  connectionPool:
    tcp:
      maxConnections: 1
      connectTimeout: 30ms
      tcpKeepalive: {probes: 3, time: 7200s, interval: 75s}
      idleTimeout: 0s
    http:
      http1MaxPendingRequests: 1
      http2MaxRequests: 2
      maxRequestsPerConnection: 3
      maxRetries: 4
      idleTimeout: 5s
      h2UpgradePolicy: UPGRADE
      maxConcurrentStreams: 6
      http2KeepAlive: {interval: 15s, timeout: 5s}
  outlierDetection:
    consecutive5xxErrors: 7
    consecutiveGatewayErrors: 0
    interval: 5m
    baseEjectionTime: 15m
    maxEjectionPercent: 100
    minHealthPercent: 50
    splitExternalLocalOriginErrors: true
    consecutiveLocalOriginFailures: 3
  tls: {mode: SIMPLE, sni: a.example.com, subjectAltNames: [a.example.com], caCertificates: /ca.pem}
  portLevelSettings:
  - port: {number: 80}
    loadBalancer: {simple: LEAST_REQUEST}
  proxyProtocol: {version: V2}
  retryBudget: {percent: 25, minRetryConcurrency: 4, budgetInterval: 10s}
subsets:
- {name: v1, labels: {version: v1}}
- {name: v2, labels: {}, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}
"""


class DestinationRuleTests(KindTests):
    """
    What a DestinationRule may say.
    """

    kind = "DestinationRule"

    def test_full(self) -> None:
        """
        Every field, as it may be.
        """
        policy = self.accepted(FULL).spec.trafficPolicy
        self.assertEqual(policy.connectionPool.tcp.connectTimeout, 0.03)
        self.assertEqual(policy.loadBalancer.consistentHash.httpCookie.ttl, 0)
        self.assertEqual(policy.loadBalancer.localityLbSetting.distribute[0].from_, "r/z/*")
        self.assertEqual(policy.outlierDetection.consecutiveGatewayErrors, 0)

    def test_hostAndSubsets(self) -> None:
        """
        A host, and subsets whose names are labels, each once.
        """
        self.refusals(
            [
                ("subsets: []", "spec.host", "required"),
                ("host: a..b", "spec.host", "invalid"),
                ("host: a\nsubsets: [{labels: {a: b}}]", "spec.subsets[0].name", "required"),
                ("host: a\nsubsets: [{name: a.b}]", "spec.subsets[0].name", "invalid"),
                ("host: a\nsubsets: [{name: b}, {name: b}]", "spec.subsets[1].name", "duplicate"),
                ("host: a\nsubsets: [{name: b, labels: {c: 'd e'}}]", "spec.subsets[0].labels", "invalid"),
                ("host: a\nsubsets: [{name: b, trafficPolicy: {}}]", "spec.subsets[0].trafficPolicy", "required"),
            ]
        )

    def test_selector(self) -> None:
        """
        A rule for some workloads stays in its namespace.
        """
        self.accepted("host: a\nworkloadSelector: {matchLabels: {app: b}}\nexportTo: ['.']")
        self.refusals(
            [
                (
                    "host: a\nworkloadSelector: {matchLabels: {app: b}}\nexportTo: ['*']",
                    "spec.exportTo",
                    "exclusive",
                ),
                (
                    "host: a\nworkloadSelector: {matchLabels: {app: 'b*'}}",
                    "spec.workloadSelector.matchLabels.app",
                    "invalid",
                ),
            ]
        )

    def test_policies(self) -> None:
        """
        What a traffic policy cannot say.
        """
        self.refusals(
            (f"host: a\ntrafficPolicy: {{{text}}}", f"spec.trafficPolicy{path}", code)
            for text, path, code in (
                ("", "", "required"),
                ("connectionPool: {}", ".connectionPool", "required"),
                ("connectionPool: {tcp: {maxConnections: -1}}", ".connectionPool.tcp.maxConnections", "invalid"),
                ("connectionPool: {tcp: {connectTimeout: 0s}}", ".connectionPool.tcp.connectTimeout", "invalid"),
                (
                    "connectionPool: {http: {h2UpgradePolicy: UPGRADE, useClientProtocol: true}}",
                    ".connectionPool.http.useClientProtocol",
                    "exclusive",
                ),
                (
                    "connectionPool: {http: {http2KeepAlive: {interval: 1s}}}",
                    ".connectionPool.http.http2KeepAlive.timeout",
                    "required",
                ),
                ("connectionPool: {http: {h2UpgradePolicy: upgrade}}", ".connectionPool.http.h2UpgradePolicy", "type"),
                ("outlierDetection: {maxEjectionPercent: 101}", ".outlierDetection.maxEjectionPercent", "invalid"),
                ("outlierDetection: {interval: 0s}", ".outlierDetection.interval", "invalid"),
                (
                    "outlierDetection: {consecutiveLocalOriginFailures: 3}",
                    ".outlierDetection.consecutiveLocalOriginFailures",
                    "exclusive",
                ),
                ("loadBalancer: {simple: ROUND_ROBBIN}", ".loadBalancer.simple", "type"),
                (
                    "loadBalancer: {simple: RANDOM, consistentHash: {useSourceIp: true}}",
                    ".loadBalancer.consistentHash",
                    "exclusive",
                ),
                (
                    "loadBalancer: {consistentHash: {httpHeaderName: a, useSourceIp: true}}",
                    ".loadBalancer.consistentHash.useSourceIp",
                    "exclusive",
                ),
                (
                    "loadBalancer: {consistentHash: {httpCookie: {ttl: 1s}}}",
                    ".loadBalancer.consistentHash.httpCookie.name",
                    "required",
                ),
                (
                    "loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 4}}}",
                    ".loadBalancer.consistentHash.maglev.tableSize",
                    "invalid",
                ),
                ("loadBalancer: {warmup: {}}", ".loadBalancer.warmup.duration", "required"),
                (
                    "loadBalancer: {warmup: {duration: 1s, aggression: 0}}",
                    ".loadBalancer.warmup.aggression",
                    "invalid",
                ),
                ("tls: {mode: MUTUAL, clientCertificate: a}", ".tls.privateKey", "required"),
                ("tls: {mode: SIMPLE, credentialName: a, caCertificates: b}", ".tls.caCertificates", "exclusive"),
                (
                    "tls: {mode: SIMPLE, insecureSkipVerify: true, subjectAltNames: [a]}",
                    ".tls.subjectAltNames",
                    "exclusive",
                ),
                ("portLevelSettings: [{tls: {mode: DISABLE}}]", ".portLevelSettings[0].port", "required"),
                ("portLevelSettings: [{port: {number: 80}}]", ".portLevelSettings[0]", "required"),
                ("retryBudget: {percent: 200}", ".retryBudget.percent", "invalid"),
            )
        )

    def test_localities(self) -> None:
        """
        Shares add up, places do not overlap, failover goes between regions.
        """
        prefix = ".loadBalancer.localityLbSetting"
        self.refusals(
            (
                "host: a\ntrafficPolicy: {outlierDetection: {interval: 1s}, loadBalancer: "
                f"{{localityLbSetting: {text}}}}}",
                f"spec.trafficPolicy{prefix}{path}",
                code,
            )
            for text, path, code in (
                ("{distribute: [{from: a, to: {b: 50}}]}", ".distribute[0].to", "invalid"),
                ("{distribute: [{from: a, to: {b: 0, c: 100}}]}", ".distribute[0].to.b", "invalid"),
                ("{distribute: [{from: a, to: {b: 50, 'b/c': 50}}]}", '.distribute[0].to["b/c"]', "duplicate"),
                ("{distribute: [{from: a//b, to: {b: 100}}]}", ".distribute[0].from", "invalid"),
                ("{distribute: [{from: a*b, to: {b: 100}}]}", ".distribute[0].from", "invalid"),
                ("{failover: [{from: a, to: a}]}", ".failover[0]", "invalid"),
                ("{failover: [{from: a/b, to: c}]}", ".failover[0].from", "invalid"),
                (
                    "{failover: [{from: a, to: b}], failoverPriority: [topology.kubernetes.io/zone]}",
                    ".failoverPriority[0]",
                    "exclusive",
                ),
                (
                    "{failover: [{from: a, to: b}], distribute: [{from: a, to: {b: 100}}]}",
                    ".failover",
                    "exclusive",
                ),
            )
        )

    def test_warnings(self) -> None:
        """
        Old names, and what has no effect.
        """
        self.warnings(
            (f"host: a\ntrafficPolicy: {{{text}}}", f"spec.trafficPolicy.{path}", code)
            for text, path, code in (
                ("outlierDetection: {consecutiveErrors: 5}", "outlierDetection.consecutiveErrors", "deprecated"),
                (
                    "loadBalancer: {consistentHash: {useSourceIp: true, minimumRingSize: 5}}",
                    "loadBalancer.consistentHash.minimumRingSize",
                    "deprecated",
                ),
                ("loadBalancer: {warmupDurationSecs: 5s}", "loadBalancer.warmupDurationSecs", "deprecated"),
                (
                    "loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}]}}",
                    "loadBalancer.localityLbSetting",
                    "ineffective",
                ),
                (
                    "loadBalancer: {zoneAwareLbSetting: {failover: [{from: a, to: b}]}}",
                    "loadBalancer.zoneAwareLbSetting",
                    "ineffective",
                ),
                ("tls: {mode: ISTIO_MUTUAL, caCertificates: a}", "tls.caCertificates", "ineffective"),
            )
        )
