# -*- test-case-name: tests.controlplane.translate.test_routes -*-
"""
Retries, faults and cross-origin policies of routes.
"""

from __future__ import annotations

from meshproxy.controlplane.model.routes import CorsPolicy, HTTPFaultInjection, HTTPRetry
from meshproxy.controlplane.translate.matching import stringMatcher
from meshproxy.controlplane.translate.messages import JSON, duration, share, typed, without
from meshproxy.flags import GRPC_STATUSES

__all__ = ["corsPolicy", "faultPolicy", "inboundRetryPolicy", "retryPolicy"]

#: What is tried again where nobody says otherwise: what certainly, or as good as, did nothing (Istio's).
_RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
_INBOUND_RETRY_ON = "reset-before-request"

_RETRIES = 2
_ATTEMPTS_OF_SELECTION = 5

_OTHER_HOSTS: JSON = {
    "name": "envoy.retry_host_predicates.previous_hosts",
    "typedConfig": typed("envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"),
}
_OTHER_PRIORITIES: JSON = {
    "name": "envoy.retry_priorities.previous_priorities",
    "typedConfig": typed(
        "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig", {"updateFrequency": 2}
    ),
}


def retryPolicy(retries: HTTPRetry | None, hashes: bool) -> JSON | None:
    """
    When a request is tried again; never, where it says 0 attempts.

    @param hashes: Whether a hash decides on the endpoint: then another one would be a wrong one.
    """
    made: JSON = {
        "retryOn": _RETRY_ON,
        "numRetries": _RETRIES,
        "hostSelectionRetryMaxAttempts": _ATTEMPTS_OF_SELECTION,
        "retryHostPredicate": [] if hashes else [_OTHER_HOSTS],
    }
    if retries is not None:
        if retries.attempts <= 0:
            return None
        made["numRetries"] = retries.attempts
        if retries.retryOn:
            made.update(_conditions(retries.retryOn))
        if retries.perTryTimeout is not None:
            made["perTryTimeout"] = duration(retries.perTryTimeout)
        if retries.retryIgnorePreviousHosts is not None:
            made["retryHostPredicate"] = [_OTHER_HOSTS] if retries.retryIgnorePreviousHosts else []
        if retries.retryRemoteLocalities:
            made["retryPriority"] = _OTHER_PRIORITIES
        if retries.backoff is not None:
            made["retryBackOff"] = {"baseInterval": duration(retries.backoff)}
    return without(made)


def inboundRetryPolicy(retries: HTTPRetry | None, isGRPC: bool) -> JSON | None:
    """
    The same before the own workload, which is the only endpoint: a connection that it had closed costs nothing.
    """
    if isGRPC or (retries is not None and retries.attempts <= 0):
        return None
    made: JSON = {"retryOn": _INBOUND_RETRY_ON, "numRetries": _RETRIES}
    if retries is not None:
        made["numRetries"] = retries.attempts
        if retries.retryOn:
            made.update(_conditions(retries.retryOn))
        if retries.backoff is not None:
            made["retryBackOff"] = {"baseInterval": duration(retries.backoff)}
    return without(made)


def _conditions(text: str) -> JSON:
    """
    Words, and statuses among them.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    statuses = [int(part) for part in parts if part.isascii() and part.isdigit()]
    words = [part for part in parts if not part.isdigit()]
    if statuses and "retriable-status-codes" not in words:
        words.append("retriable-status-codes")
    return {"retryOn": ",".join(words), "retriableStatusCodes": statuses}


def faultPolicy(fault: HTTPFaultInjection) -> JSON | None:
    """
    The fault filter's part of a route.
    """
    made: JSON = {}
    delay, abort = fault.delay, fault.abort
    if delay is not None and delay.fixedDelay is not None:
        # A delay that names no share at all delays nothing in Istio, its older field being 0.
        percent = delay.percentage.value if delay.percentage is not None else float(delay.percent)
        made["delay"] = {"fixedDelay": duration(delay.fixedDelay), "percentage": share(percent)}
    if abort is not None and (abort.httpStatus is not None or abort.grpcStatus is not None):
        made["abort"] = without(
            {
                "httpStatus": abort.httpStatus,
                "grpcStatus": GRPC_STATUSES.index(abort.grpcStatus) if abort.grpcStatus is not None else None,
                "percentage": share(abort.percentage.value) if abort.percentage is not None else None,
            }
        )
    return typed("envoy.extensions.filters.http.fault.v3.HTTPFault", made) if made else None


def corsPolicy(policy: CorsPolicy) -> JSON:
    """
    The cross-origin filter's part of a route.
    """
    origins = [stringMatcher(match) for match in policy.allowOrigins]
    origins = origins or [{"exact": text} for text in policy.allowOrigin]
    forward = {"FORWARD": True, "IGNORE": False}.get(policy.unmatchedPreflights)
    return typed(
        "envoy.extensions.filters.http.cors.v3.CorsPolicy",
        without(
            {
                "allowOriginStringMatch": origins,
                "allowMethods": ",".join(policy.allowMethods) or None,
                "allowHeaders": ",".join(policy.allowHeaders) or None,
                "exposeHeaders": ",".join(policy.exposeHeaders) or None,
                "maxAge": str(int(policy.maxAge)) if policy.maxAge is not None else None,
                "allowCredentials": policy.allowCredentials,
                "filterEnabled": {"defaultValue": {"numerator": 100}},
                "forwardNotMatchingPreflights": forward,
            }
        ),
    )
