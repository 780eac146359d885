"""
L{meshproxy.http.jwt.token}.
"""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.http.jwt.token import JWTError, JWTStatus, readJSON, readJWT
from tests.http.jwt.support import encode, token


class ReadTests(SynchronousTestCase):
    """
    L{readJWT}.
    """

    def status(self, text: str) -> JWTStatus:
        """
        What is wrong with a token.
        """
        with self.assertRaises(JWTError) as caught:
            readJWT(text.encode())
        status: JWTStatus = caught.exception.status
        return status

    def test_claims(self) -> None:
        """
        What a token says is read.
        """
        jwt = readJWT(
            token({"iss": "i", "sub": "s", "aud": ["a", "b"], "exp": 3, "nbf": 1.5, "iat": 2}, kid="k").encode()
        )
        found = (jwt.issuer, jwt.subject, jwt.audiences, jwt.expires, jwt.notBefore, jwt.issued, jwt.kid, jwt.algorithm)
        self.assertEqual(found, ("i", "s", ("a", "b"), 3, 1, 2, "k", "ES256"))
        self.assertEqual(readJWT(token({"aud": "a"}).encode()).audiences, ("a",))

    def test_form(self) -> None:
        """
        It has three parts, none of them empty, each in base64url.
        """
        head, body, signature = token({}).split(".")
        for text in ("", "a", f"{head}.{body}", f"{head}.{body}.", f"{head}.{body}.{signature}.x", ".."):
            self.assertIs(self.status(text), JWTStatus.BAD_FORMAT, text)
        self.assertIs(self.status(f"{head}!.{body}.{signature}"), JWTStatus.HEADER_NOT_ENCODED)
        self.assertIs(self.status(f"{head}.{body}!.{signature}"), JWTStatus.PAYLOAD_NOT_ENCODED)
        self.assertIs(self.status(f"{head}.{body}.{signature}!"), JWTStatus.BAD_SIGNATURE_TEXT)
        self.assertIs(self.status(token({"a": "x" * 70000})), JWTStatus.BAD_FORMAT)

    def test_header(self) -> None:
        """
        Its header is an object with an algorithm that there is, and asks for nothing that is not understood (RFC 7515,
        4.1.11).
        """
        for header, expected in (
            ({"alg": None}, JWTStatus.NO_ALGORITHM),
            ({"alg": 5}, JWTStatus.NO_ALGORITHM),
            ({"alg": "none"}, JWTStatus.BAD_ALGORITHM),
            ({"alg": "es256"}, JWTStatus.BAD_ALGORITHM),
            ({"kid": 5}, JWTStatus.BAD_KID),
            ({"crit": ["exp"]}, JWTStatus.BAD_HEADER),
        ):
            self.assertIs(self.status(token({}, **header)), expected)
        _, body, signature = token({}).split(".")
        self.assertIs(self.status(f"{encode(b'[]')}.{body}.{signature}"), JWTStatus.BAD_HEADER)

    def test_payload(self) -> None:
        """
        Its payload is an object, and its claims are of their types.
        """
        payload: Any
        for payload, expected in (
            (b"{", JWTStatus.BAD_PAYLOAD),
            (b"[1]", JWTStatus.BAD_PAYLOAD),
            (b"\xff", JWTStatus.BAD_PAYLOAD),
            (b'{"sub": "me", "sub": "root"}', JWTStatus.BAD_PAYLOAD),
            (b'{"exp": NaN}', JWTStatus.BAD_PAYLOAD),
            (b"[" * 100000, JWTStatus.BAD_FORMAT),
            (b"[" * 20000, JWTStatus.BAD_PAYLOAD),
            ({"iss": 1}, JWTStatus.BAD_ISSUER),
            ({"sub": None}, JWTStatus.BAD_SUBJECT),
            ({"aud": 1}, JWTStatus.BAD_AUDIENCE),
            ({"aud": ["a", 1]}, JWTStatus.BAD_AUDIENCE),
            ({"exp": "1"}, JWTStatus.BAD_TIME),
            ({"nbf": True}, JWTStatus.BAD_TIME),
            ({"iat": -1}, JWTStatus.TIME_OUT_OF_RANGE),
            ({"exp": 1 << 63}, JWTStatus.TIME_OUT_OF_RANGE),
        ):
            self.assertIs(self.status(token(payload)), expected)

    def test_garbage(self) -> None:
        """
        Whatever comes, there is no other exception.
        """
        chance = Random(2)
        good = token({"iss": "i", "exp": 3})
        for _ in range(500):
            text = bytearray(good.encode())
            for _ in range(chance.randrange(1, 5)):
                text[chance.randrange(len(text))] = chance.randrange(256)
            try:
                readJWT(bytes(text))
            except JWTError:
                pass

    def test_numbers(self) -> None:
        """
        A number of any length is no reason to stumble.
        """
        self.assertRaises(ValueError, readJSON, b'{"n": ' + b"9" * 5000 + b"}")


class TimeTests(SynchronousTestCase):
    """
    L{JWT.checkTimes<meshproxy.http.jwt.token.JWT.checkTimes>}.
    """

    def test_times(self) -> None:
        """
        A token is valid from C{nbf} to C{exp}, give or take the difference of two clocks.
        """
        jwt = readJWT(token({"nbf": 100, "exp": 200}).encode())
        for now in (95, 100, 200, 205):
            jwt.checkTimes(now, 5)
        for now, expected in ((94, JWTStatus.NOT_YET_VALID), (206, JWTStatus.EXPIRED)):
            with self.assertRaises(JWTError) as caught:
                jwt.checkTimes(now, 5)
            self.assertIs(caught.exception.status, expected)
        readJWT(token({}).encode()).checkTimes(1e12, 0)
