# -*- test-case-name: tests.listener.test_listener -*-
"""
A connection of a listener, from when it has its filter chain until it is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from zope.interface import implementer

from meshproxy.accesslog.streaminfo import ConnectionInfo
from meshproxy.http.downstream import HTTP1Connection
from meshproxy.http.http2 import HTTP2Connection
from meshproxy.listener.filterchain import FilterChain
from meshproxy.listener.gate import Gate
from meshproxy.listener.record import ConnectionRecord
from meshproxy.net.tls import TLSTransport
from meshproxy.upstream.tcpside import TCPSide

if TYPE_CHECKING:
    from meshproxy.listener.listener import Listener

__all__ = ["DownstreamConnection"]

# Envoy's words for %DOWNSTREAM_LOCAL_CLOSE_REASON%.
_CHAIN_REMOVED = "filter_chain_is_being_removed"


@implementer(IHalfCloseableProtocol)
class DownstreamConnection(Protocol):
    """
    A connection that has its filter chain: hands it over to the chain's own protocol, and counts it until it is gone.

    @ivar chain: Its filter chain.
    @ivar handshake: Its transport while that shakes hands.
    """

    handshake: TLSTransport | None = None
    _isBegun = False
    _gate: Gate | None = None
    _record: ConnectionRecord | None = None

    def __init__(self, listener: Listener, chain: FilterChain, info: ConnectionInfo) -> None:
        self._listener = listener
        self.chain = chain
        self.info = info
        self._inner: Any = None
        self._began = listener.proxy.clock.seconds()

    def begin(self) -> None:
        """
        Count the connection from now on.
        """
        self._isBegun = True
        listener = self._listener
        listener.connections.add(self)
        listener.cxTotal.value += 1
        listener.cxActive.value += 1
        listener.workerTotal.value += 1
        listener.workerActive.value += 1
        if listener.accessLogs:
            self._record = ConnectionRecord(self.info, self._began)

    def connectionMade(self) -> None:
        """
        Hand the connection over to its chain.
        """
        if not self._isBegun:
            self.begin()
        else:
            self._shaken()
        transport: Any = self.transport
        if self.chain.filters:
            made = [each.buildFilter(self.info) for each in self.chain.filters]
            gate = self._gate = Gate(self, [each for each in made if each is not None], self.info, transport)
            self.dataReceived = gate.dataReceived  # type: ignore[method-assign]
            gate.begin()
        else:
            self.makeInner()

    def _shaken(self) -> None:
        """
        The handshake is over.
        """
        transport: Any = self.transport
        self.handshake = None
        info, tls = self.info, transport.tls
        info.tls = tls
        info.peerNames = tls.peerNames

    def handshakeFailed(self, why: str, details: str = "") -> None:
        """
        There will be no transport; the socket is closed.

        @param why: The transport failure reason.
        @param details: The connection termination details.
        """
        self.handshake = None
        info = self.info
        info.transportFailureReason = why
        info.terminationDetails = details
        self.connectionLost()

    def makeInner(self) -> None:
        """
        Let the terminal filter take over.
        """
        terminal = self.chain.terminal
        assert terminal is not None
        transport: Any = self.transport
        inner = self._inner = terminal.buildProtocol(self.info)
        if self._record is not None and not isinstance(inner, TCPSide):
            self._record.countWrites(transport)
        if self._gate is None:
            # From here on bytes go to the chain's protocol without passing this one.
            self.dataReceived = self._receiver(inner)  # type: ignore[method-assign]
        inner.makeConnection(transport)

    def _receiver(self, inner: Any) -> Any:
        """
        Where bytes go, once no filter wants to see them.
        """
        if self._record is None or isinstance(inner, TCPSide):
            return inner.dataReceived
        return self._record.countReads(inner.dataReceived)

    def replaceInner(self, inner: Any) -> None:
        """
        Another protocol takes the connection over, or the same in another way.
        """
        self._inner = inner
        if self._gate is None or self._gate.isOpen:
            self.dataReceived = self._receiver(inner)  # type: ignore[method-assign]

    def passOn(self, data: bytes) -> None:
        """
        See L{meshproxy.listener.gate.IGated.passOn}.
        """
        self._receiver(self._inner)(data)

    def gateOpened(self) -> None:
        """
        See L{meshproxy.listener.gate.IGated.gateOpened}.
        """
        inner = self._inner
        self.dataReceived = self._receiver(inner)  # type: ignore[method-assign]
        if isinstance(inner, TCPSide):
            inner.gateOpened()

    def readConnectionLost(self) -> None:
        """
        The peer finished writing.
        """
        if self._gate is None or not self._gate.readEnded():
            self.finishReading()

    def finishReading(self) -> None:
        """
        Tell the chain's protocol; one that knows nothing of half-closed connections loses its connection.
        """
        inner = IHalfCloseableProtocol(self._inner, None)
        if inner is not None:
            inner.readConnectionLost()
        elif isinstance(self._inner, (HTTP1Connection, HTTP2Connection)):
            self._inner.peerFinished()
        elif self.transport is not None:
            transport: Any = self.transport
            transport.unregisterProducer()
            transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """
        This side finished writing.
        """
        inner = IHalfCloseableProtocol(self._inner, None)
        if inner is not None:
            inner.writeConnectionLost()

    def connectionLost(self, reason: Any = None) -> None:
        """
        The connection is gone.
        """
        listener = self._listener
        connections = listener.connections
        connections.discard(self)
        listener.cxActive.value -= 1
        listener.workerActive.value -= 1
        listener.cxDestroy.value += 1
        listener.cxLengthMs.record(int((listener.proxy.clock.seconds() - self._began) * 1000))
        gate, inner = self._gate, self._inner
        self._gate = self._inner = None
        if gate is not None:
            gate.connectionLost(reason)
            if isinstance(inner, TCPSide):
                inner.record.countWithheld(gate.withheld)
        if self._record is not None:
            if isinstance(inner, TCPSide):
                inner.record.update()
            listener.logConnection(inner.record if isinstance(inner, TCPSide) else self._record)
        if inner is not None:
            inner.connectionLost(reason)
        elif gate is not None and self.chain.terminal is not None:
            self.chain.terminal.turnedAway(self.info)
        if listener.whenEmpty is not None and not connections:
            listener.checkEmpty()

    def leave(self) -> None:
        """
        The time to drain is over for the connection's chain: bytes that belong to no protocol have no better end.
        """
        if isinstance(self._inner, TCPSide):
            self._inner.record.close(_CHAIN_REMOVED)

    def abort(self) -> None:
        """
        Close at once.
        """
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()
        elif self.handshake is not None:
            self.handshake.cancel()
            self.handshakeFailed("")
