# -*- test-case-name: tests.upstream.test_breakers -*-
"""
Circuit breakers: how much of a cluster's resources may be in use at a time (C{cluster.v3.CircuitBreakers}).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from meshproxy.config import Section
from meshproxy.stats.metrics import Gauge
from meshproxy.stats.store import Scope

__all__ = ["NO_LIMIT", "Breaker", "Breakers", "RecentRequests", "Resource", "RetryBudget"]

#: More than can be.
NO_LIMIT: Final = 0xFFFF_FFFF

#: How finely the window of a retry budget moves on; Envoy's.
_SLOTS: Final = 10


class Resource:
    """
    One limited resource of a cluster at one priority.

    The hot path counts C{used} itself, and calls L{tell} from C{watched} on.

    @ivar limit: How many may be in use.
    @ivar used: How many are.
    @ivar watched: From which use on the gauge changes that says whether the limit is reached.
    """

    __slots__ = ("_open", "_remaining", "limit", "used", "watched")

    def __init__(self, limit: int, opened: Gauge, remaining: Gauge | None) -> None:
        """
        @param opened: Is 1 while the limit is reached.
        @param remaining: Is told how many are left (C{track_remaining}), when somebody looks: by L{measure}.
        """
        self.limit = limit
        self.used = 0
        self.watched = limit
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
        Bring the gauge up to date that says whether the limit is reached.
        """
        self._open.value = int(self.used >= self.limit)

    def measure(self) -> None:
        """
        Bring the other one up to date.
        """
        if self._remaining is not None:
            self._remaining.value = max(0, self.limit - self.used)


class RecentRequests(Resource):
    """
    Requests of which it is also known how many began within a window of time. As in Envoy, the window moves on by
    tenths, so that up to one tenth more is looked at.
    """

    __slots__ = ("_before", "_now", "_slots", "_width")

    def __init__(
        self, limit: int, opened: Gauge, remaining: Gauge | None, interval: float, now: Callable[[], float]
    ) -> None:
        """
        @param interval: Seconds of the window.
        @param now: Gives the seconds.
        """
        Resource.__init__(self, limit, opened, remaining)
        # Each use is to be told of, whoever counts it.
        self.watched = 0
        self._before = 0
        self._now = now
        self._width = interval / _SLOTS
        # The number of each tenth in which any began, and how many; the oldest first.
        self._slots: deque[list[int]] = deque()

    def tell(self) -> None:
        """
        See L{Resource.tell}.
        """
        if self.used > self._before:
            slot = self._slot()
            if self._slots and self._slots[-1][0] == slot:
                self._slots[-1][1] += self.used - self._before
            else:
                self._slots.append([slot, self.used - self._before])
                self._forget(slot)
        self._before = self.used
        Resource.tell(self)

    @property
    def recent(self) -> int:
        """
        How many began within the window.
        """
        self._forget(self._slot())
        return sum(count for _, count in self._slots)

    def _slot(self) -> int:
        return int(self._now() / self._width)

    def _forget(self, slot: int) -> None:
        while self._slots and self._slots[0][0] < slot - _SLOTS:
            self._slots.popleft()


class RetryBudget(NamedTuple):
    """
    How many retries may be under way, instead of a fixed number.

    @ivar share: Of the requests, 0 to 1.
    @ivar least: As many are always allowed.
    @ivar interval: Seconds, of which all requests count, those that are over too; 0 to count those under way.
    """

    share: float = 0.2
    least: int = 3
    interval: float = 0.0


def _never() -> float:
    return 0.0


class Breaker:
    """
    The limits of one priority.

    @ivar perHost: How many connections one endpoint may have.
    @ivar retryBudget: L{None} where C{max_retries} counts.
    @ivar mostPools: How many connection pools there may be.
    @ivar poolsOpen: Is 1 while there are as many.
    """

    __slots__ = ("connections", "mostPools", "pending", "perHost", "poolsOpen", "requests", "retries", "retryBudget")

    def __init__(
        self,
        scope: Scope,
        connections: int = 1024,
        pending: int = 1024,
        requests: int = 1024,
        retries: int = 3,
        trackRemaining: bool = False,
        retryBudget: RetryBudget | None = None,
        perHost: int = NO_LIMIT,
        now: Callable[[], float] = _never,
        mostPools: int = NO_LIMIT,
    ) -> None:
        """
        @param now: Gives the seconds, for budgets with an interval.
        """

        def resource(limit: int, opened: str, remaining: str) -> Resource:
            return Resource(limit, scope.gauge(opened), scope.gauge(remaining) if trackRemaining else None)

        self.connections = resource(connections, "cx_open", "remaining_cx")
        self.pending = resource(pending, "rq_pending_open", "remaining_pending")
        self.requests = resource(requests, "rq_open", "remaining_rq")
        if retryBudget is not None and retryBudget.interval:
            shown = scope.gauge("remaining_rq") if trackRemaining else None
            self.requests = RecentRequests(requests, scope.gauge("rq_open"), shown, retryBudget.interval, now)
        self.retries = resource(retries, "rq_retry_open", "remaining_retries")
        self.retryBudget = retryBudget
        self.perHost = perHost
        self.mostPools = mostPools
        self.poolsOpen = scope.gauge("cx_pool_open")
        self.poolsOpen.value = int(not mostPools)

    def measure(self) -> None:
        """
        Bring up to date what is not told as it changes.
        """
        for resource in (self.connections, self.pending, self.requests, self.retries):
            resource.measure()

    @property
    def retriesExhausted(self) -> bool:
        """
        Whether another retry would be too many, by the budget where there is one.
        """
        if self.retryBudget is None:
            return self.retries.exhausted
        requests = self.requests
        if isinstance(requests, RecentRequests):
            counted = requests.recent
        else:
            counted = requests.used + self.pending.used
        return self.retries.used >= max(self.retryBudget.least, int(self.retryBudget.share * counted))


class Breakers:
    """
    The breakers of a cluster.

    @ivar default: For requests of C{DEFAULT} priority, and for TCP.
    @ivar high: For those of C{HIGH}.
    """

    __slots__ = ("default", "high")

    def __init__(self, scope: Scope, section: Section | None = None, now: Callable[[], float] = _never) -> None:
        """
        @param scope: The cluster's, C{cluster.NAME.}.
        @param section: A C{CircuitBreakers} message.
        @param now: Gives the seconds.
        """
        thresholds = {} if section is None else {t.get("priority"): t for t in section.children("thresholds")}
        self.default = _breaker(scope.scope("circuit_breakers.default."), thresholds.get("DEFAULT"), now)
        self.high = _breaker(scope.scope("circuit_breakers.high."), thresholds.get("HIGH"), now)
        for limits in [] if section is None else section.children("per_host_thresholds"):
            # As in Envoy, connections are all that can be limited by endpoint.
            for name in ("max_pending_requests", "max_requests", "max_retries", "max_connection_pools", "retry_budget"):
                if limits.has(name):
                    limits.refuse("not allowed in per_host_thresholds", name)
            breaker = self.high if limits.get("priority") == "HIGH" else self.default
            breaker.perHost = limits.wrapped("max_connections", NO_LIMIT)

    def measure(self) -> None:
        """
        Bring up to date what is not told as it changes.
        """
        self.default.measure()
        self.high.measure()


def _breaker(scope: Scope, section: Section | None, now: Callable[[], float]) -> Breaker:
    if section is None:
        return Breaker(scope)
    budget = None
    retryBudget = section.child("retry_budget")
    if retryBudget is not None:
        percent = retryBudget.child("budget_percent")
        share = 20.0 if percent is None else percent.get("value")
        least = retryBudget.wrapped("min_retry_concurrency", 3)
        budget = RetryBudget(share / 100.0, least, retryBudget.seconds("budget_interval", 0.0))
    return Breaker(
        scope,
        section.wrapped("max_connections", 1024),
        section.wrapped("max_pending_requests", 1024),
        section.wrapped("max_requests", 1024),
        section.wrapped("max_retries", 3),
        bool(section.get("track_remaining")),
        budget,
        now=now,
        mostPools=section.wrapped("max_connection_pools", NO_LIMIT),
    )
