# -*- test-case-name: tests.upstream.test_tracked -*-
"""
What a cluster counts where it is asked to (C{track_cluster_stats}): the sizes of requests and responses, how much of
their time-outs they took, and the figures of each endpoint.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from meshproxy.stats.store import Scope

if TYPE_CHECKING:
    from meshproxy.config import Section
    from meshproxy.headers import HeaderMap
    from meshproxy.upstream.endpoint import Endpoint

__all__ = ["EndpointStats", "SizeStats", "TimeoutStats", "TrackedStats", "compileTracked"]


class SizeStats:
    """
    C{request_response_sizes}: what each try sent and got. Of a body it is what went on, however often it is sent.
    """

    def __init__(self, scope: Scope) -> None:
        histogram = scope.histogram
        self._requestHead = histogram("upstream_rq_headers_size", unit="bytes")
        self._requestFields = histogram("upstream_rq_headers_count", unit="")
        self._requestBody = histogram("upstream_rq_body_size", unit="bytes")
        self._responseHead = histogram("upstream_rs_headers_size", unit="bytes")
        self._responseFields = histogram("upstream_rs_headers_count", unit="")
        self._responseBody = histogram("upstream_rs_body_size", unit="bytes")

    def requestSent(self, headers: HeaderMap, body: int) -> None:
        """
        A request was sent, or was to be.

        @param body: The bytes of its body.
        """
        self._requestHead.record(headers.byteSize())
        self._requestFields.record(len(list(headers.allFields())))
        self._requestBody.record(body)

    def responded(self, head: int, fields: int, body: int) -> None:
        """
        A response came of it.

        @param head: The bytes of all its heads, interim ones included.
        @param fields: How many fields they have, their statuses included.
        """
        self._responseHead.record(head)
        self._responseFields.record(fields)
        self._responseBody.record(body)


class TimeoutStats:
    """
    C{timeout_budgets}: how many percent of their time-outs requests and tries took.
    """

    def __init__(self, scope: Scope) -> None:
        self._whole = scope.histogram("upstream_rq_timeout_budget_percent_used", unit="")
        self._tries = scope.histogram("upstream_rq_timeout_budget_per_try_percent_used", unit="")

    def requestEnded(self, seconds: float, timeout: float) -> None:
        """
        A request was answered, or its time was over.

        @param seconds: How long that took since it was complete.
        @param timeout: Its time-out; 0 for none.
        """
        self._whole.record(_percent(seconds, timeout))

    def tryEnded(self, seconds: float, timeout: float) -> None:
        """
        A try ended.

        @param seconds: How long it took.
        @param timeout: C{per_try_timeout}; 0 for none.
        """
        self._tries.record(_percent(seconds, timeout))


def _percent(seconds: float, timeout: float) -> int:
    # As in Envoy, of no time-out nothing was used.
    return int(int(seconds * 1000 + 1e-6) * 100 / (timeout * 1000)) if timeout else 0


class EndpointStats:
    """
    C{per_endpoint_stats}: the figures of each endpoint (C{cluster.NAME.endpoint.ADDRESS.}), brought up to date for
    whoever looks.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._scopes: dict[str, Scope] = {}

    def measure(self, endpoints: Iterable[Endpoint]) -> None:
        """
        Show them, and no others.
        """
        left = dict(self._scopes)
        for endpoint in endpoints:
            address = endpoint.address.text
            left.pop(address, None)
            scope = self._scopes.get(address)
            if scope is None:
                scope = self._scopes[address] = self._scope.scope(f"endpoint.{address.replace(':', '_')}.")
            for counter in endpoint.counters:
                scope.counter(counter.name).value = counter.value
            scope.gauge("cx_active").value = endpoint.cxActive.value
            scope.gauge("rq_active").value = endpoint.active
            scope.gauge("rq_pending_active").value = endpoint.pending
            scope.gauge("healthy").value = int(endpoint.healthy)
        for address, scope in left.items():
            del self._scopes[address]
            scope.close()


class TrackedStats:
    """
    What a cluster is asked to count besides.

    @ivar isOfTries: Whether any of it is of tries.
    """

    def __init__(
        self,
        sizes: SizeStats | None = None,
        timeouts: TimeoutStats | None = None,
        perEndpoint: EndpointStats | None = None,
    ) -> None:
        self.sizes = sizes
        self.timeouts = timeouts
        self.perEndpoint = perEndpoint

    @property
    def isOfTries(self) -> bool:
        """
        See L{TrackedStats}.
        """
        return self.sizes is not None or self.timeouts is not None


def compileTracked(section: Section, scope: Scope) -> TrackedStats:
    """
    Compile C{track_cluster_stats} of a C{Cluster}, and the older C{track_timeout_budgets}.

    @param scope: C{cluster.NAME.}.
    """
    tracked = section.childOrEmpty("track_cluster_stats")
    budgets = tracked.get("timeout_budgets") or section.get("track_timeout_budgets")
    return TrackedStats(
        SizeStats(scope) if tracked.get("request_response_sizes") else None,
        TimeoutStats(scope) if budgets else None,
        EndpointStats(scope) if tracked.get("per_endpoint_stats") else None,
    )
