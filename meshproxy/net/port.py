# -*- test-case-name: tests.net.test_network -*-
"""
Listening sockets.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import CannotListenError
from twisted.internet.main import CONNECTION_DONE
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from meshproxy.interfaces import IListening
from meshproxy.net.address import Address
from meshproxy.net.listenoptions import ListenOptions

__all__ = ["Port"]

# How many connections one turn of the reactor accepts, so that a flood of them does not starve those that are there.
_ACCEPTS = 64

# How long to leave the backlog alone when there is no descriptor for another connection.
_EXHAUSTED_PAUSE = 0.25

_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


@implementer(IListening)
class Port(FileDescriptor):
    """
    A bound socket that accepts.

    @ivar address: Where it listens; a port of 0 is replaced by the one that the kernel chose.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        address: Address,
        accepted: Callable[[socket.socket, Address], object],
        backlog: int = 1024,
        mode: int = 0,
        options: ListenOptions = ListenOptions(),  # noqa: B008  # it cannot be changed
    ) -> None:
        """
        @param accepted: Called with each socket, which does not block, and its peer's address.
        @param options: What the socket is given besides.
        @param mode: Permissions of a unix socket's file; 0 leaves them to the umask.

        @raise CannotListenError: If the address cannot be bound.
        """
        FileDescriptor.__init__(self, reactor)
        self._accepted = accepted
        try:
            self._socket = _bind(address, backlog, mode, options)
        except OSError as exception:
            raise CannotListenError(address.host, address.port or 0, exception) from exception
        self.fileno = self._socket.fileno  # type: ignore[method-assign]  # as Twisted's own transports do
        self.address = Address.ofSocketName(address.family, self._socket.getsockname())
        self._resume: Any = None
        self.connected = 1
        self.startReading()

    def doRead(self) -> None:
        """
        Accept what waits.
        """
        accept = self._socket.accept
        family = self.address.family
        for _ in range(_ACCEPTS):
            try:
                sock, name = accept()
            except BlockingIOError:
                return
            except OSError as exception:
                if exception.errno in _EXHAUSTED:
                    self._pause(exception)
                    return
                # The peer is gone again (ECONNABORTED, EPROTO), or a firewall spoke (EPERM): the next may be well.
                continue
            sock.setblocking(False)
            try:
                self._accepted(sock, Address.ofSocketName(family, name))
            except Exception:
                # One connection's fault is no reason to accept no others.
                self._log.failure("{address}: a connection cannot be served", address=self.address.text)
                sock.close()
            if not self.connected:
                return

    def _pause(self, exception: OSError) -> None:
        # Without a descriptor left, accepting again at once would spin; those who wait stay in the backlog.
        self._log.warn(
            "{address}: cannot accept: {why}; trying again in {pause} s",
            address=self.address.text,
            why=exception.strerror,
            pause=_EXHAUSTED_PAUSE,
        )
        self.stopReading()
        reactor: Any = self.reactor
        self._resume = reactor.callLater(_EXHAUSTED_PAUSE, self._resumeAccepting)

    def _resumeAccepting(self) -> None:
        self._resume = None
        self.startReading()

    def stopListening(self) -> None:
        """
        Close the socket; a unix socket's file is removed.
        """
        if not self.connected:
            return
        if self._resume is not None:
            self._resume.cancel()
            self._resume = None
        FileDescriptor.connectionLost(self, _CLOSING)
        if self.address.family == socket.AF_UNIX and not self.address.host.startswith("@"):
            try:
                os.unlink(self.address.host)
            except OSError:
                pass
        self._socket.close()

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor gives the descriptor up.
        """
        self.stopListening()

    def logPrefix(self) -> str:
        """
        How the log names this port.
        """
        return f"Port {self.address.text}"


# Why a port that was told to stop is gone.
_CLOSING = Failure(CONNECTION_DONE)


def _bind(address: Address, backlog: int, mode: int, options: ListenOptions) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if address.family == socket.AF_UNIX:
            _removeStale(address.host)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if address.family == socket.AF_INET6:
                # Envoy's ipv4_compat decides; it is off by default.
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        options.applyPrebind(sock)
        sock.bind(address.socketName)
        options.applyBound(sock)
        if mode and address.family == socket.AF_UNIX and not address.host.startswith("@"):
            os.chmod(address.host, mode)
        sock.listen(backlog)
        options.applyListening(sock)
    except BaseException:
        sock.close()
        raise
    return sock


def _removeStale(path: str) -> None:
    """
    Remove the file of a unix socket on which nobody listens; Envoy removes it without looking.
    """
    if path.startswith("@"):
        return
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except OSError:
        return
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.connect(path)
    except ConnectionRefusedError:
        os.unlink(path)
    except OSError:
        pass
    finally:
        probe.close()
