"""
Tests for L{meshproxy.grpc.client}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Protocol

from meshproxy.codec.http2 import CodecStream, DownstreamCodec, Http2Options
from meshproxy.grpc.client import ChannelOptions
from meshproxy.grpc.connection import GRPCConnection
from meshproxy.grpc.framing import encodeFrame
from meshproxy.grpc.status import GRPCError
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from meshproxy.testing.peers import Peer
from tests.grpc.support import ADDRESS, GRPCTestCase, Received

_GRPC = [(b"content-type", b"application/grpc")]


class _Scripted(GRPCConnection):
    """
    A server that answers each request as a test says.
    """

    def __init__(self, reactor: Any, script: Any, options: Http2Options) -> None:
        super().__init__(reactor)
        self._script = script
        self._options = options
        self.requests: list[RequestHeaders] = []

    def makeCodec(self) -> DownstreamCodec:
        return DownstreamCodec(self, self._options)  # type: ignore[arg-type]  # the sink's methods are below

    def requestReceived(self, stream: CodecStream, headers: RequestHeaders, endStream: bool) -> None:
        """
        A request.
        """
        self.requests.append(headers)
        self._script(stream)

    def callReceived(self, stream: CodecStream, headers: RequestHeaders, message: bytes) -> bool:
        """
        One whose message is here, too.
        """
        self.requestReceived(stream, headers, False)
        return False


class ClientTests(GRPCTestCase):
    """
    L{GRPCChannel}, towards servers of all sorts.
    """

    channelOptions = ChannelOptions(authority=b"mesh.test", maxMessage=1000, keepalive=30.0)

    def serve(self, script: Any, **options: Any) -> list[_Scripted]:
        """
        Let the server answer as a test says.

        @return: Its connections.
        """
        self.listening.stopListening()
        made: list[_Scripted] = []

        def build(peer: object) -> _Scripted:
            made.append(_Scripted(self.reactor, script, Http2Options(**options)))
            return made[-1]

        self.listening = self.network.listen(ADDRESS, build)
        return made

    def outcome(self, script: Any) -> str:
        """
        How a call ends whose server answers as a test says.
        """
        self.serve(script)
        received = Received()
        call = self.makeChannel().open("/a/B", received)
        call.halfClose()
        self.settle()
        return received.status

    def test_head(self) -> None:
        """
        What a request looks like.
        """
        made = self.serve(lambda stream: None)
        self.channel.open("/a/B", Received(), [(b"x-meta", b"1")], timeout=2.5)
        self.settle()
        (head,) = made[0].requests
        self.assertEqual((head.method, head.path, head.authority), (b"POST", b"/a/B", b"mesh.test"))
        self.assertEqual(dict(head.fields()), {
            b"content-type": b"application/grpc",
            b"te": b"trailers",
            b"user-agent": b"meshproxy",
            b"grpc-accept-encoding": b"identity, gzip",
            b"grpc-timeout": b"2500000u",
            b"x-meta": b"1",
        })  # fmt: skip

    def test_outcomes(self) -> None:
        """
        Each way in which a server may end, or break, a call.
        """
        ok = ResponseHeaders(200, _GRPC)

        def trailersOnly(stream: CodecStream) -> None:
            stream.sendHeaders(ResponseHeaders(200, [*_GRPC, (b"grpc-status", b"7")]), True)

        def noStatus(stream: CodecStream) -> None:
            stream.sendHeaders(ok, False)
            stream.sendData(encodeFrame(b"x"), True)

        def noGRPC(stream: CodecStream) -> None:
            stream.sendHeaders(ResponseHeaders(200, [(b"content-type", b"text/html")]), False)

        def unavailable(stream: CodecStream) -> None:
            stream.sendHeaders(ResponseHeaders(503), True)

        def reset(stream: CodecStream) -> None:
            stream.reset(7)

        def tooLong(stream: CodecStream) -> None:
            stream.sendHeaders(ok, False)
            stream.sendData(encodeFrame(b"x" * 1001), False)

        def cut(stream: CodecStream) -> None:
            stream.sendHeaders(ok, False)
            stream.sendData(encodeFrame(b"xyz")[:-1], False)
            stream.sendTrailers(HeaderMap([(b"grpc-status", b"0")]))

        def well(stream: CodecStream) -> None:
            stream.sendHeaders(ok, False)
            stream.sendData(encodeFrame(b"xyz"), False)
            stream.sendTrailers(HeaderMap([(b"grpc-status", b"0")]))

        for script, status in (
            (trailersOnly, "PERMISSION_DENIED"),
            (noStatus, "UNKNOWN"),
            (noGRPC, "UNKNOWN"),
            (unavailable, "UNAVAILABLE"),
            (reset, "UNAVAILABLE"),
            (tooLong, "RESOURCE_EXHAUSTED"),
            (cut, "INTERNAL"),
            (well, "OK"),
        ):
            self.assertEqual(self.outcome(script), status, script.__name__)

    def test_wrongCount(self) -> None:
        """
        A unary call wants one response.
        """
        for count in (0, 2):

            def script(stream: CodecStream, count: int = count) -> None:
                stream.sendHeaders(ResponseHeaders(200, _GRPC), False)
                for _ in range(count):
                    stream.sendData(encodeFrame(b"x"), False)
                stream.sendTrailers(HeaderMap([(b"grpc-status", b"0")]))

            self.serve(script)
            answer = self.makeChannel().unary("/a/B", b"")
            self.settle()
            self.assertEqual(self.failureResultOf(answer, GRPCError).value.status.name, "INTERNAL")

    def test_noServer(self) -> None:
        """
        Where nobody listens a call is UNAVAILABLE, and the next one tries again.
        """
        self.listening.stopListening()
        answer = self.channel.unary("/test.Test/Echo", b"a")
        self.settle()
        error = self.failureResultOf(answer, GRPCError).value
        self.assertEqual(error.status.name, "UNAVAILABLE")
        self.assertIn("refused", error.message)
        self.network.listen(ADDRESS, self.server.buildProtocol)
        again = self.channel.unary("/test.Test/Echo", b"b")
        self.settle()
        self.assertEqual(self.successResultOf(again), b"b")

    def test_unwanted(self) -> None:
        """
        A server that closes each connection before its first word is not besieged: what waits is UNAVAILABLE.
        """
        self.listening.stopListening()

        class Unfriendly(Protocol):
            def connectionMade(self) -> None:
                self.transport.loseConnection()  # type: ignore[union-attr]  # it is connected

        self.network.listen(ADDRESS, lambda address: Unfriendly())
        answer = self.channel.unary("/test.Test/Echo", b"a")
        self.settle()
        self.assertEqual(self.failureResultOf(answer, GRPCError).value.status.name, "UNAVAILABLE")
        self.assertEqual(len(self.network.dialled), 1)

    def test_connectionIsKept(self) -> None:
        """
        Calls share a connection; after it is lost its calls fail, and the next one makes another.
        """
        received = Received()
        self.channel.open("/test.Test/Bidi", received)
        self.channel.unary("/test.Test/Echo", b"a")
        self.settle()
        (connection,) = self.server.connections
        assert connection.transport is not None
        connection.transport.abortConnection()  # type: ignore[attr-defined]  # a transport of the kit
        self.settle()
        self.assertEqual(received.status, "UNAVAILABLE")
        again = self.channel.unary("/test.Test/Echo", b"b")
        self.settle()
        self.assertEqual((self.successResultOf(again), len(self.network.dialled)), (b"b", 2))

    def test_goAway(self) -> None:
        """
        After a GOAWAY calls under way end on the old connection, new ones go on another, and the old one closes.
        """
        first, second = Received(), Received()
        call = self.channel.open("/test.Test/Bidi", first)
        call.send(b"a")
        self.settle()
        (old,) = self.server.connections
        old.codec.sendGoAway()
        old.flush()
        self.settle()
        self.channel.open("/test.Test/Bidi", second).send(b"b")
        self.settle()
        self.assertEqual((second.messages, len(self.server.connections)), ([b"b"], 2))
        call.send(b"c")
        call.halfClose()
        self.settle()
        self.assertEqual((first.messages, first.status, len(self.server.connections)), ([b"a", b"c"], "OK", 1))

    def test_noStreamsAllowed(self) -> None:
        """
        A server that allows no streams for a while makes calls wait, and breaks nothing.
        """
        made = self.serve(lambda stream: None, maxConcurrentStreams=0)
        received = Received()
        call = self.channel.open("/a/B", received, timeout=10)
        self.settle(5)
        self.assertEqual((made[0].requests, received.status), ([], ""))
        self.settle(5)
        self.assertEqual(received.status, "DEADLINE_EXCEEDED")
        call.cancel()

    def test_deadline(self) -> None:
        """
        The client's own deadline ends a call that the server forgot, and tells the server.
        """
        received = Received()
        self.channel.open("/test.Test/Bidi", received, timeout=3)
        self.settle(3)
        self.assertEqual(received.status, "DEADLINE_EXCEEDED")
        self.settle()
        self.assertEqual(len(self.echoes[0].cancellations), 1)

    def test_close(self) -> None:
        """
        A closed channel has no calls, no connection and no timers; later calls fail.
        """
        received = Received()
        self.channel.open("/test.Test/Bidi", received, timeout=100)
        self.settle()
        self.channel.close()
        self.settle()
        self.assertEqual((received.status, self.server.connections), ("CANCELLED", set()))
        late = self.channel.unary("/test.Test/Echo", b"")
        self.settle()
        self.failureResultOf(late, GRPCError)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_closeWhileConnecting(self) -> None:
        """
        So has one that was closed before it was connected.
        """
        self.network.silent.add(ADDRESS)
        answer = self.channel.unary("/test.Test/Echo", b"")
        self.settle()
        self.channel.close()
        self.failureResultOf(answer, GRPCError)
        self.settle(60)

    def test_silentServer(self) -> None:
        """
        A server that is gone without a word is noticed.
        """
        self.listening.stopListening()

        def build(peer: object) -> Peer:
            silent = Peer()
            self.reactor.callLater(0, silent.write, b"\0\0\0\4\0\0\0\0\0")
            return silent

        self.network.listen(ADDRESS, build)
        received = Received()
        self.channel.open("/a/B", received)
        self.settle(45)
        self.assertEqual(received.status, "UNAVAILABLE")

    def test_tooManyWait(self) -> None:
        """
        The calls that wait for a connection are bounded.
        """
        self.network.silent.add(ADDRESS)
        answers = [self.channel.unary("/test.Test/Echo", b"") for _ in range(1001)]
        self.reactor.advance(0)
        self.failureResultOf(answers[-1], GRPCError)
        self.assertNoResult(answers[0])
        self.channel.close()
        for answer in answers[:-1]:
            self.failureResultOf(answer, GRPCError)
