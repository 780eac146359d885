"""
Bootstraps for both proxies: many listeners in one, each with another connection manager.

The text is the same for both but for the address that they listen on and that their backend has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

__all__ = ["REST", "RESTING", "Listener", "Manager", "Ports", "bootstrap"]

_TYPES = "type.googleapis.com/envoy.extensions."
_MANAGER = f"{_TYPES}filters.network.http_connection_manager.v3.HttpConnectionManager"
_LOG = (
    "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT% %REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL% "
    "%RESPONSE_CODE% flags=%RESPONSE_FLAGS% details=%RESPONSE_CODE_DETAILS% received=%BYTES_RECEIVED% "
    "sent=%BYTES_SENT% host=%UPSTREAM_HOST% cluster=%UPSTREAM_CLUSTER% attempts=%UPSTREAM_REQUEST_ATTEMPT_COUNT% "
    "route=%ROUTE_NAME% client=%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%\n"
)

_ALL_TO_BACKEND = "[{match: {prefix: /}, route: {cluster: backend}}]"


@dataclass(frozen=True)
class Manager:
    """
    A listener with an HTTP connection manager; each text is YAML.

    @ivar settings: Fields of the connection manager.
    @ivar routes: The routes of its one virtual host.
    @ivar host: More fields of the virtual host.
    @ivar hosts: The virtual hosts, in place of the one.
    @ivar table: More fields of the route configuration.
    @ivar filters: The filters before the router.
    @ivar router: Fields of the router.
    @ivar listener: More fields of the listener.
    """

    settings: str = ""
    routes: str = _ALL_TO_BACKEND
    host: str = ""
    hosts: str = ""
    table: str = ""
    filters: str = ""
    router: str = ""
    listener: str = ""

    def chains(self, name: str) -> list[dict[str, Any]]:
        """
        The filter chains of the listener.
        """
        hosts = _load(self.hosts) or [
            {"name": "all", "domains": ["*"], "routes": _load(self.routes), **_load(self.host)}
        ]
        router = {"@type": f"{_TYPES}filters.http.router.v3.Router", **_load(self.router)}
        config = {
            "@type": _MANAGER,
            "stat_prefix": name,
            "codec_type": "HTTP1",
            # Envoy closes late what its peer may still write to; tests need not wait for it.
            "delayed_close_timeout": "0.05s",
            "access_log": [accessLog()],
            "route_config": {"name": "routes", "virtual_hosts": hosts, **_load(self.table)},
            "http_filters": [*(_load(self.filters) or []), {"name": "router", "typed_config": router}],
            **_load(self.settings),
        }
        return [{"filters": [{"name": "manager", "typed_config": config}]}]


@dataclass(frozen=True)
class Listener:
    """
    A listener of any kind.

    @ivar text: Its fields besides name and address, in YAML; C{$LOG} stands for an access log.
    """

    text: str
    listener: str = ""

    def chains(self, name: str) -> list[dict[str, Any]]:
        """
        The filter chains of the listener.
        """
        chains: list[dict[str, Any]] = _load(self.text.replace("$LOG", json.dumps([accessLog()])))
        return chains


# A listener that answers by itself and is in no log; it is asked in between, to learn how far the proxy has come.
REST = "rest"
RESTING = Manager(
    "access_log: []", "[{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: rest}}}]"
)


@dataclass(frozen=True)
class Ports:
    """
    The ports of one comparison, the same for both proxies.

    @ivar listeners: By the listener's name.
    @ivar backend: The backend's.
    @ivar closed: One where nobody listens.
    @ivar full: One where connecting takes forever.
    """

    listeners: dict[str, int]
    backend: int
    closed: int
    full: int


def _load(text: str) -> Any:
    loaded = yaml.safe_load(text)
    return {} if loaded is None else loaded


def accessLog() -> dict[str, Any]:
    """
    An access log whose lines tell all that is compared.
    """
    return {
        "name": "log",
        "typed_config": {
            "@type": f"{_TYPES}access_loggers.stream.v3.StdoutAccessLog",
            "log_format": {"text_format_source": {"inline_string": _LOG}},
        },
    }


def _cluster(name: str, ports: str) -> dict[str, Any]:
    endpoints = [
        {"endpoint": {"address": {"socket_address": {"address": "$ADDRESS", "port_value": port}}}}
        for port in ports.split()
    ]
    return {
        "name": name,
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}] if endpoints else []},
    }


# In every bootstrap: a cluster that works, one without endpoints, one whose endpoint refuses, one whose endpoint does
# not answer.
_CLUSTERS = {"backend": "$BACKEND", "empty": "", "closed": "$CLOSED", "full": "$FULL"}


def bootstrap(
    listeners: Mapping[str, Manager | Listener],
    clusters: dict[str, str],
    ports: Ports,
    address: str,
    node: dict[str, str] | None = None,
) -> str:
    """
    The bootstrap as JSON.

    @param clusters: More clusters: name to more fields, in YAML; each has the backend as its endpoint where the fields
        tell no other. C{$PORT_x} is the port of the listener C{x}.
    @param address: Of the proxy's listeners, and of the backend.
    @param node: The proxy's node, if it is not the usual one.
    """
    made = [_cluster(name, listed) for name, listed in _CLUSTERS.items()]
    made += [{**_cluster(name, "$BACKEND"), **_load(fields)} for name, fields in clusters.items()]
    made[3]["connect_timeout"] = "0.25s"
    text = json.dumps(
        {
            "node": {"id": "node-1", "cluster": "cluster-1"} if node is None else node,
            "static_resources": {
                "secrets": [{"name": "token", "generic_secret": {"secret": {"inline_string": "a secret"}}}],
                "listeners": [
                    {
                        "name": name,
                        "address": {"socket_address": {"address": "$ADDRESS", "port_value": ports.listeners[name]}},
                        "filter_chains": listener.chains(name),
                        **_load(listener.listener),
                    }
                    for name, listener in listeners.items()
                ],
                "clusters": made,
            },
        },
        indent=1,
    )
    for name, port in ports.listeners.items():
        text = text.replace(f'"$PORT_{name}"', str(port)).replace(f"$PORT_{name} ", str(port))
    for name, port in (("BACKEND", ports.backend), ("CLOSED", ports.closed), ("FULL", ports.full)):
        text = text.replace(f'"${name}"', str(port)).replace(f"${name}", str(port))
    return text.replace("$ADDRESS", address)
