"""
Tests for the verdicts of filters, and what else L{meshproxy.admin.explain.answer} tells of what a control plane made.
"""

from __future__ import annotations

import json

from meshproxy.admin.explain.text import readable
from meshproxy.config.cel.printing import treeOf
from tests.admin.explain.support import CONFIG, ExplainCase

_RBAC = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
_ID = "spiffe://td/ns/shop/sa/cart"

_FILTER = f"""\
          - name: who
            typed_config:
              "@type": {_RBAC}
              rules:
                policies:
                  carts:
                    permissions: [{{url_path: {{path: {{prefix: /cart}}}}}}]
                    principals: [{{authenticated: {{principal_name: {{exact: "{_ID}"}}}}}}]
              shadow_rules:
                action: DENY
                policies:
                  later:
                    permissions: [{{any: true}}]
                    principals: [{{header: {{name: x-late, present_match: true}}}}]
"""

_FAULTS = """\
delay: {fixed_delay: 7s, percentage: {numerator: 100}}, \
abort: {http_status: 418, percentage: {numerator: %d}}, \
headers: [{name: end-user, string_match: {exact: jason}}]"""

_METADATA = """\
                metadata:
                  filter_metadata:
                    istio:
                      config: /apis/networking.istio.io/v1/namespaces/shop/virtual-service/cart
                      field: spec.http[2]
                      delegate: /apis/networking.istio.io/v1/namespaces/shop/virtual-service/rest
                      delegateField: spec.http[0]
"""


def _conditioned(expression: str) -> str:
    rules = {"policies": {"p": {"permissions": [{"any": True}], "principals": [{"any": True}]}}}
    rules["policies"]["p"]["condition"] = treeOf(expression)  # type: ignore[assignment]  # it is no list
    return f'          - {{name: who, typed_config: {{"@type": {_RBAC}, rules: {json.dumps(rules)}}}}}\n'


def _with(text: str, before: str, more: str) -> str:
    assert text.count(before) == 1
    return text.replace(before, more + before)


class AuthorizationTests(ExplainCase):
    """
    What the C{rbac} filter would say.
    """

    config = _with(CONFIG, "          - name: quiet\n", _FILTER)

    def test_allowed(self) -> None:
        """
        A request of whom a policy names goes on, and the policy that lets it is named.
        """
        answer = self.ask("/cart", principal=_ID)
        verdict = answer["filters"][1]["verdict"]
        self.assertEqual(verdict["policies"], ["carts"])
        self.assertEqual(
            verdict["told"], "allowed: policy 'carts' matches: path is \"/cart\", principal is " + _ID
            + "; only tried: allowed: no policy denies it",
        )  # fmt: skip
        self.assertEqual(answer["outcome"], "forwarded to web or beta")
        self.assertIn(f"  as {_ID}\n", readable(answer))

    def test_denied(self) -> None:
        """
        The end is the filter's, with Envoy's details; the route that it would have got is told all the same.
        """
        for principal, why in (("", "the connection is not authenticated"), ("spiffe://td/x", "principal is spiffe")):
            answer = self.ask("/cart", principal=principal)
            self.assertEqual(answer["outcome"], "403 (rbac_access_denied_matched_policy[none]) from who")
            self.assertIn(why, answer["filters"][1]["verdict"]["told"])
            self.assertEqual(answer["route"]["name"], "cart")

    def test_tried(self) -> None:
        """
        What is only tried denies nothing, and is told.
        """
        answer = self.ask("/cart", "x-late: 1", principal=_ID)
        self.assertIn("only tried: denied: policy 'later' matches", answer["filters"][1]["verdict"]["told"])
        self.assertEqual(answer["outcome"], "forwarded to web or beta")

    def test_tls(self) -> None:
        """
        Whoever has a certificate comes by TLS, and by the protocols that are told: chains are chosen by that.
        """
        match = "      filter_chain_match: {transport_protocol: tls, application_protocols: [istio]}\n"
        chain = "    - name: all  # chain all\n"
        self.config = self.config.replace(chain, chain + match)
        chosen = [
            self.ask("/cart", principal=principal, protocols=protocols).get("filter_chain", {}).get("name")
            for principal, protocols in ((_ID, ("istio",)), (_ID, ()), ("", ("istio",)))
        ]
        self.assertEqual(chosen, ["all", None, None])


class ExpressionTests(ExplainCase):
    """
    Policies with a condition.
    """

    def told(self, expression: str, *headers: str) -> str:
        """
        What is told of one, for somebody with a certificate.
        """
        self.config = _with(CONFIG, "          - name: quiet\n", _conditioned(expression))
        verdict: str = self.ask("/cart", *headers, principal=_ID)["filters"][1]["verdict"]["told"]
        return verdict

    def test_judged(self) -> None:
        """
        It is asked about the request in question, and the part that is false is told.
        """
        text = "request.path == '/cart' && request.headers['x-a'] == '1' && connection.mtls"
        self.assertEqual(
            self.told(text, "x-a: 2"), 'denied: policy \'p\': condition request.headers["x-a"] == "1" is false'
        )
        self.assertTrue(self.told(text, "x-a: 1").startswith("allowed: policy 'p' matches"))
        self.assertTrue(self.told(f"connection.uri_san_peer_certificate == '{_ID}'").startswith("allowed"))
        self.assertIn("cannot be evaluated (", self.told("response.code == 200"))

    def test_unknown(self) -> None:
        """
        What nobody knows of a request that was not sent is named.
        """
        told = self.told("request.time.getHours() < 24 && connection.id >= 0u && request.method == 'GET'")
        self.assertTrue(
            told.endswith(" (a real one may be judged otherwise, by its connection.id, request.time)"), told
        )


class CertificateTests(ExplainCase):
    """
    Policies chosen by what the client's certificate says.
    """

    def of(self, kind: str, principal: str) -> str:
        """
        The end of a request, where those are let in whose certificate has a name of a kind that ends with C{cart}.
        """
        inputs = f"type.googleapis.com/envoy.extensions.matching.common_inputs.ssl.v3.{kind}"
        action = '"@type": type.googleapis.com/envoy.config.rbac.v3.Action, name: carts, action: ALLOW'
        chosen = f"""\
          - name: who
            typed_config:
              "@type": {_RBAC}
              matcher:
                matcher_list:
                  matchers:
                  - predicate:
                      single_predicate:
                        input: {{name: san, typed_config: {{"@type": {inputs}}}}}
                        value_match: {{suffix: cart}}
                    on_match: {{action: {{name: carts, typed_config: {{{action}}}}}}}
"""
        self.config = _with(CONFIG, "          - name: quiet\n", chosen)
        outcome: str = self.ask("/cart", principal=principal)["outcome"]
        return outcome

    def test_names(self) -> None:
        """
        Of the certificate no more is known than the name that was told, which is a URI.
        """
        denied = "403 (rbac_access_denied_matched_policy[none]) from who"
        self.assertEqual(self.of("UriSanInput", _ID), "forwarded to web or beta")
        for kind, principal in (("UriSanInput", "spiffe://td/x"), ("DnsSanInput", _ID), ("SubjectInput", _ID)):
            self.assertEqual(self.of(kind, principal), denied)
        self.assertEqual(self.of("UriSanInput", ""), denied)


_LIMITS = """\
          - name: limited
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
              stat_prefix: a
              token_bucket: {max_tokens: 10, tokens_per_fill: 5, fill_interval: 1s}
              filter_enabled: {default_value: {numerator: 100}}
              filter_enforced: {default_value: {numerator: 100}}
          - name: asked
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
              http_service: {server_uri: {uri: "http://a", cluster: web, timeout: 1s}}
"""


class OpenTests(ExplainCase):
    """
    What cannot be foreseen is told as such.
    """

    config = _with(CONFIG, "          - name: quiet\n", _LIMITS)

    def test_open(self) -> None:
        """
        Limits depend on others, and who is asked is not asked now; the request goes on for all that is known.
        """
        answer = self.ask("/cart")
        told = {one["name"]: one["verdict"]["told"] for one in answer["filters"] if "verdict" in one}
        self.assertEqual(told["limited"], "limits requests of all: 10 at once, 5 a second; beyond that: 429")
        self.assertEqual(told["asked"], "not judged: web is asked; where that does not answer, 403")
        self.assertEqual(answer["outcome"], "forwarded to web or beta")


class FaultTests(ExplainCase):
    """
    What the C{fault} filter would do.
    """

    def of(self, percent: int, *fields: str) -> tuple[str, str]:
        """
        Its verdict, and the end.
        """
        line = next(line for line in CONFIG.splitlines() if line.endswith("# fault of cart"))
        self.config = CONFIG.replace(line, line.replace("}  #", ", " + _FAULTS % percent + "}  #"))
        answer = self.ask("/cart", *fields)
        return answer["filters"][0]["verdict"]["told"], answer["outcome"]

    def test_faults(self) -> None:
        """
        Delays and aborts with their shares. An abort of all is the end; one of some may be.
        """
        told = "delays all requests by 7s; aborts {} with 418"
        self.assertEqual(
            self.of(50, "end-user: jason"), (told.format("50% of the requests"), "forwarded to web or beta")
        )
        end = "418 (fault_filter_abort) from envoy.filters.http.fault"
        self.assertEqual(self.of(100, "end-user: jason"), (told.format("all requests"), end))

    def test_others(self) -> None:
        """
        Requests that its headers do not mean, and routes that say nothing to it, have none.
        """
        told, end = self.of(100, "end-user: eve")
        self.assertEqual((told, end), ("its faults are for other requests", "forwarded to web or beta"))
        self.assertEqual(self.ask("/now")["filters"][0]["verdict"]["told"], "no fault")


class OriginTests(ExplainCase):
    """
    What a control plane wrote into the metadata of a route.
    """

    config = _with(CONFIG, "                typed_per_filter_config:\n", _METADATA)

    def test_route(self) -> None:
        """
        Istio's words for the resource, and the field.
        """
        answer = self.ask("/cart")
        self.assertEqual(answer["route"]["origin"]["field"], "spec.http[2]")
        self.assertNotIn("origin", answer["routes_before"][0])
        text = readable(answer)
        self.assertIn("    of /apis/networking.istio.io/v1/namespaces/shop/virtual-service/cart spec.http[2]\n", text)
        self.assertIn("    by /apis/networking.istio.io/v1/namespaces/shop/virtual-service/rest spec.http[0]\n", text)


class SentTests(ExplainCase):
    """
    The head as it goes upstream.
    """

    config = CONFIG.replace(
        "                  timeout: 3s  # timeout\n",
        "                  timeout: 3s  # timeout\n                  prefix_rewrite: /basket\n"
        "                  host_rewrite_literal: inner.example\n",
    )

    def test_rewritten(self) -> None:
        """
        With the route's rewrites, which are told as changes as well.
        """
        answer = self.ask("/cart/later")
        self.assertEqual((answer["sent"]["authority"], answer["sent"]["path"]), ("inner.example", "/basket/later"))
        self.assertIn("  sent with :path: /cart/later -> /basket/later\n", readable(answer))
