# -*- test-case-name: tests.controlplane.translate.test_gateways -*-
"""
The routes of servers at gateways.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from meshproxy.controlplane.model.gateway import Server
from meshproxy.controlplane.model.hosts import within
from meshproxy.controlplane.model.resource import Resource
from meshproxy.controlplane.translate.context import Context
from meshproxy.controlplane.translate.delegates import routesOf
from meshproxy.controlplane.translate.destinations import Destinations
from meshproxy.controlplane.translate.matching import isEverything
from meshproxy.controlplane.translate.messages import JSON, without
from meshproxy.controlplane.translate.routes import httpRoutes

__all__ = ["boundHosts", "gatewayRoutes", "routesBoundTo"]


def routesBoundTo(context: Context, gateway: Resource) -> list[tuple[Resource, frozenset[str]]]:
    """
    The VirtualServices of a Gateway, each with the names that mean this Gateway there.
    """
    found = []
    for resource in context.resources.virtualServices(gateway.namespace, context.mesh):
        names = {f"{gateway.namespace}/{gateway.name}"}
        if resource.namespace == gateway.namespace:
            names.add(gateway.name)
        # The old form, NAME.NAMESPACE.svc.DOMAIN, is still read.
        names |= {name for name in resource.spec.gateways if name.split(".")[:2] == [gateway.name, gateway.namespace]}
        if any(name in names for name in resource.spec.gateways):
            found.append((resource, frozenset(names)))
    return found


def boundHosts(context: Context, server: Server, gateway: Resource, resource: Resource) -> list[str]:
    """
    The hosts of a VirtualService that a server takes: of two that overlap the narrower one.
    """
    found: list[str] = []
    for text in server.hosts:
        namespace, _, host = text.rpartition("/")
        namespace = gateway.namespace if namespace == "." else namespace
        if namespace not in ("", "*", resource.namespace):
            continue
        for own in resource.spec.hosts:
            if within(own, host):
                found.append(own.lower())
            elif within(host, own):
                found.append(host.lower())
    return list(dict.fromkeys(found))


def gatewayRoutes(
    context: Context,
    destinations: Destinations,
    name: str,
    port: int,
    servers: Iterable[tuple[Server, Resource]],
    isTLS: bool,
) -> JSON:
    """
    The virtual hosts of some servers at one port. VirtualServices of one host are put together, the oldest first.
    """
    hosts: dict[str, JSON] = {}
    for server, gateway in servers:
        redirects = server.tls is not None and server.tls.httpsRedirect
        for resource, names in routesBoundTo(context, gateway):
            bound = boundHosts(context, server, gateway, resource)
            if not bound or not resource.spec.http:
                continue
            context.uses(resource)
            routes = _routes(context, destinations, resource, names, port, isTLS)
            for host in bound:
                virtual = hosts.setdefault(host, _virtualHost(host, port))
                virtual["routes"] += [route for route in routes if route not in virtual["routes"]]
                if redirects:
                    virtual["requireTls"] = "ALL"
        if redirects:
            for text in server.hosts:
                host = text.rpartition("/")[2].lower()
                hosts.setdefault(host, _virtualHost(host, port))["requireTls"] = "ALL"
    for virtual in hosts.values():
        # What takes everything would hide what another resource says of the same host.
        virtual["routes"].sort(key=lambda route: isEverything(route["match"]))
    listed = [without(virtual) for _, virtual in sorted(hosts.items())]
    nobody = {"name": f"blackhole:{port}", "domains": ["*"]}
    return {
        "name": name,
        "virtualHosts": listed or [nobody],
        "validateClusters": False,
        "ignorePortInHostMatching": True,
        "maxDirectResponseBodySizeBytes": 1024 * 1024,
    }


def _virtualHost(host: str, port: int) -> JSON:
    return {"name": f"{host}:{port}", "domains": [host], "routes": [], "includeRequestAttemptCount": True}


def _routes(
    context: Context,
    destinations: Destinations,
    resource: Resource,
    names: Sequence[str] | frozenset[str],
    port: int,
    isTLS: bool,
) -> list[JSON]:
    return httpRoutes(
        context.proxy,
        context.mesh,
        resource,
        routesOf(context, resource),
        names,
        port,
        isTLS,
        lambda destination: destinations.target(destination, resource, port),
    )
