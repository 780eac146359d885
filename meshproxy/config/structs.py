# -*- test-case-name: tests.config.test_structs -*-
"""
C{google.protobuf.Struct}: free-form data inside a message, back to plain data or to nodes with their places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshproxy.config.nodes import Entry, Node, plain
from meshproxy.config.section import placeAt
from meshproxy.config.walker import keyPath

if TYPE_CHECKING:
    from meshproxy.config.section import Section
    from meshproxy.config.walker import Places

__all__ = ["structNode", "structValue"]

# Every number in a Struct is a double; up to here a double holds whole numbers exactly.
_EXACT = 2**53


def structNode(section: Section) -> Node:
    """
    The nodes of a section that is a Struct, a ListValue, a Value or a TypedStruct.

    @raise TypeError: If it is anything else.
    """
    if section.typeName.endswith(".TypedStruct"):
        section = section.childOrEmpty("value")
    message, path, places = section.message, section.path, section.places
    match section.typeName:
        case "google.protobuf.Struct":
            return _struct(message, path, places)
        case "google.protobuf.ListValue":
            return _list(message, path, places)
        case "google.protobuf.Value":
            return _value(message, path, places)
    raise TypeError(f"{section.typeName} is no free-form data")


def structValue(section: Section) -> Any:
    """
    The same as plain Python data.
    """
    return plain(structNode(section))


def _struct(message: Any, path: str, places: Places) -> Node:
    entries = {}
    for key in message.fields:
        here = keyPath(path, key)
        entries[key] = Entry(placeAt(places, here), _value(message.fields[key], here, places))
    return Node(entries, placeAt(places, path))


def _list(message: Any, path: str, places: Places) -> Node:
    items = [_value(item, f"{path}[{index}]", places) for index, item in enumerate(message.values)]
    return Node(items, placeAt(places, path))


def _value(message: Any, path: str, places: Places) -> Node:
    kind = message.WhichOneof("kind")
    if kind == "struct_value":
        return _struct(message.struct_value, path, places)
    if kind == "list_value":
        return _list(message.list_value, path, places)
    value: Any = None if kind in (None, "null_value") else getattr(message, kind)
    if kind == "number_value" and value.is_integer() and abs(value) <= _EXACT:
        value = int(value)
    return Node(value, placeAt(places, path))
