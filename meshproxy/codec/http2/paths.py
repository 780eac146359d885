# -*- test-case-name: tests.codec.http2.test_paths -*-
"""
Heads that differ in their paths only, as most of a client's do, and the paths that came lately.

The pages and pictures of a site, and the resources of an API, are asked for by many clients, each of which sends the
same Huffman-coded string: what it means, and that it is a path, is known from the time before. What else a client may
say in a literal, a cookie or a token, is its own, and is not kept.
"""

from __future__ import annotations

from meshproxy.codec.http2.huffman import huffmanDecode
from meshproxy.codec.http2.messages import isPath
from meshproxy.errors import RemoteProtocolError
from meshproxy.headers import RequestHeaders

__all__ = ["LONGEST_LITERAL", "PathShape", "RecentPaths", "recentPaths"]

LONGEST_LITERAL = 127
"""
With the byte that tells its length, and no more of them.
"""

# Twice as many at most, of 400 bytes each at most.
_MOST_KNOWN = 2048

_newRequest = RequestHeaders.__new__


class RecentPaths(dict[bytes, bytes]):
    """
    From literals, each with the byte before it that tells its length and whether it is Huffman-coded, to paths; to
    nothing where it is no path that begins with a slash, or no literal.

    What was asked for since there was room last is in this dictionary, what was before in the other one.
    """

    def __init__(self, most: int = _MOST_KNOWN) -> None:
        self._most = most
        self._before: dict[bytes, bytes] = {}

    def __missing__(self, literal: bytes) -> bytes:
        path = self._before.get(literal)
        if path is None:
            path = _pathOf(literal)
            if not path:
                return b""
        if len(self) >= self._most:
            self._before = dict(self)
            self.clear()
        self[literal] = path
        return path


def _pathOf(literal: bytes) -> bytes:
    if not 1 < len(literal) <= LONGEST_LITERAL or literal[0] & 0x7F != len(literal) - 1:
        return b""
    try:
        path = huffmanDecode(literal[1:]) if literal[0] & 0x80 else literal[1:]
    except RemoteProtocolError:
        return b""
    return path if path[:1] == b"/" and isPath(path) else b""


recentPaths = RecentPaths()
"""
Those of this process.
"""


class PathShape:
    """
    What sections have in common that have one literal, which is the path, and indexes around it.
    """

    __slots__ = ("_first", "_like", "_longest", "_middle", "_mostPath", "_prefix", "_suffix")

    def __init__(self, like: RequestHeaders, prefix: bytes, suffix: bytes, mostPath: int) -> None:
        """
        @param like: A head of this shape.
        @param prefix: What is before the path's length.
        @param suffix: What is behind the path.
        @param mostPath: How many bytes a path may have.
        """
        self._like = like
        self._first = like.first
        self._prefix = prefix
        self._suffix = suffix
        self._middle = slice(len(prefix), -len(suffix) if suffix else None)
        self._longest = len(prefix) + LONGEST_LITERAL + len(suffix)
        self._mostPath = mostPath

    def take(self, block: bytes) -> RequestHeaders | None:
        """
        The head of a section; L{None} if it has another shape, or if something about it is not as usual, so that it has
        to be looked at and perhaps be refused.
        """
        if not block.startswith(self._prefix) or not block.endswith(self._suffix) or len(block) > self._longest:
            return None
        path = recentPaths[block[self._middle]]
        if not path or len(path) > self._mostPath:
            return None
        like = self._like
        headers = _newRequest(RequestHeaders)
        headers.method = like.method
        headers.path = path
        headers.authority = like.authority
        headers.scheme = like.scheme
        headers.first = self._first.copy()
        headers.more = None
        return headers
