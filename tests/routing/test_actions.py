# -*- test-case-name: tests.routing.test_actions -*-
"""
Tests for L{meshproxy.routing.actions}.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.section import Section
from meshproxy.routing.context import RouteContext
from meshproxy.routing.route import RouteAction
from meshproxy.runtime import Runtime
from tests.routing.support import errorsOf, forward, request, routeConfiguration, streamOf, tableOf


def action(**fields: Any) -> RouteAction:
    """
    The action of a route.
    """
    route = tableOf(forward(**fields)).match(request(), streamOf(request()))
    assert route is not None and route.action is not None
    return route.action


def weighted(clusters: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    """
    A route with weighted clusters.
    """
    return {"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": clusters, **fields}}}


class RouteActionTests(SynchronousTestCase):
    """
    What a route does is read once.
    """

    def test_defaults(self) -> None:
        """
        Envoy's defaults.
        """
        made = action()
        self.assertEqual((made.timeout, made.idleTimeout, made.maxStreamDuration), (15.0, None, None))
        self.assertEqual((made.clusterNotFoundStatus, made.isHighPriority, made.retryPolicy), (503, False, None))
        self.assertEqual(made.timeouts, (15.0, 0.0))

    def test_fields(self) -> None:
        """
        Each field where it belongs.
        """
        made = action(
            timeout="0s",
            idle_timeout="3s",
            priority="HIGH",
            cluster_not_found_response_code="NOT_FOUND",
            max_stream_duration={"max_stream_duration": "9s", "grpc_timeout_header_max": "0s"},
            metadata_match={"filter_metadata": {"envoy.lb": {"v": "2"}, "other": {"x": 1}}},
            retry_policy={"retry_on": "5xx", "per_try_timeout": "2s"},
        )
        self.assertEqual((made.timeout, made.idleTimeout, made.maxStreamDuration), (0.0, 3.0, 9.0))
        self.assertEqual((made.grpcTimeoutHeaderMax, made.grpcTimeoutHeaderOffset), (0.0, 0.0))
        self.assertEqual((made.clusterNotFoundStatus, made.isHighPriority), (404, True))
        self.assertEqual(made.metadataMatch, {"v": "2"})
        self.assertEqual(made.timeouts, (0.0, 2.0))

    def test_clusterHeader(self) -> None:
        """
        The request names the cluster; only its first word counts, and none is none.
        """
        table = tableOf({"match": {"prefix": "/"}, "route": {"cluster_header": "X-C"}})
        for headers, expected in (({"x_c": "b"}, "b"), ({"x_c": ["nope", "b"]}, "nope"), ({}, "")):
            asked = request(**headers)
            route = table.match(asked, streamOf(asked))
            assert route is not None and route.action is not None
            self.assertEqual(route.action.selectCluster(asked, streamOf(asked)), expected)
        self.assertEqual(action().selectCluster(request(), streamOf(request())), "c")

    def test_upgrades(self) -> None:
        """
        Upgrades by lower-case name; CONNECT may end here; what contradicts itself is refused.
        """
        made = action(
            upgrade_configs=[
                {"upgrade_type": "WebSocket"},
                {"upgrade_type": "foo", "enabled": False},
                {"upgrade_type": "CONNECT", "connect_config": {"allow_post": True}},
            ]
        )
        self.assertEqual(made.upgrades, {"websocket": True, "foo": False, "connect": True})
        self.assertEqual((made.terminated, made.tunnelHeader), ((b"CONNECT", b"POST"), None))
        self.assertFalse(action(upgrade_configs=[{"upgrade_type": "CONNECT"}]).terminated)
        told = {"upgrade_type": "CONNECT", "connect_config": {"proxy_protocol_config": {"version": "V2"}}}
        made = action(upgrade_configs=[told])
        self.assertEqual(made.terminated, (b"CONNECT",))
        self.assertIsNotNone(made.tunnelHeader)
        for configs in (
            [{"upgrade_type": "websocket"}, {"upgrade_type": "WebSocket"}],
            [{"upgrade_type": "websocket"}, {"upgrade_type": "x", "connect_config": {}}],
        ):
            [(path, _)] = errorsOf(routeConfiguration(forward(upgrade_configs=configs)))
            self.assertTrue(path.startswith("virtual_hosts[0].routes[0].route.upgrade_configs[1]"), path)


class WeightedClusterTests(SynchronousTestCase):
    """
    Weighted clusters share the requests by their weights.
    """

    def test_shares(self) -> None:
        """
        Each part of all chances falls to its cluster; a weight of 0 gets none.
        """
        chances = iter([number / 100 for number in range(100)])
        clusters = [{"name": name, "weight": weight} for name, weight in (("a", 10), ("none", 0), ("b", 30), ("c", 60))]
        table = tableOf(weighted(clusters), context=RouteContext(random=lambda: next(chances)))
        chosen: Counter[str] = Counter()
        for _ in range(100):
            route = table.match(request(), streamOf(request()))
            assert route is not None and route.action is not None
            self.assertIsNone(route.choose)
            chosen[route.action.cluster] += 1
        self.assertEqual(chosen, {"a": 10, "b": 30, "c": 60})

    def test_byRuntime(self) -> None:
        """
        The runtime says the weights of the moment, of those too that have none; without any, there is no route.
        """
        runtime = Runtime()
        clusters = [{"name": "a", "weight": 1}, {"name": "b", "weight": 0}]
        table = tableOf(
            weighted(clusters, runtime_key_prefix="w", header_name="x-n"),
            context=RouteContext(runtime=runtime, random=lambda: 0.75),
        )
        for layer, number, expected in (
            ({}, "7", "a"),
            ({"w.b": 3}, "7", "b"),
            ({"w.b": 3}, "0", "a"),
            ({"w.b": 3}, "none", "b"),
            ({"w.a": 0, "w.b": 3}, "0", "b"),
            ({"w.a": 0}, "7", None),
        ):
            runtime.update(
                Section.of(
                    "envoy.config.bootstrap.v3.LayeredRuntime", {"layers": [{"name": "l", "static_layer": layer}]}
                )
            )
            asked = request(x_n=number)
            route = table.match(asked, streamOf(asked))
            self.assertEqual(route and route.action and route.action.cluster, expected, (layer, number))

    def test_others(self) -> None:
        """
        Retries can go on to another cluster where the policy says so, and else not.
        """
        clusters = [{"name": "a", "weight": 1}, {"name": "b", "weight": 2}]
        for refreshes, expected in ((True, [("a", 1), ("b", 2)]), (False, [])):
            policy = {"retry_on": "5xx", "refresh_cluster_on_retry": refreshes}
            made = forward(weighted_clusters={"clusters": clusters}, retry_policy=policy, cluster=None)
            route = tableOf(made).match(request(), streamOf(request()))
            assert route is not None and route.action is not None
            others = [(other.action.cluster, weight) for other, weight in route.action.others if other.action]
            self.assertEqual(others, expected)

    def test_byHeader(self) -> None:
        """
        Recorded from Envoy 1.40: a number in a header decides; what is no unsigned number, or comes twice, does not.
        """
        clusters = [{"name": "a", "weight": 10}, {"name": "z", "weight": 0}, {"name": "b", "weight": 20}]
        clusters.append({"cluster_header": "x-c", "weight": 5})
        table = tableOf(weighted(clusters, header_name="X-Rand"), context=RouteContext(random=lambda: 0.99))
        for values, expected in (
            ("0", "a"),
            ("9", "a"),
            ("10", "b"),
            ("29", "b"),
            ("30", "own"),
            ("34", "own"),
            ("35", "a"),
            ("18446744073709551615", "b"),
            ("18446744073709551616", "own"),
            ("abc", "own"),
            ("-1", "own"),
            (["0", "0"], "own"),
        ):
            asked = request(x_rand=values, x_c="own")
            route = table.match(asked, streamOf(asked))
            assert route is not None and route.action is not None
            self.assertEqual(route.action.selectCluster(asked, streamOf(asked)), expected, values)

    def test_labels(self) -> None:
        """
        The labels of a weighted cluster are added to those of its route.
        """
        entry = {"name": "a", "weight": 1, "metadata_match": {"filter_metadata": {"envoy.lb": {"v": "2"}}}}
        made = weighted([entry])
        made["route"]["metadata_match"] = {"filter_metadata": {"envoy.lb": {"v": "1", "w": "1"}}}
        route = tableOf(made).match(request(), streamOf(request()))
        assert route is not None and route.action is not None
        self.assertEqual(route.action.metadataMatch, {"v": "2", "w": "1"})

    def test_refused(self) -> None:
        """
        No weight at all, a cluster without or with two ways to be named, and one that does not exist.
        """
        context = RouteContext(clusterNames=["a"])
        at = "virtual_hosts[0].routes[0].route.weighted_clusters.clusters"
        for clusters, where in (
            ([{"name": "a", "weight": 0}], at),
            ([{"weight": 1}], at + "[0]"),
            ([{"name": "a", "cluster_header": "x", "weight": 1}], at + "[0]"),
            ([{"name": "a", "weight": 1}, {"name": "x", "weight": 1}], at + "[1].name"),
        ):
            self.assertEqual([path for path, _ in errorsOf(routeConfiguration(weighted(clusters)), context)], [where])
