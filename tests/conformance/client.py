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
from tests.conformance.rest import Player, Rest, hasBytes

__all__ = ["Conversation", "Heard"]

_METHOD = re.compile(rb"(?:\A|\r\n)([A-Za-z]+) [^\r\n]* HTTP/1\.[01]\r\n")

_BY_CLIENT = "by the client"
_BY_PROXY = "by the proxy"

# How long a connection has to end that was announced to end, and how long anything may take that comes for sure.
_ANNOUNCED = 3.0
_SURELY = 30.0


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

    def __init__(self, target: tuple[str, int], source: str, case: Case, rest: Rest) -> None:
        """
        @param target: The address and port of the proxy.
        @param source: The client's own address; it is another one for each conversation, to find it in the log.
        @param rest: Tells when all that was said has been heard.
        """
        self._case = case
        self._sock = socket.socket()
        self._player = rest.client = Player(self._sock)
        self._rest = rest
        self._data = b""
        self._methods: list[bytes] = []
        self.heard = Heard()
        self._connect(target, source)

    def _connect(self, target: tuple[str, int], source: str) -> None:
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock.settimeout(_SURELY)
        self._sock.bind((source, 0))
        try:
            self._sock.connect(target)
        except ConnectionResetError:
            # Accepted and closed before this side could see it.
            self.heard.ended = _BY_PROXY

    def hold(self, settle: float) -> None:
        """
        Hold it, until all that was said has been heard.

        @param settle: How long the connection must stay after that to count as open.
        """
        for step in [] if self.heard.ended else self._case.steps:
            self._do(step)
            if self.heard.ended:
                break
        else:
            self._listen(settle)
        if self.heard.ended == _BY_CLIENT:
            self.close()
        self._settle(isEnd=True)
        self._read()
        self._player.end()

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
                self._listen(0.0)
        elif isinstance(step, Pause):
            self._player.pause(step.seconds)
        elif step is Do.REST:
            self._settle()
        elif isinstance(step, Until):
            self._receiveUntil(lambda: step.text in self._data, self._case.limit)
        elif step is Do.AWAIT:
            count = self._whole()
            self._receiveUntil(lambda: self._whole() > count, self._case.limit)
        elif step is Do.HALF_CLOSE:
            self._player.shutdown(socket.SHUT_WR)
        elif step is Do.CLOSE:
            self.heard.ended = _BY_CLIENT
        elif step is Do.RESET:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.heard.ended = _BY_CLIENT

    def _listen(self, settle: float) -> None:
        """
        Wait for all responses, then see whether the connection stays.
        """
        # What the proxies measure by the clock begins when they have heard it all.
        self._settle()
        self._receiveUntil(lambda: self._finals() >= self._case.responses, self._case.limit)
        self._settle()
        announced = any(b"close" in (message.get(b"connection") or b"") for message in self.heard.messages)
        self._receiveUntil(lambda: False, _ANNOUNCED if announced else settle)

    def _settle(self, isEnd: bool = False) -> None:
        """
        Wait for rest.
        """
        self._player.rest(lambda: self._rest.ofClient(self._readable, isEnd))

    def _readable(self) -> bool:
        if self.heard.ended or not hasBytes(self._sock):
            return False
        self._receive()
        return True

    def _receiveUntil(self, done: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self.heard.ended and not done() and (left := end - time.monotonic()) > 0:
            if self._player.awaitBytes(left):
                self._receive()
        self._read()

    def _receive(self) -> None:
        try:
            data = self._sock.recv(65536)
        except OSError:
            data = b""
        self._data += data
        if not data:
            self.heard.ended = _BY_PROXY

    def _read(self) -> None:
        ended = self.heard.ended == _BY_PROXY
        self.heard.messages, self.heard.rest = readResponses(self._data, self._methods, ended)

    def _finals(self) -> int:
        self._read()
        return sum(message.isFinal for message in self.heard.messages)

    def _whole(self) -> int:
        self._read()
        return sum(message.complete for message in self.heard.messages)
