# -*- test-case-name: tests.net.test_accepted -*-
"""
A socket that was accepted and belongs to no transport yet: its first bytes can be looked at where they are.
"""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Callable
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IProtocol
from twisted.logger import Logger
from zope.interface import implementer

from meshproxy.interfaces import IAcceptedSocket
from meshproxy.net.address import Address
from meshproxy.net.transport import SocketTransport

__all__ = ["AcceptedSocket", "ArrivalWatch", "beginWith", "closeSocket"]

# C{tcpi_rtt} of Linux's C{struct tcp_info}, in microseconds: seven bytes and one of padding, then 32-bit numbers.
_RTT_OFFSET = 8 + 15 * 4
_TCP_INFO_SIZE = _RTT_OFFSET + 4
_rtt = struct.Struct("=I").unpack_from


class ArrivalWatch(FileDescriptor):
    """
    Tells when more bytes came to sockets that nobody reads from.

    A reactor would say over and over that there is something to read, for what is only peeked at stays in the kernel.
    So these sockets have an epoll descriptor of their own, where an arrival is told once (C{EPOLLET}), and the reactor
    watches that one.
    """

    _log = Logger()
    _EVENTS = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
    _ENDS = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR

    def __init__(self, reactor: Any) -> None:
        FileDescriptor.__init__(self, reactor)
        self._epoll = select.epoll()
        self._watched: dict[int, Callable[[bool], object]] = {}
        self.fileno = self._epoll.fileno  # type: ignore[method-assign]  # as Twisted's own transports do
        self.connected = 1

    def watch(self, descriptor: int, arrived: Callable[[bool], object]) -> None:
        """
        Watch a socket. What came before counts as an arrival.

        @param arrived: Called with whether the peer finished, or is gone.
        """
        if not self._watched:
            self.startReading()
        self._watched[descriptor] = arrived
        self._epoll.register(descriptor, self._EVENTS)

    def forget(self, descriptor: int) -> None:
        """
        Watch a socket no more.
        """
        del self._watched[descriptor]
        self._epoll.unregister(descriptor)
        if not self._watched:
            self.stopReading()

    def doRead(self) -> None:
        """
        Tell of arrivals.
        """
        watched = self._watched
        # Whoever is told may close a socket, and another one get its number at once: who is meant is looked up before.
        events = [(descriptor, watched.get(descriptor), mask) for descriptor, mask in self._epoll.poll(0)]
        for descriptor, arrived, mask in events:
            if arrived is None or watched.get(descriptor) is not arrived:
                continue
            try:
                arrived(bool(mask & self._ENDS))
            except Exception:
                # One connection's fault is none of the others'; its time-out ends it.
                self._log.failure("who waits for the first bytes of a connection raised")

    def logPrefix(self) -> str:
        """
        How the log names it.
        """
        return "first bytes"


@implementer(IAcceptedSocket)
class AcceptedSocket:
    """
    A socket that a port has accepted.
    """

    __slots__ = ("_arrivals", "_isWatched", "_local", "_roundTrip", "peerAddress", "reactor", "socket")

    def __init__(self, reactor: Any, sock: socket.socket, peer: Address, arrivals: Callable[[], ArrivalWatch]) -> None:
        """
        @param sock: It does not block.
        @param arrivals: Gives the watch of its network.
        """
        self.socket = sock
        self.peerAddress = peer
        self.reactor = reactor
        self._arrivals = arrivals
        self._isWatched = False
        self._local: Address | None = None
        self._roundTrip: float | None = None

    @property
    def localAddress(self) -> Address:
        """
        See L{IAcceptedSocket}.
        """
        if self._local is None:
            self._local = Address.ofSocketName(self.socket.family, self.socket.getsockname())
        return self._local

    def peek(self, size: int) -> bytes | None:
        """
        See L{IAcceptedSocket.peek}.
        """
        try:
            return self.socket.recv(size, socket.MSG_PEEK)
        except BlockingIOError:
            return None

    def consume(self, size: int) -> None:
        """
        See L{IAcceptedSocket.consume}.
        """
        while size > 0:
            taken = len(self.socket.recv(min(size, 65536)))
            if not taken:
                raise ConnectionResetError("the peer finished before the bytes that were seen of it")
            size -= taken

    def watch(self, arrived: Callable[[bool], object]) -> None:
        """
        See L{IAcceptedSocket.watch}.
        """
        self._arrivals().watch(self.socket.fileno(), arrived)
        self._isWatched = True

    def forget(self) -> None:
        """
        See L{IAcceptedSocket.forget}.
        """
        if self._isWatched:
            self._isWatched = False
            self._arrivals().forget(self.socket.fileno())

    def begin(self, protocol: IProtocol, bufferLimit: int) -> None:
        """
        See L{IAcceptedSocket.begin}.
        """
        sock = self.socket
        transport = SocketTransport(self.reactor, sock, self.peerAddress, self._local)
        transport.bufferSize = bufferLimit
        if self.peerAddress.isIP:
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError:
                pass  # already reset by its peer: the first read says so
        transport.begin(protocol)

    def roundTripTime(self) -> float | None:
        """
        See L{IAcceptedSocket.roundTripTime}.
        """
        try:
            told = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
        except (AttributeError, OSError):
            # It is closed, or no connection of TCP, or the system does not tell.
            return self._roundTrip
        if len(told) == _TCP_INFO_SIZE:
            self._roundTrip = _rtt(told, _RTT_OFFSET)[0] / 1000000
        return self._roundTrip

    def close(self, withReset: bool = False) -> None:
        """
        See L{IAcceptedSocket.close}.
        """
        self.forget()
        closeSocket(self.socket, withReset)


def beginWith(
    buildProtocol: Callable[[Address], IProtocol | None], bufferLimit: int
) -> Callable[[IAcceptedSocket], None]:
    """
    Accept connections for protocols that are made of the address of a peer; L{None} for one refuses it.
    """

    def accepted(sock: IAcceptedSocket) -> None:
        protocol = buildProtocol(sock.peerAddress)
        if protocol is None:
            sock.close()
        else:
            sock.begin(protocol, bufferLimit)

    return accepted


def closeSocket(sock: Any, withReset: bool) -> None:
    """
    Close a socket that has no transport.
    """
    if withReset:
        try:
            # RFC 9293, 3.10.7.1: a socket without lingering answers with RST instead of FIN.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        except OSError:
            pass
    sock.close()
