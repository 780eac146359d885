# -*- test-case-name: tests.routing.test_redirects -*-
"""
Tests for L{meshproxy.routing.redirects}. The locations were recorded from Envoy 1.40.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.routing.redirects import compileDirectResponse
from meshproxy.routing.route import RouteKind
from tests.routing.support import errorsOf, request, routeConfiguration, section, streamOf, tableOf


def location(
    redirect: dict[str, Any],
    path: str = "/o",
    host: str = "h",
    scheme: str = "http",
    match: dict[str, Any] | None = None,
) -> tuple[int, str]:
    """
    What a redirecting route answers.
    """
    table = tableOf({"match": match or {"prefix": "/"}, "redirect": redirect})
    asked = request(path, host, scheme=scheme)
    route = table.match(asked, streamOf(asked))
    assert route is not None and route.redirect is not None and route.kind is RouteKind.REDIRECT
    return route.redirect.status, route.redirect.location(asked, streamOf(asked)).decode("ascii")


class LocationTests(SynchronousTestCase):
    """
    Redirects lead where Envoy's lead.
    """

    def test_fields(self) -> None:
        """
        Each field, with and without a query.
        """
        for redirect, plain, withQuery in (
            ({"https_redirect": True}, "https://h/o", "https://h/o?q=1"),
            ({"scheme_redirect": "foo"}, "foo://h/o", "foo://h/o?q=1"),
            ({"host_redirect": "new.com"}, "http://new.com/o", "http://new.com/o?q=1"),
            ({"port_redirect": 8443}, "http://h:8443/o", "http://h:8443/o?q=1"),
            ({"https_redirect": True, "port_redirect": 8443}, "https://h:8443/o", "https://h:8443/o?q=1"),
            ({"host_redirect": "new.com", "port_redirect": 81}, "http://new.com:81/o", "http://new.com:81/o?q=1"),
            ({"path_redirect": "/new"}, "http://h/new", "http://h/new?q=1"),
            ({"path_redirect": "/new?x=1"}, "http://h/new?x=1", "http://h/new?x=1"),
            ({"path_redirect": "new"}, "http://h/new", "http://h/new?q=1"),
            ({"path_rewrite": "/new/%REQ(:method)%"}, "http://h/new/GET", "http://h/new/GET?q=1"),
            ({"path_rewrite": "/new%PATH(WQ)%"}, "http://h/new/o", "http://h/new/o?q=1"),
            ({"path_rewrite": "/new", "strip_query": True}, "http://h/new", "http://h/new"),
            ({"path_rewrite": "/new?x=%REQ(x-n)%", "strip_query": True}, "http://h/new?x=", "http://h/new?x="),
            ({"path_rewrite": "%REQ(x-none)%", "strip_query": True}, "http://h/o", "http://h/o"),
            ({"strip_query": True, "host_redirect": "n"}, "http://n/o", "http://n/o"),
            ({"path_redirect": "/new", "strip_query": True}, "http://h/new", "http://h/new"),
            ({"path_redirect": "/new?x=1", "strip_query": True}, "http://h/new?x=1", "http://h/new?x=1"),
            ({"host_redirect": "x:1", "port_redirect": 2}, "http://x:1:2/o", "http://x:1:2/o?q=1"),
        ):
            self.assertEqual(location(redirect, "/o"), (301, plain), redirect)
            self.assertEqual(location(redirect, "/o?q=1"), (301, withQuery), redirect)

    def test_ports(self) -> None:
        """
        The port of the request stays, unless another one is named, or it was only that of the scheme that is left.
        """
        redirects: list[dict[str, Any]] = [{"https_redirect": True}, {"port_redirect": 99}, {"strip_query": True}]
        for host, scheme, expected in (
            ("p:443", "http", ("https://p:443/o", "http://p:99/o", "http://p:443/o")),
            ("p:443", "https", ("https://p:443/o", "https://p:99/o", "https://p:443/o")),
            ("p:80", "http", ("https://p/o", "http://p:99/o", "http://p:80/o")),
            ("p:80", "https", ("https://p:80/o", "https://p:99/o", "https://p:80/o")),
            ("p:8080", "http", ("https://p:8080/o", "http://p:99/o", "http://p:8080/o")),
            ("p", "http", ("https://p/o", "http://p:99/o", "http://p/o")),
            ("[::1]:80", "http", ("https://[::1]/o", "http://[::1]:99/o", "http://[::1]:80/o")),
            ("[::1]", "http", ("https://[::1]/o", "http://[::1]:99/o", "http://[::1]/o")),
        ):
            for redirect, where in zip(redirects, expected, strict=True):
                self.assertEqual(location(redirect, "/o", host, scheme)[1], where, (redirect, host, scheme))
        self.assertEqual(location({"scheme_redirect": "HTTP"}, "/o", "p:443", "https")[1], "HTTP://p/o")

    def test_rewrites(self) -> None:
        """
        C{prefix_rewrite} replaces what the route matched, whatever the kind of match; C{regex_rewrite} works on the
        path without its query.
        """
        for match, redirect, path, expected in (
            ({"prefix": "/old"}, {"prefix_rewrite": "/new"}, "/old", "/new"),
            ({"prefix": "/old"}, {"prefix_rewrite": "/new"}, "/older?x", "/newer?x"),
            ({"prefix": "/old"}, {"prefix_rewrite": "/new"}, "/old/a?x=/old", "/new/a?x=/old"),
            ({"path": "/exact"}, {"prefix_rewrite": "/ex2"}, "/exact?q", "/ex2?q"),
            ({"prefix": "/strip/"}, {"prefix_rewrite": "/"}, "/strip/a", "/a"),
            ({"prefix": "/empty"}, {"prefix_rewrite": ""}, "/empty/a", "/empty/a"),
            ({"path_separated_prefix": "/sep"}, {"prefix_rewrite": "/s2"}, "/sep", "/s2"),
            ({"path_separated_prefix": "/sep"}, {"prefix_rewrite": "/s2"}, "/sep/x?y", "/s2/x?y"),
            ({"safe_regex": {"regex": "/re/.*"}}, {"prefix_rewrite": "/whole"}, "/re/a/b?c", "/whole?c"),
            ({"prefix": "/CI", "case_sensitive": False}, {"prefix_rewrite": "/low"}, "/ci/x", "/low/x"),
            ({"prefix": "/noslash"}, {"prefix_rewrite": "x"}, "/noslash/a", "/x/a"),
            (
                {"prefix": "/rx"},
                {"regex_rewrite": {"pattern": {"regex": "^/rx/(.*)$"}, "substitution": r"/y/\1"}},
                "/rx/a?b",
                "/y/a?b",
            ),
            (
                {"prefix": "/nr"},
                {"regex_rewrite": {"pattern": {"regex": "zzz"}, "substitution": "q"}},
                "/nr/a?b",
                "/nr/a?b",
            ),
        ):
            self.assertEqual(location(redirect, path, match=match)[1], "http://h" + expected, (match, path))

    def test_rewriteWithStripping(self) -> None:
        """
        A rewritten path loses its query as any other.
        """
        redirect = {"prefix_rewrite": "/b", "strip_query": True}
        self.assertEqual(location(redirect, "/a?x", match={"prefix": "/a"})[1], "http://h/b")

    def test_status(self) -> None:
        """
        Each response code.
        """
        for code, status in (
            ("MOVED_PERMANENTLY", 301),
            ("FOUND", 302),
            ("SEE_OTHER", 303),
            ("TEMPORARY_REDIRECT", 307),
            ("PERMANENT_REDIRECT", 308),
        ):
            self.assertEqual(location({"response_code": code})[0], status)


class DirectResponseTests(SynchronousTestCase):
    """
    L{compileDirectResponse} answers from the configuration.
    """

    def test_bodies(self) -> None:
        """
        Every source of a body, and none.
        """
        path = self.mktemp()
        with open(path, "wb") as target:
            target.write(b"from a file")
        self.patch(__import__("os"), "environb", {b"BODY": b"from outside"})
        for source, expected in (
            ({"inline_string": "caf\u00e9"}, "caf\u00e9".encode()),
            ({"inline_bytes": "AAE="}, b"\x00\x01"),
            ({"filename": path}, b"from a file"),
            ({"environment_variable": "BODY"}, b"from outside"),
        ):
            made = compileDirectResponse(section("DirectResponseAction", status=201, body=source))
            self.assertEqual((made.status, made.body), (201, expected))
        self.assertEqual(compileDirectResponse(section("DirectResponseAction", status=404)).body, b"")

    def test_limit(self) -> None:
        """
        A body above C{max_direct_response_body_size_bytes} is refused; 4096 bytes unless it says otherwise.
        """
        route = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "x" * 5000}}}
        [(path, why)] = errorsOf(routeConfiguration(route))
        self.assertEqual(path, "virtual_hosts[0].routes[0].direct_response.body.inline_string")
        self.assertIn("5000 bytes; maximum is 4096", why)
        self.assertEqual(errorsOf(routeConfiguration(route, max_direct_response_body_size_bytes=5000)), [])

    def test_unreadable(self) -> None:
        """
        A file or a variable that is not there is refused at its place.
        """
        for source in ({"filename": self.mktemp()}, {"environment_variable": "NO_SUCH_VARIABLE_HERE"}):
            made = section("DirectResponseAction", status=200, body=source)
            self.assertEqual(compileDirectResponse(made).body, b"")
            self.assertEqual([error.path for error in made.report.errors], [f"body.{next(iter(source))}"])
