# -*- test-case-name: tests.controlplane.translate.test_scope -*-
"""
What a sidecar needs to know: all that its namespace sees, or what a Sidecar resource says.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from meshproxy.controlplane.model.common import Destination, selects
from meshproxy.controlplane.model.hosts import covers, fullName, overlaps
from meshproxy.controlplane.model.resource import Resource
from meshproxy.controlplane.model.sidecar import EgressListener, IngressListener
from meshproxy.controlplane.model.trafficpolicy import ConnectionPoolSettings
from meshproxy.controlplane.registry.index import ServiceIndex
from meshproxy.controlplane.registry.services import Resolution, Service
from meshproxy.controlplane.translate.mesh import MeshConfig
from meshproxy.controlplane.translate.proxy import Interception, Proxy
from meshproxy.controlplane.translate.resourceset import ResourceSet

__all__ = ["Placement", "Scope", "scopeOf", "sidecarsOf"]

_UNIX = "unix://"


@frozen
class Placement:
    """
    Where a port of a service is listened for.

    @ivar address: An address that a resource names, or L{None} for the usual one.
    @ivar binds: Whether it is really listened at, or only reached by interception.
    @ivar protocol: What a resource says is spoken there, or empty for what the service says.
    """

    address: str | None
    binds: bool
    protocol: str = ""


class Scope:
    """
    What a sidecar needs to know.

    @ivar resource: The Sidecar that says so, or L{None}.
    @ivar hidden: Younger ones for the same workloads, which do not count.
    @ivar services: The services that it may call.
    @ivar virtualServices: The VirtualServices that are about them.
    @ivar allowsAny: Whether it may call what is not known.
    @ivar egressProxy: Where that is sent, instead of to where it was going.
    """

    def __init__(
        self,
        proxy: Proxy,
        resource: Resource | None,
        hidden: Sequence[Resource],
        services: Sequence[Service],
        virtualServices: Sequence[Resource],
        allowsAny: bool,
        egressProxy: Destination | None = None,
    ) -> None:
        self._proxy = proxy
        self._egress: list[EgressListener] = list(resource.spec.egress) if resource is not None else []
        self.resource = resource
        self.hidden = hidden
        self.services = services
        self.virtualServices = virtualServices
        self.allowsAny = allowsAny
        self.egressProxy = egressProxy

    @property
    def ingress(self) -> list[IngressListener]:
        """
        Where it listens for its workload, if a resource says so.
        """
        return list(self.resource.spec.ingress) if self.resource is not None else []

    def inboundPool(self, port: int) -> ConnectionPoolSettings | None:
        """
        The limits of what comes to a port of the workload, if a resource says any: its own, else those of all ports.
        """
        if self.resource is None:
            return None
        found = (one.connectionPool for one in self.ingress if one.port is not None and one.port.number == port)
        pool: ConnectionPoolSettings | None = next(found, None) or self.resource.spec.inboundConnectionPool
        return pool

    def binds(self, captureMode: str) -> bool:
        """
        Whether a listener is really listened at.
        """
        if captureMode == "DEFAULT":
            return self._proxy.interception is Interception.NONE
        return captureMode == "NONE"

    @property
    def sockets(self) -> list[tuple[int, EgressListener]]:
        """
        The unix sockets by which its workload calls others, each with its place in the resource.
        """
        return [(index, one) for index, one in enumerate(self._egress) if one.bind.startswith(_UNIX)]

    def imports(self, listener: EgressListener, service: Service) -> bool:
        """
        Whether a service may be called by what a Sidecar lists.
        """
        own = self._proxy.namespace
        return any(_imports(host, service.host, service.namespace, own) for host in listener.hosts)

    def placement(self, service: Service, port: int) -> Placement | None:
        """
        Where a port of a service is listened for; L{None} if it is not.
        """
        for listener in self._egress:
            if listener.bind.startswith(_UNIX):
                continue
            if listener.port is not None and listener.port.number != port:
                continue
            if self.imports(listener, service):
                protocol = listener.port.protocol.upper() if listener.port is not None else ""
                return Placement(listener.bind or None, self.binds(listener.captureMode), protocol)
            if listener.port is not None:
                # A listener of its own: what it does not name is not at this port.
                return None
        return None if self._egress else Placement(None, self.binds("DEFAULT"))


def _imports(entry: str, host: str, namespace: str, own: str) -> bool:
    """
    Whether C{NAMESPACE/HOST} of an egress listener means a host of a namespace.
    """
    where, _, name = entry.partition("/")
    if where.startswith("~"):
        return False
    where = own if where == "." else where
    return where in ("*", namespace) and covers(name, host)


def sidecarsOf(proxy: Proxy, mesh: MeshConfig, resources: ResourceSet) -> list[Resource]:
    """
    The resource that counts for a proxy, and those that it hides: of its namespace one that selects it, else one for
    all, else that of the root namespace; the oldest of several.
    """
    found: list[list[Resource]] = [[], [], []]
    for resource in resources.all("Sidecar"):
        selector = resource.spec.workloadSelector
        labels = selector.labels if selector is not None else {}
        if resource.namespace == proxy.namespace:
            level = 1 if not labels else 0 if selects(labels, proxy.labels) else None
        else:
            level = 2 if resource.namespace == mesh.rootNamespace and not labels else None
        if level is not None:
            found[level].append(resource)
    return next((several for several in found if several), [])


def scopeOf(proxy: Proxy, mesh: MeshConfig, resources: ResourceSet, services: ServiceIndex) -> Scope:
    """
    What a proxy needs to know.
    """
    visible = services.visibleServices(proxy.namespace)
    if not (proxy.isSidecar and proxy.abilities.resolves):
        visible = [service for service in visible if service.resolution is not Resolution.DYNAMIC]
    virtual = resources.virtualServices(proxy.namespace, mesh)
    found = sidecarsOf(proxy, mesh, resources) if proxy.isSidecar else []
    if not found:
        return Scope(proxy, None, [], visible, virtual, mesh.outboundTrafficPolicy.mode == "ALLOW_ANY")
    sidecar, *hidden = found
    policy = sidecar.spec.outboundTrafficPolicy
    mode = policy.mode if policy is not None else mesh.outboundTrafficPolicy.mode
    egressProxy = policy.egressProxy if policy is not None else None
    hosts = [host for listener in sidecar.spec.egress for host in listener.hosts]
    if hosts:
        virtual = [resource for resource in virtual if _isAbout(resource, hosts, proxy, mesh)]
        needed = _destinations(virtual, mesh)
        if egressProxy is not None:
            needed.add(fullName(egressProxy.host, sidecar.namespace, mesh.domain))
        visible = [
            service
            for service in visible
            if service.host in needed
            or any(_imports(host, service.host, service.namespace, proxy.namespace) for host in hosts)
        ]
    return Scope(proxy, sidecar, hidden, visible, virtual, mode == "ALLOW_ANY", egressProxy)


def _isAbout(resource: Resource, entries: Sequence[str], proxy: Proxy, mesh: MeshConfig) -> bool:
    """
    Whether a VirtualService is about one of the hosts that are imported.
    """
    for text in resource.spec.hosts:
        host = fullName(text, resource.namespace, mesh.domain)
        for entry in entries:
            where, _, name = entry.partition("/")
            where = proxy.namespace if where == "." else where
            if where in ("*", resource.namespace) and overlaps(name, host):
                return True
    return False


def _destinations(virtual: Sequence[Resource], mesh: MeshConfig) -> set[str]:
    """
    The hosts that some VirtualServices lead to: who routes there calls them.
    """
    found: set[str] = set()
    for resource in virtual:
        spec = resource.spec
        targets = [to.destination for route in (*spec.http, *spec.tls, *spec.tcp) for to in route.route]
        for route in spec.http:
            targets += [route.mirror, *(mirror.destination for mirror in route.mirrors)]
        found |= {fullName(target.host, resource.namespace, mesh.domain) for target in targets if target is not None}
    return found
