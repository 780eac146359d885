# -*- test-case-name: tests.routing.test_table -*-
"""
What a request is told once its route is known. All of it is made when the configuration is compiled, and never
changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from meshproxy.accesslog.streaminfo import StreamInfo
from meshproxy.config.matchers import HeadersTest
from meshproxy.config.section import Section
from meshproxy.headers import RequestHeaders
from meshproxy.net.outgoingheader import OutgoingHeader
from meshproxy.routing.hashing import HashPolicy
from meshproxy.routing.internalredirects import InternalRedirectPolicy
from meshproxy.routing.mirrors import MirrorPolicy
from meshproxy.routing.mutations import Mutation
from meshproxy.routing.perfilter import FilterOverrides
from meshproxy.routing.ratelimits import NO_RATE_LIMITS, RateLimits
from meshproxy.routing.redirects import DirectResponse, Redirect
from meshproxy.routing.retries import RetryPolicy
from meshproxy.routing.timeouts import Timeouts, combineTimeouts

__all__ = ["Route", "RouteAction", "RouteKind", "VirtualCluster", "VirtualHost"]


class RouteKind(Enum):
    """
    What a route does with a request.
    """

    ROUTE = "route"
    REDIRECT = "redirect"
    DIRECT_RESPONSE = "direct_response"
    #: For listeners that forward nothing themselves (gRPC without proxy): matched, never routed.
    NON_FORWARDING = "non_forwarding_action"


@dataclass(frozen=True, slots=True)
class VirtualCluster:
    """
    A name for some requests of a virtual host, in statistics.
    """

    name: str
    matches: HeadersTest


@dataclass(frozen=True, slots=True)
class VirtualHost:
    """
    What the routes of a virtual host share.

    @ivar includeRequestAttemptCount: Whether requests carry C{x-envoy-attempt-count}; likewise
        C{includeAttemptCountInResponse} and C{includeIsTimeoutRetryHeader}.
    @ivar requestBodyBufferLimit: How many bytes of a body may be kept for retries, or L{None}.
    @ivar metadata: C{filter_metadata}, by name of the filter.
    @ivar rateLimits: C{rate_limits}, for the filters that read them.
    @ivar section: Where it stands in the configuration.
    """

    name: str
    includeRequestAttemptCount: bool = False
    includeAttemptCountInResponse: bool = False
    includeIsTimeoutRetryHeader: bool = False
    requestBodyBufferLimit: int | None = None
    virtualClusters: tuple[VirtualCluster, ...] = ()
    metadata: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    rateLimits: RateLimits = NO_RATE_LIMITS
    section: Section | None = None


@dataclass(frozen=True, slots=True)
class RouteAction:
    """
    How a request is forwarded.

    @ivar cluster: The name of the cluster; empty where the request chooses it: see L{selectCluster}.
    @ivar clusterHeader: The header that names the cluster.
    @ivar clusterNotFoundStatus: What is answered where the cluster does not exist.
    @ivar timeout: Seconds for the whole request, 0 for no limit.
    @ivar timeouts: The same with that of each try, for requests that ask for no others.
    @ivar idleTimeout: Seconds, in place of the connection manager's C{stream_idle_timeout}; 0 for no limit, L{None}
        to leave it.
    @ivar flushTimeout: The same in place of its C{stream_flush_timeout}.
    @ivar maxStreamDuration: Seconds, 0 for no limit, L{None} to leave it to the connection manager.
    @ivar hedges: Whether a try that is late goes on beside the next one (C{hedge_on_per_try_timeout}).
    @ivar maxGRPCTimeout: C{max_grpc_timeout}: where it is set, C{grpc-timeout} of a gRPC request is the time-out, up to
        so many seconds; 0 for any. C{grpcTimeoutOffset} comes off it.
    @ivar readsOrders: Whether there is more to find out for a request than the time-out of the route.
    @ivar grpcTimeoutHeaderMax: Where it is set, C{grpc-timeout} counts, up to so many seconds; 0 for any.
    @ivar isHighPriority: Whether the C{HIGH} circuit breakers are used.
    @ivar upgrades: Which upgrades the route allows or forbids, by lower-case name, whatever the connection manager
        says.
    @ivar terminated: By which methods tunnels end here, so that their payload goes upstream as bytes.
    @ivar tunnelHeader: Which header of the PROXY protocol these begin with upstream; L{None} for none.
    @ivar autoHostRewrite: Whether the host becomes the host name of the endpoint, once that is chosen.
    @ivar appendForwardedHost: C{append_x_forwarded_host}, for that rewrite.
    @ivar metadataMatch: The labels of C{envoy.lb} that an endpoint must have.
    @ivar hashPolicy: What requests are alike, for balancers that keep those together.
    @ivar mirrors: Who gets copies.
    @ivar rateLimits: C{rate_limits}, for the filters that read them.
    @ivar includeVirtualHostRateLimits: Whether those of the virtual host count beside them.
    @ivar redirectPolicy: Which redirects of the upstream are followed here; L{None} for none.
    @ivar others: Where retries go on to another one of the weighted clusters: the routes of all of them, and their
        weights.
    @ivar section: The C{RouteAction} as configured, for what only single filters read.
    """

    cluster: str = ""
    clusterHeader: bytes = b""
    clusterNotFoundStatus: int = 503
    timeout: float = 15.0
    timeouts: Timeouts = field(init=False)
    idleTimeout: float | None = None
    flushTimeout: float | None = None
    maxStreamDuration: float | None = None
    grpcTimeoutHeaderMax: float | None = None
    grpcTimeoutHeaderOffset: float = 0.0
    maxGRPCTimeout: float | None = None
    grpcTimeoutOffset: float = 0.0
    readsOrders: bool = field(init=False)
    retryPolicy: RetryPolicy | None = None
    hedges: bool = False
    isHighPriority: bool = False
    upgrades: Mapping[str, bool] = field(default_factory=dict)
    terminated: tuple[bytes, ...] = ()
    tunnelHeader: OutgoingHeader | None = None
    autoHostRewrite: bool = False
    appendForwardedHost: bool = False
    metadataMatch: Mapping[str, object] = field(default_factory=dict)
    hashPolicy: HashPolicy | None = None
    mirrors: tuple[MirrorPolicy, ...] = ()
    rateLimits: RateLimits = NO_RATE_LIMITS
    includeVirtualHostRateLimits: bool = False
    redirectPolicy: InternalRedirectPolicy | None = None
    others: Sequence[tuple[Route, int]] = ()
    section: Section | None = None

    def __post_init__(self) -> None:
        perTry = 0.0 if self.retryPolicy is None else self.retryPolicy.perTryTimeout
        object.__setattr__(self, "timeouts", combineTimeouts(self.timeout, perTry))
        object.__setattr__(self, "readsOrders", self.retryPolicy is not None or self.maxGRPCTimeout is not None)

    @property
    def isChoosy(self) -> bool:
        """
        Whether it matters which endpoint a request gets.
        """
        return self.hashPolicy is not None or bool(self.metadataMatch)

    def selectCluster(self, headers: RequestHeaders, info: StreamInfo) -> str:
        """
        The name of the cluster; empty where the header that should name it is missing.
        """
        if self.clusterHeader:
            # Who sent it is not known, so only the first value counts.
            return headers.first.get(self.clusterHeader, b"").decode("utf-8", "replace")
        return self.cluster


@dataclass(frozen=True, slots=True)
class Route:
    """
    A route that was found.

    @ivar name: Its name, for logs; may be empty.
    @ivar path: Where it stands in the configuration.
    @ivar order: Its place in its virtual host.
    @ivar action: How to forward, where L{kind} says so; likewise L{redirect} and L{directResponse}.
    @ivar overrides: What it says to filters, all levels merged.
    @ivar finalizeRequestHeaders: Changes the head of a request before it goes upstream: header mutations of all
        levels, then host and path. L{None} where there is nothing to do, which is the usual case.
    @ivar finalizeResponseHeaders: Changes the head of a response before it goes downstream.
    @ivar metadata: C{filter_metadata}, by name of the filter.
    @ivar requestBodyBufferLimit: That of the route, or of its virtual host.
    @ivar statPrefix: C{stat_prefix}.
    @ivar choose: Where each request chooses the cluster, or chance does among weighted ones: picks it, as a route of
        its own. L{RouteTable.match} has called it already.
    @ivar isPeculiar: Whether the connection manager has to look at it: it has an idle time-out, or changes the chain.
    """

    virtualHost: VirtualHost
    kind: RouteKind
    name: str = ""
    path: str = ""
    order: int = 0
    action: RouteAction | None = None
    redirect: Redirect | None = None
    directResponse: DirectResponse | None = None
    overrides: FilterOverrides = field(default_factory=FilterOverrides)
    finalizeRequestHeaders: Mutation | None = None
    finalizeResponseHeaders: Mutation | None = None
    metadata: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    requestBodyBufferLimit: int | None = None
    statPrefix: str = ""
    choose: Callable[[RequestHeaders, StreamInfo], Route | None] | None = None
    isPeculiar: bool = field(init=False)

    def changeOfReply(self, details: str) -> Mutation | None:
        """
        What changes the head of a reply that is made here. As in Envoy, a route that answers by itself changes its own
        answer alone, and not what filters answer in its place.

        @param details: The response code details of the reply.
        """
        answers = self.redirect is not None or self.directResponse is not None
        return None if answers and details != "direct_response" else self.finalizeResponseHeaders

    def __post_init__(self) -> None:
        timed = self.action is not None and self.action.idleTimeout is not None
        object.__setattr__(self, "isPeculiar", timed or bool(self.overrides.disabled))

    @property
    def isCounted(self) -> bool:
        """
        Whether its requests are counted besides those of their cluster.
        """
        return bool(self.virtualHost.virtualClusters or self.statPrefix)
