"""
Bootstraps for the tests, as plain data; JSON is YAML too.
"""

from __future__ import annotations

import json
from typing import Any

__all__ = ["bootstrap", "cluster", "direct", "forward", "listener", "text"]

_HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = {
    "name": "envoy.filters.http.router",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
}
STDOUT = {
    "name": "envoy.access_loggers.stdout",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"},
}

Message = dict[str, Any]


def direct(body: str, prefix: str = "/", status: int = 200) -> Message:
    """
    A route that answers by itself.
    """
    return {
        "match": {"prefix": prefix},
        "direct_response": {"status": status, "body": {"inline_string": body}},
    }


def forward(cluster: str, prefix: str = "/", **action: Any) -> Message:
    """
    A route to a cluster.
    """
    return {"match": {"prefix": prefix}, "route": {"cluster": cluster, **action}}


def address(port: int | str, host: str = "127.0.0.1") -> Message:
    """
    An address, or a pipe.
    """
    if isinstance(port, str):
        return {"pipe": {"path": port}}
    return {"socket_address": {"address": host, "port_value": port}}


def listener(
    name: str, port: int | str, *routes: Message, host: str = "127.0.0.1", logs: bool = False, **manager: Any
) -> Message:
    """
    A listener with one HTTP connection manager.
    """
    config = {
        "@type": _HCM,
        "stat_prefix": name,
        "http_filters": [_ROUTER],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": list(routes)}]},
        **({"access_log": [STDOUT]} if logs else {}),
        **manager,
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": config}]
    return {"name": name, "address": address(port, host), "filter_chains": [{"filters": filters}]}


def cluster(name: str, *ports: int | str, host: str = "127.0.0.1", kind: str = "STATIC", **fields: Any) -> Message:
    """
    A cluster.
    """
    endpoints = [{"endpoint": {"address": address(port, host)}} for port in ports]
    return {
        "name": name,
        "type": kind,
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        **fields,
    }


def bootstrap(*resources: Message, **fields: Any) -> str:
    """
    A bootstrap of listeners and clusters.
    """
    static = {
        "listeners": [each for each in resources if "filter_chains" in each],
        "clusters": [each for each in resources if "filter_chains" not in each],
    }
    return json.dumps({"static_resources": static, **fields}, indent=1)


text = json.dumps
