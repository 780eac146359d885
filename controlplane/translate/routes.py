# -*- test-case-name: tests.controlplane.translate.test_routes -*-
"""
HTTP routes of a VirtualService to Envoy's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from attrs import frozen

from meshproxy.controlplane.model.common import Destination
from meshproxy.controlplane.model.resource import Resource
from meshproxy.controlplane.model.routes import (
    HTTPDirectResponse,
    HTTPMatchRequest,
    HTTPRedirect,
    HTTPRewrite,
    HTTPRoute,
    HTTPRouteDestination,
)
from meshproxy.controlplane.model.trafficpolicy import TrafficPolicy
from meshproxy.controlplane.translate.delegates import SourcedRoute
from meshproxy.controlplane.translate.headers import headerOperations, rewrittenHost
from meshproxy.controlplane.translate.matching import appliesTo, isEverything, routeMatch
from meshproxy.controlplane.translate.mesh import MeshConfig
from meshproxy.controlplane.translate.messages import JSON, duration, origin, share, without
from meshproxy.controlplane.translate.proxy import Proxy
from meshproxy.controlplane.translate.routepolicies import corsPolicy, faultPolicy, retryPolicy

__all__ = ["NO_TIMEOUT", "Target", "defaultRoute", "httpRoutes"]

#: Without a time-out of its own a route has none, but for the one that a caller of gRPC asks for.
NO_TIMEOUT: JSON = {
    "timeout": "0s",
    "maxStreamDuration": {"maxStreamDuration": "0s", "grpcTimeoutHeaderMax": "0s"},
}


@frozen
class Target:
    """
    Where a destination leads.

    @ivar cluster: The name of its cluster.
    @ivar hashing: What is hashed on the way there.
    @ivar policy: How its service is called, if anything is said of that.
    """

    cluster: str
    hashing: list[JSON]
    policy: TrafficPolicy | None = None


#: Finds where a destination leads.
LookUp = Callable[[Destination], Target]


@frozen(kw_only=True)
class _Where:
    """
    For whom routes are made.
    """

    proxy: Proxy
    mesh: MeshConfig
    resource: Resource
    port: int
    isTLS: bool
    lookUp: LookUp


def httpRoutes(
    proxy: Proxy,
    mesh: MeshConfig,
    resource: Resource,
    routes: list[SourcedRoute],
    gateways: Collection[str],
    port: int,
    isTLS: bool,
    lookUp: LookUp,
) -> list[JSON]:
    """
    The routes of a VirtualService that this proxy takes at a port, up to the first that takes everything.

    @param routes: Those of the resource, with its delegates' in their places.
    @param gateways: The names under which the proxy is meant.
    @param isTLS: Whether callers speak TLS there, for redirects.
    """
    where = _Where(proxy=proxy, mesh=mesh, resource=resource, port=port, isTLS=isTLS, lookUp=lookUp)
    made: list[JSON] = []
    for sourced in routes:
        matches: list[HTTPMatchRequest | None] = [*sourced.route.match] or [None]
        for number, match in enumerate(matches):
            if match is not None and not appliesTo(match, proxy, gateways, port):
                continue
            metadata = _metadata(resource, sourced, None if match is None else number)
            made.append(_route(where, sourced.route, match, metadata))
            if isEverything(made[-1]["match"]):
                return made
    return made


def _metadata(resource: Resource, sourced: SourcedRoute, match: int | None) -> JSON:
    """
    What tools read: the VirtualService, as Istio tells it, and beyond that which of its routes and matches it is.
    """
    told = {"config": origin(resource.key, "virtual-service"), "field": f"spec.http[{sourced.index}]"}
    if sourced.delegate is not None:
        # Its matches are those of both at once.
        told["delegate"] = origin(sourced.delegate.key, "virtual-service")
        told["delegateField"] = f"spec.http[{sourced.delegateIndex}]"
    elif match is not None:
        told["field"] += f".match[{match}]"
    return {"filterMetadata": {"istio": told}}


def _route(where: _Where, route: HTTPRoute, match: HTTPMatchRequest | None, metadata: JSON) -> JSON:
    """
    One match of a route.
    """
    name = route.name
    if match is not None and match.name:
        name = f"{name}.{match.name}"
    made: JSON = {
        "name": name or None,
        "match": routeMatch(match),
        "metadata": metadata,
        "statPrefix": (match.statPrefix if match is not None else "") or None,
        **headerOperations(route.headers),
    }
    first = ""
    action: JSON = {}
    if route.redirect is not None:
        action["redirect"] = _redirect(route.redirect, where)
    elif route.directResponse is not None:
        action["directResponse"] = _directResponse(route.directResponse)
    else:
        action["route"], first = _action(where, route)
    host = first.rpartition("|")[2] or where.resource.name
    made["decorator"] = {"operation": f"{host}:{where.port}/*"}
    filters = {}
    if route.fault is not None:
        fault = faultPolicy(route.fault)
        if fault is not None:
            filters["envoy.filters.http.fault"] = fault
    if route.corsPolicy is not None:
        filters["envoy.filters.http.cors"] = corsPolicy(route.corsPolicy)
    made["typedPerFilterConfig"] = filters
    # A redirect may have nothing to say beyond being one.
    return {**without(made), **action}


def _action(where: _Where, route: HTTPRoute) -> tuple[JSON, str]:
    """
    Send requests on.

    @return: The action, and the cluster that it is named after.
    """
    action = _timeout(route)
    if route.rewrite is not None:
        action.update(_rewrite(route.rewrite))
    host = (route.rewrite.authority if route.rewrite is not None else "") or rewrittenHost(route.headers)
    if host:
        action["hostRewriteLiteral"] = host
    action["requestMirrorPolicies"] = _mirrors(where, route)
    chosen = [one for one in route.route if one.destination is not None]
    if len(chosen) > 1:
        chosen = [one for one in chosen if one.weight > 0]
    first = ""
    hashing: list[JSON] = []
    if len(chosen) == 1:
        first, hashing = _single(where, chosen[0], action)
    else:
        clusters = []
        for one in chosen:
            cluster, policies = _weighted(where, one)
            clusters.append(cluster)
            hashing += [policy for policy in policies if policy not in hashing]
        first = clusters[0]["name"] if clusters else ""
        action["weightedClusters"] = {"clusters": clusters}
    action["hashPolicy"] = hashing
    action["retryPolicy"] = retryPolicy(
        route.retries or where.mesh.defaultHttpRetryPolicy, len(chosen) == 1 and bool(hashing)
    )
    return without(action), first


def _timeout(route: HTTPRoute) -> JSON:
    """
    The time-out of a route, which one that a caller of gRPC asks for may shorten. Envoy ignores C{timeout} where a
    C{max_stream_duration} stands beside it, so the older field says that.
    """
    if route.timeout is None:
        return {**NO_TIMEOUT}
    told = duration(route.timeout)
    return {"timeout": told, "maxGrpcTimeout": told}


def _single(where: _Where, one: HTTPRouteDestination, action: JSON) -> tuple[str, list[JSON]]:
    """
    The only destination: its operations on headers are those of a cluster with all the weight.
    """
    assert one.destination is not None
    target = where.lookUp(one.destination)
    operations = headerOperations(one.headers)
    host = rewrittenHost(one.headers)
    if operations or (host and "hostRewriteLiteral" not in action):
        only: JSON = {"name": target.cluster, "weight": 1, **operations}
        if host and "hostRewriteLiteral" not in action:
            only["hostRewriteLiteral"] = host
        action["weightedClusters"] = {"clusters": [only]}
    else:
        action["cluster"] = target.cluster
    return target.cluster, target.hashing


def _weighted(where: _Where, one: HTTPRouteDestination) -> tuple[JSON, list[JSON]]:
    assert one.destination is not None
    target = where.lookUp(one.destination)
    cluster = {
        "name": target.cluster,
        "weight": one.weight,
        "hostRewriteLiteral": rewrittenHost(one.headers) or None,
        **headerOperations(one.headers),
    }
    return without(cluster), target.hashing


def _mirrors(where: _Where, route: HTTPRoute) -> list[JSON]:
    """
    Copies of requests. A share of 0 is none.
    """
    made = []
    if route.mirror is not None:
        percent = 100.0
        if route.mirrorPercentage is not None:
            percent = route.mirrorPercentage.value
        elif route.mirrorPercent is not None:
            percent = float(route.mirrorPercent)
        made.append((route.mirror, percent))
    for mirror in route.mirrors:
        if mirror.destination is not None:
            made.append((mirror.destination, mirror.percentage.value if mirror.percentage is not None else 100.0))
    return [
        {
            "cluster": where.lookUp(destination).cluster,
            "runtimeFraction": {"defaultValue": share(percent)},
            # A copy is a trace of its own to nobody.
            "traceSampled": False,
        }
        for destination, percent in made
        if percent > 0
    ]


def _rewrite(rewrite: HTTPRewrite) -> JSON:
    substitution = rewrite.uriRegexRewrite
    if substitution is not None:
        pattern = {"regex": substitution.match}
        return {"regexRewrite": {"pattern": pattern, "substitution": substitution.rewrite}}
    return {"prefixRewrite": rewrite.uri} if rewrite.uri else {}


_REDIRECTS = {
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}


def _redirect(redirect: HTTPRedirect, where: _Where) -> JSON:
    """
    Tell callers to go elsewhere.
    """
    port = redirect.port
    if redirect.derivePort == "FROM_REQUEST_PORT":
        # Envoy cannot say "the port of the request"; these routes are of one port.
        port = where.port
    scheme = redirect.scheme or ("https" if where.isTLS else "http")
    if (port, scheme) in ((80, "http"), (443, "https")):
        port = None
    return without(
        {
            "hostRedirect": redirect.authority or None,
            "pathRedirect": redirect.uri or None,
            "prefixRewrite": redirect.prefixRewrite or None,
            "schemeRedirect": redirect.scheme or None,
            "portRedirect": port or None,
            "responseCode": _REDIRECTS.get(redirect.redirectCode),
        }
    )


def _directResponse(response: HTTPDirectResponse) -> JSON:
    body = response.body
    if body is None or (body.string is None and body.bytes_ is None):
        return {"status": response.status}
    held = {"inlineString": body.string} if body.string is not None else {"inlineBytes": body.bytes_}
    return {"status": response.status, "body": held}


def defaultRoute(cluster: str, operation: str, retries: JSON | None, hashing: list[JSON] | None = None) -> JSON:
    """
    The route of a service that no VirtualService speaks of.
    """
    action = without({**NO_TIMEOUT, "cluster": cluster, "retryPolicy": retries, "hashPolicy": hashing or []})
    return {
        "name": "default",
        "match": {"prefix": "/"},
        "decorator": {"operation": operation},
        "route": action,
    }
