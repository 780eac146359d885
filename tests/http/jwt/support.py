"""
Keys, key sets and tokens for tests.
"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64encode
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

__all__ = ["SECRET", "encode", "keySet", "publicKey", "sign", "token"]

SECRET = b"0123456789abcdef0123456789abcdef"
_CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
_HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}


def encode(data: bytes) -> str:
    """
    Base64url without padding.
    """
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _number(number: int, width: int = 0) -> str:
    return encode(number.to_bytes(width or (number.bit_length() + 7) // 8, "big"))


@cache
def _private(algorithm: str) -> Any:
    if algorithm in _CURVES:
        return ec.generate_private_key(_CURVES[algorithm])
    return ed25519.Ed25519PrivateKey.generate() if algorithm == "EdDSA" else rsa.generate_private_key(65537, 2048)


def _key(algorithm: str) -> Any:
    return _private("RSA" if algorithm[:2] in ("RS", "PS") else algorithm)


def publicKey(algorithm: str, **more: str) -> dict[str, str]:
    """
    The public half of the key for an algorithm, as a JSON Web Key.
    """
    if algorithm.startswith("HS"):
        return {"kty": "oct", "k": encode(SECRET), **more}
    key = _key(algorithm).public_key()
    if algorithm in _CURVES:
        numbers = key.public_numbers()
        width = (numbers.curve.key_size + 7) // 8
        curve = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}[numbers.curve.name]
        return {"kty": "EC", "crv": curve, "x": _number(numbers.x, width), "y": _number(numbers.y, width), **more}
    if algorithm == "EdDSA":
        return {"kty": "OKP", "crv": "Ed25519", "x": encode(key.public_bytes_raw()), **more}
    numbers = key.public_numbers()
    return {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e), **more}


def keySet(*keys: dict[str, str]) -> str:
    """
    A key set, as JSON.
    """
    return json.dumps({"keys": list(keys)})


def sign(algorithm: str, text: bytes) -> bytes:
    """
    A signature as tokens have it.
    """
    if algorithm.startswith("HS"):
        return hmac.digest(SECRET, text, f"sha{algorithm[2:]}")
    key = _key(algorithm)
    if algorithm == "EdDSA":
        signature: bytes = key.sign(text)
        return signature
    digest = _HASHES[algorithm[2:]]
    if algorithm in _CURVES:
        width = (key.curve.key_size + 7) // 8
        r, s = utils.decode_dss_signature(key.sign(text, ec.ECDSA(digest)))
        return r.to_bytes(width, "big") + s.to_bytes(width, "big")
    how: padding.AsymmetricPadding = padding.PKCS1v15()
    if algorithm.startswith("PS"):
        how = padding.PSS(padding.MGF1(digest), digest.digest_size)
    signed: bytes = key.sign(text, how, digest)
    return signed


def token(payload: object, algorithm: str = "ES256", **header: Any) -> str:
    """
    A signed token.

    @param header: More of its header; what is C{None} is left out.
    """
    head = {"alg": algorithm, "typ": "JWT", **header}
    head = {name: value for name, value in head.items() if value is not None}
    text = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    signed = f"{encode(json.dumps(head).encode())}.{encode(text)}"
    return f"{signed}.{encode(sign(algorithm, signed.encode()))}"
