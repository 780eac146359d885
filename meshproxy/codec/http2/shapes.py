# -*- test-case-name: tests.codec.http2.test_shapes -*-
"""
Heads that are like one before but for the values of a few literals.

The requests of one client differ in their paths, and perhaps in an identifier; all else is in the dynamic table and
comes as the same indexes each time. Such a section is cut at its literals: what is around them, while the dynamic table
is the same, means the same as before, and is taken from memory.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from meshproxy.codec.http2.hpack import Decoder, Field
from meshproxy.codec.http2.huffman import huffmanDecode
from meshproxy.codec.http2.messages import isTrimmedValue
from meshproxy.codec.http2.paths import PathShape, recentPaths
from meshproxy.errors import RemoteProtocolError
from meshproxy.headers import RequestHeaders, withRoom

__all__ = ["RequestShape", "cut", "shapeOf"]

# Indexes of one byte, then a literal that does not change the table (RFC 7541, 6.2.2 and 6.2.3) and whose name has an
# index of up to two bytes, and a length of one byte.
_literal = re.compile(rb"[\x81-\xfe]*+([\x01-\x0e\x11-\x1e]|[\x0f\x1f][\x00-\x7f])[\x00-\x7e\x80-\xfe]").match

_areIndexes = re.compile(rb"[\x81-\xfe]*+").fullmatch

# With more of them the slower way costs less, and gains nothing but memory for whoever sends them.
_MOST_LITERALS = 4

# What a head is judged or rewritten by, beside the path; the one C{te} that is legal may stand among the indexes.
_JUDGED = frozenset({b"content-length", b"host", b"connection", b"upgrade", b"transfer-encoding"})

_PSEUDO_COUNT = 4

_PATH = b":path"

_newRequest = RequestHeaders.__new__


def cut(block: bytes) -> tuple[bytes, list[bytes]] | None:
    """
    Cut a section at its literals.

    @return: What is around them, which two sections share only if they have the same indexes and the same names of
        literals in the same order; and the literals, each with the byte before it that tells whether it is
        Huffman-coded. L{None} if it has none, or too many, or something else.
    """
    found = _literal(block)
    if found is None:
        return None
    start = found.end()
    stop = start + (block[start - 1] & 0x7F)
    literals = [block[start - 1 : stop]]
    around = block[: start - 1]
    while (found := _literal(block, stop)) is not None:
        start = found.end()
        around += block[stop : start - 1]
        stop = start + (block[start - 1] & 0x7F)
        literals.append(block[start - 1 : stop])
        if len(literals) > _MOST_LITERALS:
            return None
    return (around + block[stop:], literals) if stop <= len(block) else None


class RequestShape:
    """
    What such sections have in common.

    @ivar like: A head of this shape; the values of its literals are others each time.
    @ivar ofPath: A shorter way for sections whose only literal is the path.
    """

    __slots__ = ("_mostBytes", "_names", "_size", "like", "ofPath")

    def __init__(self, like: RequestHeaders, names: tuple[bytes, ...], size: int, mostBytes: int) -> None:
        """
        @param names: Those of the literals.
        @param size: How many bytes of names and values there are in all but the literals' values.
        @param mostBytes: How many there may be in all.
        """
        self.like = like
        self._names = names
        self._size = size
        self._mostBytes = mostBytes
        self.ofPath: PathShape | None = None

    def fill(self, literals: list[bytes]) -> RequestHeaders | None:
        """
        The head of a section of this shape; L{None} if something about it is not as usual, so that it has to be looked
        at and perhaps be refused.
        """
        like = self.like
        headers = _newRequest(RequestHeaders)
        headers.method = like.method
        headers.path = like.path
        headers.authority = like.authority
        headers.scheme = like.scheme
        headers.first = first = like.first.copy()
        headers.more = None
        size = self._size
        names = self._names
        if len(literals) != len(names):
            # One breaks off before its length.
            return None
        for name, literal in zip(names, literals, strict=True):
            if name is _PATH:
                headers.path = value = recentPaths[literal]
                if not value:
                    return None
            else:
                try:
                    first[name] = value = huffmanDecode(literal[1:]) if literal[0] & 0x80 else literal[1:]
                except RemoteProtocolError:
                    return None
                if not isTrimmedValue(value):
                    return None
            size += len(value)
        return headers if size <= self._mostBytes else None


def shapeOf(
    block: bytes, fields: Sequence[Field], headers: RequestHeaders, decoder: Decoder, mostBytes: int
) -> RequestShape | None:
    """
    The shape of a section that was read.

    @param block: The section, which L{cut} has cut.
    @param fields: Its fields, none of which is missing.
    @param headers: What became of them.
    @param decoder: What read it, and has not changed its table by it.

    @return: L{None} if what is the same for it need not be the same for others like it.
    """
    names = _names(block, decoder)
    if names is None or headers.method == b"CONNECT" or headers.more is not None:
        return None
    # Crumbs of cookies became one (RFC 9113, 8.2.3); but for them each name came once.
    crumbs = max(0, sum(name == b"cookie" for name, _ in fields) - 1)
    if len(fields) != len(headers.first) + _PSEUDO_COUNT + crumbs or (crumbs and b"cookie" in names):
        return None
    if len(set(names)) != len(names) or b"te" in names or not _JUDGED.isdisjoint(headers.first):
        return None
    if any(name is not _PATH and name not in headers.first for name in names):
        return None
    like = headers.copy()
    like.first = withRoom(headers.first)
    values = [headers.path if name is _PATH else headers.first[name] for name in names]
    size = sum(len(name) + len(value) for name, value in fields) - sum(map(len, values))
    shape = RequestShape(like, names, size, mostBytes)
    if names == (_PATH,):
        found = _literal(block)
        assert found is not None
        start = found.end() - 1
        shape.ofPath = PathShape(like, block[:start], block[start + 1 + (block[start] & 0x7F) :], mostBytes - size)
    return shape


def _names(block: bytes, decoder: Decoder) -> tuple[bytes, ...] | None:
    """
    The names of the literals; L{None} if there is something else than they and indexes.
    """
    names: list[bytes] = []
    position = 0
    while (found := _literal(block, position)) is not None:
        start = found.end()
        head = found[1]
        name = decoder.nameOf(head[0] & 0x0F if len(head) == 1 else 0x0F + head[1])
        names.append(_PATH if name == _PATH else name)
        position = start + (block[start - 1] & 0x7F)
    return tuple(names) if _areIndexes(block, position) else None
