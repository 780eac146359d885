"""
Transports by hand, on pairs of sockets in memory, so that each test sees every single C{send}.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from meshproxy.net.address import Address
from meshproxy.net.transport import SocketTransport
from meshproxy.testing.sockets import MemorySocket, socketPair

__all__ = [
    "CountingSocket",
    "FakeReactor",
    "HERE",
    "HalfCloseable",
    "Producer",
    "Recorder",
    "THERE",
    "TransportCase",
    "osError",
]


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
