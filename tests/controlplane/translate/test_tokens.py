# -*- test-case-name: tests.controlplane.translate.test_tokens -*-
"""
Tests for L{meshproxy.controlplane.translate.tokens}. The whole of a filter is in the golden file C{tokens}.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.controlplane.translate.given import ROUTER, SIDECAR, codes, made, networking, service, workload

A = service("a", "{name: http, port: 80}, {name: tcp, port: 81}")
OWN = workload("own", "10.1.0.1", "a")
KEYS = '{"keys":[{"kty":"EC","crv":"P-256","x":"a","y":"b"}]}'


def tokens(spec: str, name: str = "t", namespace: str = "shop") -> str:
    """
    A RequestAuthentication.
    """
    return (
        "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{spec}}}\n"
    )


def rule(issuer: str, more: str = "") -> str:
    """
    A rule with keys of its own.
    """
    return f"jwtRules: [{{issuer: {issuer}, jwks: '{KEYS}'{more}}}]"


class TokenTests(SynchronousTestCase):
    """
    Which tokens a workload takes.
    """

    def filters(self, *texts: str, proxy: Any = SIDECAR) -> list[Any]:
        """
        The HTTP filters in front of the workload.
        """
        self.made = made(proxy, A, OWN, *texts)
        manager = self.made.listeners["10.1.0.1_80"]["filterChains"][0]["filters"][0]["typedConfig"]
        found: list[Any] = manager["httpFilters"]
        return found

    def config(self, *texts: str) -> Any:
        """
        The configuration of the filter that verifies.
        """
        return self.filters(*texts)[0]["typedConfig"]

    def test_none(self) -> None:
        """
        Where nobody speaks of tokens, or of other workloads, there is no filter.
        """
        self.assertEqual(len(self.filters()), 3)
        other = tokens(f"selector: {{matchLabels: {{app: b}}}}, {rule('i')}")
        self.assertEqual(len(self.filters(other, tokens("jwtRules: []", "empty"))), 3)

    def test_order(self) -> None:
        """
        Tokens are verified before the policies that look at them; connections have none.
        """
        policy = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p}\nspec: {}\n"
        names = [one["name"].rpartition(".")[2] for one in self.filters(tokens(rule("i")), policy)]
        self.assertEqual(names[:2], ["jwt_authn", "rbac"])
        chain = self.made.listeners["10.1.0.1_81"]["filterChains"][0]
        self.assertEqual([one["name"].rpartition(".")[2] for one in chain["filters"]], ["rbac", "tcp_proxy"])

    def test_optional(self) -> None:
        """
        No token passes; a wrong one does not; with several issuers a right one of any of them does.
        """
        (one,) = self.config(tokens(rule("i")))["rules"]
        single = {"requiresAny": {"requirements": [{"providerName": "origins-0"}, {"allowMissing": {}}]}}
        self.assertEqual(one["requires"], single)
        config = self.config(tokens(rule("j"), "a"), tokens(rule("i"), "b"))
        self.assertEqual([value["issuer"] for value in config["providers"].values()], ["i", "j"])
        several = config["rules"][0]["requires"]["requiresAny"]["requirements"]
        self.assertEqual(several[:2], [{"providerName": "origins-0"}, {"providerName": "origins-1"}])
        self.assertEqual(several[2]["requiresAll"]["requirements"][0], single)

    def test_required(self) -> None:
        """
        Where a rule wants a token it is there and right; others are read if they are right.
        """
        required = ", presence: REQUIRED"
        (one,) = self.config(tokens(rule("i", required)))["rules"]
        self.assertEqual(one["requires"], {"providerName": "origins-0"})
        config = self.config(tokens(rule("j", required), "a"), tokens(rule("i"), "b"), tokens(rule("k", required), "c"))
        other = {"requiresAny": {"requirements": [{"providerName": "origins-0"}, {"allowMissingOrFailed": {}}]}}
        self.assertEqual(
            config["rules"][0]["requires"]["requiresAll"]["requirements"],
            [{"providerName": "origins-1"}, {"providerName": "origins-2"}, other],
        )

    def test_remote(self) -> None:
        """
        Keys that a service has are asked for there; a service that nobody knows is told, and no token is right then.
        """
        where = tokens("jwtRules: [{issuer: i, jwksUri: 'https://k.example.com/keys'}]")
        entry = networking(
            "ServiceEntry",
            "k",
            "hosts: [k.example.com], ports: [{number: 443, name: https, protocol: HTTPS}], resolution: DNS",
        )
        provider = self.config(where, entry)["providers"]["origins-0"]
        self.assertEqual(provider["remoteJwks"]["httpUri"]["cluster"], "outbound|443||k.example.com")
        self.assertEqual(codes(self.made), [])
        for text in (where, tokens("jwtRules: [{issuer: i}]")):
            provider = self.config(text)["providers"]["origins-0"]
            self.assertIn("nobody", provider["localJwks"]["inlineString"])
            self.assertEqual(codes(self.made), [("RequestAuthentication shop/t", "not-found")])

    def test_nobodysKey(self) -> None:
        """
        The key of nobody is a point of the curve whose first coordinate is a hash: nobody chose it.
        """
        provider = self.config(tokens("jwtRules: [{issuer: i}]"))["providers"]["origins-0"]
        (key,) = json.loads(provider["localJwks"]["inlineString"])["keys"]
        x, y = (int.from_bytes(base64.urlsafe_b64decode(key[name] + "="), "big") for name in ("x", "y"))
        prime = 2**256 - 2**224 + 2**192 + 2**96 - 1
        b = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
        self.assertEqual((y * y - (x**3 - 3 * x + b)) % prime, 0)
        told = hashlib.sha256(b"meshproxy: nobody has this key 0").digest()
        self.assertEqual(x, int.from_bytes(told, "big"))

    def test_gateway(self) -> None:
        """
        A gateway verifies as well.
        """
        edge = networking(
            "Gateway",
            "edge",
            "selector: {istio: ingress}, servers: [{port: {number: 80, name: h, protocol: HTTP}, hosts: ['*']}]",
        )
        listeners = made(ROUTER, edge, tokens(rule("i"))).listeners
        manager = listeners["0.0.0.0_80"]["filterChains"][0]["filters"][0]["typedConfig"]
        self.assertEqual(manager["httpFilters"][0]["name"], "envoy.filters.http.jwt_authn")
