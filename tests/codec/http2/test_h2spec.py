"""
The cases of h2spec against the downstream codec; each one is a test by its name there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from meshproxy.codec.http2 import CodecStream, DownstreamCodec, Http2Options, IDownstreamSink, IRequestStreamSink
from meshproxy.errors import RemoteProtocolError
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from tests.codec.http2.frames import PREFACE, framesIn, settings
from tests.codec.http2.h2spec import CASES
from tests.codec.http2.h2specwords import Case, Frame, Wait, isAnswered


@implementer(IRequestStreamSink)
class Answer:
    """
    Answers one request when it is complete.
    """

    def __init__(self, stream: CodecStream) -> None:
        self._stream = stream

    def send(self) -> None:
        self._stream.sendResponse(ResponseHeaders(200, [(b"content-length", b"12")]), b"Hello world!")

    def dataReceived(self, data: bytes, endStream: bool) -> None:
        if endStream:
            self.send()

    def metadataReceived(self, fields: list[tuple[bytes, bytes]]) -> None:
        """
        Nobody asks for it.
        """

    def trailersReceived(self, trailers: HeaderMap) -> None:
        self.send()

    def streamReset(self, code: int, isRemote: bool, why: str) -> None:
        pass

    def pauseSending(self) -> None:
        pass

    def resumeSending(self) -> None:
        pass


@implementer(IDownstreamSink)
class Server:
    """
    Answers each request.
    """

    def requestReceived(self, stream: CodecStream, headers: RequestHeaders, endStream: bool) -> None:
        stream.sink = Answer(stream)
        if endStream:
            stream.sink.send()

    def callReceived(self, stream: CodecStream, headers: RequestHeaders, message: bytes) -> bool:
        self.requestReceived(stream, headers, False)
        return False

    def requestRefused(self, streamId: int, headers: RequestHeaders | None, error: RemoteProtocolError) -> None:
        pass

    def goAwayReceived(self, lastStreamId: int, code: int, debug: bytes) -> None:
        pass

    def settingsReceived(self) -> None:
        pass

    def pingAnswered(self, opaque: bytes) -> None:
        pass


class Conversation:
    """
    h2spec's side of a connection.
    """

    def __init__(self, isStreamError: bool) -> None:
        self.codec = DownstreamCodec(Server(), Http2Options(streamErrorOnInvalidMessage=isStreamError))
        self.isClosed = False

    def send(self, wire: bytes) -> list[Frame]:
        """
        Send, and get what comes.
        """
        if not self.isClosed:
            try:
                self.codec.receiveData(wire)
                while self.codec.hasRest:
                    self.codec.resume()
            except RemoteProtocolError:
                self.isClosed = True
        return framesIn(self.codec.dataToSend())

    def passes(self, case: Case) -> bool:
        """
        Go through a case.
        """
        # The server's own first frames are an answer where there was no handshake.
        came = framesIn(self.codec.dataToSend())
        if case.handshake:
            came = []
            self.send(PREFACE + settings())
            self.send(settings(ack=True))
        for step in case.steps:
            if isinstance(step, Wait):
                if not any(map(step.what, came)):
                    return False
                came = []
            else:
                came += self.send(step)
        return isAnswered(case, came, self.isClosed)


class H2SpecTests(SynchronousTestCase):
    """
    L{DownstreamCodec} passes every case, whether a malformed message ends its stream or its connection.
    """

    def test_all(self) -> None:
        """
        There are as many as h2spec 2.6 has, its strict one included.
        """
        self.assertEqual(len(CASES), 147)
        self.assertEqual(len({case.name for case in CASES}), 147)


def _addTests() -> None:
    def testOf(case: Case) -> Callable[[Any], None]:
        def test(self: H2SpecTests) -> None:
            for isStreamError in (False, True):
                self.assertTrue(Conversation(isStreamError).passes(case), case.description)

        test.__doc__ = f"{case.description}."
        return test

    for case in CASES:
        name = "test_" + case.name.replace("/", "_").replace(".", "_")
        setattr(H2SpecTests, name, testOf(case))


_addTests()
