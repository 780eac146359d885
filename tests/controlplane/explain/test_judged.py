"""
Tests of explanations: what filters make of tokens, of connections, and of what others are asked about.
"""

from __future__ import annotations

import json
from typing import Any

from meshproxy.controlplane.explain.text import readable
from tests.controlplane.explain.given import MESH
from tests.controlplane.explain.test_explanation import ExplanationCase
from tests.http.jwt.support import keySet, publicKey, token

_KEYS = keySet(publicKey("ES256"))

# Bytes, and who may send them.
_TCP = f"""{MESH}---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: bytes}}
spec:
  hosts: [bytes.shop.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 9000, name: tcp, protocol: TCP}}]
  endpoints:
  - {{address: 10.0.0.2, labels: {{app: reviews, security.istio.io/tlsMode: istio}}, serviceAccount: reviews}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: bytes}}
spec:
  selector: {{matchLabels: {{app: reviews}}}}
  rules:
  - from: [{{source: {{principals: [cluster.local/ns/shop/sa/%s]}}}}]
    to: [{{operation: {{ports: ["9000"]}}}}]
"""

# Tokens at the gateway, whose claims decide about the route, and at a workload, where policies ask for them.
_HTTP = "http: ["
_BY_CLAIM = (
    "http: [{match: [{headers: {'@request.auth.claims[group]': {exact: guests}}}], directResponse: {status: 418}}, "
)
_TOKENS = f"""{MESH.replace(_HTTP, _BY_CLAIM)}---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: edge}}
spec:
  selector: {{matchLabels: {{istio: ingressgateway}}}}
  jwtRules: [{{issuer: i, jwks: '{_KEYS}', forwardOriginalToken: true}}]
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: page}}
spec:
  selector: {{matchLabels: {{app: page}}}}
  jwtRules: [{{issuer: i, jwks: '{_KEYS}'}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: page}}
spec:
  selector: {{matchLabels: {{app: page}}}}
  rules: [{{when: [{{key: 'request.auth.claims[group]', values: [admins]}}]}}]
"""


def _bearer(**claims: Any) -> str:
    return f"authorization: Bearer {token({'iss': 'i', 'sub': 'me', 'exp': 4102444800, **claims})}"


def _verdict(told: Any, name: str, which: str = "filters") -> Any:
    (found,) = [one for one in told[which] if one["name"].endswith(name)]
    return found


class TokenTests(ExplanationCase):
    """
    Tokens are read, where their keys stand in a resource.
    """

    def ask(self, name: str, url: str, *fields: str, text: str = _TOKENS, **more: Any) -> Any:
        return super().ask(name, url, *fields, text=text, **more)

    def test_claims(self) -> None:
        """
        Claims decide about the route at a gateway, and are asked for by policies at the workload.
        """
        told = self.ask("gateway", "http://shop.example:8080/", _bearer(group="admins"))
        self.assertIn("a valid token of 'i' for 'me'", _verdict(told, "jwt_authn")["verdict"]["told"])
        (after,) = told["next"]
        self.assertTrue(after["outcome"].startswith("forwarded to inbound|"), after["outcome"])
        told = self.ask("gateway", "http://shop.example:8080/", _bearer(group="guests"))
        self.assertIn("418, a direct response", told["outcome"])
        self.assertIn("VirtualService shop/shop", told["route"]["set_by"][0]["resource"])

    def test_none(self) -> None:
        """
        Without a token, or with the wrong claims, the policy at the workload denies; nothing is demanded before it.
        """
        for fields in ((), (_bearer(group="others"),)):
            told = self.ask("gateway", "http://shop.example:8080/", *fields)
            self.assertIn("there: 403 (rbac_access_denied_matched_policy[none])", told["outcome"])
        told = self.ask("gateway", "http://shop.example:8080/")
        why = "allowed: there is no token, and none is demanded"
        self.assertEqual(_verdict(told, "jwt_authn")["verdict"]["told"], why)

    def test_wrong(self) -> None:
        """
        A token that ended, or that is of somebody else, is refused with Envoy's words.
        """
        for claims, why in (({"exp": 1}, "Jwt is expired"), ({"iss": "j"}, "Jwt issuer is not configured")):
            told = self.ask("gateway", "http://shop.example:8080/", _bearer(**claims))
            self.assertEqual(told["outcome"][:3], "401", told["outcome"])
            self.assertEqual(_verdict(told, "jwt_authn")["verdict"]["told"], f"denied: {why}")

    def test_fetched(self) -> None:
        """
        What keys that are fetched say of a token is not judged.
        """
        entry = """---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: keys}
spec: {hosts: [keys.example], resolution: DNS, ports: [{number: 443, name: https, protocol: HTTPS}]}
"""
        text = _TOKENS.replace(f"jwks: '{_KEYS}'", "jwksUri: 'https://keys.example/set'") + entry
        told = self.ask("gateway", "http://shop.example:8080/", _bearer(), text=text)
        self.assertIn("not judged: the keys of provider 'origins-0'", _verdict(told, "jwt_authn")["verdict"]["told"])


class ConnectionTests(ExplanationCase):
    """
    What is no HTTP is explained as far as it goes.
    """

    def test_allowed(self) -> None:
        """
        Where bytes are forwarded to, and which policy lets them in there.
        """
        told = self.ask("page", "tcp://bytes:9000", text=_TCP % "page")
        cluster = "outbound|9000||bytes.shop.svc.cluster.local"
        self.assertEqual(told["outcome"], f"forwarded to {cluster} as bytes, not as HTTP")
        (after,) = told["next"]
        self.assertEqual(after["outcome"], "forwarded to inbound|9000|| as bytes, not as HTTP")
        rbac = _verdict(after, "rbac", "network_filters")
        self.assertEqual([one["resource"] for one in rbac["set_by"]], ["AuthorizationPolicy shop/bytes"])
        lines = list(readable(told))
        self.assertIn("  network filters:", lines)

    def test_denied(self) -> None:
        """
        Who closes the connection, and why.
        """
        told = self.ask("page", "tcp://bytes:9000", text=_TCP % "other")
        closed = "closed (rbac_access_denied_matched_policy[none]) by envoy.filters.network.rbac"
        self.assertEqual(told["next"][0]["outcome"], closed)
        self.assertTrue(told["outcome"].endswith(f"; there: {closed}"), told["outcome"])
        json.dumps(told)
