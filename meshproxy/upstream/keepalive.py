# -*- test-case-name: tests.upstream.test_keepalive -*-
"""
Pings that find out whether an HTTP/2 peer is still there (C{connection_keepalive}).
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from meshproxy.upstream.http2options import KeepaliveSettings

__all__ = ["Keepalive"]


class Keepalive:
    """
    Sends pings on one connection, and says when one was not answered.
    """

    def __init__(
        self,
        settings: KeepaliveSettings,
        clock: IReactorTime,
        random: Callable[[], float],
        sendPing: Callable[[bytes], object],
        lost: Callable[[], object],
    ) -> None:
        """
        @param random: From 0 up to 1.
        @param sendPing: Sends one with these eight bytes.
        @param lost: Called when one was not answered in time; nothing is sent after that.
        """
        self._settings = settings
        self._clock = clock
        self._random = random
        self._sendPing = sendPing
        self._lost = lost
        self._next: IDelayedCall | None = None
        self._due: IDelayedCall | None = None
        self._number = 0

    def start(self) -> None:
        """
        Begin.
        """
        interval = self._settings.interval
        if interval:
            delay = interval * (1.0 + self._settings.jitter * self._random())
            self._next = self._clock.callLater(delay, self._ping)

    def _ping(self) -> None:
        self._next = None
        self.ask()
        if self._due is None:
            # There is no limit to the answer.
            self.start()

    def ask(self) -> None:
        """
        Send a ping now, unless one is under way.
        """
        if self._due is not None:
            return
        self._number += 1
        self._sendPing(b"%08d" % (self._number % 100_000_000))
        if self._settings.timeout:
            self._due = self._clock.callLater(self._settings.timeout, self._late)

    def answered(self, opaque: bytes) -> None:
        """
        An answer came; one that is not to the last ping is overlooked.
        """
        if opaque == b"%08d" % (self._number % 100_000_000) and self._due is not None:
            self._due.cancel()
            self._due = None
            if self._next is None:
                self.start()

    def _late(self) -> None:
        self._due = None
        self.stop()
        self._lost()

    def stop(self) -> None:
        """
        Send no more.
        """
        for call in (self._next, self._due):
            if call is not None:
                call.cancel()
        self._next = self._due = None
