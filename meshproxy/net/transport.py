# -*- test-case-name: tests.net.test_transport,tests.net.test_transportends -*-
"""
A stream socket that writes at once.

Twisted's own transport waits a turn of the reactor before it sends, and pays two C{epoll_ctl} for it. This one tries
C{send} first and falls back to Twisted's buffer, with its producers and its limit, for what the kernel does not take.

What protocols write while bytes are read is gathered and leaves in one C{send} per socket when the turn of the reactor
ends: see L{meshproxy.net.turn}.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any, cast

from twisted.internet import error, main
from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, ITCPTransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from meshproxy.net.address import Address
from meshproxy.net.turn import turn

__all__ = ["DEFAULT_BUFFER_LIMIT", "READ_SIZE", "SocketTransport", "lost"]

# Envoy's per_connection_buffer_limit_bytes.
DEFAULT_BUFFER_LIMIT = 1 << 20

READ_SIZE = 65536
"""
What one read takes. Larger reads make bulk cheaper; 64 KiB is where it stops paying, but for what is encrypted next.
"""

# What it takes where much is expected: a little less than what a TLS connection encrypts at once.
_LONG_READ_SIZE = 14 * 16384

# What it takes where there may be a thousand others whose bytes nobody wants.
_SHORT_READ_SIZE = 16384

# How many pieces are gathered. What one read of many small requests makes its connection write would grow without bound
# else, for a producer is paused only when something is found unsent.
_MOST_GATHERED = 32

# What one send takes from the buffer.
_SEND_LIMIT = 262144


@implementer(ITCPTransport)
class SocketTransport(FileDescriptor):
    """
    A connected stream socket: TCP over IPv4 or IPv6, or unix.

    @ivar protocol: Who gets the bytes.
    @ivar bufferSize: Above how many unsent bytes a registered push producer is paused; it is resumed when the buffer is
        empty again.
    @ivar isGated: Whether somebody between the socket and the protocol wants to see what comes or goes, so that it must
        not be moved past them.
    @ivar bytesWritten: How many bytes were given to C{write}.
    @ivar readSize: How many bytes one read takes at the most.
    """

    _log = Logger()
    bufferSize = DEFAULT_BUFFER_LIMIT
    SEND_LIMIT = _SEND_LIMIT
    isGated = False
    _aborted = False
    _readEnded = False
    _local: Address | None = None

    def __init__(
        self, reactor: Any, sock: socket.socket, peer: Address | None = None, local: Address | None = None
    ) -> None:
        """
        @param sock: A connected socket that does not block.
        @param peer: The peer's address, where it is already known.
        @param local: This end's, likewise.
        """
        FileDescriptor.__init__(self, reactor)
        # What Twisted has on the class is read with each send; an instance's own attribute is read faster.
        self.dataBuffer = b""
        self.readSize = READ_SIZE
        self._writeDisconnected = False
        self.socket = sock
        self.fileno = sock.fileno  # type: ignore[method-assign]  # as Twisted's own transports do
        self.protocol: IProtocol | None = None
        self._gathered: list[bytes] = []
        self._peer = peer
        if local is not None:
            self._local = local
        self.connected = 1

    def begin(self, protocol: IProtocol) -> None:
        """
        Hand the connection to its protocol and begin to read.
        """
        self.protocol = protocol
        self.startReading()
        try:
            protocol.makeConnection(self)
        except Exception:
            self.failed()

    def failed(self) -> None:
        """
        What this connection belongs to raised: log it, in an C{except} clause, and close.
        """
        self._log.failure("{protocol} raised", protocol=self.logPrefix())
        self.abortConnection()

    # Reading

    def doRead(self) -> Exception | None:
        """
        Read once, and pass it to the protocol.
        """
        try:
            data = self.socket.recv(self.readSize)
        except BlockingIOError:
            return None
        except OSError as exception:
            return lost(exception)
        if not data:
            return cast(Exception, main.CONNECTION_DONE)
        if turn.active:
            self.protocol.dataReceived(data)  # type: ignore[union-attr]  # set before reading begins
            return None
        turn.active = True
        try:
            self.protocol.dataReceived(data)  # type: ignore[union-attr]  # set before reading begins
        finally:
            turn.end()
        return None

    def expectLittle(self) -> None:
        """
        Take little with each read from now on: as much as waits when nobody wants what comes.
        """
        self.readSize = min(self.bufferSize, _SHORT_READ_SIZE)

    def expectMore(self) -> None:
        """
        A read was a full one: take more with each from now on, within what may wait here for a peer that is slower.
        """
        most = READ_SIZE if self.readSize < READ_SIZE else _LONG_READ_SIZE
        self.readSize = min(self.bufferSize, most)

    def readConnectionLost(self, reason: Failure) -> None:
        """
        The peer finished writing.
        """
        self._readEnded = True
        protocol = IHalfCloseableProtocol(self.protocol, None)
        if protocol is None:
            self.connectionLost(reason)
            return
        try:
            protocol.readConnectionLost()
        except BaseException:
            self._log.failure("a protocol raised when its peer finished writing")
            self.connectionLost(Failure())

    # Writing

    def write(self, data: bytes) -> None:
        """
        Send C{data} now, or at the end of the turn that is going on.
        """
        if turn.active:
            gathered = self._gathered
            if not gathered:
                turn.written.append(self)
                gathered.append(data)
            else:
                gathered.append(data)
                if len(gathered) >= _MOST_GATHERED:
                    self.flush()
        elif self._gathered:
            self._gathered.append(data)
        else:
            self._send(data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """
        Send several pieces as one.
        """
        self.write(b"".join(iovec))

    def flush(self) -> None:
        """
        Send what was gathered.
        """
        gathered = self._gathered
        if len(gathered) == 1:
            data = gathered.pop()
        elif gathered:
            data = b"".join(gathered)
            gathered.clear()
        else:
            return
        if self._tempDataLen or self.dataBuffer or self._writeDisconnected or not self.connected:
            self._send(data)
            return
        # The same as _send does, without the call.
        try:
            sent = self.socket.send(data)
        except OSError:
            sent = 0
        if sent < len(data):
            FileDescriptor.write(self, data[sent:] if sent else data)

    def startReading(self) -> None:
        """
        Be told when there is something to read; not after the peer's last byte, nor when the connection was aborted.
        """
        if not (self._readEnded or self._aborted):
            self.reactor.addReader(self)

    def startWriting(self) -> None:
        """
        Be told when the socket takes more; an aborted one does not care.
        """
        if not self._aborted:
            self.reactor.addWriter(self)

    def _send(self, data: bytes) -> None:
        if not self.connected or self._writeDisconnected or not data:
            return
        if self._tempDataLen or self.dataBuffer:
            FileDescriptor.write(self, data)
            return
        try:
            sent = self.socket.send(data)
        except OSError:
            # Blocked, or broken: then the next doWrite finds out and says so.
            sent = 0
        if sent < len(data):
            FileDescriptor.write(self, data[sent:] if sent else data)

    def writeSomeData(self, data: bytes) -> int | Exception:
        """
        Send as much of C{data} as the kernel takes.
        """
        try:
            return self.socket.send(memoryview(data)[:_SEND_LIMIT])
        except BlockingIOError:
            return 0
        except OSError as exception:
            return lost(exception)

    @property
    def unsent(self) -> int:
        """
        How many bytes wait to be sent.
        """
        return len(self.dataBuffer) - self.offset + self._tempDataLen + sum(map(len, self._gathered))

    # Closing

    def loseConnection(self, _connDone: Failure | None = None) -> None:
        """
        Close when all that was written is sent.
        """
        self.flush()
        FileDescriptor.loseConnection(self)

    def loseWriteConnection(self) -> None:
        """
        Finish writing when all that was written is sent; reading goes on.
        """
        self.flush()
        FileDescriptor.loseWriteConnection(self)

    def endWriting(self) -> None:
        """
        Finish writing as L{loseWriteConnection} does, for a protocol that is not to be told: at once where all that was
        written is sent, as it mostly is, without a turn of the reactor to find that out.
        """
        self.flush()
        # A relay has its own way of writing, and bytes that are not here.
        waits = self._hasUnsent() or self.producer is not None or "doWrite" in self.__dict__
        if self._writeDisconnected or not self.connected:
            return
        if waits or self.disconnecting:
            FileDescriptor.loseWriteConnection(self)
            return
        self._writeDisconnecting = self._writeDisconnected = True
        self._finishWriting()

    def abortConnection(self) -> None:
        """
        Close now, with a reset, and drop what is unsent.
        """
        if self._aborted or not self.connected:
            return
        # Nothing that is asked of it from now on starts it again.
        self._aborted = True
        self.disconnecting = self._writeDisconnected = True
        self._gathered.clear()
        self.stopReading()
        self.stopWriting()
        try:
            # RFC 9293, 3.10.7.1: a socket without lingering answers with RST instead of FIN.
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        except OSError:
            pass
        # Not from within the caller's stack: a protocol may abort in the middle of its own work.
        reactor: Any = self.reactor
        reactor.callLater(0, self.connectionLost, Failure(error.ConnectionAborted()))

    def _hasUnsent(self) -> bool:
        """
        Whether something of what was written, and not merely gathered, is not sent.
        """
        return bool(self._tempDataLen or self.dataBuffer)

    def _finishWriting(self) -> None:
        """
        Tell the peer that all was sent.
        """
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def _closeWriteConnection(self) -> None:
        self._finishWriting()
        protocol = IHalfCloseableProtocol(self.protocol, None)
        if protocol is not None:
            protocol.writeConnectionLost()

    def connectionLost(self, reason: Failure) -> None:
        """
        Close the socket and tell the protocol, once.
        """
        protocol, self.protocol = self.protocol, None
        if self.disconnected:
            return
        self._gathered.clear()
        FileDescriptor.connectionLost(self, reason)
        try:
            # Access logs ask for it when all is over.
            self._local = self.localAddress
        except OSError:
            pass
        self.socket.close()
        del self.fileno  # the descriptor may be another's soon
        if protocol is not None:
            protocol.connectionLost(reason)

    # Addresses and options

    @property
    def peerAddress(self) -> Address:
        """
        Whom this connection speaks to.
        """
        if self._peer is None:
            self._peer = Address.ofSocketName(self.socket.family, self.socket.getpeername())
        return self._peer

    @property
    def localAddress(self) -> Address:
        """
        This end of the connection.
        """
        if self._local is None:
            self._local = Address.ofSocketName(self.socket.family, self.socket.getsockname())
        return self._local

    @property
    def hasNews(self) -> bool:
        """
        Whether bytes, or the end of them, are there that nobody has read yet.
        """
        try:
            self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def getPeer(self) -> Any:
        """
        L{peerAddress}, as C{ITransport} names it.
        """
        return self.peerAddress

    def getHost(self) -> Any:
        """
        L{localAddress}, as C{ITransport} names it.
        """
        return self.localAddress

    def getTcpNoDelay(self) -> bool:
        """
        Whether small segments are sent at once.
        """
        return bool(self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    def setTcpNoDelay(self, enabled: bool) -> None:
        """
        Send small segments at once; unix sockets always do.
        """
        if self.socket.family != socket.AF_UNIX:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, enabled)

    def getTcpKeepAlive(self) -> bool:
        """
        Whether the kernel probes an idle peer.
        """
        return bool(self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """
        Let the kernel probe an idle peer.
        """
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, enabled)

    def logPrefix(self) -> str:
        """
        How the log names this connection.
        """
        return type(self.protocol).__name__


class _SocketLost(error.ConnectionLost):
    """
    What a socket raised is the cause. (A plain C{ConnectionLost} is replaced by one of the reactor's own, without it.)
    """


def lost(exception: OSError) -> Exception:
    """
    Translate what a socket raised into what the reactor tells a protocol: the error itself stays as its cause.
    """
    lost = _SocketLost(str(exception))
    # Without its traceback, for the frames in it would hold the connection, in a circle, for the garbage collector.
    lost.__cause__ = exception.with_traceback(None)
    return lost
