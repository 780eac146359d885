"""
gRPC's own list of what clients and servers are to do together, with C{grpcio} on both sides.

Source: https://github.com/grpc/grpc/blob/master/doc/interop-test-descriptions.md, of which those cases are here that
need no credentials, with gRPC's own service and messages, and a few more. C{grpcio} does not tell whether a message was
compressed, nor lets a client send a single one as it is: what went over the wire tells, as the proxy counts it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.integration.grpcmessages import (
    Empty,
    SimpleRequest,
    SimpleResponse,
    StreamingInputCallRequest,
    StreamingInputCallResponse,
    StreamingOutputCallRequest,
    StreamingOutputCallResponse,
)

try:
    import grpc
except ImportError:
    grpc = None

__all__ = ["CASES", "InteropClient", "InteropServer", "grpc", "pack", "runCases"]

_SERVICE = "grpc.testing.TestService"
_MORE = "test.More"
_INITIAL = "x-grpc-test-echo-initial"
_TRAILING = "x-grpc-test-echo-trailing-bin"
_SPECIAL = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP \U0001f608\t\n"
# Seconds for what is to succeed.
_PATIENCE = 60.0
_LARGEST = 32 << 20
_OPTIONS = [
    ("grpc.max_receive_message_length", _LARGEST),
    ("grpc.max_send_message_length", _LARGEST),
    # Each channel has a connection of its own.
    ("grpc.use_local_subchannel_pool", 1),
]


def pack(payload: bytes = b"", **fields: Any) -> bytes:
    """
    A message of the methods that are not gRPC's: JSON and a payload.

    @param fields: What is asked for: C{sizes} of payloads to answer with, a C{status} and its C{message}, C{pause} in
        seconds before each.
    """
    return json.dumps(fields).encode() + b"\0" + payload


def _unpack(message: bytes) -> tuple[dict[str, Any], bytes]:
    head, _, payload = message.partition(b"\0")
    return json.loads(head), payload


class InteropServer:
    """
    The server.

    @ivar port: Where it listens.
    @ivar events: What it noticed of calls: C{"begun"}, C{"cancelled"}, C{"ended"}.
    """

    def __init__(self, credentials: Any = None, threads: int = 20) -> None:
        """
        @param credentials: For TLS; by default it speaks cleartext.
        """
        self.events: list[str] = []
        self.metadata: dict[str, str | bytes] = {}
        self.remaining: float | None = None
        handlers = {
            "EmptyCall": _handler("unary_unary", lambda request, context: Empty(), Empty),
            "UnaryCall": _handler("unary_unary", self._unaryCall, SimpleRequest),
            "CacheableUnaryCall": _handler("unary_unary", self._unaryCall, SimpleRequest),
            "StreamingOutputCall": _handler(
                "unary_stream",
                lambda request, context: self._outputs(iter((request,)), context),
                StreamingOutputCallRequest,
            ),
            "StreamingInputCall": _handler("stream_unary", self._inputs, StreamingInputCallRequest),
            "FullDuplexCall": _handler("stream_stream", self._outputs, StreamingOutputCallRequest),
            "HalfDuplexCall": _handler("stream_stream", self._halfDuplex, StreamingOutputCallRequest),
        }
        more = {
            "Unary": grpc.unary_unary_rpc_method_handler(self._unary),
            "Answers": grpc.unary_stream_rpc_method_handler(
                lambda request, context: self._answers(iter((request,)), context)
            ),
            "Duplex": grpc.stream_stream_rpc_method_handler(self._answers),
        }
        self._pool = ThreadPoolExecutor(threads)
        self._server = grpc.server(self._pool, options=_OPTIONS)
        for service, methods in ((_SERVICE, handlers), (_MORE, more)):
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
        address = "127.0.0.1:0"
        if credentials is None:
            self.port: int = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, credentials)
        self._server.start()

    def close(self) -> None:
        """
        End it.
        """
        self._server.stop(0).wait()
        self._pool.shutdown()

    def _begin(self, context: Any) -> None:
        self.events.append("begun")
        self.remaining = context.time_remaining()
        context.add_callback(lambda: self.events.append("over"))
        self.metadata = {field.key: field.value for field in context.invocation_metadata()}
        if _INITIAL in self.metadata:
            context.send_initial_metadata(((_INITIAL, self.metadata[_INITIAL]),))
        if _TRAILING in self.metadata:
            context.set_trailing_metadata(((_TRAILING, self.metadata[_TRAILING]),))

    def _unary(self, request: bytes, context: Any) -> bytes:
        self._begin(context)
        asked, payload = _unpack(request)
        self._obey(asked, context)
        return b"\0" * asked["size"] if "size" in asked else payload

    def _unaryCall(self, request: Any, context: Any) -> Any:
        self._begin(context)
        self._compress(context, request.response_compressed)
        self._echoStatus(request, context)
        return SimpleResponse(payload={"body": bytes(request.response_size)})

    def _inputs(self, requests: Iterator[Any], context: Any) -> Any:
        self._begin(context)
        return StreamingInputCallResponse(
            aggregated_payload_size=sum(len(request.payload.body) for request in requests)
        )

    def _outputs(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        self._begin(context)
        context.set_compression(grpc.Compression.Gzip)
        for request in requests:
            self._echoStatus(request, context)
            for asked in request.response_parameters:
                _sleep(asked.interval_us / 1e6, context)
                if not asked.compressed.value:
                    context.disable_next_message_compression()
                yield StreamingOutputCallResponse(payload={"body": bytes(asked.size)})

    def _halfDuplex(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        yield from self._outputs(iter(list(requests)), context)

    def _compress(self, context: Any, asked: Any) -> None:
        if asked.value:
            context.set_compression(grpc.Compression.Gzip)

    def _echoStatus(self, request: Any, context: Any) -> None:
        if request.HasField("response_status"):
            _abort(context, request.response_status.code, request.response_status.message)

    def _answers(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        self._begin(context)
        for request in requests:
            asked, _ = _unpack(request)
            self._obey(asked, context)
            for size in asked.get("sizes", ()):
                yield b"\0" * size

    def _obey(self, asked: dict[str, Any], context: Any) -> None:
        _sleep(asked.get("pause", 0), context)
        if "status" in asked:
            _abort(context, asked["status"], asked.get("message", ""))


def _handler(kind: str, serve: Callable[..., Any], request: Any) -> Any:
    make = getattr(grpc, f"{kind}_rpc_method_handler")
    return make(serve, request.FromString, lambda message: message.SerializeToString())


def _sleep(seconds: float, context: Any) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and context.is_active():
        time.sleep(0.005)


def _abort(context: Any, number: int, message: str) -> None:
    context.abort(next(code for code in grpc.StatusCode if code.value[0] == number), message)


class InteropClient:
    """
    The client.
    """

    def __init__(
        self,
        port: int,
        server: InteropServer,
        credentials: Any = None,
        wire: Callable[[], tuple[int, int]] | None = None,
    ) -> None:
        """
        @param port: Where to call.
        @param server: Who is there in the end.
        @param wire: How many bytes went to the server and came from it, on the wire.
        """
        self.server = server
        self.wire = wire
        self._made = port, server, credentials
        target = f"localhost:{port}" if credentials is not None else f"127.0.0.1:{port}"
        if credentials is None:
            self.channel = grpc.insecure_channel(target, options=_OPTIONS)
        else:
            self.channel = grpc.secure_channel(target, credentials, options=_OPTIONS)

    def close(self) -> None:
        """
        Call no more.
        """
        self.channel.close()

    def unary(self, method: str = "Unary", service: str = _MORE) -> Any:
        """
        A method with one request and one response, in bytes.
        """
        return self.channel.unary_unary(f"/{service}/{method}")

    @property
    def answers(self) -> Any:
        """
        A method with many responses, in bytes.
        """
        return self.channel.unary_stream(f"/{_MORE}/Answers")

    @property
    def duplex(self) -> Any:
        """
        A method with many of both, in bytes.
        """
        return self.channel.stream_stream(f"/{_MORE}/Duplex")

    def _method(self, kind: str, name: str, response: Any) -> Any:
        made = getattr(self.channel, kind)
        return made(f"/{_SERVICE}/{name}", lambda message: message.SerializeToString(), response.FromString)

    @property
    def emptyCall(self) -> Any:
        """
        C{EmptyCall}.
        """
        return self._method("unary_unary", "EmptyCall", Empty)

    @property
    def unaryCall(self) -> Any:
        """
        C{UnaryCall}.
        """
        return self._method("unary_unary", "UnaryCall", SimpleResponse)

    @property
    def cacheableUnaryCall(self) -> Any:
        """
        C{CacheableUnaryCall}.
        """
        return self._method("unary_unary", "CacheableUnaryCall", SimpleResponse)

    @property
    def inputCall(self) -> Any:
        """
        C{StreamingInputCall}.
        """
        return self._method("stream_unary", "StreamingInputCall", StreamingInputCallResponse)

    @property
    def outputCall(self) -> Any:
        """
        C{StreamingOutputCall}.
        """
        return self._method("unary_stream", "StreamingOutputCall", StreamingOutputCallResponse)

    @property
    def fullDuplexCall(self) -> Any:
        """
        C{FullDuplexCall}.
        """
        return self._method("stream_stream", "FullDuplexCall", StreamingOutputCallResponse)

    @property
    def halfDuplexCall(self) -> Any:
        """
        C{HalfDuplexCall}.
        """
        return self._method("stream_stream", "HalfDuplexCall", StreamingOutputCallResponse)

    def another(self) -> InteropClient:
        """
        One with a channel of its own.
        """
        port, server, credentials = self._made
        return InteropClient(port, server, credentials)

    def weigh(self, call: Callable[[], Any], mostSent: int, mostReceived: int) -> Any:
        """
        Make a call, and hold what it sends and receives on the wire to limits: a compressed message is much shorter
        than it is, one that is not compressed is no shorter.

        @param mostSent: How many bytes go to the server at the most; below 0, at the least.
        """
        if self.wire is None:
            return call()
        before = self.wire()
        result = call()
        deadline = time.monotonic() + _PATIENCE
        while not all(
            now - then <= most if most >= 0 else now - then >= -most
            for now, then, most in zip(self.wire(), before, (mostSent, mostReceived), strict=True)
        ):
            assert time.monotonic() < deadline, f"{before} became {self.wire()} on the wire"
            time.sleep(0.02)
        return result

    def waitFor(self, event: str, since: int = 0) -> None:
        """
        Wait until the server noticed something.
        """
        deadline = time.monotonic() + _PATIENCE
        while event not in self.server.events[since:]:
            assert time.monotonic() < deadline, f"the server noticed no {event!r}: {self.server.events[since:]}"
            time.sleep(0.005)


def _failure(call: Callable[[], Any]) -> tuple[str, str, Any]:
    """
    The status of a call that fails, and what it says.
    """
    try:
        call()
    except grpc.RpcError as error:
        failed: Any = error
        return failed.code().name, failed.details(), failed
    raise AssertionError("the call did not fail")


def _same(found: object, expected: object) -> None:
    assert found == expected, f"{found!r:.200} is not {expected!r:.200}"


class _Requests:
    """
    Requests that are sent when the test says so.
    """

    def __init__(self) -> None:
        self._messages: list[Any] = []
        self._isDone = False
        self._changed = threading.Condition()

    def __iter__(self) -> Iterator[Any]:
        while True:
            with self._changed:
                while not self._messages and not self._isDone:
                    self._changed.wait()
                if not self._messages:
                    return
                message = self._messages.pop(0)
            yield message

    def send(self, message: Any) -> None:
        with self._changed:
            self._messages.append(message)
            self._changed.notify()

    def finish(self) -> None:
        with self._changed:
            self._isDone = True
            self._changed.notify()


def _sizes(responses: Any) -> list[int]:
    return [len(each.payload.body) for each in responses]


def _asks(*sizes: int, compressed: tuple[bool, ...] = (), payload: int = 0) -> Any:
    parameters = [
        {"size": size, **({"compressed": {"value": compressed[number]}} if compressed else {})}
        for number, size in enumerate(sizes)
    ]
    return StreamingOutputCallRequest(
        response_parameters=parameters, **({"payload": {"body": bytes(payload)}} if payload else {})
    )


def _large(**fields: Any) -> Any:
    return SimpleRequest(response_size=314159, payload={"body": bytes(271828)}, **fields)


def _emptyUnary(client: InteropClient) -> None:
    _same(client.emptyCall(Empty(), timeout=_PATIENCE), Empty())


def _cacheableUnary(client: InteropClient) -> None:
    """
    gRPC's clients have no GET any more, so it is a POST, and nothing is cached.
    """
    request = SimpleRequest(response_size=10, payload={"body": str(time.time_ns()).encode()})
    metadata = (("x-user-ip", "1.2.3.4"),)
    first, second = (client.cacheableUnaryCall(request, metadata=metadata, timeout=_PATIENCE) for _ in range(2))
    _same(first.payload.body, second.payload.body)


def _largeUnary(client: InteropClient) -> None:
    _same(client.unaryCall(_large(), timeout=_PATIENCE).payload.body, bytes(314159))


def _concurrentLargeUnary(client: InteropClient) -> None:
    calls = [client.unaryCall.future(_large(), timeout=_PATIENCE) for _ in range(50)]
    _same({len(call.result().payload.body) for call in calls}, {314159})


def _hugeUnary(client: InteropClient) -> None:
    """
    Not of the list: much more than any window or buffer, both ways.
    """
    payload = bytes(range(256)) * 48_000
    assert client.unary()(pack(payload), timeout=_PATIENCE) == payload


def _clientCompressedUnary(client: InteropClient) -> None:
    for isCompressed, most in ((True, 20000), (False, -271828)):
        compression = grpc.Compression.Gzip if isCompressed else grpc.Compression.NoCompression
        request = _large(expect_compressed={"value": isCompressed})
        response = client.weigh(
            lambda request=request, compression=compression: client.unaryCall(  # type: ignore[misc]  # bound now
                request, timeout=_PATIENCE, compression=compression
            ),
            most,
            -314159,
        )
        _same(len(response.payload.body), 314159)


def _serverCompressedUnary(client: InteropClient) -> None:
    for isCompressed, most in ((True, 20000), (False, -314159)):
        request = _large(response_compressed={"value": isCompressed})
        response = client.weigh(
            lambda request=request: client.unaryCall(request, timeout=_PATIENCE),  # type: ignore[misc]  # bound now
            -271828,
            most,
        )
        _same(response.payload.body, bytes(314159))


def _clientStreaming(client: InteropClient) -> None:
    requests = [StreamingInputCallRequest(payload={"body": bytes(size)}) for size in (27182, 8, 1828, 45904)]
    _same(client.inputCall(iter(requests), timeout=_PATIENCE).aggregated_payload_size, 74922)


def _clientCompressedStreaming(client: InteropClient) -> None:
    for compression, most in ((grpc.Compression.Gzip, 20000), (grpc.Compression.NoCompression, -73086)):
        expected = {"value": compression is grpc.Compression.Gzip}
        requests = [
            StreamingInputCallRequest(payload={"body": bytes(size)}, expect_compressed=expected)
            for size in (27182, 45904)
        ]
        response = client.weigh(
            lambda requests=requests, compression=compression: client.inputCall(  # type: ignore[misc]  # bound now
                iter(requests), timeout=_PATIENCE, compression=compression
            ),
            most,
            20000,
        )
        _same(response.aggregated_payload_size, 73086)


def _serverStreaming(client: InteropClient) -> None:
    sizes = [31415, 9, 2653, 58979]
    _same(_sizes(client.outputCall(_asks(*sizes), timeout=_PATIENCE)), sizes)


def _serverCompressedStreaming(client: InteropClient) -> None:
    request = _asks(31415, 92653, compressed=(True, False))
    sizes = client.weigh(lambda: _sizes(client.outputCall(request, timeout=_PATIENCE)), 20000, -92653)
    _same(sizes, [31415, 92653])
    request = _asks(31415, 92653, compressed=(True, True))
    client.weigh(lambda: _sizes(client.outputCall(request, timeout=_PATIENCE)), 20000, 20000)


def _pingPong(client: InteropClient) -> None:
    requests = _Requests()
    responses = client.fullDuplexCall(iter(requests), timeout=_PATIENCE)
    for size, payload in ((31415, 27182), (9, 8), (2653, 1828), (58979, 45904)):
        requests.send(_asks(size, payload=payload))
        _same(len(next(responses).payload.body), size)
    requests.finish()
    _same(list(responses), [])
    _same(responses.code(), grpc.StatusCode.OK)


def _halfDuplex(client: InteropClient) -> None:
    """
    Not of the list, but of the service: all responses come behind the last request.
    """
    requests = [_asks(size) for size in (31415, 9, 2653, 58979)]
    _same(_sizes(client.halfDuplexCall(iter(requests), timeout=_PATIENCE)), [31415, 9, 2653, 58979])


def _emptyStream(client: InteropClient) -> None:
    _same(list(client.fullDuplexCall(iter(()), timeout=_PATIENCE)), [])


def _longStream(client: InteropClient) -> None:
    """
    Not of the list: more than fits on the way, while nobody reads at first.
    """
    responses = client.answers(pack(sizes=[65536] * 200), timeout=_PATIENCE)
    first = next(responses)
    time.sleep(0.2)
    _same(len(first) + sum(map(len, responses)), 65536 * 200)


def _customMetadata(client: InteropClient) -> None:
    metadata = ((_INITIAL, "test_initial_metadata_value"), (_TRAILING, b"\xab\xab\xab"))
    _, call = client.unaryCall.with_call(_large(), metadata=metadata, timeout=_PATIENCE)
    responses = client.fullDuplexCall(iter((_asks(314159, payload=271828),)), metadata=metadata, timeout=_PATIENCE)
    _same(_sizes(responses), [314159])
    for each in (call, responses):
        _same(dict(each.initial_metadata())[_INITIAL], "test_initial_metadata_value")
        _same(dict(each.trailing_metadata())[_TRAILING], b"\xab\xab\xab")


def _statusCodeAndMessage(client: InteropClient) -> None:
    status = {"code": 2, "message": "test status message"}
    for call in (
        lambda: client.unaryCall(SimpleRequest(response_status=status), timeout=_PATIENCE),
        lambda: list(
            client.fullDuplexCall(iter((StreamingOutputCallRequest(response_status=status),)), timeout=_PATIENCE)
        ),
    ):
        _same(_failure(call)[:2], ("UNKNOWN", "test status message"))


def _specialStatusMessage(client: InteropClient) -> None:
    request = SimpleRequest(response_status={"code": 2, "message": _SPECIAL})
    _same(_failure(lambda: client.unaryCall(request, timeout=_PATIENCE))[:2], ("UNKNOWN", _SPECIAL))


def _statusAfterMessages(client: InteropClient) -> None:
    """
    Not of the list: the trailers tell of the failure, after messages.
    """
    requests = iter((pack(sizes=[100, 200]), pack(status=15, message="lost")))
    responses = client.duplex(requests, timeout=_PATIENCE)
    _same([len(next(responses)), len(next(responses))], [100, 200])
    _same(_failure(lambda: list(responses))[:2], ("DATA_LOSS", "lost"))


def _unimplementedMethod(client: InteropClient) -> None:
    call = client.unary("UnimplementedCall", _SERVICE)
    _same(_failure(lambda: call(b"", timeout=_PATIENCE))[0], "UNIMPLEMENTED")


def _unimplementedService(client: InteropClient) -> None:
    call = client.unary("UnimplementedCall", "grpc.testing.UnimplementedService")
    _same(_failure(lambda: call(b"", timeout=_PATIENCE))[0], "UNIMPLEMENTED")


def _cancelAfterBegin(client: InteropClient) -> None:
    before = len(client.server.events)
    requests = _Requests()
    call = client.inputCall.future(iter(requests), timeout=_PATIENCE)
    client.waitFor("begun", before)
    call.cancel()
    _same(call.code(), grpc.StatusCode.CANCELLED)
    requests.finish()
    client.waitFor("over", before)


def _cancelAfterFirstResponse(client: InteropClient) -> None:
    before = len(client.server.events)
    requests = _Requests()
    responses = client.fullDuplexCall(iter(requests), timeout=_PATIENCE)
    requests.send(_asks(31415, payload=27182))
    _same(len(next(responses).payload.body), 31415)
    responses.cancel()
    _same(responses.code(), grpc.StatusCode.CANCELLED)
    requests.finish()
    client.waitFor("over", before)


def _timeoutOnSleepingServer(client: InteropClient) -> None:
    before = len(client.server.events)
    requests = _Requests()
    responses = client.fullDuplexCall(iter(requests), timeout=0.2)
    request = _asks(31415, payload=27182)
    request.response_parameters[0].interval_us = int(_PATIENCE * 1e6)
    requests.send(request)
    _same(_failure(lambda: list(responses))[0], "DEADLINE_EXCEEDED")
    requests.finish()
    client.waitFor("over", before)
    remaining = client.server.remaining
    assert remaining is not None and remaining < 1, f"the server has {remaining!r} seconds"


def _rpcSoak(client: InteropClient) -> None:
    calls = [client.unaryCall.future(SimpleRequest(response_size=number), timeout=_PATIENCE) for number in range(200)]
    _same([len(call.result().payload.body) for call in calls], list(range(200)))


def _channelSoak(client: InteropClient) -> None:
    """
    Each call on a channel of its own.
    """
    for number in range(50):
        channel = client.another()
        try:
            _same(len(channel.unaryCall(SimpleRequest(response_size=number), timeout=_PATIENCE).payload.body), number)
        finally:
            channel.close()


CASES: dict[str, Callable[[InteropClient], None]] = {
    "empty_unary": _emptyUnary,
    "cacheable_unary": _cacheableUnary,
    "large_unary": _largeUnary,
    "concurrent_large_unary": _concurrentLargeUnary,
    "huge_unary": _hugeUnary,
    "client_compressed_unary": _clientCompressedUnary,
    "server_compressed_unary": _serverCompressedUnary,
    "client_streaming": _clientStreaming,
    "client_compressed_streaming": _clientCompressedStreaming,
    "server_streaming": _serverStreaming,
    "server_compressed_streaming": _serverCompressedStreaming,
    "ping_pong": _pingPong,
    "half_duplex": _halfDuplex,
    "empty_stream": _emptyStream,
    "long_stream": _longStream,
    "custom_metadata": _customMetadata,
    "status_code_and_message": _statusCodeAndMessage,
    "special_status_message": _specialStatusMessage,
    "status_after_messages": _statusAfterMessages,
    "unimplemented_method": _unimplementedMethod,
    "unimplemented_service": _unimplementedService,
    "cancel_after_begin": _cancelAfterBegin,
    "cancel_after_first_response": _cancelAfterFirstResponse,
    "timeout_on_sleeping_server": _timeoutOnSleepingServer,
    "rpc_soak": _rpcSoak,
    "channel_soak": _channelSoak,
}


def runCases(client: InteropClient) -> dict[str, str]:
    """
    Try all cases.

    @return: What went wrong, by the name of the case.
    """
    failures = {}
    for name, case in CASES.items():
        try:
            case(client)
        except (AssertionError, StopIteration, grpc.RpcError) as error:
            failures[name] = repr(error)
    return failures
