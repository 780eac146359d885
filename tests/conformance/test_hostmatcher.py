"""
Virtual hosts whose routes stand in a tree.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.conformance.bootstrap import Manager
from tests.conformance.case import Case, get
from tests.conformance.comparison import Comparison, compared

_TYPE = "type.googleapis.com/envoy."


def _input(header: str) -> str:
    kind = "'@type': " + _TYPE + "type.matcher.v3.HttpRequestHeaderMatchInput"
    return "{name: i, typed_config: {%s, header_name: '%s'}}" % (kind, header)


def _leaf(name: str, match: str = "prefix: /") -> str:
    route = "name: %s, match: {%s}, route: {cluster: backend}" % (name, match)
    return "{action: {name: a, typed_config: {'@type': %sconfig.route.v3.Route, %s}}}" % (_TYPE, route)


def _leaves(*routes: tuple[str, str]) -> str:
    listed = ", ".join("{name: %s, match: {%s}, route: {cluster: backend}}" % each for each in routes)
    return "{action: {name: a, typed_config: {'@type': %sconfig.route.v3.RouteList, routes: [%s]}}}" % (_TYPE, listed)


def _host(tree: str) -> Manager:
    return Manager(hosts="[{name: h, domains: ['*'], matcher: {%s}}]" % tree)


LISTENERS = {
    "exact": _host(
        "matcher_tree: {input: %s, exact_match_map: {map: {a: %s, b: %s}}}"
        % (_input("x-key"), _leaf("a"), _leaves(("b1", "path: /one"), ("b2", "prefix: /tw")))
    ),
    "prefix": _host(
        "matcher_tree: {input: %s, prefix_match_map: {map: {/: %s, /long: %s}}}, on_no_match: %s"
        % (_input(":path"), _leaf("short"), _leaf("long", "path: /long/x"), _leaf("none"))
    ),
    "listed": _host(
        "matcher_list: {matchers: ["
        "{predicate: {single_predicate: {input: %s, value_match: {prefix: ab}}}, on_match: %s},"
        " {predicate: {not_matcher: {single_predicate: {input: %s, value_match: {exact: x}}}}, on_match: %s}]},"
        " on_no_match: %s" % (_input("x-key"), _leaf("ab"), _input("x-key"), _leaf("notX"), _leaf("x"))
    ),
}

CASES = [
    Case(f"tree_{listener}_{number}", f"{path} with {fields}.", get(path, *fields), listener=listener)
    for listener, number, path, *fields in (
        ("exact", 0, "/", "x-key: a"),
        ("exact", 1, "/one", "x-key: b"),
        ("exact", 2, "/two", "x-key: b"),
        ("exact", 3, "/none", "x-key: b"),
        ("exact", 4, "/", "x-key: c"),
        ("exact", 5, "/"),
        ("prefix", 0, "/short"),
        ("prefix", 1, "/long/x"),
        ("prefix", 2, "/long/y"),
        ("listed", 0, "/", "x-key: abc"),
        ("listed", 1, "/", "x-key: x"),
        ("listed", 2, "/", "x-key: y"),
        ("listed", 3, "/"),
    )
]


@compared(Comparison(LISTENERS, CASES))
class HostMatcherTests(SynchronousTestCase):
    """
    Trees.
    """
