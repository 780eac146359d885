# -*- test-case-name: tests.listener.test_gate -*-
"""
The network filters of a connection that stand before the terminal one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.logger import Logger
from zope.interface import implementer

from meshproxy.accesslog.streaminfo import ConnectionInfo
from meshproxy.interfaces import STOP, INetworkConnection, INetworkFilter

__all__ = ["Gate", "IGated"]


class IGated(Protocol):
    """
    The connection that a gate belongs to.
    """

    def makeInner(self) -> None:
        """
        Let the terminal filter make its protocol, and connect that.
        """

    def passOn(self, data: bytes) -> None:
        """
        Give bytes to that protocol.
        """

    def finishReading(self) -> None:
        """
        Tell that protocol that the peer finished writing.
        """

    def gateOpened(self) -> None:
        """
        Give bytes to that protocol without asking the gate.
        """


@implementer(INetworkConnection)
class Gate:
    """
    Asks the filters of one connection.

    As in Envoy, the terminal filter begins as soon as each filter before it let the connection pass, which may be
    before a byte came; what comes passes the filters that want to see it.

    @ivar info: See L{INetworkConnection}.
    @ivar transport: See L{INetworkConnection}.
    @ivar withheld: How many bytes came and were not passed on when the connection was closed.
    @ivar isOpen: Whether no filter looks at bytes any more.
    """

    log = Logger()

    def __init__(self, owner: IGated, filters: Sequence[INetworkFilter], info: ConnectionInfo, transport: Any) -> None:
        self.info = info
        self.transport = transport
        self.isOpen = False
        self.withheld = 0
        self._owner = owner
        self._filters = filters
        # How many filters were told of the connection.
        self._number = 0
        self._watching: list[INetworkFilter] = []
        # What a filter holds, and those that it has to pass after that; what came later.
        self._held: tuple[bytes, Sequence[INetworkFilter]] | None = None
        self._later = bytearray()
        self._isBegun = False
        self._isStopped = False
        self._isClosed = False
        self._isEnded = False
        self._isPausing = False

    def begin(self) -> None:
        """
        Tell the filters of the connection.
        """
        self._guard(self._tell)

    def _guard(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception:
            self.log.failure("a network filter of {listener} raised", listener=self.info.listenerName)
            self._isClosed = True
            self.transport.abortConnection()

    def _tell(self) -> None:
        while self._number < len(self._filters):
            each = self._filters[self._number]
            self._number += 1
            answer = each.connectionMade(self)
            if self._isClosed:
                return
            if each.seesData:
                self._watching.append(each)
            if answer is STOP:
                self._isStopped = True
                return
        self.transport.isGated = bool(self._watching or self._later)
        self._isBegun = True
        self._owner.makeInner()
        self._openIfIdle()

    # Bytes

    def dataReceived(self, data: bytes) -> None:
        """
        Bytes came.
        """
        if self._isClosed:
            return
        if self._isStopped or self._held is not None:
            self._later += data
            # One more piece than the limit is kept, at most, each time that somebody resumes the transport.
            if len(self._later) >= self.transport.bufferSize:
                self._isPausing = True
                self.transport.pauseProducing()
            return
        self._guard(lambda: self._pass(data, tuple(self._watching)))
        self._openIfIdle()

    def _pass(self, data: bytes, filters: Sequence[INetworkFilter]) -> None:
        for place, each in enumerate(filters):
            answer = each.dataReceived(data)
            if self._isClosed:
                self.withheld += len(data)
                return
            if answer is STOP:
                self._held = (data, filters[place + 1 :])
                return
            if isinstance(answer, bytes):
                data = answer
        if data:
            self._owner.passOn(data)

    def resumeReading(self) -> None:
        """
        See L{INetworkConnection.resumeReading}.
        """
        if not self._isClosed and (self._isStopped or self._held is not None):
            self._guard(self._resume)
            self._openIfIdle()

    def _resume(self) -> None:
        if self._isPausing:
            # Before anybody else hears of it, who may have reasons of their own not to read.
            self._isPausing = False
            self.transport.resumeProducing()
        if self._held is not None:
            (data, filters), self._held = self._held, None
            self._pass(data, filters)
        else:
            self._isStopped = False
            self._tell()
        if self._later and not (self._isClosed or self._isStopped or self._held is not None):
            data, self._later = bytes(self._later), bytearray()
            self._pass(data, tuple(self._watching))
        if not (self._isClosed or self._isStopped or self._held is not None):
            if self._isEnded:
                self._isEnded = False
                self._finish()
                if not self._isClosed:
                    self._owner.finishReading()

    def readEnded(self) -> bool:
        """
        The peer finished writing.

        @return: Whether the terminal filter is told of it later, for bytes are held that came before.
        """
        self._isEnded = self._isStopped or self._held is not None
        if not self._isEnded:
            self._guard(self._finish)
        return self._isEnded or self._isClosed

    def _finish(self) -> None:
        for each in tuple(self._watching):
            if not self._isClosed:
                each.readConnectionLost()

    def ignoreData(self, networkFilter: INetworkFilter) -> None:
        """
        See L{INetworkConnection.ignoreData}.
        """
        if networkFilter in self._watching:
            self._watching.remove(networkFilter)

    def _openIfIdle(self) -> None:
        if (
            self._isBegun
            and not (self._watching or self._later or self.isOpen or self._isClosed)
            and self._held is None
        ):
            self.isOpen = True
            self.transport.isGated = False
            self._owner.gateOpened()

    # Ending

    def close(self, reason: str = "", details: str = "", flags: int = 0) -> None:
        """
        See L{INetworkConnection.close}.
        """
        if self._isClosed:
            return
        self._isClosed = True
        self.info.localCloseReason = reason
        self.info.responseFlags |= flags
        if details:
            self.info.terminationDetails = details
        transport = self.transport
        transport.unregisterProducer()
        if transport.unsent:
            # Nobody waits for a peer that was turned away to read.
            transport.abortConnection()
        else:
            transport.loseConnection()

    def connectionLost(self, reason: Any) -> None:
        """
        The connection is gone.
        """
        self._isClosed = True
        self.withheld += len(self._held[0]) if self._held is not None else 0
        self.withheld += len(self._later)
        for each in self._filters[: self._number]:
            try:
                each.connectionLost(reason)
            except Exception:
                self.log.failure("a network filter of {listener} raised", listener=self.info.listenerName)
