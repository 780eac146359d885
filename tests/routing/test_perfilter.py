# -*- test-case-name: tests.routing.test_perfilter -*-
"""
Tests for L{meshproxy.routing.perfilter}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config.section import Section
from meshproxy.routing.context import RouteContext
from meshproxy.routing.perfilter import FilterOverrides, mergeFilterOverrides
from tests.routing.support import errorsOf, forward, request, routeConfiguration, streamOf, tableOf

_STRUCT = "type.googleapis.com/google.protobuf.Struct"
_FILTER_CONFIG = "type.googleapis.com/envoy.config.route.v3.FilterConfig"


def config(value: str) -> dict[str, Any]:
    """
    The configuration of a filter, as an Any.
    """
    return {"@type": _STRUCT, "value": {"is": value}}


def wrapped(**fields: Any) -> dict[str, Any]:
    """
    A FilterConfig, as an Any.
    """
    return {"@type": _FILTER_CONFIG, **fields}


def compileConfig(name: str, section: Section) -> object | None:
    """
    What a filter makes of its configuration here: its name, and the one field.
    """
    if name == "unknown":
        section.refuse("not known")
        return None
    if name == "silent":
        return None
    return name, section.message.fields["is"].string_value


CONTEXT = RouteContext(compileFilterConfig=compileConfig)


def overrides(*levels: dict[str, Any]) -> FilterOverrides:
    """
    What a route says to filters.

    @param levels: The C{typed_per_filter_config} of the route configuration, the virtual host, the route and the
        weighted cluster.
    """
    filled: list[dict[str, Any]] = [*levels, {}, {}, {}, {}]
    everywhere, host, route, cluster = filled[:4]
    action = {"weighted_clusters": {"clusters": [{"name": "c", "weight": 1, "typed_per_filter_config": cluster}]}}
    made = {"match": {"prefix": "/"}, "route": action, "typed_per_filter_config": route}
    hosts = [{"name": "v", "domains": ["*"], "routes": [made], "typed_per_filter_config": host}]
    table = tableOf(virtual_hosts=hosts, typed_per_filter_config=everywhere, context=CONTEXT)
    found = table.match(request(), streamOf(request()))
    assert found is not None
    return found.overrides


class FilterOverridesTests(SynchronousTestCase):
    """
    Filters are told the most specific configuration, and all of them if they ask.
    """

    def test_mostSpecificWins(self) -> None:
        """
        Weighted cluster, route, virtual host, route configuration; each filter for itself.
        """
        made = overrides(
            {"f": config("1"), "g": config("1")}, {"f": config("2")}, {"f": config("3")}, {"f": config("4")}
        )
        self.assertEqual(made.configs, {"f": ("f", "4"), "g": ("g", "1")})
        self.assertEqual(made.levels["f"], (("f", "1"), ("f", "2"), ("f", "3"), ("f", "4")))
        self.assertEqual(overrides({"f": config("1")}, {"f": config("2")}).configs["f"], ("f", "2"))
        self.assertEqual(overrides(), FilterOverrides())

    def test_disabled(self) -> None:
        """
        A filter can be switched off, and on again further down.
        """
        off = wrapped(disabled=True)
        self.assertEqual(overrides({"f": off}).disabled, {"f": True})
        self.assertEqual(overrides({"f": off}, {"f": config("2")}).disabled, {"f": False})
        self.assertEqual(overrides({"f": config("1")}, {}, {"f": off}).disabled, {"f": True})

    def test_enabled(self) -> None:
        """
        What is off by default is switched on by any configuration, be it one that a filter which takes none makes
        nothing of.
        """
        made = overrides({}, {"f": wrapped(config=config("1")), "silent": config("1")})
        self.assertEqual((made.disabled, made.configs), ({"f": False, "silent": False}, {"f": ("f", "1")}))

    def test_emptyConfig(self) -> None:
        """
        An empty configuration within a FilterConfig switches a filter on, and says nothing else.
        """
        made = overrides({"f": wrapped(disabled=True)}, {"f": wrapped(config={})})
        self.assertEqual((made.disabled, made.configs), ({"f": False}, {}))

    def test_optional(self) -> None:
        """
        An optional configuration that nobody takes switches the filter on all the same; one that somebody takes is as
        any other.
        """
        context = RouteContext(compileFilterConfig=compileConfig, knowsFilterConfig=lambda name, held: name == "f")
        said = wrapped(is_optional=True, config=config("1"))
        route = {**forward(), "typed_per_filter_config": {"f": said, "unknown": said}}
        hosts = [{"name": "v", "domains": ["*"], "routes": [route]}]
        found = tableOf(virtual_hosts=hosts, context=context).match(request(), streamOf(request()))
        assert found is not None
        self.assertEqual(found.overrides.configs, {"f": ("f", "1")})
        self.assertEqual(found.overrides.disabled, {"f": False, "unknown": False})

    def test_older(self) -> None:
        """
        What fields of former times say is gathered beside, the most general first.
        """
        levels = [FilterOverrides(older={"a": (number,)}) for number in (1, 2)]
        merged = mergeFilterOverrides([*levels, FilterOverrides()])
        self.assertEqual((merged.older, merged.levels), ({"a": (1, 2)}, {}))

    def test_saysNothing(self) -> None:
        """
        A FilterConfig that neither switches off nor configures is refused, as by Envoy.
        """
        made = routeConfiguration({**forward(), "typed_per_filter_config": {"f": wrapped()}})
        [(path, why)] = errorsOf(made, CONTEXT)
        self.assertTrue(path.endswith('typed_per_filter_config["f"].config'), path)
        self.assertIn("FilterConfig", why)

    def test_wrapped(self) -> None:
        """
        A FilterConfig around a configuration is that configuration.
        """
        self.assertEqual(overrides({"f": wrapped(config=config("1"))}).configs, {"f": ("f", "1")})

    def test_refused(self) -> None:
        """
        What no filter takes is refused where it stands.
        """
        made = routeConfiguration({**forward(), "typed_per_filter_config": {"unknown": config("1")}})
        [(path, _)] = errorsOf(made, CONTEXT)
        self.assertTrue(path.startswith('virtual_hosts[0].routes[0].typed_per_filter_config["unknown"]'), path)
        self.assertEqual(
            len(errorsOf(routeConfiguration({**forward(), "typed_per_filter_config": {"f": config("1")}}))), 1
        )
