# -*- test-case-name: tests.controlplane.model.test_core -*-
"""
Service: what callers name, in Kubernetes' shape.
"""

from __future__ import annotations

from typing import Any, Literal

from attrs import Factory, field, frozen

from meshproxy.controlplane.model.names import badAddress, badFQDN, badLabel, badLabels, badPort
from meshproxy.controlplane.model.resource import Metadata
from meshproxy.controlplane.model.spots import Spot

__all__ = ["Service", "ServicePort", "checkService"]

_IGNORED = {"notProgrammed": "Kubernetes' own proxy reads it"}


@frozen(kw_only=True)
class ServicePort:
    """
    A port of a service.

    @ivar targetPort: That of the workloads: a number, or the name of one of their ports.
    """

    name: str = ""
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    appProtocol: str = ""
    port: int = 0
    targetPort: int | str | None = None
    nodePort: int = 0


@frozen(kw_only=True)
class Service:
    """
    A service of the mesh.
    """

    ports: list[ServicePort] = Factory(list)
    selector: dict[str, str] = Factory(dict)
    clusterIP: str = ""
    clusterIPs: list[str] = Factory(list)
    type: Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] = "ClusterIP"
    externalName: str = ""
    externalIPs: list[str] = field(factory=list, metadata=_IGNORED)
    sessionAffinity: Literal["None", "ClientIP"] = field(default="None")
    sessionAffinityConfig: Any = None
    loadBalancerIP: str = ""
    loadBalancerSourceRanges: list[str] = field(factory=list, metadata=_IGNORED)
    loadBalancerClass: str = ""
    allocateLoadBalancerNodePorts: bool | None = None
    externalTrafficPolicy: str = ""
    internalTrafficPolicy: str = ""
    trafficDistribution: str = ""
    healthCheckNodePort: int = 0
    publishNotReadyAddresses: bool = False
    ipFamilies: list[str] = Factory(list)
    ipFamilyPolicy: str = ""

    @property
    def isHeadless(self) -> bool:
        """
        Whether it has no address of its own, on purpose.
        """
        return self.clusterIP == "None"


def checkService(spec: Service, metadata: Metadata, spot: Spot) -> None:
    """
    Tell what is wrong with one.
    """
    if metadata.name and "." in metadata.name:
        spot.refuse(f"the name of a Service has no dots: {metadata.name!r}")
    if spec.type == "ExternalName":
        if spot["externalName"].require(spec.externalName, "is required for the type ExternalName, and not set"):
            spot["externalName"].judge(badFQDN(spec.externalName))
    elif not spec.isHeadless:
        spot["ports"].require(spec.ports)
    if spec.sessionAffinity == "ClientIP":
        spot["sessionAffinity"].notProgrammed("has no effect: a DestinationRule says useSourceIp for the mesh")
    for name, addresses in (("clusterIP", [spec.clusterIP]), ("clusterIPs", spec.clusterIPs)):
        for index, address in enumerate(addresses):
            if address not in ("", "None"):
                (spot[name] if name == "clusterIP" else spot[name][index]).judge(badAddress(address))
    spot["selector"].judge(badLabels(spec.selector))
    _checkPorts(spec, spot["ports"])


def _checkPorts(spec: Service, spot: Spot) -> None:
    names: set[str] = set()
    numbers: set[tuple[str, int]] = set()
    for index, port in enumerate(spec.ports):
        here = spot[index]
        if len(spec.ports) > 1 and here["name"].require(port.name, "is required where there are several ports"):
            if port.name in names:
                here["name"].refuse(f"{port.name!r} stands twice", "duplicate")
            names.add(port.name)
        if port.name:
            here["name"].judge(badLabel(port.name, "name of a port"))
        here["port"].judge(badPort(port.port))
        if isinstance(port.targetPort, int) and port.targetPort:
            here["targetPort"].judge(badPort(port.targetPort))
        elif isinstance(port.targetPort, str):
            here["targetPort"].judge(badLabel(port.targetPort, "name of a port"))
        if (port.protocol, port.port) in numbers:
            here["port"].refuse(f"{port.port} stands twice", "duplicate")
        numbers.add((port.protocol, port.port))
