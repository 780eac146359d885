# -*- test-case-name: tests.controlplane.translate.test_listeners -*-
"""
What a sidecar listens for in front of its workload.

Where connections are intercepted there is one listener with chains for each port; without interception one for each.
Which chains a port has follows from what it speaks and from its mode of mutual TLS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial

from attrs import define, field, frozen

from meshproxy.controlplane.model.gateway import ServerTLSSettings
from meshproxy.controlplane.model.resource import Resource
from meshproxy.controlplane.model.sidecar import IngressListener, endpointOf
from meshproxy.controlplane.registry.index import Target
from meshproxy.controlplane.registry.services import AUTO, Port, Service
from meshproxy.controlplane.translate.authentication import MutualTLSMode, PeerPolicy, peerPolicy
from meshproxy.controlplane.translate.authorization import AuthorizationFilters, authorizationFilters
from meshproxy.controlplane.translate.chainkinds import CHAIN_KINDS, ChainKind
from meshproxy.controlplane.translate.clusters import inboundCluster
from meshproxy.controlplane.translate.context import Context
from meshproxy.controlplane.translate.destinations import Destinations
from meshproxy.controlplane.translate.httpconnection import Side, connectionManager, tcpProxy
from meshproxy.controlplane.translate.listeners import ORIGINAL_DESTINATION, inspectors, listener
from meshproxy.controlplane.translate.messages import JSON, without
from meshproxy.controlplane.translate.names import (
    BLACK_HOLE,
    INBOUND_PASSTHROUGH,
    VIRTUAL_INBOUND,
    clusterName,
    inboundName,
    listenerName,
)
from meshproxy.controlplane.translate.routepolicies import inboundRetryPolicy
from meshproxy.controlplane.translate.routes import defaultRoute
from meshproxy.controlplane.translate.secrets import credentialsOf
from meshproxy.controlplane.translate.tls import gatewayTLS, serverMutualTLS
from meshproxy.controlplane.translate.tokens import tokenFilters

__all__ = ["InboundListeners", "WorkloadFilters", "inboundListeners", "workloadFilters"]

_VIRTUAL_PORT = 15006
_WILDCARD = "0.0.0.0"


@define
class InboundListeners:
    """
    Listeners and the clusters behind them.

    @ivar credentials: The secrets that a Sidecar names, with it.
    """

    listeners: list[JSON] = field(factory=list)
    clusters: dict[str, JSON] = field(factory=dict)
    credentials: list[tuple[str, Resource]] = field(factory=list)


@frozen
class WorkloadFilters:
    """
    What stands before the last filter, on chains of requests and on chains of connections.
    """

    http: AuthorizationFilters
    tcp: Callable[[], AuthorizationFilters]
    tokens: list[JSON]

    @property
    def forRequests(self) -> list[JSON]:
        """
        All filters of requests: who is asked first, then the tokens, then the rules that look at them.
        """
        return [*self.http.custom, *self.tokens, *self.http.rules]

    @property
    def forConnections(self) -> list[JSON]:
        """
        All filters of connections.
        """
        tcp = self.tcp()
        return [*tcp.custom, *tcp.rules]


def workloadFilters(context: Context, destinations: Destinations) -> WorkloadFilters:
    """
    The filters that the policies of the workload ask for.
    """
    proxy, mesh = context.proxy, context.mesh
    policies = context.policies("AuthorizationPolicy")

    def lookUp(host: str, port: int) -> str | None:
        namespace, _, name = host.rpartition("/")
        service = context.services.visible(name, namespace or proxy.namespace)
        if service is None or service.port(port) is None:
            return None
        context.usesService(service.key)
        return clusterName(port, "", service.host)

    @cache
    def of(forTCP: bool) -> AuthorizationFilters:
        return authorizationFilters(policies, mesh, forTCP, proxy.abilities, context.warn, lookUp)

    # What cannot be asked about connections is told only where there are any.
    return WorkloadFilters(of(False), partial(of, True), tokenFilters(context))


def inboundListeners(context: Context, destinations: Destinations) -> InboundListeners:
    """
    The listeners in front of a workload.
    """
    proxy = context.proxy
    made = InboundListeners()
    root = context.mesh.rootNamespace
    peers = peerPolicy(context.resources, proxy.namespace, proxy.labels, root, context.uses, context.conflict)
    filters = workloadFilters(context, destinations)
    chains: list[JSON] = []
    for number, served in sorted(_served(context, peers).items()):
        cluster = inboundName(number)
        # What is listened at in earnest has no original destination.
        application = proxy.applicationAddress, proxy.applicationPorts.get(number, number)
        where = served.endpoint or (application if served.binds else None)
        pool = context.scope.inboundPool(number)
        made.clusters[cluster] = inboundCluster(context, cluster, served.port, served.services, where, pool)
        own = _chains(context, number, served, cluster, peers, filters)
        if served.tls is not None and context.scope.resource is not None:
            made.credentials += [(name, context.scope.resource) for name in credentialsOf(own)]
        if served.binds:
            made.listeners.append(_listener(context, served.bind, number, own))
        else:
            chains += own
    if proxy.intercepts:
        made.listeners.append(_virtual(context, chains, peers, filters))
    return made


@frozen(kw_only=True)
class _Served:
    """
    What is at one port of the workload.

    @ivar host: What to call it by, in traces.
    @ivar binds: Whether it is really listened at, or only reached by interception.
    @ivar bind: The address that a resource names, or nothing.
    @ivar endpoint: Where the workload is, if a resource says so: an address and a port.
    @ivar tls: How callers from outside of the mesh come, if a resource says so.
    """

    port: Port
    host: str
    services: list[Service]
    binds: bool
    bind: str = ""
    endpoint: tuple[str, int] | None = None
    tls: ServerTLSSettings | None = None

    @property
    def inner(self) -> str:
        """
        What is spoken within that.
        """
        return "http" if self.port.isHTTP or self.port.protocol == "HTTPS" else "tcp"


def _outsideTLS(context: Context, peers: PeerPolicy, index: int) -> ServerTLSSettings | None:
    """
    The TLS that a Sidecar wants at a port. Where peers come by mutual TLS there is none beside it.
    """
    listener, resource = context.scope.ingress[index], context.scope.resource
    if listener.tls is None or listener.port is None or resource is None:
        return None
    mode = peers.forPort(listener.port.number)
    if mode is MutualTLSMode.DISABLE:
        return listener.tls
    why = f"mutual TLS is {mode.value} at this port; a PeerAuthentication with DISABLE leaves it to others"
    context.notProgrammed(f"has no effect: {why}", resource, "spec", "ingress", index, "tls")
    return None


def _served(context: Context, peers: PeerPolicy) -> dict[int, _Served]:
    """
    The ports of the workload: those that a Sidecar names, else those of its services.
    """
    scope = context.scope
    if scope.ingress and scope.resource is not None:
        host = f"{scope.resource.name}.{scope.resource.namespace}"
        return {
            one.port.number: _Served(
                port=Port(name=one.port.name, number=one.port.number, protocol=one.port.protocol.upper()),
                host=host,
                services=[],
                binds=scope.binds(one.captureMode),
                bind=one.bind,
                endpoint=_endpoint(context, one),
                tls=_outsideTLS(context, peers, index),
            )
            for index, one in enumerate(scope.ingress)
            if one.port is not None
        }
    return {
        number: _Served(
            port=targets[0].port,
            host=targets[0].service.host,
            services=[one.service for one in targets],
            binds=scope.binds("DEFAULT"),
        )
        for number, targets in _portsOf(context).items()
    }


def _endpoint(context: Context, listener: IngressListener) -> tuple[str, int] | None:
    """
    Where a Sidecar says that the workload is: on the loopback interface, or (0.0.0.0) at its own address.
    """
    found = endpointOf(listener.defaultEndpoint) if listener.defaultEndpoint else None
    if found is None:
        return None
    address, port = found
    if address in ("0.0.0.0", "::"):
        isNew = address == "::"
        own = next((one for one in context.proxy.addresses if (":" in one) == isNew), "")
        address = own or ("::1" if isNew else "127.0.0.1")
    return address or "127.0.0.1", port


def _portsOf(context: Context) -> dict[int, list[Target]]:
    """
    The ports of the workload, each with what is served there, the oldest service first. Two services that speak
    different things at one port are told.
    """
    ports: dict[int, list[Target]] = {}
    for target in context.served():
        known = ports.setdefault(target.endpoint.port, [])
        if known and known[0].port.protocol != target.port.protocol:
            loser = context.resources.get(*target.service.origin)
            winner = context.resources.get(*known[0].service.origin)
            if loser is not None and winner is not None and loser is not winner:
                context.conflict(f"two protocols at the port {target.endpoint.port} of a workload", loser, winner)
            continue
        if target.service not in [one.service for one in known]:
            known.append(target)
    return ports


def _chains(
    context: Context,
    number: int,
    served: _Served,
    cluster: str,
    peers: PeerPolicy,
    filters: WorkloadFilters,
) -> list[JSON]:
    """
    The filter chains of one port.
    """
    port = served.port
    if served.tls is not None:
        kind = ChainKind("tls", (), served.inner == "http", True)
        kinds: tuple[ChainKind, ...] = (kind,)
        socket = gatewayTLS(context.proxy, served.tls, context.mesh.trustDomains, not kind.isHTTP)
    else:
        speaks = "http" if port.isHTTP else "auto" if port.isAuto else "tcp"
        kinds, socket = CHAIN_KINDS[speaks, peers.forPort(number)], None
    name = listenerName(_WILDCARD, number)
    routes = _routes(context, number, port, served.host, cluster)
    made = []
    for kind in kinds:
        network = _network(context, kind, f"inbound_{name}", cluster, routes, filters)
        if served.tls is not None and kind.isHTTP:
            # Who is no peer does not say who others are.
            network[-1]["typedConfig"]["forwardClientCertDetails"] = "SANITIZE_SET"
        made.append(_chain(context, name, kind, network, 0 if served.binds else number, socket))
    return made


def _routes(context: Context, number: int, port: Port, host: str, cluster: str) -> JSON:
    """
    All requests to the workload.
    """
    retries = inboundRetryPolicy(context.mesh.defaultInboundHttpRetryPolicy, port.protocol in ("GRPC", "GRPC-WEB"))
    operation = f"{host}:{port.number}/*"
    return {
        "name": cluster if number else INBOUND_PASSTHROUGH,
        "virtualHosts": [
            {
                "name": f"inbound|http|{port.number}",
                "domains": ["*"],
                "routes": [defaultRoute(cluster, operation, retries)],
            }
        ],
        "validateClusters": False,
    }


def _network(
    context: Context, kind: ChainKind, prefix: str, cluster: str, routes: JSON, filters: WorkloadFilters
) -> list[JSON]:
    """
    The network filters of a chain.
    """
    if kind.isHTTP:
        return [connectionManager(context, Side.INBOUND, prefix, routes, filters.forRequests)]
    return [*filters.forConnections, tcpProxy(context, cluster, [(cluster, 1)])]


def _chain(
    context: Context, name: str, kind: ChainKind, network: Sequence[JSON], port: int, socket: JSON | None = None
) -> JSON:
    """
    @param socket: How TLS ends here, if not as among peers.
    """
    if kind.ends and socket is None:
        socket = serverMutualTLS(context.proxy, context.mesh.trustDomains, not kind.isHTTP)
    return without(
        {
            "name": name,
            "filterChainMatch": without(
                {
                    "destinationPort": port or None,
                    "transportProtocol": kind.transport,
                    "applicationProtocols": list(kind.alpn),
                }
            ),
            "filters": list(network),
            "transportSocket": socket,
        }
    )


def _listener(context: Context, bind: str, number: int, chains: list[JSON]) -> JSON:
    """
    The listener of one port, without interception.
    """
    proxy = context.proxy
    host = bind or proxy.inboundAddress or (proxy.addresses[0] if proxy.addresses else _WILDCARD)
    filters = inspectors(chains)
    return without(
        {
            **listener(listenerName(host, number), host, number, "INBOUND"),
            "filterChains": chains,
            "listenerFilters": filters,
            "continueOnListenerFiltersTimeout": True if filters else None,
        }
    )


def _virtual(context: Context, chains: list[JSON], peers: PeerPolicy, filters: WorkloadFilters) -> JSON:
    """
    The listener that intercepted connections come to: chains of the ports, and of ports that no service names.
    """
    port = Port(number=0, protocol=AUTO)
    routes = _routes(context, 0, port, "", INBOUND_PASSTHROUGH)
    rest = []
    for kind in CHAIN_KINDS["auto", peers.mode]:
        network = _network(context, kind, INBOUND_PASSTHROUGH, INBOUND_PASSTHROUGH, routes, filters)
        name = "virtualInbound-catchall-http" if kind.isHTTP else VIRTUAL_INBOUND
        rest.append(_chain(context, name, kind, network, 0))
    blackhole = {
        # Who calls the port itself would be sent to it again, without end.
        "name": "virtualInbound-blackhole",
        "filterChainMatch": {"destinationPort": _VIRTUAL_PORT},
        "filters": [tcpProxy(context, BLACK_HOLE, [(BLACK_HOLE, 1)])],
    }
    return {
        **listener(VIRTUAL_INBOUND, _WILDCARD, _VIRTUAL_PORT, "INBOUND"),
        "filterChains": [blackhole, *chains, *rest],
        "listenerFilters": [ORIGINAL_DESTINATION, *inspectors([*chains, *rest])],
        "listenerFiltersTimeout": "0s",
        "continueOnListenerFiltersTimeout": True,
    }
