# -*- test-case-name: tests.testing.test_proxy -*-
"""
Bootstraps for tests that are about something else: one listener, one route, some clusters, and what the test wants
otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from meshproxy.config.pool import typeURL

__all__ = ["BACKEND", "FRONT", "httpBootstrap", "httpFilter", "stdoutLog", "typedStruct"]

#: Where the listener of L{httpBootstrap} is.
FRONT = "127.0.0.1:10000"

#: Where its backend is.
BACKEND = "127.0.0.1:9000"

_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "envoy.extensions.filters.http.router.v3.Router"
_STDOUT = "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"


def httpFilter(name: str, messageName: str, **config: Any) -> dict[str, Any]:
    """
    An entry of C{http_filters} for a filter that a message configures.

    @param config: The message's fields.
    """
    return {"name": name, "typed_config": {"@type": typeURL(messageName), **config}}


def typedStruct(name: str, value: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """
    A C{TypedStruct}: the C{typed_config} of a filter without a message.

    @param name: The filter's name, or C{python:package.module:Class}.
    """
    return {"@type": typeURL("xds.type.v3.TypedStruct"), "type_url": name, "value": dict(value or {})}


def httpBootstrap(
    filters: Sequence[Mapping[str, Any]] = (),
    route: Mapping[str, Any] | None = None,
    routes: Sequence[Mapping[str, Any]] | None = None,
    manager: Mapping[str, Any] | None = None,
    cluster: Mapping[str, Any] | None = None,
    clusters: Mapping[str, str] | None = None,
    virtualHost: Mapping[str, Any] | None = None,
    listener: Mapping[str, Any] | None = None,
    accessLog: str | Mapping[str, Any] | None = None,
    router: Mapping[str, Any] | None = None,
    **more: Any,
) -> str:
    """
    A bootstrap with the listener C{front} at L{FRONT}, whose connection manager has the C{stat_prefix} C{test}, and the
    cluster C{backend} with its endpoint at L{BACKEND}.

    @param filters: Entries of C{http_filters} before the router.
    @param route: Fields of the C{RouteAction} of the one route, that leads from everywhere to C{backend}.
    @param routes: All routes of the virtual host, instead of that one.
    @param manager: More fields of the connection manager.
    @param cluster: More fields of the cluster C{backend}, and of those of C{clusters}.
    @param clusters: More clusters: their names and the addresses of their endpoints.
    @param virtualHost: More fields of the virtual host.
    @param listener: More fields of the listener.
    @param accessLog: The format of an access log: text, or the fields of a C{json_format}.
    @param router: Fields of the router.
    @param more: More fields of the bootstrap.

    @return: JSON, which is YAML.
    """
    action = {"cluster": "backend", **(route or {})}
    host = {
        "name": "all",
        "domains": ["*"],
        "routes": list(routes) if routes is not None else [{"match": {"prefix": "/"}, "route": action}],
        **(virtualHost or {}),
    }
    connectionManager: dict[str, Any] = {
        "@type": typeURL(_MANAGER),
        "stat_prefix": "test",
        "http_filters": [*filters, httpFilter("envoy.filters.http.router", _ROUTER, **(router or {}))],
        "route_config": {"name": "routes", "virtual_hosts": [host]},
        **(manager or {}),
    }
    if accessLog is not None:
        connectionManager["access_log"] = [stdoutLog(accessLog)]
    front = {
        "name": "front",
        "address": _socketAddress(FRONT),
        "filter_chains": [{"filters": [{"name": "manager", "typed_config": connectionManager}]}],
        **(listener or {}),
    }
    named = {"backend": BACKEND, **(clusters or {})}
    resources = {
        "listeners": [front],
        "clusters": [_cluster(name, address, cluster or {}) for name, address in named.items()],
    }
    return json.dumps({"static_resources": resources, **more})


def stdoutLog(form: str | Mapping[str, Any]) -> dict[str, Any]:
    """
    An access log on standard output.

    @param form: Its format: text, or the fields of a C{json_format}.
    """
    if isinstance(form, str):
        text = form if form.endswith("\n") else form + "\n"
        logFormat: dict[str, Any] = {"text_format_source": {"inline_string": text}}
    else:
        logFormat = {"json_format": dict(form)}
    return {"name": "log", "typed_config": {"@type": typeURL(_STDOUT), "log_format": logFormat}}


def _cluster(name: str, address: str, more: Mapping[str, Any]) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _socketAddress(address)}}
    return {
        "name": name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        **more,
    }


def _socketAddress(text: str) -> dict[str, Any]:
    host, _, port = text.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}
