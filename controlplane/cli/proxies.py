# -*- test-case-name: tests.controlplane.cli.test_main -*-
"""
Commands about proxies and identities: proxy-status, proxy-config, certs, token.
"""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any

from meshproxy.controlplane.cli.client import APIClient, CommandFailed, path
from meshproxy.controlplane.cli.proxynames import proxyNamed
from meshproxy.controlplane.cli.tables import Printer, ago

__all__ = ["certs", "proxyConfig", "proxyStatus", "token", "waitForProxies"]

# Seconds between two looks at the proxies.
_LOOK = 0.05

_TYPES = ("CDS", "LDS", "EDS", "RDS", "SDS")

#: Where an admin's /config_dump has each type: the part, its lists, the field of the resource.
_DUMPS = {
    "clusters": ("ClustersConfigDump", ("static_clusters", "dynamic_active_clusters"), "cluster"),
    "listeners": ("ListenersConfigDump", ("static_listeners", "dynamic_listeners"), "listener"),
    "routes": ("RoutesConfigDump", ("static_route_configs", "dynamic_route_configs"), "route_config"),
    "endpoints": ("EndpointsConfigDump", ("static_endpoint_configs", "dynamic_endpoint_configs"), "endpoint_config"),
    "secrets": ("SecretsConfigDump", ("static_secrets", "dynamic_active_secrets"), "secret"),
}


def proxyStatus(client: APIClient, printer: Printer, arguments: Namespace) -> int:
    """
    Tell of each proxy whether it has what it is to have.
    """
    proxies = client.ask("GET", path("v1", "proxies"))["proxies"]
    if arguments.output == "json":
        printer.json(proxies)
        return 0
    if not proxies:
        printer.line("no proxies are connected")
        return 0
    rows = []
    for proxy in proxies:
        types = proxy["types"]
        states = [types[name]["state"] if name in types else "-" for name in _TYPES]
        since = ago(proxy["connectedSince"], time.time())
        rows.append([proxy["id"], proxy["cluster"], *states, proxy["dataPlane"], proxy["version"], since])
    printer.table(["NAME", "CLUSTER", *_TYPES, "DATA PLANE", "VERSION", "CONNECTED"], rows)
    for proxy in proxies:
        for line in _refusals(proxy):
            printer.line(line)
    return 0


def waitForProxies(client: APIClient, printer: Printer, revision: int, timeout: float) -> None:
    """
    Wait until every proxy that is connected has what follows from a revision.

    @raise CommandFailed: If one refuses it, or it takes longer than C{timeout} seconds.
    """
    end = time.monotonic() + timeout
    while True:
        proxies = client.ask("GET", path("v1", "proxies"))["proxies"]
        waiting = [proxy for proxy in proxies if not _has(proxy, revision)]
        refusals = [line for proxy in proxies for line in _refusals(proxy) if proxy["revision"] >= revision]
        if refusals:
            raise CommandFailed("\n".join(refusals))
        if not waiting:
            printer.note(f"{len(proxies)} proxies have it" if proxies else "no proxies are connected")
            return
        if time.monotonic() > end:
            left = ", ".join(proxy["id"] for proxy in waiting)
            raise CommandFailed(f"after {timeout:g} s {len(waiting)} of {len(proxies)} proxies do not have it: {left}")
        time.sleep(_LOOK)


def _has(proxy: Mapping[str, Any], revision: int) -> bool:
    return proxy["revision"] >= revision and all(told["state"] == "SYNCED" for told in proxy["types"].values())


def _refusals(proxy: Mapping[str, Any]) -> Iterator[str]:
    for name, told in proxy["types"].items():
        if "error" in told:
            yield f"{proxy['id']} refused {name}: {told['error']}"


def proxyConfig(client: APIClient, printer: Printer, arguments: Namespace) -> int:
    """
    Show what a proxy was sent; with C{--admin} what it holds.
    """
    if arguments.admin:
        found = _held(arguments.admin, arguments.what)
    else:
        if not arguments.proxy:
            raise CommandFailed("proxy-config takes a proxy's name (meshctl proxy-status shows them), or --admin", 2)
        answer = client.ask("GET", path("v1", "proxies", proxyNamed(client, arguments.proxy), arguments.what))
        found = [(one["name"], one["config"]) for one in answer["resources"]]
    if arguments.name:
        found = [one for one in found if one[0] == arguments.name]
    if arguments.output == "json":
        printer.json([config for _, config in found])
    elif arguments.output == "yaml":
        printer.yaml([config for _, config in found])
    else:
        if arguments.what == "secrets" and not found and not arguments.admin:
            printer.note("it was sent none; an identity that it makes itself is shown by --admin")
            return 0
        head, row = _SUMMARIES[arguments.what]
        printer.table(head, [row(name, _Fields(config)) for name, config in found])
    return 0


def _held(address: str, what: str) -> list[tuple[str, Any]]:
    """
    What a proxy itself says that it has.
    """
    host, _, port = address.removeprefix("http://").rstrip("/").rpartition(":")
    if not port.isdigit():
        raise CommandFailed(f"--admin is HOST:PORT, not {address!r}", 2)
    connection = HTTPConnection(host.strip("[]"), int(port), timeout=30)
    try:
        connection.request("GET", "/config_dump?include_eds")
        dump = json.loads(connection.getresponse().read())
    except (OSError, HTTPException, ValueError) as error:
        raise CommandFailed(f"{address}: {error}") from error
    finally:
        connection.close()
    part, lists, field = _DUMPS[what]
    found = []
    for config in dump.get("configs", ()):
        if config.get("@type", "").endswith(part):
            for name in lists:
                for one in config.get(name, ()):
                    held = (one.get("active_state") or one).get(field)
                    if held is not None:
                        found.append((str(held.get("name") or held.get("cluster_name", "")), held))
    return found


class _Fields:
    """
    A message in protobuf's JSON form, whichever way its fields are spelled.
    """

    def __init__(self, value: Any) -> None:
        self._value = value

    def get(self, *steps: str) -> Any:
        """
        What stands at the end of some steps, or nothing.
        """
        value = self._value
        for step in steps:
            if not isinstance(value, Mapping):
                return ""
            value = value.get(step, value.get(_camel(step), ""))
        return value

    def each(self, name: str) -> list[_Fields]:
        """
        The items of a list.
        """
        held = self.get(name)
        return [_Fields(one) for one in held] if isinstance(held, list) else []


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _clusterRow(name: str, config: _Fields) -> list[object]:
    # Istio's names: outbound|PORT|SUBSET|HOST.
    parts = name.split("|")
    direction, port, subset, host = parts if len(parts) == 4 else ("-", "-", "-", name)
    return [host or name, port or "-", subset or "-", direction, config.get("type") or "STATIC"]


def _listenerRow(name: str, config: _Fields) -> list[object]:
    address = config.get("address", "socket_address", "address")
    port = config.get("address", "socket_address", "port_value")
    chains = len(config.each("filter_chains"))
    return [name, f"{address}:{port}" if port else config.get("address", "pipe", "path"), chains]


def _routeRow(name: str, config: _Fields) -> list[object]:
    hosts = config.each("virtual_hosts")
    return [name, len(hosts), sum(len(host.each("routes")) for host in hosts)]


def _endpointRow(name: str, config: _Fields) -> list[object]:
    addresses = []
    for group in config.each("endpoints"):
        for one in group.each("lb_endpoints"):
            host = one.get("endpoint", "address", "socket_address", "address")
            addresses.append(f"{host}:{one.get('endpoint', 'address', 'socket_address', 'port_value')}")
    return [name, len(addresses), ", ".join(addresses[:5]) + (" ..." if len(addresses) > 5 else "")]


def _secretRow(name: str, config: _Fields) -> list[object]:
    kinds = {"tls_certificate": "certificate", "validation_context": "roots", "generic_secret": "generic"}
    return [name, next((told for field, told in kinds.items() if config.get(field)), "-")]


_SUMMARIES: dict[str, tuple[list[str], Any]] = {
    "clusters": (["SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE"], _clusterRow),
    "listeners": (["NAME", "ADDRESS", "CHAINS"], _listenerRow),
    "routes": (["NAME", "VIRTUAL HOSTS", "ROUTES"], _routeRow),
    "endpoints": (["CLUSTER", "COUNT", "ENDPOINTS"], _endpointRow),
    "secrets": (["NAME", "TYPE"], _secretRow),
}


def certs(client: APIClient, printer: Printer, arguments: Namespace) -> int:
    """
    Tell of the roots, and of the certificates of workloads, when they end.
    """
    roots = client.ask("GET", path("v1", "ca", "roots"))
    issued = client.ask("GET", path("v1", "ca", "certificates"))["certificates"]
    if arguments.output == "json":
        printer.json({"roots": roots["roots"], "certificates": issued})
        return 0
    now = time.time()
    rows = [["root", one["subject"], one["serial"][:16], _left(one["notAfter"], now)] for one in roots["roots"]]
    rows += [["workload", one["identity"], one["serial"][:16], _left(one["notAfter"], now)] for one in issued]
    printer.table(["TYPE", "NAME", "SERIAL", "ENDS"], rows)
    return 0


def _left(moment: str, now: float) -> str:
    from datetime import datetime

    ends = datetime.fromisoformat(moment).timestamp()
    return f"in {ago(ends, now)}" if ends > now else f"expired ({ago(ends, now)} ago)"


def token(client: APIClient, printer: Printer, arguments: Namespace) -> int:
    """
    Make a bootstrap token, and print it.
    """
    asked: dict[str, object] = {"namespace": arguments.namespace, "serviceAccount": arguments.service_account}
    if arguments.ttl:
        asked["ttlSeconds"] = arguments.ttl
    printer.line(client.json("POST", path("v1", "ca", "tokens"), asked)["token"])
    return 0
