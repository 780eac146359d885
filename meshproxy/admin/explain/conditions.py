# -*- test-case-name: tests.admin.explain.test_conditions -*-
"""
Which conditions of a route hold for a request, one by one.

Each is put into a route configuration of its own, compiled by the code that serves, and asked: so no second reading of
a matcher can be wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from meshproxy.accesslog.streaminfo import StreamInfo
from meshproxy.accesslog.values import fromBytes
from meshproxy.admin.explain.place import placeOf
from meshproxy.admin.messages import dictOf
from meshproxy.config.pool import newMessage
from meshproxy.config.section import Section
from meshproxy.headers import RequestHeaders
from meshproxy.routing.context import RouteContext
from meshproxy.routing.hashing import cookieValue
from meshproxy.routing.route import Route
from meshproxy.routing.table import compileRouteConfiguration

__all__ = ["ABSENT", "Condition", "conditionsOf", "hostOf"]

_CONFIGURATION = "envoy.config.route.v3.RouteConfiguration"

# Of a route's match, what says something of the path: these are one condition together.
_PATH = ("prefix", "path", "safe_regex", "path_separated_prefix", "connect_matcher", "path_match_policy")
_LISTS = ("headers", "query_parameters", "cookies", "dynamic_metadata", "filter_state")

ABSENT = "(not there)"
"""
The actual value of what the request does not have.
"""


@dataclass(frozen=True, slots=True)
class Condition:
    """
    One condition.

    @ivar what: What is looked at: C{path}, C{header x-user}.
    @ivar wanted: What it wants, as it was configured.
    @ivar actual: What the request has.
    @ivar at: Where it stands.
    """

    what: str
    wanted: str
    actual: str
    at: str
    holds: bool


class _Judge:
    """
    Asks the routing about parts of a match.
    """

    def __init__(self, table: Section, context: RouteContext, headers: RequestHeaders, info: StreamInfo) -> None:
        self._table = table
        self._context = context
        self._headers = headers
        self._info = info

    def holds(self, fill: Callable[[Any], object], hasPath: bool) -> bool:
        """
        Whether a match would let the request through.

        @param fill: Writes the conditions into a C{RouteMatch}.
        @param hasPath: Whether the path is among them.
        """
        message: Any = newMessage(_CONFIGURATION)
        field = "ignore_path_parameters_in_path_matching"
        setattr(message, field, getattr(self._table.message, field))
        route = message.virtual_hosts.add(name="asked", domains=["*"]).routes.add()
        route.direct_response.status = 200
        if not hasPath:
            if self._headers.path:
                route.match.prefix = ""
            else:
                route.match.connect_matcher.SetInParent()
        fill(route.match)
        table = compileRouteConfiguration(Section(message), self._context)
        return table.match(self._headers, self._info) is not None


def conditionsOf(
    route: Section, table: Section, context: RouteContext, headers: RequestHeaders, info: StreamInfo
) -> list[Condition]:
    """
    All conditions of a route.

    @param table: The C{RouteConfiguration} that it is in.
    """
    match = route.childOrEmpty("match")
    judge = _Judge(table, context, headers, info)
    found = [_path(match, judge, headers)]
    for name in _LISTS:
        for number in range(len(getattr(match.message, name))):
            found.append(_listed(match, name, number, judge, headers))
    for name in ("grpc", "tls_context"):
        if match.has(name):
            found.append(_whole(match, name, judge, headers))
    if match.has("runtime_fraction"):
        # Drawn anew for each request: what is by chance is no miss.
        chance = context.runtime.fraction(match.childOrEmpty("runtime_fraction"))
        held = any(chance() for _ in range(_DRAWS))
        wanted = _shown(match.message.runtime_fraction)
        found.append(Condition("chance", wanted, "drawn for each request", placeOf(match, "runtime_fraction"), held))
    return found


# So often nothing comes of a share only where there is as good as none.
_DRAWS = 1000


def _path(match: Section, judge: _Judge, headers: RequestHeaders) -> Condition:
    names = [name for name in _PATH if match.has(name) or match.oneof("path_specifier") == name]
    name = names[0] if names else "prefix"

    def fill(message: Any) -> None:
        held = getattr(match.message, name)
        if isinstance(held, str):
            setattr(message, name, held)
        else:
            getattr(message, name).CopyFrom(held)
        if match.has("case_sensitive"):
            message.case_sensitive.CopyFrom(match.message.case_sensitive)

    held = getattr(match.message, name)
    wanted = f"{name} {held}" if isinstance(held, str) else f"{name} {_shown(held)}"
    if match.has("case_sensitive") and not match.wrapped("case_sensitive", True):
        wanted += " in any case"
    actual = fromBytes(headers.path) if headers.path else f"{fromBytes(headers.method)} {fromBytes(headers.authority)}"
    return Condition("path", wanted, actual, placeOf(match, name), judge.holds(fill, bool(names)))


def _listed(match: Section, field: str, number: int, judge: _Judge, headers: RequestHeaders) -> Condition:
    held = getattr(match.message, field)[number]
    holds = judge.holds(lambda message: getattr(message, field).add().CopyFrom(held), False)
    name = getattr(held, "name", "") or getattr(held, "key", "") or getattr(held, "filter", "")
    wanted = dictOf(held)
    wanted.pop("name", None)
    what, actual = field.replace("_", " "), "unknown before the request is there"
    if field == "headers":
        value = _whatHeaderHas(headers, name)
        what, actual = f"header {name}", ABSENT if value is None else value
    elif field == "query_parameters":
        values = list(_queryValues(headers, name))
        what, actual = f"query parameter {name}", values[0] if values else ABSENT
    elif field == "cookies":
        cookie = cookieValue(headers, name.encode("utf-8"))
        what, actual = f"cookie {name}", ABSENT if cookie is None else fromBytes(cookie)
    elif name:
        what = f"{what} {name}"
    return Condition(what, _json(wanted) if wanted else "present", actual, placeOf(match, f"{field}[{number}]"), holds)


def _whatHeaderHas(headers: RequestHeaders, name: str) -> str | None:
    values = headers.values(name.lower().encode("utf-8"))
    return ",".join(map(fromBytes, values)) if values else None


def _queryValues(headers: RequestHeaders, name: str) -> Iterator[str]:
    query = headers.path.partition(b"?")[2].decode("latin-1")
    return (value for key, value in parse_qsl(query, keep_blank_values=True) if key == name)


def _whole(match: Section, name: str, judge: _Judge, headers: RequestHeaders) -> Condition:
    held = getattr(match.message, name)
    holds = judge.holds(lambda message: getattr(message, name).CopyFrom(held), False)
    if name == "grpc":
        return Condition(
            "gRPC",
            "content-type application/grpc",
            _whatHeaderHas(headers, "content-type") or ABSENT,
            placeOf(match, name),
            holds,
        )
    return Condition("TLS", _shown(held), "as the connection is", placeOf(match, name), holds)


def _shown(message: Any) -> str:
    return _json(dictOf(message))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def hostOf(table: Section, context: RouteContext, headers: RequestHeaders, info: StreamInfo) -> Section | None:
    """
    The virtual host that a request is for, or L{None}.
    """
    message: Any = newMessage(_CONFIGURATION)
    message.ignore_port_in_host_matching = table.message.ignore_port_in_host_matching
    hosts = table.children("virtual_hosts")
    for number, host in enumerate(hosts):
        copied = message.virtual_hosts.add(name=str(number), domains=host.scalars("domains"))
        for kind in ("prefix", "connect_matcher"):
            route = copied.routes.add()
            if kind == "prefix":
                route.match.prefix = ""
            else:
                route.match.connect_matcher.SetInParent()
            route.direct_response.status = 200
    found: Route | None = compileRouteConfiguration(Section(message), context).match(headers, info)
    return None if found is None else hosts[int(found.virtualHost.name)]
