# -*- test-case-name: tests.routing.test_path -*-
"""
Path normalization, as Envoy does it before it routes: C{path_with_escaped_slashes_action}, then C{normalize_path}
(RFC 3986, 6.2.2 with the canonical form of browsers), then C{merge_slashes}.

One regular expression proves of the usual path that nothing is to be done; only the others are taken apart. Every
decision is the one that Envoy takes, byte for byte: the table in the tests was recorded from it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum

__all__ = ["EscapedSlashes", "NormalizedPath", "PathVerdict", "compilePathNormalization"]


class EscapedSlashes(Enum):
    """
    What to do with C{%2F} and C{%5C} in a path: C{path_with_escaped_slashes_action}.
    """

    KEEP_UNCHANGED = "KEEP_UNCHANGED"
    REJECT_REQUEST = "REJECT_REQUEST"
    UNESCAPE_AND_REDIRECT = "UNESCAPE_AND_REDIRECT"
    UNESCAPE_AND_FORWARD = "UNESCAPE_AND_FORWARD"


class PathVerdict(Enum):
    """
    Why a path is not simply the normalized one.
    """

    #: The request ends with 400, details C{path_normalization_failed}.
    REJECT = "reject"
    #: The request ends with 307 to the normalized path, details C{path_normalization_failed} as well.
    REDIRECT = "redirect"


# What one normalization gives: the path to go on with, or L{PathVerdict.REJECT}, or the path to redirect to.
NormalizedPath = bytes | PathVerdict | tuple[PathVerdict, bytes]

# A path that every setting leaves alone: no escape, no backslash, no segment that begins with a dot, no empty
# segment, no byte that the canonical form escapes. The classes exclude "/", so the match is linear.
_isClean = re.compile(rb"(?:/(?![./])[A-Za-z0-9!$&'()*+,\-.:;=@\[\]_~]*)+(?:\?|\Z)").match

_hasEscapedSlash = re.compile(rb"%(?:2[fF]|5[cC])").search
_escapedSlash = re.compile(rb"%(?:2([fF])|5[cC])")

# RFC 3986, 2.3: escapes of these are decoded, all others stay as they were written.
_UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
# Bytes that stand for themselves. Envoy's canonical form (that of browsers) leaves the brackets alone too.
_PLAIN = _UNRESERVED + b"!$&'()*+,/:;=@[]%"
_toEscape = re.compile(b"[^" + re.escape(_PLAIN) + b"]")
_escape = re.compile(rb"%([0-9A-Fa-f]{2})")

# CVE-2026-73551: "..;x=y" is a dot segment to servers that know path parameters (RFC 3986, 3.3).
_dotSegmentParameter = re.compile(rb"(?<=/)(\.\.?);[^/]*")


def _decodeUnreserved(found: re.Match[bytes]) -> bytes:
    decoded = bytes.fromhex(found[1].decode("ascii"))
    return decoded if decoded in _UNRESERVED else found[0]


def _encode(found: re.Match[bytes]) -> bytes:
    return b"%%%02X" % found[0][0]


def _removeDotSegments(path: bytes) -> bytes:
    """
    RFC 3986, 5.2.4. An empty segment is a segment: C{/a//../b} is C{/a/b}.
    """
    kept: list[bytes] = []
    segments = path.split(b"/")
    last = segments[-1]
    for segment in segments[1:]:
        if segment == b"..":
            if kept:
                kept.pop()
        elif segment != b".":
            kept.append(segment)
    if last in (b".", b".."):
        kept.append(b"")
    return b"/" + b"/".join(kept)


def _canonical(path: bytes) -> bytes | None:
    """
    The canonical form of a path without its query, or L{None} where it has none.
    """
    if b"%00" in path:
        return None
    if b";" in path:
        path = _dotSegmentParameter.sub(rb"\1", path)
    path = path.replace(b"\\", b"/")
    if b"%" in path:
        path = _escape.sub(_decodeUnreserved, path)
    path = _toEscape.sub(_encode, path)
    return _removeDotSegments(path) if b"/." in path else path


def _mergeSlashes(path: bytes) -> bytes:
    """
    One slash for several. The path C{//} stays: Envoy sets a slash before and a slash after no segment at all.
    """
    if b"//" not in path:
        return path
    merged = b"/".join([segment for segment in path.split(b"/") if segment])
    return (b"/" if path[:1] == b"/" else b"") + merged + (b"/" if path[-1:] == b"/" else b"")


def _unescapeSlash(found: re.Match[bytes]) -> bytes:
    return b"/" if found[1] else b"\\"


def compilePathNormalization(
    normalizePath: bool = False,
    mergeSlashes: bool = False,
    escapedSlashes: EscapedSlashes = EscapedSlashes.KEEP_UNCHANGED,
) -> Callable[[bytes], NormalizedPath] | None:
    """
    Build the one function that a connection manager calls with the path (and query) of each request.

    @return: The function, or L{None} where the settings ask for nothing. It gives back the very object that it was
        given where nothing is to be done. The empty path (of CONNECT) and C{*} are not for it.
    """
    if not normalizePath and not mergeSlashes and escapedSlashes is EscapedSlashes.KEEP_UNCHANGED:
        return None
    reject = escapedSlashes is EscapedSlashes.REJECT_REQUEST
    redirect = escapedSlashes is EscapedSlashes.UNESCAPE_AND_REDIRECT
    unescape = redirect or escapedSlashes is EscapedSlashes.UNESCAPE_AND_FORWARD

    def transform(target: bytes) -> NormalizedPath:
        path, mark, query = target.partition(b"?")
        redirected = False
        if (reject or unescape) and _hasEscapedSlash(path):
            if reject:
                return PathVerdict.REJECT
            path = _escapedSlash.sub(_unescapeSlash, path)
            redirected = redirect
        if normalizePath:
            canonical = _canonical(path)
            if canonical is None:
                return PathVerdict.REJECT
            path = canonical
        if mergeSlashes:
            path = _mergeSlashes(path)
        if redirected:
            return PathVerdict.REDIRECT, path + mark + query
        return path + mark + query

    def normalize(target: bytes) -> NormalizedPath:
        return target if _isClean(target) else transform(target)

    return normalize
