"""
What the tests of the HTTP/2 codec share: a sink that writes transcripts, and a server that answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from zope.interface import implementer

from meshproxy.codec.http2 import (
    CodecStream,
    DownstreamCodec,
    Http2Counters,
    Http2Options,
    IDownstreamSink,
    IResponseStreamSink,
    UpstreamCodec,
)
from meshproxy.errors import RemoteProtocolError
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from tests.codec.http2.frames import PREFACE, settings

__all__ = ["RecordingSink", "StreamSink", "downstream", "splits", "upstream"]

Transcript = list[tuple[Any, ...]]


@implementer(IResponseStreamSink)
class StreamSink:
    """
    Writes down what it is told of one stream; data is put together, however it was cut.
    """

    def __init__(self, transcript: Transcript, streamId: int) -> None:
        self.transcript = transcript
        self.id = streamId

    def dataReceived(self, data: bytes, endStream: bool) -> None:
        last = self.transcript[-1] if self.transcript else ()
        if last[:2] == ("data", self.id) and not last[3]:
            data = self.transcript.pop()[2] + data
        self.transcript.append(("data", self.id, data, endStream))

    def trailersReceived(self, trailers: HeaderMap) -> None:
        self.transcript.append(("trailers", self.id, list(trailers.allFields())))

    def metadataReceived(self, fields: list[tuple[bytes, bytes]]) -> None:
        self.transcript.append(("metadata", self.id, fields))

    def streamReset(self, code: int, isRemote: bool, why: str) -> None:
        self.transcript.append(("reset", self.id, code, isRemote))

    def pauseSending(self) -> None:
        self.transcript.append(("pause", self.id))

    def resumeSending(self) -> None:
        self.transcript.append(("resume", self.id))

    def informationalReceived(self, headers: ResponseHeaders) -> None:
        self.transcript.append(("informational", self.id, list(headers.allFields())))

    def responseReceived(self, headers: ResponseHeaders, endStream: bool) -> None:
        self.transcript.append(("response", self.id, list(headers.allFields()), endStream))

    takesAnswer = True

    def answerReceived(self, headers: ResponseHeaders, body: bytes, trailers: HeaderMap) -> None:
        self.responseReceived(headers, False)
        self.dataReceived(body, False)
        self.trailersReceived(trailers)

    def wholeReceived(self, headers: ResponseHeaders, body: bytes) -> None:
        self.responseReceived(headers, False)
        self.dataReceived(body, True)


@implementer(IDownstreamSink)
class RecordingSink:
    """
    Writes down what it is told.

    @ivar transcript: What came.
    @ivar streams: The streams of requests, in order.
    @ivar during: Called with each stream whose request began.
    @ivar takesCalls: Whether it takes requests that come whole in one step.
    """

    takesCalls = True

    def __init__(self) -> None:
        self.transcript: Transcript = []
        self.streams: list[CodecStream] = []
        self.during: Callable[[CodecStream], object] = lambda stream: None

    def requestReceived(self, stream: CodecStream, headers: RequestHeaders, endStream: bool) -> None:
        self.transcript.append(("request", stream.id, list(headers.allFields()), endStream))
        stream.sink = StreamSink(self.transcript, stream.id)
        self.streams.append(stream)
        self.during(stream)

    def callReceived(self, stream: CodecStream, headers: RequestHeaders, message: bytes) -> bool:
        self.requestReceived(stream, headers, False)
        if not self.takesCalls or stream.sink is None:
            return False
        stream.sink.dataReceived(message, True)
        return True

    def requestRefused(self, streamId: int, headers: RequestHeaders | None, error: RemoteProtocolError) -> None:
        self.transcript.append(("refused", streamId, error.details))

    def goAwayReceived(self, lastStreamId: int, code: int, debug: bytes) -> None:
        self.transcript.append(("goaway", lastStreamId, code, debug))

    def settingsReceived(self) -> None:
        self.transcript.append(("settings",))

    def pingAnswered(self, opaque: bytes) -> None:
        self.transcript.append(("pong", opaque))


def downstream(**options: Any) -> tuple[DownstreamCodec, RecordingSink, Http2Counters]:
    """
    A downstream codec after its handshake, with its sink and counters.
    """
    sink = RecordingSink()
    counters = Http2Counters()
    codec = DownstreamCodec(sink, Http2Options(**options), counters)
    codec.receiveData(PREFACE + settings())
    codec.dataToSend()
    sink.transcript.clear()
    return codec, sink, counters


def upstream(**options: Any) -> tuple[UpstreamCodec, RecordingSink, Http2Counters]:
    """
    An upstream codec after its handshake.
    """
    sink = RecordingSink()
    counters = Http2Counters()
    codec = UpstreamCodec(sink, Http2Options(**options), counters)
    codec.receiveData(settings())
    codec.dataToSend()
    sink.transcript.clear()
    return codec, sink, counters


def splits(wire: bytes) -> Iterator[list[bytes]]:
    """
    A wire sample whole, cut in two at each place, and byte by byte.
    """
    yield [wire]
    for cut in range(1, len(wire)):
        yield [wire[:cut], wire[cut:]]
    yield [wire[place : place + 1] for place in range(len(wire))]
