# -*- test-case-name: tests.controlplane.translate.test_clusters -*-
"""
Which DestinationRule counts for a service, and what its policy is for one port and one subset.
"""

from __future__ import annotations

from collections.abc import Hashable

from attrs import evolve, fields, frozen

from meshproxy.controlplane.model.common import selects
from meshproxy.controlplane.model.destinationrule import DestinationRule, Subset
from meshproxy.controlplane.model.hosts import fullName, mostSpecific
from meshproxy.controlplane.model.resource import Resource
from meshproxy.controlplane.model.trafficpolicy import PortTrafficPolicy, TrafficPolicy
from meshproxy.controlplane.registry.services import Service, ServiceKey
from meshproxy.controlplane.translate.context import Context

__all__ = ["Rule", "Rules", "policyFor"]

_PARTS = ("loadBalancer", "connectionPool", "outlierDetection", "tls")


@frozen
class Rule:
    """
    What counts for a service.

    @ivar resource: The DestinationRule that it comes from: the first, where several were joined.
    @ivar policy: Its policy.
    @ivar subsets: Its subsets, each with the resource that tells of it.
    """

    resource: Resource
    policy: TrafficPolicy | None
    subsets: tuple[tuple[Subset, Resource], ...]

    @property
    def identity(self) -> Hashable:
        """
        The same for rules that say the same because they are of the same resources, as long as one of them is held.
        """
        return id(self.resource), id(self.policy), tuple((id(subset), id(giver)) for subset, giver in self.subsets)

    def subset(self, name: str) -> Subset | None:
        """
        The subset of a name.
        """
        return next((subset for subset, _ in self.subsets if subset.name == name), None)


class _Hosts:
    """
    The rules of one namespace that a caller sees, by host.
    """

    def __init__(self) -> None:
        self._exact: dict[str, list[Resource]] = {}
        self._wide: dict[str, list[Resource]] = {}

    def add(self, host: str, resource: Resource) -> None:
        """
        One more.
        """
        (self._wide if host.startswith("*") else self._exact).setdefault(host, []).append(resource)

    def find(self, host: str) -> list[Resource] | None:
        """
        Those of a host, else those of the longest wildcard that covers it.
        """
        if host in self._exact:
            return self._exact[host]
        best = mostSpecific(host, self._wide)
        return self._wide[best] if best is not None else None


class Rules:
    """
    The rules of all services, for one caller.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._namespaces: dict[str, _Hosts] = {}
        self._found: dict[ServiceKey, Rule | None] = {}

    def of(self, service: Service) -> Rule | None:
        """
        The rule that counts for a service: one of the namespace of the caller, else of the service, else of the mesh.
        """
        if service.key not in self._found:
            self._found[service.key] = self._find(service)
        return self._found[service.key]

    def _find(self, service: Service) -> Rule | None:
        context = self._context
        for namespace in dict.fromkeys([context.proxy.namespace, service.namespace, context.mesh.rootNamespace]):
            found = self._hosts(namespace).find(service.host)
            if found is not None:
                return _joined(context, found)
        return None

    def _hosts(self, namespace: str) -> _Hosts:
        context = self._context
        if namespace not in self._namespaces:
            hosts = self._namespaces[namespace] = _Hosts()
            for resource in context.resources.destinationRules(namespace, context.proxy.namespace, context.mesh):
                if _applies(resource.spec, namespace, context):
                    hosts.add(fullName(resource.spec.host, namespace, context.mesh.domain), resource)
        return self._namespaces[namespace]


def _applies(spec: DestinationRule, namespace: str, context: Context) -> bool:
    """
    Whether a rule is for this caller: one with a selector is for workloads of its own namespace.
    """
    if spec.workloadSelector is None:
        return True
    isOwn = namespace == context.proxy.namespace
    return isOwn and selects(spec.workloadSelector.matchLabels, context.proxy.labels)


def _joined(context: Context, resources: list[Resource]) -> Rule:
    """
    Several rules for one host as one: those that select the caller before those for all, subsets of all, and the
    policy of the first that has one.
    """
    selecting = [resource for resource in resources if resource.spec.workloadSelector is not None]
    chosen = selecting or resources
    policy: TrafficPolicy | None = None
    subsets: dict[str, tuple[Subset, Resource]] = {}
    giver: Resource | None = None
    for resource in chosen:
        context.uses(resource)
        spec: DestinationRule = resource.spec
        if spec.trafficPolicy is not None:
            if giver is None:
                policy, giver = spec.trafficPolicy, resource
            elif spec.trafficPolicy != policy:
                context.conflict("two traffic policies for one host", resource, giver, "spec", "trafficPolicy")
        for index, subset in enumerate(spec.subsets):
            first = subsets.setdefault(subset.name, (subset, resource))
            if first[1] is not resource and first[0] != subset:
                why = f"two subsets {subset.name!r} of one host"
                context.conflict(why, resource, first[1], "spec", "subsets", index)
    return Rule(chosen[0], policy, tuple(subsets.values()))


def _over(policy: TrafficPolicy, other: TrafficPolicy | PortTrafficPolicy | None) -> TrafficPolicy:
    """
    A policy, and what another one says instead.
    """
    if other is None:
        return policy
    names = [attribute.name for attribute in fields(type(other)) if attribute.name not in ("port", "portLevelSettings")]
    changes = {name: getattr(other, name) for name in names if getattr(other, name) is not None}
    return evolve(policy, **changes)


def _forPort(policy: TrafficPolicy | None, port: int) -> TrafficPolicy:
    """
    A policy as it is for one port. What a port says of itself stands for all of its parts: Istio does not mix.
    """
    if policy is None:
        return TrafficPolicy()
    for settings in policy.portLevelSettings:
        if settings.port is not None and settings.port.number == port:
            return _over(
                evolve(policy, **dict.fromkeys(_PARTS), portLevelSettings=[]),
                settings,
            )
    return evolve(policy, portLevelSettings=[])


def policyFor(rule: Rule | None, port: int, subset: Subset | None = None) -> TrafficPolicy:
    """
    The policy for a port, and for a subset: what the subset says, then the rule.
    """
    policy = _forPort(rule.policy if rule is not None else None, port)
    if subset is None or subset.trafficPolicy is None:
        return policy
    return _over(policy, _forPort(subset.trafficPolicy, port))
