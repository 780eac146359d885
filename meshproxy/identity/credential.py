# -*- test-case-name: tests.identity.test_credential -*-
"""
A key, the certificate that somebody gave for it, and what both become in a C{Secret}.

The key is made here, and goes nowhere but into the TLS contexts of this workload: what is sent away is a signing
request, which holds the public half.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from meshproxy.config.pool import newMessage
from meshproxy.errors import MeshProxyError
from meshproxy.net.certificates import altNames, pemOf

__all__ = [
    "CERTIFICATE",
    "ROOTS",
    "Credential",
    "CredentialError",
    "credentialOf",
    "load",
    "newKey",
    "save",
    "secretsOf",
    "signingRequest",
]

CERTIFICATE = "default"
"""
Istio's name for the certificate of a workload.
"""

ROOTS = "ROOTCA"
"""
Istio's name for the roots that peers are verified by.
"""

_SECRET = "envoy.extensions.transport_sockets.tls.v3.Secret"

#: More than any chain has; what answers with more is no authority.
_MOST_CERTIFICATES = 32
_MOST_BYTES = 1 << 20


class CredentialError(MeshProxyError):
    """
    What was given is no certificate for this workload. Its text never holds anything of a key.
    """


@dataclass(frozen=True, slots=True)
class Credential:
    """
    One version.

    @ivar key: The private key.
    @ivar chain: The certificate, and those that lead from it to a root, the root left out.
    @ivar roots: What peers are verified by.
    @ivar uri: The SPIFFE ID.
    """

    key: ec.EllipticCurvePrivateKey = field(repr=False)
    chain: tuple[x509.Certificate, ...]
    roots: tuple[x509.Certificate, ...]
    uri: str

    @property
    def ends(self) -> float:
        """
        When the first certificate of the chain ends, in seconds since 1970.
        """
        return min(one.not_valid_after_utc.timestamp() for one in self.chain)

    @property
    def begins(self) -> float:
        """
        When the certificate begins, in seconds since 1970.
        """
        return self.chain[0].not_valid_before_utc.timestamp()

    def keyPEM(self) -> bytes:
        """
        The private key, PKCS #8.
        """
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def chainPEM(self) -> bytes:
        """
        The chain.
        """
        return "".join(map(pemOf, self.chain)).encode("ascii")

    def rootsPEM(self) -> bytes:
        """
        The roots.
        """
        return "".join(map(pemOf, self.roots)).encode("ascii")


def newKey() -> ec.EllipticCurvePrivateKey:
    """
    A key on P-256.
    """
    return ec.generate_private_key(ec.SECP256R1())


def signingRequest(key: ec.EllipticCurvePrivateKey) -> bytes:
    """
    A signing request (PKCS #10), PEM. It asks for no name: whoever signs knows who asks, and believes nothing else.
    """
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def credentialOf(key: ec.EllipticCurvePrivateKey, answer: Sequence[str | bytes]) -> Credential:
    """
    What an authority answered, checked: the certificate is for this key and names one workload, and the chain leads
    to the roots at its end.

    @param answer: PEM: the certificate, those between, the roots.

    @raise CredentialError: If it is not so.
    """
    certificates = _read(answer)
    # The roots stand at the end, and sign themselves; where nothing does, the last one is what to trust.
    first = next(
        (index for index, one in enumerate(certificates) if index and _isIssued(one, one)), len(certificates) - 1
    )
    if first < 1:
        raise CredentialError("the answer holds no root after the certificate")
    chain, roots = tuple(certificates[:first]), tuple(certificates[first:])
    if chain[0].public_key() != key.public_key():
        raise CredentialError("the certificate is not for the key that it was asked for")
    for one, issuer in zip(chain, chain[1:], strict=False):
        if not _isIssued(one, issuer):
            raise CredentialError("the chain does not hold: a certificate is not signed by the one after it")
    if not any(_isIssued(chain[-1], root) for root in roots):
        raise CredentialError("the chain does not hold: no root signed its end")
    names = altNames(chain[0]).uris
    if len(names) != 1 or not names[0].startswith("spiffe://"):
        raise CredentialError(f"the certificate names no single workload, but {', '.join(names) or 'nobody'}")
    return Credential(key, chain, roots, names[0])


def _read(answer: Sequence[str | bytes]) -> list[x509.Certificate]:
    parts = [part.encode("utf-8", "replace") if isinstance(part, str) else part for part in answer]
    if sum(map(len, parts)) > _MOST_BYTES:
        raise CredentialError(f"the answer has more than {_MOST_BYTES} bytes")
    try:
        found = [one for part in parts for one in x509.load_pem_x509_certificates(part)]
    except ValueError as error:
        raise CredentialError("the answer holds something that is no certificate in PEM") from error
    if len(found) > _MOST_CERTIFICATES:
        raise CredentialError(f"the answer holds more than {_MOST_CERTIFICATES} certificates")
    if not found:
        raise CredentialError("the answer holds no certificate")
    return found


def _isIssued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def secretsOf(credential: Credential) -> dict[str, Any]:
    """
    The C{Secret} messages, by Istio's names.
    """
    certificate, roots = newMessage(_SECRET), newMessage(_SECRET)
    held: Any = certificate
    held.name = CERTIFICATE
    held.tls_certificate.certificate_chain.inline_bytes = credential.chainPEM()
    held.tls_certificate.private_key.inline_bytes = credential.keyPEM()
    held = roots
    held.name = ROOTS
    held.validation_context.trusted_ca.inline_bytes = credential.rootsPEM()
    return {ROOTS: roots, CERTIFICATE: certificate}


_FILE = "identity.pem"


def save(folder: Path, credential: Credential) -> None:
    """
    Keep it, for its owner alone, in one file that is there whole or not at all.

    @raise OSError: If it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / _FILE
    scratch = folder / (_FILE + ".new")
    scratch.unlink(missing_ok=True)
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(credential.keyPEM() + credential.chainPEM() + credential.rootsPEM())
        file.flush()
        os.fsync(descriptor)
    scratch.replace(path)


def load(folder: Path) -> Credential | None:
    """
    What was kept; L{None} if there is nothing.

    @raise CredentialError: If it cannot be used; the file is named.
    """
    path = folder / _FILE
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CredentialError(f"{path}: {error.strerror}") from error
    try:
        key = serialization.load_pem_private_key(text, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # Its text may quote what it read.
        raise CredentialError(f"{path}: no private key in PEM") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CredentialError(f"{path}: the key is not one of ours")
    try:
        return credentialOf(key, [text])
    except CredentialError as error:
        raise CredentialError(f"{path}: {error}") from error
