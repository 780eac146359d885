# -*- test-case-name: tests.filters.http.test_health_check -*-
"""
C{envoy.filters.http.health_check}: answers the health checks of whoever balances the load over proxies like this one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred

from meshproxy.config import Section
from meshproxy.config.matchers import HeadersTest, compileHeaderMatchers
from meshproxy.config.supported import declare
from meshproxy.flags import ResponseFlag
from meshproxy.headers import RequestHeaders, ResponseHeaders
from meshproxy.http.filter import FilterContext, HTTPFilter
from meshproxy.interfaces import IHTTPStream, Stop

__all__ = ["HealthCheck", "HealthCheckPlan", "LastAnswer"]

_MESSAGE = "envoy.extensions.filters.http.health_check.v3.HealthCheck"

declare(_MESSAGE, "pass_through_mode", "cache_time", "cluster_min_healthy_percentages", "headers")


class LastAnswer:
    """
    What the service said of itself last. It counts until the end of the interval that it was said in, intervals being
    counted from the start: so it is as if a clock ticked, as in Envoy, without one.
    """

    __slots__ = ("_began", "_interval", "_seconds", "isDegraded", "status")

    def __init__(self, seconds: float, now: float) -> None:
        self._seconds = seconds
        self._began = now
        self._interval = -1
        self.status = 200
        self.isDegraded = False

    def _intervalOf(self, now: float) -> int:
        return int((now - self._began) / self._seconds)

    def say(self, status: int, isDegraded: bool, now: float) -> None:
        """
        Remember an answer.
        """
        self.status = status
        self.isDegraded = isDegraded
        self._interval = self._intervalOf(now)

    def counts(self, now: float) -> bool:
        """
        Whether it still counts.
        """
        return self._interval == self._intervalOf(now)


@dataclass(frozen=True, slots=True)
class HealthCheckPlan:
    """
    A compiled C{HealthCheck}.

    @ivar matches: Whether a request is a health check; L{None} for all.
    @ivar passes: Whether health checks go on to the service.
    @ivar cacheSeconds: How long an answer of the service counts; 0 for not at all.
    @ivar percentages: Clusters, and how much of each must be healthy.
    """

    matches: HeadersTest | None
    passes: bool
    cacheSeconds: float
    percentages: tuple[tuple[str, float], ...]


class HealthCheck(HTTPFilter):
    """
    One instance serves all streams.
    """

    shared = True
    hasRouteConfig = False
    configType = _MESSAGE

    def __init__(self, config: HealthCheckPlan, context: FilterContext) -> None:
        super().__init__(config, context)
        self._cluster = context.nodeCluster.encode("utf-8")
        seconds = config.cacheSeconds
        self._last = LastAnswer(seconds, context.clock.seconds()) if seconds else None

    @classmethod
    def compileConfig(cls, section: Section, context: FilterContext) -> HealthCheckPlan:
        passes: bool = section.wrapped("pass_through_mode", False)
        seconds = section.seconds("cache_time", 0.0)
        if seconds and not passes:
            section.refuse("without pass_through_mode there is no answer to keep for a cache_time", "cache_time")
        percentages = section.entries("cluster_min_healthy_percentages")
        if passes and percentages:
            section.refuse(
                "with pass_through_mode the service answers, and not its clusters", "cluster_min_healthy_percentages"
            )
        return HealthCheckPlan(
            compileHeaderMatchers(section.children("headers")),
            passes,
            seconds,
            tuple((name, held.get("value")) for name, held in sorted(percentages.items())),
        )

    def requestHeaders(self, stream: Any, headers: RequestHeaders, endStream: bool) -> Stop | Deferred[Any] | None:
        plan: HealthCheckPlan = self.config
        if plan.matches is not None and not plan.matches(headers):
            return None
        stream.markHealthCheck()
        last = self._last
        isFailed = self.context.isFailed()
        if plan.passes and not isFailed and (last is None or not last.counts(self.context.clock.seconds())):
            return None
        if endStream:
            return self._answer(stream)
        waiting: Deferred[Any] = stream.requestBody()
        return waiting.addCallback(lambda body: self._answer(stream))

    def responseHeaders(self, stream: Any, headers: ResponseHeaders, endStream: bool) -> None:
        if stream.healthCheck:
            if self._last is not None:
                degraded = b"x-envoy-degraded" in headers
                self._last.say(headers.status, degraded, self.context.clock.seconds())
            headers.set(b"x-envoy-upstream-healthchecked-cluster", self._cluster)
        elif self.context.isFailed():
            headers.set(b"x-envoy-immediate-health-check-fail", b"true")

    def _answer(self, stream: IHTTPStream) -> Stop:
        status, details, extra = self._verdict()
        flag = 0 if 200 <= status < 300 else ResponseFlag.FAILED_LOCAL_HEALTH_CHECK
        return stream.reply(status, b"", extra, details, flag)

    def _verdict(self) -> tuple[int, str, tuple[tuple[bytes, bytes], ...]]:
        if self.context.isFailed():
            return 503, "health_check_failed", ()
        if self._last is not None:
            extra = ((b"x-envoy-degraded", b""),) if self._last.isDegraded else ()
            return self._last.status, "health_check_cached", extra
        for name, percentage in self.config.percentages:
            cluster = self.context.clusters.byName.get(name)
            if cluster is None:
                return 503, "health_check_failed_no_cluster_found", ()
            total = cluster.stats.membershipTotal.value
            if not total and percentage:
                return 503, "health_check_failed_cluster_empty", ()
            # As in Envoy, degraded endpoints will do.
            well = cluster.stats.membershipHealthy.value + cluster.stats.membershipDegraded.value
            if well < total * percentage / 100:
                return 503, "health_check_failed_cluster_unhealthy", ()
        return 200, "health_check_ok_cluster_healthy" if self.config.percentages else "health_check_ok", ()
