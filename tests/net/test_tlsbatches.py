"""
Tests of L{meshproxy.net.tlsbatches}, between sockets in memory.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from meshproxy.errors import TLSError
from meshproxy.net.address import Address
from meshproxy.net.openssl import BATCH, drainErrors
from meshproxy.net.tlsbatches import Batches
from meshproxy.testing.pki import Authority
from meshproxy.testing.sockets import MemorySocket, socketPair
from meshproxy.testing.tls import clientContext, serverContext

DATA = bytes(range(256)) * 4000


class End:
    """
    One end of a connection whose records are gathered, and who owns it.
    """

    def __init__(self, clock: Clock, sock: MemorySocket, connection: SSL.Connection) -> None:
        self.sock = sock
        self.connection = connection
        self.told: list[str] = []
        self.sends: list[int] = []
        self.batches = Batches(clock, self, connection, self.readAgain, lambda: self.told.append("left"))

    def recv(self, size: int) -> bytes:
        return self.sock.recv(size)

    def fileno(self) -> int:
        return self.sock.fileno()

    def send(self, data: Any) -> int:
        taken = self.sock.send(data)
        self.sends.append(taken)
        return taken

    def readAgain(self) -> None:
        try:
            self.told.append(f"again {self.batches.read()!r}")
        except TLSError:
            self.told.append("again TLSError")


class BatchesTests(SynchronousTestCase):
    """
    L{Batches} reads and writes as OpenSSL does on a socket.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        server = SSL.Connection(serverContext(Authority().issue("example.com")), None)
        client = SSL.Connection(clientContext(), None)
        server.set_accept_state()
        client.set_connect_state()
        for _ in range(4):
            for one, other in ((client, server), (server, client)):
                try:
                    one.do_handshake()
                except SSL.WantReadError:
                    pass
                try:
                    other.bio_write(one.bio_read(1 << 20))
                except SSL.WantReadError:
                    pass
        # The sessions that the server offers.
        self.assertRaises(SSL.WantReadError, client.recv, 1)
        sockets = socketPair(self.clock, Address("192.0.2.1", 443), Address("192.0.2.2", 5000))
        self.server = End(self.clock, sockets[0], server)
        self.client = End(self.clock, sockets[1], client)
        drainErrors()
        self.addCleanup(self.server.batches.stop)
        self.addCleanup(self.client.batches.stop)

    def send(self, data: bytes) -> bytes:
        """
        Send from the server to the client, who reads whenever the server cannot go on.

        @return: What the client read.
        """
        received: list[bytes] = []
        done = 0
        while done < len(data):
            count = self.server.batches.write(memoryview(data)[done:])
            done += count
            while not count and (piece := self.client.batches.read()):
                received.append(piece)
        while piece := self.client.batches.read():
            received.append(piece)
        return b"".join(received)

    def test_batch(self) -> None:
        """
        Fifteen records leave in one send; what is longer takes several.
        """
        self.client.sock.capacity = 1 << 30
        self.assertEqual(self.server.batches.write(DATA), BATCH)
        (size,) = self.server.sends
        self.assertGreater(size, BATCH)
        self.assertEqual(self.server.batches.write(memoryview(DATA)[BATCH : BATCH + 10]), 10)
        received = b""
        while piece := self.client.batches.read():
            received += piece
        self.assertEqual(received, DATA[: BATCH + 10])

    def test_narrow(self) -> None:
        """
        A socket that takes less than a batch gets the rest of it before anything else, however little it takes.
        """
        for capacity in (1, 100, 16406, 70001, 1 << 20):
            self.client.sock.capacity = capacity
            data = DATA[: 400 * capacity]
            self.assertEqual(self.send(data), data)

    def test_notTaken(self) -> None:
        """
        As long as not all of a batch has left, none of it counts as sent, and the socket is not given back.
        """
        self.client.sock.capacity = 20000
        self.assertEqual(self.server.batches.write(DATA[:20001]), 0)
        self.assertEqual(self.server.batches.write(DATA), 0)
        self.assertFalse(self.server.batches.end())
        self.assertEqual(self.client.batches.read(), DATA[:16384])
        self.assertEqual(self.server.batches.write(DATA), 20001)
        self.assertTrue(self.server.batches.end())
        self.assertEqual(self.server.told, ["left"])

    def test_bothWays(self) -> None:
        """
        The peer is read while it does not take what is written.
        """
        self.client.sock.capacity = 10
        self.assertEqual(self.server.batches.write(b"abcdef"), 0)
        self.assertEqual(self.client.batches.write(b"question"), 8)
        self.assertEqual(self.server.batches.read(), b"question")
        self.assertIsNone(self.server.batches.read())

    def test_finished(self) -> None:
        """
        What came before the peer's end is read first; then the end, though the socket has nothing more to tell.
        """
        self.assertEqual(self.client.batches.write(b"last"), 4)
        self.client.connection.shutdown()
        self.client.batches._answer()
        self.assertEqual(self.server.batches.read(), b"last")
        self.clock.advance(0)
        self.assertEqual(self.server.told, ["again b''"])
        self.assertEqual(self.server.batches.write(b"answer"), 6)

    def test_gone(self) -> None:
        """
        A peer that leaves without a word has finished.
        """
        self.client.sock.close()
        self.assertEqual(self.server.batches.read(), b"")

    def test_garbage(self) -> None:
        """
        What is no record is an error, which comes after what was right before it; the peer gets an alert.
        """
        self.assertEqual(self.client.batches.write(b"right"), 5)
        self.client.sock.send(b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual(self.server.batches.read(), b"right")
        self.assertEqual(len(self.server.sends), 1)
        self.client.sock.send(b"more")
        self.assertRaises(TLSError, self.client.batches.read)
        self.clock.advance(0)
        self.assertEqual(len(self.server.told), 1)

    def test_garbageFirst(self) -> None:
        """
        What is no record is an error at once where nothing was right before it.
        """
        self.client.sock.send(b"GET / HTTP/1.1\r\n\r\n")
        self.assertRaises(TLSError, self.server.batches.read)
        self.assertEqual(len(self.server.sends), 1)

    def test_rest(self) -> None:
        """
        Who sends on keeps its memory; who does not gives the socket back within two seconds, and its place.
        """
        for _ in range(5):
            self.assertEqual(self.server.batches.write(b"x"), 1)
            self.clock.advance(1)
        self.assertEqual(self.server.told, [])
        self.assertEqual(self.client.told, ["left"])
        # It has no memory any more, which is found out and does no harm.
        self.assertRaises(OSError, self.client.batches.read)
        self.clock.advance(1)
        self.assertEqual(self.server.told, ["left"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_room(self) -> None:
        """
        Only so many connections have records in memory at once.
        """
        contexts = [SSL.Connection(clientContext(), None) for _ in range(62)]
        self.assertTrue(Batches.isRoom())
        ends = [End(self.clock, self.client.sock, connection) for connection in contexts]
        self.assertFalse(Batches.isRoom())
        for end in ends:
            end.batches.stop()
        self.assertTrue(Batches.isRoom())
