# -*- test-case-name: tests.controlplane.model.test_security -*-
"""
RequestAuthentication: which tokens requests may carry.
"""

from __future__ import annotations

import json
from typing import Literal
from urllib.parse import urlsplit

from attrs import Factory, frozen

from meshproxy.config.structure import Seconds
from meshproxy.controlplane.model.common import (
    LabelSelector,
    PolicyTargetReference,
    checkLabelSelector,
    checkTargets,
)
from meshproxy.controlplane.model.names import badDuration, badHeaderName
from meshproxy.controlplane.model.resource import Metadata
from meshproxy.controlplane.model.spots import Spot

__all__ = ["ClaimToHeader", "JWTHeader", "JWTRule", "RequestAuthentication", "checkRequestAuthentication"]

#: The parts of a JSON Web Key that are nobody's business (RFC 7518, 6).
_PRIVATE = frozenset(("d", "p", "q", "dp", "dq", "qi", "k"))


@frozen(kw_only=True)
class JWTHeader:
    """
    A header that may hold a token.
    """

    name: str = ""
    prefix: str = ""


@frozen(kw_only=True)
class ClaimToHeader:
    """
    A claim that the workload is told in a header.
    """

    header: str = ""
    claim: str = ""


@frozen(kw_only=True)
class JWTRule:
    """
    The tokens of one issuer.

    @ivar jwks: The keys themselves.
    @ivar jwksUri: Where they are.
    """

    issuer: str = ""
    audiences: list[str] = Factory(list)
    jwksUri: str = ""
    jwks: str = ""
    fromHeaders: list[JWTHeader] = Factory(list)
    fromParams: list[str] = Factory(list)
    fromCookies: list[str] = Factory(list)
    outputPayloadToHeader: str = ""
    forwardOriginalToken: bool = False
    outputClaimToHeaders: list[ClaimToHeader] = Factory(list)
    timeout: Seconds | None = None
    spaceDelimitedClaims: list[str] = Factory(list)
    presence: Literal["OPTIONAL", "REQUIRED"] = "OPTIONAL"


@frozen(kw_only=True)
class RequestAuthentication:
    """
    Which tokens the requests to some workloads may carry. One that is not right is refused; none at all is not.
    """

    selector: LabelSelector | None = None
    targetRef: PolicyTargetReference | None = None
    targetRefs: list[PolicyTargetReference] = Factory(list)
    jwtRules: list[JWTRule] = Factory(list)


def checkRequestAuthentication(spec: RequestAuthentication, metadata: Metadata, spot: Spot) -> None:
    """
    Tell what is wrong with one.
    """
    checkLabelSelector(spec.selector, spot)
    checkTargets(spec, spot)
    for index, rule in enumerate(spec.jwtRules):
        _checkRule(rule, spot["jwtRules"][index])


def _checkRule(rule: JWTRule, spot: Spot) -> None:
    if not rule.issuer and not rule.jwksUri:
        spot.refuse("one of issuer, jwksUri is required", "required")
    spot.oneOf(rule, "jwks", "jwksUri")
    if rule.jwksUri:
        _checkURI(rule.jwksUri, spot["jwksUri"])
    if rule.jwks:
        _checkKeys(rule.jwks, spot["jwks"])
    for name in ("audiences", "fromParams", "fromCookies", "spaceDelimitedClaims"):
        for index, value in enumerate(getattr(rule, name)):
            if not value:
                spot[name][index].refuse("a value is not empty")
    for index, header in enumerate(rule.fromHeaders):
        here = spot["fromHeaders"][index]["name"]
        if here.require(header.name):
            here.judge(badHeaderName(header.name))
    for index, output in enumerate(rule.outputClaimToHeaders):
        here = spot["outputClaimToHeaders"][index]
        here["claim"].require(output.claim)
        if here["header"].require(output.header):
            here["header"].judge(badHeaderName(output.header))
    if rule.outputPayloadToHeader:
        spot["outputPayloadToHeader"].judge(badHeaderName(rule.outputPayloadToHeader))
    if rule.timeout is not None:
        spot["timeout"].judge(badDuration(rule.timeout))


def _checkURI(uri: str, spot: Spot) -> None:
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        spot.refuse(f"{uri!r} is not a URL")
        return
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        spot.refuse(f"{uri!r} is not a URL of http or https")


def _checkKeys(text: str, spot: Spot) -> None:
    """
    A set of keys (RFC 7517, 5), none of them private.
    """
    try:
        keys = json.loads(text)
    except ValueError:
        spot.refuse("is not JSON")
        return
    listed = keys.get("keys") if isinstance(keys, dict) else None
    if not isinstance(listed, list) or not all(isinstance(key, dict) and "kty" in key for key in listed):
        spot.refuse("is not a set of keys: {'keys': [{'kty': ...}]}")
    elif any(_PRIVATE & set(key) for key in listed):
        spot.warn("holds a private key; only the public one is needed to verify")
