# -*- test-case-name: tests.controlplane.test_tls -*-
"""
The control plane's own side of TLS: a certificate of its own authority, renewed in time, and clients who may show
theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from zope.interface import implementer

from meshproxy.controlplane.ca.authority import Authority, Issued
from meshproxy.controlplane.ca.certificates import newKey

__all__ = ["ServerTLS", "peerURIs"]

_LIFE = timedelta(days=30)


@implementer(IOpenSSLServerConnectionCreator)
class ServerTLS:
    """
    Makes the server's side of connections. A client need not show a certificate (its first one it gets by a token), but
    one that it shows is verified.
    """

    def __init__(
        self,
        authority: Authority,
        names: Sequence[str],
        seconds: Callable[[], float],
        protocols: Sequence[bytes] = (b"h2",),
    ) -> None:
        """
        @param names: Host names and addresses, for the certificate.
        @param seconds: The time, since 1970.
        @param protocols: What is spoken inside, for ALPN.
        """
        self._authority = authority
        self._names = [_generalName(name) for name in names]
        self._seconds = seconds
        self._protocols = list(protocols)
        self._context: SSL.Context | None = None
        self._renewAt = 0.0
        self._roots: Sequence[x509.Certificate] = ()

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """
        See L{IOpenSSLServerConnectionCreator}.
        """
        now = self._seconds()
        if self._context is None or now >= self._renewAt or self._authority.roots != self._roots:
            self._renew(now)
        assert self._context is not None
        return SSL.Connection(self._context, None)

    def _renew(self, now: float) -> None:
        key = newKey()
        issued = self._authority.issueServer(key.public_key(), self._names, _LIFE)
        self._context = self._contextOf(key, issued)
        self._roots = issued.roots
        # At half of its life, and of whatever shorter one the authority gave.
        self._renewAt = now + max(1.0, (issued.notAfter.timestamp() - now) / 2)

    def _contextOf(self, key: Any, issued: Issued) -> SSL.Context:
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_CIPHER_SERVER_PREFERENCE)
        # SSL_MODE_RELEASE_BUFFERS: half the memory of an idle connection.
        context.set_mode(0x10)
        # A session that was resumed would skip the client's certificate (CVE-2022-21654).
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_options(SSL.OP_NO_TICKET)
        context.use_privatekey(crypto.PKey.from_cryptography_key(key))
        leaf, *chain = issued.chain
        context.use_certificate(crypto.X509.from_cryptography(leaf))
        for one in chain:
            context.add_extra_chain_cert(crypto.X509.from_cryptography(one))
        store = context.get_cert_store()
        assert store is not None
        for root in issued.roots:
            store.add_cert(crypto.X509.from_cryptography(root))
        context.set_verify(SSL.VERIFY_PEER, lambda connection, certificate, error, depth, isGood: bool(isGood))
        context.set_alpn_select_callback(self._choose)
        return context

    def _choose(self, connection: SSL.Connection, offered: list[bytes]) -> Any:
        for protocol in self._protocols:
            if protocol in offered:
                return protocol
        # Strict: whoever speaks something else is told so (ALPACA). What pyOpenSSL has for "none" goes on without one.
        raise SSL.Error([("SSL routines", "", "no application protocol")])


def _generalName(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def peerURIs(transport: Any) -> list[str]:
    """
    The URIs in the certificate that a peer showed, and that was verified; none without one.
    """
    ask = getattr(transport, "getPeerCertificate", None)
    shown = ask() if ask is not None else None
    if shown is None:
        return []
    try:
        extension = shown.to_cryptography().extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return []
    uris: list[str] = extension.value.get_values_for_type(x509.UniformResourceIdentifier)
    return uris
