# -*- test-case-name: tests.filters.network.test_echo -*-
"""
C{envoy.filters.network.echo}: sends back what it gets.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IProtocol, IPushProducer
from twisted.internet.protocol import Protocol
from zope.interface import implementer

from meshproxy.config.supported import declare
from meshproxy.net.filter import NetworkFilter

__all__ = ["Echo", "EchoConnection"]

_MESSAGE = "envoy.extensions.filters.network.echo.v3.Echo"

declare(_MESSAGE)


class Echo(NetworkFilter):
    """
    The network filter.
    """

    configType = _MESSAGE

    def buildProtocol(self, info: Any) -> IProtocol:
        """
        See L{NetworkFilter.buildProtocol}.
        """
        return EchoConnection()


@implementer(IPushProducer)
class EchoConnection(Protocol):
    """
    One connection. It is the producer of what it writes: while the peer does not read, it is not read either.
    """

    def connectionMade(self) -> None:
        """
        Heed the transport's pressure.
        """
        self._transport.registerProducer(self, True)

    @property
    def _transport(self) -> Any:
        return self.transport

    def dataReceived(self, data: bytes) -> None:
        """
        Send it back.
        """
        self._transport.write(data)

    def pauseProducing(self) -> None:
        """
        The peer does not read.
        """
        self._transport.pauseProducing()

    def resumeProducing(self) -> None:
        """
        The peer has read all.
        """
        self._transport.resumeProducing()

    def stopProducing(self) -> None:
        """
        The connection is gone.
        """
