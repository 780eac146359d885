"""
Signing requests, good and bad.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from meshproxy.controlplane.ca.identity import Identity

__all__ = ["ANN", "BOB", "NOW", "makeRequest", "uri"]

NOW = 1_800_000_000.0
ANN = Identity("cluster.local", "default", "ann")
BOB = Identity("cluster.local", "default", "bob")


def uri(text: object) -> x509.GeneralName:
    """
    A URI as a name in a certificate.
    """
    return x509.UniformResourceIdentifier(str(text))


def makeRequest(
    key: Any = None, names: Sequence[x509.GeneralName] = (), subject: str = "", hash: Any = hashes.SHA256
) -> bytes:
    """
    A signing request, PEM.
    """
    attributes = [x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)] if subject else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(attributes))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    signed = builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hash() if hash else None)
    return signed.public_bytes(serialization.Encoding.PEM)
