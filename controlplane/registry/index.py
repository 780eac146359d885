# -*- test-case-name: tests.controlplane.registry.test_index -*-
"""
All services and endpoints at one moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import frozen

from meshproxy.controlplane.model.resource import Key
from meshproxy.controlplane.registry.services import Endpoint, Port, Service, ServiceKey

__all__ = ["Change", "ServiceIndex", "Target", "changesBetween"]


@frozen
class Target:
    """
    What a workload serves: a service and one of its ports, at one of its own ports.
    """

    service: Service
    port: Port
    endpoint: Endpoint


@frozen
class Change:
    """
    What is different between two moments.

    @ivar services: Services that came, went, or are not what they were, whose endpoints have other identities, or that
        others stand behind.
    @ivar endpoints: Services that stayed, with other endpoints.
    """

    services: frozenset[ServiceKey] = frozenset()
    endpoints: frozenset[ServiceKey] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.services or self.endpoints)


class ServiceIndex:
    """
    Services and endpoints, found in several ways. It never changes.

    @ivar hidden: Services that do not count, each with the older one of the same host and namespace that does.
    """

    def __init__(
        self,
        services: Iterable[Service] = (),
        endpoints: Mapping[ServiceKey, Sequence[Endpoint]] | None = None,
    ) -> None:
        """
        @param services: Of several with one key the oldest counts.
        @param endpoints: The endpoints of each service.
        """
        ordered = sorted(services, key=lambda service: (service.host, service.age, service.namespace))
        self._services: dict[ServiceKey, Service] = {}
        self._byHost: dict[str, list[Service]] = {}
        self._byNamespace: dict[str, list[Service]] = {}
        self.hidden: list[tuple[Service, Service]] = []
        for service in ordered:
            first = self._services.setdefault(service.key, service)
            if first is not service:
                self.hidden.append((service, first))
            else:
                self._byHost.setdefault(service.host, []).append(service)
                self._byNamespace.setdefault(service.namespace, []).append(service)
        given = endpoints or {}
        self._endpoints = {key: tuple(given[key]) for key in self._services if given.get(key)}
        self._visible: dict[str, tuple[Service, ...]] = {}
        self._served: dict[str, list[tuple[Service, Endpoint]]] = {}
        for key, found in self._endpoints.items():
            service = self._services[key]
            for endpoint in found:
                if endpoint.address:
                    self._served.setdefault(endpoint.address, []).append((service, endpoint))

    @property
    def services(self) -> tuple[Service, ...]:
        """
        All services, by host.
        """
        return tuple(self._services.values())

    def service(self, key: ServiceKey) -> Service | None:
        """
        One service.
        """
        return self._services.get(key)

    def inNamespace(self, namespace: str) -> Sequence[Service]:
        """
        The services of a namespace.
        """
        return self._byNamespace.get(namespace, ())

    def visible(self, host: str, namespace: str) -> Service | None:
        """
        What a host means in a namespace: the service that the namespace has itself, else the oldest that it sees.
        """
        candidates = [service for service in self._byHost.get(host, ()) if service.visibleTo(namespace)]
        own = next((service for service in candidates if service.namespace == namespace), None)
        return own or (candidates[0] if candidates else None)

    def visibleServices(self, namespace: str) -> list[Service]:
        """
        Every service that a namespace sees, each host once, by host.
        """
        known = self._visible.get(namespace)
        if known is None:
            # Every proxy of a namespace asks, and an index does not change.
            found = (self.visible(host, namespace) for host in self._byHost)
            known = self._visible[namespace] = tuple(service for service in found if service is not None)
        return list(known)

    def endpoints(self, key: ServiceKey, port: int) -> list[Endpoint]:
        """
        The endpoints of a port of a service.
        """
        return [endpoint for endpoint in self._endpoints.get(key, ()) if endpoint.servicePort == port]

    def allEndpoints(self, key: ServiceKey) -> tuple[Endpoint, ...]:
        """
        The endpoints of all ports of a service.
        """
        return self._endpoints.get(key, ())

    def targets(self, addresses: Iterable[str], namespace: str) -> list[Target]:
        """
        What a workload with some addresses serves, the oldest service first.
        """
        own = [
            Target(service, port, endpoint)
            for address in addresses
            for service, endpoint in self._served.get(address, ())
            if endpoint.namespace in ("", namespace) and (port := service.port(endpoint.servicePort)) is not None
        ]
        return sorted(own, key=lambda target: (target.service.age, target.service.host, target.port.number))


def changesBetween(before: ServiceIndex, after: ServiceIndex) -> Change:
    """
    What is different.
    """
    keys = {service.key for service in before.services} | {service.key for service in after.services}
    services = frozenset(
        key for key in keys if (old := before.service(key)) is not (new := after.service(key)) and old != new
    )
    endpoints = frozenset(key for key in keys - services if before.allEndpoints(key) != after.allEndpoints(key))
    # Who the endpoints are is part of how the service is called.
    others = frozenset(
        key for key in endpoints if _identities(before.allEndpoints(key)) != _identities(after.allEndpoints(key))
    )
    # Those that do not count change what is told of those that do.
    told = _hidden(before) ^ _hidden(after)
    changed = services | others | {key for key, _, _ in told}
    return Change(changed, endpoints - changed)


def _hidden(index: ServiceIndex) -> set[tuple[ServiceKey, Key, Key]]:
    return {(winner.key, winner.origin, loser.origin) for loser, winner in index.hidden}


def _identities(endpoints: Iterable[Endpoint]) -> set[tuple[int, str, str]]:
    return {(one.servicePort, one.namespace, one.serviceAccount) for one in endpoints if one.serviceAccount}
