"""
What tests of HTTP filters share: a stream that remembers what filters did to it, and a context in virtual time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import yaml
from twisted.internet.task import Clock
from twisted.logger import Logger
from zope.interface import implementer

from meshproxy.accesslog.streaminfo import ConnectionInfo, StreamInfo
from meshproxy.config import Section, sectionFromYAML
from meshproxy.config.pool import typeURL
from meshproxy.config.supported import supported
from meshproxy.headers import RequestHeaders, ResponseHeaders
from meshproxy.http.filter import FilterContext, HTTPFilter
from meshproxy.interfaces import STOP, IUpstreamCalls, Stop
from meshproxy.net.address import Address
from meshproxy.routing.perfilter import FilterOverrides
from meshproxy.routing.route import Route, RouteAction, RouteKind, VirtualHost
from meshproxy.runtime import Runtime
from meshproxy.stats.store import Store
from meshproxy.upstream.dnscache import DNSCaches

__all__ = ["TRAILERS", "FakeStream", "compiled", "connection", "makeContext", "makeFilter", "pageExample", "routed"]

_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

#: A cluster whose responses may have trailers.
TRAILERS = {
    "typed_extension_protocol_options": {
        _OPTIONS: {
            "@type": typeURL(_OPTIONS),
            "explicit_http_config": {"http_protocol_options": {"enable_trailers": True}},
        }
    }
}

#: The name of the filter under test in its chain.
NAME = "mine"


def pageExample(name: str, number: int = 0) -> Any:
    """
    An example of a filter's page, so that it stays true.

    @param number: Which of the page.
    """
    page = Path(__file__).parents[3] / "docs" / "filters" / f"{name}.md"
    return yaml.safe_load(re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.M | re.S)[number])


def connection(remote: str = "192.0.2.7", local: str = "198.51.100.1", port: int = 8080) -> ConnectionInfo:
    """
    A cleartext connection.
    """
    info = ConnectionInfo()
    info.remoteAddress = info.directRemoteAddress = Address(remote, 40000)
    info.localAddress = Address(local, port)
    return info


def routed(*levels: object, cluster: str = "backend", metadata: dict[str, dict[str, object]] | None = None) -> Route:
    """
    A route.

    @param levels: What its levels say to the filter under test, the most general first.
    """
    overrides = FilterOverrides({NAME: levels[-1]}, {NAME: levels}) if levels else FilterOverrides()
    return Route(
        VirtualHost("v"), RouteKind.ROUTE, action=RouteAction(cluster), overrides=overrides, metadata=metadata or {}
    )


class FakeStream(StreamInfo):
    """
    A stream without a connection manager.

    @ivar replies: The local replies: status, body, headers, details.
    """

    def __init__(
        self,
        headers: Iterable[tuple[bytes, bytes]] = (),
        path: bytes = b"/",
        method: bytes = b"GET",
        route: Route | None = None,
        connectedBy: ConnectionInfo | None = None,
    ) -> None:
        self.requestHeaders: RequestHeaders = RequestHeaders(method, path, b"example.com", headers)
        self.responseHeaders: ResponseHeaders = ResponseHeaders(200)
        self.route: Route | None = route or routed()
        self.connection = connectedBy or connection()
        self.answersGRPC: bool | None = None
        self.replies: list[tuple[int, bytes, dict[bytes, bytes], str]] = []

    def reply(
        self,
        status: int,
        body: bytes = b"",
        headers: Iterable[tuple[bytes, bytes]] = (),
        details: str = "",
        flags: int = 0,
    ) -> Stop:
        """
        Remember the reply.
        """
        self.replies.append((status, body, dict(headers), details))
        self.responseFlags |= flags
        return STOP

    def remember(self) -> None:
        """
        Tests tell of the end of any stream.
        """

    def markHealthCheck(self) -> None:
        """
        See L{meshproxy.http.stream.Stream.markHealthCheck}.
        """
        self.healthCheck = True

    def routeConfig(self, name: str) -> Any:
        """
        As the engine's stream does it.
        """
        return None if self.route is None else self.route.overrides.configs.get(name)


@implementer(IUpstreamCalls)
class _NoCalls:
    """
    No filter under test calls anybody.
    """

    def call(self, cluster: str, headers: Any, body: bytes = b"", timeout: float = 5.0, limit: int = 0) -> Any:
        """
        See L{IUpstreamCalls}.
        """
        raise NotImplementedError


def _half() -> float:
    return 0.5


def makeContext(random: Callable[[], float] = _half, layers: str = "", name: str = NAME) -> FilterContext:
    """
    A context with its own clock, metrics and runtime.

    @param layers: A static layer of the runtime, in YAML.
    """
    store = Store()
    runtime = Runtime(random)
    text = f"layers: [{{name: s, static_layer: {layers or '{}'}}}, {{name: a, admin_layer: {{}}}}]"
    runtime.update(sectionFromYAML("envoy.config.bootstrap.v3.LayeredRuntime", text))
    scope = store.scope("http.test.")
    clock = Clock()
    caches = DNSCaches(store, cast(Any, None), clock, random)
    return FilterContext(
        name=name,
        statPrefix="test",
        scope=scope,
        store=store,
        clock=clock,
        random=random,
        clusters=cast(Any, SimpleNamespace(dnsCaches=caches, assignments=SimpleNamespace(hasSource=True))),
        calls=_NoCalls(),
        runtime=runtime,
        log=Logger(),
    )


def compiled(filterClass: type[HTTPFilter], text: str, context: FilterContext, route: bool = False) -> Any:
    """
    A configuration, compiled; what is not declared or refused raises.

    @param route: Whether it is that of a route.
    """
    typeName = filterClass.routeConfigType if route and filterClass.routeConfigType else filterClass.configType
    section: Section = sectionFromYAML(typeName, text)
    supported.check(section)
    make = filterClass.compileRouteConfig if route else filterClass.compileConfig
    config = make(section, context)
    section.report.raiseIfAny()
    return config


def makeFilter(filterClass: type[HTTPFilter], text: str = "{}", context: FilterContext | None = None) -> Any:
    """
    An instance as a chain makes it.
    """
    context = context or makeContext()
    return filterClass(compiled(filterClass, text, context), context)
