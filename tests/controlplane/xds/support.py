"""
Snapshots to send, and requests to send back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshproxy.config.pool import messageClass, newMessage
from meshproxy.controlplane.snapshot.snapshot import Snapshot

__all__ = ["CLUSTERS", "ENDPOINT_TYPE", "LISTENERS", "ROUTE_TYPE", "deltaRequest", "snapshot", "worldRequest"]

CLUSTERS = "envoy.config.cluster.v3.Cluster"
ENDPOINT_TYPE = "envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENERS = "envoy.config.listener.v3.Listener"
ROUTE_TYPE = "envoy.config.route.v3.RouteConfiguration"

_PREFIX = "type.googleapis.com/"


def _message(typeName: str, name: str, variant: str) -> Any:
    """
    A resource; another variant is another version of it.
    """
    message: Any = newMessage(typeName)
    if typeName == ENDPOINT_TYPE:
        message.cluster_name = name
        message.endpoints.add().locality.zone = variant
    elif typeName == CLUSTERS:
        message.name = name
        message.alt_stat_name = variant
    elif typeName == LISTENERS:
        message.name = name
        message.stat_prefix = variant
    else:
        message.name = name
        message.internal_only_headers.append(variant or "x")
    return message


def snapshot(clusters: str = "", endpoints: str = "", listeners: str = "", routes: str = "") -> Snapshot:
    """
    A snapshot: C{"a b=2"} are two resources, the second one in its variant 2.
    """
    told = {CLUSTERS: clusters, ENDPOINT_TYPE: endpoints, LISTENERS: listeners, ROUTE_TYPE: routes}
    messages: dict[str, Mapping[str, Any]] = {}
    for typeName, words in told.items():
        pairs = [word.partition("=") for word in words.split()]
        messages[typeName] = {name: _message(typeName, name, variant) for name, _, variant in pairs}
    return Snapshot.of(messages)


def worldRequest(
    typeName: str = "",
    names: str = "",
    nonce: str = "",
    version: str = "",
    error: str = "",
    node: str = "",
) -> Any:
    """
    A DiscoveryRequest.
    """
    request: Any = messageClass("envoy.service.discovery.v3.DiscoveryRequest")()
    request.type_url = _PREFIX + typeName if typeName else ""
    request.resource_names.extend(names.split())
    request.response_nonce = nonce
    request.version_info = version
    if error:
        request.error_detail.message = error
    if node:
        request.node.id = node
    return request


def deltaRequest(
    typeName: str = "",
    subscribe: str = "",
    unsubscribe: str = "",
    nonce: str = "",
    error: str = "",
    initial: Mapping[str, str] | None = None,
    node: str = "",
) -> Any:
    """
    A DeltaDiscoveryRequest.
    """
    request: Any = messageClass("envoy.service.discovery.v3.DeltaDiscoveryRequest")()
    request.type_url = _PREFIX + typeName if typeName else ""
    request.resource_names_subscribe.extend(subscribe.split())
    request.resource_names_unsubscribe.extend(unsubscribe.split())
    request.response_nonce = nonce
    if error:
        request.error_detail.message = error
    for name, version in (initial or {}).items():
        request.initial_resource_versions[name] = version
    if node:
        request.node.id = node
    return request
