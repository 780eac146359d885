"""
Tests of L{meshproxy.net.tls}, in memory. C{tests.integration.test_tls} holds both kinds of transport to the same on
real sockets.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from meshproxy.errors import HandshakeTimeout, TLSError
from meshproxy.net.address import Address
from meshproxy.net.tls import TLSTransport
from meshproxy.net.tlsbuffered import BufferedTLSTransport
from meshproxy.net.tlsinfo import TLSInfo
from meshproxy.testing.pki import Authority
from meshproxy.testing.sockets import MemorySocket, socketPair
from tests.secrets.support import Heard, Room

SERVER, CLIENT = Address("192.0.2.1", 443), Address("192.0.2.2", 5000)


@implementer(IHalfCloseableProtocol)
class HalfClosing(Heard):
    """
    An end that is told when its peer finished.
    """

    finished = False
    wrote = False

    def readConnectionLost(self) -> None:
        self.finished = True

    def writeConnectionLost(self) -> None:
        self.wrote = True


class PlainHandshake:
    """
    A client of OpenSSL's own making.
    """

    def __init__(self, version: int = SSL.TLS1_2_VERSION) -> None:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(version)
        self.connection = SSL.Connection(context, None)
        self.connection.set_connect_state()
        self.why: list[str] = []

    def succeeded(self) -> TLSInfo:
        return TLSInfo(self.connection, False)

    def settled(self) -> None:
        pass

    def failed(self, why: str) -> str:
        self.why.append(why)
        return why

    def broken(self) -> None:
        self.why.append("broken")


class TLSCase(SynchronousTestCase):
    """
    A server and a client that agree.
    """

    def setUp(self) -> None:
        self.room = Room()
        self.reactor = self.room.reactor
        issued = Authority().issue("example.com")
        self.downstream = self.room.downstream({"common_tls_context": {"tls_certificates": [issued.inline]}})
        self.upstream = self.room.upstream({})

    def pair(self, **settings: int) -> tuple[MemorySocket, MemorySocket]:
        pair = socketPair(self.reactor, SERVER, CLIENT)
        for sock in pair:
            for name, value in settings.items():
                setattr(sock, name, value)
        return pair

    def begin(self, sock: Any, end: Heard, timeout: float = 0.0) -> TLSTransport:
        """
        The server's end.
        """
        return self.room.begin(sock, end, self.downstream.session, timeout)

    def connected(
        self, server: Heard | None = None, client: Heard | None = None, **settings: int
    ) -> tuple[Any, Any, Any, Any]:
        """
        Two ends whose handshake is over.

        @return: The protocol and the transport of the server, those of the client.
        """
        ours, theirs = self.pair(**settings)
        server, client = server or Heard(), client or Heard()
        one = self.begin(ours, server)
        other = self.room.begin(theirs, client, self.upstream.session)
        self.reactor.settle()
        self.assertTrue(server.isMade and client.isMade)
        return server, one, client, other


class TransferTests(TLSCase):
    """
    Bytes go both ways, however they are cut.
    """

    def test_both(self) -> None:
        """
        What one end writes the other one reads.
        """
        server, one, client, other = self.connected()
        other.write(b"ask")
        self.reactor.settle()
        one.writeSequence([b"ans", b"wer"])
        self.reactor.settle()
        self.assertEqual((server.received, client.received), (b"ask", b"answer"))
        self.assertIsInstance(one, BufferedTLSTransport)

    def test_bytewise(self) -> None:
        """
        Handshake and data come byte by byte.
        """
        server, one, client, other = self.connected(readSize=1)
        other.write(b"ask" * 100)
        one.write(b"answer" * 100)
        self.reactor.settle()
        self.assertEqual((server.received, client.received), (b"ask" * 100, b"answer" * 100))

    def test_narrow(self) -> None:
        """
        Much more than the sockets hold goes through them, in order, and back pressure reaches the producer.
        """
        server, _, _, other = self.connected(capacity=5000)
        data = bytes(range(256)) * 2000
        other.bufferSize = 10000
        producer = Producer(other, data)
        other.registerProducer(producer, True)
        producer.resumeProducing()
        self.reactor.settle()
        self.assertEqual(server.received, data)
        self.assertGreater(producer.paused, 5)

    def test_paused(self) -> None:
        """
        A reader that paused gets nothing, not even what was read already, until it resumes.
        """
        server, one, _, other = self.connected()
        one.pauseProducing()
        other.write(b"x" * 100000)
        self.reactor.settle()
        self.assertEqual(server.received, b"")
        one.resumeProducing()
        self.reactor.settle()
        self.assertEqual(len(server.received), 100000)

    def test_pausedAtOnce(self) -> None:
        """
        A protocol that pauses when it is connected is not given what came with the handshake.
        """

        class Pausing(Heard):
            def connectionMade(self) -> None:
                Heard.connectionMade(self)
                self.transport.pauseProducing()  # type: ignore[union-attr]

        class Eager(Heard):
            def connectionMade(self) -> None:
                Heard.connectionMade(self)
                self.transport.write(b"early")  # type: ignore[union-attr]

        server, one, _, _ = self.connected(Pausing(), Eager())
        self.assertEqual(server.received, b"")
        one.resumeProducing()
        self.reactor.settle()
        self.assertEqual(server.received, b"early")

    def test_raises(self) -> None:
        """
        A protocol that raises when it is connected is logged and cut off.
        """

        class Raising(Heard):
            def connectionMade(self) -> None:
                raise ZeroDivisionError

        ours, theirs = self.pair()
        self.begin(ours, Raising())
        client = Heard()
        self.room.begin(theirs, client, self.upstream.session)
        self.reactor.settle()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIsNotNone(client.lost)

    def test_addresses(self) -> None:
        """
        The addresses are those of the socket.
        """
        _, one, _, _ = self.connected()
        self.assertEqual((one.localAddress, one.peerAddress), (SERVER, CLIENT))


@implementer(IPushProducer)
class Producer:
    """
    Writes until it is paused.
    """

    def __init__(self, transport: Any, data: bytes) -> None:
        self.transport = transport
        self.data = data
        self.isGoing = False
        self.paused = 0

    def pauseProducing(self) -> None:
        self.isGoing = False
        self.paused += 1

    def resumeProducing(self) -> None:
        self.isGoing = True
        while self.isGoing and self.data:
            piece, self.data = self.data[:4096], self.data[4096:]
            self.transport.write(piece)

    def stopProducing(self) -> None:
        self.isGoing = False


class ClosingTests(TLSCase):
    """
    How connections end.
    """

    def test_close(self) -> None:
        """
        Closing sends what was written, says so in TLS, and the peer sees a clean end.
        """
        server, _, client, other = self.connected(capacity=5000)
        other.write(b"x" * 100000)
        other.loseConnection()
        self.reactor.settle()
        self.assertEqual(len(server.received), 100000)
        self.assertEqual([type(end.lost).__name__ for end in (server, client)], ["ConnectionDone", "ConnectionDone"])

    def test_halfClose(self) -> None:
        """
        A side that finished writing still reads; the other one is told, and may write on.
        """
        server, one, client, other = self.connected(HalfClosing(), HalfClosing())
        other.write(b"last")
        other.loseWriteConnection()
        self.reactor.settle()
        self.assertEqual((server.received, server.finished, client.wrote), (b"last", True, True))
        self.assertIsNone(server.lost)
        one.write(b"answer")
        self.reactor.settle()
        self.assertEqual(client.received, b"answer")
        one.loseConnection()
        self.reactor.settle()
        self.assertTrue(client.finished)

    def test_abort(self) -> None:
        """
        Aborting resets the connection, without a word of TLS.
        """
        server, _, client, other = self.connected()
        other.abortConnection()
        self.reactor.settle()
        self.assertEqual([type(end.lost).__name__ for end in (server, client)], ["_SocketLost", "ConnectionAborted"])

    def test_cutOff(self) -> None:
        """
        A peer that closes the socket without a C{close_notify} has finished, as in Envoy.
        """
        ours, theirs = self.pair()
        server = Heard()
        self.begin(ours, server)
        self.room.begin(theirs, Heard(), self.upstream.session)
        self.reactor.settle()
        theirs.close()
        self.reactor.settle()
        self.assertEqual(type(server.lost).__name__, "ConnectionDone")

    def test_garbageLater(self) -> None:
        """
        Bytes that are no record end the connection.
        """
        ours, theirs = self.pair()
        server = Heard()
        self.begin(ours, server)
        self.room.begin(theirs, Heard(), self.upstream.session)
        self.reactor.settle()
        theirs.send(b"GET / HTTP/1.1\r\n\r\n")
        self.reactor.settle()
        self.assertEqual(type(server.lost).__name__, "_TLSLost")
        self.assertEqual(server.received, b"")
        self.assertEqual(self.room.counted("listener.a.ssl.")["connection_error"], 2)

    def test_renegotiation(self) -> None:
        """
        A client that asks for another handshake does not get it: it is told so, and nothing else happens.
        """
        ours, theirs = self.pair()
        server, client, handshake = Heard(), Heard(), PlainHandshake()
        self.begin(ours, server)
        other: Any = self.room.begin(theirs, client, lambda sock: handshake)
        self.reactor.settle()
        handshake.connection.renegotiate()
        for _ in range(3):
            try:
                handshake.connection.do_handshake()
            except SSL.Error:
                pass
            other._drain()
            self.reactor.settle()
        self.assertEqual(handshake.connection.total_renegotiations(), 1)
        self.assertEqual(self.room.counted("listener.a.ssl.")["handshake"], 1)


class FailureTests(TLSCase):
    """
    Handshakes that come to nothing.
    """

    def record(self) -> bytes:
        """
        What a client sends first.
        """
        handshake = PlainHandshake()
        try:
            handshake.connection.do_handshake()
        except SSL.WantReadError:
            pass
        return handshake.connection.bio_read(65536)

    def test_garbage(self) -> None:
        """
        Bytes that are no TLS: the words are the library's, the count that of errors of connections.
        """
        ours, theirs = self.pair()
        end = Heard()
        self.begin(ours, end)
        theirs.send(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
        self.reactor.settle()
        self.assertIsInstance(end.failure, TLSError)
        self.assertEqual(end.why, "TLS_error:|SSL routines::http request:TLS_error_end")
        self.assertEqual(self.room.counted("listener.a.ssl."), {"connection_error": 1})
        self.assertFalse(end.isMade)
        self.assertEqual(self.reactor.getReaders(), [])

    def test_cuts(self) -> None:
        """
        A client that leaves at any byte of its first message: nothing is told of it but that it failed, nothing stays.
        """
        hello = self.record()
        for cut in range(len(hello) + 1):
            ours, theirs = self.pair()
            end = Heard()
            self.begin(ours, end)
            theirs.send(hello[:cut])
            theirs.close()
            self.reactor.settle()
            self.assertIsInstance(end.failure, TLSError, cut)
            self.assertEqual((self.reactor.getReaders(), self.reactor.getWriters()), ([], []))

    def test_flipped(self) -> None:
        """
        Any one byte of the first message is another one: the handshake goes on, waits, or fails, and nothing else.
        """
        hello = self.record()
        for place in range(len(hello)):
            ours, theirs = self.pair()
            end = Heard()
            self.begin(ours, end)
            theirs.send(hello[:place] + bytes([hello[place] ^ 0x55]) + hello[place + 1 :])
            self.reactor.settle()
            self.assertFalse(end.isMade)
            theirs.close()
            self.reactor.settle()
            self.assertIsInstance(end.failure, TLSError)

    def test_reset(self) -> None:
        """
        A client that resets the connection in the middle.
        """
        ours, theirs = self.pair()
        end = Heard()
        self.begin(ours, end)
        theirs.send(self.record()[:50])
        theirs.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")
        theirs.close()
        self.reactor.settle()
        self.assertEqual((end.why, self.room.counted("listener.a.ssl.")), ("", {}))

    def test_late(self) -> None:
        """
        A client that stalls is cut off when its time is over, and not later.
        """
        ours, theirs = self.pair()
        end = Heard()
        self.begin(ours, end, timeout=5.0)
        theirs.send(self.record()[:50])
        self.reactor.advance(4.9)
        self.assertIsNone(end.failure)
        self.reactor.advance(0.2)
        self.assertIsInstance(end.failure, HandshakeTimeout)
        self.assertEqual(theirs.recv(100), b"")
        self.assertEqual(self.reactor.getReaders(), [])

    def test_inTime(self) -> None:
        """
        The time-out ends with the handshake.
        """
        ours, theirs = self.pair()
        end = Heard()
        self.begin(ours, end, timeout=5.0)
        self.room.begin(theirs, Heard(), self.upstream.session)
        self.reactor.advance(10.0)
        self.assertTrue(end.isMade)
        self.assertIsNone(end.lost)

    def test_cancel(self) -> None:
        """
        A handshake that is given up tells nobody.
        """
        ours, theirs = self.pair()
        end = Heard()
        transport = self.begin(ours, end, timeout=5.0)
        transport.cancel()
        transport.cancel()
        theirs.send(self.record())
        self.reactor.advance(10.0)
        self.assertEqual((end.failure, end.isMade, self.reactor.getReaders()), (None, False, []))

    def test_plainTextBefore(self) -> None:
        """
        What an endpoint says before the handshake is no part of the connection (CVE-2026-1642).
        """
        ours, theirs = self.pair()
        client = Heard()
        self.room.begin(theirs, client, self.upstream.session)
        ours.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        self.begin(ours, Heard())
        self.reactor.settle()
        self.assertFalse(client.isMade)
        self.assertEqual(client.received, b"")
        self.assertEqual(self.room.counted("cluster.b.ssl."), {"connection_error": 1})
