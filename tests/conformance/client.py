"""
The client: it says byte for byte what a case tells it to, and keeps what it heard.
"""

from __future__ import annotations

import re
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.conformance.case import Case, Do, Pause, Step, Until
from tests.conformance.messages import Message, readResponses

__all__ = ["Heard", "converse"]

_METHOD = re.compile(rb"(?:\A|\r\n)([A-Za-z]+) [^\r\n]* HTTP/1\.[01]\r\n")

_BY_CLIENT = "by the client"

# How long a connection has to end that was announced to end.
_ANNOUNCED = 1.5


@dataclass
class Heard:
    """
    What the client saw of a conversation.

    @ivar rest: Bytes that belong to no message.
    @ivar ended: Whether the proxy closed, or the client did, C{""} for neither.
    """

    messages: list[Message] = field(default_factory=list)
    rest: bytes = b""
    ended: str = ""


class _Client:
    def __init__(self, target: tuple[str, int], source: str, case: Case) -> None:
        self._case = case
        self._sock = socket.create_connection(target, timeout=5, source_address=(source, 0))
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._data = b""
        self._methods: list[bytes] = []
        self.heard = Heard()

    def run(self, settle: float) -> Heard:
        for step in self._case.steps:
            self._do(step)
            if self.heard.ended:
                break
        else:
            self._listen(settle)
        self._read()
        if self.heard.ended == _BY_CLIENT:
            self.close()
        return self.heard

    def close(self) -> None:
        self._sock.close()

    def _do(self, step: Step) -> None:
        if isinstance(step, bytes):
            self._methods += _METHOD.findall(step)
            try:
                self._sock.sendall(step)
            except OSError:
                self._listen(0.2)
        elif isinstance(step, Pause):
            time.sleep(step.seconds)
        elif isinstance(step, Until):
            self._receiveUntil(lambda: step.text in self._data, self._case.limit)
        elif step is Do.AWAIT:
            count = self._whole()
            self._receiveUntil(lambda: self._whole() > count, self._case.limit)
        elif step is Do.HALF_CLOSE:
            self._sock.shutdown(socket.SHUT_WR)
        elif step is Do.CLOSE:
            self.heard.ended = _BY_CLIENT
        elif step is Do.RESET:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.heard.ended = _BY_CLIENT

    def _listen(self, settle: float) -> None:
        """
        Wait for all responses, then see whether the connection stays.
        """
        self._receiveUntil(lambda: self._finals() >= self._case.responses, self._case.limit)
        announced = any(b"close" in (message.get(b"connection") or b"") for message in self.heard.messages)
        self._receiveUntil(lambda: False, _ANNOUNCED if announced else settle)

    def _receiveUntil(self, done: object, seconds: float) -> None:
        assert callable(done)
        end = time.monotonic() + seconds
        while not self.heard.ended and not done():
            left = end - time.monotonic()
            if left <= 0:
                return
            self._sock.settimeout(left)
            try:
                data = self._sock.recv(65536)
            except TimeoutError:
                return
            except OSError:
                data = b""
            self._data += data
            if not data:
                self.heard.ended = "by the proxy"
        self._read()

    def _read(self) -> None:
        ended = self.heard.ended == "by the proxy"
        self.heard.messages, self.heard.rest = readResponses(self._data, self._methods, ended)

    def _finals(self) -> int:
        self._read()
        return sum(message.isFinal for message in self.heard.messages)

    def _whole(self) -> int:
        self._read()
        return sum(message.complete for message in self.heard.messages)


@contextmanager
def converse(target: tuple[str, int], source: str, case: Case, settle: float) -> Iterator[Heard]:
    """
    Hold a case's conversation. The connection ends with the context, where it did not before.

    @param target: The address and port of the proxy.
    @param source: The client's own address; it is another one for each conversation, to find it in the log.
    @param settle: How long a connection must stay to count as open.
    """
    client = _Client(target, source, case)
    try:
        yield client.run(settle)
    finally:
        client.close()
