"""
L{meshproxy.filters.http.custom_response}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.pool import typeURL
from meshproxy.errors import ConfigErrors
from meshproxy.filters.http.custom_response import CustomResponse
from meshproxy.testing import Answer, FilterHarness

LOCAL = "envoy.extensions.http.custom_response.local_response_policy.v3.LocalResponsePolicy"
REDIRECT = "envoy.extensions.http.custom_response.redirect_policy.v3.RedirectPolicy"


def config(message: str = LOCAL, status: str = "503", **fields: Any) -> dict[str, Any]:
    """
    A configuration with a policy for a status.
    """
    policy = {"action": {"name": "a", "typed_config": {"@type": typeURL(message), **fields}}}
    read = {"@type": typeURL("envoy.type.matcher.v3.HttpResponseStatusCodeMatchInput")}
    tree = {"input": {"name": "i", "typed_config": read}, "exact_match_map": {"map": {status: policy}}}
    return {"custom_response_matcher": {"matcher_tree": tree}}


class CustomResponseTests(SynchronousTestCase):
    """
    L{CustomResponse} in a proxy.
    """

    def harness(self, route: dict[str, Any] | None = None, **fields: Any) -> FilterHarness:
        """
        A filter before a service that answers 503.
        """
        answer = Answer(503, b"broken", headers=[("x-up", "1"), ("content-type", "text/html")])
        return FilterHarness(CustomResponse, config(**fields), route, upstream=answer)

    def test_body(self) -> None:
        """
        The client gets another body and status; nothing of the response is left.
        """
        result = self.harness(body={"inline_string": "sorry"}, status_code=200).request()
        self.assertEqual((result.status, result.body, result.header("x-up")), (200, b"sorry", None))
        self.assertEqual((result.header("content-type"), result.header("content-length")), ("text/plain", "5"))
        self.assertEqual(result.log["details"], "custom_response")

    def test_format(self) -> None:
        """
        The body may be made of what is known, and so may more fields.
        """
        result = self.harness(
            body={"inline_string": "why"},
            body_format={"text_format_source": {"inline_string": "%LOCAL_REPLY_BODY% %REQ(:PATH)% %RESP(X-UP)%"}},
            response_headers_to_add=[{"header": {"key": "x-at", "value": "%REQ(:AUTHORITY)%"}}],
        ).request("GET", "/p")
        self.assertEqual((result.status, result.body, result.header("x-at")), (503, b"why /p 1", "example.com"))

    def test_others(self) -> None:
        """
        What no policy is for passes as it is.
        """
        harness = self.harness(status="404")
        self.assertEqual(harness.request().body, b"broken")
        self.assertEqual(FilterHarness(CustomResponse, upstream=Answer(503, b"x")).request().body, b"x")

    def test_levels(self) -> None:
        """
        What a route has no policy for, the filter may have one for.
        """
        route = config(body={"inline_string": "routed"})
        self.assertEqual(self.harness(route, body={"inline_string": "own"}).request().body, b"routed")
        route = config(status="404", body={"inline_string": "routed"})
        self.assertEqual(self.harness(route, body={"inline_string": "own"}).request().body, b"own")

    def test_long(self) -> None:
        """
        A body that is still to come is not waited for.
        """
        harness = self.harness(body={"inline_string": "sorry"})
        harness.upstream.answer(Answer(raw=b"HTTP/1.1 503 Busy\r\ncontent-length: 1000000\r\n\r\nsome"))
        self.assertEqual(harness.request().body, b"sorry")

    def test_head(self) -> None:
        """
        HEAD gets the head alone.
        """
        result = self.harness(body={"inline_string": "sorry"}).request("HEAD")
        self.assertEqual((result.body, result.header("content-length")), (b"", "5"))

    def test_redirect(self) -> None:
        """
        A policy that asks elsewhere is refused.
        """
        with self.assertRaises(ConfigErrors) as caught:
            FilterHarness(CustomResponse, config(REDIRECT, uri="http://a.example/"))
        self.assertIn("RedirectPolicy is not implemented by meshproxy", str(caught.exception))
