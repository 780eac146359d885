# -*- test-case-name: tests.admin.explain.test_answer -*-
"""
Which virtual host a request is for, and why it is for no other one.
"""

from __future__ import annotations

from typing import NamedTuple

from meshproxy.admin.explain.asked import Asked
from meshproxy.admin.explain.conditions import hostOf
from meshproxy.admin.explain.place import Answer, placeOf
from meshproxy.config.section import Section
from meshproxy.routing.context import RouteContext
from meshproxy.routing.hosts import withoutPort
from meshproxy.routing.route import Route
from meshproxy.routing.table import RouteTable

__all__ = ["ChosenHost", "chooseHost"]


class ChosenHost(NamedTuple):
    """
    @ivar table: The route configuration, where there is one alone, or a route of it was found.
    @ivar host: The virtual host.
    @ivar others: What is told of all others.
    """

    table: Section | None
    host: Section | None
    others: list[Answer]


def chooseHost(asked: Asked, routes: RouteTable, found: Route | None, context: RouteContext) -> ChosenHost:
    """
    @param routes: The routes that it was looked for in.
    @param found: The route that was found, if any.
    """
    tables = list(routes.sections)
    if found is not None:
        tables = [table for table in tables if found.path.startswith(f"{table.path}.")]
    table = tables[0] if len(tables) == 1 or found is not None else None
    host = None if table is None else _hostIn(table, asked, found, context)
    portless = None if table is None else _hostWithoutPort(table, asked, context)
    others: list[Answer] = []
    for each in tables:
        for other in each.children("virtual_hosts"):
            if host is not None and other.path == host.path:
                continue
            why = "its domains do not match, or another one's is nearer"
            if portless is not None and other.path == portless.path:
                why = "its domain matches without the port; see strip_any_host_port, ignore_port_in_host_matching"
            domains = other.scalars("domains")
            others.append({"name": other.get("name"), "at": placeOf(other), "domains": domains, "why": why})
    return ChosenHost(table, host, others)


def _hostIn(table: Section, asked: Asked, found: Route | None, context: RouteContext) -> Section | None:
    if found is not None:
        # Of a request under way the authority may be rewritten by now.
        for host in table.children("virtual_hosts"):
            if found.path == host.pathOf("require_tls") or found.path.startswith(f"{host.path}."):
                return host
    return hostOf(table, context, asked.headers, asked.stream)


def _hostWithoutPort(table: Section, asked: Asked, context: RouteContext) -> Section | None:
    """
    The virtual host that the request would be for if its authority had no port.
    """
    bare = withoutPort(asked.headers.authority)
    if bare == asked.headers.authority:
        return None
    headers = asked.headers.copy()
    headers.authority = bare
    return hostOf(table, context, headers, asked.stream)
