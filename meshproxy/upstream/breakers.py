# -*- test-case-name: tests.upstream.test_breakers -*-
"""
Circuit breakers: how much of a cluster's resources may be in use at a time (C{cluster.v3.CircuitBreakers}).
"""

from __future__ import annotations

from typing import Final

from meshproxy.config import Section
from meshproxy.stats.metrics import Gauge
from meshproxy.stats.store import Scope

__all__ = ["NO_LIMIT", "Breaker", "Breakers", "Resource"]

#: More than can be.
NO_LIMIT: Final = 0xFFFF_FFFF


class Resource:
    """
    One limited resource of a cluster at one priority.

    The hot path counts C{used} itself, and calls L{tell} from C{watched} on.

    @ivar limit: How many may be in use.
    @ivar used: How many are.
    @ivar watched: From which use on the gauges change: the limit, or 0 where each use is shown.
    """

    __slots__ = ("_open", "_remaining", "limit", "used", "watched")

    def __init__(self, limit: int, opened: Gauge, remaining: Gauge | None) -> None:
        """
        @param opened: Is 1 while the limit is reached.
        @param remaining: Is told how many are left (C{track_remaining}).
        """
        self.limit = limit
        self.used = 0
        self.watched = limit if remaining is None else 0
        self._open = opened
        self._remaining = remaining
        if remaining is not None:
            remaining.value = limit

    @property
    def exhausted(self) -> bool:
        """
        Whether the limit is reached.
        """
        return self.used >= self.limit

    def take(self) -> None:
        """
        One more is in use. The limit is the caller's to look at, before.
        """
        self.used += 1
        if self.used >= self.watched:
            self.tell()

    def give(self) -> None:
        """
        One less is in use.
        """
        self.used -= 1
        if self.used + 1 >= self.watched:
            self.tell()

    def tell(self) -> None:
        """
        Bring the gauges up to date.
        """
        self._open.value = int(self.used >= self.limit)
        if self._remaining is not None:
            self._remaining.value = max(0, self.limit - self.used)


class Breaker:
    """
    The limits of one priority.

    @ivar perHost: How many connections one endpoint may have.
    @ivar retryBudget: C{(share of active requests, 0 to 1; least retries that are always allowed)}, or L{None} where
        C{max_retries} counts.
    """

    __slots__ = ("connections", "pending", "perHost", "requests", "retries", "retryBudget")

    def __init__(
        self,
        scope: Scope,
        connections: int = 1024,
        pending: int = 1024,
        requests: int = 1024,
        retries: int = 3,
        trackRemaining: bool = False,
        retryBudget: tuple[float, int] | None = None,
        perHost: int = NO_LIMIT,
    ) -> None:
        def resource(limit: int, opened: str, remaining: str) -> Resource:
            return Resource(limit, scope.gauge(opened), scope.gauge(remaining) if trackRemaining else None)

        self.connections = resource(connections, "cx_open", "remaining_cx")
        self.pending = resource(pending, "rq_pending_open", "remaining_pending")
        self.requests = resource(requests, "rq_open", "remaining_rq")
        self.retries = resource(retries, "rq_retry_open", "remaining_retries")
        self.retryBudget = retryBudget
        self.perHost = perHost

    @property
    def retriesExhausted(self) -> bool:
        """
        Whether another retry would be too many, by the budget where there is one.
        """
        if self.retryBudget is None:
            return self.retries.exhausted
        share, least = self.retryBudget
        active = self.requests.used + self.pending.used
        return self.retries.used >= max(least, int(share * active))


class Breakers:
    """
    The breakers of a cluster.

    @ivar default: For requests of C{DEFAULT} priority, and for TCP.
    @ivar high: For those of C{HIGH}.
    """

    __slots__ = ("default", "high")

    def __init__(self, scope: Scope, section: Section | None = None) -> None:
        """
        @param scope: The cluster's, C{cluster.NAME.}.
        @param section: A C{CircuitBreakers} message.
        """
        thresholds = {} if section is None else {t.get("priority"): t for t in section.children("thresholds")}
        self.default = _breaker(scope.scope("circuit_breakers.default."), thresholds.get("DEFAULT"))
        self.high = _breaker(scope.scope("circuit_breakers.high."), thresholds.get("HIGH"))
        for limits in [] if section is None else section.children("per_host_thresholds"):
            # As in Envoy, connections are all that can be limited by endpoint.
            for name in ("max_pending_requests", "max_requests", "max_retries", "max_connection_pools", "retry_budget"):
                if limits.has(name):
                    limits.refuse("not allowed in per_host_thresholds", name)
            breaker = self.high if limits.get("priority") == "HIGH" else self.default
            breaker.perHost = limits.wrapped("max_connections", NO_LIMIT)


def _breaker(scope: Scope, section: Section | None) -> Breaker:
    if section is None:
        return Breaker(scope)
    budget = None
    retryBudget = section.child("retry_budget")
    if retryBudget is not None:
        percent = retryBudget.child("budget_percent")
        share = 20.0 if percent is None else percent.get("value")
        budget = (share / 100.0, retryBudget.wrapped("min_retry_concurrency", 3))
    return Breaker(
        scope,
        section.wrapped("max_connections", 1024),
        section.wrapped("max_pending_requests", 1024),
        section.wrapped("max_requests", 1024),
        section.wrapped("max_retries", 3),
        bool(section.get("track_remaining")),
        budget,
    )
