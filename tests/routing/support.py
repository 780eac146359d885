# -*- test-case-name: tests.routing -*-
"""
What the tests of this room share.
"""

from __future__ import annotations

from typing import Any

from meshproxy.accesslog.streaminfo import StreamInfo
from meshproxy.config.section import Section
from meshproxy.headers import RequestHeaders
from meshproxy.routing.context import RouteContext
from meshproxy.routing.table import RouteTable, compileRouteConfiguration

__all__ = ["ask", "errorsOf", "forward", "request", "routeConfiguration", "section", "streamOf", "tableOf"]


def section(kind: str, /, **fields: Any) -> Section:
    """
    A message of C{envoy.config.route.v3}.
    """
    return Section.of(f"envoy.config.route.v3.{kind}", fields)


def routeConfiguration(*routes: dict[str, Any], **fields: Any) -> Section:
    """
    A route configuration; with C{routes}, those of one virtual host for all domains.
    """
    hosts = fields.pop("virtual_hosts", [{"name": "all", "domains": ["*"], "routes": list(routes)}])
    return section("RouteConfiguration", name="test", virtual_hosts=hosts, **fields)


def tableOf(*routes: dict[str, Any], context: RouteContext | None = None, **fields: Any) -> RouteTable:
    """
    A compiled route configuration without faults.
    """
    made = routeConfiguration(*routes, **fields)
    table = compileRouteConfiguration(made, context or RouteContext())
    made.report.raiseIfAny()
    return table


def errorsOf(made: Section, context: RouteContext | None = None) -> list[tuple[str, str]]:
    """
    The faults of a route configuration: path and reason.
    """
    compileRouteConfiguration(made, context or RouteContext())
    return [(error.path, error.why) for error in made.report.errors]


def forward(prefix: str = "/", **action: Any) -> dict[str, Any]:
    """
    A route by prefix to a cluster.
    """
    return {"match": {"prefix": prefix}, "route": {"cluster": "c", **action}}


def request(
    path: str = "/", host: str = "h", method: str = "GET", scheme: str = "http", **headers: str | list[str]
) -> RequestHeaders:
    """
    A request; underscores in the names of its headers are dashes.
    """
    pairs = [(b"x-forwarded-proto", scheme.encode())]
    for name, values in headers.items():
        for value in [values] if isinstance(values, str) else values:
            pairs.append((name.replace("_", "-").encode(), value.encode()))
    return RequestHeaders(method.encode(), path.encode(), host.encode(), pairs, scheme.encode())


def streamOf(headers: RequestHeaders) -> StreamInfo:
    """
    A stream of a request.
    """
    info = StreamInfo()
    info.requestHeaders = headers
    return info


def ask(table: RouteTable, path: str = "/", host: str = "h", **headers: Any) -> int | None:
    """
    The place of the route that a request takes.
    """
    asked = request(path, host, **headers)
    route = table.match(asked, streamOf(asked))
    return None if route is None else route.order
