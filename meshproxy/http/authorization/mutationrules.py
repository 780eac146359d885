# -*- test-case-name: tests.http.authorization.test_mutationrules -*-
"""
C{envoy.config.common.mutation_rules.v3.HeaderMutationRules}: which fields of a request somebody else may change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from meshproxy.config import Section
from meshproxy.config.matchers import compileRegexMatcher
from meshproxy.config.supported import declare

__all__ = ["ANY_MUTATION", "MutationRules", "compileMutationRules"]

_RULES = "envoy.config.common.mutation_rules.v3.HeaderMutationRules"

declare(_RULES, "allow_all_routing", "allow_envoy", "disallow_system", "disallow_all", "disallow_is_error")
declare(_RULES, "allow_expression", "disallow_expression")

# By what a request is routed: nobody changes it who is not allowed to.
_ROUTING = frozenset((b"host", b":authority", b":method", b":scheme"))


@dataclass(frozen=True, slots=True)
class MutationRules:
    """
    Compiled rules.

    @ivar allows: Whether a field of a name, in lower case, may be changed.
    @ivar failsOtherwise: Whether the wish to change one that may not be is an error; else it is not heeded.
    @ivar appendsToPseudo: Whether something may be added to pseudo-header fields.
    """

    allows: Callable[[bytes], bool]
    failsOtherwise: bool = False
    appendsToPseudo: bool = False


#: Where nobody set rules.
ANY_MUTATION = MutationRules(lambda name: True, appendsToPseudo=True)


def compileMutationRules(section: Section | None) -> MutationRules:
    """
    Compile rules; without any everything goes.
    """
    if section is None:
        return ANY_MUTATION
    never, always = (_expression(section, field) for field in ("disallow_expression", "allow_expression"))
    everything, pseudo, routing, ours = (
        section.wrapped(field, False)
        for field in ("disallow_all", "disallow_system", "allow_all_routing", "allow_envoy")
    )

    def allows(name: bytes) -> bool:
        # Envoy's order.
        if never is not None and never(name):
            return False
        if always is not None and always(name):
            return True
        return not (
            everything
            or (not routing and name in _ROUTING)
            or (pseudo and name.startswith(b":"))
            or (not ours and name.startswith(b"x-envoy"))
        )

    return MutationRules(allows, section.wrapped("disallow_is_error", False))


def _expression(section: Section, field: str) -> Callable[[bytes], bool] | None:
    child = section.child(field)
    if child is None:
        return None
    regex = compileRegexMatcher(child)
    return (lambda name: False) if regex is None else lambda name: bool(regex.fullMatch(name))
