# -*- test-case-name: tests.routing.test_timeouts -*-
"""
The timeouts of one request: what its route says, and what its own headers ask for.
"""

from __future__ import annotations

import re
from math import ceil
from typing import TYPE_CHECKING, Final, NamedTuple

from meshproxy.grpc.deadline import formatMilliseconds
from meshproxy.headers import RequestHeaders, isGRPC

if TYPE_CHECKING:
    from meshproxy.routing.retries import RetryPolicy
    from meshproxy.routing.route import RouteAction

__all__ = [
    "Timeouts",
    "combineTimeouts",
    "effectiveMaxStreamDuration",
    "effectiveTimeout",
    "parseGRPCTimeout",
    "tellDuration",
]

_TIMEOUT: Final = b"x-envoy-upstream-rq-timeout-ms"
_EXPECTED: Final = b"x-envoy-expected-rq-timeout-ms"
_PER_TRY: Final = b"x-envoy-upstream-rq-per-try-timeout-ms"

# Milliseconds as digits; 12 of them are 31 years.
_milliseconds = re.compile(rb"0*([0-9]{1,12})\Z").match

# gRPC over HTTP2: at most 8 digits and a unit.
_grpcTimeout = re.compile(rb"([0-9]{1,8})([HMSmun])\Z").match
_UNITS: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}

# Who gives no time at all is answered in the next moment; 0 would be no limit.
_AT_ONCE: Final = 1e-3
# Of a millisecond: far less than the smallest unit, a nanosecond.
_INEXACT: Final = 1e-8


class Timeouts(NamedTuple):
    """
    Seconds; 0 is no timeout.

    @ivar total: For the whole request, all tries together, once it was received.
    @ivar perTry: For each try; 0 also where it would be longer than C{total}.
    """

    total: float
    perTry: float


def parseGRPCTimeout(value: bytes) -> float | None:
    """
    The seconds of a C{grpc-timeout}, or L{None} where it is malformed.
    """
    found = _grpcTimeout(value)
    return None if found is None else int(found[1]) * _UNITS[found[2]]


def _readMilliseconds(value: bytes | None) -> float | None:
    found = None if value is None else _milliseconds(value)
    return None if found is None else int(found[1]) / 1000.0


def combineTimeouts(total: float, perTry: float) -> Timeouts:
    """
    Timeouts that make sense together: a try that may last as long as the whole request needs none of its own.
    """
    return Timeouts(total, 0.0 if total and perTry >= total else perTry)


def effectiveTimeout(
    action: RouteAction, headers: RequestHeaders, policy: RetryPolicy | None = None, heedsExpected: bool = False
) -> Timeouts:
    """
    The timeouts for one request. The headers that ask for others are taken off the request.

    @param action: What the route does.
    @param headers: The request, which only an internal client can have given such headers.
    @param policy: The retry policy in force, with a per-try timeout.
    @param heedsExpected: Whether the time that the proxy before this one has left counts
        (C{respect_expected_rq_timeout}).
    """
    first = headers.first
    isGRPCTimed = action.maxGRPCTimeout is not None and isGRPC(headers)
    expects = heedsExpected and _EXPECTED in first
    hasOwn = expects or isGRPCTimed or _TIMEOUT in first or _PER_TRY in first
    if policy is action.retryPolicy and not hasOwn:
        return action.timeouts
    total = _ofGRPC(action, headers) if isGRPCTimed else action.timeout
    perTry = 0.0 if policy is None else policy.perTryTimeout
    if expects:
        asked = _readMilliseconds(first[_EXPECTED])
        total = total if asked is None else asked
    elif _TIMEOUT in first:
        asked = _readMilliseconds(first[_TIMEOUT])
        total = total if asked is None else asked
        headers.remove(_TIMEOUT)
    if _PER_TRY in first:
        asked = _readMilliseconds(first[_PER_TRY])
        perTry = perTry if asked is None else asked
        headers.remove(_PER_TRY)
    found = combineTimeouts(total, perTry)
    if isGRPCTimed and (expected := found.perTry or found.total):
        headers.set(b"grpc-timeout", formatMilliseconds(round(expected * 1000)))
    return found


def _ofGRPC(action: RouteAction, headers: RequestHeaders) -> float:
    """
    The time-out that a gRPC client asks for, as far as C{max_grpc_timeout} lets it; 0 for none.
    """
    asked = parseGRPCTimeout(headers.first.get(b"grpc-timeout", b"")) or 0.0
    if action.grpcTimeoutOffset < asked:
        asked -= action.grpcTimeoutOffset
    # As in Envoy, parts of a millisecond are a whole one; the conversion to seconds was not exact.
    asked = ceil(asked * 1000 - _INEXACT) / 1000
    most = action.maxGRPCTimeout or 0.0
    return most if most and (not asked or asked > most) else asked


def effectiveMaxStreamDuration(action: RouteAction, headers: RequestHeaders) -> float | None:
    """
    How long the stream may last: C{grpc_timeout_header_max} lets the client say, up to a limit. The service is told of
    it in C{grpc-timeout}, where the request is gRPC's.

    @return: Seconds, 0 for no limit, or L{None} where the route leaves it to the connection manager.
    """
    duration = action.maxStreamDuration
    asked = None
    if action.grpcTimeoutHeaderMax is not None and b"grpc-timeout" in headers.first:
        asked = parseGRPCTimeout(headers.first[b"grpc-timeout"])
        if asked is not None:
            if action.grpcTimeoutHeaderMax and asked > action.grpcTimeoutHeaderMax:
                asked = action.grpcTimeoutHeaderMax
            # As in Envoy, parts of a millisecond are a whole one; the conversion to seconds was not exact.
            milliseconds = ceil((asked - action.grpcTimeoutHeaderOffset) * 1000 - _INEXACT)
            asked = duration = max(milliseconds, 0) / 1000
    if duration or asked is not None:
        tellDuration(headers, duration or 0.0)
    return _AT_ONCE if asked == 0 else duration


def tellDuration(headers: RequestHeaders, duration: float) -> None:
    """
    Tell a gRPC service how long its stream may last.
    """
    if isGRPC(headers):
        headers.set(b"grpc-timeout", formatMilliseconds(round(duration * 1000)))
