# -*- test-case-name: tests.controlplane.translate.test_routes -*-
"""
Tests for L{meshproxy.controlplane.translate.routes} and the modules that routes are made of. The whole of a route is in
the golden file C{routes}.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.model.routes import HTTPRetry
from meshproxy.controlplane.translate.mesh import MeshConfig, OutboundTrafficPolicy
from meshproxy.controlplane.translate.proxy import Interception
from tests.controlplane.translate.given import ROUTER, SIDECAR, codes, made, networking, service

A = service("a", "{name: http, port: 80}")
B = service("b", "{name: http, port: 80}, {name: http-b, port: 81}")
TO_A = "[{destination: {host: a}}]"


def virtual(http: str, name: str = "v", hosts: str = "[a]", more: str = "", **where: str) -> str:
    """
    A VirtualService.
    """
    return networking("VirtualService", name, f"hosts: {hosts}, http: [{http}]{more}", **where)


class RouteTests(SynchronousTestCase):
    """
    Routes of the mesh.
    """

    def routes(self, *texts: str, host: str = "a.shop.svc.cluster.local:80", **given: Any) -> list[Any]:
        """
        The routes of a virtual host for the port 80.
        """
        self.made = made(given.get("proxy", SIDECAR), A, B, *texts, mesh=given.get("mesh"))
        hosts = {one["name"]: one for one in self.made.routes["80"]["virtualHosts"]}
        found: list[Any] = hosts[host]["routes"]
        return found

    def one(self, http: str, **given: Any) -> Any:
        """
        The only route that a VirtualService makes.
        """
        (route,) = self.routes(virtual(http), **given)
        return route

    def test_default(self) -> None:
        """
        A service that nobody speaks of has one route, without a time-out, with careful retries.
        """
        (route,) = self.routes()
        self.assertEqual((route["name"], route["route"]["timeout"]), ("default", "0s"))
        self.assertEqual(route["route"]["retryPolicy"]["numRetries"], 2)
        self.assertEqual(route["route"]["cluster"], "outbound|80||a.shop.svc.cluster.local")

    def test_timeouts(self) -> None:
        """
        No time-out unless one is set: Envoy's 15 seconds are nobody's wish.
        """
        self.assertEqual(self.one(f"{{route: {TO_A}}}")["route"]["timeout"], "0s")
        self.assertEqual(self.one(f"{{route: {TO_A}, timeout: 250ms}}")["route"]["timeout"], "0.25s")

    def test_retries(self) -> None:
        """
        None for 0 attempts; statuses become statuses; the mesh has a default; a hash keeps its endpoint.
        """
        self.assertNotIn("retryPolicy", self.one(f"{{route: {TO_A}, retries: {{attempts: 0}}}}")["route"])
        policy = self.one(f"{{route: {TO_A}, retries: {{attempts: 1, retryOn: '503,504'}}}}")["route"]["retryPolicy"]
        self.assertEqual(policy["retryOn"], "retriable-status-codes")
        self.assertEqual(policy["retriableStatusCodes"], [503, 504])
        mesh = MeshConfig(defaultHttpRetryPolicy=HTTPRetry(attempts=7))
        self.assertEqual(self.one(f"{{route: {TO_A}}}", mesh=mesh)["route"]["retryPolicy"]["numRetries"], 7)
        rule = networking(
            "DestinationRule",
            "r",
            "host: a, trafficPolicy: {loadBalancer: {consistentHash: {httpQueryParameterName: q}}}",
        )
        (route,) = self.routes(rule)
        self.assertEqual(route["route"]["hashPolicy"], [{"queryParameter": {"name": "q"}}])
        self.assertNotIn("retryHostPredicate", route["route"]["retryPolicy"])

    def test_hashes(self) -> None:
        """
        What is hashed follows from the rule of each destination.
        """
        for text, expected in (
            ("httpHeaderName: x", {"header": {"headerName": "x"}}),
            ("useSourceIp: true", {"connectionProperties": {"sourceIp": True}}),
            ("httpCookie: {name: c, ttl: 5s}", {"cookie": {"name": "c", "ttl": "5s"}}),
        ):
            spec = f"host: a, trafficPolicy: {{loadBalancer: {{consistentHash: {{{text}}}}}}}"
            (route,) = self.routes(networking("DestinationRule", "r", spec))
            self.assertEqual(route["route"]["hashPolicy"], [expected])

    def test_weights(self) -> None:
        """
        Several destinations are weighted; those with nothing are none; a single one is a cluster.
        """
        (route,) = self.routes(
            virtual(
                "{route: [{destination: {host: a}, weight: 20}, "
                "{destination: {host: b, port: {number: 81}}, weight: 80}, "
                "{destination: {host: a, subset: x}, weight: 0}]}"
            )
        )
        clusters = route["route"]["weightedClusters"]["clusters"]
        self.assertEqual(
            [(one["name"], one["weight"]) for one in clusters],
            [("outbound|80||a.shop.svc.cluster.local", 20), ("outbound|81||b.shop.svc.cluster.local", 80)],
        )
        one = self.one("{route: [{destination: {host: a}, weight: 100}, {destination: {host: b}, weight: 0}]}")
        self.assertEqual(one["route"]["cluster"], "outbound|80||a.shop.svc.cluster.local")

    def test_ports(self) -> None:
        """
        A destination without a port means the only one, else that of the request.
        """
        single = service("c", "{name: http, port: 99}")
        (route,) = self.routes(single, virtual("{route: [{destination: {host: c}}]}"))
        self.assertEqual(route["route"]["cluster"], "outbound|99||c.shop.svc.cluster.local")
        (route,) = self.routes(virtual("{route: [{destination: {host: b}}]}"))
        self.assertEqual(route["route"]["cluster"], "outbound|80||b.shop.svc.cluster.local")

    def test_missing(self) -> None:
        """
        A host, a subset or a port that is not there leads to a cluster that is not there, and is told.
        """
        for text, cluster in (
            ("host: gone", "outbound|80||gone.shop.svc.cluster.local"),
            ("host: a, subset: v9", "outbound|80|v9|a.shop.svc.cluster.local"),
            ("host: a, port: {number: 9}", "outbound|9||a.shop.svc.cluster.local"),
        ):
            route = self.one(f"{{route: [{{destination: {{{text}}}}}]}}")
            self.assertEqual(route["route"]["cluster"], cluster)
            self.assertEqual(codes(self.made), [("VirtualService shop/v", "not-found")])
            self.assertNotIn(cluster, self.made.clusters)

    def test_selected(self) -> None:
        """
        Matches of other workloads, namespaces, ports and gateways are not this proxy's; if nothing is left, the
        service is called as if nothing were said.
        """
        for match in ("sourceLabels: {app: z}", "sourceNamespace: z", "port: 81", "gateways: [edge]"):
            (route,) = self.routes(virtual(f"{{match: [{{{match}}}], route: [{{destination: {{host: b}}}}]}}"))
            self.assertEqual(route["name"], "default", match)
        for match in ("sourceLabels: {app: a}", "sourceNamespace: shop", "port: 80", "gateways: [edge, mesh]"):
            (route,) = self.routes(virtual(f"{{match: [{{{match}}}], route: [{{destination: {{host: b}}}}]}}"))
            self.assertNotIn("name", route, match)

    def test_end(self) -> None:
        """
        What stands behind a route that takes everything is left out.
        """
        first = f"{{match: [{{uri: {{regex: '.*'}}}}], route: {TO_A}}}"
        self.assertEqual(len(self.routes(virtual(f"{first}, {{route: {TO_A}}}"))), 1)
        first = f"{{match: [{{uri: {{prefix: /}}, headers: {{x: {{exact: one}}}}}}], route: {TO_A}}}"
        self.assertEqual(len(self.routes(virtual(f"{first}, {{route: {TO_A}}}"))), 2)

    def test_mirrors(self) -> None:
        """
        All of it if no share is said; a share of 0 is none; the older name of the share counts too.
        """

        def shares(text: str) -> list[int]:
            route = self.one(f"{{route: {TO_A}, {text}}}")["route"]
            policies = route.get("requestMirrorPolicies", [])
            return [one["runtimeFraction"]["defaultValue"]["numerator"] for one in policies]

        self.assertEqual(shares("mirror: {host: b}"), [1000000])
        self.assertEqual(shares("mirror: {host: b}, mirrorPercent: 5"), [50000])
        self.assertEqual(shares("mirror: {host: b}, mirrorPercentage: {value: 0}"), [])
        self.assertEqual(
            shares("mirrors: [{destination: {host: b}}, {destination: {host: a}, percentage: {value: 1}}]"),
            [1000000, 10000],
        )

    def test_redirect(self) -> None:
        """
        A redirect to the port of the request says nothing where that is the usual one, and is a redirect still.
        """
        (route,) = self.routes(virtual("{redirect: {derivePort: FROM_REQUEST_PORT}}"))
        self.assertEqual(route["redirect"], {})

    def test_claims(self) -> None:
        """
        A match on a claim is one on what the token's verifier found, as it is or listed; it is no header, and does not
        hide what comes behind it.
        """
        gateway = networking(
            "Gateway",
            "edge",
            "selector: {istio: ingress}, servers: [{port: {number: 80, name: p, protocol: HTTP}, hosts: ['*']}]",
        )
        claims = "headers: {'@request.auth.claims[g][r.s]': {exact: b}, a: {exact: x}}"
        without = "withoutHeaders: {'@request.auth.claims.h': {prefix: c}, '@request.auth.claims.i': {}}"
        to = "route: [{destination: {host: %s, port: {number: 80}}}]"
        match = f"{{match: [{{{claims}, {without}}}], {to % 'b'}}}, {{{to % 'a'}}}"
        bound = virtual(match, more=", gateways: [edge]")
        result = made(ROUTER, A, B, gateway, bound)
        first, second = result.routes["http.80"]["virtualHosts"][0]["routes"]
        self.assertEqual([one["name"] for one in first["match"]["headers"]], ["a"])
        one, *others = first["match"]["dynamicMetadata"]
        self.assertEqual([part["key"] for part in one["path"]], ["payload", "g", "r.s"])
        (either, listed) = one["value"]["orMatch"]["valueMatchers"]
        self.assertEqual((either["stringMatch"], listed["listMatch"]["oneOf"]), ({"exact": "b"}, either))
        self.assertNotIn("invert", one)
        self.assertEqual([(other["path"][-1]["key"], other["invert"]) for other in others], [("h", True), ("i", True)])
        self.assertEqual(second["route"]["cluster"], "outbound|80||a.shop.svc.cluster.local")

    def test_hosts(self) -> None:
        """
        The host is rewritten in one way: by the rewrite, by a header of the route, by a header of the destination.
        """
        route = self.one(f"{{route: {TO_A}, rewrite: {{authority: x}}}}")
        self.assertEqual(route["route"]["hostRewriteLiteral"], "x")
        route = self.one(f"{{route: {TO_A}, headers: {{request: {{set: {{':authority': x}}}}}}}}")
        self.assertEqual(route["route"]["hostRewriteLiteral"], "x")
        self.assertNotIn("requestHeadersToAdd", route)
        route = self.one("{route: [{destination: {host: a}, headers: {request: {set: {Host: x}}}}]}")
        (cluster,) = route["route"]["weightedClusters"]["clusters"]
        self.assertEqual(cluster["hostRewriteLiteral"], "x")


class ConflictTests(SynchronousTestCase):
    """
    Two VirtualServices for one host.
    """

    def test_oldest(self) -> None:
        """
        The older one counts, and both are told.
        """
        old = virtual("{name: old, route: [{destination: {host: a}}]}", "old", created="2026-01-01T00:00:00Z")
        young = virtual("{name: young, route: [{destination: {host: a}}]}", "young", created="2026-02-01T00:00:00Z")
        result = made(SIDECAR, A, young, old)
        (route,) = result.routes["80"]["virtualHosts"][0]["routes"]
        self.assertEqual(route["name"], "old")
        expected = {("VirtualService shop/old", "conflict"), ("VirtualService shop/young", "conflict")}
        self.assertEqual(set(codes(result)), expected)
        for problem in result.problems:
            other = "young" if problem.resource.endswith("old") else "old"
            self.assertIn(f"shop/{other}", problem.message)

    def test_others(self) -> None:
        """
        One for another caller, and one that is not exported here, are no conflict.
        """
        own = virtual("{name: own, route: [{destination: {host: a}}]}", "own", created="2026-02-01T00:00:00Z")
        other = virtual(
            "{match: [{sourceLabels: {app: z}}], route: [{destination: {host: a}}]}",
            "other",
            created="2026-01-01T00:00:00Z",
        )
        hidden = networking(
            "VirtualService",
            "hidden",
            "hosts: [a.shop.svc.cluster.local], http: [{route: [{destination: {host: a}}]}], exportTo: ['.']",
            "x",
            "2025-01-01T00:00:00Z",
        )
        result = made(SIDECAR, A, own, other, hidden)
        self.assertEqual(result.routes["80"]["virtualHosts"][0]["routes"][0]["name"], "own")
        self.assertEqual(codes(result), [])


class DomainTests(SynchronousTestCase):
    """
    The names of virtual hosts.
    """

    def domains(self, *texts: str, **changes: Any) -> dict[str, list[str]]:
        """
        The domains of each virtual host for the port 80.
        """
        result = made(evolve(SIDECAR, **changes), *texts)
        return {one["name"]: one["domains"] for one in result.routes["80"]["virtualHosts"]}

    def test_short(self) -> None:
        """
        A service is known by shorter names: the shortest in its own namespace alone; and by its addresses.
        """
        text = service("a", "{name: http, port: 80}", ", clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1, 'fd00::1']")
        full = "a.shop.svc.cluster.local"
        rest = ["a.shop", "a.shop.svc", "10.0.0.1", "[fd00::1]"]
        self.assertEqual(self.domains(text)[f"{full}:80"], [full, "a", *rest])
        self.assertEqual(self.domains(text, namespace="x")[f"{full}:80"], [full, *rest])

    def test_wildcards(self) -> None:
        """
        A host with a wildcard is one, and the services that it covers have its routes, too.
        """
        outside = networking(
            "ServiceEntry",
            "o",
            "hosts: [x.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS",
        )
        wide = virtual("{name: wide, route: [{destination: {host: x.example.com}}]}", hosts="['*.example.com']")
        result = made(SIDECAR, outside, wide)
        found = {one["name"]: one["routes"][0]["name"] for one in result.routes["80"]["virtualHosts"]}
        self.assertEqual(found["*.example.com:80"], "wide")
        self.assertEqual(found["x.example.com:80"], "wide")

    def test_unknown(self) -> None:
        """
        A host that is no service can be routed at the port 80; the rest of the names is blocked or passed on.
        """
        names = self.domains(A, virtual(f"{{route: {TO_A}}}", hosts="[nowhere.example.com]"))
        self.assertIn("nowhere.example.com:80", names)
        self.assertEqual(names["block_all"], ["*"])

    def test_elsewhere(self) -> None:
        """
        The rest goes on to where it was going only if the mesh allows it and somebody knows where that is.
        """
        redirected = evolve(SIDECAR, interception=Interception.REDIRECT)
        only = MeshConfig(outboundTrafficPolicy=OutboundTrafficPolicy(mode="REGISTRY_ONLY"))
        for proxy, mesh, expected in (
            (redirected, None, "allow_any"),
            (redirected, only, "block_all"),
            (SIDECAR, None, "block_all"),
        ):
            self.assertEqual(made(proxy, A, mesh=mesh).routes["80"]["virtualHosts"][-1]["name"], expected)


class DelegateTests(SynchronousTestCase):
    """
    Routes that stand in another VirtualService.
    """

    def matches(self, outer: str, inner: str) -> list[Any]:
        """
        The matches of a delegate's routes, merged; nothing else is there.
        """
        root = virtual(f"{{match: [{outer}], delegate: {{name: d}}}}")
        delegate = networking("VirtualService", "d", f"http: [{{name: d, match: [{inner}], route: {TO_A}}}]")
        self.made = made(SIDECAR, A, root, delegate)
        routes = self.made.routes["80"]["virtualHosts"][0]["routes"]
        return [one["match"] for one in routes if one.get("name") == "d"]

    def test_merged(self) -> None:
        """
        What one says and the other does not, and the narrower of two prefixes.
        """
        (match,) = self.matches("{uri: {prefix: /a}, headers: {x: {exact: one}}}", "{method: {exact: GET}}")
        self.assertEqual(match["prefix"], "/a")
        self.assertEqual([one["name"] for one in match["headers"]], ["x", ":method"])
        (match,) = self.matches("{uri: {prefix: /a}}", "{uri: {exact: /a/b}}")
        self.assertEqual(match["path"], "/a/b")
        self.assertEqual(len(self.matches("{uri: {prefix: /a}}, {uri: {prefix: /a/b}}", "{uri: {prefix: /a/b/c}}")), 2)

    def test_excluded(self) -> None:
        """
        What excludes itself is left out, and told of the delegate.
        """
        for outer, inner in (
            ("{uri: {prefix: /a}}", "{uri: {prefix: /b}}"),
            ("{uri: {prefix: /a/b}}", "{uri: {prefix: /a}}"),
            ("{uri: {exact: /a}}", "{uri: {prefix: /a}}"),
            ("{uri: {prefix: /a}}", "{uri: {regex: '/a.*'}}"),
            ("{port: 80}", "{port: 81}"),
            ("{headers: {x: {exact: one}}}", "{headers: {x: {exact: two}}}"),
            ("{sourceLabels: {a: b}}", "{sourceLabels: {a: c}}"),
        ):
            self.assertEqual(self.matches(outer, inner), [], (outer, inner))
            self.assertEqual(codes(self.made), [("VirtualService shop/d", "conflict")])

    def test_inherited(self) -> None:
        """
        What the delegate does not say of time-outs and so on, the one that names it says.
        """
        root = virtual("{delegate: {name: d}, timeout: 5s, retries: {attempts: 0}}")
        delegate = networking("VirtualService", "d", f"http: [{{timeout: 1s, route: {TO_A}}}]")
        (route,) = made(SIDECAR, A, root, delegate).routes["80"]["virtualHosts"][0]["routes"]
        self.assertEqual(route["route"]["timeout"], "1s")
        self.assertNotIn("retryPolicy", route["route"])

    def test_missing(self) -> None:
        """
        A delegate that is not there, is not exported, or is none, is told.
        """
        root = virtual("{delegate: {name: d, namespace: x}}")
        self.assertEqual(codes(made(SIDECAR, A, root)), [("VirtualService shop/v", "not-found")])
        spec = "http: [{route: [{destination: {host: a}}]}]"
        hidden = networking("VirtualService", "d", f"{spec}, exportTo: ['.']", "x")
        self.assertEqual(codes(made(SIDECAR, A, root, hidden)), [("VirtualService shop/v", "not-found")])
        hosts = networking("VirtualService", "d", f"{spec}, hosts: [z]", "x")
        self.assertIn(("VirtualService shop/v", "invalid"), codes(made(SIDECAR, A, root, hosts)))
