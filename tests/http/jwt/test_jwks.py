"""
L{meshproxy.http.jwt.jwks}.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.http.jwt.jwks import ALGORITHMS, JWKSError, Key, decodeBase64URL, readKeys, verifies
from tests.http.jwt.support import keySet, publicKey, sign

TEXT = b"what is signed"


def keys(*each: dict[str, str]) -> tuple[Key, ...]:
    """
    Read keys.
    """
    return readKeys(json.loads(keySet(*each)))


class VerifyTests(SynchronousTestCase):
    """
    L{verifies}.
    """

    def test_algorithms(self) -> None:
        """
        Each algorithm verifies what it signed, and nothing else.
        """
        for algorithm in sorted(ALGORITHMS):
            held = keys(publicKey(algorithm))
            signature = sign(algorithm, TEXT)
            self.assertIs(verifies(held, algorithm, "", TEXT, signature), True, algorithm)
            self.assertIs(verifies(held, algorithm, "", TEXT + b"!", signature), False, algorithm)
            for broken in (b"", signature[:-1], signature + b"x", bytes(len(signature))):
                self.assertIs(verifies(held, algorithm, "", TEXT, broken), False, algorithm)

    def test_confusion(self) -> None:
        """
        A key of one kind verifies no algorithm of another: the public RSA key is no secret.
        """
        held = keys(publicKey("RS256"))
        for algorithm in sorted(ALGORITHMS - {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}):
            self.assertIs(verifies(held, algorithm, "", TEXT, sign("HS256", TEXT)), False, algorithm)
        self.assertIs(verifies(held, "RS512", "", TEXT, sign("RS256", TEXT)), False)
        self.assertIs(verifies(held, "none", "", TEXT, b""), False)

    def test_chosen(self) -> None:
        """
        A key's name and algorithm say what it is for; a key or a token without a name goes with any.
        """
        named = keys(publicKey("ES256", kid="a", alg="ES256"))
        signature = sign("ES256", TEXT)
        self.assertIs(verifies(named, "ES256", "a", TEXT, signature), True)
        self.assertIs(verifies(named, "ES256", "", TEXT, signature), True)
        self.assertIsNone(verifies(named, "ES256", "b", TEXT, signature))
        self.assertIsNone(verifies(named, "ES384", "a", TEXT, signature))
        self.assertIs(verifies(keys(publicKey("ES256")), "ES256", "b", TEXT, signature), True)

    def test_several(self) -> None:
        """
        One of several is enough, and one that fails does not end it.
        """
        held = keys(publicKey("ES384"), publicKey("RS256"), publicKey("ES256"))
        self.assertIs(verifies(held, "ES256", "", TEXT, sign("ES256", TEXT)), True)


class ReadTests(SynchronousTestCase):
    """
    L{readKeys}.
    """

    def test_leftOut(self) -> None:
        """
        What cannot be used is left out (RFC 7517, 5).
        """
        broken: list[Any] = [
            {"kty": "DSA"},
            {"kty": "RSA", "n": "!", "e": "AQAB"},
            {"kty": "RSA"},
            {"kty": "EC", "crv": "P-1", "x": "AA", "y": "AA"},
            {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
            {"kty": "OKP", "crv": "X25519", "x": "AA"},
            {"kty": "oct"},
            {"kty": ["RSA"]},
            "key",
        ]
        found = readKeys({"keys": [*broken, publicKey("ES256", kid="a")]})
        self.assertEqual([key.kid for key in found], ["a"])
        self.assertRaises(JWKSError, readKeys, {"keys": broken})

    def test_noSet(self) -> None:
        """
        What is no set is told.
        """
        held: Any
        for held in (None, [], {}, {"keys": {}}, {"keys": []}, "x"):
            self.assertRaises(JWKSError, readKeys, held)

    def test_base64(self) -> None:
        """
        Base64url has no padding, no other characters, and no odd length.
        """
        self.assertEqual((decodeBase64URL(b"-_8"), decodeBase64URL(b"")), (b"\xfb\xff", b""))
        for text in (b"AA==", b"A", b"+/8", b"A A", b"AA\n"):
            self.assertRaises(ValueError, decodeBase64URL, text)
