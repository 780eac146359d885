# -*- test-case-name: tests.controlplane.explain.test_origins -*-
"""
Which field of which resource a part of an explanation comes from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from meshproxy.controlplane.explain.subject import Mesh
from meshproxy.controlplane.model.resource import Key, Resource
from meshproxy.controlplane.model.spots import pathOf

__all__ = ["Origins", "originOf", "stepsOf"]

#: What can be written as JSON.
Told = dict[str, Any]

#: Istio's words for kinds in metadata.
_KINDS = {"virtual-service": "VirtualService", "destination-rule": "DestinationRule"}
_CONFIG = re.compile(r"/apis/([^/]*)/v1/namespaces/([^/]*)/([^/]*)/([^/]*)")
_STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")
_POLICY = re.compile(r"ns\[([^\]]*)\]-policy\[([^\]]*)\]-rule\[(\d+)\]")

_SECURITY, _NETWORKING = "security.istio.io", "networking.istio.io"
_DEFAULT = "default"


def stepsOf(path: str) -> tuple[str | int, ...]:
    """
    C{spec.http[1].timeout} as keys and indices.
    """
    return tuple(int(number) if number else name for number, name in _STEP.findall(path))


def originOf(resource: Resource, *steps: str | int) -> Told:
    """
    A field of a resource, with its place where that is known.
    """
    told: Told = {"resource": resource.title}
    if steps:
        told["field"] = pathOf(steps)
    place = resource.place(*steps)
    if place.line and place.file:
        told["at"] = f"{place.file}:{place.line}"
    return told


class Origins:
    """
    Finds them, in the resources of a mesh.
    """

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh

    def resource(self, config: str) -> Resource | None:
        """
        The resource that metadata name.
        """
        found = _CONFIG.fullmatch(config)
        if found is None or found[3] not in _KINDS:
            return None
        return self._mesh.resource(Key(found[1], _KINDS[found[3]], found[2], found[4]))

    def route(self, told: Told) -> list[Told]:
        """
        A route: the VirtualService, and who it delegates to.
        """
        origin = told.get("origin", {})
        found = []
        for config, field in (("config", "field"), ("delegate", "delegateField")):
            resource = self.resource(origin.get(config, ""))
            if resource is not None:
                found.append(originOf(resource, *stepsOf(origin.get(field, ""))))
        return found

    def _said(self, told: Told) -> Iterator[tuple[Resource, tuple[str | int, ...], Any]]:
        """
        Who says something of a route, nearest first: the resource, where in it, and what.
        """
        origin = told.get("origin", {})
        for config, field in (("delegate", "delegateField"), ("config", "field")):
            resource = self.resource(origin.get(config, ""))
            steps = stepsOf(origin.get(field, ""))[:3]
            if resource is not None and len(steps) == 3 and isinstance(steps[2], int):
                routes = resource.spec.http
                if steps[2] < len(routes):
                    yield resource, steps, routes[steps[2]]

    def ofRoute(self, told: Told, *names: str) -> Told | None:
        """
        A field of the route: C{"timeout"}, or C{"retries", "perTryTimeout"}; L{None} if nobody sets it.
        """
        for resource, steps, value in self._said(told):
            held = value
            for name in names:
                held = getattr(held, name, None)
            if held is not None and held not in ("", []):
                return originOf(resource, *steps, *names)
        return None

    def destinations(self, told: Told) -> list[Told]:
        """
        The destinations that requests are sent to, in their order.
        """
        for resource, steps, value in self._said(told):
            chosen = [(number, one) for number, one in enumerate(value.route) if one.destination is not None]
            if len(chosen) > 1:
                chosen = [(number, one) for number, one in chosen if one.weight > 0]
            if chosen:
                return [originOf(resource, *steps, "route", number) for number, _ in chosen]
        return []

    def policies(self, names: list[str]) -> list[Told]:
        """
        The rules of AuthorizationPolicies that RBAC names.
        """
        found = []
        for name in names:
            parts = _POLICY.search(name)
            if parts is not None:
                resource = self._mesh.resource(Key(_SECURITY, "AuthorizationPolicy", parts[1], parts[2]))
                if resource is not None:
                    hasRules = bool(resource.spec.rules)
                    found.append(originOf(resource, "spec", *(("rules", int(parts[3])) if hasRules else ())))
        return found

    def cluster(self, told: Told, subset: str) -> list[Told]:
        """
        The DestinationRule of a cluster, and its subset.
        """
        resource = self.resource(told.get("origin", {}).get("config", ""))
        if resource is None:
            return []
        names = [one.name for one in resource.spec.subsets]
        if subset and subset in names:
            return [originOf(resource, "spec", "subsets", names.index(subset))]
        return [originOf(resource, "spec")]

    def ofCluster(self, told: Told, subset: str, *names: str) -> Told | None:
        """
        A field of the traffic policy of a cluster: that of its subset, else that of the rule.
        """
        resource = self.resource(told.get("origin", {}).get("config", ""))
        if resource is None:
            return None
        subsets = [one.name for one in resource.spec.subsets]
        places: list[tuple[Any, tuple[str | int, ...]]] = [(resource.spec, ("spec",))]
        if subset in subsets:
            number = subsets.index(subset)
            places.insert(0, (resource.spec.subsets[number], ("spec", "subsets", number)))
        for holder, steps in places:
            held = holder
            for name in ("trafficPolicy", *names):
                held = getattr(held, name, None)
            if held is not None:
                return originOf(resource, *steps, "trafficPolicy", *names)
        return None

    def service(self, host: str, namespace: str) -> list[Told]:
        """
        The resource that tells of a service.
        """
        service = self._mesh.services.visible(host, namespace)
        resource = None if service is None else self._mesh.resource(service.origin)
        return [] if resource is None else [originOf(resource)]
