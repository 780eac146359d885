# -*- test-case-name: tests.controlplane.analysis.test_whole -*-
"""
All that is to be said of resources together: what is not found, not used, said twice, or has no effect.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from meshproxy.controlplane.analysis.references import NOT_FOUND, missingReferences
from meshproxy.controlplane.model.problems import Problem
from meshproxy.controlplane.model.resource import Resource
from meshproxy.controlplane.registry.registry import indexOf
from meshproxy.controlplane.translate.mesh import MeshConfig
from meshproxy.controlplane.translate.proxy import Proxy, Role
from meshproxy.controlplane.translate.resourceset import ResourceSet
from meshproxy.controlplane.translate.translation import translate

__all__ = ["analyzed", "proxiesOf"]


def proxiesOf(resources: Iterable[Resource]) -> list[Proxy]:
    """
    Proxies that between them have to do with all resources: a sidecar in each namespace, a gateway for each Gateway,
    and one for each workload that a policy selects.
    """
    sidecars: dict[tuple[str, tuple[tuple[str, str], ...]], Proxy] = {}
    routers: dict[tuple[str, tuple[tuple[str, str], ...]], Proxy] = {}
    for resource in resources:
        namespace = resource.namespace or "default"
        labels: dict[str, str] = {}
        selector: Any = getattr(resource.spec, "selector", None)
        if isinstance(selector, dict):
            labels = dict(selector)
        elif hasattr(selector, "matchLabels"):
            labels = dict(selector.matchLabels)
        key = (namespace, tuple(sorted(labels.items())))
        if resource.kind == "Gateway":
            routers[key] = Proxy(id=f"gateway of {namespace}", namespace=namespace, role=Role.ROUTER, labels=labels)
        else:
            sidecars[key] = Proxy(id=f"sidecar in {namespace}", namespace=namespace, labels=labels)
    return [*sidecars.values(), *routers.values()]


def _isTold(problem: Problem, missing: Sequence[Problem]) -> bool:
    """
    Whether the same is said of a name already, with its place.
    """
    if problem.code != NOT_FOUND or problem.path:
        return False
    told = problem.message.partition(": requests")[0]
    return any(one.resource == problem.resource and one.message.startswith(told) for one in missing)


def analyzed(resources: Sequence[Resource], mesh: MeshConfig, problems: Iterable[Problem] = ()) -> list[Problem]:
    """
    What is to be said, in the order of the texts.

    @param problems: What was said when they were read.
    """
    everything, services = ResourceSet(resources), indexOf(resources, mesh.domain)
    missing = missingReferences(resources, services, mesh.domain)
    found: dict[Problem, None] = dict.fromkeys([*problems, *missing])
    for proxy in proxiesOf(resources):
        told = translate(proxy, mesh, everything, services).problems
        found.update(dict.fromkeys(one for one in told if not _isTold(one, missing)))
    return sorted(found, key=lambda one: (one.file or "", one.line, one.column, one.message))
