# -*- test-case-name: tests.routing.test_routes -*-
"""
C{envoy.config.route.v3.Route} and what stands around it: levels of header mutations and of filter configuration,
merged for each route.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from meshproxy.config.matchers import compileHeaderMatchers
from meshproxy.config.section import Section
from meshproxy.headers import HeaderMap
from meshproxy.routing.actions import (
    checkWeights,
    chooseByWeight,
    compileHedging,
    compileRouteAction,
    readMetadata,
    runtimeWeights,
    weightNumber,
)
from meshproxy.routing.conditions import Conditions
from meshproxy.routing.context import RouteContext
from meshproxy.routing.mirrors import MirrorPolicy, compileMirrorPolicies
from meshproxy.routing.mutations import Mutation, chain, compileHeaderOptions
from meshproxy.routing.perfilter import FilterOverrides, compilePerFilterConfig, mergeFilterOverrides
from meshproxy.routing.ratelimits import compileRateLimits
from meshproxy.routing.redirects import DEFAULT_MAX_BODY, compileDirectResponse, compileRedirect
from meshproxy.routing.retries import RetryPolicy, compileRetryPolicy
from meshproxy.routing.rewrites import compileHostRewrite, compilePathRewrite, literalHost, pathMutation
from meshproxy.routing.route import Route, RouteKind, VirtualCluster, VirtualHost
from meshproxy.routing.specifiers import Specifiers, byHeader, choosingOn, choosingRoute

__all__ = ["Level", "RouteCompiler", "compileVirtualHost"]


class Level(NamedTuple):
    """
    What one level says to all routes below it.

    @ivar request: Its mutations of request headers; C{response} likewise.
    @ivar overrides: Its configuration of filters.
    @ivar retryPolicy: Its retry policy, where it has one; C{hedges} likewise whether late tries go on.
    @ivar mirrors: Its mirrors.
    """

    request: Mutation | None
    response: Mutation | None
    overrides: FilterOverrides
    retryPolicy: RetryPolicy | None = None
    hedges: bool = False
    mirrors: tuple[MirrorPolicy, ...] = ()


def _compileLevel(section: Section, context: RouteContext, cors: Section | None = None) -> Level:
    """
    Compile what a level says.

    @param cors: Its policy in the field of former times.
    """
    overrides = compilePerFilterConfig(section, context.compileFilterConfig, context.knowsFilterConfig)
    if cors is not None:
        older = {name: (policy,) for name, policy in context.compileOlderConfig(cors).items()}
        overrides = replace(overrides, older=older)
    return Level(
        compileHeaderOptions(section, "request_headers_to_add", "request_headers_to_remove"),
        compileHeaderOptions(section, "response_headers_to_add", "response_headers_to_remove"),
        overrides,
    )


def _everything(headers: HeaderMap) -> bool:
    return True


def compileVirtualHost(section: Section, compiler: RouteCompiler) -> tuple[VirtualHost, Level]:
    """
    Compile C{envoy.config.route.v3.VirtualHost}, but for its routes.
    """
    level = _compileLevel(section, compiler.context, section.child("cors"))
    level = level._replace(
        retryPolicy=compileRetryPolicy(section.child("retry_policy")),
        hedges=compileHedging(section.child("hedge_policy")),
        mirrors=compiler.compileMirrors(section) or compiler.mirrors,
    )
    clusters = [
        VirtualCluster(each.get("name"), compileHeaderMatchers(each.children("headers")) or _everything)
        for each in section.children("virtual_clusters")
    ]
    virtualHost = VirtualHost(
        name=section.get("name"),
        includeRequestAttemptCount=section.get("include_request_attempt_count"),
        includeAttemptCountInResponse=section.get("include_attempt_count_in_response"),
        includeIsTimeoutRetryHeader=section.get("include_is_timeout_retry_header"),
        requestBodyBufferLimit=_bodyLimit(section),
        virtualClusters=tuple(clusters),
        metadata=readMetadata(section.child("metadata")),
        rateLimits=compileRateLimits(section.children("rate_limits"), compiler.context.serviceCluster),
        section=section,
    )
    return virtualHost, level


def _bodyLimit(section: Section) -> int | None:
    """
    C{request_body_buffer_limit}, or its older and smaller sister.
    """
    for field in ("request_body_buffer_limit", "per_request_buffer_limit_bytes"):
        if section.has(field):
            return section.wrapped(field, 0)
    return None


class RouteCompiler:
    """
    Compiles the routes of one route configuration.

    @ivar context: What they need to know of the rest of the proxy.
    @ivar mirrors: The mirrors of all routes that have none nearer.
    """

    def __init__(self, section: Section, context: RouteContext) -> None:
        self.context = context
        self._level = _compileLevel(section, context)
        self._mostSpecificWins: bool = section.get("most_specific_header_mutations_wins")
        self._maxBody = section.wrapped("max_direct_response_body_size_bytes", DEFAULT_MAX_BODY)
        validates = section.wrapped("validate_clusters", context.validateClusters)
        self._validating = context if validates else None
        self.mirrors = self.compileMirrors(section)
        self._specifiers = Specifiers(section.children("cluster_specifier_plugins"), context)

    def compileMirrors(self, section: Section) -> tuple[MirrorPolicy, ...]:
        """
        Compile the C{request_mirror_policies} of a level.
        """
        sections = section.children("request_mirror_policies")
        return compileMirrorPolicies(sections, self.context, self._validating is not None)

    def compileRoute(
        self, section: Section, order: int, virtualHost: VirtualHost, around: Level, conditions: Conditions
    ) -> Route:
        """
        Compile one route.

        @param order: Its place among the routes of its virtual host.
        @param around: What its virtual host says to it.
        @param conditions: Which requests it is for.
        """
        own = _compileLevel(section, self.context, section.childOrEmpty("route").child("cors"))
        route = Route(
            virtualHost,
            RouteKind.NON_FORWARDING,
            name=section.get("name"),
            path=section.path,
            order=order,
            overrides=mergeFilterOverrides([self._level.overrides, around.overrides, own.overrides]),
            finalizeResponseHeaders=chain(self._ordered(own.response, around.response, self._level.response)),
            metadata=readMetadata(section.child("metadata")),
            requestBodyBufferLimit=virtualHost.requestBodyBufferLimit,
            statPrefix=section.get("stat_prefix"),
        )
        if _bodyLimit(section) is not None:
            route = replace(route, requestBodyBufferLimit=_bodyLimit(section))
        requestSteps = self._ordered(own.request, around.request, self._level.request)
        return self._withAction(route, section, around, requestSteps, conditions)

    def _ordered(self, *levels: Mutation | None) -> list[Mutation | None]:
        """
        Levels, given most specific first, in the order in which they act. The later one has the last word.
        """
        return list(reversed(levels)) if self._mostSpecificWins else list(levels)

    def _withAction(
        self, route: Route, section: Section, around: Level, requestSteps: list[Mutation | None], conditions: Conditions
    ) -> Route:
        kind = section.oneof("action")
        if kind == "route":
            return self._forwarding(route, section.childOrEmpty("route"), around, requestSteps, conditions)
        if kind == "redirect":
            action = section.childOrEmpty("redirect")
            if conditions.template is not None and action.get("prefix_rewrite"):
                action.refuse("a route that matches by a path_match_policy has no prefix to rewrite", "prefix_rewrite")
            redirect = compileRedirect(action, conditions.matched)
            return replace(route, kind=RouteKind.REDIRECT, redirect=redirect)
        if kind == "direct_response":
            response = compileDirectResponse(section.childOrEmpty("direct_response"), self._maxBody)
            return replace(route, kind=RouteKind.DIRECT_RESPONSE, directResponse=response)
        # As in Envoy, filter_action does what non_forwarding_action does: filters may answer, and the router has no
        # cluster for it.
        return route

    def _forwarding(
        self, route: Route, action: Section, around: Level, requestSteps: list[Mutation | None], conditions: Conditions
    ) -> Route:
        rewrite = compilePathRewrite(action, conditions.matched, conditions.template)
        steps = [*requestSteps, compileHostRewrite(action), None if rewrite is None else pathMutation(rewrite)]
        compiled = compileRouteAction(action, around.retryPolicy, self._validating, around.hedges)
        route = replace(
            route,
            kind=RouteKind.ROUTE,
            action=replace(
                compiled,
                mirrors=self.compileMirrors(action) or around.mirrors,
                rateLimits=compileRateLimits(action.children("rate_limits"), self.context.serviceCluster),
                includeVirtualHostRateLimits=action.wrapped("include_vh_rate_limits", False),
            ),
            finalizeRequestHeaders=chain(steps),
        )
        weighted = action.child("weighted_clusters")
        if weighted is not None:
            return self._weighted(route, weighted, steps)
        choice = byHeader(compiled.clusterHeader) if compiled.clusterHeader else self._specifiers.choiceOf(action)
        return route if choice is None else choosingRoute(route, choice)

    def _weighted(self, route: Route, section: Section, steps: Sequence[Mutation | None]) -> Route:
        """
        A route that chooses among others, one for each cluster.
        """
        entries = checkWeights(section, self._validating)
        if not entries:
            return route
        assert route.action is not None
        others: list[tuple[Route, int]] = []
        retries = route.action.retryPolicy
        if retries is not None and retries.refreshesCluster:
            route = replace(route, action=replace(route.action, others=others))
        variants = [self._variant(route, entry, steps) for entry in entries]
        if len(variants) == 1:
            return variants[0]
        assert route.action is not None
        number = weightNumber(section, route.action)
        weights = [entry.wrapped("weight", 0) for entry in entries]
        others.extend(zip(variants, weights, strict=True))
        current = runtimeWeights(section, entries, self.context.runtime)
        choose = chooseByWeight(variants, weights, self.context.random, number, current)
        return replace(route, choose=choosingOn(choose) if any(each.choose for each in variants) else choose)

    def _variant(self, route: Route, entry: Section, steps: Sequence[Mutation | None]) -> Route:
        """
        The route with one of its weighted clusters. What the cluster says acts before everything else, and its host
        before that of the route: Envoy does so whichever level is to win.
        """
        assert route.action is not None
        own = _compileLevel(entry, self.context)
        host: str = entry.get("host_rewrite_literal")
        labels = readMetadata(entry.child("metadata_match")).get("envoy.lb", {})
        action = replace(
            route.action,
            cluster=entry.get("name"),
            clusterHeader=entry.get("cluster_header").lower().encode("utf-8"),
            metadataMatch={**route.action.metadataMatch, **labels},
        )
        variant = replace(
            route,
            action=action,
            overrides=mergeFilterOverrides([route.overrides, own.overrides]),
            finalizeRequestHeaders=chain([own.request, literalHost(host) if host else None, *steps]),
            finalizeResponseHeaders=chain([own.response, route.finalizeResponseHeaders]),
        )
        # Retries that go on to another one of the clusters tell them apart by their actions.
        isFixed = not action.clusterHeader or (action.retryPolicy is not None and action.retryPolicy.refreshesCluster)
        return variant if isFixed else choosingRoute(variant, byHeader(action.clusterHeader))
