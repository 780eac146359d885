"""
L{meshproxy.net.transport}: how connections end, in one direction or in both.
"""

from __future__ import annotations

import socket

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from tests.net.transportsupport import HalfCloseable, TransportCase


class CloseTests(TransportCase):
    """
    Ending by this side.
    """

    protocolFactory = HalfCloseable

    def test_loseConnection(self) -> None:
        """
        All that was written is sent, then the socket closes, and the protocol is told.
        """
        self.fill()
        self.transport.write(b"x")
        self.transport.write(b"rest")
        self.transport.loseConnection()
        self.assertEqual(self.reactor.readers, set())
        self.assertEqual(self.drain(), b"xrest")
        self.protocol.lost[0].trap(ConnectionDone)
        self.assertEqual(self.peer.recv(1), b"")

    def test_loseConnectionWhileReading(self) -> None:
        """
        From within a read, likewise.
        """

        def work() -> None:
            self.transport.write(b"bye")
            self.transport.loseConnection()

        self.protocol.work = work
        self.read(b"x")
        self.assertEqual(self.drain(), b"bye")
        self.assertEqual(len(self.protocol.lost), 1)

    def test_endWriting(self) -> None:
        """
        With nothing unsent this side has finished when C{endWriting} returns, and the protocol is not told; it goes on
        reading.
        """
        self.transport.write(b"x")
        self.transport.endWriting()
        self.assertEqual((self.got(), self.peer.recv(1)), (b"x", b""))
        self.assertEqual((self.reactor.writers, self.protocol.ends, self.protocol.lost), (set(), [], []))
        self.transport.write(b"late")
        self.transport.endWriting()
        self.read(b"still read")
        self.assertEqual(self.protocol.received, [b"still read"])
        self.transport.loseConnection()
        self.assertEqual(len(self.protocol.lost), 1)

    def test_endWritingLater(self) -> None:
        """
        With something unsent it finishes when that is sent, as with C{loseWriteConnection}.
        """
        self.fill()
        self.transport.write(b"x")
        self.transport.write(b"rest")
        self.transport.endWriting()
        self.assertEqual(self.reactor.writers, {self.transport})
        self.assertEqual(self.drain(), b"xrest")
        self.assertEqual(self.peer.recv(1), b"")
        self.assertEqual(self.protocol.lost, [])

    def test_endWritingGathered(self) -> None:
        """
        What was gathered in this turn goes before the end.
        """

        def work() -> None:
            self.transport.write(b"bye")
            self.transport.endWriting()

        self.protocol.work = work
        self.read(b"x")
        self.assertEqual((self.got(), self.peer.recv(1)), (b"bye", b""))

    def test_loseWriteConnection(self) -> None:
        """
        This side finishes writing when all is sent, tells the protocol, and goes on reading; what is written later is
        dropped.
        """
        self.fill()
        self.transport.write(b"x")
        self.transport.write(b"rest")
        self.transport.loseWriteConnection()
        self.assertEqual(self.protocol.ends, [])
        self.assertEqual(self.drain(), b"xrest")
        self.assertEqual(self.protocol.ends, ["write"])
        self.assertEqual(self.peer.recv(1), b"")
        self.transport.write(b"too late")
        self.read(b"still")
        self.assertEqual(self.protocol.received, [b"still"])
        self.assertEqual(self.socket.sent[-1], b"rest"[-len(self.socket.sent[-1]) :])

    def test_abort(self) -> None:
        """
        An abort drops what is unsent and resets the connection; the protocol is told later, not from within.
        """
        self.fill()
        self.transport.write(b"x")
        self.transport.write(b"unsent")
        self.transport.abortConnection()
        self.assertEqual(self.protocol.lost, [])
        self.assertEqual((self.reactor.readers, self.reactor.writers), (set(), set()))
        self.reactor.advance(0)
        self.protocol.lost[0].trap(ConnectionAborted)
        self.assertEqual(self.peer.recv(100), b"x")
        self.assertRaises(ConnectionResetError, self.peer.recv, 1)

    def test_abortIsFinal(self) -> None:
        """
        Nothing that is asked after an abort starts the connection again, and the protocol is told once.
        """
        self.transport.abortConnection()
        self.transport.write(b"x")
        self.transport.loseConnection()
        self.transport.loseWriteConnection()
        self.transport.resumeProducing()
        self.transport.abortConnection()
        self.assertEqual((self.reactor.readers, self.reactor.writers), (set(), set()))
        self.assertEqual(self.socket.sent, [])
        self.reactor.advance(0)
        self.transport.connectionLost(Failure(ConnectionDone()))
        self.transport.abortConnection()
        self.reactor.advance(0)
        self.assertEqual(len(self.protocol.lost), 1)

    def test_lostOnce(self) -> None:
        """
        C{connectionLost} is told once, whoever reports the end, and the descriptor is forgotten.
        """
        for _ in range(2):
            self.transport.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(len(self.protocol.lost), 1)
        self.assertEqual(self.transport.fileno(), -1)


class HalfCloseTests(TransportCase):
    """
    The peer finishes writing.
    """

    protocolFactory = HalfCloseable

    def finish(self) -> None:
        """
        Let the peer's end come, as a reactor does.
        """
        self.peer.shutdown(socket.SHUT_WR)
        self.assertIsInstance(self.transport.doRead(), ConnectionDone)
        self.reactor.removeReader(self.transport)
        self.transport.readConnectionLost(Failure(ConnectionDone()))

    def test_told(self) -> None:
        """
        A protocol that knows of half-closed connections is told, and may go on writing.
        """
        self.finish()
        self.assertEqual((self.protocol.ends, self.protocol.lost), (["read"], []))
        self.transport.write(b"answer")
        self.assertEqual(self.got(), b"answer")

    def test_toldOnce(self) -> None:
        """
        Back pressure that resumes reading after the end does not tell it again.
        """
        self.finish()
        self.transport.pauseProducing()
        self.transport.resumeProducing()
        self.assertEqual(self.reactor.readers, set())

    def test_raises(self) -> None:
        """
        A protocol that raises then loses its connection.
        """

        def fail() -> None:
            raise ZeroDivisionError

        self.protocol.ending = fail
        self.finish()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.protocol.lost[0].trap(ZeroDivisionError)

    def test_bothFinish(self) -> None:
        """
        When both sides finished, closing needs no further write.
        """
        self.finish()
        self.transport.loseWriteConnection()
        self.drain()
        self.assertEqual(self.protocol.ends, ["read", "write"])
        self.transport.loseConnection()
        self.reactor.advance(0)
        self.assertEqual(len(self.protocol.lost), 1)


class WithoutHalfCloseTests(TransportCase):
    """
    A protocol that knows nothing of half-closed connections.
    """

    def test_lost(self) -> None:
        """
        The peer's end is the connection's.
        """
        self.transport.readConnectionLost(Failure(ConnectionDone()))
        self.protocol.lost[0].trap(ConnectionDone)
        self.assertEqual(self.peer.recv(1), b"")

    def test_ownEnd(self) -> None:
        """
        This side may finish writing all the same; the protocol has nothing to be told of it.
        """
        self.transport.loseWriteConnection()
        self.drain()
        self.assertEqual(self.peer.recv(1), b"")
        self.assertEqual(self.protocol.lost, [])
