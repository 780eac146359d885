# -*- test-case-name: tests.filters.http.test_rbac -*-
"""
C{envoy.filters.http.rbac}: who may do what.

Beyond Envoy, a refused request is told why: C{denied_because} in the dynamic metadata, for the access log and for
C{explain}, and a line in the debug log. The peer only ever sees C{RBAC: access denied}.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from meshproxy.config import Section
from meshproxy.config.expressions import Expression
from meshproxy.config.supported import declare
from meshproxy.headers import RequestHeaders
from meshproxy.http.authorization.foreseeing import deniedDetails, foreseen
from meshproxy.http.authorization.policies import (
    MatchedPolicies,
    Policies,
    Verdict,
    compileMatchedPolicies,
    compilePolicies,
)
from meshproxy.http.filter import FilterContext, Foreseen, HTTPFilter, RequestHeadersMethod
from meshproxy.http.metadata import noteMetadata, noteShared
from meshproxy.http.passage import Step, usually
from meshproxy.interfaces import IHTTPStream
from meshproxy.stats.store import CounterFamily, Scope

__all__ = ["RBAC", "Engine", "RBACPlan"]

_PACKAGE = "envoy.extensions.filters.http.rbac.v3."

declare(_PACKAGE + "RBAC", "rules", "rules_stat_prefix", "shadow_rules", "shadow_rules_stat_prefix")
declare(_PACKAGE + "RBAC", "track_per_rule_stats", "matcher", "shadow_matcher")
declare(_PACKAGE + "RBACPerRoute", "rbac")

# As in Envoy, whatever the filter is called in its chain.
_NAMESPACE = "envoy.filters.http.rbac"


class Engine:
    """
    Compiled policies, with what is counted and noted of their verdicts.
    """

    __slots__ = ("_allowed", "_becauseKey", "_denied", "_idKey", "_perPolicy", "_resultKey", "_shadow", "policies")

    def __init__(
        self, policies: Policies | MatchedPolicies, scope: Scope, statPrefix: str, word: str, tracks: bool
    ) -> None:
        """
        @param scope: Of C{rbac.}.
        @param statPrefix: C{rules_stat_prefix}.
        @param word: C{"enforced"}, or C{"shadow"} where nothing is refused.
        """
        self.policies = policies
        mine = scope.scope(f"{statPrefix.removesuffix('.')}." if statPrefix else "")
        self._shadow = shadow = "shadow_" if word == "shadow" else ""
        self._allowed = mine.counter(f"{shadow}allowed")
        self._denied = mine.counter(f"{shadow}denied")
        self._perPolicy: CounterFamily | None = mine.counters("policy.") if tracks else None
        self._idKey = f"{statPrefix}{word}_effective_policy_id"
        self._resultKey = f"{statPrefix}{word}_engine_result"
        self._becauseKey = f"{statPrefix}{shadow}denied_because"

    def check(self, stream: Any, headers: RequestHeaders) -> Verdict:
        """
        Decide, count, and note the verdict in the dynamic metadata.
        """
        verdict = self.policies.check(stream, headers)
        allowed, policy = verdict
        noted = {self._resultKey: "allowed" if allowed else "denied"}
        if policy:
            noted[self._idKey] = policy
        if allowed:
            self._allowed.value += 1
        else:
            self._denied.value += 1
            noted[self._becauseKey] = self.policies.explain(stream, headers, verdict)
        if policy and self._perPolicy is not None:
            self._perPolicy[f"{policy}.{self._shadow}{'allowed' if allowed else 'denied'}"].value += 1
        noteMetadata(stream, _NAMESPACE, noted)
        return verdict

    def compilePass(self, decide: RequestHeadersMethod) -> RequestHeadersMethod:
        """
        Make a function that lets requests pass as the filter does, in one step, where neither their route has
        something to say nor anything but the verdict is to be told.

        @param decide: What the filter does with all others.
        """
        if self._perPolicy is not None:
            return decide
        check, allowed, resultKey, idKey = self.policies.check, self._allowed, self._resultKey, self._idKey

        def requestHeaders(stream: Any, headers: RequestHeaders, endStream: bool) -> object:
            route = stream.route
            if route is not None and route.overrides.configs:
                return decide(stream, headers, endStream)
            isAllowed, policy = check(stream, headers)
            if not isAllowed:
                return decide(stream, headers, endStream)
            allowed.value += 1
            noted = {resultKey: "allowed", idKey: policy} if policy else {resultKey: "allowed"}
            noteMetadata(stream, _NAMESPACE, noted)
            return None

        told = self.policies.told(self._noteOf)
        return requestHeaders if told is None else usually(requestHeaders, self._step(told))

    def _noteOf(self, verdict: Verdict) -> tuple[str, dict[str, object]] | None:
        """
        What is noted of a verdict that lets a request pass; L{None} for one that does not.
        """
        if not verdict.allowed:
            return None
        noted: dict[str, object] = {self._resultKey: "allowed"}
        if verdict.policy:
            noted[self._idKey] = verdict.policy
        return _NAMESPACE, noted

    def _step(self, told: Expression) -> Step:
        return Step(
            Expression(f"(not configured and (note := {told.source}) is not None)", told.names),
            (
                Expression.statement("{allowed}.value += 1", allowed=self._allowed),
                Expression.statement("if stream.noted is None: stream.noted = note"),
                Expression.statement("else: {noteShared}(stream, note)", noteShared=noteShared),
            ),
        )

    def because(self, stream: Any) -> str:
        """
        Why L{check} refused.
        """
        told: str = stream.dynamicMetadata[_NAMESPACE][self._becauseKey]
        return told


@dataclass(frozen=True, slots=True)
class RBACPlan:
    """
    A compiled C{RBAC}.

    @ivar rules: What is enforced; L{None} where everything is allowed.
    @ivar shadowRules: What is only tried.
    @ivar logs: Whether C{rules} decide about logging (C{action: LOG}).
    """

    rules: Engine | None
    shadowRules: Engine | None
    logs: bool


class RBAC(HTTPFilter):
    """
    One instance serves all streams.
    """

    shared = True
    servesUpstream = True
    configType = _PACKAGE + "RBAC"
    routeConfigType = _PACKAGE + "RBACPerRoute"

    def __init__(self, config: RBACPlan, context: FilterContext) -> None:
        super().__init__(config, context)
        if config.rules is not None and config.shadowRules is None and not config.logs:
            self.requestHeaders = config.rules.compilePass(  # type: ignore[assignment,method-assign]  # the same signature
                self.requestHeaders
            )

    @classmethod
    def compileConfig(cls, section: Section, context: FilterContext) -> RBACPlan:
        scope = context.scope.scope("rbac.")
        tracks: bool = section.get("track_per_rule_stats")

        def engine(prefix: str, word: str) -> Engine | None:
            rules, matcher = section.child(f"{prefix}rules"), section.child(f"{prefix}matcher")
            statPrefix: str = section.get(f"{prefix}rules_stat_prefix")
            if matcher is not None:
                if rules is not None:
                    section.refuse("Envoy ignores the rules beside a matcher: one of them is enough", f"{prefix}rules")
                return Engine(compileMatchedPolicies(matcher), scope, statPrefix, word, tracks)
            if rules is None:
                return None
            if rules.has("audit_logging_options"):
                rules.refuse("Envoy 1.40 has no audit loggers either, and logs nothing", "audit_logging_options")
            return Engine(compilePolicies(rules), scope, statPrefix, word, tracks)

        rules, shadowRules = engine("", "enforced"), engine("shadow_", "shadow")
        return RBACPlan(rules, shadowRules, rules is not None and rules.policies.action == "LOG")

    @classmethod
    def compileRouteConfig(cls, section: Section, context: FilterContext) -> RBACPlan:
        # RBACPerRoute without rbac: the filter lets everything through on this route.
        held = section.child("rbac")
        return RBACPlan(None, None, False) if held is None else cls.compileConfig(held, context)

    @classmethod
    def foresee(cls, config: RBACPlan, stream: Any, headers: RequestHeaders) -> Foreseen:
        rules, shadowRules = (None if one is None else one.policies for one in (config.rules, config.shadowRules))
        return foreseen(rules, shadowRules, stream, headers, 403)

    def requestHeaders(self, stream: IHTTPStream, headers: RequestHeaders, endStream: bool) -> object:
        plan: RBACPlan = stream.routeConfig(self.context.name) or self.config
        if plan.shadowRules is not None:
            plan.shadowRules.check(stream, headers)
        if plan.rules is None:
            return None
        verdict = plan.rules.check(stream, headers)
        hint = plan.rules.policies.hints(verdict) if plan.logs else None
        if hint is not None:
            noteMetadata(stream, "envoy.common", {"access_log_hint": hint})
        if verdict.allowed:
            return None
        self.context.log.debug(
            "{name} denied {method} {path}: {why}",
            name=self.context.name,
            method=headers.method,
            path=headers.path,
            why=plan.rules.because(stream),
        )
        return stream.reply(403, b"RBAC: access denied", details=deniedDetails(verdict.policy))
