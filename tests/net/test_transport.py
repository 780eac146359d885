"""
L{meshproxy.net.transport}.

C{doRead} and C{doWrite} are called by hand, on pairs of sockets in memory; so each test sees every single C{send}.
"""

from __future__ import annotations

import errno
import socket
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import ITCPTransport
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from meshproxy.net.transport import SocketTransport
from meshproxy.testing.sockets import socketPair
from tests.net.transportsupport import HERE, THERE, CountingSocket, Producer, Recorder, TransportCase, osError


class InterfaceTests(TransportCase):
    """
    What it is.
    """

    def test_readSizes(self) -> None:
        """
        Where little is expected a read takes 16 KiB, where more is 64 KiB, then 224 KiB; never more than may wait here.
        """
        for limit, sizes in (
            (1 << 20, [16384, 65536, 229376]),
            (100000, [16384, 65536, 100000]),
            (20000, [16384, 20000, 20000]),
            (1000, [1000, 1000, 1000]),
        ):
            self.setUp()
            self.transport.bufferSize = limit
            self.transport.expectLittle()
            for size in sizes:
                self.assertEqual(self.peer.send(b"x" * size), size)
                self.transport.doRead()
                self.transport.expectMore()
            self.transport.expectLittle()
            self.peer.send(b"x" * 100000)
            self.transport.doRead()
            self.assertEqual([len(each) for each in self.protocol.received], [*sizes, min(limit, 16384)])

    def test_interface(self) -> None:
        """
        A TCP transport as Twisted knows them.
        """
        self.assertTrue(verifyObject(ITCPTransport, self.transport))

    def test_addresses(self) -> None:
        """
        Both ends are known by name; the peer is asked for where nobody told.
        """
        self.assertEqual(self.transport.getPeer(), THERE)
        self.assertEqual(self.transport.getHost(), HERE)
        self.assertEqual(SocketTransport(self.reactor, self.socket).peerAddress, THERE)  # type: ignore[arg-type]

    def test_logPrefix(self) -> None:
        """
        The log names the protocol.
        """
        self.assertEqual(self.transport.logPrefix(), "Recorder")

    def test_options(self) -> None:
        """
        TCP's options reach a TCP socket, and unix sockets are left alone.
        """
        left, right = socket.socketpair()
        self.addCleanup(left.close)
        self.addCleanup(right.close)
        self.made(left).setTcpNoDelay(True)
        with socket.socket() as tcp:
            transport = self.made(tcp)
            transport.setTcpNoDelay(True)
            transport.setTcpKeepAlive(True)
            self.assertTrue(transport.getTcpNoDelay() and transport.getTcpKeepAlive())
            transport.setTcpNoDelay(False)
            transport.setTcpKeepAlive(False)
            self.assertFalse(transport.getTcpNoDelay() or transport.getTcpKeepAlive())


class BeginTests(TransportCase):
    """
    The beginning.
    """

    def test_begin(self) -> None:
        """
        The protocol has the transport, which reads.
        """
        self.assertIs(self.protocol.transport, self.transport)
        self.assertEqual(self.reactor.readers, {self.transport})

    def test_raises(self) -> None:
        """
        A protocol that raises at its beginning is logged, and loses its connection; nobody else hears of it.
        """

        class Bad(Recorder):
            def connectionMade(self) -> None:
                raise ZeroDivisionError

        ours, peer = socketPair(self.reactor, HERE, THERE)
        protocol = Bad()
        self.made(ours).begin(protocol)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.reactor.advance(0)
        protocol.lost[0].trap(ConnectionAborted)
        self.assertRaises(ConnectionResetError, peer.recv, 1)


class ReadTests(TransportCase):
    """
    Reading.
    """

    def test_data(self) -> None:
        """
        One read, one event.
        """
        self.assertIsNone(self.read(b"abc"))
        self.assertEqual(self.protocol.received, [b"abc"])

    def test_nothing(self) -> None:
        """
        A read for nothing tells nothing.
        """
        self.assertIsNone(self.transport.doRead())
        self.assertEqual(self.protocol.received, [])

    def test_end(self) -> None:
        """
        The peer's end is C{CONNECTION_DONE}.
        """
        self.peer.shutdown(socket.SHUT_WR)
        self.assertIsInstance(self.transport.doRead(), ConnectionDone)

    def test_error(self) -> None:
        """
        An error of the socket is a lost connection, and known as its cause.
        """
        self.socket.failing = osError(errno.ETIMEDOUT)
        why: Any = self.transport.doRead()
        self.assertIsInstance(why, ConnectionLost)
        self.assertIs(why.__cause__, self.socket.failing)

    def test_raises(self) -> None:
        """
        What the protocol raises is the reactor's to log; what it had written is sent all the same.
        """

        def work() -> None:
            self.transport.write(b"sent")
            raise ZeroDivisionError

        self.protocol.work = work
        self.assertRaises(ZeroDivisionError, self.read, b"x")
        self.assertEqual(self.got(), b"sent")
        self.transport.write(b"at once")
        self.assertEqual(self.got(), b"at once")

    def test_pause(self) -> None:
        """
        A paused transport does not read, and a resumed one does.
        """
        self.transport.pauseProducing()
        self.assertEqual(self.reactor.readers, set())
        self.transport.resumeProducing()
        self.assertEqual(self.reactor.readers, {self.transport})


class WriteTests(TransportCase):
    """
    Writing.
    """

    def test_atOnce(self) -> None:
        """
        Outside of a read, each write is sent at once, without the reactor.
        """
        self.transport.write(b"ab")
        self.transport.writeSequence([b"c", b"d"])
        self.assertEqual(self.socket.sent, [b"ab", b"cd"])
        self.assertEqual(self.reactor.writers, set())

    def test_nothing(self) -> None:
        """
        Nothing is not sent.
        """
        self.transport.write(b"")
        self.assertEqual(self.socket.sent, [])

    def test_gathered(self) -> None:
        """
        What is written during a read leaves with one C{send} for each connection, in order.
        """
        ours, otherPeer = socketPair(self.reactor, HERE, THERE)
        otherSocket = CountingSocket(ours)
        other = self.made(otherSocket)
        other.begin(Recorder())

        def work() -> None:
            self.transport.write(b"head ")
            other.write(b"1")
            self.transport.writeSequence([b"bo", b"dy"])
            other.write(b"2")
            self.assertEqual(self.socket.sent, [])
            self.assertEqual(self.transport.unsent, 9)

        self.protocol.work = work
        self.read(b"x")
        self.assertEqual(self.socket.sent, [b"head body"])
        self.assertEqual(otherSocket.sent, [b"12"])
        self.assertEqual(self.transport.unsent, 0)
        self.assertEqual(otherPeer.recv(10), b"12")

    def test_gatheredWithoutEnd(self) -> None:
        """
        One read that makes its connection write again and again does not gather it all; the producer may be paused.
        """

        def work() -> None:
            for _ in range(200):
                self.transport.write(b"0123456789")
                self.assertLess(self.transport.unsent, 400)

        self.protocol.work = work
        self.read(b"x")
        self.assertEqual(b"".join(self.socket.sent), b"0123456789" * 200)

    def test_flush(self) -> None:
        """
        A flush sends what was gathered so far.
        """

        def work() -> None:
            self.transport.write(b"a")
            self.transport.flush()
            self.assertEqual(self.socket.sent, [b"a"])
            self.transport.write(b"b")

        self.protocol.work = work
        self.read(b"x")
        self.assertEqual(self.socket.sent, [b"a", b"b"])

    def test_partial(self) -> None:
        """
        What the kernel does not take waits, what is written later waits behind it, and all arrives in order.
        """
        self.socket.real.peer.capacity = 4
        self.transport.write(b"abcdefgh")
        self.assertEqual(self.reactor.writers, {self.transport})
        self.transport.write(b"ijk")
        self.assertEqual(self.transport.unsent, 7)
        self.assertEqual(self.drain(), b"abcdefghijk")
        self.assertEqual(self.reactor.writers, set())
        self.assertEqual(self.transport.unsent, 0)

    def test_blocked(self) -> None:
        """
        The kernel takes nothing (EAGAIN): likewise.
        """
        self.fill()
        self.transport.write(b"x")
        self.transport.write(b"later")
        self.assertEqual(self.transport.unsent, 5)
        self.assertEqual(self.drain(), b"xlater")

    def test_large(self) -> None:
        """
        A large body passes through a small kernel buffer whole.
        """
        data = bytes(range(256)) * 4096
        self.socket.real.peer.capacity = 10000
        self.transport.write(data)
        self.transport.write(data)
        self.assertEqual(self.drain(), data * 2)

    def test_broken(self) -> None:
        """
        A socket that breaks while it is written to is found by the next C{doWrite}, which tells the reactor; the caller
        is not disturbed.
        """
        self.socket.failing = osError(errno.EPIPE)
        self.transport.write(b"x")
        self.assertEqual(self.reactor.writers, {self.transport})
        why: Any = self.transport.doWrite()
        self.assertIsInstance(why, ConnectionLost)
        self.assertIs(why.__cause__, self.socket.failing)

    def test_afterLoss(self) -> None:
        """
        Writing to a connection that is gone is harmless.
        """
        self.transport.connectionLost(Failure(ConnectionDone()))
        self.transport.write(b"x")
        self.transport.writeSequence([b"x"])
        self.assertEqual(self.socket.sent, [])
        self.assertEqual(self.reactor.writers, set())

    def test_lostWhileGathered(self) -> None:
        """
        What was gathered for a connection that went meanwhile is dropped.
        """

        def work() -> None:
            self.transport.write(b"x")
            self.transport.connectionLost(Failure(ConnectionDone()))
            self.transport.write(b"y")

        self.protocol.work = work
        self.read(b"x")
        self.assertEqual(self.socket.sent, [])


class ProducerTests(TransportCase):
    """
    Back pressure.
    """

    def setUp(self) -> None:
        super().setUp()
        self.producer = Producer()
        self.transport.bufferSize = 10
        self.transport.registerProducer(self.producer, True)

    def test_limit(self) -> None:
        """
        The producer is paused above the limit, not at it, and resumed when all is sent.
        """
        self.fill()
        self.transport.write(b"x" + b"y" * 10)
        self.assertEqual(self.producer.orders, [])
        self.transport.write(b"z")
        self.assertEqual(self.producer.orders, ["pause"])
        self.drain()
        self.assertEqual(self.producer.orders, ["pause", "resume"])

    def test_kernelTakesAll(self) -> None:
        """
        What the kernel takes at once pauses nobody, however much it is.
        """
        self.transport.write(b"x" * 50000)
        self.assertEqual(self.producer.orders, [])

    def test_gathered(self) -> None:
        """
        What was gathered counts when it is sent.
        """
        self.fill()

        def work() -> None:
            self.transport.write(b"x" * 30)

        self.protocol.work = work
        self.read(b"r")
        self.assertEqual(self.producer.orders, ["pause"])

    def test_stopped(self) -> None:
        """
        The end of the connection is the producer's, too.
        """
        self.transport.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.producer.orders, ["stop"])

    def test_raises(self) -> None:
        """
        A producer that raises when it is paused at the end of somebody else's read ends its own connection; that of
        who was read, and the others that were written to, are well.
        """

        def fail() -> None:
            raise ZeroDivisionError

        self.producer.pauseProducing = fail  # type: ignore[method-assign]  # what a faulty one would do
        self.fill()
        ours, otherPeer = socketPair(self.reactor, HERE, THERE)
        other = self.made(ours)
        reading = Recorder()
        other.begin(reading)

        def work() -> None:
            other.write(b"before")
            self.transport.write(b"x" * 100)
            other.write(b"after")

        reading.work = work
        otherPeer.send(b"go")
        self.assertIsNone(other.doRead())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(otherPeer.recv(100), b"beforeafter")
        self.reactor.advance(0)
        self.protocol.lost[0].trap(ConnectionAborted)
        self.assertEqual(reading.lost, [])
