# -*- test-case-name: tests.net.test_network -*-
"""
Connecting a socket without blocking.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from twisted.internet.abstract import FileDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from meshproxy.errors import BindFailed, ConnectFailed, ConnectTimeout
from meshproxy.interfaces import ICancellable
from meshproxy.net.address import Address
from meshproxy.net.listenoptions import ListenOptions

__all__ = ["Bind", "Dial", "SocketOptions", "Source", "setKeepalive"]


# linux/in.h and linux/in6.h; Python has no name for the second.
_IPV6_TRANSPARENT = 75
_SO_MARK = 36


class Source(NamedTuple):
    """
    An address that is not this machine's, to connect from.

    @ivar mark: What the kernel marks the packets with, for its routes; 0 for nothing.
    """

    address: Address
    mark: int = 0

    def apply(self, sock: socket.socket) -> None:
        """
        Let a socket be bound to it, and bind it.
        """
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TRANSPARENT, 1)
        elif sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
        if self.mark:
            sock.setsockopt(socket.SOL_SOCKET, _SO_MARK, self.mark)
        sock.bind(self.address.socketName)


class Bind(NamedTuple):
    """
    A local address, with what its socket is given.
    """

    address: Address | None = None
    options: ListenOptions = ListenOptions()

    def apply(self, sock: socket.socket) -> None:
        """
        Bind a socket.
        """
        self.options.applyPrebind(sock)
        if self.address is not None:
            sock.bind(self.address.socketName)
        self.options.applyBound(sock)


class SocketOptions:
    """
    What a socket is given before it connects.

    @ivar bindAddress: The local address, or L{None}.
    @ivar keepalive: C{(probes, idle seconds, interval seconds)} with 0 for the kernel's own, or L{None} for none.
    @ivar binds: The local addresses; the first one of the version of IP that is connected to is taken, or else the
        first.
    @ivar source: What is bound in their place.
    """

    __slots__ = ("binds", "keepalive", "source")

    def __init__(
        self,
        bindAddress: Address | None = None,
        keepalive: tuple[int, int, int] | None = None,
        binds: Sequence[Bind] = (),
        source: Source | None = None,
    ) -> None:
        self.keepalive = keepalive
        self.binds = tuple(binds) if bindAddress is None else (Bind(bindAddress), *binds)
        self.source = source

    @property
    def bindAddress(self) -> Address | None:
        """
        See L{SocketOptions}.
        """
        return self.binds[0].address if self.binds else None

    def withSource(self, source: Source) -> SocketOptions:
        """
        The same with another source.
        """
        return SocketOptions(None, self.keepalive, self.binds, source)

    def apply(self, sock: socket.socket) -> None:
        """
        Set them.
        """
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.keepalive is not None:
                setKeepalive(sock, *self.keepalive)
        if self.source is not None:
            self.source.apply(sock)
        elif self.binds:
            fitting = (bind for bind in self.binds if bind.address is not None and bind.address.family == sock.family)
            next(fitting, self.binds[0]).apply(sock)


def setKeepalive(sock: socket.socket, probes: int, idle: int, interval: int) -> None:
    """
    Let the kernel probe an idle peer (Envoy's C{core.v3.TcpKeepalive}); 0 leaves the kernel's own figure.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPCNT, probes), (socket.TCP_KEEPIDLE, idle), (socket.TCP_KEEPINTVL, interval)):
        if value:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


@implementer(ICancellable)
class Dial(FileDescriptor):
    """
    One attempt to connect. It calls back once, never from within its own constructor, and not after L{cancel}.
    """

    def __init__(
        self,
        reactor: Any,
        address: Address,
        timeout: float,
        connected: Callable[[socket.socket], object],
        failed: Callable[[Exception], object],
        options: SocketOptions | None = None,
    ) -> None:
        """
        @param timeout: Seconds until L{ConnectTimeout}.
        @param connected: Called with the connected socket.
        @param failed: Called with L{ConnectFailed} or L{ConnectTimeout}.
        """
        FileDescriptor.__init__(self, reactor)
        self._address = address
        self._connected = connected
        self._failed = failed
        self._options = options or SocketOptions()
        self._socket: socket.socket | None = None
        self._timeout = reactor.callLater(timeout, self._timedOut)
        try:
            self._socket = sock = socket.socket(address.family, socket.SOCK_STREAM)
            sock.setblocking(False)
            try:
                self._options.apply(sock)
            except OSError as exception:
                reactor.callLater(0, self._fail, exception.errno or 0, BindFailed)
                return
            code = sock.connect_ex(address.socketName)
        except OSError as exception:
            reactor.callLater(0, self._fail, exception.errno or 0)
            return
        if code in (0, errno.EINPROGRESS):
            # The descriptor is watched even where it is connected at once: the caller gets its answer later, always.
            self.fileno = sock.fileno  # type: ignore[method-assign]  # as Twisted's own transports do
            self.startWriting()
        else:
            reactor.callLater(0, self._fail, code)

    def doWrite(self) -> None:
        """
        The attempt ended: it is connected, or it failed.
        """
        sock = self._socket
        if sock is None:
            return
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._fail(code)
            return
        self._release()
        self._socket = None
        self._connected(sock)

    def doRead(self) -> None:
        """
        Not watched for reading; a hang-up is told here by some reactors.
        """
        self.doWrite()

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor saw the descriptor hang up before it was connected.
        """
        if self._socket is not None:
            self._fail(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or errno.ECONNREFUSED)

    def cancel(self) -> None:
        """
        Give up; nothing is called any more.
        """
        self._release()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._failed = self._connected = _ignore

    def logPrefix(self) -> str:
        """
        How the log names this attempt.
        """
        return f"Dial {self._address.text}"

    def _fail(self, code: int, kind: type[ConnectFailed] = ConnectFailed) -> None:
        failed = self._failed
        self.cancel()
        # Envoy's words: they come to stand in details and logs. Who it was stands beside them there.
        failed(kind(f"delayed connect error: {os.strerror(code)}"))

    def _timedOut(self) -> None:
        failed = self._failed
        self.cancel()
        failed(ConnectTimeout(self._address.text))

    def _release(self) -> None:
        if self._socket is not None:
            self.stopWriting()
        if self._timeout.active():
            self._timeout.cancel()


def _ignore(_result: object) -> None:
    """
    Stands in for the callbacks of an attempt that is over.
    """
