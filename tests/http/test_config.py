"""
Tests for L{meshproxy.http.config}.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from twisted.internet.task import Clock

from meshproxy.config import Section
from meshproxy.config.report import Report
from meshproxy.errors import ConfigErrors
from meshproxy.http.config import compileConnectionManager
from meshproxy.http.context import ProxyContext
from meshproxy.http.filter import FilterContext, HTTPFilter
from meshproxy.http.manager import ConnectionManager
from meshproxy.http.requestheaders import INTERNAL
from meshproxy.runtime import Runtime
from meshproxy.stats import Store
from meshproxy.testing import httpFilter, typedStruct
from meshproxy.testing.filters import filterRegistry
from tests.http.support import ProxyCase, scripted

MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_TYPES = "type.googleapis.com/"
ROUTER = httpFilter("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router")


class Broken(HTTPFilter):
    """
    A filter that fails at its configuration.
    """

    @classmethod
    def compileConfig(cls, section: Section, context: FilterContext) -> Any:
        """
        Fail.
        """
        raise ValueError("of no use")


class BrokenForRoutes(HTTPFilter):
    """
    A filter that fails at what a route says to it.
    """

    @classmethod
    def compileRouteConfig(cls, section: Section, context: FilterContext) -> Any:
        """
        Fail.
        """
        raise ValueError("of no use here")


class ConfigTests(ProxyCase):
    """
    L{compileConnectionManager}.
    """

    def setUp(self) -> None:
        self.store = Store()
        self.context = ProxyContext(
            store=self.store,
            clock=cast(Any, Clock()),
            network=cast(Any, None),
            random=lambda: 0.5,
            runtime=Runtime(lambda: 0.5),
            registry=filterRegistry({"plain": scripted(), "broken": Broken, "routes": BrokenForRoutes}),
            clusters=cast(Any, SimpleNamespace(byName={})),
            calls=cast(Any, None),
            logs=cast(Any, SimpleNamespace(files=None, runtime=None, findSecret=None)),
            secrets=cast(Any, None),
            clusterNames=frozenset({"c"}),
        )

    def compile(
        self, *filters: dict[str, Any], perFilter: dict[str, Any] | None = None, **fields: Any
    ) -> tuple[ConnectionManager, Report]:
        """
        Compile one, and tell its faults.

        @param perFilter: What its one route says to filters.
        """
        route: dict[str, Any] = {"match": {"prefix": "/"}, "route": {"cluster": "c"}}
        route["typed_per_filter_config"] = perFilter or {}
        hosts = [{"name": "all", "domains": ["*"], "routes": [route]}]
        fields = {"stat_prefix": "p", "http_filters": filters, "route_config": {"virtual_hosts": hosts}, **fields}
        fields = {name: value for name, value in fields.items() if value is not None}
        section = Section.of(MANAGER, fields)
        manager = compileConnectionManager(section, self.context, self.store.scope("listener.l."), 1024)
        return manager, section.report

    def refused(self, *filters: dict[str, Any], **more: Any) -> tuple[str, str]:
        """
        The place and the text of the one fault.
        """
        _, report = self.compile(*filters, **more)
        (fault,) = report.ordered()
        return fault.path, fault.why

    def test_accepted(self) -> None:
        """
        A chain that ends with the router has no fault; its metrics stand under its prefix and its listener's.
        """
        manager, report = self.compile({"name": "a", "typed_config": typedStruct("plain")}, ROUTER)
        self.assertEqual(report.ordered(), [])
        self.assertEqual((manager.settings.statPrefix, manager.settings.bufferLimit), ("p", 1024))
        for name in ("http.p.downstream_rq_total", "listener.l.http.p.downstream_rq_completed"):
            self.assertIn(name, self.store.counters)
        self.assertIn("http1.dropped_headers_with_underscores", self.store.counters)

    def test_noRoutes(self) -> None:
        """
        A connection manager without routes is refused.
        """
        path, why = self.refused(ROUTER, route_config=None)
        self.assertIn("needs a route_config", why)

    def test_internalOnlyHeaders(self) -> None:
        """
        What only internal clients may send is cleaned with the rest of their fields: never what the route is found by,
        and not where the routes are known only then.
        """
        table = {"name": "r", "internal_only_headers": ["X-Secret"]}
        manager, report = self.compile(ROUTER, route_config=table)
        self.assertEqual(report.ordered(), [])
        self.assertEqual(manager.settings.forwarding.internalOnly - INTERNAL, frozenset((b"x-secret",)))
        for name in ("Host", ":path", "x-forwarded-proto"):
            place, _ = self.refused(ROUTER, route_config={"internal_only_headers": ["x", name]})
            self.assertEqual(place, "route_config.internal_only_headers[1]")
        extractor = {"name": "x-a", "element_separator": ",", "index": 0}
        scope = {"name": "s", "key": {"fragments": [{"string_key": "k"}]}, "route_configuration": table}
        scoped = {
            "name": "s",
            "scope_key_builder": {"fragments": [{"header_value_extractor": extractor}]},
            "scoped_route_configurations_list": {"scoped_route_configurations": [scope]},
        }
        place, _ = self.refused(ROUTER, route_config=None, scoped_routes=scoped)
        self.assertTrue(place.endswith(".internal_only_headers"), place)

    def test_empty(self) -> None:
        """
        A chain without filters would answer nothing.
        """
        self.assertIn("it is empty", self.refused()[1])

    def test_terminal(self) -> None:
        """
        The router is last, and what is last is terminal; the fault names the filter at its place.
        """
        plain = {"name": "a", "typed_config": typedStruct("plain")}
        path, why = self.refused(ROUTER, plain, ROUTER)
        self.assertEqual(path, "http_filters[0]")
        self.assertIn("'envoy.filters.http.router' is a terminal filter", why)
        path, why = self.refused(plain)
        self.assertEqual(path, "http_filters[0]")
        self.assertIn("'a' is not", why)

    def test_unknownFilter(self) -> None:
        """
        A filter that nobody has is refused, and does not hide the faults of others.
        """
        unknown = {"name": "x", "typed_config": typedStruct("nowhere")}
        _, report = self.compile(unknown, {"name": "b", "typed_config": typedStruct("broken")}, ROUTER)
        places = [fault.path.partition(".")[0] for fault in report.ordered()]
        self.assertEqual(places, ["http_filters[0]", "http_filters[1]"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_optionalFilter(self) -> None:
        """
        C{is_optional} leaves out a filter that nobody has, with a warning; it excuses no filter that there is, and the
        last filter of the configuration must be terminal all the same.
        """
        for unknown in (
            {"name": "x", "typed_config": typedStruct("nowhere"), "is_optional": True},
            {"name": "x", "typed_config": {"@type": _TYPES + "google.protobuf.Empty"}, "is_optional": True},
            {"name": "x", "is_optional": True},
        ):
            manager, report = self.compile(unknown, ROUTER)
            self.assertEqual(report.ordered(), [])
            self.assertEqual([warning.path for warning in report.warnings], ["http_filters[0]"])
            self.assertIn("'x' is left out, as is_optional says", report.warnings[0].why)
            self.assertEqual(self.refused(ROUTER, unknown)[0], "http_filters[0]")
        broken = {"name": "b", "typed_config": typedStruct("broken"), "is_optional": True}
        self.assertIn("ValueError", self.refused(broken, ROUTER)[1])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertIn("typed_config is needed", self.refused({"name": "plain", "is_optional": True}, ROUTER)[1])

    def test_optionalForRoutes(self) -> None:
        """
        Likewise what a route says: it is left out where there is no such filter in the chain, or none that takes it.
        """
        plain = {"name": "a", "typed_config": typedStruct("plain")}
        for name, held in (("a", typedStruct("nowhere")), ("r", typedStruct("plain"))):
            said = {"@type": _TYPES + "envoy.config.route.v3.FilterConfig", "config": held}
            self.assertIn("typed_per_filter_config", self.refused(plain, ROUTER, perFilter={name: said})[0])
            _, report = self.compile(plain, ROUTER, perFilter={name: {**said, "is_optional": True}})
            self.assertEqual(report.ordered(), [])
            self.assertIn("it is left out, as is_optional says", report.warnings[0].why)

    def test_routeOfAnother(self) -> None:
        """
        What a route says must be for the filter of the name, of the type that it takes there; the router takes none.
        """
        cors = httpFilter("cors", "envoy.extensions.filters.http.cors.v3.Cors")
        plain = {"name": "a", "typed_config": typedStruct("plain")}
        for name, said, why in (
            ("a", typedStruct("routes"), "this configures routes, and 'a' is plain"),
            ("cors", cors["typed_config"], "cors.v3.CorsPolicy on routes, not envoy.extensions.filters.http.cors.v3.C"),
            (ROUTER["name"], ROUTER["typed_config"], "envoy.filters.http.router has no configuration on routes"),
        ):
            self.assertIn(why, self.refused(plain, cors, ROUTER, perFilter={name: said})[1])

    def test_brokenFilter(self) -> None:
        """
        A filter that raises at its configuration is a fault in the configuration; it is logged whole.
        """
        path, why = self.refused({"name": "b", "typed_config": typedStruct("broken")}, ROUTER)
        self.assertEqual(path, "http_filters[0]")
        self.assertEqual(why, "the filter raised ValueError at its configuration: of no use")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_brokenForRoutes(self) -> None:
        """
        So is one that raises at what a route says to it.
        """
        link = {"name": "r", "typed_config": typedStruct("routes")}
        path, why = self.refused(link, ROUTER, perFilter={"r": typedStruct("routes")})
        self.assertIn("typed_per_filter_config", path)
        self.assertEqual(why, "the filter raised ValueError at its configuration: of no use here")

    def test_routeOfNobody(self) -> None:
        """
        What a route says to a filter that is not in the chain is refused, with the names that are.
        """
        _, why = self.refused(ROUTER, perFilter={"r": typedStruct("plain")})
        self.assertIn("no HTTP filter of the name 'r' in this chain; there are envoy.filters.http.router", why)
        link = {"name": "plain", "typed_config": typedStruct("plain")}
        _, why = self.refused(link, ROUTER, perFilter={"plian": typedStruct("plain")})
        self.assertTrue(why.endswith("; did you mean plain?"), why)

    def test_routeOfABrokenOne(self) -> None:
        """
        A filter with a fault is there all the same: what a route says to it is no further fault.
        """
        link = {"name": "r", "typed_config": typedStruct("nobody")}
        path, _ = self.refused(link, ROUTER, perFilter={"r": typedStruct("plain")})
        self.assertIn("http_filters[0]", path)

    def test_unknownCluster(self) -> None:
        """
        A route to a cluster that there is not is refused.
        """
        self.context.clusterNames = frozenset()
        self.assertIn("'c'", self.refused(ROUTER)[1])

    def test_disabled(self) -> None:
        """
        A disabled filter sees the requests of those routes only that enable it.
        """
        seen: list[bytes] = []
        note: Callable[..., None] = lambda stream, headers, end: seen.append(headers.path)  # noqa: E731
        enable = {"f": {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": typedStruct("f0")}}
        routes = [
            {"match": {"prefix": "/on"}, "route": {"cluster": "backend"}, "typed_per_filter_config": enable},
            {"match": {"prefix": "/"}, "route": {"cluster": "backend"}},
        ]
        filters = [{"name": "f", "typed_config": typedStruct("f0"), "disabled": True}, ROUTER]
        self.start(scripted(requestHeaders=note), routes=routes, manager={"http_filters": filters})
        for path in ("/off", "/on"):
            self.assertEqual(self.proxy.request("GET", path).status, 200)
        self.assertEqual(seen, [b"/on"])

    def test_faultsTogether(self) -> None:
        """
        A proxy tells all faults at once, and does not start.
        """
        filters = [ROUTER, {"name": "x", "typed_config": typedStruct("nowhere")}]
        error = self.assertRaises(ConfigErrors, self.start, manager={"http_filters": filters})
        self.assertGreaterEqual(len(error.errors), 2)
