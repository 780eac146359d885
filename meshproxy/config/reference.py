# -*- test-case-name: tests.config.test_reference -*-
"""
The reference of the configuration: every message and field that is implemented, with its type and its constraints, and
what is accepted without a meaning.

C{python -m meshproxy.config.reference > docs/reference/config.md} writes the page.  What filters declare is on the
filters' own pages.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from meshproxy.config.constraints import declaredRules
from meshproxy.config.load import BUILT_IN
from meshproxy.config.pool import messageType
from meshproxy.config.supported import Support, Supported, deprecatedFields

if TYPE_CHECKING:
    from google.protobuf.descriptor import FieldDescriptor

__all__ = ["describeMessage", "main", "reference"]

_HEAD = """\
# Configuration reference

Every message of Envoy's v3 API that meshproxy implements, by its full name. A field that is not listed here is
refused when it is set to anything but its default, with its place and its path; `--allow-unknown-static-fields` makes
that a warning.

This page is generated: `python -m meshproxy.config.reference > docs/reference/config.md`.
"""

_SCALARS = {
    1: "double",
    2: "float",
    3: "int64",
    4: "uint64",
    5: "int32",
    8: "bool",
    9: "string",
    12: "bytes",
    13: "uint32",
    15: "sfixed32",
    16: "sfixed64",
}


def _typeName(field: FieldDescriptor) -> str:
    """
    The type of a field, in a table.
    """
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        return f"map of {_typeName(message.fields_by_name['key'])} to {_typeName(message.fields_by_name['value'])}"
    if message is not None:
        name = message.full_name
        short = name.removeprefix("google.protobuf.") if name.startswith("google.") else name.rpartition(".")[2]
    elif field.enum_type is not None:
        short = " \\| ".join(value.name for value in field.enum_type.values)
    else:
        short = _SCALARS.get(field.type, "number")
    return f"list of {short}" if field.is_repeated else short


def _constraints(rules: Any) -> Iterator[str]:
    """
    What is declared on a field, in words close to the proto's.
    """
    for descriptor, value in rules.ListFields():
        if descriptor.name in ("strict", "ignore_empty", "skip", "defined_only"):
            continue
        if descriptor.message_type is None:
            listed = ", ".join(map(str, value)) if descriptor.is_repeated else str(value)
            if descriptor.enum_type is not None:
                listed = descriptor.enum_type.values_by_number[value].name
            yield descriptor.name if value is True else f"{descriptor.name} {listed}"
        elif descriptor.message_type.full_name == "google.protobuf.Duration":
            yield f"{descriptor.name} {value.seconds + value.nanos / 1e9:g}s"
        elif descriptor.name in ("items", "keys", "values"):
            inner = ", ".join(_constraints(value))
            if inner:
                yield f"{descriptor.name}: {inner}"
        else:
            yield from _constraints(value)


def _status(support: Support) -> str:
    if support.refusal:
        return f"refused: {support.refusal}"
    if support.reason:
        return f"accepted, without effect: {support.reason}"
    if support.values:
        told = " or ".join(f"`{str(value).lower() if isinstance(value, bool) else value}`" for value in support.values)
        return f"only {told}"
    return ""


def describeMessage(typeName: str, registry: Supported) -> str:
    """
    A table of the declared fields of one message, in the order of the proto file.
    """
    declared = registry.fields(typeName)
    if not declared:
        return "It has no fields, or none may be set.\n"
    deprecated = deprecatedFields(typeName)
    lines = ["| field | type | constraints | notes |", "|---|---|---|---|"]
    for field in messageType(typeName).fields:
        if field.name in declared:
            rules = ", ".join(_constraints(declaredRules(field))).replace("|", "\\|")
            oneof = field.containing_oneof
            notes = [f"one of {oneof.name}"] if oneof is not None and len(oneof.fields) > 1 else []
            notes += ["deprecated"] if field.name in deprecated else []
            notes += [_status(declared[field.name])] if declared[field.name] != Support() else []
            lines.append(f"| `{field.name}` | {_typeName(field)} | {rules} | {'; '.join(notes)} |")
    return "\n".join(lines) + "\n"


def reference(registry: Supported = BUILT_IN) -> str:
    """
    The whole page, in Markdown.
    """
    parts = [_HEAD]
    parts += [f"## {typeName}\n\n{describeMessage(typeName, registry)}" for typeName in registry.types()]
    return "\n".join(parts)


def main() -> None:
    """
    Print the page.
    """
    sys.stdout.write(reference())


if __name__ == "__main__":
    main()
