# -*- test-case-name: tests.grpc.test_server -*-
"""
What both ends of a gRPC connection have in common: an HTTP/2 codec on a transport.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from meshproxy.codec.http2.connection import ConnectionCodec
from meshproxy.errors import RemoteProtocolError

__all__ = ["GRPCConnection", "KEEPALIVE_TIMEOUT"]

KEEPALIVE_TIMEOUT = 10.0
"""
Seconds that a peer has to answer a PING, in which nothing else came from it either.
"""


@implementer(IPushProducer)
class GRPCConnection(Protocol):
    """
    Moves bytes between a codec and a transport. A subclass makes the codec, and is its sink.

    @ivar isConnected: Whether there is a transport.
    """

    _log = Logger()
    codec: ConnectionCodec

    def __init__(self, reactor: Any, keepalive: float = 0.0) -> None:
        """
        @param reactor: C{IReactorTime}.
        @param keepalive: Seconds of silence after which the peer is asked whether it is there; 0 for never.
        """
        self.reactor = reactor
        self.isConnected = False
        self._keepalive = keepalive
        self._keepaliveCall: Any = None
        self._lastHeard = 0.0
        self._isPinging = False
        self._isReading = False
        self._isPaused = False
        self._restCall: Any = None

    def makeCodec(self) -> ConnectionCodec:
        """
        The codec of a new connection; the subclass' part.
        """
        raise NotImplementedError

    def connectionMade(self) -> None:
        """
        Announce ourselves.
        """
        self.isConnected = True
        self._lastHeard = self.reactor.seconds()
        self.codec = self.makeCodec()
        self.transport.registerProducer(self, True)  # type: ignore[union-attr]  # it is connected
        self.flush()
        self._watch()

    def dataReceived(self, data: bytes) -> None:
        """
        Bytes from the peer.
        """
        self._lastHeard = self.reactor.seconds()
        self._feed(lambda: self.codec.receiveData(data))

    def _feed(self, read: Any) -> None:
        self._isReading = True
        try:
            read()
        except RemoteProtocolError as error:
            self._log.info("{connection!r}: {why}", connection=self, why=error.why)
            self._isReading = False
            self.flush()
            self.close()
            return
        finally:
            self._isReading = False
        self.flush()
        if self.codec.hasRest and self._restCall is None and self.isConnected:
            # So many frames came at once that others are to have their turn first.
            self._restCall = self.reactor.callLater(0, self._resume)

    def _resume(self) -> None:
        self._restCall = None
        if self.isConnected:
            self._feed(self.codec.resume)

    def flush(self) -> None:
        """
        Write what the codec has to send; while bytes are being read, that is done once, at the end.
        """
        if self._isReading or not self.isConnected:
            return
        while data := self.codec.dataToSend():
            self.transport.write(data)  # type: ignore[union-attr]  # it is connected
        if not self._isPaused:
            self.codec.sent()

    def close(self) -> None:
        """
        Close when what was written is sent.
        """
        if self.isConnected:
            self.transport.loseConnection()  # type: ignore[union-attr]  # it is connected

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        The connection is gone, and each call with it.
        """
        self.isConnected = False
        for call in (self._keepaliveCall, self._restCall):
            if call is not None and call.active():
                call.cancel()
        self.codec.stop()
        why = reason.getErrorMessage()
        for stream in list(self.codec.streams.values()):
            sink = stream.sink
            stream.sink = None
            if sink is not None:
                sink.streamReset(-1, True, f"the connection was lost: {why}")

    # The transport's pace

    def pauseProducing(self) -> None:
        """
        See L{IPushProducer}.
        """
        self._isPaused = True
        self.codec.pauseSending()

    def resumeProducing(self) -> None:
        """
        See L{IPushProducer}.
        """
        self._isPaused = False
        self.codec.resumeSending()
        self.flush()

    def stopProducing(self) -> None:
        """
        See L{IPushProducer}.
        """

    # Whether the peer is there

    def _watch(self) -> None:
        if self._keepalive:
            self._keepaliveCall = self.reactor.callLater(self._keepalive, self._check)

    def _check(self) -> None:
        silent = self.reactor.seconds() - self._lastHeard
        if silent < self._keepalive:
            self._isPinging = False
            self._keepaliveCall = self.reactor.callLater(self._keepalive - silent, self._check)
        elif self._isPinging:
            self._log.info("{connection!r}: the peer does not answer", connection=self)
            self.transport.abortConnection()  # type: ignore[union-attr]  # it is connected
        else:
            self._isPinging = True
            self.codec.sendPing(b"meshprxy")
            self.flush()
            self._keepaliveCall = self.reactor.callLater(KEEPALIVE_TIMEOUT, self._check)

    # What the codec tells of the whole connection

    def goAwayReceived(self, lastStreamId: int, code: int, debug: bytes) -> None:
        """
        See L{meshproxy.codec.http2.IConnectionSink}.
        """

    def settingsReceived(self) -> None:
        """
        See L{meshproxy.codec.http2.IConnectionSink}.
        """

    def pingAnswered(self, opaque: bytes) -> None:
        """
        See L{meshproxy.codec.http2.IConnectionSink}; that something came is noticed anyway.
        """

    def __repr__(self) -> str:
        peer = self.transport.getPeer() if self.transport is not None else "nobody"
        return f"<{type(self).__name__} with {peer}>"
