# -*- test-case-name: tests.controlplane.registry.test_conversion -*-
"""
Resources to services and endpoints.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from meshproxy.controlplane.model.common import selects
from meshproxy.controlplane.model.names import isAddress
from meshproxy.controlplane.model.resource import Resource
from meshproxy.controlplane.model.service import Service as ServiceSpec
from meshproxy.controlplane.model.serviceentry import ServiceEntry
from meshproxy.controlplane.model.workloadentry import UNIX, WorkloadEntry
from meshproxy.controlplane.registry.services import (
    TLS_MODE,
    Endpoint,
    Port,
    Resolution,
    Service,
    protocolOf,
)

__all__ = ["endpointsOf", "servicesOf"]

_EXPORT_TO = "networking.istio.io/exportTo"

_RESOLUTIONS = {
    "NONE": Resolution.PASSTHROUGH,
    "STATIC": Resolution.STATIC,
    "DNS": Resolution.DNS,
    "DNS_ROUND_ROBIN": Resolution.DNS_ROUND_ROBIN,
    "DYNAMIC_DNS": Resolution.DYNAMIC,
}


def servicesOf(resource: Resource, domain: str) -> list[Service]:
    """
    The services that a resource says there are.

    @param domain: The domain of the cluster.
    """
    if isinstance(resource.spec, ServiceSpec):
        return [_ofService(resource, resource.spec, domain)]
    if isinstance(resource.spec, ServiceEntry):
        return _ofEntry(resource, resource.spec)
    return []


def _ofService(resource: Resource, spec: ServiceSpec, domain: str) -> Service:
    """
    A service of Kubernetes.
    """
    exported = resource.metadata.annotations.get(_EXPORT_TO, "")
    addresses = dict.fromkeys([*spec.clusterIPs, spec.clusterIP])
    outside = spec.type == "ExternalName"
    resolution = Resolution.DNS if outside else Resolution.PASSTHROUGH if spec.isHeadless else Resolution.STATIC
    return Service(
        host=f"{resource.name}.{resource.namespace}.svc.{domain}",
        namespace=resource.namespace,
        name=resource.name,
        ports=tuple(
            Port(
                name=port.name,
                number=port.port,
                protocol=protocolOf(port.name, port.appProtocol, port.protocol, port.port),
                targetPort=port.targetPort if isinstance(port.targetPort, int) else 0,
                targetName=port.targetPort if isinstance(port.targetPort, str) else "",
            )
            for port in spec.ports
        ),
        addresses=tuple(address for address in addresses if address not in ("", "None")),
        resolution=resolution,
        external=outside,
        exportTo=frozenset(part.strip() for part in exported.split(",") if part.strip()) or frozenset("*"),
        selector=dict(spec.selector) if spec.selector else None,
        origin=resource.key,
        age=resource.age,
    )


def _ofEntry(resource: Resource, spec: ServiceEntry) -> list[Service]:
    """
    One service for each host of a ServiceEntry.
    """
    ports = tuple(
        Port(
            name=port.name,
            number=port.number,
            protocol=port.protocol.upper() or protocolOf(port.name, "", "TCP", port.number),
            targetPort=port.targetPort,
        )
        for port in spec.ports
    )
    return [
        Service(
            host=host,
            namespace=resource.namespace,
            name=host,
            ports=ports,
            addresses=tuple(spec.addresses),
            resolution=_RESOLUTIONS[spec.resolution],
            external=spec.location == "MESH_EXTERNAL",
            exportTo=frozenset(spec.exportTo) or frozenset("*"),
            selector=dict(spec.workloadSelector.labels) if spec.workloadSelector is not None else None,
            subjectAltNames=tuple(spec.subjectAltNames),
            origin=resource.key,
            age=resource.age,
        )
        for host in spec.hosts
    ]


def endpointsOf(service: Service, resource: Resource, workloads: Iterable[Resource]) -> list[Endpoint]:
    """
    The endpoints of a service.

    @param resource: Where the service comes from.
    @param workloads: The WorkloadEntries of its namespace.
    """
    spec = resource.spec
    if isinstance(spec, ServiceSpec) and spec.type == "ExternalName":
        return _outside(service, spec.externalName)
    if service.selector is not None:
        found = [one for one in workloads if selects(service.selector, _labels(one.spec, one.metadata.labels))]
        return [
            endpoint
            for one in sorted(found, key=lambda workload: workload.name)
            for endpoint in _endpoints(service, one.spec, one.namespace, _labels(one.spec, one.metadata.labels))
            if service.resolution is not Resolution.STATIC or _isReachable(endpoint)
        ]
    if not isinstance(spec, ServiceEntry) or service.resolution in (Resolution.PASSTHROUGH, Resolution.DYNAMIC):
        return []
    if not spec.endpoints and service.resolution is not Resolution.STATIC:
        return _outside(service, service.host)
    return [
        endpoint
        for entry in spec.endpoints
        for endpoint in _endpoints(service, entry, resource.namespace, dict(entry.labels))
    ]


def _labels(entry: WorkloadEntry, metadata: dict[str, str]) -> dict[str, str]:
    """
    The labels of a workload: its own, and those of the resource that tells of it.
    """
    return {**metadata, **entry.labels}


def _isReachable(endpoint: Endpoint) -> bool:
    """
    Whether an address is one that nobody has to look up; without one there is the gateway of the network.
    """
    return not endpoint.address or isAddress(endpoint.address) or endpoint.address.startswith(UNIX)


def _outside(service: Service, address: str) -> list[Endpoint]:
    return [
        Endpoint(
            address=address,
            port=port.targetPort or port.number,
            servicePort=port.number,
            namespace=service.namespace,
        )
        for port in service.ports
    ]


def _endpoints(service: Service, entry: WorkloadEntry, namespace: str, labels: dict[str, str]) -> Sequence[Endpoint]:
    """
    The endpoints that one workload is, one for each port.
    """
    mode = labels.get(TLS_MODE)
    return [
        Endpoint(
            address=entry.address,
            port=_targetPort(port, entry),
            servicePort=port.number,
            labels=labels,
            locality=entry.locality or labels.get("istio-locality", "").replace(".", "/"),
            weight=entry.weight,
            serviceAccount=entry.serviceAccount,
            namespace=namespace,
            network=entry.network or labels.get("topology.istio.io/network", ""),
            mutualTLS=mode == "istio" if mode is not None else bool(entry.serviceAccount),
        )
        for port in service.ports
        if port.protocol != "UDP"
    ]


def _targetPort(port: Port, entry: WorkloadEntry) -> int:
    """
    The port of a workload for a port of a service: the one that it names, else the one that the service names.
    """
    if entry.address.startswith(UNIX):
        return 0
    for name in (port.targetName, port.name):
        if name and name in entry.ports:
            return entry.ports[name]
    return port.targetPort or port.number
