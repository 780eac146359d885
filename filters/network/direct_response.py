# -*- test-case-name: tests.filters.network.test_direct_response -*-
"""
C{envoy.filters.network.direct_response}: sends each connection the same bytes, and closes it.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Protocol

from meshproxy.config import Section
from meshproxy.config.supported import declare
from meshproxy.net.filter import NetworkFilter, NetworkFilterContext
from meshproxy.routing.redirects import readDataSource

__all__ = ["DirectResponse", "Responder"]

_MESSAGE = "envoy.extensions.filters.network.direct_response.v3.Config"

declare(_MESSAGE, "response")


class DirectResponse(NetworkFilter):
    """
    The network filter.
    """

    configType = _MESSAGE

    def __init__(self, section: Section, context: NetworkFilterContext) -> None:
        response = section.child("response")
        self._response = b"" if response is None else readDataSource(response)

    def buildProtocol(self, info: Any) -> IProtocol:
        """
        See L{NetworkFilter.buildProtocol}.
        """
        info.codeDetails = "direct_response"
        return Responder(self._response)


class Responder(Protocol):
    """
    One connection.
    """

    def __init__(self, response: bytes) -> None:
        self._response = response

    def connectionMade(self) -> None:
        """
        Say it all.
        """
        transport: Any = self.transport
        transport.write(self._response)
        transport.loseConnection()
