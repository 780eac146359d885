"""
Load from one process on one core, by epoll: TCP echoes, and HTTP where C{wrk} is not installed. Also the echo itself.

Run as C{python -m bench.generator}; it ends with one line of JSON, as C{configs/load.lua} does.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import ssl
import time
from collections.abc import Callable

__all__ = ["main"]

_MESSAGE = b"m" * 200


class _Echoes:
    """
    One connection that sends a message, and again when it has it back.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._missing = 0
        self.units = self.bytes = self.errors = 0

    def begin(self) -> None:
        """
        Send the first message.
        """
        self._missing = len(_MESSAGE)
        self._sock.send(_MESSAGE)

    def readable(self) -> bool:
        """
        Take what came.

        @return: Whether the connection goes on.
        """
        data = self._sock.recv(65536)
        if not data:
            self.errors += 1
            return False
        self.bytes += len(data)
        self._missing -= len(data)
        if not self._missing:
            self.units += 1
            self.begin()
        return True


class _Requests:
    """
    One keep-alive connection that asks for a path, and again when the response has ended.
    """

    def __init__(self, sock: socket.socket, request: bytes) -> None:
        self._sock = sock
        self._request = request
        self._space = bytearray(1 << 20)
        self._head = b""
        self._missing = 0
        self.units = self.bytes = self.errors = 0

    def begin(self) -> None:
        """
        Send the request.
        """
        self._head = b""
        self._sock.send(self._request)

    def readable(self) -> bool:
        """
        Take what came: the head until it is whole, then as much body as it announced.

        @return: Whether the connection goes on.
        """
        size = self._sock.recv_into(self._space)
        if not size:
            self.errors += 1
            return False
        self.bytes += size
        if self._missing:
            self._missing -= size
        else:
            self._head += bytes(self._space[:size])
            head, end, body = self._head.partition(b"\r\n\r\n")
            if not end:
                return True
            self.errors += head[9:12] != b"200"
            length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
            self._missing = int(length) - len(body)
        if not self._missing:
            self.units += 1
            self.begin()
        return True


def _drive(port: int, count: int, seconds: float, make: Callable[[socket.socket], _Echoes | _Requests]) -> None:
    poll = select.epoll()
    peers = {}
    for _ in range(count):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peers[sock.fileno()] = (make(sock), sock)
        poll.register(sock, select.EPOLLIN)
    began = time.monotonic()
    for peer, _sock in peers.values():
        peer.begin()
    while time.monotonic() - began < seconds:
        for number, _events in poll.poll(0.1):
            if not peers[number][0].readable():
                poll.unregister(number)
    total = {name: sum(getattr(peer, name) for peer, _ in peers.values()) for name in ("units", "bytes", "errors")}
    report = {"requests": total["units"], "bytes": total["bytes"], "errors": total["errors"]}
    print(json.dumps({**report, "seconds": time.monotonic() - began}))


def _handshakes(port: int, seconds: float, resumes: bool) -> None:
    """
    Connect over TLS again and again, with one request each, since a session may be taken up only after an answer.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    request = b"GET / HTTP/1.1\r\nHost: bench.example.com\r\nConnection: close\r\n\r\n"
    session = None
    units = size = errors = 0
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with context.wrap_socket(sock, session=session, server_hostname="bench.example.com") as secure:
                errors += resumes and session is not None and not secure.session_reused
                secure.sendall(request)
                data = secure.recv(65536)
                errors += not data.startswith(b"HTTP/1.1 200")
                session = secure.session if resumes else None
                units += 1
                size += len(data)
    print(json.dumps({"requests": units, "bytes": size, "errors": errors, "seconds": time.monotonic() - began}))


def _echo(port: int) -> None:
    server = socket.create_server(("127.0.0.1", port), backlog=4096)
    poll = select.epoll()
    poll.register(server, select.EPOLLIN)
    peers: dict[int, socket.socket] = {}
    while True:
        for number, _events in poll.poll():
            if number == server.fileno():
                sock, _ = server.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                peers[sock.fileno()] = sock
                poll.register(sock, select.EPOLLIN)
                continue
            try:
                data = peers[number].recv(65536)
                peers[number].sendall(data)
            except OSError:
                data = b""
            if not data:
                peers.pop(number).close()


def main() -> None:
    """
    Echo, or make load.
    """
    parser = argparse.ArgumentParser(description="one peer of the benchmark")
    parser.add_argument("what", choices=["echo", "echoes", "requests", "handshakes", "resumptions"])
    parser.add_argument("port", type=int)
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--path", default="/")
    options = parser.parse_args()
    if options.what == "echo":
        _echo(options.port)
    elif options.what in ("handshakes", "resumptions"):
        _handshakes(options.port, options.seconds, options.what == "resumptions")
    elif options.what == "echoes":
        _drive(options.port, options.connections, options.seconds, _Echoes)
    else:
        request = f"GET {options.path} HTTP/1.1\r\nHost: bench.example.com\r\nX-Tenant: t1\r\n\r\n".encode()
        _drive(options.port, options.connections, options.seconds, lambda sock: _Requests(sock, request))


if __name__ == "__main__":
    main()
