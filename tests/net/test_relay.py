"""
L{meshproxy.net.relay}, in memory. What it does with the kernel's pipes is in C{tests.integration.test_relay}.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyClass

from meshproxy.net.address import Address
from meshproxy.net.relay import BufferedRelay, IRelay, NoticedRelay, RelayCounters, SocketRelay, makeRelay
from meshproxy.net.transport import SocketTransport
from meshproxy.stats.metrics import Counter
from meshproxy.testing import Peer, VirtualReactor
from meshproxy.testing.sockets import socketPair


class Middle(Peer):
    """
    The protocol of one of the two transports between which a relay stands.

    @ivar relay: The relay from here, if it wants the bytes that come here.
    """

    relay: IRelay | None = None

    def dataReceived(self, data: bytes) -> None:
        """
        See C{IProtocol.dataReceived}.
        """
        if self.relay is not None:
            self.relay.dataReceived(data)
        else:
            super().dataReceived(data)


class Bystander(Protocol):
    """
    A producer that a transport had before.
    """

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        """
        Remember it.
        """
        self.told.append("pause")

    def resumeProducing(self) -> None:
        """
        Remember it.
        """
        self.told.append("resume")

    def stopProducing(self) -> None:
        """
        Remember it.
        """
        self.told.append("stop")


def counters() -> RelayCounters:
    """
    Counters of nobody.
    """
    return RelayCounters(*(Counter(name) for name in ("received", "sent", "paused", "resumed")))


class Way:
    """
    A sender, a relay between two transports, and a receiver, in memory.

    @ivar sender: Who sends to the source; C{receiver} reads from the sink.
    @ivar source: The protocol of the source; C{sink} that of the sink.
    """

    def __init__(self, capacity: int = 1 << 18, limit: int = 1 << 20) -> None:
        self.reactor = VirtualReactor()
        self.counters = counters()
        self.sender, self.source = self._connect(capacity, limit)
        self.receiver, self.sink = self._connect(capacity, limit)

    def _connect(self, capacity: int, limit: int) -> tuple[Peer, Middle]:
        far, near = Peer(), Middle()
        sockets = socketPair(self.reactor, Address("192.0.2.1", 1), Address("192.0.2.2", 2))
        for sock, protocol in zip(sockets, (far, near), strict=True):
            sock.capacity = capacity
            transport = SocketTransport(self.reactor, cast(Any, sock))
            transport.bufferSize = limit
            transport.begin(protocol)
        return far, near

    @property
    def transports(self) -> tuple[Any, Any]:
        """
        Source and sink.
        """
        return self.source.transport, self.sink.transport

    def counted(self) -> dict[str, int]:
        """
        The counters.
        """
        return {name: getattr(self.counters, name).value for name in RelayCounters.__slots__}


class RelayTests:
    """
    What each relay does.
    """

    def make(self, way: Way) -> Any:
        """
        The relay under test.
        """
        raise NotImplementedError

    def begin(self, **options: int) -> None:
        """
        Begin to relay.
        """
        self.way = Way(**options)
        self.relay = self.make(self.way)
        self.relay.start()

    def test_producer(self: Any) -> None:
        """
        It is a push producer.
        """
        self.begin()
        verifyClass(IPushProducer, type(self.relay))

    def test_moves(self: Any) -> None:
        """
        Bytes go on, are counted, and are an activity.
        """
        self.begin()
        self.way.reactor.advance(5)
        self.way.sender.write(b"one")
        self.way.reactor.settle()
        self.way.sender.write(b"two")
        self.way.reactor.settle()
        self.assertEqual(self.way.receiver.received, b"onetwo")
        self.assertEqual(self.relay.moved, 6)
        self.assertEqual(self.relay.lastActive, self.way.reactor.seconds())
        self.assertEqual(self.way.counted(), {"paused": 0, "received": 6, "resumed": 0, "sent": 6})

    def test_slowReader(self: Any) -> None:
        """
        A receiver that does not read stops the reading of the source within the limits; then everything arrives, in
        order.
        """
        self.begin(capacity=1000, limit=500)
        self.way.receiver.pause()
        data = bytes(range(250)) * 100
        self.way.sender.write(data)
        self.way.reactor.settle()
        self.assertEqual(self.way.counted()["paused"], 1)
        # What is under way to the receiver, and no more than a limit, or what one read gave.
        self.assertLessEqual(self.relay.moved, 1000 + 500 + 1000)
        self.way.receiver.resume()
        self.way.reactor.settle()
        self.assertEqual(self.way.receiver.received, data)
        counted = self.way.counted()
        self.assertEqual(counted["paused"], counted["resumed"])

    def test_endAfterAll(self: Any) -> None:
        """
        The end of the source comes when everything before it has gone on.
        """
        self.begin(capacity=1000, limit=500)
        self.way.receiver.pause()
        self.way.sender.write(b"x" * 5000)
        self.way.sender.finish()
        self.way.reactor.settle()
        self.assertFalse(self.way.source.ended)
        self.way.receiver.resume()
        self.way.reactor.settle()
        self.assertTrue(self.way.source.ended)
        self.assertEqual(self.relay.moved, 5000)
        self.relay.stop()
        self.way.sink.finish()
        self.way.reactor.settle()
        self.assertEqual(len(self.way.receiver.received), 5000)
        self.assertTrue(self.way.receiver.ended)

    def test_stop(self: Any) -> None:
        """
        After it stopped, what it had taken is still sent, bytes are the protocol's again, and the sink closes when it
        is told to.
        """
        self.begin(capacity=1000, limit=5000)
        self.way.receiver.pause()
        self.way.sender.write(b"x" * 1500)
        self.way.reactor.settle()
        self.relay.stop()
        self.relay.stop()
        self.way.sender.write(b"for the protocol")
        self.way.reactor.settle()
        self.assertEqual(self.way.source.received, b"for the protocol")
        self.way.sink.close()
        self.way.receiver.resume()
        self.way.reactor.settle()
        self.assertEqual(self.way.receiver.received, b"x" * 1500)
        self.assertTrue(self.way.receiver.closed)

    def test_lateBytes(self: Any) -> None:
        """
        Bytes that the source's protocol got all the same take the same way.
        """
        self.begin()
        self.relay.dataReceived(b"late")
        self.way.reactor.settle()
        self.assertEqual(self.way.receiver.received, b"late")
        self.assertEqual(self.way.counted()["received"], 4)

    def test_sinkReset(self: Any) -> None:
        """
        A sink that is reset is lost as ever, and the relay moves nothing any more.
        """
        self.begin()
        self.way.receiver.abort()
        self.way.reactor.settle()
        self.assertTrue(self.way.sink.wasReset)
        self.way.sender.write(b"x")
        self.way.reactor.settle()
        self.assertFalse(self.way.source.closed)

    def test_sourceReset(self: Any) -> None:
        """
        A source that is reset is lost as ever.
        """
        self.begin()
        self.way.sender.abort()
        self.way.reactor.settle()
        self.assertTrue(self.way.source.wasReset)
        self.relay.stop()


class BufferedRelayTests(RelayTests, SynchronousTestCase):
    """
    L{BufferedRelay}.
    """

    def make(self, way: Way) -> Any:
        """
        See L{RelayTests.make}.
        """
        relay = BufferedRelay(*way.transports, way.counters, way.reactor.seconds)

        def stop() -> None:
            way.source.relay = None
            BufferedRelay.stop(relay)

        relay.stop = stop  # type: ignore[method-assign]  # as its owner does
        way.source.relay = relay
        return relay


class NoticedRelayTests(BufferedRelayTests):
    """
    L{NoticedRelay}.
    """

    def make(self, way: Way) -> Any:
        """
        See L{RelayTests.make}.
        """
        self.noticed: list[int] = []
        relay = NoticedRelay(
            *way.transports, way.counters, way.reactor.seconds, lambda: self.noticed.append(relay.moved)
        )

        def stop() -> None:
            way.source.relay = None
            NoticedRelay.stop(relay)

        relay.stop = stop  # type: ignore[method-assign]  # as its owner does
        way.source.relay = relay
        return relay

    def test_noticed(self) -> None:
        """
        Each piece is told when it has gone on, and none any more when the relay has stopped.
        """
        self.begin()
        for data in (b"one", b"and two"):
            self.way.sender.write(data)
            self.way.reactor.advance(0)
        self.assertEqual(self.noticed, [3, 10])
        self.relay.stop()
        self.relay.dataReceived(b"late")
        self.assertEqual(self.noticed, [3, 10])


class SocketRelayTests(RelayTests, SynchronousTestCase):
    """
    L{SocketRelay}. Sockets in memory cannot be spliced: each large piece is tried, and copied after all.
    """

    def make(self, way: Way, **options: Any) -> Any:
        """
        See L{RelayTests.make}.
        """
        return SocketRelay(*way.transports, way.counters, way.reactor.seconds, **options)

    def test_unspliceable(self) -> None:
        """
        What cannot be spliced is copied, and not tried again.
        """
        self.begin()
        for _ in range(3):
            self.way.sender.write(b"x" * 40000)
            self.way.reactor.settle()
        self.assertEqual(len(self.way.receiver.received), 120000)
        self.assertEqual(self.relay.moved, 120000)

    def test_behindWhatWaits(self) -> None:
        """
        What the sink's buffer holds already goes first, and the source waits for that.
        """
        self.way = Way(capacity=100)
        self.way.receiver.pause()
        self.way.sink.write(b"head" * 100)
        self.way.reactor.settle()
        self.make(self.way).start()
        self.way.sender.write(b"body")
        self.way.reactor.settle()
        self.assertEqual(self.way.counted()["received"], 0)
        self.way.receiver.resume()
        self.way.reactor.settle()
        self.assertEqual(self.way.receiver.received, b"head" * 100 + b"body")

    def test_length(self) -> None:
        """
        With a length, so many bytes are moved and not one more; then C{done} is called and the protocol has the rest.
        """
        done: list[bytes] = []
        self.way = Way()
        self.make(self.way, length=6, done=lambda: done.append(self.way.source.received)).start()
        self.way.sender.write(b"four")
        self.way.reactor.settle()
        self.assertEqual(done, [])
        self.way.sender.write(b"fivenext")
        self.way.reactor.settle()
        self.assertEqual(self.way.receiver.received, b"fourfi")
        self.assertEqual(done, [b""])
        self.assertEqual(self.way.source.received, b"venext")

    def test_lengthWhileBlocked(self) -> None:
        """
        The length counts as moved when the sink's buffer has the rest of it: what is written next comes behind it.
        """
        self.way = Way(capacity=10)
        self.way.receiver.pause()
        self.make(self.way, length=25, done=lambda: self.way.sink.write(b" next")).start()
        self.way.sender.write(b"0123456789" * 5)
        self.way.receiver.resume()
        self.way.reactor.settle()
        self.assertEqual(self.way.receiver.received, b"0123456789012345678901234 next")
        self.assertEqual(self.way.source.received, b"5678901234567890123456789")

    def test_formerProducer(self) -> None:
        """
        The sink's producer stands back while the relay runs, and is its producer again afterwards.
        """
        self.way = Way(capacity=10, limit=20)
        former = Bystander()
        sink = self.way.transports[1]
        sink.registerProducer(former, True)
        relay = self.make(self.way)
        relay.start()
        self.way.receiver.pause()
        self.way.sender.write(b"x" * 100)
        self.way.reactor.settle()
        self.assertEqual(former.told, [])
        relay.stop()
        sink.write(b"y" * 100)
        self.assertEqual(former.told, ["pause"])
        self.way.receiver.resume()
        self.way.reactor.settle()
        self.assertEqual(former.told, ["pause", "resume"])

    def test_formerProducerStopped(self) -> None:
        """
        When the sink is lost its producer of before is told.
        """
        self.way = Way()
        former = Bystander()
        self.way.transports[1].registerProducer(former, True)
        self.make(self.way).start()
        self.way.receiver.abort()
        self.way.reactor.settle()
        self.assertEqual(former.told, ["stop"])


class MakeRelayTests(SynchronousTestCase):
    """
    L{makeRelay}.
    """

    def test_sockets(self) -> None:
        """
        Between plain sockets there is no protocol.
        """
        way = Way()
        relay = makeRelay(*way.transports, way.counters, way.reactor.seconds)
        self.assertIsInstance(relay, SocketRelay)

    def test_others(self) -> None:
        """
        A transport that does more with its bytes is asked to.
        """

        class Encrypting(SocketTransport):
            """
            Would encrypt them.
            """

        way = Way()
        source, sink = way.transports
        for transport in (source, sink):
            plain = type(transport)
            transport.__class__ = Encrypting
            self.assertIsInstance(makeRelay(source, sink, way.counters, way.reactor.seconds), BufferedRelay)
            transport.__class__ = plain
