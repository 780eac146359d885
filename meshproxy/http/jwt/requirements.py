# -*- test-case-name: tests.filters.http.test_jwt_authn -*-
"""
What is required of the tokens of a request: of one provider, of any or all of some, or nothing but that they are valid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from meshproxy.headers import RequestHeaders
from meshproxy.http.jwt.keys import JWTCounters
from meshproxy.http.jwt.providers import Found, Locations, Provider
from meshproxy.http.jwt.token import JWT, JWTError, JWTStatus, readJWT

__all__ = ["Attempt", "Verify", "ofProvider", "requireAll", "requireAny", "requireValid"]


class Attempt:
    """
    One try to verify the tokens of a request. What is to be done with those that are valid is done at the end.
    """

    __slots__ = ("counters", "failed", "good", "headers", "now")

    def __init__(self, headers: RequestHeaders, now: float, counters: JWTCounters) -> None:
        self.headers = headers
        self.now = now
        self.counters = counters
        self.good: list[tuple[Provider, JWT, Found]] = []
        self.failed: list[tuple[Provider, JWTError]] = []

    def verify(self, provider: Provider, found: Found, audiences: frozenset[str] | None, jwt: JWT | None) -> None:
        """
        Verify one token of a provider.

        @param jwt: The token, where it was read already.
        """
        cached = None if provider.cache is None else provider.cache.get(found.token)
        if provider.cache is not None:
            (self.counters.cacheMisses if cached is None else self.counters.cacheHits).value += 1
        jwt = cached or jwt or readJWT(found.token)
        if "" not in found.issuers and jwt.issuer not in found.issuers:
            raise JWTError(JWTStatus.UNKNOWN_ISSUER)
        provider.check(jwt, self.now, audiences)
        if cached is None:
            provider.verify(jwt)
            if provider.cache is not None:
                provider.cache.put(found.token, jwt)
        self.good.append((provider, jwt, found))


#: Verifies, and raises L{JWTError} if that cannot be done.
Verify = Callable[[Attempt], None]


def ofProvider(provider: Provider, audiences: frozenset[str] | None) -> Verify:
    """
    Require a token of a provider; all that are where its tokens may be must be valid.

    @param audiences: In place of the provider's own.
    """
    locations = Locations([provider])

    def verify(attempt: Attempt) -> None:
        tokens = locations.find(attempt.headers)
        try:
            if not tokens:
                raise JWTError(JWTStatus.MISSING)
            # All of them: a service might use another one than the one that is valid.
            for found in reversed(tokens):
                attempt.verify(provider, found, audiences, None)
        except JWTError as error:
            attempt.failed.append((provider, error))
            raise

    return verify


def requireValid(providers: Sequence[Provider], allowsFailed: bool) -> Verify:
    """
    C{allow_missing} and C{allow_missing_or_failed}: whatever tokens of the providers there are.
    """
    locations = Locations(providers)

    def providerOf(jwt: JWT) -> Provider:
        for provider in providers:
            if provider.issuer == jwt.issuer:
                return provider
        for provider in providers:
            if not provider.issuer:
                return provider
        raise JWTError(JWTStatus.UNKNOWN_ISSUER)

    def verify(attempt: Attempt) -> None:
        for found in reversed(locations.find(attempt.headers)):
            try:
                jwt = readJWT(found.token)
                attempt.verify(providerOf(jwt), found, None, jwt)
            except JWTError:
                if not allowsFailed:
                    raise

    return verify


def requireAny(each: Sequence[Verify]) -> Verify:
    """
    Require one of several, in order.
    """

    def verify(attempt: Attempt) -> None:
        failure: JWTError | None = None
        for one in each:
            good = len(attempt.good)
            try:
                return one(attempt)
            except JWTError as error:
                # What was valid of an alternative that failed tells nothing.
                del attempt.good[good:]
                # What says least gives way: no token, or one of somebody else.
                if failure is None or error.status not in (JWTStatus.MISSING, JWTStatus.UNKNOWN_ISSUER):
                    failure = error
        if failure is not None:
            raise failure
        return None

    return verify


def requireAll(each: Sequence[Verify]) -> Verify:
    """
    Require all of several.
    """

    def verify(attempt: Attempt) -> None:
        for one in each:
            one(attempt)

    return verify
