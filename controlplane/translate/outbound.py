# -*- test-case-name: tests.controlplane.translate.test_listeners -*-
"""
What a sidecar listens for on behalf of its workload: one listener for each port that speaks HTTP, one for each address
and port of other services, and one that all other connections come to.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, evolve, field

from meshproxy.controlplane.model.common import selects
from meshproxy.controlplane.model.hosts import fullName, within
from meshproxy.controlplane.model.resource import Resource
from meshproxy.controlplane.model.routes import MESH, L4MatchAttributes, RouteDestination, TLSMatchAttributes
from meshproxy.controlplane.registry.services import Port, Resolution, Service
from meshproxy.controlplane.translate.context import Context
from meshproxy.controlplane.translate.destinations import Destinations
from meshproxy.controlplane.translate.dynamicdns import connectionFilter, requestFilter
from meshproxy.controlplane.translate.httpconnection import Side, connectionManager, tcpProxy
from meshproxy.controlplane.translate.listeners import distinct, inspectors, listener, tlsMatch
from meshproxy.controlplane.translate.messages import JSON, cidr, without
from meshproxy.controlplane.translate.names import (
    BLACK_HOLE,
    VIRTUAL_OUTBOUND,
    clusterName,
    listenerName,
)
from meshproxy.controlplane.translate.policies import policyFor
from meshproxy.controlplane.translate.scope import Placement
from meshproxy.controlplane.translate.shared import Shared
from meshproxy.controlplane.translate.sockets import socketListeners
from meshproxy.controlplane.translate.virtualhosts import outboundRoutes

__all__ = ["OutboundListeners", "outboundListeners"]

_VIRTUAL_PORT = 15001
_WILDCARD = "0.0.0.0"

#: What the HTTP inspector calls HTTP in clear.
_PLAIN_HTTP = ["http/1.1", "h2c"]


@define
class OutboundListeners:
    """
    Listeners and the routes that they name.
    """

    listeners: list[JSON] = field(factory=list)
    routes: list[JSON] = field(factory=list)


@define
class _Bound:
    """
    What is wanted at one address and port.

    @ivar binds: Whether it is really listened at.
    @ivar http: Whether HTTP is, which routes tell apart.
    @ivar looksUp: Whether names are looked up that requests ask for.
    @ivar chains: Filter chains for connections.
    @ivar owner: The first service that wanted it.
    """

    binds: bool
    http: bool = False
    auto: bool = False
    looksUp: bool = False
    chains: list[JSON] = field(factory=list)
    owner: Service | None = None


def outboundListeners(
    context: Context, destinations: Destinations, services: Sequence[Service], shared: Shared
) -> OutboundListeners:
    """
    The listeners for some services, the oldest service first where two want the same.

    @param shared: What was made for other proxies.
    """
    made = OutboundListeners()
    virtual = [
        resource
        for resource in context.scope.virtualServices
        if MESH in resource.spec.boundTo and (resource.spec.tls or resource.spec.tcp)
    ]
    wanted: dict[tuple[str, int], _Bound] = {}
    http: dict[int, list[Service]] = {}
    for service in sorted(services, key=lambda one: (one.age, one.host)):
        for port in service.ports:
            placement = context.scope.placement(service, port.number)
            if port.protocol == "UDP" or placement is None:
                continue
            if placement.protocol:
                port = evolve(port, protocol=placement.protocol)
            if port.isHTTP or port.isAuto:
                http.setdefault(port.number, []).append(service)
            for address in _addressesOf(context, service, port, placement):
                bound = wanted.setdefault((address, port.number), _Bound(placement.binds))
                _want(context, bound, address, service, port, _chains(context, destinations, virtual, service, port))
    for address, number in sorted(wanted, key=lambda one: (one[1], one[0])):
        bound = wanted[address, number]
        made.listeners.append(_listener(context, destinations, address, number, bound))
    for number, found in sorted(http.items()):
        made.routes.append(outboundRoutes(context, destinations, number, found, shared.hosts(context, number)))
    for socket, routes in socketListeners(context, destinations, services):
        made.listeners.append(socket)
        made.routes.append(routes)
    if context.proxy.intercepts:
        made.listeners.append(_virtual(context, destinations))
    return made


def _addressesOf(context: Context, service: Service, port: Port, placement: Placement) -> list[str]:
    """
    Where a port of a service is listened for: HTTP everywhere, since routes tell hosts apart.
    """
    if placement.address is not None:
        return [placement.address]
    if placement.binds:
        return [context.proxy.outboundAddress]
    if port.isHTTP:
        return [_WILDCARD]
    # A range has no address to listen at; a chain of the listener for all knows it by its prefix.
    own = [address for address in service.addresses if "/" not in address]
    return own or [_WILDCARD]


def _want(context: Context, bound: _Bound, address: str, service: Service, port: Port, chains: Sequence[JSON]) -> None:
    """
    Have a port of a service at an address.
    """
    if port.isHTTP:
        bound.http = True
        bound.looksUp = bound.looksUp or service.resolution is Resolution.DYNAMIC
    else:
        bound.auto = bound.auto or port.isAuto
        known = [one.get("filterChainMatch") for one in bound.chains]
        fresh = [chain for chain in chains if chain.get("filterChainMatch") not in known]
        if len(fresh) < len(chains):
            _tellOfConflict(context, service, port, bound, address)
        bound.chains += fresh
    bound.owner = bound.owner or service


def _tellOfConflict(context: Context, service: Service, port: Port, bound: _Bound, address: str) -> None:
    """
    Two services that nothing tells apart.
    """
    loser = context.resources.get(*service.origin)
    winner = context.resources.get(*bound.owner.origin) if bound.owner is not None else None
    if loser is not None and winner is not None and loser is not winner:
        why = f"two services at {address}:{port.number} that nothing tells apart"
        context.conflict(why, loser, winner)


def _listener(context: Context, destinations: Destinations, address: str, number: int, bound: _Bound) -> JSON:
    """
    One listener: HTTP alone, connections alone, or both, told apart by the first bytes.
    """
    chains = distinct(bound.chains)
    if bound.http or bound.auto:
        prefix = f"outbound_{listenerName(address, number)}"
        before = [requestFilter()] if bound.looksUp else []
        manager = connectionManager(context, Side.OUTBOUND, prefix, str(number), before)
        if chains:
            match = {"applicationProtocols": _PLAIN_HTTP, "transportProtocol": "raw_buffer"}
            chains.insert(0, {"filterChainMatch": match, "filters": [manager]})
        else:
            chains.append({"filters": [manager]})
    default = next((chain for chain in chains if not chain.get("filterChainMatch")), None)
    if default is not None and len(chains) > 1:
        chains.remove(default)
    elif default is not None:
        default = None
    elif context.proxy.intercepts and address == _WILDCARD:
        # What is for no service of this port goes where it was going, as at any other port.
        name = _elsewhere(destinations)
        default = {"filters": [tcpProxy(context, name, [(name, 1)])]}
    return without(
        {
            **listener(listenerName(address, number), address, number, "OUTBOUND"),
            "bindToPort": None if bound.binds else False,
            "filterChains": chains,
            "defaultFilterChain": default,
            "listenerFilters": inspectors([*chains, *([default] if default else [])]),
            "continueOnListenerFiltersTimeout": True if len(chains) > 1 or default else None,
        }
    )


def _chains(
    context: Context, destinations: Destinations, virtual: Sequence[Resource], service: Service, port: Port
) -> list[JSON]:
    """
    The filter chains for connections to a port of a service.
    """
    made: list[JSON] = []
    for resource in virtual:
        made += _ofVirtualService(context, destinations, resource, service, port)
    name = clusterName(port.number, "", service.host)
    policy = policyFor(destinations.rule(service), port.number)
    match: JSON = {}
    ranges = [cidr(one) for one in service.addresses if "/" in one]
    if ranges:
        match["prefixRanges"] = ranges
    if port.isTLS and not (context.proxy.intercepts and service.addresses):
        # Several services share a port; the name that a caller asks for tells them apart.
        match.update(serverNames=[service.host], transportProtocol="tls")
    if match not in [chain.get("filterChainMatch", {}) for chain in made]:
        looksUp = service.resolution is Resolution.DYNAMIC
        before = [connectionFilter(port.number)] if looksUp else []
        filters = [*before, tcpProxy(context, name, [(name, 1)], policy)]
        made.append(without({"filterChainMatch": match, "filters": filters}))
    return made


def _ofVirtualService(
    context: Context, destinations: Destinations, resource: Resource, service: Service, port: Port
) -> list[JSON]:
    """
    What a VirtualService says of connections to a service.
    """
    hosts = [fullName(host, resource.namespace, context.mesh.domain) for host in resource.spec.hosts]
    if not any(within(service.host, host) for host in hosts):
        return []
    made: list[JSON] = []
    for route in resource.spec.tls if port.isTLS else ():
        for match in route.match:
            if _isForProxy(context, match, port):
                ranges = [cidr(one) for one in match.destinationSubnets]
                told = tlsMatch(match.sniHosts, ranges)
                made.append(_chain(context, destinations, resource, told, route.route, port))
    for route in resource.spec.tcp if not port.isTLS else ():
        for one in route.match or [L4MatchAttributes()]:
            if _isForProxy(context, one, port):
                ranges = [cidr(text) for text in one.destinationSubnets]
                made.append(
                    _chain(context, destinations, resource, without({"prefixRanges": ranges}), route.route, port)
                )
    if made:
        context.uses(resource)
    return made


def _isForProxy(context: Context, match: TLSMatchAttributes | L4MatchAttributes, port: Port) -> bool:
    if match.port and match.port != port.number:
        return False
    if match.gateways:
        return MESH in match.gateways
    if match.sourceNamespace and match.sourceNamespace != context.proxy.namespace:
        return False
    return selects(match.sourceLabels, context.proxy.labels)


def _chain(
    context: Context,
    destinations: Destinations,
    resource: Resource,
    match: JSON,
    routes: Sequence[RouteDestination],
    port: Port,
) -> JSON:
    clusters, policy = destinations.connections(routes, resource, port.number)
    prefix = clusters[0][0] if len(clusters) == 1 else f"{resource.name}.{resource.namespace}"
    before = _lookUp(destinations, resource, routes, port) if port.isTLS else []
    filters = [*before, tcpProxy(context, prefix, clusters, policy)]
    return without({"filterChainMatch": match, "filters": filters})


def _lookUp(
    destinations: Destinations, resource: Resource, routes: Sequence[RouteDestination], port: Port
) -> list[JSON]:
    """
    The filter that looks up what connections ask for, where one of their destinations is found that way.
    """
    for route in routes:
        destination = route.destination
        service = None if destination is None else destinations.service(destination.host, resource)
        if destination is not None and service is not None and service.resolution is Resolution.DYNAMIC:
            number = port.number if destination.port is None else destination.port.number
            return [connectionFilter(number)]
    return []


def _elsewhere(destinations: Destinations) -> str:
    """
    The cluster for what no service is known for.
    """
    return destinations.elsewhere() or BLACK_HOLE


def _virtual(context: Context, destinations: Destinations) -> JSON:
    """
    The listener that intercepted connections come to: it hands them to the one that they were meant for, and keeps
    those for which there is none.
    """
    name = _elsewhere(destinations)
    return {
        **listener(VIRTUAL_OUTBOUND, _WILDCARD, _VIRTUAL_PORT, "OUTBOUND"),
        "useOriginalDst": True,
        "filterChains": [
            {
                # Who calls the port itself would be sent to it again, without end.
                "name": "virtualOutbound-blackhole",
                "filterChainMatch": {"destinationPort": _VIRTUAL_PORT},
                "filters": [tcpProxy(context, BLACK_HOLE, [(BLACK_HOLE, 1)])],
            },
            {"name": "virtualOutbound-catchall-tcp", "filters": [tcpProxy(context, name, [(name, 1)])]},
        ],
    }
