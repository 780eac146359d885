# -*- test-case-name: tests.controlplane.translate.test_routes -*-
"""
Where destinations of routes lead.
"""

from __future__ import annotations

from collections.abc import Sequence

from meshproxy.controlplane.model.common import Destination
from meshproxy.controlplane.model.hosts import fullName
from meshproxy.controlplane.model.resource import Resource
from meshproxy.controlplane.model.routes import RouteDestination
from meshproxy.controlplane.model.trafficpolicy import TrafficPolicy
from meshproxy.controlplane.registry.services import Service
from meshproxy.controlplane.translate.context import Context
from meshproxy.controlplane.translate.hashing import hashPolicies
from meshproxy.controlplane.translate.names import PASSTHROUGH, clusterName
from meshproxy.controlplane.translate.policies import Rule, Rules, policyFor
from meshproxy.controlplane.translate.routes import Target

__all__ = ["Destinations"]


class Destinations:
    """
    Finds the clusters of destinations, for one translation.

    @ivar rules: The rules of all services.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self.rules = Rules(context)

    def rule(self, service: Service) -> Rule | None:
        """
        The rule of a service.
        """
        return self.rules.of(service)

    def service(self, host: str, resource: Resource) -> Service | None:
        """
        What a host means in a resource: a service that the proxy sees.
        """
        context = self._context
        full = fullName(host, resource.namespace, context.mesh.domain)
        namespace = context.proxy.namespace
        return context.services.visible(full, namespace) or context.services.visible(full, resource.namespace)

    def target(self, destination: Destination, resource: Resource, port: int) -> Target:
        """
        Where a destination leads. A host that nobody knows leads to a cluster that is not there, so that requests
        fail with a reason instead of going elsewhere.

        @param port: The one that the request came to.
        """
        context = self._context
        service = self.service(destination.host, resource)
        if service is None:
            full = fullName(destination.host, resource.namespace, context.mesh.domain)
            number = destination.port.number if destination.port is not None else port
            context.warn("not-found", f"the host {full!r} is not known: requests to it fail", resource)
            return Target(clusterName(number, destination.subset, full), [])
        context.usesService(service.key)
        if destination.port is not None:
            number = destination.port.number
        else:
            # A service with one port means that one, whatever the port of the request.
            number = service.ports[0].number if len(service.ports) == 1 else port
        rule = self.rule(service)
        subset = rule.subset(destination.subset) if rule is not None and destination.subset else None
        if destination.subset and subset is None:
            why = f"{service.host} has no subset {destination.subset!r}: requests to it fail"
            context.warn("not-found", why, resource)
        elif service.port(number) is None:
            context.warn("not-found", f"{service.host} has no port {number}: requests to it fail", resource)
        name = clusterName(number, destination.subset, service.host)
        policy = policyFor(rule, number, subset)
        return Target(name, hashPolicies(policy), policy)

    def elsewhere(self) -> str | None:
        """
        The cluster for what no service is known for: that of the egress proxy, if the workload has one, or to where it
        was going; L{None} for nowhere.
        """
        scope = self._context.scope
        if not scope.allowsAny:
            return None
        if scope.egressProxy is not None and scope.resource is not None:
            return self.target(scope.egressProxy, scope.resource, 0).cluster
        return PASSTHROUGH if self._context.proxy.intercepts else None

    def connections(
        self, routes: Sequence[RouteDestination], resource: Resource, port: int
    ) -> tuple[list[tuple[str, int]], TrafficPolicy | None]:
        """
        Where connections are sent: clusters and weights; and the policy of a single one, which holds for the
        connections themselves, too.

        @param port: The one that the connections came to.
        """
        found = [
            (self.target(one.destination, resource, port), one.weight) for one in routes if one.destination is not None
        ]
        clusters = [(target.cluster, weight) for target, weight in found]
        return clusters, found[0][0].policy if len(found) == 1 else None
