# -*- test-case-name: tests.routing.test_retries -*-
"""
What a retry policy says: C{envoy.config.route.v3.RetryPolicy}, and the C{x-envoy-retry-*} headers of a request.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, replace
from typing import Final

from meshproxy.config.matchers import HeadersTest, compileHeaderMatcher, parseInteger
from meshproxy.config.section import Section
from meshproxy.headers import HeaderMap, RequestHeaders
from meshproxy.routing.retryhosts import HostPredicate, compileHostPredicate, compileRetryPriority

__all__ = [
    "ANY_STATUS",
    "RETRY_HEADERS",
    "RateLimitReset",
    "RetryOn",
    "RetryPolicy",
    "compileRetryPolicy",
    "effectiveRetryPolicy",
    "isOrder",
    "parseRetryOn",
]


class RetryOn:
    """
    The conditions of C{retry_on}: bits, tested with C{&} for each response.
    """

    FIVE_XX: Final = 1 << 0
    GATEWAY_ERROR: Final = 1 << 1
    RESET: Final = 1 << 2
    RESET_BEFORE_REQUEST: Final = 1 << 3
    CONNECT_FAILURE: Final = 1 << 4
    ENVOY_RATELIMITED: Final = 1 << 5
    RETRIABLE_4XX: Final = 1 << 6
    REFUSED_STREAM: Final = 1 << 7
    RETRIABLE_STATUS_CODES: Final = 1 << 8
    RETRIABLE_HEADERS: Final = 1 << 9
    HTTP3_POST_CONNECT_FAILURE: Final = 1 << 10
    GRPC_CANCELLED: Final = 1 << 11
    GRPC_DEADLINE_EXCEEDED: Final = 1 << 12
    GRPC_INTERNAL: Final = 1 << 13
    GRPC_RESOURCE_EXHAUSTED: Final = 1 << 14
    GRPC_UNAVAILABLE: Final = 1 << 15


_HTTP: Final[Mapping[str, int]] = {
    "5xx": RetryOn.FIVE_XX,
    "gateway-error": RetryOn.GATEWAY_ERROR,
    "reset": RetryOn.RESET,
    "reset-before-request": RetryOn.RESET_BEFORE_REQUEST,
    "connect-failure": RetryOn.CONNECT_FAILURE,
    "envoy-ratelimited": RetryOn.ENVOY_RATELIMITED,
    "retriable-4xx": RetryOn.RETRIABLE_4XX,
    "refused-stream": RetryOn.REFUSED_STREAM,
    "retriable-status-codes": RetryOn.RETRIABLE_STATUS_CODES,
    "retriable-headers": RetryOn.RETRIABLE_HEADERS,
    "http3-post-connect-failure": RetryOn.HTTP3_POST_CONNECT_FAILURE,
}
_GRPC: Final[Mapping[str, int]] = {
    "cancelled": RetryOn.GRPC_CANCELLED,
    "deadline-exceeded": RetryOn.GRPC_DEADLINE_EXCEEDED,
    "internal": RetryOn.GRPC_INTERNAL,
    "resource-exhausted": RetryOn.GRPC_RESOURCE_EXHAUSTED,
    "unavailable": RetryOn.GRPC_UNAVAILABLE,
}
_ALL: Final[Mapping[str, int]] = {**_HTTP, **_GRPC}

#: The request headers that change a retry policy; the router removes them before it forwards.
RETRY_HEADERS: Final = frozenset(
    (
        b"x-envoy-retry-on",
        b"x-envoy-retry-grpc-on",
        b"x-envoy-max-retries",
        b"x-envoy-retriable-status-codes",
        b"x-envoy-retriable-header-names",
    )
)

#: Every status that a response can have.
ANY_STATUS: Final = range(1000)

# Envoy's default in RetryPolicyImpl: 25 ms, and ten times that at most.
DEFAULT_BASE_INTERVAL: Final = 0.025
# RateLimitedRetryBackOff.max_interval.
DEFAULT_RESET_MAX_INTERVAL: Final = 300.0
# More attempts than any number of endpoints; a header must not make a request endless.
MAX_RETRIES: Final = 0xFFFF_FFFF


def parseRetryOn(text: str, known: Mapping[str, int] = _ALL) -> tuple[int, bool]:
    """
    Read a list of conditions.

    @return: Their bits, and whether all of them are known.
    """
    bits, whole = 0, True
    for word in text.split(","):
        bit = known.get(word.strip())
        if bit is None:
            whole = False
        else:
            bits |= bit
    return bits, whole


@dataclass(frozen=True, slots=True)
class RateLimitReset:
    """
    C{rate_limited_retry_back_off}: wait as long as the upstream says.

    @ivar headers: Names, each with whether it holds a time since the epoch instead of seconds to wait.
    @ivar maxInterval: A longer wait is not believed.
    """

    headers: tuple[tuple[bytes, bool], ...]
    maxInterval: float = DEFAULT_RESET_MAX_INTERVAL

    def interval(self, headers: HeaderMap, now: float) -> float | None:
        """
        How long to wait before the next try.

        @param headers: The response.
        @param now: Seconds since the epoch.

        @return: L{None} where the response does not say, or says too long.
        """
        for name, isTime in self.headers:
            value = headers.first.get(name)
            number = None if value is None else parseInteger(value)
            if number is None or number < 0:
                continue
            wait = number - now if isTime else float(number)
            if 0 <= wait <= self.maxInterval:
                return wait
        return None


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """
    When and how often to try again.

    @ivar retryOn: The bits of L{RetryOn}; 0 is never.
    @ivar perTryTimeout: Seconds, 0 for none; likewise C{perTryIdleTimeout}.
    @ivar retriableHeaders: A response that one of them matches is tried again (C{retriable-headers}).
    @ivar retriableRequestHeaders: Where there are any, only requests that one of them matches are tried again.
    @ivar hostPredicates: C{retry_host_predicate}: whether a retry avoids an endpoint, given those that were tried.
    @ivar priorityFrequency: After how many tries the priorities of those that were tried are left
        (C{previous_priorities}); 0 for never.
    @ivar refreshesCluster: Whether each retry goes to another one of the route's weighted clusters.
    """

    retryOn: int = 0
    numRetries: int = 1
    perTryTimeout: float = 0.0
    perTryIdleTimeout: float = 0.0
    retriableStatusCodes: frozenset[int] = frozenset()
    retriableHeaders: tuple[HeadersTest, ...] = ()
    retriableRequestHeaders: tuple[HeadersTest, ...] = ()
    baseInterval: float = DEFAULT_BASE_INTERVAL
    maxInterval: float = DEFAULT_BASE_INTERVAL * 10
    rateLimitReset: RateLimitReset | None = None
    hostPredicates: tuple[HostPredicate, ...] = ()
    hostSelectionMaxAttempts: int = 1
    priorityFrequency: int = 0
    refreshesCluster: bool = False

    @property
    def isChoosy(self) -> bool:
        """
        Whether it matters to which endpoint a retry goes.
        """
        return bool(self.hostPredicates or self.priorityFrequency)

    @property
    def isSimple(self) -> bool:
        """
        Whether it asks nothing of a request, and sets no time for a try.
        """
        return self.asksNothing and not self.perTryTimeout

    @property
    def asksNothing(self) -> bool:
        """
        Whether it asks nothing of a request, and nothing of a try but to be in time.
        """
        return not (self.perTryIdleTimeout or self.retriableRequestHeaders)

    def mayRefuse(self, status: int) -> bool:
        """
        Whether a response of this status, one below 400, may be tried again for more than fields of Envoy's or gRPC's.
        """
        on = self.retryOn
        return bool(
            (on & RetryOn.RETRIABLE_HEADERS and self.retriableHeaders)
            or (on & RetryOn.RETRIABLE_STATUS_CODES and status in self.retriableStatusCodes)
        )

    @property
    def refusable(self) -> Container[int]:
        """
        The statuses of responses that may be tried again for more than fields of Envoy's or gRPC's.
        """
        on = self.retryOn
        if on & RetryOn.RETRIABLE_HEADERS and self.retriableHeaders:
            return ANY_STATUS
        statuses = set(self.retriableStatusCodes if on & RetryOn.RETRIABLE_STATUS_CODES else ())
        if on & RetryOn.FIVE_XX:
            statuses.update(range(500, 1000))
        if on & RetryOn.GATEWAY_ERROR:
            statuses.update((502, 503, 504))
        if on & RetryOn.RETRIABLE_4XX:
            statuses.add(409)
        return frozenset(statuses)

    def backOff(self, attempt: int, random: Callable[[], float]) -> float:
        """
        Seconds to wait before a try: fully jittered, C{[0, (2^N - 1) * base)}, at most C{maxInterval}.

        @param attempt: 1 for the first retry.
        @param random: Gives numbers from 0 to below 1.
        """
        # 2^32 times any interval is above any maximum.
        ceiling: float = ((1 << min(attempt, 32)) - 1) * self.baseInterval
        return min(random() * ceiling, self.maxInterval)


#: The policy of a route without one: only headers of the request can ask for retries.
_NONE: Final = RetryPolicy()


def _compileBackOff(section: Section) -> tuple[float, float]:
    child = section.child("retry_back_off")
    if child is None:
        return DEFAULT_BASE_INTERVAL, DEFAULT_BASE_INTERVAL * 10
    # Envoy takes intervals below a millisecond for one.
    base = max(child.seconds("base_interval", DEFAULT_BASE_INTERVAL), 0.001)
    most = child.seconds("max_interval", base * 10)
    if most < base:
        child.refuse("retry_policy.max_interval must be greater than or equal to the base_interval", "max_interval")
    return base, most


def _compileReset(section: Section) -> RateLimitReset | None:
    child = section.child("rate_limited_retry_back_off")
    if child is None:
        return None
    headers = [
        (header.get("name").lower().encode("utf-8"), header.get("format") == "UNIX_TIMESTAMP")
        for header in child.children("reset_headers")
    ]
    return RateLimitReset(tuple(headers), child.seconds("max_interval", DEFAULT_RESET_MAX_INTERVAL))


def compileRetryPolicy(section: Section | None) -> RetryPolicy | None:
    """
    Compile a retry policy; L{None} stays L{None}.
    """
    if section is None:
        return None
    retryOn, whole = parseRetryOn(section.get("retry_on"))
    if not whole and section.get("retry_on"):
        # Envoy ignores what it does not know, so that newer control planes can serve older proxies.
        section.warn(f"knows only {', '.join(_ALL)}; the rest of it is ignored", "retry_on")
    base, most = _compileBackOff(section)
    return RetryPolicy(
        retryOn,
        section.wrapped("num_retries", 1),
        section.seconds("per_try_timeout", 0.0),
        section.seconds("per_try_idle_timeout", 0.0),
        frozenset(section.scalars("retriable_status_codes")),
        tuple(map(compileHeaderMatcher, section.children("retriable_headers"))),
        tuple(map(compileHeaderMatcher, section.children("retriable_request_headers"))),
        base,
        most,
        _compileReset(section),
        tuple(map(compileHostPredicate, section.children("retry_host_predicate"))),
        section.get("host_selection_retry_max_attempts") or 1,
        compileRetryPriority(section.child("retry_priority")),
        section.get("refresh_cluster_on_retry"),
    )


def isOrder(name: bytes, value: bytes) -> bool:
    """
    Whether a header that orders retries or time-outs has a value that can be followed.
    """
    if name == b"x-envoy-retry-on":
        return parseRetryOn(value.decode("latin-1"), _HTTP)[1]
    if name == b"x-envoy-retry-grpc-on":
        return parseRetryOn(value.decode("latin-1"), _GRPC)[1]
    number = parseInteger(value)
    return number is not None and number >= 0


def _text(headers: HeaderMap, name: bytes) -> str:
    return headers.first.get(name, b"").decode("latin-1")


def _present(name: bytes) -> HeadersTest:
    return lambda headers: name in headers.first


def _withHeaders(policy: RetryPolicy, headers: RequestHeaders) -> RetryPolicy:
    """
    A policy with what the request asks for.
    """
    retryOn = policy.retryOn
    retryOn |= parseRetryOn(_text(headers, b"x-envoy-retry-on"), _HTTP)[0]
    retryOn |= parseRetryOn(_text(headers, b"x-envoy-retry-grpc-on"), _GRPC)[0]
    retries = parseInteger(headers.first.get(b"x-envoy-max-retries", b""))
    codes = {parseInteger(word) for word in headers.first.get(b"x-envoy-retriable-status-codes", b"").split(b",")}
    names = headers.first.get(b"x-envoy-retriable-header-names", b"").lower().split(b",")
    return replace(
        policy,
        retryOn=retryOn,
        numRetries=policy.numRetries if retries is None or retries < 0 else min(retries, MAX_RETRIES),
        retriableStatusCodes=policy.retriableStatusCodes | {code for code in codes if code is not None},
        retriableHeaders=(
            *policy.retriableHeaders,
            *[_present(name.strip()) for name in names if name.strip()],
        ),
    )


def effectiveRetryPolicy(policy: RetryPolicy | None, headers: RequestHeaders) -> RetryPolicy | None:
    """
    The policy for one request: the route's with the request's own conditions or-ed in. The headers that ask for it
    are taken off the request.

    @return: L{None} where nothing is to be tried again.
    """
    if not RETRY_HEADERS.isdisjoint(headers.first):
        policy = _withHeaders(policy or _NONE, headers)
        for name in RETRY_HEADERS:
            headers.remove(name)
    if policy is None or not policy.retryOn:
        return None
    if policy.retriableRequestHeaders and not any(test(headers) for test in policy.retriableRequestHeaders):
        return None
    return policy
