# -*- test-case-name: tests.controlplane.translate.test_clusters -*-
"""
Istio's names of listeners, routes and clusters: tools and people look for them.
"""

from __future__ import annotations

__all__ = [
    "BLACK_HOLE",
    "INBOUND_PASSTHROUGH",
    "PASSTHROUGH",
    "VIRTUAL_INBOUND",
    "VIRTUAL_OUTBOUND",
    "clusterName",
    "inboundName",
    "listenerName",
    "sniName",
]

PASSTHROUGH = "PassthroughCluster"
BLACK_HOLE = "BlackHoleCluster"
INBOUND_PASSTHROUGH = "InboundPassthroughCluster"
VIRTUAL_OUTBOUND = "virtualOutbound"
VIRTUAL_INBOUND = "virtualInbound"


def clusterName(port: int, subset: str, host: str) -> str:
    """
    The cluster of a port of a service, or of a subset of it.
    """
    return f"outbound|{port}|{subset}|{host}"


def inboundName(port: int) -> str:
    """
    The cluster, and the routes, of a port of the own workload.
    """
    return f"inbound|{port}||"


def sniName(port: int, subset: str, host: str) -> str:
    """
    What a workload asks another for, in TLS.
    """
    return f"outbound_.{port}_.{subset}_.{host}"


def listenerName(address: str, port: int) -> str:
    """
    The listener at an address and a port.
    """
    return f"{address}_{port}"
