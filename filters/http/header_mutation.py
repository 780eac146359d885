# -*- test-case-name: tests.filters.http.test_header_mutation -*-
"""
C{envoy.filters.http.header_mutation}: add, overwrite and remove header fields, trailers and query parameters.

This is the filter to read first. The comments marked I{anatomy} say what belongs to every filter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from meshproxy.accesslog.logs import compileFormatters
from meshproxy.config import Section
from meshproxy.config.expressions import Expression
from meshproxy.config.supported import declare
from meshproxy.headers import HeaderMap, RequestHeaders, ResponseHeaders
from meshproxy.http.filter import FilterContext, HTTPFilter
from meshproxy.http.passage import Step, usually
from meshproxy.interfaces import IHTTPStream
from meshproxy.routing.mutations import compileHeaderMutations
from meshproxy.routing.querymutations import compileQueryMutations

__all__ = ["HeaderMutation", "MutationPlan"]

_PACKAGE = "envoy.extensions.filters.http.header_mutation.v3."

# Anatomy: a field that a configuration sets and nobody declares is refused, so a filter says which ones it implements.
declare(_PACKAGE + "HeaderMutation", "mutations", "most_specific_header_mutations_wins")
declare(_PACKAGE + "HeaderMutationPerRoute", "mutations")
declare(_PACKAGE + "Mutations", "request_mutations", "response_mutations", "query_parameter_mutations")
declare(_PACKAGE + "Mutations", "request_trailers_mutations", "response_trailers_mutations", "formatters")
declare("envoy.config.core.v3.KeyValueMutation", "append", "remove")
declare("envoy.config.core.v3.KeyValueAppend", "record", "action")
declare("envoy.config.core.v3.KeyValuePair", "key", "value")

Mutate = Callable[[Any, Any], None]


# Anatomy: configuration is compiled once, to something small and immutable that asks no questions any more.
@dataclass(frozen=True, slots=True)
class MutationPlan:
    """
    A compiled C{Mutations}: a function for each event, or L{None} where there is nothing to do.
    """

    request: Mutate | None = None
    query: Mutate | None = None
    response: Mutate | None = None
    requestTrailers: Mutate | None = None
    responseTrailers: Mutate | None = None
    mostSpecificWins: bool = False


class HeaderMutation(HTTPFilter):
    """
    The mutations of the filter come first; then those of the route, its virtual host and its route configuration, of
    which the last one wins.
    """

    # Anatomy: nothing is kept on C{self} for a stream, so one instance serves them all.
    shared = True
    servesUpstream = True
    passesAll = True
    configType = _PACKAGE + "HeaderMutation"
    routeConfigType = _PACKAGE + "HeaderMutationPerRoute"

    # Anatomy: whatever is wrong is told by C{section.refuse}, which goes on, so that all faults are told at once.
    @classmethod
    def compileConfig(cls, section: Section, context: FilterContext) -> MutationPlan:
        held = section.child("mutations")
        mostSpecificWins = section.typeName == cls.configType and section.get("most_specific_header_mutations_wins")
        if held is None:
            return MutationPlan(mostSpecificWins=mostSpecificWins)
        operators = compileFormatters(held, context.findSecret)
        return MutationPlan(
            compileHeaderMutations(held.children("request_mutations"), operators),
            compileQueryMutations(held.children("query_parameter_mutations"), operators),
            compileHeaderMutations(held.children("response_mutations"), operators),
            compileHeaderMutations(held.children("request_trailers_mutations"), operators),
            compileHeaderMutations(held.children("response_trailers_mutations"), operators),
            mostSpecificWins,
        )

    # Anatomy: what the configuration decided need not be decided again on each request. This is for filters that most
    # requests of a mesh meet; others do without.
    def __init__(self, config: MutationPlan, context: FilterContext) -> None:
        super().__init__(config, context)
        if config.request is not None and config.query is None:
            self.requestHeaders = _where(config.request, self.requestHeaders)  # type: ignore[assignment,method-assign]
        if config.response is not None:
            self.responseHeaders = _where(config.response, self.responseHeaders)  # type: ignore[assignment,method-assign]

    # Anatomy: an event that has no method costs nothing. Answering L{None} lets the event go on.
    def requestHeaders(self, stream: IHTTPStream, headers: RequestHeaders, endStream: bool) -> None:
        for plan in self._plans(stream):
            if plan.request is not None:
                plan.request(headers, stream)
            if plan.query is not None:
                plan.query(headers, stream)

    def requestTrailers(self, stream: IHTTPStream, trailers: HeaderMap) -> None:
        for plan in self._plans(stream):
            if plan.requestTrailers is not None:
                plan.requestTrailers(trailers, stream)

    def responseHeaders(self, stream: IHTTPStream, headers: ResponseHeaders, endStream: bool) -> None:
        for plan in self._plans(stream):
            if plan.response is not None:
                plan.response(headers, stream)

    def responseTrailers(self, stream: IHTTPStream, trailers: HeaderMap) -> None:
        for plan in self._plans(stream):
            if plan.responseTrailers is not None:
                plan.responseTrailers(trailers, stream)

    def _plans(self, stream: IHTTPStream) -> tuple[MutationPlan, ...]:
        # Most filters ask C{self.routeConfig(stream)}, the most specific one; this one wants those of all levels.
        config: MutationPlan = self.config
        route = stream.route
        levels = None if route is None else route.overrides.levels.get(self.context.name)
        if not levels:
            return (config,)
        return (config, *levels) if config.mostSpecificWins else (config, *levels[::-1])


def _where(mutate: Mutate, general: Callable[[Any, Any, bool], None]) -> Callable[[Any, Any, bool], None]:
    """
    A method for an event of which the filter's own mutations are one function, and those of routes few have.
    """

    def method(stream: Any, headers: Any, endStream: bool) -> None:
        route = stream.route
        if route is not None and route.overrides.levels:
            general(stream, headers, endStream)
        else:
            mutate(headers, stream)

    statements = getattr(mutate, "statements", None)
    if statements is None:
        return method
    return usually(method, Step(Expression.of("not configured and headers.more is None"), statements))
