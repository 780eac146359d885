# -*- test-case-name: tests.controlplane.ca.test_requests -*-
"""
Certificate signing requests (PKCS #10): what is believed of one is its public key, and nothing else.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from meshproxy.controlplane.ca.identity import Identity
from meshproxy.errors import MeshProxyError

__all__ = ["PublicKey", "RequestRefused", "checkRequest"]

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey

# Of RSA 4096 with a few names a request has 2 KB.
_MAX_BYTES = 32 * 1024
_CURVES = ("secp256r1", "secp384r1", "secp521r1")
# Verifying with a huge RSA key is a way to keep a CA busy.
_RSA_BITS = (2048, 8192)


class RequestRefused(MeshProxyError):
    """
    A signing request that gets no certificate. Its text may be shown to who asked.
    """


def checkRequest(pem: bytes, identity: Identity) -> PublicKey:
    """
    The public key of a request, whose sender has been proven to have an identity.

    @param pem: The request, PEM.

    @raise RequestRefused: If it is none, is not signed with its own key, has a weak key, or asks for another name than
        its sender's: the certificate would not have it anyway, and who asks for it is to know.
    """
    if len(pem) > _MAX_BYTES:
        raise RequestRefused(f"a signing request has at most {_MAX_BYTES} bytes, this one has {len(pem)}")
    try:
        request = x509.load_pem_x509_csr(pem)
        key = request.public_key()
        valid = request.is_signature_valid
        names = _namesOf(request)
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise RequestRefused(f"this is no signing request in PEM that can be read: {error}") from error
    if not valid:
        raise RequestRefused("the request is not signed with the key that it holds")
    for name in names:
        if name != str(identity):
            raise RequestRefused(f"the request asks for {name}, but its sender is {identity}")
    return _strong(key)


def _namesOf(request: x509.CertificateSigningRequest) -> list[str]:
    """
    Every name that the request asks for. A subject is not looked at: certificates of workloads have none.
    """
    try:
        extension = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return [_told(name) for name in extension.value]


def _told(name: x509.GeneralName) -> str:
    if isinstance(name, x509.UniformResourceIdentifier):
        return str(name.value)
    return f"{type(name).__name__} {name.value}"


def _strong(key: object) -> PublicKey:
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in _CURVES:
            raise RequestRefused(f"the curve {key.curve.name} is not taken, only {', '.join(_CURVES)}")
        return key
    if isinstance(key, rsa.RSAPublicKey):
        least, most = _RSA_BITS
        if not least <= key.key_size <= most:
            raise RequestRefused(f"an RSA key has {least} to {most} bits, this one has {key.key_size}")
        return key
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    raise RequestRefused("the key is none of EC, RSA, Ed25519")
