# -*- test-case-name: tests.listener.test_transports -*-
"""
How the connections of a filter chain get their transports: C{transport_socket}.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Protocol

from twisted.internet.interfaces import IReactorTime

from meshproxy.config import Section
from meshproxy.errors import HandshakeTimeout, TLSError
from meshproxy.interfaces import IAcceptedSocket
from meshproxy.net.deadlines import Deadlines
from meshproxy.net.tls import TLSTransport
from meshproxy.net.tlsbuffered import beginTLS
from meshproxy.secrets.downstream import DownstreamTLS
from meshproxy.secrets.store import SecretStore
from meshproxy.stats import Scope

if TYPE_CHECKING:
    from meshproxy.listener.connection import DownstreamConnection

__all__ = ["DEFAULT_TIMEOUT", "ChainTransport", "RawTransport", "TLSTransports", "compileTransport"]

_RAW_BUFFER = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
_TLS = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"

#: The fields of a CommonTlsContext that say how clients are verified.
_VALIDATION = ("validation_context", "validation_context_sds_secret_config", "combined_validation_context")

#: Seconds that a handshake may take where C{transport_socket_connect_timeout} says nothing. Envoy waits for ever.
DEFAULT_TIMEOUT = 60.0


class ChainTransport(Protocol):
    """
    How the connections of a filter chain get their transports.

    @ivar trust: By what peers are believed; connections that came under one do not live on under another.
    """

    trust: object

    def begin(self, sock: IAcceptedSocket, connection: DownstreamConnection, bufferLimit: int) -> None:
        """
        Make a transport of a socket, of whose bytes none is read yet, and make a connection's protocol with it.

        @param connection: Its C{makeConnection} is to be called with the transport; its C{info} takes what is found
            out about the peer.
        """

    def stop(self) -> None:
        """
        There will be no more connections: give up what is held.
        """


class RawTransport:
    """
    Leaves the bytes as they are.
    """

    trust: object = "raw"

    def begin(self, sock: IAcceptedSocket, connection: DownstreamConnection, bufferLimit: int) -> None:
        """
        See L{ChainTransport.begin}.
        """
        sock.begin(connection, bufferLimit)

    def stop(self) -> None:
        """
        See L{ChainTransport.stop}.
        """


class TLSTransports:
    """
    Speaks TLS. A connection counts from the beginning of its handshake.
    """

    def __init__(self, tls: DownstreamTLS, clock: IReactorTime, timeout: float, scope: Scope) -> None:
        """
        @param timeout: Seconds that a handshake may take.
        @param scope: The listener's.
        """
        self.tls = tls
        common = tls.section.childOrEmpty("common_tls_context")
        rules = [common.child(name) for name in _VALIDATION]
        told = tuple(None if rule is None else rule.message.SerializeToString(deterministic=True) for rule in rules)
        self.trust: object = ("tls", tls.isRequired, told)
        self._deadlines = Deadlines(clock, timeout, TLSTransport.late)
        self._timedOut = scope.counter("downstream_cx_transport_socket_connect_timeout")

    def begin(self, sock: IAcceptedSocket, connection: DownstreamConnection, bufferLimit: int) -> None:
        """
        See L{ChainTransport.begin}.
        """
        connection.begin()
        if not self.tls.isReady:
            sock.close()
            connection.handshakeFailed(self.tls.notReady())
            return

        def failed(error: Exception) -> None:
            if isinstance(error, HandshakeTimeout):
                self._timedOut.value += 1
                connection.info.localCloseReason = "transport_socket_timeout"
                connection.handshakeFailed("", "transport socket timeout was reached")
            else:
                connection.handshakeFailed(error.why if isinstance(error, TLSError) else "")

        if sock.peerAddress.isIP:
            try:
                sock.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError:
                pass  # already reset by its peer: the first read says so
        transport = beginTLS(
            sock.reactor,
            sock.socket,
            sock.peerAddress,
            self.tls.session,
            connection,
            failed,
            bufferLimit,
            self._deadlines,
            sock.localAddress,
        )
        connection.handshake = transport

    def stop(self) -> None:
        """
        See L{ChainTransport.stop}.
        """
        self.tls.stop()
        if not self._deadlines.waiting:
            self._deadlines.stop()


def compileTransport(section: Section, secrets: SecretStore, scope: Scope) -> ChainTransport:
    """
    Read the C{transport_socket} of a C{FilterChain} message.
    """
    transport = section.child("transport_socket")
    config = None if transport is None else transport.any("typed_config")
    if transport is None or (config is not None and config.typeName == _RAW_BUFFER):
        return RawTransport()
    if config is not None and config.typeName == _TLS:
        timeout = section.seconds("transport_socket_connect_timeout", DEFAULT_TIMEOUT) or DEFAULT_TIMEOUT
        return TLSTransports(DownstreamTLS(config, secrets, scope), secrets.clock, timeout, scope)
    transport.refuse(
        f"of the transport sockets, only envoy.transport_sockets.tls ({_TLS}) and envoy.transport_sockets.raw_buffer "
        f"({_RAW_BUFFER}) are implemented"
    )
    return RawTransport()
