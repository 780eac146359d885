"""
Downstreams and upstreams of plain blocking sockets, each at the speed and in the manners that a test asks for.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.integration.process import PATIENCE

__all__ = ["Backend", "Client", "Response", "answer", "readHead"]


@dataclass
class Response:
    """
    What a client received.
    """

    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """
    One connection.
    """

    def __init__(self, port: int | str, host: str = "127.0.0.1", receiveBuffer: int = 0) -> None:
        """
        @param port: A port, or the path of a unix socket.
        @param receiveBuffer: C{SO_RCVBUF}; 0 for the kernel's own.
        """
        family: int = socket.AF_UNIX if isinstance(port, str) else socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE)
        if receiveBuffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receiveBuffer)
        address: Any = port if isinstance(port, str) else (host, port)
        self.socket.connect(address)
        self._data = bytearray()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """
        Close it.
        """
        self.socket.close()

    def send(self, data: bytes) -> None:
        """
        Send bytes.
        """
        self.socket.sendall(data)

    def ask(self, path: str = "/", headers: dict[str, str] | None = None) -> None:
        """
        Send a GET.
        """
        lines = [f"GET {path} HTTP/1.1", "host: test", *(f"{name}: {value}" for name, value in (headers or {}).items())]
        self.send("\r\n".join([*lines, "", ""]).encode())

    def get(self, path: str = "/", headers: dict[str, str] | None = None) -> Response:
        """
        Send a GET and read the response.
        """
        self.ask(path, headers)
        return self.response()

    def _more(self) -> bool:
        data = self.socket.recv(65536)
        self._data += data
        return bool(data)

    def _upTo(self, end: bytes) -> bytes:
        while end not in self._data:
            if not self._more():
                raise EOFError(f"the connection ended after {self._data!r}")
        place = self._data.index(end)
        found = bytes(self._data[:place])
        del self._data[: place + len(end)]
        return found

    def _exactly(self, count: int) -> bytes:
        while len(self._data) < count:
            if not self._more():
                raise EOFError(f"the connection ended {count - len(self._data)} bytes early")
        found = bytes(self._data[:count])
        del self._data[:count]
        return found

    def response(self) -> Response:
        """
        Read a response.

        @raise EOFError: If it was cut off.
        """
        first, *lines = self._upTo(b"\r\n\r\n").decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self._upTo(b"\r\n"), 16):
                body += self._exactly(size)
                self._exactly(2)
            self._exactly(2)
        elif "content-length" in headers:
            body = self._exactly(int(headers["content-length"]))
        else:
            while self._more():
                pass
            body = self._exactly(len(self._data))
        return Response(int(first.split(" ")[1]), headers, body)

    def firstHead(self) -> bytes:
        """
        Read the head of a response, empty where the connection ended instead; what follows stays.
        """
        try:
            return self._upTo(b"\r\n\r\n")
        except (EOFError, ConnectionError):
            return b""

    def isClosed(self) -> bool:
        """
        Wait for the other side to close, and tell whether it sent nothing more.
        """
        try:
            return not self._data and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True


def readHead(connection: socket.socket) -> bytes:
    """
    Read a request's head, without anything behind it; empty where the connection ended instead.
    """
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        try:
            byte = connection.recv(1)
        except OSError:
            return b""
        if not byte:
            return b""
        head += byte
    return head


def answer(body: bytes, headers: str = "") -> bytes:
    """
    A 200 with a body.
    """
    return f"HTTP/1.1 200 OK\r\n{headers}content-length: {len(body)}\r\n\r\n".encode() + body


def _always(body: bytes) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        while readHead(connection):
            connection.sendall(answer(body))

    return serve


@dataclass
class Backend:
    """
    A server with a thread for each connection.

    @ivar serve: What is done with a connection; by default each request is answered with C{body}.
    @ivar accepted: How many connections came.
    """

    body: bytes = b"hello"
    serve: Callable[[socket.socket], None] | None = None
    path: str | None = None
    host: str = "127.0.0.1"
    accepted: int = 0
    open: list[socket.socket] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.path is not None:
            self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._listening.bind(self.path)
        else:
            family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
            self._listening = socket.socket(family, socket.SOCK_STREAM)
            self._listening.bind((self.host, 0))
        self._listening.listen(512)
        self.port: int = 0 if self.path is not None else self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.accepted += 1
            self.open.append(connection)
            connection.settimeout(PATIENCE)
            threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection: socket.socket) -> None:
        try:
            (self.serve or _always(self.body))(connection)
        except OSError:
            pass  # the proxy closed it, or the test is over
        finally:
            connection.close()

    def close(self) -> None:
        """
        Accept no more and drop what there is.
        """
        for sock in (self._listening, *self.open):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # gone already
            sock.close()
        if self.path is not None:
            os.unlink(self.path)
