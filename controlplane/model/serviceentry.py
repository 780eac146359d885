# -*- test-case-name: tests.controlplane.model.test_serviceentry -*-
"""
ServiceEntry: a service that the registry would not know otherwise.
"""

from __future__ import annotations

from typing import Literal

from attrs import Factory, frozen

from meshproxy.controlplane.model.common import WorkloadSelector, checkExportTo, checkSelector
from meshproxy.controlplane.model.names import (
    badDomain,
    badFQDN,
    badLabel,
    badPort,
    badProtocol,
    badSubnet,
    isHTTP,
    isTLS,
)
from meshproxy.controlplane.model.resource import Metadata
from meshproxy.controlplane.model.spots import Spot
from meshproxy.controlplane.model.workloadentry import WorkloadEntry, checkEntry

__all__ = ["ServiceEntry", "ServicePort", "checkServiceEntry"]

#: What a proxy can find an endpoint for by the name that the request asks for.
_DYNAMIC = ("HTTP", "HTTP2", "GRPC", "TLS")


@frozen(kw_only=True)
class ServicePort:
    """
    A port of a service.
    """

    number: int = 0
    protocol: str = ""
    name: str = ""
    targetPort: int = 0


@frozen(kw_only=True)
class ServiceEntry:
    """
    A service.
    """

    hosts: list[str] = Factory(list)
    addresses: list[str] = Factory(list)
    ports: list[ServicePort] = Factory(list)
    location: Literal["MESH_EXTERNAL", "MESH_INTERNAL"] = "MESH_EXTERNAL"
    resolution: Literal["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"] = "NONE"
    endpoints: list[WorkloadEntry] = Factory(list)
    workloadSelector: WorkloadSelector | None = None
    exportTo: list[str] = Factory(list)
    subjectAltNames: list[str] = Factory(list)


def checkServiceEntry(spec: ServiceEntry, metadata: Metadata, spot: Spot) -> None:
    """
    Tell what is wrong with one.
    """
    if spec.workloadSelector is not None:
        checkSelector(spec.workloadSelector.labels, spot["workloadSelector"], "labels")
        if spec.endpoints:
            spot["endpoints"].refuse("only one of workloadSelector, endpoints may be set", "exclusive")
        if spec.resolution == "NONE":
            spot["workloadSelector"].warn("has no effect where resolution is NONE")
    if spot["hosts"].require(spec.hosts):
        for index, host in enumerate(spec.hosts):
            _checkHost(host, spec.resolution, spot["hosts"][index])
    for index, address in enumerate(spec.addresses):
        here = spot["addresses"][index]
        if here.judge(badSubnet(address)) and "/" in address and spec.resolution not in ("NONE", "STATIC"):
            here.refuse("a range of addresses needs resolution NONE or STATIC", "exclusive")
    _checkPorts(spec, spot["ports"])
    _checkResolution(spec, spot)
    if spec.resolution != "NONE" and len(spec.hosts) > 1:
        for index, port in enumerate(spec.ports):
            if not isHTTP(port.protocol) and not isTLS(port.protocol):
                why = f"{port.protocol or 'TCP'} does not say which of several hosts is meant; HTTP, HTTPS and TLS do"
                spot["ports"][index]["protocol"].refuse(why, "exclusive")
    checkExportTo(spec.exportTo, metadata.namespace, spot, toNone=True)


def _checkHost(host: str, resolution: str, spot: Spot) -> None:
    if host == "*":
        spot.refuse("'*' is not a host of a service")
    elif spot.judge(badDomain(host)):
        if resolution == "DYNAMIC_DNS" and not host.startswith("*"):
            spot.refuse("a host is a wildcard where resolution is DYNAMIC_DNS")
        elif resolution != "DYNAMIC_DNS" and "*" in host and not host.startswith("*."):
            spot.warn(f"{host!r}: a wildcard is the whole first label")


def _checkPorts(spec: ServiceEntry, spot: Spot) -> None:
    """
    Names and numbers, each once.
    """
    names: set[str] = set()
    numbers: set[int] = set()
    for index, port in enumerate(spec.ports):
        here = spot[index]
        if here["name"].require(port.name):
            here["name"].judge(badLabel(port.name, "name of a port"))
            if port.name in names:
                here["name"].refuse(f"{port.name!r} stands twice", "duplicate")
        here["number"].judge(badPort(port.number))
        if port.number in numbers:
            here["number"].refuse(f"{port.number} stands twice", "duplicate")
        if port.targetPort:
            here["targetPort"].judge(badPort(port.targetPort))
        if port.protocol:
            here["protocol"].judge(badProtocol(port.protocol))
        names.add(port.name)
        numbers.add(port.number)
        if not spec.addresses and port.protocol.upper() in ("", "TCP") and spec.resolution != "NONE":
            here.warn("TCP is told apart by address: without addresses every one on this port is taken")


def _checkResolution(spec: ServiceEntry, spot: Spot) -> None:
    """
    What each way to find endpoints asks for.
    """
    ports = [port.name for port in spec.ports]
    if spec.resolution in ("NONE", "DYNAMIC_DNS"):
        if spec.endpoints:
            spot["endpoints"].refuse(f"has no meaning where resolution is {spec.resolution}", "exclusive")
        if spec.resolution == "DYNAMIC_DNS":
            _checkDynamic(spec, spot)
        return
    for index, endpoint in enumerate(spec.endpoints):
        checkEntry(endpoint, spot["endpoints"][index], ports, names=spec.resolution != "STATIC")
    if spec.resolution == "STATIC":
        return
    if spec.resolution == "DNS_ROUND_ROBIN" and len(spec.endpoints) > 1:
        spot["endpoints"].refuse("there is one at most where resolution is DNS_ROUND_ROBIN")
    if not spec.endpoints and spec.workloadSelector is None:
        for index, host in enumerate(spec.hosts):
            if host.startswith("*") and not badDomain(host):
                spot["hosts"][index].refuse("without endpoints the host itself is looked up, so it is no wildcard")
            elif host != "*" and not badDomain(host):
                spot["hosts"][index].judge(badFQDN(host))


def _checkDynamic(spec: ServiceEntry, spot: Spot) -> None:
    if spec.addresses:
        spot["addresses"].refuse("has no meaning where resolution is DYNAMIC_DNS", "exclusive")
    for index, port in enumerate(spec.ports):
        if port.protocol.upper() not in _DYNAMIC:
            why = f"{port.protocol or 'TCP'!r} is not one of {', '.join(_DYNAMIC)}, where resolution is DYNAMIC_DNS"
            spot["ports"][index]["protocol"].refuse(why)
