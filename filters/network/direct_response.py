# -*- test-case-name: tests.filters.network.test_direct_response -*-
"""
C{envoy.filters.network.direct_response}: sends each connection the same bytes, and closes it.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol, IProtocol, IReactorTime
from twisted.internet.protocol import Protocol
from zope.interface import implementer

from meshproxy.config import Section
from meshproxy.config.supported import declare
from meshproxy.net.filter import NetworkFilter, NetworkFilterContext
from meshproxy.routing.redirects import readDataSource

__all__ = ["DirectResponse", "Responder"]

_MESSAGE = "envoy.extensions.filters.network.direct_response.v3.Config"

declare(_MESSAGE, "response")

# How long a client may take to read and to close, in seconds.
_LINGERING = 1.0


class DirectResponse(NetworkFilter):
    """
    The network filter.
    """

    configType = _MESSAGE

    def __init__(self, section: Section, context: NetworkFilterContext) -> None:
        self._clock = context.clock
        response = section.child("response")
        self._response = b"" if response is None else readDataSource(response)

    def buildProtocol(self, info: Any) -> IProtocol:
        """
        See L{NetworkFilter.buildProtocol}.
        """
        info.codeDetails = "direct_response"
        return Responder(self._response, self._clock)


@implementer(IHalfCloseableProtocol)
class Responder(Protocol):
    """
    One connection. To close it at once would make the kernel reset it if the client sent anything, and a reset may
    overtake the response: so the client is heard out for a moment.
    """

    _timer: IDelayedCall | None = None

    def __init__(self, response: bytes, clock: IReactorTime) -> None:
        self._response = response
        self._clock = clock

    @property
    def _transport(self) -> Any:
        return self.transport

    def connectionMade(self) -> None:
        """
        Say it all.
        """
        self._transport.write(self._response)
        self._transport.loseWriteConnection()
        self._timer = self._clock.callLater(_LINGERING, self._end)

    def _end(self) -> None:
        self._timer = None
        self._transport.abortConnection()

    def readConnectionLost(self) -> None:
        """
        The client finished as well.
        """
        self._transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """
        All was said.
        """

    def connectionLost(self, reason: Any = None) -> None:
        """
        It is over.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
