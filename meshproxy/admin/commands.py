# -*- test-case-name: tests.admin.test_commands -*-
"""
What the admin's paths have in common: a request, a response, and the table of who answers what.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from meshproxy.admin.served import Served

__all__ = [
    "CHOICE",
    "FLAG",
    "JSON",
    "OK",
    "TEXT",
    "AdminRequest",
    "AdminResponse",
    "Command",
    "Lazy",
    "Parameter",
    "helpText",
    "jsonResponse",
]

TEXT = "text/plain; charset=UTF-8"
JSON = "application/json"

# How many fragments of JSON make a piece: about a millisecond of work.
_FRAGMENTS = 1024


@dataclass(frozen=True, slots=True)
class AdminRequest:
    """
    A request, taken apart.

    @ivar path: The path without its query.
    @ivar parameters: Those of the query, or of a form in the body; of each the first value.
    @ivar every: All of them.
    """

    path: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    method: str = "GET"
    every: tuple[tuple[str, str], ...] = ()

    def values(self, name: str) -> list[str]:
        """
        All values of a parameter, in order.
        """
        return [value for each, value in self.every if each == name]


@dataclass(frozen=True, slots=True)
class AdminResponse:
    """
    An answer.

    @ivar body: The text, or pieces of it: between two of them the reactor serves others.
    @ivar headers: Fields besides those that every answer has.
    """

    body: str | Iterator[str] = ""
    status: int = 200
    contentType: str = TEXT
    headers: tuple[tuple[bytes, bytes], ...] = ()


OK = AdminResponse("OK\n")
"""
The answer to what was done.
"""

FLAG = "flag"
"""
A parameter that is there or not, whatever its value.
"""

CHOICE = "choice"
"""
A parameter with few values.
"""


@dataclass(frozen=True, slots=True)
class Parameter:
    """
    A parameter, for the help.

    @ivar kind: L{FLAG}, L{CHOICE} or C{""} for any text.
    """

    name: str
    help: str
    kind: str = ""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Command:
    """
    A path.

    @ivar answer: Answers a request.
    @ivar mutates: Whether it changes something, and therefore wants C{POST}.
    """

    path: str
    help: str
    answer: Callable[[Served, AdminRequest], AdminResponse]
    mutates: bool = False
    parameters: tuple[Parameter, ...] = ()


def helpText(commands: Iterable[Command]) -> str:
    """
    The list of commands, in Envoy's form.
    """
    lines = []
    for command in commands:
        lines.append(f"  {command.path}{' (POST)' if command.mutates else ''}: {command.help}\n")
        for parameter in command.parameters:
            choices = f"; One of ({', '.join(parameter.choices)})" if parameter.choices else ""
            lines.append(f"      {parameter.name}: {parameter.help}{choices}\n")
    return "admin commands are:\n" + "".join(lines)


class Lazy(list[Any]):
    """
    A list whose items are made while JSON is written, so that a large dump needs neither all its time nor all its
    memory at once. It is never empty: an empty one is left out by who makes it.
    """

    def __init__(self, items: Callable[[], Iterator[object]]) -> None:
        super().__init__([None])
        self._items = items

    def __iter__(self) -> Iterator[object]:
        return self._items()


def jsonResponse(value: object) -> AdminResponse:
    """
    An answer in JSON, as Envoy indents it.
    """
    return AdminResponse(_jsonPieces(value), contentType=JSON)


def _jsonPieces(value: object) -> Iterator[str]:
    # With an indent the encoder is Python, not C, and asks lists for their iterator: that is what Lazy needs.
    fragments: list[str] = []
    for fragment in json.JSONEncoder(indent=1, ensure_ascii=False).iterencode(value):
        fragments.append(fragment)
        if len(fragments) >= _FRAGMENTS:
            yield "".join(fragments)
            fragments.clear()
    yield "".join(fragments) + "\n"
