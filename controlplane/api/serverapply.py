# -*- test-case-name: tests.controlplane.api.test_serverapply -*-
"""
Kubernetes' server-side apply: who applies says only the fields that are theirs. What they said before and do not say
any more goes; what others manage stays, and is not changed unless it is forced.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from typing import Any

from meshproxy.controlplane.api.managedfields import (
    APPLY,
    BEFORE,
    ITEM,
    UPDATE,
    Owner,
    Path,
    fieldsOf,
    itemKey,
    keysOf,
    ownersOf,
)
from meshproxy.controlplane.api.patches import same
from meshproxy.controlplane.api.replies import Refused
from meshproxy.controlplane.model.problems import Problem, Severity

__all__ = ["APPLY_PATCH", "serverApply"]

APPLY_PATCH = "application/apply-patch+yaml"

_CAUSE = "FieldManagerConflict"
_NOTHING = object()


def serverApply(
    kind: str, live: Mapping[str, Any] | None, wanted: Mapping[str, Any], manager: str, now: str, force: bool = False
) -> tuple[dict[str, Any], list[Owner]]:
    """
    What becomes of a resource.

    @param live: What there is, with its C{managedFields}; L{None} if there is nothing.
    @param wanted: What is applied.
    @param manager: Who applies it.
    @param now: The time, as RFC 3339 has it.
    @param force: Whether fields that others manage are taken from them.

    @return: The document, and who has which of its fields.

    @raise Refused: 409 if others manage fields that would be changed; all of them are told.
    """
    wanted = _given(wanted)
    fields = fieldsOf(kind, wanted)
    current = {} if live is None else fieldsOf(kind, live)
    owners = _before(live, current, now)
    own = next((one for one in owners if (one.manager, one.operation) == (manager, APPLY)), None)
    others = [one for one in owners if one is not own]
    claimed = [_claimed(one, fields, current) for one in others]
    if any(claimed) and not force:
        raise _conflicts(zip(others, claimed, strict=True))
    left = [one.having(one.paths - lost, one.apiVersion, now) for one, lost in zip(others, claimed, strict=True)]
    document = copy.deepcopy(dict(live or {}))
    kept = frozenset(fields).union(*(one.paths for one in left))
    # What stands within something that goes is gone by then.
    for path in sorted((own.paths if own else frozenset()) - kept, key=len):
        _take(kind, document, path, kept)
    for path in {path[:-1] for path, value in fields.items() if value is ITEM} & current.keys():
        # What is there is a list as a whole: its items have no keys, or not each its own.
        _put(kind, document, path, [])
    for path, value in fields.items():
        _put(kind, document, path, value)
    document.update({name: wanted[name] for name in ("apiVersion", "kind") if name in wanted})
    document["metadata"] = _metadata(document.get("metadata"), wanted.get("metadata"))
    there = fieldsOf(kind, document).keys()
    left = [one.having(one.paths & there, one.apiVersion, now) for one in left]
    apiVersion = str(wanted.get("apiVersion", ""))
    own = own or Owner(manager, APPLY, apiVersion, now, frozenset())
    return document, [own.having(fields.keys() & there, apiVersion, now), *left]


def _given(value: Any) -> Any:
    """
    Without what is null: of such a field nothing is said.
    """
    if not isinstance(value, Mapping):
        return value
    return {name: _given(inner) for name, inner in value.items() if inner is not None}


def _before(live: Mapping[str, Any] | None, current: Mapping[Path, Any], now: str) -> list[Owner]:
    if live is None:
        return []
    owners = ownersOf(live["metadata"].get("managedFields", ()))
    return owners or [Owner(BEFORE, UPDATE, str(live["apiVersion"]), now, frozenset(current))]


def _metadata(live: Any, wanted: Any) -> dict[str, Any]:
    """
    Metadata with those of what is applied that nobody manages; labels and annotations are merged by now.
    """
    if not isinstance(wanted, Mapping):
        raise Refused(400, "a resource has metadata")
    told = {name: value for name, value in wanted.items() if name not in ("labels", "annotations")}
    return {**(live or {}), **told}


# Conflicts.


def _claimed(owner: Owner, fields: Mapping[Path, Any], current: Mapping[Path, Any]) -> set[Path]:
    """
    Which of somebody's fields would get another value.
    """
    around: dict[Path, list[Path]] = {}
    for path in owner.paths:
        for length in range(1, len(path)):
            around.setdefault(path[:length], []).append(path)
    found: set[Path] = set()
    for path, value in fields.items():
        if value is ITEM or (path in current and same(current[path], value)):
            continue
        if path in owner.paths:
            found.add(path)
        elif path in around and value != {}:
            # What they have stands within what would be one value.
            found.update(around[path])
        for length in range(1, len(path)):
            # And the other way round.
            outer = path[:length]
            if outer in owner.paths and current.get(outer) is not ITEM and current.get(outer) != {}:
                found.add(outer)
    return found


def _conflicts(claims: Iterable[tuple[Owner, set[Path]]]) -> Refused:
    errors = [
        Problem(Severity.ERROR, "conflict", f"{owner.manager!r} manages it, with {owner.apiVersion}", _shown(path))
        for owner, paths in claims
        for path in sorted(paths)
    ]
    count = "1 conflict" if len(errors) == 1 else f"{len(errors)} conflicts"
    return Refused(409, f"Apply failed with {count}", errors, "Conflict", cause=_CAUSE)


def _shown(path: Path) -> str:
    """
    A path as Kubernetes' clients show it: C{.spec.ports[port=80,protocol="TCP"].name}.
    """
    told = ""
    for step in path:
        sort, _, name = step.partition(":")
        if sort == "k":
            told += f"[{','.join(f'{key}={json.dumps(value)}' for key, value in json.loads(name).items())}]"
        else:
            told += f".{name}"
    return told


# Changes of a document.


def _put(kind: str, document: dict[str, Any], path: Path, value: Any) -> None:
    here: Any = document
    for index, step in enumerate(path[:-1]):
        inner: Any = [] if path[index + 1].startswith("k:") else {}
        here = _child(kind, here, path[: index + 1], step, inner)
    last = path[-1]
    if value is ITEM:
        _child(kind, here, path, last, None)
        return
    name = last.partition(":")[2]
    # To say that a mapping is there takes nothing out of it.
    if value != {} or not isinstance(here.get(name), Mapping):
        here[name] = copy.deepcopy(value)


def _child(kind: str, parent: Any, path: Path, step: str, made: Any) -> Any:
    """
    What stands within something, made if it is not there or of another sort.
    """
    sort, _, name = step.partition(":")
    if sort == "k":
        names = keysOf(kind, path[:-1])
        for item in parent:
            if itemKey(item, names) == step:
                return item
        key = json.loads(name)
        parent.append({field: key[field] for field, unset in names.items() if key[field] != unset})
        return parent[-1]
    if not isinstance(parent.get(name), type(made)):
        parent[name] = made
    return parent[name]


def _take(kind: str, document: dict[str, Any], path: Path, kept: frozenset[Path]) -> None:
    """
    Take a field away, and what has nothing in it then, except what others keep. An item of a list goes with the last of
    its fields that somebody has; what it is found by stays until then.
    """
    length = next((number for number, step in enumerate(path, 1) if step.startswith("k:")), 0)
    if length and not any(one[:length] == path[:length] for one in kept):
        path = path[:length]
    elif length and path[length:] in {(f"f:{name}",) for name in keysOf(kind, path[: length - 1])}:
        return
    chain: list[Any] = [document]
    for index, step in enumerate(path):
        inner = _find(kind, chain[-1], path[: index + 1], step)
        if inner is _NOTHING:
            return
        chain.append(inner)
    isItem = path[-1].startswith("k:")
    if (isItem or isinstance(chain[-1], dict)) and any(one[: len(path)] == path for one in kept):
        return
    for length in range(len(path), 1, -1):
        parent = chain[length - 1]
        _remove(parent, path[length - 1], chain[length])
        if parent or path[: length - 1] in kept:
            return


def _find(kind: str, parent: Any, path: Path, step: str) -> Any:
    sort, _, name = step.partition(":")
    if sort == "k":
        names = keysOf(kind, path[:-1])
        items = parent if isinstance(parent, list) else []
        return next((item for item in items if itemKey(item, names) == step), _NOTHING)
    return parent.get(name, _NOTHING) if isinstance(parent, dict) else _NOTHING


def _remove(parent: Any, step: str, value: Any) -> None:
    if isinstance(parent, list):
        parent[:] = [item for item in parent if item is not value]
    else:
        del parent[step.partition(":")[2]]
