# -*- test-case-name: tests.upstream.test_tcpdrain -*-
"""
Which connections of a tcp_proxy end while its listener drains (C{check_drain_close}).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshproxy.upstream.tcpsession import TCPSession

__all__ = ["TCPDrain"]


class TCPDrain:
    """
    The connections of a tcp_proxy. While the listener drains each is closed after the next bytes have passed, either
    way; one without any lives on, as in Envoy.

    @ivar isOn: Whether the listener drains.
    """

    def __init__(self) -> None:
        self.isOn = False
        self._sessions: set[TCPSession] = set()

    def add(self, session: TCPSession) -> None:
        """
        A connection began.
        """
        self._sessions.add(session)

    def connected(self, session: TCPSession) -> None:
        """
        It has its upstream.
        """
        if self.isOn:
            session.watchBytes()
            if session.downstream.relay is not None and session.downstream.relay.moved:
                # They came early, and have just passed.
                session.bytesPassed()

    def discard(self, session: TCPSession) -> None:
        """
        A connection is gone.
        """
        self._sessions.discard(session)

    @property
    def isEmpty(self) -> bool:
        """
        Whether there are no connections.
        """
        return not self._sessions

    def turn(self, isOn: bool) -> None:
        """
        The listener begins to drain, or does not drain any more.
        """
        self.isOn = isOn
        if isOn:
            for session in self._sessions:
                session.watchBytes()
