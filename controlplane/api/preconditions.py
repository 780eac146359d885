# -*- test-case-name: tests.controlplane.api.test_kubernetes -*-
"""
What has to be so for a resource to be changed: entity tags, and what Kubernetes' DeleteOptions ask for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshproxy.controlplane.api.call import Call
from meshproxy.controlplane.api.objects import Wish
from meshproxy.controlplane.api.replies import Refused
from meshproxy.controlplane.store.values import Entry

__all__ = ["checkOptions", "isStrict", "mapping", "optionsOf", "precondition"]


def mapping(value: Any) -> dict[str, Any]:
    """
    @raise Refused: If a body is no mapping.
    """
    if not isinstance(value, dict):
        raise Refused(400, "a resource is a mapping")
    return value


def precondition(expected: int | None, entry: Entry | None) -> None:
    """
    @raise Refused: 412 if C{If-Match} or C{If-None-Match} does not hold (RFC 9110, 13.1).
    """
    found = 0 if entry is None else entry.revision
    if expected is not None and expected != found:
        asked = f"at revision {expected}" if expected else "not there"
        raise Refused(412, f"it was to be {asked}, and is {f'at revision {found}' if found else 'not there'}")


def optionsOf(call: Call) -> Mapping[str, Any]:
    """
    Kubernetes' DeleteOptions.
    """
    options = mapping(call.document()) if call.body.strip() else {}
    wanted = options.get("preconditions")
    wanted = {} if wanted is None else wanted
    if not isinstance(wanted, Mapping) or not _areTexts(wanted, "uid", "resourceVersion"):
        raise Refused(400, "preconditions may have uid and resourceVersion, which are text")
    if not _areTexts(options, "apiVersion", "kind"):
        raise Refused(400, "apiVersion and kind are text")
    return options


def _areTexts(value: Mapping[str, Any], *names: str) -> bool:
    return all(isinstance(value.get(name), str | None) for name in names)


def isStrict(options: Mapping[str, Any], call: Call) -> bool:
    """
    Whether it matters at which revision a resource is.
    """
    return bool(options.get("preconditions")) or call.expected is not None


def checkOptions(options: Mapping[str, Any], entry: Entry, wish: Wish) -> None:
    """
    @raise Refused: 409 if the resource is another one, or at another revision, than DeleteOptions ask for.
    """
    wanted = options.get("preconditions")
    if not isinstance(wanted, Mapping):
        return
    metadata = entry.document["metadata"]
    assert isinstance(metadata, dict)
    found = {"uid": metadata["uid"], "resourceVersion": str(entry.revision)}
    for name, value in found.items():
        if wanted.get(name) not in (None, value):
            raise Refused(409, f"its {name} is {value}, not {wanted[name]}", target=wish.target)
