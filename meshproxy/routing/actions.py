# -*- test-case-name: tests.routing.test_actions -*-
"""
C{envoy.config.route.v3.RouteAction}: how requests are forwarded.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Final

from google.protobuf.json_format import MessageToDict

from meshproxy.accesslog.streaminfo import StreamInfo
from meshproxy.config.matchers import parseInteger
from meshproxy.config.section import Section
from meshproxy.headers import RequestHeaders
from meshproxy.net.outgoingheader import OutgoingHeader
from meshproxy.routing.context import RouteContext
from meshproxy.routing.hashing import compileHashPolicy
from meshproxy.routing.internalredirects import compileRedirectPolicy
from meshproxy.routing.retries import RetryPolicy, compileRetryPolicy
from meshproxy.routing.route import Route, RouteAction
from meshproxy.runtime import Runtime

__all__ = [
    "checkWeights",
    "chooseByWeight",
    "compileHedging",
    "compileRouteAction",
    "readMetadata",
    "runtimeWeights",
    "weightNumber",
]

_NOT_FOUND_STATUS: Final = {"SERVICE_UNAVAILABLE": 503, "NOT_FOUND": 404, "INTERNAL_SERVER_ERROR": 500}

# RouteAction.timeout
DEFAULT_TIMEOUT: Final = 15.0


def readMetadata(section: Section | None) -> Mapping[str, Mapping[str, object]]:
    """
    The C{filter_metadata} of C{envoy.config.core.v3.Metadata}, as plain data.
    """
    if section is None:
        return {}
    return {name: MessageToDict(each.message) for name, each in section.entries("filter_metadata").items()}


def _compileUpgrades(section: Section) -> tuple[dict[str, bool], tuple[bytes, ...], OutgoingHeader | None]:
    """
    Which upgrades are allowed, by which methods tunnels end here, and the header that they begin with then.
    """
    upgrades: dict[str, bool] = {}
    terminated: tuple[bytes, ...] = ()
    header = None
    for each in section.children("upgrade_configs"):
        kind: str = each.get("upgrade_type")
        if kind.lower() in upgrades:
            each.refuse(f"duplicate upgrade {kind}", "upgrade_type")
        upgrades[kind.lower()] = each.wrapped("enabled", True)
        connect = each.child("connect_config")
        if connect is None:
            continue
        if kind.upper() != "CONNECT":
            each.refuse(f"non-CONNECT upgrade type {kind} has connect_config", "connect_config")
        terminated = (b"CONNECT", b"POST") if connect.get("allow_post") else (b"CONNECT",)
        told = connect.child("proxy_protocol_config")
        header = None if told is None else OutgoingHeader(told)
    return upgrades, terminated, header


def _checkCluster(section: Section, field: str, name: str, context: RouteContext | None) -> None:
    if context is not None:
        context.checkCluster(section, field, name)


def compileHedging(section: Section | None, default: bool = False) -> bool:
    """
    Compile a C{HedgePolicy}.
    """
    return default if section is None else bool(section.get("hedge_on_per_try_timeout"))


def compileRouteAction(
    section: Section, defaultRetries: RetryPolicy | None, validating: RouteContext | None, hedges: bool = False
) -> RouteAction:
    """
    Compile a C{RouteAction}, but for its weights and its mirrors.

    @param defaultRetries: The retry policy of the virtual host.
    @param validating: Knows the clusters, where they are to be checked.
    @param hedges: Whether the virtual host wants late tries to go on.
    """
    cluster: str = section.get("cluster")
    _checkCluster(section, "cluster", cluster, validating)
    upgrades, terminated, tunnelHeader = _compileUpgrades(section)
    duration = section.childOrEmpty("max_stream_duration")
    labels = readMetadata(section.child("metadata_match")).get("envoy.lb", {})
    return RouteAction(
        cluster=cluster,
        clusterHeader=section.get("cluster_header").lower().encode("utf-8"),
        clusterNotFoundStatus=_NOT_FOUND_STATUS[section.get("cluster_not_found_response_code")],
        # As in Envoy, who says max_stream_duration has no other time-out.
        timeout=0.0 if section.has("max_stream_duration") else section.seconds("timeout", DEFAULT_TIMEOUT),
        idleTimeout=section.seconds("idle_timeout"),
        flushTimeout=section.seconds("flush_timeout"),
        maxStreamDuration=duration.seconds("max_stream_duration"),
        grpcTimeoutHeaderMax=duration.seconds("grpc_timeout_header_max"),
        grpcTimeoutHeaderOffset=duration.seconds("grpc_timeout_header_offset", 0.0),
        # As in Envoy, max_stream_duration stands in for the older fields.
        maxGRPCTimeout=None if section.has("max_stream_duration") else section.seconds("max_grpc_timeout"),
        grpcTimeoutOffset=section.seconds("grpc_timeout_offset", 0.0),
        retryPolicy=compileRetryPolicy(section.child("retry_policy")) or defaultRetries,
        hedges=compileHedging(section.child("hedge_policy"), hedges),
        isHighPriority=section.get("priority") == "HIGH",
        upgrades=upgrades,
        terminated=terminated,
        tunnelHeader=tunnelHeader,
        autoHostRewrite=section.wrapped("auto_host_rewrite", False),
        appendForwardedHost=section.get("append_x_forwarded_host"),
        metadataMatch=labels,
        hashPolicy=compileHashPolicy(section.children("hash_policy")),
        redirectPolicy=compileRedirectPolicy(section),
        section=section,
    )


def checkWeights(section: Section, validating: RouteContext | None) -> list[Section]:
    """
    The clusters of a C{WeightedCluster} that can be chosen at all: those with a weight, or all, where the runtime may
    give them one.

    @param validating: Knows the clusters, where they are to be checked.
    """
    entries = section.children("clusters")
    for entry in entries:
        if entry.get("name") and entry.get("cluster_header"):
            entry.refuse("only one of name or cluster_header can be specified")
        elif not entry.get("name") and not entry.get("cluster_header"):
            entry.refuse("at least one of name or cluster_header needs to be specified")
        _checkCluster(entry, "name", entry.get("name"), validating)
    if not sum(entry.wrapped("weight", 0) for entry in entries):
        section.refuse("the sum of weights must be greater than 0", "clusters")
    hasRuntime = bool(section.get("runtime_key_prefix"))
    return [entry for entry in entries if hasRuntime or entry.wrapped("weight", 0)]


def runtimeWeights(section: Section, entries: Sequence[Section], runtime: Runtime) -> Callable[[], list[int]] | None:
    """
    What says the weights of the moment, where C{runtime_key_prefix} lets the runtime change them.
    """
    prefix: str = section.get("runtime_key_prefix")
    if not prefix:
        return None
    keys = [(f"{prefix}.{entry.get('name')}", entry.wrapped("weight", 0)) for entry in entries]
    return lambda: [max(runtime.number(key, weight), 0) for key, weight in keys]


def chooseByWeight(
    routes: Sequence[Route],
    weights: Sequence[int],
    random: Callable[[], float],
    number: Callable[[RequestHeaders, StreamInfo], int | None] | None = None,
    current: Callable[[], list[int]] | None = None,
) -> Callable[[RequestHeaders, StreamInfo], Route | None]:
    """
    Build the choice among weighted clusters.

    @param routes: One for each cluster.
    @param weights: Their weights, none of them 0.
    @param random: Numbers from 0 to below 1.
    @param number: Gives the number of a request that decides instead, where it has one.
    @param current: Gives the weights of the moment, where they change.
    """
    if current is not None:
        return _chooseByCurrentWeight(routes, current, random, number)
    ends = list(accumulate(weights))
    total = ends[-1]

    def choose(headers: RequestHeaders, info: StreamInfo) -> Route:
        return routes[bisect_right(ends, random() * total)]

    if number is None:
        return choose

    def chooseByNumber(headers: RequestHeaders, info: StreamInfo) -> Route:
        found = number(headers, info)
        return choose(headers, info) if found is None else routes[bisect_right(ends, found % total)]

    return chooseByNumber


def _chooseByCurrentWeight(
    routes: Sequence[Route],
    current: Callable[[], list[int]],
    random: Callable[[], float],
    number: Callable[[RequestHeaders, StreamInfo], int | None] | None,
) -> Callable[[RequestHeaders, StreamInfo], Route | None]:
    def choose(headers: RequestHeaders, info: StreamInfo) -> Route | None:
        ends = list(accumulate(current()))
        total = ends[-1]
        if not total:
            # As in Envoy, a route that leads nowhere is none.
            return None
        found = None if number is None else number(headers, info)
        return routes[bisect_right(ends, random() * total if found is None else found % total)]

    return choose


def weightNumber(section: Section, action: RouteAction) -> Callable[[RequestHeaders, StreamInfo], int | None] | None:
    """
    What decides among the clusters of a C{WeightedCluster} in place of chance: C{header_name}, an unsigned integer
    that must come once, or C{use_hash_policy}.
    """
    header: bytes = section.get("header_name").lower().encode("utf-8")
    hashPolicy = action.hashPolicy

    def inHeader(headers: RequestHeaders, info: StreamInfo) -> int | None:
        values = headers.values(header)
        return _unsigned(values[0]) if len(values) == 1 else None

    def byHash(headers: RequestHeaders, info: StreamInfo) -> int | None:
        assert hashPolicy is not None
        return hashPolicy(headers, info, [])

    if header:
        return inHeader
    return byHash if hashPolicy is not None and section.wrapped("use_hash_policy", False) else None


def _unsigned(value: bytes) -> int | None:
    """
    An unsigned 64-bit integer, as hash values are written.
    """
    if value.isdigit() and len(value) <= 20:
        number = int(value)
        return number if number < 1 << 64 else None
    return parseInteger(value) if not value.strip().startswith(b"-") else None
