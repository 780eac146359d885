# -*- test-case-name: tests.routing.test_rewrites -*-
"""
Tests for L{meshproxy.routing.rewrites}. The outcomes were recorded from Envoy 1.40.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.headers import RequestHeaders
from tests.routing.support import errorsOf, forward, request, routeConfiguration, streamOf, tableOf


def finalized(route: dict[str, Any], asked: RequestHeaders) -> RequestHeaders:
    """
    A request as it goes upstream.
    """
    info = streamOf(asked)
    found = tableOf(route).match(asked, info)
    assert found is not None
    if found.finalizeRequestHeaders is not None:
        found.finalizeRequestHeaders(asked, info)
    return asked


def regex(pattern: str, substitution: str) -> dict[str, Any]:
    """
    A RegexMatchAndSubstitute.
    """
    return {"pattern": {"regex": pattern}, "substitution": substitution}


class PathRewriteTests(SynchronousTestCase):
    """
    Paths are rewritten as by Envoy.
    """

    def test_rewritten(self) -> None:
        """
        Each rewrite with each kind of match; the query stays, and the former path is kept for logs.
        """
        for match, action, path, expected in (
            ({"prefix": "/old/"}, {"prefix_rewrite": "/"}, "/old/a?x", "/a?x"),
            ({"prefix": "/old/"}, {"prefix_rewrite": "/"}, "/old/", "/"),
            ({"prefix": "/a"}, {"prefix_rewrite": "/b"}, "/a", "/b"),
            ({"prefix": "/a"}, {"prefix_rewrite": "/b"}, "/ab?c", "/bb?c"),
            ({"path": "/ex"}, {"prefix_rewrite": "/ey"}, "/ex?q", "/ey?q"),
            ({"safe_regex": {"regex": "/re/.*"}}, {"prefix_rewrite": "/whole"}, "/re/x/y?q", "/whole?q"),
            ({"path_separated_prefix": "/sep"}, {"prefix_rewrite": "/s2"}, "/sep", "/s2"),
            ({"path_separated_prefix": "/sep"}, {"prefix_rewrite": "/s2"}, "/sep/z?q", "/s2/z?q"),
            ({"prefix": "/noslash"}, {"prefix_rewrite": "x"}, "/noslash/a", "x/a"),
            ({"prefix": "/CI", "case_sensitive": False}, {"prefix_rewrite": "/low"}, "/ci/X?y", "/low/X?y"),
            ({"prefix": "/"}, {"regex_rewrite": regex("x", "yy")}, "/rx/x?x=x", "/ryy/yy?x=x"),
            (
                {"prefix": "/"},
                {"regex_rewrite": regex("^/grp/([^/]+)(/.*)?$", r"\2/n/\1")},
                "/grp/foo/bar?x=1",
                "/bar/n/foo?x=1",
            ),
            ({"prefix": "/"}, {"regex_rewrite": regex("^/grp/([^/]+)(/.*)?$", r"\2/n/\1")}, "/grp/foo", "/n/foo"),
            ({"prefix": "/"}, {"regex_rewrite": regex("e*", "-")}, "/eme/e?e", "-/-m-/-?e"),
            ({"prefix": "/"}, {"regex_rewrite": regex(r"\?.*", "Q")}, "/par/a?b", "/par/a?b"),
            ({"prefix": "/"}, {"path_rewrite": "/z%REQ(x-to)%"}, "/pfmt/q?a=b", "/zT?a=b"),
        ):
            headers = finalized({"match": match, "route": {"cluster": "c", **action}}, request(path, x_to="T"))
            self.assertEqual(headers.path.decode(), expected, (match, action, path))
            self.assertEqual(headers.get(b"x-envoy-original-path"), path.encode())

    def test_lieAboutOriginalPath(self) -> None:
        """
        What a client says about the original path does not survive a rewrite.
        """
        headers = finalized(forward("/a", prefix_rewrite="/b"), request("/a", x_envoy_original_path=["/x", "/y"]))
        self.assertEqual(headers.values(b"x-envoy-original-path"), [b"/a"])

    def test_mutationsComeFirst(self) -> None:
        """
        Header mutations see the path that was asked for.
        """
        route = forward("/a", prefix_rewrite="/b")
        route["request_headers_to_add"] = [{"header": {"key": "p", "value": "%REQ(:path)%"}}]
        self.assertEqual(finalized(route, request("/a")).get(b"p"), b"/a")

    def test_nothing(self) -> None:
        """
        A route that rewrites nothing has nothing to call.
        """
        found = tableOf(forward()).match(request(), streamOf(request()))
        assert found is not None
        self.assertIsNone(found.finalizeRequestHeaders)
        self.assertIsNone(found.finalizeResponseHeaders)

    def test_refused(self) -> None:
        """
        Two rewrites at once, and a substitution that names a group which is not there.
        """
        for action, field in (
            ({"prefix_rewrite": "/x", "regex_rewrite": regex("a", "b")}, "regex_rewrite"),
            ({"regex_rewrite": regex("a", r"\1")}, "regex_rewrite"),
            ({"regex_rewrite": regex("(", "")}, "regex_rewrite"),
            ({"path_rewrite_policy": {"name": "x"}}, "path_rewrite_policy"),
        ):
            [(path, _)] = errorsOf(routeConfiguration(forward(**action)))
            self.assertEqual(path, f"virtual_hosts[0].routes[0].route.{field}")


class HostRewriteTests(SynchronousTestCase):
    """
    Hosts are rewritten as by Envoy.
    """

    def test_rewritten(self) -> None:
        """
        Each way; where it gives nothing, the host stays.
        """
        for action, path, headers, expected in (
            ({"host_rewrite_literal": "new.host"}, "/", {}, "new.host"),
            ({"host_rewrite_header": "X-To"}, "/", {"x_to": "there"}, "there"),
            ({"host_rewrite_header": "x-to"}, "/", {"x_to": ["a", "b"]}, "a"),
            ({"host_rewrite_header": "x-to"}, "/", {}, "h"),
            ({"host_rewrite_path_regex": regex("^/rx/(.+)$", r"\1.svc")}, "/rx/foo?q", {}, "foo.svc"),
            ({"host_rewrite_path_regex": regex("^/rx/(.+)$", r"\1.svc")}, "/rx", {}, "/rx"),
            ({"host_rewrite": "%REQ(x-to)%.f"}, "/", {"x_to": "there"}, "there.f"),
            ({"host_rewrite": "%REQ(x-to)%.f"}, "/", {}, "-.f"),
        ):
            asked = finalized(forward(**action), request(path, **headers))
            self.assertEqual(asked.authority.decode(), expected, (action, path))
            original = b"h" if expected != "h" else None
            self.assertEqual(asked.get(b"x-envoy-original-host"), original)
            self.assertIsNone(asked.get(b"x-forwarded-host"))

    def test_forwardedHost(self) -> None:
        """
        C{append_x_forwarded_host} adds the former host, unless it stands last already.
        """
        for present, expected in (
            (None, "h"),
            ("n", "n,h"),
            ("h", "h"),
            ("a,h", "a,h"),
            ("a, h", "a, h,h"),
            ("h,a", "h,a,h"),
            ("h,", "h,"),
        ):
            action: dict[str, Any] = {"host_rewrite_literal": "n", "append_x_forwarded_host": True}
            headers = {} if present is None else {"x_forwarded_host": present}
            asked = finalized(forward(**action), request(**headers))
            self.assertEqual(asked.get(b"x-forwarded-host"), expected.encode(), present)

    def test_onlyWithRewrite(self) -> None:
        """
        Without a rewrite there is no former host to speak of; C{auto_host_rewrite} waits for the endpoint.
        """
        actions: list[dict[str, Any]] = [{}, {"auto_host_rewrite": True}]
        for action in actions:
            route = tableOf(forward(append_x_forwarded_host=True, **action)).match(request(), streamOf(request()))
            assert route is not None and route.action is not None
            self.assertIsNone(route.finalizeRequestHeaders)
            self.assertEqual(route.action.autoHostRewrite, bool(action))
            self.assertTrue(route.action.appendForwardedHost)

    def test_mutationsComeFirst(self) -> None:
        """
        A header that a mutation sets can name the host.
        """
        route = forward(host_rewrite_header="x-to")
        route["request_headers_to_add"] = [{"header": {"key": "x-to", "value": "mut"}, "append": False}]
        self.assertEqual(finalized(route, request()).authority, b"mut")
