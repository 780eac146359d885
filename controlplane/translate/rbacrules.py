# -*- test-case-name: tests.controlplane.translate.test_authorization -*-
"""
One rule of an AuthorizationPolicy to a policy of RBAC.

On a chain of connections an attribute of requests cannot be seen. In an ALLOW rule that leaves the rule out, so that it
allows less; in others it leaves the attribute out, so that they deny, or log, more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from meshproxy.controlplane.model.authorizationpolicy import Condition, Operation, Rule, Source
from meshproxy.controlplane.translate.messages import JSON, cidr, typed
from meshproxy.controlplane.translate.rbacvalues import (
    NotSeen,
    audience,
    claim,
    envoyMetadata,
    headerMatch,
    hostMatch,
    namespaceMatch,
    pathMatch,
    requestPrincipal,
    serviceAccountMatch,
    stringMatch,
    trustDomainMatch,
)
from meshproxy.controlplane.translate.trustdomains import expandTrustDomains, withAliases

__all__ = ["policyOf"]

#: One value of an attribute to a permission or a principal.
_Each = Callable[[str], JSON]
#: All values of one at once.
_Together = Callable[[Sequence[str]], JSON]


class _Part:
    """
    An attribute with the values that it may have, and those that it may not have.
    """

    def __init__(
        self,
        values: Sequence[str],
        notValues: Sequence[str],
        each: _Each | None = None,
        together: _Together | None = None,
        requestsOnly: bool = False,
    ) -> None:
        self._values = values
        self._notValues = notValues
        self._each = each
        self._together = together
        self.requestsOnly = requestsOnly

    def build(self, words: _Words) -> list[JSON]:
        """
        What has to be so.
        """
        made = []
        if self._values:
            made.append(self._any(self._values, words))
        if self._notValues:
            made.append({words.negated: self._any(self._notValues, words)})
        return made

    def _any(self, values: Sequence[str], words: _Words) -> JSON:
        if self._together is not None:
            return self._together(values)
        assert self._each is not None
        return {words.some: {words.items: [self._each(value) for value in values]}}


class _Words:
    """
    What permissions and principals call the same things.
    """

    def __init__(self, every: str, some: str, negated: str, items: str) -> None:
        self.every = every
        self.some = some
        self.negated = negated
        self.items = items


_PERMISSION = _Words("andRules", "orRules", "notRule", "rules")
_PRINCIPAL = _Words("andIds", "orIds", "notId", "ids")


def policyOf(rule: Rule, namespace: str, trustDomains: Sequence[str], action: str, forTCP: bool) -> JSON | None:
    """
    The policy of RBAC, or L{None} for one that is left out.

    @param namespace: That of the resource: service accounts without one are there.
    @param trustDomains: The trust domain and its other names.
    """
    permissions: list[_Part] = []
    principals: list[_Part] = []
    for condition in rule.when:
        kind, part = _condition(condition, namespace, trustDomains)
        (permissions if kind is _PERMISSION else principals).append(part)
    sources: list[Source | None] = [one.source for one in rule.from_ if one.source is not None]
    operations: list[Operation | None] = [one.operation for one in rule.to if one.operation is not None]
    try:
        return {
            "permissions": [
                _every([*_operation(one), *permissions], _PERMISSION, action, forTCP) for one in operations or [None]
            ],
            "principals": [
                _every([*_source(one, namespace, trustDomains), *principals], _PRINCIPAL, action, forTCP)
                for one in sources or [None]
            ],
        }
    except NotSeen:
        return None


def _every(parts: Sequence[_Part], words: _Words, action: str, forTCP: bool) -> JSON:
    """
    All parts at once; anything if there are none.
    """
    made: list[JSON] = []
    for part in parts:
        if forTCP and part.requestsOnly:
            if action == "ALLOW":
                raise NotSeen
            continue
        made += part.build(words)
    return {words.every: {words.items: made or [{"any": True}]}}


def _authenticated(match: JSON) -> JSON:
    return {"authenticated": {"principalName": match}}


def _operation(operation: Operation | None) -> list[_Part]:
    """
    What is called for, in Istio's order.
    """
    if operation is None:
        return []
    one = operation
    return [
        part
        for part, given in (
            (_Part(one.hosts, one.notHosts, lambda v: {"header": hostMatch(v)}, None, True), one.hosts or one.notHosts),
            (
                _Part(one.methods, one.notMethods, lambda v: {"header": headerMatch(":method", v)}, None, True),
                one.methods or one.notMethods,
            ),
            (_Part(one.paths, one.notPaths, _path, None, True), one.paths or one.notPaths),
            (_Part(one.ports, one.notPorts, _port), one.ports or one.notPorts),
        )
        if given
    ]


def _path(value: str) -> JSON:
    if "{*}" in value or "{**}" in value:
        template = value.replace("{**}", "**").replace("{*}", "*")
        name = "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"
        return {"uriTemplate": {"name": "uri-template", "typedConfig": typed(name, {"pathTemplate": template})}}
    return {"urlPath": {"path": pathMatch(value)}}


def _port(value: str) -> JSON:
    return {"destinationPort": int(value)}


def _source(source: Source | None, namespace: str, trustDomains: Sequence[str]) -> list[_Part]:
    """
    Who calls, in Istio's order.
    """
    if source is None:
        return []
    found = [
        (name, getattr(source, name), getattr(source, f"not{name[0].upper()}{name[1:]}"))
        for name in (
            "principals",
            "requestPrincipals",
            "serviceAccounts",
            "trustDomains",
            "namespaces",
            "remoteIpBlocks",
            "ipBlocks",
        )
    ]
    return [
        _principal(_KEYS[name], values, notValues, namespace, trustDomains)
        for name, values, notValues in found
        if values or notValues
    ]


_KEYS = {
    "principals": "source.principal",
    "requestPrincipals": "request.auth.principal",
    "serviceAccounts": "source.serviceAccount",
    "trustDomains": "source.trustDomain",
    "namespaces": "source.namespace",
    "remoteIpBlocks": "remote.ip",
    "ipBlocks": "source.ip",
}


def _principal(
    key: str, values: Sequence[str], notValues: Sequence[str], namespace: str, trustDomains: Sequence[str]
) -> _Part:
    """
    An attribute of who calls.
    """
    if key == "source.principal":
        known, notKnown = withAliases(values, trustDomains), withAliases(notValues, trustDomains)
        return _Part(known, notKnown, lambda value: _authenticated(stringMatch(value, "spiffe://")))
    if key == "source.trustDomain":
        known, notKnown = expandTrustDomains(values, trustDomains), expandTrustDomains(notValues, trustDomains)
        return _Part(known, notKnown, lambda value: _authenticated(trustDomainMatch(value)))
    if key == "source.namespace":
        return _Part(values, notValues, lambda value: _authenticated(namespaceMatch(value)))
    if key == "source.serviceAccount":
        return _Part(values, notValues, lambda value: _authenticated(serviceAccountMatch(value, namespace)))
    if key == "source.ip":
        return _Part(values, notValues, lambda value: {"directRemoteIp": cidr(value)})
    if key == "remote.ip":
        return _Part(values, notValues, lambda value: {"remoteIp": cidr(value)})
    if key == "request.auth.principal":
        return _Part(values, notValues, None, requestPrincipal, True)
    if key in ("request.auth.audiences", "request.auth.presenter"):
        name = "aud" if key == "request.auth.audiences" else "azp"
        return _Part(values, notValues, None, lambda several: audience(name, several), True)
    if key.startswith("request.auth.claims"):
        return _Part(values, notValues, None, lambda several: claim(key, several), True)
    header = key[key.index("[") + 1 : -1]
    return _Part(values, notValues, lambda value: {"header": headerMatch(header, value)}, None, True)


def _condition(condition: Condition, namespace: str, trustDomains: Sequence[str]) -> tuple[_Words, _Part]:
    """
    A condition, and whether it is one of what is called for or of who calls.
    """
    key, values, notValues = condition.key, condition.values, condition.notValues
    if key == "destination.ip":
        return _PERMISSION, _Part(values, notValues, lambda value: {"destinationIp": cidr(value)})
    if key == "destination.port":
        return _PERMISSION, _Part(values, notValues, _port)
    if key == "connection.sni":
        return _PERMISSION, _Part(values, notValues, lambda value: {"requestedServerName": stringMatch(value)})
    if key.startswith("experimental.envoy.filters."):
        return _PERMISSION, _Part(values, notValues, None, lambda several: envoyMetadata(key, several))
    return _PRINCIPAL, _principal(key, values, notValues, namespace, trustDomains)
