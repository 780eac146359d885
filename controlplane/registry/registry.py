# -*- test-case-name: tests.controlplane.registry.test_registry -*-
"""
What finds services.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from zope.interface import Attribute, Interface, implementer

from meshproxy.controlplane.model.resource import Resource
from meshproxy.controlplane.model.workloadentry import WorkloadEntry
from meshproxy.controlplane.registry.conversion import endpointsOf, servicesOf
from meshproxy.controlplane.registry.index import Change, ServiceIndex, changesBetween
from meshproxy.controlplane.registry.services import Endpoint, Service, ServiceKey

__all__ = ["IRegistry", "JoinedRegistry", "ResourceRegistry", "indexOf"]

#: Is told what changed; what is there now is in the registry.
Listener = Callable[[Change], None]


class IRegistry(Interface):
    """
    A place where services and their endpoints are found.
    """

    index: ServiceIndex = Attribute("What is there now, a L{ServiceIndex}.")

    def subscribe(listener: Listener) -> Callable[[], None]:
        """
        Be told of each change, after it; a change of endpoints alone is told as such.

        @return: Call it to be told no more.
        """


class _Listeners:
    """
    Who wants to be told.
    """

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """
        Tell somebody of each change from now on.
        """
        self._listeners.append(listener)

        def unsubscribe() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return unsubscribe

    def _tell(self, change: Change) -> None:
        for listener in list(self._listeners):
            listener(change)


def indexOf(resources: Iterable[Resource], domain: str = "cluster.local") -> ServiceIndex:
    """
    The services that some resources say there are, with their endpoints.

    @param domain: The domain of the cluster.
    """
    services: list[Service] = []
    sources: dict[ServiceKey, Resource] = {}
    workloads: dict[str, list[Resource]] = {}
    for resource in sorted(resources, key=lambda one: one.age):
        if isinstance(resource.spec, WorkloadEntry):
            workloads.setdefault(resource.namespace, []).append(resource)
        for service in servicesOf(resource, domain):
            services.append(service)
            sources.setdefault(service.key, resource)
    endpoints: dict[ServiceKey, list[Endpoint]] = {}
    for service in services:
        source = sources[service.key]
        if source.key == service.origin:
            endpoints[service.key] = endpointsOf(service, source, workloads.get(service.namespace, ()))
    return ServiceIndex(services, endpoints)


@implementer(IRegistry)
class ResourceRegistry(_Listeners):
    """
    Services that resources say there are: Service, ServiceEntry, WorkloadEntry.

    @ivar index: What is there now.
    """

    def __init__(self, domain: str = "cluster.local") -> None:
        super().__init__()
        self._domain = domain
        self.index = ServiceIndex()

    def apply(self, resources: Iterable[Resource]) -> Change:
        """
        Take all resources anew, and tell what that changes, if anything.
        """
        before = self.index
        self.index = indexOf(resources, self._domain)
        change = changesBetween(before, self.index)
        if change:
            self._tell(change)
        return change


@implementer(IRegistry)
class JoinedRegistry(_Listeners):
    """
    Several registries as one. Where two have a service of one key, the first one's counts, with the endpoints of all.

    @ivar index: What is there now.
    """

    def __init__(self, registries: Sequence[IRegistry]) -> None:
        super().__init__()
        self._registries = list(registries)
        self.index = self._join()
        for registry in self._registries:
            registry.subscribe(self._changed)

    def _join(self) -> ServiceIndex:
        services: dict[ServiceKey, Service] = {}
        endpoints: dict[ServiceKey, list[Endpoint]] = {}
        for registry in self._registries:
            for service in registry.index.services:
                services.setdefault(service.key, service)
                endpoints.setdefault(service.key, []).extend(registry.index.allEndpoints(service.key))
        return ServiceIndex(services.values(), endpoints)

    def _changed(self, _change: Change) -> None:
        before, self.index = self.index, self._join()
        change = changesBetween(before, self.index)
        if change:
            self._tell(change)
