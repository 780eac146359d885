# -*- test-case-name: tests.filters.http.test_cors -*-
"""
C{envoy.filters.http.cors}: answers browsers' preflight requests, and tells them which origins may read a response.

The filter itself has no configuration: routes and what is around them have a C{CorsPolicy}.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from meshproxy.config import Section
from meshproxy.config.expressions import Expression
from meshproxy.config.matchers import BytesTest, compileStringMatcher
from meshproxy.config.supported import declare
from meshproxy.headers import RequestHeaders, ResponseHeaders
from meshproxy.http.filter import FilterContext, HTTPFilter
from meshproxy.http.passage import Step, usually
from meshproxy.interfaces import IHTTPStream
from meshproxy.routing.route import RouteKind
from meshproxy.runtime import Runtime, always, never

__all__ = ["CORS", "CORSPolicy", "combinePolicies"]

_PACKAGE = "envoy.extensions.filters.http.cors.v3."

declare(_PACKAGE + "Cors")
declare(_PACKAGE + "CorsPolicy", "allow_origin_string_match", "allow_methods", "allow_headers", "expose_headers")
declare(_PACKAGE + "CorsPolicy", "max_age", "allow_credentials", "filter_enabled", "shadow_enabled")
declare(_PACKAGE + "CorsPolicy", "allow_private_network_access", "forward_not_matching_preflights")


@dataclass(frozen=True, slots=True, eq=False)
class CORSPolicy:
    """
    A compiled C{CorsPolicy}. What it leaves open is L{None} or empty, and the level above is asked.

    @ivar isEnabled: Whether it is heeded; likewise C{isShadow}, whether it is only counted. The most specific level
        says so alone.
    """

    isEnabled: Callable[[], bool] = never
    isShadow: Callable[[], bool] = never
    origins: tuple[BytesTest, ...] = ()
    methods: bytes = b""
    headers: bytes = b""
    exposed: bytes = b""
    maxAge: bytes = b""
    credentials: bool | None = None
    privateNetwork: bool | None = None
    forwardsOthers: bool | None = None

    def allows(self, origin: bytes) -> bool:
        """
        Whether pages of an origin may read the response.
        """
        # As in Envoy: what matches a lone asterisk matches every origin.
        return any(test(origin) or test(b"*") for test in self.origins)


@lru_cache(1024)
def combinePolicies(levels: tuple[CORSPolicy, ...]) -> CORSPolicy:
    """
    One policy of those of all levels, the most general first.
    """
    if len(levels) == 1:
        return levels[0]
    ordered = levels[::-1]

    def first(name: str) -> Any:
        values = [getattr(policy, name) for policy in ordered]
        return next((value for value in values if value not in (None, b"", ())), values[-1])

    return CORSPolicy(
        ordered[0].isEnabled,
        ordered[0].isShadow,
        first("origins"),
        first("methods"),
        first("headers"),
        first("exposed"),
        first("maxAge"),
        first("credentials"),
        first("privateNetwork"),
        first("forwardsOthers"),
    )


class CORS(HTTPFilter):
    """
    One instance serves all streams; it remembers those whose origin may read the response.
    """

    shared = True
    remembers = True
    configType = _PACKAGE + "Cors"
    routeConfigType = _PACKAGE + "CorsPolicy"
    olderRouteConfigType = "envoy.config.route.v3.CorsPolicy"

    def __init__(self, config: None, context: FilterContext) -> None:
        super().__init__(config, context)
        scope = context.scope.scope("cors.")
        self._valid = scope.counter("origin_valid")
        self._invalid = scope.counter("origin_invalid")
        self._readers: dict[IHTTPStream, tuple[bytes, CORSPolicy]] = {}
        # Who does not come from a page of another origin passes in one step.
        noOrigin = Step(Expression('(b"origin" not in first)', {}))
        self.requestHeaders = usually(partial(CORS.requestHeaders, self), noOrigin)  # type: ignore[method-assign]
        noReader = Step(Expression.of("not {readers}", readers=self._readers))
        self.responseHeaders = usually(partial(CORS.responseHeaders, self), noReader)  # type: ignore[method-assign]

    @classmethod
    def compileConfig(cls, section: Section, context: FilterContext) -> None:
        return None

    @classmethod
    def compileRouteConfig(cls, section: Section, context: FilterContext) -> CORSPolicy:
        return _compile(section, context.runtime)

    def requestHeaders(self, stream: IHTTPStream, headers: RequestHeaders, endStream: bool) -> object:
        origin = headers.joined(b"origin")
        route = stream.route
        if not origin or route is None or route.kind is not RouteKind.ROUTE:
            return None
        name, overrides = self.context.name, route.overrides
        levels = overrides.levels.get(name) or overrides.older.get(name)
        if not levels:
            return None
        policy = combinePolicies(levels)
        isEnabled = policy.isEnabled()
        if not isEnabled and not policy.isShadow():
            return None
        allowed = policy.allows(origin)
        (self._valid if allowed else self._invalid).value += 1
        if not isEnabled:
            return None
        if allowed:
            stream.remember()
            self._readers[stream] = (origin, policy)
        method = headers.joined(b"access-control-request-method")
        # Fetch, "CORS-preflight request": only these three together make one.
        if headers.method != b"OPTIONS" or not method:
            return None
        if not allowed and policy.forwardsOthers is not False:
            return None
        return stream.reply(200, b"", _preflightFields(policy, headers, method), "cors_response")

    def responseHeaders(self, stream: IHTTPStream, headers: ResponseHeaders, endStream: bool) -> object:
        reader = self._readers.get(stream) if self._readers else None
        if reader is None:
            return None
        origin, policy = reader
        headers.set(b"access-control-allow-origin", origin)
        if policy.credentials:
            headers.set(b"access-control-allow-credentials", b"true")
        if policy.exposed:
            headers.set(b"access-control-expose-headers", policy.exposed)
        return None

    def streamEnded(self, stream: IHTTPStream) -> None:
        self._readers.pop(stream, None)


def _preflightFields(policy: CORSPolicy, headers: RequestHeaders, method: bytes) -> list[tuple[bytes, bytes]]:
    """
    What a preflight request is told besides what every response says.
    """
    fields = []
    if policy.credentials:
        fields.append((b"access-control-allow-credentials", b"true"))
    if policy.methods:
        fields.append((b"access-control-allow-methods", method if policy.methods == b"*" else policy.methods))
    if policy.headers:
        asked = headers.joined(b"access-control-request-headers") or b""
        fields.append((b"access-control-allow-headers", asked if policy.headers == b"*" else policy.headers))
    if policy.maxAge:
        fields.append((b"access-control-max-age", policy.maxAge))
    if policy.privateNetwork and headers.joined(b"access-control-request-private-network") == b"true":
        fields.append((b"access-control-allow-private-network", b"true"))
    return fields


def _compile(section: Section, runtime: Runtime) -> CORSPolicy:
    def text(field: str) -> bytes:
        value: str = section.get(field)
        return value.encode("utf-8")

    return CORSPolicy(
        runtime.fraction(section.child("filter_enabled"), always),
        runtime.fraction(section.child("shadow_enabled")),
        tuple(compileStringMatcher(held) for held in section.children("allow_origin_string_match")),
        text("allow_methods"),
        text("allow_headers"),
        text("expose_headers"),
        text("max_age"),
        section.wrapped("allow_credentials", None),
        section.wrapped("allow_private_network_access", None),
        section.wrapped("forward_not_matching_preflights", None),
    )
