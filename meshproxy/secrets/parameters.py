# -*- test-case-name: tests.secrets.test_parameters -*-
"""
Protocol versions, ciphers and groups: C{TlsParameters}, with the names of BoringSSL, which Envoy is made of.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from OpenSSL import SSL

from meshproxy.config import Section
from meshproxy.net.openssl import prioritizeChaCha, setGroups, setSignatureAlgorithms

__all__ = ["DEFAULT_GROUPS", "Parameters", "compileParameters"]

_VERSIONS = {
    "TLSv1_0": SSL.TLS1_VERSION,
    "TLSv1_1": SSL.TLS1_1_VERSION,
    "TLSv1_2": SSL.TLS1_2_VERSION,
    "TLSv1_3": SSL.TLS1_3_VERSION,
}

# Envoy's default (transport_sockets/tls/v3/common.proto, TlsParameters.cipher_suites).
_DEFAULT_CIPHERS = (
    "[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]",
    "[ECDHE-RSA-AES128-GCM-SHA256|ECDHE-RSA-CHACHA20-POLY1305]",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
)

# The order in which BoringSSL prefers them; TlsParameters has no say in TLS 1.3.
_TLS13_CIPHERS = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

_CIPHERS = frozenset(
    """
    ECDHE-ECDSA-AES128-GCM-SHA256 ECDHE-ECDSA-CHACHA20-POLY1305 ECDHE-ECDSA-AES256-GCM-SHA384
    ECDHE-RSA-AES128-GCM-SHA256 ECDHE-RSA-CHACHA20-POLY1305 ECDHE-RSA-AES256-GCM-SHA384
    ECDHE-ECDSA-AES128-SHA ECDHE-ECDSA-AES128-SHA256 ECDHE-ECDSA-AES256-SHA ECDHE-ECDSA-AES256-SHA384
    ECDHE-RSA-AES128-SHA ECDHE-RSA-AES128-SHA256 ECDHE-RSA-AES256-SHA ECDHE-RSA-AES256-SHA384
    AES128-GCM-SHA256 AES256-GCM-SHA384 AES128-SHA AES128-SHA256 AES256-SHA AES256-SHA256
    """.split()
)

# BoringSSL takes the names of RFC 5246 and its like as well.
_STANDARD_NAMES = re.compile(r"TLS_(?:(ECDHE)_)?(ECDSA|RSA)_WITH_(AES)_(128|256)_(?:(GCM)|CBC)_(SHA(?:256|384)?)$")
_STANDARD_CHACHA = re.compile(r"TLS_ECDHE_(ECDSA|RSA)_WITH_CHACHA20_POLY1305_SHA256$")

#: Envoy's: the first one that both sides have wins, and the first one of all withstands quantum computers.
DEFAULT_GROUPS = ("X25519MLKEM768", "X25519", "P-256")
_GROUPS = ("X25519", "P-256", "P-384", "P-521", "X25519MLKEM768")

# As in Envoy, the server takes the first of its groups that the client knows, whether the client sent a share for it or
# has to be asked for one. Before 3.5 OpenSSL takes one that there is a share for.
_GROUP_SEPARATOR = "/" if SSL.OPENSSL_VERSION_NUMBER >= 0x30500000 else ":"

_SIGNATURES = frozenset(
    """
    rsa_pkcs1_sha256 rsa_pkcs1_sha384 rsa_pkcs1_sha512 ecdsa_secp256r1_sha256 ecdsa_secp384r1_sha384
    ecdsa_secp521r1_sha512 rsa_pss_rsae_sha256 rsa_pss_rsae_sha384 rsa_pss_rsae_sha512 ed25519 rsa_pkcs1_sha1
    ecdsa_sha1
    """.split()
)


@dataclass(frozen=True, slots=True)
class Parameters:
    """
    What a context is set up with.

    @ivar ciphers: In OpenSSL's words, for TLS up to 1.2.
    @ivar newCiphers: The same for TLS 1.3.
    @ivar hasGroups: Whether ciphers of equal rank were named: then the client's wish decides between AES and ChaCha20.
    """

    minimum: int
    maximum: int
    ciphers: str
    hasGroups: bool
    groups: tuple[str, ...]
    signatures: tuple[str, ...]
    newCiphers: str = _TLS13_CIPHERS

    def setUp(self, context: SSL.Context) -> None:
        """
        Give them to a context.
        """
        context.set_min_proto_version(self.minimum)
        context.set_max_proto_version(self.maximum)
        level = ":@SECLEVEL=0" if self.minimum < SSL.TLS1_2_VERSION or "ecdsa_sha1" in self.signatures else ""
        context.set_cipher_list((self.ciphers + level).encode("ascii"))
        context.set_tls13_ciphersuites(self.newCiphers.encode("ascii"))
        if self.hasGroups:
            prioritizeChaCha(context)
        setGroups(context, _GROUP_SEPARATOR.join(self.groups))
        if self.signatures:
            setSignatureAlgorithms(context, ":".join(self.signatures))


# FIPS_202205, which is that of NIST SP 800-52, revision 2: what BoringSSL makes of it.
_FIPS = Parameters(
    SSL.TLS1_2_VERSION,
    SSL.TLS1_3_VERSION,
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384",
    False,
    ("P-256", "P-384"),
    (
        "rsa_pkcs1_sha256",
        "rsa_pkcs1_sha384",
        "rsa_pkcs1_sha512",
        "ecdsa_secp256r1_sha256",
        "ecdsa_secp384r1_sha384",
        "rsa_pss_rsae_sha256",
        "rsa_pss_rsae_sha384",
        "rsa_pss_rsae_sha512",
    ),
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384",
)


def compileParameters(section: Section | None, isServer: bool) -> Parameters:
    """
    Read a C{TlsParameters} message.
    """
    minimum = "TLSv1_2"
    maximum = "TLSv1_3" if isServer else "TLSv1_2"
    ciphers: tuple[str, ...] = _DEFAULT_CIPHERS
    groups: tuple[str, ...] = DEFAULT_GROUPS
    signatures: tuple[str, ...] = ()
    if section is not None:
        minimum = _version(section, "tls_minimum_protocol_version", minimum)
        maximum = _version(section, "tls_maximum_protocol_version", maximum)
        if _VERSIONS[minimum] > _VERSIONS[maximum]:
            section.refuse(f"{minimum} is newer than the newest one allowed, {maximum}", "tls_minimum_protocol_version")
        ciphers = tuple(section.scalars("cipher_suites")) or ciphers
        groups = _known(section, "ecdh_curves", _GROUPS) or groups
        signatures = _known(section, "signature_algorithms", _SIGNATURES)
        if list(section.scalars("compliance_policies")):
            # There is one. As in Envoy, it goes over all else that is said.
            return _FIPS
    names, hasGroups = _cipherNames(section, ciphers)
    return Parameters(_VERSIONS[minimum], _VERSIONS[maximum], ":".join(names), hasGroups, groups, signatures)


def _version(section: Section, field: str, automatic: str) -> str:
    found: str = section.get(field)
    return automatic if found == "TLS_AUTO" else found


def _known(section: Section, field: str, known: frozenset[str] | tuple[str, ...]) -> tuple[str, ...]:
    found = tuple(name for text in section.scalars(field) for name in text.split(":"))
    for number, name in enumerate(found):
        if name not in known:
            section.refuse(f"{name!r} is not known; there are {', '.join(sorted(known))}", f"{field}[{number}]")
    return tuple(name for name in found if name in known)


def _cipherNames(section: Section | None, entries: tuple[str, ...]) -> tuple[list[str], bool]:
    names: list[str] = []
    hasGroups = False
    for number, entry in enumerate(entries):
        for name in re.split(r"[:|,\[\] ]+", entry):
            if not name:
                continue
            found = _openSSLName(name)
            if found is None and section is not None:
                section.refuse(
                    f"{name!r} is no cipher that is known; there are {', '.join(sorted(_CIPHERS))}",
                    f"cipher_suites[{number}]",
                )
            elif found is not None and found not in names:
                names.append(found)
        hasGroups = hasGroups or "|" in entry
    return names or ["ECDHE+AESGCM"], hasGroups


def _openSSLName(name: str) -> str | None:
    if name in _CIPHERS:
        return name
    match = _STANDARD_CHACHA.match(name)
    if match is not None:
        return f"ECDHE-{match[1]}-CHACHA20-POLY1305"
    match = _STANDARD_NAMES.match(name)
    if match is None:
        return None
    exchange, signature, cipher, bits, mode, digest = match.groups()
    parts = [exchange, signature if exchange else None, f"{cipher}{bits}", mode, digest]
    found = "-".join(part for part in parts if part)
    return found if found in _CIPHERS else None
