"""
tcp_proxy in a process of its own, between sockets.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.configs import STDOUT, Message, address, bootstrap, cluster
from tests.integration.peers import Backend, Client
from tests.integration.process import Proxy, freePort, until

_TCP_PROXY = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
_RESET = b"\1\0\0\0\0\0\0\0"
_MEGABYTE = 1 << 20


def tcpListener(port: int | str, limit: int = _MEGABYTE, **config: Any) -> Message:
    """
    A listener with a tcp_proxy to the cluster C{backend}.
    """
    proxy = {"@type": _TCP_PROXY, "stat_prefix": "bytes", "cluster": "backend", "access_log": [STDOUT], **config}
    filters = [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]
    return {
        "name": "bytes",
        "address": address(port),
        "filter_chains": [{"filters": filters}],
        "per_connection_buffer_limit_bytes": limit,
    }


def echo(connection: socket.socket) -> None:
    """
    Send back what comes, until it ends; then end too.
    """
    while data := connection.recv(65536):
        connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


def readAll(sock: socket.socket) -> bytes:
    """
    Read until the end.
    """
    pieces = []
    while data := sock.recv(_MEGABYTE):
        pieces.append(data)
    return b"".join(pieces)


class TCPTests(SynchronousTestCase):
    """
    One process for each test.
    """

    def start(
        self, serve: Callable[[socket.socket], None] = echo, path: str | None = None, **config: Any
    ) -> tuple[Proxy, int]:
        """
        Start a backend and a proxy in front of it.

        @return: The proxy, and the port where it listens.
        """
        backend = Backend(serve=serve, path=path)
        self.addCleanup(backend.close)
        port = freePort()
        text = bootstrap(tcpListener(port, **config), cluster("backend", path or backend.port))
        proxy = Proxy(self, "--config-yaml", text).ready(port)
        return proxy, port

    def client(self, port: int, receiveBuffer: int = 0) -> Client:
        """
        A client that is closed when the test ends.
        """
        client = Client(port, receiveBuffer=receiveBuffer)
        self.addCleanup(client.close)
        return client

    def test_echo(self) -> None:
        """
        Small messages go to and fro, on several connections at a time.
        """
        _, port = self.start()
        clients = [self.client(port) for _ in range(10)]
        for number in range(20):
            for client in clients:
                client.send(b"message %d" % number)
            for client in clients:
                self.assertEqual(client._exactly(len(b"message %d" % number)), b"message %d" % number)

    def test_bulk(self) -> None:
        """
        Much goes both ways at once, whole and in order, and the ends come behind it.
        """
        _, port = self.start()
        data = random.Random(1).randbytes(20 * _MEGABYTE)
        client = self.client(port)

        def send() -> None:
            client.send(data)
            client.socket.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        received = readAll(client.socket)
        sender.join()
        self.assertEqual(hashlib.sha256(received).digest(), hashlib.sha256(data).digest())

    def test_unixBackend(self) -> None:
        """
        The same to an endpoint that is a unix socket.
        """
        _, port = self.start(path=f"/tmp/meshproxy-test-{freePort()}.sock")
        client = self.client(port)
        data = random.Random(2).randbytes(300_000)
        threading.Thread(target=client.send, args=(data,)).start()
        self.assertEqual(client._exactly(len(data)), data)

    def test_halfClosedByBackend(self) -> None:
        """
        A backend that finishes writing first still reads.
        """
        got: list[int] = []

        def serve(connection: socket.socket) -> None:
            # The first one is of who looks whether the proxy is ready, and leaves, or resets what was not read.
            with contextlib.suppress(ConnectionError):
                connection.sendall(b"greeting")
                connection.shutdown(socket.SHUT_WR)
                got.append(len(readAll(connection)))

        _, port = self.start(serve)
        client = self.client(port)
        self.assertEqual(readAll(client.socket), b"greeting")
        client.send(b"x" * 100_000)
        client.socket.shutdown(socket.SHUT_WR)
        until(lambda: any(got), "the backend's end")
        self.assertEqual([length for length in got if length], [100_000])

    def test_resets(self) -> None:
        """
        A reset of either side is one for the other.
        """
        seen: list[str] = []

        def serve(connection: socket.socket) -> None:
            order = connection.recv(5)
            if order == b"reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            if order != b"stay.":
                return
            try:
                connection.recv(5)
                seen.append("end")
            except ConnectionResetError:
                seen.append("reset")

        proxy, port = self.start(serve)
        client = self.client(port)
        client.send(b"reset")
        self.assertRaises(ConnectionResetError, client.socket.recv, 1)
        client = self.client(port)
        client.send(b"stay.")
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        client.close()
        until(lambda: seen, "the backend's end")
        self.assertEqual(seen, ["reset"])

    def test_slowReader(self) -> None:
        """
        A client that does not read holds its backend up, and the proxy does not grow by what the backend would send.
        """
        sent = [0]

        def serve(connection: socket.socket) -> None:
            connection.recv(1)
            piece = b"x" * 65536
            for _ in range(64 * 16):
                connection.sendall(piece)
                sent[0] += len(piece)

        proxy, port = self.start(serve)
        before = proxy.memory()
        client = self.client(port, receiveBuffer=65536)
        client.send(b"!")
        last = -1

        def stands() -> bool:
            nonlocal last
            before, last = last, sent[0]
            return before == last > 0

        until(stands, "the backend to stand still")
        self.assertLess(sent[0], 40 * _MEGABYTE)
        self.assertLess(proxy.memory() - before, 8 * _MEGABYTE)
        self.assertEqual(len(client._exactly(64 * _MEGABYTE)), 64 * _MEGABYTE)

    def test_stop(self) -> None:
        """
        A proxy that is told to stop takes no new connection, lets a live one work on, and goes when that ends.
        """
        proxy, port = self.start()
        client = self.client(port)
        client.send(b"one")
        self.assertEqual(client._exactly(3), b"one")
        proxy.signal(signal.SIGTERM)

        def refused() -> bool:
            with socket.socket() as sock:
                return sock.connect_ex(("127.0.0.1", port)) != 0

        until(refused, "the listener's end")
        client.send(b"two")
        self.assertEqual(client._exactly(3), b"two")
        client.close()
        self.assertEqual(proxy.ended(), 0)

    def test_noDescriptorsLeft(self) -> None:
        """
        Connections leave nothing behind, however they end.
        """
        proxy, port = self.start()
        first = self.client(port)
        first.send(b"x")
        first._exactly(1)
        first.close()
        before = proxy.descriptors()
        for number in range(60):
            with Client(port) as client:
                client.send(b"y" * (1 if number % 3 else 200_000))
                client._exactly(1)
                if number % 2:
                    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        # Two pipes' descriptors may have come since.
        until(lambda: proxy.descriptors() <= before + 4, "descriptors to be closed")
