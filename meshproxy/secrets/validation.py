# -*- test-case-name: tests.secrets.test_validation -*-
"""
How a peer's certificate is verified: C{CertificateValidationContext}.

OpenSSL builds the chain and checks it, the purpose of the certificate (CVE-2022-21657), times and revocation included.
What it cannot know is decided here while it does so: names, digests, the trust domain of a SPIFFE identity.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL, crypto

from meshproxy.config import Section
from meshproxy.net.certificates import altNames, fingerprint, spkiDigest
from meshproxy.secrets.names import NamesTest, compileAltNameMatchers
from meshproxy.secrets.roots import readCrls, readRoots, readSystemRoots
from meshproxy.secrets.sources import Loading
from meshproxy.secrets.spiffe import findSPIFFE, readTrustDomains

__all__ = ["Validation", "compileValidation", "isLeaf", "trustDomain"]


@dataclass(frozen=True, slots=True)
class Validation:
    """
    What a peer is verified by.

    @ivar roots: The certificates that chains may end in.
    @ivar crls: Lists of revoked certificates.
    @ivar onlyLeafCrl: Whether only the peer's own certificate is looked up in them.
    @ivar maxDepth: How many certificates may stand between the peer's and a root.
    @ivar acceptsUntrusted: Whether a chain that does not hold is taken all the same.
    @ivar acceptsExpired: Whether times are ignored.
    @ivar names: Whether one of the peer's names is good enough, L{None} if any is.
    @ivar hashes: SHA-256 digests of certificates, or none; C{spkis} of their keys. One of either has to be the peer's.
    @ivar domains: SPIFFE trust domains with the fingerprints of their roots, L{None} where none is asked for.
    @ivar digest: Tells one set of rules from another.
    @ivar path: The file of the roots, or C{<inline>}.
    @ivar tellsRoots: Whether clients are told the names of the roots (not C{suppress_client_ca_list}).
    """

    roots: tuple[x509.Certificate, ...] = ()
    crls: tuple[x509.CertificateRevocationList, ...] = ()
    onlyLeafCrl: bool = False
    maxDepth: int = 100
    acceptsUntrusted: bool = False
    acceptsExpired: bool = False
    names: NamesTest | None = None
    hashes: frozenset[bytes] = frozenset()
    spkis: frozenset[bytes] = frozenset()
    domains: Mapping[str, frozenset[str]] | None = None
    digest: bytes = b""
    path: str = ""
    tellsRoots: bool = True

    @property
    def namedRoots(self) -> tuple[x509.Certificate, ...]:
        """
        The roots that a client is told when it is asked for a certificate.
        """
        return self.roots if self.tellsRoots else ()

    @property
    def verifies(self) -> bool:
        """
        Whether the peer's certificate is looked at at all.
        """
        return bool(self.roots or self.hashes or self.spkis or self.domains is not None)

    def setUp(self, context: SSL.Context) -> None:
        """
        Give a context the roots and the rules that are OpenSSL's to apply.
        """
        store = context.get_cert_store()
        if store is None:  # pragma: no cover  # every context has one
            return
        for root in self.roots:
            store.add_cert(crypto.X509.from_cryptography(root))
        # As in Envoy, an intermediate certificate among the roots is trusted like a root.
        flags = crypto.X509StoreFlags.PARTIAL_CHAIN
        for crl in self.crls:
            store.add_crl(crl)
        if self.crls:
            flags |= crypto.X509StoreFlags.CRL_CHECK
            if not self.onlyLeafCrl:
                flags |= crypto.X509StoreFlags.CRL_CHECK_ALL
        store.set_flags(flags)
        context.set_verify_depth(self.maxDepth)

    def refusal(self, leaf: x509.Certificate, root: x509.Certificate | None) -> tuple[str, str] | None:
        """
        What is wrong with a peer whose chain holds, or need not.

        @param root: What its chain ends in.

        @return: Which of Envoy's counters it is for, and in words; L{None} if nothing is.
        """
        if self.domains is not None:
            fault = self._wrongDomain(leaf, root)
            if fault is not None:
                return "fail_verify_error", fault
        if self.names is not None and not self.names(altNames(leaf)):
            return "fail_verify_san", "verify cert failed: SAN matcher"
        if (self.hashes or self.spkis) and not self._isListed(leaf):
            return "fail_verify_cert_hash", "verify cert failed: cert hash and spki"
        return None

    def _isListed(self, leaf: x509.Certificate) -> bool:
        if self.hashes and bytes.fromhex(fingerprint(leaf)) in self.hashes:
            return True
        return bool(self.spkis) and spkiDigest(leaf) in self.spkis

    def _wrongDomain(self, leaf: x509.Certificate, root: x509.Certificate | None) -> str | None:
        assert self.domains is not None
        if not isLeaf(leaf):
            return "verify cert failed: SPIFFE: the certificate may sign others, or does not say what its key is for"
        uris = altNames(leaf).uris
        domain = trustDomain(uris[0]) if len(uris) == 1 else ""
        if not domain:
            return "verify cert failed: SPIFFE: the certificate has no one URI name that is a SPIFFE ID"
        roots = self.domains.get(domain)
        if roots is None:
            return f"verify cert failed: SPIFFE: no trust bundle of {domain}"
        if not self.acceptsUntrusted and (root is None or fingerprint(root) not in roots):
            return f"verify cert failed: SPIFFE: the chain does not end in the trust bundle of {domain}"
        return None


def isLeaf(certificate: x509.Certificate) -> bool:
    """
    Whether a certificate says that it is an end of its chain, as an X.509-SVID has to (section 4 of its specification).
    """
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return False
    try:
        isAuthority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        isAuthority = False
    return not (isAuthority or usage.key_cert_sign or usage.crl_sign)


def trustDomain(uri: str) -> str:
    """
    The trust domain of a SPIFFE ID, empty if it is none.
    """
    scheme, found, rest = uri.partition("://")
    return rest.partition("/")[0] if found and scheme == "spiffe" and "\0" not in rest else ""


def compileValidation(section: Section | None, loading: Loading) -> Validation:
    """
    Load a C{CertificateValidationContext}. Faults are told at their places.
    """
    if section is None:
        return Validation()
    matchers = section.children("match_typed_subject_alt_names")
    untyped = section.children("match_subject_alt_names")
    if matchers and untyped:
        section.refuse("match_typed_subject_alt_names is not to be set beside it", "match_subject_alt_names")
    spiffe = findSPIFFE(section)
    path = ""
    roots: list[x509.Certificate] = []
    crls: list[x509.CertificateRevocationList] = []
    domains: dict[str, frozenset[str]] | None = None
    if spiffe is not None:
        domains = {}
        roots = readTrustDomains(spiffe, domains, loading)
    source = section.child("trusted_ca")
    if source is not None:
        path = source.get("filename") or "<inline>"
        if spiffe is None:
            readRoots(source, roots, crls, loading)
    elif section.has("system_root_certs"):
        path = readSystemRoots(section, roots, loading)
    crlSource = section.child("crl")
    if crlSource is not None:
        readCrls(crlSource, crls, loading)
    hashes = _hashes(section)
    spkis = _spkis(section)
    isVerified = roots or domains is not None or source is not None or section.has("system_root_certs")
    if (matchers or untyped) and not isVerified:
        section.refuse(
            "names of peers whose certificates nobody verifies are worth nothing: trusted_ca is needed",
            "match_typed_subject_alt_names" if matchers else "match_subject_alt_names",
        )
    if crlSource is not None and not roots and source is None and domains is None:
        section.refuse("trusted_ca is needed to verify by a list of revoked certificates", "crl")
    return Validation(
        roots=tuple(roots),
        crls=tuple(crls),
        onlyLeafCrl=section.get("only_verify_leaf_cert_crl"),
        maxDepth=min(section.wrapped("max_verify_depth", 100), 100),
        acceptsUntrusted=section.get("trust_chain_verification") == "ACCEPT_UNTRUSTED",
        acceptsExpired=section.get("allow_expired_certificate"),
        names=compileAltNameMatchers(matchers, untyped),
        hashes=hashes,
        spkis=spkis,
        domains=domains,
        digest=_digest(section, roots, crls),
        path=path or ("<inline>" if roots else ""),
        tellsRoots=not section.get("suppress_client_ca_list"),
    )


def _digest(
    section: Section, roots: Sequence[x509.Certificate], crls: Sequence[x509.CertificateRevocationList]
) -> bytes:
    digest = hashlib.sha256(section.message.SerializeToString(deterministic=True))
    for root in roots:
        digest.update(root.public_bytes(serialization.Encoding.DER))
    for crl in crls:
        digest.update(crl.public_bytes(serialization.Encoding.DER))
    return digest.digest()


def _hashes(section: Section) -> frozenset[bytes]:
    found = set()
    for number, text in enumerate(section.scalars("verify_certificate_hash")):
        try:
            value = bytes.fromhex(text.replace(":", ""))
        except ValueError:
            value = b""
        if len(value) != hashlib.sha256().digest_size:
            section.refuse(f"{text!r} is no SHA-256 digest in hexadecimal digits", f"verify_certificate_hash[{number}]")
        found.add(value)
    return frozenset(found)


def _spkis(section: Section) -> frozenset[bytes]:
    found = set()
    for number, text in enumerate(section.scalars("verify_certificate_spki")):
        try:
            value = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            value = b""
        if len(value) != hashlib.sha256().digest_size:
            section.refuse(f"{text!r} is no SHA-256 digest in base64", f"verify_certificate_spki[{number}]")
        found.add(value)
    return frozenset(found)
