# -*- test-case-name: tests.routing.test_table -*-
"""
Tests for L{meshproxy.routing.table}, L{meshproxy.routing.route} and L{meshproxy.routing.context}.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.routing.context import RouteContext
from meshproxy.routing.route import Route, RouteKind
from meshproxy.routing.table import RouteTable
from tests.routing.support import ask, errorsOf, forward, request, routeConfiguration, streamOf, tableOf


def matched(table: RouteTable, path: str = "/", host: str = "h", **headers: Any) -> Route:
    """
    The route of a request, which there must be.
    """
    asked = request(path, host, **headers)
    route = table.match(asked, streamOf(asked))
    assert route is not None
    return route


class RouteTableTests(SynchronousTestCase):
    """
    A compiled table finds the route that Envoy finds.
    """

    def test_firstMatchWins(self) -> None:
        """
        The order of the configuration counts, not which prefix is longer.
        """
        table = tableOf(forward("/a"), forward("/a/b"), forward("/"))
        self.assertEqual([ask(table, path) for path in ("/a/b", "/a", "/b")], [0, 0, 2])

    def test_headersDecide(self) -> None:
        """
        Of the routes that a path leaves, the first whose headers match is taken.
        """
        on = {"prefix": "/", "headers": [{"name": "x-v", "string_match": {"exact": "2"}}]}
        table = tableOf({"match": on, "route": {"cluster": "two"}}, forward())
        self.assertEqual([ask(table, x_v="2"), ask(table, x_v="1"), ask(table)], [0, 1, 1])

    def test_prefixesAlone(self) -> None:
        """
        Where prefixes and headers alone decide, the query is not cut off; the outcome is that of the general way, which
        a route with an exact path asks for.
        """
        headers = {"headers": [{"name": "x-v", "string_match": {"exact": "2"}}]}
        prefixes = ["/a/b", "/a", "/a!", "/a/", "/b/c/d", "/b", "/a/bc", "/a~"]
        routes: list[Any] = []
        for prefix in prefixes:
            routes += [{"match": {"prefix": prefix, **headers}, "route": {"cluster": "x"}}, forward(prefix)]
        quick, general = tableOf(*routes), tableOf(*routes, {"match": {"path": "/never"}, "route": {"cluster": "x"}})
        ends = ["", "?", "?/a/b", "/?x", "!?a", "c", "/b?/c/d", ";p?q", "~", "/b/c/d/e?f=/a", "%3f?"]
        for path in [prefix + end for prefix in ("/", "/a", "/a/b", "/b", "/b/c/d", "/c") for end in ends]:
            for value in ("1", "2"):
                self.assertEqual(ask(quick, path, x_v=value), ask(general, path, x_v=value), path)

    def test_noRoute(self) -> None:
        """
        Without a route or a virtual host there is nothing.
        """
        self.assertIsNone(ask(tableOf(forward("/a")), "/b"))
        self.assertIsNone(ask(tableOf()))
        hosts = [{"name": "a", "domains": ["a.com"], "routes": [forward()]}]
        self.assertIsNone(ask(tableOf(virtual_hosts=hosts), host="b.com"))

    def test_virtualHosts(self) -> None:
        """
        The authority chooses the virtual host; a virtual host without a fitting route falls back to no other.
        """
        hosts = [
            {"name": "a", "domains": ["a.com", "*.a.com"], "routes": [forward("/only")]},
            {"name": "all", "domains": ["*"], "routes": [forward()]},
        ]
        table = tableOf(virtual_hosts=hosts)
        self.assertEqual(matched(table, "/only", "A.com").virtualHost.name, "a")
        self.assertEqual(matched(table, "/only", "x.a.com").virtualHost.name, "a")
        self.assertEqual(matched(table, "/", "a.com:80").virtualHost.name, "all")
        self.assertIsNone(ask(table, "/", "a.com"))
        portless = tableOf(virtual_hosts=hosts, ignore_port_in_host_matching=True)
        self.assertEqual(matched(portless, "/only", "a.com:80").virtualHost.name, "a")

    def test_duplicateDomains(self) -> None:
        """
        The same domain twice is refused where the second one stands, in any case of its letters.
        """
        hosts = [{"name": "a", "domains": ["a.com"]}, {"name": "b", "domains": ["b.com", "A.COM"]}]
        [(path, why)] = errorsOf(routeConfiguration(virtual_hosts=hosts))
        self.assertEqual(path, "virtual_hosts[1].domains[1]")
        self.assertIn("only unique values for domains", why)
        stars = [{"name": "a", "domains": ["*"]}, {"name": "b", "domains": ["*"]}]
        [(path, why)] = errorsOf(routeConfiguration(virtual_hosts=stars))
        self.assertIn("only a single wildcard domain", why)

    def test_shortcut(self) -> None:
        """
        A first route for every path is taken for every path, and for nothing else.
        """
        for prefix in ("/", ""):
            table = tableOf(forward(prefix), {"match": {"connect_matcher": {}}, "route": {"cluster": "c"}})
            self.assertEqual(ask(table, "/x?y"), 0)
            self.assertEqual(ask(table, "", method="CONNECT"), 1)
        self.assertIsNone(ask(tableOf(forward("/")), "*"))

    def test_connect(self) -> None:
        """
        CONNECT without a path is for C{connect_matcher} alone, and that for CONNECT alone.
        """
        connect = {"match": {"connect_matcher": {}}, "route": {"cluster": "c"}}
        table = tableOf(connect, forward("/"))
        self.assertEqual(ask(table, "", method="CONNECT"), 0)
        self.assertEqual(ask(table, "/", method="GET"), 1)
        self.assertIsNone(ask(tableOf(forward("")), "", method="CONNECT"))

    def test_requireTLS(self) -> None:
        """
        C{ALL} sends every cleartext request to https; C{EXTERNAL_ONLY} lets internal ones pass.
        """
        for requirement, internalPasses in (("ALL", False), ("EXTERNAL_ONLY", True)):
            hosts = [{"name": "a", "domains": ["*"], "require_tls": requirement, "routes": [forward("/a")]}]
            table = tableOf(virtual_hosts=hosts)
            route = matched(table, "/none?x=1", "foo:80")
            assert route.redirect is not None
            asked = request("/none?x=1", "foo:80")
            self.assertEqual(route.redirect.location(asked, streamOf(asked)), b"https://foo:80/none?x=1")
            self.assertEqual((route.kind, route.redirect.status), (RouteKind.REDIRECT, 301))
            self.assertIs(matched(table, "/a", scheme="https").kind, RouteKind.ROUTE)
            self.assertIsNone(ask(table, "/none", scheme="https"))
            internal = matched(table, "/a", x_envoy_internal="true")
            self.assertEqual(internal.kind is RouteKind.ROUTE, internalPasses)

    def test_attributes(self) -> None:
        """
        A route knows its name, its place and its virtual host, for logs and explanations.
        """
        table = tableOf(forward("/a"), {"name": "second", **forward()})
        route = matched(table)
        self.assertEqual((route.name, route.path, route.order), ("second", "virtual_hosts[0].routes[1]", 1))
        self.assertEqual(route.virtualHost.name, "all")
        self.assertEqual([each.order for each in table.routes], [0, 1])
        self.assertRaises(AttributeError, setattr, route, "name", "other")

    def test_tenThousandRoutes(self) -> None:
        """
        With ten thousand routes in a virtual host, whether by path or by prefix, the last one is found in at most
        twice the time that it takes with ten (with some room for a busy machine).
        """
        for kind in ("path", "prefix"):
            few, many = (
                tableOf(*({"match": {kind: f"/p{number}/"}, "route": {"cluster": "c"}} for number in range(count)))
                for count in (10, 10_000)
            )
            self.assertLess(self._best(many, "/p9999/"), 3 * self._best(few, "/p9/"))

    def _best(self, table: RouteTable, path: str) -> float:
        asked = request(path)
        info = streamOf(asked)
        best = 1.0
        for _ in range(20):
            start = perf_counter()
            for _ in range(200):
                table.match(asked, info)
            best = min(best, perf_counter() - start)
        return best

    def test_unknownCluster(self) -> None:
        """
        A cluster that does not exist is refused in a static configuration, with one of a near name, and left to the
        request where routes come by RDS, unless C{validate_clusters} says otherwise.
        """
        made = routeConfiguration(forward(cluster="nope"))
        static = RouteContext(clusterNames=["c", "note"])
        [(path, why)] = errorsOf(made, static)
        self.assertEqual(path, "virtual_hosts[0].routes[0].route.cluster")
        self.assertEqual(why, "unknown cluster 'nope'; did you mean note?")
        dynamic = RouteContext(clusterNames=(), validateClusters=False)
        self.assertEqual(errorsOf(routeConfiguration(forward()), dynamic), [])
        self.assertEqual(len(errorsOf(routeConfiguration(forward(), validate_clusters=True), dynamic)), 1)
        self.assertEqual(errorsOf(routeConfiguration(forward(cluster="x"), validate_clusters=False), static), [])
