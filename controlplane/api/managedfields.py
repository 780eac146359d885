# -*- test-case-name: tests.controlplane.api.test_managedfields -*-
"""
Who manages which fields of a resource: Kubernetes' C{metadata.managedFields}.

They are kept from the first server-side apply on. A resource that never saw one has none, and all of its fields are
then taken for those of L{BEFORE}.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from meshproxy.controlplane.api.patches import same

__all__ = [
    "APPLY",
    "BEFORE",
    "ITEM",
    "UPDATE",
    "Owner",
    "Path",
    "fieldsOf",
    "itemKey",
    "keysOf",
    "ownersOf",
    "told",
    "tracked",
]

#: The steps to a field, as C{FieldsV1} has them: C{f:spec}, C{f:hosts}; C{k:{"port":80}} for an item of a list.
Path = tuple[str, ...]

APPLY, UPDATE = "Apply", "Update"
#: Kubernetes' name for whoever wrote what was there before the first server-side apply.
BEFORE = "before-first-apply"
#: The value of a path that is an item of a list: that it is there.
ITEM = object()

_VERSION = "FieldsV1"
_KINDS = ("labels", "annotations")

# Lists whose items are found by some of their fields, with what those are if unset; all other lists are one value.
# Kubernetes says so of its own kinds only.
_KEYED: dict[str, dict[Path, dict[str, Any]]] = {
    "Service": {("f:spec", "f:ports"): {"port": None, "protocol": "TCP"}},
}


@dataclass(frozen=True, slots=True)
class Owner:
    """
    Somebody who manages some fields.

    @ivar operation: L{APPLY}, or L{UPDATE} for every other way to write.
    @ivar time: When the fields became these, as RFC 3339 has it.
    """

    manager: str
    operation: str
    apiVersion: str
    time: str
    paths: frozenset[Path]

    def having(self, paths: Iterable[Path], apiVersion: str, now: str) -> Owner:
        """
        The same with other fields; its time stays if they are no others.
        """
        found = frozenset(paths)
        isSame = found == self.paths and apiVersion == self.apiVersion
        return self if isSame else replace(self, paths=found, apiVersion=apiVersion, time=now)


# What a document has.


def fieldsOf(kind: str, document: Mapping[str, Any]) -> dict[Path, Any]:
    """
    All fields that somebody can manage, with their values: scalars, lists, and mappings without anything in them.
    """
    keyed = _KEYED.get(kind, {})
    found: dict[Path, Any] = {}
    for name, value in document.items():
        if name == "metadata":
            for part in _KINDS:
                if isinstance(value, Mapping) and value.get(part):
                    _walk(value[part], ("f:metadata", f"f:{part}"), keyed, found)
        elif name not in ("apiVersion", "kind", "status"):
            _walk(value, (f"f:{name}",), keyed, found)
    return found


def _walk(value: Any, path: Path, keyed: Mapping[Path, Mapping[str, Any]], found: dict[Path, Any]) -> None:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            _walk(inner, (*path, f"f:{name}"), keyed, found)
        return
    items = _items(value, keyed[path]) if path in keyed else None
    if not items:
        found[path] = value
        return
    for key, item in items.items():
        found[*path, key] = ITEM
        for name, inner in item.items():
            _walk(inner, (*path, key, f"f:{name}"), keyed, found)


def _items(value: Any, names: Mapping[str, Any]) -> dict[str, Mapping[str, Any]] | None:
    """
    The items of a list by their keys, or L{None} if not all of them have one of their own.
    """
    if not isinstance(value, list):
        return None
    found = {key: item for item in value if (key := itemKey(item, names)) is not None}
    return found if len(found) == len(value) else None


def itemKey(item: Any, names: Mapping[str, Any]) -> str | None:
    """
    The step to an item of a list, or L{None} if it has no key.

    @param names: The fields that make the key, with what they are if unset.
    """
    if not isinstance(item, Mapping):
        return None
    key = {name: item.get(name, unset) for name, unset in names.items()}
    if not all(isinstance(part, str | int) for part in key.values()):
        return None
    return f"k:{json.dumps(key, separators=(',', ':'), sort_keys=True)}"


def keysOf(kind: str, path: Path) -> Mapping[str, Any]:
    """
    By which fields the items of a list are found: names, with what they are if unset; none for other values.
    """
    return _KEYED.get(kind, {}).get(path, {})


# What is kept of it.


def ownersOf(value: Any) -> list[Owner] | None:
    """
    The owners that a C{managedFields} tells.

    @return: L{None} if it cannot be understood.
    """
    if not isinstance(value, Sequence) or isinstance(value, str):
        return None
    found = [_owner(one) for one in value if one != {}]
    return None if None in found else [one for one in found if one is not None and one.paths]


def _owner(value: Any) -> Owner | None:
    if not isinstance(value, Mapping) or value.get("operation") not in (APPLY, UPDATE):
        return None
    names = [value.get(name) for name in ("manager", "operation", "apiVersion", "time")]
    if not all(isinstance(name, str) for name in names) or not isinstance(value.get("fieldsV1"), Mapping):
        return None
    manager, operation, apiVersion, time = map(str, names)
    return Owner(manager, operation, apiVersion, time, frozenset(_paths(value["fieldsV1"], ())))


def _paths(value: Any, path: Path) -> Iterable[Path]:
    for name, inner in value.items():
        here = path if name == "." else (*path, name)
        if isinstance(inner, Mapping) and inner:
            yield from _paths(inner, here)
        elif here:
            yield here


def told(owners: Iterable[Owner]) -> list[dict[str, Any]]:
    """
    Owners as a C{managedFields}.
    """
    return [
        {
            "manager": owner.manager,
            "operation": owner.operation,
            "apiVersion": owner.apiVersion,
            "time": owner.time,
            "fieldsType": _VERSION,
            "fieldsV1": _fields(owner.paths),
        }
        for owner in owners
        if owner.paths
    ]


def _fields(paths: Iterable[Path]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for path in sorted(paths):
        _at(fields, path)
    for path in paths:
        here = _at(fields, path)
        if here:
            # Others stand within it.
            here["."] = {}
    return fields


def _at(fields: dict[str, Any], path: Path) -> dict[str, Any]:
    for step in path:
        fields = fields.setdefault(step, {})
    return fields


# What becomes of it when somebody writes in another way.


def tracked(
    kind: str,
    owners: Sequence[Owner],
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    manager: str,
    now: str,
) -> list[Owner]:
    """
    The owners after a write that is no server-side apply: who writes has what it changes, and nobody what is gone.
    """
    old, new = fieldsOf(kind, before), fieldsOf(kind, after)
    changed = {path for path, value in new.items() if path not in old or not same(old[path], value)}
    apiVersion = str(after.get("apiVersion", ""))
    found = [one.having((one.paths & new.keys()) - changed, one.apiVersion, now) for one in owners]
    if not changed:
        return found
    for index, one in enumerate(found):
        if (one.manager, one.operation) == (manager, UPDATE):
            found[index] = one.having(one.paths | changed, apiVersion, now)
            return found
    return [*found, Owner(manager, UPDATE, apiVersion, now, frozenset(changed))]
