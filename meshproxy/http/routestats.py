# -*- test-case-name: tests.http.test_routestats -*-
"""
Responses counted once more: for a virtual cluster, for a route with a C{stat_prefix}, under the name that a request
asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from meshproxy.headers import RequestHeaders
from meshproxy.stats.store import Scope, Store, statName
from meshproxy.upstream.stats import responseTally

if TYPE_CHECKING:
    from meshproxy.routing.route import Route
    from meshproxy.upstream.cluster import Cluster

__all__ = ["RequestStats", "RouteStats"]

# Requests of a virtual host that none of its virtual clusters is for.
_OTHER: Final = "other"
# A client may name what it likes.
_MOST_NAMES: Final = 256


class RequestStats:
    """
    Figures of some requests.

    @ivar responses: By status.
    """

    def __init__(self, scope: Scope) -> None:
        self.responses = responseTally(scope, scope)
        self.rqTotal = scope.counter("upstream_rq_total")
        self.rqTimeout = scope.counter("upstream_rq_timeout")
        self.rqRetry = scope.counter("upstream_rq_retry")
        self.rqRetryLimitExceeded = scope.counter("upstream_rq_retry_limit_exceeded")
        self.rqRetryOverflow = scope.counter("upstream_rq_retry_overflow")
        self.rqRetrySuccess = scope.counter("upstream_rq_retry_success")
        self.rqTime = scope.histogram("upstream_rq_time", unit="ms")


class RouteStats:
    """
    The figures of all routes of a router, made when they are first needed.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._byName: dict[str, RequestStats] = {}

    def _of(self, prefix: str) -> RequestStats:
        found = self._byName.get(prefix)
        if found is None:
            found = self._byName[prefix] = RequestStats(self._store.scope(prefix))
        return found

    def statsFor(self, route: Route, headers: RequestHeaders) -> tuple[str, Sequence[RequestStats]]:
        """
        Where a request is counted as well.

        @return: The name of its virtual cluster, empty where it is in none, and the figures.
        """
        virtualHost = route.virtualHost
        host = f"vhost.{statName(virtualHost.name)}."
        name = ""
        found = []
        if virtualHost.virtualClusters:
            name = next((each.name for each in virtualHost.virtualClusters if each.matches(headers)), "")
            found.append(self._of(f"{host}vcluster.{statName(name or _OTHER)}."))
        if route.statPrefix:
            found.append(self._of(f"{host}route.{statName(route.statPrefix)}."))
        return name, found

    def alternative(self, cluster: Cluster, name: str) -> RequestStats | None:
        """
        The figures of a cluster under the name that a request asks for; L{None} where there are too many names.
        """
        prefix = f"cluster.{statName(cluster.statName)}.{statName(name)}."
        if prefix not in self._byName and len(self._byName) >= _MOST_NAMES:
            return None
        return self._of(prefix)
