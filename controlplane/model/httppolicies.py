# -*- test-case-name: tests.controlplane.model.test_virtualservice -*-
"""
The checks of retries, faults and cross-origin policies of an HTTP route.
"""

from __future__ import annotations

from meshproxy.controlplane.model.common import Percent, checkStringMatch
from meshproxy.controlplane.model.names import RETRY_ON, badDuration, badHeaderName, badRetryOn
from meshproxy.controlplane.model.routes import CorsPolicy, HTTPFaultInjection, HTTPRetry
from meshproxy.controlplane.model.spots import Spot
from meshproxy.flags import GRPC_STATUSES

__all__ = ["checkCors", "checkFault", "checkRetries"]

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*")


def checkRetries(retries: HTTPRetry, spot: Spot) -> None:
    """
    Tell what is wrong with a retry policy.
    """
    if retries.attempts < 0:
        spot["attempts"].refuse(f"{retries.attempts} is not a number of attempts: 0 or more")
    elif retries.attempts == 0:
        for name in ("perTryTimeout", "retryOn", "retryRemoteLocalities"):
            if getattr(retries, name) not in (None, ""):
                spot[name].refuse("has no meaning where attempts is 0, which switches retries off", "exclusive")
    for name in ("perTryTimeout", "backoff"):
        value = getattr(retries, name)
        if value is not None:
            spot[name].judge(badDuration(value))
    for condition in retries.retryOn.split(",") if retries.retryOn else ():
        why = badRetryOn(condition)
        if why is not None:
            spot["retryOn"].refuse(why, wanted=condition, known=RETRY_ON)


def checkFault(fault: HTTPFaultInjection, spot: Spot) -> None:
    """
    Tell what is wrong with faults.
    """
    if fault.delay is None and fault.abort is None:
        spot.refuse("one of delay, abort is required", "required")
    delay, abort = fault.delay, fault.abort
    if delay is not None:
        here = spot["delay"]
        _checkPercentage(delay.percentage, here["percentage"]["value"])
        if delay.exponentialDelay is not None:
            here["exponentialDelay"].refuse("is not supported, only fixedDelay")
        elif here["fixedDelay"].require(delay.fixedDelay):
            assert delay.fixedDelay is not None
            here["fixedDelay"].judge(badDuration(delay.fixedDelay))
        if delay.percent:
            here["percent"].warn("percent is the old name; prefer percentage", "deprecated")
            _checkPercentage(Percent(value=delay.percent), here["percent"])
    if abort is not None:
        here = spot["abort"]
        _checkPercentage(abort.percentage, here["percentage"]["value"])
        here.oneOf(abort, "httpStatus", "grpcStatus", "http2Error")
        if abort.http2Error is not None:
            here["http2Error"].refuse("is not supported, only httpStatus and grpcStatus")
        elif abort.grpcStatus is not None and abort.grpcStatus not in GRPC_STATUSES:
            why = f"{abort.grpcStatus!r} is not a status of gRPC: {', '.join(GRPC_STATUSES)}"
            here["grpcStatus"].refuse(why, wanted=abort.grpcStatus, known=GRPC_STATUSES)
        elif abort.httpStatus is not None and not 200 <= abort.httpStatus <= 599:
            here["httpStatus"].refuse(f"{abort.httpStatus} is not a status: 200 to 599")
        elif abort.httpStatus is None and abort.grpcStatus is None:
            here.warn("an abort without httpStatus or grpcStatus does nothing")


def _checkPercentage(share: Percent | None, spot: Spot) -> None:
    # Envoy's finest share is a millionth.
    if share is not None and not (share.value == 0 or 0.0001 <= share.value <= 100):
        spot.refuse(f"{share.value:g} is not a share: 0, or 0.0001 to 100")


def checkCors(policy: CorsPolicy, spot: Spot) -> None:
    """
    Tell what is wrong with a cross-origin policy.
    """
    for index, origin in enumerate(policy.allowOrigins):
        here = spot["allowOrigins"][index]
        if not (origin.exact or origin.prefix or origin.regex):
            here.refuse("one of exact, prefix, regex is required", "required")
        checkStringMatch(origin, here)
    if policy.allowOrigin:
        spot["allowOrigin"].warn("allowOrigin is the old name; prefer allowOrigins", "deprecated")
    for index, method in enumerate(policy.allowMethods):
        if method not in _METHODS:
            why = f"{method!r} is not one of {', '.join(_METHODS)}"
            spot["allowMethods"][index].refuse(why, wanted=method, known=_METHODS)
    for name in ("allowHeaders", "exposeHeaders"):
        for index, header in enumerate(getattr(policy, name)):
            if header != "*":
                spot[name][index].judge(badHeaderName(header))
    if policy.maxAge is not None:
        spot["maxAge"].judge(badDuration(policy.maxAge))
        if not policy.maxAge.is_integer():
            spot["maxAge"].refuse(f"{policy.maxAge:g}s is not a whole number of seconds")
