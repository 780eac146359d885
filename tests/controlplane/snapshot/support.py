"""
A mesh to make snapshots of.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.model.kinds import KINDS
from meshproxy.controlplane.snapshot.snapshot import Snapshot
from meshproxy.controlplane.snapshot.snapshots import Snapshots
from meshproxy.controlplane.snapshot.world import World
from meshproxy.controlplane.store.ledger import Ledger
from meshproxy.controlplane.store.values import Change, Key
from meshproxy.controlplane.translate.mesh import MeshConfig
from meshproxy.testing.clock import VirtualReactor

__all__ = ["SnapshotTestCase", "destinationRule", "node", "serviceEntry", "sidecar", "virtualService"]

_PLURALS = {one.kind: f"{one.group}/{one.plural}" for one in KINDS}


def _resource(kind: str, name: str, namespace: str, spec: dict[str, Any]) -> dict[str, Any]:
    group = _PLURALS[kind].partition("/")[0]
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": f"{group}/v1", "kind": kind, "metadata": metadata, "spec": spec}


def serviceEntry(name: str, *addresses: str, namespace: str = "default", **more: Any) -> dict[str, Any]:
    """
    A service with endpoints.
    """
    spec = {
        "hosts": [f"{name}.{namespace}.svc.cluster.local"],
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "endpoints": [{"address": address} for address in addresses],
        **more,
    }
    return _resource("ServiceEntry", name, namespace, spec)


def virtualService(name: str, timeout: str, namespace: str = "default", **more: Any) -> dict[str, Any]:
    """
    Something about calls to a service.
    """
    route = [{"destination": {"host": f"{name}.default.svc.cluster.local"}}]
    spec = {"hosts": [f"{name}.default.svc.cluster.local"], "http": [{"route": route, "timeout": timeout}], **more}
    return _resource("VirtualService", name, namespace, spec)


def destinationRule(name: str, connections: int) -> dict[str, Any]:
    """
    Something about connections to a service.
    """
    pool = {"tcp": {"maxConnections": connections}}
    spec = {"host": f"{name}.default.svc.cluster.local", "trafficPolicy": {"connectionPool": pool}}
    return _resource("DestinationRule", name, "default", spec)


def peerAuthentication(mode: str) -> dict[str, Any]:
    """
    Something about how the workloads of a namespace are called.
    """
    return _resource("PeerAuthentication", "default", "default", {"mtls": {"mode": mode}})


def sidecar() -> dict[str, Any]:
    """
    Workloads of a namespace that are reached from outside of the mesh, by TLS.
    """
    tls = {"mode": "SIMPLE", "credentialName": "front"}
    spec = {"ingress": [{"port": {"number": 7443, "protocol": "HTTPS", "name": "https"}, "tls": tls}]}
    return _resource("Sidecar", "default", "default", spec)


def node(name: str = "client", namespace: str = "default", address: str = "10.9.9.9") -> dict[str, Any]:
    """
    The node of a sidecar.
    """
    return {
        "id": f"sidecar~{address}~{name}.{namespace}~{namespace}.svc.cluster.local",
        "metadata": {"NAMESPACE": namespace, "LABELS": {"app": name}},
    }


class SnapshotTestCase(SynchronousTestCase):
    """
    A store, what is made of it, and proxies that are told.
    """

    def setUp(self) -> None:
        self.reactor = VirtualReactor()
        self.store = Ledger(self.reactor)
        self.snapshots = Snapshots(self.store, World(MeshConfig()), self.reactor)
        self.addCleanup(self.snapshots.stop)

    def start(self) -> None:
        """
        Follow the store.
        """
        self.successResultOf(self.snapshots.start())

    def put(self, *documents: dict[str, Any]) -> None:
        """
        Write resources, and let happen what follows.
        """
        self.write(*documents)
        self.reactor.advance(1)

    def write(self, *documents: dict[str, Any]) -> None:
        """
        Write resources.
        """
        self.successResultOf(self.store.commit([Change(self.key(one), one) for one in documents], "ann"))

    def key(self, document: dict[str, Any]) -> Key:
        """
        Where the store has a resource.
        """
        metadata = document["metadata"]
        return Key(_PLURALS[document["kind"]], metadata["namespace"], metadata["name"])

    def delete(self, document: dict[str, Any]) -> None:
        """
        Delete a resource, and let happen what follows.
        """
        self.successResultOf(self.store.commit([Change(self.key(document), None)], "ann"))
        self.reactor.advance(1)

    def attach(self, **told: Any) -> list[Snapshot]:
        """
        A proxy that is connected; the snapshots that it is given.
        """
        given: list[Snapshot] = []
        self.detach = self.snapshots.attach(node(**told), given.append)
        return given
