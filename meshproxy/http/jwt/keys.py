# -*- test-case-name: tests.filters.http.test_jwt_authn -*-
"""
Where the keys of a provider of tokens are: in the configuration, or at somebody else's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from meshproxy.errors import MeshProxyError
from meshproxy.headers import RequestHeaders
from meshproxy.http.calls import CallResponse
from meshproxy.http.filter import FilterContext
from meshproxy.http.jwt.jwks import JWKSError, Key, readKeys
from meshproxy.http.jwt.token import readJSON
from meshproxy.stats.store import Scope

__all__ = ["FetchedKeys", "FixedKeys", "JWTCounters"]

# No key set is so large.
_LARGEST_SET = 1024 * 1024


class JWTCounters:
    """
    What is counted.
    """

    __slots__ = ("allowed", "bypassed", "cacheHits", "cacheMisses", "denied", "fetchFailed", "fetchSuccess")

    def __init__(self, scope: Scope) -> None:
        self.allowed = scope.counter("allowed")
        self.denied = scope.counter("denied")
        self.bypassed = scope.counter("cors_preflight_bypassed")
        self.fetchSuccess = scope.counter("jwks_fetch_success")
        self.fetchFailed = scope.counter("jwks_fetch_failed")
        self.cacheHits = scope.counter("jwt_cache_hit")
        self.cacheMisses = scope.counter("jwt_cache_miss")


class FixedKeys:
    """
    Keys of the configuration.
    """

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = keys

    def current(self) -> Sequence[Key] | None:
        """
        See L{IKeys.current}.
        """
        return self._keys


class FetchedKeys:
    """
    Keys of somebody else, fetched when they are needed and are not here, or too old. Requests that need them at the
    same time wait for the same answer.
    """

    def __init__(self, uri: str, cluster: str, timeout: float, seconds: float, context: FilterContext) -> None:
        _, _, rest = uri.partition("://")
        host, slash, path = rest.partition("/")
        self._authority, self._path = host.encode("utf-8"), (slash + path or "/").encode("utf-8")
        self._scheme = b"https" if uri.startswith("https:") else b"http"
        self._cluster = cluster
        self._timeout = timeout
        self._seconds = seconds
        self._context = context
        self._keys: Sequence[Key] | None = None
        self._until = 0.0
        self._waiting: list[Deferred[bool]] | None = None

    def current(self) -> Sequence[Key] | None:
        """
        See L{IKeys.current}.
        """
        return self._keys if self._context.clock.seconds() < self._until else None

    def fetch(self, counters: JWTCounters, fetched: Callable[[], None]) -> Deferred[bool]:
        """
        Fetch them.

        @param fetched: Called when others have come.

        @return: Whether that could be done. It may be cancelled; the others go on waiting.
        """
        waiting: Deferred[bool] = Deferred(lambda gone: self._waiting.remove(gone) if self._waiting else None)
        if self._waiting is not None:
            self._waiting.append(waiting)
            return waiting
        self._waiting = [waiting]
        question = RequestHeaders(b"GET", self._path, self._authority)
        question.scheme = self._scheme
        call: Deferred[CallResponse] = self._context.calls.call(
            self._cluster, question, b"", self._timeout, _LARGEST_SET
        )

        def read(answer: CallResponse) -> bool:
            if answer.headers.status != 200:
                raise JWKSError(f"status {answer.headers.status}")
            self._keys = readKeys(readJSON(answer.body))
            self._until = self._context.clock.seconds() + self._seconds
            fetched()
            return True

        def failed(failure: Any) -> bool:
            failure.trap(MeshProxyError, ValueError)
            self._context.log.warn("cannot fetch keys of {host}: {why}", host=self._authority, why=failure.value)
            return False

        def done(isThere: bool) -> None:
            (counters.fetchSuccess if isThere else counters.fetchFailed).value += 1
            everybody, self._waiting = self._waiting or [], None
            for each in everybody:
                each.callback(isThere)

        call.addCallbacks(read).addErrback(failed).addCallback(done)
        return waiting
