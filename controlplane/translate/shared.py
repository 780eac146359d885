# -*- test-case-name: tests.controlplane.translate.test_shared -*-
"""
What the configurations of several proxies have in common: the clusters of the services that they call.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

from attrs import define

from meshproxy.controlplane.model.problems import Problem
from meshproxy.controlplane.model.resource import Key
from meshproxy.controlplane.registry.services import Service

if TYPE_CHECKING:
    from meshproxy.controlplane.translate.clusters import OutboundClusters
    from meshproxy.controlplane.translate.context import Context
    from meshproxy.controlplane.translate.policies import Rule

__all__ = ["Shared"]


@define
class _Made:
    """
    @ivar rule: What it was made with; held here, so that no other rule gets its identity.
    """

    clusters: OutboundClusters
    problems: list[Problem]
    resources: set[Key]
    rule: Rule | None


class Shared:
    """
    The clusters of services as they were made for one proxy, for all others that would get the same.

    One of these serves translations as long as they are given the same mesh, services and endpoints, and the same
    resources of the kinds C{DestinationRule} and C{PeerAuthentication}.
    """

    def __init__(self) -> None:
        self._made: dict[Hashable, _Made] = {}

    def clusters(
        self, context: Context, service: Service, rule: Rule | None, make: Callable[[], OutboundClusters]
    ) -> OutboundClusters:
        """
        The clusters of a service under a rule, made only if nobody had them yet. They are not to be changed.

        @param make: Makes them, for C{context}; what it tells there is told to each who gets them.
        """
        proxy = context.proxy
        caller = (proxy.dataPlane, proxy.intercepts, proxy.isSidecar, proxy.locality, proxy.sdsCluster)
        key = (service.key, None if rule is None else rule.identity, caller)
        made = self._made.get(key)
        if made is None:
            problems, resources = context.problems, context.resourcesUsed
            context.problems, context.resourcesUsed = [], set()
            try:
                made = _Made(make(), context.problems, context.resourcesUsed, rule)
            finally:
                context.problems, context.resourcesUsed = problems, resources
            self._made[key] = made
        context.resourcesUsed |= made.resources
        context.problems += [problem for problem in made.problems if problem not in context.problems]
        return made.clusters
