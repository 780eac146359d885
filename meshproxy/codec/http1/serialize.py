# -*- test-case-name: tests.codec.http1.test_serialize -*-
"""
Heads and bodies as bytes.

The usual head, whose names differ from each other, is written by C code alone. Whatever is written is checked
for CR, LF and NUL: a value that a filter made of foreign text cannot become a field or a message of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from meshproxy.errors import LocalProtocolError
from meshproxy.flags import reasonPhrase
from meshproxy.headers import HeaderMap

__all__ = [
    "COOKIES",
    "DECIMAL",
    "Decimals",
    "HeadTemplates",
    "NameCases",
    "STATUS_LINES",
    "StatusLines",
    "chunk",
    "encodeHead",
    "isOneLine",
    "lastChunk",
    "properCase",
    "properName",
    "styled",
    "without",
]

_NUL, _LF, _CR = b"\0\n\r"

_NAME = re.compile(rb"(?<=\n)[^:\r\n]++(?=:)")
_WORD = re.compile(rb"(?<![0-9A-Za-z])[a-z]")

# A field of this name is never written from the map: the encoder knows how it frames.
_FRAMING = b"transfer-encoding"


class StatusLines(dict[int, bytes]):
    """
    Status lines with their end, by status; Envoy's reason phrases.
    """

    def __init__(self, version: bytes) -> None:
        self._version = version

    def __missing__(self, status: int) -> bytes:
        if not 100 <= status <= 999:
            raise LocalProtocolError(f"{status} is no status")
        line = b"HTTP/%b %d %b\r\n" % (self._version, status, reasonPhrase(status).encode("ascii"))
        self[status] = line
        return line


STATUS_LINES = {False: StatusLines(b"1.1"), True: StatusLines(b"1.0")}
"""By whether it is HTTP/1.0."""


def isOneLine(parts: Iterable[bytes]) -> bool:
    """
    Whether no CR, LF or NUL is in any of some names and values. Hot paths do the same in their own line.
    """
    # A number is found by C code at once, where bytes of length 1 raise and catch an exception.
    joined = b"".join(parts)
    return not (_LF in joined or _CR in joined or _NUL in joined)


class HeadTemplates(dict[tuple[bytes, ...], bytes]):
    """
    Heads to fill in, by the names of their fields: the first lines, then a place for each value, and the empty line.
    Names come again and again in the same order, and are judged once; whoever fills in a head judges what it fills in
    (L{isOneLine}). It does not grow beyond a limit.
    """

    def __init__(self, startLines: bytes, limit: int = 512, rest: bytes = b"", last: bytes = b"") -> None:
        """
        @param startLines: What stands before the fields, with places of its own.
        @param rest: What stands behind the head, likewise.
        @param last: A line that is the last one of each head.
        """
        self._startLines = startLines
        self._last = last
        self._rest = rest
        self._limit = limit

    def __missing__(self, names: tuple[bytes, ...]) -> bytes:
        if not isOneLine(names):
            raise LocalProtocolError("CR, LF or NUL in a head")
        fields = [b"%b: %%b\r\n" % name.replace(b"%", b"%%") for name in names]
        template = b"%b%b%b\r\n%b" % (self._startLines, b"".join(fields), self._last, self._rest)
        if len(template) <= 4096:
            if len(self) >= self._limit:
                self.clear()
            self[names] = template
        return template


class Decimals(dict[int, bytes]):
    """
    Numbers as text; most lengths and times are among few. It does not grow beyond a limit.
    """

    def __missing__(self, number: int) -> bytes:
        text = b"%d" % number
        if len(self) < 4096:
            self[number] = text
        return text


DECIMAL = Decimals()
"""
Those of this process.
"""


COOKIES = frozenset((b"set-cookie",))
"""
The names of fields that responses often have more than once.
"""


def without(headers: HeaderMap, *names: bytes) -> HeaderMap:
    """
    A copy of a map without some names.
    """
    copy = HeaderMap(headers.fields())
    for name in names:
        copy.remove(name)
    return copy


def encodeHead(startLines: bytes, count: int, headers: HeaderMap) -> bytes:
    """
    The first lines of a head and the fields of a map, in the order of the map; each line with its end, without
    the empty line that ends the head.

    @param startLines: What stands before the fields.
    @param count: How many lines that are.

    @raise LocalProtocolError: If something that was put into the lines has CR, LF or NUL.
    """
    first = headers.first
    if _FRAMING in first:
        return encodeHead(startLines, count, without(headers, _FRAMING))
    if headers.more:
        pairs = list(headers.fields())
        count += len(pairs)
        lines = b"%b%b\r\n" % (startLines, b"\r\n".join(map(b": ".join, pairs)))
    elif first:
        count += len(first)
        lines = b"%b%b\r\n" % (startLines, b"\r\n".join(map(b": ".join, first.items())))
    else:
        lines = startLines
    # Each line ends with one CR and one LF; one more of either, or a NUL, came out of a name or a value.
    if len(lines) - len(lines.translate(None, b"\r\n\0")) != 2 * count:
        raise LocalProtocolError("CR, LF or NUL in a head")
    return lines


def properCase(head: bytes) -> bytes:
    """
    A head with its field names in proper case, as Envoy's C{proper_case_words} has it: each letter that follows
    no letter or digit is a capital.
    """
    return _NAME.sub(lambda name: _WORD.sub(lambda letter: letter[0].upper(), name[0]), head)


def properName(name: bytes) -> bytes:
    """
    One name in proper case.
    """
    return _WORD.sub(lambda letter: letter[0].upper(), name)


class NameCases:
    """
    How names of fields are written: see L{meshproxy.codec.http1.cases}.
    """

    __slots__ = ("_other", "_reason", "_written")

    def __init__(
        self, written: Mapping[bytes, bytes], other: Callable[[bytes], bytes] | None = None, reason: bytes | None = None
    ) -> None:
        """
        @param written: From names in lower case to how they came.
        @param other: How any other name is written; L{None} for lower case.
        @param reason: The reason phrase of a response, or L{None} for the usual one.
        """
        self._written = written
        self._other = other
        self._reason = reason

    def restore(self, head: bytes) -> bytes:
        """
        A head with its names as they came.
        """
        written, other = self._written, self._other

        def write(match: re.Match[bytes]) -> bytes:
            name = match[0]
            return written.get(name) or (name if other is None else other(name))

        head = _NAME.sub(write, head)
        if self._reason is not None:
            status, _, rest = head.partition(b"\r\n")
            head = b"%b %b\r\n%b" % (status[:12], self._reason, rest)
        return head


def styled(head: bytes, headers: HeaderMap, isProper: bool) -> bytes:
    """
    A head with its names written as they came, where C{headers} knows that, or in proper case if that is wanted.
    """
    cases: NameCases | None = getattr(headers, "cases", None)
    if cases is not None:
        return cases.restore(head)
    return properCase(head) if isProper else head


def chunk(data: bytes) -> bytes:
    """
    Data as one chunk; nothing for no data, since an empty chunk would end the body.
    """
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def lastChunk(trailers: HeaderMap | None = None) -> bytes:
    """
    The end of a chunked body.
    """
    return b"0\r\n\r\n" if trailers is None else b"0\r\n%b\r\n" % encodeHead(b"", 0, trailers)
