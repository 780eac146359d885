"""
L{meshproxy.http.chain} and L{meshproxy.http.filter}.
"""

from __future__ import annotations

from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.config import sectionFromYAML
from meshproxy.errors import ConfigErrors
from meshproxy.http.chain import EMPTY_CHAIN, ChainLink, FilterChain
from meshproxy.http.filter import HTTPFilter
from meshproxy.interfaces import STOP
from tests.filters.http.support import makeContext
from tests.http.support import EVENTS, ProxyCase, scripted


def link(filterClass: type[HTTPFilter], name: str, disabled: bool = False) -> ChainLink:
    """
    A filter of a chain.
    """
    return ChainLink(filterClass, name, makeContext(name=name), disabled)


class Both(HTTPFilter):
    """
    Wants two events.
    """

    shared = True

    def requestHeaders(self, stream: Any, headers: Any, endStream: bool) -> object:
        return None

    def responseData(self, stream: Any, data: bytes, endStream: bool) -> object:
        return None


class Own(HTTPFilter):
    """
    Wants an instance for each stream, and the end.
    """

    def responseData(self, stream: Any, data: bytes, endStream: bool) -> object:
        return None

    def streamEnded(self, stream: Any) -> None:
        pass


def owners(methods: tuple[Any, ...]) -> list[str]:
    """
    The names of the filters whose methods these are.
    """
    return [method.__self__.config for method in methods]


class ChainTests(SynchronousTestCase):
    """
    What is compiled of filters.
    """

    def test_events(self) -> None:
        """
        Each event has the methods of those filters that define it, requests in order and responses in reverse.
        """
        chain = FilterChain([link(Both, "a"), link(Both, "b"), link(Both, "c")])
        self.assertEqual(owners(chain.requestHeaders), ["a", "b", "c"])
        self.assertEqual(owners(chain.responseData), ["c", "b", "a"])
        self.assertEqual((chain.requestHeadersPlaces, chain.responseDataPlaces), ((0, 1, 2), (0, 1, 2)))
        others = [event for event in EVENTS if event not in ("requestHeaders", "responseData")]
        self.assertEqual([getattr(chain, event) for event in others], [()] * 5)

    def test_remembers(self) -> None:
        """
        A filter that remembers few streams is told of the end of those alone.
        """
        remembering = type("Remembering", (Own,), {"shared": True, "remembers": True})
        alone = FilterChain([link(Both, "a"), link(remembering, "b")])
        beside = FilterChain([link(remembering, "b"), link(type("Each", (Both,), {"shared": False}), "c")]).begin()
        for chain in (alone, beside):
            self.assertEqual((owners(chain.rememberedEnded), chain.streamEnded), (["b"], ()))

    def test_places(self) -> None:
        """
        Places count all filters, those too that do not want the event.
        """
        chain = FilterChain([link(Both, "a"), link(Own, "b"), link(Both, "c")]).begin()
        self.assertEqual(chain.requestHeadersPlaces, (0, 2))
        self.assertEqual(owners(chain.responseData), ["c", "b", "a"])
        self.assertEqual(chain.responseDataPlaces, (0, 1, 2))

    def test_shared(self) -> None:
        """
        A chain of shared filters is the same for each stream; where one wants its own, only that one is made again.
        """
        shared = FilterChain([link(Both, "a")])
        self.assertIs(shared.begin(), shared)
        mixed = FilterChain([link(Both, "a"), link(Own, "b")])
        first, second = mixed.begin(), mixed.begin()
        self.assertIs(first.requestHeaders[0].__self__, second.requestHeaders[0].__self__)  # type: ignore[attr-defined]
        self.assertIsNot(first.responseData[0].__self__, second.responseData[0].__self__)  # type: ignore[attr-defined]
        self.assertEqual(owners(first.streamEnded), ["b"])

    def test_disabled(self) -> None:
        """
        A disabled filter takes part where a route enables it, and an enabled one does not where it is disabled.
        """
        chain = FilterChain([link(Both, "a"), link(Both, "b", disabled=True)])
        self.assertEqual((owners(chain.requestHeaders), chain.names), (["a"], ["a", "b"]))
        changes = {"a": True, "b": False}
        variant = chain.variant(changes)
        self.assertEqual(owners(variant.requestHeaders), ["b"])
        self.assertIs(chain.variant(changes), variant)
        self.assertIs(chain.variant({"a": False}), chain)

    def test_variesByRoute(self) -> None:
        """
        A shared filter that looks at what routes say has an instance for each route that says something to it.
        """

        class Varying(Both):
            variesByRoute = True

        chain = FilterChain([link(Varying, "a"), link(Both, "b")])
        self.assertIs(chain.variant({"b": False}), chain)
        self.assertIsNot(chain.variant({"a": False}), chain)

    def test_empty(self) -> None:
        """
        A chain of nothing has no methods.
        """
        self.assertEqual([getattr(EMPTY_CHAIN, event) for event in EVENTS], [()] * 7)
        self.assertIs(EMPTY_CHAIN.begin(), EMPTY_CHAIN)


@attrs.frozen
class Config:
    """
    A configuration.
    """

    number: int = 1


@attrs.frozen
class RouteConfig:
    """
    Another one for routes.
    """

    word: str


class FilterTests(SynchronousTestCase):
    """
    The base class.
    """

    def struct(self, value: str) -> Any:
        """
        A C{TypedStruct}.
        """
        return sectionFromYAML("xds.type.v3.TypedStruct", f"type_url: x\nvalue: {value}")

    def test_nothing(self) -> None:
        """
        It implements every event as nothing to do.
        """
        filter = HTTPFilter(None, makeContext())
        stream: Any = object()
        for event in EVENTS[:6]:
            arguments = (None,) if event.endswith("Trailers") else (None, True)
            self.assertIsNone(getattr(filter, event)(stream, *arguments))
        filter.streamEnded(stream)
        self.assertEqual(repr(STOP), "STOP")

    def test_config(self) -> None:
        """
        C{Config} makes an instance of a C{TypedStruct}; faults are recorded. Without one there is no configuration.
        """
        Configured: Any = type("Configured", (HTTPFilter,), {"Config": Config})
        self.assertEqual(Configured.compileConfig(self.struct("{number: 3}"), makeContext()), Config(3))
        wrong = self.struct("{number: x}")
        Configured.compileConfig(wrong, makeContext())
        self.assertRaises(ConfigErrors, wrong.report.raiseIfAny)
        self.assertIsNone(HTTPFilter.compileConfig(self.struct("{}"), makeContext()))

    def test_routeConfig(self) -> None:
        """
        A route's is of the same class, or of C{RouteConfig}.
        """
        Same: Any = type("Same", (HTTPFilter,), {"Config": Config})
        self.assertEqual(Same.compileRouteConfig(self.struct("{number: 3}"), makeContext()), Config(3))
        Other: Any = type("Other", (HTTPFilter,), {"Config": Config, "RouteConfig": RouteConfig})
        self.assertEqual(Other.compileRouteConfig(self.struct("{word: a}"), makeContext()), RouteConfig("a"))


class RouteTests(ProxyCase):
    """
    What routes say to filters.
    """

    def test_disabledByRoute(self) -> None:
        """
        A route may leave a filter out.
        """
        replying = scripted(requestHeaders=lambda stream, headers, end: stream.reply(403))
        per = {"f0": {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": True}}
        self.start(
            replying,
            routes=[
                {"match": {"prefix": "/open"}, "route": {"cluster": "backend"}, "typed_per_filter_config": per},
                {"match": {"prefix": "/"}, "route": {"cluster": "backend"}},
            ],
        )
        self.assertEqual(self.proxy.request("GET", "/open").status, 200)
        self.assertEqual(self.proxy.request("GET", "/").status, 403)
