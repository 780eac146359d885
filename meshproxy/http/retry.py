# -*- test-case-name: tests.http.test_retry -*-
"""
Whether and when a request is tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IReactorTime

from meshproxy.config.matchers import parseInteger
from meshproxy.flags import ResetReason
from meshproxy.headers import ResponseHeaders
from meshproxy.routing.retries import RetryOn, RetryPolicy

if TYPE_CHECKING:
    from meshproxy.stats import Counter
    from meshproxy.upstream.cluster import Cluster
    from meshproxy.upstream.stats import IRequestStats

__all__ = ["RetryState"]

_GRPC = {
    1: RetryOn.GRPC_CANCELLED,
    4: RetryOn.GRPC_DEADLINE_EXCEEDED,
    8: RetryOn.GRPC_RESOURCE_EXHAUSTED,
    13: RetryOn.GRPC_INTERNAL,
    14: RetryOn.GRPC_UNAVAILABLE,
}

# Resets that came before a connection was there.
_CONNECT_FAILURES = (
    ResetReason.LOCAL_CONNECTION_FAILURE,
    ResetReason.REMOTE_CONNECTION_FAILURE,
    ResetReason.CONNECTION_TIMEOUT,
)


# Resets for which the cluster had no room.
_FULL = (ResetReason.OVERFLOW, ResetReason.NO_POOL)


class RetryState:
    """
    The retries of one request.

    @ivar policy: When to try again.
    @ivar limitReached: Whether a retry was wanted and C{num_retries} was used up.
    @ivar overflowed: Whether one was wanted and the cluster had no room for it.
    """

    __slots__ = (
        "_breaker",
        "_clock",
        "_cluster",
        "_counted",
        "_left",
        "_random",
        "_taken",
        "_waitedFor",
        "_tries",
        "limitReached",
        "overflowed",
        "policy",
    )

    def __init__(
        self,
        policy: RetryPolicy,
        cluster: Cluster,
        isHighPriority: bool,
        random: Callable[[], float],
        clock: IReactorTime,
        also: Sequence[IRequestStats] = (),
    ) -> None:
        """
        @param also: Where retries are counted besides.
        """
        self.policy = policy
        self._cluster = cluster
        self._breaker = cluster.breaker("HIGH" if isHighPriority else "DEFAULT")
        self._random = random
        self._clock = clock
        self._left = policy.numRetries
        self._tries = 0
        self._taken = False
        # What it waits for between two tries, where it does.
        self._waitedFor: Counter | None = None
        self._counted: tuple[IRequestStats, ...] = (cluster.stats, *also)
        self.limitReached = False
        self.overflowed = False

    def wantsRetryOf(self, headers: ResponseHeaders) -> bool:
        """
        Whether the policy asks to try again after a response.
        """
        policy = self.policy
        on = policy.retryOn
        status = headers.status
        first = headers.first
        if b"x-envoy-ratelimited" in first and not on & RetryOn.ENVOY_RATELIMITED:
            return False
        if status >= 500:
            if on & RetryOn.FIVE_XX:
                return True
            if on & RetryOn.GATEWAY_ERROR and status in (502, 503, 504):
                return True
        if on & RetryOn.RETRIABLE_4XX and status == 409:
            return True
        if on & RetryOn.RETRIABLE_STATUS_CODES and status in policy.retriableStatusCodes:
            return True
        if on & RetryOn.RETRIABLE_HEADERS and any(matches(headers) for matches in policy.retriableHeaders):
            return True
        if on & RetryOn.ENVOY_RATELIMITED and b"x-envoy-ratelimited" in first:
            return True
        grpcStatus = first.get(b"grpc-status")
        if grpcStatus is None:
            return False
        number = parseInteger(grpcStatus)
        return number is not None and bool(on & _GRPC.get(number, 0))

    def wantsRetryOfReset(self, reason: ResetReason) -> bool:
        """
        Whether it asks to try again after an upstream stream ended without a response.
        """
        on = self.policy.retryOn
        if reason in _FULL:
            return False
        if on & (RetryOn.FIVE_XX | RetryOn.GATEWAY_ERROR | RetryOn.RESET):
            return True
        if on & RetryOn.CONNECT_FAILURE and reason in _CONNECT_FAILURES:
            return True
        if on & RetryOn.RESET_BEFORE_REQUEST and reason in _CONNECT_FAILURES:
            return True
        return bool(on & RetryOn.REFUSED_STREAM) and reason is ResetReason.REMOTE_REFUSED_STREAM

    def wantsRetryOfTimeout(self) -> bool:
        """
        Whether it asks to try again after a per-try time-out, which Envoy sees as a reset.
        """
        return bool(self.policy.retryOn & (RetryOn.FIVE_XX | RetryOn.GATEWAY_ERROR | RetryOn.RESET))

    def begin(self, headers: ResponseHeaders | None) -> float | None:
        """
        Begin a retry, if any is left and the cluster has room for it.

        @param headers: The response that is left aside, where there is one.

        @return: Seconds to wait first, or L{None} for no retry.
        """
        stats = self._cluster.stats
        self._give()
        if not self._left:
            self.limitReached = True
            for each in self._counted:
                each.rqRetryLimitExceeded.value += 1
            return None
        if self._breaker.retriesExhausted:
            self.overflowed = True
            for each in self._counted:
                each.rqRetryOverflow.value += 1
            return None
        self._left -= 1
        self._tries += 1
        self._breaker.retries.take()
        self._taken = True
        reset = self.policy.rateLimitReset
        if reset is not None and headers is not None:
            pause = reset.interval(headers, self._clock.seconds())
            if pause is not None:
                self._waitedFor = stats.rqRetryBackoffRatelimited
                return pause
        self._waitedFor = stats.rqRetryBackoffExponential
        return self.policy.backOff(self._tries, self._random)

    def waited(self) -> None:
        """
        The wait is over, and the try begins. As in Envoy, only now it is counted.
        """
        for each in self._counted:
            each.rqRetry.value += 1
        if self._waitedFor is not None:
            self._waitedFor.value += 1
            self._waitedFor = None

    def ended(self, succeeded: bool) -> None:
        """
        The request is over.

        @param succeeded: Whether there was an answer. As in Envoy, one that the policy would have tried again is none.
        """
        if succeeded and self._tries and not self.limitReached and not self.overflowed:
            for each in self._counted:
                each.rqRetrySuccess.value += 1
        self._give()

    def _give(self) -> None:
        if self._taken:
            self._taken = False
            self._breaker.retries.give()
