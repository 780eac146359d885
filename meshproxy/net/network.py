# -*- test-case-name: tests.net.test_network -*-
"""
The outside world as the rest of the data plane sees it: listening, connecting, names.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol
from zope.interface import implementer

from meshproxy.interfaces import ICancellable, IListening, INetwork
from meshproxy.net.accepted import AcceptedSocket, ArrivalWatch, beginWith
from meshproxy.net.address import Address
from meshproxy.net.datagrams import DatagramSender
from meshproxy.net.dial import Dial, SocketOptions
from meshproxy.net.dns import NameServers, resolve
from meshproxy.net.listenoptions import ListenOptions
from meshproxy.net.port import Port
from meshproxy.net.transport import SocketTransport

__all__ = ["ReactorNetwork"]


@implementer(INetwork)
class ReactorNetwork:
    """
    Sockets on a reactor.
    """

    def __init__(self, reactor: Any) -> None:
        """
        @param reactor: A reactor that is C{IReactorFDSet} and C{IReactorTime}.
        """
        self._reactor = reactor
        self._arrivals: ArrivalWatch | None = None
        self._resolvers: dict[NameServers | None, Any] = {}

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
        return self.accept(address, beginWith(buildProtocol, bufferLimit), backlog, mode)

    def accept(
        self,
        address: Address,
        accepted: Callable[[Any], object],
        backlog: int = 1024,
        mode: int = 0,
        options: ListenOptions = ListenOptions(),  # noqa: B008  # it cannot be changed
    ) -> IListening:
        """
        See L{INetwork.accept}.
        """
        reactor, arrivals = self._reactor, self._watchArrivals

        def came(sock: socket.socket, peer: Address) -> None:
            accepted(AcceptedSocket(reactor, sock, peer, arrivals))

        return Port(reactor, address, came, backlog, mode, options=options)

    def _watchArrivals(self) -> ArrivalWatch:
        if self._arrivals is None:
            self._arrivals = ArrivalWatch(self._reactor)
        return self._arrivals

    def connect(
        self,
        address: Address,
        protocol: IProtocol,
        failed: Callable[[Exception], object],
        timeout: float = 5.0,
        bufferLimit: int = 1 << 20,
        options: SocketOptions | None = None,
    ) -> ICancellable:
        """
        See L{INetwork.connect}.
        """
        reactor = self._reactor

        def connected(sock: socket.socket) -> None:
            transport = SocketTransport(reactor, sock, address)
            transport.bufferSize = bufferLimit
            transport.begin(protocol)

        return Dial(reactor, address, timeout, connected, failed, options)

    def datagrams(self, address: Address) -> DatagramSender:
        """
        See L{INetwork.datagrams}.
        """
        return DatagramSender(address)

    def resolve(
        self, host: str, family: str = "AUTO", needsTTL: bool = False, servers: NameServers | None = None
    ) -> Deferred[Any]:
        """
        See L{INetwork.resolve}.
        """
        if not needsTTL and servers is None:
            return resolve(self._reactor, host, family)
        # Few need it, and it takes a while to load.
        from meshproxy.net.nameservers import makeResolver, resolveWithTTL

        resolver = self._resolvers.get(servers)
        if resolver is None:
            resolver = self._resolvers[servers] = makeResolver(self._reactor, others=servers)
        return resolveWithTTL(resolver, host, family)
