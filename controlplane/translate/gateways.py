# -*- test-case-name: tests.controlplane.translate.test_gateways -*-
"""
What a proxy at the edge of the mesh listens for.

Servers of all Gateways that mean it are put together by address and port: HTTP shares one chain and its routes; TLS
that ends there has a chain for each server; TLS that is passed through, and plain connections, go where TLS and TCP
routes say.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field, frozen

from meshproxy.controlplane.model.gateway import Server
from meshproxy.controlplane.model.hosts import within
from meshproxy.controlplane.model.names import isHTTP
from meshproxy.controlplane.model.resource import Resource
from meshproxy.controlplane.translate.context import Context
from meshproxy.controlplane.translate.destinations import Destinations
from meshproxy.controlplane.translate.gatewayroutes import boundHosts, gatewayRoutes, routesBoundTo
from meshproxy.controlplane.translate.httpconnection import Side, connectionManager, tcpProxy
from meshproxy.controlplane.translate.inbound import WorkloadFilters, workloadFilters
from meshproxy.controlplane.translate.listeners import distinct, inspectors, listener, tlsMatch
from meshproxy.controlplane.translate.messages import JSON, cidr, without
from meshproxy.controlplane.translate.names import listenerName
from meshproxy.controlplane.translate.passing import PASSES, passingChains
from meshproxy.controlplane.translate.secrets import credentialsOf
from meshproxy.controlplane.translate.tls import gatewayTLS

__all__ = ["GatewayListeners", "gatewayListeners"]

_WILDCARD = "0.0.0.0"


@define
class GatewayListeners:
    """
    Listeners, the routes that they name, and the credentials that they ask for, each with the Gateway that names it.
    """

    listeners: list[JSON] = field(factory=list)
    routes: list[JSON] = field(factory=list)
    credentials: list[tuple[str, Resource]] = field(factory=list)


@frozen
class _Served:
    """
    A server, and the Gateway that it is part of.
    """

    server: Server
    gateway: Resource
    index: int

    @property
    def isHTTP(self) -> bool:
        """
        Whether it is HTTP in clear.
        """
        return self.server.port is not None and isHTTP(self.server.port.protocol)

    @property
    def endsTLS(self) -> bool:
        """
        Whether TLS ends here.
        """
        tls = self.server.tls
        return tls is not None and not self.isHTTP and tls.mode not in ("PASSTHROUGH", PASSES)

    @property
    def serverNames(self) -> list[str]:
        """
        The names that callers ask for in TLS; none for every one.
        """
        names = [host.rpartition("/")[2] for host in self.server.hosts]
        return [] if "*" in names else sorted(set(names))


def gatewayListeners(context: Context, destinations: Destinations) -> GatewayListeners:
    """
    The listeners of a proxy at the edge.
    """
    made = GatewayListeners()
    ports: dict[tuple[str, int], list[_Served]] = {}
    for gateway in context.resources.gateways(context.proxy.labels):
        context.uses(gateway)
        for index, server in enumerate(gateway.spec.servers):
            if server.port is None:
                continue
            ports.setdefault((server.bind or _WILDCARD, server.port.number), []).append(_Served(server, gateway, index))
    filters = workloadFilters(context, destinations)
    for (bind, number), servers in sorted(ports.items(), key=lambda one: (one[0][1], one[0][0])):
        _port(context, destinations, made, bind, number, _compatible(context, servers), filters)
    made.credentials = list({name: (name, gateway) for name, gateway in made.credentials}.values())
    return made


def _compatible(context: Context, servers: Sequence[_Served]) -> list[_Served]:
    """
    The servers that can share a port: HTTP in clear, or chains that names tell apart. The oldest Gateway decides.
    """
    first = servers[0]
    kept: list[_Served] = []
    names: dict[str, _Served] = {}
    for one in servers:
        if one.isHTTP != first.isHTTP:
            _conflict(context, "HTTP and other protocols at one port", one, first)
            continue
        if not one.isHTTP:
            wanted = one.serverNames or ["*"]
            shared = [name for name in wanted if names.setdefault(name, one) is not one]
            if shared:
                told = "all names" if shared == ["*"] else ", ".join(shared)
                _conflict(context, f"two servers for {told} at one port", one, names[shared[0]])
            if len(shared) == len(wanted):
                continue
        kept.append(one)
    return kept


def _conflict(context: Context, why: str, loser: _Served, winner: _Served) -> None:
    steps = ("spec", "servers", loser.index)
    if loser.gateway is winner.gateway:
        context.warn("conflict", f"{why}: the earlier server counts", loser.gateway, *steps)
    else:
        context.conflict(why, loser.gateway, winner.gateway, *steps)


def _port(
    context: Context,
    destinations: Destinations,
    made: GatewayListeners,
    bind: str,
    number: int,
    servers: Sequence[_Served],
    filters: WorkloadFilters,
) -> None:
    """
    The listener of one address and port.
    """
    chains: list[JSON] = []
    suffix = "" if bind == _WILDCARD else f".{bind}"
    if servers[0].isHTTP:
        name = f"http.{number}{suffix}"
        pairs = [(one.server, one.gateway) for one in servers]
        made.routes.append(gatewayRoutes(context, destinations, name, number, pairs, isTLS=False))
        chains.append({"filters": [_manager(context, bind, number, name, filters)]})
    else:
        for one in servers:
            chains += _secured(context, destinations, made, bind, number, one, filters)
        # The names of servers that have them alone, and those of TLS routes, which may be of several.
        chains = distinct(chains)
    if not chains:
        # A listener without a chain is refused; nobody is served at this port.
        return
    isPipe = bind.startswith("unix://")
    made.listeners.append(
        without(
            {
                **listener(listenerName(bind, number), bind, number, "OUTBOUND"),
                "name": bind if isPipe else listenerName(bind, number),
                "filterChains": chains,
                "listenerFilters": inspectors(chains),
            }
        )
    )


def _manager(context: Context, bind: str, number: int, routes: str, filters: WorkloadFilters) -> JSON:
    prefix = f"outbound_{listenerName(bind, number)}"
    return connectionManager(context, Side.GATEWAY, prefix, routes, filters.forRequests)


def _secured(
    context: Context,
    destinations: Destinations,
    made: GatewayListeners,
    bind: str,
    number: int,
    one: _Served,
    filters: WorkloadFilters,
) -> list[JSON]:
    """
    The chains of one server that is not HTTP in clear.
    """
    server, gateway = one.server, one.gateway
    assert server.port is not None
    tls = server.tls
    speaksHTTP = server.port.protocol.upper() == "HTTPS"
    if tls is not None and tls.mode == PASSES:
        return passingChains(context, destinations.rules, server.hosts)
    if not one.endsTLS:
        return _passed(context, destinations, one, number, filters)
    assert tls is not None
    socket = gatewayTLS(context.proxy, tls, context.mesh.trustDomains, not speaksHTTP)
    made.credentials += [(name, gateway) for name in credentialsOf(socket)]
    match = without({"serverNames": one.serverNames, "transportProtocol": "tls" if one.serverNames else None})
    if speaksHTTP:
        suffix = "" if bind == _WILDCARD else f".{bind}"
        name = f"https.{number}.{server.port.name}.{gateway.name}.{gateway.namespace}{suffix}"
        made.routes.append(gatewayRoutes(context, destinations, name, number, [(server, gateway)], isTLS=True))
        network = [_manager(context, bind, number, name, filters)]
    else:
        targets = _connections(context, destinations, one, number)
        if targets is None:
            return []
        network = [*filters.forConnections, targets]
    return [without({"filterChainMatch": match, "filters": network, "transportSocket": socket})]


def _connections(context: Context, destinations: Destinations, one: _Served, number: int) -> JSON | None:
    """
    Where the TCP routes of the VirtualServices of a Gateway send connections; the first that matches counts.
    """
    for resource, gateways in routesBoundTo(context, one.gateway):
        if not boundHosts(context, one.server, one.gateway, resource):
            continue
        for route in resource.spec.tcp:
            matches = route.match
            fits = not matches or any(
                (not match.port or match.port == number)
                and (not match.gateways or any(name in gateways for name in match.gateways))
                for match in matches
            )
            if fits:
                context.uses(resource)
                clusters, policy = destinations.connections(route.route, resource, number)
                return tcpProxy(context, f"{resource.name}.{resource.namespace}", clusters, policy)
    return None


def _passed(
    context: Context, destinations: Destinations, one: _Served, number: int, filters: WorkloadFilters
) -> list[JSON]:
    """
    Connections that go on as they are: TLS by the name that is asked for, others to one place.
    """
    before = filters.forConnections
    if one.server.tls is None:
        targets = _connections(context, destinations, one, number)
        return [{"filters": [*before, targets]}] if targets is not None else []
    chains: list[JSON] = []
    seen: list[JSON] = []
    names = one.serverNames or ["*"]
    for resource, gateways in routesBoundTo(context, one.gateway):
        if not boundHosts(context, one.server, one.gateway, resource):
            continue
        for route in resource.spec.tls:
            for match in route.match:
                if match.port and match.port != number:
                    continue
                if match.gateways and not any(name in gateways for name in match.gateways):
                    continue
                sni = [host for host in match.sniHosts if any(within(host, name) for name in names)]
                ranges = [cidr(text) for text in match.destinationSubnets]
                told = tlsMatch(sni, ranges)
                if not sni or told in seen:
                    continue
                seen.append(told)
                context.uses(resource)
                clusters, policy = destinations.connections(route.route, resource, number)
                prefix = clusters[0][0] if len(clusters) == 1 else f"{resource.name}.{resource.namespace}"
                network = [*before, tcpProxy(context, prefix, clusters, policy)]
                chains.append({"filterChainMatch": told, "filters": network})
    return chains
