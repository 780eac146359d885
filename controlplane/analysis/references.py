# -*- test-case-name: tests.controlplane.analysis.test_references -*-
"""
Names that lead nowhere: gateways, hosts, ports and subsets that a VirtualService names, and nobody has. Each is told at
its place, with what was probably meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from meshproxy.controlplane.model.common import Destination
from meshproxy.controlplane.model.hosts import fullName
from meshproxy.controlplane.model.problems import Problem
from meshproxy.controlplane.model.resource import Resource
from meshproxy.controlplane.model.routes import VirtualService
from meshproxy.controlplane.model.spots import Findings, Spot
from meshproxy.controlplane.registry.index import ServiceIndex

__all__ = ["NOT_FOUND", "missingReferences"]

#: The code of these problems.
NOT_FOUND = "not-found"


class _Known:
    """
    What there is to be named.
    """

    def __init__(self, resources: Sequence[Resource], services: ServiceIndex, domain: str) -> None:
        self.services = services
        self.domain = domain
        self.gateways = {
            name
            for one in resources
            if one.kind == "Gateway"
            for name in (f"{one.namespace}/{one.name}", f"{one.name}.{one.namespace}.svc.{domain}")
        }
        self.hosts = sorted({service.host for service in services.services})
        self.subsets: dict[str, set[str]] = {}
        for one in resources:
            if one.kind == "DestinationRule":
                host = fullName(one.spec.host, one.namespace, domain)
                self.subsets.setdefault(host, set()).update(subset.name for subset in one.spec.subsets)

    def subsetsOf(self, host: str) -> set[str]:
        """
        The subsets of a host, also those of wildcards that cover it.
        """
        found = set(self.subsets.get(host, ()))
        for known, names in self.subsets.items():
            if known.startswith("*") and host.endswith(known[1:]):
                found |= names
        return found


def missingReferences(resources: Sequence[Resource], services: ServiceIndex, domain: str) -> list[Problem]:
    """
    Look at every VirtualService.

    @param services: The services of the same resources.
    @param domain: The domain of the cluster.
    """
    known = _Known(resources, services, domain)
    problems: list[Problem] = []
    for resource in resources:
        if resource.kind == "VirtualService":
            findings = Findings(resource.node, resource.title)
            _look(resource, findings.spot("spec"), known)
            problems += findings.problems
    return problems


def _look(resource: Resource, spot: Spot, known: _Known) -> None:
    spec: VirtualService = resource.spec
    for index, name in enumerate(spec.gateways):
        if name != "mesh" and _qualified(name, resource.namespace) not in known.gateways:
            own = [one.removeprefix(f"{resource.namespace}/") for one in known.gateways]
            why = f"there is no Gateway {name!r}: nothing that enters there is routed by this"
            spot["gateways"][index].warn(why, NOT_FOUND, name, own)
    for destination, here in _destinations(spec, spot):
        _lookAt(destination, here, resource, known)


def _qualified(name: str, namespace: str) -> str:
    """
    The name of a gateway with its namespace; the old form, a host name, stays.
    """
    return name if "/" in name or "." in name else f"{namespace}/{name}"


def _destinations(spec: VirtualService, spot: Spot) -> Iterator[tuple[Destination, Spot]]:
    for index, route in enumerate(spec.http):
        here = spot["http"][index]
        if route.mirror is not None:
            yield route.mirror, here["mirror"]
        yield from _of(route.mirrors, here["mirrors"])
        yield from _of(route.route, here["route"])
    listed: Iterable[tuple[str, Sequence[Any]]] = (("tls", spec.tls), ("tcp", spec.tcp))
    for key, routes in listed:
        for index, route in enumerate(routes):
            yield from _of(route.route, spot[key][index]["route"])


def _of(listed: Sequence[Any], spot: Spot) -> Iterator[tuple[Destination, Spot]]:
    for index, one in enumerate(listed):
        if one.destination is not None:
            yield one.destination, spot[index]["destination"]


def _lookAt(destination: Destination, spot: Spot, resource: Resource, known: _Known) -> None:
    full = fullName(destination.host, resource.namespace, known.domain)
    service = known.services.visible(full, resource.namespace)
    if service is None:
        short = {host.partition(".")[0]: host for host in known.hosts if host.endswith(f".{known.domain}")}
        names = [*known.hosts, *short] if "." not in destination.host else known.hosts
        why = f"the host {full!r} is not known: requests to it fail"
        spot["host"].warn(why, NOT_FOUND, destination.host, names)
        return
    number = destination.port.number if destination.port is not None else 0
    if number and service.port(number) is None:
        told = ", ".join(str(port.number) for port in service.ports)
        why = f"{service.host} has no port {number}, only {told}: requests to it fail"
        spot["port"]["number"].warn(why, NOT_FOUND)
    subsets = known.subsetsOf(service.host)
    if destination.subset and destination.subset not in subsets:
        told = f"only {', '.join(sorted(subsets))}" if subsets else "and no DestinationRule gives it any"
        why = f"{service.host} has no subset {destination.subset!r}, {told}: requests to it fail"
        spot["subset"].warn(why, NOT_FOUND, destination.subset, subsets)
