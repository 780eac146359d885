"""
Tests for L{meshproxy.grpc.server} and L{meshproxy.grpc.connection}, with this project's client.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from meshproxy.codec.http2 import PREFACE
from meshproxy.grpc.server import ServerCall, ServerOptions, unary
from meshproxy.grpc.status import GRPCError, Status
from meshproxy.testing.peers import Peer
from tests.grpc.support import ADDRESS, GRPCTestCase, Received


class ServerTests(GRPCTestCase):
    """
    L{GRPCServer} answers calls.
    """

    serverOptions = ServerOptions(maxMessage=1000, maxStreams=3, keepalive=30.0)

    def status(self, path: str, request: bytes = b"") -> tuple[str, str]:
        """
        How a unary call fails.
        """
        answer = self.channel.unary(path, request)
        self.settle()
        error = self.failureResultOf(answer, GRPCError).value
        return error.status.name, error.message

    def test_unary(self) -> None:
        """
        One request, one response.
        """
        answer = self.channel.unary("/test.Test/Echo", b"hello")
        self.settle()
        self.assertEqual(self.successResultOf(answer), b"hello")

    def test_bidirectional(self) -> None:
        """
        Messages both ways, in order, until the client ends.
        """
        received = Received()
        call = self.channel.open("/test.Test/Bidi", received, [(b"x-meta", b"data")])
        for message in (b"a", b"", b"c" * 500):
            call.send(message)
            self.settle()
        self.assertEqual((received.messages, received.status), ([b"a", b"", b"c" * 500], ""))
        self.assertEqual(self.echoes[0].call.headers.get(b"x-meta"), b"data")
        call.halfClose()
        self.settle()
        self.assertEqual(received.status, "OK")

    def test_unknownMethod(self) -> None:
        """
        A path that nobody serves is UNIMPLEMENTED, and names it.
        """
        self.assertEqual(self.status("/test.Test/None"), ("UNIMPLEMENTED", "this server has no method /test.Test/None"))

    def test_methodFails(self) -> None:
        """
        A status that a method raises goes to the client; what else it raises stays here.
        """

        async def refuse(request: bytes, call: ServerCall) -> bytes:
            raise GRPCError(Status.NOT_FOUND, "no such ä")

        async def fail(request: bytes, call: ServerCall) -> bytes:
            raise ZeroDivisionError("secret")

        self.method("/refuse", unary(refuse))
        self.method("/fail", unary(fail))
        self.assertEqual(self.status("/refuse"), ("NOT_FOUND", "no such ä"))
        status, message = self.status("/fail")
        self.assertEqual((status, "secret" in message), ("INTERNAL", False))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_methodRaisesAtOnce(self) -> None:
        """
        So does what is raised while a call begins, or while it is told something.
        """

        def refuse(call: ServerCall) -> None:
            raise GRPCError(Status.PERMISSION_DENIED, "not you")

        self.method("/refuse", refuse)
        self.assertEqual(self.status("/refuse"), ("PERMISSION_DENIED", "not you"))
        self.method("/broken", lambda call: object())
        self.assertEqual(self.status("/broken")[0], "INTERNAL")
        self.flushLoggedErrors(AttributeError)

    def test_wrongCount(self) -> None:
        """
        A unary call has one request.
        """
        for count in (0, 2):
            received = Received()
            call = self.channel.open("/test.Test/Echo", received)
            for _ in range(count):
                call.send(b"x")
            call.halfClose()
            self.settle()
            self.assertEqual(received.status, "INTERNAL")

    def test_tooLong(self) -> None:
        """
        A message above the limit ends its call, and no other.
        """
        received = Received()
        other = self.channel.open("/test.Test/Bidi", received)
        other.send(b"a")
        self.assertEqual(self.status("/test.Test/Echo", b"x" * 1001)[0], "RESOURCE_EXHAUSTED")
        other.send(b"b")
        self.settle()
        self.assertEqual(received.messages, [b"a", b"b"])

    def test_deadline(self) -> None:
        """
        When a call's deadline passes, its method is told, also where the client's own clock sleeps.
        """
        received = Received()
        call = self.channel.open("/test.Test/Bidi", received, [(b"grpc-timeout", b"5S")])
        call.send(b"a")
        self.settle(4.9)
        self.assertEqual(received.status, "")
        self.settle(0.1)
        self.assertEqual(received.status, "DEADLINE_EXCEEDED")
        self.assertEqual(self.echoes[0].cancellations[0].status, Status.DEADLINE_EXCEEDED)
        self.echoes[0].call.send(b"late")
        self.settle()

    def test_brokenDeadline(self) -> None:
        """
        A deadline that cannot be read ends the call.
        """
        received = Received()
        self.channel.open("/test.Test/Bidi", received, [(b"grpc-timeout", b"999999999999S")])
        self.settle()
        self.assertEqual((received.status, self.echoes), ("INTERNAL", []))

    def test_unknownEncoding(self) -> None:
        """
        A call with messages in an encoding that nobody knows here ends at once, and its client is told what is known.
        """
        received = Received()
        call = self.channel.open("/test.Test/Bidi", received, [(b"grpc-encoding", b"deflate")])
        self.settle()
        self.assertEqual((received.status, self.echoes), ("UNIMPLEMENTED", []))
        assert call.headers is not None
        self.assertEqual(call.headers.get(b"grpc-accept-encoding"), b"identity, gzip")

    def test_clientCancels(self) -> None:
        """
        A client that gives up is told to the method; work under way is cancelled.
        """
        received = Received()
        call = self.channel.open("/test.Test/Bidi", received)
        self.settle()
        call.cancel()
        self.settle()
        self.assertEqual((received.status, self.echoes[0].cancellations[0].status), ("CANCELLED", Status.CANCELLED))
        cancelled: list[object] = []

        async def work(request: bytes, call: ServerCall) -> bytes:
            await Deferred(cancelled.append)
            return b""

        self.method("/work", unary(work))
        answer = self.channel.unary("/work", b"")
        self.settle()
        answer.cancel()
        self.settle()
        self.failureResultOf(answer)
        self.assertEqual(len(cancelled), 1)

    def test_clientLeaves(self) -> None:
        """
        So is a client whose connection is lost.
        """
        self.channel.open("/test.Test/Bidi", Received())
        self.settle()
        self.network.reactor.advance(0)
        connection = self.channel._connection
        assert connection is not None
        transport: Any = connection.transport
        transport.abortConnection()
        self.settle()
        self.assertEqual(len(self.echoes[0].cancellations), 1)
        self.assertEqual(self.server.connections, set())

    def test_slowClient(self) -> None:
        """
        To a client that does not read no more is sent than its windows allow, and the method is told to wait.
        """
        received = Received()
        call = self.channel.open("/test.Test/Bidi", received)
        self.settle()
        call.pauseReceiving()
        method = self.echoes[0]
        for _ in range(40):
            method.call.send(b"x" * 100_000)
        self.settle()
        self.assertEqual(method.pauses, ["pause"])
        self.assertTrue(len(received.messages) < 40)
        call.resumeReceiving()
        self.settle()
        self.assertEqual((len(received.messages), method.pauses), (40, ["pause", "resume"]))

    def test_slowServer(self) -> None:
        """
        A method that does not want more stops the client at its window.
        """
        received = Received()
        call = self.channel.open("/test.Test/Bidi", received)
        self.settle()
        self.echoes[0].call.pauseReceiving()
        for _ in range(2000):
            call.send(b"x" * 900)
        self.settle()
        stopped = len(received.messages)
        self.assertTrue(stopped < 2000)
        self.echoes[0].call.resumeReceiving()
        self.settle()
        self.assertEqual(len(received.messages), 2000)

    def test_manyCalls(self) -> None:
        """
        More calls than the server allows at a time wait for their turn.
        """
        answers = [self.channel.unary("/test.Test/Echo", b"%d" % number) for number in range(20)]
        self.settle()
        self.assertEqual([self.successResultOf(answer) for answer in answers], [b"%d" % n for n in range(20)])

    def test_stop(self) -> None:
        """
        A server that stops ends what it serves with UNAVAILABLE and closes.
        """
        received = Received()
        self.channel.open("/test.Test/Bidi", received)
        self.settle()
        self.server.stop()
        self.settle()
        self.assertEqual((received.status, len(self.echoes[0].cancellations)), ("UNAVAILABLE", 1))
        self.assertEqual(self.server.connections, set())

    def test_silentClient(self) -> None:
        """
        A client that is gone without a word is noticed; one that answers stays.
        """
        received = Received()
        self.channel.open("/test.Test/Bidi", received)
        self.settle(300)
        self.assertEqual((received.status, len(self.server.connections)), ("", 1))
        silent = Peer()
        self.network.dial(ADDRESS, silent)
        silent.write(PREFACE + b"\0\0\0\4\0\0\0\0\0")
        self.settle()
        self.assertEqual(len(self.server.connections), 2)
        self.settle(45)
        self.assertEqual(len(self.server.connections), 1)


def _statusOf(event: Any) -> str:
    return str(dict(event.headers)[":status"])


class PlainHTTPTests(GRPCTestCase):
    """
    What is HTTP/2 and no gRPC, and what is not even that.
    """

    def test_notHTTP2(self) -> None:
        """
        Other protocols are told goodbye.
        """
        client = Peer()
        self.network.dial(ADDRESS, client)
        client.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.settle()
        self.assertEqual(self.server.connections, set())

    def test_notGRPC(self) -> None:
        """
        A GET, and a POST of something else, get their HTTP status.
        """
        from h2.config import H2Configuration
        from h2.connection import H2Connection
        from h2.events import ResponseReceived

        peer = H2Connection(H2Configuration(header_encoding="utf-8"))
        peer.initiate_connection()
        base = [(":scheme", "http"), (":authority", "a"), (":path", "/test.Test/Echo")]
        peer.send_headers(1, [(":method", "GET"), *base], end_stream=True)
        peer.send_headers(3, [(":method", "POST"), *base, ("content-type", "text/plain")], end_stream=True)
        client = Peer()
        self.network.dial(ADDRESS, client)
        client.write(peer.data_to_send())
        self.settle()
        events = peer.receive_data(client.received)
        statuses = [_statusOf(event) for event in events if isinstance(event, ResponseReceived)]
        self.assertEqual(statuses, ["405", "415"])
