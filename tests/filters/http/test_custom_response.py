"""
L{meshproxy.filters.http.custom_response}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.pool import typeURL
from meshproxy.errors import ConfigErrors
from meshproxy.filters.http.custom_response import CustomResponse
from meshproxy.testing import Answer, FilterHarness, Request

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
        self.assertEqual(result.log["details"], "")

    def test_details(self) -> None:
        """
        Logs tell what the policy says of why, or what they would have told.
        """
        for fields, details in (
            ({"response_code_details": "sorry_page"}, "sorry_page"),
            ({"preserve_response_code_details": True}, "via_upstream"),
        ):
            self.assertEqual(self.harness(body={"inline_string": "x"}, **fields).request().log["details"], details)
        error = self.assertRaises(ConfigErrors, self.harness, preserve_response_code_details=False)
        self.assertIn("value must equal true", str(error))

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

    def test_unknown(self) -> None:
        """
        Another kind of policy is refused.
        """
        with self.assertRaises(ConfigErrors) as caught:
            FilterHarness(CustomResponse, config("google.protobuf.Struct"))
        self.assertIn("not implemented by meshproxy", str(caught.exception))


class RedirectedResponseTests(SynchronousTestCase):
    """
    Answers that are those of another route.
    """

    def harness(self, before: Sequence[Mapping[str, Any]] = (), **fields: Any) -> FilterHarness:
        """
        A filter before a service that answers 503, but pages for C{/pages}.
        """
        broken = Answer(503, b"broken", headers=[("x-up", "1")])

        def upstream(request: Request) -> Answer:
            return Answer(200, b"page") if request.path.startswith(b"/pages") else broken

        return FilterHarness(CustomResponse, config(REDIRECT, **fields), upstream=upstream, before=before)

    def test_uri(self) -> None:
        """
        The page of a URL takes the place of the response; the status stays.
        """
        harness = self.harness(uri="http://pages.example/pages/503?a=b#part")
        result = harness.request("GET", "/x")
        self.assertEqual((result.status, result.body, result.header("x-up")), (503, b"page", None))
        asked = [(request.path, request.host) for request in harness.upstream.requests]
        self.assertEqual(asked, [(b"/x", b"example.com"), (b"/pages/503?a=b", b"pages.example")])

    def test_action(self) -> None:
        """
        It may be told by what of the URL is to change.
        """
        harness = self.harness(redirect_action={"path_redirect": "/pages"})
        self.assertEqual(harness.request("GET", "/x?q=1").body, b"page")
        self.assertEqual(harness.upstream.requests[1].path, b"/pages?q=1")

    def test_changes(self) -> None:
        """
        Status and fields of the answer, and what is asked with.
        """
        harness = self.harness(
            uri="http://example.com/pages",
            status_code=418,
            request_headers_to_add=[{"header": {"key": "x-why", "value": "%RESPONSE_CODE%"}}],
            response_headers_to_add=[{"header": {"key": "x-page", "value": "1"}}],
        )
        result = harness.request()
        self.assertEqual((result.status, result.header("x-page")), (418, "1"))
        self.assertEqual(harness.upstream.requests[1].header("x-why"), "503")

    def test_post(self) -> None:
        """
        A page is got without the body that the request had.
        """
        harness = self.harness(uri="http://example.com/pages")
        self.assertEqual(harness.request("POST", "/x", body=b"hello").body, b"page")
        page = harness.upstream.requests[1]
        self.assertEqual((page.method, page.body, page.header("content-length")), (b"GET", b"", None))

    def test_head(self) -> None:
        """
        HEAD gets the head of the page alone, or what follows would be taken for the next response.
        """
        harness = self.harness(uri="http://example.com/pages")
        client = harness.client()
        first = client.request("HEAD", "/x")
        self.assertEqual((first.status, first.header("content-length"), first.body), (503, "4", b""))
        self.assertEqual(client.request("GET", "/pages").body, b"page")
        self.assertEqual([request.method for request in harness.upstream.requests], [b"HEAD", b"HEAD", b"GET"])

    def test_early(self) -> None:
        """
        While the request is still coming, the response is the answer: what is left of it would be taken for another
        request.
        """
        answer = Answer(503, b"broken", early=True)
        harness = FilterHarness(CustomResponse, config(REDIRECT, uri="http://example.com/pages"), upstream=answer)
        client = harness.client()
        client.expect(b"POST")
        client.write(b"POST /x HTTP/1.1\r\nhost: example.com\r\ncontent-length: 10\r\n\r\nhalf")
        self.assertEqual(client.response().body, b"broken")
        self.assertEqual(harness.proxy.stat("http.test.downstream_rq_total"), 1)

    def test_once(self) -> None:
        """
        A page that is as bad as the response is the answer; nothing goes round and round.
        """
        harness = self.harness(uri="http://example.com/again")
        result = harness.request()
        self.assertEqual((result.status, result.body, len(harness.upstream.requests)), (503, b"broken", 2))

    def test_noRoute(self) -> None:
        """
        Where no route leads, the response goes on.
        """
        virtualHost = {"domains": ["example.com"]}
        harness = FilterHarness(
            CustomResponse,
            config(REDIRECT, uri="http://nowhere.example/"),
            upstream=Answer(503, b"broken"),
            virtualHost=virtualHost,
        )
        self.assertEqual(harness.request().body, b"broken")
        self.assertEqual(harness.proxy.stat("http.test.custom_response_redirect_no_route"), 1)

    def test_badURL(self) -> None:
        """
        What is no URL once it is put together leaves the response alone.
        """
        harness = self.harness(redirect_action={"path_redirect": "/pages x"})
        self.assertEqual(harness.request().body, b"broken")
        self.assertEqual(harness.proxy.stat("http.test.custom_response_invalid_uri"), 1)

    def test_notReached(self) -> None:
        """
        A request that a filter before this one answered never came here, and is not asked again.
        """
        fault = {
            "name": "envoy.filters.http.fault",
            "typed_config": {
                "@type": typeURL("envoy.extensions.filters.http.fault.v3.HTTPFault"),
                "abort": {"http_status": 503, "percentage": {"numerator": 100}},
            },
        }
        harness = self.harness(before=[fault], uri="http://example.com/pages")
        self.assertEqual(harness.request().body, b"fault filter abort")
        self.assertEqual(harness.upstream.requests, [])

    def test_paused(self) -> None:
        """
        Where a filter wanted no more of the request, the connection is read again for the next one.
        """
        service = {"uri": "http://authz/", "cluster": "authz", "timeout": "1s"}
        guard = {
            "name": "guard",
            "typed_config": {
                "@type": typeURL("envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"),
                "http_service": {"server_uri": service},
                "with_request_body": {"max_request_bytes": 10, "allow_partial_message": True},
            },
        }
        harness = FilterHarness(
            CustomResponse,
            config(REDIRECT, "403", uri="http://example.com/pages"),
            upstream=Answer(200, b"page"),
            after=[guard],
            clusters=["authz"],
        )
        harness.backends["authz"].default = lambda request: Answer(200 if request.path == b"/pages" else 403)
        client = harness.client()
        self.assertEqual(client.request("POST", "/x", body=b"x" * 2000).status, 403)
        self.assertEqual(client.request("GET", "/pages").body, b"page")

    def test_notModified(self) -> None:
        """
        A page that the client is said to have has no body, and says so.
        """
        answer = Answer(raw=b"HTTP/1.1 304 Not Modified\r\ncontent-length: 6\r\n\r\n")
        harness = FilterHarness(
            CustomResponse,
            config(REDIRECT, uri="http://example.com/pages"),
            upstream=lambda request: answer if request.path == b"/pages" else Answer(503, b"broken"),
        )
        result = harness.request()
        self.assertEqual((result.status, result.body, result.header("content-length")), (503, b"", "0"))

    def test_refused(self) -> None:
        """
        What leads nowhere is refused.
        """
        for fields, why in (
            ({"uri": "/pages"}, "'/pages' is no absolute URL of http or https"),
            ({"redirect_action": {"path_redirect": "/a#b"}}, "a fragment is not for the wire"),
            (
                {"redirect_action": {"https_redirect": True}},
                "at least one of host_redirect and path_redirect is needed",
            ),
            ({"redirect_action": {"host_redirect": "a", "prefix_rewrite": "/"}}, "not for custom responses"),
        ):
            with self.assertRaises(ConfigErrors) as caught:
                FilterHarness(CustomResponse, config(REDIRECT, **fields))
            self.assertIn(why, str(caught.exception))
