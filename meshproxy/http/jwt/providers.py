# -*- test-case-name: tests.http.jwt.test_providers -*-
"""
Who issues tokens: where theirs are found in a request, what makes them valid, and what the service is told of them.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote_to_bytes

from meshproxy.config.matchers import BytesTest, parseQuery
from meshproxy.headers import RequestHeaders
from meshproxy.http.jwt.jwks import Key, verifies
from meshproxy.http.jwt.token import JWT, JWTError, JWTStatus
from meshproxy.routing.hashing import cookieValue

__all__ = [
    "ClaimHeader",
    "Found",
    "IKeys",
    "KeysWanted",
    "Locations",
    "Provider",
    "TokenCache",
    "claim",
    "plainAudience",
]

_DEFAULT_SKEW = 60
# As in Envoy: a token begins with the first character behind the prefix that may be in one.
_tokenBegins = re.compile(rb"[A-Za-z0-9_.-]").search
_audience = re.compile(r"(?:https?://)?(.*?)/?\Z", re.S).match


class KeysWanted(Exception):
    """
    A provider's keys are not here; they are to be fetched, and all of it tried again.
    """

    def __init__(self, provider: Provider) -> None:
        super().__init__(provider.name)
        self.provider = provider


class IKeys(Protocol):
    """
    Where a provider's keys are.
    """

    def current(self) -> Sequence[Key] | None:
        """
        The keys, or L{None} where they are to be fetched first.
        """


class Found(NamedTuple):
    """
    A token in a request.

    @ivar issuers: Whose tokens may be there; an empty name stands for anybody's.
    @ivar kind: C{"header"}, C{"parameter"} or C{"cookie"}, and C{name} which.
    """

    token: bytes
    issuers: frozenset[str]
    kind: str
    name: bytes

    def remove(self, headers: RequestHeaders) -> None:
        """
        Take it away, so that the service does not see it. As in Envoy, cookies stay.
        """
        if self.kind == "header":
            headers.remove(self.name)
        elif self.kind == "parameter":
            path, mark, query = headers.path.partition(b"?")
            kept = [pair for pair in query.split(b"&") if unquote_to_bytes(pair.partition(b"=")[0]) != self.name]
            headers.path = path + (mark + b"&".join(kept) if kept else b"")


class Locations:
    """
    Where the tokens of some providers may be.
    """

    def __init__(self, providers: Sequence[Provider]) -> None:
        headers: dict[tuple[bytes, bytes], set[str]] = {}
        parameters: dict[bytes, set[str]] = {}
        cookies: dict[bytes, set[str]] = {}
        for provider in providers:
            for header in provider.fromHeaders:
                headers.setdefault(header, set()).add(provider.issuer)
            for name in provider.fromParameters:
                parameters.setdefault(name, set()).add(provider.issuer)
            for name in provider.fromCookies:
                cookies.setdefault(name, set()).add(provider.issuer)
        # In Envoy's order: sorted by name and prefix.
        self._headers = [(*key, frozenset(headers[key])) for key in sorted(headers, key=b"".join)]
        self._parameters = [(name, frozenset(parameters[name])) for name in sorted(parameters)]
        self._cookies = [(name, frozenset(cookies[name])) for name in sorted(cookies)]

    def find(self, headers: RequestHeaders) -> list[Found]:
        """
        All tokens in a request.
        """
        return [*self._inHeaders(headers), *self._inPath(headers), *self._inCookies(headers)]

    def _inHeaders(self, headers: RequestHeaders) -> Iterator[Found]:
        for name, prefix, issuers in self._headers:
            # As in Envoy, credentials that are there twice are one, and no token.
            together = headers.joined(name) if name == b"authorization" else None
            for value in headers.values(name) if together is None else [together]:
                if prefix:
                    _, there, behind = value.partition(prefix)
                    if not there:
                        continue
                    begin = _tokenBegins(behind)
                    value = value if begin is None else behind[begin.start() :]
                yield Found(value, issuers, "header", name)

    def _inPath(self, headers: RequestHeaders) -> Iterator[Found]:
        if self._parameters and b"?" in headers.path:
            held = {unquote_to_bytes(key): value for key, value in reversed(parseQuery(headers.path).items())}
            for name, issuers in self._parameters:
                if name in held:
                    yield Found(unquote_to_bytes(held[name]), issuers, "parameter", name)

    def _inCookies(self, headers: RequestHeaders) -> Iterator[Found]:
        for name, issuers in self._cookies:
            value = cookieValue(headers, name)
            if value is not None:
                yield Found(value, issuers, "cookie", name)


class TokenCache:
    """
    Tokens whose signatures were verified, the last used ones.
    """

    def __init__(self, size: int, longest: int) -> None:
        self._size = size
        self._longest = longest
        self._tokens: OrderedDict[bytes, JWT] = OrderedDict()

    def get(self, token: bytes) -> JWT | None:
        """
        A token that was read and verified, or L{None}.
        """
        found = self._tokens.get(token)
        if found is not None:
            self._tokens.move_to_end(token)
        return found

    def put(self, token: bytes, jwt: JWT) -> None:
        """
        Remember one.
        """
        if len(token) <= self._longest:
            self._tokens[token] = jwt
            if len(self._tokens) > self._size:
                self._tokens.popitem(last=False)

    def clear(self) -> None:
        """
        Forget all: the keys are others.
        """
        self._tokens.clear()


@dataclass(frozen=True, slots=True)
class ClaimHeader:
    """
    A header that tells the service a claim.
    """

    header: bytes
    claim: str


@dataclass(frozen=True, slots=True, eq=False)
class Provider:
    """
    A compiled C{JwtProvider}.

    @ivar issuer: Whose tokens are its own; empty for anybody's.
    @ivar audiences: Which are allowed, without scheme and last slash; empty for all.
    @ivar payloadHeader: The header that tells the service the payload, or empty.
    @ivar payloadKey: The key of the dynamic metadata under which the payload is noted, or empty; likewise C{headerKey},
        and C{failureKey} for what went wrong.
    @ivar splitClaims: Claims whose words are noted as a list.
    """

    name: str
    issuer: str
    audiences: frozenset[str]
    subjects: BytesTest | None
    needsExpiration: bool
    longestLife: float
    skew: float
    keys: IKeys
    fromHeaders: tuple[tuple[bytes, bytes], ...]
    fromParameters: tuple[bytes, ...]
    fromCookies: tuple[bytes, ...]
    forwards: bool
    payloadHeader: bytes
    padsPayload: bool
    payloadKey: str
    splitClaims: tuple[str, ...]
    headerKey: str
    failureKey: str
    claimHeaders: tuple[ClaimHeader, ...]
    clearsRoute: bool
    cache: TokenCache | None

    def check(self, jwt: JWT, now: float, audiences: frozenset[str] | None) -> None:
        """
        Hold a token to all but its signature.

        @param audiences: In place of the provider's own.

        @raise JWTError: If it is not valid.
        """
        if self.subjects is not None and not self.subjects(jwt.subject.encode("utf-8", "surrogatepass")):
            raise JWTError(JWTStatus.VERIFICATION_FAILED)
        if not jwt.expires and (self.needsExpiration or self.longestLife):
            raise JWTError(JWTStatus.VERIFICATION_FAILED)
        if self.longestLife and jwt.expires - (jwt.issued or now) > self.longestLife:
            raise JWTError(JWTStatus.VERIFICATION_FAILED)
        jwt.checkTimes(now, self.skew or _DEFAULT_SKEW)
        allowed = self.audiences if audiences is None else audiences
        if allowed and allowed.isdisjoint(map(plainAudience, jwt.audiences)):
            raise JWTError(JWTStatus.AUDIENCE_NOT_ALLOWED)

    def verify(self, jwt: JWT) -> None:
        """
        Verify the signature of a token.

        @raise JWTError: If it is not right.
        @raise KeysWanted: If the keys are to be fetched.
        """
        keys = self.keys.current()
        if keys is None:
            raise KeysWanted(self)
        if not keys:
            raise JWTError(JWTStatus.NO_KEYS)
        outcome = verifies(keys, jwt.algorithm, jwt.kid, jwt.signed, jwt.signature)
        if not outcome:
            raise JWTError(JWTStatus.NO_KEY if outcome is None else JWTStatus.VERIFICATION_FAILED)

    def tell(self, jwt: JWT, headers: RequestHeaders) -> None:
        """
        Tell the service of a valid token.
        """
        if self.payloadHeader:
            text = jwt.payloadText
            headers.add(self.payloadHeader, text + b"=" * (-len(text) % 4 if self.padsPayload else 0))
        for name, path in ((each.header, each.claim) for each in self.claimHeaders):
            value = claim(jwt.payload, path)
            if value:
                headers.add(name, value)

    def noted(self, jwt: JWT) -> dict[str, Any]:
        """
        What is noted of a valid token in the dynamic metadata.
        """
        noted: dict[str, Any] = {}
        if self.headerKey:
            noted[self.headerKey] = _struct(jwt.header)
        if self.payloadKey:
            payload = dict(jwt.payload)
            for name in self.splitClaims:
                if isinstance(payload.get(name), str):
                    payload[name] = payload[name].split()
            noted[self.payloadKey] = _struct(payload)
        return noted

    @property
    def toldHeaders(self) -> Iterable[bytes]:
        """
        The headers that only this filter may set.
        """
        return [*filter(None, [self.payloadHeader]), *(each.header for each in self.claimHeaders)]


def _struct(value: Any) -> Any:
    """
    What JSON becomes in a C{google.protobuf.Struct}, which has only one kind of number.
    """
    if isinstance(value, dict):
        return {key: _struct(held) for key, held in value.items()}
    if isinstance(value, list):
        return [_struct(held) for held in value]
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return None
    return value


def plainAudience(audience: str) -> str:
    """
    An audience without its scheme and last slash, as in Envoy.
    """
    found = _audience(audience)
    return audience if found is None else found[1]


def claim(payload: dict[str, Any], path: str) -> bytes:
    """
    A claim as the value of a header; dots lead into claims that are objects. Empty where there is none, and for what is
    no text, number or boolean, or no value for a header.
    """
    held: Any = payload
    for key in [path] if path in payload else path.split("."):
        if not isinstance(held, dict) or key not in held:
            return b""
        held = held[key]
    if isinstance(held, bool):
        text = "true" if held else "false"
    elif isinstance(held, (int, float)):
        whole = 0 <= held < 1 << 64 and held == int(held)
        text = str(int(held)) if whole else f"{held:.6f}"
    elif isinstance(held, str):
        text = held
    else:
        return b""
    value = text.encode("utf-8", "surrogatepass")
    # What an issuer writes into a claim must not begin another field.
    return b"" if any(byte < 0x20 or byte == 0x7F for byte in value) else value
