# -*- test-case-name: tests.controlplane.translate.test_routes -*-
"""
Operations on headers.
"""

from __future__ import annotations

from meshproxy.controlplane.model.routes import Headers
from meshproxy.controlplane.translate.messages import JSON

__all__ = ["headerOperations", "rewrittenHost"]


def _isHost(name: str) -> bool:
    return name.lower() in (":authority", "host")


def _added(values: dict[str, str], action: str) -> list[JSON]:
    return [
        {"header": {"key": name, "value": value}, "appendAction": action}
        for name, value in sorted(values.items())
        if not _isHost(name)
    ]


def headerOperations(headers: Headers | None) -> JSON:
    """
    The operations, under the names that they have on routes and on clusters of a route. The host is not among them.
    """
    made: JSON = {}
    for side in ("request", "response"):
        operations = getattr(headers, side) if headers is not None else None
        if operations is None:
            continue
        adding = _added(operations.set, "OVERWRITE_IF_EXISTS_OR_ADD")
        adding += _added(operations.add, "APPEND_IF_EXISTS_OR_ADD")
        if adding:
            made[f"{side}HeadersToAdd"] = adding
        if operations.remove:
            made[f"{side}HeadersToRemove"] = list(operations.remove)
    return made


def rewrittenHost(headers: Headers | None) -> str:
    """
    The host that an operation sets, or nothing.
    """
    request = headers.request if headers is not None else None
    if request is None:
        return ""
    return next((value for name, value in {**request.set, **request.add}.items() if _isHost(name)), "")
