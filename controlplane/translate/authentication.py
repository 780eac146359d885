# -*- test-case-name: tests.controlplane.translate.test_authentication -*-
"""
PeerAuthentication: which mode of mutual TLS a port of a workload has.

The nearest that says something counts: port, workload, namespace, mesh; where nobody says anything it is PERMISSIVE.
Inside a level the oldest resource counts.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from meshproxy.controlplane.model.common import selects
from meshproxy.controlplane.model.resource import Resource
from meshproxy.controlplane.translate.resourceset import ResourceSet

__all__ = ["MutualTLSMode", "PeerPolicy", "peerPolicy"]


class MutualTLSMode(Enum):
    """
    What a port takes.
    """

    DISABLE = "DISABLE"
    PERMISSIVE = "PERMISSIVE"
    STRICT = "STRICT"


class PeerPolicy:
    """
    The modes of one workload.

    @ivar mode: That of ports that nothing is said of.
    """

    def __init__(self, mode: MutualTLSMode, ports: dict[int, MutualTLSMode]) -> None:
        self.mode = mode
        self._ports = ports

    def forPort(self, port: int) -> MutualTLSMode:
        """
        The mode of a port of the workload.
        """
        return self._ports.get(port, self.mode)


def _modeOf(told: str | None) -> MutualTLSMode | None:
    return None if told is None or told == "UNSET" else MutualTLSMode(told)


def peerPolicy(
    resources: ResourceSet,
    namespace: str,
    labels: dict[str, str],
    root: str,
    uses: Callable[[Resource], None] = lambda resource: None,
    conflict: Callable[[str, Resource, Resource], None] = lambda why, loser, winner: None,
) -> PeerPolicy:
    """
    The modes of a workload.

    @param root: The namespace whose resources apply to all.
    @param uses: Is told of each resource that counts.
    @param conflict: Is told of each that does not, and of the older one that does.
    """
    levels: list[Resource | None] = [None, None, None]
    for resource in resources.all("PeerAuthentication"):
        selector = resource.spec.selector.matchLabels if resource.spec.selector is not None else {}
        if resource.namespace == namespace and selector:
            level = 2 if selects(selector, labels) else None
        elif selector:
            # One of the root namespace with a selector means workloads of that namespace.
            level = None
        else:
            level = (
                1
                if resource.namespace == namespace and namespace != root
                else 0
                if resource.namespace == root
                else None
            )
        if level is None:
            continue
        first = levels[level]
        if first is None:
            levels[level] = resource
        else:
            conflict("two PeerAuthentications for the same workloads", resource, first)
    mode = MutualTLSMode.PERMISSIVE
    ports: dict[int, MutualTLSMode] = {}
    for found in levels:
        if found is not None:
            uses(found)
            mode = _modeOf(found.spec.mtls.mode if found.spec.mtls is not None else None) or mode
    workload = levels[2]
    if workload is not None:
        for port, settings in workload.spec.portLevelMtls.items():
            # A port that is UNSET has the mode of its workload.
            ports[int(port)] = _modeOf(settings.mode) or mode
    return PeerPolicy(mode, ports)
