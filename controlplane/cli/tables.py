# -*- test-case-name: tests.controlplane.cli.test_tables -*-
"""
What commands print: tables for people, with colour on a terminal, and plain lines for other programs.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, TextIO

import yaml

__all__ = ["Printer", "ago"]

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "bold": "1"}

#: Words that say how something stands, and what they look like.
_STATES = {
    "SYNCED": "green",
    "True": "green",
    "created": "green",
    "configured": "yellow",
    "STALE": "yellow",
    "NOT SENT": "yellow",
    "ERROR": "red",
    "False": "red",
    "deleted": "red",
    "expired": "red",
    "error": "red",
    "warning": "yellow",
}


#: Characters of a column that is cut, at least.
_LEAST = 12


class Printer:
    """
    Writes to a stream.

    @ivar width: Of the terminal; 0 where there is none.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        # What this program itself told the terminal to do.
        self._paint: set[str] = set()
        # https://no-color.org: whatever its value, as long as it is not empty.
        self.width = shutil.get_terminal_size((0, 0)).columns if stream.isatty() else 0
        self.isColoured = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def line(self, text: str = "") -> None:
        """
        One line. What L{painted} made keeps its colour.
        """
        self._stream.write(_printable(text, self._paint) + "\n")
        self._stream.flush()

    def painted(self, text: str, colour: str) -> str:
        """
        A text in a colour, where there is colour.
        """
        if not self.isColoured or not text:
            return text
        begin, end = f"\x1b[{_COLOURS[colour]}m", "\x1b[0m"
        self._paint.update((begin, end))
        return f"{begin}{_printable(text)}{end}"

    def table(self, head: Sequence[str], rows: Sequence[Sequence[object]], flexible: Sequence[int] = ()) -> None:
        """
        Rows under a head, in columns as wide as they need.

        @param flexible: Columns that are cut on a terminal which is too narrow.
        """
        texts = [[_printable(str(cell)) for cell in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(head, *texts, strict=True)]
        if flexible and self.width:
            _narrow(widths, head, flexible, self.width)
            texts = [[_cut(cell, width) for cell, width in zip(row, widths, strict=True)] for row in texts]
        self._row([self.painted(cell.ljust(width), "bold") for cell, width in zip(head, widths, strict=True)])
        for row in texts:
            self._row([self._cell(cell, width) for cell, width in zip(row, widths, strict=True)])

    def _cell(self, text: str, width: int) -> str:
        colour = _STATES.get(text.partition(" (")[0])
        padded = text.ljust(width)
        return self.painted(padded, colour) if colour else padded

    def _row(self, cells: Sequence[str]) -> None:
        self._stream.write("   ".join(cells).rstrip() + "\n")

    def diff(self, text: str) -> None:
        """
        A unified diff.
        """
        for line in text.splitlines():
            colour = {"+": "green", "-": "red", "@": "bold"}.get(line[:1])
            shown = _printable(line)
            self._stream.write((self.painted(shown, colour) if colour else shown) + "\n")

    def text(self, text: str) -> None:
        """
        Lines that somebody else made.
        """
        for line in text.splitlines():
            self.line(line)

    def note(self, text: str) -> None:
        """
        A word to whoever looks, which is no part of what was asked for.
        """
        sys.stderr.write(_printable(text) + "\n")

    def document(self, value: Any) -> None:
        """
        A value as one YAML document of several.
        """
        self._stream.write("---\n")
        self.yaml(value)
        self._stream.flush()

    def yaml(self, value: Any) -> None:
        """
        A value as YAML.
        """
        self._stream.write(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=False))

    def json(self, value: Any) -> None:
        """
        A value as JSON.
        """
        self._stream.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _narrow(widths: list[int], head: Sequence[str], flexible: Sequence[int], width: int) -> None:
    """
    Take from the widest of some columns until all fit, but leave each as wide as its head.
    """
    over = sum(widths) + 3 * (len(widths) - 1) - width
    while over > 0:
        able = [column for column in flexible if widths[column] > max(len(head[column]), _LEAST)]
        if not able:
            return
        widest = max(able, key=lambda column: widths[column])
        widths[widest] -= 1
        over -= 1


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _printable(text: str, allowed: Iterable[str] = ()) -> str:
    """
    Without what a terminal would obey: names and messages come from others.

    @param allowed: Sequences that stay.
    """
    if text.isprintable():
        return text
    for sequence in sorted(allowed, key=len, reverse=True):
        if sequence in text:
            return sequence.join(_printable(part, allowed) for part in text.split(sequence))
    return "".join(c if c.isprintable() else "?" for c in text)


def ago(moment: str | float, now: float) -> str:
    """
    How long ago something was, or how long until it is: C{45s}, C{7m}, C{3h}, C{12d}.

    @param moment: RFC 3339, or seconds since 1970.
    """
    try:
        then = datetime.fromisoformat(moment).timestamp() if isinstance(moment, str) else float(moment)
    except ValueError:
        return "?"
    seconds = abs(int(now - then))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
