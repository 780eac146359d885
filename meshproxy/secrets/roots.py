# -*- test-case-name: tests.secrets.test_validation -*-
"""
The certificates that chains may end in, and lists of those that are revoked.
"""

from __future__ import annotations

import warnings

from cryptography import x509

from meshproxy.config import Section
from meshproxy.secrets.sources import Loading, readSource

__all__ = ["readCrls", "readRoots", "readSystemRoots"]

_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_CRL = b"-----BEGIN X509 CRL-----"
_CRL_END = b"-----END X509 CRL-----"
_SYSTEM_ROOTS = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def readRoots(
    source: Section,
    roots: list[x509.Certificate],
    crls: list[x509.CertificateRevocationList],
    loading: Loading,
) -> None:
    """
    Read the certificates of a C{trusted_ca}, and the lists of revoked certificates among them.
    """
    data = readSource(source, loading)
    if data is None:
        return
    try:
        roots += x509.load_pem_x509_certificates(data)
        # As in Envoy, lists of revoked certificates may stand among the roots.
        crls += _parseCrls(data)
    except ValueError:
        source.refuse("holds no certificate in PEM, or one that cannot be read")


def readSystemRoots(section: Section, roots: list[x509.Certificate], loading: Loading) -> str:
    """
    Read the bundle of this system.

    @return: Its path, empty where there is none, which is told.
    """
    for path in _SYSTEM_ROOTS:
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError:
            continue
        roots += _readable(data)
        loading.files.add(path)
        return path
    section.refuse("this system has no bundle of root certificates where one is looked for", "system_root_certs")
    return ""


def _readable(data: bytes) -> list[x509.Certificate]:
    """
    The certificates of a bundle, without those (there are some) that break a rule of RFC 5280.
    """
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for piece in data.split(_CERTIFICATE)[1:]:
            try:
                found.append(x509.load_pem_x509_certificate(_CERTIFICATE + piece))
            except ValueError:
                continue
    return found


def _parseCrls(data: bytes) -> list[x509.CertificateRevocationList]:
    found = []
    for piece in data.split(_CRL)[1:]:
        text = _CRL + piece.partition(_CRL_END)[0] + _CRL_END
        found.append(x509.load_pem_x509_crl(text))
    return found


def readCrls(source: Section, crls: list[x509.CertificateRevocationList], loading: Loading) -> None:
    """
    Read lists of revoked certificates.
    """
    data = readSource(source, loading)
    if data is None:
        return
    try:
        found = _parseCrls(data)
    except ValueError:
        found = []
    if not found:
        source.refuse("holds no list of revoked certificates (X509 CRL) in PEM that can be read")
    crls += found
