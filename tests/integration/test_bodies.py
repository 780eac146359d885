"""
Long bodies, which the kernel moves past codecs and filters.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.configs import bootstrap, cluster, forward, listener
from tests.integration.peers import Backend, Client, readHead
from tests.integration.process import Proxy, freePort

#: Not a multiple of anything that a read, a pipe or a page takes.
_LENGTH = 7 * 1024 * 1024 + 12345

_BODY = hashlib.shake_256(b"body").digest(_LENGTH)

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % _LENGTH


class LongBodyTests(SynchronousTestCase):
    """
    A response whose body is long and of known length.
    """

    def start(self, serve: Callable[[socket.socket], None]) -> Client:
        """
        A proxy before a backend, and a client of it.
        """
        backend = Backend(serve=serve)
        self.addCleanup(backend.close)
        self.port = port = freePort()
        text = bootstrap(listener("l", port, forward("c")), cluster("c", backend.port))
        self.proxy = Proxy(self, "--config-yaml", text)
        self.proxy.ready(port)
        client = Client(port)
        self.addCleanup(client.close)
        return client

    def test_whole(self) -> None:
        """
        It comes whole, and both connections serve the next request after it.
        """
        connections = []

        def serve(connection: socket.socket) -> None:
            connections.append(connection)
            while readHead(connection):
                connection.sendall(_HEAD)
                connection.sendall(_BODY)

        client = self.start(serve)
        for _ in range(3):
            self.assertEqual(hashlib.sha256(client.get().body).digest(), hashlib.sha256(_BODY).digest())
        self.assertEqual(len(connections), 1)

    def test_cutOff(self) -> None:
        """
        An upstream that ends in the middle: what came is passed on, and the connection ends, so that nobody takes it
        for whole.
        """
        half = _LENGTH // 2

        def serve(connection: socket.socket) -> None:
            readHead(connection)
            connection.sendall(_HEAD)
            connection.sendall(_BODY[:half])

        client = self.start(serve)
        client.ask()
        got = b""
        try:
            while data := client.socket.recv(1 << 20):
                got += data
        except ConnectionResetError:
            pass
        body = got.partition(b"\r\n\r\n")[2]
        self.assertLessEqual(len(body), half)
        self.assertEqual(body, _BODY[: len(body)])

    def test_clientLeaves(self) -> None:
        """
        A client that leaves in the middle: the upstream connection ends too, and the next client is served.
        """
        ended = []

        def serve(connection: socket.socket) -> None:
            while readHead(connection):
                connection.sendall(_HEAD)
                try:
                    connection.sendall(_BODY)
                except OSError:
                    ended.append(connection)
                    return

        client = self.start(serve)
        client.ask()
        client.socket.recv(100000)
        client.close()
        with Client(self.port) as other:
            self.assertEqual(len(other.get().body), _LENGTH)

    def test_slowClient(self) -> None:
        """
        A client that reads slowly gets everything, and the proxy keeps little of it.
        """

        def serve(connection: socket.socket) -> None:
            readHead(connection)
            connection.sendall(_HEAD)
            connection.sendall(_BODY)

        client = self.start(serve)
        before = self.proxy.memory()
        client.ask()
        got = bytearray()
        while len(got) < len(_HEAD):
            got += client.socket.recv(4096)
        while not got.endswith(_BODY[-64:]):
            piece = client.socket.recv(16384)
            self.assertTrue(piece)
            got += piece
        self.assertEqual(bytes(got).partition(b"\r\n\r\n")[2], _BODY)
        self.assertLess(self.proxy.memory() - before, 16 << 20)
