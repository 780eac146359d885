# -*- test-case-name: tests.upstream.test_transports -*-
"""
Connecting with TLS.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from meshproxy.errors import ConnectFailed, ConnectTimeout, HandshakeTimeout, TLSError
from meshproxy.interfaces import ICancellable
from meshproxy.net.tls import Handshake, TLSTransport
from meshproxy.net.tlsbuffered import beginTLS

__all__ = ["TLSDial"]


def _ignore(_result: object) -> None:
    """
    Nobody is to be told.
    """


@implementer(ICancellable, IProtocol)
class TLSDial:
    """
    An attempt to connect that is over when the handshake is.

    It is the protocol of the connection until then, and the caller's to cancel.
    """

    def __init__(
        self,
        start: Callable[[Any], Handshake],
        protocol: IProtocol,
        failed: Callable[[Exception], object],
        timeout: float,
        bufferLimit: int = 1 << 20,
    ) -> None:
        """
        @param start: Makes the handshake; see L{beginTLS}.
        @param protocol: Is told of the connection when the handshake is over.
        @param failed: Is told instead, with a L{ConnectFailed} or L{ConnectTimeout}.
        @param timeout: Seconds for all of it.
        """
        self._start = start
        self._protocol = protocol
        self._failed = failed
        self._timeout = timeout
        self._bufferLimit = bufferLimit
        self._began = 0.0
        self._attempt: ICancellable | None = None
        self._transport: TLSTransport | None = None

    def begin(self, connect: Callable[[IProtocol], ICancellable], now: float) -> ICancellable:
        """
        Begin.

        @param connect: Connects a protocol, in cleartext; it is told of failures as this one's caller is.
        """
        self._began = now
        self._attempt = connect(self)
        return self

    def makeConnection(self, transport: Any) -> None:
        """
        It is connected: take the socket over.
        """
        transport.stopReading()
        left = self._timeout - (transport.reactor.seconds() - self._began)
        self._attempt = None
        try:
            self._transport = beginTLS(
                transport.reactor,
                transport.socket,
                transport.peerAddress,
                self._start,
                self._protocol,
                self._shakenOff,
                self._bufferLimit,
                max(left, 0.001),
            )
        except TLSError as error:
            transport.socket.close()
            # Not from within the attempt to connect: whoever cancels it must be able to.
            transport.reactor.callLater(0, self._shakenOff, error)

    def _shakenOff(self, error: Exception) -> None:
        if isinstance(error, HandshakeTimeout):
            self._failed(ConnectTimeout("the TLS handshake took too long"))
        else:
            self._failed(ConnectFailed(error.why if isinstance(error, TLSError) else str(error)))

    def cancel(self) -> None:
        """
        See L{ICancellable.cancel}.
        """
        self._failed = _ignore
        if self._attempt is not None:
            self._attempt.cancel()
            self._attempt = None
        if self._transport is not None:
            self._transport.cancel()

    def connectionMade(self) -> None:
        """
        See L{IProtocol}; L{makeConnection} did it.
        """

    def dataReceived(self, data: bytes) -> None:
        """
        See L{IProtocol}; nothing is read before TLS takes over.
        """

    def connectionLost(self, reason: Failure | None = None) -> None:
        """
        See L{IProtocol}; the TLS transport tells of the end.
        """
