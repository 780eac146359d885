# -*- test-case-name: tests.codec.http1.test_shapes -*-
"""
Requests whose fields have the same names in the same order.

A client's requests differ in their paths, cookies and identifiers, and hardly ever in which fields they have. For names
that came often there is a pattern of their own, which judges a head and takes it apart in one pass. It accepts nothing
that L{meshproxy.codec.http1.grammar.matchRequest} and what follows it would not accept, with the same outcome.

Patterns are made for few lists of names, and seldom, whatever peers send: one that sends ever new names costs no more
than before.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from meshproxy.codec.http1.framing import KEEP_ALIVE
from meshproxy.codec.http1.grammar import AUTHORITY_CHARACTERS, INTERN, VALUE, requestLinePattern
from meshproxy.headers import RequestHeaders, withRoom

__all__ = ["SHAPES", "Shapes", "Take"]

#: The head in a read that is a whole request of a shape, all but its scheme; L{None} for any other read.
Take = Callable[[bytes], RequestHeaders | None]

# How often names must have come until a pattern is made for them, and how often where another one has to go for it. A
# pattern takes about a millisecond to make.
_OFTEN = 16
_OFTEN_WHEN_FULL = 2000

# How many patterns there are at most, how many lists of names are counted, and how long those may be.
_MOST_SHAPES = 64
_MOST_COUNTED = 256
_MOST_NAMES = 40
_LONGEST = 1024

# Fields that decide where a request ends and what becomes of its connection: not for a short way. Connection is, where
# it says keep-alive, and then it is no more in the head: it tells nothing.
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"proxy-connection"})

_VALUE = rb": (?![\t ])([" + VALUE + rb"]*+)(?<![\t ])\r\n"
_KEEP_ALIVE = rb": (?:" + b"|".join(map(re.escape, sorted(KEEP_ALIVE))) + rb")\r\n"
_AUTHORITY = rb": ([" + re.escape(AUTHORITY_CHARACTERS) + rb"]*+)\r\n"


class Shapes:
    """
    The patterns of a process.
    """

    def __init__(self) -> None:
        self._made: dict[tuple[bytes, ...], Take | None] = {}
        self._counts: dict[tuple[bytes, ...], int] = {}

    def __len__(self) -> int:
        return len(self._made)

    def noticed(self, names: tuple[bytes, ...]) -> Take | None:
        """
        A legal request of the usual form had these names, as they came.

        @return: What takes such requests apart, if they came often.
        """
        made = self._made.get(names)
        if made is not None:
            return made
        if names in self._made or len(names) > _MOST_NAMES or sum(map(len, names)) > _LONGEST:
            return None
        counts = self._counts
        count = counts[names] = counts.get(names, 0) + 1
        isFull = len(self._made) >= _MOST_SHAPES
        if count < (_OFTEN_WHEN_FULL if isFull else _OFTEN):
            if len(counts) > _MOST_COUNTED:
                counts.clear()
            return None
        if isFull:
            del self._made[next(iter(self._made))]
        del counts[names]
        take = self._made[names] = _compile(names)
        return take


SHAPES = Shapes()
"""
Those of this process.
"""


def _compile(names: tuple[bytes, ...]) -> Take | None:
    """
    Make what takes requests with these names apart; L{None} where they are not for a short way.
    """
    lower = [INTERN[name] for name in names]
    if lower.count(b"host") != 1 or len(set(lower)) != len(lower) or not _FRAMING.isdisjoint(lower):
        return None
    forms = {b"host": _AUTHORITY, b"connection": _KEEP_ALIVE}
    fields = [re.escape(name) + forms.get(form, _VALUE) for name, form in zip(names, lower, strict=True)]
    match = re.compile(b"".join([requestLinePattern, *fields, rb"\r\n"])).fullmatch
    lower = [form for form in lower if form != b"connection"]
    # Written for the number of the fields and the place of Host alone: no name stands in this source.
    places = [f"first[name{number}]" for number in range(len(lower))]
    places[lower.index(b"host")] = "headers.authority"
    source = f"""
def take(data):
    found = match(data)
    if found is None:
        return None
    headers = new(RequestHeaders)
    headers.first = first = blank.copy()
    headers.method, headers.path, {", ".join(places)} = found.groups()
    headers.more = None
    return headers
"""
    blank = withRoom(dict.fromkeys([form for form in lower if form != b"host"], b""))
    space: dict[str, Any] = {f"name{number}": form for number, form in enumerate(lower)}
    space |= {"match": match, "new": RequestHeaders.__new__, "RequestHeaders": RequestHeaders, "blank": blank}
    exec(compile(source, "<shape of a request>", "exec"), space)
    take: Take = space["take"]
    return take
