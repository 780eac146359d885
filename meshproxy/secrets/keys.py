# -*- test-case-name: tests.secrets.test_keys -*-
"""
Certificates with their private keys (C{TlsCertificate}), loaded as a pair that is known to fit.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from meshproxy.config import Section
from meshproxy.net.certificates import altNames, commonName
from meshproxy.secrets.sources import Loading, readSource
from meshproxy.secrets.stapling import Staple, loadStaple

__all__ = ["CertifiedKey", "loadCertifiedKey"]

_LEAST_RSA_BITS = 2048
_CURVES = ("secp256r1", "secp384r1", "secp521r1")


@dataclass(frozen=True, slots=True)
class CertifiedKey:
    """
    A certificate, those that lead from it to a root, and its private key.

    @ivar chain: Its own certificate first.
    @ivar kind: C{"rsa"}, C{"ecdsa"} or C{"eddsa"}.
    @ivar names: For which server names it is: its DNS names, or its common name where it has no alternative names.
    @ivar path: The certificate's file, or C{<inline>}.
    @ivar staple: What an authority says of it, for clients that ask.
    """

    chain: tuple[x509.Certificate, ...]
    key: Any = field(repr=False)
    kind: str
    names: tuple[str, ...]
    path: str
    staple: Staple | None = None

    @property
    def leaf(self) -> x509.Certificate:
        """
        Its own certificate.
        """
        return self.chain[0]


def loadCertifiedKey(section: Section, loading: Loading) -> CertifiedKey | None:
    """
    Load a C{TlsCertificate}. Faults are told at their places; nothing of a key is ever among the words.

    @return: L{None} if it was refused.
    """
    found = _loadPair(section, loading)
    source = section.child("ocsp_staple")
    if found is None or source is None:
        return found
    staple = loadStaple(source, found.leaf, loading)
    return None if staple is None else replace(found, staple=staple)


def _loadPair(section: Section, loading: Loading) -> CertifiedKey | None:
    password = _password(section, loading)
    pkcs = section.child("pkcs12")
    if pkcs is not None:
        if section.has("certificate_chain") or section.has("private_key"):
            section.refuse("pkcs12 holds certificate and key: certificate_chain and private_key cannot stand beside it")
        return _loadPKCS12(pkcs, password, loading)
    chainSource = section.child("certificate_chain")
    keySource = section.child("private_key")
    if chainSource is None:
        section.refuse("certificate_chain is needed", "certificate_chain")
    if keySource is None:
        section.refuse("private_key is needed", "private_key")
    if chainSource is None or keySource is None:
        return None
    chain = _loadChain(chainSource, loading)
    key = _loadKey(keySource, password, loading)
    if chain is None or key is None:
        return None
    return _pair(chainSource, chain, key)


def _password(section: Section, loading: Loading) -> bytes | None:
    source = section.child("password")
    found = None if source is None else readSource(source, loading, isText=False)
    # A password in a file usually ends with its line.
    return found if found is None or source is None or not source.has("filename") else found.rstrip(b"\r\n")


def _loadChain(source: Section, loading: Loading) -> tuple[x509.Certificate, ...] | None:
    data = readSource(source, loading)
    if data is None:
        return None
    try:
        return tuple(x509.load_pem_x509_certificates(data))
    except ValueError:
        source.refuse(f"{_pathOf(source)} holds no certificate in PEM, or one that cannot be read")
        return None


def _loadKey(source: Section, password: bytes | None, loading: Loading) -> Any:
    data = readSource(source, loading)
    if data is None:
        return None
    try:
        return serialization.load_pem_private_key(data, password if _isEncrypted(data) else None)
    except TypeError:
        source.refuse(f"the private key in {_pathOf(source)} is encrypted: a password is needed")
    except (ValueError, UnsupportedAlgorithm):
        hint = " with this password" if _isEncrypted(data) else ""
        source.refuse(f"{_pathOf(source)} holds no private key in PEM that can be read{hint}")
    return None


def _isEncrypted(pem: bytes) -> bool:
    return b"ENCRYPTED" in pem


def _loadPKCS12(source: Section, password: bytes | None, loading: Loading) -> CertifiedKey | None:
    data = readSource(source, loading, isText=False)
    if data is None:
        return None
    try:
        key, leaf, others = pkcs12.load_key_and_certificates(data, password)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        source.refuse(f"{_pathOf(source)} is no PKCS#12 that can be read with this password")
        return None
    if key is None or leaf is None:
        source.refuse(f"{_pathOf(source)} needs a certificate and a private key")
        return None
    return _pair(source, (leaf, *others), key)


def _pair(source: Section, chain: tuple[x509.Certificate, ...], key: Any) -> CertifiedKey | None:
    leaf = chain[0]
    path = _pathOf(source)
    try:
        certified = _spki(leaf.public_key())
    except (ValueError, UnsupportedAlgorithm):
        source.refuse(f"the certificate in {path} has a key of a kind that is not known")
        return None
    if certified != _spki(key.public_key()):
        source.refuse(f"the private key does not belong to the certificate in {path}")
        return None
    kind = _kindOf(source, key, path)
    if kind is None:
        return None
    return CertifiedKey(chain, key, kind, _serverNames(leaf), path)


def _spki(key: Any) -> bytes:
    der: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return der


def _kindOf(source: Section, key: Any, path: str) -> str | None:
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size >= _LEAST_RSA_BITS:
            return "rsa"
        source.refuse(f"the RSA key of {path} has {key.key_size} bits; {_LEAST_RSA_BITS} are the least")
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        if key.curve.name in _CURVES:
            return "ecdsa"
        source.refuse(f"the key of {path} is on the curve {key.curve.name}; only P-256, P-384 and P-521 are supported")
    elif isinstance(key, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)):
        return "eddsa"
    else:
        source.refuse(f"the key of {path} is of a kind that TLS has no use for")
    return None


def _serverNames(leaf: x509.Certificate) -> tuple[str, ...]:
    found = altNames(leaf)
    if found.dns or found.uris or found.ips or found.emails or found.others:
        return found.dns
    name = commonName(leaf)
    return (name,) if name else ()


def _pathOf(source: Section) -> str:
    path: str = source.get("filename")
    return path or "<inline>"
