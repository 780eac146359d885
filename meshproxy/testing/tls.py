# -*- test-case-name: tests.listener.test_transports -*-
"""
TLS for the peers of a proxy in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IProtocol

from meshproxy.net.tlsbuffered import beginTLS
from meshproxy.net.tlsinfo import TLSInfo
from meshproxy.testing.pki import Credential

__all__ = ["PeerHandshake", "TLSPeer", "clientContext", "serverContext"]


class PeerHandshake:
    """
    A handshake of OpenSSL's own, without anything of the proxy's.

    @ivar connection: OpenSSL's object.
    """

    def __init__(self, connection: SSL.Connection) -> None:
        self.connection = connection

    def succeeded(self) -> TLSInfo:
        """
        See L{meshproxy.net.tls.Handshake.succeeded}.
        """
        return TLSInfo(self.connection, False)

    def settled(self) -> None:
        """
        See L{meshproxy.net.tls.Handshake.settled}.
        """

    def failed(self, why: str) -> str:
        """
        See L{meshproxy.net.tls.Handshake.failed}.
        """
        return why

    def broken(self) -> None:
        """
        See L{meshproxy.net.tls.Handshake.broken}.
        """


def _use(context: SSL.Context, credential: Credential | None) -> SSL.Context:
    if credential is not None:
        context.use_certificate(credential.certificate)
        for issuer in credential.issuers:
            context.add_extra_chain_cert(issuer)
        context.use_privatekey(credential.key)
    return context


def clientContext(credential: Credential | None = None, alpn: Sequence[bytes] = ()) -> SSL.Context:
    """
    A client that verifies nothing.
    """
    context = _use(SSL.Context(SSL.TLS_CLIENT_METHOD), credential)
    if alpn:
        context.set_alpn_protos(list(alpn))
    return context


def serverContext(credential: Credential, alpn: Sequence[bytes] = (), asksClients: bool = False) -> SSL.Context:
    """
    A server that verifies nothing.

    @param asksClients: Whether clients are asked for a certificate.
    """
    context = _use(SSL.Context(SSL.TLS_SERVER_METHOD), credential)
    context.set_verify(SSL.VERIFY_PEER if asksClients else SSL.VERIFY_NONE, lambda *asked: True)
    if alpn:
        context.set_alpn_select_callback(
            lambda connection, offered: next((each for each in alpn if each in offered), SSL.NO_OVERLAPPING_PROTOCOLS)
        )
    return context


class TLSPeer:
    """
    Stands between a connection in memory and a peer's protocol, and speaks TLS.

    @ivar failure: What the handshake failed with, L{None} if it did not.
    @ivar connection: OpenSSL's object, from the moment of the connection.
    """

    def __init__(self, protocol: IProtocol, context: SSL.Context, serverName: bytes | None = None) -> None:
        """
        @param protocol: Is told of the connection when the handshake is over.
        @param serverName: The name that a client asks for; L{None} for a server, empty for a client without.
        """
        self.failure: Exception | None = None
        self.connection: SSL.Connection | None = None
        self._protocol = protocol
        self._context = context
        self._serverName = serverName

    def _start(self, sock: Any) -> PeerHandshake:
        connection = self.connection = SSL.Connection(self._context, sock)
        if self._serverName is None:
            connection.set_accept_state()
        else:
            if self._serverName:
                connection.set_tlsext_host_name(self._serverName)
            connection.set_connect_state()
        return PeerHandshake(connection)

    def makeConnection(self, transport: Any) -> None:
        """
        It is connected.
        """
        transport.stopReading()

        def failed(error: Exception) -> None:
            self.failure = error

        peer = transport.peerAddress
        beginTLS(transport.reactor, transport.socket, peer, self._start, self._protocol, failed)
