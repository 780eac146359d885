# -*- test-case-name: tests.config.test_jsontext -*-
"""
JSON text to nodes with places.

Most JSON is YAML too, but not all of it: C{"\\ud83d\\ude00"} is no YAML.  So a file named C{.json} is read here.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from json import JSONDecodeError, JSONDecoder
from typing import TYPE_CHECKING

from meshproxy.config.nodes import Entry, Node, Place, Value
from meshproxy.config.yamltext import MAX_DEPTH
from meshproxy.errors import ConfigError, ConfigErrors

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["parseJSON"]

_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"(?P<whole>-?(?:0|[1-9][0-9]*))(?P<rest>(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)")
_WORDS = {"true": True, "false": False, "null": None}
_WORD = re.compile("true|false|null")
_DECODER = JSONDecoder()

#: No 64 bit number has more digits, and int() refuses thousands of them.
_MAX_DIGITS = 20


class _Reader:
    """
    One text and where it is read.
    """

    def __init__(self, text: str, file: str | None, warn: Callable[[ConfigError], None]) -> None:
        self._text = text
        self._file = file
        self._warn = warn
        self._at = 0
        self._lines = [0] + [match.end() for match in re.finditer("\n", text)]

    def document(self) -> Node:
        """
        The whole text.
        """
        node = self._value(0)
        if self._next():
            raise self._error("this is behind the end of the document")
        return node

    def _place(self, position: int) -> Place:
        line = bisect_right(self._lines, position)
        return Place(self._file, line, position - self._lines[line - 1] + 1)

    def _error(self, why: str) -> ConfigErrors:
        return ConfigErrors([self._place(self._at).error("", f"not JSON: {why}")])

    def _next(self) -> str:
        """
        Skip space; the character there, or nothing at the end.
        """
        match = _SPACE.match(self._text, self._at)
        self._at = match.end() if match is not None else self._at
        return self._text[self._at : self._at + 1]

    def _value(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self._error(f"the text nests deeper than {MAX_DEPTH} levels")
        first = self._next()
        place = self._place(self._at)
        value: Value
        if first == "{":
            value = self._mapping(depth)
        elif first == "[":
            value = self._list(depth)
        elif first == '"':
            value = self._string()
        else:
            value = self._plain()
        return Node(value, place)

    def _plain(self) -> bool | int | float | None:
        word = _WORD.match(self._text, self._at)
        if word is not None:
            self._at = word.end()
            return _WORDS[word[0]]
        number = _NUMBER.match(self._text, self._at)
        if number is None:
            raise self._error("a value is missing here")
        self._at = number.end()
        return float(number[0]) if number["rest"] or len(number["whole"]) > _MAX_DIGITS else int(number["whole"])

    def _string(self) -> str:
        text: str
        try:
            text, self._at = _DECODER.raw_decode(self._text, self._at)
        except JSONDecodeError as error:
            raise self._error(f"this string is not well formed: {error.msg}") from error
        return text

    def _mapping(self, depth: int) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        self._at += 1
        while self._next() != "}":
            if entries:
                self._skip(",", "a comma or a closing brace is missing here")
            if self._next() != '"':
                raise self._error("a key in double quotes is missing here")
            place = self._place(self._at)
            key = self._string()
            self._skip(":", "a colon is missing here")
            earlier = entries.pop(key, None)
            if earlier is not None:
                why = f"the key {key!r} stands on line {earlier.place.line} already; only this one counts"
                self._warn(place.error("", why))
            entries[key] = Entry(place, self._value(depth + 1))
        self._at += 1
        return entries

    def _list(self, depth: int) -> list[Node]:
        items: list[Node] = []
        self._at += 1
        while self._next() != "]":
            if items:
                self._skip(",", "a comma or a closing bracket is missing here")
            items.append(self._value(depth + 1))
        self._at += 1
        return items

    def _skip(self, character: str, otherwise: str) -> None:
        if self._next() != character:
            raise self._error(otherwise)
        self._at += 1


def _ignore(_warning: ConfigError) -> None:
    """
    For callers that show no warnings.
    """


def parseJSON(text: str, file: str | None = None, warn: Callable[[ConfigError], None] = _ignore) -> Node:
    """
    Read a JSON text.

    @param text: The text.
    @param file: How errors name it.
    @param warn: Is told what is allowed but hardly meant: a key that stands twice.

    @raise ConfigErrors: If it is not JSON, or nests too deep.
    """
    return _Reader(text, file, warn).document()
