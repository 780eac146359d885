# -*- test-case-name: tests.secrets.test_handshakes -*-
"""
TLS with clients: C{DownstreamTlsContext}.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL, crypto

from meshproxy.config import Section
from meshproxy.errors import TLSError
from meshproxy.net.certificates import fingerprint
from meshproxy.net.openssl import onServerName
from meshproxy.secrets.keys import CertifiedKey
from meshproxy.secrets.material import Material, prepare
from meshproxy.secrets.session import TLSSession, verifyPeer
from meshproxy.secrets.side import TLSSide
from meshproxy.secrets.stapling import MUST, Stapling, mustStaple
from meshproxy.secrets.stats import TLSStats
from meshproxy.secrets.store import SecretStore
from meshproxy.stats import Scope

__all__ = ["DownstreamContexts", "DownstreamTLS", "useKeys"]

_Keys = tuple[CertifiedKey, ...]


def useKeys(context: SSL.Context, keys: Sequence[CertifiedKey]) -> None:
    """
    Give a context its certificates, with the chain of each.
    """
    for key in keys:
        if len(keys) == 1:
            context.use_certificate(key.leaf)
            for issuer in key.chain[1:]:
                context.add_extra_chain_cert(issuer)
        else:
            # Only from a file does OpenSSL take a chain that belongs to one of several certificates.
            with tempfile.NamedTemporaryFile() as file:
                for each in key.chain:
                    file.write(each.public_bytes(serialization.Encoding.PEM))
                file.flush()
                context.use_certificate_chain_file(file.name)
        context.use_privatekey(key.key)


class _NoCommonProtocol(TLSError):
    """
    The client offers application protocols, and none that is served.
    """


class DownstreamContexts:
    """
    One version: the certificates by server name.

    @ivar isAsked: Whether clients are asked for a certificate.
    """

    def __init__(self, tls: DownstreamTLS, material: Material) -> None:
        self._tls = tls
        self.validation = material.validation
        self._sessionId = self._digest(material)
        self.isAsked = self._mode != SSL.VERIFY_NONE
        self._made: dict[tuple[int, ...], SSL.Context] = {}
        self._byName: dict[str, SSL.Context] = {}
        everyKind = _firstOfKinds(material.keys)
        self.base = self._context(everyKind)
        # As in Envoy, a name that no certificate is for gets the first one, unless all are to be looked through.
        self._mismatched = self.base if tls.fullScan else self._context(material.keys[:1])
        if len(material.keys) > 1:
            self._addNames(material.keys)
        self._callback = onServerName(self.base, self._choose) if self._byName or tls.requireSNI else None

    def _digest(self, material: Material) -> bytes:
        """
        What sessions belong to: a change of anything that clients are verified by, or that they rely on, ends them
        (CVE-2022-21654).
        """
        digest = hashlib.sha256(material.validation.digest)
        for key in material.keys:
            digest.update(fingerprint(key.leaf).encode("ascii"))
        digest.update(repr((self._tls.alpn, self._tls.isRequired, self._tls.section.path)).encode("utf-8"))
        return digest.digest()

    def _addNames(self, keys: _Keys) -> None:
        names: dict[str, dict[str, CertifiedKey]] = {}
        for key in keys:
            for name in key.names:
                names.setdefault(name.lower(), {}).setdefault(key.kind, key)
        for name, byKind in names.items():
            wildcard = names.get("*" + name[name.find(".") :], {}) if "." in name else {}
            self._byName[name] = self._context(self._withOther(tuple({**wildcard, **byKind}.values()), keys))

    def _withOther(self, named: _Keys, keys: _Keys) -> _Keys:
        """
        As in Envoy, a client that cannot use the ECDSA certificate for its name gets an RSA certificate for another one
        rather than none: any, where all are looked through, else the first of all.
        """
        if self._tls.prefersClientCiphers or any(key.kind == "rsa" for key in named):
            return named
        others = keys if self._tls.fullScan else keys[:1]
        return (*named, *[key for key in others if key.kind == "rsa"][:1])

    def _context(self, keys: _Keys) -> SSL.Context:
        identity = tuple(map(id, keys))
        if identity not in self._made:
            self._made[identity] = self._make(keys)
        return self._made[identity]

    def _make(self, keys: _Keys) -> SSL.Context:
        tls = self._tls
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        prepare(context, tls.parameters, self.validation, tls.keyLog)
        useKeys(context, keys)
        if not tls.prefersClientCiphers:
            context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
        if not tls.hasTickets:
            context.set_options(SSL.OP_NO_TICKET)
        context.set_session_cache_mode(SSL.SESS_CACHE_SERVER if tls.hasSessions else SSL.SESS_CACHE_OFF)
        if tls.sessionTimeout:
            context.set_timeout(tls.sessionTimeout)
        context.set_session_id(self._sessionId)
        context.set_verify(self._mode, verifyPeer)
        for root in self.validation.namedRoots:
            context.add_client_ca(crypto.X509.from_cryptography(root))
        context.set_ocsp_server_callback(Stapling(keys, tls.staplePolicy, tls.now, tls.stats).answer)
        if tls.alpn:
            context.set_alpn_select_callback(tls.chooseProtocol)
        return context

    @property
    def _mode(self) -> int:
        if self._tls.isRequired:
            return SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
        return SSL.VERIFY_PEER if self.validation.verifies else SSL.VERIFY_NONE

    def _choose(self, connection: SSL.Connection) -> bool:
        """
        Take the certificate for the server name that the client asked for.
        """
        name = (connection.get_servername() or b"").decode("ascii", "replace").lower()
        if not name:
            return not self._tls.requireSNI
        byName = self._byName
        if byName:
            found = byName.get(name) or byName.get("*" + name[name.find(".") :] if "." in name else "")
            context = self._mismatched if found is None else found
            if context is not self.base:
                connection.set_context(context)
                # OpenSSL takes the certificate over, but not whether the client has to show one.
                connection.set_verify(self._mode, verifyPeer)
        return True


def _firstOfKinds(keys: _Keys) -> _Keys:
    found: dict[str, CertifiedKey] = {}
    for key in keys:
        found.setdefault(key.kind, key)
    return tuple(found.values())


class DownstreamTLS(TLSSide[DownstreamContexts]):
    """
    The TLS of a filter chain.

    @ivar isRequired: Whether clients need a certificate.
    """

    def __init__(self, section: Section, secrets: SecretStore, scope: Scope, stats: TLSStats | None = None) -> None:
        """
        @param section: A C{DownstreamTlsContext} message.
        @param scope: The listener's.
        """
        TLSSide.__init__(self, section, secrets, scope, stats, True)
        self.isRequired: bool = section.wrapped("require_client_certificate", False)
        self.requireSNI: bool = section.wrapped("require_sni", False)
        self.fullScan: bool = section.wrapped("full_scan_certs_on_sni_mismatch", False)
        self.prefersClientCiphers: bool = section.get("prefer_client_ciphers")
        self.hasTickets = not section.get("disable_stateless_session_resumption")
        self.hasSessions = not section.get("disable_stateful_session_resumption")
        self.staplePolicy: str = section.get("ocsp_staple_policy")
        self.now = secrets.clock.seconds
        self.sessionTimeout = int(section.seconds("session_timeout", 0.0))
        common = section.child("common_tls_context")
        if common is None or not (common.has("tls_certificates") or common.has("tls_certificate_sds_secret_configs")):
            section.refuse(
                "a server needs a certificate: tls_certificates or tls_certificate_sds_secret_configs",
                "common_tls_context",
            )
            return
        self._source.begin(self._makeContexts)
        secrets.users[self] = None

    def _makeContexts(self, material: Material) -> DownstreamContexts:
        """
        Make another version.

        @raise ConfigError: If a certificate that must not be shown without an OCSP response has none.
        """
        for key in material.keys:
            if key.staple is None and mustStaple(key.leaf):
                raise self.section.error(
                    f"the certificate in {key.path} says that it must be stapled to an OCSP response: ocsp_staple is "
                    "needed beside it",
                    "common_tls_context",
                )
            if key.staple is None and self.staplePolicy == MUST:
                raise self.section.error(
                    f"MUST_STAPLE asks for an OCSP response for every certificate; that in {key.path} has no "
                    "ocsp_staple",
                    "ocsp_staple_policy",
                )
        return DownstreamContexts(self, material)

    @property
    def contexts(self) -> DownstreamContexts | None:
        """
        The version that the next handshake takes.
        """
        return self._source.made

    def session(self, sock: Any) -> TLSSession:
        """
        The handshake of a connection.

        @param sock: Its socket, or L{None} for one that moves the bytes itself.

        @raise TLSError: If a secret has not come yet.
        """
        contexts = self._source.made
        if contexts is None:
            raise TLSError(self.notReady())
        connection = SSL.Connection(contexts.base, sock)
        connection.set_accept_state()
        return TLSSession(connection, contexts.validation, self.stats, isAsked=contexts.isAsked)

    def chooseProtocol(self, connection: SSL.Connection, offered: list[bytes]) -> bytes:
        """
        Choose among the application protocols that a client offers.
        """
        for name in self.alpn:
            if name in offered:
                return name
        raise _NoCommonProtocol("SSL routines::no application protocol")
