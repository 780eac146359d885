# -*- test-case-name: tests.accesslog.test_jsonformat -*-
"""
C{json_format}: a structure whose texts hold operators, written as one line of JSON.

A text that is nothing but one operator keeps the type of its value: C{"%RESPONSE_CODE%"} is a number, and a missing
value C{null}. Keys are sorted, as Envoy does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from meshproxy.accesslog.commands import Command, parseFormat
from meshproxy.accesslog.formatter import Formatter, Operators, compileItems
from meshproxy.accesslog.inline import compileTemplate
from meshproxy.accesslog.operators import OPERATORS, compileOperator
from meshproxy.accesslog.statevalues import STATE_OPERATORS
from meshproxy.accesslog.values import Value, jsonText

if TYPE_CHECKING:
    from meshproxy.accesslog.streaminfo import StreamInfo

__all__ = ["JSONValue", "compileJSONFormat"]

#: What a C{google.protobuf.Struct} holds.
JSONValue = str | float | bool | None | Sequence["JSONValue"] | Mapping[str, "JSONValue"]


def compileJSONFormat(
    structure: Mapping[str, JSONValue], omitEmpty: bool = False, sort: bool = True, operators: Operators = OPERATORS
) -> Formatter:
    """
    Compile a structure.

    @param omitEmpty: Whether to leave out keys without a value, instead of C{null}.
    @param sort: Whether keys are sorted, or as they were written.
    @param operators: Those there are.

    @return: A formatter whose text ends with a line feed.

    @raise FormatError: If a text in it is no format.
    """
    if omitEmpty:
        write = _sparse(structure, sort, operators)
        return Formatter(json.dumps(structure), lambda info: (write(info) or "{}") + "\n")
    literals = [""]
    values: list[Value] = []
    _dense(structure, sort, literals, values, operators)
    literals[-1] += "\n"
    return Formatter(json.dumps(structure), compileTemplate(literals, values, jsonText, None))


def _items(structure: Mapping[str, JSONValue], sort: bool) -> list[tuple[str, JSONValue]]:
    return sorted(structure.items()) if sort else list(structure.items())


def _constant(value: JSONValue) -> str:
    if isinstance(value, float) and value.is_integer():
        # A Struct knows doubles only.
        value = int(value)
    return json.dumps(value, ensure_ascii=False)


def _leaf(text: str, operators: Operators, missing: str = "-") -> str | Value:
    """
    A text of the structure: JSON if it is always the same, else what gives the value.

    @param missing: What shows for a missing value among others.
    """
    items = parseFormat(text)
    if len(items) == 1 and isinstance(items[0], Command):
        return _whole(items[0], operators)
    if all(isinstance(item, str) for item in items):
        return _constant("".join(map(str, items)))
    return compileItems(items, missing, operators)


def _whole(command: Command, operators: Operators) -> Value:
    """
    One operator. A length cuts text only, not a structure, which shows as one here.
    """
    if command.length is None or command.name not in STATE_OPERATORS:
        return compileOperator(command, operators)
    cut, whole = compileOperator(command), compileOperator(command._replace(length=None))

    def value(info: StreamInfo) -> object:
        found = whole(info)
        return cut(info) if isinstance(found, str) else found

    return value


def _dense(value: JSONValue, sort: bool, literals: list[str], values: list[Value], operators: Operators) -> None:
    """
    Write a structure of which everything shows: constant text with gaps.
    """
    if isinstance(value, Mapping):
        literals[-1] += "{"
        for position, (key, held) in enumerate(_items(value, sort)):
            literals[-1] += f"{',' if position else ''}{_constant(key)}:"
            _dense(held, sort, literals, values, operators)
        literals[-1] += "}"
    elif isinstance(value, str):
        leaf = _leaf(value, operators)
        if isinstance(leaf, str):
            literals[-1] += leaf
        else:
            values.append(leaf)
            literals.append("")
    elif isinstance(value, Sequence):
        literals[-1] += "["
        for position, held in enumerate(value):
            literals[-1] += "," if position else ""
            _dense(held, sort, literals, values, operators)
        literals[-1] += "]"
    else:
        literals[-1] += _constant(value)


Writer = Callable[["StreamInfo"], "str | None"]


def _sparse(value: JSONValue, sort: bool, operators: Operators) -> Writer:
    """
    A function that writes what has a value, and gives L{None} where there is none, or nothing in it.
    """
    if isinstance(value, Mapping):
        members = [(f"{_constant(key)}:", _sparse(held, sort, operators)) for key, held in _items(value, sort)]

        def writeObject(info: StreamInfo) -> str | None:
            shown = [key + text for key, write in members if (text := write(info)) is not None]
            return "{" + ",".join(shown) + "}" if shown else None

        return writeObject
    if isinstance(value, str):
        leaf = _leaf(value, operators, "")
        if isinstance(leaf, str):
            return lambda info: leaf

        def writeLeaf(info: StreamInfo) -> str | None:
            found = leaf(info)
            return None if found is None else jsonText(found)

        return writeLeaf
    if isinstance(value, Sequence):
        elements = [_sparse(held, sort, operators) for held in value]
        return lambda info: "[" + ",".join(filter(None, (write(info) for write in elements))) + "]"
    if value is None:
        return lambda info: None
    constant = _constant(value)
    return lambda info: constant
