"""
L{meshproxy.filters.http.cors}.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.filters.http.cors import CORS, CORSPolicy, combinePolicies
from meshproxy.testing import Answer, FilterHarness
from meshproxy.testing.harness import Result
from tests.filters.http.support import FakeStream, compiled, makeContext, makeFilter, routed

A = "https://a.example"
POLICY = {
    "allow_origin_string_match": [{"exact": A}],
    "allow_methods": "GET, PUT",
    "allow_headers": "x-one",
    "expose_headers": "x-two",
    "max_age": "600",
    "allow_credentials": True,
}
POLICY_TEXT = json.dumps(POLICY)
OFF = {"default_value": {"numerator": 0}}
ON = {"default_value": {"numerator": 100}}


def preflight(harness: FilterHarness, origin: str = A, *more: tuple[str, str]) -> Result:
    """
    Send a preflight request.
    """
    fields = [("origin", origin), ("access-control-request-method", "PUT"), *more]
    return harness.request("OPTIONS", "/", fields)


def told(result: Result) -> dict[str, str]:
    """
    What a response says to a browser.
    """
    fields = [(name.decode(), value.decode()) for name, value in result.headers.fields()]
    return {name.removeprefix("access-control-"): value for name, value in fields if name.startswith("access-control-")}


class CORSTests(SynchronousTestCase):
    """
    L{CORS} in a proxy.
    """

    def harness(self, **changes: Any) -> FilterHarness:
        """
        A filter before a route with a policy.
        """
        return FilterHarness(CORS, routeConfig={**POLICY, **changes})

    def counted(self, harness: FilterHarness) -> tuple[int, int]:
        """
        How many origins were valid, and how many not.
        """
        stat = harness.proxy.stat
        return stat("http.test.cors.origin_valid"), stat("http.test.cors.origin_invalid")

    def test_simple(self) -> None:
        """
        A response tells the browser that its page may read it; what the upstream said of it is replaced.
        """
        harness = self.harness()
        harness.upstream.answer(Answer(200, headers=[("access-control-allow-origin", "https://up.example")]))
        result = harness.request(headers=[("origin", A)])
        self.assertEqual(told(result), {"allow-origin": A, "allow-credentials": "true", "expose-headers": "x-two"})
        self.assertEqual(self.counted(harness), (1, 0))

    def test_preflight(self) -> None:
        """
        A preflight request is answered here, and the upstream does not see it.
        """
        harness = self.harness()
        result = preflight(harness)
        self.assertEqual((result.status, result.body, result.upstreamRequest), (200, b"", None))
        self.assertEqual(result.log["details"], "cors_response")
        expected = {"allow-origin": A, "allow-credentials": "true", "allow-methods": "GET, PUT"}
        expected |= {"allow-headers": "x-one", "max-age": "600", "expose-headers": "x-two"}
        self.assertEqual(told(result), expected)

    def test_asterisk(self) -> None:
        """
        With asterisks the browser is told what it asked for.
        """
        harness = self.harness(allow_methods="*", allow_headers="*", allow_origin_string_match=[{"exact": "*"}])
        found = told(preflight(harness, "null", ("access-control-request-headers", "x-a")))
        self.assertEqual(
            (found["allow-origin"], found["allow-methods"], found["allow-headers"]), ("null", "PUT", "x-a")
        )

    def test_otherOrigin(self) -> None:
        """
        Another origin is told nothing, and its preflight request goes on.
        """
        harness = self.harness()
        for result in (harness.request(headers=[("origin", "https://b.example")]), preflight(harness, "https://b")):
            self.assertEqual(told(result), {})
            self.assertIsNotNone(result.upstreamRequest)
        self.assertEqual(self.counted(harness), (0, 2))

    def test_keepPreflights(self) -> None:
        """
        Unless such preflight requests are not to go on: then the answer leaves the origin out.
        """
        result = preflight(self.harness(forward_not_matching_preflights=False), "https://b.example")
        self.assertEqual((result.status, result.upstreamRequest), (200, None))
        self.assertNotIn("allow-origin", told(result))

    def test_privateNetwork(self) -> None:
        """
        A private network is opened only where the browser asks and the policy allows it.
        """
        asks = ("access-control-request-private-network", "true")
        allowing = self.harness(allow_private_network_access=True)
        self.assertEqual(told(preflight(allowing, A, asks)).get("allow-private-network"), "true")
        self.assertNotIn("allow-private-network", told(preflight(allowing)))
        self.assertNotIn("allow-private-network", told(preflight(self.harness(), A, asks)))

    def test_shadow(self) -> None:
        """
        A policy that is only tried counts, and changes nothing; one that is off does not even count.
        """
        harness = self.harness(filter_enabled=OFF, shadow_enabled=ON)
        self.assertEqual(told(harness.request(headers=[("origin", A)])), {})
        self.assertEqual(self.counted(harness), (1, 0))
        harness = self.harness(filter_enabled=OFF)
        self.assertEqual(told(harness.request(headers=[("origin", A)])), {})
        self.assertEqual(self.counted(harness), (0, 0))

    def test_noPolicy(self) -> None:
        """
        Without a policy, or without an origin, nothing happens.
        """
        self.assertEqual(told(FilterHarness(CORS).request(headers=[("origin", A)])), {})
        self.assertEqual(told(self.harness().request()), {})

    def test_forgets(self) -> None:
        """
        A stream is forgotten when it ends, whether it had a response or not.
        """
        context = makeContext()
        stream = FakeStream([(b"origin", A.encode())], route=routed(compiled(CORS, POLICY_TEXT, context, True)))
        cors = makeFilter(CORS, context=context)
        cors.requestHeaders(stream, stream.requestHeaders, True)
        self.assertIn(stream, cors._readers)
        cors.streamEnded(stream)
        self.assertEqual(cors._readers, {})


class LevelTests(SynchronousTestCase):
    """
    L{combinePolicies}.
    """

    def policy(self, text: str) -> CORSPolicy:
        """
        A compiled policy.
        """
        policy = compiled(CORS, text, makeContext(), route=True)
        assert isinstance(policy, CORSPolicy)
        return policy

    def test_open(self) -> None:
        """
        What the route leaves open, the virtual host says; C{false} is said.
        """
        host = self.policy("{allow_origin_string_match: [{exact: a}], max_age: '1', allow_credentials: true}")
        route = self.policy("{max_age: '2', allow_credentials: false}")
        both = combinePolicies((host, route))
        self.assertEqual((both.maxAge, both.credentials, both.allows(b"a")), (b"2", False, True))

    def test_enabled(self) -> None:
        """
        Whether it is on, the most specific level says alone.
        """
        off = self.policy("{filter_enabled: {default_value: {numerator: 0}}}")
        on = self.policy("{}")
        self.assertTrue(combinePolicies((off, on)).isEnabled())
        self.assertFalse(combinePolicies((on, off)).isEnabled())
