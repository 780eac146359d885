"""
What the tests of the HTTP/1 codec share: sinks that write transcripts, and feeding in every split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from meshproxy.codec.http1 import (
    DownstreamCodec,
    Http1Counters,
    Http1Options,
    IRequestSink,
    IResponseSink,
    UpstreamCodec,
)
from meshproxy.errors import RemoteProtocolError
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders

__all__ = ["CodecTestCase", "RecordingSink", "downstream", "splits", "upstream"]

Transcript = list[tuple[Any, ...]]


@implementer(IRequestSink, IResponseSink)
class RecordingSink:
    """
    Writes down what it is told. Data of one message is put together, however it was cut.

    @ivar transcript: What came.
    @ivar during: Called after each event, with its name; a test may let it call the codec.
    """

    def __init__(self) -> None:
        self.transcript: Transcript = []
        self.during: Callable[[str], object] = lambda name: None
        self.calls = 0

    def requestReceived(self, headers: RequestHeaders, endStream: bool) -> None:
        self.transcript.append(("request", list(headers.allFields()), endStream))
        self._tell("request")

    def callReceived(self, headers: RequestHeaders, body: bytes) -> bool:
        self.requestReceived(headers, False)
        return False

    def informationalReceived(self, headers: ResponseHeaders) -> None:
        self.transcript.append(("informational", list(headers.allFields())))
        self._tell("informational")

    def responseReceived(self, headers: ResponseHeaders, endStream: bool) -> None:
        self.transcript.append(("response", list(headers.allFields()), endStream))
        self._tell("response")

    def wholeReceived(self, headers: ResponseHeaders, body: bytes) -> None:
        self.responseReceived(headers, False)
        self.dataReceived(body, True)

    def dataReceived(self, data: bytes, endStream: bool) -> None:
        if self.transcript and self.transcript[-1][0] == "data" and not self.transcript[-1][2]:
            data = self.transcript.pop()[1] + data
        self.transcript.append(("data", data, endStream))
        self._tell("data")

    def trailersReceived(self, trailers: HeaderMap) -> None:
        self.transcript.append(("trailers", list(trailers.allFields())))
        self._tell("trailers")

    def _tell(self, name: str) -> None:
        self.calls += 1
        self.during(name)


def splits(wire: bytes) -> Iterator[list[bytes]]:
    """
    A wire sample whole, cut in two at each place, and byte by byte.
    """
    yield [wire]
    for cut in range(1, len(wire)):
        yield [wire[:cut], wire[cut:]]
    yield [wire[place : place + 1] for place in range(len(wire))]


def downstream(**options: Any) -> tuple[DownstreamCodec, RecordingSink]:
    """
    A server's codec with a sink that writes down.
    """
    sink = RecordingSink()
    return DownstreamCodec(sink, Http1Options(**options), Http1Counters()), sink


def upstream(
    method: bytes = b"GET", pairs: list[tuple[bytes, bytes]] | None = None, endStream: bool = True, **options: Any
) -> tuple[UpstreamCodec, RecordingSink]:
    """
    A client's codec that has sent a request, with a sink that writes down.
    """
    sink = RecordingSink()
    codec = UpstreamCodec(sink, Http1Options(**options)) if options else UpstreamCodec(sink)
    codec.encodeHeaders(RequestHeaders(method, b"/", b"example.com", pairs or []), endStream)
    return codec, sink


class CodecTestCase(SynchronousTestCase):
    """
    Assertions on what a codec makes of wire samples.
    """

    def assertEverySplit(
        self,
        make: Callable[[], tuple[DownstreamCodec, RecordingSink] | tuple[UpstreamCodec, RecordingSink]],
        wire: bytes,
        expected: Transcript | None = None,
    ) -> Transcript:
        """
        However a sample is cut, what the sink is told is the same.

        @return: What it is told.
        """
        for pieces in splits(wire):
            codec, sink = make()
            for piece in pieces:
                codec.receiveData(piece)
            if expected is None:
                expected = sink.transcript
            self.assertEqual(sink.transcript, expected, pieces)
        assert expected is not None
        return expected

    def assertRefused(
        self,
        make: Callable[[], tuple[DownstreamCodec, RecordingSink] | tuple[UpstreamCodec, RecordingSink]],
        wire: bytes,
        status: int = 400,
        details: str = "http1.codec_error",
    ) -> str:
        """
        However a sample is cut, it is refused, and the codec then takes nothing.

        @return: The sentence for the log.
        """
        why = ""
        for pieces in splits(wire):
            codec, _ = make()
            error = None
            for piece in pieces:
                try:
                    codec.receiveData(piece)
                except RemoteProtocolError as caught:
                    error = caught
                    break
            assert error is not None, (wire, pieces)
            self.assertEqual((error.statusHint, error.details), (status, details), (error.why, pieces))
            self.assertFalse(codec.keepAlive)
            again = self.assertRaises(RemoteProtocolError, codec.receiveData, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            self.assertEqual((again.why, again.details), (error.why, error.details))
            why = error.why
        return why
