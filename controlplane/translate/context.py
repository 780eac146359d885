# -*- test-case-name: tests.controlplane.translate.test_translation -*-
"""
What one translation is made from, and what is told on the way.
"""

from __future__ import annotations

from meshproxy.controlplane.model.problems import NOT_PROGRAMMED, Problem, Severity
from meshproxy.controlplane.model.resource import Key, Resource
from meshproxy.controlplane.model.spots import pathOf
from meshproxy.controlplane.registry.index import ServiceIndex, Target
from meshproxy.controlplane.registry.services import Resolution, ServiceKey
from meshproxy.controlplane.translate.mesh import MeshConfig
from meshproxy.controlplane.translate.proxy import Proxy
from meshproxy.controlplane.translate.resourceset import ResourceSet
from meshproxy.controlplane.translate.scope import scopeOf

__all__ = ["Context"]


class Context:
    """
    One translation for one proxy.

    @ivar scope: What the proxy needs to know.
    @ivar resourcesUsed: The resources that something was made from.
    @ivar servicesUsed: The services that something was made from.
    @ivar problems: What was told.
    """

    def __init__(self, proxy: Proxy, mesh: MeshConfig, resources: ResourceSet, services: ServiceIndex) -> None:
        self.proxy = proxy
        self.mesh = mesh
        self.resources = resources
        self.services = services
        self.scope = scopeOf(proxy, mesh, resources, services)
        self.resourcesUsed: set[Key] = set()
        self.servicesUsed: set[ServiceKey] = set()
        self.problems: list[Problem] = []
        if self.scope.resource is not None:
            self.uses(self.scope.resource)
            for other in self.scope.hidden:
                self.conflict("two Sidecars for the same workloads", other, self.scope.resource)

        if not self.proxy.abilities.resolves or not self.proxy.isSidecar:
            self._tellUnresolved()

    def _tellUnresolved(self) -> None:
        """
        Tell of services that this proxy would have to look up for each request.
        """
        for service in self.services.visibleServices(self.proxy.namespace):
            resource = self.resources.get(*service.origin) if service.resolution is Resolution.DYNAMIC else None
            if resource is not None:
                who = "this data plane" if self.proxy.isSidecar else "a gateway"
                why = f"{who} looks up no names that requests ask for: calls to these hosts fail"
                self.notProgrammed(why, resource, "spec", "resolution")

    def uses(self, resource: Resource) -> None:
        """
        Remember that something is made from a resource.
        """
        self.resourcesUsed.add(resource.key)

    def usesService(self, key: ServiceKey) -> None:
        """
        Remember that something is made from a service.
        """
        self.servicesUsed.add(key)
        service = self.services.service(key)
        if service is not None:
            self.resourcesUsed.add(service.origin)

    def served(self) -> list[Target]:
        """
        What the workload of the proxy serves, the oldest service first.
        """
        proxy = self.proxy
        found = []
        for target in self.services.targets(proxy.addresses, proxy.namespace):
            labels = target.endpoint.labels
            # Otherwise it is another workload that shares the address.
            if target.endpoint.port and all(proxy.labels.get(key, value) == value for key, value in labels.items()):
                self.usesService(target.service.key)
                found.append(target)
        return found

    def policies(self, kind: str) -> list[Resource]:
        """
        The resources of the security group that apply to the workload of the proxy.
        """
        proxy = self.proxy
        served = frozenset(target.service.origin for target in self.served())
        found = self.resources.applying(kind, proxy.namespace, proxy.labels, self.mesh.rootNamespace, served)
        for resource in found:
            self.uses(resource)
        return found

    def warn(self, code: str, why: str, resource: Resource, *steps: str | int) -> None:
        """
        Tell of a resource that it does not do what it says.
        """
        place = resource.place(*steps)
        told = Problem(
            Severity.WARNING,
            code,
            why,
            pathOf(steps),
            "",
            place.file,
            place.line,
            place.column,
            resource.title,
        )
        if told not in self.problems:
            self.problems.append(told)

    def notProgrammed(self, why: str, resource: Resource, *steps: str | int) -> None:
        """
        Tell that the program of this proxy cannot do something.
        """
        self.warn(NOT_PROGRAMMED, why, resource, *steps)

    def conflict(self, why: str, loser: Resource, winner: Resource, *steps: str | int) -> None:
        """
        Tell both of two resources that say different things: one does not count, the other is why.
        """
        self.warn("conflict", f"{why}: {winner.title} counts, this one does not", loser, *steps)
        self.warn("conflict", f"{why}: this one counts, {loser.title} does not", winner)
