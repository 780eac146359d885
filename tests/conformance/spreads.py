"""
Clusters, the requests that are sent to them, and backends that both proxies share.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

__all__ = ["BACKENDS", "Backend", "FOLLOWS", "Spread", "ask"]


BACKENDS = 6


class _Hold:
    """
    Requests that backends hold until all of them are under way.
    """

    def __init__(self) -> None:
        self._arrived = threading.Semaphore(0)
        self._over = threading.Event()

    def wait(self) -> None:
        """
        A request is there: hold it.
        """
        self._arrived.release()
        self._over.wait(60)

    def follow(self, sock: socket.socket) -> None:
        """
        Wait until a request is where it stays: at a backend, answered, or neither for a while.
        """
        end = time.monotonic() + FOLLOWS
        while not self._arrived.acquire(blocking=False) and time.monotonic() < end:
            if select.select([sock], [], [], 0.002)[0]:
                return

    def end(self) -> None:
        """
        All are under way.
        """
        self._over.set()


_HOLDS: dict[bytes, _Hold] = {}


class Backend(threading.Thread):
    """
    Says which one it is to all who ask.
    """

    def __init__(self, number: int) -> None:
        super().__init__(daemon=True)
        self._says = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n%d" % number
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        self.sock.listen(64)
        self.port = self.sock.getsockname()[1]

    def run(self) -> None:
        """
        Accept.
        """
        while True:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        data = b""
        with sock:
            while True:
                try:
                    received = sock.recv(65536)
                except OSError:
                    return
                if not received:
                    return
                data += received
                while b"\r\n\r\n" in data:
                    head, _, data = data.partition(b"\r\n\r\n")
                    if b"x-hold" in head:
                        _HOLDS[head.partition(b"x-hold: ")[2].partition(b"\r\n")[0]].wait()
                    sock.sendall(
                        b"HTTP/1.1 500 No\r\ncontent-length: 1\r\n\r\n" + self._says[-1:]
                        if b"x-fail" in head
                        else self._says
                    )


@dataclass(frozen=True)
class Spread:
    """
    A cluster, and the requests that are sent to it.

    @ivar cluster: Its fields, in YAML; C{$0} to C{$5} are the addresses of the backends.
    @ivar route: More fields of the route's action.
    @ivar fields: Header lines, one for each request.
    @ivar isHeld: Whether the requests are under way together, each on a connection of its own.
    @ivar tolerance: Whether the shares of the endpoints may differ by so much, of 1; 0 where each request must go to
        the same endpoint.
    """

    name: str
    intent: str
    cluster: str
    route: str = ""
    fields: Sequence[str] = field(default_factory=lambda: [""] * 12)
    tolerance: float = 0.0
    isHeld: bool = False


# How long to wait for a request to be seen by a backend, or to be answered; one that waits within the proxy is neither.
FOLLOWS = 0.3


def ask(address: str, port: int, case: Spread) -> Iterator[str]:
    """
    Send the requests of a case.

    @return: For each which backend answered, or the status where none did.
    """
    if case.isHeld:
        yield from _askTogether(address, port, case)
        return
    with socket.create_connection((address, port), 5) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = b""
        for line in case.fields:
            field = f"{line}\r\n" if line else ""
            sock.sendall(f"GET /{case.name}? HTTP/1.1\r\nhost: h\r\n{field}\r\n".encode("ascii"))
            while b"\r\n\r\n" not in data:
                data += sock.recv(65536)
            head, _, data = data.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            while len(data) < length:
                data += sock.recv(65536)
            body, data = data[:length], data[length:]
            yield body.decode("ascii") if length == 1 else head[9:12].decode("ascii")


def _askTogether(address: str, port: int, case: Spread) -> Iterator[str]:
    """
    The same for requests that are under way together.
    """
    with ExitStack() as stack:
        waiting = []
        name = f"{address}/{case.name}"
        hold = _HOLDS[name.encode("ascii")] = _Hold()
        stack.callback(hold.end)
        for line in case.fields:
            sock = stack.enter_context(socket.create_connection((address, port), 5))
            field = f"{line}\r\n" if line else ""
            fields = f"host: h\r\nx-hold: {name}\r\n{field}connection: close\r\n"
            sock.sendall(f"GET /{case.name}? HTTP/1.1\r\n{fields}\r\n".encode("ascii"))
            waiting.append(sock)
            hold.follow(sock)
        hold.end()
        for sock in waiting:
            data = b""
            while received := sock.recv(65536):
                data += received
            yield data[-1:].decode("ascii") if data[9:12] == b"200" else data[9:12].decode("ascii")
