# -*- test-case-name: tests.net.test_certificates -*-
"""
What a certificate says, in the words that logs, headers and policies use.

Certificates of peers are bytes from the wire: what cannot be read in one is taken for absent, and whatever a name
contains stays in it, a NUL as well, so that C{victim\\0.evil} is never taken for C{victim}.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtensionOID, NameOID

__all__ = [
    "AltNames",
    "altNames",
    "commonName",
    "derText",
    "fingerprint",
    "nameText",
    "pemOf",
    "serialOf",
    "spkiDigest",
    "timeText",
]

_T = TypeVar("_T")


class AltNames:
    """
    The alternative names of a certificate's subject, by their type.

    @ivar others: C{otherName}s: the object identifier and the value's DER.
    """

    __slots__ = ("dns", "emails", "ips", "others", "uris")

    def __init__(
        self,
        dns: tuple[str, ...] = (),
        uris: tuple[str, ...] = (),
        ips: tuple[str, ...] = (),
        emails: tuple[str, ...] = (),
        others: tuple[tuple[str, bytes], ...] = (),
    ) -> None:
        self.dns = dns
        self.uris = uris
        self.ips = ips
        self.emails = emails
        self.others = others


_NONE = AltNames()


def altNames(certificate: x509.Certificate) -> AltNames:
    """
    The subject's alternative names; none where there are none, or they cannot be read.
    """
    try:
        found = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    except (x509.ExtensionNotFound, ValueError, x509.DuplicateExtension):
        return _NONE
    assert isinstance(found, x509.SubjectAlternativeName)
    return AltNames(
        tuple(found.get_values_for_type(x509.DNSName)),
        tuple(found.get_values_for_type(x509.UniformResourceIdentifier)),
        tuple(map(str, found.get_values_for_type(x509.IPAddress))),
        tuple(found.get_values_for_type(x509.RFC822Name)),
        tuple((other.type_id.dotted_string, other.value) for other in found if isinstance(other, x509.OtherName)),
    )


def commonName(certificate: x509.Certificate) -> str:
    """
    The subject's common name, the last one where there are several; empty if there is none.
    """
    names = _or(lambda: certificate.subject, x509.Name([])).get_attributes_for_oid(NameOID.COMMON_NAME)
    value = names[-1].value if names else ""
    return value if isinstance(value, str) else ""


def _or(read: Callable[[], _T], instead: _T) -> _T:
    try:
        return read()
    except ValueError:
        return instead


# What OpenSSL calls the parts of a name (crypto/objects/obj_dat.h), where cryptography goes by RFC 4514 alone.
_SHORT_NAMES = {
    NameOID.EMAIL_ADDRESS: "emailAddress",
    NameOID.SERIAL_NUMBER: "serialNumber",
    NameOID.SURNAME: "SN",
    NameOID.GIVEN_NAME: "GN",
    NameOID.TITLE: "title",
    NameOID.ORGANIZATION_IDENTIFIER: "organizationIdentifier",
    NameOID.USER_ID: "UID",
}


_UNFIT = re.compile(r"[^\x20-\x7e]")


def nameText(name: x509.Name) -> str:
    """
    A distinguished name as Envoy writes it: RFC 2253, the last part first, and what is no printable ASCII as escaped
    bytes of UTF-8.
    """
    text = _or(lambda: name.rfc4514_string(_SHORT_NAMES), "")
    return _UNFIT.sub(lambda found: "".join(f"\\{byte:02X}" for byte in found[0].encode("utf-8", "replace")), text)


def serialOf(certificate: x509.Certificate) -> str:
    """
    The serial number in hexadecimal digits, two for each byte.
    """
    digits = f"{abs(certificate.serial_number):x}"
    return "0" + digits if len(digits) % 2 and certificate.serial_number else digits


def fingerprint(certificate: x509.Certificate, algorithm: str = "sha256") -> str:
    """
    The digest of the whole certificate, in hexadecimal digits.
    """
    return hashlib.new(algorithm, certificate.public_bytes(serialization.Encoding.DER)).hexdigest()


def spkiDigest(certificate: x509.Certificate) -> bytes:
    """
    The SHA-256 digest of the key and its algorithm (C{SubjectPublicKeyInfo}).
    """
    key = certificate.public_key()
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).digest()


def pemOf(certificate: x509.Certificate) -> str:
    """
    The certificate in PEM.
    """
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def timeText(moment: datetime, pattern: str = "%Y-%m-%dT%H:%M:%S.000Z") -> str:
    """
    A moment as logs show it.
    """
    return moment.strftime(pattern)


# The types of DER whose contents are text (X.680): UTF8String, PrintableString, T61String, IA5String, VisibleString.
_STRINGS = (0x0C, 0x13, 0x14, 0x16, 0x1A)


def derText(der: bytes) -> bytes:
    """
    The text of a string in DER of at most 127 bytes or with a long length; other values as they are.
    """
    if len(der) < 2 or der[0] not in _STRINGS:
        return der
    first = der[1]
    start = 2 if first < 0x80 else 2 + (first & 0x7F)
    return der[start:]
