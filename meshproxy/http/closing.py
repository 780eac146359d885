# -*- test-case-name: tests.http.test_manager -*-
"""
How a downstream connection ends, whichever version of HTTP it speaks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.protocol import Protocol

if TYPE_CHECKING:
    from meshproxy.http.manager import ConnectionManager

__all__ = ["ClosingConnection"]


class ClosingConnection(Protocol):
    """
    A connection that waits, when it closes, until its peer has what was written.

    @ivar manager: Says how long it waits.
    @ivar closing: Whether nothing is read any more.
    @ivar closedHere: Whether this side ended it.
    @ivar awaitsPeer: Whether the peer has time to do the same.
    """

    manager: ConnectionManager
    # Each exchange asks for it: who derives from this says so at first, for with a default here it is found slowly.
    closing: bool
    closedHere = awaitsPeer = False

    def stopped(self) -> None:
        """
        It begins to close: what comes from now on is for nobody.
        """

    def _stop(self) -> None:
        self.closing = True
        waiting = self.manager.headersDeadlines
        if waiting is not None:
            # The rest of a head is due no more: nobody would read it.
            waiting.cancel(self)
        self.stopped()

    def closeAfterWrites(self) -> None:
        """
        Finish writing, then wait for the peer to do the same, so that its kernel does not throw away what it has not
        read yet (C{delayed_close_timeout}).
        """
        self.closedHere = True
        self._stop()
        waiting = self.manager.closeDeadlines
        transport: Any = self.transport
        transport.unregisterProducer()
        if waiting is None:
            transport.loseConnection()
        else:
            transport.endWriting()
            self.awaitsPeer = True
            waiting.start(self)

    def peerFinished(self) -> None:
        """
        The downstream finished writing, and as in Envoy thereby its connection: nothing more is sent than what was
        written, and that for as long as any closing may last, whether it is read or not.
        """
        self._stop()
        waiting = self.manager.closeDeadlines
        transport: Any = self.transport
        transport.unregisterProducer()
        if waiting is None and transport.unsent:
            transport.abortConnection()
            return
        if waiting is not None and self not in waiting:
            waiting.start(self)
        transport.loseConnection()

    def abort(self) -> None:
        """
        Close at once.
        """
        self.closedHere = True
        self._stop()
        self.transport.abortConnection()  # type: ignore[union-attr]  # each transport here has it
