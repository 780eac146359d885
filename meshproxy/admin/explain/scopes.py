# -*- test-case-name: tests.admin.explain.test_scopes -*-
"""
Which scope a request is in, and why it is in no other one.
"""

from __future__ import annotations

from typing import NamedTuple

from meshproxy.admin.explain.place import Answer, placeOf
from meshproxy.config.section import Section
from meshproxy.headers import RequestHeaders
from meshproxy.routing.scopes import Key, ScopeChoice
from meshproxy.routing.table import RouteTable

__all__ = ["ChosenScope", "chooseScope"]


class ChosenScope(NamedTuple):
    """
    @ivar told: The scope, if there is one.
    @ivar others: What is told of all others.
    @ivar routes: The routes in the scope.
    @ivar why: Why there are none.
    """

    told: Answer | None
    others: list[Answer]
    routes: RouteTable
    why: str = ""


def chooseScope(choice: ScopeChoice, headers: RequestHeaders) -> ChosenScope:
    """
    @param headers: The head that the route is chosen by.
    """
    key = choice.keyOf(headers)
    told = None if key is None or key not in choice.scopes else _told(key, choice.scopes[key][0])
    others = [_told(each, scope) for each, (scope, _) in choice.scopes.items() if each != key]
    table = None if key is None else choice.scopes.get(key, (None, None))[1]
    if table is not None:
        return ChosenScope(told, others, table)
    return ChosenScope(told, others, RouteTable("", lambda headers, info: None, (), ()), _whyNone(choice, key, headers))


def _told(key: Key, scope: Section) -> Answer:
    return {"name": scope.get("name"), "key": [part.decode("latin-1") for part in key], "at": placeOf(scope)}


def _whyNone(choice: ScopeChoice, key: Key | None, headers: RequestHeaders) -> str:
    if not choice.haveCome:
        return "the scopes come by SRDS, and have not come"
    if key is None:
        fragment = next(section for section, make in choice.fragments if make(headers) is None)
        name = fragment.childOrEmpty("header_value_extractor").get("name")
        return f"it is in no scope: {name} has no such part ({placeOf(fragment)})"
    if key not in choice.scopes:
        shown = ", ".join(part.decode("latin-1") for part in key)
        return f"it is in no scope: none has the key {shown}"
    scope = choice.scopes[key][0]
    come = "are asked for on demand" if scope.get("on_demand") else "come by RDS"
    return f"the routes {scope.get('route_configuration_name')!r} of its scope {come}, and have not come"
