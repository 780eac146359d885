# -*- test-case-name: tests.controlplane.translate.test_listeners -*-
"""
The virtual hosts of what a sidecar sends to one port.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from meshproxy.controlplane.model.hosts import fullName, within
from meshproxy.controlplane.model.names import isAddress
from meshproxy.controlplane.model.resource import Resource
from meshproxy.controlplane.model.routes import MESH
from meshproxy.controlplane.registry.services import Service
from meshproxy.controlplane.translate.context import Context
from meshproxy.controlplane.translate.delegates import routesOf
from meshproxy.controlplane.translate.destinations import Destinations
from meshproxy.controlplane.translate.hashing import hashPolicies
from meshproxy.controlplane.translate.messages import JSON, without
from meshproxy.controlplane.translate.names import clusterName
from meshproxy.controlplane.translate.policies import policyFor
from meshproxy.controlplane.translate.routepolicies import retryPolicy
from meshproxy.controlplane.translate.routes import NO_TIMEOUT, defaultRoute, httpRoutes
from meshproxy.controlplane.translate.shared import Hosts

__all__ = ["everythingElse", "outboundRoutes"]


def outboundRoutes(
    context: Context, destinations: Destinations, port: int, services: Iterable[Service], known: Hosts
) -> JSON:
    """
    The routes for one port: what VirtualServices say, what the registry knows, and what becomes of the rest.

    @param services: Those that the proxy sees and that have the port, for HTTP.
    @param known: What was made before, or for other proxies.
    """
    byHost = {service.host: service for service in services}
    hosts: list[tuple[str, JSON]] = []
    taken: dict[str, Resource] = {}
    for resource in context.scope.virtualServices:
        if MESH not in resource.spec.boundTo or not resource.spec.http:
            continue
        hosts += _ofVirtualService(context, destinations, port, resource, byHost, taken, known)
    for host, service in sorted(byHost.items()):
        if host not in taken:
            make = partial(_ofService, context, destinations, port, service)
            hosts.append((host, known.routes(context, service, make)))
    return {
        "name": str(port),
        "virtualHosts": [*_withDomains(context, port, hosts, byHost, known), everythingElse(destinations)],
        "validateClusters": False,
        "maxDirectResponseBodySizeBytes": 1024 * 1024,
        "ignorePortInHostMatching": True,
    }


def _ofVirtualService(
    context: Context,
    destinations: Destinations,
    port: int,
    resource: Resource,
    byHost: dict[str, Service],
    taken: dict[str, Resource],
    known: Hosts,
) -> list[tuple[str, JSON]]:
    """
    A virtual host for each host of a VirtualService that has something to do with the port: a service that has the
    port, or a name that is no service at all, which is then for the port 80 alone (as in Istio).
    """
    found: list[tuple[str, JSON]] = []
    virtual: JSON | None = None
    for host in _hostsOf(context, resource, byHost, port):
        other = taken.get(host)
        if other is not None:
            context.conflict(f"two VirtualServices for {host}", resource, other, "spec", "hosts")
            continue
        taken[host] = resource
        if virtual is None:
            make = partial(_routes, context, destinations, port, resource)
            # What a delegate says may change without it.
            hasDelegates = any(route.delegate is not None for route in resource.spec.http)
            virtual = make() if hasDelegates else known.routes(context, resource, make)
        if virtual["routes"]:
            found.append((host, virtual))
        else:
            # None of its routes is for this proxy: the service is called as if nothing were said.
            del taken[host]
    return found


def _routes(context: Context, destinations: Destinations, port: int, resource: Resource) -> JSON:
    """
    What a VirtualService says of a port.
    """
    context.uses(resource)
    routes = httpRoutes(
        context.proxy,
        context.mesh,
        resource,
        routesOf(context, resource),
        (MESH,),
        port,
        False,
        lambda destination: destinations.target(destination, resource, port),
    )
    return {"routes": routes}


def _hostsOf(context: Context, resource: Resource, byHost: dict[str, Service], port: int) -> list[str]:
    found: list[str] = []
    for text in resource.spec.hosts:
        host = fullName(text, resource.namespace, context.mesh.domain)
        if host in byHost:
            found.append(host)
        elif host.startswith("*"):
            found += (
                [host, *(known for known in sorted(byHost) if within(known, host))]
                if port == 80
                else [known for known in sorted(byHost) if within(known, host)]
            )
        elif port == 80 and context.services.visible(host, context.proxy.namespace) is None:
            found.append(host)
    return list(dict.fromkeys(found))


def _ofService(context: Context, destinations: Destinations, port: int, service: Service) -> JSON:
    """
    A service that no VirtualService speaks of.
    """
    context.usesService(service.key)
    hashing = hashPolicies(policyFor(destinations.rule(service), port))
    retries = retryPolicy(context.mesh.defaultHttpRetryPolicy, bool(hashing))
    route = defaultRoute(clusterName(port, "", service.host), f"{service.host}:{port}/*", retries, hashing)
    return {"routes": [route]}


def _withDomains(
    context: Context, port: int, hosts: list[tuple[str, JSON]], byHost: dict[str, Service], known: Hosts
) -> list[JSON]:
    """
    Give each virtual host its names: no name twice, the earlier host has it.
    """
    used: set[str] = set()
    made = []
    for host, virtual in sorted(hosts, key=lambda one: one[0]):
        domains = [name for name in _domains(context, host, byHost.get(host)) if name.lower() not in used]
        used.update(name.lower() for name in domains)
        if domains:
            made.append(known.named(host, virtual, domains, partial(_named, f"{host}:{port}", domains, virtual)))
    return made


def _named(name: str, domains: list[str], virtual: JSON) -> JSON:
    return without({"name": name, "domains": domains, **virtual, "includeRequestAttemptCount": True})


def _domains(context: Context, host: str, service: Service | None) -> list[str]:
    """
    The names by which callers know a host: its own, shorter ones inside of the cluster, its addresses.
    """
    names = [host]
    suffix = f".svc.{context.mesh.domain}"
    if host.endswith(suffix) and not host.startswith("*"):
        name, _, namespace = host.removesuffix(suffix).partition(".")
        if namespace and "." not in namespace:
            names += [name] if namespace == context.proxy.namespace else []
            names += [f"{name}.{namespace}", f"{name}.{namespace}.svc"]
    if service is not None:
        names += [f"[{one}]" if ":" in one else one for one in service.addresses if isAddress(one)]
    return list(dict.fromkeys(names))


def everythingElse(destinations: Destinations) -> JSON:
    """
    What no service is known for: on to where it was going, or nowhere.
    """
    common: JSON = {"domains": ["*"], "includeRequestAttemptCount": True}
    cluster = destinations.elsewhere()
    if cluster is not None:
        route = {"match": {"prefix": "/"}, "name": "allow_any", "route": {**NO_TIMEOUT, "cluster": cluster}}
        return {"name": "allow_any", **common, "routes": [route]}
    route = {"match": {"prefix": "/"}, "name": "block_all", "directResponse": {"status": 502}}
    return {"name": "block_all", **common, "routes": [route]}
