# -*- test-case-name: tests.config.test_yamltext -*-
"""
The tree that every configuration text becomes: plain values, each with its place.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias, Union

from meshproxy.errors import ConfigError

__all__ = ["NOWHERE", "Entry", "Node", "Place", "Value", "describe", "nodeOf", "plain"]


class Place(NamedTuple):
    """
    Where something stands in a text.

    @ivar file: The name of the text, or L{None} where there is none.
    @ivar line: From 1, or 0 where it is unknown.
    @ivar column: From 1, or 0 where it is unknown.
    """

    file: str | None
    line: int
    column: int

    def error(self, path: str, why: str) -> ConfigError:
        """
        A fault here.
        """
        return ConfigError(path, why, self.file, self.line, self.column)


#: The place of what was not read from a text.
NOWHERE: Final = Place(None, 0, 0)

Value: TypeAlias = Union[None, bool, int, float, str, "list[Node]", "dict[str, Entry]"]


class Node:
    """
    A value of a configuration text and its place.

    @ivar value: A scalar as YAML reads it, a list of nodes, or a dictionary of entries.
    @ivar place: Where the value begins.
    """

    __slots__ = ("place", "value")

    def __init__(self, value: Value, place: Place = NOWHERE) -> None:
        self.value = value
        self.place = place

    def __repr__(self) -> str:
        return f"Node({self.value!r}, {self.place.line}:{self.place.column})"


class Entry(NamedTuple):
    """
    A key of a mapping and what it holds.

    @ivar place: Where the key stands.
    @ivar node: What it holds.
    """

    place: Place
    node: Node


def nodeOf(value: object, place: Place = NOWHERE) -> Node:
    """
    Make nodes of plain Python data, all at one place.

    @raise TypeError: If there is something in it that is not plain data.
    """
    if isinstance(value, Node):
        return value
    if value is None or isinstance(value, (bool, int, float, str)):
        return Node(value, place)
    if isinstance(value, dict):
        return Node({str(key): Entry(place, nodeOf(held, place)) for key, held in value.items()}, place)
    if isinstance(value, (list, tuple)):
        return Node([nodeOf(held, place) for held in value], place)
    raise TypeError(f"not plain data: {value!r}")


def plain(node: Node) -> object:
    """
    The value of a node without the places.
    """
    value = node.value
    if isinstance(value, dict):
        return {key: plain(entry.node) for key, entry in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def describe(value: Value) -> str:
    """
    How an error names a value that it found.
    """
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, (int, float)):
        return f"the number {value!r}"
    return repr(value if len(value) <= 80 else value[:77] + "...")
