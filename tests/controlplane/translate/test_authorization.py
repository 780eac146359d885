# -*- test-case-name: tests.controlplane.translate.test_authorization -*-
"""
Tests for L{meshproxy.controlplane.translate.authorization} and the modules that it is made of.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.translate.abilities import ENVOY, Abilities
from meshproxy.controlplane.translate.authorization import authorizationFilters
from meshproxy.controlplane.translate.mesh import ExtAuthzGRPC, ExtAuthzHTTP, ExtensionProvider, MeshConfig
from meshproxy.controlplane.translate.messages import messageOf
from meshproxy.controlplane.translate.rbacvalues import (
    hostMatch,
    requestPrincipal,
    serviceAccountMatch,
    stringMatch,
    trustDomainMatch,
)
from meshproxy.controlplane.translate.trustdomains import expandTrustDomains, withAliases
from tests.controlplane.given import resourcesOf

_FILTERS = {
    False: "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
    True: "envoy.config.listener.v3.Filter",
}


def policy(spec: str, name: str = "p", annotations: str = "{}") -> str:
    """
    A policy as text.
    """
    return (
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
        f"metadata: {{name: {name}, annotations: {annotations}}}\nspec: {{{spec}}}\n"
    )


class FilterTests(SynchronousTestCase):
    """
    Policies to filters.
    """

    def filters(
        self, *policies: str, forTCP: bool = False, mesh: MeshConfig | None = None, abilities: Abilities = ENVOY
    ) -> tuple[list[Any], list[Any]]:
        """
        The filters that ask, and the others; each of them is one of Envoy's messages.
        """
        self.told: list[tuple[str, str]] = []
        made = authorizationFilters(
            resourcesOf("---\n".join(policies)),
            mesh or MeshConfig(),
            forTCP,
            abilities,
            lambda code, why, resource, *steps: self.told.append((resource.name, why)),
            lambda host, port: f"outbound|{port}||{host}" if host == "auth" else None,
        )
        for one in [*made.custom, *made.rules]:
            messageOf(_FILTERS[forTCP], one)
        return ([one["typedConfig"] for one in made.custom], [one["typedConfig"] for one in made.rules])

    def test_order(self) -> None:
        """
        AUDIT, DENY, ALLOW, whatever the order of the policies; each is one filter.
        """
        _, rules = self.filters(
            policy("rules: [{}]", "a"),
            policy("action: DENY, rules: [{}]", "d"),
            policy("rules: [{}]", "b"),
            policy("action: AUDIT, rules: [{}]", "l"),
        )
        self.assertEqual([one["rules"].get("action", "ALLOW") for one in rules], ["LOG", "DENY", "ALLOW"])
        self.assertEqual(
            list(rules[2]["rules"]["policies"]), ["ns[shop]-policy[a]-rule[0]", "ns[shop]-policy[b]-rule[0]"]
        )

    def test_nobody(self) -> None:
        """
        A policy without rules never matches, one with an empty rule always does; no policy is no filter.
        """
        _, (rules,) = self.filters(policy(""))
        (never,) = rules["rules"]["policies"].values()
        self.assertEqual(never, {"permissions": [{"notRule": {"any": True}}], "principals": [{"notId": {"any": True}}]})
        _, (rules,) = self.filters(policy("rules: [{}]"))
        (always,) = rules["rules"]["policies"].values()
        self.assertEqual(always["permissions"], [{"andRules": {"rules": [{"any": True}]}}])
        self.assertEqual(self.filters(), ([], []))

    def test_rule(self) -> None:
        """
        Callers and requests are alternatives, what each of them says has to be so at once, and conditions besides.
        """
        _, (rules,) = self.filters(
            policy(
                "rules: [{from: [{source: {namespaces: [a], ipBlocks: [10.0.0.0/8]}}, {source: {notPrincipals: [x]}}], "
                "to: [{operation: {methods: [GET], ports: ['80'], notPaths: [/x*]}}, {operation: {hosts: ['*.b']}}], "
                "when: [{key: 'request.headers[v]', values: ['*']}, {key: destination.ip, notValues: [10.0.0.1]}]}]"
            )
        )
        (one,) = rules["rules"]["policies"].values()
        condition = {"orIds": {"ids": [{"header": {"name": "v", "presentMatch": True}}]}}
        notThere = {
            "notRule": {"orRules": {"rules": [{"destinationIp": {"addressPrefix": "10.0.0.1", "prefixLen": 32}}]}}
        }
        namespace = {"authenticated": {"principalName": {"safeRegex": {"regex": ".*/ns/a/.*"}}}}
        block = {"directRemoteIp": {"addressPrefix": "10.0.0.0", "prefixLen": 8}}
        other = {"authenticated": {"principalName": {"exact": "spiffe://x"}}}
        get = {"header": {"name": ":method", "stringMatch": {"exact": "GET"}}}
        host = {"header": {"name": ":authority", "stringMatch": {"suffix": ".b", "ignoreCase": True}}}
        path = {"urlPath": {"path": {"prefix": "/x"}}}

        def some(key: str, items: str, value: object) -> dict[str, object]:
            return {key: {items: [value]}}

        self.assertEqual(
            one["principals"],
            [
                {
                    "andIds": {
                        "ids": [some("orIds", "ids", namespace), some("orIds", "ids", block), condition],
                    }
                },
                {"andIds": {"ids": [{"notId": some("orIds", "ids", other)}, condition]}},
            ],
        )
        self.assertEqual(
            one["permissions"],
            [
                {
                    "andRules": {
                        "rules": [
                            some("orRules", "rules", get),
                            {"notRule": some("orRules", "rules", path)},
                            some("orRules", "rules", {"destinationPort": 80}),
                            notThere,
                        ]
                    }
                },
                {"andRules": {"rules": [some("orRules", "rules", host), notThere]}},
            ],
        )

    def test_connections(self) -> None:
        """
        On connections an ALLOW rule that asks for something of requests is left out, so that it allows nothing; a
        DENY rule keeps the rest of it, so that it denies more.
        """
        spec = "rules: [{to: [{operation: {methods: [GET], ports: ['80']}}]}, {to: [{operation: {ports: ['81']}}]}]"
        _, (deny, allow) = self.filters(policy(spec, "a"), policy(f"action: DENY, {spec}", "d"), forTCP=True)
        self.assertEqual(list(allow["rules"]["policies"]), ["ns[shop]-policy[a]-rule[1]"])
        one, _ = deny["rules"]["policies"].values()
        only = [{"andRules": {"rules": [{"orRules": {"rules": [{"destinationPort": 80}]}}]}}]
        self.assertEqual(one["permissions"], only)
        self.assertEqual(deny["statPrefix"], "tcp.")

    def test_nothingLeft(self) -> None:
        """
        An ALLOW policy of which nothing is left on connections still allows nothing there.
        """
        _, (allow,) = self.filters(policy("rules: [{to: [{operation: {methods: [GET]}}]}]"), forTCP=True)
        self.assertEqual(allow["rules"], {"policies": {}})

    def test_dryRun(self) -> None:
        """
        What is tried only stands apart, and decides nothing.
        """
        dry = "{istio.io/dry-run: 'true'}"
        _, (deny, allow) = self.filters(
            policy("rules: [{}]", "a", dry),
            policy("action: DENY, rules: [{}]", "d"),
            policy("action: DENY, rules: [{}]", "e", dry),
        )
        self.assertNotIn("rules", allow)
        self.assertEqual(allow["shadowRulesStatPrefix"], "istio_dry_run_allow_")
        self.assertEqual(list(deny["rules"]["policies"]), ["ns[shop]-policy[d]-rule[0]"])
        self.assertEqual(list(deny["shadowRules"]["policies"]), ["ns[shop]-policy[e]-rule[0]"])
        self.assertEqual(deny["shadowRulesStatPrefix"], "istio_dry_run_deny_")

    def test_asked(self) -> None:
        """
        CUSTOM tries its rules and asks where they match, over HTTP or gRPC.
        """
        providers = [
            ExtensionProvider(name="h", envoyExtAuthzHttp=ExtAuthzHTTP(service="auth", port=80, failOpen=True)),
            ExtensionProvider(name="g", envoyExtAuthzGrpc=ExtAuthzGRPC(service="auth", port=81, statusOnError="503")),
        ]
        mesh = MeshConfig(extensionProviders=providers)
        spec = "action: CUSTOM, provider: {name: %s}, rules: [{to: [{operation: {paths: [/a]}}]}]"
        (tried, asks), rules = self.filters(policy(spec % "h"), mesh=mesh)
        self.assertEqual((rules, self.told), ([], []))
        self.assertEqual(list(tried["shadowRules"]["policies"]), ["istio-ext-authz-h-ns[shop]-policy[p]-rule[0]"])
        self.assertNotIn("rules", tried)
        self.assertEqual(asks["httpService"]["serverUri"]["cluster"], "outbound|80||auth")
        self.assertEqual(asks["httpService"]["serverUri"]["timeout"], "600s")
        self.assertTrue(asks["failureModeAllow"])
        self.assertEqual(asks["filterEnabledMetadata"]["value"], {"stringMatch": {"prefix": "istio-ext-authz-h"}})
        (_, asks), _ = self.filters(policy(spec % "g"), mesh=mesh)
        self.assertEqual(asks["grpcService"]["envoyGrpc"]["clusterName"], "outbound|81||auth")
        self.assertEqual(asks["statusOnError"], {"code": "ServiceUnavailable"})
        # Of connections only gRPC can be asked.
        self.assertEqual(len(self.filters(policy(spec % "g"), mesh=mesh, forTCP=True)[0]), 2)
        self.assertEqual(self.filters(policy(spec % "h"), mesh=mesh, forTCP=True)[0], [])

    def test_closed(self) -> None:
        """
        What cannot be asked is denied, and told, whatever the reason.
        """
        known = ExtensionProvider(name="known", envoyExtAuthzHttp=ExtAuthzHTTP(service="auth", port=80))
        lost = ExtensionProvider(name="lost", envoyExtAuthzHttp=ExtAuthzHTTP(service="elsewhere", port=80))
        mesh = MeshConfig(extensionProviders=[known, lost, ExtensionProvider(name="empty")])
        spec = "action: CUSTOM, provider: {name: %s}, rules: [{}]"
        cannot = evolve(ENVOY, asksHTTP=False)
        for names, abilities in ((["nobody"], ENVOY), (["lost"], ENVOY), (["empty"], ENVOY), (["known"], cannot)):
            for forTCP in (False, True):
                custom, _ = self.filters(
                    *(policy(spec % name) for name in names), mesh=mesh, abilities=abilities, forTCP=forTCP
                )
                (denies,) = custom
                self.assertEqual(denies["rules"]["action"], "DENY", names)
                key = f"istio-ext-authz-{names[0]}-ns[shop]-policy[p]-rule[0]-deny-due-to-bad-CUSTOM-action"
                self.assertEqual(list(denies["rules"]["policies"]), [key])
                self.assertEqual([name for name, _ in self.told], ["p"])
        custom, _ = self.filters(policy(spec % "known", "a"), policy(spec % "lost", "b"), mesh=mesh)
        self.assertEqual([one["rules"]["action"] for one in custom], ["DENY", "DENY"])
        self.assertIn("asks one provider", self.told[0][1])


class ValueTests(SynchronousTestCase):
    """
    Values to matchers.
    """

    def test_texts(self) -> None:
        """
        A text, a prefix, a suffix, anything; in an identity a suffix is a regular expression.
        """
        self.assertEqual(stringMatch("a"), {"exact": "a"})
        self.assertEqual(stringMatch("a*"), {"prefix": "a"})
        self.assertEqual(stringMatch("*a"), {"suffix": "a"})
        self.assertEqual(stringMatch("*"), {"safeRegex": {"regex": ".+"}})
        self.assertEqual(stringMatch("*/a.b", "spiffe://"), {"safeRegex": {"regex": r"spiffe://.*/a\.b"}})
        self.assertEqual(hostMatch("*"), {"name": ":authority", "presentMatch": True})

    def test_identities(self) -> None:
        """
        Service accounts and trust domains, with nothing of a name taken for a pattern.
        """
        expected = {"safeRegex": {"regex": r"spiffe://.+/ns/my\.ns/(.+/|)sa/a-b(/.+)?"}}
        self.assertEqual(serviceAccountMatch("my.ns/a-b", "x"), expected)
        self.assertIn("/ns/x/", serviceAccountMatch("a", "x")["safeRegex"]["regex"])
        self.assertEqual(trustDomainMatch("td"), {"prefix": "spiffe://td/"})
        self.assertEqual(trustDomainMatch("*"), {"prefix": "spiffe://"})
        self.assertEqual(trustDomainMatch("a.*"), {"safeRegex": {"regex": r"spiffe://a\.[^/]*/.*"}})

    def test_tokens(self) -> None:
        """
        The issuer of a token may be a URL: its last slash ends it.
        """

        def pair(value: str) -> list[Any]:
            return [one["metadata"]["value"]["stringMatch"] for one in requestPrincipal([value])["andIds"]["ids"]]

        anything = {"safeRegex": {"regex": ".+"}}
        self.assertEqual(pair("https://a/b"), [{"exact": "https://a"}, {"exact": "b"}])
        self.assertEqual(pair("*"), [anything, anything])
        self.assertEqual(pair("a/*"), [{"exact": "a"}, anything])
        self.assertEqual(pair("*/b"), [anything, {"exact": "b"}])
        self.assertEqual(pair("*a"), [anything, {"suffix": "a"}])
        self.assertEqual(pair("a*"), [{"prefix": "a"}, anything])

    def test_aliases(self) -> None:
        """
        A principal of our trust domain is one under each of its names; others stay as they are.
        """
        ours = ["new", "old"]
        self.assertEqual(withAliases(["old/ns/a/sa/b"], ours), ["new/ns/a/sa/b", "old/ns/a/sa/b"])
        self.assertEqual(withAliases(["cluster.local/ns/a/sa/b"], ours), ["new/ns/a/sa/b", "old/ns/a/sa/b"])
        self.assertEqual(withAliases(["other/ns/a/sa/b"], ours), ["other/ns/a/sa/b"])
        self.assertEqual(withAliases(["*/ns/a/sa/b", "*", "a"], ours), ["*/ns/a/sa/b", "*", "a"])
        self.assertEqual(withAliases(["*w/ns/a/sa/b"], ours), ["*w/ns/a/sa/b", "old/ns/a/sa/b"])
        self.assertEqual(expandTrustDomains(["old", "x"], ours), ["new", "old", "x"])
