# -*- test-case-name: tests.http.jwt.test_token -*-
"""
JSON Web Tokens (RFC 7519): read, and held to their times; L{meshproxy.http.jwt.jwks} verifies their signatures.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import Any

from meshproxy.errors import MeshProxyError
from meshproxy.http.jwt.jwks import ALGORITHMS, decodeBase64URL

__all__ = ["JWT", "JWTError", "JWTStatus", "readJSON", "readJWT"]

# Whoever sends a token chooses how deep and how long it is.
_LONGEST = 64 * 1024


class JWTStatus(Enum):
    """
    What can be wrong, in Envoy's words.
    """

    MISSING = "Jwt is missing"
    NOT_YET_VALID = "Jwt not yet valid"
    EXPIRED = "Jwt is expired"
    BAD_FORMAT = "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"
    HEADER_NOT_ENCODED = "Jwt header is an invalid Base64url encoded"
    BAD_HEADER = "Jwt header is an invalid JSON"
    BAD_ALGORITHM = "Jwt header [alg] is not supported"
    NO_ALGORITHM = "Jwt header [alg] field is required and must be a string"
    BAD_KID = "Jwt header [kid] field is not a string"
    PAYLOAD_NOT_ENCODED = "Jwt payload is an invalid Base64url encoded"
    BAD_PAYLOAD = "Jwt payload is an invalid JSON"
    BAD_ISSUER = "Jwt payload [iss] field is not a string"
    BAD_SUBJECT = "Jwt payload [sub] field is not a string"
    BAD_AUDIENCE = "Jwt payload [aud] field is not a string or string list"
    BAD_TIME = "Jwt payload [%s] field is not an integer"
    TIME_OUT_OF_RANGE = "Jwt payload [%s] field is not a positive 64 bit integer"
    BAD_SIGNATURE_TEXT = "Jwt signature is an invalid Base64url encoded"
    UNKNOWN_ISSUER = "Jwt issuer is not configured"
    AUDIENCE_NOT_ALLOWED = "Audiences in Jwt are not allowed"
    VERIFICATION_FAILED = "Jwt verification fails"
    NO_KEY = "Jwks doesn't have key to match kid or alg from Jwt"
    NO_KEYS = "Jwks doesn't have any valid public key"
    FETCH_FAILED = "Jwks remote fetch is failed"


class JWTError(MeshProxyError):
    """
    A token that is not valid.

    @ivar text: Why, for the client and the log.
    """

    def __init__(self, status: JWTStatus, field: str = "") -> None:
        super().__init__(status)
        self.status = status
        self.text = status.value % field if field else status.value


@dataclass(frozen=True, slots=True)
class JWT:
    """
    A token that was read; nothing of it is verified.

    @ivar payloadText: The payload as it came, in base64url.
    @ivar signed: What is signed.
    @ivar expires: C{exp}, 0 for never; likewise C{notBefore} and C{issued}.
    """

    header: dict[str, Any]
    payload: dict[str, Any]
    payloadText: bytes
    signed: bytes
    signature: bytes
    algorithm: str
    kid: str
    issuer: str
    subject: str
    audiences: tuple[str, ...]
    expires: int
    notBefore: int
    issued: int

    def checkTimes(self, now: float, skew: float) -> None:
        """
        Hold it to its times.

        @raise JWTError: If it is not valid yet, or no more.
        """
        if self.notBefore and now < self.notBefore - skew:
            raise JWTError(JWTStatus.NOT_YET_VALID)
        if self.expires and now > self.expires + skew:
            raise JWTError(JWTStatus.EXPIRED)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    held = dict(pairs)
    if len(held) != len(pairs):
        # RFC 7519, 4: of two claims of a name each reader may take another.
        raise ValueError("a name that is there twice")
    return held


def _noConstant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def readJSON(data: bytes) -> Any:
    """
    Read JSON strictly: no name twice, no numbers that JSON does not have.

    @raise ValueError: If it is none.
    """
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_noConstant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _object(text: bytes, notEncoded: JWTStatus, status: JWTStatus) -> dict[str, Any]:
    try:
        decoded = decodeBase64URL(text)
    except ValueError as error:
        raise JWTError(notEncoded) from error
    try:
        held = readJSON(decoded)
    except ValueError as error:
        raise JWTError(status) from error
    if not isinstance(held, dict):
        raise JWTError(status)
    return held


def _text(held: dict[str, Any], name: str, status: JWTStatus) -> str:
    value = held.get(name, "")
    if not isinstance(value, str):
        raise JWTError(status)
    return value


def _time(held: dict[str, Any], name: str) -> int:
    value = held.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise JWTError(JWTStatus.BAD_TIME, name)
    if not 0 <= value < 1 << 63:
        raise JWTError(JWTStatus.TIME_OUT_OF_RANGE, name)
    return int(value)


def _audiences(held: dict[str, Any]) -> tuple[str, ...]:
    value = held.get("aud", [])
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise JWTError(JWTStatus.BAD_AUDIENCE)
    return tuple(values)


def readJWT(token: bytes) -> JWT:
    """
    Read a token in its compact form (RFC 7515, 3.1).

    @raise JWTError: If it is none.
    """
    parts = token.split(b".")
    if len(parts) != 3 or not all(parts) or len(token) > _LONGEST:
        raise JWTError(JWTStatus.BAD_FORMAT)
    header = _object(parts[0], JWTStatus.HEADER_NOT_ENCODED, JWTStatus.BAD_HEADER)
    algorithm = header.get("alg")
    if not isinstance(algorithm, str):
        raise JWTError(JWTStatus.NO_ALGORITHM)
    if algorithm not in ALGORITHMS:
        raise JWTError(JWTStatus.BAD_ALGORITHM)
    if "crit" in header:
        # RFC 7515, 4.1.11: it names what must be understood, and nothing of it is.
        raise JWTError(JWTStatus.BAD_HEADER)
    kid = _text(header, "kid", JWTStatus.BAD_KID)
    payload = _object(parts[1], JWTStatus.PAYLOAD_NOT_ENCODED, JWTStatus.BAD_PAYLOAD)
    try:
        signature = decodeBase64URL(parts[2])
    except ValueError as error:
        raise JWTError(JWTStatus.BAD_SIGNATURE_TEXT) from error
    return JWT(
        header,
        payload,
        parts[1],
        token[: len(parts[0]) + 1 + len(parts[1])],
        signature,
        algorithm,
        kid,
        _text(payload, "iss", JWTStatus.BAD_ISSUER),
        _text(payload, "sub", JWTStatus.BAD_SUBJECT),
        _audiences(payload),
        _time(payload, "exp"),
        _time(payload, "nbf"),
        _time(payload, "iat"),
    )
