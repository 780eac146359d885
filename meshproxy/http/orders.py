# -*- test-case-name: tests.http.test_router -*-
"""
What a request's own headers order the router to do, over what its route says: retries, time-outs, where it is counted.
"""

from __future__ import annotations

from dataclasses import replace

from meshproxy.flags import Failure
from meshproxy.headers import RequestHeaders
from meshproxy.http.keptbody import KeptBody
from meshproxy.http.retry import RetryState
from meshproxy.http.upgrades import UpgradedRequest
from meshproxy.routing.retries import RETRY_HEADERS, effectiveRetryPolicy, isOrder
from meshproxy.routing.timeouts import effectiveMaxStreamDuration, effectiveTimeout

__all__ = ["EXPECTED", "ORDERS", "OrderedRequest"]

# Orders to a router that this one does not follow; as in Envoy, they end here.
_UNHEARD = (b"x-envoy-hedge-on-per-try-timeout", b"x-envoy-upstream-stream-duration-ms")
_ALT_STAT_NAME = b"x-envoy-upstream-alt-stat-name"
_ALT_RESPONSE = b"x-envoy-upstream-rq-timeout-alt-response"

# What the proxy before this one left of its own time-out.
EXPECTED = b"x-envoy-expected-rq-timeout-ms"

ORDERS = RETRY_HEADERS | {
    *_UNHEARD,
    _ALT_STAT_NAME,
    _ALT_RESPONSE,
    b"x-envoy-upstream-rq-timeout-ms",
    b"x-envoy-upstream-rq-per-try-timeout-ms",
    b"grpc-timeout",
}
"""
Request headers that change what the router does: where none is there, nothing needs to be looked for.
"""


class OrderedRequest(UpgradedRequest):
    """
    What a request does where it, or its route, has orders.
    """

    def _readOrders(self, headers: RequestHeaders) -> float:
        """
        Take the retry policy and the time-outs from the route and from the request's own headers.

        @return: The global time-out, in seconds.
        """
        action = self._action
        for name in _UNHEARD:
            headers.remove(name)
        if headers.remove(_ALT_RESPONSE):
            self._hasAltResponse = True
        asked = headers.first.get(_ALT_STAT_NAME)
        if asked is not None:
            headers.remove(_ALT_STAT_NAME)
            other = self._router.routeStats.alternative(self._cluster, asked.decode("utf-8", "replace"))
            self._also = self._also if other is None else (*self._also, other)
        policy = effectiveRetryPolicy(action.retryPolicy, headers)
        router = self._router
        total, perTry = effectiveTimeout(action, headers, policy, router.heedsExpected)
        duration = effectiveMaxStreamDuration(action, headers)
        if duration:
            self._durations = router.durations[duration]
            self._durations.start(self)
        if perTry:
            self._perTry = router.perTryTimeouts[perTry]
        if policy is not None:
            if policy.perTryIdleTimeout:
                self._perTryIdle = router.perTryIdleTimeouts[policy.perTryIdleTimeout]
            self._retry = RetryState(
                policy, self._cluster, action.isHighPriority, router.random, router.clock, self._also
            )
            if not self._requestEnded:
                self._body = KeptBody(self._bodyLimit)
        return total

    def _isRefused(self, headers: RequestHeaders) -> bool:
        """
        Answer a request whose orders are malformed, where C{strict_check_headers} names them.
        """
        for name in self._router.strictHeaders:
            value = headers.first.get(name)
            if value is None or isOrder(name, value):
                continue
            self.over = True
            reply = Failure.INVALID_ENVOY_HEADERS.value
            self._stream.localReply(
                replace(
                    reply,
                    body=b"invalid header '%b' with value '%b'" % (name, value),
                    details=f"{reply.details}{{{name.decode('ascii')}}}",
                )
            )
            return True
        return False

    @property
    def _bodyLimit(self) -> int:
        """
        How many bytes of a body may be kept to be sent again.
        """
        limit = self._route.requestBodyBufferLimit
        return self._stream.bufferLimit if limit is None else limit
