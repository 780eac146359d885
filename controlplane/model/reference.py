# -*- test-case-name: tests.controlplane.model.test_reference -*-
"""
The reference of the resources: every kind and every field, with its type.

C{python -m meshproxy.controlplane.model.reference > docs/reference/resources.md} writes the page.
"""

from __future__ import annotations

import inspect
import sys
import types
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import attrs

from meshproxy.config.structure import Seconds
from meshproxy.controlplane.model.kinds import KINDS, Kind

__all__ = ["describeKind", "main", "reference"]

_HEAD = """\
# Resources, field by field

Every kind of resource that the control plane takes, with every field. What is not listed here is refused, with its
place, its path and a near name. [Resources](../controlplane/resources.md) says how they are read.

This page is generated: `python -m meshproxy.controlplane.model.reference > docs/reference/resources.md`.
"""

_NAMES: dict[Any, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    Seconds: "duration",
    Any: "any",
}


def _typeName(annotation: Any) -> str:
    """
    An annotation, in a table.
    """
    if annotation in _NAMES:
        return _NAMES[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(_typeName(one) for one in arguments if one is not type(None))
    if origin is Literal:
        return " \\| ".join(str(one) for one in arguments)
    if origin is list:
        return f"list of {_typeName(arguments[0])}"
    if origin is dict:
        return f"map of {_typeName(arguments[1])}"
    assert isinstance(annotation, type) and not issubclass(annotation, Enum)
    return annotation.__name__


def _parts(annotation: Any) -> list[type]:
    """
    The attrs classes in an annotation.
    """
    if isinstance(annotation, type) and attrs.has(annotation):
        return [annotation]
    return [part for argument in get_args(annotation) for part in _parts(argument)]


def _default(attribute: Any) -> str:
    default = attribute.default
    if default in (None, "", 0, False) or not isinstance(default, (str, int, float)):
        return ""
    return f"default `{str(default).lower() if isinstance(default, bool) else default}`"


def _describe(cls: type[Any]) -> str:
    """
    A table of the fields of one class.
    """
    hints = get_type_hints(cls)
    about = inspect.cleandoc(cls.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
    lines = [about, "", "| field | type | notes |", "|---|---|---|"]
    for attribute in attrs.fields(cls):
        key = attribute.metadata.get("key", attribute.name)
        notes = [_default(attribute)]
        if "notProgrammed" in attribute.metadata:
            notes.append(f"no effect so far: {attribute.metadata['notProgrammed']}")
        told = "; ".join(filter(None, notes))
        lines.append(f"| `{key}` | {_typeName(hints[attribute.name])} | {told} |")
    return "\n".join(lines) + "\n"


def _reached(cls: type[Any], seen: list[type[Any]]) -> list[type[Any]]:
    """
    A class and all that its fields are made of, each once.
    """
    if cls not in seen:
        seen.append(cls)
        for annotation in get_type_hints(cls).values():
            for part in _parts(annotation):
                _reached(part, seen)
    return seen


def describeKind(kind: Kind, told: set[type[Any]]) -> str:
    """
    The section of one kind.

    @param told: The classes that stand on the page already; those of this kind are added.
    """
    lines = [f"## {kind.kind}", "", f"`{'`, `'.join(kind.apiVersions)}`; `{kind.plural}`, {', '.join(kind.shortNames)}"]
    if not kind.shortNames:
        lines[-1] = lines[-1].rstrip(", ")
    for cls in _reached(kind.model, []):
        if cls not in told:
            told.add(cls)
            # Two kinds have a class of one name: the kind tells them apart.
            name = "" if cls is kind.model else f"\n### {kind.kind}: {cls.__name__}\n"
            lines += [name, _describe(cls).rstrip()]
    return "\n".join(lines) + "\n"


def reference() -> str:
    """
    The whole page, in Markdown.
    """
    told: set[type[Any]] = set()
    return "\n".join([_HEAD, *(describeKind(kind, told) for kind in KINDS)])


def main() -> None:
    """
    Print the page.
    """
    sys.stdout.write(reference())


if __name__ == "__main__":
    main()
