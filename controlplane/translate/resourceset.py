# -*- test-case-name: tests.controlplane.translate.test_proxy -*-
"""
All resources at one moment, found by what they apply to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set

from meshproxy.controlplane.model.common import selects, targetsOf
from meshproxy.controlplane.model.destinationrule import DestinationRule
from meshproxy.controlplane.model.resource import Key, Resource
from meshproxy.controlplane.model.routes import VirtualService
from meshproxy.controlplane.translate.mesh import MeshConfig

__all__ = ["ResourceSet"]


def _exported(exportTo: Sequence[str], otherwise: Sequence[str], own: str, namespace: str) -> bool:
    """
    Whether a resource of the namespace C{own} is seen in a namespace.
    """
    entries = exportTo or otherwise or ("*",)
    return "*" in entries or namespace in entries or ("." in entries and namespace == own)


#: The label of a gateway that a C{Gateway} of Kubernetes stands for.
_GATEWAY = "gateway.networking.k8s.io/gateway-name"


def _applies(resource: Resource, namespace: str, labels: dict[str, str], served: Set[Key]) -> bool:
    """
    Whether a policy applies to a workload. One that is attached to a service does so at the proxies of its workloads:
    where there are waypoints it would there, and without them somebody has to.
    """
    spec = resource.spec
    targets = targetsOf(spec)
    if not targets:
        return spec.selector is None or selects(spec.selector.matchLabels, labels)
    for target in targets:
        if target.kind == "Gateway":
            if labels.get(_GATEWAY) == target.name and resource.namespace == namespace:
                return True
        elif (target.kind, resource.namespace, target.name) in {(key.kind, key.namespace, key.name) for key in served}:
            return True
    return False


class ResourceSet:
    """
    Resources, the oldest first wherever there are several.
    """

    def __init__(self, resources: Iterable[Resource] = ()) -> None:
        ordered = sorted(resources, key=lambda resource: resource.age)
        self._byKey: dict[Key, Resource] = {resource.key: resource for resource in ordered}
        self._byKind: dict[str, list[Resource]] = {}
        self._rules: dict[str, list[Resource]] = {}
        self._seen: dict[tuple[str, tuple[str, ...]], list[Resource]] = {}
        for resource in ordered:
            self._byKind.setdefault(resource.kind, []).append(resource)
            if resource.kind == "DestinationRule":
                self._rules.setdefault(resource.namespace, []).append(resource)

    def all(self, kind: str) -> Sequence[Resource]:
        """
        Every resource of a kind.
        """
        return self._byKind.get(kind, ())

    def get(self, group: str, kind: str, namespace: str, name: str) -> Resource | None:
        """
        One resource.
        """
        return self._byKey.get(Key(group, kind, namespace, name))

    def virtualServices(self, namespace: str, mesh: MeshConfig) -> Sequence[Resource]:
        """
        The VirtualServices that a namespace sees, delegates left out.
        """
        # Every proxy of a namespace asks, and a set does not change.
        key = namespace, tuple(mesh.defaultVirtualServiceExportTo)
        found = self._seen.get(key)
        if found is None:
            found = self._seen[key] = [
                resource
                for resource in self.all("VirtualService")
                if resource.spec.hosts and self.seesVirtualService(resource, namespace, mesh)
            ]
        return found

    def seesVirtualService(self, resource: Resource, namespace: str, mesh: MeshConfig) -> bool:
        """
        Whether a VirtualService is seen in a namespace.
        """
        spec: VirtualService = resource.spec
        return _exported(spec.exportTo, mesh.defaultVirtualServiceExportTo, resource.namespace, namespace)

    def destinationRules(self, owner: str, namespace: str, mesh: MeshConfig) -> list[Resource]:
        """
        The DestinationRules of one namespace that another sees.
        """
        found = []
        for resource in self._rules.get(owner, ()):
            spec: DestinationRule = resource.spec
            if _exported(spec.exportTo, mesh.defaultDestinationRuleExportTo, owner, namespace):
                found.append(resource)
        return found

    def applying(
        self, kind: str, namespace: str, labels: dict[str, str], root: str, served: Set[Key] = frozenset()
    ) -> list[Resource]:
        """
        The resources of the security group that apply to a workload: those of the root namespace, then those of its
        own, as far as they select it, or are attached to it or to what it serves.

        @param served: The services that the workload is part of.
        """
        namespaces = [root, namespace] if root != namespace else [namespace]
        return [
            resource
            for owner in namespaces
            for resource in self.all(kind)
            if resource.namespace == owner and _applies(resource, namespace, labels, served)
        ]

    def gateways(self, labels: dict[str, str]) -> list[Resource]:
        """
        The Gateways that a proxy with some labels is meant by.
        """
        return [resource for resource in self.all("Gateway") if selects(resource.spec.selector, labels)]
