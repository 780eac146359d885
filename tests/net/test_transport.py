"""
L{meshproxy.net.transport}.

C{doRead} and C{doWrite} are called by hand, on pairs of sockets in memory; so each test sees every single C{send}.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, ITCPTransport
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from meshproxy.net.address import Address
from meshproxy.net.transport import SocketTransport
from meshproxy.testing.sockets import MemorySocket, socketPair

HERE = Address("192.0.2.1", 80)
THERE = Address("192.0.2.2", 40000)


class FakeReactor(Clock):
    """
    A reactor that only knows who waits for what.
    """

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[object] = set()
        self.writers: set[object] = set()
        self.addReader, self.removeReader = self.readers.add, self.readers.discard
        self.addWriter, self.removeWriter = self.writers.add, self.writers.discard


class Recorder(Protocol):
    """
    A protocol that remembers what it was told, and does what a test asks when bytes come.
    """

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.lost: list[Failure] = []
        self.work: Any = lambda: None

    def dataReceived(self, data: bytes) -> None:
        """
        Bytes came.
        """
        self.received.append(data)
        self.work()

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]  # as Twisted calls it
        """
        It is over.
        """
        self.lost.append(reason)


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Recorder):
    """
    The same for a protocol that knows of half-closed connections.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[str] = []
        self.ending: Any = lambda: None

    def readConnectionLost(self) -> None:
        """
        The peer finished.
        """
        self.ends.append("read")
        self.ending()

    def writeConnectionLost(self) -> None:
        """
        This side finished.
        """
        self.ends.append("write")


@implementer(IPushProducer)
class Producer:
    """
    Remembers its orders.
    """

    def __init__(self) -> None:
        self.orders: list[str] = []

    def pauseProducing(self) -> None:
        """
        See L{IPushProducer}.
        """
        self.orders.append("pause")

    def resumeProducing(self) -> None:
        """
        See L{IPushProducer}.
        """
        self.orders.append("resume")

    def stopProducing(self) -> None:
        """
        See L{IPushProducer}.
        """
        self.orders.append("stop")


class CountingSocket:
    """
    A socket of which each C{send} is remembered, and may be told to fail.
    """

    def __init__(self, real: MemorySocket) -> None:
        self.real = real
        self.sent: list[bytes] = []
        self.failing: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def fileno(self) -> int:
        """
        A number of nobody's.
        """
        return 1000

    def send(self, data: Any) -> int:
        """
        Send, or fail.
        """
        if self.failing is not None:
            raise self.failing
        count = self.real.send(data)
        self.sent.append(bytes(data[:count]))
        return count

    def recv(self, size: int) -> bytes:
        """
        Receive, or fail.
        """
        if self.failing is not None:
            raise self.failing
        return self.real.recv(size)


def osError(number: int) -> OSError:
    """
    An error as a socket raises it.
    """
    return OSError(number, os.strerror(number))


class TransportCase(SynchronousTestCase):
    """
    A transport and its peer's socket.
    """

    protocolFactory: type[Recorder] = Recorder

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        ours, self.peer = socketPair(self.reactor, HERE, THERE)
        self.socket = CountingSocket(ours)
        self.protocol: Any = self.protocolFactory()
        self.transport = self.made(self.socket)
        self.transport.begin(self.protocol)

    def made(self, sock: Any) -> SocketTransport:
        """
        A transport of a socket.
        """
        return SocketTransport(self.reactor, sock, THERE)

    def read(self, data: bytes) -> Any:
        """
        Let bytes come.
        """
        self.peer.send(data)
        return self.transport.doRead()

    def got(self) -> bytes:
        """
        What the peer has.
        """
        try:
            return self.peer.recv(1 << 24)
        except BlockingIOError:
            return b""

    def fill(self) -> None:
        """
        Make the kernel's buffer full.
        """
        self.socket.real.peer.capacity = 1

    def drain(self) -> bytes:
        """
        Let the peer read, and the transport write, until nothing is left.
        """
        everything = b""
        while self.transport in self.reactor.writers:
            everything += self.got()
            why = self.transport.doWrite()
            if why is not None:
                # As a reactor does.
                self.reactor.removeReader(self.transport)
                self.reactor.removeWriter(self.transport)
                self.transport.connectionLost(Failure(why))
        return everything + self.got()


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
