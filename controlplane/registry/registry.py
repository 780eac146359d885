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


class _Converted:
    """
    What resources were converted to: those that stay need not be again.
    """

    def __init__(self, before: _Converted | None = None) -> None:
        self._before = before
        # By the identity of the resource, which is held, so that no other gets it.
        self._services: dict[int, tuple[Resource, Sequence[Service]]] = {}
        self._endpoints: dict[tuple[int, ServiceKey], tuple[Service, tuple[Resource, ...], Sequence[Endpoint]]] = {}

    def services(self, resource: Resource, domain: str) -> Sequence[Service]:
        """
        The services that a resource tells of.
        """
        known = self._before._services.get(id(resource)) if self._before is not None else None
        if known is None:
            known = resource, servicesOf(resource, domain)
        self._services[id(resource)] = known
        return known[1]

    def endpoints(self, service: Service, source: Resource, workloads: Sequence[Resource]) -> Sequence[Endpoint]:
        """
        The endpoints of a service.
        """
        key = id(source), service.key
        known = self._before._endpoints.get(key) if self._before is not None else None
        if known is None or known[0] is not service or not _areSame(known[1], workloads):
            known = service, tuple(workloads), endpointsOf(service, source, workloads)
        self._endpoints[key] = known
        return known[2]

    def end(self) -> None:
        """
        All is converted: what is not there any more is forgotten.
        """
        self._before = None


def _areSame(one: Sequence[Resource], other: Sequence[Resource]) -> bool:
    return len(one) == len(other) and all(mine is theirs for mine, theirs in zip(one, other, strict=True))


def indexOf(resources: Iterable[Resource], domain: str = "cluster.local") -> ServiceIndex:
    """
    The services that some resources say there are, with their endpoints.

    @param domain: The domain of the cluster.
    """
    return _index(resources, domain, _Converted())


def _index(resources: Iterable[Resource], domain: str, converted: _Converted) -> ServiceIndex:
    services: list[Service] = []
    sources: dict[ServiceKey, Resource] = {}
    workloads: dict[str, list[Resource]] = {}
    for resource in sorted(resources, key=lambda one: one.age):
        if isinstance(resource.spec, WorkloadEntry):
            workloads.setdefault(resource.namespace, []).append(resource)
        for service in converted.services(resource, domain):
            services.append(service)
            sources.setdefault(service.key, resource)
    endpoints: dict[ServiceKey, Sequence[Endpoint]] = {}
    for service in services:
        source = sources[service.key]
        if source.key == service.origin:
            endpoints[service.key] = converted.endpoints(service, source, workloads.get(service.namespace, ()))
    converted.end()
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
        self._converted = _Converted()
        self.index = ServiceIndex()

    def apply(self, resources: Iterable[Resource]) -> Change:
        """
        Take all resources anew, and tell what that changes, if anything.
        """
        before = self.index
        self._converted = _Converted(self._converted)
        self.index = _index(resources, self._domain, self._converted)
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
