# -*- test-case-name: tests.controlplane.model.test_virtualservice -*-
"""
What several kinds of resources are made of.
"""

from __future__ import annotations

from attrs import Factory, field, frozen

from meshproxy.controlplane.model.names import badDomain, badLabel, badPort, badRegex, isDNSLabel
from meshproxy.controlplane.model.spots import Spot

__all__ = [
    "Destination",
    "LabelSelector",
    "Percent",
    "PolicyTargetReference",
    "PortSelector",
    "StringMatch",
    "WorkloadSelector",
    "checkDestination",
    "checkExportTo",
    "checkLabelSelector",
    "checkSelector",
    "checkStringMatch",
    "checkTargets",
    "selects",
    "targetsOf",
]


@frozen(kw_only=True)
class StringMatch:
    """
    One way to match a text.
    """

    exact: str | None = None
    prefix: str | None = None
    regex: str | None = None


@frozen(kw_only=True)
class PortSelector:
    """
    A port of a service.
    """

    number: int = 0


@frozen(kw_only=True)
class Destination:
    """
    A service, perhaps a subset of it.
    """

    host: str = ""
    subset: str = ""
    port: PortSelector | None = None


@frozen(kw_only=True)
class Percent:
    """
    A share, from 0 to 100.
    """

    value: float = 0.0


@frozen(kw_only=True)
class WorkloadSelector:
    """
    Which workloads are meant, in the networking group.
    """

    labels: dict[str, str] = Factory(dict)


@frozen(kw_only=True)
class LabelSelector:
    """
    Which workloads are meant, in the security group.
    """

    matchLabels: dict[str, str] = Factory(dict)


@frozen(kw_only=True)
class PolicyTargetReference:
    """
    A resource that a policy is attached to.
    """

    group: str = ""
    kind: str = ""
    name: str = ""
    namespace: str = field(default="")


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    """
    Whether a workload with some labels is one that a selector means. An empty selector means every one.
    """
    return all(labels.get(key) == value for key, value in selector.items())


def checkStringMatch(match: StringMatch, spot: Spot, emptyPrefix: bool = False, star: bool = False) -> None:
    """
    One way is set, not several, and it can match.

    @param emptyPrefix: Whether an empty prefix is allowed, as it is for paths.
    @param star: Whether C{*} stands for any value here, which as a regular expression it does not.
    """
    given = [name for name in ("exact", "prefix", "regex") if getattr(match, name) is not None]
    if len(given) > 1:
        spot[given[1]].refuse(f"only one of exact, prefix, regex may be set, not {' and '.join(given)}", "exclusive")
    if match.prefix == "" and not emptyPrefix:
        spot["prefix"].refuse("a prefix is not empty")
    if match.regex is not None and not (star and match.regex == "*"):
        spot["regex"].judge(badRegex(match.regex))


def checkDestination(destination: Destination, spot: Spot) -> None:
    """
    A host that is no bare wildcard, a subset and a port that can be.
    """
    if not spot["host"].require(destination.host):
        pass
    elif destination.host == "*":
        spot["host"].refuse("'*' is not a host to send to")
    else:
        spot["host"].judge(badDomain(destination.host))
    if destination.subset:
        spot["subset"].judge(badLabel(destination.subset, "name of a subset"))
    if destination.port is not None:
        spot["port"]["number"].judge(badPort(destination.port.number))


def checkSelector(labels: dict[str, str], spot: Spot, key: str) -> None:
    """
    The labels of a selector: no wildcards; without labels it means every workload, which is hardly meant.
    """
    for name, value in labels.items():
        if not name:
            spot[key].refuse("the key of a label is not empty")
        elif "*" in name or "*" in value:
            spot[key][name].refuse(f"wildcard is not supported in selector: {name}={value}")
        elif len(value) > 63:
            spot[key][name].refuse("the value of a label has at most 63 characters")
    if not labels:
        spot.warn("a selector without labels means every workload of the namespace")


def checkLabelSelector(selector: LabelSelector | None, spot: Spot) -> None:
    """
    A selector of the security group, if there is one.
    """
    if selector is not None:
        checkSelector(selector.matchLabels, spot["selector"], "matchLabels")


#: What a policy may be attached to: C{group/kind}.
_TARGETS = (
    "/Service",
    "networking.istio.io/ServiceEntry",
    "gateway.networking.k8s.io/Gateway",
    "gateway.networking.k8s.io/GatewayClass",
)


def targetsOf(policy: object) -> list[PolicyTargetReference]:
    """
    What a policy is attached to, rather than to workloads that a selector means.
    """
    single: PolicyTargetReference | None = getattr(policy, "targetRef", None)
    several: list[PolicyTargetReference] = getattr(policy, "targetRefs", [])
    return [*([single] if single is not None else []), *several]


def checkTargets(policy: object, spot: Spot) -> None:
    """
    The targets of a policy: a selector, or references, not both.
    """
    spot.oneOf(policy, "selector", "targetRef", "targetRefs")
    single = getattr(policy, "targetRef", None)
    targets = [(single, spot["targetRef"])] if single is not None else []
    targets += [(one, spot["targetRefs"][index]) for index, one in enumerate(getattr(policy, "targetRefs", []))]
    for target, here in targets:
        here["name"].require(target.name)
        if target.namespace:
            here["namespace"].refuse("a policy names only what is in its own namespace")
        group = "" if target.group == "core" else target.group
        if here["kind"].require(target.kind) and f"{group}/{target.kind}" not in _TARGETS:
            here["kind"].refuse(f"a policy is attached to one of {', '.join(_TARGETS)}, not to {group}/{target.kind}")
        elif target.kind == "GatewayClass":
            here["kind"].notProgrammed("has no effect: there are no waypoints here")


def checkExportTo(exportTo: list[str], namespace: str, spot: Spot, toNone: bool = False) -> None:
    """
    Namespaces, C{.} for the own, C{*} for all, C{~} for none.
    """
    seen: set[str] = set()
    for index, entry in enumerate(exportTo):
        here = spot["exportTo"][index]
        named = namespace if entry == "." else entry
        if entry == "~" and not toNone:
            here.refuse("'~' (no namespace) has a meaning for a ServiceEntry alone")
        elif entry not in (".", "*", "~") and not isDNSLabel(entry):
            here.refuse(f"{entry!r} is not a namespace, nor one of '.', '*'{', ~' if toNone else ''}")
        if named in seen:
            own = f"'.' is {namespace!r}, which stands too"
            here.refuse(f"{entry!r} stands twice" if named == entry else own, "duplicate")
        seen.add(named)
    for alone, what in (("*", "every namespace"), ("~", "no namespace")):
        if alone in seen and len(exportTo) > 1:
            spot["exportTo"].refuse(f"{alone!r} ({what}) stands alone", "exclusive")
