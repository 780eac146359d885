# -*- test-case-name: tests.http.test_router -*-
"""
The short way of the most usual request: nothing but a head, to a route that asks for little.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshproxy.codec.http1 import DECIMAL
from meshproxy.headers import ResponseHeaders
from meshproxy.http.shortrequest import ShortRequest

if TYPE_CHECKING:
    from meshproxy.http.router import Router
    from meshproxy.http.stream import Stream
    from meshproxy.routing.route import Route
    from meshproxy.upstream.endpoint import Endpoint
    from meshproxy.upstream.stats import ClusterStats

__all__ = ["PlainRequest"]


class PlainRequest(ShortRequest):
    """
    A request that is nothing but a head, to a route that asks for nothing but a cluster, a time-out, and changes of
    heads. L{meshproxy.http.router.Router} makes it and puts it on a connection, in one step.
    """

    __slots__ = ()

    def __init__(
        self, router: Router, stream: Stream, route: Route, stats: ClusterStats, endpoint: Endpoint, now: float
    ) -> None:
        """
        @param now: The clock's seconds.
        """
        self._router = router
        self._stream = stream
        self._route = route
        self._action = route.action  # type: ignore[assignment]  # a route of this kind has one
        self._stats = stats
        self._endpoint = endpoint
        self._tryBegan = now
        self._timeouts = self.connection = None
        self._responsePaused = self.responseStarted = self.over = False

    def wholeReceived(self, headers: ResponseHeaders, body: bytes) -> None:
        """
        See L{meshproxy.upstream.http1connection.IUpstreamRequest.wholeReceived}: the same as the base class does, but
        for what such a request does not have.
        """
        stream = self._stream
        router = self._router
        seconds = router.seconds
        now = seconds()
        stream.upstreamResponseStart = stream.upstreamResponseEnd = now
        stats = self._stats
        try:
            stats.responses.counts[headers.status] += 1
        except KeyError:
            stats.responses.add(headers.status)
        endpoint = self._endpoint
        if headers.status < 500:
            endpoint.rqSuccess.value += 1
        else:
            endpoint.rqError.value += 1
        sent = elapsed = int((now - stream.requestEnd) * 1000.0)  # type: ignore[operator]  # it had ended when this was made
        if self._tryBegan != stream.requestEnd:
            elapsed = int((now - self._tryBegan) * 1000.0)
        if not router.suppressHeaders:
            headers.first[b"x-envoy-upstream-service-time"] = DECIMAL[sent]
        finalize = self._route.finalizeResponseHeaders
        if finalize is not None:
            self._finalizeResponse(finalize, headers)
        self.responseStarted = self.over = True
        stream.responseCodeDetails = "via_upstream"
        if self._timeouts is not None:
            self._timeouts.waiting.pop(self, None)
        if self._responsePaused:
            self._unpause()
        self.connection = None
        try:
            stats.rqTime.bins[elapsed] += 1
        except KeyError:
            stats.rqTime.record(elapsed)
        stream.responseReceived(headers, body, now)
