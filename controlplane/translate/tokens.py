# -*- test-case-name: tests.controlplane.translate.test_tokens -*-
"""
RequestAuthentication to the filter that verifies tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from meshproxy.controlplane.model.requestauthentication import JWTRule
from meshproxy.controlplane.model.resource import Resource
from meshproxy.controlplane.translate.context import Context
from meshproxy.controlplane.translate.messages import JSON, duration, typed, without
from meshproxy.controlplane.translate.names import clusterName

__all__ = ["tokenFilters"]

_NAME = "envoy.filters.http.jwt_authn"
_TYPE = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"

#: Where policies find the claims.
_PAYLOAD = "payload"

#: Claims that are lists, though written as texts (RFC 8693, 4.2).
_LISTS = ("scope", "permission")

_TIMEOUT = 5.0
_CACHED = 300.0

#: A key that verifies nothing, where the right one is not known; Envoy refuses an empty set. It is a point of P-256
#: whose first coordinate is the SHA-256 of "meshproxy: nobody has this key 0", so that nobody has the other half.
_NO_KEYS = (
    '{"keys":[{"kty":"EC","crv":"P-256","kid":"nobody","x":"qEdVVVBGnZy3Y-EEOadxvxISOby41rCot89LJBgR6jM",'
    '"y":"Yoo5NZxI4bk2najSlBOTR7jD9B0mUTlnlz7Z7Y5D98E"}]}'
)


def tokenFilters(context: Context) -> list[JSON]:
    """
    The filters for the tokens of a workload's requests: none if nobody speaks of them.
    """
    resources = context.policies("RequestAuthentication")
    rules = [(rule, resource, index) for resource in resources for index, rule in enumerate(resource.spec.jwtRules)]
    if not rules:
        return []
    # As in Istio, so that equal resources make equal filters.
    rules.sort(key=lambda one: one[0].issuer)
    providers = {
        f"origins-{number}": _provider(context, rule, resource, index)
        for number, (rule, resource, index) in enumerate(rules)
    }
    value = {
        "providers": providers,
        "rules": [{"match": {"prefix": "/"}, "requires": _requires(providers, [one[0] for one in rules])}],
        "bypassCorsPreflight": True,
    }
    return [{"name": _NAME, "typedConfig": typed(_TYPE, value)}]


def _requires(providers: Iterable[str], rules: Iterable[JWTRule]) -> JSON:
    """
    A right token of each rule that wants one. Those of the other rules are looked at where they are there; alone, they
    must be right.
    """
    needed: list[str] = []
    others: list[str] = []
    for name, rule in zip(providers, rules, strict=True):
        (needed if rule.presence == "REQUIRED" else others).append(name)
    if not needed:
        return _requirement(others)
    each: list[JSON] = [{"providerName": name} for name in needed]
    each += [
        {"requiresAny": {"requirements": [{"providerName": name}, {"allowMissingOrFailed": {}}]}} for name in others
    ]
    return each[0] if len(each) == 1 else {"requiresAll": {"requirements": each}}


def _requirement(names: Sequence[str]) -> JSON:
    """
    A token is right, or there is none. With several issuers that look in one place a token is right for one of them.
    """
    each = [{"requiresAny": {"requirements": [{"providerName": name}, {"allowMissing": {}}]}} for name in names]
    if len(each) == 1:
        return each[0]
    every: JSON = {"requiresAll": {"requirements": each}}
    return {"requiresAny": {"requirements": [*({"providerName": name} for name in names), every]}}


def _provider(context: Context, rule: JWTRule, resource: Resource, index: int) -> JSON:
    return without(
        {
            "issuer": rule.issuer or None,
            "audiences": list(rule.audiences),
            "forward": rule.forwardOriginalToken or None,
            "forwardPayloadHeader": rule.outputPayloadToHeader or None,
            "payloadInMetadata": _PAYLOAD,
            # Routes of gateways may ask for claims, which nobody knew when the first one was chosen.
            "clearRouteCache": not context.proxy.isSidecar or None,
            "normalizePayloadInMetadata": {
                "spaceDelimitedClaims": list(dict.fromkeys([*_LISTS, *rule.spaceDelimitedClaims]))
            },
            "fromHeaders": [without({"name": one.name, "valuePrefix": one.prefix or None}) for one in rule.fromHeaders],
            "fromParams": list(rule.fromParams),
            "fromCookies": list(rule.fromCookies),
            "claimToHeaders": [{"headerName": one.header, "claimName": one.claim} for one in rule.outputClaimToHeaders],
            **_keys(context, rule, resource, index),
        }
    )


def _keys(context: Context, rule: JWTRule, resource: Resource, index: int) -> JSON:
    """
    The keys of an issuer: those that stand in the resource, or where a service of the mesh has them.
    """
    steps = ("spec", "jwtRules", index)
    if rule.jwks:
        return {"localJwks": {"inlineString": rule.jwks}}
    if not rule.jwksUri:
        # The issuer's own document would name the place; nothing here asks for it.
        context.warn("not-found", "neither jwks nor jwksUri: every token of this issuer is refused", resource, *steps)
        return {"localJwks": {"inlineString": _NO_KEYS}}
    parts = urlsplit(rule.jwksUri)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    service = context.services.visible(host, resource.namespace)
    if service is None or service.port(port) is None:
        why = f"{host}:{port} is not known: a ServiceEntry makes it so; until then every token is refused"
        context.warn("not-found", why, resource, *steps, "jwksUri")
        return {"localJwks": {"inlineString": _NO_KEYS}}
    context.usesService(service.key)
    return {
        "remoteJwks": {
            "httpUri": {
                "uri": rule.jwksUri,
                "cluster": clusterName(port, "", service.host),
                "timeout": duration(rule.timeout if rule.timeout is not None else _TIMEOUT),
            },
            "cacheDuration": duration(_CACHED),
        }
    }
