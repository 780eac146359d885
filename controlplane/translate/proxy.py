# -*- test-case-name: tests.controlplane.translate.test_proxy -*-
"""
One data plane, as its node tells of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from attrs import Factory, frozen

from meshproxy.controlplane.translate.abilities import ENVOY, MESHPROXY, Abilities

__all__ = ["NETWORK", "DataPlane", "Interception", "Proxy", "Role", "proxyOf", "withTopology"]

#: The label that says where a workload can be reached directly from.
NETWORK = "topology.istio.io/network"

#: The labels that say where a workload is, from wide to narrow.
_PLACES = ("topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone")


def withTopology(labels: Mapping[str, str], locality: str, network: str) -> dict[str, str]:
    """
    The labels of a workload, with those that follow from where it is.
    """
    found = {**labels, **{name: part for name, part in zip(_PLACES, locality.split("/", 2), strict=False) if part}}
    if network:
        found.setdefault(NETWORK, network)
    return found


class Role(Enum):
    """
    Where a proxy stands.
    """

    SIDECAR = "sidecar"
    ROUTER = "router"


class Interception(Enum):
    """
    How connections come to a sidecar.
    """

    REDIRECT = "REDIRECT"
    TPROXY = "TPROXY"
    NONE = "NONE"


class DataPlane(Enum):
    """
    Which program it is.
    """

    ENVOY = "envoy"
    MESHPROXY = "meshproxy"


@frozen(kw_only=True)
class Proxy:
    """
    A data plane.

    @ivar id: The id of its node.
    @ivar namespace: The namespace of its workload.
    @ivar labels: The labels of its workload, by which resources select it.
    @ivar addresses: Those of its workload: by them its services are found.
    @ivar locality: C{REGION/ZONE/SUBZONE}.
    @ivar network: Where it can be reached directly from; empty where all of the mesh can be reached so.
    @ivar inboundAddress: Where it listens for its workload, without interception; the first address if empty.
    @ivar outboundAddress: Where it listens for what the workload calls, without interception.
    @ivar applicationAddress: Where the workload itself listens, without interception.
    @ivar applicationPorts: At which ports there, by those of the mesh; one that is not told of is the same.
    @ivar sdsCluster: The cluster of its bootstrap that serves its identity; empty for the stream of this control plane.
    """

    id: str
    namespace: str
    role: Role = Role.SIDECAR
    labels: dict[str, str] = Factory(dict)
    serviceAccount: str = "default"
    addresses: tuple[str, ...] = ()
    dataPlane: DataPlane = DataPlane.ENVOY
    interception: Interception = Interception.REDIRECT
    locality: str = ""
    network: str = ""
    inboundAddress: str = ""
    outboundAddress: str = "127.0.0.1"
    applicationAddress: str = "127.0.0.1"
    applicationPorts: dict[int, int] = Factory(dict)
    sdsCluster: str = ""

    @property
    def isSidecar(self) -> bool:
        """
        Whether it stands beside a workload.
        """
        return self.role is Role.SIDECAR

    @property
    def topology(self) -> dict[str, str]:
        """
        Its labels, with those that follow from where it is.
        """
        return withTopology(self.labels, self.locality, self.network)

    @property
    def abilities(self) -> Abilities:
        """
        What the program can do.
        """
        return ENVOY if self.dataPlane is DataPlane.ENVOY else MESHPROXY

    @property
    def intercepts(self) -> bool:
        """
        Whether connections come to it without being addressed to it.
        """
        return self.isSidecar and self.interception is not Interception.NONE


def _member(enum: type[Enum], value: object, otherwise: Any) -> Any:
    return next((member for member in enum if member.value == value), otherwise)


def proxyOf(node: Mapping[str, Any]) -> Proxy:
    """
    A proxy from its node.

    @param node: An C{envoy.config.core.v3.Node} as plain data, in protobuf's JSON form. What it says of itself is
        believed only as far as whoever calls has checked it: namespace and service account decide what it gets.
    """
    metadata = node.get("metadata") or {}
    identifier = str(node.get("id", ""))
    # Istio's form: sidecar~10.0.0.1~reviews-1.shop~shop.svc.cluster.local
    kind, _, rest = identifier.partition("~")
    parts = rest.split("~") if rest else []
    namespace = str(metadata.get("NAMESPACE") or (parts[1].rpartition(".")[2] if len(parts) > 1 else "default"))
    told = str(metadata.get("INSTANCE_IPS") or (parts[0] if parts else ""))
    where = node.get("locality") or {}
    locality = "/".join(str(where.get(key, "")) for key in ("region", "zone", "subZone")).rstrip("/")
    labels = metadata.get("LABELS")
    return Proxy(
        id=identifier,
        namespace=namespace,
        role=_member(Role, kind, Role.SIDECAR),
        labels={str(key): str(value) for key, value in labels.items()} if isinstance(labels, dict) else {},
        serviceAccount=str(metadata.get("SERVICE_ACCOUNT") or "default"),
        addresses=tuple(address for address in told.split(",") if address),
        dataPlane=_member(DataPlane, node.get("userAgentName"), DataPlane.ENVOY),
        interception=_member(Interception, metadata.get("INTERCEPTION_MODE"), Interception.REDIRECT),
        locality=locality,
        network=str(metadata.get("NETWORK") or ""),
        inboundAddress=str(metadata.get("INBOUND_ADDRESS") or ""),
        outboundAddress=str(metadata.get("OUTBOUND_ADDRESS") or "127.0.0.1"),
        applicationAddress=str(metadata.get("APPLICATION_ADDRESS") or "127.0.0.1"),
        applicationPorts=_ports(metadata.get("APPLICATION_PORTS")),
        sdsCluster=str(metadata.get("SDS_CLUSTER") or ""),
    )


def _ports(told: object) -> dict[int, int]:
    """
    What can be understood of C{{"9080": 19080}}; numbers in metadata come as floats.
    """
    if not isinstance(told, dict):
        return {}
    pairs = {str(key): value for key, value in told.items()}
    return {
        int(key): int(value)
        for key, value in pairs.items()
        if key.isdecimal() and isinstance(value, int | float) and 0 < value < 65536
    }
