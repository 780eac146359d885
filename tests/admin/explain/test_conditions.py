"""
Tests for L{meshproxy.admin.explain.conditions}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.accesslog.streaminfo import StreamInfo
from meshproxy.admin.explain.conditions import ABSENT, Condition, conditionsOf, hostOf
from meshproxy.config import Section
from meshproxy.headers import RequestHeaders
from meshproxy.routing.context import RouteContext

TABLE = "envoy.config.route.v3.RouteConfiguration"


def request(path: str = "/a/b?x=1&y=2", method: str = "GET", **fields: str) -> RequestHeaders:
    """
    A head.
    """
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    return RequestHeaders(method.encode(), path.encode(), b"example.com:81", pairs)


def judged(match: dict[str, Any], headers: RequestHeaders, **table: Any) -> list[Condition]:
    """
    The conditions of a match.
    """
    routes = [{"match": match, "direct_response": {"status": 200}}]
    section = Section.of(TABLE, {"virtual_hosts": [{"name": "h", "domains": ["*"], "routes": routes}], **table})
    route = section.children("virtual_hosts")[0].children("routes")[0]
    return conditionsOf(route, section, RouteContext(), headers, StreamInfo())


class ConditionTests(SynchronousTestCase):
    """
    L{conditionsOf}.
    """

    def test_paths(self) -> None:
        """
        Each way to match a path is judged by itself.
        """
        for match, holds in (
            ({"prefix": "/a"}, True),
            ({"prefix": "/b"}, False),
            ({"prefix": "/A", "case_sensitive": False}, True),
            ({"prefix": "/A"}, False),
            ({"path": "/a/b"}, True),
            ({"path": "/a"}, False),
            ({"safe_regex": {"regex": "/[a-z]/b"}}, True),
            ({"safe_regex": {"regex": "/[a-z]"}}, False),
            ({"path_separated_prefix": "/a"}, True),
            ({"path_separated_prefix": "/ab"}, False),
            ({"connect_matcher": {}}, False),
        ):
            (condition,) = judged(match, request())
            self.assertEqual(
                (condition.what, condition.holds, condition.actual), ("path", holds, "/a/b?x=1&y=2"), match
            )

    def test_parameters(self) -> None:
        """
        C{ignore_path_parameters_in_path_matching} of the route configuration counts.
        """
        for ignores in (True, False):
            (condition,) = judged({"path": "/a"}, request("/a;p=1"), ignore_path_parameters_in_path_matching=ignores)
            self.assertEqual(condition.holds, ignores)

    def test_connect(self) -> None:
        """
        A tunnel has no path; it is told by its target, and its other conditions are judged all the same.
        """
        headers = [{"name": "x-a", "present_match": True}]
        path, header = judged({"connect_matcher": {}, "headers": headers}, request("", "CONNECT", x_a="1"))
        self.assertEqual((path.holds, header.holds, path.actual), (True, True, "CONNECT example.com:81"))

    def test_fields(self) -> None:
        """
        Headers and query parameters, each with what the request has.
        """
        match = {
            "prefix": "/",
            "headers": [
                {"name": "x-a", "string_match": {"exact": "1"}},
                {"name": "x-a", "string_match": {"prefix": "2"}},
                {"name": "x-none", "present_match": True},
                {"name": "x-none", "present_match": True, "invert_match": True},
                {"name": ":method", "string_match": {"exact": "GET"}},
            ],
            "query_parameters": [
                {"name": "x", "string_match": {"exact": "1"}},
                {"name": "y", "string_match": {"exact": "1"}},
                {"name": "z", "present_match": True},
            ],
        }
        found = judged(match, request(x_a="1"))[1:]
        self.assertEqual(
            [(condition.what, condition.actual, condition.holds) for condition in found],
            [
                ("header x-a", "1", True),
                ("header x-a", "1", False),
                ("header x-none", ABSENT, False),
                ("header x-none", ABSENT, True),
                ("header :method", "GET", True),
                ("query parameter x", "1", True),
                ("query parameter y", "2", False),
                ("query parameter z", ABSENT, False),
            ],
        )
        self.assertEqual(found[0].wanted, '{"string_match": {"exact": "1"}}')
        self.assertEqual(found[0].at, "virtual_hosts[0].routes[0].match.headers[0]")

    def test_cookies(self) -> None:
        """
        A cookie that differs, and one that is not there.
        """
        wants = {"string_match": {"exact": "1"}}
        match = {"prefix": "/", "cookies": [{"name": name, **wants} for name in ("a", "b", "c")]}
        found = judged(match, request(cookie='a=1; b="2"'))[1:]
        self.assertEqual(
            [(condition.what, condition.actual, condition.holds) for condition in found],
            [("cookie a", "1", True), ("cookie b", "2", False), ("cookie c", ABSENT, False)],
        )
        self.assertEqual(
            (found[1].wanted, found[1].at.rpartition(".")[2]), ('{"string_match": {"exact": "1"}}', "cookies[1]")
        )

    def test_others(self) -> None:
        """
        gRPC is told by the content type; a share by chance holds unless it is nothing.
        """
        (_, grpc) = judged({"prefix": "/", "grpc": {}}, request(content_type="text/plain"))
        self.assertEqual((grpc.actual, grpc.holds), ("text/plain", False))
        (_, grpc) = judged({"prefix": "/", "grpc": {}}, request(content_type="application/grpc"))
        self.assertTrue(grpc.holds)
        for numerator, holds in ((0, False), (50, True), (100, True)):
            share = {"default_value": {"numerator": numerator}}
            (_, chance) = judged({"prefix": "/", "runtime_fraction": share}, request())
            self.assertEqual((chance.what, chance.holds), ("chance", holds))


class HostTests(SynchronousTestCase):
    """
    L{hostOf}.
    """

    def chosen(self, authority: str, **table: Any) -> str | None:
        """
        The name of the virtual host, which has no route that would match.
        """
        domains = {"exact": ["a.example"], "suffix": ["*.a.example"], "port": ["b.example:81"], "rest": ["*"]}
        hosts = [{"name": name, "domains": listed} for name, listed in domains.items()]
        section = Section.of(TABLE, {"virtual_hosts": hosts, **table})
        headers = RequestHeaders(b"GET", b"/", authority.encode())
        found = hostOf(section, RouteContext(), headers, StreamInfo())
        return None if found is None else str(found.get("name"))

    def test_nearest(self) -> None:
        """
        As the routing chooses.
        """
        for authority, expected in (
            ("a.example", "exact"),
            ("x.a.example", "suffix"),
            ("b.example:81", "port"),
            ("a.example:81", "rest"),
        ):
            self.assertEqual(self.chosen(authority), expected)
        self.assertEqual(self.chosen("a.example:81", ignore_port_in_host_matching=True), "exact")

    def test_none(self) -> None:
        """
        There may be none.
        """
        section = Section.of(TABLE, {"virtual_hosts": [{"name": "x", "domains": ["x"]}]})
        headers = RequestHeaders(b"GET", b"/", b"y")
        self.assertIsNone(hostOf(section, RouteContext(), headers, StreamInfo()))
