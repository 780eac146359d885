# -*- test-case-name: tests.controlplane.model.test_security -*-
"""
Tests for L{meshproxy.controlplane.model.peerauthentication} and L{meshproxy.controlplane.model.authorizationpolicy}.
"""

from __future__ import annotations

from meshproxy.controlplane.model.documents import parseDocuments
from tests.controlplane.model.given import KindTests, document


class PeerAuthenticationTests(KindTests):
    """
    What a PeerAuthentication may say.
    """

    kind = "PeerAuthentication"

    def test_accepted(self) -> None:
        """
        A mode for all, and modes for ports of some workloads.
        """
        self.assertEqual(self.accepted("mtls: {mode: STRICT}").spec.mtls.mode, "STRICT")
        spec = self.accepted("selector: {matchLabels: {app: a}}\nportLevelMtls: {8080: {mode: DISABLE}}").spec
        self.assertEqual(spec.portLevelMtls["8080"].mode, "DISABLE")

    def test_refused(self) -> None:
        """
        Ports without a selector, ports that are none, modes that are none, wildcards.
        """
        self.refusals(
            [
                ("portLevelMtls: {80: {mode: STRICT}}", "spec.portLevelMtls", "exclusive"),
                (
                    "selector: {matchLabels: {a: b}}\nportLevelMtls: {70000: {mode: STRICT}}",
                    'spec.portLevelMtls["70000"]',
                    "invalid",
                ),
                ("mtls: {mode: STRIKT}", "spec.mtls.mode", "type"),
                ("selector: {matchLabels: {a: '*'}}", "spec.selector.matchLabels.a", "invalid"),
            ]
        )
        self.warnings([("selector: {}", "spec.selector", "ineffective")])


FULL = """
selector: {matchLabels: {app: a}}
action: ALLOW
rules:
- from:
  - source: {principals: ['*'], notNamespaces: [b], ipBlocks: [10.0.0.0/8], remoteIpBlocks: ['::1']}
  - source: {trustDomains: ['*.b']}
  - source: {serviceAccounts: [a, b/c], requestPrincipals: ['x/*']}
  to:
  - operation: {hosts: ['*.a'], ports: ['80'], methods: [GET], paths: [/a/*, '/b/{*}/c', '/{**}'], notPaths: [/x]}
  when:
  - {key: 'request.headers[x-a]', values: [b]}
  - {key: 'request.auth.claims[a][b]', notValues: [b]}
  - {key: source.ip, values: [10.0.0.1]}
  - {key: destination.port, values: ['0']}
  - {key: connection.sni, values: [a]}
- {}
"""


class AuthorizationPolicyTests(KindTests):
    """
    What an AuthorizationPolicy may say.
    """

    kind = "AuthorizationPolicy"

    def test_full(self) -> None:
        """
        Every field, as it may be.
        """
        spec = self.accepted(FULL).spec
        self.assertEqual(spec.rules[0].from_[2].source.serviceAccounts, ["a", "b/c"])
        self.assertEqual(len(spec.rules[1].from_), 0)

    def test_nothing(self) -> None:
        """
        An empty spec allows nothing; no rules and one empty rule are not the same.
        """
        resource, problems = parseDocuments(document(self.kind, "{}"))
        self.assertEqual(problems, [])
        self.assertIsNone(resource[0].spec.rules)
        self.assertEqual(len(self.accepted("rules: [{}]").spec.rules), 1)

    def test_actions(self) -> None:
        """
        What each action needs, and cannot have.
        """
        self.accepted("action: CUSTOM\nprovider: {name: p}\nrules: [{to: [{operation: {paths: [/a]}}]}]")
        self.refusals(
            [
                ("action: DENY", "spec.rules", "required"),
                ("action: CUSTOM\nrules: [{}]", "spec.provider.name", "required"),
                ("provider: {name: p}", "spec.provider", "exclusive"),
                (
                    "action: CUSTOM\nprovider: {name: p}\nrules: [{from: [{source: {notPrincipals: [a]}}]}]",
                    "spec.rules[0].from[0].source.notPrincipals",
                    "exclusive",
                ),
                (
                    "action: CUSTOM\nprovider: {name: p}\n"
                    "rules: [{when: [{key: 'request.auth.claims[a]', values: [b]}]}]",
                    "spec.rules[0].when[0].key",
                    "exclusive",
                ),
                ("action: Allow", "spec.action", "type"),
                (
                    "selector: {matchLabels: {a: b}}\ntargetRefs: [{kind: Service, name: c}]",
                    "spec.targetRefs",
                    "exclusive",
                ),
                ("targetRef: {kind: Pod, name: c}", "spec.targetRef.kind", "invalid"),
            ]
        )

    def test_rules(self) -> None:
        """
        What rules cannot say.
        """
        self.refusals(
            (f"rules: [{{{text}}}]", f"spec.rules[0].{path}", code)
            for text, path, code in (
                ("from: [{}]", "from[0].source", "required"),
                ("from: [{source: {}}]", "from[0].source", "required"),
                ("from: [{source: {ipBlocks: [10.0.0.0/33]}}]", "from[0].source.ipBlocks[0]", "invalid"),
                ("from: [{source: {principals: ['']}}]", "from[0].source.principals[0]", "invalid"),
                ("from: [{source: {serviceAccounts: [a], namespaces: [b]}}]", "from[0].source", "exclusive"),
                ("from: [{source: {serviceAccounts: ['a*']}}]", "from[0].source.serviceAccounts[0]", "invalid"),
                ("from: [{source: {notServiceAccounts: [a/b/c]}}]", "from[0].source.notServiceAccounts[0]", "invalid"),
                ("from: [{source: {trustDomains: [a/b]}}]", "from[0].source.trustDomains[0]", "invalid"),
                ("to: [{operation: {}}]", "to[0].operation", "required"),
                ("to: [{operation: {ports: ['65536']}}]", "to[0].operation.ports[0]", "invalid"),
                ("to: [{operation: {ports: [80]}}]", "to[0].operation.ports[0]", "type"),
                ("to: [{operation: {paths: ['/{a}']}}]", "to[0].operation.paths[0]", "invalid"),
                ("to: [{operation: {paths: ['/{**}/{*}']}}]", "to[0].operation.paths[0]", "invalid"),
                ("to: [{operation: {method: [GET]}}]", "to[0].operation.method", "unknown-field"),
                ("when: [{values: [a]}]", "when[0].key", "required"),
                ("when: [{key: source.ip}]", "when[0]", "required"),
                ("when: [{key: source.ip, values: [a]}]", "when[0].values[0]", "invalid"),
                ("when: [{key: source.ips, values: [a]}]", "when[0].key", "invalid"),
                ("when: [{key: request.headers, values: [a]}]", "when[0].key", "invalid"),
                ("when: [{key: destination.labels, values: [a]}]", "when[0].key", "invalid"),
            )
        )

    def test_deniesTCP(self) -> None:
        """
        A DENY rule of HTTP attributes alone denies all of a TCP port, which is warned of.
        """
        self.warnings([("action: DENY\nrules: [{to: [{operation: {paths: [/a]}}]}]", "spec.rules[0]", "ineffective")])
        self.accepted("action: DENY\nrules: [{to: [{operation: {paths: [/a], ports: ['80']}}]}]")
        self.accepted("action: DENY\nrules: [{from: [{source: {namespaces: [a]}}]}]")

    def test_notProgrammed(self) -> None:
        """
        A policy may be attached to what is there; for waypoints, which are not, it has no effect.
        """
        entry = "{kind: ServiceEntry, group: networking.istio.io, name: d}"
        self.accepted(f"targetRefs: [{{kind: Service, name: c}}, {entry}]")
        target = "{kind: GatewayClass, group: gateway.networking.k8s.io, name: c}"
        self.warnings([(f"targetRef: {target}", "spec.targetRef.kind", "not-programmed")])

    def test_dryRun(self) -> None:
        """
        Only ALLOW and DENY can be tried dry.
        """
        text = document(self.kind, "action: AUDIT\nrules: [{}]").replace(
            "namespace: shop", "namespace: shop, annotations: {istio.io/dry-run: 'true'}"
        )
        self.assertEqual([one.path for one in parseDocuments(text)[1]], ["spec.action"])


class RequestAuthenticationTests(KindTests):
    """
    What a RequestAuthentication may say.
    """

    kind = "RequestAuthentication"

    def test_accepted(self) -> None:
        """
        Every field, as it may be.
        """
        spec = self.accepted(
            """
            selector: {matchLabels: {app: a}}
            jwtRules:
            - issuer: i
              audiences: [a]
              jwksUri: https://a.example.com:8443/keys
              fromHeaders: [{name: x-a, prefix: 'B '}]
              fromParams: [p]
              fromCookies: [c]
              outputPayloadToHeader: x-p
              forwardOriginalToken: true
              outputClaimToHeaders: [{header: x-c, claim: c}]
              timeout: 3s
              spaceDelimitedClaims: [s]
            - {issuer: j, jwks: '{"keys": [{"kty": "RSA", "n": "x", "e": "AQAB"}]}'}
            """
        ).spec
        self.assertEqual(spec.jwtRules[0].timeout, 3)

    def test_refused(self) -> None:
        """
        What no token can be verified by.
        """
        self.refusals(
            (f"jwtRules: [{{{text}}}]", f"spec.jwtRules[0]{path}", code)
            for text, path, code in (
                ("audiences: [a]", "", "required"),
                ("issuer: i, jwksUri: 'ftp://a'", ".jwksUri", "invalid"),
                ("issuer: i, jwksUri: 'https://a:99999'", ".jwksUri", "invalid"),
                ("issuer: i, jwksUri: 'https://a', jwks: '{\"keys\": []}'", ".jwksUri", "exclusive"),
                ("issuer: i, jwks: '{'", ".jwks", "invalid"),
                ("issuer: i, jwks: '{\"keys\": [5]}'", ".jwks", "invalid"),
                ("issuer: i, audiences: ['']", ".audiences[0]", "invalid"),
                ("issuer: i, fromHeaders: [{prefix: a}]", ".fromHeaders[0].name", "required"),
                ("issuer: i, fromHeaders: [{name: 'a b'}]", ".fromHeaders[0].name", "invalid"),
                ("issuer: i, outputClaimToHeaders: [{header: a}]", ".outputClaimToHeaders[0].claim", "required"),
                ("issuer: i, timeout: 0s", ".timeout", "invalid"),
                ("isuer: i, jwksUri: 'https://a'", ".isuer", "unknown-field"),
            )
        )

    def test_private(self) -> None:
        """
        A private key does not belong into a resource.
        """
        private = 'jwtRules: [{issuer: i, jwks: \'{"keys": [{"kty": "RSA", "d": "x"}]}\'}]'
        self.warnings([(private, "spec.jwtRules[0].jwks", "ineffective")])
