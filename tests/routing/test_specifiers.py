"""
L{meshproxy.routing.specifiers}: routes whose cluster each request chooses.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import attrs

from meshproxy.config.registry import FilterRegistry
from meshproxy.errors import ConfigErrors
from meshproxy.headers import RequestHeaders
from meshproxy.plugins import FilterPlugin
from meshproxy.routing.context import RouteContext
from meshproxy.routing.route import Route
from meshproxy.routing.specifiers import ClusterSpecifier
from meshproxy.routing.table import RouteTable
from meshproxy.testing import MemoryProxy, httpBootstrap, typedStruct
from tests.http.support import ProxyCase, scripted
from tests.routing.support import errorsOf, request, routeConfiguration, streamOf, tableOf


@attrs.frozen
class Config:
    """
    What the specifier of these tests is told.
    """

    prefix: str = attrs.field(default="", validator=attrs.validators.max_len(5))


class Named(ClusterSpecifier):
    """
    Takes the name of the cluster from the path.
    """

    Config = Config

    def chooseCluster(self, headers: RequestHeaders, stream: Any) -> str:
        """
        See L{ClusterSpecifier.chooseCluster}.
        """
        name = headers.path.decode().strip("/")
        if name == "raise":
            raise ZeroDivisionError
        return self.config.prefix + name if name else ""


NAMED = FilterPlugin("named", "cluster_specifier", f"{__name__}:Named")
CONTEXT = RouteContext(registry=FilterRegistry([NAMED]))


def plugin(name: str = "mine", kind: str = "named", optional: bool = False, **config: Any) -> dict[str, Any]:
    """
    A C{ClusterSpecifierPlugin}.
    """
    return {"extension": {"name": name, "typed_config": typedStruct(kind, config)}, "is_optional": optional}


def to(**action: Any) -> dict[str, Any]:
    """
    A route for everything.
    """
    return {"match": {"prefix": "/"}, "route": action}


def choose(table: RouteTable, path: str, **headers: Any) -> Route | None:
    """
    The route that a request takes.
    """
    asked = request(path, **headers)
    return table.match(asked, streamOf(asked))


def clusterOf(route: Route | None) -> str:
    """
    The cluster that was chosen.
    """
    assert route is not None and route.action is not None
    return route.action.cluster


class SpecifierTests(ProxyCase):
    """
    Plugins that choose.
    """

    def test_inline(self) -> None:
        """
        A plugin in the route itself.
        """
        table = tableOf(to(inline_cluster_specifier_plugin=plugin(prefix="x-")), context=CONTEXT)
        self.assertEqual(clusterOf(choose(table, "/a")), "x-a")
        self.assertEqual(clusterOf(choose(table, "/")), "")

    def test_named(self) -> None:
        """
        One of the route configuration; the first one of a name has it.
        """
        table = tableOf(
            to(cluster_specifier_plugin="mine"),
            cluster_specifier_plugins=[plugin(prefix="1"), plugin(prefix="2"), plugin("other")],
            context=CONTEXT,
        )
        self.assertEqual(clusterOf(choose(table, "/a")), "1a")

    def test_unknownName(self) -> None:
        """
        A name that nothing has is refused, with what was probably meant.
        """
        made = routeConfiguration(to(cluster_specifier_plugin="mein"), cluster_specifier_plugins=[plugin()])
        self.assertEqual(
            errorsOf(made, CONTEXT),
            [
                (
                    "virtual_hosts[0].routes[0].route.cluster_specifier_plugin",
                    "unknown cluster specifier plugin name: mein is used in the route; did you mean mine?",
                )
            ],
        )

    def test_optional(self) -> None:
        """
        Where one that is optional is not there, its route is none, and the next one is asked.
        """
        optional = to(inline_cluster_specifier_plugin=plugin(kind="nobody", optional=True))
        self.assertIsNone(choose(tableOf(optional, context=CONTEXT), "/a"))
        for more in ({}, {"headers": [{"name": "x-none", "invert_match": True, "present_match": True}]}):
            first = {**optional, "match": {"prefix": "/", **more}}
            self.assertEqual(clusterOf(choose(tableOf(first, to(cluster="c"), context=CONTEXT), "/a")), "c")
        exact = {**optional, "match": {"path": "/a"}}
        self.assertEqual(clusterOf(choose(tableOf(exact, to(cluster="c"), context=CONTEXT), "/a")), "c")

    def test_optionalOfEnvoy(self) -> None:
        """
        That goes for those that Envoy has and nobody wrote here, too.
        """
        lua = "type.googleapis.com/envoy.extensions.router.cluster_specifiers.lua.v3.LuaConfig"
        code = {"inline_string": "-- nothing"}
        for isOptional in (True, False):
            extension = {"name": "lua", "typed_config": {"@type": lua, "source_code": code}}
            given = {"extension": extension, "is_optional": isOptional}
            text = httpBootstrap(routes=[to(inline_cluster_specifier_plugin=given)])
            if isOptional:
                self.assertEqual(MemoryProxy(text).request().status, 404)
            else:
                self.assertRaises(ConfigErrors, MemoryProxy, text)

    def test_unknownKind(self) -> None:
        """
        Any other that is not there is refused; so is one that refuses its configuration, and what is none.
        """
        for config, why in (
            (plugin(kind="nobody"), "'nobody' is no cluster specifier plugin that is known here"),
            (plugin(prefix="too long"), "prefix"),
            (plugin(kind="python:meshproxy.filters.http.buffer:Buffer"), "is no IClusterSpecifier"),
        ):
            (error,) = errorsOf(routeConfiguration(to(inline_cluster_specifier_plugin=config)), CONTEXT)
            self.assertIn(why, " ".join(error))

    def test_withoutPlugins(self) -> None:
        """
        Where nobody knows plugins they are refused.
        """
        (error,) = errorsOf(routeConfiguration(to(inline_cluster_specifier_plugin=plugin())))
        self.assertEqual(error[1], "there are no cluster specifier plugins here")

    def test_raises(self) -> None:
        """
        What a plugin raises is logged, and there is no cluster.
        """
        table = tableOf(to(inline_cluster_specifier_plugin=plugin()), context=CONTEXT)
        self.assertEqual(clusterOf(choose(table, "/raise")), "")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_memory(self) -> None:
        """
        A route is remembered for each cluster, and not for each of any number.
        """
        table = tableOf(to(inline_cluster_specifier_plugin=plugin()), context=CONTEXT)
        first = choose(table, "/a")
        self.assertIs(choose(table, "/a"), first)
        for number in range(1001):
            choose(table, f"/{number}")
        self.assertIsNot(choose(table, "/a"), first)

    def test_served(self) -> None:
        """
        A proxy loads it by its name, and sends requests where it says.
        """
        kind = f"python:{__name__}:Named"
        self.start(routes=[to(inline_cluster_specifier_plugin=plugin(kind=kind))])
        self.assertEqual([self.proxy.request(path=path).status for path in ("/backend", "/nobody")], [200, 503])

    def test_reloaded(self) -> None:
        """
        A wrong configuration has its place.
        """
        kind = f"python:{__name__}:Named"
        routes = [to(inline_cluster_specifier_plugin=plugin(kind=kind, prefixes="x"))]
        error = self.assertRaises(ConfigErrors, MemoryProxy, httpBootstrap(routes=routes))
        self.assertIn("inline_cluster_specifier_plugin", str(error))


class HeaderTests(ProxyCase):
    """
    C{cluster_header}.
    """

    def test_beforeFilters(self) -> None:
        """
        The cluster is chosen with the route: a filter that changes the header changes nothing, unless it clears it.
        """
        changes = scripted(requestHeaders=lambda stream, headers, end: headers.set(b"x-cluster", b"backend"))
        self.start(changes, routes=[to(cluster_header="x-cluster")])
        self.assertEqual(self.proxy.request(headers=[("x-cluster", "nobody")]).status, 503)

        def clear(stream: Any, headers: RequestHeaders, end: bool) -> None:
            headers.set(b"x-cluster", b"backend")
            stream.clearRouteCache()

        self.start(scripted(requestHeaders=clear), routes=[to(cluster_header="x-cluster")])
        self.assertEqual(self.proxy.request(headers=[("x-cluster", "nobody")]).status, 200)

    def test_amongWeighted(self) -> None:
        """
        One of the weighted clusters may be named by a header.
        """
        weighted = {"clusters": [{"name": "c", "weight": 1}, {"cluster_header": "x-cluster", "weight": 1}]}
        for chance, expected in ((0.0, "c"), (0.9, "mine")):
            table = tableOf(to(weighted_clusters=weighted), context=RouteContext(random=partial(float, chance)))
            self.assertEqual(clusterOf(choose(table, "/", x_cluster="mine")), expected)
