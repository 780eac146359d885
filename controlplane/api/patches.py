# -*- test-case-name: tests.controlplane.api.test_patches -*-
"""
Patches of documents: JSON Merge Patch (RFC 7386), JSON Patch (RFC 6902), and Kubernetes' strategic merge.

None of them changes what it is given.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from meshproxy.controlplane.api.replies import Refused

__all__ = ["JSON_PATCH", "MERGE_PATCH", "STRATEGIC_PATCH", "jsonPatch", "mergePatch", "same", "strategicPatch"]

MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"

# JSON Patch can copy what it copied: with a few lines a document of terabytes.
_MOST_OPERATIONS = 1000
_MOST_VALUES = 200_000
_MOST_LEVELS = 100


def mergePatch(document: Any, patch: Any) -> Any:
    """
    RFC 7386: mappings are merged, a null takes away, all else replaces.
    """
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    merged = dict(document) if isinstance(document, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = mergePatch(merged.get(name), value)
    return merged


# Strategic merge.


def strategicPatch(document: Any, patch: Any, keys: Mapping[str, str], path: str = "") -> Any:
    """
    As L{mergePatch}, but lists whose items have a key are merged by it, and C{$patch} says otherwise.

    @param keys: The path of each such list, dots between the names, and the key of its items: C{spec.ports}, C{port}.

    @raise Refused: If a directive cannot be followed.
    """
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    directive = patch.get("$patch")
    if directive == "delete":
        return None
    merged: dict[str, Any] = dict(document) if isinstance(document, Mapping) and directive != "replace" else {}
    if isinstance(patch.get("$retainKeys"), list):
        merged = {name: value for name, value in merged.items() if name in patch["$retainKeys"]}
    for name, value in patch.items():
        if name.startswith("$"):
            _directive(merged, name, value)
            continue
        here = f"{path}.{name}" if path else name
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, list) and here in keys:
            merged[name] = _mergeLists(merged.get(name), value, keys, here)
        else:
            made = strategicPatch(merged.get(name), value, keys, here)
            if made is None:
                merged.pop(name, None)
            else:
                merged[name] = made
    for name, value in patch.items():
        if name.startswith("$setElementOrder/"):
            _order(merged, name.partition("/")[2], value, keys, path)
    return merged


def _directive(merged: dict[str, Any], name: str, value: Any) -> None:
    kind, _, field = name.partition("/")
    if kind == "$deleteFromPrimitiveList":
        if isinstance(merged.get(field), list) and isinstance(value, list):
            merged[field] = [item for item in merged[field] if item not in value]
    elif kind not in ("$patch", "$retainKeys", "$setElementOrder"):
        raise Refused(400, f"the directive {name!r} of a strategic merge patch is not known")


def _mergeLists(old: Any, patch: list[Any], keys: Mapping[str, str], path: str) -> list[Any]:
    key = keys[path]
    if any(isinstance(item, Mapping) and item.get("$patch") == "replace" for item in patch):
        return [copy.deepcopy(item) for item in patch if "$patch" not in item]
    items = list(old) if isinstance(old, list) else []
    for change in patch:
        if not isinstance(change, Mapping) or key not in change:
            raise Refused(400, f"each item of {path} in a strategic merge patch has {key!r}, by which it is merged")
        at = next((i for i, item in enumerate(items) if isinstance(item, Mapping) and item.get(key) == change[key]), -1)
        if change.get("$patch") == "delete":
            items = [item for i, item in enumerate(items) if i != at]
        elif at < 0:
            items.append(copy.deepcopy(dict(change)))
        else:
            items[at] = strategicPatch(items[at], change, keys, path)
    return items


def _order(merged: dict[str, Any], field: str, order: Any, keys: Mapping[str, str], path: str) -> None:
    """
    Put the items of a list into the order that was asked for; those that are not named keep theirs, behind.
    """
    items = merged.get(field)
    if not isinstance(items, list) or not isinstance(order, list):
        return
    key = keys.get(f"{path}.{field}" if path else field)

    def rank(item: Any) -> int:
        wanted = item.get(key) if key and isinstance(item, Mapping) else item
        for place, one in enumerate(order):
            if (one.get(key) if key and isinstance(one, Mapping) else one) == wanted:
                return place
        return len(order)

    merged[field] = sorted(items, key=rank)


# JSON Patch.


def jsonPatch(document: Any, operations: Any) -> Any:
    """
    RFC 6902.

    @raise Refused: If an operation cannot be done; it is told by its place in the list.
    """
    if not isinstance(operations, list) or len(operations) > _MOST_OPERATIONS:
        raise Refused(400, f"a JSON Patch is a list of at most {_MOST_OPERATIONS} operations")
    result = copy.deepcopy(document)
    for index, operation in enumerate(operations):
        try:
            result = _operate(result, operation)
        except _Impossible as error:
            raise Refused(422, f"operation {index} of the JSON Patch: {error}") from error
        if _isTooLarge(result):
            raise Refused(413, f"operation {index} of the JSON Patch makes the document too large")
    return result


class _Impossible(Exception):
    """
    An operation that cannot be done.
    """


def _operate(document: Any, operation: Any) -> Any:
    if not isinstance(operation, Mapping):
        raise _Impossible("it is no mapping")
    name = operation.get("op")
    act = _OPERATIONS.get(name) if isinstance(name, str) else None
    if act is None:
        raise _Impossible(f"op is one of {', '.join(_OPERATIONS)}, not {name!r}")
    return act(document, operation)


def _pointer(operation: Mapping[str, Any], name: str = "path") -> list[str]:
    """
    The steps of a JSON Pointer (RFC 6901).
    """
    text = operation.get(name)
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise _Impossible(f"{name} is a JSON Pointer, which begins with a slash")
    return [step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:]]


def _value(operation: Mapping[str, Any]) -> Any:
    if "value" not in operation:
        raise _Impossible("value is missing")
    return copy.deepcopy(operation["value"])


def _find(document: Any, steps: Sequence[str]) -> Any:
    for step in steps:
        document = _child(document, step)
    return document


def _child(parent: Any, step: str) -> Any:
    if isinstance(parent, dict) and step in parent:
        return parent[step]
    if isinstance(parent, list):
        return parent[_index(step, len(parent) - 1)]
    raise _Impossible(f"there is no {step!r}")


def _index(step: str, most: int) -> int:
    if not (step.isascii() and step.isdigit()) or (len(step) > 1 and step[0] == "0") or len(step) > 9:
        raise _Impossible(f"{step!r} is no index")
    if int(step) > most:
        raise _Impossible(f"the list has no item {step}")
    return int(step)


def _put(document: Any, steps: Sequence[str], value: Any) -> Any:
    if not steps:
        return value
    parent = _find(document, steps[:-1])
    last = steps[-1]
    if isinstance(parent, list):
        parent.insert(len(parent) if last == "-" else _index(last, len(parent)), value)
    elif isinstance(parent, dict):
        parent[last] = value
    else:
        raise _Impossible(f"nothing can be put below {'/'.join(steps[:-1])}")
    return document


def _take(document: Any, steps: Sequence[str]) -> Any:
    if not steps:
        raise _Impossible("the whole document cannot be taken away")
    parent = _find(document, steps[:-1])
    taken = _child(parent, steps[-1])
    del parent[int(steps[-1]) if isinstance(parent, list) else steps[-1]]
    return taken


def _add(document: Any, operation: Mapping[str, Any]) -> Any:
    return _put(document, _pointer(operation), _value(operation))


def _remove(document: Any, operation: Mapping[str, Any]) -> Any:
    _take(document, _pointer(operation))
    return document


def _replace(document: Any, operation: Mapping[str, Any]) -> Any:
    steps = _pointer(operation)
    if not steps:
        return _value(operation)
    parent = _find(document, steps[:-1])
    _child(parent, steps[-1])
    parent[int(steps[-1]) if isinstance(parent, list) else steps[-1]] = _value(operation)
    return document


def _move(document: Any, operation: Mapping[str, Any]) -> Any:
    source, target = _pointer(operation, "from"), _pointer(operation)
    if target[: len(source)] == source and target != source:
        raise _Impossible("nothing moves into itself")
    return _put(document, target, _take(document, source))


def _copy(document: Any, operation: Mapping[str, Any]) -> Any:
    return _put(document, _pointer(operation), copy.deepcopy(_find(document, _pointer(operation, "from"))))


def _test(document: Any, operation: Mapping[str, Any]) -> Any:
    if not same(_find(document, _pointer(operation)), _value(operation)):
        raise _Impossible(f"{operation['path']} has another value")
    return document


def same(one: Any, other: Any) -> bool:
    """
    Whether two values are the same in JSON.
    """
    # In Python 1 == True.
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


_OPERATIONS: dict[str, Callable[[Any, Mapping[str, Any]], Any]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "copy": _copy,
    "test": _test,
}


def _isTooLarge(value: Any) -> bool:
    """
    Whether a document has more values, or nests deeper, than any resource does.
    """
    count = 0
    level = [value]
    for _ in range(_MOST_LEVELS):
        count += len(level)
        if not level or count > _MOST_VALUES:
            break
        level = [
            item
            for one in level
            if isinstance(one, dict | list)
            for item in (one.values() if isinstance(one, dict) else one)
        ]
    return count > _MOST_VALUES or bool(level)
