"""
What streams ask of what carries them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from meshproxy.accesslog.streaminfo import ConnectionInfo
    from meshproxy.headers import HeaderMap, ResponseHeaders
    from meshproxy.http.stream import Stream
    from meshproxy.net.relay import IRelay
    from meshproxy.upstream.stats import ClusterStats

__all__ = ["IDownstream"]


class IDownstream(Protocol):
    """
    What a stream asks of its connection, whatever the codec.
    """

    info: ConnectionInfo

    def sendInformational(self, headers: ResponseHeaders) -> None:
        """
        Send an interim response.
        """

    def sendHeaders(self, stream: Stream, headers: ResponseHeaders, endStream: bool) -> None:
        """
        Send the head of the response.
        """

    def sendData(self, data: bytes, endStream: bool) -> None:
        """
        Send a piece of its body.
        """

    def sendResponse(self, stream: Stream, headers: ResponseHeaders, body: bytes) -> None:
        """
        Send a whole response, whose body may be empty: then it ends with its head.
        """

    def sendTrailers(self, trailers: HeaderMap) -> None:
        """
        Send its trailers.
        """

    def sendMetadata(self, stream: Stream, fields: list[tuple[bytes, bytes]]) -> None:
        """
        Send METADATA, where the protocol has that and the downstream allows it.
        """

    def relay(self, source: Any, length: int, upstream: ClusterStats, done: Callable[[], object]) -> IRelay | None:
        """
        Arrange for bytes of the response's body to come from an upstream's transport past the codecs.

        @param length: How many; at least one byte of the body follows them.
        @param upstream: The counters of the upstream.
        @param done: Called when they have gone.

        @return: What does it when it is started, or L{None} where that cannot be.
        """

    def closeAfterResponse(self) -> None:
        """
        Let the response under way be the last.
        """

    def resetStream(self, stream: Stream) -> None:
        """
        End the stream without a (whole) response.
        """

    def replaceStream(self, stream: Stream, other: Stream) -> None:
        """
        Another stream takes over; the end of the first one is not the end of the exchange.
        """

    def streamEnded(self, stream: Stream) -> None:
        """
        The stream is over.
        """

    def pauseReading(self) -> None:
        """
        Read no more of the request.
        """

    def resumeReading(self) -> None:
        """
        Read it again.
        """
