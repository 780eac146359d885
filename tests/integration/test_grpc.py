"""
gRPC with a client and a server that others wrote: C{grpcio}, in both directions.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import CancelledError, Deferred, gatherResults, inlineCallbacks
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from meshproxy.grpc.client import ChannelOptions, GRPCChannel, IResponseReceiver
from meshproxy.grpc.server import GRPCServer, ServerCall, ServerOptions, unary
from meshproxy.grpc.status import GRPCError, Status
from meshproxy.net.address import Address
from meshproxy.net.network import ReactorNetwork
from tests.grpc.support import Echo, echo

try:
    import grpc
except ImportError:
    grpc = None

reactor: Any = installed

_LARGE = bytes(range(256)) * 12_000
_HUGE = bytes(range(256)) * 44_000


def _soon() -> Deferred[None]:
    later: Deferred[None] = Deferred()
    reactor.callLater(0.01, later.callback, None)
    return later


async def _refuse(request: bytes, call: ServerCall) -> bytes:
    raise GRPCError(Status.FAILED_PRECONDITION, "nöt now")


@implementer(IResponseReceiver)
class _Gathered:
    """
    The messages of a call, when it is over.
    """

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.done: Deferred[list[bytes]] = Deferred()

    def messageReceived(self, message: bytes) -> None:
        """
        See L{IResponseReceiver}.
        """
        self.messages.append(message)

    def callEnded(self, error: GRPCError | None) -> None:
        """
        See L{IResponseReceiver}.
        """
        if error is None:
            self.done.callback(self.messages)
        else:
            self.done.errback(error)


class TheirClientTests(TestCase):
    """
    grpcio's client on this project's server.
    """

    if grpc is None:
        skip = "grpcio is not installed"

    def setUp(self) -> None:
        methods = {
            "/t.T/Echo": unary(echo),
            "/t.T/Refuse": unary(_refuse),
            "/t.T/Never": unary(self._never),
            "/t.T/Bidi": self._bidi,
        }
        self.cancelled: list[Status] = []
        self.server = GRPCServer(methods, reactor, ServerOptions(maxMessage=16 << 20, maxStreams=1000))
        self.port = reactor.listenTCP(0, self.server, interface="127.0.0.1")
        self.addCleanup(self._stop)
        self.channel = grpc.insecure_channel(
            f"127.0.0.1:{self.port.getHost().port}",
            options=[("grpc.max_receive_message_length", 16 << 20), ("grpc.max_send_message_length", 64 << 20)],
        )

    async def _never(self, request: bytes, call: ServerCall) -> bytes:
        try:
            await Deferred()
        except CancelledError:
            self.cancelled.append(Status.DEADLINE_EXCEEDED)
            raise
        return b""

    def _bidi(self, call: ServerCall) -> Echo:
        case = self

        class Noting(Echo):
            def cancelled(self, error: GRPCError) -> None:
                case.cancelled.append(error.status)

        return Noting(call)

    @inlineCallbacks
    def _stop(self) -> Any:
        yield deferToThread(self.channel.close)
        self.server.stop()
        yield self.port.stopListening()
        while self.server.connections:
            later: Deferred[None] = Deferred()
            reactor.callLater(0.01, later.callback, None)
            yield later

    @inlineCallbacks
    def test_unary(self) -> Any:
        """
        Small, empty and large messages, compressed ones too.
        """
        call = self.channel.unary_unary("/t.T/Echo")
        for message in (b"hello", b"", _LARGE):
            self.assertEqual((yield deferToThread(call, message, timeout=60)), message)
        gzip = grpc.Compression.Gzip
        self.assertEqual((yield deferToThread(call, _LARGE, timeout=60, compression=gzip)), _LARGE)

    @inlineCallbacks
    def test_streaming(self) -> Any:
        """
        All kinds of streams.
        """
        bidi = self.channel.stream_stream("/t.T/Bidi")
        messages = [b"%d" % number * 100 for number in range(500)]
        found = yield deferToThread(lambda: list(bidi(iter(messages), timeout=60)))
        self.assertEqual(found, messages)

    @inlineCallbacks
    def test_statuses(self) -> Any:
        """
        Statuses, messages, deadlines and unknown methods.
        """

        def fails(path: str, timeout: float = 20) -> tuple[str, str]:
            try:
                self.channel.unary_unary(path)(b"", timeout=timeout)
            except grpc.RpcError as error:
                call: Any = error
                return call.code().name, call.details()
            return "OK", ""

        self.assertEqual((yield deferToThread(fails, "/t.T/Refuse")), ("FAILED_PRECONDITION", "nöt now"))
        self.assertEqual((yield deferToThread(fails, "/t.T/None"))[0], "UNIMPLEMENTED")
        self.assertEqual((yield deferToThread(fails, "/t.T/Never", 0.1))[0], "DEADLINE_EXCEEDED")

    @inlineCallbacks
    def test_large(self) -> Any:
        """
        Ten megabytes each way pass where that is allowed; more than is allowed is refused by a status, not a reset.
        """
        call = self.channel.unary_unary("/t.T/Echo")
        self.assertEqual((yield deferToThread(call, _HUGE, timeout=60)), _HUGE)
        failure = yield deferToThread(lambda: call.future(bytes(20 << 20), timeout=60).exception())
        self.assertEqual(failure.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)

    @inlineCallbacks
    def test_compression(self) -> Any:
        """
        gzip is taken; what this server does not know is refused as gRPC says, with what it knows.
        """
        call = self.channel.unary_unary("/t.T/Echo")
        gzip, deflate = grpc.Compression.Gzip, grpc.Compression.Deflate
        self.assertEqual((yield deferToThread(call, _LARGE, timeout=60, compression=gzip)), _LARGE)
        failure = yield deferToThread(lambda: call.future(_LARGE, timeout=60, compression=deflate).exception())
        self.assertEqual(failure.code(), grpc.StatusCode.UNIMPLEMENTED)
        self.assertIn("deflate", failure.details())

    @inlineCallbacks
    def test_givenUp(self) -> Any:
        """
        A call that its client cancels, or whose deadline passes, is cancelled here; the connection goes on.
        """

        def cancel() -> None:
            requests = iter(lambda: b"again", b"")
            call = self.channel.stream_stream("/t.T/Bidi")(requests)
            next(call)
            call.cancel()

        yield deferToThread(cancel)
        never = self.channel.unary_unary("/t.T/Never")
        failure = yield deferToThread(lambda: never.future(b"", timeout=0.1).exception())
        self.assertEqual(failure.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        while len(self.cancelled) < 2:
            yield _soon()
        self.assertLessEqual(set(self.cancelled), {Status.CANCELLED, Status.DEADLINE_EXCEEDED})
        self.assertEqual(len(self.server.connections), 1)

    @inlineCallbacks
    def test_many(self) -> Any:
        """
        A thousand calls at once.
        """

        def calls() -> int:
            echo = self.channel.unary_unary("/t.T/Echo")
            futures = [echo.future(b"%d" % number, timeout=60) for number in range(1000)]
            return sum(int(future.result()) == number for number, future in enumerate(futures))

        self.assertEqual((yield deferToThread(calls)), 1000)


class TheirServerTests(TestCase):
    """
    This project's client on grpcio's server.
    """

    if grpc is None:
        skip = "grpcio is not installed"

    def setUp(self) -> None:
        def echo(request: bytes, context: Any) -> bytes:
            return request

        def refuse(request: bytes, context: Any) -> bytes:
            context.abort(grpc.StatusCode.NOT_FOUND, "nö %")
            return b""

        def bidi(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
            yield from requests

        def slow(request: bytes, context: Any) -> bytes:
            self.remaining.append(context.time_remaining())
            ended = Event()
            context.add_callback(ended.set)
            self.ends.append(ended.wait(60))
            return b""

        def count(request: bytes, context: Any) -> Iterator[bytes]:
            for number in range(int(request)):
                yield b"%d" % number

        def total(requests: Iterator[bytes], context: Any) -> bytes:
            return b"%d" % sum(map(len, requests))

        handlers = {
            "Echo": grpc.unary_unary_rpc_method_handler(echo),
            "Refuse": grpc.unary_unary_rpc_method_handler(refuse),
            "Bidi": grpc.stream_stream_rpc_method_handler(bidi),
            "Slow": grpc.unary_unary_rpc_method_handler(slow),
            "Count": grpc.unary_stream_rpc_method_handler(count),
            "Total": grpc.stream_unary_rpc_method_handler(total),
        }
        self.remaining: list[float] = []
        self.ends: list[bool] = []
        self.pool = ThreadPoolExecutor(8)
        size = [("grpc.max_receive_message_length", 16 << 20)]
        self.server = grpc.server(self.pool, options=size, compression=grpc.Compression.Gzip)
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.T", handlers),))
        address = Address("127.0.0.1", self.server.add_insecure_port("127.0.0.1:0"))
        self.server.start()
        network = ReactorNetwork(reactor)
        self.channel = GRPCChannel(
            lambda protocol, failed: network.connect(address, protocol, failed),
            reactor,
            ChannelOptions(maxMessage=12 << 20),
        )
        self.addCleanup(self._stop)

    @inlineCallbacks
    def _stop(self) -> Any:
        self.channel.close()
        yield deferToThread(lambda: self.server.stop(0).wait())
        self.pool.shutdown()
        later: Deferred[None] = Deferred()
        reactor.callLater(0.05, later.callback, None)
        yield later

    @inlineCallbacks
    def test_unary(self) -> Any:
        """
        Small, empty and large messages; this server compresses its own.
        """
        for message in (b"hello", b"", _LARGE):
            self.assertEqual((yield self.channel.unary("/t.T/Echo", message, timeout=60)), message)
        answers = yield gatherResults([self.channel.unary("/t.T/Echo", b"%d" % n, timeout=60) for n in range(1000)])
        self.assertEqual(answers, [b"%d" % n for n in range(1000)])

    @inlineCallbacks
    def test_streaming(self) -> Any:
        """
        All kinds of streams.
        """

        def call(path: str, *messages: bytes) -> Deferred[list[bytes]]:
            gathered = _Gathered()
            opened = self.channel.open(path, gathered, timeout=60)
            for message in messages:
                opened.send(message)
            opened.halfClose()
            return gathered.done

        self.assertEqual((yield call("/t.T/Count", b"300")), [b"%d" % n for n in range(300)])
        self.assertEqual((yield call("/t.T/Total", b"abc", b"", b"de")), [b"5"])
        messages = [b"%d" % n * 50 for n in range(300)]
        self.assertEqual((yield call("/t.T/Bidi", *messages)), messages)

    @inlineCallbacks
    def test_statuses(self) -> Any:
        """
        Statuses, their messages, unknown methods.
        """
        failure = yield self.assertFailure(self.channel.unary("/t.T/Refuse", b""), GRPCError)
        self.assertEqual((failure.status, failure.message), (Status.NOT_FOUND, "nö %"))
        failure = yield self.assertFailure(self.channel.unary("/t.T/None", b""), GRPCError)
        self.assertEqual(failure.status, Status.UNIMPLEMENTED)

    @inlineCallbacks
    def test_large(self) -> Any:
        """
        More than ten megabytes each way, compressed on the way back; more than either side takes is refused.
        """
        self.assertEqual((yield self.channel.unary("/t.T/Echo", _HUGE, timeout=60)), _HUGE)
        for size in (13 << 20, 20 << 20):
            failure = yield self.assertFailure(self.channel.unary("/t.T/Echo", bytes(size), timeout=60), GRPCError)
            self.assertEqual(failure.status, Status.RESOURCE_EXHAUSTED)
        self.assertEqual((yield self.channel.unary("/t.T/Echo", b"still", timeout=60)), b"still")

    @inlineCallbacks
    def test_givenUp(self) -> Any:
        """
        The server is told of the deadline, and of the end of a call that its client gives up, by deadline or by hand.
        """
        failure = yield self.assertFailure(self.channel.unary("/t.T/Slow", b"", timeout=0.2), GRPCError)
        self.assertEqual(failure.status, Status.DEADLINE_EXCEEDED)
        call = self.channel.unary("/t.T/Slow", b"", timeout=15)
        while len(self.remaining) < 2:
            yield _soon()
        call.cancel()
        failure = yield self.assertFailure(call, GRPCError, CancelledError)
        while len(self.ends) < 2:
            yield _soon()
        self.assertEqual(self.ends, [True, True])
        self.assertLess(self.remaining[0], 1.5)
        self.assertLess(self.remaining[1], 16.5)
