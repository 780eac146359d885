"""
L{meshproxy.filters.http.jwt_authn}.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.errors import ConfigErrors
from meshproxy.filters.http.jwt_authn import JWTAuthn
from meshproxy.testing import Answer, FilterHarness
from meshproxy.testing.harness import Result
from tests.http.jwt.support import keySet, publicKey, token

SET = keySet(publicKey("ES256", kid="a"), publicKey("RS256", kid="b"))
ALL = {"prefix": "/"}
REMOTE = {"uri": "https://keys.example/set", "cluster": "keys", "timeout": "1s"}


class JWTCase(SynchronousTestCase):
    """
    A filter in a proxy, whose clock begins at the epoch of virtual time.
    """

    def start(
        self,
        providers: dict[str, Any] | None = None,
        requires: dict[str, Any] | None = None,
        route: dict[str, Any] | None = None,
        **fields: Any,
    ) -> FilterHarness:
        """
        Make it: one provider with keys of its own, unless others are told.
        """
        if providers is None:
            providers = {"one": {"issuer": "one", "local_jwks": {"inline_string": SET}}}
        rules = [{"match": ALL, "requires": requires or {"provider_name": "one"}}]
        config = {"providers": providers, "rules": rules, **fields}
        self.harness = FilterHarness(JWTAuthn, config, route, clusters=["keys"])
        return self.harness

    def provider(self, **fields: Any) -> dict[str, Any]:
        """
        One provider.
        """
        return {"one": {"issuer": "one", "local_jwks": {"inline_string": SET}, **fields}}

    def claims(self, **more: Any) -> dict[str, Any]:
        """
        Claims that are valid for an hour.
        """
        return {"iss": "one", "exp": int(self.harness.proxy.reactor.seconds()) + 3600, **more}

    def ask(self, text: str = "", path: str = "/", *fields: tuple[str, str]) -> Result:
        """
        Ask with a token.
        """
        credentials = [("authorization", f"Bearer {text}")] if text else []
        return self.harness.request("GET", path, [*credentials, *fields])

    def counted(self, *names: str) -> list[int]:
        """
        Some counters.
        """
        return [self.harness.proxy.stat(f"http.test.jwt_authn.{name}") for name in names]


class VerdictTests(JWTCase):
    """
    Who passes.
    """

    def test_valid(self) -> None:
        """
        A valid token passes, and the service does not see it.
        """
        self.start()
        for text in (token(self.claims()), token(self.claims(), "RS256", kid="b")):
            result = self.ask(text)
            assert result.upstreamRequest is not None
            self.assertEqual(result.upstreamRequest.headers.get(b"authorization"), None)
        self.assertEqual(self.counted("allowed", "denied"), [2, 0])

    def test_denied(self) -> None:
        """
        All others get 401 with a challenge that tells why, and so does the access log.
        """
        self.start()
        result = self.ask()
        self.assertEqual((result.status, result.body), (401, b"Jwt is missing"))
        self.assertEqual(result.header("www-authenticate"), 'Bearer realm="http://example.com/"')
        self.assertEqual(result.log["details"], "jwt_authn_access_denied{Jwt_is_missing}")
        for text, why in (
            (token(self.claims(exp=1)), "Jwt is expired"),
            (token(self.claims(iss="two")), "Jwt issuer is not configured"),
            (token(self.claims(), kid="x"), "Jwks doesn't have key to match kid or alg from Jwt"),
            (token(self.claims(), "HS256"), "Jwt verification fails"),
            (token(self.claims())[:-4] + "AAAA", "Jwt verification fails"),
        ):
            result = self.ask(text)
            self.assertEqual((result.status, result.body.decode(), result.upstreamRequest), (401, why, None))
            challenge = 'Bearer realm="http://example.com/", error="invalid_token"'
            self.assertEqual(result.header("www-authenticate"), challenge)
        self.assertEqual(self.counted("allowed", "denied"), [0, 6])

    def test_audiences(self) -> None:
        """
        An audience that is not allowed is 403; scheme and last slash do not matter.
        """
        self.start(self.provider(audiences=["https://a.example/"]))
        self.assertEqual(self.ask(token(self.claims(aud="http://a.example"))).status, 200)
        result = self.ask(token(self.claims(aud=["b"])))
        self.assertEqual((result.status, result.body), (403, b"Audiences in Jwt are not allowed"))
        self.start(self.provider(), {"provider_and_audiences": {"provider_name": "one", "audiences": ["c"]}})
        self.assertEqual([self.ask(token(self.claims(aud=aud))).status for aud in ("c", "d")], [200, 403])

    def test_strict(self) -> None:
        """
        A provider may ask for subjects, an expiration, and a short life.
        """
        self.start(self.provider(subjects={"prefix": "s-"}, max_lifetime="100s", require_expiration=True))
        now = int(self.harness.proxy.reactor.seconds())
        for claims, status in (
            ({"sub": "s-a", "iat": now, "exp": now + 90}, 200),
            ({"sub": "s-a", "iat": now, "exp": now + 110}, 401),
            ({"sub": "s-a"}, 401),
            ({"sub": "b", "iat": now, "exp": now + 90}, 401),
        ):
            self.assertEqual(self.ask(token({"iss": "one", **claims})).status, status, claims)

    def test_stripped(self) -> None:
        """
        The client may be told nothing.
        """
        self.start(strip_failure_response=True)
        result = self.ask()
        self.assertEqual((result.status, result.body, result.header("www-authenticate")), (401, b"", None))
        self.assertEqual(result.log["details"], "jwt_authn_access_denied{Jwt_is_missing}")

    def test_preflight(self) -> None:
        """
        A preflight request has no credentials, and may pass without.
        """
        self.start(bypass_cors_preflight=True)
        fields = [("origin", "https://a"), ("access-control-request-method", "GET")]
        self.assertEqual(self.harness.request("OPTIONS", "/", fields).status, 200)
        self.assertEqual(self.harness.request("OPTIONS", "/", fields[:1]).status, 401)
        self.assertEqual(self.counted("cors_preflight_bypassed"), [1])

    def test_routes(self) -> None:
        """
        A route switches it off, or names another requirement; a name that does not exist lets nobody pass.
        """
        named: dict[str, Any] = {"requirement_map": {"free": {"allow_missing_or_failed": {}}}}
        self.start(route={"disabled": True})
        self.assertEqual(self.ask().status, 200)
        self.start(route={"requirement_name": "free"}, **named)
        self.assertEqual(self.ask().status, 200)
        self.start(route={"requirement_name": "none"}, **named)
        result = self.ask(token(self.claims()))
        self.assertEqual((result.status, result.upstreamRequest), (403, None))

    def test_rules(self) -> None:
        """
        The first rule that matches decides; where none does, nothing is required.
        """
        rules = [
            {"match": {"path": "/free"}},
            {"match": {"prefix": "/A", "case_sensitive": False}, "requires": {"provider_name": "one"}},
        ]
        self.start(rules=rules)
        self.assertEqual(
            [self.ask("", path).status for path in ("/free", "/free?x", "/aB", "/b")], [200, 200, 401, 200]
        )


class ForwardTests(JWTCase):
    """
    What the service is told.
    """

    def test_claims(self) -> None:
        """
        Claims become headers, whatever the client says in them; a claim that is no value for a header does not.
        """
        claims = [
            {"header_name": f"X-{name}", "claim_name": claim}
            for name, claim in (("sub", "sub"), ("deep", "a.b"), ("n", "n"), ("list", "l"), ("bad", "bad"))
        ]
        self.start(self.provider(claim_to_headers=claims, forward_payload_header="x-payload"))
        text = token(self.claims(sub="me", a={"b": True}, n=5, l=[1], bad="a\r\nx-evil: 1"))
        result = self.ask(text, "/", ("x-sub", "root"), ("x-list", "mine"), ("x-payload", "p"), ("x-bad", "b"))
        assert result.upstreamRequest is not None
        headers = result.upstreamRequest.headers
        found = [headers.values(name) for name in (b"x-sub", b"x-deep", b"x-n", b"x-list", b"x-bad", b"x-evil")]
        self.assertEqual(found, [[b"me"], [b"true"], [b"5"], [], [], []])
        [payload] = headers.values(b"x-payload")
        self.assertEqual(json.loads(urlsafe_b64decode(payload + b"=="))["sub"], "me")

    def test_denied(self) -> None:
        """
        What only this filter may set is taken away also where nothing is required to be valid.
        """
        claims = [{"header_name": "x-sub", "claim_name": "sub"}]
        self.start(self.provider(claim_to_headers=claims), {"allow_missing_or_failed": {}})
        result = self.ask("garbage", "/", ("x-sub", "root"))
        assert result.upstreamRequest is not None
        self.assertNotIn(b"x-sub", result.upstreamRequest.headers)

    def test_metadata(self) -> None:
        """
        Payload, header and failures are noted.
        """
        self.start(
            self.provider(
                payload_in_metadata="p",
                header_in_metadata="h",
                failed_status_in_metadata="f",
                normalize_payload_in_metadata={"space_delimited_claims": ["scope"]},
            )
        )
        result = self.ask(token(self.claims(scope="a b", n=1), kid="a"))
        assert result.stream is not None
        noted = result.stream.dynamicMetadata["envoy.filters.http.jwt_authn"]
        self.assertEqual((noted["p"]["scope"], noted["p"]["n"], noted["h"]["kid"]), (["a", "b"], 1.0, "a"))
        result = self.ask()
        assert result.stream is not None
        self.assertEqual(
            result.stream.dynamicMetadata["envoy.filters.http.jwt_authn"]["f"]["message"], "Jwt is missing"
        )

    def test_forward(self) -> None:
        """
        The token goes on where that is wanted; else it is taken out of the path as well.
        """
        self.start(self.provider(forward=True))
        result = self.ask(token(self.claims()))
        assert result.upstreamRequest is not None
        self.assertIn(b"authorization", result.upstreamRequest.headers)
        self.start()
        result = self.ask("", f"/p?a=1&access_token={token(self.claims())}&b=%32")
        assert result.upstreamRequest is not None
        self.assertEqual(result.upstreamRequest.path, b"/p?a=1&b=%32")

    def test_everyToken(self) -> None:
        """
        All tokens must be valid: the service might use another one than the one that is.
        """
        self.start()
        good, bad = token(self.claims()), token(self.claims(exp=1))
        for first, second in ((good, bad), (bad, good)):
            self.assertEqual(self.ask(first, f"/?access_token={second}").status, 401)
        self.assertEqual(self.ask(good, f"/?access_token={good}").status, 200)


class RequirementTests(JWTCase):
    """
    Requirements that are put together.
    """

    def results(self, requires: dict[str, Any]) -> list[int]:
        """
        What becomes of: no token, one of the first provider, one of the second, both, and a broken one beside.
        """
        providers = {
            **self.provider(),
            "two": {"issuer": "two", "from_headers": [{"name": "x-two"}], "local_jwks": {"inline_string": SET}},
        }
        self.start(providers, requires)
        one, two = token(self.claims()), ("x-two", token(self.claims(iss="two")))
        asked = [
            self.ask(),
            self.ask(one),
            self.ask("", "/", two),
            self.ask(one, "/", two),
            self.ask(one, "/", ("x-two", "x")),
        ]
        return [result.status for result in asked]

    def test_combinations(self) -> None:
        """
        Any, all, and what may be missing.
        """
        both = [{"provider_name": "one"}, {"provider_name": "two"}]
        optional: dict[str, Any] = {"allow_missing": {}}
        for requires, expected in (
            ({"requires_any": {"requirements": both}}, [401, 200, 200, 200, 200]),
            ({"requires_all": {"requirements": both}}, [401, 401, 401, 200, 401]),
            (optional, [200, 200, 200, 200, 401]),
            ({"allow_missing_or_failed": {}}, [200, 200, 200, 200, 200]),
            ({"requires_any": {"requirements": [both[0], optional]}}, [200] * 5),
            (
                {"requires_all": {"requirements": [both[0], {"requires_any": {"requirements": [both[1], both[1]]}}]}},
                [401, 401, 401, 200, 401],
            ),
        ):
            self.assertEqual(self.results(requires), expected, requires)

    def test_refused(self) -> None:
        """
        Names that do not exist, keys that are none, and a provider without keys are told.
        """
        for providers, requires in (
            (None, {"provider_name": "none"}),
            (self.provider(local_jwks={"inline_string": "{}"}), None),
            (self.provider(local_jwks={"inline_string": "x"}), None),
        ):
            self.assertRaises(ConfigErrors, self.start, providers, requires)
        with self.assertRaises(ConfigErrors):
            self.start(rules=[{"match": ALL, "requirement_name": "none"}])


class KeyTests(JWTCase):
    """
    Keys that are fetched, and tokens that are remembered.
    """

    def remote(self, **fields: Any) -> None:
        """
        A provider whose keys are elsewhere.
        """
        provider = {"issuer": "one", "remote_jwks": {"http_uri": REMOTE, "cache_duration": "60s", **fields}}
        self.start({"one": provider})
        self.keys = self.harness.backends["keys"]

    def test_fetched(self) -> None:
        """
        Keys are fetched when they are needed, kept for a while, and fetched again.
        """
        self.remote()
        self.keys.answer(Answer(200, SET.encode()), Answer(200, SET.encode()))
        self.assertEqual(self.ask().status, 401)
        self.assertEqual(self.keys.requests, [])
        self.assertEqual([self.ask(token(self.claims())).status for _ in range(2)], [200, 200])
        self.assertEqual(
            [(each.path, each.headers.get(b"host")) for each in self.keys.requests], [(b"/set", b"keys.example")]
        )
        self.harness.advance(61)
        self.assertEqual(self.ask(token(self.claims())).status, 200)
        self.assertEqual((len(self.keys.requests), self.counted("jwks_fetch_success")), (2, [2]))

    def test_failed(self) -> None:
        """
        Without them nobody passes, and the next request tries again.
        """
        self.remote()
        for answer in (Answer(500), Answer(200, b"x"), Answer(200, b"{}"), Answer.close(), Answer.hang()):
            self.keys.answer(answer)
            result = self.ask(token(self.claims()))
            self.assertEqual((result.status, result.body), (401, b"Jwks remote fetch is failed"))
        self.keys.answer(Answer(200, SET.encode()))
        self.assertEqual(self.ask(token(self.claims())).status, 200)
        self.assertEqual(self.counted("jwks_fetch_success", "jwks_fetch_failed"), [1, 5])

    def test_together(self) -> None:
        """
        Requests that need them at the same time wait for one answer; one that leaves does not take it from the others.
        """
        self.remote()
        self.keys.answer(Answer(200, SET.encode(), delay=0.5))
        clients = [self.harness.client() for _ in range(3)]
        for client in clients:
            client.send("GET", "/", [("authorization", f"Bearer {token(self.claims())}")])
        self.harness.advance(0.1)
        clients[0].abort()
        self.harness.advance(1)
        self.assertEqual([client.response().status for client in clients[1:]], [200, 200])
        self.assertEqual(len(self.keys.requests), 1)

    def test_twoTokens(self) -> None:
        """
        CVE-2025-64527: a request with two fields of tokens waits for the keys once, and for both of its tokens; one
        that leaves meanwhile leaves nothing behind.
        """
        provider = {"issuer": "one", "remote_jwks": {"http_uri": REMOTE, "cache_duration": "60s"}}
        self.start({"one": {**provider, "from_headers": [{"name": "x-t"}]}})
        self.keys = self.harness.backends["keys"]
        for second, status in ((token(self.claims()), 200), ("a.b.c", 401)):
            self.keys.answer(Answer(200, SET.encode(), delay=0.5))
            fields = [("x-t", token(self.claims())), ("x-t", second)]
            clients = [self.harness.client() for _ in range(2)]
            for client in clients:
                client.send("GET", "/", fields)
            self.harness.advance(0.1)
            clients[0].abort()
            self.harness.advance(1)
            self.assertEqual(clients[1].response().status, status)
            self.harness.advance(61)
        # One that is no token is refused before.
        self.assertEqual(len(self.keys.requests), 1)

    def test_cache(self) -> None:
        """
        A token whose signature was verified is remembered, but held to its times again.
        """
        self.start(self.provider(jwt_cache_config={"jwt_cache_size": 1}))
        first, second = token(self.claims()), token(self.claims(sub="b"))
        for text in (first, first, second, first):
            self.assertEqual(self.ask(text).status, 200)
        self.assertEqual(self.counted("jwt_cache_hit", "jwt_cache_miss"), [1, 3])
        self.harness.advance(3700)
        self.assertEqual(self.ask(first).body, b"Jwt is expired")
