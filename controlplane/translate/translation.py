# -*- test-case-name: tests.controlplane.translate.test_translation -*-
"""
All of it: resources and services to the configuration of one proxy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import define, field

from meshproxy.controlplane.model.problems import Problem
from meshproxy.controlplane.model.resource import Key
from meshproxy.controlplane.registry.index import ServiceIndex
from meshproxy.controlplane.registry.services import Resolution, Service, ServiceKey
from meshproxy.controlplane.translate.clusters import outboundClusters, passedClusters, passthroughClusters
from meshproxy.controlplane.translate.context import Context
from meshproxy.controlplane.translate.destinations import Destinations
from meshproxy.controlplane.translate.gateways import gatewayListeners
from meshproxy.controlplane.translate.inbound import inboundListeners
from meshproxy.controlplane.translate.mesh import MeshConfig
from meshproxy.controlplane.translate.messages import CLUSTER, ENDPOINTS, JSON, LISTENER, ROUTES, SECRET, messageOf
from meshproxy.controlplane.translate.outbound import outboundListeners
from meshproxy.controlplane.translate.passing import passingHosts, passingServices
from meshproxy.controlplane.translate.policies import Rules
from meshproxy.controlplane.translate.proxy import Proxy
from meshproxy.controlplane.translate.resourceset import ResourceSet
from meshproxy.controlplane.translate.secrets import gatewaySecrets
from meshproxy.controlplane.translate.shared import Shared

if TYPE_CHECKING:
    from google.protobuf.message import Message

__all__ = ["Translation", "endpointsAgain", "servedBy", "translate"]


@define
class Translation:
    """
    What a proxy is to have, each kind by name.

    @ivar listeners: In protobuf's JSON form, as all of them; L{messages} makes messages.
    @ivar secrets: Certificates that Gateways name. The identity of a workload is not among them.
    @ivar problems: What resources say and this proxy does not do, and what is said twice.
    @ivar resources: The resources that something was made from, those that were only looked for left out. A change of
        another one may concern this proxy as well if it is new: whoever caches compares the kinds.
    @ivar services: The services that something was made from.
    @ivar base: What it shares with others, and C{own} what it has beside; L{None} where nothing is shared.
    """

    listeners: dict[str, JSON] = field(factory=dict)
    routes: dict[str, JSON] = field(factory=dict)
    clusters: dict[str, JSON] = field(factory=dict)
    endpoints: dict[str, JSON] = field(factory=dict)
    secrets: dict[str, JSON] = field(factory=dict, repr=False)
    problems: list[Problem] = field(factory=list)
    resources: frozenset[Key] = frozenset()
    services: frozenset[ServiceKey] = frozenset()
    base: Translation | None = field(default=None, repr=False, eq=False)
    own: Translation | None = field(default=None, repr=False, eq=False)

    def messages(self) -> dict[str, dict[str, Message]]:
        """
        The messages by type and name.
        """
        return {
            typeName: {name: messageOf(typeName, value) for name, value in values.items()}
            for typeName, values in (
                (LISTENER, self.listeners),
                (ROUTES, self.routes),
                (CLUSTER, self.clusters),
                (ENDPOINTS, self.endpoints),
                (SECRET, self.secrets),
            )
        }


def _named(values: Iterable[JSON]) -> dict[str, Any]:
    return {value["name"]: value for value in values}


def translate(
    proxy: Proxy,
    mesh: MeshConfig,
    resources: ResourceSet,
    services: ServiceIndex,
    shared: Shared | None = None,
) -> Translation:
    """
    The configuration of a proxy.

    @param proxy: Who it is for.
    @param mesh: What holds for the whole mesh.
    @param resources: All resources.
    @param services: All services and endpoints.
    @param shared: What was made of the same for other proxies.
    """
    context = Context(proxy, mesh, resources, services)
    destinations = Destinations(context)
    visible = context.scope.services
    for loser, winner in services.hidden:
        if winner in visible:
            _tellHidden(context, loser, winner)
    shared = shared or Shared()
    made = Translation()
    if proxy.isSidecar:
        outbound = shared.outbound(context, partial(_outbound, context, destinations, shared))
        own = shared.inbound(context, partial(_inbound, context, destinations))
        made.base, made.own = outbound, own
        made.endpoints.update(outbound.endpoints)
        made.clusters.update(outbound.clusters)
        made.clusters.update(own.clusters)
        made.secrets.update(own.secrets)
        made.routes.update(outbound.routes)
        made.listeners.update(outbound.listeners)
        made.listeners.update(own.listeners)
    else:
        clusters = outboundClusters(context, destinations.rules, visible, shared)
        made.endpoints.update(clusters.endpoints)
        made.clusters.update(clusters.clusters)
        made.clusters.update(passthroughClusters(context))
        passed = passedClusters(context, destinations.rules, passingServices(context, passingHosts(context)))
        made.endpoints.update(passed.endpoints)
        made.clusters.update(passed.clusters)
        gateways = gatewayListeners(context, destinations)
        made.listeners.update(_named(gateways.listeners))
        made.routes.update(_named(gateways.routes))
        made.secrets.update(gatewaySecrets(context, gateways.credentials))
    made.problems = context.problems
    made.resources = frozenset(context.resourcesUsed)
    made.services = frozenset(context.servicesUsed)
    return made


def _inbound(context: Context, destinations: Destinations) -> Translation:
    """
    What a sidecar needs for what comes to its workload.
    """
    own = inboundListeners(context, destinations)
    secrets = gatewaySecrets(context, own.credentials)
    return Translation(listeners=_named(own.listeners), clusters=own.clusters, secrets=secrets)


def _outbound(context: Context, destinations: Destinations, shared: Shared) -> Translation:
    """
    What a sidecar needs for what its workload calls.
    """
    visible = context.scope.services
    clusters = outboundClusters(context, destinations.rules, visible, shared)
    listeners = outboundListeners(context, destinations, visible, shared)
    return Translation(
        listeners=_named(listeners.listeners),
        routes=_named(listeners.routes),
        clusters={**clusters.clusters, **passthroughClusters(context)},
        endpoints=clusters.endpoints,
    )


def _tellHidden(context: Context, loser: Service, winner: Service) -> None:
    """
    Two resources that tell of one service.
    """
    resources = context.resources.get(*loser.origin), context.resources.get(*winner.origin)
    if resources[0] is not None and resources[1] is not None:
        context.conflict(f"two services {loser.host}", resources[0], resources[1], "metadata", "name")


def endpointsAgain(
    proxy: Proxy,
    mesh: MeshConfig,
    resources: ResourceSet,
    services: ServiceIndex,
    changed: Sequence[ServiceKey],
    shared: Shared | None = None,
) -> dict[str, JSON] | None:
    """
    The endpoints of some services anew, when nothing but endpoints changed.

    @return: L{None} if more than endpoints follows from the change: a cluster that holds them itself.
    """
    context = Context(proxy, mesh, resources, services)
    found = [service for key in changed if (service := services.service(key)) is not None]
    visible = {service.key for service in context.scope.services}
    seen = [service for service in found if service.key in visible]
    if any(service.resolution is not Resolution.STATIC for service in seen):
        return None
    rules = Rules(context)
    passing = passingServices(context, passingHosts(context), seen)
    return {
        **outboundClusters(context, rules, seen, shared).endpoints,
        **passedClusters(context, rules, passing).endpoints,
    }


def servedBy(proxy: Proxy, services: ServiceIndex) -> frozenset[ServiceKey]:
    """
    The services that a workload is an endpoint of.
    """
    return frozenset(target.service.key for target in services.targets(proxy.addresses, proxy.namespace))
