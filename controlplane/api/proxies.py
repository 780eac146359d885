# -*- test-case-name: tests.controlplane.api.test_proxies -*-
"""
The proxies that are connected: who they are, what they were sent, what they said to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.protobuf.json_format import MessageToDict

from meshproxy.config.pool import descriptorPool, messageClass
from meshproxy.controlplane.api.access import Role
from meshproxy.controlplane.api.call import Call
from meshproxy.controlplane.api.replies import Refused, Reply, notFound
from meshproxy.controlplane.api.router import Operation, Router
from meshproxy.controlplane.snapshot.snapshots import Snapshots
from meshproxy.controlplane.xds.server import Connected
from meshproxy.controlplane.xds.session import Session
from meshproxy.xds.types import SECRET, shortName

__all__ = ["addProxies", "stateOf"]

_NAMES = {
    "listeners": "LDS",
    "routes": "RDS",
    "clusters": "CDS",
    "endpoints": "EDS",
    "secrets": "SDS",
}

#: Fields that hold keys, wherever they are: they are not shown, whoever asks.
_PRIVATE = ("privateKey", "password", "sessionTicketKeys", "genericSecret")


def addProxies(router: Router, connected: Callable[[], Sequence[Connected]], snapshots: Snapshots) -> None:
    """
    The operations below C{/v1/proxies} and C{/v1/services}.
    """
    own = _Proxies(connected, snapshots)

    def add(pattern: str, handler: Any, told: str, answer: str) -> None:
        router.add(Operation("GET", pattern, handler, Role.READ, told, group="proxies", answer=answer))

    add("/v1/proxies", own.list, "The proxies that are connected, and whether each has what it is to have", "Proxies")
    add("/v1/proxies/{id}", own.get, "One proxy", "Proxy")
    add("/v1/proxies/{id}/{what}", own.config, f"What it was sent: {', '.join(_NAMES)}", "ProxyConfig")
    add("/v1/services", own.services, "The services that are known, with their endpoints", "Services")


def stateOf(session: Session, typeURL: str) -> str:
    """
    How a type stands with a proxy, in istioctl's words.
    """
    subscription = session.subscriptions[typeURL]
    if subscription.rejection is not None:
        return "ERROR"
    if not subscription.nonce and not subscription.accepted:
        return "NOT SENT"
    return "SYNCED" if session.hasAll(typeURL) else "STALE"


class _Proxies:
    """
    See the module.
    """

    def __init__(self, connected: Callable[[], Sequence[Connected]], snapshots: Snapshots) -> None:
        self._connected = connected
        self._snapshots = snapshots

    async def list(self, call: Call) -> Reply:
        """
        All of them.
        """
        proxies = [self._told(one) for one in self._connected()]
        return Reply({"proxies": sorted(proxies, key=lambda one: str(one["id"]))})

    async def get(self, call: Call, id: str) -> Reply:
        """
        One of them.
        """
        one = self._find(id)
        return Reply({**self._told(one), "node": dict(one.node)})

    async def config(self, call: Call, id: str, what: str) -> Reply:
        """
        What it was sent of one type.
        """
        one = self._find(id)
        if what not in _NAMES:
            raise Refused(404, f"{what!r} is none of {', '.join(_NAMES)}")
        found = []
        for typeURL, subscription in one.session.subscriptions.items():
            if shortName(typeURL) == _NAMES[what] and one.session.snapshot is not None:
                resources = one.session.snapshot.ofType(typeURL)
                found += [
                    {"name": name, "version": version, "config": _shown(typeURL, resources[name].value)}
                    for name, version in sorted(subscription.sent.items())
                    if name in resources
                ]
        return Reply({"proxy": id, "type": _NAMES[what], "resources": found})

    async def services(self, call: Call) -> Reply:
        """
        The registry.
        """
        index = self._snapshots.world.registry.index
        services = []
        for service in sorted(index.services, key=lambda one: one.key):
            endpoints = index.allEndpoints(service.key)
            services.append(
                {
                    "host": service.host,
                    "namespace": service.namespace,
                    "ports": [{"number": p.number, "name": p.name, "protocol": p.protocol} for p in service.ports],
                    "resolution": service.resolution.name,
                    "endpoints": [_endpoint(endpoint) for endpoint in endpoints],
                }
            )
        return Reply({"services": services})

    def _told(self, one: Connected) -> dict[str, Any]:
        id = one.node.get("id")
        revisions = [attached.revision for attached in self._snapshots.attached if attached.proxy.id == id]
        return {**_told(one), "revision": min(revisions, default=0)}

    def _find(self, id: str) -> Connected:
        for one in self._connected():
            if one.node.get("id") == id:
                return one
        raise notFound(f"proxy {id}")


def _told(one: Connected) -> dict[str, Any]:
    session = one.session
    types = {}
    for typeURL, subscription in session.subscriptions.items():
        told: dict[str, Any] = {
            "state": stateOf(session, typeURL),
            "version": subscription.version,
            "accepted": subscription.accepted,
            "resources": len(subscription.sent),
        }
        if subscription.rejection is not None:
            told["error"] = subscription.rejection.message
        types[shortName(typeURL)] = told
    node = one.node
    return {
        "id": node.get("id", ""),
        "cluster": node.get("cluster", ""),
        "dataPlane": node.get("userAgentName", ""),
        "version": _versionOf(node),
        "address": one.peer,
        "identity": one.identity,
        "variant": one.variant,
        "connectedSince": one.since,
        "types": types,
    }


def _versionOf(node: Mapping[str, Any]) -> str:
    build = node.get("userAgentBuildVersion", {}).get("version", {})
    if build:
        return ".".join(str(build.get(name, 0)) for name in ("majorNumber", "minorNumber", "patch"))
    return str(node.get("userAgentVersion", ""))


def _shown(typeURL: str, value: bytes) -> Any:
    """
    A resource in protobuf's JSON form, without what is nobody's to see.
    """
    message = messageClass(typeURL.rpartition("/")[2]).FromString(value)
    told = MessageToDict(message, descriptor_pool=descriptorPool())
    return _hidden(told) if typeURL == SECRET else told


def _hidden(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: "[redacted]" if name in _PRIVATE else _hidden(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_hidden(one) for one in value]
    return value


def _endpoint(endpoint: Any) -> dict[str, Any]:
    return {
        "address": endpoint.address,
        "port": endpoint.port,
        "labels": dict(endpoint.labels),
        "serviceAccount": endpoint.serviceAccount,
    }
