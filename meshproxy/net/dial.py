# -*- test-case-name: tests.net.test_network -*-
"""
Connecting a socket without blocking.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from meshproxy.errors import BindFailed, ConnectFailed, ConnectTimeout
from meshproxy.interfaces import ICancellable
from meshproxy.net.address import Address

__all__ = ["Dial", "SocketOptions", "setKeepalive"]


class SocketOptions:
    """
    What a socket is given before it connects.

    @ivar bindAddress: The local address, or L{None}.
    @ivar keepalive: C{(probes, idle seconds, interval seconds)} with 0 for the kernel's own, or L{None} for none.
    """

    __slots__ = ("bindAddress", "keepalive")

    def __init__(self, bindAddress: Address | None = None, keepalive: tuple[int, int, int] | None = None) -> None:
        self.bindAddress = bindAddress
        self.keepalive = keepalive

    def apply(self, sock: socket.socket) -> None:
        """
        Set them.
        """
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.keepalive is not None:
                setKeepalive(sock, *self.keepalive)
        if self.bindAddress is not None:
            sock.bind(self.bindAddress.socketName)


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
