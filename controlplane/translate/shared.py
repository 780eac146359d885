# -*- test-case-name: tests.controlplane.translate.test_shared -*-
"""
What the configurations of several proxies have in common: what they call.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Set
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from attrs import define

from meshproxy.controlplane.model.problems import Problem
from meshproxy.controlplane.model.resource import Key, Resource
from meshproxy.controlplane.registry.services import Service, ServiceKey

if TYPE_CHECKING:
    from meshproxy.controlplane.model.destinationrule import DestinationRule
    from meshproxy.controlplane.model.trafficpolicy import LocalityLbSetting, ZoneAwareLbSetting
    from meshproxy.controlplane.translate.clusters import OutboundClusters
    from meshproxy.controlplane.translate.context import Context
    from meshproxy.controlplane.translate.mesh import MeshConfig
    from meshproxy.controlplane.translate.policies import Rule
    from meshproxy.controlplane.translate.proxy import Proxy
    from meshproxy.controlplane.translate.resourceset import ResourceSet

__all__ = ["Hosts", "Shared"]

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


@define
class _Made(Generic[T]):
    """
    Something, and what was told while it was made.

    @ivar held: What gave it its name by its identity: held here, so that nothing else gets that.
    """

    it: T
    problems: list[Problem]
    resources: set[Key]
    services: set[ServiceKey]
    held: object


def _made(known: dict[K, _Made[T]], key: K, held: object, context: Context, make: Callable[[], T]) -> T:
    found = known.get(key)
    if found is None:
        before = context.problems, context.resourcesUsed, context.servicesUsed
        context.problems, context.resourcesUsed, context.servicesUsed = [], set(), set()
        try:
            found = _Made(make(), context.problems, context.resourcesUsed, context.servicesUsed, held)
        finally:
            context.problems, context.resourcesUsed, context.servicesUsed = before
        known[key] = found
    context.resourcesUsed |= found.resources
    context.servicesUsed |= found.services
    context.problems += [problem for problem in found.problems if problem not in context.problems]
    return found.it


class Hosts:
    """
    The virtual hosts of one port that were made for proxies which are alike: as long as neither the services nor how
    they are called change, only those are made again whose VirtualService is another one.
    """

    def __init__(self) -> None:
        self._made: dict[Hashable, _Made[Any]] = {}
        self._named: dict[str, tuple[object, list[str], Any]] = {}

    def routes(self, context: Context, subject: Resource | Service, make: Callable[[], T]) -> T:
        """
        The routes that follow from a VirtualService or a service.

        @param make: Makes them, for C{context}.
        """
        found = self._made.get(subject.key)
        if found is not None and found.held is not subject:
            del self._made[subject.key]
        made: T = _made(self._made, subject.key, subject, context, make)
        return made

    def named(self, host: str, virtual: object, domains: list[str], make: Callable[[], T]) -> T:
        """
        The virtual host of a name.

        @param virtual: What it is made of, with C{domains}.
        """
        found = self._named.get(host)
        if found is None or found[0] is not virtual or found[1] != domains:
            found = self._named[host] = virtual, domains, make()
        made: T = found[2]
        return made

    @property
    def size(self) -> int:
        """
        How much is remembered.
        """
        return len(self._made) + len(self._named)


_MOST = 200_000
"""
Virtual hosts that are remembered; those that are gone are among them, until it is too many.
"""


class Shared:
    """
    What was made for one proxy, for all others that would get the same. It is not to be changed.

    One of these serves translations as long as they are given the same mesh, resources, services and endpoints.
    """

    def __init__(
        self,
        before: Shared | None = None,
        changed: Set[ServiceKey] = frozenset(),
        keepsHosts: bool = False,
        keepsInbound: bool = False,
    ) -> None:
        """
        @param before: One whose clusters hold still: the mesh is the same, and so are the resources of the kinds
            C{DestinationRule} and C{PeerAuthentication}.
        @param changed: The services whose clusters do not: they, or their endpoints, are not the same.
        @param keepsHosts: Whether all services are the same; their endpoints do not matter.
        @param keepsInbound: Whether nothing changed but resources of the kind C{VirtualService}.
        """
        self._inbound: dict[int, _Made[Any]] = before._inbound if before is not None and keepsInbound else {}
        self._hosts: dict[Hashable, Hosts] = {}
        if before is not None and keepsHosts and sum(one.size for one in before._hosts.values()) < _MOST:
            self._hosts = before._hosts
        self._clusters: dict[tuple[ServiceKey, Hashable, Hashable, Hashable], _Made[OutboundClusters]] = {}
        if before is not None:
            known = before._clusters
            self._clusters = {key: one for key, one in known.items() if key[0] not in changed} if changed else known
        self._outbound: dict[Hashable, _Made[object]] = {}
        self._labelsMatter: bool | None = None
        self._labelsOrder: bool | None = None

    def clusters(
        self, context: Context, service: Service, rule: Rule | None, make: Callable[[], OutboundClusters]
    ) -> OutboundClusters:
        """
        The clusters of a service under a rule, made only if nobody had them yet.

        @param make: Makes them, for C{context}; what it tells there is told to each who gets them.
        """
        proxy = context.proxy
        caller = (proxy.dataPlane, proxy.intercepts, proxy.isSidecar, proxy.locality, proxy.network, proxy.sdsCluster)
        hasOrder = self._ordersByLabels(context.resources, context.mesh)
        labels = tuple(sorted(proxy.topology.items())) if hasOrder else None
        key = (service.key, None if rule is None else rule.identity, caller, labels)
        return _made(self._clusters, key, rule, context, make)

    def outbound(self, context: Context, make: Callable[[], T]) -> T:
        """
        All that a sidecar needs for what its workload calls, made only if no sidecar like it had it yet.

        @param make: Makes it, for C{context}.
        """
        key = self.likeness(context.proxy, context.resources, context.mesh, context.scope.resource)
        return _made(self._outbound, key, None, context, make)  # type: ignore[return-value]  # always the same type

    def inbound(self, context: Context, make: Callable[[], T]) -> T:
        """
        What a sidecar needs for what comes to its workload, made only if it was not made for this very proxy.

        @param make: Makes it, for C{context}.
        """
        made: T = _made(self._inbound, id(context.proxy), context.proxy, context, make)
        return made

    def forget(self, proxy: Proxy) -> None:
        """
        A proxy is gone.
        """
        self._inbound.pop(id(proxy), None)

    def hosts(self, context: Context, port: int) -> Hosts:
        """
        The virtual hosts of a port.
        """
        like = self.likeness(context.proxy, context.resources, context.mesh, context.scope.resource)
        return self._hosts.setdefault((like, port), Hosts())

    def likeness(self, proxy: Proxy, resources: ResourceSet, mesh: MeshConfig, sidecar: Resource | None) -> Hashable:
        """
        The same for proxies that get the same for what their workloads call.

        @param sidecar: The Sidecar that counts for it.
        """
        return (
            proxy.namespace,
            proxy.dataPlane,
            proxy.role,
            proxy.interception,
            proxy.locality,
            proxy.network,
            proxy.sdsCluster,
            proxy.outboundAddress,
            None if sidecar is None else sidecar.key,
            tuple(sorted(proxy.topology.items())) if self._asksLabels(resources, mesh) else None,
        )

    def _asksLabels(self, resources: ResourceSet, mesh: MeshConfig) -> bool:
        """
        Whether it depends on the labels of a caller what it gets for what it calls.
        """
        if self._labelsMatter is None:
            self._labelsMatter = (
                any(one.spec.workloadSelector is not None for one in resources.all("DestinationRule"))
                or any(_selectsCallers(one) for one in resources.all("VirtualService"))
                or self._ordersByLabels(resources, mesh)
            )
        return self._labelsMatter

    def _ordersByLabels(self, resources: ResourceSet, mesh: MeshConfig) -> bool:
        """
        Whether the labels of a caller decide which endpoints it asks first.
        """
        if self._labelsOrder is None:
            self._labelsOrder = any(
                setting is not None and bool(setting.failoverPriority)
                for setting in (
                    mesh.localityLbSetting,
                    mesh.zoneAwareLbSetting,
                    *(one for rule in resources.all("DestinationRule") for one in _settings(rule.spec)),
                )
            )
        return self._labelsOrder


def _settings(rule: DestinationRule) -> Iterator[LocalityLbSetting | ZoneAwareLbSetting | None]:
    """
    All that a rule says of localities.
    """
    for policy in (rule.trafficPolicy, *(subset.trafficPolicy for subset in rule.subsets)):
        if policy is None:
            continue
        for balancer in (policy.loadBalancer, *(port.loadBalancer for port in policy.portLevelSettings)):
            if balancer is not None:
                yield balancer.localityLbSetting
                yield balancer.zoneAwareLbSetting


def _selectsCallers(resource: Resource) -> bool:
    spec = resource.spec
    return any(match.sourceLabels for route in (*spec.http, *spec.tls, *spec.tcp) for match in route.match)
