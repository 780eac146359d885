# -*- test-case-name: tests.controlplane.api.test_discovery -*-
"""
What a client of Kubernetes asks first: which groups, versions and resources there are.
"""

from __future__ import annotations

import platform
from typing import Any

from meshproxy import __version__
from meshproxy.controlplane.api.access import Role
from meshproxy.controlplane.api.call import Call
from meshproxy.controlplane.api.objects import kindOf
from meshproxy.controlplane.api.replies import Reply, notFound
from meshproxy.controlplane.api.router import Operation, Router
from meshproxy.controlplane.model.kinds import KINDS, Kind
from meshproxy.controlplane.store.interfaces import IStore

__all__ = ["addDiscovery"]

_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]


def addDiscovery(router: Router, store: IStore) -> None:
    """
    The operations of discovery.
    """

    def add(pattern: str, handler: Any, summary: str, answer: str = "Discovery") -> None:
        router.add(Operation("GET", pattern, handler, Role.READ, summary, group="discovery", answer=answer))

    groups = {kind.group: kind.versions for kind in KINDS if kind.group}
    add("/version", _version, "The version, as Kubernetes has it", "Version")
    add("/api", _constant(_coreVersions()), "The versions of the core group")
    add("/apis", _constant({"kind": "APIGroupList", "apiVersion": "v1", "groups": _groups(groups)}), "The groups")
    for group in _groups(groups):
        told = {"kind": "APIGroup", "apiVersion": "v1", **group}
        add(f"/apis/{group['name']}", _constant(told), "The versions of a group")
    for apiVersion in dict.fromkeys(version for kind in KINDS for version in kind.apiVersions):
        base = "/apis" if "/" in apiVersion else "/api"
        add(f"{base}/{apiVersion}", _constant(_resources(apiVersion)), "The resources of a version")
    namespaces = _Namespaces(store)
    add("/api/v1/namespaces", namespaces.list, "The namespaces that have resources", "NamespaceList")
    add("/api/v1/namespaces/{namespace}", namespaces.get, "A namespace", "Namespace")


def _constant(value: dict[str, Any]) -> Any:
    async def handler(call: Call) -> Reply:
        return Reply(value)

    return handler


async def _version(call: Call) -> Reply:
    # kubectl compares major and minor with its own; the shape is that of a cluster.
    return Reply(
        {
            "major": "1",
            "minor": "30",
            "gitVersion": f"v1.30.0+meshproxy-{__version__}",
            "gitCommit": "",
            "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z",
            "goVersion": f"python{platform.python_version()}",
            "compiler": platform.python_implementation(),
            "platform": "linux/amd64",
        }
    )


def _coreVersions() -> dict[str, Any]:
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def _groups(groups: dict[str, tuple[str, ...]]) -> list[dict[str, Any]]:
    def version(group: str, one: str) -> dict[str, str]:
        return {"groupVersion": f"{group}/{one}", "version": one}

    return [
        {
            "name": group,
            "versions": [version(group, one) for one in versions],
            "preferredVersion": version(group, versions[0]),
        }
        for group, versions in groups.items()
    ]


def _resources(apiVersion: str) -> dict[str, Any]:
    listed = [_resource(kind) for kind in KINDS if apiVersion in kind.apiVersions]
    if apiVersion == "v1":
        listed.append(
            {
                "name": "namespaces",
                "singularName": "namespace",
                "namespaced": False,
                "kind": "Namespace",
                "verbs": ["get", "list"],
                "shortNames": ["ns"],
            }
        )
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": apiVersion, "resources": listed}


def _resource(kind: Kind) -> dict[str, Any]:
    return {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": _VERBS,
        "shortNames": list(kind.shortNames),
        "categories": ["istio-io"] if kind.group else [],
    }


class _Namespaces:
    """
    A namespace is there as soon as something is in it; nobody has to make one.
    """

    def __init__(self, store: IStore) -> None:
        self._store = store

    async def list(self, call: Call) -> Reply:
        """
        All of them.
        """
        listing = await self._store.listing()
        names = sorted({"default"} | {entry.key.namespace for entry in listing.entries if kindOf(entry.key)})
        items = [_namespace(name) for name in names if name]
        metadata = {"resourceVersion": str(listing.revision)}
        return Reply({"kind": "NamespaceList", "apiVersion": "v1", "metadata": metadata, "items": items})

    async def get(self, call: Call, namespace: str) -> Reply:
        """
        One of them.
        """
        listing = await self._store.listing("", namespace)
        if namespace != "default" and not any(kindOf(entry.key) for entry in listing.entries):
            raise notFound(f"Namespace {namespace}", {"name": namespace, "kind": "namespaces"})
        return Reply(_namespace(namespace))


def _namespace(name: str) -> dict[str, Any]:
    return {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}, "status": {"phase": "Active"}}
