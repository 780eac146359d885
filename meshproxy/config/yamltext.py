# -*- test-case-name: tests.config.test_yamltext -*-
"""
YAML text to nodes with places, read as Envoy reads it.

Envoy reads YAML with yaml-cpp, whose idea of a plain scalar differs from PyYAML's: C{2024-01-01} and C{12:30} are
strings, C{y} and C{on} are booleans, C{<<} is a key like any other.  So the values are made here, from the parser's
events, which also gives the limits that a hostile text needs: on depth, and on what aliases unfold to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import yaml

from meshproxy.config.nodes import NOWHERE, Entry, Node, Place
from meshproxy.errors import ConfigError, ConfigErrors

if TYPE_CHECKING:
    from collections.abc import Callable

    Warn = Callable[[ConfigError], None]

__all__ = ["MAX_DEPTH", "MAX_NODES", "parseYAML", "parseYAMLDocuments", "scalar"]

#: How deep mappings and lists may nest. Protobuf's JSON parser stops at 100.
MAX_DEPTH: Final = 100

#: How many nodes a text may have once its aliases are unfolded. An Envoy with 10,000 routes has about 300,000.
MAX_NODES: Final = 2_000_000

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_WORDS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **{form: True for word in ("y", "yes", "true", "on") for form in (word, word.capitalize(), word.upper())},
    **{form: False for word in ("n", "no", "false", "off") for form in (word, word.capitalize(), word.upper())},
}

_INTEGER = re.compile(r"[-+]?(?:0[xX](?P<hex>[0-9a-fA-F]+)|0(?P<octal>[0-7]+)|0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z")
_SPECIAL = re.compile(r"(?P<sign>[-+]?)\.(?:inf|Inf|INF)\Z")
_NAN = frozenset((".nan", ".NaN", ".NAN"))
_NUMERIC_START = frozenset("0123456789+-.")

#: Tags that say what a scalar is anyway. Envoy looks at no tag.
_KNOWN_TAGS = frozenset(
    (None, "!", *(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map")))
)


def scalar(text: str) -> bool | int | float | str | None:
    """
    What a plain (unquoted) scalar means.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMERIC_START:
        return text
    integer = _INTEGER.match(text)
    # Anything longer is no 64 bit number, and int() refuses thousands of digits.
    if integer is not None and len(text) <= 20:
        sign = -1 if text[0] == "-" else 1
        if integer["hex"] is not None:
            return sign * int(integer["hex"], 16)
        return sign * int(integer["octal"], 8) if integer["octal"] is not None else int(text)
    if _FLOAT.match(text):
        return float(text)
    special = _SPECIAL.match(text)
    if special is not None:
        return float("-inf" if special["sign"] == "-" else "inf")
    return float("nan") if text in _NAN else text


class _Anchored:
    """
    A finished node that an alias may name, and what it costs to name it.
    """

    __slots__ = ("height", "node", "size")

    def __init__(self, node: Node, size: int, height: int) -> None:
        self.node = node
        self.size = size
        self.height = height


class _Builder:
    """
    Events of one text to nodes.
    """

    def __init__(self, text: str, file: str | None, warn: Warn) -> None:
        self._file = file
        self._warn = warn
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=_LOADER)
        self._anchors: dict[str, _Anchored] = {}
        self._open: set[str] = set()
        self._count = 0
        self._height = 0

    def documents(self) -> Iterator[Node]:
        """
        Each document in turn.
        """
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                self._anchors.clear()
                yield self._node(next(self._events), 0)

    def _place(self, event: yaml.Event) -> Place:
        mark = event.start_mark
        return NOWHERE if mark is None else Place(self._file, mark.line + 1, mark.column + 1)

    def _error(self, event: yaml.Event, why: str) -> ConfigErrors:
        return ConfigErrors([self._place(event).error("", why)])

    def _node(self, event: yaml.Event, depth: int) -> Node:
        """
        The node that an event begins. C{_height} is then how deep it goes.
        """
        self._count += 1
        if self._count > MAX_NODES:
            raise self._error(event, f"the text has more than {MAX_NODES} values")
        if depth > MAX_DEPTH:
            raise self._error(event, f"the text nests deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, depth)
        if not isinstance(event, yaml.NodeEvent):
            raise self._error(event, "a value is missing here")
        if event.tag not in _KNOWN_TAGS:  # type: ignore[attr-defined]  # the stubs leave it out
            self._warn(self._place(event).error("", f"the tag {event.tag} has no meaning here"))  # type: ignore[attr-defined]
        anchor: str | None = event.anchor
        before = self._count
        if anchor is not None:
            self._open.add(anchor)
        if isinstance(event, yaml.ScalarEvent):
            self._height = 0
            plainStyle = not event.style and event.tag != "!"
            node = Node(scalar(event.value) if plainStyle else event.value, self._place(event))
        else:
            value = self._list(depth) if isinstance(event, yaml.SequenceStartEvent) else self._mapping(depth)
            node = Node(value, self._place(event))
        if anchor is not None:
            self._open.discard(anchor)
            self._anchors[anchor] = _Anchored(node, self._count - before + 1, self._height)
        return node

    def _alias(self, event: yaml.AliasEvent, depth: int) -> Node:
        """
        What an alias names, paid for as if it were written out.
        """
        name = event.anchor or ""
        if name in self._open:
            raise self._error(event, f"*{name} stands within what &{name} names")
        anchored = self._anchors.get(name)
        if anchored is None:
            raise self._error(event, f"*{name} is not an anchor of this document")
        self._count += anchored.size
        self._height = anchored.height
        if self._count > MAX_NODES or depth + anchored.height > MAX_DEPTH:
            raise self._error(event, f"*{name} unfolds to more than {MAX_NODES} values or {MAX_DEPTH} levels")
        return anchored.node

    def _list(self, depth: int) -> list[Node]:
        items: list[Node] = []
        height = 0
        for event in self._events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            items.append(self._node(event, depth + 1))
            height = max(height, self._height + 1)
        self._height = height
        return items

    def _mapping(self, depth: int) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        height = 0
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            if not isinstance(event, yaml.ScalarEvent):
                raise self._error(event, "a key must be a plain word")
            place = self._place(event)
            earlier = entries.pop(event.value, None)
            if earlier is not None:
                why = f"the key {event.value!r} stands on line {earlier.place.line} already; only this one counts"
                self._warn(place.error("", why))
            entries[event.value] = Entry(place, self._node(next(self._events), depth + 1))
            height = max(height, self._height + 1)
        self._height = height
        return entries


def _ignore(_warning: ConfigError) -> None:
    """
    For callers that show no warnings.
    """


def parseYAMLDocuments(text: str, file: str | None = None, warn: Warn = _ignore) -> list[Node]:
    """
    Read every document of a YAML text.

    @param text: The text.
    @param file: How errors name it.
    @param warn: Is told what is allowed but hardly meant: a key that stands twice, a tag.

    @raise ConfigErrors: If it is not YAML, or breaks a limit.
    """
    try:
        return list(_Builder(text, file, warn).documents())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark is not None else Place(file, 0, 0)
        told = ", ".join(part for part in (error.context, error.problem) if part)
        if "nesting depth" in told:
            # libyaml scans ahead of its events, and newer ones have a limit of their own, above ours.
            raise ConfigErrors([place.error("", f"the text nests deeper than {MAX_DEPTH} levels")]) from error
        if "quoted scalar" in told and "end of stream" in told and error.context_mark is not None:
            # Where it opens; the mark of the problem is the end of the text.
            place = Place(file, error.context_mark.line + 1, error.context_mark.column + 1)
            raise ConfigErrors([place.error("", "not YAML: this quote is never closed")]) from error
        raise ConfigErrors([place.error("", f"not YAML: {told}{_hint(text, place, told)}")]) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigErrors([Place(file, line, 0).error("", f"not YAML: {error.reason}")]) from error


def _hint(text: str, place: Place, told: str) -> str:
    """
    What is probably the matter, in words of the text instead of the parser's.
    """
    lines = text.splitlines()
    line = lines[place.line - 1] if 0 < place.line <= len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return "; this line begins with a tab, and YAML is indented by blanks"
    opened = _openQuote(text)
    if opened is not None:
        return f"; the quote that opens on line {opened[0]} closes on line {opened[1]} only: is one missing?"
    if "cannot start any token" in told and place.column <= len(line):
        return f"; a text that begins with {line[place.column - 1]} stands in quotes"
    if "mapping values are not allowed" in told:
        return "; is this line indented as those around it are? A text with ': ' in it stands in quotes"
    if "found unexpected ':'" in told or ("did not find expected node content" in told and "::" in line):
        # Parsers of Go take these without quotes.
        return "; an address with '::' stands in quotes within brackets: ['2001:db8::']"
    if "did not find expected ',' or" in told:
        return "; a bracket or a comma is missing before this, or a text with one of []{},: in it has no quotes"
    return ""


def _openQuote(text: str) -> tuple[int, int] | None:
    """
    The lines of the last quoted text before a fault, if it goes over several: where a quote is missing, the text goes
    on to the next one, and what is wrong is found there.
    """
    found = None
    try:
        for token in yaml.scan(text, Loader=_LOADER):
            if isinstance(token, yaml.ScalarToken) and token.style in ("'", '"'):
                lines = token.start_mark.line + 1, token.end_mark.line + 1
                found = lines if lines[0] != lines[1] else None
    except yaml.YAMLError:
        # The fault that is told of.
        return found
    return None


def parseYAML(text: str, file: str | None = None, warn: Warn = _ignore) -> Node:
    """
    Read a text that holds one YAML document; of several Envoy reads the first, and so do we, with a warning.

    @param text: The text.
    @param file: How errors name it.
    @param warn: Is told what is allowed but hardly meant.

    @return: Its node; its value is L{None} where there is nothing.

    @raise ConfigErrors: If it is not YAML, or breaks a limit.
    """
    documents = parseYAMLDocuments(text, file, warn)
    if len(documents) > 1:
        warn(documents[1].place.error("", "only the first document of this text counts"))
    return documents[0] if documents else Node(None, Place(file, 1, 1))
