# -*- test-case-name: tests.filters.http.test_local_ratelimit -*-
"""
C{envoy.filters.http.local_ratelimit}: a token bucket for all requests of a chain, of a route, of a connection, or of
those that share some property. Each worker process has buckets of its own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple
from weakref import WeakKeyDictionary

from meshproxy.config import Section
from meshproxy.config.expressions import Expression
from meshproxy.config.supported import declare
from meshproxy.flags import ResponseFlag
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from meshproxy.http.filter import FilterContext, Foreseen, HTTPFilter, RequestHeadersMethod
from meshproxy.http.localreply import expectsGRPC
from meshproxy.http.passage import Step, usually
from meshproxy.http.tokenbucket import TokenBucket, compileTokenBucket
from meshproxy.interfaces import IHTTPStream
from meshproxy.routing.mutations import Mutation, compileHeaderOptions
from meshproxy.routing.ratelimits import Descriptor, RateLimit, RateLimits, compileRateLimits
from meshproxy.runtime import always
from meshproxy.stats.metrics import Counter
from meshproxy.upstream.balancers.zones import LocalZone

__all__ = [
    "Buckets",
    "DescriptorLimit",
    "LimitPlan",
    "LocalRateLimit",
    "SharedBuckets",
    "ShowingLocalRateLimit",
    "Taken",
]

_MESSAGE = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
_COMMON = "envoy.extensions.common.ratelimit.v3."

declare(_MESSAGE, "stat_prefix", "status", "token_bucket", "filter_enabled", "filter_enforced", "descriptors")
declare(_MESSAGE, "request_headers_to_add_when_not_enforced", "response_headers_to_add", "rate_limits")
declare(_MESSAGE, "local_rate_limit_per_downstream_connection", "enable_x_ratelimit_headers")
declare(_MESSAGE, "always_consume_default_token_bucket", "rate_limited_as_resource_exhausted")
declare(_MESSAGE, "max_dynamic_descriptors", "stage", "vh_rate_limits")
declare(_MESSAGE, "enable_retry_after_header", "local_cluster_rate_limit")
declare(_COMMON + "LocalClusterRateLimit")
declare(_COMMON + "LocalRateLimitDescriptor", "entries", "token_bucket", "shadow_mode")
declare(_COMMON + "RateLimitDescriptor.Entry", "key", "value")
declare("envoy.type.v3.TokenBucket", "max_tokens", "tokens_per_fill", "fill_interval")
declare("envoy.type.v3.HttpStatus", "code")

_RESOURCE_EXHAUSTED = 8


#: A descriptor, for how many requests it counts, and whether it is shown (L{RateLimit.shows}).
Counted = tuple[Descriptor, int, bool | None]


@dataclass(frozen=True, slots=True)
class DescriptorLimit:
    """
    The limit of a descriptor.

    @ivar entries: Its keys and values; an empty value stands for any, and each has its own bucket then.
    @ivar bucket: The arguments of its L{TokenBucket}.
    @ivar isShadow: Whether who is over it passes all the same, and is only counted.
    """

    entries: Descriptor
    bucket: tuple[int, float]
    isShadow: bool = False

    @property
    def isDynamic(self) -> bool:
        """
        Whether a value is left open.
        """
        return not all(value for _, value in self.entries)

    def covers(self, descriptor: Descriptor) -> bool:
        """
        Whether a request's descriptor is one of these.
        """
        return len(descriptor) == len(self.entries) and all(
            key == mine and (not wanted or value == wanted)
            for (key, value), (mine, wanted) in zip(descriptor, self.entries, strict=True)
        )


class Taken(NamedTuple):
    """
    What came of taking tokens.

    @ivar isAllowed: Whether all buckets had enough that must have.
    @ivar bucket: The one that decided, to be shown to the client.
    @ivar isShadowed: Whether one had not that need not.
    @ivar shows: Whether it is shown; L{None} where the filter decides.
    """

    isAllowed: bool
    bucket: TokenBucket | None
    isShadowed: bool
    shows: bool | None = None


class Buckets:
    """
    The buckets of one configuration, or of one connection.
    """

    __slots__ = ("_dynamic", "_fixed", "_ofConnections", "__weakref__", "default", "plan")

    def __init__(self, plan: LimitPlan) -> None:
        self.plan = plan
        self.default = None if plan.bucket is None else TokenBucket(*plan.bucket)
        self._fixed = {
            limit.entries: (TokenBucket(*limit.bucket), limit.isShadow) for limit in plan.limits if not limit.isDynamic
        }
        self._dynamic: list[tuple[DescriptorLimit, OrderedDict[Descriptor, TokenBucket]]] = [
            (limit, OrderedDict()) for limit in plan.limits if limit.isDynamic
        ]
        self._ofConnections: WeakKeyDictionary[Any, Buckets] = WeakKeyDictionary()

    def ofConnection(self, connection: Any) -> Buckets:
        """
        The buckets of a connection, which go when it goes.
        """
        buckets = self._ofConnections.get(connection)
        if buckets is None:
            buckets = self._ofConnections[connection] = Buckets(self.plan)
        return buckets

    def take(self, counted: list[Counted], now: float, each: int = 1) -> Taken:
        """
        Take of each bucket that a request needs.

        @param each: How many tokens a request needs of the bucket for all.
        """
        found = [
            (*held, hits, shows)
            for descriptor, hits, shows in counted
            if (held := self._bucketOf(descriptor)) is not None
        ]
        # As in Envoy, the slowest first: where one is empty, those after it keep their tokens.
        found.sort(key=lambda each: each[0].perSecond)
        isShadowed = False
        for bucket, isShadow, hits, shows in found:
            if not bucket.take(now, hits):
                if not isShadow:
                    return Taken(False, bucket, False, shows)
                isShadowed = True
        default = self.default
        if default is not None and (not found or self.plan.alwaysDefault) and not default.take(now, each):
            return Taken(False, default, False)
        if found:
            return Taken(True, found[0][0], isShadowed, found[0][3])
        return Taken(True, default, isShadowed)

    def _bucketOf(self, descriptor: Descriptor) -> tuple[TokenBucket, bool] | None:
        fixed = self._fixed.get(descriptor)
        if fixed is not None:
            return fixed
        for limit, buckets in self._dynamic:
            if limit.covers(descriptor):
                bucket = buckets.get(descriptor)
                if bucket is None:
                    bucket = buckets[descriptor] = TokenBucket(*limit.bucket)
                    # The values come from clients: the least recently used one is forgotten.
                    if len(buckets) > self.plan.mostDynamic:
                        buckets.popitem(last=False)
                else:
                    buckets.move_to_end(descriptor)
                return bucket, limit.isShadow
        return None


class SharedBuckets(Buckets):
    """
    Buckets that this proxy has in common with those like it (C{local_cluster_rate_limit}): each has an equal share, so
    that a request needs as many tokens here as there are proxies.
    """

    __slots__ = ("_zone",)

    def __init__(self, plan: LimitPlan, zone: LocalZone) -> None:
        super().__init__(plan)
        self._zone = zone

    def take(self, counted: list[Counted], now: float, each: int = 1) -> Taken:
        """
        See L{Buckets.take}.
        """
        proxies = len(self._zone.members) or 1
        mine = [(descriptor, hits * proxies, shows) for descriptor, hits, shows in counted]
        return super().take(mine, now, each * proxies)


@dataclass(frozen=True, slots=True, eq=False)
class LimitPlan:
    """
    A compiled C{LocalRateLimit}.

    @ivar isEnabled: Whether a request is counted.
    @ivar isEnforced: Whether one over the limit is refused.
    @ivar bucket: The arguments of the default L{TokenBucket}, if there is one.
    @ivar showsLimits: Whether the client is told of its limit; C{mayShow} whether rate limits may say so of their own.
    @ivar tellsWhen: Whether a refusal has C{retry-after}.
    @ivar descriptorsOf: What makes the descriptors of a request; L{None} where nothing is limited by them.
    """

    isEnabled: Callable[[], bool]
    isEnforced: Callable[[], bool]
    status: int
    bucket: tuple[int, float] | None
    limits: tuple[DescriptorLimit, ...]
    descriptorsOf: Callable[[Any], list[Counted]] | None
    alwaysDefault: bool
    mostDynamic: int
    perConnection: bool
    showsLimits: bool
    mayShow: bool
    tellsWhen: bool
    isResourceExhausted: bool
    requestHeaders: Mutation | None
    responseHeaders: Mutation | None
    enabled: Counter
    enforced: Counter
    ok: Counter
    rateLimited: Counter
    shadowed: Counter


class LocalRateLimit(HTTPFilter):
    """
    One instance serves all streams; it remembers only those whose response is to show the limit.

    @cvar routesShow: Whether any route has C{enable_x_ratelimit_headers}.
    """

    shared = variesByRoute = True
    configType = _MESSAGE
    routesShow: ClassVar[bool] = False

    def __new__(cls, config: tuple[LimitPlan, Buckets], context: FilterContext) -> LocalRateLimit:
        # Responses that no filter looks at take a shorter way through the proxy, so only a filter that may change one
        # looks. A route with a configuration of its own has its own chain, made when its configuration is known.
        if cls is LocalRateLimit and (config[0].mayShow or LocalRateLimit.routesShow):
            return object.__new__(ShowingLocalRateLimit)
        return object.__new__(cls)

    def __init__(self, config: tuple[LimitPlan, Buckets], context: FilterContext) -> None:
        super().__init__(config, context)
        self._shown: dict[IHTTPStream, TokenBucket] = {}
        plan, buckets = config
        if plan.isEnabled is always and not (plan.descriptorsOf or plan.perConnection or plan.showsLimits):
            if buckets.default is not None and type(buckets) is Buckets:
                self.requestHeaders = self._compilePass(plan, buckets.default)  # type: ignore[assignment,method-assign]

    def _compilePass(self, plan: LimitPlan, bucket: TokenBucket) -> RequestHeadersMethod:
        """
        Make a function that does what L{requestHeaders} does where there is one bucket for all requests.
        """
        general = self.requestHeaders
        enabled, ok, take, seconds = plan.enabled, plan.ok, bucket.take, self.context.clock.seconds

        def requestHeaders(stream: Any, headers: RequestHeaders, endStream: bool) -> object:
            route = stream.route
            if route is not None and route.overrides.configs:
                return general(stream, headers, endStream)
            enabled.value += 1
            if take(seconds()):
                ok.value += 1
                return None
            return self._overLimit(stream, headers, plan, bucket)

        isThere, taken = bucket.taking(seconds)
        count = Expression.statement("{enabled}.value += 1; {ok}.value += 1", enabled=enabled, ok=ok)
        isUsual = Expression(f"(not configured and {isThere.source})", isThere.names)
        return usually(requestHeaders, Step(isUsual, (taken, count)))

    @classmethod
    def compileConfig(cls, section: Section, context: FilterContext) -> tuple[LimitPlan, Buckets]:
        plan = _compile(section, context)
        if not section.has("local_cluster_rate_limit"):
            return plan, Buckets(plan)
        if plan.perConnection:
            section.refuse("connections share no limit with other proxies", "local_cluster_rate_limit")
        zone = context.clusters.zone
        if zone is None:
            section.refuse("there is no cluster_manager.local_cluster_name", "local_cluster_rate_limit")
            return plan, Buckets(plan)
        return plan, SharedBuckets(plan, zone)

    @classmethod
    def compileRouteConfig(cls, section: Section, context: FilterContext) -> tuple[LimitPlan, Buckets]:
        if not section.has("token_bucket"):
            section.refuse("local rate limit token bucket must be set for per filter configs", "token_bucket")
        plan, buckets = cls.compileConfig(section, context)
        if plan.mayShow:
            LocalRateLimit.routesShow = True
        return plan, buckets

    @classmethod
    def foresee(cls, config: tuple[LimitPlan, Buckets], stream: Any, headers: RequestHeaders) -> Foreseen | None:
        plan, _ = config
        told = []
        if plan.bucket is not None:
            size, perSecond = plan.bucket
            told.append(f"{size} at once, {perSecond:g} a second")
        if plan.limits:
            told.append("more limits by descriptors")
        if not told or not plan.isEnabled():
            return None
        whose = "of a connection" if plan.perConnection else "of all"
        beyond = plan.status if plan.isEnforced() else "told, but not refused"
        return Foreseen(f"limits requests {whose}: {' and '.join(told)}; beyond that: {beyond}")

    def requestHeaders(self, stream: IHTTPStream, headers: RequestHeaders, endStream: bool) -> object:
        plan, buckets = stream.routeConfig(self.context.name) or self.config
        if not plan.isEnabled():
            return None
        plan.enabled.value += 1
        if plan.perConnection:
            buckets = buckets.ofConnection(stream.connection)
        counted = plan.descriptorsOf(stream) if plan.descriptorsOf is not None else []
        taken = buckets.take(counted, self.context.clock.seconds())
        if taken.bucket is not None and (plan.showsLimits if taken.shows is None else taken.shows):
            self._shown[stream] = taken.bucket
        if taken.isShadowed:
            plan.rateLimited.value += 1
            plan.shadowed.value += 1
            return None
        if taken.isAllowed:
            plan.ok.value += 1
            return None
        return self._overLimit(stream, headers, plan, taken.bucket)

    def _overLimit(self, stream: Any, headers: RequestHeaders, plan: LimitPlan, bucket: TokenBucket | None) -> object:
        plan.rateLimited.value += 1
        if not plan.isEnforced():
            if plan.requestHeaders is not None:
                plan.requestHeaders(headers, stream)
            return None
        plan.enforced.value += 1
        return self._refuse(stream, headers, plan, bucket)

    def _refuse(self, stream: Any, headers: RequestHeaders, plan: LimitPlan, bucket: TokenBucket | None) -> object:
        added = HeaderMap()
        if plan.tellsWhen and bucket is not None:
            added.set(b"retry-after", b"%d" % bucket.secondsToNext(self.context.clock.seconds()))
        if plan.responseHeaders is not None:
            plan.responseHeaders(added, stream)
        if plan.isResourceExhausted and expectsGRPC(stream):
            added.set(b"grpc-status", b"%d" % _RESOURCE_EXHAUSTED)
        return stream.reply(
            plan.status, b"local_rate_limited", added.fields(), "local_rate_limited", ResponseFlag.RATE_LIMITED
        )


class ShowingLocalRateLimit(LocalRateLimit):
    """
    The same with the limit shown in responses.
    """

    def responseHeaders(self, stream: IHTTPStream, headers: ResponseHeaders, endStream: bool) -> object:
        if not self._shown:
            return None
        bucket = self._shown.pop(stream, None)
        if bucket is not None:
            # draft-polli-ratelimit-headers-03
            now = self.context.clock.seconds()
            headers.add(b"x-ratelimit-limit", b"%d" % bucket.size)
            headers.add(b"x-ratelimit-remaining", b"%d" % bucket.tokens(now))
            headers.add(b"x-ratelimit-reset", b"%d" % bucket.secondsToNext(now))
        return None

    def streamEnded(self, stream: IHTTPStream) -> None:
        if self._shown:
            self._shown.pop(stream, None)


def _compile(section: Section, context: FilterContext) -> LimitPlan:
    scope = context.store.scope(f"{section.get('stat_prefix')}.http_local_rate_limit.")
    bucket = section.child("token_bucket")
    status = section.child("status")
    code: int = 0 if status is None else status.message.code
    limits = tuple(_limit(held) for held in section.children("descriptors"))
    _refuseDouble(section, limits)
    own = compileRateLimits(section.children("rate_limits"))
    showsLimits = section.get("enable_x_ratelimit_headers") == "DRAFT_VERSION_03"
    return LimitPlan(
        isEnabled=context.runtime.fraction(section.child("filter_enabled")),
        isEnforced=context.runtime.fraction(section.child("filter_enforced")),
        # As in Envoy, what is no error is no answer to who is over the limit.
        status=code if code >= 400 else 429,
        bucket=None if bucket is None else compileTokenBucket(bucket),
        limits=limits,
        descriptorsOf=_descriptorsOf(section, own) if limits else None,
        alwaysDefault=section.wrapped("always_consume_default_token_bucket", True),
        mostDynamic=section.wrapped("max_dynamic_descriptors", 20),
        perConnection=section.get("local_rate_limit_per_downstream_connection"),
        showsLimits=showsLimits,
        # What routes say of their own limits is not known yet.
        mayShow=showsLimits or (bool(limits) and (not own or any(limit.shows for limit in own.limits))),
        tellsWhen=section.get("enable_retry_after_header"),
        isResourceExhausted=section.get("rate_limited_as_resource_exhausted"),
        requestHeaders=compileHeaderOptions(section, "request_headers_to_add_when_not_enforced"),
        responseHeaders=compileHeaderOptions(section, "response_headers_to_add"),
        enabled=scope.counter("enabled"),
        enforced=scope.counter("enforced"),
        ok=scope.counter("ok"),
        rateLimited=scope.counter("rate_limited"),
        shadowed=scope.counter("shadow_mode"),
    )


def _descriptorsOf(section: Section, mine: RateLimits) -> Callable[[Any], list[Counted]]:
    """
    What makes the descriptors of a request: the C{rate_limits} of the filter, or else those of routes.
    """
    stage: int = section.get("stage")
    option: str = section.get("vh_rate_limits")
    if mine:
        return lambda stream: [
            (descriptor, limit.hits(stream), limit.shows) for limit, descriptor in _applicable(mine.limits, stream)
        ]

    def ofRoute(stream: Any) -> list[Counted]:
        route = stream.route
        action = None if route is None else route.action
        if action is None:
            return []
        limits = _ofStage(action.rateLimits, stage)
        if (
            action.includeVirtualHostRateLimits
            or option == "INCLUDE"
            or (option == "OVERRIDE" and not action.rateLimits)
        ):
            limits += _ofStage(route.virtualHost.rateLimits, stage)
        # As in Envoy, hits_addend counts in the filter's own limits alone.
        return [(descriptor, 1, limit.shows) for limit, descriptor in _applicable(limits, stream)]

    return ofRoute


def _ofStage(limits: RateLimits, stage: int) -> list[RateLimit]:
    # As in Envoy, a limit that could be disabled is none here.
    return [limit for limit in limits.limits if limit.stage == stage and not limit.disableKey]


def _applicable(limits: Iterable[RateLimit], stream: Any) -> Iterator[tuple[RateLimit, Descriptor]]:
    for limit in limits:
        descriptor = None if limit.onStreamDone else limit.descriptor(stream)
        if descriptor is not None:
            yield limit, descriptor


def _limit(section: Section) -> DescriptorLimit:
    entries = tuple((entry.get("key"), entry.get("value")) for entry in section.children("entries"))
    return DescriptorLimit(
        entries, compileTokenBucket(section.childOrEmpty("token_bucket")), section.get("shadow_mode")
    )


def _refuseDouble(section: Section, limits: tuple[DescriptorLimit, ...]) -> None:
    seen: set[Descriptor] = set()
    for index, limit in enumerate(limits):
        if limit.entries in seen:
            section.refuse("there is a descriptor with the same entries before this one", f"descriptors[{index}]")
        seen.add(limit.entries)
