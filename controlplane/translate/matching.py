# -*- test-case-name: tests.controlplane.translate.test_routes -*-
"""
Matches of HTTP routes: what the proxy decides now, and what Envoy decides for each request.
"""

from __future__ import annotations

from collections.abc import Collection

from meshproxy.controlplane.model.common import StringMatch, selects
from meshproxy.controlplane.model.httproute import claimOf
from meshproxy.controlplane.model.routes import HTTPMatchRequest
from meshproxy.controlplane.translate.messages import JSON, without
from meshproxy.controlplane.translate.proxy import Proxy
from meshproxy.controlplane.translate.rbacvalues import claimMatch

__all__ = ["appliesTo", "isEverything", "routeMatch", "stringMatcher"]


def stringMatcher(match: StringMatch) -> JSON:
    """
    A C{envoy.type.matcher.v3.StringMatcher}.
    """
    if match.prefix is not None:
        return {"prefix": match.prefix}
    if match.regex is not None:
        return {"safeRegex": {"regex": match.regex}}
    return {"exact": match.exact or ""}


def appliesTo(match: HTTPMatchRequest, proxy: Proxy, gateways: Collection[str], port: int) -> bool:
    """
    Whether a match can be one of this proxy's at all.

    @param gateways: The names under which the proxy is meant: its gateway's, or the mesh.
    """
    if match.port and match.port != port:
        return False
    if match.gateways:
        return any(name in gateways for name in match.gateways)
    if not selects(match.sourceLabels, proxy.labels):
        return False
    return not match.sourceNamespace or match.sourceNamespace == proxy.namespace


def isEverything(match: JSON) -> bool:
    """
    Whether a match of Envoy takes every request.
    """
    if match.get("headers") or match.get("queryParameters") or match.get("dynamicMetadata"):
        return False
    regex = match.get("safeRegex", {}).get("regex")
    return match.get("prefix") == "/" or regex in (".*", "/.*") if "path" not in match else False


def _isPresent(match: StringMatch) -> bool:
    """
    Whether a match is only that something is there: nothing set, or a regular expression that takes anything.
    """
    given = [value for value in (match.exact, match.prefix, match.regex) if value is not None]
    return not given or match.regex == "*" or match.exact == match.regex == match.prefix == ""


def _header(name: str, match: StringMatch) -> JSON:
    if _isPresent(match):
        return {"name": name, "presentMatch": True}
    return {"name": name, "stringMatch": stringMatcher(match)}


def routeMatch(match: HTTPMatchRequest | None) -> JSON:
    """
    A C{envoy.config.route.v3.RouteMatch}.
    """
    if match is None:
        return {"prefix": "/"}
    headers = [_header(name, value) for name, value in match.headers.items() if claimOf(name) is None]
    for name, value in match.withoutHeaders.items():
        if claimOf(name) is not None:
            continue
        header = {**_header(name, value), "invertMatch": True}
        if "presentMatch" not in header:
            header["treatMissingHeaderAsEmpty"] = True
        headers.append(header)
    headers.sort(key=lambda header: str(header["name"]))
    for name, part in ((":method", match.method), (":authority", match.authority), (":scheme", match.scheme)):
        if part is not None:
            headers.append(_header(name, part))
    parameters: list[JSON] = []
    for name, value in match.queryParams.items():
        if _isPresent(value):
            parameters.append({"name": name, "presentMatch": True})
        else:
            parameters.append({"name": name, "stringMatch": stringMatcher(value)})
    return without(
        {
            **_path(match.uri),
            "caseSensitive": not match.ignoreUriCase,
            "headers": headers,
            "queryParameters": parameters,
            "dynamicMetadata": _claims(match),
        }
    )


def _claims(match: HTTPMatchRequest) -> list[JSON]:
    """
    Claims of a token that was verified before, as a gateway may ask for them.
    """
    made = []
    for given, inverted in ((match.headers, False), (match.withoutHeaders, True)):
        for name, value in given.items():
            claim = claimOf(name)
            if claim is not None:
                wanted = {"safeRegex": {"regex": ".*"}} if _isPresent(value) else stringMatcher(value)
                made.append({**claimMatch(claim, wanted), **({"invert": True} if inverted else {})})
    return made


def _path(uri: StringMatch | None) -> JSON:
    if uri is None:
        return {"prefix": "/"}
    if uri.exact is not None:
        return {"path": uri.exact}
    if uri.regex is not None:
        return {"safeRegex": {"regex": uri.regex}}
    return {"prefix": uri.prefix if uri.prefix is not None else "/"}
