"""
gRPC's own list of what clients and servers are to do together, with C{grpcio} on both sides.

Source: https://github.com/grpc/grpc/blob/master/doc/interop-test-descriptions.md, of which those cases are here that
need no credentials. Messages are JSON and a payload here, for the proxy in between does not look into them.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

try:
    import grpc
except ImportError:
    grpc = None

__all__ = ["CASES", "InteropClient", "InteropServer", "grpc", "pack", "runCases"]

_SERVICE = "grpc.testing.TestService"
_INITIAL = "x-grpc-test-echo-initial"
_TRAILING = "x-grpc-test-echo-trailing-bin"
_SPECIAL = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP \U0001f608\t\n"
# Seconds for what is to succeed.
_PATIENCE = 20.0
_LARGEST = 32 << 20
_OPTIONS = [("grpc.max_receive_message_length", _LARGEST), ("grpc.max_send_message_length", _LARGEST)]


def pack(payload: bytes = b"", **fields: Any) -> bytes:
    """
    A message.

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
            "EmptyCall": grpc.unary_unary_rpc_method_handler(lambda request, context: b""),
            "UnaryCall": grpc.unary_unary_rpc_method_handler(self._unary),
            "StreamingOutputCall": grpc.unary_stream_rpc_method_handler(
                lambda request, context: self._answers(iter((request,)), context)
            ),
            "StreamingInputCall": grpc.stream_unary_rpc_method_handler(self._gather),
            "FullDuplexCall": grpc.stream_stream_rpc_method_handler(self._answers),
        }
        self._pool = ThreadPoolExecutor(threads)
        self._server = grpc.server(self._pool, options=_OPTIONS)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
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

    def _gather(self, requests: Iterator[bytes], context: Any) -> bytes:
        self._begin(context)
        return b"%d" % sum(len(_unpack(request)[1]) for request in requests)

    def _answers(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        self._begin(context)
        for request in requests:
            asked, _ = _unpack(request)
            self._obey(asked, context)
            for size in asked.get("sizes", ()):
                yield b"\0" * size

    def _obey(self, asked: dict[str, Any], context: Any) -> None:
        if "compress" in asked:
            context.set_compression(grpc.Compression.Gzip)
        deadline = time.monotonic() + asked.get("pause", 0)
        while time.monotonic() < deadline and context.is_active():
            time.sleep(0.005)
        if "status" in asked:
            code = next(code for code in grpc.StatusCode if code.value[0] == asked["status"])
            context.abort(code, asked.get("message", ""))


class InteropClient:
    """
    The client.
    """

    def __init__(self, port: int, server: InteropServer, credentials: Any = None) -> None:
        """
        @param port: Where to call.
        @param server: Who is there in the end.
        """
        self.server = server
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

    def unary(self, method: str = "UnaryCall", service: str = _SERVICE) -> Any:
        """
        A method with one request and one response.
        """
        return self.channel.unary_unary(f"/{service}/{method}")

    @property
    def serverStreaming(self) -> Any:
        """
        A method with many responses.
        """
        return self.channel.unary_stream(f"/{_SERVICE}/StreamingOutputCall")

    @property
    def clientStreaming(self) -> Any:
        """
        A method with many requests.
        """
        return self.channel.stream_unary(f"/{_SERVICE}/StreamingInputCall")

    @property
    def duplex(self) -> Any:
        """
        A method with many of both.
        """
        return self.channel.stream_stream(f"/{_SERVICE}/FullDuplexCall")

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
        self._messages: list[bytes] = []
        self._isDone = False
        self._changed = threading.Condition()

    def __iter__(self) -> Iterator[bytes]:
        while True:
            with self._changed:
                while not self._messages and not self._isDone:
                    self._changed.wait()
                if not self._messages:
                    return
                message = self._messages.pop(0)
            yield message

    def send(self, message: bytes) -> None:
        with self._changed:
            self._messages.append(message)
            self._changed.notify()

    def finish(self) -> None:
        with self._changed:
            self._isDone = True
            self._changed.notify()


def _emptyUnary(client: InteropClient) -> None:
    _same(client.unary("EmptyCall")(b"", timeout=_PATIENCE), b"")


def _largeUnary(client: InteropClient) -> None:
    response = client.unary()(pack(bytes(271828), size=314159), timeout=_PATIENCE)
    _same(len(response), 314159)


def _hugeUnary(client: InteropClient) -> None:
    """
    Not of the list: much more than any window or buffer, both ways.
    """
    payload = bytes(range(256)) * 48_000
    assert client.unary()(pack(payload), timeout=_PATIENCE) == payload


def _clientCompressed(client: InteropClient) -> None:
    payload = bytes(271828)
    response = client.unary()(pack(payload), timeout=_PATIENCE, compression=grpc.Compression.Gzip)
    assert response == payload


def _serverCompressed(client: InteropClient) -> None:
    _same(len(client.unary()(pack(size=314159, compress=True), timeout=_PATIENCE)), 314159)


def _clientStreaming(client: InteropClient) -> None:
    requests = [pack(bytes(size)) for size in (27182, 8, 1828, 45904)]
    _same(client.clientStreaming(iter(requests), timeout=_PATIENCE), b"74922")


def _serverStreaming(client: InteropClient) -> None:
    sizes = [31415, 9, 2653, 58979]
    _same([len(each) for each in client.serverStreaming(pack(sizes=sizes), timeout=_PATIENCE)], sizes)


def _pingPong(client: InteropClient) -> None:
    requests = _Requests()
    responses = client.duplex(iter(requests), timeout=_PATIENCE)
    for size in (31415, 9, 2653, 58979):
        requests.send(pack(bytes(size), sizes=[size]))
        _same(len(next(responses)), size)
    requests.finish()
    _same(list(responses), [])
    _same(responses.code(), grpc.StatusCode.OK)


def _emptyStream(client: InteropClient) -> None:
    responses = client.duplex(iter(()), timeout=_PATIENCE)
    _same(list(responses), [])


def _longStream(client: InteropClient) -> None:
    """
    Not of the list: more than fits on the way, while nobody reads at first.
    """
    responses = client.serverStreaming(pack(sizes=[65536] * 200), timeout=_PATIENCE)
    first = next(responses)
    time.sleep(0.2)
    _same(len(first) + sum(map(len, responses)), 65536 * 200)


def _customMetadata(client: InteropClient) -> None:
    metadata = ((_INITIAL, "test_initial_metadata_value"), (_TRAILING, b"\xab\xab\xab"))
    _, call = client.unary().with_call(pack(size=1), metadata=metadata, timeout=_PATIENCE)
    responses = client.duplex(iter((pack(sizes=[1]),)), metadata=metadata, timeout=_PATIENCE)
    list(responses)
    for each in (call, responses):
        _same(dict(each.initial_metadata())[_INITIAL], "test_initial_metadata_value")
        _same(dict(each.trailing_metadata())[_TRAILING], b"\xab\xab\xab")


def _statusCodeAndMessage(client: InteropClient) -> None:
    request = pack(status=2, message="test status message")
    for call in (
        lambda: client.unary()(request, timeout=_PATIENCE),
        lambda: list(client.duplex(iter((request,)), timeout=_PATIENCE)),
    ):
        _same(_failure(call)[:2], ("UNKNOWN", "test status message"))


def _specialStatusMessage(client: InteropClient) -> None:
    request = pack(status=2, message=_SPECIAL)
    _same(_failure(lambda: client.unary()(request, timeout=_PATIENCE))[:2], ("UNKNOWN", _SPECIAL))


def _statusAfterMessages(client: InteropClient) -> None:
    """
    Not of the list: the trailers tell of the failure, after messages.
    """
    requests = iter((pack(sizes=[100, 200]), pack(status=15, message="lost")))
    responses = client.duplex(requests, timeout=_PATIENCE)
    _same([len(next(responses)), len(next(responses))], [100, 200])
    _same(_failure(lambda: list(responses))[:2], ("DATA_LOSS", "lost"))


def _unimplementedMethod(client: InteropClient) -> None:
    _same(_failure(lambda: client.unary("UnimplementedCall")(b"", timeout=_PATIENCE))[0], "UNIMPLEMENTED")


def _unimplementedService(client: InteropClient) -> None:
    call = client.unary("UnimplementedCall", "grpc.testing.UnimplementedService")
    _same(_failure(lambda: call(b"", timeout=_PATIENCE))[0], "UNIMPLEMENTED")


def _cancelAfterBegin(client: InteropClient) -> None:
    before = len(client.server.events)
    requests = _Requests()
    call = client.clientStreaming.future(iter(requests), timeout=_PATIENCE)
    client.waitFor("begun", before)
    call.cancel()
    _same(call.code(), grpc.StatusCode.CANCELLED)
    requests.finish()
    client.waitFor("over", before)


def _cancelAfterFirstResponse(client: InteropClient) -> None:
    before = len(client.server.events)
    requests = _Requests()
    responses = client.duplex(iter(requests), timeout=_PATIENCE)
    requests.send(pack(bytes(27182), sizes=[31415]))
    _same(len(next(responses)), 31415)
    responses.cancel()
    _same(responses.code(), grpc.StatusCode.CANCELLED)
    requests.finish()
    client.waitFor("over", before)


def _timeoutOnSleepingServer(client: InteropClient) -> None:
    before = len(client.server.events)
    requests = _Requests()
    responses = client.duplex(iter(requests), timeout=0.2)
    requests.send(pack(bytes(27182), pause=_PATIENCE))
    _same(_failure(lambda: list(responses))[0], "DEADLINE_EXCEEDED")
    requests.finish()
    client.waitFor("over", before)
    remaining = client.server.remaining
    assert remaining is not None and remaining < 1, f"the server has {remaining!r} seconds"


def _rpcSoak(client: InteropClient) -> None:
    calls = [client.unary().future(pack(b"%d" % number), timeout=_PATIENCE) for number in range(200)]
    _same([int(call.result()) for call in calls], list(range(200)))


CASES: dict[str, Callable[[InteropClient], None]] = {
    "empty_unary": _emptyUnary,
    "large_unary": _largeUnary,
    "huge_unary": _hugeUnary,
    "client_compressed_unary": _clientCompressed,
    "server_compressed_unary": _serverCompressed,
    "client_streaming": _clientStreaming,
    "server_streaming": _serverStreaming,
    "ping_pong": _pingPong,
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
