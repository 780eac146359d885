"""
The client: it says byte for byte what a case tells it to, and keeps what it heard.
"""

from __future__ import annotations

import re
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.conformance.case import Case, Do, Pause, Step, Until
from tests.conformance.messages import Message, readResponses

__all__ = ["Conversation", "Heard"]

_METHOD = re.compile(rb"(?:\A|\r\n)([A-Za-z]+) [^\r\n]* HTTP/1\.[01]\r\n")

_BY_CLIENT = "by the client"
_BY_PROXY = "by the proxy"

# How long a connection has to end that was announced to end.
_ANNOUNCED = 1.5


@dataclass
class Heard:
    """
    What the client saw of a conversation.

    @ivar lines: What is to be said of it besides the messages.
    @ivar rest: Bytes that belong to no message.
    @ivar ended: Whether the proxy closed, or the client did, C{""} for neither.
    """

    messages: list[Message] = field(default_factory=list)
    rest: bytes = b""
    ended: str = ""
    lines: list[str] = field(default_factory=list)


class Conversation:
    """
    A case's conversation.

    @ivar heard: What the client saw.
    """

    def __init__(self, target: tuple[str, int], source: str, case: Case) -> None:
        """
        @param target: The address and port of the proxy.
        @param source: The client's own address; it is another one for each conversation, to find it in the log.
        """
        self._case = case
        self._sock = socket.socket()
        self._data = b""
        self._methods: list[bytes] = []
        self.heard = Heard()
        self._connect(target, source)

    def _connect(self, target: tuple[str, int], source: str) -> None:
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock.settimeout(5)
        self._sock.bind((source, 0))
        try:
            self._sock.connect(target)
        except ConnectionResetError:
            # Accepted and closed before this side could see it.
            self.heard.ended = _BY_PROXY

    def hold(self, settle: float) -> None:
        """
        Hold it.

        @param settle: How long the connection must stay to count as open.
        """
        for step in [] if self.heard.ended else self._case.steps:
            self._do(step)
            if self.heard.ended:
                break
        else:
            self._listen(settle)
        self._read()
        if self.heard.ended == _BY_CLIENT:
            self.close()

    def look(self) -> None:
        """
        See whether the proxy ended the connection, or sent more, in the meantime.
        """
        self._receiveUntil(lambda: False, 0.001)

    def close(self) -> None:
        """
        End it.
        """
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

    def _receiveUntil(self, done: Callable[[], bool], seconds: float) -> None:
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
                self.heard.ended = _BY_PROXY
        self._read()

    def _read(self) -> None:
        ended = self.heard.ended == _BY_PROXY
        self.heard.messages, self.heard.rest = readResponses(self._data, self._methods, ended)

    def _finals(self) -> int:
        self._read()
        return sum(message.isFinal for message in self.heard.messages)

    def _whole(self) -> int:
        self._read()
        return sum(message.complete for message in self.heard.messages)
