"""
The upstream: it does what a case tells it to, and keeps what it received.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from tests.conformance.case import OK, Do, Pause, Script, Step, Until
from tests.conformance.rest import Player

__all__ = ["Backend", "Received"]

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked\r\n", re.IGNORECASE)
_LAST_CHUNK = re.compile(rb"(?:\A|\r\n)0+\r\n(?:[^\r\n]+\r\n)*\r\n")


@dataclass
class Received:
    """
    What came on one connection within one case.
    """

    data: bytes = b""
    ended: bool = False


class _Ended(Exception):
    """
    The connection is over.
    """


class _Connection(threading.Thread):
    """
    One connection, served by a thread.
    """

    def __init__(self, backend: Backend, sock: socket.socket) -> None:
        super().__init__(daemon=True)
        self.sock = sock
        self.player = Player(sock)
        self._backend = backend
        self._buffer = b""
        self._received: Received | None = None
        self._generation = -1

    def run(self) -> None:
        """
        Serve requests until the connection ends.
        """
        try:
            while True:
                self._serve()
        except _Ended:
            pass
        except OSError:
            # The proxy has closed already; what it sent before is there to be read all the same.
            self._readAll()
        finally:
            self.sock.close()
            self.player.end()

    def _readAll(self) -> None:
        try:
            while True:
                self._receive()
        except _Ended:
            pass

    def _receive(self) -> None:
        try:
            self.player.awaitBytes()
            data = self.sock.recv(65536)
        except OSError:
            data = b""
        record = self._record(bool(data))
        if record is not None:
            record.data += data
        self._buffer += data
        if not data:
            if record is not None:
                record.ended = True
            raise _Ended

    def _record(self, begins: bool) -> Received | None:
        """
        Where to write what comes; the end of a connection counts for the case that used it only.
        """
        backend = self._backend
        if self._generation != backend.generation:
            self._received = None
            if begins:
                self._generation = backend.generation
                self._received = Received()
                backend.received.append(self._received)
        return self._received

    def _serve(self) -> None:
        while b"\r\n\r\n" not in self._buffer:
            self._receive()
        end = self._buffer.index(b"\r\n\r\n") + 4
        head, self._buffer = self._buffer[:end], self._buffer[end:]
        script = self._backend.nextScript()
        steps: Sequence[Step] = [script] if isinstance(script, bytes) else script
        if Do.EARLY not in steps[:1]:
            self._readBody(head)
        for step in steps:
            self._do(step, head)

    def _readBody(self, head: bytes) -> None:
        length = _LENGTH.search(head)
        if length is not None:
            while len(self._buffer) < int(length[1]):
                self._receive()
            self._buffer = self._buffer[int(length[1]) :]
        elif _CHUNKED.search(head):
            while (last := _LAST_CHUNK.search(self._buffer)) is None:
                self._receive()
            self._buffer = self._buffer[last.end() :]

    def _do(self, step: Step, head: bytes) -> None:
        if isinstance(step, bytes):
            self.sock.sendall(step)
        elif isinstance(step, Pause):
            self.player.pause(step.seconds)
        elif step is Do.REST:
            self.player.rest(self._backend.rest)
        elif isinstance(step, Until):
            while step.text not in self._buffer:
                self._receive()
        elif step is Do.BODY:
            self._readBody(head)
        elif step is Do.CLOSE:
            # A proxy may close as soon as it has read the answer, before this thread comes to its next step. Who of
            # the two was first says nothing of the proxy: a connection that is to be closed here was closed here.
            with suppress(OSError):
                self.player.shutdown(socket.SHUT_RDWR)
            raise _Ended
        elif step is Do.RESET:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raise _Ended
        elif step is Do.HALF_CLOSE:
            self.player.shutdown(socket.SHUT_WR)
        elif step is Do.DRAIN:
            while True:
                self._receive()
        elif step is Do.ECHO:
            while True:
                self.sock.sendall(self._buffer)
                self._buffer = b""
                self._receive()


class Backend:
    """
    Listens on a port of its own.

    @ivar received: What came within the current case, connection by connection.
    @ivar generation: How many cases there were.
    @ivar port: Where it listens.
    @ivar rest: Waits until all that was said has been heard.
    """

    def __init__(self, sock: socket.socket) -> None:
        """
        @param sock: Bound, and not listening yet.
        """
        self.received: list[Received] = []
        self.generation = 0
        self._scripts: list[Script] = [OK]
        self._connections: list[_Connection] = []
        self._lock = threading.Lock()
        self._sock = sock
        self._door = Player(sock)
        self.rest: Callable[[], None] = lambda: None
        self.port: int = sock.getsockname()[1]
        sock.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def begin(self, scripts: Sequence[Script]) -> None:
        """
        Begin a case.
        """
        with self._lock:
            self.generation += 1
            self.received = []
            self._scripts = list(scripts)

    def nextScript(self) -> Script:
        """
        What to do with the next request.
        """
        with self._lock:
            return self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]

    def players(self) -> Iterable[Player]:
        """
        All who play a part: those of the connections, and who accepts them.
        """
        return [self._door, *(connection.player for connection in self._connections)]

    def _accept(self) -> None:
        while True:
            try:
                self._door.awaitBytes()
                sock, _ = self._sock.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = _Connection(self, sock)
            self._connections.append(connection)
            connection.start()

    def close(self) -> None:
        """
        Close everything.
        """
        self._sock.close()
        for connection in self._connections:
            connection.sock.close()
