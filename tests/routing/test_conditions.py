# -*- test-case-name: tests.routing.test_conditions -*-
"""
Tests for L{meshproxy.routing.conditions}.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.accesslog.streaminfo import ConnectionInfo
from meshproxy.routing.context import RouteContext
from meshproxy.runtime import Runtime
from tests.routing.support import ask, errorsOf, forward, request, routeConfiguration, streamOf, tableOf

MATCHES: list[dict[str, Any]] = [
    {"path": "/p"},
    {"path_separated_prefix": "/sep"},
    {"prefix": "/q?"},
    {"path": "/P2", "case_sensitive": False},
    {"safe_regex": {"regex": "/r/[0-9]+"}},
    {"prefix": "/Pre", "case_sensitive": False},
    {"prefix": "/pp"},
    {"path": "/pr?z"},
    {"path_separated_prefix": "/SC", "case_sensitive": False},
    {"safe_regex": {"regex": "/CR"}, "case_sensitive": False},
]

# Recorded from Envoy 1.40: the path, its route, and its route with ignore_path_parameters_in_path_matching.
RECORDED: list[tuple[str, int | None, int | None]] = [
    ("/p", 0, 0),
    ("/p?x", 0, 0),
    ("/p/", None, None),
    ("/sep", 1, 1),
    ("/sep/", 1, 1),
    ("/sep?x", 1, 1),
    ("/sepx", None, None),
    ("/sep/a?b", 1, 1),
    ("/q", None, None),
    ("/q?", None, None),
    ("/p2", 3, 3),
    ("/P2?y", 3, 3),
    ("/r/12", 4, 4),
    ("/r/12?x", 4, 4),
    ("/r/12a", None, None),
    ("/pre", 5, 5),
    ("/PREFIX", 5, 5),
    ("/pp;x", 6, 6),
    ("/p;x", None, 0),
    ("/sep;x", None, 1),
    ("/r/1;v=2", None, 4),
    ("/pr?z", None, None),
    ("/sc", 8, 8),
    ("/Sc/x", 8, 8),
    ("/cr", None, None),
    ("/CR", 9, 9),
]


def one(match: dict[str, Any]) -> dict[str, Any]:
    """
    A route with a match.
    """
    return {"match": match, "route": {"cluster": "c"}}


class PathTests(SynchronousTestCase):
    """
    The path decides as in Envoy.
    """

    def test_recorded(self) -> None:
        """
        Every kind of path, in one table whose index has to fold case, and alone, where it has not.
        """
        routes = [one(match) for match in MATCHES]
        tables = [tableOf(*routes), tableOf(*routes, ignore_path_parameters_in_path_matching=True)]
        alone = [tableOf(route) for route in routes]
        for path, plain, withoutParameters in RECORDED:
            self.assertEqual(ask(tables[0], path), plain, path)
            self.assertEqual(ask(tables[1], path), withoutParameters, path)
            hits = [number for number, table in enumerate(alone) if ask(table, path) is not None]
            self.assertEqual(hits[:1], [] if plain is None else [plain], path)

    def test_caseSensitiveBesideInsensitive(self) -> None:
        """
        One route that ignores case does not make the others ignore it.
        """
        table = tableOf(
            one({"prefix": "/ABC"}), one({"path": "/abc/X"}), one({"prefix": "/a", "case_sensitive": False})
        )
        for path, expected in (("/ABC/x", 0), ("/abc/X", 1), ("/abc/x", 2), ("/abC", 2)):
            self.assertEqual(ask(table, path), expected, path)

    def test_badRegex(self) -> None:
        """
        An expression that RE2 does not take is refused at its place.
        """
        [(path, why)] = errorsOf(routeConfiguration(one({"safe_regex": {"regex": "("}})))
        self.assertEqual(path, "virtual_hosts[0].routes[0].match.safe_regex.regex")
        self.assertIn("missing", why)


class OtherConditionTests(SynchronousTestCase):
    """
    What else a match can ask.
    """

    def test_query(self) -> None:
        """
        Query parameters, together with headers.
        """
        match = {
            "prefix": "/",
            "query_parameters": [{"name": "x", "string_match": {"exact": "1"}}],
            "headers": [{"name": "x-h", "present_match": True}],
        }
        table = tableOf(one(match), forward())
        self.assertEqual([ask(table, "/?x=1", x_h="a"), ask(table, "/?x=1"), ask(table, "/?x=2", x_h="a")], [0, 1, 1])

    def test_cookies(self) -> None:
        """
        All cookies have to match, the first of a name counts; a missing one matches nothing, so inverted always.
        Compared with Envoy 1.40.
        """
        both = [{"name": "c", "string_match": {"exact": "v"}}, {"name": "d", "string_match": {"prefix": ""}}]
        table = tableOf(one({"prefix": "/", "cookies": both}), forward())
        for line, expected in (
            ("c=v; d=", 0),
            ("d=1;c=v", 0),
            ('c="v"; d', 1),
            ('c="v"; d=x', 0),
            ("c=v", 1),
            ("c=w; c=v; d=1", 1),
            ("c=v ; d=1", 1),
        ):
            self.assertEqual(ask(table, cookie=line), expected, line)
        self.assertEqual(ask(table), 1)
        table = tableOf(one({"prefix": "/", "cookies": [{**both[0], "invert_match": True}]}), forward())
        self.assertEqual([ask(table), ask(table, cookie="c=w"), ask(table, cookie="c=v")], [0, 0, 1])

    def test_grpc(self) -> None:
        """
        Recorded from Envoy 1.40: which content types are gRPC.
        """
        table = tableOf(one({"prefix": "/", "grpc": {}}), forward())
        for kind, expected in (
            ("application/grpc", 0),
            ("application/grpc+proto", 0),
            ("application/grpc-web", 1),
            ("application/grpcfoo", 1),
            ("application/grpc; charset=x", 1),
            ("text/plain", 1),
        ):
            self.assertEqual(ask(table, content_type=kind), expected, kind)
        self.assertEqual(ask(table), 1)
        matcher = {"name": "x", "string_match": {"exact": "1"}}
        table = tableOf(one({"prefix": "/", "grpc": {}, "headers": [matcher]}), forward())
        for kind, value, expected in (
            ("application/grpc", "1", 0),
            ("application/grpc+proto", "1", 0),
            ("application/grpc", "2", 1),
            ("text/plain", "1", 1),
        ):
            self.assertEqual(ask(table, content_type=kind, x=value), expected, (kind, value))

    def test_runtimeFraction(self) -> None:
        """
        A part of the requests, by the runtime's chance; none and all are certain.
        """
        numbers = iter([0.09, 0.11])
        context = RouteContext(runtime=Runtime(random=lambda: next(numbers)))
        match = {"prefix": "/", "runtime_fraction": {"default_value": {"numerator": 10}}}
        table = tableOf(one(match), forward(), context=context)
        self.assertEqual([ask(table), ask(table)], [0, 1])
        for numerator, expected in ((0, 1), (100, 0)):
            match = {"prefix": "/", "runtime_fraction": {"default_value": {"numerator": numerator}}}
            self.assertEqual(ask(tableOf(one(match), forward(), context=context)), expected)

    def test_dynamicMetadata(self) -> None:
        """
        What filters noted before the route was looked for.
        """
        matcher = {"filter": "f", "path": [{"key": "k"}], "value": {"string_match": {"exact": "v"}}}
        table = tableOf(one({"prefix": "/", "dynamic_metadata": [matcher]}), forward())
        info = streamOf(request())
        noted: list[tuple[dict[str, dict[str, object]] | None, int]]
        noted = [(None, 1), ({"f": {"k": "v"}}, 0), ({"f": {"k": "w"}}, 1)]
        for metadata, expected in noted:
            info.dynamicMetadata = metadata
            route = table.match(request(), info)
            assert route is not None
            self.assertEqual(route.order, expected)

    def test_parametersOfSegments(self) -> None:
        """
        Parameters may be ignored in each segment, not in the last one alone.
        """
        table = tableOf(one({"path": "/a/b"}), one({"prefix": "/c/"}), ignore_path_parameters_in_path_matching=True)
        self.assertEqual([ask(table, path) for path in ("/a;x/b;y=z", "/c;x/d", "/c;x")], [0, 1, None])

    def test_filterState(self) -> None:
        """
        What filters left before the route was looked for.
        """
        matcher = {"key": "k", "string_match": {"exact": "v"}}
        table = tableOf(one({"prefix": "/", "filter_state": [matcher]}), forward())
        info = streamOf(request())
        states: list[tuple[dict[str, object] | None, int]] = [(None, 1), ({"k": "v"}, 0), ({"k": "w"}, 1)]
        for state, expected in states:
            info.filterState = state
            route = table.match(request(), info)
            assert route is not None
            self.assertEqual(route.order, expected)

    def test_tlsContext(self) -> None:
        """
        Whether the client presented a certificate, and whether it was found good; neither holds on cleartext.
        """
        wanted: list[dict[str, bool]] = [{"presented": True}, {"presented": False}, {"validated": True}]
        matches = [one({"prefix": "/", "tls_context": each}) for each in wanted]
        tables = [tableOf(each, forward()) for each in matches]
        facts: list[tuple[Any, list[int]]] = [
            (None, [1, 0, 1]),
            (SimpleNamespace(isPresented=True, isValidated=False), [0, 1, 1]),
            (SimpleNamespace(isPresented=True, isValidated=True), [0, 1, 0]),
        ]
        for tls, expected in facts:
            info = streamOf(request())
            info.connection = ConnectionInfo()
            info.connection.tls = tls
            routes = [table.match(request(), info) for table in tables]
            self.assertEqual([route and route.order for route in routes], expected)
        self.assertEqual(ask(tableOf(one({"prefix": "/", "tls_context": {}}))), 0)

    def test_notImplemented(self) -> None:
        """
        A kind of path that is not known here is refused, not ignored.
        """
        match = {"path_match_policy": {"name": "x"}}
        [(path, why)] = errorsOf(routeConfiguration(one(match)))
        self.assertEqual(path, "virtual_hosts[0].routes[0].match.path_match_policy")
