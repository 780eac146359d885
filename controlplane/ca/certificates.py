# -*- test-case-name: tests.controlplane.ca.test_authority -*-
"""
The certificates that an authority makes: roots, intermediates, those of workloads.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshproxy.controlplane.ca.requests import PublicKey

__all__ = ["PrivateKey", "SKEW", "certify", "makeIntermediate", "makeRoot", "newKey", "pemOf", "pemOfKey", "utc"]

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

SKEW = timedelta(minutes=2)
"""
How much earlier than now a certificate begins, for peers whose clock is behind. Istio's CA allows the same.
"""


def newKey() -> ec.EllipticCurvePrivateKey:
    """
    An ECDSA key on P-256: 0.02 ms, against 48 for RSA 2048.
    """
    return ec.generate_private_key(ec.SECP256R1())


def pemOf(certificates: Sequence[x509.Certificate]) -> str:
    """
    Certificates as PEM, one below the other.
    """
    return "".join(one.public_bytes(serialization.Encoding.PEM).decode("ascii") for one in certificates)


def pemOfKey(key: PrivateKey) -> bytes:
    """
    A private key as PEM (PKCS #8), without a password.
    """
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def makeRoot(key: PrivateKey, trustDomain: str, now: datetime, life: timedelta) -> x509.Certificate:
    """
    A self-signed root.
    """
    name = _authorityName("root", trustDomain)
    builder = _authority(key.public_key(), name, now, life, None)
    builder = builder.issuer_name(name)
    return _sign(builder, key)


def makeIntermediate(
    key: PrivateKey,
    trustDomain: str,
    now: datetime,
    life: timedelta,
    issuer: x509.Certificate,
    issuerKey: PrivateKey,
) -> x509.Certificate:
    """
    An intermediate, which certifies workloads and no further authority.
    """
    name = _authorityName("intermediate", trustDomain)
    life = min(life, issuer.not_valid_after_utc - now)
    builder = _authority(key.public_key(), name, now, life, 0).issuer_name(issuer.subject)
    return _sign(builder.add_extension(_identifierOf(issuer), critical=False), issuerKey)


def certify(
    key: PublicKey,
    names: Sequence[x509.GeneralName],
    notAfter: datetime,
    now: datetime,
    issuer: x509.Certificate,
    issuerKey: PrivateKey,
) -> x509.Certificate:
    """
    A certificate of a workload, for both sides of a connection.

    Its subject is empty, so that the names are critical (RFC 5280, 4.2.1.6), as in SPIFFE's X.509 identities.
    """
    usage = _usage(digital_signature=True, key_encipherment=isinstance(key, rsa.RSAPublicKey))
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(now - SKEW, issuer.not_valid_before_utc))
        .not_valid_after(notAfter)
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(_identifierOf(issuer), critical=False)
    )
    return _sign(builder, issuerKey)


def _authorityName(role: str, trustDomain: str) -> x509.Name:
    # Common names have 64 characters at most, organizations too: a long trust domain is cut, it is but a label here.
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, trustDomain[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, f"meshproxy {role} CA"),
        ]
    )


def _authority(
    key: PublicKey, name: x509.Name, now: datetime, life: timedelta, pathLength: int | None
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + life)
        .add_extension(x509.BasicConstraints(ca=True, path_length=pathLength), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _identifierOf(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    try:
        held = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        key = issuer.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey)
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(held)


def _usage(**uses: bool) -> x509.KeyUsage:
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: uses.get(name, False) for name in names})


def _sign(builder: x509.CertificateBuilder, key: PrivateKey) -> x509.Certificate:
    # Ed25519 brings its own hash.
    return builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())


def utc(seconds: float) -> datetime:
    """
    Seconds since 1970, as certificates count: in whole ones.
    """
    return datetime.fromtimestamp(int(seconds), UTC)
