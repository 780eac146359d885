# -*- test-case-name: tests.upstream.healthchecks.test_tcp -*-
"""
Checks over TCP: C{tcp_health_check}.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from meshproxy.config import Section
from meshproxy.interfaces import ICancellable
from meshproxy.net.outgoingheader import OutgoingHeader
from meshproxy.upstream.healthchecks.exchange import FailureKind, IJudge
from meshproxy.upstream.healthchecks.settings import compilePayloads, holdsAll

__all__ = ["Dial", "TCPCheck", "TCPProbe", "compileTCPCheck"]

#: Connects a protocol, and calls the function if that fails.
Dial = Callable[[Protocol, Callable[[Exception], object]], ICancellable]

# An endpoint that never says what is expected may say any amount of something else.
_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class TCPCheck:
    """
    What is said, and what has to come.

    @ivar sent: Written on each check; with nothing to be received, on none.
    @ivar received: What must come, in this order; nothing for the connection alone.
    @ivar header: What each check begins with, of the PROXY protocol; L{None} for nothing.
    """

    sent: bytes
    received: tuple[bytes, ...]
    header: OutgoingHeader | None


def compileTCPCheck(section: Section) -> TCPCheck:
    """
    Read it from a C{TcpHealthCheck}.
    """
    sent = section.child("send")
    header = section.child("proxy_protocol_config")
    return TCPCheck(
        b"" if sent is None else b"".join(compilePayloads([sent])),
        compilePayloads(section.children("receive")),
        None if header is None else OutgoingHeader(header),
    )


class TCPProbe:
    """
    Asks an endpoint.
    """

    def __init__(self, check: TCPCheck, dial: Dial, judge: IJudge, reusesConnection: bool) -> None:
        self._check = check
        self._dial = dial
        self._judge = judge
        self._reuses = reusesConnection
        self._connection: _Connection | None = None
        self._attempt: ICancellable | None = None

    def begin(self) -> None:
        """
        See L{IProbe.begin<meshproxy.upstream.healthchecks.exchange.IProbe.begin>}.
        """
        if self._connection is not None:
            self._connection.ask()
            return
        connection = self._connection = _Connection(self)
        self._attempt = self._dial(connection, self._failed)

    def giveUp(self) -> None:
        """
        See L{IProbe.giveUp<meshproxy.upstream.healthchecks.exchange.IProbe.giveUp>}.
        """
        self._close()

    def stop(self) -> None:
        """
        See L{IProbe.stop<meshproxy.upstream.healthchecks.exchange.IProbe.stop>}.
        """
        self._close()

    def _close(self) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    def _failed(self, error: Exception) -> None:
        self._attempt = self._connection = None
        self._judge.failed(FailureKind.NETWORK)

    # What the connection tells

    def connected(self, connection: _Connection) -> None:
        """
        It is there.
        """
        self._attempt = None
        if self._check.received:
            connection.ask()
        else:
            # That there is one is all that was asked.
            self._close()
            self._judge.passed()

    def question(self, transport: Any) -> bytes:
        """
        What a check writes.
        """
        header = self._check.header
        if header is None:
            return self._check.sent
        return header.encode(None, transport.localAddress, transport.peerAddress)[0] + self._check.sent

    def answered(self, data: bytes) -> bool:
        """
        Something came.

        @return: Whether it was all.
        """
        if not holdsAll(data, self._check.received):
            if len(data) > _MOST_BYTES:
                self._close()
                self._judge.failed(FailureKind.NETWORK)
            return False
        if not self._reuses:
            self._close()
        self._judge.passed()
        return True

    def lost(self, connection: _Connection, wasAsked: bool) -> None:
        """
        The endpoint closed it. As in Envoy, that is a failure, be a check under way or not.
        """
        if self._connection is connection:
            self._connection = None
            self._judge.failed(FailureKind.NETWORK)


class _Connection(Protocol):
    """
    A connection for checks.
    """

    def __init__(self, probe: TCPProbe) -> None:
        self._probe = probe
        self._heard = bytearray()
        self._isAsked = False

    def connectionMade(self) -> None:
        """
        Tell.
        """
        self._probe.connected(self)

    def ask(self) -> None:
        """
        Begin a check.
        """
        self._isAsked = True
        transport: Any = self.transport
        data = self._probe.question(transport)
        if data:
            transport.write(data)
        if self._heard:
            self.dataReceived(b"")

    def dataReceived(self, data: bytes) -> None:
        """
        Bytes of an answer, or of none.
        """
        self._heard += data
        if self._isAsked and self._probe.answered(bytes(self._heard)):
            self._heard.clear()
            self._isAsked = False

    def connectionLost(self, reason: Failure | None = None) -> None:
        """
        It is gone.
        """
        self._probe.lost(self, self._isAsked)

    def abort(self) -> None:
        """
        Close at once.
        """
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()
