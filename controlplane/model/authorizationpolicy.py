# -*- test-case-name: tests.controlplane.model.test_security -*-
"""
AuthorizationPolicy: who may do what.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from attrs import Factory, field, fields, frozen

from meshproxy.controlplane.model.attributes import (
    KEYS,
    badAddresses,
    badCondition,
    badPathTemplate,
    badPortText,
    badServiceAccount,
    badTrustDomain,
)
from meshproxy.controlplane.model.common import (
    LabelSelector,
    PolicyTargetReference,
    checkLabelSelector,
    checkTargets,
)
from meshproxy.controlplane.model.resource import Metadata
from meshproxy.controlplane.model.spots import Spot

__all__ = [
    "AuthorizationPolicy",
    "Condition",
    "ExtensionProvider",
    "From",
    "Operation",
    "Rule",
    "Source",
    "To",
    "checkAuthorizationPolicy",
]


@frozen(kw_only=True)
class Source:
    """
    Who calls: all that is set has to be so.
    """

    principals: list[str] = Factory(list)
    notPrincipals: list[str] = Factory(list)
    requestPrincipals: list[str] = Factory(list)
    notRequestPrincipals: list[str] = Factory(list)
    namespaces: list[str] = Factory(list)
    notNamespaces: list[str] = Factory(list)
    serviceAccounts: list[str] = Factory(list)
    notServiceAccounts: list[str] = Factory(list)
    trustDomains: list[str] = Factory(list)
    notTrustDomains: list[str] = Factory(list)
    ipBlocks: list[str] = Factory(list)
    notIpBlocks: list[str] = Factory(list)
    remoteIpBlocks: list[str] = Factory(list)
    notRemoteIpBlocks: list[str] = Factory(list)


@frozen(kw_only=True)
class From:
    """
    One kind of caller.
    """

    source: Source | None = None


@frozen(kw_only=True)
class Operation:
    """
    What is called for: all that is set has to be so.
    """

    hosts: list[str] = Factory(list)
    notHosts: list[str] = Factory(list)
    ports: list[str] = Factory(list)
    notPorts: list[str] = Factory(list)
    methods: list[str] = Factory(list)
    notMethods: list[str] = Factory(list)
    paths: list[str] = Factory(list)
    notPaths: list[str] = Factory(list)


@frozen(kw_only=True)
class To:
    """
    One kind of request.
    """

    operation: Operation | None = None


@frozen(kw_only=True)
class Condition:
    """
    An attribute and its values.
    """

    key: str = ""
    values: list[str] = Factory(list)
    notValues: list[str] = Factory(list)


@frozen(kw_only=True)
class Rule:
    """
    One of the callers does one of the things, and all conditions hold.
    """

    from_: list[From] = field(factory=list, metadata={"key": "from"})
    to: list[To] = Factory(list)
    when: list[Condition] = Factory(list)


@frozen(kw_only=True)
class ExtensionProvider:
    """
    Who decides, for the action CUSTOM.
    """

    name: str = ""


@frozen(kw_only=True)
class AuthorizationPolicy:
    """
    What some workloads allow, or deny.

    @ivar rules: L{None} where there are none, which is not the same as one that matches everything.
    """

    selector: LabelSelector | None = None
    targetRef: PolicyTargetReference | None = None
    targetRefs: list[PolicyTargetReference] = Factory(list)
    rules: list[Rule] | None = None
    action: Literal["ALLOW", "DENY", "AUDIT", "CUSTOM"] = "ALLOW"
    provider: ExtensionProvider | None = None


#: What the action CUSTOM cannot look at: the provider is asked before anyone is authenticated.
_NOT_CUSTOM = (
    "principals",
    "requestPrincipals",
    "namespaces",
    "serviceAccounts",
    "trustDomains",
)
_NOT_CUSTOM_KEYS = (
    "source.namespace",
    "source.serviceAccount",
    "source.trustDomain",
    "source.principal",
    "request.auth.",
)

#: What a TCP connection has as well.
_CONNECTION = ("principals", "namespaces", "serviceAccounts", "ipBlocks", "remoteIpBlocks", "ports")

_CHECKS: dict[str, Callable[[str], str | None]] = {
    "ipBlocks": badAddresses,
    "remoteIpBlocks": badAddresses,
    "serviceAccounts": badServiceAccount,
    "trustDomains": badTrustDomain,
    "ports": badPortText,
    "paths": badPathTemplate,
}


def checkAuthorizationPolicy(spec: AuthorizationPolicy, metadata: Metadata, spot: Spot) -> None:
    """
    Tell what is wrong with one.
    """
    checkLabelSelector(spec.selector, spot)
    checkTargets(spec, spot)
    if spec.action in ("DENY", "CUSTOM") and not spec.rules:
        spot["rules"].refuse(f"{spec.action} without rules never acts; one empty rule takes everything", "required")
    if spec.action == "CUSTOM":
        if spec.provider is None or not spec.provider.name:
            spot["provider"]["name"].require("", "is required for the action CUSTOM, and not set")
    elif spec.provider is not None:
        spot["provider"].refuse(f"has no meaning where the action is {spec.action}", "exclusive")
    if metadata.annotations.get("istio.io/dry-run") == "true" and spec.action not in ("ALLOW", "DENY"):
        spot["action"].refuse(f"istio.io/dry-run is for ALLOW and DENY, not for {spec.action}", "exclusive")
    for index, rule in enumerate(spec.rules or ()):
        _checkRule(rule, spec.action, spot["rules"][index])


def _checkRule(rule: Rule, action: str, spot: Spot) -> None:
    sources = [(one.source, spot["from"][index]["source"]) for index, one in enumerate(rule.from_)]
    operations = [(one.operation, spot["to"][index]["operation"]) for index, one in enumerate(rule.to)]
    for part, here in (*sources, *operations):
        if part is None:
            here.require(None)
            continue
        names = [attribute.name for attribute in fields(type(part))]
        given = [name for name in names if getattr(part, name)]
        if not given:
            here.refuse(f"one of {', '.join(names)} is required", "required")
        for name in given:
            _checkValues(getattr(part, name), _plain(name), here[name])
            if action == "CUSTOM" and _plain(name) in _NOT_CUSTOM:
                here[name].refuse("cannot be used with the action CUSTOM", "exclusive")
        kinds = {_plain(name) for name in given}
        if "serviceAccounts" in kinds and kinds & {"principals", "namespaces"}:
            here.refuse("Cannot set serviceAccounts with namespaces or principals", "exclusive")
    for index, condition in enumerate(rule.when):
        _checkCondition(condition, action, spot["when"][index])
    _warnOfTCP(rule, action, spot)


def _plain(name: str) -> str:
    """
    C{notIpBlocks} is checked as C{ipBlocks} is.
    """
    return name[3].lower() + name[4:] if name.startswith("not") else name


def _checkValues(values: Sequence[str], name: str, spot: Spot) -> None:
    check = _CHECKS.get(name)
    if name == "serviceAccounts" and len(values) > 16:
        spot.refuse("has at most 16 entries")
    for index, value in enumerate(values):
        if not value:
            spot[index].refuse("a value is not empty")
        elif check is not None:
            spot[index].judge(check(value))


def _checkCondition(condition: Condition, action: str, spot: Spot) -> None:
    if not spot["key"].require(condition.key):
        return
    if not condition.values and not condition.notValues:
        spot.refuse("one of values, notValues is required", "required")
    if action == "CUSTOM" and condition.key.startswith(_NOT_CUSTOM_KEYS):
        spot["key"].refuse(f"{condition.key!r} cannot be used with the action CUSTOM", "exclusive")
    keyed, check = badCondition(condition.key)
    if keyed is not None:
        spot["key"].refuse(keyed, wanted=condition.key, known=KEYS)
        return
    for name in ("values", "notValues"):
        for index, value in enumerate(getattr(condition, name)):
            if not value:
                spot[name][index].refuse("a value is not empty")
            elif check is not None:
                spot[name][index].judge(check(value))


def _warnOfTCP(rule: Rule, action: str, spot: Spot) -> None:
    """
    On a port that is not HTTP, a DENY rule keeps only what a connection has, and so denies more.
    """
    if action != "DENY":
        return
    sources = [one.source for one in rule.from_ if one.source is not None]
    operations = [one.operation for one in rule.to if one.operation is not None]
    if (sources and not operations and not _seesConnection(sources)) or (
        operations and not _seesConnection(operations)
    ):
        spot.warn("denies every connection to TCP ports, which have none of these attributes; name the ports")


def _seesConnection(parts: Sequence[Source | Operation]) -> bool:
    """
    Whether any of them asks for what a connection has.
    """
    return any(
        getattr(part, attribute.name)
        for part in parts
        for attribute in fields(type(part))
        if _plain(attribute.name) in _CONNECTION
    )
