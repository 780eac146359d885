# -*- test-case-name: tests.http.jwt.test_jwks -*-
"""
JSON Web Keys (RFC 7517, 7518, 8037): the keys that signatures of tokens are verified with.

A key verifies with algorithms of its own kind alone, whatever a token says: a public RSA key is no secret for HMAC.
"""

from __future__ import annotations

import binascii
import hmac
import re
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

from meshproxy.errors import MeshProxyError

__all__ = ["ALGORITHMS", "JWKSError", "Key", "decodeBase64URL", "readKeys", "verifies"]

_base64url = re.compile(rb"[A-Za-z0-9_-]*\Z").match

# Whether a signature of a text is right.
_Verify = Callable[[bytes, bytes], bool]

_HASHES: Mapping[str, Callable[[], hashes.HashAlgorithm]] = {
    "256": hashes.SHA256,
    "384": hashes.SHA384,
    "512": hashes.SHA512,
}
_CURVES: Mapping[str, tuple[Callable[[], ec.EllipticCurve], str, int]] = {
    "P-256": (ec.SECP256R1, "256", 32),
    "P-384": (ec.SECP384R1, "384", 48),
    "P-521": (ec.SECP521R1, "512", 66),
}

#: What tokens may be signed with; C{none} is not among them.
ALGORITHMS = frozenset([f"{kind}{size}" for kind in ("HS", "RS", "PS", "ES") for size in _HASHES] + ["EdDSA"])


class JWKSError(MeshProxyError):
    """
    Keys that cannot be read.
    """


def decodeBase64URL(text: bytes) -> bytes:
    """
    Decode base64url without padding (RFC 7515, 2).

    @raise ValueError: If it is none.
    """
    if _base64url(text) is None or len(text) % 4 == 1:
        raise ValueError("not base64url")
    try:
        return urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError("not base64url") from error


@dataclass(frozen=True, slots=True)
class Key:
    """
    One key.

    @ivar kid: Its name, or empty.
    @ivar algorithm: The one algorithm that it is for, or empty.
    @ivar verifiers: Its algorithms, each with what verifies a signature.
    """

    kid: str
    algorithm: str
    verifiers: Mapping[str, _Verify]


def _number(held: Mapping[str, Any], name: str) -> int:
    return int.from_bytes(decodeBase64URL(str(held[name]).encode("ascii")), "big")


def _rsa(held: Mapping[str, Any]) -> dict[str, _Verify]:
    key = rsa.RSAPublicNumbers(_number(held, "e"), _number(held, "n")).public_key()

    def verifier(size: str, isPSS: bool) -> _Verify:
        digest = _HASHES[size]()

        def verify(text: bytes, signature: bytes) -> bool:
            how: padding.AsymmetricPadding = padding.PKCS1v15()
            if isPSS:
                # RFC 7518, 3.5: the salt is as long as the digest.
                how = padding.PSS(padding.MGF1(digest), digest.digest_size)
            key.verify(signature, text, how, digest)
            return True

        return verify

    return {f"{kind}{size}": verifier(size, kind == "PS") for kind in ("RS", "PS") for size in _HASHES}


def _ec(held: Mapping[str, Any]) -> dict[str, _Verify]:
    curve, size, width = _CURVES[held["crv"]]
    key = ec.EllipticCurvePublicNumbers(_number(held, "x"), _number(held, "y"), curve()).public_key()
    digest = _HASHES[size]()

    def verify(text: bytes, signature: bytes) -> bool:
        # RFC 7518, 3.4: two numbers of fixed width, one after the other.
        if len(signature) != 2 * width:
            return False
        r, s = (int.from_bytes(part, "big") for part in (signature[:width], signature[width:]))
        key.verify(utils.encode_dss_signature(r, s), text, ec.ECDSA(digest))
        return True

    return {f"ES{size}": verify}


def _octets(held: Mapping[str, Any]) -> dict[str, _Verify]:
    secret = decodeBase64URL(str(held["k"]).encode("ascii"))

    def verifier(size: str) -> _Verify:
        return lambda text, signature: hmac.compare_digest(hmac.digest(secret, text, f"sha{size}"), signature)

    return {f"HS{size}": verifier(size) for size in _HASHES}


def _okp(held: Mapping[str, Any]) -> dict[str, _Verify]:
    if held["crv"] != "Ed25519":
        raise ValueError("only Ed25519")
    key = ed25519.Ed25519PublicKey.from_public_bytes(decodeBase64URL(str(held["x"]).encode("ascii")))

    def verify(text: bytes, signature: bytes) -> bool:
        key.verify(signature, text)
        return True

    return {"EdDSA": verify}


_KINDS: Mapping[str, Callable[[Mapping[str, Any]], dict[str, _Verify]]] = {
    "RSA": _rsa,
    "EC": _ec,
    "oct": _octets,
    "OKP": _okp,
}


def readKeys(held: object) -> tuple[Key, ...]:
    """
    Read a JSON Web Key Set, as JSON was read. Keys that cannot be used are left out, as RFC 7517, 5 wants it.

    @raise JWKSError: If it is none, or if nothing is left.
    """
    keys = held.get("keys") if isinstance(held, dict) else None
    if not isinstance(keys, list):
        raise JWKSError("a key set is an object with an array of keys")
    found = []
    for each in keys:
        make = _KINDS.get(str(each.get("kty"))) if isinstance(each, dict) else None
        if make is None:
            continue
        try:
            verifiers = make(each)
        except (KeyError, ValueError, TypeError, UnsupportedAlgorithm):
            continue
        found.append(Key(str(each.get("kid") or ""), str(each.get("alg") or ""), verifiers))
    if not found:
        raise JWKSError("none of the keys can be used")
    return tuple(found)


def verifies(keys: Sequence[Key], algorithm: str, kid: str, text: bytes, signature: bytes) -> bool | None:
    """
    Whether one of the keys signed a text; L{None} if none of them is for it.
    """
    isFor = None
    for key in keys:
        if (key.kid and kid and key.kid != kid) or (key.algorithm and key.algorithm != algorithm):
            continue
        isFor = False
        verify = key.verifiers.get(algorithm)
        try:
            if verify is not None and verify(text, signature):
                return True
        except (InvalidSignature, ValueError):
            continue
    return isFor
