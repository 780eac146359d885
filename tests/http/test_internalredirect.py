# -*- test-case-name: tests.http.test_internalredirect -*-
"""
L{meshproxy.http.internalredirect}: redirects that are followed here. What a location leads to is compared with Envoy in
C{tests.conformance}.
"""

from __future__ import annotations

from typing import Any

from meshproxy.testing import Answer
from tests.http.support import ProxyCase, recorder, scripted


def moved(where: str = "http://example.com/b", status: int = 302, **more: Any) -> Answer:
    """
    A redirect.
    """
    return Answer(status, headers={"location": where, "content-length": "0"}, **more)


class RedirectTests(ProxyCase):
    """
    A route whose redirects are followed.
    """

    def follow(self, *filters: Any, policy: dict[str, Any] | None = None, **more: Any) -> None:
        """
        Start.
        """
        route = {"internal_redirect_policy": policy or {}, **more.pop("route", {})}
        self.start(*filters, route=route, **more)

    def test_followed(self) -> None:
        """
        The client sees the last response alone; both streams are logged and counted, the upstream sees two requests.
        """
        self.follow()
        self.backend.answer(moved(), Answer(200, b"there"))
        response = self.proxy.request(path="/a")
        self.assertEqual((response.status, response.body), (200, b"there"))
        self.assertEqual([request.path for request in self.backend.requests], [b"/a", b"/b"])
        self.assertEqual(self.backend.last.headers.get(b"x-envoy-original-url"), b"http://example.com/a")
        self.assertEqual(self.proxy.accessLog, ["302 internal_redirect -", "200 via_upstream -"])
        self.assertEqual(self.clusterStat("upstream_internal_redirect_succeeded_total"), 1)
        self.assertEqual(self.stat("downstream_rq_total"), 2)
        self.assertQuiet()

    def test_filters(self) -> None:
        """
        The request passes the filters again, and the redirect none of them; each sees the end of both streams.
        """
        log: list[Any] = []
        self.follow(recorder(log))
        self.backend.answer(moved(), Answer(200, b"x"))
        self.proxy.request(path="/a")
        begin, end = "requestHeaders.", "streamEnded"
        self.assertEqual(log, [begin, end, begin, "responseHeaders", "responseData x.", end])

    def test_filterState(self) -> None:
        """
        Filter state outlives it, what filters noted does not.
        """
        seen: list[Any] = []

        def note(stream: Any, headers: Any, end: bool) -> None:
            seen.append((dict(stream.filterState), dict(stream.dynamicMetadata)))
            stream.filterState["mine"] = 1
            stream.dynamicMetadata["mine"] = {"a": 1}

        self.follow(scripted(requestHeaders=note))
        self.backend.answer(moved(), Answer(200))
        self.proxy.request(path="/a")
        self.assertEqual(seen, [({}, {}), ({"mine": 1, "num_internal_redirects": 1}, {})])

    def test_body(self) -> None:
        """
        A body goes along, in pieces or with trailers, whenever it came before the redirect.
        """
        for trailers in ({}, {"x-sum": "1"}):
            self.follow(manager=self.trailers(), cluster={"http_protocol_options": {"enable_trailers": True}})
            self.backend.answer(moved(status=302), Answer(200))
            self.assertEqual(self.proxy.request("POST", "/a", body=b"abc", trailers=trailers).status, 200)
            one, other = self.backend.requests
            self.assertEqual((one.body, one.trailers), (other.body, other.trailers))
            self.assertQuiet()

    def test_seeOther(self) -> None:
        """
        After 303 the other resource is only retrieved.
        """
        self.follow(policy={"redirect_response_codes": [303]})
        self.backend.answer(moved(status=303), Answer(200))
        self.proxy.request("POST", "/a", body=b"abc")
        self.assertEqual((self.backend.last.method, self.backend.last.body), (b"GET", b""))
        self.assertIsNone(self.backend.last.headers.get(b"content-length"))

    def test_notFollowed(self) -> None:
        """
        What cannot be followed is the answer, and counted by its reason; the head is as it was.
        """
        for where, reason in (
            ("/b", "bad_location"),
            ("", "bad_location"),
            ("http://a b/", "bad_location"),
            ("https://example.com/b", "unsafe_scheme"),
        ):
            self.follow()
            self.backend.answer(moved(where))
            self.assertEqual(self.proxy.request(path="/a").status, 302)
            self.assertEqual(self.stat(f"passthrough_internal_redirect_{reason}"), 1, where)
            self.assertEqual(self.clusterStat("upstream_internal_redirect_failed_total"), 1)
            self.assertQuiet()

    def test_tooMany(self) -> None:
        """
        A loop ends at the limit.
        """
        self.follow(policy={"max_internal_redirects": 3})
        self.backend.answer(*[moved()] * 9)
        self.assertEqual(self.proxy.request(path="/a").status, 302)
        self.assertEqual(len(self.backend.requests), 4)
        self.assertEqual(self.stat("passthrough_internal_redirect_too_many_redirects"), 1)
        self.assertQuiet()

    def test_noRoute(self) -> None:
        """
        Nor does one that leads nowhere; the route is the former again.
        """
        action = {"cluster": "backend", "internal_redirect_policy": {"response_headers_to_copy": ["x-copy"]}}
        adds = [{"header": {"key": "x-answer", "value": "%REQ(:PATH)% %REQ(X-COPY)%"}}]
        self.start(routes=[{"match": {"prefix": "/a"}, "route": action, "response_headers_to_add": adds}])
        self.backend.answer(moved("http://example.com/nothing"))
        response = self.proxy.request(path="/a", headers={"x-copy": "kept"})
        self.assertEqual((response.status, response.headers.get(b"x-answer")), (302, b"/a kept"))
        self.assertEqual(self.stat("passthrough_internal_redirect_no_route"), 1)

    def test_credentials(self) -> None:
        """
        They stay behind when the host changes, and go along else, whatever its port.
        """
        given = {"authorization": "a", "cookie": "b", "proxy-authorization": "c", "x": "d"}
        for where, kept in (("http://other.example/b", [b"x"]), ("http://Example.com:99/b", [*map(str.encode, given)])):
            self.follow()
            self.backend.answer(moved(where), Answer(200))
            self.proxy.request(path="/a", headers=given)
            found = [name for name in map(str.encode, given) if self.backend.last.headers.get(name) is not None]
            self.assertEqual(sorted(found), sorted(kept))

    def test_clientLeaves(self) -> None:
        """
        A client that leaves while a redirect is followed leaves nothing behind.
        """
        self.follow()
        self.backend.answer(moved(), Answer.hang())
        client = self.proxy.client()
        client.write(b"GET /a HTTP/1.1\r\nhost: example.com\r\n\r\n")
        self.proxy.settle()
        self.assertEqual(len(self.backend.requests), 2)
        client.close()
        self.proxy.settle()
        self.assertQuiet()

    def test_timeouts(self) -> None:
        """
        The stream that follows has its own time-out.
        """
        self.follow(route={"timeout": "2s"})
        self.backend.answer(moved(delay=1.5), Answer(200, b"ok", delay=1.5))
        self.assertEqual(self.proxy.request(path="/a").status, 200)
        self.backend.answer(moved(), Answer.hang())
        self.assertEqual(self.proxy.request(path="/a").status, 504)
        self.assertQuiet()

    def test_responseBody(self) -> None:
        """
        A redirect with a body is not read to its end; its connection is given up.
        """
        self.follow()
        self.backend.answer(Answer(302, b"moved", {"location": "http://example.com/b"}), Answer(200, b"x"))
        self.assertEqual(self.proxy.request(path="/a").status, 200)
        self.assertEqual(self.clusterStat("upstream_cx_total"), 2)
        self.assertQuiet()
