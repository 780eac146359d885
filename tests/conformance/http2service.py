"""
The upstream, where it speaks HTTP/2: it does what a case tells it to, right or wrong, and notes what it is asked.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import hpack

from tests.codec.http2.frames import PREFACE, data, headers, ping, settings
from tests.conformance.case import Do, Pause
from tests.conformance.rest import Player

__all__ = ["Hello", "HTTP2Service", "Seen", "Step", "answered"]

Step = bytes | Callable[[int], bytes] | Do | Pause
"""
What is sent, or made of the request's stream and sent.
"""


@dataclass(frozen=True)
class Hello:
    """
    What each connection begins with, in place of usual settings; as the first reply of a case.
    """

    steps: tuple[Step, ...]


def answered(streamId: int) -> bytes:
    """
    A usual response.
    """
    return headers(streamId, [(b":status", b"200")], False) + data(streamId, b"ok", True)


@dataclass
class Seen:
    """
    What came on one connection within one case.

    @ivar lines: In words.
    """

    lines: list[str] = field(default_factory=list)


class _Ended(Exception):
    """
    The connection is over.
    """


class _Connection(threading.Thread):
    """
    One connection, served by a thread.
    """

    def __init__(self, service: HTTP2Service, sock: socket.socket, hello: Hello | None) -> None:
        super().__init__(daemon=True)
        self.sock = sock
        self.player = Player(sock)
        self.seen = Seen()
        self._service = service
        self._hello = hello
        self._scripts: dict[int, Sequence[Step]] = {}
        self._buffer = b""
        self._decoder = hpack.Decoder()

    def run(self) -> None:
        """
        Serve requests until the connection ends.
        """
        try:
            self._do((settings(),) if self._hello is None else self._hello.steps, 1)
            if self._take(24) != PREFACE:
                self.seen.lines.append("no preface")
                return
            while True:
                head = self._take(9)
                payload = self._take(int.from_bytes(head[:3], "big"))
                # Whoever cannot be answered any more has said things before it went that are there to be read.
                with suppress(OSError):
                    self._frame(head[3], head[4], int.from_bytes(head[5:], "big"), payload)
        except (_Ended, OSError):
            pass
        finally:
            self.sock.close()
            self.player.end()

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self.player.awaitBytes()
            received = self.sock.recv(65536)
            if not received:
                raise _Ended
            self._buffer += received
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def _frame(self, kind: int, flags: int, streamId: int, payload: bytes) -> None:
        lines = self.seen.lines
        if kind == 4 and not flags & 1:
            self.sock.sendall(settings(ack=True))
        elif kind == 6 and not flags & 1:
            self.sock.sendall(ping(payload, True))
        elif kind == 3:
            lines.append(f"stream {streamId}: reset with {int.from_bytes(payload, 'big')}")
        elif kind == 1:
            fields = {bytes(name): bytes(value) for name, value in self._decoder.decode(payload, raw=True)}
            asked = b" ".join(fields.get(name, b"") for name in (b":method", b":path"))
            lines.append(f"stream {streamId}: {asked.decode()}")
            script = self._scripts[streamId] = self._service.nextScript()
            if script and script[0] is Do.EARLY:
                self._do(script[1:], streamId)
                del self._scripts[streamId]
        if kind in (0, 1) and flags & 1 and streamId in self._scripts:
            self._do(self._scripts.pop(streamId), streamId)

    def _do(self, steps: Sequence[Step], streamId: int) -> None:
        for step in steps:
            if isinstance(step, bytes):
                self.sock.sendall(step)
            elif isinstance(step, Pause):
                self.player.pause(step.seconds)
            elif step is Do.REST:
                self.player.rest(self._service.rest)
            elif step is Do.CLOSE:
                self.player.shutdown(socket.SHUT_RDWR)
                raise _Ended
            elif step is Do.RESET:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                raise _Ended
            elif step is Do.HALF_CLOSE:
                self.player.shutdown(socket.SHUT_WR)
            elif callable(step):
                self.sock.sendall(step(streamId))


class HTTP2Service:
    """
    Listens on a port of its own.

    @ivar received: What came within the current case, connection by connection.
    @ivar rest: Waits until all that was said has been heard.
    """

    def __init__(self, sock: socket.socket) -> None:
        """
        @param sock: Bound, and not listening yet.
        """
        self.received: list[Seen] = []
        self._scripts: list[Any] = []
        self._hello: Hello | None = None
        self._connections: list[_Connection] = []
        self._ending: list[_Connection] = []
        self._lock = threading.Lock()
        self._sock = sock
        self._door = Player(sock)
        self.rest: Callable[[], None] = lambda: None
        sock.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def begin(self, scripts: Sequence[Any]) -> None:
        """
        Begin a case, with connections of its own.
        """
        with self._lock:
            connections, self._ending = self._connections, self._connections
            self._connections = []
            self._hello = scripts[0] if isinstance(scripts[0], Hello) else None
            self._scripts = [script for script in scripts if not isinstance(script, Hello)]
            self.received = []
        for connection in connections:
            with suppress(OSError):  # gone already
                connection.player.shutdown(socket.SHUT_RDWR)
        if connections:
            # The proxies are to see that they are gone.
            self.rest()
            self.received = []

    def nextScript(self) -> Sequence[Step]:
        """
        What to do with the next request.
        """
        with self._lock:
            script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
        return [script] if callable(script) or isinstance(script, bytes) else script

    def players(self) -> Iterable[Player]:
        """
        All who play a part: those of the connections, and who accepts them.
        """
        return [self._door, *(connection.player for connection in (*self._ending, *self._connections))]

    def _accept(self) -> None:
        while True:
            try:
                self._door.awaitBytes()
                sock, _ = self._sock.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                connection = _Connection(self, sock, self._hello)
                self._connections.append(connection)
                self.received.append(connection.seen)
            connection.start()

    def close(self) -> None:
        """
        Close everything.
        """
        self._sock.close()
        for connection in self._connections:
            connection.sock.close()
