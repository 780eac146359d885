"""
L{meshproxy.net.relay} on the kernel's sockets: with splice and without, the same bytes arrive, in the same order,
whatever the peers do.
"""

from __future__ import annotations

import random
import select
import socket
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.interfaces import IReactorFDSet
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from meshproxy.net import relay
from meshproxy.net.relay import BufferedRelay, RelayCounters, SocketRelay
from meshproxy.net.splice import PipePool
from meshproxy.net.transport import SocketTransport
from meshproxy.stats.metrics import Counter
from meshproxy.testing import VirtualReactor
from tests.net.test_relay import Middle

# Longer than anything takes that is not stuck.
_PATIENCE = 60.0


@implementer(IReactorFDSet)
class PollingReactor(VirtualReactor):
    """
    A loop over real descriptors, in a test's hands.
    """

    def turn(self, timeout: float = 0.0) -> bool:
        """
        Wait for the next event, and do what it asks for.

        @return: Whether there was one.
        """
        while self.calls and self.calls[0].getTime() <= self.rightNow:
            self.advance(0)
        poll = select.poll()
        found: dict[int, Any] = {}
        for descriptor in (*self.getReaders(), *self.getWriters()):
            found[descriptor.fileno()] = descriptor
        readers, writers = self.getReaders(), self.getWriters()
        for number, descriptor in found.items():
            poll.register(number, select.POLLIN * (descriptor in readers) | select.POLLOUT * (descriptor in writers))
        events = poll.poll(timeout * 1000)
        for number, event in events:
            descriptor = found[number]
            if descriptor in self.getReaders() and event & (select.POLLIN | select.POLLHUP | select.POLLERR):
                self._do(descriptor, descriptor.doRead, True)
            if descriptor in self.getWriters() and event & (select.POLLOUT | select.POLLHUP | select.POLLERR):
                self._do(descriptor, descriptor.doWrite, False)
        return bool(events)

    def _turn(self) -> bool:
        if self.calls and self.calls[0].getTime() <= self.rightNow:
            return super()._turn()
        return False

    def until(self, happened: Callable[[], bool]) -> None:
        """
        Turn until something happened.
        """
        idle = 0
        while not happened():
            if not self.turn(0.01):
                idle += 1
                assert idle < _PATIENCE / 0.01, "nothing happens any more"


def tcpPair() -> tuple[socket.socket, socket.socket]:
    """
    Two ends of a connection over loopback.
    """
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(1)
        one = socket.create_connection(listening.getsockname())
        other, _ = listening.accept()
    for sock in (one, other):
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return one, other


class Line:
    """
    A sender's socket, a relay, and a receiver's socket.

    @ivar sender: The far end of the source; C{receiver} that of the sink.
    """

    def __init__(self, kind: str, pair: Callable[[], tuple[socket.socket, socket.socket]] = tcpPair) -> None:
        self.reactor = PollingReactor()
        self.pool = PipePool(2 if kind == "spliced" else 0)
        self.counters = RelayCounters(*(Counter(name) for name in RelayCounters.__slots__))
        self.sender, near = pair()
        self.receiver, far = pair()
        self.source, self.sink = self._begin(near), self._begin(far)
        transports = self.source.transport, self.sink.transport
        self.relay: Any
        if kind == "buffered":
            self.relay = self.source.relay = BufferedRelay(*transports, self.counters, self.reactor.seconds)
        else:
            self.relay = SocketRelay(*transports, self.counters, self.reactor.seconds, self.pool)  # type: ignore[arg-type]
        self.relay.start()
        self.received = bytearray()

    def _begin(self, sock: socket.socket) -> Middle:
        protocol = Middle()
        SocketTransport(self.reactor, sock).begin(protocol)
        return protocol

    def read(self, size: int = 1 << 20) -> bool:
        """
        Let the receiver read once.

        @return: Whether there was anything; its end is nothing.
        """
        try:
            data = self.receiver.recv(size)
        except BlockingIOError:
            return False
        self.received += data
        return bool(data)

    def close(self) -> None:
        """
        Give all sockets up.
        """
        self.relay.stop()
        for sock in (self.sender, self.receiver):
            sock.close()
        for protocol in (self.source, self.sink):
            if protocol.lost is None:
                protocol.abort()
        self.reactor.advance(1)


KINDS = ("buffered", "copied", "spliced")


class SameBytesTests(SynchronousTestCase):
    """
    Each way of relaying, under the same treatment.
    """

    def line(self, kind: str, pair: Callable[[], tuple[socket.socket, socket.socket]] = tcpPair) -> Line:
        """
        A line that is given up when the test ends.
        """
        line = Line(kind, pair)
        self.addCleanup(line.close)
        return line

    def transfer(self, line: Line, seed: int, total: int = 3_000_000) -> bytes:
        """
        Send in pieces of random sizes, read in pieces of random sizes, with pauses on both sides; then end.

        @return: What was sent.
        """
        chance = random.Random(seed)
        data = chance.randbytes(total)
        sent = 0
        sizes = [1, 200, 5000, 16384, 70000, 400000]
        while sent < total:
            piece = data[sent : sent + chance.choice(sizes)]
            try:
                sent += line.sender.send(piece)
            except BlockingIOError:
                line.read()
            for _ in range(chance.randrange(4)):
                line.reactor.turn()
            if chance.random() < 0.3:
                line.read(chance.choice(sizes))
        line.sender.shutdown(socket.SHUT_WR)
        return data

    def finish(self, line: Line) -> None:
        """
        Turn until the end of the source has arrived, read all, and pass the end on.
        """

        def arrived() -> bool:
            while line.read():
                pass
            return line.source.ended

        line.reactor.until(arrived)
        line.relay.stop()
        line.sink.finish()
        line.reactor.until(lambda: not line.sink._transport.unsent)
        line.reactor.turn()
        while line.read():
            pass

    def test_randomPieces(self) -> None:
        """
        The same bytes in the same order, counted to the last one, and the end behind them.
        """
        for kind in KINDS:
            for seed in range(3):
                line = self.line(kind)
                data = self.transfer(line, seed)
                self.finish(line)
                self.assertEqual(line.received, data, (kind, seed))
                self.assertEqual(line.relay.moved, len(data))
                self.assertEqual(line.counters.sent.value, len(data))
                self.assertEqual(line.counters.paused.value, line.counters.resumed.value)
                self.assertEqual(line.pool.made, int(kind == "spliced"))

    def test_unixSockets(self) -> None:
        """
        The same over unix sockets.
        """

        def pair() -> tuple[socket.socket, socket.socket]:
            one, other = socket.socketpair()
            one.setblocking(False)
            other.setblocking(False)
            return one, other

        for kind in KINDS:
            line = self.line(kind, pair)
            data = self.transfer(line, 7, 1_000_000)
            self.finish(line)
            self.assertEqual(line.received, data, kind)

    def test_blocked(self) -> None:
        """
        While the receiver does not read, the sender can send no more than the kernel and the limits take; the pipe that
        holds the rest is given back when it is empty.
        """
        for kind in KINDS:
            line = self.line(kind)
            sent = self.fill(line)
            self.assertEqual(line.counters.paused.value, 1, kind)
            self.assertLessEqual(line.relay.moved, sent)

            def all(line: Line = line, sent: int = sent) -> bool:
                while line.read():
                    pass
                return len(line.received) == sent

            line.reactor.until(all)
            self.assertEqual(line.counters.resumed.value, 1)
            if kind == "spliced":
                self.assertEqual(line.pool.made, 1)
                self.assertIsNotNone(line.pool.take())
                self.assertEqual(line.pool.made, 1)

    def fill(self, line: Line) -> int:
        """
        Send until nothing is taken any more.
        """
        sent = 0
        for _ in range(3):
            while True:
                try:
                    sent += line.sender.send(b"0123456789abcdef" * 8192)
                except BlockingIOError:
                    break
                while line.reactor.turn():
                    pass
            while line.reactor.turn(0.01):
                pass
        return sent

    def test_stoppedWhileBlocked(self) -> None:
        """
        A relay that is stopped leaves what it held in the sink's buffer, and its pipe empty; the sink closes behind it.
        """
        for kind in KINDS:
            line = self.line(kind)
            self.fill(line)
            moved = line.relay.moved
            line.relay.stop()
            line.source.relay = None
            self.assertTrue(line.sink._transport.unsent)
            line.sink.close()

            def all(line: Line = line) -> bool:
                while line.read():
                    pass
                return line.sink.lost is not None

            line.reactor.until(all)
            while line.read():
                pass
            self.assertEqual(len(line.received), moved, kind)
            if kind == "spliced":
                self.assertEqual(line.pool.made, 1)

    def test_sinkReset(self) -> None:
        """
        A receiver that resets while the relay is blocked: the sink is lost, and the pipe is given back empty.
        """
        for kind in KINDS:
            line = self.line(kind)
            self.fill(line)
            line.receiver.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            line.receiver.close()
            line.reactor.until(lambda line=line: line.sink.lost is not None)  # type: ignore[misc]
            self.assertTrue(line.sink.wasReset, kind)
            if kind == "spliced":
                self.assertEqual(line.pool.made, 1)
                pipe = line.pool.take()
                assert pipe is not None
                self.assertEqual(select.select([pipe.readEnd], [], [], 0)[0], [])

    def test_sinkResetWhileSending(self) -> None:
        """
        A reset that is found out by sending is a reset as well: the socket tells it only once.
        """
        for kind in ("copied", "spliced"):
            if kind == "spliced":
                self.patch(relay, "_BULK", 1)
            line = self.line(kind)
            line.sender.send(b"first")
            line.reactor.until(line.read)
            line.receiver.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            line.receiver.close()
            line.sender.send(b"second")
            # The source's turn comes before the sink's.
            line.reactor.until(lambda line=line: line.sink.lost is not None)  # type: ignore[misc]
            error = line.sink.lost and line.sink.lost.value
            self.assertIsInstance(getattr(error, "__cause__", None), ConnectionResetError, kind)

    def test_sourceReset(self) -> None:
        """
        A sender that resets in the middle of much: the source is lost and says that it was reset.
        """
        for kind in KINDS:
            line = self.line(kind)
            line.sender.send(b"x" * 200000)
            for _ in range(3):
                line.reactor.turn()
                line.read()
            line.sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            line.sender.close()

            def lost(line: Line = line) -> bool:
                line.read()
                return line.source.lost is not None

            line.reactor.until(lost)
            self.assertTrue(line.source.wasReset, kind)

    def test_everythingSpliced(self) -> None:
        """
        Small pieces pass a pipe as well as large ones do.
        """
        self.patch(relay, "_BULK", 1)
        line = self.line("spliced")
        data = self.transfer(line, 9, 500_000)
        self.finish(line)
        self.assertEqual(line.received, data)

    def test_resetWhileSplicing(self) -> None:
        """
        A reset that splice tells of is a reset, and no end: the socket tells it only once.
        """
        self.patch(relay, "_BULK", 1)
        line = self.line("spliced")
        line.sender.send(b"x" * 100_000)

        def received() -> bool:
            line.read()
            return len(line.received) == 100_000

        line.reactor.until(received)
        line.sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        line.sender.close()
        line.reactor.until(lambda: line.source.lost is not None or line.source.ended)
        self.assertTrue(line.source.wasReset)
        self.assertEqual(line.pool.made, 1)
        self.assertIsNotNone(line.pool.take())

    def test_length(self) -> None:
        """
        With a length, splicing stops at the byte, and what is written next comes behind it.
        """
        total = 1_500_001
        for kind in ("copied", "spliced"):
            line = self.line(kind)
            line.relay.stop()
            data = random.Random(kind).randbytes(total + 10)
            done: list[int] = []

            def ended(line: Line = line, done: list[int] = done) -> None:
                done.append(line.relay.moved)
                line.sink.write(b"behind")

            source, sink = cast(Any, line.source.transport), cast(Any, line.sink.transport)
            line.relay = SocketRelay(source, sink, line.counters, line.reactor.seconds, line.pool, total, ended)
            line.relay.start()
            sent = 0

            def all(line: Line = line, data: bytes = data) -> bool:
                nonlocal sent
                if sent < len(data):
                    try:
                        sent += line.sender.send(data[sent:])
                    except BlockingIOError:
                        pass
                line.read()
                return len(line.received) == total + 6 and len(line.source.received) == 10

            line.reactor.until(all)
            self.assertEqual(done, [total])
            self.assertEqual(line.received, data[:total] + b"behind", kind)
            self.assertEqual(line.source.received, data[total:])

    def test_noPipeLeft(self) -> None:
        """
        When all pipes are taken, bytes are copied.
        """
        line = self.line("spliced")
        while line.pool.take() is not None:
            pass
        data = self.transfer(line, 5, 500_000)
        self.finish(line)
        self.assertEqual(line.received, data)
