# -*- test-case-name: tests.controlplane.model.test_core -*-
"""
Secret: certificates and keys for gateways, in Kubernetes' shape. Nothing here says what is in one.
"""

from __future__ import annotations

import base64
import binascii

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from meshproxy.controlplane.model.resource import Metadata
from meshproxy.controlplane.model.spots import Spot

__all__ = ["Secret", "checkSecret"]

#: The keys of certificate, key and roots: those of kubernetes.io/tls, and the older ones of an opaque secret.
_CERTIFICATE = ("tls.crt", "cert")
_PRIVATE_KEY = ("tls.key", "key")
_ROOTS = ("ca.crt", "cacert")
_REVOKED = ("ca.crl", "crl")


@frozen(kw_only=True)
class Secret:
    """
    A secret.

    @ivar data: In base64.
    @ivar stringData: As it is; it wins over C{data}.
    """

    type: str = "Opaque"
    data: dict[str, str] = field(factory=dict, repr=False)
    stringData: dict[str, str] = field(factory=dict, repr=False)
    immutable: bool | None = None

    def value(self, *keys: str) -> bytes | None:
        """
        What stands at the first of some keys that is there.
        """
        for key in keys:
            if key in self.stringData:
                return self.stringData[key].encode()
            if key in self.data:
                return base64.b64decode(self.data[key])
        return None

    @property
    def certificate(self) -> bytes | None:
        """
        The certificate and its chain, in PEM.
        """
        return self.value(*_CERTIFICATE)

    @property
    def privateKey(self) -> bytes | None:
        """
        Its key, in PEM.
        """
        return self.value(*_PRIVATE_KEY)

    @property
    def roots(self) -> bytes | None:
        """
        What the certificates of peers are checked with, in PEM.
        """
        return self.value(*_ROOTS)

    @property
    def revoked(self) -> bytes | None:
        """
        The certificates of peers that are revoked, in PEM.
        """
        return self.value(*_REVOKED)


def checkSecret(spec: Secret, metadata: Metadata, spot: Spot) -> None:
    """
    Tell what is wrong with one, without telling what is in it.
    """
    fine = True
    for key, value in spec.data.items():
        try:
            base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            spot["data"][key].refuse("is not base64")
            fine = False
    if not fine:
        return
    if spec.type == "kubernetes.io/tls":
        for key in ("tls.crt", "tls.key"):
            spot["data"][key].require(spec.value(key), "is required for the type kubernetes.io/tls, and not set")
    _checkPair(spec, spot)
    _checkCertificates(spec.roots, _ROOTS, spec, spot)


def _where(keys: tuple[str, ...], spec: Secret, spot: Spot) -> Spot:
    for key in keys:
        for name in ("stringData", "data"):
            if key in getattr(spec, name):
                return spot[name][key]
    return spot


def _checkCertificates(pem: bytes | None, keys: tuple[str, ...], spec: Secret, spot: Spot) -> list[x509.Certificate]:
    if pem is None:
        return []
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        _where(keys, spec, spot).refuse("is not a certificate in PEM")
        return []


def _checkPair(spec: Secret, spot: Spot) -> None:
    """
    A certificate and its own key.
    """
    certificates = _checkCertificates(spec.certificate, _CERTIFICATE, spec, spot)
    pem = spec.privateKey
    if pem is None:
        return
    here = _where(_PRIVATE_KEY, spec, spot)
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError):
        here.refuse("is not a private key in PEM, without a password")
        return
    if certificates and certificates[0].public_key() != key.public_key():
        here.refuse("is not the key of the certificate")
