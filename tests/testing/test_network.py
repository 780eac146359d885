"""
L{meshproxy.testing.network} and L{meshproxy.testing.sockets}: a network in memory that behaves as a real one.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.error import CannotListenError, ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from meshproxy.errors import ConnectFailed, ConnectTimeout
from meshproxy.net.address import Address
from meshproxy.testing.clock import EPOCH, VirtualReactor
from meshproxy.testing.network import MemoryNetwork, parseAddress
from meshproxy.testing.peers import Peer

HERE = Address("127.0.0.1", 80)


class Simple(Protocol):
    """
    A protocol that knows nothing of half-closed connections.
    """

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        """
        Remember each read.
        """
        self.received.append(data)

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008  # as Twisted has it
        """
        Remember why.
        """
        self.lost = reason


@implementer(IPushProducer)
class Producer:
    """
    Remembers what it was told.
    """

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        """
        See L{IPushProducer}.
        """
        self.told.append("pause")

    def resumeProducing(self) -> None:
        """
        See L{IPushProducer}.
        """
        self.told.append("resume")

    def stopProducing(self) -> None:
        """
        See L{IPushProducer}.
        """
        self.told.append("stop")


class NetworkCase(SynchronousTestCase):
    """
    A network with somebody who listens.
    """

    readSize = 0
    latency = 0.0
    capacity = 0

    def setUp(self) -> None:
        self.reactor = VirtualReactor()
        self.network = MemoryNetwork(self.reactor, self.latency, self.readSize, self.capacity)
        self.served: list[Simple] = []
        self.listening = self.network.listen(HERE, self.build)
        self.failures: list[Exception] = []

    def build(self, peer: Address) -> Protocol:
        """
        Accept.
        """
        self.served.append(Simple())
        return self.served[-1]

    def connected(self) -> tuple[Any, Any]:
        """
        Both ends of a connection.
        """
        client = Peer()
        self.network.connect(HERE, client, self.failures.append)
        self.reactor.advance(self.latency)
        return client, self.served[-1]


class ConnectTests(NetworkCase):
    """
    Listening and connecting.
    """

    def test_notFromWithin(self) -> None:
        """
        A protocol is connected later than its attempt began, and both ends know each other's address.
        """
        client = Peer()
        self.network.connect(HERE, client, self.failures.append)
        self.assertIsNone(client.transport)
        self.reactor.settle()
        ours: Any = client.transport
        theirs: Any = self.served[0].transport
        self.assertEqual((ours.peerAddress, theirs.localAddress), (HERE, HERE))
        self.assertEqual(ours.localAddress, theirs.peerAddress)

    def test_refused(self) -> None:
        """
        Where nobody listens, or does not any more, an attempt is refused.
        """
        self.listening.stopListening()
        self.network.connect(HERE, Peer(), self.failures.append)
        self.assertEqual(self.failures, [])
        self.reactor.settle()
        self.assertIsInstance(self.failures[0], ConnectFailed)
        self.assertEqual(str(self.failures[0]), "delayed connect error: Connection refused")
        self.assertRaises(ConnectFailed, self.network.dial, "127.0.0.1:80", Peer())

    def test_silent(self) -> None:
        """
        An address that does not answer ends in a time-out.
        """
        self.network.silent.add(HERE)
        self.network.connect(HERE, Peer(), self.failures.append, timeout=3)
        self.reactor.advance(2.5)
        self.assertEqual(self.failures, [])
        self.reactor.advance(0.5)
        self.assertIsInstance(self.failures[0], ConnectTimeout)

    def test_cancelled(self) -> None:
        """
        An attempt that is given up calls nobody.
        """
        client = Peer()
        self.network.connect(HERE, client, self.failures.append).cancel()
        self.reactor.advance(10)
        self.assertEqual((client.transport, self.failures, self.served), (None, [], []))

    def test_everywhere(self) -> None:
        """
        Who listens everywhere is found at any address; port 0 is some free one; no address is bound twice.
        """
        self.network.listen(Address("0.0.0.0", 81), self.build)
        self.network.dial("192.0.2.1:81", Peer())
        theirs: Any = self.served[0].transport
        self.assertEqual(theirs.localAddress, Address("192.0.2.1", 81))
        self.assertNotEqual(self.network.listen(Address("::1", 0), self.build).address.port, 0)
        self.assertRaises(CannotListenError, self.network.listen, HERE, self.build)

    def test_notAccepted(self) -> None:
        """
        A server that builds no protocol closes the connection.
        """
        self.network.listen(Address("127.0.0.1", 82), lambda peer: None)
        client = Simple()
        self.network.dial("127.0.0.1:82", client)
        self.reactor.settle()
        assert client.lost is not None
        client.lost.trap(ConnectionDone)

    def test_names(self) -> None:
        """
        Names are those that the test gives.
        """
        self.network.hosts["a.example"] = ["192.0.2.1"]
        self.network.hosts["broken.example"] = OSError("no")
        self.assertEqual(self.successResultOf(self.network.resolve("a.example")), ["192.0.2.1"])
        self.assertEqual(self.successResultOf(self.network.resolve("b.example")), [])
        self.failureResultOf(self.network.resolve("broken.example"), OSError)

    def test_parseAddress(self) -> None:
        """
        Addresses are written as the rest of the program writes them.
        """
        for text in ("192.0.2.1:80", "[2001:db8::1]:80", "/run/a.sock"):
            self.assertEqual(parseAddress(text).text, text)


class BytesTests(NetworkCase):
    """
    Bytes that go to and fro.
    """

    def test_order(self) -> None:
        """
        Bytes keep their order, and arrive in a later turn; several writes may be one read.
        """
        client, server = self.connected()
        for piece in (b"a", b"b", b"c"):
            client.write(piece)
        self.assertEqual(server.received, [])
        self.reactor.settle()
        self.assertEqual(server.received, [b"abc"])

    def test_end(self) -> None:
        """
        What was written before the end arrives before the end; a protocol that knows no half-closed connections loses
        it whole.
        """
        client, server = self.connected()
        client.write(b"last")
        client.finish()
        self.reactor.settle()
        self.assertEqual(server.received, [b"last"])
        server.lost.trap(ConnectionDone)
        self.assertTrue(client.ended)

    def test_halfClose(self) -> None:
        """
        One who finished writing goes on reading.
        """
        client, server = self.connected()
        server.transport.write(b"x")
        server.transport.loseWriteConnection()
        self.reactor.settle()
        self.assertEqual((client.received, client.ended, client.lost), (b"x", True, None))
        client.write(b"still")
        self.reactor.settle()
        self.assertEqual(server.received, [b"still"])

    def test_abort(self) -> None:
        """
        Cutting off is a lost connection to the other end, and an aborted one here, later.
        """
        client, server = self.connected()
        client.abort()
        self.assertIsNone(client.lost)
        self.reactor.settle()
        client.lost.trap(ConnectionAborted)
        server.lost.trap(ConnectionLost)
        self.assertTrue(client.wasReset)

    def test_unreadIsReset(self) -> None:
        """
        As of a kernel, closing while something is unread cuts the other end off.
        """
        client, server = self.connected()
        server.transport.pauseProducing()
        client.write(b"nobody reads this")
        self.reactor.settle()
        server.transport.loseConnection()
        self.reactor.settle()
        self.assertTrue(client.wasReset)

    def test_writeToOneWhoLeft(self) -> None:
        """
        Writing to one who is gone ends in a reset: as of a kernel, the write after the first one notices it.
        """
        client, server = self.connected()
        server.transport.loseConnection()
        self.reactor.settle()
        self.assertTrue(client.ended)
        self.assertIsNone(client.lost)
        client.write(b"hello?")
        self.reactor.settle()
        self.assertIsNone(client.lost)
        client.write(b"nobody?")
        self.reactor.settle()
        self.assertTrue(client.wasReset)

    def test_pause(self) -> None:
        """
        A transport that is paused reads nothing, not even the end.
        """
        client, server = self.connected()
        client.pause()
        server.transport.write(b"x")
        server.transport.loseConnection()
        self.reactor.settle()
        self.assertEqual((client.received, client.ended), (b"", False))
        client.resume()
        self.reactor.settle()
        self.assertEqual((client.received, client.ended), (b"x", True))


class BackPressureTests(NetworkCase):
    """
    A peer that does not read.
    """

    capacity = 1000

    def test_producer(self) -> None:
        """
        What the kernel does not take is buffered; above the limit the producer is paused, and resumed when the buffer
        is empty.
        """
        client, server = self.connected()
        client.pause()
        producer = Producer()
        server.transport.registerProducer(producer, True)
        server.transport.bufferSize = 500
        server.transport.write(b"x" * 1400)
        self.assertEqual(producer.told, [])
        server.transport.write(b"x" * 200)
        self.assertEqual(producer.told, ["pause"])
        client.resume()
        self.reactor.settle()
        self.assertEqual(producer.told, ["pause", "resume"])
        self.assertEqual(len(client.received), 1600)

    def test_closeWaits(self) -> None:
        """
        Closing waits until the peer read all.
        """
        client, server = self.connected()
        client.pause()
        server.transport.write(b"x" * 3000)
        server.transport.loseConnection()
        self.reactor.settle()
        self.assertIsNone(server.lost)
        client.resume()
        self.reactor.settle()
        self.assertEqual(len(client.received), 3000)
        self.assertTrue(client.ended)
        server.lost.trap(ConnectionDone)

    def test_producerIsStopped(self) -> None:
        """
        The producer of a connection that is lost is told so.
        """
        client, server = self.connected()
        producer = Producer()
        server.transport.registerProducer(producer, True)
        client.abort()
        self.reactor.settle()
        self.assertEqual(producer.told, ["stop"])


class ReadSizeTests(NetworkCase):
    """
    Reads that are cut short.
    """

    readSize = 2

    def test_cut(self) -> None:
        """
        No read is longer, and nothing is lost.
        """
        client, server = self.connected()
        client.write(b"abcde")
        client.finish()
        self.reactor.settle()
        self.assertEqual(server.received, [b"ab", b"cd", b"e"])
        server.lost.trap(ConnectionDone)


class LatencyTests(NetworkCase):
    """
    A network that takes its time.
    """

    latency = 0.25

    def test_bytesTravel(self) -> None:
        """
        Connecting takes one way, and so does each byte; the end as well.
        """
        client, server = self.connected()
        self.assertEqual(self.reactor.seconds(), EPOCH + 0.25)
        client.write(b"a")
        self.reactor.advance(0.125)
        client.write(b"b")
        client.close()
        self.assertEqual(server.received, [])
        self.reactor.advance(0.125)
        self.assertEqual(server.received, [b"a"])
        self.assertIsNone(server.lost)
        self.reactor.advance(0.125)
        self.assertEqual(server.received, [b"a", b"b"])
        server.lost.trap(ConnectionDone)
