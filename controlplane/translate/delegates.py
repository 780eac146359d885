# -*- test-case-name: tests.controlplane.translate.test_routes -*-
"""
VirtualServices that delegate: the routes of the delegate in the place of the one that names it.
"""

from __future__ import annotations

from attrs import evolve, frozen

from meshproxy.controlplane.model.common import StringMatch
from meshproxy.controlplane.model.resource import Resource
from meshproxy.controlplane.model.routes import HTTPMatchRequest, HTTPRoute
from meshproxy.controlplane.translate.context import Context

__all__ = ["SourcedRoute", "routesOf"]

_NETWORKING = "networking.istio.io"


@frozen
class SourcedRoute:
    """
    A route, and where it stands.

    @ivar index: Which one of the VirtualService it is.
    @ivar delegate: Who says more of it, and C{delegateIndex} which of its routes that is.
    """

    route: HTTPRoute
    index: int
    delegate: Resource | None = None
    delegateIndex: int = 0


def routesOf(context: Context, resource: Resource) -> list[SourcedRoute]:
    """
    The HTTP routes of a VirtualService, with those of its delegates in their places.
    """
    made: list[SourcedRoute] = []
    for index, route in enumerate(resource.spec.http):
        if route.delegate is None:
            made.append(SourcedRoute(route, index))
            continue
        namespace = route.delegate.namespace or resource.namespace
        found = context.resources.get(_NETWORKING, "VirtualService", namespace, route.delegate.name)
        steps = ("spec", "http", index, "delegate")
        if found is None or not context.resources.seesVirtualService(found, resource.namespace, context.mesh):
            context.warn("not-found", f"the delegate {namespace}/{route.delegate.name} is not there", resource, *steps)
        elif found.spec.hosts:
            context.warn("invalid", f"{found.title} has hosts, and so is no delegate", resource, *steps)
        else:
            context.uses(found)
            made += [
                SourcedRoute(merged, index, found, place) for place, merged in _merged(context, resource, route, found)
            ]
    return made


def _merged(context: Context, root: Resource, route: HTTPRoute, delegate: Resource) -> list[tuple[int, HTTPRoute]]:
    """
    Each route of the delegate, for what both match, with its place there.
    """
    made: list[tuple[int, HTTPRoute]] = []
    for index, inner in enumerate(delegate.spec.http):
        matches = _matches(route.match, inner.match)
        if matches is None:
            why = f"matches nothing of what {root.title} hands on"
            context.warn("conflict", why, delegate, "spec", "http", index)
            continue
        both = evolve(
            inner,
            name="-".join(filter(None, (route.name, inner.name))),
            match=matches,
            rewrite=inner.rewrite if inner.rewrite is not None else route.rewrite,
            timeout=inner.timeout if inner.timeout is not None else route.timeout,
            retries=inner.retries if inner.retries is not None else route.retries,
            fault=inner.fault if inner.fault is not None else route.fault,
            mirror=inner.mirror if inner.mirror is not None else route.mirror,
            mirrors=inner.mirrors or route.mirrors,
            mirrorPercentage=(inner.mirrorPercentage if inner.mirrorPercentage is not None else route.mirrorPercentage),
            corsPolicy=inner.corsPolicy if inner.corsPolicy is not None else route.corsPolicy,
            headers=inner.headers if inner.headers is not None else route.headers,
        )
        made.append((index, both))
    return made


def _matches(outer: list[HTTPMatchRequest], inner: list[HTTPMatchRequest]) -> list[HTTPMatchRequest] | None:
    """
    Both at once: every pair that does not exclude itself; L{None} if all do.
    """
    if not outer or not inner:
        return list(outer or inner)
    pairs = [_both(one, other) for one in outer for other in inner if not _excludes(one, other)]
    return pairs or None


def _excludes(outer: HTTPMatchRequest, inner: HTTPMatchRequest) -> bool:
    """
    Whether there is nothing that both take, or nothing that can be said to be it.
    """
    for name in ("uri", "scheme", "method", "authority"):
        if _textsExclude(getattr(outer, name), getattr(inner, name)):
            return True
    if outer.port and inner.port and outer.port != inner.port:
        return True
    if outer.sourceNamespace and inner.sourceNamespace and outer.sourceNamespace != inner.sourceNamespace:
        return True
    for name in ("headers", "withoutHeaders", "queryParams"):
        mine, theirs = getattr(outer, name), getattr(inner, name)
        if any(key in theirs and _textsExclude(mine[key], theirs[key]) for key in mine):
            return True
    return any(inner.sourceLabels.get(key, value) != value for key, value in outer.sourceLabels.items())


def _textsExclude(outer: StringMatch | None, inner: StringMatch | None) -> bool:
    if outer is None or inner is None or outer == inner:
        return False
    if outer.prefix is None or inner.regex is not None:
        # An exact match, or a regular expression, leaves nothing for another one to say.
        return True
    text = inner.prefix if inner.prefix is not None else inner.exact or ""
    return not text.startswith(outer.prefix)


def _both(outer: HTTPMatchRequest, inner: HTTPMatchRequest) -> HTTPMatchRequest:
    return evolve(
        inner,
        name="-".join(filter(None, (outer.name, inner.name))),
        uri=inner.uri or outer.uri,
        scheme=inner.scheme or outer.scheme,
        method=inner.method or outer.method,
        authority=inner.authority or outer.authority,
        headers={**outer.headers, **inner.headers},
        withoutHeaders={**outer.withoutHeaders, **inner.withoutHeaders},
        queryParams={**outer.queryParams, **inner.queryParams},
        sourceLabels={**outer.sourceLabels, **inner.sourceLabels},
        port=inner.port or outer.port,
        sourceNamespace=inner.sourceNamespace or outer.sourceNamespace,
        gateways=outer.gateways or inner.gateways,
        ignoreUriCase=inner.ignoreUriCase or outer.ignoreUriCase,
        statPrefix=inner.statPrefix or outer.statPrefix,
    )
