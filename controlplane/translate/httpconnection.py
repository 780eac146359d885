# -*- test-case-name: tests.controlplane.translate.test_listeners -*-
"""
The HTTP connection managers and TCP proxies of listeners.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from meshproxy.controlplane.model.trafficpolicy import TrafficPolicy
from meshproxy.controlplane.translate.context import Context
from meshproxy.controlplane.translate.messages import ADS, JSON, duration, typed, without

__all__ = ["Side", "accessLogs", "connectionManager", "tcpProxy"]

_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_TCP_PROXY = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"


class Side(Enum):
    """
    On which side of a workload a chain is.
    """

    INBOUND = "inbound"
    OUTBOUND = "outbound"
    GATEWAY = "gateway"


def _filter(name: str, typeName: str) -> JSON:
    return {"name": name, "typedConfig": typed(typeName)}


#: The routes have parts for the first two.
_LAST_FILTERS = (
    _filter("envoy.filters.http.fault", "envoy.extensions.filters.http.fault.v3.HTTPFault"),
    _filter("envoy.filters.http.cors", "envoy.extensions.filters.http.cors.v3.Cors"),
    _filter("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router"),
)

#: Istio's text: Envoy's own with what a mesh wants to know.
_LOG_FORMAT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    '%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% '
    '%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" '
    '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% '
    "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)

_PATHS: dict[str, JSON] = {
    "NONE": {"normalizePath": False},
    "MERGE_SLASHES": {"normalizePath": True, "mergeSlashes": True},
    "DECODE_AND_MERGE_SLASHES": {
        "normalizePath": True,
        "mergeSlashes": True,
        "pathWithEscapedSlashesAction": "UNESCAPE_AND_FORWARD",
    },
}


def accessLogs(context: Context) -> list[JSON]:
    """
    The access log that the mesh asks for.
    """
    mesh = context.mesh
    if not mesh.accessLogFile:
        return []
    text = mesh.accessLogFormat or _LOG_FORMAT
    if mesh.accessLogEncoding == "JSON":
        names = {
            "start_time": "%START_TIME%",
            "method": "%REQ(:METHOD)%",
            "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
            "protocol": "%PROTOCOL%",
            "response_code": "%RESPONSE_CODE%",
            "response_flags": "%RESPONSE_FLAGS%",
            "response_code_details": "%RESPONSE_CODE_DETAILS%",
            "bytes_received": "%BYTES_RECEIVED%",
            "bytes_sent": "%BYTES_SENT%",
            "duration": "%DURATION%",
            "request_id": "%REQ(X-REQUEST-ID)%",
            "authority": "%REQ(:AUTHORITY)%",
            "upstream_host": "%UPSTREAM_HOST%",
            "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
            "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
            "requested_server_name": "%REQUESTED_SERVER_NAME%",
            "route_name": "%ROUTE_NAME%",
        }
        logged: JSON = {"jsonFormat": names}
    else:
        logged = {"textFormatSource": {"inlineString": text}}
    typeName = "envoy.extensions.access_loggers.file.v3.FileAccessLog"
    value = typed(typeName, {"path": mesh.accessLogFile, "logFormat": logged})
    return [{"name": "envoy.access_loggers.file", "typedConfig": value}]


def connectionManager(
    context: Context,
    side: Side,
    statPrefix: str,
    routes: str | JSON,
    filters: Sequence[JSON] = (),
) -> JSON:
    """
    A network filter that speaks HTTP.

    @param routes: The name of routes that come apart, or routes.
    @param filters: The HTTP filters before those that every chain has.
    """
    value: JSON = {
        "statPrefix": statPrefix,
        "httpFilters": [*filters, *_LAST_FILTERS],
        "streamIdleTimeout": "0s",
        "upgradeConfigs": [{"upgradeType": "websocket"}],
        "normalizePath": True,
        "accessLog": accessLogs(context),
        # What a caller says of itself counts inside of the mesh; at its edge nothing does.
        "useRemoteAddress": side is Side.GATEWAY,
        **_PATHS.get(context.mesh.pathNormalization.normalization, {}),
    }
    if isinstance(routes, str):
        value["rds"] = {"configSource": ADS, "routeConfigName": routes}
    else:
        value["routeConfig"] = routes
    if side is not Side.OUTBOUND:
        value["serverName"] = "istio-envoy"
        value["forwardClientCertDetails"] = "APPEND_FORWARD" if side is Side.INBOUND else "SANITIZE_SET"
        value["setCurrentClientCertDetails"] = (
            {"subject": True, "dns": True, "uri": True}
            if side is Side.INBOUND
            else {"subject": True, "cert": True, "dns": True, "uri": True}
        )
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typedConfig": typed(_MANAGER, without(value)),
    }


def tcpProxy(
    context: Context, statPrefix: str, clusters: Sequence[tuple[str, int]], policy: TrafficPolicy | None = None
) -> JSON:
    """
    A network filter that sends connections on.

    @param clusters: Names and weights; a single one takes all.
    @param policy: That of the cluster, for its time-out, what it hashes, and the proxy that it is reached through.
    """
    value: JSON = {"statPrefix": statPrefix, "accessLog": accessLogs(context)}
    if len(clusters) == 1:
        value["cluster"] = clusters[0][0]
    else:
        value["weightedClusters"] = {
            "clusters": [{"name": name, "weight": weight} for name, weight in clusters if weight > 0]
        }
    tcp = policy.connectionPool.tcp if policy is not None and policy.connectionPool is not None else None
    if tcp is not None and tcp.idleTimeout is not None:
        value["idleTimeout"] = duration(tcp.idleTimeout)
    if tcp is not None and tcp.maxConnectionDuration is not None:
        value["maxDownstreamConnectionDuration"] = duration(tcp.maxConnectionDuration)
    balancer = policy.loadBalancer if policy is not None else None
    if balancer is not None and balancer.consistentHash is not None and balancer.consistentHash.useSourceIp:
        value["hashPolicy"] = [{"sourceIp": {}}]
    tunnel = policy.tunnel if policy is not None else None
    if tunnel is not None:
        host = f"[{tunnel.targetHost}]" if ":" in tunnel.targetHost else tunnel.targetHost
        value["tunnelingConfig"] = without(
            {"hostname": f"{host}:{tunnel.targetPort}", "usePost": tunnel.protocol == "POST" or None}
        )
    return {"name": "envoy.filters.network.tcp_proxy", "typedConfig": typed(_TCP_PROXY, without(value))}
