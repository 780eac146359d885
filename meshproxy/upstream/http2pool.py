# -*- test-case-name: tests.upstream.test_http2pool -*-
"""
The HTTP/2 connections to one endpoint: each takes as many requests at a time as the upstream allows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from meshproxy.codec.http2 import Http2Counters
from meshproxy.flags import ResetReason
from meshproxy.upstream.http1pool import HTTP1Pool, IPoolRequest
from meshproxy.upstream.http2connection import HTTP2UpstreamConnection

__all__ = ["HTTP2Pool"]


class HTTP2Pool(HTTP1Pool):
    """
    What waits, connects, fails and is counted is as of HTTP/1. A connection with room takes a request at once; the
    first one that has room is filled first, so that the others grow old and are closed.

    @ivar idle: Always empty: no connection is a request's own.
    @ivar ready: The connections that may have room.
    @ivar expectedStreams: How many streams a connection is going to have room for.
    @ivar http2ConnectionClass: What its connections are: such as count, where somebody wants it.
    """

    http2ConnectionClass: type[HTTP2UpstreamConnection] = HTTP2UpstreamConnection

    def __init__(self, *args: Any, counters: Http2Counters, random: Callable[[], float]) -> None:
        """
        @param args: As of L{HTTP1Pool}.
        @param random: From 0 up to 1; for the jitter of pings.
        """
        super().__init__(*args)
        self.counters = counters
        self.random = random
        self.idle = deque(maxlen=0)
        # An upstream is taken to allow what the configuration does, until it says otherwise.
        self.expectedStreams = self.settings.http2.maxConcurrentStreams
        self.ready: dict[HTTP2UpstreamConnection, None] = {}

    def request(self, request: IPoolRequest) -> None:
        """
        See L{HTTP1Pool.request}.
        """
        connection = self.withRoom()
        if connection is None:
            self._wait(request)
        elif self.breaker.requests.exhausted:
            self.stats.rqPendingOverflow.value += 1
            self.stats.rqActiveOverflow.value += 1
            request.connectionFailed(ResetReason.OVERFLOW, self.endpoint, "")
        else:
            self._attach(connection, request)

    def withRoom(self) -> HTTP2UpstreamConnection | None:
        """
        The first connection that takes a further request, if one does.
        """
        for connection in self.ready:
            codec = connection.codec
            if len(codec.streams) >= codec.mostStreams or connection.isRetired or connection.closedHere:
                continue
            if connection.hasSettings or connection.availableStreams:
                return connection
        return None

    def _attach(self, connection: Any, request: Any) -> None:
        self.took()
        request.connectionReady(connection.begin(request))

    # Connections

    def _connectIfNeeded(self) -> None:
        if any(connection.codec.peerMaxStreams == 0 for connection in self.ready):
            # It allows none for now. Another connection would hardly be told otherwise (CVE-2021-32780).
            return
        if len(self._dials) * self.expectedStreams < len(self.pending):
            self._connect()

    def _make(self) -> Any:
        self.stats.cxHttp2Total.value += 1
        return self.http2ConnectionClass(self)

    def isSpoken(self, connection: HTTP2UpstreamConnection, transport: Any) -> bool:
        """
        Whether a connection that is there speaks HTTP/2; else another one took its place.
        """
        return True

    def release(self, connection: Any) -> None:
        """
        A connection is there.
        """
        self.available(connection)

    def available(self, connection: HTTP2UpstreamConnection) -> None:
        """
        A connection may have room now, or has none any more: give it those that waited longest.
        """
        if connection.isRetired:
            self._letGo(connection)
            if self.pending:
                self._connectIfNeeded()
            return
        if connection.closedHere or connection.connectedAt is None:
            return
        self.ready[connection] = None
        while self.pending and connection.availableStreams:
            request = next(iter(self.pending))
            self._unqueue(request)
            if self.breaker.requests.exhausted:
                self.stats.rqPendingOverflow.value += 1
                self.stats.rqActiveOverflow.value += 1
                request.connectionFailed(ResetReason.OVERFLOW, self.endpoint, "")
            else:
                self._attach(connection, request)
        if self.pending:
            self._connectIfNeeded()
        elif self.draining and not connection.closedHere:
            # Those that waited when the pool began to drain have it now.
            self._letGo(connection)

    def _letGo(self, connection: HTTP2UpstreamConnection) -> None:
        """
        Give a connection no more requests; it closes with its last.
        """
        self.ready.pop(connection, None)
        if not connection.streams:
            connection.close()

    def leaving(self, connection: Any) -> None:
        """
        A connection is about to close: no request gets it any more.
        """
        self.ready.pop(connection, None)

    @property
    def isBusy(self) -> bool:
        """
        See L{HTTP1Pool.isBusy}.
        """
        return bool(self.pending) or any(
            connection.streams if connection.isHTTP2 else connection not in self.idle for connection in self.connections
        )

    def drain(self) -> None:
        """
        See L{HTTP1Pool.drain}.
        """
        self.draining = True
        for connection in list(self.ready):
            self.available(connection)
