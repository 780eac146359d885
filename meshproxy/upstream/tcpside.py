# -*- test-case-name: tests.upstream.test_tcpsession -*-
"""
The two ends of what tcp_proxy connects: each a protocol, whose bytes a relay moves to the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from zope.interface import implementer

from meshproxy.net.relay import IRelay

if TYPE_CHECKING:
    from meshproxy.upstream.tcpsession import TCPSession

__all__ = ["TCPSide"]


@implementer(IHalfCloseableProtocol)
class TCPSide(Protocol):
    """
    One of the two connections of a session.

    @ivar other: The other one.
    @ivar relay: Moves its bytes to the other one, once both are there.
    @ivar early: What came before both were there.
    @ivar isOpen: Whether it is connected.
    @ivar readEnded: Whether its peer finished writing.
    @ivar writeEnded: Whether this side finished writing.
    """

    other: TCPSide
    relay: IRelay | None = None
    isOpen = False
    readEnded = False
    writeEnded = False
    early = b""

    def __init__(self, session: TCPSession) -> None:
        self._session = session

    @property
    def record(self) -> TCPSession:
        """
        What logs say of the connection.
        """
        return self._session

    def connectionMade(self) -> None:
        """
        It is connected.
        """
        self.isOpen = True
        self._session.sideConnected(self)

    def dataReceived(self, data: bytes) -> None:
        """
        Bytes that the relay did not take off the socket itself.
        """
        if self.relay is not None:
            self.relay.dataReceived(data)
        else:
            # Nobody asked for them yet, or who held or decrypted them gives them although nothing is read: they wait
            # for the upstream.
            self.early += data
            self._session.earlyCame(self)

    def readConnectionLost(self) -> None:
        """
        The peer finished writing: so does the other side, when all that came is sent.
        """
        self.readEnded = True
        self._session.sideFinished(self)
        if self.relay is not None:
            self.relay.stop()
        other = self.other
        if other.isOpen:
            transport: Any = other.transport
            transport.loseWriteConnection()
        if self.writeEnded:
            self.closeAfterWrites()

    def writeConnectionLost(self) -> None:
        """
        All was sent, and its end too.
        """
        self.writeEnded = True
        if self.readEnded:
            self.closeAfterWrites()

    def connectionLost(self, reason: Any = None) -> None:
        """
        It is gone.
        """
        self.isOpen = False
        if self.relay is not None:
            self.relay.stop()
        self._session.sideLost(self, reason)

    def gateOpened(self) -> None:
        """
        No network filter looks at the bytes any more: they may take the shortest way.
        """
        self._session.shorten(self)

    def closeAfterWrites(self) -> None:
        """
        Close when all that was written is sent.
        """
        transport: Any = self.transport
        if self.isOpen:
            self.other.stopRelay()
            transport.loseConnection()

    def stopRelay(self) -> None:
        """
        Move no more from here to the other side.
        """
        if self.relay is not None:
            self.relay.stop()

    def closeNow(self) -> None:
        """
        Close without waiting for a peer that does not read: what is unsent is lost, and then the peer sees a reset and
        no regular end.
        """
        transport: Any = self.transport
        if self.isOpen:
            self.other.stopRelay()
            if transport.unsent:
                transport.abortConnection()
            else:
                transport.loseConnection()

    def abort(self) -> None:
        """
        Close with a reset.
        """
        if self.isOpen:
            self.transport.abortConnection()  # type: ignore[union-attr]  # each transport here has it
