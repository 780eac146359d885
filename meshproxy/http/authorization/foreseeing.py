# -*- test-case-name: tests.admin.explain.test_verdicts -*-
"""
What rules would say of requests that nobody sent, and of connections that nobody made.
"""

from __future__ import annotations

import re
from typing import Any

from meshproxy.headers import RequestHeaders
from meshproxy.http.authorization.policies import MatchedPolicies, Policies, Verdict
from meshproxy.http.filter import Foreseen

__all__ = ["deniedDetails", "foreseen"]

_SPACE = re.compile(r"\s")

# What is not known of a request before somebody sends it, as the beginnings of names.
_UNFORESEEN = (
    *("request.time", "request.id", "request.size", "request.total_size", "source.", "metadata", "filter_state"),
    *("connection.id", "connection.tls_version", "connection.subject_", "connection.dns_san_", "connection.sha256_"),
    *("connection.peer_certificate", "connection.uri_san_local_"),
)


def deniedDetails(policy: str) -> str:
    """
    The details of what a policy denied.
    """
    # A space would be another column of the access log.
    return f"rbac_access_denied_matched_policy[{_SPACE.sub('_', policy) or 'none'}]"


def foreseen(
    rules: Policies | MatchedPolicies | None,
    shadowRules: Policies | MatchedPolicies | None,
    stream: Any,
    headers: RequestHeaders,
    status: int,
) -> Foreseen:
    """
    Decide, and say why; nothing is counted or noted.

    @param rules: What is enforced, and C{shadowRules} what is only tried; each L{None} where there is none.
    @param status: What a denied request is answered with, or 0 where the connection is closed.
    """
    told, policies, denied = [], [], None
    for held, prefix in ((rules, ""), (shadowRules, "only tried: ")):
        if held is not None:
            verdict = held.check(stream, headers)
            told.append(prefix + _why(held, verdict, stream, headers) + _doubts(held, stream))
            policies += [verdict.policy] if verdict.policy else []
            denied = verdict if held is rules and not verdict.allowed else denied
    text = "; ".join(told) or "allowed: there are no rules"
    if denied is None:
        return Foreseen(text, policies=tuple(policies))
    return Foreseen(text, status, deniedDetails(denied.policy), tuple(policies), closes=not status)


def _doubts(policies: Policies | MatchedPolicies, stream: Any) -> str:
    """
    What to say of expressions that ask what nobody knows of a request that was not sent.
    """
    if stream.startTime:
        return ""
    names = {name for each in policies.policies for name in each.condition.asks}
    doubted = sorted(name for name in names if name.removeprefix("has(").startswith(_UNFORESEEN))
    return f" (a real one may be judged otherwise, by its {', '.join(doubted)})" if doubted else ""


def _why(policies: Policies | MatchedPolicies, verdict: Verdict, stream: Any, headers: RequestHeaders) -> str:
    action = policies.action
    if verdict.policy or not verdict.allowed:
        why = policies.explain(stream, headers, verdict)
    else:
        why = f"no policy {'denies' if action == 'DENY' else 'matches'} it"
    if action == "LOG":
        return f"{'logged' if verdict.policy else 'not logged'}: {why}"
    return f"{'allowed' if verdict.allowed else 'denied'}: {why}"
