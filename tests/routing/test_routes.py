# -*- test-case-name: tests.routing.test_routes -*-
"""
Tests for L{meshproxy.routing.routes}: levels around a route, and weighted clusters. Orders were recorded from Envoy
1.40.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.headers import HeaderMap, ResponseHeaders
from meshproxy.routing.context import RouteContext
from meshproxy.routing.route import Route, RouteKind
from meshproxy.routing.table import RouteTable
from tests.routing.support import forward, request, streamOf, tableOf


def everyWay(value: str) -> list[dict[str, Any]]:
    """
    A header that is appended, one that is overwritten, and one that is added where it is absent.
    """
    return [
        {"header": {"key": "lv", "value": value}},
        {"header": {"key": "ov", "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"},
        {"header": {"key": "ab", "value": value}, "append_action": "ADD_IF_ABSENT"},
    ]


def level(value: str) -> dict[str, Any]:
    """
    The header mutations of one level.
    """
    return {"request_headers_to_add": everyWay(value), "response_headers_to_add": everyWay(value)}


def levels(action: dict[str, Any], **fields: Any) -> RouteTable:
    """
    A table of one route with mutations on every level.
    """
    route = {"match": {"prefix": "/"}, **action, **level("rt")}
    host = {"name": "v", "domains": ["*"], "routes": [route], **level("vh")}
    return tableOf(virtual_hosts=[host], **level("rc"), **fields)


def found(table: RouteTable, path: str = "/") -> Route:
    """
    The route of a request.
    """
    route = table.match(request(path), streamOf(request(path)))
    assert route is not None
    return route


def outcome(headers: HeaderMap) -> tuple[str, str, str]:
    """
    The three headers of L{everyWay}.
    """
    lv, ov, ab = (b",".join(headers.values(name)).decode() for name in (b"lv", b"ov", b"ab"))
    return lv, ov, ab


WEIGHTED = {"route": {"weighted_clusters": {"clusters": [{"name": "c", "weight": 1, **level("w")}]}}}


class LevelTests(SynchronousTestCase):
    """
    Every level has its say, in Envoy's order.
    """

    def test_order(self) -> None:
        """
        Route, virtual host, route configuration; the other way round with C{most_specific_header_mutations_wins};
        the weighted cluster before all of them, either way.
        """
        for action, wins, expected in (
            ({"route": {"cluster": "c"}}, False, ("rt,vh,rc", "rc", "rt")),
            ({"route": {"cluster": "c"}}, True, ("rc,vh,rt", "rt", "rc")),
            (WEIGHTED, False, ("w,rt,vh,rc", "rc", "w")),
            (WEIGHTED, True, ("w,rc,vh,rt", "rt", "w")),
        ):
            route = found(levels(action, most_specific_header_mutations_wins=wins))
            asked, answered = request(), ResponseHeaders(200)
            assert route.finalizeRequestHeaders is not None and route.finalizeResponseHeaders is not None
            route.finalizeRequestHeaders(asked, streamOf(asked))
            route.finalizeResponseHeaders(answered, streamOf(asked))
            self.assertEqual(outcome(asked), expected)
            self.assertEqual(outcome(answered), expected)

    def test_ownAnswers(self) -> None:
        """
        Responses of the proxy itself get the response headers too.
        """
        for action in ({"direct_response": {"status": 201}}, {"redirect": {"host_redirect": "q"}}):
            route = found(levels(action))
            answered = ResponseHeaders(200)
            assert route.finalizeResponseHeaders is not None
            route.finalizeResponseHeaders(answered, streamOf(request()))
            self.assertEqual(outcome(answered), ("rt,vh,rc", "rc", "rt"))
            self.assertIsNone(route.finalizeRequestHeaders)

    def test_weightedHost(self) -> None:
        """
        The host of a weighted cluster comes before that of the route, which has the last word.
        """
        clusters = {"clusters": [{"name": "c", "weight": 1, "host_rewrite_literal": "wlit"}]}
        for fields, host, original in (({}, b"wlit", None), ({"host_rewrite_literal": "rlit"}, b"rlit", b"wlit")):
            route = found(tableOf({"match": {"prefix": "/"}, "route": {"weighted_clusters": clusters, **fields}}))
            asked = request()
            assert route.finalizeRequestHeaders is not None
            route.finalizeRequestHeaders(asked, streamOf(asked))
            self.assertEqual((asked.authority, asked.get(b"x-envoy-original-host")), (host, original))

    def test_retryPolicy(self) -> None:
        """
        The policy of the virtual host is for the routes that have none.
        """
        routes = [forward("/own", retry_policy={"retry_on": "5xx", "num_retries": 7}), forward()]
        hosts = [{"name": "v", "domains": ["*"], "routes": routes, "retry_policy": {"num_retries": 3}}]
        table = tableOf(virtual_hosts=hosts)
        for path, expected in (("/own", 7), ("/", 3)):
            action = found(table, path).action
            assert action is not None and action.retryPolicy is not None
            self.assertEqual(action.retryPolicy.numRetries, expected)

    def test_rateLimits(self) -> None:
        """
        A route has its rate limits and its virtual host's, and says whether those count beside them.
        """

        def limits(value: str) -> list[dict[str, Any]]:
            return [{"actions": [{"generic_key": {"descriptor_value": value}}, {"source_cluster": {}}]}]

        routes = [forward(rate_limits=limits("own"), include_vh_rate_limits=True), forward()]
        host = {"name": "h", "domains": ["*"], "routes": routes, "rate_limits": limits("host")}
        first, second = tableOf(virtual_hosts=[host], context=RouteContext(serviceCluster="me")).routes
        assert first.action is not None and second.action is not None
        stream = streamOf(request())
        entries = [[("generic_key", name), ("source_cluster", "me")] for name in ("own", "host")]
        made = [first.action.rateLimits, first.virtualHost.rateLimits]
        self.assertEqual([list(of.descriptors(stream)[0]) for of in made], entries)
        self.assertTrue(first.action.includeVirtualHostRateLimits)
        self.assertFalse(second.action.rateLimits)
        self.assertFalse(second.action.includeVirtualHostRateLimits)

    def test_bodyLimit(self) -> None:
        """
        The limit of the route, or that of the virtual host, under either name.
        """
        routes = [{**forward("/own"), "request_body_buffer_limit": 7}, forward()]
        hosts = [{"name": "v", "domains": ["*"], "routes": routes, "per_request_buffer_limit_bytes": 9}]
        table = tableOf(virtual_hosts=hosts)
        self.assertEqual([found(table, path).requestBodyBufferLimit for path in ("/own", "/")], [7, 9])

    def test_virtualHost(self) -> None:
        """
        What a virtual host says stands on it.
        """
        host = {
            "name": "v",
            "domains": ["*"],
            "routes": [forward()],
            "include_request_attempt_count": True,
            "include_attempt_count_in_response": True,
            "virtual_clusters": [
                {"name": "get", "headers": [{"name": ":method", "string_match": {"exact": "GET"}}]},
                {"name": "rest"},
            ],
        }
        made = found(tableOf(virtual_hosts=[host])).virtualHost
        self.assertTrue(made.includeRequestAttemptCount and made.includeAttemptCountInResponse)
        self.assertFalse(made.includeIsTimeoutRetryHeader)
        for method, expected in (("GET", ["get", "rest"]), ("POST", ["rest"])):
            asked = request(method=method)
            self.assertEqual([each.name for each in made.virtualClusters if each.matches(asked)], expected)

    def test_facts(self) -> None:
        """
        Metadata and the prefix of statistics are kept on the route.
        """
        route = found(
            tableOf(
                {
                    **forward(),
                    "metadata": {"filter_metadata": {"f": {"k": ["v", 1]}}},
                    "stat_prefix": "pre",
                }
            )
        )
        self.assertEqual(route.metadata, {"f": {"k": ["v", 1.0]}})
        self.assertEqual(route.statPrefix, "pre")

    def test_otherActions(self) -> None:
        """
        A route may forward nothing, or leave it to filters.
        """
        for action in ("non_forwarding_action", "filter_action"):
            route = found(tableOf({"match": {"prefix": "/"}, action: {}}))
            self.assertIs(route.kind, RouteKind.NON_FORWARDING)
