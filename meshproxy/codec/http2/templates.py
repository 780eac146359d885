# -*- test-case-name: tests.codec.http2.test_templates -*-
"""
The field sections of responses that are alike but for numbers: how long the body is, and how long the upstream took.

These differ from one answer to the next where all else stays. In a dynamic table they would drive out what comes again,
and change the indexes of all the rest each time; so they are written as literals, and a section that was written once
is kept with gaps for them.
"""

from __future__ import annotations

__all__ = ["NUMBERS", "Template", "keyOf", "numberString"]

_CONTENT_LENGTH = b"content-length"
_SERVICE_TIME = b"x-envoy-upstream-service-time"

NUMBERS = (_CONTENT_LENGTH, _SERVICE_TIME)
"""
The names of the fields whose values are such numbers.
"""

# In a key, the numbers are left open.
_OPEN = dict.fromkeys(NUMBERS, b"")

# How many numbers are known at a time, and how long one may be that can be meant.
_MOST_KNOWN = 4096
_LONGEST = 20


class _NumberStrings(dict[bytes, bytes]):
    """
    The string literals (RFC 7541, 5.2) of numbers; nothing for what is none.
    """

    def __missing__(self, value: bytes) -> bytes:
        if not value.isdigit() or len(value) > _LONGEST:
            return b""
        if len(self) >= _MOST_KNOWN:
            self.clear()
        text = self[value] = b"%c%b" % (len(value), value)
        return text


_strings = _NumberStrings()


def numberString(value: bytes) -> bytes:
    """
    The string literal of a number; nothing for what is none.
    """
    return _strings[value]


def keyOf(status: int, first: dict[bytes, bytes]) -> tuple[object, ...]:
    """
    What tells a head from all that differ from it in more than L{NUMBERS}.
    """
    fields = first | _OPEN
    if len(fields) != len(first):
        # Not both are there, or none.
        fields = {name: b"" if name in NUMBERS else value for name, value in first.items()}
    return (status, *fields, *fields.values())


class Template:
    """
    A section that was written, with gaps for the values of those L{NUMBERS} that it has.
    """

    __slots__ = ("_isUsual", "_names", "_text")

    def __init__(self, parts: list[bytes], gaps: list[tuple[int, bytes]]) -> None:
        """
        @param parts: What the section is made of.
        @param gaps: After which of them a value is missing, and of which name.
        """
        parts = [part.replace(b"%", b"%%") for part in parts]
        for position, _ in gaps:
            parts[position] += b"%b"
        self._text = b"".join(parts)
        self._names = tuple(name for _, name in gaps)
        self._isUsual = self._names == NUMBERS

    def fill(self, first: dict[bytes, bytes]) -> bytes | None:
        """
        The section with the numbers of these fields, which have the same key; L{None} if one is no number.
        """
        strings = _strings
        if self._isUsual:
            length, time = strings[first[_CONTENT_LENGTH]], strings[first[_SERVICE_TIME]]
            return self._text % (length, time) if length and time else None
        values = tuple([strings[first[name]] for name in self._names])
        return self._text % values if all(values) else None
