"""
Tests for L{meshproxy.routing.scopes}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.accesslog.streaminfo import StreamInfo
from meshproxy.config import Section
from meshproxy.headers import RequestHeaders
from meshproxy.routing.context import RouteContext
from meshproxy.routing.scopes import compileScopedRoutes

SCOPED = "envoy.extensions.filters.network.http_connection_manager.v3.ScopedRoutes"


def scope(name: str, *key: str, **fields: Any) -> dict[str, Any]:
    """
    A scope with one route of its name.
    """
    routes = [{"name": name, "match": {"prefix": "/"}, "route": {"cluster": "c"}}]
    hosts = [{"name": "all", "domains": ["*"], "routes": routes}]
    return {
        "name": name,
        "key": {"fragments": [{"string_key": text} for text in key]},
        "route_configuration": {"name": name, "virtual_hosts": hosts},
        **fields,
    }


def scoped(extractors: list[dict[str, Any]], *scopes: dict[str, Any]) -> Section:
    """
    Scoped routes.
    """
    return Section.of(
        SCOPED,
        {
            "name": "scopes",
            "scope_key_builder": {"fragments": [{"header_value_extractor": each} for each in extractors]},
            "scoped_route_configurations_list": {"scoped_route_configurations": list(scopes)},
        },
    )


class ScopedRoutesTests(SynchronousTestCase):
    """
    L{compileScopedRoutes}.
    """

    def chosen(self, section: Section, *pairs: tuple[bytes, bytes]) -> str | None:
        """
        The name of the route of a request.
        """
        table = compileScopedRoutes(section, RouteContext())
        section.report.raiseIfAny()
        route = table.match(RequestHeaders(b"GET", b"/", b"a", pairs), StreamInfo())
        return None if route is None else route.name

    def test_whole(self) -> None:
        """
        Without a separator the value is the key; who has none, or another one, has no route.
        """
        section = scoped([{"name": "X-Scope", "index": 0}], scope("one", "1"), scope("two", "2,3"))
        self.assertEqual(self.chosen(section, (b"x-scope", b"1")), "one")
        self.assertEqual(self.chosen(section, (b"x-scope", b"2,3")), "two")
        for pairs in ((), ((b"x-scope", b"3"),), ((b"x-scope", b"3"), (b"x-scope", b"1"))):
            self.assertIsNone(self.chosen(section, *pairs))

    def test_parts(self) -> None:
        """
        Elements by index and by key, which make one key together.
        """
        section = scoped(
            [
                {"name": "a", "element_separator": ",", "index": 1},
                {"name": "b", "element_separator": ";", "element": {"separator": "=", "key": "k"}},
            ],
            scope("one", "x", "1"),
            scope("two", "y", "2=3"),
        )
        self.assertEqual(self.chosen(section, (b"a", b"q,x"), (b"b", b"j=7;k=1")), "one")
        self.assertEqual(self.chosen(section, (b"a", b"q,y"), (b"b", b"k=2=3;k=1")), "two")
        for pairs in (
            ((b"a", b"x"), (b"b", b"k=1")),
            ((b"a", b"q,x"), (b"b", b"j=1")),
            ((b"a", b"q,x"),),
            ((b"a", b"q,x"), (b"b", b"k=2=3")),
        ):
            self.assertIsNone(self.chosen(section, *pairs))

    def test_table(self) -> None:
        """
        All virtual hosts and routes are known.
        """
        table = compileScopedRoutes(
            scoped([{"name": "a", "index": 0}], scope("one", "1"), scope("two", "2")), RouteContext()
        )
        self.assertEqual((len(table.virtualHosts), [route.name for route in table.routes]), (2, ["one", "two"]))

    def test_faults(self) -> None:
        """
        Names and keys are there once, an index needs a separator, and a configuration stands in place, without the
        name of another one.
        """
        for extractors, scopes, path in (
            ([{"name": "a", "index": 0}], (scope("one", "1"), scope("one", "2")), ".name"),
            ([{"name": "a", "index": 0}], (scope("one", "1"), scope("two", "1")), ".key"),
            ([{"name": "a", "index": 1}], (scope("one", "1"),), ".index"),
            ([{"name": "a", "index": 0}], ({"name": "x"},), ".route_configuration"),
            (
                [{"name": "a", "index": 0}],
                ({"name": "x", "route_configuration_name": "y"},),
                ".route_configuration_name",
            ),
            (
                [{"name": "a", "index": 0}],
                (scope("one", "1", route_configuration_name="y"),),
                ".route_configuration_name",
            ),
        ):
            section = scoped(extractors, *scopes)
            compileScopedRoutes(section, RouteContext())
            self.assertEqual(len(section.report.errors), 1)
            self.assertTrue(section.report.errors[0].path.endswith(path), section.report.errors[0].path)
