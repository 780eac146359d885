# -*- test-case-name: tests.testing.test_network -*-
"""
The outside world in memory.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from itertools import count
from typing import Any, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall, IProtocol
from zope.interface import implementer

from meshproxy.errors import ConnectFailed, ConnectTimeout
from meshproxy.interfaces import IAcceptedSocket, ICancellable, IListening, INetwork
from meshproxy.net.accepted import beginWith, closeSocket
from meshproxy.net.address import Address
from meshproxy.net.dns import Addresses
from meshproxy.net.transport import SocketTransport
from meshproxy.testing.clock import VirtualReactor
from meshproxy.testing.sockets import MemorySocket, socketPair

__all__ = ["MemoryAcceptedSocket", "MemoryNetwork", "parseAddress"]

#: Where connections come from, unless they say otherwise.
CLIENT = "127.0.0.1"

_EVERYWHERE = {"0.0.0.0", "::"}


def parseAddress(address: Address | str) -> Address:
    """
    An address of its text: C{"192.0.2.1:80"}, C{"[::1]:80"} or a path.
    """
    if isinstance(address, Address):
        return address
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        return Address(address)
    return Address(host.strip("[]"), int(port))


class _MemoryDatagrams:
    """
    Datagrams that all arrive.
    """

    def __init__(self, sent: list[bytes]) -> None:
        self._sent = sent

    def send(self, data: bytes) -> None:
        """
        Send one.
        """
        self._sent.append(data)

    def close(self) -> None:
        """
        Send no more.
        """


@implementer(INetwork)
class MemoryNetwork:
    """
    Listening, connecting and names, without sockets.

    Transports are L{SocketTransport}s on pairs of L{MemorySocket}s, so that buffers, producers and half-closed
    connections are those of the real world.

    @ivar reactor: Whose turns move the bytes.
    @ivar latency: Seconds that bytes, and attempts to connect, travel.
    @ivar readSize: How many bytes one read returns at most; 1 feeds every protocol byte by byte, 0 is no limit.
    @ivar capacity: How many bytes may be under way in a direction before the sender has to wait; 0 for the usual.
    @ivar hosts: What names stand for: C{network.hosts["api.example.com"] = ["192.0.2.1"]}; an exception stands for a
        look-up that fails.
    @ivar ttls: For how many seconds an answer holds, where somebody says so.
    @ivar silent: Addresses that never answer an attempt to connect.
    @ivar sent: The datagrams that were sent to each address.
    @ivar dialled: The addresses of all attempts to connect, in order.
    """

    def __init__(self, reactor: VirtualReactor, latency: float = 0.0, readSize: int = 0, capacity: int = 0) -> None:
        self.reactor = reactor
        self.latency = latency
        self.readSize = readSize
        self.capacity = capacity
        self.hosts: dict[str, list[str] | Exception] = {}
        self.ttls: dict[str, float] = {}
        self.silent: set[Address] = set()
        self.dialled: list[Address] = []
        self.sent: dict[Address, list[bytes]] = {}
        self._listening: dict[Address, _Listening] = {}
        self._ports = count(49152)

    @property
    def addresses(self) -> list[Address]:
        """
        Where somebody listens.
        """
        return list(self._listening)

    def listen(
        self,
        address: Address,
        buildProtocol: Callable[[Address], IProtocol | None],
        backlog: int = 1024,
        mode: int = 0,
        bufferLimit: int = 1 << 20,
    ) -> IListening:
        """
        See L{INetwork.listen}.
        """
        return self.accept(address, beginWith(buildProtocol, bufferLimit))

    def accept(
        self,
        address: Address,
        accepted: Callable[[Any], object],
        backlog: int = 1024,
        mode: int = 0,
        options: Any = None,
    ) -> IListening:
        """
        See L{INetwork.accept}.
        """
        if address.port == 0:
            address = Address(address.host, next(self._ports))
        if address in self._listening:
            raise CannotListenError(
                address.host, address.port or 0, OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            )
        listening = self._listening[address] = _Listening(self, address, accepted)
        return listening

    def connect(
        self,
        address: Address,
        protocol: IProtocol,
        failed: Callable[[Exception], object],
        timeout: float = 5.0,
        bufferLimit: int = 1 << 20,
        options: Any = None,
    ) -> ICancellable:
        """
        See L{INetwork.connect}.
        """
        self.dialled.append(address)
        return _Attempt(self, address, protocol, failed, timeout, bufferLimit)

    def dial(self, address: Address | str, protocol: IProtocol, source: str = CLIENT) -> None:
        """
        Connect a test's own protocol, at once.

        @param source: The IP address that it comes from.
        """
        address = parseAddress(address)
        listening = self.listeningAt(address)
        if listening is None:
            raise ConnectFailed(f"{address.text}: {os.strerror(errno.ECONNREFUSED)}")
        listening.accept(protocol, address, source)

    def listeningAt(self, address: Address) -> _Listening | None:
        """
        Who listens at an address, or at its port everywhere.
        """
        found = self._listening.get(address)
        if found is None and address.port is not None:
            for host in _EVERYWHERE:
                found = found or self._listening.get(Address(host, address.port))
        return found

    def forget(self, address: Address) -> None:
        """
        Nobody listens there any more.
        """
        self._listening.pop(address, None)

    def datagrams(self, address: Address) -> _MemoryDatagrams:
        """
        See L{INetwork.datagrams}.
        """
        return _MemoryDatagrams(self.sent.setdefault(address, []))

    def resolve(self, host: str, family: str = "AUTO", needsTTL: bool = False, servers: object = None) -> Deferred[Any]:
        """
        See L{INetwork.resolve}; L{hosts} knows. A name that is not there does not exist.
        """
        found = self.hosts.get(host, [])
        return fail(found) if isinstance(found, Exception) else succeed(Addresses(found, self.ttls.get(host)))

    def transport(self, sock: MemorySocket, peer: Address, bufferLimit: int) -> SocketTransport:
        """
        The transport of one end.
        """
        sock.readSize = self.readSize
        if self.capacity:
            sock.capacity = self.capacity
        transport = SocketTransport(self.reactor, cast(Any, sock), peer)
        transport.bufferSize = bufferLimit
        return transport

    def sourceAddress(self, host: str) -> Address:
        """
        A port of its own for one who connects.
        """
        return Address(host, next(self._ports))


@implementer(IListening)
class _Listening:
    """
    A bound address.
    """

    def __init__(
        self,
        network: MemoryNetwork,
        address: Address,
        accepted: Callable[[MemoryAcceptedSocket], object],
    ) -> None:
        self.address = address
        self._network = network
        self._accepted = accepted

    def accept(self, protocol: IProtocol, to: Address, source: str = CLIENT, bufferLimit: int = 1 << 20) -> None:
        """
        Accept a connection.

        @param protocol: The protocol of the end that connects.
        @param to: The address that it connected to.
        """
        network = self._network
        peer = Address("") if to.port is None else network.sourceAddress(source)
        theirs, ours = socketPair(network.reactor, peer, to, network.latency)
        network.transport(theirs, to, bufferLimit).begin(protocol)
        self._accepted(MemoryAcceptedSocket(network, ours, peer))

    def stopListening(self) -> None:
        """
        See L{IListening.stopListening}.
        """
        self._network.forget(self.address)


@implementer(IAcceptedSocket)
class MemoryAcceptedSocket:
    """
    A socket that was accepted in memory and belongs to no transport yet. Where the network reads byte by byte, bytes
    arrive here one by one too.
    """

    def __init__(self, network: MemoryNetwork, sock: MemorySocket, peer: Address) -> None:
        self.socket = sock
        self.reactor = network.reactor
        self.peerAddress = peer
        self._network = network
        self._watch: _Arrivals | None = None
        # How much of what came may be seen already.
        self._shown = network.readSize

    @property
    def localAddress(self) -> Address:
        """
        See L{IAcceptedSocket}.
        """
        return Address.ofSocketName(self.socket.family, self.socket.getsockname())

    def peek(self, size: int) -> bytes | None:
        """
        See L{IAcceptedSocket.peek}.
        """
        try:
            return self.socket.recv(min(size, self._shown) if self._shown else size, socket.MSG_PEEK)
        except BlockingIOError:
            return None

    def consume(self, size: int) -> None:
        """
        See L{IAcceptedSocket.consume}.
        """
        while size > 0:
            size -= len(self.socket.recv(size))

    def showMore(self) -> None:
        """
        Let another byte be seen, or as many as the network reads.
        """
        if self._shown:
            self._shown += self._network.readSize

    def watch(self, arrived: Callable[[bool], object]) -> None:
        """
        See L{IAcceptedSocket.watch}.
        """
        self._watch = _Arrivals(self, arrived)
        self._network.reactor.addReader(cast(Any, self._watch))

    def forget(self) -> None:
        """
        See L{IAcceptedSocket.forget}.
        """
        if self._watch is not None:
            self._network.reactor.removeReader(cast(Any, self._watch))
            self._watch = None

    def begin(self, protocol: IProtocol, bufferLimit: int) -> None:
        """
        See L{IAcceptedSocket.begin}.
        """
        self._network.transport(self.socket, self.peerAddress, bufferLimit).begin(protocol)

    def roundTripTime(self) -> float | None:
        """
        See L{IAcceptedSocket.roundTripTime}.
        """
        return None

    def close(self, withReset: bool = False) -> None:
        """
        See L{IAcceptedSocket.close}.
        """
        self.forget()
        closeSocket(self.socket, withReset)


class _Arrivals:
    """
    Tells of each arrival once. It is a reader, and its own socket, to the L{VirtualReactor}.
    """

    def __init__(self, accepted: MemoryAcceptedSocket, arrived: Callable[[bool], object]) -> None:
        self.socket = self
        self._accepted = accepted
        self._arrived = arrived
        self._seen: tuple[int, bool] = (0, False)
        self._left = 0

    def isReadable(self) -> bool:
        """
        Whether there is news, or some of it was not shown yet.
        """
        return self._accepted.socket.arrived != self._seen or self._left > 0

    def doRead(self) -> None:
        """
        Tell.
        """
        sock = self._accepted.socket
        size, ended = sock.arrived
        came = size - self._seen[0]
        self._seen = (size, ended)
        pace = self._accepted._network.readSize
        if pace:
            self._left = max(0, self._left + came - pace)
            self._accepted.showMore()
        self._arrived(ended and not self._left)


@implementer(ICancellable)
class _Attempt:
    """
    An attempt to connect.
    """

    def __init__(
        self,
        network: MemoryNetwork,
        address: Address,
        protocol: IProtocol,
        failed: Callable[[Exception], object],
        timeout: float,
        bufferLimit: int,
    ) -> None:
        self._network = network
        self._address = address
        self._protocol = protocol
        self._failed = failed
        self._bufferLimit = bufferLimit
        reactor = network.reactor
        self._call: IDelayedCall | None
        if address in network.silent or network.latency > timeout:
            self._call = reactor.callLater(timeout, self._late)
        else:
            self._call = reactor.callLater(network.latency, self._arrived)

    def _late(self) -> None:
        self._call = None
        self._failed(ConnectTimeout(self._address.text))

    def _arrived(self) -> None:
        self._call = None
        listening = self._network.listeningAt(self._address)
        if listening is None:
            self._failed(ConnectFailed(f"delayed connect error: {os.strerror(errno.ECONNREFUSED)}"))
        else:
            listening.accept(self._protocol, self._address, bufferLimit=self._bufferLimit)

    def cancel(self) -> None:
        """
        See L{ICancellable.cancel}.
        """
        if self._call is not None:
            self._call.cancel()
            self._call = None
