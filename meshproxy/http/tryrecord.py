# -*- test-case-name: tests.http.test_upstreamlog -*-
"""
What is known of one try of a request, for its line in a log and the figures of its cluster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshproxy.flags import ResetReason
from meshproxy.headers import RequestHeaders, ResponseHeaders
from meshproxy.http.streamfacts import Metadata, StreamFacts
from meshproxy.http.wirecount import countBytes

if TYPE_CHECKING:
    from meshproxy.http.stream import Stream
    from meshproxy.upstream.cluster import Cluster
    from meshproxy.upstream.endpoint import Endpoint
    from meshproxy.upstream.http1connection import HTTP1UpstreamConnection

__all__ = ["TryRecord"]

# Properties stand in for attributes of the classes above.
# mypy: disable-error-code="override"

_DOWNSTREAM = (
    *("wireBytesReceived", "wireBytesSent", "headerBytesReceived", "headerBytesSent"),
    *("fieldBytesReceived", "fieldBytesSent"),
)


class _OfDownstream:
    """
    A number of the stream's own connection.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._place = _DOWNSTREAM.index(name)

    def __get__(self, record: TryRecord, owner: type) -> int | None:
        return record.downstreamSizes()[self._place]


class _Counted:
    """
    A number of bytes on the wire to upstreams: tries add up, and the newest tells the stream.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name
        self._own = f"_{name}"

    def __get__(self, record: TryRecord, owner: type) -> int | None:
        value: int | None = getattr(record, self._own)
        return value

    def __set__(self, record: TryRecord, value: int | None) -> None:
        setattr(record, self._own, value)
        if record.isNewest:
            setattr(record.stream, self._name, value)


class TryRecord(StreamFacts):
    """
    One try. Its bytes received are those of the response's body, its times begin with the try, and what the stream
    alone knows, as in Envoy, is not told: the id of the request, its virtual host's and dynamic metadata, how often it
    was tried.

    @ivar stream: Whose try it is.
    @ivar tracked: What its cluster counts of it.
    @ivar isGivenUp: Whether it ends for what is not its own: the time of the whole request, or the end of the stream.
    @ivar headBytes: The bytes of all heads that came, and C{headFields} how many fields they have.
    @ivar isNewest: Whether none began after it.
    @ivar sizes: What L{downstreamSizes} tells, once what goes downstream is not of its response any more.
    """

    requestId = ""
    virtualHostMetadata: Metadata | None = None
    virtualHostName: str = ""
    upstreamRequestStart: float | None = None
    upstreamRequestEnd: float | None = None
    connectionPoolReady: float | None = None
    isNewest = True
    isGivenUp = False
    headBytes = 0
    headFields = 0
    wireBytesReceived = _OfDownstream()
    wireBytesSent = _OfDownstream()
    headerBytesReceived = _OfDownstream()
    headerBytesSent = _OfDownstream()
    fieldBytesReceived = _OfDownstream()
    fieldBytesSent = _OfDownstream()
    upstreamWireBytesReceived = _Counted()
    upstreamWireBytesSent = _Counted()
    upstreamHeaderBytesReceived = _Counted()
    upstreamHeaderBytesSent = _Counted()
    upstreamFieldBytesReceived = _Counted()
    upstreamFieldBytesSent = _Counted()
    sizes: tuple[int | None, ...] | None = None

    def __init__(
        self, stream: Stream, headers: RequestHeaders, cluster: Cluster, endpoint: Endpoint, now: float
    ) -> None:
        """
        @param now: The clock's seconds.
        """
        self.stream = stream
        self.manager = stream.manager
        self.connection = stream.connection
        self.remoteAddress = stream.remoteAddress
        self.healthCheck = stream.healthCheck
        self.requestHeaders = headers
        self.requestTrailers = stream.requestTrailers
        self.route = stream.route
        self.routeName = stream.routeName
        self.upstreamCluster = cluster.statName
        self.tracked = cluster.tracked
        self.upstreamHost = endpoint
        self.startTime = self.startMonotonic = now
        # Before anything is sent, what the tries before took.
        self.upstreamWireBytesReceived = stream.upstreamWireBytesReceived or 0
        self.upstreamWireBytesSent = stream.upstreamWireBytesSent or 0
        self.upstreamHeaderBytesReceived = stream.upstreamHeaderBytesReceived or 0
        self.upstreamHeaderBytesSent = stream.upstreamHeaderBytesSent or 0
        self.upstreamFieldBytesReceived = stream.upstreamFieldBytesReceived or 0
        self.upstreamFieldBytesSent = stream.upstreamFieldBytesSent or 0

    def connected(self, connection: HTTP1UpstreamConnection, now: float) -> None:
        """
        It has a connection.
        """
        self.upstreamConnection = connection
        self.protocol = self.upstreamProtocol
        self.connectionPoolReady = now - self.startMonotonic

    def responded(self, headers: ResponseHeaders, now: float) -> None:
        """
        The head of its response came; others change it.
        """
        if self.responseHeaders is None:
            self.addHead(headers)
            self.responseHeaders = headers.copy()
            self.responseCode = headers.status
            self.upstreamResponseStart = now

    def addHead(self, headers: ResponseHeaders) -> None:
        """
        A head came, of the response or of an interim one.
        """
        if self.tracked.sizes is not None:
            self.headBytes += headers.byteSize()
            self.headFields += len(list(headers.allFields()))

    def count(self, perTry: float) -> None:
        """
        Count what its cluster wants to know of it, now that it is over.

        @param perTry: The time-out of tries, 0 for none.
        """
        tracked = self.tracked
        if tracked.sizes is not None:
            tracked.sizes.requestSent(self.requestHeaders, self.bytesSent)
            if self.responseHeaders is not None:
                tracked.sizes.responded(self.headBytes, self.headFields, self.bytesReceived)
        if tracked.timeouts is not None and not self.isGivenUp:
            assert self.end is not None
            tracked.timeouts.tryEnded(self.end - self.startMonotonic, perTry)

    def failed(self, reason: ResetReason, why: str, now: float) -> None:
        """
        It ended without a whole response.
        """
        self.responseFlags |= reason.flag
        self.upstreamTransportFailureReason = why
        if self.upstreamConnection is None:
            self.connectionPoolReady = now - self.startMonotonic

    def settle(self, now: float) -> None:
        """
        It is over, or its line tells of it as it is now.
        """
        self.end = now
        self.sizes = self.downstreamSizes()

    def downstreamSizes(self) -> tuple[int | None, ...]:
        """
        The bytes on the wire of the stream's own connection, in the order of L{_DOWNSTREAM}; as in Envoy, none before
        there is an upstream connection.
        """
        if self.sizes is not None:
            return self.sizes
        if self.upstreamConnection is None:
            return (0,) * len(_DOWNSTREAM)
        countBytes(self.stream)
        return tuple(getattr(self.stream, name) for name in _DOWNSTREAM)
