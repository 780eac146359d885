# -*- test-case-name: tests.http.test_chain -*-
"""
The base class of HTTP filters, and what a filter is given to work with.

The smallest filter is a class with one method::

    @attrs.frozen
    class Config:
        greeting: str = "hello"

    class Greeter(HTTPFilter):
        Config = Config

        def responseHeaders(self, stream, headers, endStream):
            headers.set(b"x-greeting", self.config.greeting.encode("utf-8"))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from meshproxy.accesslog.contents import FindSecret
from meshproxy.accesslog.logs import AccessLogs
from meshproxy.config import Report, Section
from meshproxy.config.structure import structure
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from meshproxy.interfaces import STOP, IHTTPFilter, IHTTPStream, IUpstreamCalls, Stop
from meshproxy.runtime import Runtime, never
from meshproxy.stats.store import Scope, Store
from meshproxy.upstream.clusters import Clusters
from meshproxy.upstream.ondemand import OnDemandHosts, OnDemandRoutes

__all__ = ["STOP", "FilterContext", "Foreseen", "HTTPFilter", "RequestHeadersMethod", "Stop", "noLogs"]


#: A method of that name, or what a filter puts in its place when its configuration asks for no more.
RequestHeadersMethod = Callable[[Any, RequestHeaders, bool], object]


def noLogs(sections: Sequence[Section]) -> AccessLogs:
    """
    Where a filter has no access logs of its own.
    """
    return AccessLogs(())


def _noChain(section: Section, field: str) -> None:
    """
    A chain of no filters.
    """


@dataclass(frozen=True, slots=True)
class FilterContext:
    """
    What a filter of one chain is given.

    @ivar name: The filter's name in the chain, by which routes override its configuration.
    @ivar statPrefix: The connection manager's C{stat_prefix}.
    @ivar scope: Where its metrics stand: C{http.STAT_PREFIX.}.
    @ivar store: All metrics, for the few whose names begin elsewhere.
    @ivar clock: The one clock of the process.
    @ivar random: From 0 up to 1.
    @ivar clusters: The clusters of the proxy, for the router.
    @ivar calls: Requests on the filter's own account.
    @ivar runtime: Whether a C{RuntimeFractionalPercent} hits and what a runtime key says.
    @ivar log: For what only the operator is to know.
    @ivar nodeCluster: The cluster that this proxy itself belongs to: C{node.cluster} of the bootstrap.
    @ivar isFailed: Whether the proxy was told to say that it is ill (C{/healthcheck/fail}).
    @ivar openLogs: Make of C{AccessLog}s the access logs of the filter's own; they are closed with its connection
        manager.
    @ivar compileUpstream: Compiles the filters that tries of requests pass on their way upstream, for the router; by
        the message, and the field that lists them.
    @ivar findSecret: The secrets that formats may show.
    @ivar hosts: Virtual hosts that are asked for when a request needs them.
    @ivar scopeRoutes: The routes of scopes, likewise.
    """

    name: str
    statPrefix: str
    scope: Scope
    store: Store
    clock: IReactorTime
    random: Callable[[], float]
    clusters: Clusters
    calls: IUpstreamCalls
    runtime: Runtime
    log: Logger
    nodeCluster: str = ""
    isFailed: Callable[[], bool] = never
    openLogs: Callable[[Sequence[Section]], AccessLogs] = noLogs
    compileUpstream: Callable[[Section, str], Any] = _noChain
    findSecret: FindSecret | None = None
    hosts: OnDemandHosts | None = None
    scopeRoutes: OnDemandRoutes | None = None


@dataclass(frozen=True, slots=True)
class Foreseen:
    """
    What a filter would do with a request.

    @ivar told: In words.
    @ivar status: What it would answer with, whatever chance says; 0 where it lets the request go on.
    @ivar details: The response code details of that answer.
    @ivar policies: The names of the policies that decide it.
    @ivar closes: Whether it would close the connection.
    @ivar clearsRoute: Whether the route is chosen anew by what it noted of the request.
    """

    told: str
    status: int = 0
    details: str = ""
    policies: tuple[str, ...] = ()
    closes: bool = False
    clearsRoute: bool = False

    @property
    def outcome(self) -> str:
        """
        The end that it makes, in words.
        """
        if self.closes:
            return f"closed ({self.details})"
        return f"{self.status} ({self.details})" if self.details else str(self.status)

    def asDict(self) -> dict[str, Any]:
        """
        For JSON.
        """
        told = {"told": self.told, "status": self.status, "details": self.details, "policies": list(self.policies)}
        return {name: value for name, value in told.items() if value}


@implementer(IHTTPFilter)
class HTTPFilter:
    """
    A filter that does nothing. The engine calls only methods that a subclass defines.

    By default each stream has its own instance, so that what a filter keeps on C{self} belongs to one request. A filter
    that keeps nothing says C{shared = True} and saves the making of it.

    @cvar shared: Whether one instance serves all streams of a chain.
    @cvar variesByRoute: Whether what routes say decides what a shared instance looks at: then those that say something
        have one of their own.
    @cvar terminal: Whether it ends the chain, as the router does: it answers, or sends the request on.
    @cvar remembers: Whether C{streamEnded} is for those streams alone that a filter called C{stream.remember()} of: a
        filter that has something to do with few streams costs the others nothing then.
    @cvar passesAll: Whether its methods for bodies and trailers let all of them pass: they return nothing, and ask
        nothing of the stream. A message that came whole is then shown to them whole, and goes on in one step; the
        answer to a call by L{answerPassed}.
    @cvar servesDownstream: Whether it may stand in the chain of a connection manager.
    @cvar servesUpstream: Whether it may stand in that of a cluster, or in C{upstream_http_filters} of the router, where
        each try of a request passes it. Filters that take a C{TypedStruct} may anyway, if they are not terminal.
    @cvar hasRouteConfig: Whether C{typed_per_filter_config} may say anything to it, as it may unless this is L{False}.
    @cvar configType: The full name of its protobuf message, or C{""} where L{Config} tells its C{TypedStruct}.
    @cvar olderRouteConfigType: The message that a field of the route itself has held for it in former times, if any.
    @cvar routeConfigType: Likewise for C{typed_per_filter_config}; C{""} for the same as C{configType}.
    @cvar Config: An attrs class (L{meshproxy.config.structure}), where there is no message.
    @cvar RouteConfig: Likewise for C{typed_per_filter_config}; L{None} for the same as C{Config}.
    @ivar config: What L{compileConfig} made of the configuration.
    """

    shared: ClassVar[bool] = False
    variesByRoute: ClassVar[bool] = False
    terminal: ClassVar[bool] = False
    remembers: ClassVar[bool] = False
    passesAll: ClassVar[bool] = False
    servesDownstream: ClassVar[bool] = True
    servesUpstream: ClassVar[bool] = False
    hasRouteConfig: ClassVar[bool] = True
    configType: ClassVar[str] = ""
    routeConfigType: ClassVar[str] = ""
    olderRouteConfigType: ClassVar[str] = ""
    Config: ClassVar[type | None] = None
    RouteConfig: ClassVar[type | None] = None

    def __init__(self, config: Any, context: FilterContext) -> None:
        self.config = config
        self.context = context

    @classmethod
    def compileConfig(cls, section: Section, context: FilterContext) -> Any:
        """
        Make of a configuration whatever the filter's instances need, once, when it is loaded.

        @param section: The message of C{configType}, or the C{TypedStruct}; faults are told by its C{refuse}.
        """
        return _structured(cls.Config, section)

    @classmethod
    def compileRouteConfig(cls, section: Section, context: FilterContext) -> Any:
        """
        The same for the C{typed_per_filter_config} of a virtual host, a route or a weighted cluster.
        """
        if cls.RouteConfig is None:
            return cls.compileConfig(section, context)
        return _structured(cls.RouteConfig, section)

    @classmethod
    def foresee(cls, config: Any, stream: Any, headers: RequestHeaders) -> Foreseen | None:
        """
        What the filter would do with a request that nobody sent; L{None} if it has nothing to say to that. Nothing is
        counted, changed or answered by it; what it would note in the dynamic metadata for others it notes.

        @param config: What L{compileConfig} made, or L{compileRouteConfig} where the route says something.
        @param stream: What is known of the request: a L{meshproxy.accesslog.streaminfo.StreamInfo} with its C{route}.
        """
        return None

    def routeConfig(self, stream: IHTTPStream) -> Any:
        """
        What the stream's route says of this filter, as L{compileRouteConfig} made it, or L{None}.
        """
        return stream.routeConfig(self.context.name)

    def requestHeaders(self, stream: IHTTPStream, headers: RequestHeaders, endStream: bool) -> object:
        """
        See L{IHTTPFilter.requestHeaders}.
        """

    def requestData(self, stream: IHTTPStream, data: bytes, endStream: bool) -> object:
        """
        See L{IHTTPFilter.requestData}.
        """

    def requestTrailers(self, stream: IHTTPStream, trailers: HeaderMap) -> object:
        """
        See L{IHTTPFilter.requestTrailers}.
        """

    def responseHeaders(self, stream: IHTTPStream, headers: ResponseHeaders, endStream: bool) -> object:
        """
        See L{IHTTPFilter.responseHeaders}.
        """

    def responseData(self, stream: IHTTPStream, data: bytes, endStream: bool) -> object:
        """
        See L{IHTTPFilter.responseData}.
        """

    def responseTrailers(self, stream: IHTTPStream, trailers: HeaderMap) -> object:
        """
        See L{IHTTPFilter.responseTrailers}.
        """

    def answerPassed(self, stream: Any, body: bytes, trailers: HeaderMap) -> None:
        """
        Where it C{passesAll}: all of a call's answer came in one read, head, body in one piece, and trailers. Whoever
        overrides this does what L{responseData} and L{responseTrailers} do one after the other.

        @param stream: A L{UnaryStream<meshproxy.http.unary.UnaryStream>} whose only try it answers: its request ended
            at C{requestEnd}, and this came at C{responseStart}.
        """
        self.responseData(stream, body, False)
        self.responseTrailers(stream, trailers)

    def heedsBody(self, stream: Any) -> bool:
        """
        Whether C{responseData} may do anything with the body of a response whose head the filter let pass. Where the
        filters of a chain that look at bodies all say that they do not, the body goes past them: whole with its head
        where it came so, and a long one from socket to socket.
        """
        return True

    def streamEnded(self, stream: IHTTPStream) -> None:
        """
        See L{IHTTPFilter.streamEnded}.
        """


def _structured(Config: type | None, section: Section) -> Any:
    """
    A C{TypedStruct}'s value as an instance of an attrs class, or L{None} where the filter takes no configuration.
    """
    if Config is None:
        return None
    report: Report = section.report
    return structure(Config, section, report)
