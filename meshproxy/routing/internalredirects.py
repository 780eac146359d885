# -*- test-case-name: tests.routing.test_internalredirects -*-
"""
C{envoy.config.route.v3.InternalRedirectPolicy}: which redirects of an upstream are followed here.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from meshproxy.config.section import Section

__all__ = [
    "InternalRedirectPolicy",
    "RedirectHop",
    "RedirectPredicate",
    "compileInternalRedirectPolicy",
    "compileRedirectPolicy",
]

# What Envoy takes for redirects; other codes in the list do nothing.
_CODES: Final = frozenset((301, 302, 303, 307, 308))
_PREDICATES: Final = "envoy.extensions.internal_redirect."


@dataclass(frozen=True, slots=True)
class RedirectHop:
    """
    A redirect that could be followed.

    @ivar origin: The name of the route that the request took.
    @ivar target: The name of the route that it would take.
    @ivar fromTLS: Whether it came by C{https}; C{toTLS} whether it would go on so.
    @ivar state: The stream's filter state, which outlives a redirect.
    """

    origin: str
    target: str
    fromTLS: bool
    toTLS: bool
    state: MutableMapping[str, object]


#: Whether a redirect may be followed.
RedirectPredicate: TypeAlias = Callable[[RedirectHop], bool]


@dataclass(frozen=True, slots=True)
class InternalRedirectPolicy:
    """
    Which redirects are followed.

    @ivar most: How many in a row.
    @ivar headersToCopy: Which headers of the redirect replace those of the request.
    """

    most: int = 1
    codes: frozenset[int] = frozenset((302,))
    predicates: tuple[RedirectPredicate, ...] = ()
    allowsCrossScheme: bool = False
    headersToCopy: tuple[bytes, ...] = ()


def _isNewRoute(hop: RedirectHop) -> bool:
    """
    C{previous_routes}: each route is the target of a redirect from the same route once.
    """
    key = f"envoy.internal_redirect.previous_routes_predicate_state.{hop.origin}"
    seen = hop.state.get(key)
    known = seen if isinstance(seen, frozenset) else frozenset()
    hop.state[key] = known | {hop.target}
    return hop.target not in known


def _isSafe(hop: RedirectHop) -> bool:
    """
    C{safe_cross_scheme}: what came by C{http} does not go on by C{https}, whose target may trust it more.
    """
    return hop.fromTLS or not hop.toTLS


def _compilePredicate(section: Section) -> RedirectPredicate | None:
    config = section.any("typed_config")
    kind = "" if config is None else config.typeName.removeprefix(_PREDICATES).partition(".")[0]
    if kind == "previous_routes":
        return _isNewRoute
    if kind == "safe_cross_scheme":
        return _isSafe
    if config is not None and kind == "allow_listed_routes":
        allowed = frozenset(config.scalars("allowed_route_names"))
        return lambda hop: hop.target in allowed
    section.refuse("previous_routes, allow_listed_routes or safe_cross_scheme is needed", "typed_config")
    return None


def compileRedirectPolicy(action: Section) -> InternalRedirectPolicy | None:
    """
    Which redirects a C{RouteAction} wants to be followed: by its policy, or else as its older fields say.
    """
    if action.has("internal_redirect_policy"):
        return compileInternalRedirectPolicy(action.childOrEmpty("internal_redirect_policy"))
    if action.get("internal_redirect_action") != "HANDLE_INTERNAL_REDIRECT":
        return None
    return InternalRedirectPolicy(action.wrapped("max_internal_redirects", 1))


def compileInternalRedirectPolicy(section: Section | None) -> InternalRedirectPolicy | None:
    """
    Compile a policy; L{None} stays L{None}.
    """
    if section is None:
        return None
    copied = section.scalars("response_headers_to_copy")
    for index, name in enumerate(copied):
        if name.startswith(":") or name.lower() == "host":
            section.refuse(":-prefixed headers or Host are not allowed", f"response_headers_to_copy[{index}]")
    codes = frozenset(section.scalars("redirect_response_codes")) & _CODES
    predicates = map(_compilePredicate, section.children("predicates"))
    return InternalRedirectPolicy(
        section.wrapped("max_internal_redirects", 1),
        codes if section.has("redirect_response_codes") else frozenset((302,)),
        tuple([predicate for predicate in predicates if predicate is not None]),
        section.get("allow_cross_scheme_redirect"),
        tuple([name.lower().encode("utf-8") for name in copied]),
    )
