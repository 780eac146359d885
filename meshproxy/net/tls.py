# -*- test-case-name: tests.net.test_tls -*-
"""
TLS on a stream socket.

A L{TLSTransport} is a L{SocketTransport} whose bytes go through OpenSSL, which reads from and writes to the descriptor
itself: half the cost of memory buffers in between. Sockets that are no descriptors of the kernel's, those of a network
in memory, get a
L{BufferedTLSTransport<meshproxy.net.tlsbuffered.BufferedTLSTransport>}, which moves the bytes itself and behaves alike.

The protocol is told of the connection when the handshake is over. Until then it belongs to whoever began it, who is
told if it fails.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

from OpenSSL import SSL
from twisted.internet import main
from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IProtocol, ITCPTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from meshproxy.errors import HandshakeTimeout, TLSError
from meshproxy.net.address import Address
from meshproxy.net.deadlines import Deadlines
from meshproxy.net.openssl import (
    RECORD,
    drainErrors,
    negotiatedProtocol,
    notifyClose,
    readPlain,
    shakeHands,
    writePlain,
)
from meshproxy.net.tlsbatches import Batches
from meshproxy.net.tlsinfo import TLSInfo
from meshproxy.net.transport import SocketTransport, lost
from meshproxy.net.turn import turn

__all__ = ["Handshake", "TLSTransport"]

# How many bytes one turn of the reactor encrypts for one connection, so that others get their turn.
_SEND_LIMIT = 262144

# How much of what came behind a failed handshake is read.
_REST = 65536

# After how many long writes, and of how many bytes, a connection's records leave in batches.
_LONG_WRITES = 8
_LONG = 3 * RECORD


class Handshake(Protocol):
    """
    What is wanted of one connection's handshake.

    @ivar connection: OpenSSL's object, made on the socket or, for a L{BufferedTLSTransport}, on no socket.
    """

    connection: SSL.Connection

    def succeeded(self) -> TLSInfo:
        """
        The handshake is over.

        @return: The facts about it.

        @raise TLSError: If the peer is refused all the same.
        """

    def settled(self) -> None:
        """
        The first bytes came: by now the peer has sent what its session can be taken up by again.
        """

    def failed(self, why: str) -> str:
        """
        The handshake failed: count it.

        @param why: What OpenSSL said; empty if the peer just left.

        @return: The transport failure reason.
        """

    @property
    def broken(self) -> Callable[[], object]:
        """
        Is called when the peer breaks the protocol after the handshake.
        """


@implementer(ITCPTransport)
class TLSTransport(SocketTransport):
    """
    A TLS connection.

    @ivar negotiatedProtocol: What ALPN agreed upon, empty if nothing.
    @ivar tls: The facts about the session, L{None} until the handshake is over.
    """

    negotiatedProtocol: bytes = b""
    tls: TLSInfo | None = None
    _waiting: IProtocol | None = None
    _unsettled: Handshake | None = None
    _broken = False
    # Whether this side said, or tried to say, that it finished.
    _isFinished = False
    # Whether the handshake had to wait for the socket to take more.
    _isBlocked = False
    _deadline: Any = None
    _mayBatch = True
    _longWrites = 0
    _batches: Batches | None = None
    # Whether OpenSSL reads and writes the socket itself.
    _isDirect = True

    def __init__(
        self, reactor: Any, sock: Any, peer: Address | None, handshake: Handshake, local: Address | None = None
    ) -> None:
        SocketTransport.__init__(self, reactor, sock, peer, local)
        self._handshake: Handshake | None = handshake
        self._connection = handshake.connection
        self._failed: Callable[[Exception], object] = _ignore
        self._countBroken = handshake.broken

    def shake(
        self,
        protocol: IProtocol,
        failed: Callable[[Exception], object],
        timeout: float | Deadlines[TLSTransport] = 0.0,
    ) -> None:
        """
        Begin the handshake.

        @param protocol: Is told of the connection when the handshake is over.
        @param failed: Is told instead, with a L{TLSError} or L{HandshakeTimeout}; the socket is closed then.
        @param timeout: Seconds it may take; 0 for any time; or a queue of those that may take equally long, which calls
            L{late}.
        """
        self._waiting = protocol
        self._failed = failed
        if isinstance(timeout, Deadlines):
            self._deadline = timeout
            timeout.start(self)
        elif timeout:
            self._deadline = self.reactor.callLater(timeout, self.late)  # type: ignore[attr-defined]  # IReactorTime
        self.startReading()
        self._shake()

    def cancel(self) -> None:
        """
        Give the handshake up; nobody is told.
        """
        if self._handshake is not None:
            self._end()

    def _shake(self) -> None:
        try:
            if not self._step():
                return
        except SSL.WantWriteError:
            self._isBlocked = True
            self.startWriting()
            return
        except (SSL.SysCallError, OSError):
            # The socket's own error, if any, is not the TLS library's word: as in Envoy, nothing is said of it.
            drainErrors()
            self._fail("")
            return
        except TLSError as error:
            drainErrors()
            self._fail(error.why)
            return
        except SSL.Error as error:
            self._fail(_words(error))
            return
        self._shaken()

    def _step(self) -> bool:
        """
        Go on with the handshake.

        @return: Whether it is over; else more of the peer's bytes are needed.
        """
        return shakeHands(self._connection)

    def _shaken(self) -> None:
        handshake, protocol = self._handshake, self._waiting
        assert handshake is not None and protocol is not None
        try:
            self.tls = handshake.succeeded()
        except TLSError as error:
            self._fail(error.why)
            return
        self._forgetHandshake()
        self._unsettled = handshake
        if self._isBlocked:
            self.stopWriting()
        self.negotiatedProtocol = negotiatedProtocol(self._connection)
        self.protocol = protocol
        try:
            protocol.makeConnection(self)
        except Exception:
            self.failed()

    def late(self) -> None:
        """
        The handshake takes too long.
        """
        self._deadline = None
        failed = self._failed
        self._end()
        failed(HandshakeTimeout())

    def _fail(self, why: str) -> None:
        handshake, failed = self._handshake, self._failed
        assert handshake is not None
        self._end()
        failed(TLSError(handshake.failed(why)))

    def _end(self) -> None:
        """
        Close a connection whose handshake was not over.
        """
        self._forgetHandshake()
        if not self.disconnected:
            FileDescriptor.connectionLost(self, _UNFINISHED)
            try:
                # What is left unread would make the kernel send a reset, which may overtake the alert.
                self.socket.recv(_REST)
            except OSError:
                pass
            self.socket.close()
            del self.fileno

    def _forgetHandshake(self) -> None:
        self._handshake = self._waiting = None
        self._failed = _ignore
        deadline = self._deadline
        if deadline is not None:
            self._deadline = None
            if isinstance(deadline, Deadlines):
                deadline.cancel(self)
            else:
                deadline.cancel()

    # Reading

    def _read(self) -> bytes | None:
        return readPlain(self._connection, self.readSize)

    def doRead(self) -> Exception | None:
        """
        Read once, and pass it to the protocol.
        """
        if self._handshake is not None:
            self._shake()
            return None
        try:
            data = readPlain(self._connection, self.readSize) if self._isDirect else self._read()
        except OSError as exception:
            self._broken = True
            return lost(exception)
        except TLSError as exception:
            return self._lost(exception)
        if data is None:
            return None
        if not data:
            return cast(Exception, main.CONNECTION_DONE)
        if self._unsettled is not None:
            self._unsettled.settled()
            self._unsettled = None
        if turn.active:
            self.protocol.dataReceived(data)  # type: ignore[union-attr]  # set when the handshake is over
            return None
        turn.active = True
        try:
            self.protocol.dataReceived(data)  # type: ignore[union-attr]  # set when the handshake is over
        finally:
            turn.end()
        return None

    def _readAgain(self) -> None:
        """
        Read what OpenSSL has already, which the reactor does not know of.
        """
        if not self.connected or self._aborted:
            return
        why = self.doRead()
        if why is main.CONNECTION_DONE:
            self.stopReading()
            self.readConnectionLost(Failure(why))
        elif why:
            self.stopReading()
            self.stopWriting()
            self.connectionLost(Failure(why))

    def _lost(self, exception: TLSError) -> Exception:
        if not self._broken:
            self._broken = True
            self._countBroken()
        reason = _TLSLost(exception.why)
        reason.__cause__ = exception
        return reason

    # Writing

    def _write(self, data: bytes | memoryview) -> int:
        return writePlain(self._connection, data)

    def flush(self) -> None:
        """
        Send what was gathered, and never by the cleartext transport's own short way.
        """
        gathered = self._gathered
        if len(gathered) == 1:
            data = gathered.pop()
        elif gathered:
            data = b"".join(gathered)
            gathered.clear()
        else:
            return
        waits = self._tempDataLen or self.dataBuffer or self._writeDisconnected or not self.connected
        if waits or not 0 < len(data) <= RECORD or not self._isDirect:
            self._send(data)
            return
        # The same as _send does with what is one record, without the calls.
        try:
            sent = writePlain(self._connection, data)
        except (OSError, TLSError):
            sent = 0
        if sent < len(data):
            FileDescriptor.write(self, data[sent:] if sent else data)

    def _send(self, data: bytes) -> None:
        if not self.connected or self._writeDisconnected or not data:
            return
        if self._tempDataLen or self.dataBuffer:
            FileDescriptor.write(self, data)
            return
        try:
            sent = self._write(data)
            if RECORD <= sent < len(data):
                if len(data) >= _LONG and self._batches is None:
                    self._countLong()
                sent += self._writeMore(memoryview(data)[sent:])
        except (OSError, TLSError):
            # Broken: the next doWrite finds out and says so.
            sent = 0
        if sent < len(data):
            FileDescriptor.write(self, data[sent:] if sent else data)

    def _countLong(self) -> None:
        """
        A long write has begun, and OpenSSL has no record that is still to be sent.
        """
        self._longWrites += 1
        if self._longWrites >= _LONG_WRITES and self._mayBatch and Batches.isRoom():
            self._longWrites = 0
            batches = Batches(self.reactor, self.socket, self._connection, self._readAgain, self._leftBatches)
            self._batches = batches
            self._isDirect = False
            self._read = batches.read  # type: ignore[method-assign]
            self._write = batches.write  # type: ignore[method-assign]

    def _leftBatches(self) -> None:
        self._batches = None
        self._isDirect = True
        del self._read, self._write

    def _writeMore(self, data: memoryview) -> int:
        done = 0
        end = min(len(data), _SEND_LIMIT)
        try:
            while done < end:
                sent = self._write(data[done:])
                if not sent:
                    break
                done += sent
        except (OSError, TLSError):
            if not done:
                raise
        return done

    def writeSomeData(self, data: bytes) -> int | Exception:
        """
        Encrypt and send as much of C{data} as the socket takes.
        """
        if not data:
            return 0
        try:
            return self._writeMore(memoryview(data))
        except OSError as exception:
            self._broken = True
            return lost(exception)
        except TLSError as exception:
            return self._lost(exception)

    def doWrite(self) -> int | Exception | None:
        """
        Go on with what waits to be sent.
        """
        if self._handshake is not None:
            self.stopWriting()
            self._shake()
            return None
        result: int | Exception | None = FileDescriptor.doWrite(self)
        return result

    # Closing

    def _finishWriting(self) -> None:
        # As in Envoy, the TLS layer says that this side finished; the socket stays open both ways.
        self._notifyClose()

    def _notifyClose(self) -> None:
        if self._isFinished:
            return
        self._isFinished = True
        if self._batches is not None and not self._batches.end():
            # No room either.
            self._broken = True
        if not self._broken and not notifyClose(self._connection):
            # No room, or already broken: as in Envoy it is tried once.
            self._broken = True

    def connectionLost(self, reason: Failure) -> None:
        """
        Close the socket and tell the protocol, once.
        """
        if self._handshake is not None:
            self._fail("")
            return
        if not self.disconnected and not self._aborted:
            self._notifyClose()
        if self._batches is not None:
            self._batches.stop()
        SocketTransport.connectionLost(self, reason)


class _TLSLost(ConnectionLost):
    """
    The peer broke TLS. (A plain C{ConnectionLost} is replaced by one of the reactor's own, without its cause.)
    """


# Why a connection is gone whose handshake was not over.
_UNFINISHED = Failure(ConnectionLost("the TLS handshake was not over"))


def _ignore(_result: object) -> None:
    """
    Nobody is to be told.
    """


def _words(error: SSL.Error) -> str:
    """
    What pyOpenSSL raised, in the form of L{drainErrors}.
    """
    told = error.args[0] if error.args else ()
    drainErrors()
    return "|".join(":".join(parts) for parts in told) if isinstance(told, list) else ""
