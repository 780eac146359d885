# -*- test-case-name: tests.testing.test_pki -*-
"""
Certificates for tests: an authority, and what it signs, in a few lines.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["Authority", "Credential", "pemChain"]

_DAY = timedelta(days=1)
_USES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}


class Credential:
    """
    A certificate and its private key.

    @ivar issuers: The certificates between it and the root.
    """

    def __init__(self, certificate: x509.Certificate, key: Any, issuers: Sequence[x509.Certificate] = ()) -> None:
        self.certificate = certificate
        self.key = key
        self.issuers = tuple(issuers)

    @property
    def chain(self) -> str:
        """
        The certificate and its issuers in PEM.
        """
        return pemChain(self.certificate, *self.issuers)

    @property
    def keyText(self) -> str:
        """
        The private key in PEM.
        """
        return self.encryptedKey(b"")

    def encryptedKey(self, password: bytes) -> str:
        """
        The private key in PEM, encrypted by a password that is not empty.
        """
        encryption: Any = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        pem: bytes = self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        return pem.decode("ascii")

    @property
    def inline(self) -> dict[str, Any]:
        """
        A C{TlsCertificate} message.
        """
        return {"certificate_chain": {"inline_string": self.chain}, "private_key": {"inline_string": self.keyText}}


def pemChain(*certificates: x509.Certificate) -> str:
    """
    Certificates in PEM, one after the other.
    """
    return "".join(each.public_bytes(serialization.Encoding.PEM).decode("ascii") for each in certificates)


def _newKey(kind: str) -> Any:
    return _rsaKey() if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())


@cache
def _rsaKey() -> rsa.RSAPrivateKey:
    # Making one takes as long as a whole test; that all certificates of a test have the same does no harm.
    return rsa.generate_private_key(65537, 2048)


class Authority(Credential):
    """
    Signs certificates.
    """

    def __init__(self, name: str = "test authority", parent: Authority | None = None) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(subject, subject if parent is None else parent.certificate.subject, key)
        builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
        builder = builder.add_extension(_keyUsage(isAuthority=True), critical=True)
        signer = key if parent is None else parent.key
        builder = builder.add_extension(_identifier(signer), critical=False)
        certificate = builder.sign(signer, hashes.SHA256())
        issuers = () if parent is None else (certificate, *parent.issuers)
        Credential.__init__(self, certificate, key, issuers)

    @property
    def root(self) -> str:
        """
        Its certificate in PEM.
        """
        return pemChain(self.certificate)

    def issue(
        self,
        *names: str,
        commonName: str = "",
        subject: x509.Name | None = None,
        kind: str = "ecdsa",
        uses: Sequence[str] = ("server", "client"),
        begins: timedelta = -_DAY,
        ends: timedelta = 30 * _DAY,
        others: Sequence[x509.GeneralName] = (),
        mustStaple: bool = False,
    ) -> Credential:
        """
        Sign a certificate.

        @param names: Its alternative names: DNS names, IP addresses, URIs, and addresses of mail.
        @param kind: C{"ecdsa"} or C{"rsa"}.
        @param uses: C{"server"} and C{"client"}; none for a certificate that does not say.
        @param begins: When it becomes valid, from now.
        @param ends: When it is over.
        @param others: More alternative names.
        @param mustStaple: Whether it says that it must not be shown without an OCSP response.
        """
        key = _newKey(kind)
        if subject is None:
            subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, commonName)] if commonName else [])
        builder = _builder(subject, self.certificate.subject, key, begins, ends)
        alternatives = [*map(_generalName, names), *others]
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=not subject.rdns)
        builder = builder.add_extension(x509.BasicConstraints(False, None), critical=True)
        builder = builder.add_extension(_keyUsage(isAuthority=False), critical=True)
        builder = builder.add_extension(_identifier(self.key), critical=False)
        if uses:
            builder = builder.add_extension(x509.ExtendedKeyUsage([_USES[use] for use in uses]), critical=False)
        if mustStaple:
            builder = builder.add_extension(x509.TLSFeature([x509.TLSFeatureType.status_request]), critical=False)
        return Credential(builder.sign(self.key, hashes.SHA256()), key, self.issuers)

    def staple(
        self, credential: Credential, begins: timedelta = -_DAY, ends: timedelta | None = _DAY, isRevoked: bool = False
    ) -> bytes:
        """
        Say by OCSP whether a certificate is good.

        @param begins: From when on that holds, from now.
        @param ends: Until when; L{None} for a response that does not say.

        @return: The response in DER.
        """
        now = datetime.now(UTC)
        builder = ocsp.OCSPResponseBuilder().add_response(
            cert=credential.certificate,
            issuer=self.certificate,
            algorithm=hashes.SHA1(),
            cert_status=ocsp.OCSPCertStatus.REVOKED if isRevoked else ocsp.OCSPCertStatus.GOOD,
            this_update=now + begins,
            next_update=None if ends is None else now + ends,
            revocation_time=now - _DAY if isRevoked else None,
            revocation_reason=None,
        )
        builder = builder.responder_id(ocsp.OCSPResponderEncoding.NAME, self.certificate)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)

    def revoke(self, *credentials: Credential) -> str:
        """
        A list of revoked certificates in PEM.
        """
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.certificate.subject)
        builder = builder.last_update(now - _DAY).next_update(now + _DAY)
        for each in credentials:
            revoked = x509.RevokedCertificateBuilder().serial_number(each.certificate.serial_number)
            builder = builder.add_revoked_certificate(revoked.revocation_date(now - _DAY).build())
        crl = builder.sign(self.key, hashes.SHA256())
        return crl.public_bytes(serialization.Encoding.PEM).decode("ascii")


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Any, begins: timedelta = -_DAY, ends: timedelta = 30 * _DAY
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now + begins).not_valid_after(now + ends)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


def _identifier(key: Any) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _keyUsage(isAuthority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not isAuthority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=isAuthority,
        crl_sign=isAuthority,
        encipher_only=False,
        decipher_only=False,
    )


def _generalName(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    if "://" in name:
        return x509.UniformResourceIdentifier(name)
    return x509.RFC822Name(name) if "@" in name else x509.DNSName(name)
