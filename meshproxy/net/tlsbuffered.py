# -*- test-case-name: tests.net.test_tls -*-
"""
TLS on a socket that is no descriptor of the kernel's, and the beginning of TLS on any socket.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IProtocol

from meshproxy.net.address import Address
from meshproxy.net.deadlines import Deadlines
from meshproxy.net.openssl import drainErrors, readPlain, shakeHands, writePlain
from meshproxy.net.tls import Handshake, TLSTransport
from meshproxy.net.transport import SocketTransport, lost

__all__ = ["BufferedTLSTransport", "beginTLS"]

# What one read takes off a socket in memory.
_READ_SIZE = 65536


class BufferedTLSTransport(TLSTransport):
    """
    A TLS connection on a socket that OpenSSL cannot use itself.
    """

    _isDirect = False

    _mayBatch = False
    _unsentCipher = b""
    _isReading = False
    _mayHaveMore = False
    _peerFinished = False

    def _step(self) -> bool:
        self._fill()
        isOver = shakeHands(self._connection)
        self._drain()
        if isOver and self._unsentCipher:
            raise SSL.WantWriteError
        return isOver

    def _shaken(self) -> None:
        TLSTransport._shaken(self)
        self._readBuffered()

    def _fill(self) -> None:
        """
        Give what came to OpenSSL.
        """
        try:
            data = self.socket.recv(_READ_SIZE)
        except BlockingIOError:
            return
        if data:
            self._connection.bio_write(data)
            self._mayHaveMore = True
        elif not self._peerFinished:
            self._peerFinished = True
            self._connection.bio_shutdown()

    def _drain(self) -> None:
        """
        Send what OpenSSL made. A socket that takes no more gets the rest later.
        """
        try:
            while True:
                self._unsentCipher += self._connection.bio_read(_READ_SIZE)
        except SSL.Error:
            drainErrors()
        self._sendCipher()

    def _sendCipher(self) -> None:
        while self._unsentCipher:
            try:
                sent = self.socket.send(self._unsentCipher)
            except BlockingIOError:
                self.startWriting()
                return
            self._unsentCipher = self._unsentCipher[sent:]

    def _read(self) -> bytes | None:
        self._fill()
        return self._readAll()

    def _readAll(self) -> bytes | None:
        """
        Read all that OpenSSL has: the reactor does not know of it.
        """
        pieces: list[bytes] = []
        while True:
            data = readPlain(self._connection)
            if not data:
                break
            pieces.append(data)
        self._mayHaveMore = data is not None
        if self._unsentCipher == b"":
            self._drain()  # an answer to the peer's new keys, or the like
        return b"".join(pieces) if pieces else data

    def startReading(self) -> None:
        """
        Be told when there is something to read, what OpenSSL has already included.
        """
        self._isReading = True
        SocketTransport.startReading(self)
        if self._mayHaveMore and self._handshake is None:
            self.reactor.callLater(0, self._readBuffered)  # type: ignore[attr-defined]  # IReactorTime

    def stopReading(self) -> None:
        """
        Be told of nothing to read.
        """
        self._isReading = False
        SocketTransport.stopReading(self)

    def _readBuffered(self) -> None:
        if self._isReading and self._mayHaveMore and self.connected and self._handshake is None:
            self._readAgain()

    def _write(self, data: bytes | memoryview) -> int:
        if self._unsentCipher:
            self._sendCipher()
            if self._unsentCipher:
                return 0
        sent = writePlain(self._connection, data)
        self._drain()
        return sent

    def doWrite(self) -> int | Exception | None:
        """
        Go on with what waits to be sent.
        """
        try:
            self._sendCipher()
        except OSError as exception:
            self._broken = True
            return lost(exception)
        if self._unsentCipher:
            return None
        result = TLSTransport.doWrite(self)
        if self._unsentCipher and not self.disconnected:
            self.startWriting()
        return result

    def _hasUnsent(self) -> bool:
        return bool(self._unsentCipher) or TLSTransport._hasUnsent(self)

    def _postLoseConnection(self) -> Any:
        if self._unsentCipher:
            self.startWriting()
            return None
        return FileDescriptor._postLoseConnection(self)

    def _notifyClose(self) -> None:
        TLSTransport._notifyClose(self)
        try:
            self._drain()
        except OSError:
            self._broken = True

    def _end(self) -> None:
        if not self.disconnected:
            try:
                self._drain()  # the alert that says why
            except OSError:
                pass
        self._unsentCipher = b""
        TLSTransport._end(self)


def beginTLS(
    reactor: Any,
    sock: Any,
    peer: Address | None,
    start: Callable[[Any], Handshake],
    protocol: IProtocol,
    failed: Callable[[Exception], object],
    bufferLimit: int = 1 << 20,
    timeout: float | Deadlines[TLSTransport] = 0.0,
    local: Address | None = None,
) -> TLSTransport:
    """
    Make a TLS connection of a connected socket.

    @param start: Makes the handshake: of the socket, or of L{None} where OpenSSL cannot use the socket itself.
    @param protocol: Is told of the connection when the handshake is over.
    @param failed: Is told instead if it fails; see L{TLSTransport.shake}.
    @param timeout: See L{TLSTransport.shake}.
    @param local: This end's address, where it is already known.
    """
    isDescriptor = sock.fileno() >= 0
    kind = TLSTransport if isDescriptor else BufferedTLSTransport
    transport = kind(reactor, sock, peer, start(sock if isDescriptor else None), local)
    transport.bufferSize = bufferLimit
    transport.shake(protocol, failed, timeout)
    return transport
