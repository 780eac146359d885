# -*- test-case-name: tests.net.test_tlsinfo -*-
"""
The facts about one TLS session, read when somebody asks for them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from cryptography import x509
from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL

from meshproxy.net.certificates import AltNames, altNames, derText, fingerprint, nameText, pemOf, serialOf, timeText
from meshproxy.net.openssl import isSessionResumed, sessionKind

__all__ = ["TLSInfo", "percentEncoded"]

_lib: Any = Binding.lib
_ffi: Any = Binding.ffi

_NO_NAMES = AltNames()

# As in Envoy, who shows no certificate has a subject without a name.
_NOBODY = ("",)


class TLSInfo:
    """
    What logs, policies and headers want to know of a session.

    @ivar isValidated: Whether the peer's certificate was verified, and found good.
    @ivar serverName: The server name that was asked for.
    @ivar told: What was made of the facts already, by whom.
    """

    def __init__(
        self, connection: SSL.Connection, isValidated: bool, serverName: str = "", isAsked: bool = True
    ) -> None:
        """
        @param isAsked: Whether the peer may have presented a certificate: clients do when they are asked.
        """
        self._connection = connection
        if not isAsked:
            self.peerCertificate = None
            self.peerNames = _NOBODY
        self.isValidated = isValidated
        self.serverName = serverName
        self.told: dict[object, bytes] = {}

    @cached_property
    def peerCertificate(self) -> x509.Certificate | None:
        """
        What the peer presented.
        """
        try:
            return self._connection.get_peer_certificate(as_cryptography=True)
        except ValueError:
            return None

    @cached_property
    def localCertificate(self) -> x509.Certificate | None:
        """
        What this side presented.
        """
        return self._connection.get_certificate(as_cryptography=True)

    @cached_property
    def peerChain(self) -> tuple[x509.Certificate, ...]:
        """
        All certificates that the peer sent, its own first.
        """
        leaf = self.peerCertificate
        if leaf is None:
            return ()
        sent = self._connection.get_peer_cert_chain(as_cryptography=True) or []
        # A server does not get the client's own certificate in this list, a client the server's.
        return (leaf, *(each for each in sent if each != leaf))

    @cached_property
    def peerIssuer(self) -> x509.Certificate | None:
        """
        The certificate that the peer's was verified by; L{None} where it was not.
        """
        if not self.isValidated or self.peerCertificate is None:
            return None
        chain = self._connection.get_verified_chain(as_cryptography=True) or []
        return chain[1] if len(chain) > 1 else None

    @cached_property
    def _peer(self) -> AltNames:
        certificate = self.peerCertificate
        return _NO_NAMES if certificate is None else altNames(certificate)

    @cached_property
    def _local(self) -> AltNames:
        certificate = self.localCertificate
        return _NO_NAMES if certificate is None else altNames(certificate)

    @property
    def peerAltNames(self) -> AltNames:
        """
        The alternative names in the peer's certificate.
        """
        return self._peer

    @property
    def localAltNames(self) -> AltNames:
        """
        The alternative names in this side's certificate.
        """
        return self._local

    @property
    def isPresented(self) -> bool:
        """
        Whether the peer presented a certificate.
        """
        return self.peerCertificate is not None

    @cached_property
    def peerNames(self) -> tuple[str, ...]:
        """
        By which names the peer is authorized: URI names, then DNS names, then the subject.
        """
        if self.peerCertificate is None:
            return _NOBODY
        return (*self._peer.uris, *self._peer.dns, self.get("PEER_SUBJECT"))

    @property
    def version(self) -> str:
        """
        C{TLSv1.3}.
        """
        return self._connection.get_protocol_version_name()

    @property
    def cipher(self) -> str:
        """
        C{TLS_AES_128_GCM_SHA256}, C{ECDHE-RSA-AES128-GCM-SHA256}.
        """
        return self._connection.get_cipher_name() or ""

    @property
    def group(self) -> str:
        """
        The group of the key exchange by Envoy's name: C{X25519}, C{P-256}.
        """
        name = self._connection.get_group_name() or ""
        return _GROUPS.get(name, name)

    @property
    def kind(self) -> tuple[int, object, bytes]:
        """
        Version, cipher and group as one, the same for all sessions that have the same.
        """
        return sessionKind(self._connection)

    @property
    def isResumed(self) -> bool:
        """
        Whether it took up an earlier session.
        """
        return isSessionResumed(self._connection)

    @cached_property
    def sessionId(self) -> str:
        """
        The session's id in hexadecimal digits; empty where there is none.
        """
        session = self._connection.get_session()
        return "" if session is None else _sessionId(session).hex()

    def moment(self, fact: str) -> float | None:
        """
        The beginning (C{PEER_CERT_V_START}) or the end (C{PEER_CERT_V_END}) of the peer's certificate, in seconds since
        the epoch.
        """
        certificate = self.peerCertificate
        if certificate is None:
            return None
        when = certificate.not_valid_before_utc if fact.endswith("START") else certificate.not_valid_after_utc
        return when.timestamp()

    def get(self, fact: str) -> str:
        """
        A fact by the name of the operator that shows it: C{PEER_SUBJECT}, C{TLS_VERSION}; empty if there is none.
        """
        read = _FACTS.get(fact)
        return "" if read is None else read(self)


def _sessionId(session: Any) -> bytes:
    """
    The id in a session: the fourth member of its DER (C{SSL_SESSION} in OpenSSL's ssl_asn1.c).
    """
    length = _lib.i2d_SSL_SESSION(session._session, _ffi.NULL)
    if length <= 0:
        return b""
    held = _ffi.new("unsigned char[]", length)
    _lib.i2d_SSL_SESSION(session._session, _ffi.new("unsigned char **", held))
    der = bytes(_ffi.buffer(held, length))
    position = _afterHeader(der, 0)
    for _ in range(3):
        position = _afterHeader(der, position) + _lengthAt(der, position)
    start = _afterHeader(der, position)
    return der[start : start + _lengthAt(der, position)]


def _lengthAt(der: bytes, position: int) -> int:
    first = der[position + 1]
    return first if first < 0x80 else int.from_bytes(der[position + 2 : position + 2 + (first & 0x7F)], "big")


def _afterHeader(der: bytes, position: int) -> int:
    first = der[position + 1]
    return position + 2 + (0 if first < 0x80 else first & 0x7F)


# OpenSSL's names for what Envoy calls otherwise.
_GROUPS = {"x25519": "X25519", "secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521", "prime256v1": "P-256"}


def _of(which: str, read: Callable[[x509.Certificate], str]) -> Callable[[TLSInfo], str]:
    def fact(info: TLSInfo) -> str:
        certificate = info.peerCertificate if which == "PEER" else info.localCertificate
        return "" if certificate is None else read(certificate)

    return fact


def _ofChain(read: Callable[[x509.Certificate], str]) -> Callable[[TLSInfo], str]:
    return lambda info: ",".join(map(read, info.peerChain))


def _ofIssuer(read: Callable[[x509.Certificate], str]) -> Callable[[TLSInfo], str]:
    return lambda info: "" if info.peerIssuer is None else read(info.peerIssuer)


def _others(names: AltNames) -> str:
    return ",".join(derText(value).decode("utf-8", "replace") for _, value in names.others)


_FACTS: dict[str, Callable[[TLSInfo], str]] = {
    "TLS_VERSION": lambda info: info.version,
    "TLS_CIPHER": lambda info: info.cipher,
    "TLS_GROUP": lambda info: info.group,
    "TLS_SESSION_ID": lambda info: info.sessionId,
    "PEER_URI_SAN": lambda info: ",".join(info.peerAltNames.uris),
    "PEER_DNS_SAN": lambda info: ",".join(info.peerAltNames.dns),
    "PEER_IP_SAN": lambda info: ",".join(info.peerAltNames.ips),
    "PEER_EMAIL_SAN": lambda info: ",".join(info.peerAltNames.emails),
    "PEER_OTHERNAME_SAN": lambda info: _others(info.peerAltNames),
    "LOCAL_OTHERNAME_SAN": lambda info: _others(info.localAltNames),
    "LOCAL_URI_SAN": lambda info: ",".join(info.localAltNames.uris),
    "LOCAL_DNS_SAN": lambda info: ",".join(info.localAltNames.dns),
    "LOCAL_IP_SAN": lambda info: ",".join(info.localAltNames.ips),
    "LOCAL_EMAIL_SAN": lambda info: ",".join(info.localAltNames.emails),
    "PEER_SUBJECT": _of("PEER", lambda certificate: nameText(certificate.subject)),
    "LOCAL_SUBJECT": _of("LOCAL", lambda certificate: nameText(certificate.subject)),
    "PEER_ISSUER": _of("PEER", lambda certificate: nameText(certificate.issuer)),
    "PEER_SERIAL": _of("PEER", serialOf),
    "PEER_FINGERPRINT_256": _of("PEER", fingerprint),
    "PEER_FINGERPRINT_1": _of("PEER", lambda certificate: fingerprint(certificate, "sha1")),
    "PEER_CHAIN_FINGERPRINTS_256": _ofChain(fingerprint),
    "PEER_CHAIN_FINGERPRINTS_1": _ofChain(lambda certificate: fingerprint(certificate, "sha1")),
    "PEER_CHAIN_SERIALS": _ofChain(serialOf),
    "PEER_ISSUER_FINGERPRINT_256": _ofIssuer(fingerprint),
    "PEER_ISSUER_SERIAL": _ofIssuer(serialOf),
    "PEER_CERT": _of("PEER", lambda certificate: percentEncoded(pemOf(certificate))),
    "PEER_CERT_V_START": _of("PEER", lambda certificate: timeText(certificate.not_valid_before_utc)),
    "PEER_CERT_V_END": _of("PEER", lambda certificate: timeText(certificate.not_valid_after_utc)),
}


def percentEncoded(pem: str) -> str:
    """
    A certificate in PEM as Envoy writes it in one line: what is in it besides letters and digits, encoded.
    """
    for character, code in (("\n", "%0A"), (" ", "%20"), ("+", "%2B"), ("/", "%2F"), ("=", "%3D")):
        pem = pem.replace(character, code)
    return pem
