# -*- test-case-name: tests.controlplane.ca.test_material -*-
"""
Keys and certificates of an authority, in a folder.

The authority's own ones are made at the first start: C{root.pem} (ten years) and C{intermediate.pem} (a year, made anew
at half of it), each a key and its certificate in one file, so that they are replaced as a pair. An authority that is
plugged in has Istio's names: C{ca-cert.pem ca-key.pem root-cert.pem}, and C{cert-chain.pem} where the first is not
signed by a root itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from meshproxy.controlplane.ca.authority import AuthorityError, Signer
from meshproxy.controlplane.ca.certificates import (
    PrivateKey,
    makeIntermediate,
    makeRoot,
    newKey,
    pemOf,
    pemOfKey,
    utc,
)

__all__ = ["INTERMEDIATE_LIFE", "Material", "ROOT_LIFE"]

ROOT_LIFE = timedelta(days=3650)
INTERMEDIATE_LIFE = timedelta(days=365)

_PLUGGED = ("ca-cert.pem", "ca-key.pem", "root-cert.pem")


class Material:
    """
    What an authority signs with, from a folder.
    """

    def __init__(self, folder: Path, trustDomain: str, seconds: Callable[[], float]) -> None:
        """
        Load it, or make it where the folder is empty.

        @param folder: It is made, for its owner alone, if it does not exist.
        @param seconds: The time, since 1970.

        @raise AuthorityError: If what is there is not whole, or does not fit together; the file is named.
        """
        self._folder = folder
        self._trustDomain = trustDomain
        self._seconds = seconds
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._root: Signer | None = None
        if any((folder / name).exists() for name in _PLUGGED):
            self._current = self._plugged()
        else:
            self._root = self._own()
            self._current = self._intermediate(self._root)

    def signer(self) -> Signer:
        """
        What to sign with now. An own intermediate past half of its life is replaced first.
        """
        if self._root is not None and self._isOld(self._current.certificate):
            self._current = self._newIntermediate(self._root)
        return self._current

    def _now(self) -> datetime:
        return utc(self._seconds())

    def _isOld(self, certificate: x509.Certificate) -> bool:
        began, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        return self._now() >= began + (ends - began) / 2

    # Our own.

    def _own(self) -> Signer:
        path = self._folder / "root.pem"
        if path.exists():
            key, certificate = _readPair(path)
        else:
            if (self._folder / "intermediate.pem").exists():
                raise AuthorityError(f"{path} is missing, but intermediate.pem is there: bring it back from a backup")
            key = newKey()
            certificate = makeRoot(key, self._trustDomain, self._now(), ROOT_LIFE)
            _writePair(path, key, certificate)
        _checkAuthority(path, key, certificate)
        return Signer(certificate, key, [], [certificate])

    def _intermediate(self, root: Signer) -> Signer:
        path = self._folder / "intermediate.pem"
        if not path.exists():
            return self._newIntermediate(root)
        key, certificate = _readPair(path)
        _checkAuthority(path, key, certificate)
        _checkIssued(path, certificate, root.certificate)
        return Signer(certificate, key, [], root.roots)

    def _newIntermediate(self, root: Signer) -> Signer:
        key = newKey()
        certificate = makeIntermediate(
            key, self._trustDomain, self._now(), INTERMEDIATE_LIFE, root.certificate, root.key
        )
        _writePair(self._folder / "intermediate.pem", key, certificate)
        return Signer(certificate, key, [], root.roots)

    # Somebody else's.

    def _plugged(self) -> Signer:
        for name in _PLUGGED:
            if not (self._folder / name).exists():
                raise AuthorityError(f"{self._folder / name} is missing; an authority that is plugged in has it")
        certificatePath, keyPath, rootPath = (self._folder / name for name in _PLUGGED)
        chainPath = self._folder / "cert-chain.pem"
        certificate = _readCertificates(certificatePath)[0]
        key = _readKey(keyPath)
        roots = _readCertificates(rootPath)
        chain = _readCertificates(chainPath) if chainPath.exists() else []
        _checkAuthority(certificatePath, key, certificate)
        self._checkChain(certificate, chain, roots)
        return Signer(certificate, key, chain, roots)

    def _checkChain(
        self, certificate: x509.Certificate, chain: list[x509.Certificate], roots: list[x509.Certificate]
    ) -> None:
        """
        The certificate, through those of the chain, is signed by a root.
        """
        last = certificate
        for issuer in chain:
            # Istio's cert-chain.pem begins with the certificate itself; some end with the root.
            if issuer != certificate and last not in roots:
                _checkIssued(self._folder / "cert-chain.pem", last, issuer)
                last = issuer
        if last not in roots and not any(_isIssued(last, root) for root in roots):
            raise AuthorityError(f"{self._folder / 'root-cert.pem'}: no root in it signed {_nameOf(last)}")


def _checkAuthority(path: Path, key: PrivateKey, certificate: x509.Certificate) -> None:
    if key.public_key() != certificate.public_key():
        raise AuthorityError(f"{path}: the certificate is not of the key beside it")
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        constraints = None
    if constraints is None or not constraints.ca:
        raise AuthorityError(f"{path}: {_nameOf(certificate)} is no authority's certificate (CA:TRUE is missing)")


def _checkIssued(path: Path, certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    if not _isIssued(certificate, issuer):
        raise AuthorityError(f"{path}: {_nameOf(certificate)} is not signed by {_nameOf(issuer)}")


def _isIssued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _nameOf(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or f"serial {certificate.serial_number:x}"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise AuthorityError(f"{path}: {error.strerror}") from error


def _readCertificates(path: Path) -> list[x509.Certificate]:
    return _certificatesOf(path, _read(path))


def _certificatesOf(path: Path, text: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(text)
    except ValueError as error:
        raise AuthorityError(f"{path}: no certificate in PEM: {error}") from error


def _readKey(path: Path) -> PrivateKey:
    return _keyOf(path, _read(path))


def _keyOf(path: Path, text: bytes) -> PrivateKey:
    try:
        key = serialization.load_pem_private_key(text, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # Its text may quote what it read.
        raise AuthorityError(f"{path}: no private key in PEM without a password") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
        raise AuthorityError(f"{path}: the key is none of EC, RSA, Ed25519")
    return key


def _readPair(path: Path) -> tuple[PrivateKey, x509.Certificate]:
    text = _read(path)
    return _keyOf(path, text), _certificatesOf(path, text)[0]


def _writePair(path: Path, key: PrivateKey, certificate: x509.Certificate) -> None:
    """
    Both in one file, which is there whole or not at all, and which its owner alone can read.
    """
    scratch = path.with_name(path.name + ".new")
    try:
        scratch.unlink(missing_ok=True)
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(pemOfKey(key) + pemOf([certificate]).encode("ascii"))
            file.flush()
            os.fsync(descriptor)
        scratch.replace(path)
    except OSError as error:
        raise AuthorityError(f"{path}: {error.strerror}") from error
