# -*- test-case-name: tests.filters.http.test_jwt_authn -*-
"""
C{envoy.filters.http.jwt_authn}: lets in who has a valid JSON Web Token.

Nothing of a request changes before all of its tokens are verified; while keys are fetched, it waits.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from meshproxy.config import Section
from meshproxy.config.matchers import compileStringMatcher, withoutQuery
from meshproxy.config.supported import accept, declare
from meshproxy.headers import RequestHeaders
from meshproxy.http.filter import FilterContext, Foreseen, HTTPFilter
from meshproxy.http.jwt.jwks import JWKSError, readKeys
from meshproxy.http.jwt.keys import FetchedKeys, FixedKeys, JWTCounters
from meshproxy.http.jwt.providers import ClaimHeader, KeysWanted, Provider, TokenCache, plainAudience
from meshproxy.http.jwt.requirements import Attempt, Verify, ofProvider, requireAll, requireAny, requireValid
from meshproxy.http.jwt.token import JWTError, JWTStatus, readJSON
from meshproxy.http.metadata import noteMetadata
from meshproxy.interfaces import Stop
from meshproxy.routing.conditions import Conditions, compileConditions
from meshproxy.routing.context import RouteContext
from meshproxy.routing.redirects import readDataSource
from meshproxy.stats.store import Store

__all__ = ["JWTAuthn", "JWTPlan"]

_PACKAGE = "envoy.extensions.filters.http.jwt_authn.v3."
_MESSAGE = _PACKAGE + "JwtAuthentication"
_PROVIDER = _PACKAGE + "JwtProvider"

declare(_MESSAGE, "providers", "rules", "bypass_cors_preflight", "requirement_map", "strip_failure_response")
declare(_MESSAGE, "stat_prefix")
declare(_PROVIDER, "issuer", "audiences", "subjects", "require_expiration", "max_lifetime", "remote_jwks", "local_jwks")
declare(_PROVIDER, "forward", "from_headers", "from_params", "from_cookies", "forward_payload_header")
declare(_PROVIDER, "pad_forward_payload_header", "payload_in_metadata", "normalize_payload_in_metadata")
declare(_PROVIDER, "header_in_metadata", "failed_status_in_metadata", "clock_skew_seconds", "jwt_cache_config")
declare(_PROVIDER, "claim_to_headers", "clear_route_cache")
declare(_PROVIDER + ".NormalizePayload", "space_delimited_claims")
declare(_PACKAGE + "JwtHeader", "name", "value_prefix")
declare(_PACKAGE + "JwtCacheConfig", "jwt_cache_size", "jwt_max_token_size")
declare(_PACKAGE + "JwtClaimToHeader", "header_name", "claim_name")
declare(_PACKAGE + "RemoteJwks", "http_uri", "cache_duration")
accept(_PACKAGE + "RemoteJwks", "async_fetch", "keys are fetched with the first request that needs them")
declare(_PACKAGE + "RequirementRule", "match", "requires", "requirement_name")
declare(_PACKAGE + "JwtRequirement", "provider_name", "provider_and_audiences", "requires_any", "requires_all")
declare(_PACKAGE + "JwtRequirement", "allow_missing", "allow_missing_or_failed")
declare(_PACKAGE + "ProviderWithAudiences", "provider_name", "audiences")
declare(_PACKAGE + "JwtRequirementOrList", "requirements")
declare(_PACKAGE + "JwtRequirementAndList", "requirements")
declare(_PACKAGE + "PerRouteConfig", "disabled", "requirement_name")
declare("envoy.config.core.v3.HttpUri", "uri", "cluster", "timeout")

# As in Envoy, whatever the filter is called in its chain.
_NAMESPACE = "envoy.filters.http.jwt_authn"
_LONGEST_PATH = 256
_CACHE_SIZE = 100
_LONGEST_CACHED = 4096


@dataclass(frozen=True, slots=True)
class JWTPlan:
    """
    A compiled C{JwtAuthentication}.

    @ivar rules: Conditions, each with what is required, or L{None} for nothing.
    @ivar named: Requirements that routes name.
    @ivar owned: Headers that only this filter may set.
    @ivar now: The time, since 1970.
    """

    rules: tuple[tuple[Conditions, Verify | None], ...]
    named: dict[str, Verify]
    owned: tuple[bytes, ...]
    bypassesPreflight: bool
    stripsFailures: bool
    counters: JWTCounters
    now: Callable[[], float]


class JWTAuthn(HTTPFilter):
    """
    One instance serves all streams.
    """

    shared = True
    configType = _MESSAGE
    routeConfigType = _PACKAGE + "PerRouteConfig"

    @classmethod
    def compileConfig(cls, section: Section, context: FilterContext) -> JWTPlan:
        return _Compiler(section, context).compile()

    @classmethod
    def compileRouteConfig(cls, section: Section, context: FilterContext) -> str:
        # An empty name: the filter is switched off.
        name: str = "" if section.get("disabled") else section.get("requirement_name")
        return name

    def requestHeaders(
        self, stream: Any, headers: RequestHeaders, endStream: bool
    ) -> Coroutine[Any, Any, Stop | None] | Stop | None:
        plan: JWTPlan = self.config
        if plan.bypassesPreflight and _isPreflight(headers):
            plan.counters.bypassed.value += 1
            plan.counters.allowed.value += 1
            return None
        said: str | None = stream.routeConfig(self.context.name)
        if said is None:
            requires = _ruleFor(plan, stream, headers)
        else:
            requires = plan.named.get(said)
            if said and requires is None:
                why = f"Wrong requirement_name: {said}. It should be one of [{','.join(sorted(plan.named))}]"
                plan.counters.denied.value += 1
                body = b"" if plan.stripsFailures else f"Failed JWT authentication: {why}".encode()
                stop: Stop = stream.reply(403, body, (), _details(why))
                return stop
        if requires is None:
            plan.counters.allowed.value += 1
            return None
        # Whatever the tokens say, a client must not say it for them.
        for name in plan.owned:
            headers.remove(name)
        try:
            return self._verified(stream, headers, requires)
        except KeysWanted as wanted:
            return self._fetch(stream, headers, requires, wanted.provider)

    @classmethod
    def foresee(cls, config: JWTPlan | str, stream: Any, headers: RequestHeaders) -> Foreseen:
        if isinstance(config, str):
            return Foreseen(f"not judged: the route asks for the requirement {config!r}")
        if config.bypassesPreflight and _isPreflight(headers):
            return Foreseen("allowed: a preflight request needs no token")
        requires = _ruleFor(config, stream, headers)
        if requires is None:
            return Foreseen("allowed: no token is asked for here")
        attempt = Attempt(headers.copy(), config.now(), JWTCounters(Store().scope("")))
        try:
            requires(attempt)
        except KeysWanted as wanted:
            return Foreseen(f"not judged: the keys of provider {wanted.provider.name!r} are fetched when a token comes")
        except JWTError as error:
            return Foreseen(f"denied: {error.text}", _statusOf(error), _details(error.text))
        for provider, jwt, _ in attempt.good:
            noteMetadata(stream, _NAMESPACE, provider.noted(jwt))
        told = [f"a valid token of {jwt.issuer!r} for {jwt.subject!r}" for _, jwt, _ in attempt.good]
        clears = any(provider.clearsRoute for provider, _, _ in attempt.good)
        return Foreseen(f"allowed: {', '.join(told) or 'there is no token, and none is demanded'}", clearsRoute=clears)

    async def _fetch(self, stream: Any, headers: RequestHeaders, requires: Verify, provider: Provider) -> Stop | None:
        counters: JWTCounters = self.config.counters
        while True:
            keys = provider.keys
            assert isinstance(keys, FetchedKeys)
            if not await keys.fetch(counters, provider.cache.clear if provider.cache is not None else _nothing):
                return self._deny(stream, headers, JWTError(JWTStatus.FETCH_FAILED), [])
            try:
                return self._verified(stream, headers, requires)
            except KeysWanted as wanted:
                if wanted.provider is provider:
                    # Keys that are too old as soon as they come.
                    return self._deny(stream, headers, JWTError(JWTStatus.FETCH_FAILED), [])
                provider = wanted.provider

    def _verified(self, stream: Any, headers: RequestHeaders, requires: Verify) -> Stop | None:
        attempt = Attempt(headers, self.context.clock.seconds(), self.config.counters)
        try:
            requires(attempt)
        except JWTError as error:
            return self._deny(stream, headers, error, attempt.failed)
        self.config.counters.allowed.value += 1
        self._noteFailures(stream, attempt.failed)
        clears = False
        for provider, jwt, found in attempt.good:
            provider.tell(jwt, headers)
            if not provider.forwards:
                found.remove(headers)
            noted = provider.noted(jwt)
            if noted:
                noteMetadata(stream, _NAMESPACE, noted)
            clears = clears or provider.clearsRoute
        if clears:
            stream.clearRouteCache()
        return None

    def _noteFailures(self, stream: Any, failed: Sequence[tuple[Provider, JWTError]]) -> None:
        for provider, error in failed:
            if provider.failureKey:
                told = {"code": str(list(JWTStatus).index(error.status) + 1), "message": error.text}
                noteMetadata(stream, _NAMESPACE, {provider.failureKey: told})

    def _deny(
        self, stream: Any, headers: RequestHeaders, error: JWTError, failed: Sequence[tuple[Provider, JWTError]]
    ) -> Stop:
        plan: JWTPlan = self.config
        plan.counters.denied.value += 1
        self._noteFailures(stream, failed)
        status = _statusOf(error)
        stop: Stop
        if plan.stripsFailures:
            stop = stream.reply(status, b"", (), _details(error.text))
            return stop
        path = headers.first.get(b"x-envoy-original-path", headers.path)[:_LONGEST_PATH]
        challenge = b'Bearer realm="%s://%s%s"' % (headers.scheme, headers.authority, path)
        if error.status is not JWTStatus.MISSING:
            challenge += b', error="invalid_token"'
        stop = stream.reply(status, error.text.encode(), ((b"www-authenticate", challenge),), _details(error.text))
        return stop


def _nothing() -> None:
    """
    There is no cache to clear.
    """


def _statusOf(error: JWTError) -> int:
    return 403 if error.status is JWTStatus.AUDIENCE_NOT_ALLOWED else 401


def _ruleFor(plan: JWTPlan, stream: Any, headers: RequestHeaders) -> Verify | None:
    """
    What the first rule that is for a request requires.
    """
    path = withoutQuery(headers.path)
    for conditions, requires in plan.rules:
        if _matches(conditions, stream, headers, path):
            return requires
    return None


def _details(why: str) -> str:
    # A space would be another column of the access log.
    return f"jwt_authn_access_denied{{{why.replace(' ', '_')}}}"


def _isPreflight(headers: RequestHeaders) -> bool:
    return (
        headers.method == b"OPTIONS"
        and bool(headers.first.get(b"origin"))
        and bool(headers.first.get(b"access-control-request-method"))
    )


def _matches(conditions: Conditions, stream: Any, headers: RequestHeaders, path: bytes) -> bool:
    exact, prefix = conditions.exact, conditions.prefix
    if exact is not None or prefix is not None:
        compared = path.lower() if conditions.ignoreCase else path
        if compared != exact and (prefix is None or not compared.startswith(prefix)):
            return False
    if conditions.headers is not None and not conditions.headers(headers):
        return False
    return conditions.others is None or conditions.others(headers, stream, path)


# Compiling


class _Compiler:
    """
    Compiles one configuration.
    """

    def __init__(self, section: Section, context: FilterContext) -> None:
        self._section = section
        self._context = context
        prefix: str = section.get("stat_prefix")
        self._counters = JWTCounters(context.scope.scope(f"jwt_authn.{prefix}." if prefix else "jwt_authn."))
        held = section.entries("providers")
        self._providers = {name: self._provider(name, held[name]) for name in sorted(held)}

    def compile(self) -> JWTPlan:
        """
        All of it.
        """
        section = self._section
        named = {name: self._requirement(held) for name, held in section.entries("requirement_map").items()}
        return JWTPlan(
            tuple(self._rule(held, named) for held in section.children("rules")),
            named,
            tuple(dict.fromkeys(name for each in self._providers.values() for name in each.toldHeaders)),
            section.get("bypass_cors_preflight"),
            section.get("strip_failure_response"),
            self._counters,
            self._context.clock.seconds,
        )

    def _rule(self, section: Section, named: dict[str, Verify]) -> tuple[Conditions, Verify | None]:
        conditions = compileConditions(section.childOrEmpty("match"), RouteContext(runtime=self._context.runtime))
        name: str = section.get("requirement_name")
        if name:
            if name not in named:
                section.refuse(f"{name!r} is not in the requirement_map", "requirement_name")
            return conditions, named.get(name)
        held = section.child("requires")
        if held is None or held.oneof("requires_type") is None:
            return conditions, None
        return conditions, self._requirement(held)

    def _requirement(self, section: Section, siblings: Sequence[Provider] = ()) -> Verify:
        kind = section.oneof("requires_type")
        match kind:
            case "provider_name":
                return self._named(section, None)
            case "provider_and_audiences":
                held = section.childOrEmpty(kind)
                return self._named(held, frozenset(map(plainAudience, held.scalars("audiences"))))
            case "requires_any":
                return self._any(section.childOrEmpty(kind).children("requirements"))
            case "requires_all":
                each = section.childOrEmpty(kind).children("requirements")
                return requireAll([self._requirement(held) for held in each])
            case "allow_missing" | "allow_missing_or_failed":
                providers = siblings or list(self._providers.values())
                return requireValid(providers, kind == "allow_missing_or_failed")
        return requireAll(())

    def _any(self, sections: Sequence[Section]) -> Verify:
        # As in Envoy: beside other requirements, what may be missing are their tokens, and it comes last.
        siblings = [provider for held in sections for provider in self._within(held)]
        optional = [held for held in sections if (held.oneof("requires_type") or "").startswith("allow_")]
        others = [held for held in sections if held not in optional]
        return requireAny([self._requirement(held, siblings) for held in (*others, *optional)])

    def _within(self, section: Section) -> list[Provider]:
        kind = section.oneof("requires_type")
        if kind in ("requires_any", "requires_all"):
            return [each for held in section.childOrEmpty(kind).children("requirements") for each in self._within(held)]
        held = section.childOrEmpty(kind) if kind == "provider_and_audiences" else section
        provider = self._providers.get(held.get("provider_name"))
        return [] if provider is None else [provider]

    def _named(self, section: Section, audiences: frozenset[str] | None) -> Verify:
        name: str = section.get("provider_name")
        provider = self._providers.get(name)
        if provider is None:
            section.refuse(
                f"there is no provider {name!r}; there are {', '.join(self._providers) or 'none'}", "provider_name"
            )
            return requireAll(())
        return ofProvider(provider, audiences)

    def _provider(self, name: str, section: Section) -> Provider:
        headers = tuple(
            (held.get("name").lower().encode("utf-8"), held.get("value_prefix").encode("utf-8"))
            for held in section.children("from_headers")
        )
        parameters = tuple(each.encode("utf-8") for each in section.scalars("from_params"))
        cookies = tuple(each.encode("utf-8") for each in section.scalars("from_cookies"))
        if not headers and not parameters and not cookies:
            headers, parameters = ((b"authorization", b"Bearer "),), (b"access_token",)
        subjects, cache = section.child("subjects"), section.child("jwt_cache_config")
        return Provider(
            name,
            section.get("issuer"),
            frozenset(map(plainAudience, section.scalars("audiences"))),
            None if subjects is None else compileStringMatcher(subjects),
            section.get("require_expiration"),
            section.seconds("max_lifetime", 0.0),
            section.get("clock_skew_seconds"),
            self._keys(section),
            headers,
            parameters,
            cookies,
            section.get("forward"),
            section.get("forward_payload_header").lower().encode("utf-8"),
            section.get("pad_forward_payload_header"),
            section.get("payload_in_metadata"),
            tuple(section.childOrEmpty("normalize_payload_in_metadata").scalars("space_delimited_claims")),
            section.get("header_in_metadata"),
            section.get("failed_status_in_metadata"),
            tuple(
                ClaimHeader(held.get("header_name").lower().encode("utf-8"), held.get("claim_name"))
                for held in section.children("claim_to_headers")
            ),
            section.get("clear_route_cache"),
            None
            if cache is None
            else TokenCache(
                cache.get("jwt_cache_size") or _CACHE_SIZE, cache.get("jwt_max_token_size") or _LONGEST_CACHED
            ),
        )

    def _keys(self, section: Section) -> FixedKeys | FetchedKeys:
        remote = section.child("remote_jwks")
        if remote is not None:
            uri = remote.childOrEmpty("http_uri")
            return FetchedKeys(
                uri.get("uri"),
                uri.get("cluster"),
                uri.seconds("timeout", 0.0) or 5.0,
                remote.seconds("cache_duration", 600.0),
                self._context,
            )
        local = section.child("local_jwks")
        if local is None:
            section.refuse("one of remote_jwks and local_jwks is needed")
            return FixedKeys(())
        try:
            return FixedKeys(readKeys(readJSON(readDataSource(local))))
        except (JWKSError, ValueError) as error:
            section.refuse(f"this is no JSON Web Key Set: {error}", "local_jwks")
            return FixedKeys(())
