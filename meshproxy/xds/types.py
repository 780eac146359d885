# -*- test-case-name: tests.xds.test_types -*-
"""
The types of xDS resources, and the services that carry them.

Source: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshproxy.config.pool import TYPE_URL_PREFIX

if TYPE_CHECKING:
    from google.protobuf.message import Message

__all__ = [
    "AGGREGATED_DELTA",
    "AGGREGATED_STREAM",
    "CLUSTER",
    "ENDPOINTS",
    "EXTENSION",
    "FULL_STATE",
    "LISTENER",
    "METHODS",
    "ORDER",
    "ROUTES",
    "SCOPED_ROUTES",
    "SECRET",
    "VIRTUAL_HOST",
    "WILDCARD",
    "nameOf",
    "shortName",
]

LISTENER = TYPE_URL_PREFIX + "envoy.config.listener.v3.Listener"
ROUTES = TYPE_URL_PREFIX + "envoy.config.route.v3.RouteConfiguration"
SCOPED_ROUTES = TYPE_URL_PREFIX + "envoy.config.route.v3.ScopedRouteConfiguration"
VIRTUAL_HOST = TYPE_URL_PREFIX + "envoy.config.route.v3.VirtualHost"
CLUSTER = TYPE_URL_PREFIX + "envoy.config.cluster.v3.Cluster"
ENDPOINTS = TYPE_URL_PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
EXTENSION = TYPE_URL_PREFIX + "envoy.config.core.v3.TypedExtensionConfig"
SECRET = TYPE_URL_PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"

ORDER = (CLUSTER, ENDPOINTS, SECRET, EXTENSION, LISTENER, SCOPED_ROUTES, ROUTES, VIRTUAL_HOST)
"""
What a proxy needs before what: whoever names something gets it after what it names.
"""

FULL_STATE = frozenset((CLUSTER, LISTENER, SCOPED_ROUTES))
"""
Types whose responses, in the state-of-the-world variant, hold all there is: what is missing is gone.
"""

WILDCARD = "*"

AGGREGATED_STREAM = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
AGGREGATED_DELTA = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"

METHODS: dict[str, tuple[str, bool]] = {
    "/envoy.service.cluster.v3.ClusterDiscoveryService/StreamClusters": (CLUSTER, False),
    "/envoy.service.cluster.v3.ClusterDiscoveryService/DeltaClusters": (CLUSTER, True),
    "/envoy.service.endpoint.v3.EndpointDiscoveryService/StreamEndpoints": (ENDPOINTS, False),
    "/envoy.service.endpoint.v3.EndpointDiscoveryService/DeltaEndpoints": (ENDPOINTS, True),
    "/envoy.service.listener.v3.ListenerDiscoveryService/StreamListeners": (LISTENER, False),
    "/envoy.service.listener.v3.ListenerDiscoveryService/DeltaListeners": (LISTENER, True),
    "/envoy.service.route.v3.RouteDiscoveryService/StreamRoutes": (ROUTES, False),
    "/envoy.service.route.v3.RouteDiscoveryService/DeltaRoutes": (ROUTES, True),
    "/envoy.service.route.v3.ScopedRoutesDiscoveryService/StreamScopedRoutes": (SCOPED_ROUTES, False),
    "/envoy.service.route.v3.ScopedRoutesDiscoveryService/DeltaScopedRoutes": (SCOPED_ROUTES, True),
    "/envoy.service.extension.v3.ExtensionConfigDiscoveryService/StreamExtensionConfigs": (EXTENSION, False),
    "/envoy.service.extension.v3.ExtensionConfigDiscoveryService/DeltaExtensionConfigs": (EXTENSION, True),
    "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets": (SECRET, False),
    "/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets": (SECRET, True),
}
"""
The services of single types: each method's type, and whether it is the delta variant.
"""

_SHORT = {
    LISTENER: "LDS",
    SCOPED_ROUTES: "SRDS",
    ROUTES: "RDS",
    VIRTUAL_HOST: "VHDS",
    CLUSTER: "CDS",
    ENDPOINTS: "EDS",
    SECRET: "SDS",
    EXTENSION: "ECDS",
}


def shortName(typeURL: str) -> str:
    """
    C{CDS} for clusters and so on; of a type that is not known the last part of its name.
    """
    return _SHORT.get(typeURL) or typeURL.rpartition(".")[2]


def nameOf(typeURL: str, message: Message) -> str:
    """
    The name that a resource is subscribed by.
    """
    field = "cluster_name" if typeURL == ENDPOINTS else "name"
    name: str = getattr(message, field)
    return name
