# -*- test-case-name: tests.controlplane.api.test_kubernetes -*-
"""
Kubernetes' C{Table}: how kubectl gets its columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from meshproxy.controlplane.api.call import Call
from meshproxy.controlplane.model.kinds import Kind

__all__ = ["COLUMNS", "age", "asksForTable", "cells", "table"]

Cell = Callable[[Mapping[str, Any]], object]


def asksForTable(call: Call) -> bool:
    """
    Whether C{Accept} asks for one.
    """
    accepted = call.headers.get("accept", "")
    return any("as=Table" in part and "g=meta.k8s.io" in part for part in accepted.split(","))


def _spec(*steps: str) -> Cell:
    def cell(document: Mapping[str, Any]) -> object:
        value: Any = document.get("spec")
        for step in steps:
            value = value.get(step) if isinstance(value, Mapping) else None
        if isinstance(value, list):
            return ",".join(map(str, value))
        return "" if value is None else value

    return cell


def _ports(document: Mapping[str, Any]) -> str:
    listed = (document.get("spec") or {}).get("ports")
    if not isinstance(listed, list):
        return ""
    return ",".join(f"{port.get('port', port.get('number', ''))}/{port.get('protocol', 'TCP')}" for port in listed)


def _dataCount(document: Mapping[str, Any]) -> int:
    return sum(len(document.get(name) or {}) for name in ("data", "stringData"))


#: What istioctl's users know of each kind: the columns of Istio's CRDs, and of kubectl for the core group.
COLUMNS: dict[str, tuple[tuple[str, Cell], ...]] = {
    "VirtualService": (("Gateways", _spec("gateways")), ("Hosts", _spec("hosts"))),
    "DestinationRule": (("Host", _spec("host")),),
    "Gateway": (("Selector", lambda d: _labels((d.get("spec") or {}).get("selector"))),),
    "ServiceEntry": (
        ("Hosts", _spec("hosts")),
        ("Location", _spec("location")),
        ("Resolution", _spec("resolution")),
    ),
    "WorkloadEntry": (("Address", _spec("address")),),
    "PeerAuthentication": (("Mode", _spec("mtls", "mode")),),
    "AuthorizationPolicy": (("Action", lambda d: _spec("action")(d) or "ALLOW"),),
    "Service": (("Type", lambda d: _spec("type")(d) or "ClusterIP"), ("Ports", _ports)),
    "Secret": (("Type", lambda d: d.get("type", "Opaque")), ("Data", _dataCount)),
}


#: Columns that are shown by -o wide alone.
_WIDE = ("Programmed", "Generation", "Revision")

_ABOUT = {"Programmed": "How many of the proxies that it concerns have it."}


def _labels(value: Any) -> str:
    return ",".join(f"{name}={one}" for name, one in value.items()) if isinstance(value, Mapping) else ""


def cells(kind: Kind, document: Mapping[str, Any], now: float) -> list[object]:
    """
    The cells of a resource: its name, those of its kind, its age.
    """
    metadata = document["metadata"]
    own = [cell(document) for _, cell in COLUMNS.get(kind.kind, ())]
    return [metadata["name"], *own, age(str(metadata.get("creationTimestamp", "")), now)]


def age(created: str, now: float) -> str:
    """
    How long ago something was, as kubectl says it: C{45s}, C{7m}, C{3h}, C{12d}.
    """
    try:
        seconds = int(now - datetime.fromisoformat(created).timestamp())
    except ValueError:
        return "<unknown>"
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        # Two of a unit are told in the smaller one: 90m says more than 1h.
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{max(0, seconds)}s"


def table(kind: Kind, documents: Sequence[Mapping[str, Any]], revision: str, now: float) -> dict[str, Any]:
    """
    Resources as a table.

    @param now: Seconds since 1970.
    """
    names = ["Name", *(name for name, _ in COLUMNS.get(kind.kind, ())), "Age"]
    columns = [
        {"name": name, "type": _typeOf(name), "format": "", "description": _ABOUT.get(name, ""), "priority": priority}
        for priority, listed in enumerate((names, _WIDE))
        for name in listed
    ]
    columns[0]["format"] = "name"
    partial: dict[str, Any] = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
    rows = [
        {
            "cells": [*cells(kind, document, now), *_wideCells(document)],
            "object": partial | {"metadata": document["metadata"]},
        }
        for document in documents
    ]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": revision},
        "columnDefinitions": columns,
        "rows": rows,
    }


def _wideCells(document: Mapping[str, Any]) -> list[object]:
    metadata = document["metadata"]
    status = document.get("status") or {}
    return [status.get("programmed", ""), metadata.get("generation", 0), metadata.get("resourceVersion", "")]


def _typeOf(name: str) -> str:
    return "integer" if name in ("Data", "Generation") else "string"
