# -*- test-case-name: tests.filters.network.test_rbac -*-
"""
C{envoy.filters.network.rbac}: who may connect.

Beyond Envoy, a refused connection is told why: C{denied_because} in the dynamic metadata, for the access log, and a
line in the debug log.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from meshproxy.accesslog.attributes import ofConnections
from meshproxy.accesslog.streaminfo import ConnectionInfo, StreamInfo
from meshproxy.config import Section
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
from meshproxy.http.filter import Foreseen
from meshproxy.http.matchinputs import CONNECTION_INPUTS
from meshproxy.interfaces import STOP, INetworkConnection, INetworkFilter
from meshproxy.net.filter import ConnectionFilter, NetworkFilterContext, PassingFilter
from meshproxy.stats import Scope

# Properties stand in for attributes of the class above.
# mypy: disable-error-code="override"

__all__ = ["RBAC", "AuthorizedConnection", "ConnectionFacts", "Engine"]

_MESSAGE = "envoy.extensions.filters.network.rbac.v3.RBAC"

declare(_MESSAGE, "rules", "shadow_rules", "shadow_rules_stat_prefix", "stat_prefix", "enforcement_type", "delay_deny")
declare(_MESSAGE, "matcher", "shadow_matcher")

# As in Envoy, whatever the filter is called in its chain.
_NAMESPACE = "envoy.filters.network.rbac"

# What only requests have.
_OF_REQUESTS = frozenset({"header", "url_path"})

_NO_HEADERS = RequestHeaders(b"", b"")


class ConnectionFacts(StreamInfo):
    """
    A connection, as rules see it: what they call a stream.
    """

    route = None

    def __init__(self, info: ConnectionInfo) -> None:
        self.connection = info

    @property
    def dynamicMetadata(self) -> dict[str, dict[str, object]] | None:
        """
        What earlier filters noted.
        """
        return self.connection.dynamicMetadata

    @property
    def filterState(self) -> dict[str, object] | None:
        """
        What earlier filters share.
        """
        return self.connection.filterState


class Engine:
    """
    Compiled policies, with what is counted and noted of their verdicts.
    """

    def __init__(self, policies: Policies | MatchedPolicies, scope: Scope, statPrefix: str, isShadow: bool) -> None:
        """
        @param scope: Of C{rbac.}.
        @param isShadow: Whether nothing is refused.
        """
        self.policies = policies
        self.logs = policies.action == "LOG"
        self._isShadow = isShadow
        self._prefix = statPrefix
        mine = scope.scope(f"{statPrefix.removesuffix('.')}." if statPrefix else "")
        shadow = "shadow_" if isShadow else ""
        self._allowed = mine.counter(f"{shadow}allowed")
        self._denied = mine.counter(f"{shadow}denied")

    def check(self, facts: ConnectionFacts) -> Verdict:
        """
        Decide, count, and note the verdict.
        """
        verdict = self.policies.check(facts, _NO_HEADERS)
        info = facts.connection
        if self._isShadow:
            info.note(_NAMESPACE, self._prefix + "shadow_engine_result", "allowed" if verdict.allowed else "denied")
            if verdict.policy:
                info.note(_NAMESPACE, self._prefix + "shadow_effective_policy_id", verdict.policy)
        if self.logs:
            info.note("envoy.common", "access_log_hint", bool(verdict.policy))
        (self._allowed if verdict.allowed else self._denied).value += 1
        if not verdict.allowed:
            key = f"{self._prefix}shadow_denied_because" if self._isShadow else "denied_because"
            info.note(_NAMESPACE, key, self.policies.explain(facts, _NO_HEADERS, verdict))
        return verdict


class RBAC(PassingFilter):
    """
    The policies of one filter chain.

    @ivar rules: What is enforced; L{None} where everything is allowed.
    @ivar shadowRules: What is only tried.
    @ivar isContinuous: Whether each piece of data is asked for anew.
    @ivar delay: After how many seconds who is denied is closed.
    """

    configType = _MESSAGE
    log = Logger()

    def __init__(self, section: Section, context: NetworkFilterContext) -> None:
        prefix: str = section.get("stat_prefix")
        self._scope = context.store.scope(f"{prefix.removesuffix('.')}.rbac." if prefix else "rbac.")
        self.clock = context.clock
        self.isContinuous: bool = section.get("enforcement_type") == "CONTINUOUS"
        self.delay = section.seconds("delay_deny", 0.0) or 0.0
        self.rules = self._engine(section, "", "")
        shadowPrefix: str = section.get("shadow_rules_stat_prefix")
        self.shadowRules = self._engine(section, "shadow_", shadowPrefix)

    def _engine(self, filter: Section, prefix: str, statPrefix: str) -> Engine | None:
        section, matcher = filter.child(f"{prefix}rules"), filter.child(f"{prefix}matcher")
        isShadow = bool(prefix)
        if matcher is not None:
            if section is not None:
                filter.refuse("Envoy ignores the rules beside a matcher: one of them is enough", f"{prefix}rules")
            return Engine(compileMatchedPolicies(matcher, CONNECTION_INPUTS), self._scope, statPrefix, isShadow)
        if section is None:
            return None
        if section.has("audit_logging_options"):
            section.refuse("Envoy 1.40 has no audit loggers either, and logs nothing", "audit_logging_options")
        _refuseRequestRules(section)
        return Engine(compilePolicies(section, ofConnections), self._scope, statPrefix, isShadow)

    def buildFilter(self, info: Any) -> INetworkFilter | None:
        """
        See L{PassingFilter.buildFilter}.
        """
        return None if self.rules is None and self.shadowRules is None else AuthorizedConnection(self)

    def foresee(self, info: Any) -> Foreseen:
        """
        See L{PassingFilter.foresee}.
        """
        rules, shadowRules = (None if one is None else one.policies for one in (self.rules, self.shadowRules))
        return foreseen(rules, shadowRules, ConnectionFacts(info), _NO_HEADERS, 0)

    def stop(self) -> None:
        """
        See L{PassingFilter.stop}.
        """
        self._scope.close()


def _refuseRequestRules(section: Section) -> None:
    """
    Refuse what asks for headers or a path, wherever it stands.
    """
    for policy in section.entries("policies").values():
        waiting = [*policy.children("permissions"), *policy.children("principals")]
        while waiting:
            rule = waiting.pop()
            kind = rule.oneof("rule" if rule.typeName.endswith("Permission") else "identifier") or ""
            if kind in _OF_REQUESTS:
                rule.refuse("a connection has no request; only the HTTP filter can ask for it", kind)
            elif kind in ("and_rules", "or_rules"):
                waiting += rule.childOrEmpty(kind).children("rules")
            elif kind in ("and_ids", "or_ids"):
                waiting += rule.childOrEmpty(kind).children("ids")
            elif kind in ("not_rule", "not_id"):
                waiting.append(rule.childOrEmpty(kind))


class AuthorizedConnection(ConnectionFilter):
    """
    One connection. As in Envoy it is judged when the first bytes come, so that TLS and earlier filters have told what
    they know by then.
    """

    seesData = True
    _timer: IDelayedCall | None = None

    def __init__(self, plan: RBAC) -> None:
        self._plan = plan

    def connectionMade(self, connection: INetworkConnection) -> object:
        """
        See L{INetworkFilter.connectionMade}.
        """
        self._connection = connection
        self._facts = ConnectionFacts(connection.info)
        return None

    def dataReceived(self, data: bytes) -> object:
        """
        See L{INetworkFilter.dataReceived}.
        """
        return STOP if self._judge() else None

    def readConnectionLost(self) -> None:
        """
        See L{INetworkFilter.readConnectionLost}: as in Envoy, who says nothing is judged at the end.
        """
        self._judge()

    def _judge(self) -> bool:
        """
        Ask the policies.

        @return: Whether the connection is denied.
        """
        plan, connection = self._plan, self._connection
        if plan.shadowRules is not None:
            plan.shadowRules.check(self._facts)
        verdict = None if plan.rules is None else plan.rules.check(self._facts)
        if verdict is None or verdict.allowed:
            if not plan.isContinuous:
                connection.ignoreData(self)
            return False
        self._deny(verdict)
        return True

    def _deny(self, verdict: Verdict) -> None:
        plan, info = self._plan, self._connection.info
        info.terminationDetails = deniedDetails(verdict.policy)
        plan.log.debug(
            "denied a connection from {peer}: {why}",
            peer=info.remoteAddress and info.remoteAddress.text,
            why=info.dynamicMetadata[_NAMESPACE]["denied_because"],
        )
        if plan.delay:
            self._timer = plan.clock.callLater(plan.delay, self._close)
        else:
            self._close()

    def _close(self) -> None:
        self._timer = None
        self._connection.close("rbac_deny_close")

    def connectionLost(self, reason: Any) -> None:
        """
        See L{INetworkFilter.connectionLost}.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
