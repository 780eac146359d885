# -*- test-case-name: tests.controlplane.translate.test_scope -*-
"""
The unix sockets by which a workload calls others, where a Sidecar names some: HTTP, which routes tell apart by host and
port.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from meshproxy.controlplane.model.names import isHTTP
from meshproxy.controlplane.registry.services import Service
from meshproxy.controlplane.translate.context import Context
from meshproxy.controlplane.translate.destinations import Destinations
from meshproxy.controlplane.translate.httpconnection import Side, connectionManager
from meshproxy.controlplane.translate.listeners import listener
from meshproxy.controlplane.translate.messages import JSON
from meshproxy.controlplane.translate.shared import Hosts
from meshproxy.controlplane.translate.virtualhosts import everythingElse, outboundRoutes

__all__ = ["socketListeners"]


def socketListeners(
    context: Context, destinations: Destinations, services: Iterable[Service]
) -> Iterator[tuple[JSON, JSON]]:
    """
    The listener of each socket, with its routes.

    @param services: Those that the proxy sees.
    """
    resource = context.scope.resource
    for index, egress in context.scope.sockets:
        protocol = egress.port.protocol if egress.port is not None else ""
        if protocol and not isHTTP(protocol):
            assert resource is not None
            why = f"has no effect so far: at a unix socket only HTTP is spoken, not {protocol}"
            context.notProgrammed(why, resource, "spec", "egress", index, "port", "protocol")
            continue
        name = egress.bind
        # Named as in Istio.
        filters = [connectionManager(context, Side.OUTBOUND, f"outbound_{name}", name)]
        found = [service for service in services if context.scope.imports(egress, service)]
        yield (
            {**listener(name, name, 0, "OUTBOUND"), "filterChains": [{"filters": filters}]},
            _routes(context, destinations, name, found),
        )


def _routes(context: Context, destinations: Destinations, name: str, services: Iterable[Service]) -> JSON:
    """
    Those of all ports: a host with a port means that one, a host without the first that it has.
    """
    byPort: dict[int, list[Service]] = {}
    for service in services:
        for port in service.ports:
            if port.isHTTP or port.isAuto:
                byPort.setdefault(port.number, []).append(service)
    hosts: list[JSON] = []
    taken: set[str] = set()
    for number, held in sorted(byPort.items()):
        *own, _ = outboundRoutes(context, destinations, number, held, Hosts())["virtualHosts"]
        for host in own:
            domains = [one for one in host["domains"] if one.lower() not in taken]
            taken.update(one.lower() for one in domains)
            hosts.append({**host, "domains": [*domains, *(f"{one}:{number}" for one in host["domains"])]})
    return {
        "name": name,
        "virtualHosts": [*hosts, everythingElse(destinations)],
        "validateClusters": False,
        "maxDirectResponseBodySizeBytes": 1024 * 1024,
    }
