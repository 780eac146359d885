# -*- test-case-name: tests.controlplane.model.test_virtualservice -*-
"""
The checks of an HTTP route of a VirtualService.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from meshproxy.controlplane.model.common import Percent, checkDestination, checkStringMatch
from meshproxy.controlplane.model.httppolicies import checkCors, checkFault, checkRetries
from meshproxy.controlplane.model.names import (
    badDuration,
    badHeaderName,
    badHeaderValue,
    badLabels,
    badPort,
    badRegex,
    isDNSLabel,
)
from meshproxy.controlplane.model.routes import (
    Headers,
    HTTPDirectResponse,
    HTTPMatchRequest,
    HTTPRedirect,
    HTTPRewrite,
    HTTPRoute,
    HTTPRouteDestination,
    RouteDestination,
)
from meshproxy.controlplane.model.spots import Spot

__all__ = ["checkHTTPRoute", "checkHeaders", "checkMatch", "checkShares", "claimOf"]

#: A match on a claim of a token, as a gateway may have it: C{@request.auth.claims.groups}.
_CLAIM = "@request.auth.claims"

#: The whole of a body that istiod would hold for each proxy: more is refused, a tenth of it warned of.
_MAX_BODY = 1024 * 1024
_LARGE_BODY = 100 * 1024


def claimOf(name: str) -> list[str] | None:
    """
    The path of the claim that the name of a header means, C{@request.auth.claims[a][b]} or C{@request.auth.claims.a.b}:
    empty where it names none; L{None} for what is a header.
    """
    if not name.lower().startswith(_CLAIM):
        return None
    path = name[len(_CLAIM) :]
    if path.startswith("[") and path.endswith("]"):
        return path[1:-1].split("][")
    return path[1:].split(".") if path.startswith(".") else []


def checkHTTPRoute(route: HTTPRoute, spot: Spot, isDelegate: bool, toGateway: bool) -> None:
    """
    Tell what is wrong with a route.

    @param isDelegate: Whether it is part of a VirtualService without hosts.
    @param toGateway: Whether it is for gateways alone.
    """
    _checkActions(route, spot, isDelegate)
    for index, match in enumerate(route.match):
        checkMatch(match, spot["match"][index], toGateway)
    if route.headers is not None:
        checkHeaders(route.headers, spot["headers"])
    _checkAuthority(route, spot)
    _checkRoutes(route.route, spot["route"])
    if route.redirect is not None:
        _checkRedirect(route.redirect, route.match, spot["redirect"])
    if route.directResponse is not None:
        _checkDirectResponse(route.directResponse, spot["directResponse"])
    if route.rewrite is not None:
        _checkRewrite(route.rewrite, spot["rewrite"])
    _checkMirrors(route, spot)
    if route.retries is not None:
        checkRetries(route.retries, spot["retries"])
    if route.fault is not None:
        checkFault(route.fault, spot["fault"])
    if route.corsPolicy is not None:
        checkCors(route.corsPolicy, spot["corsPolicy"])
    if route.timeout is not None:
        spot["timeout"].judge(badDuration(route.timeout))


def _checkActions(route: HTTPRoute, spot: Spot, isDelegate: bool) -> None:
    """
    One action, and nothing beside it that it leaves no room for.
    """
    if route.delegate is not None and isDelegate:
        spot["delegate"].refuse("a delegate delegates no further", "exclusive")
    elif route.delegate is not None:
        spot["delegate"]["name"].require(route.delegate.name)
        for name in ("redirect", "route", "directResponse"):
            if getattr(route, name):
                spot[name].refuse(f"a route that delegates has no {name}", "exclusive")
        return
    if route.redirect is not None or route.directResponse is not None:
        action = "redirect" if route.redirect is not None else "directResponse"
        for name in ("route", "fault", "rewrite", "directResponse"):
            if name != action and getattr(route, name):
                spot[name].refuse(f"a route with {action} has no {name}", "exclusive")
    elif not route.route:
        spot.refuse("one of route, redirect, directResponse, delegate is required", "required")


def checkMatch(match: HTTPMatchRequest, spot: Spot, toGateway: bool) -> None:
    """
    Tell what is wrong with a match.
    """
    for name in ("uri", "scheme", "method", "authority"):
        value = getattr(match, name)
        if value is not None:
            checkStringMatch(value, spot[name], emptyPrefix=name == "uri")
    for name in ("headers", "withoutHeaders"):
        for header, value in getattr(match, name).items():
            here = spot[name][header]
            claim = claimOf(header)
            if claim is not None:
                if not toGateway:
                    here.refuse("a claim of a token can be matched at a gateway alone")
                elif not claim or not all(claim):
                    here.refuse(f"{header!r} names no claim: {_CLAIM}[NAME], or {_CLAIM}[NAME][NAME] inside of another")
            else:
                here.judge(badHeaderName(header, pseudo=True))
            checkStringMatch(value, here, star=name == "withoutHeaders")
    for parameter, value in match.queryParams.items():
        checkStringMatch(value, spot["queryParams"][parameter])
    if match.port:
        spot["port"].judge(badPort(match.port))
    spot["sourceLabels"].judge(badLabels(match.sourceLabels))
    if match.sourceNamespace and not isDNSLabel(match.sourceNamespace):
        spot["sourceNamespace"].refuse(f"{match.sourceNamespace!r} is not a namespace")


def checkHeaders(headers: Headers, spot: Spot) -> None:
    """
    Tell what is wrong with operations on headers.
    """
    for side in ("request", "response"):
        operations = getattr(headers, side)
        if operations is None:
            continue
        for action in ("set", "add"):
            for name, value in getattr(operations, action).items():
                here = spot[side][action][name]
                authority = side == "request" and name.lower() in (":authority", "host")
                if not authority:
                    _checkOperation(name, here)
                here.judge(badHeaderValue(value))
        for index, name in enumerate(operations.remove):
            _checkOperation(name, spot[side]["remove"][index])


def _checkOperation(name: str, spot: Spot) -> None:
    """
    The name of a header that may be changed.
    """
    if name.startswith(":") or name.lower() == "host":
        spot.refuse(f"{name!r} cannot be changed; for the host there is rewrite.authority")
    else:
        spot.judge(badHeaderName(name))


def _checkAuthority(route: HTTPRoute, spot: Spot) -> None:
    """
    The host of a request is changed in one place at most.
    """
    current = route.rewrite.authority if route.rewrite is not None else ""
    request = route.headers.request if route.headers is not None else None
    for action in ("set", "add") if request is not None else ():
        for name, value in getattr(request, action).items():
            if name.lower() not in (":authority", "host"):
                continue
            if current:
                spot["headers"]["request"][action][name].refuse(
                    f"the host is changed to {current!r} already, and here to {value!r}", "exclusive"
                )
            current = value


def checkShares(routes: Sequence[HTTPRouteDestination | RouteDestination], spot: Spot) -> None:
    """
    Destinations that can be, and not all of whose weights are 0.
    """
    for index, route in enumerate(routes):
        here = spot[index]
        if route.destination is None:
            here["destination"].require(None)
        else:
            checkDestination(route.destination, here["destination"])
        if route.weight < 0:
            here["weight"].refuse(f"{route.weight} is not a weight: 0 or more")
    if len(routes) > 1 and sum(route.weight for route in routes) == 0:
        spot.refuse("the weights of several destinations are all 0")


def _checkRoutes(routes: Sequence[HTTPRouteDestination], spot: Spot) -> None:
    checkShares(routes, spot)
    for index, route in enumerate(routes):
        if route.headers is not None:
            checkHeaders(route.headers, spot[index]["headers"])


def _checkRedirect(redirect: HTTPRedirect, matches: Sequence[HTTPMatchRequest], spot: Spot) -> None:
    spot.oneOf(redirect, "uri", "prefixRewrite")
    spot.oneOf(redirect, "port", "derivePort")
    if redirect.prefixRewrite and any(match.uri is not None and match.uri.prefix is None for match in matches):
        spot["prefixRewrite"].refuse("needs matches of the path by prefix")
    names = ("uri", "prefixRewrite", "authority", "scheme", "port", "derivePort")
    if not any(getattr(redirect, name) for name in names):
        spot.refuse(f"one of {', '.join(names)} is required", "required")
    if redirect.redirectCode and redirect.redirectCode not in (301, 302, 303, 307, 308):
        spot["redirectCode"].refuse(f"{redirect.redirectCode} is not one of 301, 302, 303, 307, 308")
    if redirect.scheme not in ("", "http", "https"):
        spot["scheme"].refuse(f"{redirect.scheme!r} is neither http nor https")
    if redirect.port:
        spot["port"].judge(badPort(redirect.port))


def _checkDirectResponse(response: HTTPDirectResponse, spot: Spot) -> None:
    if not 200 <= response.status <= 599:
        spot["status"].refuse(f"{response.status} is not a status: 200 to 599")
    body = response.body
    if body is None:
        return
    spot["body"].oneOf(body, "string", "bytes_")
    size = len(body.string.encode()) if body.string is not None else 0
    if body.bytes_ is not None:
        try:
            size = len(base64.b64decode(body.bytes_, validate=True))
        except (binascii.Error, ValueError):
            spot["body"]["bytes"].refuse("is not base64")
    if size > _MAX_BODY:
        spot["body"].refuse(f"a body has at most {_MAX_BODY} bytes, this one {size}")
    elif size > _LARGE_BODY:
        spot["body"].warn(f"a body of {size} bytes goes to every proxy")


def _checkRewrite(rewrite: HTTPRewrite, spot: Spot) -> None:
    spot.oneOf(rewrite, "uri", "uriRegexRewrite")
    if not (rewrite.uri or rewrite.uriRegexRewrite or rewrite.authority):
        spot.refuse("one of uri, uriRegexRewrite, authority is required", "required")
    substitution = rewrite.uriRegexRewrite
    if substitution is not None:
        here = spot["uriRegexRewrite"]
        here["rewrite"].require(substitution.rewrite)
        if here["match"].require(substitution.match):
            here["match"].judge(badRegex(substitution.match))


def _checkMirrors(route: HTTPRoute, spot: Spot) -> None:
    spot.oneOf(route, "mirror", "mirrors")
    if route.mirror is not None:
        checkDestination(route.mirror, spot["mirror"])
    if route.mirrorPercent is not None:
        spot["mirrorPercent"].warn("mirrorPercent is the old name; prefer mirrorPercentage", "deprecated")
        _checkShare(Percent(value=route.mirrorPercent), spot["mirrorPercent"])
    if route.mirrorPercentage is not None:
        _checkShare(route.mirrorPercentage, spot["mirrorPercentage"]["value"])
    for index, mirror in enumerate(route.mirrors):
        here = spot["mirrors"][index]
        if mirror.destination is None:
            here["destination"].require(None)
        else:
            checkDestination(mirror.destination, here["destination"])
        if mirror.percentage is not None:
            _checkShare(mirror.percentage, here["percentage"]["value"])


def _checkShare(share: Percent, spot: Spot) -> None:
    if not 0 <= share.value <= 100:
        spot.refuse(f"{share.value:g} is not a share: 0 to 100")
