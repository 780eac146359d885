# -*- test-case-name: tests.http.test_resolutions -*-
"""
How often the route of a request is looked for, and how long that takes: for C{record_route_resolution_stats}, and for
access logs that show it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from meshproxy.accesslog.streaminfo import StreamInfo
from meshproxy.headers import RequestHeaders
from meshproxy.routing.table import RouteTable
from meshproxy.stats import Scope

if TYPE_CHECKING:
    from meshproxy.routing.route import Route

__all__ = ["Resolutions", "measured"]


def measured(table: RouteTable, seconds: Callable[[], float]) -> RouteTable:
    """
    A table that notes with each stream how often it was asked about it, and for how long.

    @param seconds: The clock's.
    """
    match = table.match

    def matchMeasured(headers: RequestHeaders, info: StreamInfo) -> Route | None:
        began = seconds()
        found = match(headers, info)
        count, elapsed = info.routeResolutions
        info.routeResolutions = (count + 1, elapsed + seconds() - began)
        return found

    return RouteTable(table.name, matchMeasured, table.virtualHosts, table.routes, table.sections, table.scopes)


class Resolutions:
    """
    The figures of a connection manager.
    """

    def __init__(self, scope: Scope) -> None:
        """
        @param scope: C{http.STAT_PREFIX.}.
        """
        self._counts = scope.histogram("downstream_rq_route_resolutions", unit="")
        self._times = scope.histogram("downstream_rq_route_resolution_time_us", unit="us")

    def streamEnded(self, stream: Any) -> None:
        """
        Count what was noted with a stream. One that was answered before a route was looked for is none.
        """
        count, elapsed = stream.routeResolutions
        if count:
            self._counts.record(count)
            self._times.record(int(elapsed * 1e6))
