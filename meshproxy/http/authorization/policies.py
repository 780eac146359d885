# -*- test-case-name: tests.http.authorization.test_policies -*-
"""
Who may do what: C{envoy.config.rbac.v3.RBAC}, compiled.

A rule is a pair of functions: one that decides, on the path of every request, and one that says why, asked only when a
request was refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from meshproxy.accesslog.attributes import ofStreams
from meshproxy.config.cel.program import FindVariable
from meshproxy.config.expressions import Expression, compileFunction, expressionOf
from meshproxy.config.matchertree import CompileInput, MatcherTree, compileMatcherTree
from meshproxy.config.section import Section
from meshproxy.config.supported import declare, decline
from meshproxy.headers import RequestHeaders
from meshproxy.http.authorization.conditions import compileCondition, compilePermission, compilePrincipal
from meshproxy.http.authorization.rule import ALWAYS, Rule, Test, allRules, anyRule
from meshproxy.http.matchinputs import REQUEST_INPUTS

__all__ = ["MatchedPolicies", "Policies", "Policy", "Verdict", "compileMatchedPolicies", "compilePolicies"]

_RBAC = "envoy.config.rbac.v3."

declare(_RBAC + "RBAC", "action", "policies")
declare(_RBAC + "Policy", "permissions", "principals", "condition", "cel_config")
decline(_RBAC + "Policy", "checked_condition", "Envoy ignores it; its expr can be the condition")
declare(_RBAC + "Action", "name", "action")

# Saying why costs more than refusing, and whoever is refused chooses how often: no more policies are compared.
_MOST_COMPARED = 32

# So many policies, and no more, stand in one function with what other filters do.
_MOST_INLINE = 8


@dataclass(frozen=True, slots=True)
class Policy:
    """
    One policy: some permission and some principal must match, and its condition must hold.
    """

    name: str
    permission: Rule
    principal: Rule
    condition: Rule = ALWAYS

    def nearness(self, stream: Any, headers: RequestHeaders) -> float:
        """
        How much of it matches, from 0 to 3.
        """
        return sum(rule.share(stream, headers) for rule in (self.permission, self.principal, self.condition))

    def whyNot(self, stream: Any, headers: RequestHeaders) -> str:
        """
        The first condition that fails.
        """
        rules = (self.permission, self.principal)
        failed = next((rule for rule in rules if not rule.test(stream, headers)), self.condition)
        return f"policy {self.name!r}: {failed.why(stream, headers)}"

    def why(self, stream: Any, headers: RequestHeaders) -> str:
        """
        What made it match.
        """
        rules = (self.permission, self.principal, *(() if self.condition.always else (self.condition,)))
        told = [rule.fact(stream, headers) for rule in rules]
        return f"policy {self.name!r} matches: {', '.join(dict.fromkeys(told))}"


class Verdict(NamedTuple):
    """
    What the policies say.

    @ivar allowed: Whether the request may go on.
    @ivar policy: The name of the policy that matched, or empty.
    """

    allowed: bool
    policy: str


class Policies:
    """
    A compiled C{RBAC}.

    @ivar action: C{"ALLOW"}, C{"DENY"} or C{"LOG"}.
    @ivar policies: In the order in which they are asked: by name, as in Envoy.
    @ivar check: Decides, with the stream and its headers.
    """

    __slots__ = ("_tests", "_unmatched", "action", "check", "policies")

    def __init__(self, action: str, policies: Sequence[Policy]) -> None:
        self.action = action
        self.policies = tuple(sorted(policies, key=lambda policy: policy.name.encode("utf-8")))
        # All verdicts there are, made beforehand.
        allowsMatched = action != "DENY"
        self._tests = tuple((_all(policy), Verdict(allowsMatched, policy.name)) for policy in self.policies)
        self._unmatched = Verdict(action != "ALLOW", "")
        self.check: Callable[[Any, RequestHeaders], Verdict] = self._compile()

    def _compile(self) -> Callable[[Any, RequestHeaders], Verdict]:
        names: dict[str, Any] = {"unmatched": self._unmatched}
        body: list[str] = []
        for number, (test, verdict) in enumerate(self._tests):
            expression = expressionOf(test, "stream, headers")
            names |= {**expression.names, f"verdict{number}": verdict}
            body.append(f"if {expression.source}: return verdict{number}")
        return compileFunction("stream, headers", [*body, "return unmatched"], names)

    def told(self, tell: Callable[[Verdict], object]) -> Expression | None:
        """
        What is to be told of the verdict, for a function that is written of many steps; L{None} where the policies are
        too many for that.

        @param tell: What is told of each verdict there is.
        """
        if len(self._tests) > _MOST_INLINE:
            return None
        told = Expression.of("{unmatched}", unmatched=tell(self._unmatched))
        for test, verdict in reversed(self._tests):
            asked = expressionOf(test, "stream, headers")
            mine = Expression.of("{matched}", matched=tell(verdict))
            source = f"({mine.source} if {asked.source} else {told.source})"
            told = Expression(source, {**mine.names, **asked.names, **told.names})
        return told

    def checkEach(self, stream: Any, headers: RequestHeaders) -> Verdict:
        """
        Decide, by asking each policy; L{check} does so in one function.
        """
        for test, verdict in self._tests:
            if test(stream, headers):
                return verdict
        return self._unmatched

    def hints(self, verdict: Verdict) -> bool | None:
        """
        Whether to log the request, where C{action} is C{LOG}; L{None} where nothing says so.
        """
        return bool(verdict.policy)

    def explain(self, stream: Any, headers: RequestHeaders, verdict: Verdict) -> str:
        """
        Say why a request was refused: the policy that forbids it, or what is missing of the one that would come nearest
        to allowing it.
        """
        if verdict.policy:
            policy = next(policy for policy in self.policies if policy.name == verdict.policy)
            return policy.why(stream, headers)
        if not self.policies:
            return "there is no policy, so nothing is allowed"
        compared = self.policies[:_MOST_COMPARED]
        nearest = max(compared, key=lambda policy: policy.nearness(stream, headers))
        return nearest.whyNot(stream, headers)


class MatchedPolicies:
    """
    A compiled C{matcher}: a tree whose actions allow, deny or log. What leads to none is denied.

    @ivar action: C{"LOG"} if any action logs, else C{"ALLOW"}.
    @cvar policies: None.
    """

    policies: Sequence[Policy] = ()

    __slots__ = ("_find", "_logging", "action")

    _UNMATCHED = Verdict(False, "")

    def __init__(self, find: MatcherTree, logging: frozenset[str]) -> None:
        """
        @param find: Finds the L{Verdict}.
        @param logging: The names of the actions that log.
        """
        self._find = find
        self._logging = logging
        self.action = "LOG" if logging else "ALLOW"

    def check(self, stream: Any, headers: RequestHeaders) -> Verdict:
        """
        See L{Policies.check}.
        """
        verdict: Verdict | None = self._find(stream)
        return self._UNMATCHED if verdict is None else verdict

    def told(self, tell: Callable[[Verdict], object]) -> None:
        """
        See L{Policies.told}.
        """

    def hints(self, verdict: Verdict) -> bool | None:
        """
        See L{Policies.hints}.
        """
        return None if verdict is self._UNMATCHED else verdict.policy in self._logging

    def explain(self, stream: Any, headers: RequestHeaders, verdict: Verdict) -> str:
        """
        See L{Policies.explain}.
        """
        return f"action {verdict.policy!r} denies it" if verdict.policy else "the matcher leads to no action"


def compileMatchedPolicies(section: Section, inputs: Mapping[str, CompileInput] = REQUEST_INPUTS) -> MatchedPolicies:
    """
    Compile C{xds.type.matcher.v3.Matcher} with actions of C{envoy.config.rbac.v3.Action}.

    @param inputs: What there is to look at.
    """
    logging: set[str] = set()

    def compileAction(held: Section) -> Verdict | None:
        action = held.any("typed_config")
        if action is None or action.typeName != _RBAC + "Action":
            held.refuse(f"an action here is {_RBAC}Action", "typed_config")
            return None
        if action.get("action") == "LOG":
            logging.add(action.get("name"))
        return Verdict(action.get("action") != "DENY", action.get("name"))

    return MatchedPolicies(compileMatcherTree(section, inputs, compileAction), frozenset(logging))


def _all(policy: Policy) -> Test:
    return allRules([policy.permission, policy.principal, policy.condition]).test


def compilePolicies(section: Section, find: FindVariable = ofStreams) -> Policies:
    """
    Compile C{envoy.config.rbac.v3.RBAC}.

    @param find: What conditions may ask.
    """
    policies = []
    for name, held in section.entries("policies").items():
        permission = anyRule([compilePermission(rule) for rule in held.children("permissions")])
        principal = anyRule([compilePrincipal(rule) for rule in held.children("principals")])
        policies.append(Policy(name, permission, principal, compileCondition(held, find)))
    return Policies(section.get("action"), policies)
