# -*- test-case-name: tests.secrets.test_handshakes -*-
"""
TLS with endpoints: C{UpstreamTlsContext}.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from typing import Any

from cryptography import x509
from OpenSSL import SSL

from meshproxy.config import Section
from meshproxy.errors import TLSError
from meshproxy.net.tlsinfo import TLSInfo
from meshproxy.secrets.downstream import useKeys
from meshproxy.secrets.material import Material, prepare
from meshproxy.secrets.names import isNamed
from meshproxy.secrets.session import TLSSession, verifyPeer
from meshproxy.secrets.side import TLSSide
from meshproxy.secrets.stats import TLSStats
from meshproxy.secrets.store import SecretStore
from meshproxy.secrets.validation import Validation
from meshproxy.stats import Scope

__all__ = ["UpstreamSession", "UpstreamTLS"]

# How many server names have their sessions kept; they may come from requests.
_MOST_NAMES = 256


class _UpstreamContext:
    """
    One version: the context, and the sessions that may be taken up again.

    @ivar sessions: By the server name and the names that were verified, lest one name's verification serve another.
    """

    def __init__(self, tls: UpstreamTLS, material: Material) -> None:
        validation = self.validation = material.validation
        self.sessions: dict[tuple[bytes, tuple[str, ...]], deque[SSL.Session]] = {}
        context = self.context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        prepare(context, tls.parameters, validation, tls.keyLog)
        useKeys(context, material.keys)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_session_id(hashlib.sha256(validation.digest).digest())
        asks = validation.verifies or tls.verifiesServerName
        context.set_verify(SSL.VERIFY_PEER if asks else SSL.VERIFY_NONE, verifyPeer)
        if tls.alpn:
            context.set_alpn_protos(list(tls.alpn))

    def keep(self, key: tuple[bytes, tuple[str, ...]], session: SSL.Session, most: int) -> None:
        """
        Keep a session for the next connection.
        """
        kept = self.sessions.get(key)
        if kept is None:
            if len(self.sessions) >= _MOST_NAMES:
                del self.sessions[next(iter(self.sessions))]
            kept = self.sessions[key] = deque(maxlen=most)
        kept.append(session)


class UpstreamSession(TLSSession):
    """
    The handshake with an endpoint.
    """

    def __init__(
        self,
        connection: SSL.Connection,
        made: _UpstreamContext,
        stats: TLSStats,
        key: tuple[bytes, tuple[str, ...]],
        mostSessions: int,
    ) -> None:
        names = key[1]
        TLSSession.__init__(
            self, connection, made.validation, stats, (lambda leaf: _misnamed(leaf, names)) if names else None
        )
        self._made = made
        self._key = key
        self._mostSessions = mostSessions

    def succeeded(self) -> TLSInfo:
        """
        See L{meshproxy.net.tls.Handshake.succeeded}.
        """
        info = TLSSession.succeeded(self)
        info.serverName = self._key[0].decode("ascii", "replace")
        return info

    def settled(self) -> None:
        """
        See L{meshproxy.net.tls.Handshake.settled}.
        """
        if self._mostSessions:
            session = self.connection.get_session()
            if session is not None:
                self._made.keep(self._key, session, self._mostSessions)


def _misnamed(leaf: x509.Certificate, names: Sequence[str]) -> tuple[str, str] | None:
    if any(isNamed(leaf, name) for name in names):
        return None
    return "fail_verify_san", "verify cert failed: verify SAN list"


class UpstreamTLS(TLSSide[_UpstreamContext]):
    """
    The TLS of a cluster, or of some of its endpoints.

    @ivar sni: The server name that is asked for, empty for none.
    @ivar usesHostname: Whether it is the endpoint's host name, where that is known.
    @ivar verifiesServerName: Whether the endpoint's certificate has to be for the server name that was asked for.
    """

    def __init__(self, section: Section, secrets: SecretStore, scope: Scope, stats: TLSStats | None = None) -> None:
        """
        @param section: An C{UpstreamTlsContext} message.
        @param scope: The cluster's.
        """
        TLSSide.__init__(self, section, secrets, scope, stats, False)
        self.sni: str = section.get("sni")
        self.usesHostname: bool = section.get("auto_host_sni")
        self.verifiesServerName: bool = section.get("auto_sni_san_validation")
        self.mostSessions: int = section.wrapped("max_session_keys", 1)
        common = section.childOrEmpty("common_tls_context")
        if len(common.children("tls_certificates")) + len(common.children("tls_certificate_sds_secret_configs")) > 1:
            section.refuse("a client has one certificate at most", "common_tls_context.tls_certificates")
        if len(self.sni) > 255:
            section.refuse("a server name has 255 characters at most", "sni")
        self._source.begin(lambda material: _UpstreamContext(self, material))
        material = self._source.material
        if self.verifiesServerName and material is not None and not material.validation.verifies:
            section.refuse("needs a trusted_ca: names in a certificate that nobody verifies are worth nothing")
        secrets.users[self] = None

    @property
    def validation(self) -> Validation | None:
        """
        What endpoints are verified by now.
        """
        made = self._source.made
        return None if made is None else made.validation

    def session(
        self,
        sock: Any,
        serverName: str = "",
        names: tuple[str, ...] = (),
        alpn: tuple[bytes, ...] = (),
        isOverridden: bool = False,
    ) -> UpstreamSession:
        """
        The handshake of a connection.

        @param sock: Its socket, or L{None} for one that moves the bytes itself.
        @param serverName: The name to ask for; empty for the configured one.
        @param names: One of these the endpoint has to have in its certificate.
        @param alpn: What to offer where the configuration offers nothing.
        @param isOverridden: Whether to offer that in any case.

        @raise TLSError: If a secret has not come yet.
        """
        made = self._source.made
        if made is None:
            raise TLSError(self.notReady())
        connection = SSL.Connection(made.context, sock)
        name = (serverName or self.sni).encode("utf-8", "surrogateescape")
        if name:
            connection.set_tlsext_host_name(name)
        if self.verifiesServerName and name and not names:
            names = (serverName or self.sni,)
        if alpn and (isOverridden or not self.alpn):
            connection.set_alpn_protos(list(alpn))
        key = (name, names)
        kept = made.sessions.get(key)
        if kept:
            # RFC 8446, C.4: a ticket is used once, lest connections can be told to be the same client's.
            connection.set_session(kept.pop())
        connection.set_connect_state()
        return UpstreamSession(connection, made, self.stats, key, self.mostSessions)
