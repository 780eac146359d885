"""
A filter of the tests, for a proxy in a process of its own: it waits before it lets requests pass, gathers whole
responses, and counts what it is told of streams that are over.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from meshproxy.http.filter import HTTPFilter

__all__ = ["LIMIT", "Gatherer"]

#: How many bytes of a response it gathers.
LIMIT = 20000

# How long requests wait.
_WAIT = 0.05


class Gatherer(HTTPFilter):
    """
    Counts C{gatherer.passed} requests, and C{gatherer.after_end} events that came too late.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._isOver = False
        scope = self.context.store.scope("gatherer.")
        self._passed = scope.counter("passed")
        self._late = scope.counter("after_end")

    def _look(self) -> None:
        if self._isOver:
            self._late.value += 1

    async def requestHeaders(self, stream: Any, headers: Any, endStream: bool) -> None:
        """
        Wait, and let it pass.
        """
        self._look()
        waiting: Deferred[None] = Deferred()
        timer = self.context.clock.callLater(_WAIT, waiting.callback, None)
        try:
            await waiting
        finally:
            if timer.active():
                timer.cancel()
        self._look()
        self._passed.value += 1

    def requestData(self, stream: Any, data: bytes, endStream: bool) -> None:
        """
        Bytes of a request.
        """
        self._look()

    async def responseHeaders(self, stream: Any, headers: Any, endStream: bool) -> None:
        """
        Gather all of the response.
        """
        self._look()
        if not endStream:
            await stream.responseBody(LIMIT)
            self._look()

    def responseData(self, stream: Any, data: bytes, endStream: bool) -> None:
        """
        Bytes of a response.
        """
        self._look()

    def streamEnded(self, stream: Any) -> None:
        """
        It is over.
        """
        self._look()
        self._isOver = True
