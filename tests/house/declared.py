"""
What the code reads of a configuration, held to what it declares.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any

from meshproxy.config.pool import messageType
from meshproxy.config.section import Section
from meshproxy.config.supported import Supported, supported
from tests.house.source import Module

__all__ = ["guardReads", "names", "neverRead"]

# C{has} is left out: what is not implemented may be looked for in order to refuse it.
_READS = ("get", "scalars", "seconds", "wrapped", "child", "childOrEmpty", "children", "entries", "any")

# These read what somebody else asks for.
_READERS = ("meshproxy.config.section", "meshproxy.config.supported")

_DECLARING = ("accept", "declare", "only")


def guardReads() -> None:
    """
    From now on, let code of this package that reads a field which it did not declare end with an error: such a field
    was refused before anybody could read it, or nobody noticed that it may be set. A message of which nothing is
    declared is no configuration, and may be read.
    """
    for name in _READS:
        setattr(Section, name, _guarded(getattr(Section, name)))


def _guarded(read: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(read)
    def guarded(section: Section, field: str, *arguments: Any, **named: Any) -> Any:
        declared = supported.fields(section.typeName)
        if declared and field not in declared:
            reader: str = sys._getframe(1).f_globals["__name__"]
            if reader.startswith("meshproxy.") and reader not in _READERS:
                raise AssertionError(f"{reader} reads {section.typeName}.{field}, which is not declared")
        return read(section, field, *arguments, **named)

    return guarded


def names(sources: Iterable[Module]) -> tuple[set[str], list[re.Pattern[str]]]:
    """
    The names that a field can be read by: each text and attribute of the sources outside of declarations; and patterns
    of those that are put together.
    """
    found: set[str] = set()
    made = []
    for module in sources:
        for node in _outsideDeclarations(module.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
            elif isinstance(node, ast.Attribute):
                found.add(node.attr)
            elif isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else None for part in node.values]
                if any(isinstance(part, str) and re.search("[a-z]{4}", part) for part in parts):
                    made.append(re.compile("".join(r"\w+" if part is None else re.escape(str(part)) for part in parts)))
    return found, made


def _outsideDeclarations(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call) and isinstance(child.func, ast.Name) and child.func.id in _DECLARING:
            continue
        yield child
        yield from _outsideDeclarations(child)


def neverRead(declarations: Supported, sources: Iterable[Module]) -> list[str]:
    """
    The fields that are declared as implemented and that nothing can read, by their name or as what a oneof holds. Those
    that may have some values only are left out: all of these may come to the same.
    """
    found, made = names(sources)

    def isRead(typeName: str, field: str) -> bool:
        oneof = messageType(typeName).fields_by_name[field].containing_oneof
        isMember = oneof is not None and oneof.name in found
        return field in found or isMember or any(pattern.fullmatch(field) for pattern in made)

    return [
        f"{typeName}.{field}"
        for typeName in declarations.types()
        for field, support in declarations.fields(typeName).items()
        if not support.reason and not support.values and not isRead(typeName, field)
    ]
